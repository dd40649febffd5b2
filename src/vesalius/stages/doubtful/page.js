"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const words = facts.words;
const key = "vesalius-doubtful-" + facts.key;
let lang = facts.lang;
let at = 0;
let state = { who: "", chosen: {} };
try { state = Object.assign(state, JSON.parse(localStorage.getItem(key) || "{}")); } catch (error) { console.info("not remembered", error); }

const say = (name, values = {}) => words[name][lang].replace(/\{(\w+)\}/g, (_, part) => values[part]);
const make = (tag, text = "", kind = "") => { const made = document.createElement(tag); made.textContent = text; made.className = kind; return made; };
const keep = () => { try { localStorage.setItem(key, JSON.stringify(state)); } catch (error) { console.info("not remembered", error); } };
const percent = (p) => p === null ? "–" : (100 * p).toFixed(1) + " %";

function choose(place, label) {
  const id = facts.cases[place].id;
  if (label === null) delete state.chosen[id];
  else state.chosen[id] = { label, when: new Date().toISOString() };
  keep();
  mark();
}

function mark() {
  document.querySelectorAll(".case").forEach((box, place) => {
    const chosen = state.chosen[facts.cases[place].id];
    box.classList.toggle("done", Boolean(chosen));
    box.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(Boolean(chosen) && button.dataset.label === chosen.label)));
  });
  document.getElementById("count").textContent = say("count", { n: Object.keys(state.chosen).length, all: facts.cases.length });
}

function button(place, label, text) {
  const made = make("button", text);
  made.type = "button";
  made.dataset.label = label;
  made.addEventListener("click", () => choose(place, label));
  return made;
}

function value(place, item) {
  const field = make("input");
  field.type = "number";
  field.step = "any";
  field.setAttribute("aria-label", say("value"));
  field.value = state.chosen[item.id] ? state.chosen[item.id].label : item.label;
  field.addEventListener("change", () => choose(place, field.value === "" ? null : field.value));
  return field;
}

function choices(place, item) {
  const row = make("div", "", "choices");
  item.options.forEach((label, k) => {
    const given = label === item.label;
    const shown = facts.marked ? say(label) : (label || say("nothing"));
    row.append(button(place, label, (k < 9 ? k + 1 + " · " : "") + shown + (given && !facts.marked ? " (" + say("given") + ")" : "")));
  });
  if (facts.number) row.append(value(place, item));
  return row;
}

function neighbours(item) {
  const row = make("div", "", "near");
  item.neighbours.forEach((other) => {
    const figure = make("figure"), image = make("img"), text = make("figcaption", other.label || say("nothing"));
    image.src = other.picture;
    image.alt = other.id;
    figure.append(image, text);
    row.append(figure);
  });
  return row;
}

function shown(place, item) {
  const box = make("article", "", "case"), image = make("img"), left = make("div"), right = make("div");
  box.tabIndex = 0;
  image.src = item.picture;
  image.alt = item.id;
  left.append(image, make("p", item.id, "path"));
  const told = item.likelier === null ? item[lang] : say("told", { label: item.label || say("nothing"), p: percent(item.p_label), other: item.likelier || say("nothing"), q: percent(item.p_likelier) });
  right.append(make("p", told));
  right.append(make("p", say("split_" + item.split) + (item.convinced ? " · " + say("sure") : ""), item.convinced ? "sure" : ""));
  right.append(choices(place, item));
  if (item.neighbours.length) right.append(make("p", say("near")), neighbours(item));
  box.append(left, right);
  box.addEventListener("focusin", () => { at = place; });
  return box;
}

function draw() {
  document.documentElement.lang = lang === "zh" ? "zh-Hans" : "en";
  document.title = say("title");
  document.querySelectorAll("[data-say]").forEach((each) => { each.textContent = say(each.dataset.say); });
  document.getElementById("lead").textContent = facts.lead[lang];
  document.getElementById("language").textContent = lang === "zh" ? "English" : "中文";
  document.getElementById("cases").replaceChildren(...facts.cases.map((item, place) => shown(place, item)));
  mark();
}

function cell(text) { return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text; }

function table() {
  const rows = facts.cases.filter((item) => state.chosen[item.id]).map((item) => [item.id, state.chosen[item.id].label, state.who, state.chosen[item.id].when]);
  return "\ufeff" + [["id", "label", "who", "when"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = facts.file;
  link.click();
  URL.revokeObjectURL(link.href);
}

function go(step) {
  const boxes = document.querySelectorAll(".case");
  if (!boxes.length) return;
  at = Math.min(Math.max(at + step, 0), boxes.length - 1);
  boxes[at].focus();
  boxes[at].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const item = facts.cases[at], number = Number(event.key);
  if (event.key === "j" || event.key === "ArrowDown") go(1);
  else if (event.key === "k" || event.key === "ArrowUp") go(-1);
  else if (event.key === "u") choose(at, null);
  else if (event.key === "s") save();
  else if (item && event.key === "c") choose(at, facts.marked ? item.options[0] : item.label);
  else if (item && number >= 1 && number <= item.options.length) choose(at, item.options[number - 1]);
  else return;
  event.preventDefault();
});
document.getElementById("language").addEventListener("click", () => { lang = lang === "zh" ? "en" : "zh"; draw(); });
document.getElementById("save").addEventListener("click", save);
const who = document.getElementById("who");
who.value = state.who;
who.addEventListener("input", () => { state.who = who.value; keep(); });
draw();

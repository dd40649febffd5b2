/** The page: sign in, worklist or one finding, keys, language and colours. */
import "./base.css";
import "./worklist.css";
import "./reading.css";
import "./findings.css";
import "./narrow.css";
import * as api from "./api";
import { byId, clear, h, live, relive } from "./dom";
import { showKeys, typing } from "./keys";
import { language, setLanguage, setTheme, setToken, type Theme, themeChosen, token } from "./prefs";
import { Reading } from "./reading";
import type { Me } from "./types";
import { PLANES } from "./viewer";
import { word } from "./words";
import { Worklist } from "./worklist";

const THEMES: readonly Theme[] = ["auto", "light", "dark"];
let who: Me | null = null;
let list: Worklist | null = null;
let reading: Reading | null = null;
let order: string[] = [];
let here = "";

function top(): void {
  const lang = h("button", {
    class: "quiet",
    text: () => word("language"),
    title: () => word("languageLabel"),
    lang: () => (language() === "zh" ? "en" : "zh-CN"),
    onclick: () => speak(),
  });
  const theme = h("button", { class: "quiet", text: () => word("themeLabel", { theme: word(`theme_${themeChosen()}`) }) });
  theme.addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(themeChosen()) + 1) % THEMES.length] as Theme);
    relive();
  });
  const user = h("span", { class: "user", text: () => (who ? `${who.name} (${word(`role_${who.role}`)})` : "") });
  const out = h("button", { class: "quiet", id: "signout", text: () => word("signOut"), onclick: () => signOut() });
  const keys = h("button", { class: "quiet keys", text: () => word("keys"), onclick: showKeys });
  clear(byId("controls"), user, token() ? out : null, lang, theme, keys);
  live(byId("skip"), "text", () => word("skip"));
  live(byId("research"), "text", () => word("research"));
  live(byId("notices"), "text", () => word("notices"));
}

function speak(): void {
  setLanguage(language() === "zh" ? "en" : "zh");
  relive();
  entitle();
  void list?.refresh();
  reading?.both((stage) => stage.viewer?.redraw());
}

function signOut(): void {
  setToken("");
  location.reload();
}

function signIn(wrong: boolean): void {
  const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const form = h(
    "form",
    { class: "panel signin" },
    h("h1", { text: () => word("signIn") }),
    h("p", { text: () => word("signInWhy") }),
    wrong ? h("p", { class: "bad", role: "alert", text: () => word("wrongToken") }) : null,
    h("label", { for: "token", text: () => word("token") }),
    field,
    h("button", { class: "accept", text: () => word("signIn") }),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(field.value.trim());
    void start();
  });
  clear(byId("main"), form);
  field.focus();
}

/** Show what the address names, unless a correction would be lost. */
function route(): void {
  if (location.hash === here) return;
  if (reading && !reading.mayLeave()) {
    history.replaceState(null, "", here);
    return;
  }
  here = location.hash;
  if (list) order = list.rows.map((row) => row.id);
  list?.end();
  reading?.end();
  entitle();
  // What went wrong on another finding must not be read as if it belonged to this one.
  clear(byId("toasts"));
  list = reading = null;
  const id = /^#\/f\/(.+)$/.exec(here)?.[1];
  if (id) read(decodeURIComponent(id));
  else showList();
}

/** No name of a patient: titles stay in the history of the browser. */
function entitle(): void {
  document.title = `Vesalius: ${word(location.hash.startsWith("#/f/") ? "titleReading" : "worklist")}`;
}

function showList(): void {
  list = new Worklist(who?.models ?? []);
  clear(byId("main"), list.root);
  void list.refresh();
}

function read(id: string): void {
  const at = order.indexOf(id);
  reading = new Reading(id, { next: order[at + 1] ?? null, previous: at > 0 ? (order[at - 1] ?? null) : null });
  if (at < 0) reading = new Reading(id, { next: null, previous: null });
  clear(byId("main"), reading.root);
  byId("main").focus({ preventScroll: true });
  void reading.start();
}

const go = (id: string | null): void => {
  if (id) location.hash = `#/f/${encodeURIComponent(id)}`;
};

const leave = (): void => {
  location.hash = "#/";
};

const LIST_KEYS: Record<string, (view: Worklist) => void> = {
  j: (view) => view.move(1),
  ArrowDown: (view) => view.move(1),
  k: (view) => view.move(-1),
  ArrowUp: (view) => view.move(-1),
  "/": (view) => view.search.focus(),
  u: (view) => view.upload.chooser.click(),
};

const READ_KEYS: Record<string, (view: Reading) => void> = {
  ArrowUp: (view) => view.scroll(1),
  ArrowDown: (view) => view.scroll(-1),
  PageUp: (view) => view.scroll(5),
  PageDown: (view) => view.scroll(-5),
  w: (view) => view.both((stage) => stage.nextWindow()),
  m: (view) => view.both((stage) => stage.toggle("mask")),
  x: (view) => view.both((stage) => stage.toggle("boxes")),
  h: (view) => view.both((stage) => stage.toggle("heat")),
  "+": (view) => view.stage?.viewer?.zoom(1.25),
  "=": (view) => view.stage?.viewer?.zoom(1.25),
  "-": (view) => view.stage?.viewer?.zoom(0.8),
  "0": (view) => view.both((stage) => stage.reset()),
  p: (view) => void view.togglePrior(),
  a: (view) => view.form?.act("accept"),
  c: (view) => view.form?.act("correct"),
  r: (view) => view.form?.act("reject"),
  b: (view) => view.form?.correction?.take({ tool: "brush" }),
  e: (view) => view.form?.correction?.take({ tool: "erase" }),
  v: (view) => view.form?.correction?.take({ tool: "look" }),
  z: (view) => view.form?.correction?.undo(),
  n: (view) => view.form?.correction?.add(),
  j: (view) => go(view.nextId),
  k: (view) => go(view.previousId),
  Escape: (view) => (view.form?.correction ? view.form.leave() : leave()),
};
PLANES.forEach((plane, n) => {
  READ_KEYS[String(n + 1)] = (view) => view.both((stage) => stage.setPlane(plane));
});

/** Arrows and Enter stay with buttons, sliders and lists of boxes that have the focus. */
function ours(event: KeyboardEvent): boolean {
  const target = event.target as Element | null;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return false;
  if (event.key.startsWith("Arrow") || event.key.startsWith("Page")) return !target?.closest("input, select, textarea, .boxlist");
  return !typing(target) || event.key === "Escape";
}

function onKey(event: KeyboardEvent): void {
  if (!ours(event)) return;
  if (typing(event.target)) {
    (event.target as HTMLElement).blur();
    return;
  }
  const act =
    event.key === "?"
      ? showKeys
      : list
        ? LIST_KEYS[event.key]?.bind(null, list)
        : reading
          ? READ_KEYS[event.key]?.bind(null, reading)
          : undefined;
  if (!act) return;
  event.preventDefault();
  act();
}

async function start(): Promise<void> {
  try {
    who = await api.me();
  } catch (error) {
    top();
    if (error instanceof api.Failed && error.status === 401) return signIn(Boolean(token()));
    const why = error instanceof Error ? error.message : String(error);
    clear(byId("main"), h("p", { role: "alert", text: () => word("failed", { why }) }));
    return;
  }
  top();
  here = "-";
  route();
}

setLanguage(language());
setTheme(themeChosen());
window.addEventListener("hashchange", route);
window.addEventListener("keydown", onKey, { capture: true });
window.addEventListener("beforeunload", (event) => {
  if (reading?.form?.unsaved) event.preventDefault();
});
// A file dropped beside the drop zone must not replace the page.
for (const name of ["dragover", "drop"] as const) window.addEventListener(name, (event) => event.preventDefault());
void start();

/** What the model says, as text: answer, probability with interval, calibration, set, refusal, measurements, notes. */
import { h } from "./dom";
import { figureOf, grouped, nameOf } from "./measurements";
import { aged, dicomDate, figure, labels, percent, personName, sexOf } from "./order";
import { language } from "./prefs";
import type { Box, Finding, Measurement } from "./types";
import { spoken, word } from "./words";

/** Name, age, sex, dates and study of a finding. */
export function patientLine(finding: Finding): HTMLElement {
  const { patient } = finding;
  const born = (): string => (patient.birth_date ? word("born", { date: dicomDate(patient.birth_date) }) : "");
  const name = (): string => personName(patient.name, language() === "zh") || word("unnamed");
  const study = [dicomDate(finding.study_date), finding.modality, finding.body_part, finding.description].filter(Boolean).join(" · ");
  return h(
    "header",
    { class: "patient" },
    h("h1", { text: name }),
    h("p", { class: "facts", text: () => [patient.id, sexOf(patient.sex), aged(patient.age), born()].filter(Boolean).join(" · ") }),
    h("p", { class: "facts", text: study }),
  );
}

/** Whether the model refused the study and was not forced, so that there is no answer. */
export function refusedOnly(finding: Finding): boolean {
  return finding.refused.length > 0 && !finding.forced;
}

/** The panel beside the images; `goTo` shows the slices through the middle of a box. */
export function answerPanel(finding: Finding, goTo: (box: Box) => void): HTMLElement {
  const panel = h(
    "section",
    { class: "panel answer", "aria-labelledby": "answer-title" },
    h("h2", { id: "answer-title", text: () => word("answer") }),
  );
  if (finding.refused.length) panel.append(refusal(finding));
  if (finding.forced) panel.append(h("p", { class: "warning", text: () => word("forced") }));
  if (finding.abstain && !refusedOnly(finding)) panel.append(abstention());
  if (!refusedOnly(finding)) panel.append(...verdict(finding));
  if (finding.set) panel.append(conformal(finding));
  if (Object.keys(finding.scores).length > 1) panel.append(scores(finding));
  if (finding.model.kind === "boxes" && !refusedOnly(finding)) panel.append(marked(finding, goTo));
  if (finding.measurements.length) panel.append(measurements(finding));
  if (finding.notes.length) panel.append(notes(finding));
  const model = { name: finding.model.name, hash: finding.model.hash.slice(0, 12) };
  panel.append(
    h("p", { class: "small", text: () => word("modelFacts", model) }),
    h("p", { class: "small research", text: () => word("research") }),
  );
  return panel;
}

function refusal(finding: Finding): HTMLElement {
  const reasons = finding.refused.map((said) => h("li", { "data-code": said.code, text: () => spoken(said) }));
  return h("div", { class: "refusal", role: "note" }, h("h3", { text: () => word("refusedTitle") }), h("ul", {}, ...reasons));
}

function abstention(): HTMLElement {
  return h(
    "div",
    { class: "abstain", role: "note" },
    h("h3", { text: () => word("abstains") }),
    h("p", { text: () => word("abstainsWhy") }),
  );
}

/** A number with what it counts; the labels of every other kind. */
function answer(finding: Finding): string {
  const name = Object.keys(finding.scores)[0];
  return finding.model.kind === "regression" && name && name !== "value" ? `${name} ${labels(finding.label)}` : labels(finding.label);
}

function verdict(finding: Finding): HTMLElement[] {
  const made: HTMLElement[] = [
    h("p", { class: "verdict" }, h("strong", { text: answer(finding) }), h("span", { class: "p", text: percent(finding.probability) })),
  ];
  const { probability, low, high } = finding;
  const regression = finding.model.kind === "regression";
  if (probability !== null && !regression) made.push(bar(probability, low, high));
  if (low !== null && high !== null) {
    const say = regression ? figure : percent;
    made.push(h("p", { class: "small", text: () => word("interval", { low: say(low), high: say(high) }) }));
  } else if (probability !== null || regression) made.push(h("p", { class: "small", text: () => word("noInterval") }));
  const hint = finding.calibration;
  if (hint) made.push(h("p", { class: "small calibration", text: () => spoken(hint) }));
  return made;
}

/** A scale from 0 to 1 with the interval as a band and the probability as a line; the text beside it says the same. */
function bar(p: number, low: number | null, high: number | null): HTMLElement {
  const scale = h("div", { class: "scale", "aria-hidden": "true" });
  const percentOf = (value: number): string => `${Math.min(100, Math.max(0, value * 100))}%`;
  if (low !== null && high !== null) {
    const band = h("div", { class: "band" });
    band.style.left = percentOf(low);
    band.style.width = percentOf(high - low);
    scale.append(band);
  }
  const mark = h("div", { class: "mark" });
  mark.style.left = percentOf(p);
  scale.append(mark);
  return scale;
}

function conformal(finding: Finding): HTMLElement {
  const all = finding.set?.length === finding.model.classes.length && finding.model.classes.length > 1;
  const chips = (finding.set ?? []).map((name) => h("li", { text: name }));
  return h(
    "div",
    { class: "set" },
    h("h3", { text: () => word("set") }),
    h("ul", { class: "chips" }, ...chips),
    all && h("p", { class: "small", text: () => word("setAll") }),
  );
}

function scores(finding: Finding): HTMLElement {
  const rows = Object.entries(finding.scores).sort((a, b) => b[1] - a[1]);
  const body = rows.map(([name, p]) => {
    const meter = h("meter", { min: 0, max: 1, value: p, label: name });
    return h("tr", {}, h("th", { scope: "row", text: name }), h("td", {}, meter), h("td", { class: "number", text: percent(p) }));
  });
  return h(
    "details",
    { open: rows.length <= 6 },
    h("summary", { text: () => word("scores") }),
    h("table", { class: "plain" }, h("tbody", {}, ...body)),
  );
}

/** Every box with its score and size, columns first; a click shows it. */
function marked(finding: Finding, goTo: (box: Box) => void): HTMLElement {
  const title = h("h3", { text: () => word("found") });
  if (!finding.boxes.length) return h("div", {}, title, h("p", { class: "small", text: () => word("noBoxes") }));
  const items = finding.boxes.map((box, n) => {
    const size = box.size_mm ? `${[...box.size_mm].reverse().map(figure).join(" × ")} mm` : "";
    const risk = () => (box.risk === null || box.risk === undefined ? "" : word("boxRisk", { p: percent(box.risk) }));
    const text = () => [`${n + 1} ${box.label}`, percent(box.score), risk(), size].filter(Boolean).join(" · ");
    return h("li", {}, h("button", { class: "quiet go", text, onclick: () => goTo(box) }));
  });
  return h("div", {}, title, h("ol", { class: "marked" }, ...items));
}

function measurements(finding: Finding): HTMLElement {
  const rows = (held: Measurement[]): HTMLElement[] =>
    held.map((each) =>
      h("tr", {}, h("th", { scope: "row", text: () => nameOf(each) }), h("td", { class: "number", text: () => figureOf(each, finding) })),
    );
  const table = (held: Measurement[]): HTMLElement => h("table", { class: "plain measurements" }, h("tbody", {}, ...rows(held)));
  const groups = grouped(finding.measurements).map((group) =>
    h(
      "div",
      { class: "measured" },
      group.class ? h("h4", { text: group.class }) : null,
      group.first.length ? table(group.first) : null,
      group.further.length ? h("details", {}, h("summary", { text: () => word("further") }), table(group.further)) : null,
    ),
  );
  return h("div", {}, h("h3", { text: () => word("measurements") }), ...groups);
}

function notes(finding: Finding): HTMLElement {
  const items = finding.notes.map((said) => h("li", { text: () => spoken(said) }));
  return h("div", {}, h("h3", { text: () => word("notes") }), h("ul", { class: "notes" }, ...items));
}

/** What the model says, as text: answer, probability with interval, calibration, set, refusal, measurements, notes. */
import { h } from "./dom";
import { dicomDate, figure, labels, percent, personName, unitOf } from "./order";
import { language } from "./prefs";
import type { Finding } from "./types";
import { spoken, word } from "./words";

/** Name, age, sex, dates and study of a finding. */
export function patientLine(finding: Finding): HTMLElement {
  const { patient } = finding;
  const age = (): string => (patient.age ? (Number(patient.age) ? word("years", { n: patient.age }) : String(patient.age)) : "");
  const born = (): string => (patient.birth_date ? word("born", { date: dicomDate(patient.birth_date) }) : "");
  const name = (): string => personName(patient.name, language() === "zh") || word("unnamed");
  const study = [dicomDate(finding.study_date), finding.modality, finding.body_part, finding.description].filter(Boolean).join(" · ");
  return h(
    "header",
    { class: "patient" },
    h("h1", { text: name }),
    h("p", { class: "facts", text: () => [patient.id, patient.sex, age(), born()].filter(Boolean).join(" · ") }),
    h("p", { class: "facts", text: study }),
  );
}

/** Whether the model refused the study and was not forced, so that there is no answer. */
export function refusedOnly(finding: Finding): boolean {
  return finding.refused.length > 0 && !finding.forced;
}

export function answerPanel(finding: Finding): HTMLElement {
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

function verdict(finding: Finding): HTMLElement[] {
  const made: HTMLElement[] = [
    h(
      "p",
      { class: "verdict" },
      h("strong", { text: labels(finding.label) }),
      h("span", { class: "p", text: percent(finding.probability) }),
    ),
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

function measurements(finding: Finding): HTMLElement {
  const body = finding.measurements.map((each) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", text: [each.class, each.name].filter(Boolean).join(": ") }),
      h("td", { class: "number", text: `${figure(each.value)} ${unitOf(each.unit)}`.trim() }),
    ),
  );
  return h("div", {}, h("h3", { text: () => word("measurements") }), h("table", { class: "plain measurements" }, h("tbody", {}, ...body)));
}

function notes(finding: Finding): HTMLElement {
  const items = finding.notes.map((said) => h("li", { text: () => spoken(said) }));
  return h("div", {}, h("h3", { text: () => word("notes") }), h("ul", { class: "notes" }, ...items));
}

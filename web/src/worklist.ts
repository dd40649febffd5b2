/** The worklist: the most urgent first, filters, kept fresh while it is open. */
import * as api from "./api";
import { clear, h } from "./dom";
import { byUrgency, dicomDate, labels, percent, personName, waited } from "./order";
import { language } from "./prefs";
import type { Row, State } from "./types";
import { UploadPanel } from "./upload";
import { spoken, word } from "./words";

const STATES: readonly (State | "")[] = ["pending", "", "accepted", "corrected", "rejected", "refused"];
const FRESH_MS = 5000;

/** Filters outlive the view, so that coming back finds the list as it was left. */
const filters: { state: State | ""; text: string } = { state: "pending", text: "" };

export class Worklist {
  readonly root = h("section", { class: "worklist", "aria-labelledby": "worklist-title" });
  private readonly body = h("tbody");
  private readonly count = h("p", { class: "small", role: "status" });
  private readonly empty = h("p", { class: "empty" });
  private readonly aside = h("div", { class: "aside" });
  readonly search = h("input", { type: "search", placeholder: () => word("search"), label: () => word("search") });
  private tabs: HTMLButtonElement[] = [];
  readonly upload: UploadPanel;
  private timer = 0;
  private asked = 0;
  rows: Row[] = [];

  constructor(models: string[]) {
    this.upload = new UploadPanel(models, () => void this.refresh());
    this.search.value = filters.text;
    this.search.addEventListener("input", () => {
      filters.text = this.search.value;
      void this.refresh();
    });
    this.tabs = STATES.map((state) =>
      h("button", { "data-state": state, text: () => word(`state_${state || "all"}`), onclick: () => this.choose(state) }),
    );
    this.root.append(
      h("h1", { id: "worklist-title", text: () => word("worklist") }),
      this.upload.root,
      h("div", { class: "filters" }, this.search, h("div", { class: "segments", role: "group", label: () => word("state") }, ...this.tabs)),
      this.count,
      this.table(),
      this.empty,
      this.aside,
    );
  }

  private table(): HTMLElement {
    const names = ["urgency", "patient", "date", "study", "finding", "probability", "model", "received", "state"] as const;
    const head = names.map((name) => h("th", { scope: "col", class: `col-${name}`, text: () => word(name) }));
    const table = h("table", { class: "list", "aria-labelledby": "worklist-title" }, h("thead", {}, h("tr", {}, ...head)), this.body);
    return h("div", { class: "scroller", role: "region", tabindex: 0, label: () => word("worklist") }, table);
  }

  private choose(state: State | ""): void {
    filters.state = state;
    void this.refresh();
  }

  /** Ask again now, and then every few seconds until `end`. */
  async refresh(): Promise<void> {
    window.clearTimeout(this.timer);
    const turn = ++this.asked;
    for (const each of this.tabs) each.setAttribute("aria-pressed", String(each.dataset.state === filters.state));
    try {
      const { rows, more } = await api.worklist(filters.state, filters.text.trim());
      if (turn !== this.asked) return;
      this.rows = rows.sort(byUrgency);
      this.show(more);
      await this.showAside();
    } catch (error) {
      if (turn !== this.asked) return;
      console.warn(error);
      this.count.textContent = error instanceof api.Failed && error.status !== 0 ? error.message : word("stale");
    }
    this.timer = window.setTimeout(() => void this.refresh(), FRESH_MS);
  }

  /** What no model could read is not hidden: it is there with its reason. */
  private async showAside(): Promise<void> {
    const jobs = await api.aside();
    const open = this.aside.querySelector("details")?.open ?? false;
    const items = jobs.map((job) =>
      h("li", { text: () => word("asideOne", { model: job.model, why: job.reason ? spoken(job.reason) : (job.error ?? "?") }) }),
    );
    const told = h(
      "details",
      { open },
      h("summary", { text: () => word("aside", { n: jobs.length }) }),
      h("ul", { class: "notes" }, ...items),
    );
    clear(this.aside, jobs.length ? told : null);
  }

  private show(more: boolean): void {
    const focused = (document.activeElement as HTMLElement | null)?.dataset.id;
    clear(this.body, ...this.rows.map((row) => this.row(row)));
    if (focused)
      this.links()
        .find((link) => link.dataset.id === focused)
        ?.focus();
    this.count.textContent = word(more ? "countMore" : "count", { n: this.rows.length });
    const filtered = filters.text.trim() !== "" || filters.state !== "pending";
    this.empty.textContent = this.rows.length ? "" : word(filtered ? "nothingFound" : "nothing");
  }

  private row(row: Row): HTMLElement {
    const name = personName(row.patient.name, language() === "zh") || word("unnamed");
    const link = h("a", { href: `#/f/${encodeURIComponent(row.id)}`, "data-id": row.id, text: name });
    const study = [row.modality, row.body_part, row.description].filter(Boolean).join(" · ");
    const meter = h("meter", {
      min: 0,
      max: 1,
      low: 0.3,
      high: 0.7,
      optimum: 0,
      value: row.urgency,
      label: `${word("urgency")} ${percent(row.urgency)}`,
    });
    const cells = [
      h("td", { class: "col-urgency" }, meter, h("span", { class: "number", text: percent(row.urgency) })),
      h("td", { class: "col-patient" }, link, h("span", { class: "small", text: row.patient.id ?? "" })),
      h("td", { class: "col-date", text: dicomDate(row.study_date) }),
      h("td", { class: "col-study", text: study }),
      h("td", { class: "col-finding" }, ...this.verdict(row)),
      h("td", { class: "col-probability number", text: percent(row.probability) }),
      h("td", { class: "col-model", text: row.model }),
      h("td", { class: "col-received number", text: waited(row.received, Date.now() / 1000) }),
      h("td", { class: "col-state" }, h("span", { class: "badge", "data-state": row.state, text: word(`state_${row.state}`) })),
    ];
    const made = h("tr", { "data-id": row.id }, ...cells);
    made.addEventListener("click", (event) => {
      if (!(event.target as Element).closest("a")) link.click();
    });
    return made;
  }

  private verdict(row: Row): (HTMLElement | string)[] {
    if (row.refused && !row.forced) return [h("span", { class: "flag", text: word("refusedTitle") })];
    if (row.abstain) return [h("span", { class: "flag", text: word("abstains") })];
    return [h("strong", { text: labels(row.label) }), row.forced ? h("span", { class: "flag", text: word("forced") }) : ""];
  }

  private links(): HTMLAnchorElement[] {
    return [...this.body.querySelectorAll("a")];
  }

  /** Move the focus by rows. */
  move(by: number): void {
    const links = this.links();
    const now = links.indexOf(document.activeElement as HTMLAnchorElement);
    links[Math.min(links.length - 1, Math.max(0, now < 0 ? 0 : now + by))]?.focus();
  }

  end(): void {
    this.asked++;
    window.clearTimeout(this.timer);
  }
}

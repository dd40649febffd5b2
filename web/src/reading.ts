/** Reading one finding: images, what the model says, the prior study beside, the decision. */
import { answerPanel, patientLine } from "./answer";
import * as api from "./api";
import { current } from "./current";
import { DecisionForm } from "./decision";
import { clear, h, tell } from "./dom";
import { dicomDate, labels, percent } from "./order";
import { Stage } from "./stage";
import type { Finding, Row, State } from "./types";
import { type Word, word } from "./words";

export class Reading {
  readonly root = h("article", { class: "reading" });
  readonly stages = h("div", { class: "stages" });
  stage: Stage | null = null;
  private beside: Stage | null = null;
  private priors: Row[] = [];
  private priorButton: HTMLButtonElement | null = null;
  private noPrior: HTMLElement | null = null;
  form: DecisionForm | null = null;
  private state: State = "pending";
  private readonly badge = h("span", { class: "badge", text: () => word(`state_${this.state}`) });

  constructor(
    readonly id: string,
    private readonly neighbours: { next: string | null; previous: string | null },
  ) {}

  /** Load and show; `root` lies in the document. */
  async start(): Promise<void> {
    clear(this.root, h("p", { text: () => word("loading") }));
    let finding: Finding;
    try {
      finding = await api.finding(this.id);
    } catch (error) {
      const said: Word = error instanceof api.Failed && error.status === 404 ? "noFinding" : "failed";
      const why = error instanceof Error ? error.message : String(error);
      clear(this.root, h("p", { role: "alert", text: () => word(said, { why }) }), this.way("#/", "back"));
      return;
    }
    if (!this.root.isConnected) return;
    try {
      this.show(finding);
    } catch (error) {
      // A document that this page does not understand must not look like one that is still on its way.
      console.error(error);
      const why = error instanceof Error ? error.message : String(error);
      clear(this.root, h("p", { role: "alert", text: () => word("failed", { why }) }), this.way("#/", "back"));
      return;
    }
    await Promise.all([this.stage?.start(), this.findPriors()]);
  }

  private way(to: string | null, name: Word): HTMLElement | null {
    return to === null ? null : h("a", { class: "button", href: to, text: () => word(name) });
  }

  private show(finding: Finding): void {
    this.stage = new Stage(finding);
    this.form = new DecisionForm(finding, this.stage, (saved) => this.mark(saved));
    const to = (id: string | null): string | null => (id === null ? null : `#/f/${encodeURIComponent(id)}`);
    this.priorButton = h("button", {
      class: "prior",
      hidden: true,
      text: () => this.priorWord(),
      onclick: () => void this.togglePrior(),
    });
    const ways = h("nav", { class: "ways", label: () => word("worklist") }, this.way("#/", "back"));
    for (const way of [this.way(to(this.neighbours.previous), "previous"), this.way(to(this.neighbours.next), "next")])
      if (way) ways.append(way);
    const top = h("div", { class: "top" }, patientLine(finding), this.badge, ways);
    this.noPrior = h("p", { class: "small", text: () => word("noPrior") });
    const priorBar = h("div", { class: "priorbar" }, h("h2", { text: () => word("prior") }), this.priorButton, this.noPrior);
    clear(this.stages, this.stage.root);
    const side = h(
      "aside",
      { class: "side", label: () => word("finding") },
      answerPanel(finding, (box) => this.stage?.visit(box)),
      this.form.root,
      h("section", { class: "panel" }, priorBar),
    );
    clear(this.root, top, this.newer(finding), this.shownAs(finding), h("div", { class: "split" }, this.stages, side));
    this.mark(finding);
  }

  /** Where the series was read again with further images, the way to that finding. */
  private newer(finding: Finding): HTMLElement | null {
    if (!finding.superseded_by) return null;
    const way = h("a", { href: `#/f/${encodeURIComponent(finding.superseded_by)}`, text: () => word("newer") });
    return h("p", { class: "warning", role: "note" }, h("span", { text: () => word("superseded") }), " ", way);
  }

  /** Whose boxes or mask are drawn, when they are not the model's. */
  private shownAs(finding: Finding): HTMLElement | null {
    const { by } = current(finding);
    return by ? h("p", { class: "small", role: "note", text: () => word("corrected", { user: by.user }) }) : null;
  }

  private mark(finding: Finding): void {
    this.state = finding.state;
    this.badge.textContent = word(`state_${this.state}`);
    this.badge.dataset.state = finding.state;
  }

  private async findPriors(): Promise<void> {
    try {
      this.priors = await api.priors(this.id);
    } catch (error) {
      console.error(error);
    }
    const first = this.priors[0];
    if (!first || !this.priorButton) return;
    this.priorButton.hidden = false;
    this.noPrior?.remove();
    this.priorButton.textContent = this.priorWord();
    const label = [labels(first.label), percent(first.probability)].filter(Boolean).join(" ");
    this.priorButton.after(h("p", { class: "small", text: () => word("priorOf", { date: dicomDate(first.study_date) || "?", label }) }));
  }

  /** The latest earlier study of the patient beside this one, or away again. */
  async togglePrior(): Promise<void> {
    const first = this.priors[0];
    if (!first || !this.priorButton) return;
    if (this.beside) {
      this.beside.end();
      this.beside.root.remove();
      this.beside = null;
    } else {
      try {
        this.beside = new Stage(await api.finding(first.id));
        const date = dicomDate(first.study_date) || "?";
        this.beside.root.prepend(h("p", { class: "stage-title", text: () => word("priorOf", { date, label: labels(first.label) }) }));
        this.stages.append(this.beside.root);
        await this.beside.start();
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        tell(() => word("failed", { why }), true);
      }
    }
    this.stages.classList.toggle("two", this.beside !== null);
    this.priorButton.textContent = this.priorWord();
    this.stage?.viewer?.redraw();
  }

  private priorWord(): string {
    return word(this.beside ? "hidePrior" : "showPrior");
  }

  /** Both studies scroll together. */
  scroll(by: number): void {
    for (const each of [this.stage, this.beside]) each?.viewer?.scroll(by);
  }

  both(act: (stage: Stage) => void): void {
    for (const each of [this.stage, this.beside]) if (each) act(each);
  }

  get nextId(): string | null {
    return this.neighbours.next;
  }

  get previousId(): string | null {
    return this.neighbours.previous;
  }

  /** Whether the reader may leave: an unsaved correction is asked about. */
  mayLeave(): boolean {
    return !this.form?.unsaved || window.confirm(word("unsaved"));
  }

  end(): void {
    this.stage?.end();
    this.beside?.end();
  }
}

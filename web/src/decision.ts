/** Accept, correct or reject: the form, what was decided before, and the keys. */
import { refusedOnly } from "./answer";
import * as api from "./api";
import { Correction } from "./correction";
import { clear, h, tell } from "./dom";
import { labels } from "./order";
import { language } from "./prefs";
import type { Stage } from "./stage";
import type { Action, Decision, Finding, State } from "./types";
import { word } from "./words";

const STATES: Record<Action, State> = { accept: "accepted", correct: "corrected", reject: "rejected" };

export class DecisionForm {
  readonly root = h("section", { class: "panel decision", "aria-labelledby": "decision-title" });
  correction: Correction | null = null;
  private readonly comment = h("textarea", { id: "comment", rows: 2, maxlength: 2000 });
  private readonly room = h("div", { class: "room" });
  private readonly past = h("ol", { class: "past" });
  private readonly buttons: HTMLButtonElement[];

  constructor(
    private finding: Finding,
    private readonly stage: Stage,
    private readonly onSaved: (finding: Finding) => void,
  ) {
    const refused = refusedOnly(finding);
    this.buttons = (["accept", "correct", "reject"] as const).map((action) =>
      h("button", {
        class: action,
        "data-action": action,
        disabled: refused && action === "accept",
        text: () => word(action),
        onclick: () => this.act(action),
      }),
    );
    this.root.append(
      h("h2", { id: "decision-title", text: () => word("decision") }),
      this.past,
      h("label", { for: "comment", text: () => word("commentFor") }),
      this.comment,
      this.room,
      h("div", { class: "buttons" }, ...this.buttons),
    );
    this.showPast();
  }

  get unsaved(): boolean {
    return this.correction?.changed ?? false;
  }

  act(action: Action): void {
    const button = this.buttons.find((each) => each.dataset.action === action);
    if (button?.disabled) return;
    if (action === "correct") this.startCorrection();
    else if (!this.unsaved || window.confirm(word("unsaved"))) {
      if (this.correction) this.leave();
      void this.save(action);
    }
  }

  private startCorrection(): void {
    if (this.correction) return;
    this.correction = new Correction(this.finding, this.stage);
    const save = h("button", {
      class: "correct",
      "data-action": "save",
      text: () => word("saveCorrection"),
      onclick: () => void this.save("correct"),
    });
    const leave = h("button", { "data-action": "discard", text: () => word("leaveCorrection"), onclick: () => this.leave() });
    clear(this.room, this.correction.root, h("div", { class: "buttons" }, save, leave));
    (this.correction.root.querySelector("select, input, button") as HTMLElement | null)?.focus();
  }

  /** Put the correction away without saving it. */
  leave(): void {
    this.correction?.end(false);
    this.correction = null;
    clear(this.room);
    this.buttons.find((each) => each.dataset.action === "correct")?.focus();
  }

  private async save(action: Action): Promise<void> {
    const comment = this.comment.value.trim();
    if (action === "reject" && !comment) {
      tell(() => word("needComment"), true);
      this.comment.focus();
      return;
    }
    if (action === "correct" && !this.unsaved) {
      tell(() => word("needChange"), true);
      return;
    }
    this.busy(true);
    try {
      const decision: Decision = { action, comment, seen: this.finding.decisions.length };
      if (action === "correct" && this.correction) {
        const { mask, ...rest } = await this.correction.made();
        Object.assign(decision, rest);
        if (mask) decision.mask = await api.saveMask(this.finding.id, mask);
      }
      this.finding = await api.decide(this.finding.id, decision);
      this.correction?.end(true);
      this.correction = null;
      clear(this.room);
      this.comment.value = "";
      this.showPast();
      tell(() => word("saved", { state: word(`state_${STATES[action]}`) }));
      this.onSaved(this.finding);
    } catch (error) {
      if (error instanceof api.Failed && error.status === 409) await this.reload();
      const why = error instanceof Error ? error.message : String(error);
      tell(() => word("failed", { why }), true);
    } finally {
      this.busy(false);
    }
  }

  /** Somebody decided meanwhile: show what, and keep what was entered here. */
  private async reload(): Promise<void> {
    try {
      this.finding = await api.finding(this.finding.id);
      this.showPast();
      this.onSaved(this.finding);
    } catch (error) {
      console.warn(error);
    }
  }

  private sent(): HTMLElement | null {
    const { outgoing } = this.finding;
    const say = (each: Finding["outgoing"][number]) => word(`sent_${each.state}`, { peer: each.peer, n: each.tries });
    return outgoing.length ? h("li", { class: "small", text: () => [word("outgoing"), ...new Set(outgoing.map(say))].join(" · ") }) : null;
  }

  private busy(on: boolean): void {
    this.root.toggleAttribute("aria-busy", on);
    for (const each of this.root.querySelectorAll("button")) each.toggleAttribute("data-busy", on);
  }

  private showPast(): void {
    const items = this.finding.decisions.map((each) => {
      const when = () =>
        new Date(each.at * 1000).toLocaleString(language() === "zh" ? "zh-CN" : "en-GB", { dateStyle: "medium", timeStyle: "short" });
      const line = h("span", { text: () => word("by", { state: word(`state_${STATES[each.action]}`), user: each.user, when: when() }) });
      return h(
        "li",
        {},
        line,
        each.correction?.label ? h("strong", { text: ` ${labels(each.correction.label)}` }) : null,
        each.comment ? h("q", { text: each.comment }) : null,
      );
    });
    clear(this.past, ...items, this.sent(), items.length ? h("li", { class: "small", text: () => word("again") }) : null);
  }
}

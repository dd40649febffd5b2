/** The tools of a correction: another label or value, boxes changed, the mask drawn again. */
import { type Current, current } from "./current";
import { clear, h } from "./dom";
import { gzipped, maskFile } from "./nifti";
import { type Box3, fromArray, shifted, toArray, withAxis } from "./projection";
import type { Stage } from "./stage";
import type { Box, Finding } from "./types";
import { word } from "./words";

export type Tool = "brush" | "erase" | "look";
const ARROWS: Record<string, readonly [number, number]> = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] };

export class Correction {
  readonly root = h("div", { class: "correction" });
  private readonly list = h("ul", { class: "boxlist" });
  private readonly before: Current;
  private boxes: Box[];
  private boxesChanged = false;
  private maskChanged = false;
  private label: string;
  private pen: { tool: Tool; label: number; size: number } = { tool: "brush", label: 1, size: 3 };
  private toolButtons: HTMLButtonElement[] = [];
  private addButton: HTMLButtonElement | null = null;

  constructor(
    private readonly finding: Finding,
    private readonly stage: Stage,
  ) {
    this.before = current(finding);
    this.boxes = this.before.boxes.map((each) => ({ ...each, box: [...each.box] }));
    this.label = this.before.label;
    const { kind } = finding.model;
    if (kind === "boxes") this.startBoxes();
    else if (kind === "mask") this.startMask();
    else this.root.append(...this.labels());
  }

  get changed(): boolean {
    return this.boxesChanged || this.maskChanged || this.label !== this.before.label;
  }

  /** What goes into the decision besides action and comment; an edited mask is its file, to be stored first. */
  async made(): Promise<{ label?: string; boxes?: { box: number[]; label: string }[]; mask?: Uint8Array<ArrayBuffer> }> {
    const answer: Awaited<ReturnType<Correction["made"]>> = {};
    if (this.label !== this.before.label) answer.label = this.label;
    if (this.boxesChanged) answer.boxes = this.boxes.map(({ box, label }) => ({ box, label }));
    const labels = this.maskChanged ? this.stage.viewer?.labels() : null;
    if (labels && this.stage.viewer) answer.mask = await gzipped(maskFile(labels, this.stage.viewer.space().dims));
    return answer;
  }

  /** Put the tools away. What was changed goes back to what stood before, unless it was saved. */
  end(saved: boolean): void {
    const { viewer, boxes } = this.stage;
    if (boxes) Object.assign(boxes.state, { editing: false, adding: false, chosen: -1 });
    if (!saved) this.stage.setBoxes(this.before.boxes);
    if (this.maskChanged && saved) viewer?.keep();
    else if (this.maskChanged) void viewer?.restore();
    viewer?.setPen(null);
    boxes?.update();
  }

  private labels(): HTMLElement[] {
    const { kind, classes } = this.finding.model;
    if (kind === "regression") {
      const field = h("input", { type: "number", step: "any", value: this.label, id: "right" });
      field.addEventListener("input", () => {
        this.label = field.value;
      });
      return [h("label", { for: "right", text: () => word("rightValue") }), field];
    }
    return kind === "multilabel" ? [this.several(classes)] : [this.single(classes)];
  }

  private single(classes: string[]): HTMLElement {
    const options = classes.map((name) => h("option", { value: name, text: name }));
    const box = h("select", { id: "right" }, h("option", { value: "", text: () => word("choose") }), ...options);
    box.value = this.label;
    box.addEventListener("change", () => {
      this.label = box.value;
    });
    return h("label", {}, h("span", { text: () => word("rightLabel") }), box);
  }

  /** Several may be right; they are joined by "|" as everywhere in Vesalius. */
  private several(classes: string[]): HTMLElement {
    const chosen = new Set(this.label.split("|").filter(Boolean));
    const boxes = classes.map((name) => {
      const box = h("input", { type: "checkbox", value: name });
      box.checked = chosen.has(name);
      box.addEventListener("change", () => {
        if (box.checked) chosen.add(name);
        else chosen.delete(name);
        this.label = classes.filter((each) => chosen.has(each)).join("|");
      });
      return h("label", {}, box, h("span", { text: name }));
    });
    return h("fieldset", {}, h("legend", { text: () => word("rightLabel") }), ...boxes);
  }

  private startBoxes(): void {
    this.addButton = h("button", { text: () => word("addBox"), "aria-pressed": "false", onclick: () => this.add() });
    this.root.append(h("p", { class: "small", text: () => word("editBoxes") }), this.addButton, this.list);
    const layer = this.stage.boxes;
    if (layer) {
      layer.state.editing = true;
      layer.onChange = (n, box) => this.set(n, box);
      layer.onAdd = (box) => this.added(box);
      layer.onChoose = (n) => this.choose(n);
    }
    this.stage.toggle("boxes", true);
    this.show();
  }

  /** The next drag in the image draws a box. */
  add(): void {
    const layer = this.stage.boxes;
    if (!layer || this.finding.model.kind !== "boxes") return;
    layer.state.adding = !layer.state.adding;
    this.addButton?.setAttribute("aria-pressed", String(layer.state.adding));
    layer.update();
  }

  private added(box: Box3): void {
    this.add();
    const ndim = this.finding.grid.shape.length;
    this.boxes.push({ box: toArray(box, ndim), label: this.finding.model.classes[0] ?? "" });
    this.boxesChanged = true;
    this.show();
    this.choose(this.boxes.length - 1);
  }

  private set(n: number, box: Box3): void {
    const changed = this.boxes[n];
    if (!changed) return;
    this.boxes[n] = {
      label: changed.label,
      box: toArray(box, this.finding.grid.shape.length).map((value) => Math.round(value * 100) / 100),
    };
    this.boxesChanged = true;
    this.stage.setBoxes(this.boxes);
  }

  private choose(n: number): void {
    const layer = this.stage.boxes;
    if (!layer || layer.state.chosen === n) return;
    layer.state.chosen = n;
    layer.update();
    for (const [place, each] of [...this.list.children].entries()) each.classList.toggle("chosen", place === n);
  }

  private remove(n: number): void {
    this.boxes.splice(n, 1);
    this.boxesChanged = true;
    if (this.stage.boxes) this.stage.boxes.state.chosen = -1;
    this.show();
    (this.list.querySelector("button") ?? this.addButton)?.focus();
  }

  private show(): void {
    this.stage.setBoxes(this.boxes);
    clear(this.list, ...this.boxes.map((box, n) => this.row(box, n)));
  }

  private row(box: Box, n: number): HTMLElement {
    const { classes } = this.finding.model;
    const name = () => word("boxName", { n: n + 1, label: box.label });
    const pick = h("button", { class: "pick", text: name, onclick: () => this.visit(n), onfocus: () => this.choose(n) });
    pick.addEventListener("keydown", (event) => this.key(event, n));
    const label = h(
      "select",
      { label: () => word("boxLabel", { n: n + 1 }) },
      ...classes.map((each) => h("option", { value: each, text: each })),
    );
    label.value = box.label;
    label.addEventListener("change", () => {
      this.boxes[n] = { box: this.boxes[n]?.box ?? box.box, label: label.value };
      this.boxesChanged = true;
      this.show();
    });
    const remove = h("button", { class: "quiet", text: "×", label: () => word("removeBox", { n: n + 1 }), onclick: () => this.remove(n) });
    return h("li", {}, pick, label, remove);
  }

  /** Show the slices through the middle of a box. */
  private visit(n: number): void {
    const box = this.boxes[n];
    if (!box) return;
    this.choose(n);
    this.stage.visit(box);
  }

  /** Arrow keys move by a sample, with Shift they change the size; PageUp and PageDown act along the third axis. */
  private key(event: KeyboardEvent, n: number): void {
    const step = ARROWS[event.key] ?? ({ PageUp: [2, 1], PageDown: [2, -1] } as const)[event.key];
    const [box, dims] = [this.boxes[n], this.stage.viewer?.space().dims];
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.remove(n);
    } else if (step && box && dims) {
      event.preventDefault();
      event.stopPropagation();
      const [axis, by] = step;
      const now = fromArray(box.box);
      const size = dims[axis] as number;
      this.set(
        n,
        event.shiftKey ? withAxis(now, axis, now.low[axis] as number, (now.high[axis] as number) + by, size) : shifted(now, axis, by, size),
      );
    }
  }

  private startMask(): void {
    const structures = this.finding.model.classes.map((name, n) => h("option", { value: n + 1, text: name }));
    const chosen = h("select", {}, ...structures);
    chosen.addEventListener("change", () => this.take({ label: Number(chosen.value), tool: "brush" }));
    const size = h("input", { type: "range", min: 1, max: 15, step: 2, value: this.pen.size });
    size.addEventListener("input", () => this.take({ size: Number(size.value) }));
    this.toolButtons = (["brush", "erase", "look"] as const).map((tool) =>
      h("button", { "data-tool": tool, text: () => word(tool), onclick: () => this.take({ tool }) }),
    );
    this.root.append(
      h("div", { class: "segments", role: "group", label: () => word("correct") }, ...this.toolButtons),
      h("button", { text: () => word("undo"), onclick: () => this.undo() }),
      h("label", {}, h("span", { text: () => word("structure") }), chosen),
      h("label", {}, h("span", { text: () => word("brushSize") }), size),
    );
    if (this.stage.viewer?.overlapping) this.root.append(h("p", { class: "small", text: () => word("overlapping") }));
    this.stage.toggle("mask", true);
    this.stage.viewer?.onMaskChanged(() => {
      this.maskChanged = true;
    });
    this.take({});
  }

  /** Choose pen, structure or size. */
  take(change: Partial<Correction["pen"]>): void {
    if (this.finding.model.kind !== "mask") return;
    Object.assign(this.pen, change);
    const { tool, label, size } = this.pen;
    this.stage.viewer?.setPen(tool === "look" ? null : tool === "erase" ? 0 : label, size);
    for (const each of this.toolButtons) each.setAttribute("aria-pressed", String(each.dataset.tool === tool));
  }

  undo(): void {
    if (this.finding.model.kind === "mask") this.stage.viewer?.undo();
  }
}

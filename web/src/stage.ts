/** The viewer with its tools: windows, planes, overlays with opacity, caption; and a picture where volumes cannot be shown. */
import * as api from "./api";
import { BoxLayer } from "./boxlayer";
import { colour } from "./colours";
import { current } from "./current";
import { clear, h } from "./dom";
import { figure, percent } from "./order";
import { fromArray } from "./projection";
import type { Box, Finding } from "./types";
import { hasWebgl2, PLANES, type Plane, Viewer } from "./viewer";
import { following, type WindowName, windowsFor, windowWord } from "./windows";
import { type Word, word } from "./words";

export type Overlay = "mask" | "boxes" | "heat";
const START: Record<Overlay, number> = { mask: 0.45, boxes: 1, heat: 0.45 };

export class Stage {
  readonly root = h("figure", { class: "stage", label: () => word("viewer") });
  readonly host = h("div", { class: "canvas", role: "group", label: () => word("viewerHelp") });
  private readonly caption = h("figcaption", { class: "small" });
  private readonly tools = h("div", { class: "tools" });
  private readonly legend = h("ul", { class: "legend", label: () => word("legend") });
  viewer: Viewer | null = null;
  boxes: BoxLayer | null = null;
  private readonly shown: Record<Overlay, { on: boolean; opacity: number; set?: (on: boolean) => void }> = {
    mask: { on: true, opacity: START.mask },
    boxes: { on: true, opacity: START.boxes },
    heat: { on: false, opacity: START.heat },
  };
  private windowBox: HTMLSelectElement | null = null;
  private planeButtons: HTMLButtonElement[] = [];

  constructor(readonly finding: Finding) {
    this.root.append(this.tools, this.host, h("div", { class: "below" }, this.caption, this.legend));
  }

  /** Load and show; `root` must lie in the document. Never throws: what cannot be shown is said in its place. */
  async start(): Promise<void> {
    const { files } = this.finding;
    if (!files.image) return this.instead("noImage");
    if (!hasWebgl2()) return this.instead("noWebgl");
    clear(this.host, h("p", { class: "veil", text: () => word("loading") }));
    try {
      const { mask: held } = current(this.finding);
      const [image, mask, heat] = await Promise.all([
        api.file(this.finding.id, "image"),
        held && api.file(this.finding.id, held),
        files.heat && api.file(this.finding.id, "heat"),
      ]);
      if (!this.root.isConnected) return;
      clear(this.host);
      this.viewer = await Viewer.show(this.host, { image, mask, heat: heat || null, flat: this.finding.grid.shape.length === 2 });
      this.ready(this.viewer);
    } catch (error) {
      console.error(error);
      const why = error instanceof Error ? error.message : String(error);
      clear(this.host, h("p", { class: "veil", role: "alert", text: () => word("failed", { why }) }));
    }
  }

  private ready(viewer: Viewer): void {
    this.boxes = new BoxLayer(viewer);
    this.host.append(this.boxes.root);
    this.setBoxes(current(this.finding).boxes);
    viewer.drawnAgain.push(() => this.describe());
    this.toolbar(viewer);
    this.explain(viewer);
    for (const overlay of ["mask", "boxes", "heat"] as const) this.apply(overlay);
    viewer.setWindow("auto");
    this.markPlane();
    this.open(viewer);
    viewer.redraw();
    this.host.dataset.ready = "";
  }

  /** Begin where something is marked: at the surest box, or where the mask is largest when the middle slice has none of it. */
  private open(viewer: Viewer): void {
    const boxes = current(this.finding).boxes;
    const first = boxes.reduce<Box | null>((best, each) => ((each.score ?? 0) > (best?.score ?? -1) ? each : best), null);
    if (first) this.visit(first);
    else viewer.findMask();
  }

  /** Show the slices through the middle of a box. */
  visit(box: Box): void {
    const { low, high } = fromArray(box.box);
    this.viewer?.goTo(low.map((value, axis) => (value + (high[axis] as number)) / 2));
  }

  /** Which colour stands for what; a structure's name shows the slice with most of it. */
  private explain(viewer: Viewer): void {
    const { kind, classes } = this.finding.model;
    if (kind !== "mask" && (kind !== "boxes" || classes.length < 2)) return;
    const items = classes.map((name, n) => {
      const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.background = colour(n);
      const title = () => word("legendGo", { name });
      const item =
        kind === "mask"
          ? h("button", { class: "quiet", title, onclick: () => viewer.findMask(n + 1) }, swatch, name)
          : h("span", {}, swatch, name);
      return h("li", {}, item);
    });
    clear(this.legend, ...items);
  }

  private async instead(why: Word): Promise<void> {
    clear(this.host, h("p", { class: "veil", role: "note", text: () => word(why) }));
    this.host.classList.add("still");
    if (!this.finding.files.picture) return;
    try {
      const blob = new Blob([await api.file(this.finding.id, "picture")], { type: "image/png" });
      const image = h("img", { src: URL.createObjectURL(blob), alt: word("picture", { label: this.finding.label ?? "–" }) });
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      this.host.append(image);
    } catch (error) {
      console.error(error);
    }
  }

  setBoxes(boxes: Box[]): void {
    if (!this.boxes) return;
    const { classes } = this.finding.model;
    this.boxes.state.shapes = boxes.map((each, n) => ({
      box: fromArray(each.box),
      label: each.label,
      place: classes.indexOf(each.label),
      caption: [`${n + 1} ${each.label}`, percent(each.score)].filter(Boolean).join(" "),
    }));
    this.boxes.update();
  }

  private toolbar(viewer: Viewer): void {
    const groups: HTMLElement[] = [];
    if (!viewer.coloured) groups.push(this.windows());
    if (!viewer.flat) groups.push(this.planes());
    groups.push(...this.overlays());
    groups.push(h("button", { class: "quiet", text: () => word("reset"), onclick: () => this.reset() }));
    clear(this.tools, ...groups);
  }

  private windows(): HTMLElement {
    const names = windowsFor(this.finding.modality);
    const box = h("select");
    box.addEventListener("change", () => {
      this.setWindow(box.value as WindowName);
      // The keys belong to the image again.
      this.viewer?.canvas.focus();
    });
    box.append(...names.map((name) => h("option", { value: name, text: () => word(windowWord(name)) })));
    this.windowBox = box;
    return h("label", {}, h("span", { text: () => word("window") }), box);
  }

  private planes(): HTMLElement {
    this.planeButtons = PLANES.map((plane) =>
      h("button", { "data-plane": plane, text: () => word(`plane_${plane}`), onclick: () => this.setPlane(plane) }),
    );
    return h("div", { class: "segments", role: "group", label: () => word("plane") }, ...this.planeButtons);
  }

  private overlays(): HTMLElement[] {
    const { files, boxes, model } = this.finding;
    const has = {
      mask: files.mask !== null || model.kind === "mask",
      boxes: boxes.length > 0 || model.kind === "boxes",
      heat: files.heat !== null,
    };
    return (["mask", "boxes", "heat"] as const).filter((name) => has[name]).map((name) => this.overlay(name));
  }

  private overlay(name: Overlay): HTMLElement {
    const entry = this.shown[name];
    const box = h("input", { type: "checkbox", "data-overlay": name });
    box.addEventListener("change", () => this.toggle(name, box.checked));
    box.checked = entry.on;
    entry.set = (on) => {
      box.checked = on;
    };
    const label = () => word("opacity", { what: word(`overlay_${name}`) });
    const slider = h("input", { type: "range", min: 0.1, max: 1, step: 0.05, value: entry.opacity, label, title: label });
    slider.addEventListener("input", () => {
      entry.opacity = Number(slider.value);
      this.apply(name);
    });
    return h("div", { class: "overlay" }, h("label", {}, box, h("span", { text: () => word(`overlay_${name}`) })), slider);
  }

  toggle(name: Overlay, on = !this.shown[name].on): void {
    this.shown[name].on = on;
    this.shown[name].set?.(on);
    this.apply(name);
  }

  private apply(name: Overlay): void {
    const { on, opacity } = this.shown[name];
    if (name === "boxes" && this.boxes) {
      Object.assign(this.boxes.state, { visible: on, opacity });
      this.boxes.update();
    } else if (name === "mask") this.viewer?.setMask(on ? opacity : 0);
    else if (name === "heat") this.viewer?.setHeat(on ? opacity : 0);
  }

  setWindow(name: WindowName): void {
    this.viewer?.setWindow(name);
    if (this.windowBox) this.windowBox.value = name;
    this.viewer?.redraw();
  }

  nextWindow(): void {
    if (this.viewer && !this.viewer.coloured) this.setWindow(following(windowsFor(this.finding.modality), this.viewer.window));
  }

  setPlane(plane: Plane): void {
    if (!this.viewer || this.viewer.flat) return;
    this.viewer.setPlane(plane);
    this.markPlane();
  }

  private markPlane(): void {
    for (const each of this.planeButtons) each.setAttribute("aria-pressed", String(each.dataset.plane === this.viewer?.plane));
  }

  reset(): void {
    this.viewer?.reset();
    this.setWindow("auto");
  }

  private describe(): void {
    if (!this.viewer) return;
    const place = this.viewer.place();
    const { low, high } = this.viewer.shown();
    const unit = this.finding.modality === "CT" ? " HU" : "";
    const range = this.viewer.coloured ? "" : word("values", { low: figure(low), high: figure(high), unit });
    this.caption.textContent = [place ? word("slice", place) : "", range].filter(Boolean).join(" · ");
  }

  end(): void {
    this.viewer?.end();
    this.viewer = null;
  }
}

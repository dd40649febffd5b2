/** Boxes over the canvas: drawn after each scene, and in a correction moved, resized and added with the pointer. */
import { colour } from "./colours";
import { type Box3, drawn, movedTo, type Rect, rectOn, type Tile, withRect } from "./projection";
import type { Viewer } from "./viewer";

const SVG = "http://www.w3.org/2000/svg";
const HANDLE = 9;

export interface Shape {
  box: Box3;
  label: string;
  place: number;
  caption: string;
}

export interface Layer {
  shapes: Shape[];
  chosen: number;
  editing: boolean;
  adding: boolean;
  visible: boolean;
  opacity: number;
}

function svg<K extends keyof SVGElementTagNameMap>(tag: K, facts: Record<string, string | number>): SVGElementTagNameMap[K] {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(facts)) made.setAttribute(name, String(value));
  return made;
}

export class BoxLayer {
  readonly root = svg("svg", { class: "boxes", "aria-hidden": "true" });
  readonly state: Layer = { shapes: [], chosen: -1, editing: false, adding: false, visible: true, opacity: 1 };
  onChange: (place: number, box: Box3) => void = () => undefined;
  onAdd: (box: Box3) => void = () => undefined;
  onChoose: (place: number) => void = () => undefined;

  constructor(private readonly viewer: Viewer) {
    viewer.drawnAgain.push(() => this.update());
    this.root.addEventListener("pointerdown", (event) => this.startAdding(event));
  }

  update(): void {
    this.root.replaceChildren();
    this.root.classList.toggle("adding", this.state.editing && this.state.adding);
    if (!this.state.visible) return;
    const [space, cross, density] = [this.viewer.space(), this.viewer.cross(), this.viewer.density()];
    for (const tile of this.viewer.tiles())
      this.state.shapes.forEach((shape, n) => {
        const rect = rectOn(tile, space, shape.box, cross);
        if (rect) this.root.append(this.outline(shape, n, tile, scaled(rect, 1 / density)));
      });
  }

  private outline(shape: Shape, n: number, tile: Tile, rect: Rect): SVGGElement {
    const chosen = n === this.state.chosen;
    const group = svg("g", { class: chosen ? "box chosen" : "box", "data-box": n, opacity: this.state.opacity });
    const line = { fill: "none", stroke: colour(shape.place), "stroke-width": chosen ? 3 : 2 };
    group.append(svg("rect", { x: rect.x, y: rect.y, width: rect.w, height: rect.h, ...line }));
    const text = svg("text", { x: rect.x + 2, y: Math.max(12, rect.y - 4), fill: colour(shape.place) });
    text.textContent = shape.caption;
    group.append(text);
    if (this.state.editing) this.handles(group, rect, n, tile);
    return group;
  }

  private handles(group: SVGGElement, rect: Rect, n: number, tile: Tile): void {
    const body = svg("rect", { x: rect.x, y: rect.y, width: rect.w, height: rect.h, class: "body" });
    body.addEventListener("pointerdown", (event) => this.drag(event, n, tile, rect, [1, 1, 1, 1]));
    group.append(body);
    // Which of left, top, right and bottom follow the pointer.
    const corners: [number, number, number[]][] = [
      [0, 0, [1, 1, 0, 0]],
      [1, 0, [0, 1, 1, 0]],
      [0, 1, [1, 0, 0, 1]],
      [1, 1, [0, 0, 1, 1]],
    ];
    for (const [fx, fy, sides] of corners) {
      const at = { x: rect.x + fx * rect.w - HANDLE / 2, y: rect.y + fy * rect.h - HANDLE / 2 };
      const handle = svg("rect", { ...at, width: HANDLE, height: HANDLE, class: fx === fy ? "handle falling" : "handle rising" });
      handle.addEventListener("pointerdown", (event) => this.drag(event, n, tile, rect, sides));
      group.append(handle);
    }
  }

  /** Follow the pointer until it is let go; the box is set anew with each move. */
  private drag(event: PointerEvent, n: number, tile: Tile, rect: Rect, sides: number[]): void {
    if (this.state.adding) return;
    event.stopPropagation();
    event.preventDefault();
    this.onChoose(n);
    const space = this.viewer.space();
    const start = { x: event.clientX, y: event.clientY };
    this.follow((move) => {
      const [dx, dy] = [move.clientX - start.x, move.clientY - start.y];
      const [left, top] = [rect.x + dx * (sides[0] as number), rect.y + dy * (sides[1] as number)];
      const [right, bottom] = [rect.x + rect.w + dx * (sides[2] as number), rect.y + rect.h + dy * (sides[3] as number)];
      const moved = scaled(
        { x: Math.min(left, right), y: Math.min(top, bottom), w: Math.abs(right - left), h: Math.abs(bottom - top) },
        this.viewer.density(),
      );
      const shape = this.state.shapes[n];
      const change = sides.every(Boolean) ? movedTo : withRect;
      if (shape) this.onChange(n, change(tile, space, shape.box, moved));
    });
  }

  private startAdding(event: PointerEvent): void {
    if (!this.state.editing || !this.state.adding) return;
    event.preventDefault();
    const density = this.viewer.density();
    const from = this.inside(event);
    const tile = this.viewer.tiles().find((each) => within(each, from.x * density, from.y * density));
    if (!tile) return;
    let rect: Rect = { ...from, w: 0, h: 0 };
    const rubber = svg("rect", { class: "rubber" });
    this.root.append(rubber);
    const show = (move: PointerEvent): void => {
      const to = this.inside(move);
      rect = { x: Math.min(from.x, to.x), y: Math.min(from.y, to.y), w: Math.abs(to.x - from.x), h: Math.abs(to.y - from.y) };
      for (const [name, value] of Object.entries({ x: rect.x, y: rect.y, width: rect.w, height: rect.h }))
        rubber.setAttribute(name, String(value));
    };
    this.follow(show, () => {
      rubber.remove();
      if (rect.w < 3 || rect.h < 3) return;
      this.onAdd(drawn(tile, this.viewer.space(), scaled(rect, density), this.viewer.cross(), this.viewer.spacing()));
    });
  }

  private inside(event: PointerEvent): { x: number; y: number } {
    const frame = this.root.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  }

  private follow(move: (event: PointerEvent) => void, end: () => void = () => undefined): void {
    const stop = (): void => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
      window.removeEventListener("pointercancel", stop);
      end();
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    window.addEventListener("pointercancel", stop);
  }
}

function scaled(rect: Rect, by: number): Rect {
  return { x: rect.x * by, y: rect.y * by, w: rect.w * by, h: rect.h * by };
}

function within(tile: Tile, x: number, y: number): boolean {
  const [left = 0, top = 0, width = 0, height = 0] = tile.leftTopWidthHeight;
  return x >= Math.min(left, left + width) && x <= Math.max(left, left + width) && y >= top && y <= top + height;
}

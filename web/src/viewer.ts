/** One study on a canvas: NiiVue with our windows, planes, overlays and keys. */
import { DRAG_MODE, MULTIPLANAR_TYPE, Niivue, NVImage, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import { COLOURS } from "./colours";
import { h } from "./dom";
import * as nifti from "./nifti";
import { AXES, type Space, type Tile, toNativeAt } from "./projection";
import { type Range, rangeOf, robustOf, type WindowName } from "./windows";

export type Plane = "axial" | "coronal" | "sagittal" | "all" | "render";
export const PLANES: readonly Plane[] = ["axial", "coronal", "sagittal", "all", "render"];
const KINDS: Record<Plane, SLICE_TYPE> = {
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  all: SLICE_TYPE.MULTIPLANAR,
  render: SLICE_TYPE.RENDER,
};
const RGB_TYPES = [128, 2304];

export function hasWebgl2(): boolean {
  return document.createElement("canvas").getContext("webgl2") !== null;
}

/** Let the page answer to keys and draw before the next long step. */
const breath = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

/** What is shown: files as the service gave them, and whether the study is a picture (two spatial axes). */
export interface Material {
  image: ArrayBuffer;
  mask: ArrayBuffer | null;
  heat: ArrayBuffer | null;
  flat: boolean;
}

export class Viewer {
  readonly canvas = h("canvas", { tabindex: 0 });
  /** Called after each drawing of the scene. */
  drawnAgain: (() => void)[] = [];
  plane: Plane = "axial";
  window: WindowName = "auto";
  /** Whether structures of the mask may overlap: it is shown with the last one on top. */
  overlapping = false;
  private readonly nv: Niivue;
  private loaded: Uint8Array | null = null;
  private robust: Range | null = null;
  private heatShown = 0;
  private undoable = false;

  private constructor(readonly flat: boolean) {
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.4, 0.75, 1, 0.7],
      crosshairWidth: flat ? 0 : 0.4,
      crosshairWidthUnit: "percent",
      isRadiologicalConvention: true,
      // A picture is turned to show it as it is stored, so that sides are not known here.
      isOrientationTextVisible: !flat,
      isNearestInterpolation: false,
      dragAndDropEnabled: false,
      dragMode: DRAG_MODE.contrast,
      multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      show3Dcrosshair: false,
      clipPlaneHotKey: "",
      viewModeHotKey: "",
      loadingText: "",
      fontColor: [0.92, 0.95, 1, 1],
      fontMinPx: 18,
      maxDrawUndoBitmaps: 32,
      logLevel: "warn",
    });
  }

  /** Load the files into `host`, which already lies in the document. */
  static async show(host: HTMLElement, material: Material): Promise<Viewer> {
    const made = new Viewer(material.flat);
    // NiiVue's own keys (an alert among them) must not answer; ours are listened to on the window.
    host.addEventListener("keydown", (event) => event.stopPropagation(), { capture: true });
    host.append(made.canvas);
    await made.nv.attachToCanvas(made.canvas);
    await made.load(material);
    return made;
  }

  private async load(material: Material): Promise<void> {
    // Before there is a volume: a change of these colours draws it into its texture again.
    this.palette();
    this.nv.addVolume(await this.volume("image.nii", material.image, "gray", 1, true));
    await breath();
    if (material.heat) this.nv.addVolume(await this.volume("heat.nii", material.heat, "inferno", 0));
    if (material.mask) {
      const mask = await nifti.plainBytes(material.mask);
      this.overlapping = nifti.volumesOf(mask) > 1;
      this.loaded = nifti.labelsOf(mask);
      await breath();
      await this.setLabels(this.loaded);
    }
    this.hook();
    this.setPlane(this.flat ? "axial" : this.acquired());
  }

  private async volume(name: string, file: ArrayBuffer, colormap: string, opacity: number, windowed = false): Promise<NVImage> {
    const bytes = await nifti.plainBytes(file);
    const shown = this.flat ? nifti.asStored(bytes) : bytes;
    // NiiVue takes the window from the header; it would go through every sample twice to guess one.
    if (windowed) this.robust = nifti.windowIn(shown);
    return NVImage.loadFromUrl({ url: name, name, buffer: shown.buffer, colormap, opacity });
  }

  /** NiiVue draws whenever it likes; what lies over the canvas must follow. */
  private hook(): void {
    const draw = this.nv.drawScene.bind(this.nv);
    this.nv.drawScene = () => {
      const said = draw();
      for (const each of this.drawnAgain) each();
      return said;
    };
  }

  private get image(): NVImage {
    const first = this.nv.volumes[0];
    if (!first) throw new Error("no image is loaded");
    return first;
  }

  /** The plane in which the slices were taken: the one across native axis z. */
  private acquired(): Plane {
    const through = this.space().perm.findIndex((p) => Math.abs(p) === 3);
    return (["sagittal", "coronal", "axial"] as const)[through] ?? "axial";
  }

  space(): Space {
    const dims = this.image.hdr?.dims ?? [];
    const corner = (share: number): nifti.Triple =>
      [...this.image.convertFrac2MM([share, share, share])].slice(0, 3) as unknown as nifti.Triple;
    return {
      dims: dims.slice(1, 4) as unknown as nifti.Triple,
      perm: this.image.permRAS as unknown as nifti.Perm,
      mm0: corner(0),
      mm1: corner(1),
    };
  }

  /** Native spacing (x, y, z) in mm. */
  spacing(): nifti.Triple {
    return (this.image.hdr?.pixDims ?? [1, 1, 1, 1]).slice(1, 4).map((value) => Math.abs(value) || 1) as unknown as nifti.Triple;
  }

  tiles(): Tile[] {
    return this.nv.screenSlices.filter((tile) => tile.axCorSag < SLICE_TYPE.MULTIPLANAR);
  }

  /** Position of the crosshair as shares of the RAS axes. */
  cross(): number[] {
    return [...this.nv.scene.crosshairPos];
  }

  /** Canvas pixels in one CSS pixel. */
  density(): number {
    return this.canvas.clientWidth > 0 ? this.canvas.width / this.canvas.clientWidth : 1;
  }

  get coloured(): boolean {
    return RGB_TYPES.includes(this.image.hdr?.datatypeCode ?? 0);
  }

  setPlane(plane: Plane): void {
    this.plane = plane;
    this.nv.setSliceType(KINDS[plane]);
  }

  setWindow(name: WindowName): Range {
    this.window = name;
    const image = this.image;
    this.robust ??= robustOf((image.img ?? []) as ArrayLike<number>, image.hdr?.scl_slope || 1, image.hdr?.scl_inter ?? 0);
    const robust = this.robust;
    const range = rangeOf(name, robust, { low: image.global_min ?? 0, high: image.global_max ?? 1 });
    if (!this.coloured && (image.cal_min !== range.low || image.cal_max !== range.high)) {
      image.cal_min = range.low;
      image.cal_max = range.high;
      this.nv.updateGLVolume();
    }
    return range;
  }

  /** Move by slices through the current plane. */
  scroll(by: number): void {
    const axis = AXES[KINDS[this.plane]]?.[2] ?? 2;
    this.nv.moveCrosshairInVox(axis === 0 ? by : 0, axis === 1 ? by : 0, axis === 2 ? by : 0);
  }

  /** Number of the slice shown (from 1) and how many there are; null where that has no meaning. */
  place(): { k: number; n: number } | null {
    const axis = AXES[KINDS[this.plane]]?.[2];
    const n = axis === undefined ? 1 : (this.image.dimsRAS?.[axis + 1] ?? 1);
    return axis === undefined || n < 2 ? null : { k: Math.min(n, Math.floor((this.cross()[axis] as number) * n) + 1), n };
  }

  /** Show the slice (across native z) with most of a label; of any label, only where the slice shown has none. */
  findMask(label = 0): void {
    const { dims, perm } = this.space();
    if (!this.nv.drawBitmap || dims[2] < 2) return;
    const counts = nifti.countAcross(this.nv.drawBitmap, dims, perm, label);
    const axis = perm.findIndex((p) => Math.abs(p) === 3);
    const now = Math.floor(toNativeAt(this.space(), axis, this.cross()[axis] as number));
    const most = counts.indexOf(Math.max(...counts));
    if (!counts[most] || (label === 0 && counts[now])) return;
    this.goTo([...this.here().slice(0, 2), most + 0.5]);
  }

  /** Put the crosshair on a native point, so that its slices are shown. */
  goTo(point: number[]): void {
    const space = this.space();
    const shares = [0, 1, 2].map((ras) => {
      const axis = Math.abs(space.perm[ras] as number) - 1;
      const share = (point[axis] as number) / (space.dims[axis] as number);
      return (space.perm[ras] as number) < 0 ? 1 - share : share;
    });
    this.nv.scene.crosshairPos = shares as unknown as typeof this.nv.scene.crosshairPos;
    this.nv.drawScene();
  }

  zoom(factor: number): void {
    const [x = 0, y = 0, z = 0, scale = 1] = [...this.nv.scene.pan2Dxyzmm];
    this.nv.setPan2Dxyzmm([x, y, z, Math.min(10, Math.max(0.5, scale * factor))]);
  }

  reset(): void {
    this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    this.setWindow("auto");
  }

  setHeat(opacity: number): void {
    this.heatShown = opacity;
    if (this.nv.volumes.length > 1) this.nv.setOpacity(1, this.heatShown);
  }

  setMask(opacity: number): void {
    this.nv.setDrawOpacity(opacity);
  }

  /** Labels in native order become the drawing, which can be edited. */
  private async setLabels(labels: Uint8Array): Promise<void> {
    const { dims, perm } = this.space();
    if (labels.length !== dims[0] * dims[1] * dims[2]) throw new Error("the mask has another shape than the image");
    this.emptyDrawing();
    await breath();
    this.nv.drawBitmap = nifti.toRas(labels, dims, perm);
    await breath();
    this.nv.refreshDrawing(true);
  }

  /** A drawing without a sample. NiiVue packs and uploads an empty one at once, and keeps another for a tool that is not offered here: left out. */
  private emptyDrawing(): void {
    const { nv } = this;
    const nothing = { drawAddUndoBitmap: () => undefined, refreshDrawing: () => undefined };
    Object.assign(nv, nothing);
    nv.createEmptyDrawing();
    for (const name of Object.keys(nothing)) Reflect.deleteProperty(nv, name);
    nv.clickToSegmentGrowingBitmap = null;
    this.undoable = false;
  }

  /** The drawing is now what `restore` goes back to. */
  keep(): void {
    this.loaded = this.labels();
  }

  /** The drawing as it was loaded or kept. */
  async restore(): Promise<void> {
    const { dims } = this.space();
    await this.setLabels(this.loaded ?? new Uint8Array(dims[0] * dims[1] * dims[2]));
  }

  /** Labels in native order as they are drawn now; null where there is no drawing. */
  labels(): Uint8Array<ArrayBuffer> | null {
    const { dims, perm } = this.space();
    return this.nv.drawBitmap ? nifti.toNative(this.nv.drawBitmap, dims, perm) : null;
  }

  private palette(): void {
    const all = [[0, 0, 0] as const, ...COLOURS];
    const channel = (k: 0 | 1 | 2): number[] => all.map((each) => each[k]);
    const map = { R: channel(0), G: channel(1), B: channel(2), A: all.map((_, n) => (n ? 255 : 0)), I: all.map((_, n) => n) };
    this.nv.setDrawColormap(map as unknown as string);
  }

  /** A pen of that label (0 erases); null puts the pen away. */
  setPen(label: number | null, size = 1): void {
    if (label !== null && !this.nv.drawBitmap) this.emptyDrawing();
    if (label !== null && !this.undoable) {
      // What undo goes back to is packed only when somebody begins to draw.
      this.nv.drawAddUndoBitmap();
      this.undoable = true;
    }
    this.nv.opts.penSize = size;
    this.nv.setPenValue(label ?? 0, false);
    this.nv.setDrawingEnabled(label !== null);
  }

  undo(): void {
    this.nv.drawUndo();
  }

  onMaskChanged(listener: () => void): void {
    this.nv.onDrawingChanged = listener;
  }

  redraw(): void {
    this.nv.drawScene();
  }

  /** Value range shown now, for the caption. */
  shown(): Range {
    return { low: this.image.cal_min ?? 0, high: this.image.cal_max ?? 1 };
  }

  /** Release listeners and the graphics context; a browser grants only a few. */
  end(): void {
    this.drawnAgain = [];
    this.nv.cleanup();
    this.nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
    this.canvas.remove();
  }

  /** Native coordinate of the crosshair on each axis. */
  here(): number[] {
    const space = this.space();
    const made = [0, 0, 0];
    for (const ras of [0, 1, 2]) made[Math.abs(space.perm[ras] as number) - 1] = toNativeAt(space, ras, this.cross()[ras] as number);
    return made;
  }
}

/** From samples of the study to the screen and back, for boxes that are drawn over NiiVue's canvas. Pure. */
import type { Perm, Triple } from "./nifti";

/** A box on native axes (x, y, z), continuous edges: sample i covers i .. i + 1. */
export interface Box3 {
  low: [number, number, number];
  high: [number, number, number];
}

export interface Rect {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** One slice on the canvas as NiiVue draws it: pixels, plane (0 axial, 1 coronal, 2 sagittal), and what part of the space it shows. */
export interface Tile {
  leftTopWidthHeight: number[];
  axCorSag: number;
  leftTopMM: number[];
  fovMM: number[];
}

/** The volume: native size, order of axes, and the (axis-aligned) millimetres of its corners 0,0,0 and 1,1,1. */
export interface Space {
  dims: Triple;
  perm: Perm;
  mm0: Triple;
  mm1: Triple;
}

/** RAS axes of a plane: across, up, through. */
export const AXES: readonly (readonly [number, number, number])[] = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 2, 0],
];

/** Array order ((z,) y, x) to native axes (x, y, z); a picture is one sample thick. */
export function fromArray(box: number[]): Box3 {
  const ndim = box.length / 2;
  const side = (at: number): number[] => box.slice(at, at + ndim).reverse();
  const [low, high] = [side(0), side(ndim)];
  if (ndim === 2) {
    low.push(0);
    high.push(1);
  }
  return { low: low as Box3["low"], high: high as Box3["high"] };
}

export function toArray(box: Box3, ndim: number): number[] {
  const side = (corner: number[]): number[] => corner.slice(0, ndim).reverse();
  return [...side(box.low), ...side(box.high)];
}

const nativeAxis = (space: Space, ras: number): number => Math.abs(space.perm[ras] as number) - 1;

/** Share of the way along a RAS axis at a native coordinate, and back (the same formula both ways but for the size). */
function toFrac(space: Space, ras: number, native: number): number {
  const share = native / (space.dims[nativeAxis(space, ras)] as number);
  return (space.perm[ras] as number) < 0 ? 1 - share : share;
}

export function toNativeAt(space: Space, ras: number, frac: number): number {
  return ((space.perm[ras] as number) < 0 ? 1 - frac : frac) * (space.dims[nativeAxis(space, ras)] as number);
}

const mmOf = (space: Space, ras: number, frac: number): number =>
  (space.mm0[ras] as number) + frac * ((space.mm1[ras] as number) - (space.mm0[ras] as number));
const fracOf = (space: Space, ras: number, mm: number): number =>
  (mm - (space.mm0[ras] as number)) / ((space.mm1[ras] as number) - (space.mm0[ras] as number));

/** Left, top, width, height with a positive width, and whether the slice is mirrored (radiological convention). */
function placed(tile: Tile): { x: number; y: number; w: number; h: number; mirrored: boolean } {
  const [x = 0, y = 0, w = 1, h = 1] = tile.leftTopWidthHeight;
  return w < 0 ? { x: x + w, y, w: -w, h, mirrored: true } : { x, y, w, h, mirrored: false };
}

/** Canvas pixels of a native point on a slice. */
export function toScreen(tile: Tile, space: Space, point: number[]): [number, number] {
  const [across, up] = AXES[tile.axCorSag] as readonly [number, number, number];
  const at = placed(tile);
  const share = (ras: number, k: number): number =>
    (mmOf(space, ras, toFrac(space, ras, point[nativeAxis(space, ras)] as number)) - (tile.leftTopMM[k] as number)) /
    (tile.fovMM[k] as number);
  const fx = share(across, 0);
  return [at.x + (at.mirrored ? 1 - fx : fx) * at.w, at.y + (1 - share(up, 1)) * at.h];
}

/** Native coordinates on the two axes of a slice at canvas pixels: `[[axis, value], [axis, value]]`. */
export function toPoint(tile: Tile, space: Space, x: number, y: number): [[number, number], [number, number]] {
  const [across, up] = AXES[tile.axCorSag] as readonly [number, number, number];
  const at = placed(tile);
  const fx = (x - at.x) / at.w;
  const shares: [number, number] = [at.mirrored ? 1 - fx : fx, 1 - (y - at.y) / at.h];
  const native = (ras: number, k: 0 | 1): [number, number] => {
    const mm = (tile.leftTopMM[k] as number) + shares[k] * (tile.fovMM[k] as number);
    return [nativeAxis(space, ras), toNativeAt(space, ras, fracOf(space, ras, mm))];
  };
  return [native(across, 0), native(up, 1)];
}

/** Where a box meets the slice at the crosshair `cross` (RAS shares); null when the slice does not cut it. */
export function rectOn(tile: Tile, space: Space, box: Box3, cross: number[]): Rect | null {
  const axes = AXES[tile.axCorSag];
  if (!axes) return null;
  const through = nativeAxis(space, axes[2]);
  const here = toNativeAt(space, axes[2], cross[axes[2]] as number);
  if (here < (box.low[through] as number) || here > (box.high[through] as number)) return null;
  const [x1, y1] = toScreen(tile, space, box.low);
  const [x2, y2] = toScreen(tile, space, box.high);
  return { x: Math.min(x1, x2), y: Math.min(y1, y2), w: Math.abs(x2 - x1), h: Math.abs(y2 - y1) };
}

/** The box whose outline on a slice became `rect`; it stays within the volume and at least half a sample wide. */
export function withRect(tile: Tile, space: Space, box: Box3, rect: Rect): Box3 {
  const corners = [toPoint(tile, space, rect.x, rect.y), toPoint(tile, space, rect.x + rect.w, rect.y + rect.h)] as const;
  let made = box;
  for (const k of [0, 1] as const) {
    const axis = corners[0][k][0];
    made = withAxis(made, axis, corners[0][k][1], corners[1][k][1], space.dims[axis] as number);
  }
  return made;
}

/** The box moved on a slice so that its outline begins where `rect` does; its size stays. */
export function movedTo(tile: Tile, space: Space, box: Box3, rect: Rect): Box3 {
  const corners = [toPoint(tile, space, rect.x, rect.y), toPoint(tile, space, rect.x + rect.w, rect.y + rect.h)] as const;
  let made = box;
  for (const k of [0, 1] as const) {
    const axis = corners[0][k][0];
    const by = Math.min(corners[0][k][1], corners[1][k][1]) - (box.low[axis] as number);
    made = shifted(made, axis, by, space.dims[axis] as number);
  }
  return made;
}

export const THINNEST = 0.5;

/** The box with other edges on one native axis. */
export function withAxis(box: Box3, axis: number, a: number, b: number, size: number): Box3 {
  const low = Math.min(Math.max(Math.min(a, b), 0), size - THINNEST);
  const high = Math.max(Math.min(Math.max(a, b), size), low + THINNEST);
  const set = (side: Box3["low"], value: number): Box3["low"] => side.map((each, n) => (n === axis ? value : each)) as Box3["low"];
  return { low: set(box.low, low), high: set(box.high, high) };
}

/** Moved along a native axis as a whole; it stops at the border. */
export function shifted(box: Box3, axis: number, by: number, size: number): Box3 {
  const [low, high] = [box.low[axis] as number, box.high[axis] as number];
  const step = Math.max(-low, Math.min(by, size - high));
  return withAxis(box, axis, low + step, high + step, size);
}

/** One drawn on a slice: through the slice it is as thick as it is wide on average, in millimetres, and at least one sample. */
export function drawn(tile: Tile, space: Space, rect: Rect, cross: number[], spacing: Triple): Box3 {
  const axes = AXES[tile.axCorSag] as readonly [number, number, number];
  const through = nativeAxis(space, axes[2]);
  const flat = withRect(tile, space, { low: [0, 0, 0], high: [1, 1, 1] }, rect);
  const wide = [0, 1, 2]
    .filter((n) => n !== through)
    .map((n) => ((flat.high[n] as number) - (flat.low[n] as number)) * (spacing[n] as number));
  const thick = Math.max(1, Math.round((((wide[0] as number) + (wide[1] as number)) / 2 / (spacing[through] as number)) * 2) / 2);
  const here = Math.floor(toNativeAt(space, axes[2], cross[axes[2]] as number)) + 0.5;
  return withAxis(flat, through, here - thick / 2, here + thick / 2, space.dims[through] as number);
}

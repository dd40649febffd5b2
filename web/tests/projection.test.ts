import { describe, expect, it } from "vitest";
import {
  type Box3,
  drawn,
  fromArray,
  movedTo,
  rectOn,
  type Space,
  shifted,
  type Tile,
  toArray,
  toPoint,
  toScreen,
  withAxis,
  withRect,
} from "../src/projection";

/** 20 x 30 x 10 samples of 1 x 1 x 2 mm, native x to the left and y to the back (LPS), shown whole at 4 pixels a millimetre. */
const SPACE: Space = { dims: [20, 30, 10], perm: [-1, -2, 3], mm0: [0, 0, 0], mm1: [20, 30, 20] };
const AXIAL: Tile = { leftTopWidthHeight: [10, 5, -80, 120], axCorSag: 0, leftTopMM: [0, 0], fovMM: [20, 30] };
const CORONAL: Tile = { leftTopWidthHeight: [100, 0, 80, 80], axCorSag: 1, leftTopMM: [0, 0], fovMM: [20, 20] };
const BOX: Box3 = { low: [4, 6, 2], high: [8, 12, 5] };
const MIDDLE = [0.5, 0.5, 0.35];

describe("boxes", () => {
  it("go from array order to native axes and back", () => {
    expect(fromArray([2, 6, 4, 5, 12, 8])).toEqual(BOX);
    expect(toArray(BOX, 3)).toEqual([2, 6, 4, 5, 12, 8]);
    expect(toArray(fromArray([6, 4, 12, 8]), 2)).toEqual([6, 4, 12, 8]);
  });

  it("are drawn where their samples are", () => {
    // Mirrored (radiological) and turned axes cancel out: native x runs to the right, native y down.
    const rect = rectOn(AXIAL, SPACE, BOX, MIDDLE);
    expect([rect?.x, rect?.y, rect?.w, rect?.h].map((value) => Math.round((value ?? 0) * 1e6) / 1e6)).toEqual([
      -70 + 4 * 4,
      5 + 6 * 4,
      16,
      24,
    ]);
  });

  it("are not drawn on slices that miss them", () => {
    expect(rectOn(AXIAL, SPACE, BOX, [0.5, 0.5, 0.55])).toBeNull();
    expect(rectOn(CORONAL, SPACE, BOX, [0.5, 0.9, 0.35])).toBeNull();
    expect(rectOn(CORONAL, SPACE, BOX, [0.5, 0.7, 0.35])).not.toBeNull();
  });
});

describe("the pointer", () => {
  it("meets the sample that it shows", () => {
    for (const tile of [AXIAL, CORONAL]) {
      const point = [3, 7, 6];
      for (const [axis, value] of toPoint(tile, SPACE, ...toScreen(tile, SPACE, point)))
        expect(value).toBeCloseTo(point[axis] as number, 6);
    }
  });

  it("resizes on the two axes of the slice only", () => {
    const rect = rectOn(AXIAL, SPACE, BOX, MIDDLE);
    if (!rect) throw new Error("the box is not on the slice");
    const made = withRect(AXIAL, SPACE, BOX, { ...rect, w: rect.w + 8 });
    expect(made.high[0]).toBeCloseTo(10, 6);
    expect([made.low[2], made.high[2]]).toEqual([2, 5]);
  });

  it("moves a box whole, and not out of the study", () => {
    const rect = rectOn(AXIAL, SPACE, BOX, MIDDLE);
    if (!rect) throw new Error("the box is not on the slice");
    const made = movedTo(AXIAL, SPACE, BOX, { ...rect, x: rect.x - 400 });
    expect(made.low[0]).toBe(0);
    expect(made.high[0]).toBeCloseTo(4, 6);
  });

  it("draws a box as thick as it is wide", () => {
    const made = drawn(AXIAL, SPACE, { x: -70 + 16, y: 5 + 24, w: 24, h: 24 }, MIDDLE, [1, 1, 2]);
    expect(made.high[0] - made.low[0]).toBeCloseTo(6, 6);
    expect(made.high[2] - made.low[2]).toBeCloseTo(3, 6);
    expect((made.low[2] + made.high[2]) / 2).toBeCloseTo(3.5, 6);
  });
});

it("keys move and resize within the study", () => {
  expect(shifted(BOX, 0, 100, 20).high[0]).toBe(20);
  expect(shifted(BOX, 0, 100, 20).low[0]).toBe(16);
  expect(withAxis(BOX, 1, 6, 2, 30)).toEqual({ low: [4, 2, 2], high: [8, 6, 5] });
  expect(withAxis(BOX, 1, 6, 6, 30).high[1]).toBe(6.5);
});

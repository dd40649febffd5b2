import { describe, expect, it } from "vitest";
import {
  asStored,
  countAcross,
  dimsOf,
  gzipped,
  labelsOf,
  maskFile,
  type Perm,
  plainBytes,
  toNative,
  toRas,
  volumesOf,
  windowIn,
} from "../src/nifti";

const LABELS = Uint8Array.from({ length: 2 * 3 * 4 }, (_, n) => n % 5);

describe("label maps", () => {
  it("survive writing and reading", () => {
    const file = maskFile(LABELS, [2, 3, 4]);
    expect(dimsOf(file)).toEqual([2, 3, 4]);
    expect(labelsOf(file)).toEqual(LABELS);
  });

  it("survive gzip, and what is not packed stays as it is", async () => {
    const file = maskFile(LABELS, [2, 3, 4]);
    const packed = await gzipped(file);
    expect(packed.length).toBeLessThan(file.length);
    expect(await plainBytes(packed.buffer)).toEqual(file);
    expect(await plainBytes(file.buffer)).toEqual(file);
  });

  it("of structures that overlap are shown with the last one on top", () => {
    const file = maskFile(Uint8Array.from([1, 1, 0, 0, 0, 1, 1, 0]), [4, 1, 1]);
    new DataView(file.buffer).setInt16(40, 4, true);
    new DataView(file.buffer).setInt16(48, 2, true);
    expect(volumesOf(file)).toBe(2);
    expect([...labelsOf(file)]).toEqual([1, 2, 2, 0]);
  });

  it("are refused when they are no NIfTI", () => {
    expect(() => dimsOf(new Uint8Array(400))).toThrow("not a NIfTI-1 file");
  });
});

describe("order of axes", () => {
  const perms: Perm[] = [
    [1, 2, 3],
    [-1, -2, 3],
    [2, 3, 1],
    [-3, 1, -2],
  ];
  it.each(perms)("there and back by %s %s %s", (...perm) => {
    expect(toNative(toRas(LABELS, [2, 3, 4], perm as unknown as Perm), [2, 3, 4], perm as unknown as Perm)).toEqual(LABELS);
  });

  it("puts the first native sample last along a turned axis", () => {
    const first = new Uint8Array(6);
    first[0] = 7;
    // Native 2 x 3 x 1: RAS x runs along native x backwards.
    expect([...toRas(first, [2, 3, 1], [-1, 2, 3])]).toEqual([0, 7, 0, 0, 0, 0]);
    // RAS x runs along native y.
    expect([...toRas(Uint8Array.from([0, 0, 7, 0, 0, 0]), [2, 3, 1], [2, 1, 3])]).toEqual([0, 7, 0, 0, 0, 0]);
  });
});

it.each([[1, 2, 3] as Perm, [1, 2, -3] as Perm, [3, -1, 2] as Perm])("counts labels across native z by %s %s %s", (...perm) => {
  const [dims, labels] = [[2, 3, 4] as const, new Uint8Array(24)];
  labels.fill(2, 6, 9);
  labels[23] = 1;
  const ras = toRas(labels, dims, perm as unknown as Perm);
  expect(countAcross(ras, dims, perm as unknown as Perm, 0)).toEqual([0, 3, 0, 1]);
  expect(countAcross(ras, dims, perm as unknown as Perm, 1)).toEqual([0, 0, 0, 1]);
});

it("writes a window into the header that leaves out one per cent at either end", () => {
  const file = new Uint8Array(352 + 2 * 1001);
  file.set(maskFile(new Uint8Array(0), [1001, 1, 1]).slice(0, 352));
  const view = new DataView(file.buffer);
  view.setInt16(70, 4, true);
  view.setFloat32(112, 2, true);
  view.setFloat32(116, -5, true);
  for (let n = 0; n < 1001; n++) view.setInt16(352 + 2 * n, n, true);
  expect(windowIn(file)).toEqual({ low: 15, high: 1975 });
  expect([view.getFloat32(128, true), view.getFloat32(124, true)]).toEqual([15, 1975]);
  expect(windowIn(maskFile(new Uint8Array(8), [2, 2, 2]))).toBeNull();
});

it("shows a picture as it is stored: columns to the patient's left, rows to the back", () => {
  const view = new DataView(asStored(maskFile(LABELS, [6, 4, 1])).buffer);
  const affine = Array.from({ length: 12 }, (_, n) => view.getFloat32(280 + 4 * n, true));
  expect([view.getInt16(252, true), view.getInt16(254, true)]).toEqual([0, 1]);
  expect(affine).toEqual([-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0]);
});

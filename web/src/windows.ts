/** Windows for grey values: centre and width in Hounsfield units for CT, else from the image itself. Pure. */
import type { Word } from "./words";

export type WindowName = "auto" | "lung" | "mediastinum" | "bone" | "brain" | "abdomen" | "full";

/** Centre and width in HU as commonly used in reading rooms. */
const HOUNSFIELD: Partial<Record<WindowName, readonly [number, number]>> = {
  lung: [-600, 1500],
  mediastinum: [40, 400],
  bone: [400, 1800],
  brain: [40, 80],
  abdomen: [60, 400],
};

export interface Range {
  low: number;
  high: number;
}

/** The windows that make sense for a modality (DICOM CS); only CT has absolute units. */
export function windowsFor(modality: string | null | undefined): WindowName[] {
  return modality === "CT" ? ["auto", "lung", "mediastinum", "bone", "brain", "abdomen", "full"] : ["auto", "full"];
}

/** Lowest and highest shown value. `robust` holds 2 % to 98 % of the samples, `full` all of them. */
export function rangeOf(name: WindowName, robust: Range, full: Range): Range {
  const preset = HOUNSFIELD[name];
  if (preset) return { low: preset[0] - preset[1] / 2, high: preset[0] + preset[1] / 2 };
  const chosen = name === "full" ? full : robust;
  return chosen.high > chosen.low ? chosen : { low: full.low, high: Math.max(full.high, full.low + 1) };
}

const SAMPLES = 50_000;

/** The values below which 1 % and 99 % of the samples lie (of at most 50,000 of them, evenly taken), with slope and intercept applied. */
export function robustOf(samples: ArrayLike<number>, slope: number, intercept: number): Range {
  const step = Math.max(1, Math.floor(samples.length / SAMPLES));
  const taken = Float32Array.from({ length: Math.floor(samples.length / step) }, (_, n) => samples[n * step] as number).sort();
  const at = (share: number): number => (taken[Math.round(share * (taken.length - 1))] ?? 0) * slope + intercept;
  return { low: at(0.01), high: at(0.99) };
}

export const windowWord = (name: WindowName): Word => `window_${name}`;

/** The one after `name`, around the end. */
export function following<T>(list: readonly T[], one: T): T {
  return list[(list.indexOf(one) + 1) % list.length] as T;
}

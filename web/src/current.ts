/** What stands for a finding now: the model's answer, or the last correction. Pure. */
import type { Box, Decided, Finding } from "./types";

export interface Current {
  label: string;
  boxes: Box[];
  /** Which file holds the mask; null where there is none. */
  mask: "mask" | "corrected" | null;
  /** The correction that is shown, null for the model's own answer. */
  by: Decided | null;
}

/** A correction replaces what it names; accepting or rejecting afterwards speaks of the model's own answer again. */
export function current(finding: Finding): Current {
  const last = finding.decisions.at(-1);
  const by = last?.action === "correct" && last.correction ? last : null;
  const correction = by?.correction ?? {};
  return {
    label: correction.label ?? finding.label ?? "",
    boxes: correction.boxes ?? finding.boxes,
    mask: correction.mask ? "corrected" : finding.files.mask ? "mask" : null,
    by,
  };
}

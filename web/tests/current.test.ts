import { expect, it } from "vitest";
import { current } from "../src/current";
import type { Decided, Finding } from "../src/types";

const box = (label: string) => ({ box: [0, 0, 1, 1], label });
const finding = (decisions: Partial<Decided>[]): Finding =>
  ({ label: "a", boxes: [box("a")], files: { image: "i", mask: "m", heat: null, picture: null }, decisions }) as unknown as Finding;

it("shows the model's answer until somebody corrects it", () => {
  expect(current(finding([]))).toMatchObject({ label: "a", boxes: [box("a")], mask: "mask", by: null });
  expect(current(finding([{ action: "accept" }])).by).toBeNull();
});

it("shows what the last correction names, and nothing else of it", () => {
  const shown = current(finding([{ action: "correct", user: "ada", correction: { boxes: [] } }]));
  expect(shown).toMatchObject({ label: "a", boxes: [], mask: "mask" });
  expect(shown.by?.user).toBe("ada");
  expect(current(finding([{ action: "correct", correction: { mask: "edited" } }])).mask).toBe("corrected");
});

it("returns to the model's answer when a later decision accepts it", () => {
  const decisions: Partial<Decided>[] = [{ action: "correct", correction: { label: "b" } }, { action: "accept" }];
  expect(current(finding(decisions))).toMatchObject({ label: "a", by: null });
});

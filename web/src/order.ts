/** Pure helpers of the worklist: the order of rows and how facts are said. */
import type { Row } from "./types";
import { type Word, word } from "./words";

/** The most urgent first; of equal urgency the one that has waited longest; then by id, so that the order never flickers. */
export function byUrgency(a: Row, b: Row): number {
  return b.urgency - a.urgency || (a.received ?? 0) - (b.received ?? 0) || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

/** "Doe^Jane^^Dr" (PS3.5, PN) as "Doe, Jane"; of several representations the first is taken ("Wang^Xiaodong=王^小東"). */
export function personName(name: string | null, zh = false): string {
  const groups = (name ?? "").split("=");
  const chosen = (zh ? groups[1] : groups[0]) || groups.find((group) => group.length > 0) || "";
  const [family = "", given = "", middle = ""] = chosen.split("^").map((part) => part.trim());
  const ideographic = /\p{Script=Han}/u.test(family);
  const rest = [given, middle].filter(Boolean).join(ideographic ? "" : " ");
  return ideographic ? family + rest : [family, rest].filter(Boolean).join(", ");
}

/** "20260131" (PS3.5, DA) or "2026-01-31" as "2026-01-31"; other texts as they are. */
export function dicomDate(date: string | null | undefined): string {
  const digits = /^(\d{4})-?(\d{2})-?(\d{2})/.exec(date ?? "");
  return digits ? `${digits[1]}-${digits[2]}-${digits[3]}` : (date ?? "");
}

/** Seconds since 1970 as "3 min", "5 h", "2 d" before now (seconds). */
export function waited(since: number | null, now: number): string {
  if (since === null) return "";
  const minutes = Math.max(0, Math.round((now - since) / 60));
  if (minutes < 60) return word("minutesAgo", { n: minutes });
  return minutes < 48 * 60 ? word("hoursAgo", { n: Math.round(minutes / 60) }) : word("daysAgo", { n: Math.round(minutes / 1440) });
}

const SPANS: Record<string, Word> = { Y: "years", M: "months", W: "weeks", D: "days" };

/** An age as DICOM writes it ("065Y", "006M"; PS3.5, AS) or a bare number of years; other texts as they are. */
export function aged(age: string | number | null | undefined): string {
  const found = /^0*(\d+)([YMWD]?)$/.exec(String(age ?? "").trim());
  return found ? word(SPANS[found[2] || "Y"] as Word, { n: found[1] as string }) : String(age ?? "");
}

/** Sex of the patient (PS3.3 C.7.1.1: F, M, O); other texts as they are. */
export const sexOf = (sex: string | null | undefined): string => (sex && /^[FMO]$/.test(sex) ? word(`sex_${sex}` as Word) : (sex ?? ""));

/** A probability as per cent; 0 and 100 are never claimed. */
export function percent(p: number | null | undefined): string {
  if (p === null || p === undefined || !Number.isFinite(p)) return "";
  if (p < 0.005) return "< 1 %";
  return p > 0.995 ? "> 99 %" : `${Math.round(p * 100)} %`;
}

/** Several labels as they are read: "a|b" as "a, b". */
export const labels = (label: string | null): string => (label ?? "").split("|").filter(Boolean).join(", ") || "–";

/** A unit as it is written: "mm3" as "mm³"; a bare count has none. */
export const unitOf = (unit: string): string =>
  unit === "1" ? "" : unit.replace(/^(mm|cm)([23])$/, (_, name: string, power: string) => name + (power === "2" ? "²" : "³"));

/** A number with at most three significant digits, large ones whole. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return Math.abs(value) >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}

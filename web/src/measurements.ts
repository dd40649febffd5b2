/** What measurements are called and how they are said; the names are those of `vesalius.outputs`. Pure. */
import { figure, percent, unitOf } from "./order";
import type { Finding, Measurement } from "./types";
import { everyWord, type Word, word } from "./words";

const FIRST = [
  "volume",
  "area",
  "longest_diameter",
  "perpendicular_diameter",
  "longest_diameter_3d",
  "n_components",
  "count",
  "surest",
  "median",
];
/** Cubic millimetres from which a volume is said in millilitres. */
const MILLILITRE = 1000;
const known = new Set<string>(everyWord().map(([name]) => name));

/** A name without its unit: "longest_diameter_mm" is "longest_diameter". */
export const baseOf = (name: string): string => name.replace(/_(mm|pixel)[23]?$/, "");

/** What a measurement is called; a name that this page does not know is shown with spaces. */
export function nameOf(measurement: Measurement): string {
  const name = `measure_${baseOf(measurement.name)}`;
  return known.has(name) ? word(name as Word) : measurement.name.replaceAll("_", " ");
}

/** The unit of "size" is that of the volume or area beside it. */
function unitIn(measurement: Measurement, all: readonly Measurement[]): string {
  if (!/size$/.test(measurement.name)) return measurement.unit;
  const beside = all.find((each) => each.class === measurement.class && /^(volume|area)_/.test(each.name));
  return beside?.unit ?? measurement.unit;
}

/** Value and unit as they are read. */
export function figureOf(measurement: Measurement, finding: Pick<Finding, "measurements" | "modality">): string {
  const { value, name } = measurement;
  const unit = unitIn(measurement, finding.measurements);
  if (baseOf(name) === "surest") return percent(value);
  if (baseOf(name) === "slice" && value !== null) return String(value + 1);
  if (unit === "mm3" && value !== null && value >= MILLILITRE) return `${figure(value / MILLILITRE)} mL`;
  if (name.startsWith("intensity_")) return finding.modality === "CT" ? `${figure(value)} HU` : figure(value);
  const pixels = /^pixel([23]?)$/.exec(unit);
  if (pixels) return `${figure(value)} ${word("unit_pixel")}${pixels[1] === "2" ? "²" : pixels[1] === "3" ? "³" : ""}`;
  return ["count", "number"].includes(unit) ? figure(value) : `${figure(value)} ${unitOf(unit)}`.trim();
}

export interface Group {
  class: string;
  first: Measurement[];
  further: Measurement[];
}

/** Measurements by class, the usual ones first and in a fixed order; "size" only where neither volume nor area says the same. */
export function grouped(all: readonly Measurement[]): Group[] {
  const classes = [...new Set(all.map((each) => each.class ?? ""))];
  return classes.map((name) => {
    const own = all.filter((each) => (each.class ?? "") === name);
    const told = own.some((each) => /^(volume|area)/.test(each.name)) ? own.filter((each) => each.name !== "size") : own;
    const place = (each: Measurement): number => FIRST.indexOf(baseOf(each.name));
    const first = told.filter((each) => place(each) >= 0).sort((a, b) => place(a) - place(b));
    return { class: name, first, further: told.filter((each) => place(each) < 0) };
  });
}

import { afterEach, describe, expect, it, vi } from "vitest";
import { sentence } from "../src/api";
import { figureOf, grouped, nameOf } from "../src/measurements";
import { aged, byUrgency, dicomDate, figure, labels, percent, personName, sexOf, unitOf, waited } from "../src/order";
import { setLanguage } from "../src/prefs";
import type { Measurement, Row } from "../src/types";
import { rangeOf, robustOf, windowsFor } from "../src/windows";
import { everyWord, gapsOf } from "../src/words";

const row = (id: string, urgency: number, received: number): Row => ({ id, urgency, received }) as Row;

it("sorts by urgency, then by waiting, then by id", () => {
  const rows = [row("d", 0.2, 1), row("c", 0.9, 5), row("b", 0.9, 3), row("a", 0.9, 5)];
  expect(rows.sort(byUrgency).map((each) => each.id)).toEqual(["b", "a", "c", "d"]);
});

describe("facts of DICOM", () => {
  it("names people as they are called", () => {
    expect(personName("Doe^Jane^Ann")).toBe("Doe, Jane Ann");
    expect(personName("Zhang^Xiaoming=张^小明")).toBe("Zhang, Xiaoming");
    expect(personName("Zhang^Xiaoming=张^小明", true)).toBe("张小明");
    expect(personName("=张^小明")).toBe("张小明");
    expect([personName(""), personName(null)]).toEqual(["", ""]);
  });

  it("reads dates", () => {
    expect([dicomDate("20260131"), dicomDate("2026-01-31"), dicomDate(null), dicomDate("soon")]).toEqual([
      "2026-01-31",
      "2026-01-31",
      "",
      "soon",
    ]);
  });
});

it("never claims certainty", () => {
  expect([percent(0), percent(1), percent(0.934), percent(null)]).toEqual(["< 1 %", "> 99 %", "93 %", ""]);
});

it("says figures, units, labels and waiting", () => {
  expect([figure(21034.5), figure(0.012345), figure(null)]).toEqual(["21035", "0.0123", "–"]);
  expect([unitOf("mm3"), unitOf("cm2"), unitOf("1"), unitOf("mm")]).toEqual(["mm³", "cm²", "", "mm"]);
  expect([labels("a|b"), labels(""), labels(null)]).toEqual(["a, b", "–", "–"]);
  expect([waited(0, 120), waited(0, 3 * 3600), waited(0, 3 * 86400), waited(null, 1)]).toEqual(["2 min", "3 h", "3 d", ""]);
});

describe("windows", () => {
  const [robust, full] = [
    { low: 10, high: 90 },
    { low: 0, high: 100 },
  ];
  it("are in Hounsfield units for CT only", () => {
    expect(windowsFor("CT")).toContain("lung");
    expect(windowsFor("MR")).toEqual(["auto", "full"]);
    expect(rangeOf("lung", robust, full)).toEqual({ low: -1350, high: 150 });
  });
  it("come from the image else, and are never empty", () => {
    expect(rangeOf("auto", robust, full)).toEqual(robust);
    expect(rangeOf("full", robust, full)).toEqual(full);
    expect(rangeOf("auto", { low: 5, high: 5 }, { low: 5, high: 5 })).toEqual({ low: 5, high: 6 });
  });
  it("leave out one per cent at each end", () => {
    const samples = Int16Array.from({ length: 1001 }, (_, n) => n);
    expect(robustOf(samples, 2, -5)).toEqual({ low: 15, high: 1975 });
  });
});

describe("words", () => {
  it.each(everyWord())("%s is there in both languages with the same gaps", (_, [en, zh]) => {
    expect(en.trim()).not.toBe("");
    expect(zh.trim()).not.toBe("");
    expect(gapsOf(zh)).toEqual(gapsOf(en));
  });
});

describe("measurements", () => {
  const of = (name: string, value: number, unit: string, owner = "lesion"): Measurement => ({ name, value, unit, class: owner });
  const all = [
    of("size", 21034.5, "number"),
    of("intensity_mean", -812.4, "number"),
    of("longest_diameter_3d_mm", 31.26, "mm"),
    of("volume_mm3", 21034.5, "mm3"),
    of("largest_size", 640, "number"),
    of("area_pixel2", 12, "pixel2", "scar"),
    of("surest", 0.88, "probability", "nodule"),
  ];
  const said = (place: number, modality = "MR"): string => figureOf(all[place] as Measurement, { measurements: all, modality });

  it("are said with names and units", () => {
    expect(all.map(nameOf).slice(0, 4)).toEqual(["Size", "Mean value", "Longest diameter in any direction", "Volume"]);
    expect([said(1), said(1, "CT"), said(2), said(3), said(4), said(5), said(6)]).toEqual([
      "-812",
      "-812 HU",
      "31.3 mm",
      "21 mL",
      "640 mm³",
      "12 pixel²",
      "88 %",
    ]);
    expect(nameOf(of("ejection_fraction", 1, "1"))).toBe("ejection fraction");
  });

  it("stand by class, the usual ones first, nothing twice", () => {
    const [lesion, scar] = grouped(all);
    expect(lesion?.class).toBe("lesion");
    expect(lesion?.first.map((each) => each.name)).toEqual(["volume_mm3", "longest_diameter_3d_mm"]);
    expect(lesion?.further.map((each) => each.name)).toEqual(["intensity_mean", "largest_size"]);
    expect(scar?.first).toHaveLength(1);
  });

  it("and people are told in Chinese too", () => {
    vi.stubGlobal("document", { documentElement: {} });
    setLanguage("zh");
    expect([
      nameOf(of("median_pixel", 3, "pixel")),
      figureOf(of("median_pixel", 3, "pixel"), { measurements: [], modality: "DX" }),
    ]).toEqual(["最长边的中位数", "3 像素"]);
    expect([aged("065Y"), aged(54), aged("006M"), aged("old"), aged(null), sexOf("F"), sexOf("X"), waited(0, 120)]).toEqual([
      "65 岁",
      "54 岁",
      "6 个月",
      "old",
      "",
      "女",
      "X",
      "2 分钟",
    ]);
    expect(sentence({ detail: "请求过大", expected: "最多 3", got: "5", do: "请分批发送" }, "?")).toBe(
      "请求过大：应为最多 3，实为 5；请分批发送",
    );
  });
  afterEach(() => {
    vi.stubGlobal("document", { documentElement: {} });
    setLanguage("en");
    vi.unstubAllGlobals();
  });
});

it("makes one sentence of a problem", () => {
  expect(sentence({ detail: "it is too large", expected: "at most 3", got: "5", do: "send less" }, "?")).toBe(
    "it is too large: expected at most 3, got 5; send less",
  );
  expect(sentence(null, "HTTP 500")).toBe("HTTP 500");
});

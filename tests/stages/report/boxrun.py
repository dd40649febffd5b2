"""A realistic run folder with boxes, written without training anything; its figures are those of `stages.boxed.figures`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.plan import Plan
from vesalius.stages.boxed.figures import box_metrics
from vesalius.stages.boxed.tables import detections_of
from vesalius.stages.explain.pictures import overlay, png

CLASSES = ("RBC", "WBC", "platelets 血小板")
SIDES = {"RBC": 95.0, "WBC": 150.0, CLASSES[2]: 40.0}
NUMBERS = {"RBC": 10.0, "WBC": 1.0, CLASSES[2]: 1.6}
EASE = {"RBC": 0.93, "WBC": 0.985, CLASSES[2]: 0.86}
PARTS = {"train": 60, "validation": 24, "test": 36}
SHAPE = (480, 640)


def target(ndim: int = 2) -> TargetSpec:
    return TargetSpec("boxes", CLASSES, "cell") if ndim == 2 else TargetSpec("boxes", ("nodule",), "nodule", risk="malignant")


def image_of(rng: np.random.Generator) -> tuple[list, list]:
    """True boxes of a smear and what a good network finds there."""
    truth, found = [], []
    for name in CLASSES:
        for _ in range(rng.poisson(NUMBERS[name])):
            side = SIDES[name] * rng.lognormal(0, 0.2)
            low = rng.uniform(0, np.array(SHAPE) - side)
            box = [*low, *(low + side * rng.uniform(0.85, 1.15, 2))]
            truth.append({"box": [round(float(v), 2) for v in box], "class": name, "ignored": bool(rng.random() < 0.03), "risk": None})
            if rng.random() < EASE[name]:
                shift = rng.normal(0, side * 0.03, 4)
                found.append({"box": [round(float(v), 2) for v in np.array(box) + shift], "class": name, "score": float(rng.beta(9, 1.6)), "risk": None})
        for _ in range(rng.poisson(1.2)):
            side = SIDES[name] * rng.lognormal(0, 0.3)
            low = rng.uniform(0, np.array(SHAPE) - side)
            found.append({"box": [*map(float, low), *map(float, low + side)], "class": name, "score": float(rng.beta(1.3, 5)), "risk": None})
    return truth, sorted(found, key=lambda box: -box["score"])


def volume_of(rng: np.random.Generator) -> tuple[list, list]:
    """Nodules of a volume with their risk; about every third volume has none."""
    truth, found = [], []
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.1])):
        side, bad = float(rng.uniform(4, 25)), int(rng.random() < 0.4)
        low = rng.uniform(5, 60, 3)
        truth.append({"box": [*map(float, low), *map(float, low + side)], "class": "nodule", "ignored": False, "risk": bad})
        if rng.random() < 0.7 + side / 90:
            near = low + rng.normal(0, 0.6, 3)
            risk = float(np.clip(rng.normal(0.25 + 0.5 * bad, 0.2), 0.01, 0.99))
            found.append({"box": [*map(float, near), *map(float, near + side)], "class": "nodule", "score": float(rng.beta(6, 2)), "risk": risk})
    for _ in range(rng.poisson(1.5)):
        low = rng.uniform(5, 60, 3)
        found.append({"box": [*map(float, low), *map(float, low + 8)], "class": "nodule", "score": float(rng.beta(1.5, 6)), "risk": 0.3})
    return truth, sorted(found, key=lambda box: -box["score"])


def cases_of(seed: int, ndim: int = 2) -> pd.DataFrame:
    rows = []
    for part in ("validation", "test"):
        for i in range(PARTS[part]):
            rng = np.random.default_rng((seed, i, part == "test"))
            truth, found = image_of(rng) if ndim == 2 else volume_of(rng)
            shape, spacing = (SHAPE, None) if ndim == 2 else ((96, 96, 96), (1.5, 1.0, 1.0))
            rows.append({"id": f"{part}/{i:03d}.png", "path": f"{part}/{i:03d}.png", "patient": f"{part[:2]}{i // 2:02d}", "split": part,
                         "shape": json.dumps(shape), "spacing_mm": json.dumps(spacing), "truth": json.dumps(truth), "found": json.dumps(found)})
    return pd.DataFrame(rows)


def rivals(cases: pd.DataFrame, seed: int) -> pd.DataFrame:
    """What blobs find on the same images: half of it is lost, the rest lies less exactly."""
    rng = np.random.default_rng((seed, 7))

    def worse(cell: str) -> str:
        kept = [box for box in json.loads(cell) if rng.random() < 0.6]
        moved = [box | {"box": [v + float(rng.normal(0, 9)) for v in box["box"]], "score": float(rng.uniform(0.2, 0.9))} for box in kept]
        return json.dumps([box for box in moved if all(a < b for a, b in zip(box["box"][:2], box["box"][2:], strict=True))])

    return cases.assign(found=[worse(cell) for cell in cases["found"]])


def metrics_of(cases: pd.DataFrame, ndim: int, seed: int) -> dict:
    calibration = {"method": "temperature", "parameters": {"temperature": 1.31}, "chosen_on": "validation", "n": 400,
                   "before": {"ece": 0.081, "brier": 0.094, "nll": 0.311}, "after": {"ece": 0.021, "brier": 0.083, "nll": 0.274}}
    matching = "iou" if ndim == 2 else "centre"
    against = {"baselines": {"blobs": rivals(cases, seed)}} if ndim == 2 else {}
    made = box_metrics(cases, target(ndim), matching=matching, calibration=calibration, n_boot=60, seed=seed, **against)
    return made | {"looks_at_test": 1}


def cohort_of(cases: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for part, count in PARTS.items():
        for i in range(count):
            name = f"{part}/{i:03d}.png"
            mine = cases.loc[cases["id"] == name, "truth"]
            label = "|".join(dict.fromkeys(box["class"] for box in json.loads(mine.iloc[0]))) if len(mine) else ""
            rows.append({"id": name, "path": name, "member": None, "hash": f"{i:016x}", "patient": f"{part[:2]}{i // 2:02d}", "label": label, "split": part,
                         "official_split": part, "duplicate_cluster": -1, "excluded_because": None})
    return pd.DataFrame(rows)


def plan_of(ndim: int) -> Plan:
    plan, spec = Plan(), target(ndim)
    for name, value, reason in [
        ("data.target", "boxes", "boxes in Pascal VOC files"), ("data.classes", list(spec.classes), "as the files name them"),
        ("split.by", "patient", "the data's own split"), ("input.size", [416] * 2 if ndim == 2 else [64] * 3, "the smallest boxes stay visible"),
        ("network.name", "yolo-like", "answers in real time on this machine"), ("train.keep", "last", "few validation images"),
    ]:
        plan = plan.decide(name, value, reason)
    return plan


def audit_of(cohort: pd.DataFrame, ndim: int) -> dict:
    boxes = {name: {"n": n, "images": i, "median_size": s, "unit": "pixel"} for name, n, i, s in
             ((CLASSES[0], 4155, 340, [101.0, 104.5]), (CLASSES[1], 372, 364, [152.0, 170.0]), (CLASSES[2], 361, 246, [39.0, 38.0]))}
    boxes = boxes if ndim == 2 else {"nodule": {"n": 61, "images": 40, "median_size": [11.2, 11.0, 10.8], "unit": "mm"}}
    english, chinese = "2 boxes have no extent and were set aside", "2 个框没有面积，已弃用"
    issues = [{"code": "box_degenerate", "severity": "warning", "en": english, "zh": chinese, "files": ["train/007.png"], "n": 2}]
    return {"schema": 1, "root": "/data/BCCD", "layout": "voc", "n_images": len(cohort), "n_patients": int(cohort["patient"].nunique()),
            "target": target(ndim).to_dict(), "patient_known": True, "patient_evidence": "file names", "sizes": [{"shape": list(SHAPE), "n": len(cohort)}],
            "modalities": {}, "bits": {"8": len(cohort)}, "issues": issues, "duplicates": {"exact": [], "near": []}, "crossing": {}, "boxes": boxes}


def write_box_run(run: Path, *, ndim: int = 2, seed: int = 0) -> Path:
    rng, cases = np.random.default_rng(seed), cases_of(seed, ndim)
    for folder in ("log", "explain", "model"):
        (run / folder).mkdir(parents=True, exist_ok=True)
    cohort, metrics = cohort_of(cases), metrics_of(cases, ndim, seed)
    cohort.to_parquet(run / "cohort.parquet")
    cases.to_parquet(run / "cases.parquet")
    detections_of(cases, target(ndim), "iou" if ndim == 2 else "centre").to_parquet(run / "detections.parquet")
    (run / "metrics.json").write_text(json.dumps(metrics, ensure_ascii=False), "utf-8")
    (run / "audit.json").write_text(json.dumps(audit_of(cohort, ndim), ensure_ascii=False), "utf-8")
    plan_of(ndim).save(run / "plan.toml")
    epochs = np.arange(1, 21)
    losses = {"train_loss": 3 * np.exp(-epochs / 6) + 0.7, "validation_loss": 2.6 * np.exp(-epochs / 5) + 0.9}
    pd.DataFrame({"epoch": epochs, "seconds": 90.0 * epochs} | losses | {"validation_score": 0.9 - 0.7 * np.exp(-epochs / 4)}).to_csv(
        run / "log" / "history.csv", index=False)
    (run / "environment.json").write_text(json.dumps({"schema": 1, "seed": 0, "versions": {"vesalius": "0.1.0"}, "seconds": {"train": 1800.4}}))
    (run / "model" / "weights.safetensors").write_bytes(b"weights")
    write_cases(run, rng, target(ndim).classes)
    return run


def write_cases(run: Path, rng: np.random.Generator, classes: tuple[str, ...]) -> None:
    rows: list[dict] = []
    told = [("missed", None, ""), ("missed", None, classes[-1]), ("missed", 0.04, ""), ("missed", 0.21, ""), ("false", 0.97, ""), ("false", 0.91, classes[0]),
            ("false", 0.88, ""), ("false", 0.74, ""), ("found", 0.99, ""), ("found", 0.99, ""), ("found", 0.98, "")]
    for i, (role, score, other) in enumerate(told):
        files = {what: f"{i:02d}_{what}.png" for what in ("overlay", "drise", "gradcam", "whole")} | {"": f"{i:02d}.png"}
        for what, picture in pictures(rng).items():
            (run / "explain" / files[what]).write_bytes(png(picture))
        maps = [{"method": what, "file": files[what]} for what in ("drise", "gradcam", "whole")]
        facts = {"id": f"test/{i:03d}.png", "role": role, "class": classes[i % len(classes)], "score": score, "taken_for": other}
        rows.append(facts | {"image": files[""], "overlay": files["overlay"], "maps": maps})
    (run / "explain" / "cases.json").write_text(json.dumps(rows), "utf-8")


def pictures(rng: np.random.Generator) -> dict[str, np.ndarray]:
    y, x = np.mgrid[-1:1:160j, -1:1:160j]
    red = np.clip(225 - 70 * (x**2 + y**2 < 0.3) + rng.normal(0, 6, x.shape), 0, 255).astype(np.uint8)
    rgb = np.stack([red, (red * 0.75).astype(np.uint8), (red * 0.8).astype(np.uint8)], -1)
    heat = np.exp(-((x - 0.05) ** 2 + y**2) * 5)
    return {"": rgb, "overlay": rgb, "whole": rgb[:120], "drise": overlay(rgb, heat), "gradcam": overlay(rgb, heat**2)}

"""A realistic run folder of masks, written without training anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.plan import Plan
from vesalius.stages.explain.pictures import outlined, overlay, png

CLASSES = ("anterior", "posterior 后部")
COUNTS = {"train": 70, "validation": 20, "test": 44}
SIZES = {"anterior": 1700.0, "posterior 后部": 1500.0}


def target() -> TargetSpec:
    return TargetSpec("mask", CLASSES, "mask", "two structures", ((1,), (2,)))


def cohort_of(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for part, count in COUNTS.items():
        for i in range(count):
            patient = f"{part[:2]}{i // 2:03d}"
            name = f"imagesTr/{patient}_{i % 2}.nii.gz"
            label = "" if part == "test" and i == 5 else "|".join(CLASSES)
            rows.append({"id": name, "path": name, "member": None, "hash": f"{rng.integers(1 << 60):016x}", "patient": patient, "label": label, "split": part,
                         "official_split": None, "duplicate_cluster": -1, "excluded_because": None})
    rows.append(rows[0] | {"id": "imagesTr/unmarked.nii.gz", "split": "train", "label": None, "patient": "x"})
    return pd.DataFrame(rows)


def predicted(cohort: pd.DataFrame, rng: np.random.Generator, unit: str = "mm") -> pd.DataFrame:
    rows = []
    for number, (_, case) in enumerate(cohort[cohort["split"].isin(("validation", "test"))].iterrows()):
        hard = rng.gamma(2.0, 0.03) + 0.25 * (number % 17 == 3)
        doubt = 0.05 + 0.6 * hard + rng.normal(0, 0.015)
        for name in CLASSES:
            rows.append(_row(case, name, hard, doubt, rng, unit) | {"fold": number % 5 if case["split"] == "validation" else -1})
    return pd.DataFrame(rows)


def _row(case: pd.Series, name: str, hard: float, doubt: float, rng: np.random.Generator, unit: str) -> dict:
    dice = float(np.clip(0.94 - hard + rng.normal(0, 0.01), 0.05, 0.99))
    size = float(SIZES[name] * rng.lognormal(0, 0.25))
    facts = {"id": case["id"], "path": case["path"], "patient": case["patient"], "split": case["split"], "class": name, "unit": unit, "uncertainty": doubt}
    if case["label"] == "":
        empty = dict.fromkeys(("dice", "iou", "nsd", "hd95", "sensitivity", "specificity", "ppv", "auc"), np.nan)
        false = name == CLASSES[1]
        return facts | empty | {"dice": 0.0 if false else np.nan, "size_true": 0.0, "size_predicted": 40.0 * false, "n_true": 0, "n_found": 0,
                                "n_false": int(false), "note": "truth empty" if false else "both empty"}
    scores = {"dice": dice, "iou": dice / (2 - dice), "nsd": min(1, dice + 0.07), "hd95": 1 + 12 * (1 - dice), "sensitivity": dice, "specificity": 0.998,
              "ppv": dice, "auc": 0.99}
    return facts | scores | {"size_true": size, "size_predicted": size * float(rng.normal(1.03, 0.3 * hard + 0.02)), "n_true": 1, "n_found": int(dice > 0.65),
                             "n_false": int(rng.random() < 0.1), "note": ""}


NAMES = ("dice", "iou", "nsd", "hd95", "sensitivity", "specificity", "ppv", "size_error", "lesion_f1", "lesion_sensitivity")


def estimates(rows: pd.DataFrame) -> dict:
    values = {name: float(rows[name].mean()) for name in NAMES if name in rows}
    gap = (rows["size_predicted"] - rows["size_true"]).abs() / rows["size_true"].replace(0, np.nan)
    values |= {"size_error": float(gap.mean()), "lesion_f1": 0.91, "lesion_sensitivity": 0.94}
    n, p = rows["id"].nunique(), rows["patient"].nunique()
    return {k: {"value": v, "low": v * 0.98, "high": min(v * 1.02, 1.0) if v <= 1 else v * 1.1, "n_patients": p, "n_images": n} for k, v in values.items()}


def metrics_of(predictions: pd.DataFrame, folds: bool) -> dict:
    parts = {part: predictions[predictions["split"] == part] for part in ("test", "validation")}
    made = {"schema": 1, "target": target().to_dict(), "primary": "dice", "looks_at_test": 1, "tolerance": {"value": 1.0, "unit": "mm"}}
    made |= {part: estimates(rows) for part, rows in parts.items()}
    made["per_class"] = {part: {name: estimates(rows[rows["class"] == name]) for name in CLASSES} for part, rows in parts.items()}
    if folds:
        made["cross_validation"] = estimates(parts["validation"])
        made["cross_validation"]["dice"] |= {"value": 0.8123, "low": 0.801, "high": 0.823}
    made["uncertainty"] = {"aurc": 0.071, "aurc_best": 0.058, "aurc_chance": 0.112, "spearman": 0.74}
    english, chinese = "22 patients in the test set: little can be said of rare failures.", "测试集仅 22 名患者：对罕见失败的结论有限。"
    made["notes"] = [{"code": "small-test", "en": english, "zh": chinese}]
    return made


def plan_of() -> Plan:
    plan = Plan()
    for name, value, reason in [
        ("data.target", "mask", "label maps"), ("data.classes", list(CLASSES), "in the order of their numbers"), ("split.by", "patient", "patients are known"),
        ("input.size", [40, 56, 40], "median of the images at 1 mm"), ("input.spacing_mm", [1.0, 1.0, 1.0], "median of the training images"),
        ("network.name", "residual-unet", "fits the memory of this machine"), ("train.loss", "dice+ce", "classes of usual size"),
        ("train.foreground", 0.33, "every third tile holds a structure"), ("output.mirror", [0, 1, 2], "averaged over mirror images"),
    ]:
        plan = plan.decide(name, value, reason)
    return plan


def audit_of(cohort: pd.DataFrame) -> dict:
    masks = [{"class": "anterior", "n": 133, "median_mm3": 1690.25, "share": 0.021}, {"class": CLASSES[1], "n": 133, "median_mm3": 1487.0, "share": 0.018}]
    english, chinese = "1 mask seems to be of another image", "1 个掩模疑似属于其他图像"
    issues = [{"code": "mask_swapped", "severity": "warning", "en": english, "zh": chinese, "files": ["a"], "n": 1}]
    return {"schema": 1, "root": "/data/Task04_Hippocampus", "layout": "dataset-json", "n_images": len(cohort), "n_patients": int(cohort["patient"].nunique()),
            "target": target().to_dict(), "patient_known": True, "patient_evidence": "file names", "sizes": [{"shape": [40, 56, 40], "n": 135}],
            "modalities": {"MR": 135}, "bits": {"16": 135}, "issues": issues, "duplicates": {"exact": [], "near": []}, "crossing": {}, "masks": masks}


def write_mask_run(run: Path, *, folds: bool = True, unit: str = "mm", seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for folder in ("log", "explain", "model"):
        (run / folder).mkdir(parents=True, exist_ok=True)
    cohort = cohort_of(rng)
    predictions = predicted(cohort, rng, unit)
    cohort.to_parquet(run / "cohort.parquet")
    predictions.to_parquet(run / "predictions.parquet")
    (run / "metrics.json").write_text(json.dumps(metrics_of(predictions, folds), ensure_ascii=False).replace("NaN", "null"), "utf-8")
    (run / "audit.json").write_text(json.dumps(audit_of(cohort), ensure_ascii=False), "utf-8")
    plan_of().save(run / "plan.toml")
    epochs = np.arange(1, 21)
    losses = {"train_loss": 1.1 * np.exp(-epochs / 6) - 0.7, "validation_loss": 1.0 * np.exp(-epochs / 5) - 0.6}
    pd.DataFrame({"epoch": epochs, "seconds": 90.0 * epochs} | losses | {"validation_score": 0.88 - 0.5 * np.exp(-epochs / 4)}).to_csv(
        run / "log" / "history.csv", index=False)
    (run / "environment.json").write_text(json.dumps({"schema": 1, "seed": 0, "versions": {"vesalius": "0.1.0"}, "seconds": {"train": 1800.4}}))
    (run / "model" / "weights.safetensors").write_bytes(b"weights")
    write_cases(run, predictions, rng)
    return run


def write_cases(run: Path, predictions: pd.DataFrame, rng: np.random.Generator) -> None:
    test, rows = predictions[(predictions["split"] == "test") & predictions["dice"].notna()].sort_values("dice"), []
    chosen = [*zip(test.iloc[:6].itertuples(), ["worst"] * 6, strict=True), *zip(test.iloc[40:42].itertuples(), ["middle"] * 2, strict=True),
              *zip(test.iloc[-2:].itertuples(), ["best"] * 2, strict=True)]
    for i, (row, role) in enumerate(chosen):
        names = {what: f"{i:02d}_{what}.png" for what in ("overlay", "uncertainty", "gradcam", "largest")} | {"": f"{i:02d}.png"}
        for what, picture in pictures(rng).items():
            (run / "explain" / names[what]).write_bytes(png(picture))
        maps = [{"method": what, "file": names[what]} for what in ("gradcam", "largest")]
        facts = {"id": row.id, "role": role, "class": row[predictions.columns.get_loc("class") + 1], "dice": row.dice}
        rows.append(facts | {"image": names[""], "overlay": names["overlay"], "uncertainty": names["uncertainty"], "maps": maps})
    (run / "explain" / "cases.json").write_text(json.dumps(rows), "utf-8")


def pictures(rng: np.random.Generator) -> dict[str, np.ndarray]:
    y, x = np.mgrid[-1:1:384j, -1:1:384j]
    grey = np.clip(90 + 60 * np.exp(-3 * (x**2 + y**2)) + rng.normal(0, 12, x.shape), 0, 255).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, 2)
    truth, found = (x - 0.1) ** 2 + (y / 1.4) ** 2 < 0.12, (x - 0.2) ** 2 + (y / 1.3 + 0.1) ** 2 < 0.12
    doubt = np.exp(-(((x - 0.15) ** 2 + (y / 1.35) ** 2 - 0.12) ** 2) * 300)
    heat = np.exp(-((x - 0.1) ** 2 + y**2) * 6)
    drawn = outlined(rgb, truth, found)
    return {"": rgb, "overlay": drawn, "largest": drawn[::-1], "uncertainty": overlay(rgb, doubt), "gradcam": overlay(rgb, heat)}

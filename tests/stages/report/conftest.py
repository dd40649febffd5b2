"""A realistic run folder of every kind of target, written without training anything."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as sk

from vesalius.core.target import TargetSpec
from vesalius.plan import Plan

sys.path.insert(0, str(Path(__file__).parent))
from boxrun import write_box_run
from maskrun import write_mask_run

CLASSES = {
    "binary": ("normal", "pneumonia"), "multiclass": ("normal", "bacterial pneumonia", "viral pneumonia", "结核"),
    "ordinal": ("grade 0", "grade 1", "grade 2", "grade 3"), "multilabel": ("effusion", "cardiomegaly", "nodule", "atelectasis"), "regression": (),
}
PARTS = ("train", "validation", "test")
COUNTS = {"train": 420, "validation": 90, "test": 156}
MODELS = {"majority": 0.0, "clinical": 0.5, "histogram": 0.8, "hog": 1.2}
SHARPNESS = 2.6


def target_of(kind: str) -> TargetSpec:
    return TargetSpec(kind, CLASSES[kind], "bone_age" if kind == "regression" else "label")


def cohort_of(target: TargetSpec, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for part in PARTS:
        for i in range(COUNTS[part]):
            patient = f"{part[:2]}{i // 2:04d}"
            name = f"images/{patient}_{i % 2}.png"
            facts = {"id": name, "path": name, "member": None, "hash": f"{rng.integers(1 << 60):016x}", "patient": patient, "label": _label(target, rng)}
            rows.append(facts | {"split": part, "official_split": None, "duplicate_cluster": -1, "excluded_because": None})
    rows.append(rows[0] | {"id": "images/broken.png", "split": "excluded", "excluded_because": "truncated", "patient": "x"})
    return pd.DataFrame(rows)


def _label(target: TargetSpec, rng: np.random.Generator) -> str | float:
    if target.kind == "regression":
        return round(float(rng.normal(120, 40)), 1)
    if target.kind == "multilabel":
        return "|".join(name for name in target.classes if rng.random() < 0.3)
    p = np.linspace(2, 1, len(target.classes))
    return str(rng.choice(target.classes, p=p / p.sum()))


def predicted(cohort: pd.DataFrame, target: TargetSpec, sharpness: float, rng: np.random.Generator) -> pd.DataFrame:
    rows = cohort[cohort["split"].isin(PARTS[1:])].reset_index(drop=True)
    out, truth, n = rows[["id", "path", "patient", "split", "label"]].copy(), target.encode(rows["label"].tolist()), len(rows)
    if target.kind == "regression":
        out["truth"] = truth
        out["value"] = out["raw_value"] = 120 + (truth - 120) * min(1, sharpness / 3) + rng.normal(0, 60 / (1 + 2 * sharpness), n)
        return out
    if target.kind == "multilabel":
        raw = sharpness * (truth * 2 - 1) + rng.normal(0, 1.6, truth.shape)
        p = 1 / (1 + np.exp(-raw))
        out = out.assign(**{f"truth_{c}": truth[:, k].astype(int) for k, c in enumerate(target.classes)})
    else:
        raw = sharpness * np.eye(len(target.classes))[truth] + rng.normal(0, 1.2, (n, len(target.classes)))
        p = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
        out["truth"] = truth
    names = target.classes
    return out.assign(**{f"raw_{c}": raw[:, k] for k, c in enumerate(names)}, **{f"p_{c}": p[:, k] for k, c in enumerate(names)})


def estimate(value: float, rows: pd.DataFrame, width: float = 0.03, top: float | None = 1.0) -> dict:
    high = value + width if top is None else min(top, value + width)
    return {"value": float(value), "low": float(value - width), "high": float(high), "n_patients": int(rows["patient"].nunique()), "n_images": len(rows)}


def marks(rows: pd.DataFrame, target: TargetSpec) -> tuple[np.ndarray, np.ndarray]:
    p = rows[[f"p_{c}" for c in target.classes]].to_numpy()
    if target.kind == "multilabel":
        return rows[[f"truth_{c}" for c in target.classes]].to_numpy(), p
    return np.eye(len(target.classes))[rows["truth"].to_numpy(int)], p


def figures(rows: pd.DataFrame, target: TargetSpec) -> dict:
    if target.kind == "regression":
        error = (rows["truth"] - rows["value"]).to_numpy()
        made = {"mae": np.abs(error).mean(), "rmse": np.sqrt((error**2).mean())}
        found = {k: estimate(v, rows, 1.4, None) for k, v in made.items()}
        rank = rows[["truth", "value"]].corr("spearman").iloc[0, 1]
        return found | {"r2": estimate(1 - error.var() / rows["truth"].var(), rows), "spearman": estimate(rank, rows)}
    truth, p = marks(rows, target)
    right = ((p > 0.5) == truth).mean() if target.kind == "multilabel" else (p.argmax(1) == truth.argmax(1)).mean()
    found = {"auc": sk.roc_auc_score(truth, p), "ap": sk.average_precision_score(truth, p), "accuracy": right, "brier": ((p - truth) ** 2).mean(), "ece": 0.031}
    if target.kind == "binary":
        found |= {"sensitivity": 0.93, "specificity": 0.88, "ppv": 0.86, "npv": 0.94, "f1": 0.9}
    if target.kind == "ordinal":
        found["kappa"] = sk.cohen_kappa_score(truth.argmax(1), p.argmax(1), weights="quadratic")
    return {k: estimate(v, rows, 0.025) for k, v in found.items()}


def curves(rows: pd.DataFrame, target: TargetSpec) -> dict:
    if target.kind == "regression":
        return {}
    truth, p = marks(rows, target)
    found: dict = {"roc": {}, "pr": {}}
    for k, name in [(1, target.classes[1])] if target.kind == "binary" else enumerate(target.classes):
        fpr, tpr, _ = sk.roc_curve(truth[:, k], p[:, k])
        precision, recall, _ = sk.precision_recall_curve(truth[:, k], p[:, k])
        found["roc"][name], found["pr"][name] = {"x": fpr.tolist(), "y": tpr.tolist()}, {"x": recall.tolist(), "y": precision.tolist()}
    bins = np.clip((p.ravel() * 10).astype(int), 0, 9)
    kept = [b for b in range(10) if (bins == b).any()]
    means = {name: [float(values.ravel()[bins == b].mean()) for b in kept] for name, values in (("confidence", p), ("observed", truth))}
    found["reliability"] = means | {"n": [int((bins == b).sum()) for b in kept]}
    return found


def metrics_of(predictions: pd.DataFrame, baselines: dict[str, pd.DataFrame], target: TargetSpec) -> dict:
    parts = {part: predictions[predictions["split"] == part] for part in PARTS[1:]}
    primary = "mae" if target.kind == "regression" else "auc"
    made = {"schema": 1, "target": target.to_dict(), "primary": primary, "looks_at_test": 1, "curves": {p: curves(r, target) for p, r in parts.items()}}
    made |= {part: figures(rows, target) for part, rows in parts.items()}
    shown = {m: {p: figures(b[b["split"] == p], target) for p in parts} for m, b in baselines.items()}
    best = shown["hog"]["test"][primary]["value"]
    difference = made["test"][primary]["value"] - best
    gain = {"over": "hog", "metric": primary, "value": difference, "low": difference - 0.02, "high": difference + 0.02, "p": 0.01, "method": "DeLong"}
    made |= {"baselines": shown, "gain": gain}
    if target.kind in ("binary", "multiclass", "ordinal"):
        order = range(len(target.classes))
        made["confusion"] = {p: sk.confusion_matrix(r["truth"], marks(r, target)[1].argmax(1), labels=order).tolist() for p, r in parts.items()}
    if target.kind != "regression":
        keep = ("auc", "ap", "sensitivity", "specificity", "ppv", "npv")
        each = {name: estimate(0.9 - 0.02 * i, parts["test"], 0.05) for i, name in enumerate(keep)}
        made["per_class"] = {"test": dict.fromkeys(target.classes, each), "validation": {}}
        made["calibration"] = {"method": "temperature", "parameters": {"temperature": 1.4}, "before": {"ece": 0.081, "brier": 0.12, "nll": 0.41},
                               "after": {"ece": 0.029, "brier": 0.11, "nll": 0.36}, "chosen_on": "validation"}
    if target.kind == "binary":
        made["operating_point"] = {"threshold": 0.41, "rule": "youden", "chosen_on": "validation", "sensitivity": 0.94, "specificity": 0.9}
    sizes = [(26, 0.71), (52, 0.78), (105, 0.83), (210, 0.86)]
    made["data_size"] = [{"n_patients": n, "n_images": 2 * n, "value": v, "low": v - 2 / n, "high": v + 2 / n} for n, v in sizes]
    chinese = "测试集仅 78 名患者：准确率的真实值可能在 0.84 至 0.94 之间。"
    made["notes"] = [{"code": "small-test", "en": "78 patients in the test set: an accuracy of .90 could be anything from .84 to .94.", "zh": chinese}]
    return made


def plan_of(target: TargetSpec) -> Plan:
    decisions = [
        ("data.target", target.kind, "two classes"), ("data.classes", list(target.classes), "in the order of their numbers"),
        ("split.by", "patient", "patients are known"),
        ("split.fractions", [0.7, 0.15, 0.15], "the standard"), ("input.size", [64, 64], "median size of the images"),
        ("network.name", "small-resnet", "small and quick on an ordinary machine"),
        ("network.options", {"width": 32}, "wider where there are more cases"), ("train.epochs", 20, "fits the budget of 10 minutes"),
        ("train.augment", {"flip": [], "rotate": 10.0}, "no left-right flip: the side matters in the chest"),
        ("output.calibration", "auto", "fitted on validation"),
        ("machine.threads", 2, "one thread a core; all processes together"), ("machine.predicted_memory_mb", 412, "network, optimiser, activations of a batch"),
    ]
    plan = Plan()
    for name, value, reason in decisions:
        plan = plan.decide(name, value, reason)
    return plan


def audit_of(cohort: pd.DataFrame, target: TargetSpec) -> dict:
    used = cohort[cohort["split"] != "excluded"]
    return {
        "schema": 1, "root": "/data/chest films/胸片", "layout": "class-folders", "n_images": len(cohort), "n_patients": int(used["patient"].nunique()),
        "target": target.to_dict(), "label_counts": used["label"].astype(str).value_counts().head(5).to_dict(), "patient_known": True,
        "patient_evidence": "file names: the part before the first '_' repeats (333 patients, 666 images)",
        "sizes": [{"shape": [1024, 1024], "n": 600}, {"shape": [512, 640], "n": 67}], "modalities": {"CR": 667}, "bits": {"8": 667},
        "issues": [
            {"code": "truncated", "severity": "error", "en": "1 file is cut off", "zh": "1 个文件不完整", "files": ["images/broken.png"], "n": 1},
            {"code": "mixed-size", "severity": "info", "en": "images have 2 sizes", "zh": "图像有 2 种尺寸", "files": [], "n": 67},
            {"code": "near", "severity": "warning", "en": "2 images are near duplicates", "zh": "2 张图像近似重复", "files": ["images/a.png"], "n": 2},
        ],
        "duplicates": {"exact": [["a", "b"]], "near": [{"ids": ["c", "d"], "how": "brightness"}]}, "n_clusters": 2,
        "crossing": {"patients": 0, "labels": 0, "splits": 0}, "seconds": 1.2,
    }


def write_run(run: Path, kind: str = "binary", seed: int = 0) -> Path:
    rng, target = np.random.default_rng(seed), target_of(kind)
    for folder in ("log", "explain", "model"):
        (run / folder).mkdir(parents=True, exist_ok=True)
    cohort = cohort_of(target, rng)
    predictions = predicted(cohort, target, SHARPNESS, rng)
    baselines = {m: predicted(cohort, target, s, rng) for m, s in MODELS.items()}
    cohort.assign(label=cohort["label"].astype(str)).to_parquet(run / "cohort.parquet")
    predictions.to_parquet(run / "predictions.parquet")
    pd.concat([b.assign(model=m) for m, b in baselines.items()]).to_parquet(run / "baselines.parquet")
    (run / "metrics.json").write_text(json.dumps(metrics_of(predictions, baselines, target)), "utf-8")
    (run / "audit.json").write_text(json.dumps(audit_of(cohort, target)), "utf-8")
    plan_of(target).save(run / "plan.toml")
    epochs = np.arange(1, 21)
    losses = {"train_loss": 0.7 * np.exp(-epochs / 6) + 0.05, "validation_loss": 0.65 * np.exp(-epochs / 3) + 0.12 + 0.006 * epochs}
    pd.DataFrame({"epoch": epochs} | losses | {"validation_score": 0.97 - 0.3 * np.exp(-epochs / 4)}).to_csv(run / "log" / "history.csv", index=False)
    machine = {"versions": {"vesalius": "0.1.0", "torch": "2.15"}, "python": "3.11", "system": "Linux", "seconds": {"train": 212.4}}
    (run / "environment.json").write_text(json.dumps({"schema": 1, "seed": 0} | machine))
    (run / "model" / "weights.safetensors").write_bytes(b"weights")
    write_cases(run, predictions, target, rng)
    return run


def write_cases(run: Path, predictions: pd.DataFrame, target: TargetSpec, rng: np.random.Generator) -> None:
    rows, test = [], predictions[predictions["split"] == "test"].reset_index(drop=True)
    regression = target.kind == "regression"
    for i, role in enumerate(["best"] * 2 + ["worst"] * 2 + ["uncertain"] * (not regression)):
        row, grey, heat = test.iloc[i * 7], *film(rng)
        for name, picture in ((f"{i:02d}.png", grey), (f"{i:02d}_gradcam.png", heat), (f"{i:02d}_occlusion.png", heat[:, ::-1])):
            Image.fromarray(np.ascontiguousarray(picture)).save(run / "explain" / name)
        answer = f"{row['value']:.1f}" if regression else str(row["label"]) if role != "worst" else next(c for c in target.classes if c != row["label"])
        maps = [{"method": m, "file": f"{i:02d}_{m}.png"} for m in ("gradcam", "occlusion")]
        facts = {"predicted": answer, "probability": None if regression else 0.97, "image": f"{i:02d}.png", "maps": maps}
        rows.append({"id": row["id"], "role": role, "label": str(row["label"])} | facts)
    (run / "explain" / "cases.json").write_text(json.dumps(rows), "utf-8")


def film(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Something like a chest film, and the same with a warm spot."""
    y, x = np.mgrid[-1:1:160j, -1:1:160j]
    body = 200 * np.exp(-(x**2 * 2 + y**2)) - 90 * np.exp(-((np.abs(x) - 0.42) ** 2 * 16 + y**2 * 3)) + rng.normal(0, 5, x.shape)
    grey = np.repeat(np.clip(body, 0, 255).astype(np.uint8)[..., None], 3, 2)
    spot = np.exp(-((x - 0.4) ** 2 + (y - 0.2) ** 2) * 9)[..., None] * np.array([150, 70, 0])
    return grey, np.clip(grey + spot, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def made_runs(tmp_path_factory):
    """A run folder of each kind, made once."""
    folder = tmp_path_factory.mktemp("runs")
    return {kind: write_run(folder / kind, kind) for kind in CLASSES}


@pytest.fixture
def run_of(made_runs, tmp_path):
    """A factory: kind of target to a fresh copy of a run folder."""
    return lambda kind="binary": Path(shutil.copytree(made_runs[kind], tmp_path / "run", dirs_exist_ok=True))


@pytest.fixture(scope="session")
def made_masks(tmp_path_factory):
    """A run folder of masks, made once."""
    return write_mask_run(tmp_path_factory.mktemp("masks") / "run")


@pytest.fixture
def mask_run(made_masks, tmp_path):
    """A fresh copy of it."""
    return Path(shutil.copytree(made_masks, tmp_path / "masks"))


@pytest.fixture(scope="session")
def made_boxes(tmp_path_factory):
    """A run folder with boxes in 2-D and one in 3-D, made once."""
    folder = tmp_path_factory.mktemp("boxes")
    return {ndim: write_box_run(folder / str(ndim), ndim=ndim) for ndim in (2, 3)}


@pytest.fixture
def box_run(made_boxes, tmp_path):
    """A fresh copy of the one in 2-D."""
    return Path(shutil.copytree(made_boxes[2], tmp_path / "boxes"))


@pytest.fixture
def nodule_run(made_boxes, tmp_path):
    """A fresh copy of the one in 3-D, with a risk of each box."""
    return Path(shutil.copytree(made_boxes[3], tmp_path / "nodules"))

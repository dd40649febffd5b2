"""Which labels are probably wrong, with a page to confirm or correct them; see `stages.doubtful`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from vesalius.core.target import MARKED, SEPARATOR, TargetSpec
from vesalius.stages.baselines.base import Task
from vesalius.stages.baselines.linear import capped
from vesalius.stages.doubtful.marked import doubt_marked
from vesalius.stages.doubtful.page import EDGE, FOLDER, PAGE, SMALL, Near, Shown, data_uri, write_page
from vesalius.stages.doubtful.rank import Judged, Outliers, Question, features_of, judge, outliers
from vesalius.stages.evaluate import columns_of
from vesalius.stages.explain.pictures import to_rgb
from vesalius.stages.trust.base import Trust, not_for, sentence, trust_part

LEAST = 30
"""With fewer labelled images nothing is said."""
ROWS_A_SECOND = 40
MOST_ROWS = 5000
MOST_SHOWN = 60
NEAR_SHOWN = 4
SHOWN_OF = 20
"""The page shows at least one label of so many, so that a reader can see where the doubt ends."""
KEPT = ("id", "split", "label", "likelier", "p_label", "p_likelier", "margin", "doubted", "convinced", "judged_by")


@trust_part("doubtful", order=80, share=2.0)
def doubtful(trust: Trust) -> dict[str, Any]:
    """Labels ranked by doubt, with the page ``doubtful/index.html``; masks and boxes by how far they are from what the model found."""
    if trust.target.kind in MARKED:
        return doubt_marked(trust)
    rows, of = _rows(trust)
    if len(rows) < LEAST or trust.images is None:
        return not_for(f"Fewer than {LEAST} labelled images.", f"有标签的影像少于 {LEAST} 张。")
    frame = trust.frame.iloc[rows].reset_index(drop=True)
    with threadpool_limits(1):
        task = Task(np.stack([np.asarray(trust.images[row]) for row in rows]), frame, trust.target, trust.seed, trust.jobs)
        table, facts = _table(trust, task)
    worst = table.head(min(MOST_SHOWN, max(facts["n_doubted"], -(-len(rows) // SHOWN_OF))))
    listed = [{str(k): v for k, v in row.items()} for row in worst.to_dict("records")]
    picture = _picture(trust, rows)
    shown = [_shown(row, table.set_index("row"), trust.target, picture) for row in listed]
    said = _said(facts, len(rows), of)
    lead = {"en": " ".join(each["en"] for each in said), "zh": "".join(each["zh"] for each in said)}
    write_page(trust.run.path, shown, lead, number=trust.target.kind == "regression")
    cases = [{name: row[name] for name in KEPT} for row in listed]
    return facts | {"n_judged": len(rows), "of_images": of, "page": f"{FOLDER}/{PAGE}", "cases": cases, "sentences": said}


def _rows(trust: Trust) -> tuple[np.ndarray, int]:
    """Labelled rows that take part, as many as the time allows (whole patients at random), and how many there are."""
    truth = trust.target.encode(trust.frame["label"].tolist())
    known = np.isfinite(truth).all(1) if truth.ndim == 2 else np.isfinite(truth) if trust.target.kind == "regression" else truth >= 0
    rows = np.flatnonzero(known)
    questions = len(trust.target.classes) if trust.target.kind == "multilabel" else 1
    most = int(np.clip(trust.left_s * ROWS_A_SECOND / questions, 200, MOST_ROWS))
    return rows[capped(trust.frame["patient"].to_numpy(str)[rows], most, trust.seed)] if len(rows) else rows, len(rows)


def _network(trust: Trust, frame: pd.DataFrame) -> np.ndarray:
    """What the network says ``[N, K]`` of images that it has not learnt from; NaN elsewhere."""
    columns = columns_of(trust.target, "p")
    return trust.predictions.drop_duplicates("id").set_index("id").reindex(frame["id"])[columns].to_numpy(np.float64)


def _table(trust: Trust, task: Task) -> tuple[pd.DataFrame, dict[str, Any]]:
    """All judged labels, the most doubtful first, and what is known of the whole."""
    target, frame, features, network = task.target, task.frame, features_of(task), _network(trust, task.frame)
    if target.kind == "regression":
        return _of_values(frame, outliers(features, task.truth.astype(float), task.patients, network[:, 0], target, trust.seed))
    if target.kind != "multilabel":
        found = judge(Question(features, task.truth, task.patients, network, target), trust.seed)
        return _rows_of(frame, found, lambda row, k: target.classes[k]), _facts([found])
    tables, judged = [], []
    for k, name in enumerate(target.classes):
        sign = TargetSpec("binary", (f"no {name}", name), name)
        both = np.stack([1 - network[:, k], network[:, k]], 1)
        found = judge(Question(features, task.truth[:, k].astype(int), task.patients, both, sign), trust.seed, self_test=k == 0)
        tables.append(_rows_of(frame, found, _toggled(target, task.truth, k)))
        judged.append(found)
    every = pd.concat(tables).sort_values(["doubted", "margin"], ascending=[False, True], kind="stable")
    return every.drop_duplicates("id").reset_index(drop=True), _facts(judged)


def _toggled(target: TargetSpec, truth: np.ndarray, k: int) -> Callable[[int, int], str]:
    """The label of a row with one sign changed."""
    return lambda row, _: SEPARATOR.join(n for j, n in enumerate(target.classes) if (truth[row, j] > 0.5) != (j == k))


def _rows_of(frame: pd.DataFrame, found: Judged, name: Callable[[int, int], str]) -> pd.DataFrame:
    order, rows = found.order, np.arange(len(frame))
    p_likelier = found.p[rows, found.likelier]
    table = frame[["id", "split"]].assign(
        row=rows, label=["" if each is None else str(each) for each in frame["label"]], likelier=[name(int(row), int(found.likelier[row])) for row in rows],
        p_label=p_likelier + found.margin, p_likelier=p_likelier, margin=found.margin, doubted=found.confident, convinced=found.convinced,
        judged_by=np.where(found.by_network, "network", "baseline"), near=list(found.near),
    )
    return table.iloc[order].reset_index(drop=True)


def _of_values(frame: pd.DataFrame, found: Outliers) -> tuple[pd.DataFrame, dict[str, Any]]:
    table = frame[["id", "split"]].assign(
        row=np.arange(len(frame)), label=frame["label"].map(str), likelier=[f"{value:.4g}" for value in found.predicted], p_label=None, p_likelier=None,
        margin=-np.abs(found.deviation), doubted=found.convinced, convinced=found.convinced, judged_by="residual",
        near=pd.Series([np.zeros(0, int)] * len(frame), dtype=object),
    )
    n = int(found.convinced.sum())
    return table.iloc[found.order].reset_index(drop=True), {"share": n / len(frame), "n_doubted": n, "n_convinced": n, "self_test": None}


def _facts(found: list[Judged]) -> dict[str, Any]:
    counts = {"n_doubted": sum(int(each.confident.sum()) for each in found), "n_convinced": sum(int(each.convinced.sum()) for each in found)}
    return {"share": float(np.mean([each.share for each in found]))} | counts | {"self_test": found[0].self_test}


def _picture(trust: Trust, rows: np.ndarray) -> Callable[[int, int], str]:
    def draw(row: int, edge: int) -> str:
        image = np.asarray(trust.images[rows[row]]) if trust.images is not None else np.zeros((1, 1, 1))
        flat = image if image.ndim == 3 else image[:, image.shape[1] // 2]
        return data_uri(to_rgb(flat, (0, 255 if image.dtype == np.uint8 else 65535)), edge)

    return draw


def _shown(row: dict[str, Any], table: pd.DataFrame, target: TargetSpec, picture: Callable[[int, int], str]) -> Shown:
    near = [int(other) for other in row["near"] if other >= 0][:NEAR_SHOWN]
    others = tuple(Near(str(table.at[o, "id"]), str(table.at[o, "label"]), picture(o, SMALL)) for o in near if o in table.index)
    options = {"regression": (row["label"],), "multilabel": (row["label"], row["likelier"])}.get(target.kind, target.classes)
    p = [None if value is None or pd.isna(value) else float(value) for value in (row["p_label"], row["p_likelier"])]
    return Shown(row["id"], row["split"], row["label"], tuple(options), picture(row["row"], EDGE), row["likelier"], p[0], p[1], bool(row["convinced"]), others)


def _said(facts: dict[str, Any], n: int, of: int) -> list[dict[str, str]]:
    named, sure, test = facts["n_doubted"], facts["n_convinced"], facts["self_test"]
    sampled = (f" (a sample of {of:,})", f"（共 {of:,} 张中的抽样）") if n < of else ("", "")
    said = [sentence(
        "doubtful", "warning" if sure else "ok",
        f"Of {n:,} labels{sampled[0]} {named} are doubtful, {sure} of them with conviction; the page {FOLDER}/{PAGE} shows them.",
        f"{n:,} 个标签{sampled[1]}中有 {named} 个存疑，其中 {sure} 个高度可疑；见页面 {FOLDER}/{PAGE}。",
    )]
    if test is not None:
        weak = test["found"] < 0.5
        said.append(sentence(
            "doubtful-power", "info",
            f"To see what this list is worth, {test['planted']} labels were changed on purpose: {test['hit']} were among as many first names"
            + ("; in this data wrong labels can hardly be told from hard cases." if weak else "."),
            f"为检验该列表的可靠性，特意更改了 {test['planted']} 个标签：排在最前的同等数量中命中 {test['hit']} 个"
            + ("；在此数据中难以区分错误标签与疑难病例。" if weak else "。"),
        ))
    return said

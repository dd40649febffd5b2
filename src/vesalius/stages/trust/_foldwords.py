"""What must be said of a promise that was made on the answers of single folds."""

from __future__ import annotations

from vesalius.core.target import MARKED
from vesalius.stages.evaluate import folds_in
from vesalius.stages.trust.base import Trust, sentence


def of_folds(trust: Trust, code: str) -> list[dict[str, str]]:
    """That bounds were set on networks that the model averages; nothing where there are no folds, and of masks and boxes, which say it elsewhere."""
    n = folds_in(trust.predictions)
    if not n or trust.target.kind in MARKED:
        return []
    return [sentence(
        f"{code}-folds", "info",
        f"The bounds were set on the answers of single folds, while the model averages the networks of all {n}; what was measured on the test is of the model.",
        f"界限依据各折单独网络的回答确定，而模型对全部 {n} 折网络取平均；测试集上的实测结果属于该模型。",
    )]

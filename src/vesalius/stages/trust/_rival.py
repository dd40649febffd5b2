"""A small model beside the network of the run, on the same test images."""

from __future__ import annotations

from typing import Any

import numpy as np

from vesalius.core.target import MARKED
from vesalius.kernels.figures import Ranked, mean_of, regression
from vesalius.kernels.stats import Weighted
from vesalius.stages.trust._small import Small, plain_estimate, resampled
from vesalius.stages.trust.base import Trust

LEAST_TEST = 10
"""Test images below which nothing is compared."""


def network_said(trust: Trust, small: Small) -> tuple[np.ndarray, np.ndarray] | None:
    """Places in ``small`` of the test images, and what the network says of them ``[n, M]``; None where there is nothing to compare."""
    columns = ["value"] if small.metric == "r2" else [f"p_{name}" for name in small.names]
    table = trust.predictions
    if trust.target.kind in MARKED or not {"id", "split", *columns} <= set(table.columns):
        return None
    test = table[table["split"] == "test"].set_index("id")
    ids = trust.frame["id"].iloc[small.rows].to_numpy()
    places = np.flatnonzero(np.isin(ids, test.index.to_numpy()))
    if len(places) < LEAST_TEST:
        return None
    return places, test.loc[ids[places], columns].to_numpy(float)


def against(trust: Trust, small: Small, network: tuple[np.ndarray, np.ndarray] | None, said: np.ndarray) -> dict[str, Any]:
    """``network`` and ``network_minus`` (its figure minus the small model's, paired by patient); nothing where it is undefined."""
    if network is None:
        return {}
    places, of_network = network
    truth, owner = small.truth[places], small.groups[places].astype(str)
    first, second = plain_figure(truth, of_network, small.metric), plain_figure(truth, said[places], small.metric)
    drawn = resampled([first, lambda weights: np.asarray(first(weights) - second(weights))], owner, trust.seed)
    each = {name: plain_estimate(drawn, m, owner) for m, name in enumerate(("network", "network_minus"))}
    return {name: made.to_dict() for name, made in each.items() if made is not None}


def plain_figure(truth: np.ndarray, said: np.ndarray, metric: str) -> Weighted:
    """AUC (mean over columns) or R2 of all cases together."""
    if metric == "r2":
        number = regression(truth[:, 0], said[:, 0])
        return lambda weights: number(weights)["r2"]
    ranked = [Ranked(said[:, k], truth[:, k]) for k in range(truth.shape[1])]
    return lambda weights: mean_of([each(weights)["auc"] for each in ranked])

"""The small crossed model: the dual gives what the primal gives, and no case has seen itself."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from vesalius.kernels.crossridge import crossed, crossed_many, products, told


def material(n: int = 60, d: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) + 5
    return x, x[:, :1] - x[:, 1:2] / 2 + rng.normal(size=(n, 1)) / 10, np.arange(n) % 5


def test_the_dual_is_ridge_regression() -> None:
    x, y, fold = material()
    scaled = (x - x.mean(0)) / x.std(0)
    seen, asked = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    gram = products(x)
    model = Ridge(alpha=0.3 * x.shape[1], fit_intercept=False).fit(scaled[seen], y[seen] - y[seen].mean(0))
    expected = model.predict(scaled[asked]).reshape(-1, 1) + y[seen].mean(0)
    assert np.allclose(told(gram, y, seen, asked, 0.3), expected, atol=1e-3)


def test_products_are_of_blocks_that_weigh_the_same_and_leave_out_what_stands_still() -> None:
    x, _, _ = material()
    both = products(x, np.zeros((len(x), 1000)))
    assert np.allclose(both, products(x)) and np.isclose(np.trace(both) / len(x), 1)
    assert not products(np.ones((7, 3))).any()
    wide = np.repeat(x[:, :1], 500, axis=1)
    assert np.allclose(products(wide, x[:, 1:2]), products(x[:, :1], x[:, 1:2]), atol=1e-5)


def test_a_rule_is_found_and_noise_is_not() -> None:
    x, y, fold = material()
    said = crossed(products(x), y, fold)
    assert np.corrcoef(said[:, 0], y[:, 0])[0, 1] > 0.97
    noise = np.random.default_rng(1).normal(size=(60, 1))
    assert abs(np.corrcoef(crossed(products(x), noise, fold)[:, 0], noise[:, 0])[0, 1]) < 0.4


def test_no_case_is_asked_of_a_model_that_saw_it() -> None:
    x, y, fold = material()
    before, changed = crossed(products(x), y, fold), y.copy()
    changed[fold == 2] += 100
    after = crossed(products(x), changed, fold, strengths=(0.3,))
    same = crossed(products(x), y, fold, strengths=(0.3,))
    assert np.allclose(after[fold == 2], same[fold == 2]) and not np.allclose(after[fold == 1], same[fold == 1])
    assert before.shape == y.shape


def test_several_truths_at_once_are_each_as_alone() -> None:
    x, y, fold = material()
    rng = np.random.default_rng(2)
    truths = np.stack([np.column_stack([y, -y]), rng.normal(size=(60, 2)), rng.permutation(np.column_stack([y, y]))])
    together = crossed_many(products(x), truths, fold)
    assert all(np.allclose(together[b], crossed(products(x), truths[b], fold)) for b in range(3))

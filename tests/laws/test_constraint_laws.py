"""Every constraint refuses a generated bad value and names it; every registry answers an unknown name with known ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import KINDS, TargetSpec
from vesalius.errors import DataError, LabelError, OptionError
from vesalius.formats import FORMATS, LAYOUTS
from vesalius.networks import NETWORKS, build, describe, names
from vesalius.outputs import output_for
from vesalius.outputs.base import OUTPUTS
from vesalius.registry import Registry
from vesalius.stages.explain import EXPLANATIONS

REGISTRIES: dict[str, Registry] = {"networks": NETWORKS, "outputs": OUTPUTS, "formats": FORMATS, "layouts": LAYOUTS, "explanations": EXPLANATIONS}
bad_lengths = st.one_of(st.floats(max_value=0), st.just(float("nan")), st.just(float("inf")))


@given(bad=bad_lengths, axis=st.integers(0, 2))
def test_a_spacing_that_is_no_length_is_refused(bad: float, axis: int) -> None:
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = bad
    with pytest.raises(DataError, match="the spacing is not a positive length: expected mm > 0") as refused:
        Grid((2, 2, 2), tuple(spacing), np.eye(4))
    assert str(bad) in str(refused.value)


@given(axes=st.integers(1, 6), steps=st.integers(1, 6))
def test_a_grid_has_two_or_three_axes_and_as_many_spacings(axes: int, steps: int) -> None:
    if axes == steps and axes in (2, 3):
        assert Grid((2,) * axes, (1.0,) * steps, np.eye(4)).ndim == axes
    else:
        with pytest.raises(DataError, match="a grid has two or three axes"):
            Grid((2,) * axes, (1.0,) * steps, np.eye(4))


@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=3), wrong=st.integers(1, 5))
def test_samples_that_do_not_lie_on_their_grid_are_refused(shape: list[int], wrong: int) -> None:
    grid = Grid.plain(tuple(shape))
    if wrong != shape[0]:
        with pytest.raises(DataError, match="the samples do not lie on their grid"):
            Study(np.zeros((1, wrong, *shape[1:])), grid)


@given(label=st.text(min_size=1).filter(lambda text: text.strip() not in ("", "a", "b")))
def test_a_label_that_is_no_class_is_refused(label: str) -> None:
    with pytest.raises(LabelError, match="unknown label"):
        TargetSpec("binary", ("a", "b")).encode([label])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_target_has_an_output(kind: str) -> None:
    assert kind in type(output_for(TargetSpec(kind, ("a", "b")))).kinds


@pytest.mark.parametrize("registry", REGISTRIES)
@settings(max_examples=20, deadline=None)  # the first name imports every part
@given(noise=st.text("xyzq", min_size=1, max_size=3))
def test_an_unknown_name_is_answered_with_known_ones(registry: str, noise: str) -> None:
    parts = REGISTRIES[registry]
    known = parts.names()
    for name in known[:3]:
        wrong = name + noise
        if wrong in known:
            continue
        with pytest.raises(OptionError, match=f"unknown {parts.kind}") as refused:
            parts.get(wrong)
        assert any(each in str(refused.value) for each in known)


@pytest.mark.parametrize("name", names())
def test_every_network_refuses_an_image_smaller_than_it_can_read(name: str) -> None:
    info = describe(name)
    for ndim in info.ndims:
        with pytest.raises(OptionError, match=str(info.min_size)):
            build(name, channels=1, n_out=2, size=(info.min_size - 1,) * ndim)

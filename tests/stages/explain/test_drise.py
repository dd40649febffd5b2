"""D-RISE and Grad-CAM of a box as functions of a network and a tile; on studies see tests/stages/boxed/test_explain.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.boxed.boxstandin import Blobs
from vesalius.errors import OptionError
from vesalius.networks import build, names
from vesalius.stages.explain.boxcam import gradcam_box
from vesalius.stages.explain.drise import drise, ious, similarity
from vesalius.stages.explain.veils import _Sums


def tile(side: int = 64) -> torch.Tensor:
    x = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0)) * 0.1
    x[..., 24:40, 8:24] += 3
    return x


BOX = [24.0, 8.0, 40.0, 24.0]


def test_similarity_is_the_best_product_of_overlap_and_probability() -> None:
    found = torch.tensor([[[0.0, 0, 2, 2, 0.0, 5.0], [0, 0, 2, 1, 50.0, 0.0]], [[5.0, 5, 6, 6, 50, 50], [9, 9, 9, 9, 50, 50]]])
    assert similarity(found, torch.tensor([0.0, 0, 2, 1]), 0).tolist() == pytest.approx([1.0, 0.0])
    assert similarity(found, torch.tensor([0.0, 0, 2, 2]), 0).tolist() == pytest.approx([0.5, 0.0])


def test_overlap_in_three_dimensions() -> None:
    assert ious(torch.tensor([[0.0, 0, 0, 2, 2, 2]]), torch.tensor([0.0, 0, 0, 2, 2, 1])).tolist() == [0.5]


def test_correlation_is_that_of_the_definition() -> None:
    veils, answers = torch.rand(50, 3, 4), torch.rand(50)
    sums = _Sums((3, 4))
    for part in (slice(0, 20), slice(20, 50)):
        sums.add(veils[part], answers[part])
    expected = torch.stack([torch.corrcoef(torch.stack([veils[:, i, j], answers]))[0, 1] for i in range(3) for j in range(4)]).reshape(3, 4)
    assert torch.allclose(sums.correlation().float(), expected, atol=1e-5)
    flat = _Sums((3, 4))
    flat.add(veils, torch.ones(50))
    assert not flat.correlation().any()


def test_what_the_answer_does_not_depend_on_is_nothing() -> None:
    answer = torch.tensor([[*BOX, 2.0]])
    assert not drise(lambda x: answer.expand(len(x), 1, 5), tile(), BOX, 0, masks=50).any()
    noise = torch.Generator().manual_seed(1)

    def random(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.tensor([BOX]).expand(len(x), 1, 4), torch.randn(len(x), 1, 1, generator=noise)], -1)

    heat = drise(random, tile(), BOX, 0, masks=300)
    assert (heat > 0).float().mean() < 0.1, "most of what chance alone gives is taken away"


@pytest.mark.parametrize(("name", "ndim"), [(name, ndim) for ndim in (2, 3) for name in names(ndim, detects=True)])
def test_every_network_that_detects_gives_both_maps(name: str, ndim: int) -> None:
    torch.manual_seed(0)
    size = (64,) * 2 if ndim == 2 else (32,) * 3
    network = build(name, channels=1, n_out=2, size=size).eval()
    x, box = torch.randn(1, 1, *size) * 0.2, [8.0] * ndim + [24.0] * ndim
    x[(0, 0, *([slice(8, 24)] * ndim))] += 3
    heat = gradcam_box(network, x, box, 1)
    assert heat.shape == size and heat.min() >= 0 and heat.max() == 1, "where it lies means nothing before a network is trained"
    assert drise(network, x, box, 1, masks=4).shape == size and not any(module._forward_hooks for module in network.modules())


def test_gradcam_is_of_this_box_and_leaves_no_hook_when_it_throws() -> None:
    network = Blobs(2, 16.0).eval()
    x = tile()
    x[..., 24:40, 40:56] += 3
    heat = gradcam_box(network, x, BOX, 0)
    assert heat[24:40, 8:24].mean() > 20 * heat[24:40, 40:56].mean()
    assert not gradcam_box(network, x, [200.0, 200, 220, 220], 0).any(), "no candidate meets it"
    network.answer.forward = lambda _: (_ for _ in ()).throw(RuntimeError("broken"))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="broken"):
        gradcam_box(network.train(), x, BOX, 0)
    assert network.training and not any(module._forward_hooks for module in network.modules())


def test_errors_name_what_was_wrong() -> None:
    with pytest.raises(OptionError, match=r"this box cannot be explained: expected two masks or more, and a box .* got 1 masks"):
        drise(lambda x: x, tile(), BOX, 0, masks=1)
    with pytest.raises(OptionError, match=r"got 50 masks, box \[5, 5, 5, 9\]"):
        drise(lambda x: x, tile(), [5, 5, 5, 9], 0, masks=50)

    class Detached(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[[*BOX, 1.0]]])

    with pytest.raises(OptionError, match=r"no layer of this network keeps the places of the image: .*; explain with 'drise'"):
        gradcam_box(Detached(), tile(), BOX, 0)

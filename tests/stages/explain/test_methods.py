"""What is particular to Grad-CAM++, integrated gradients, RISE and attention rollout; what holds for all is in test_explanations.py and the laws."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vesalius.errors import OptionError
from vesalius.networks import build
from vesalius.stages.explain import EXPLANATIONS
from vesalius.stages.explain.gradcam_plus import gradcam_plus
from vesalius.stages.explain.integrated import integrated_gradients
from vesalius.stages.explain.rise import rise
from vesalius.stages.explain.rollout import attending, attention_rollout
from vesalius.stages.explain.scores import box_score, mask_score, mask_worth


def ill(raw: torch.Tensor) -> torch.Tensor:
    return raw[:, 1]


@pytest.mark.parametrize("method", ["gradcam++", "integrated-gradients", "rise"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_finds_the_only_place_that_matters(method, ndim, bright_of, spot_of):
    x, mask = spot_of(ndim)
    heat = EXPLANATIONS.get(method)(bright_of(ndim), x, ill)
    assert heat.shape == mask.shape and 0 <= heat.min() and heat.max() == 1
    assert heat[mask].mean() > 3 * heat[~mask].mean()


def test_gradcam_plus_shows_both_of_two_unequal_lesions(bright_of):
    x = torch.zeros(1, 1, 32, 32)
    x[..., 4:10, 4:10], x[..., 20:26, 20:26] = 1.0, 0.5
    plus = gradcam_plus(bright_of(2), x, ill)
    assert plus[5:9, 5:9].min() > 0.5 and plus[21:25, 21:25].min() > 0.2 and plus[5:9, 21:25].max() < 0.05


def test_integrated_gradients_add_up_to_the_change_of_the_score():
    """Completeness (axiom 3 of the paper), of a map that is neither cut at 0 nor smoothed."""
    from captum.attr import IntegratedGradients

    network, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 2)), torch.randn(1, 1, 8, 8)
    parts = IntegratedGradients(lambda seen: ill(network(seen))).attribute(x, baselines=x * 0, n_steps=64)
    assert float(parts.sum()) == pytest.approx(float((ill(network(x)) - ill(network(x * 0))).detach()), abs=1e-3)


class Peephole(nn.Module):
    """One attention whose class token looks at one token only; scaled dot-product attention, or a soft-max of its own."""

    def __init__(self, looks_at: int, fused: bool) -> None:
        super().__init__()
        self.held, self.fused, self.value = nn.Identity(), fused, nn.Conv2d(1, 4, 8, stride=8)
        near = torch.zeros(1, 1, 17, 17)
        near[..., 0, looks_at + 1] = 20.0
        self.register_buffer("near", near)
        nn.init.constant_(self.value.weight, 0.1)
        nn.init.zeros_(self.value.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = F.pad(self.value(x).flatten(2).transpose(1, 2), (0, 0, 1, 0))[:, None]
        if self.fused:
            seen = F.scaled_dot_product_attention(tokens * 0, tokens, tokens, attn_mask=self.near.expand(len(x), -1, -1, -1))
        else:
            seen = self.near.expand(len(x), -1, -1, -1).add(0 * tokens.sum()).softmax(-1) @ tokens
        out = self.held(seen[:, 0])[:, 0].sum(-1)
        return torch.stack([-out, out], 1)


@pytest.mark.parametrize("fused", [True, False])
def test_rollout_follows_the_attention(fused):
    heat = attention_rollout(Peephole(6, fused), torch.ones(1, 1, 32, 32), ill)
    assert heat.shape == (32, 32) and heat[8:16, 16:24].mean() > 4 * heat[16:].mean(), "token 6 of a grid of 4 x 4"


@pytest.mark.parametrize(("name", "size"), [("vit-tiny", (32, 32)), ("cnn-attention", (32, 32)), ("cnn-attention", (16, 16, 16)), ("swin-unetr", (64, 64))])
def test_rollout_of_every_kind_of_transformer_depends_on_the_score(name, size):
    torch.manual_seed(0)
    network = build(name, channels=1, n_out=2, size=size).eval()
    x = torch.randn(1, 1, *size)
    maps = [attention_rollout(network, x, lambda raw, k=k: raw.flatten(2)[:, k].mean(1) if raw.ndim > 2 else raw[:, k] - raw[:, 1 - k]) for k in (0, 1)]
    assert all(heat.shape == size and heat.max() == 1 for heat in maps) and not torch.allclose(*maps)


def test_the_answer_is_the_same_while_attention_is_looked_at(network_of, spot_of):
    network, x = network_of("vit-class", 2).eval(), spot_of(2)[0].requires_grad_(True)
    plain = network(x)
    with attending() as found:
        watched = network(x)
    torch.testing.assert_close(plain, watched, atol=1e-5, rtol=1e-5)
    assert len(found) == 2 and all(torch.allclose(look.sum(-1), torch.ones(())) for look in found)


def test_what_does_not_fit_is_refused(bright_of, spot_of):
    x = spot_of(2)[0]
    with pytest.raises(OptionError, match="this network has no attention to roll out: expected a transformer.*'gradcam' or 'occlusion'"):
        attention_rollout(bright_of(2), x, ill)
    with pytest.raises(OptionError, match="integrated gradients need steps: expected 1 or more, got 0"):
        integrated_gradients(bright_of(2), x, ill, steps=0)
    with pytest.raises(OptionError, match="no gradient flows through this network.*explain with 'occlusion'"):
        integrated_gradients(bright_of(2), x, lambda raw: raw.detach()[:, 1])
    with pytest.raises(OptionError, match="too few random masks: expected two or more, got 1"):
        rise(bright_of(2), x, ill, masks=1)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "occlusion", "integrated-gradients", "rise"])
def test_every_method_explains_a_class_on_its_mask(method):
    """A network whose answer on each sample is its brightness: what speaks for the class on the bright block is the block."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(2, 2, 1))
    for conv in (network[0], network[4]):
        nn.init.constant_(conv.bias, 0.0)
    nn.init.constant_(network[0].weight, 1.0)
    with torch.no_grad():
        network[4].weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]])[:, :, None, None])
        network[4].bias.copy_(torch.tensor([1.0, -1.0]))
    x = torch.zeros(1, 1, 32, 32)
    x[..., 8:16, 8:16] = 2.0
    raw = network(x).detach()
    heat = EXPLANATIONS.get(method)(network, x, mask_score(raw, 0, exclusive=True))
    assert heat.shape == (32, 32) and heat[8:16, 8:16].mean() > 3 * heat[20:, 20:].mean() and heat[8:16, 8:16].mean() > 0.3


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_score_of_a_mask_is_a_mean_over_the_samples_first_given(exclusive):
    raw = torch.full((1, 2, 4, 4), -1.0)
    raw[0, 1 if exclusive else 0, :2, :2] = 3.0
    score, worth = mask_score(raw, 0, exclusive=exclusive), mask_worth(raw, 0, exclusive=exclusive)
    assert float(score(raw)) == pytest.approx(4.0 if exclusive else 3.0)
    changed = raw.clone()
    changed[..., 2:, 2:] = 9.0
    assert torch.equal(score(changed), score(raw)), "other samples do not matter"
    assert 0.9 < float(worth(raw)) < 1
    nothing = torch.zeros(1, 2, 4, 4) - torch.tensor([-1.0, 1.0])[None, :, None, None] * 3
    assert torch.isfinite(mask_score(nothing, 0, exclusive=exclusive)(nothing)).all()


def test_the_score_of_a_box_is_the_logit_of_the_candidate_that_fits():
    found = torch.tensor([[[0.0, 0, 4, 4, 2.0, 9.0], [8, 8, 12, 12, 5.0, 0.0]], [[0.0, 0, 4, 4, -1.0, 9.0], [8, 8, 12, 12, 5.0, 0.0]]])
    assert box_score([0, 0, 4, 4], 0)(found).tolist() == [2.0, -1.0]

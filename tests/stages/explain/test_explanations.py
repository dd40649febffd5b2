"""Every explanation, over every build of network, in two and three dimensions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn

from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError
from vesalius.stages.explain import EXPLANATIONS, explain_study
from vesalius.stages.explain.gradcam import captured, token_grid
from vesalius.stages.explain.occlusion import blurred

BUILDS = ["cnn", "vit-class", "vit-mean"]
every = pytest.mark.parametrize("method", ["gradcam", "occlusion"])
builds = pytest.mark.parametrize("build", BUILDS)
axes = pytest.mark.parametrize("ndim", [2, 3])


def ill(raw):
    return raw[:, 1]


def hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules())


def noise(spot_of, ndim):
    return torch.randn(spot_of(ndim)[0].shape, generator=torch.Generator().manual_seed(1))


def test_registry_knows_both():
    assert {"gradcam", "occlusion"} <= set(EXPLANATIONS.names())


@every
@builds
@axes
def test_map_has_the_resolution_of_the_input_and_lies_in_0_1(method, build, ndim, network_of, spot_of):
    x = noise(spot_of, ndim)
    heats = [EXPLANATIONS.get(method)(network_of(build, ndim), x, lambda raw, k=k: raw[:, k] - raw[:, 1 - k]) for k in (0, 1)]
    for heat in heats:
        assert heat.shape == x.shape[2:] and heat.dtype == torch.float32 and not heat.requires_grad
        assert 0 <= heat.min() and heat.max() <= 1
    assert max(heat.max() for heat in heats) == 1, "one of two opposite scores must be spoken for"


@every
@axes
def test_finds_the_only_place_that_matters(method, ndim, bright_of, spot_of):
    x, mask = spot_of(ndim)
    heat = EXPLANATIONS.get(method)(bright_of(ndim), x, ill)
    assert heat[mask].mean() > 4 * heat[~mask].mean()
    peak = np.unravel_index(int(heat.argmax()), heat.shape)
    assert mask[tuple(peak)]


@every
@builds
def test_leaves_the_network_as_it_was(method, build, network_of, spot_of):
    network = network_of(build, 2).train()
    next(network.children()).eval()
    for p in network.parameters():
        p.grad = torch.full_like(p, 3.0)
    state, modes = copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]
    EXPLANATIONS.get(method)(network, noise(spot_of, 2), ill)
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(state.values(), network.state_dict().values(), strict=True))
    assert all((p.grad == 3).all() for p in network.parameters()) and hooks(network) == 0


@every
def test_leaves_no_hook_and_the_mode_when_it_throws(method, network_of, spot_of):
    network = network_of("cnn", 2).train()

    def broken(raw):
        raise RuntimeError("the score broke")

    with pytest.raises(RuntimeError, match="the score broke"):
        EXPLANATIONS.get(method)(network, noise(spot_of, 2), broken)
    assert hooks(network) == 0 and all(m.training for m in network.modules())


def test_leaves_no_hook_when_a_layer_throws(spot_of):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(5, 2))
    with pytest.raises(RuntimeError, match="mat1"):
        EXPLANATIONS.get("gradcam")(network, spot_of(2)[0], ill)
    assert hooks(network) == 0


@every
@builds
def test_frozen_weights_and_inference_mode(method, build, network_of, spot_of):
    network, x = network_of(build, 2), noise(spot_of, 2)
    free = EXPLANATIONS.get(method)(network, x, ill)
    network.requires_grad_(False)
    with torch.inference_mode():
        frozen = EXPLANATIONS.get(method)(network, x, ill)
    torch.testing.assert_close(free, frozen.clone(), atol=1e-4, rtol=1e-4)


@every
@builds
@axes
def test_attribution_changes_when_weights_are_randomised(method, build, ndim, network_of, spot_of):
    network, x = network_of(build, ndim), noise(spot_of, ndim)
    before = EXPLANATIONS.get(method)(network, x, lambda raw: raw[:, 1] - raw[:, 0])
    torch.manual_seed(7)
    for p in network.parameters():
        nn.init.normal_(p, std=0.3)
    after = EXPLANATIONS.get(method)(network, x, lambda raw: raw[:, 1] - raw[:, 0])
    assert (before - after).abs().mean() > 0.02


@every
def test_is_deterministic(method, network_of, spot_of):
    network, x = network_of("vit-class", 2), noise(spot_of, 2)
    assert torch.equal(EXPLANATIONS.get(method)(network, x, ill), EXPLANATIONS.get(method)(network, x, ill))


def test_class_token_network_is_explained_before_its_last_attention(network_of, spot_of):
    heat = EXPLANATIONS.get("gradcam")(network_of("vit-class", 2), noise(spot_of, 2), lambda raw: raw[:, 0] - raw[:, 1])
    other = EXPLANATIONS.get("gradcam")(network_of("vit-class", 2), noise(spot_of, 2), lambda raw: raw[:, 1] - raw[:, 0])
    assert (heat + other).std() > 0.05, "the tokens of the image must take part"


def test_a_fine_map_is_preferred_to_a_later_coarse_one(spot_of):
    network = nn.Sequential(nn.Conv2d(1, 4, 3, 4), nn.Conv2d(4, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    x = noise(spot_of, 2)
    with captured(network) as outputs:
        network(x.requires_grad_(True))
    fine, coarse = outputs[0], outputs[1]
    assert fine.shape[2:] == (7, 7) and coarse.shape[2:] == (3, 3)
    heat = EXPLANATIONS.get("gradcam")(network, x, ill)
    steps = torch.nn.functional.adaptive_avg_pool2d(heat[None], 7)[0]
    assert len({round(float(v), 5) for v in steps.flatten() if v > 0}) > 9


def test_channels_last_layers_are_read(spot_of):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(1, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    heat = EXPLANATIONS.get("gradcam")(Last(), noise(spot_of, 2), lambda raw: raw[:, 1] - raw[:, 0])
    assert heat.shape == (28, 28) and heat.std() > 0.05


@pytest.mark.parametrize(("count", "size", "grid"), [
    (200, (224, 224), (4, (14, 14))), (99, (64, 88), (0, (9, 11))), (5, (28, 28), (1, (2, 2))), (28, (48, 36, 36), (1, (3, 3, 3))), (3, (28, 28), None),
])
def test_token_grid(count, size, grid):
    assert token_grid(count, size) == grid


def test_network_without_places_is_refused(spot_of):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    wanted = "no layer of this network keeps the places of the image: expected maps or tokens through which a gradient flows; explain with"
    with pytest.raises(OptionError, match=wanted):
        EXPLANATIONS.get("gradcam")(flat, spot_of(2)[0], ill)
    assert EXPLANATIONS.get("occlusion")(flat, spot_of(2)[0], ill).shape == (28, 28)


def test_a_score_that_depends_on_nothing_has_an_empty_map(spot_of):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(network[-1].weight)
    assert not EXPLANATIONS.get("gradcam")(network, spot_of(2)[0], ill).any()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto"])
def test_networks_of_timm_are_explained_on_their_own_grid(name):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=2)
    timm.layers.set_fused_attn(False)  # attention then passes through modules that look like maps
    x = torch.randn(1, 3, 224, 224)
    heats = [EXPLANATIONS.get("gradcam")(network, x, lambda raw, k=k: raw[:, k] - raw[:, 1 - k]) for k in (0, 1)]
    timm.layers.set_fused_attn(True)
    n = 14 if name.startswith("vit") else 7
    cells = torch.nn.functional.adaptive_avg_pool2d((heats[0] + heats[1])[None], n)[0]
    assert cells.std() > 0.03 and max(h.max() for h in heats) == 1


@pytest.mark.parametrize("patch", [0, -1, 1.5])
def test_occlusion_refuses_a_patch_that_is_no_share(patch, network_of, spot_of):
    with pytest.raises(OptionError, match="the occluding patch is no share of the image: expected more than 0 and at most 1"):
        EXPLANATIONS.get("occlusion")(network_of("cnn", 2), spot_of(2)[0], ill, patch=patch)


def test_occlusion_does_not_depend_on_the_batch(network_of, spot_of):
    network, x = network_of("cnn", 2), noise(spot_of, 2)
    one, many = (EXPLANATIONS.get("occlusion")(network, x, ill, batch=b) for b in (1, 64))
    torch.testing.assert_close(one, many, atol=1e-4, rtol=1e-4)


def test_blurring_keeps_a_constant():
    torch.testing.assert_close(blurred(torch.full((1, 1, 12, 9, 10), 2.5), 0.2), torch.full((1, 1, 12, 9, 10), 2.5))


def study_of(ndim):
    shape = (30, 46) if ndim == 2 else (9, 30, 46)
    image = np.random.default_rng(0).integers(0, 255, (1, *shape), dtype=np.uint8)
    return Study(image, Grid.plain(shape, (3.0, 0.5, 0.5)[-ndim:]), source="one.png")


@every
@axes
def test_study_is_explained_on_its_own_grid(method, ndim, network_of, mapping_of):
    mapping, study = mapping_of(network_of("cnn", ndim)), study_of(ndim)
    picture = explain_study(mapping, study, method=method)
    assert picture.grid == study.grid and picture.array.shape == study.grid.shape and picture.name == method
    assert picture.array.dtype == np.float32 and 0 <= picture.array.min() and picture.array.max() <= 1.0001
    assert mapping.answers, "the class is the one that the mapping answers"


def test_the_class_can_be_chosen(network_of, mapping_of):
    mapping, study = mapping_of(network_of("cnn", 2)), study_of(2)
    maps = [explain_study(mapping, study, method="occlusion", target=k).array for k in (0, 1)]
    assert not np.array_equal(*maps) and not mapping.answers


def test_unknown_class_and_method(network_of, mapping_of):
    mapping = mapping_of(network_of("cnn", 2))
    with pytest.raises(OptionError, match="there is no such class to explain: expected a number from 0 to 1, got 2"):
        explain_study(mapping, study_of(2), target=2)
    with pytest.raises(OptionError, match="unknown explanation 'gradcan': expected one of gradcam"):
        explain_study(mapping, study_of(2), method="gradcan")


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_kinds_without_one_answer_explain_the_strongest(kind, network_of, mapping_of):
    mapping = mapping_of(network_of("cnn", 2))
    mapping.output.target = TargetSpec(kind, () if kind == "regression" else ("a", "b"))
    assert explain_study(mapping, study_of(2)).array.shape == (30, 46) and not mapping.answers

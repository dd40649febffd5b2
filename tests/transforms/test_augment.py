"""Augmentation: drawn from a named stream, applied purely, undone."""

import pytest
import torch

from vesalius.transforms.augment import Augment
from vesalius.transforms.intensity import Erase, Noise, Soften, Tone
from vesalius.transforms.spatial import Affine, invert

FULL = Augment(Affine(15, 0.15, 0.1, 0.08, (1,), 0.9), Tone(0.1, 0.2, 0.2), Soften(0.5), Noise(0.05), Erase(0.5, 0.4))


def blobs(n: int = 6, side: int = 32, ndim: int = 2) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.linspace(-1, 1, side)] * ndim, indexing="ij")
    centres = torch.rand((n, ndim), generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3
    distance = sum((a[None] - centres[:, i].view(-1, *(1,) * ndim)) ** 2 for i, a in enumerate(axes))
    return torch.exp(-distance / 0.05)[:, None]


def test_the_same_name_gives_the_same_batch_and_another_name_another():
    x = blobs()
    assert torch.equal(FULL(x, 7, 3), FULL(x, 7, 3))
    assert not torch.equal(FULL(x, 7, 3), FULL(x, 7, 4))


def test_global_random_state_is_neither_used_nor_changed():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    FULL(blobs(), 7, 3)
    assert torch.equal(before, torch.get_rng_state())


def test_shares_of_two_processes_are_the_whole_batch():
    x = blobs(6)
    whole = FULL(x, 7, 3)
    for rank in range(2):
        assert torch.allclose(FULL(x[rank::2], 7, 3, share=(rank, 2)), whole[rank::2], atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_undo_brings_the_centre_back_within_half_a_voxel(ndim):
    x = blobs(4, 32, ndim)
    affine = Affine(15, 0.1, 0.05, 0.05, (ndim - 1,))
    params = affine.draw(4, ndim, torch.Generator().manual_seed(3))
    back = affine.undo(affine.apply(x, params), params)
    places = torch.stack(torch.meshgrid(*[torch.arange(32.0)] * ndim, indexing="ij"))
    for before, after in zip(x, back, strict=True):
        moved = (places * after).flatten(1).sum(1) / after.sum() - (places * before).flatten(1).sum(1) / before.sum()
        assert moved.abs().max() < 0.5
    assert torch.allclose(invert(invert(params)), params, atol=1e-5)


def test_mirroring_only_happens_on_the_axes_that_allow_it():
    x = blobs(64)
    affine = Affine(flip_axes=(1,), share=0.0)
    moved = affine.apply(x, affine.draw(64, 2, torch.Generator().manual_seed(0)))
    same = torch.tensor([torch.allclose(a, b, atol=1e-4) for a, b in zip(moved, x, strict=True)])
    mirrored = torch.tensor([torch.allclose(a, b.flip(2), atol=1e-4) for a, b in zip(moved, x, strict=True)])
    assert bool((same ^ mirrored).all()) and 16 < int(mirrored.sum()) < 48
    assert not Affine(15, 0.1, 0.1, 0.1, ()).draw(64, 2, torch.Generator().manual_seed(0))[:, 0, 0].lt(0).any()


def test_intensities_stay_within_the_range():
    y = FULL(blobs(32), 0, 0)
    assert float(y.min()) >= 0 and float(y.max()) <= 1


def test_erased_share_is_as_stated():
    x = torch.rand(200, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    erase = Erase(0.25, 0.5)
    y = erase.apply(x, erase.draw(200, 2, torch.Generator().manual_seed(0)))
    assert 25 < int((y != x).flatten(1).any(1).sum()) < 75


def test_no_augmentation_changes_nothing():
    x = blobs()
    assert torch.equal(Augment()(x, 0, 0), x)


def test_record_gives_the_same_augmentation_back():
    again = Augment.from_dict(FULL.to_dict())
    assert again == FULL and torch.equal(again(blobs(), 1, 2), FULL(blobs(), 1, 2))

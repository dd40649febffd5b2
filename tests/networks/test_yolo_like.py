"""Our own detector: its options, its strides, its start, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from vesalius.errors import OptionError
from vesalius.networks import build
from vesalius.networks.yolo_like import YoloLike


def made(size: tuple[int, ...] = (64, 64), n_out: int = 2, **options: object) -> YoloLike:
    torch.manual_seed(0)
    network = build("yolo-like", channels=1, n_out=n_out, size=size, **({"width": 4} | options))
    assert isinstance(network, YoloLike)
    return network


@pytest.mark.parametrize(
    ("size", "options", "strides"),
    [
        ((64, 64), {}, [8, 16, 32]), ((32, 32, 32), {}, [4, 8, 16]), ((64, 64), {"finest": 4}, [4, 8, 16]),
        ((64, 64), {"finest": 2, "levels": 4}, [2, 4, 8, 16]), ((64, 64), {"finest": 16, "levels": 2}, [16, 32]),
        ((32, 32, 32), {"finest": 2, "levels": 1}, [2]),
    ],
)
def test_maps_answer_at_the_strides_that_were_asked_for(size: tuple[int, ...], options: dict[str, object], strides: list[int]) -> None:
    network = made(size, **options).eval()
    assert network.strides == strides and network.multiple == strides[-1] <= 32
    with torch.no_grad():
        out = network(torch.zeros(2, 1, *size))
    cells = sum(torch.Size(n // stride for n in size).numel() for stride in strides)
    assert out.shape == (2, cells, 2 * len(size) + 2)


def test_every_box_begins_about_its_own_point() -> None:
    network = made().eval()
    with torch.no_grad():
        raw, boxes, points, strides = network._answers(torch.randn(1, 1, 64, 64))
    assert raw.shape == (1, 84, 2) and points.shape == (84, 2) and sorted(set(strides.tolist())) == [8, 16, 32]
    assert (boxes[0, :, :2] < points).all() and (boxes[0, :, 2:] > points).all()
    assert ((boxes[0, :, 2:] - boxes[0, :, :2]) / strides[:, None] < 8).all()


@pytest.mark.parametrize("size", [(64, 64), (512, 512), (32, 32, 32)])
def test_at_the_start_hardly_anything_is_believed(size: tuple[int, ...]) -> None:
    """Else the first steps would only teach that most places hold nothing."""
    with torch.no_grad():
        raw = made(size).eval()(torch.zeros(1, 1, *size))[..., 2 * len(size) :]
    assert raw.sigmoid().max() < 0.02


def test_an_image_without_content_costs_little_at_the_start_however_large_it_is() -> None:
    empty = torch.zeros(1, 0, 7)
    small, large = (made((n, n)).eval()(torch.zeros(1, 1, n, n), empty).item() for n in (64, 256))
    assert 0 < small < 20 and 0 < large < 20


def test_the_risk_is_no_class() -> None:
    network, truth = made(n_out=2, risk=True).eval(), torch.tensor([[[8.0, 8, 40, 40, 0, 0, 1]]])
    x = torch.randn(1, 1, 64, 64)
    known, unknown = network(x, truth), network(x, torch.cat([truth[..., :6], torch.full((1, 1, 1), float("nan"))], -1))
    assert known > unknown and network(x).shape == (1, 84, 6)


def test_options_change_what_they_say() -> None:
    def numbers(**options: object) -> int:
        return sum(p.numel() for p in made(**options).parameters())

    assert numbers() < numbers(width=8) and numbers() < numbers(depths=[1, 2, 3, 4, 4]) and numbers() < numbers(neck=32)
    assert any(isinstance(m, torch.nn.GroupNorm) for m in made(norm="group", width=8).modules())
    x = torch.randn(2, 1, 64, 64)
    network = made(norm="group", width=8).train()
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-4)


def test_another_backbone_gives_its_maps() -> None:
    network = made(backbone="squeezenet", levels=2, width=8).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 64 + 16, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finest": 3}, "impossible 'yolo-like': expected finest 2, 4, 8 or 16, 1 to 4 levels, none coarser than 32, width >= 1, got finest 3, levels 3"),
        ({"finest": 32}, "got finest 32, levels 3"), ({"levels": 0}, "got finest 8, levels 0"), ({"levels": 5}, "got finest 8, levels 5"),
        ({"width": 0}, "width 0"), ({"finest": 16, "levels": 3}, "none coarser than 32.*got finest 16, levels 3"), ({"levels": 4}, "got finest 8, levels 4"),
        ({"depths": [1, 1]}, r"expected depths for 5 stages, got \[1, 1\]"), ({"depths": [0, 1, 1, 1, -1]}, "expected depths for 5 stages"),
        ({"backbone": "no-such"}, "no-such"), ({"backbone": "squeezenet"}, "squeezenet"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made(**options)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(OptionError, match="colour"):
        made(colour="red")


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(64, 64), (32, 32, 32)])
def test_on_a_gpu_candidates_loss_and_gradients_are_the_same(size: tuple[int, ...]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    d = len(size)
    truth = torch.tensor([[[8.0] * d + [24.0] * d + [0, 0, float("nan")], [2.0] * d + [4.0] * d + [1, 0, float("nan")]]])
    x = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(1))
    answers = []
    for device in ("cpu", "cuda"):
        network = made(size).eval().to(device)
        loss = network(x.to(device), truth.to(device))
        loss.sum().backward()
        answers.append((network(x.to(device)).detach().cpu(), loss.detach().cpu(), network.heads[0].classes[-1].weight.grad.cpu()))
    for here, there in zip(*answers, strict=True):
        assert torch.allclose(here, there, rtol=1e-3, atol=1e-3)

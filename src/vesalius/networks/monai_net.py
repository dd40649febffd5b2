"""Networks of MONAI by their class and arguments, as MONAI bundles state them (Cardoso et al., *MONAI*, arXiv:2211.02701, 2022).

It gives imported models the very layers and weight names they were trained with; for a model of your own choose a network by its name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vesalius.errors import OptionError
from vesalius.networks._base import NetworkInfo, enter, library
from vesalius.networks._dense import need_einops
from vesalius.networks.dynunet import Dyn

KINDS = ("UNet", "BasicUNet", "DynUNet", "SegResNet", "SwinUNETR", "UNETR", "AttentionUnet")
ATTENTION = ("SwinUNETR", "UNETR")
PLAIN = {"channels": (16, 32, 64), "strides": (2, 2), "num_res_units": 2}
DROPPED = frozenset({"img_size", "deep_supervision", "deep_supr_num", "use_checkpoint"})
"""Arguments that change nothing of the answer, and that MONAI's versions have or have not."""


def monai_net(channels: int, n_out: int, size: tuple[int, ...], kind: str = "UNet", arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """A network of MONAI.

    Parameters
    ----------
    kind: name of the class, one of `KINDS`.
    arguments: of the class, but for the numbers of axes and channels; a small U-Net's by default.

    Raises
    ------
    OptionError: another class, an argument that it does not have or take, or a tile that it cannot read.
    """
    if kind not in KINDS:
        raise OptionError(f"MONAI's network '{kind}' is not known here", expected=f"one of {', '.join(KINDS)}")
    if kind in ATTENTION:
        need_einops(kind)
    make = getattr(library("monai.networks.nets"), kind)
    known = inspect.signature(make.__init__).parameters
    given = {name: _plain(value) for name, value in (arguments if arguments is not None else PLAIN).items() if name not in DROPPED}
    wrong = sorted(set(given) - set(known))
    if wrong:
        raise OptionError(f"MONAI's {kind} has no argument '{wrong[0]}'", expected=f"one of {', '.join(name for name in known if name != 'self')}")
    own = {"spatial_dims": len(size), "in_channels": channels, "out_channels": n_out} | ({"img_size": tuple(size)} if "img_size" in known else {})
    try:
        network: nn.Module = make(**(given | own))
    except (TypeError, ValueError, RuntimeError, KeyError, AssertionError, AttributeError) as error:
        raise OptionError(f"MONAI cannot build {kind}", got=f"{given}: {_first_line(error)}", do="correct its arguments") from error
    network = Dyn(network) if kind == "DynUNet" else network
    _check_size(kind, network, (1, channels, *size))
    return network


def _plain(value: Any) -> Any:
    """Lists become tuples: MONAI tells a name with arguments by that."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return tuple(_plain(v) for v in value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _check_size(kind: str, network: nn.Module, shape: tuple[int, ...]) -> None:
    """Follow the shapes of one tile, without computing."""
    training = network.training
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            network.eval()(torch.zeros(shape))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise OptionError(f"MONAI's {kind} cannot read tiles of this size", got=f"size {shape[2:]}: {_first_line(error)}", do="choose another tile") from error
    network.train(training)


enter(NetworkInfo("monai-net", "Cardoso et al., MONAI, arXiv:2211.02701, 2022", 2022, (2, 3), 16, library="MONAI", dense=True), monai_net)

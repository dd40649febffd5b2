"""How each engine is built from a network: torch in its number formats and layouts, ONNX Runtime, OpenVINO."""

from __future__ import annotations

import copy
import importlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.storage import atomic_write

Run = Callable[[Tensor], Tensor]
"""Exactly ``batch`` tiles ``[batch, C, *size] -> [batch, n_out, *size]``, or the candidates of a network that detects."""
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
OPSET = 17


@dataclass(frozen=True)
class Tiles:
    """What a backend is built for: tiles ``[batch, channels, *size]``, ``n_out`` values a sample, a box (``detects``) or a tile (``whole``), and threads."""

    batch: int
    channels: int
    size: tuple[int, ...]
    n_out: int
    threads: int
    device: torch.device
    detects: bool = False
    whole: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.size)

    @property
    def answer(self) -> tuple[int, ...]:
        """Shape of the raw values; not known before the run for a network that detects."""
        return (self.batch, self.n_out) if self.whole else (self.batch, self.n_out, *self.size)


class Exported:
    """A network with what engines need of it; exported to ONNX once, when the first asks."""

    def __init__(self, network: nn.Module, tiles: Tiles, probe: Tensor, file: Path | None = None) -> None:
        self.network, self.tiles, self.probe, self.file = network, tiles, probe, file
        self._bytes: bytes | None = None

    def onnx(self) -> bytes | str:
        """The model, or the path of the file that holds it; the file is written where it is absent."""
        if self.file is not None:
            if not self.file.exists():
                atomic_write(self.file, export_onnx(self.network, self.probe))
            return str(self.file)
        if self._bytes is None:
            self._bytes = export_onnx(self.network, self.probe)
        return self._bytes


def export_onnx(network: nn.Module, example: Tensor) -> bytes:
    """The network as ONNX bytes for tiles of exactly the example's shape; input ``x``, output ``y``.

    torch's older exporter (by tracing) is tried first: it takes a third of the time of the newer one. An exporter that
    fails both ways raises torch's own error.
    """
    single = _Single(network).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters warn of what concerns exporting while training, and of their own future
        try:
            return _export(single, example, dynamo=False, opset_version=OPSET)
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            return _export(single, example, dynamo=True)


def _export(network: nn.Module, example: Tensor, **options: Any) -> bytes:
    file = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(network, (example,), cast(Any, file), input_names=["x"], output_names=["y"], verbose=False, **options)
    return file.getvalue()


class _Single(nn.Module):
    """The finest output of a network that gives several."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        raw = self.network(x)
        return raw[0] if isinstance(raw, (list, tuple)) else raw


def _torch(short: torch.dtype | None, channels_last: bool) -> Callable[[Exported], Run]:
    def build(model: Exported) -> Run:
        layout = CHANNELS_LAST[len(model.tiles.size)] if channels_last else torch.contiguous_format
        network = _Single(copy.deepcopy(model.network).to(memory_format=layout) if channels_last else model.network)
        device = model.tiles.device

        def run(x: Tensor) -> Tensor:
            with torch.autocast(device.type, short or torch.bfloat16, enabled=short is not None):
                return network(x.to(device, memory_format=layout))

        return run

    return build


def _onnxruntime(model: Exported) -> Run:
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = model.tiles.threads, 1, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would take the cores from torch's
    session = ort.InferenceSession(model.onnx(), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.contiguous().numpy()})[0])


def _openvino(precision: str) -> Callable[[Exported], Run]:
    def build(model: Exported) -> Run:
        ov = importlib.import_module("openvino")
        core = ov.Core()
        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": model.tiles.threads, "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(core.read_model(model.onnx()), "CPU", settings).create_infer_request()
        shape = model.tiles.answer

        def boxes(x: Tensor) -> Tensor:
            request.infer([x.contiguous().numpy()], share_inputs=True)
            return torch.from_numpy(np.array(request.get_output_tensor(0).data))  # how many is known after the run only

        def run(x: Tensor) -> Tensor:
            out = np.empty(shape, np.float32)  # the engine writes here: its own output is overwritten by the next call
            request.set_output_tensor(ov.Tensor(out, shared_memory=True))
            request.infer([x.contiguous().numpy()], share_inputs=True)
            return torch.from_numpy(out)

        return boxes if model.tiles.detects else run

    return build


PLAIN = "torch"
ENGINES: dict[str, tuple[tuple[str, ...], str, Callable[[Exported], Run]]] = {
    PLAIN: (("cpu", "cuda"), "", _torch(None, False)),
    "openvino": (("cpu",), "openvino", _openvino("f32")),
    "openvino bf16": (("cpu",), "openvino", _openvino("bf16")),
    "torch bf16": (("cpu", "cuda"), "", _torch(torch.bfloat16, False)),
    "onnxruntime": (("cpu",), "onnxruntime", _onnxruntime),
    "torch channels-last": (("cpu", "cuda"), "", _torch(None, True)),
    "torch bf16 channels-last": (("cpu", "cuda"), "", _torch(torch.bfloat16, True)),
    "torch f16": (("cuda",), "", _torch(torch.float16, False)),
    "torch f16 channels-last": (("cuda",), "", _torch(torch.float16, True)),
}
"""Name to the devices it runs on, the optional package it needs, and how it is built."""

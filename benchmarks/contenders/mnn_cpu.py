"""MNN on the CPU: the same one-node ONNX model as other peers get, converted by MNN's own converter."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import onnx_model
from benchmarks.contenders.base import Contender, Prepared
from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Floats, Workload
from benchmarks.workloads.networks import Network

# Winograd's tiles: with the default (3) a 3x3 layer of 128 channels errs by 1e-3 of its largest output; 1 errs by 4e-7 and takes as long.
WINOGRAD_MEMORY_LEVEL, LEVEL = 3, 1


class Mnn(Contender):
    """A module over the converted model, float32 demanded."""

    name = "mnn"
    modules = ("MNN",)
    inside_timer = (
        "One forward call of a loaded module and reading its output; reorders of input and output inside. Weights packed at load; "
        "precision high, Winograd's tiles limited to those that keep float32's accuracy."
    )

    def available(self) -> str | None:
        missing = [name for name in ("MNN", "onnx") if not find_spec(name)]
        return f"not installed: {', '.join(missing)} (pip install MNN onnx)" if missing else None

    def version(self) -> str | None:
        return version("MNN")

    def refuse(self, workload: Workload) -> str | None:
        if isinstance(workload, Network):
            return "the suite gives MNN single layers; a network would be its converter's choice of graph"
        if not workload.is_conv and max(workload.dilation) > 1:
            return "MNN's pools leave dilation out of account"
        return onnx_model.refuse(workload)

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        with _quietly(), tempfile.TemporaryDirectory() as folder:
            import MNN

            path = _converted(onnx_model.model(workload, given), Path(folder))
            config = {"backend": 0, "precision": "high", "numThread": threads, "memory": "normal", "power": "high"}
            runtime = MNN.nn.create_runtime_manager((config,))
            runtime.set_hint(WINOGRAD_MEMORY_LEVEL, LEVEL)
            module = MNN.nn.load_module_from_file(str(path), ["x"], ["y"], runtime_manager=runtime)
        x = MNN.expr.placeholder(list(workload.x_shape), MNN.expr.NCHW, MNN.expr.float)
        x.write(np.array(given.x))

        def run() -> Any:
            return module.forward([x])[0].read()

        def answer(found: Any, kept: Any = (runtime, x)) -> Floats:
            return np.array(found, np.float32).reshape(workload.out_shape)

        return Prepared(run=run, answer=answer)


def _converted(model: bytes, folder: Path) -> Path:
    """The model in MNN's format. The converter's core is called: its command installs a package for telemetry when it is imported."""
    import _tools

    (folder / "model.onnx").write_bytes(model)
    told = ["--modelFile", str(folder / "model.onnx"), "--MNNModel", str(folder / "model.mnn"), "--bizCode", "layer"]
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *told])
    if not (folder / "model.mnn").exists():
        raise ValueError("MNN's converter refuses the model")
    return folder / "model.mnn"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """MNN writes to the process's own output what it is doing."""
    kept = [os.dup(number) for number in (1, 2)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nothing, number)
        yield
    finally:
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
        os.close(nothing)

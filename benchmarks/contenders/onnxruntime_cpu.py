"""ONNX Runtime's CPU provider (MLAS underneath)."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

from benchmarks.contenders import onnx_model
from benchmarks.contenders.base import Contender, Prepared
from benchmarks.contenders.peer_settings import onnxruntime_options
from benchmarks.inputs.tensors import Tensors, aligned, aligned_copy
from benchmarks.workloads.layer import Workload


class OnnxRuntime(Contender):
    """A session over a one-node model, input and output bound to allocated arrays."""

    name = "onnxruntime"
    modules = ("onnxruntime", "onnx")
    inside_timer = "One run of an open session with bound input and output; weights packed at load, reorders of input and output inside."

    def available(self) -> str | None:
        missing = [name for name in ("onnxruntime", "onnx") if not find_spec(name)]
        return f"not installed: {', '.join(missing)} (pip install onnxruntime onnx)" if missing else None

    def version(self) -> str | None:
        return version("onnxruntime")

    def refuse(self, workload: Workload) -> str | None:
        return onnx_model.refuse(workload)

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        import onnxruntime

        model, options = onnx_model.model(workload, given), onnxruntime_options(threads)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x, out = aligned_copy(given.x), aligned(workload.out_shape)
        binding = session.io_binding()
        binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
        binding.bind_output("y", "cpu", 0, np.float32, out.shape, out.ctypes.data)

        def run() -> None:
            session.run_with_iobinding(binding)

        # x and out are held by this closure: the binding has only their addresses.
        return Prepared(run=run, answer=lambda _, kept=(x, out): kept[1])

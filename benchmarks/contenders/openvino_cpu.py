"""OpenVINO's CPU plugin (its own oneDNN fork underneath)."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

from benchmarks.contenders import onnx_model
from benchmarks.contenders.base import Contender, Prepared
from benchmarks.contenders.peer_settings import openvino_settings
from benchmarks.inputs.tensors import Tensors, aligned, aligned_copy
from benchmarks.workloads.layer import Workload


class OpenVino(Contender):
    """An infer request over the same one-node model, latency hint, float32 arithmetic demanded (its default may be lower)."""

    name = "openvino"
    modules = ("openvino", "onnx")
    inside_timer = "One infer call on a compiled model with set input and output tensors; weights packed at compile time, reorders inside."

    def available(self) -> str | None:
        missing = [name for name in ("openvino", "onnx") if not find_spec(name)]
        return f"not installed: {', '.join(missing)} (pip install openvino onnx)" if missing else None

    def version(self) -> str | None:
        return version("openvino")

    def refuse(self, workload: Workload) -> str | None:
        return onnx_model.refuse(workload)

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        import openvino

        core = openvino.Core()
        compiled = core.compile_model(core.read_model(onnx_model.model(workload, given)), "CPU", openvino_settings(threads))
        x, out = aligned_copy(given.x), aligned(workload.out_shape)
        request = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(out, shared_memory=True))

        def run() -> None:
            request.infer(share_outputs=True)  # without it, every call would copy the output once more

        return Prepared(run=run, answer=lambda _, kept=(x, out): kept[1])

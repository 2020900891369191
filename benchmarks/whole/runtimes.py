"""Who runs a whole model: this library, ONNX Runtime, OpenVINO. Each is made of a file and inputs, and tells what its parts take."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders.peer_settings import onnxruntime_options, openvino_settings

Array = np.ndarray
Part = tuple[str, float]  # what a part of a model is, and seconds
TURNS = 20  # calls that a time line is the median or mean of


@dataclass(frozen=True)
class Running:
    """A model in a runtime: `run()` gives its outputs by name; `timeline()` its parts in their order; `timed()` is what is timed, where
    that is not `run` itself; `before()` a turn of calls."""

    run: Callable[[], Mapping[str, Array]]
    timeline: Callable[[], list[Part]]
    call: Callable[[], Any] | None = None
    before: Callable[[], None] = lambda: None

    @property
    def timed(self) -> Callable[[], Any]:
        return self.call or self.run


def spectroconv(path: Path, inputs: Mapping[str, Array], threads: int) -> Running:
    """One call of `kernels.load(path)`."""
    import kernels

    model = kernels.load(path, threads=threads)
    given = dict(inputs)

    def run() -> Mapping[str, Array]:
        results = model(given)
        return results if isinstance(results, dict) else {model.outputs[0].name: results}

    def timeline() -> list[Part]:
        run()
        lines = model.explain().splitlines()[1:]
        return [(" ".join(line.split()), seconds) for line, seconds in zip(lines, model.timeline(given, turns=TURNS))]

    return Running(run, timeline)


def onnxruntime(path: Path, inputs: Mapping[str, Array], threads: int) -> Running:
    """One run of a session with NumPy arrays in and out; its own profile is the time line."""
    import onnxruntime as package

    def session(profile: str = "") -> Any:
        options = onnxruntime_options(threads)
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        return package.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    running = session()
    names, given = [each.name for each in running.get_outputs()], dict(inputs)

    def timeline() -> list[Part]:
        with tempfile.TemporaryDirectory() as folder:
            profiled = session(str(Path(folder) / "profile"))
            for _ in range(TURNS):
                profiled.run(names, given)
            events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
        spent: dict[str, float] = defaultdict(float)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                spent[f"{event['args'].get('op_name', '')} {event['name'].removesuffix('_kernel_time')}"] += event["dur"] * 1e-6 / TURNS
        return list(spent.items())

    return Running(lambda: dict(zip(names, running.run(names, given))), timeline)


def openvino(path: Path, inputs: Mapping[str, Array], threads: int) -> Running:
    """One infer call of a request compiled for these shapes, latency hint, float32; its performance counters are the time line."""
    import openvino as package

    def request(**more: Any) -> Any:
        core = package.Core()
        model = core.read_model(str(path))
        model.reshape({name: list(array.shape) for name, array in inputs.items()})
        return core.compile_model(model, "CPU", openvino_settings(threads) | more).create_infer_request()

    running, given = request(), dict(inputs)

    def run() -> Mapping[str, Array]:
        found = running.infer(given)
        return {port.get_any_name(): array for port, array in found.items()}

    def timeline() -> list[Part]:
        counted = request(PERF_COUNT=True)
        counted.infer(given)
        counted.infer(given)
        parts = counted.profiling_info
        return [(f"{each.node_type} {each.node_name}", each.real_time.total_seconds()) for each in parts if each.real_time]

    return Running(run, timeline)


RUNTIMES: dict[str, Callable[[Path, Mapping[str, Array], int], Running]] = {
    "spectroconv": spectroconv, "onnxruntime": onnxruntime, "openvino": openvino,
}  # fmt: skip

"""All of a model by onnxruntime, where measuring finds that it takes less time there: `rest="onnxruntime", effort="measure"`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.dispatch.measure import settle
from kernels.network.graph import Graph, Node, Value
from kernels.network.lowering import Lowering, Settings
from kernels.network.program import Program

Array = np.ndarray

DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64"} | {
    f"tensor({name})": name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
}
GAIN = 0.95  # of our time: what onnxruntime's must be below; its answers are copied, and it holds weights of its own


class Elsewhere:
    """A model as a step runs it: outputs in their order from inputs in theirs, and what measuring found."""

    def __init__(self, running: Any, method: str) -> None:
        self._running, self.method = running, method
        self._inputs, self._outputs = ([each.name for each in ends] for ends in (running.get_inputs(), running.get_outputs()))

    def __call__(self, arrays: list[Array | None], threads: int = 1) -> list[Array]:
        """The outputs."""
        found: list[Array] = self._running.run(self._outputs, dict(zip(self._inputs, arrays)))
        return found


def faster(program: Program, running: Any, given: dict[str, Array], threads: int, budget: float) -> Program:
    """The program, or one that hands the whole model to onnxruntime (a session) where calls with these inputs, in turns for about `budget`
    seconds, take less time there. It stays where onnxruntime takes other dtypes."""
    ends = [{each.name: DTYPES.get(each.type, "") for each in found} for found in (running.get_inputs(), running.get_outputs())]
    ours = [{name: view.dtype.name for name, view in views.items()} for views in (program.inputs, program.outputs)]
    if ends != ours:
        return program
    names, inputs = list(ends[1]), {name: given[name] for name in ends[0]}
    measured = settle({"here": lambda: program(given), "onnxruntime": lambda: running.run(names, inputs)}, budget / 4)
    if measured is None or measured.seconds["onnxruntime"] > GAIN * measured.seconds["here"]:
        return program
    times = {name: f"{1e3 * seconds:.3g} ms" for name, seconds in measured.seconds.items()}
    graph = Graph()
    values = [graph.input(name, program.inputs[name].shape, program.inputs[name].dtype) for name in ends[0]]
    made = [Value(name, program.outputs[name].shape, program.outputs[name].dtype) for name in names]
    model = Elsewhere(running, f"onnxruntime, {times['onnxruntime']}, here {times['here']}")
    graph.nodes.append(Node("Model", list(values), made, {"onnx": model}, "the whole model"))
    for value in made:
        graph.output(value.name, value)
    return Program(Lowering(graph, Settings(threads), {}))

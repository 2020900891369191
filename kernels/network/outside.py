"""Nodes that no operator here is known for, run by onnxruntime where `rest="onnxruntime"` asks for it, each as a small session.

Shapes are what one run on made-up numbers gives; constants among the inputs are there as they are.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from kernels.network.checking import session
from kernels.network.graph import Node
from kernels.problem.errors import ProblemError

Array = np.ndarray


class Outside:
    """A node as the model holds it: its proto, the names of what it reads, in a body too, and the operator sets that the model imports."""

    method = "onnxruntime"

    def __init__(self, proto: Any, names: list[str], opsets: list[Any], ir_version: int) -> None:
        self.proto, self.names, self.opsets, self.ir_version = proto, names, opsets, ir_version
        self._sessions: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_sessions": {}}  # which cannot be pickled

    def session(self, arrays: list[Array | None], threads: int = 1) -> Any:
        """The session for inputs of these types and ranks."""
        onnx: Any = importlib.import_module("onnx")
        key = tuple(None if array is None else (array.dtype.str, array.ndim) for array in arrays), threads
        if key not in self._sessions:
            inputs = [
                onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
                for name, array in {n: a for n, a in zip(self.names, arrays) if a is not None}.items()
            ]
            outputs = [onnx.ValueInfoProto(name=name) for name in self.proto.output if name]
            graph = onnx.helper.make_graph([self.proto], "node", inputs, outputs)
            model = onnx.helper.make_model(graph, opset_imports=self.opsets, ir_version=self.ir_version)
            try:
                self._sessions[key] = session(model.SerializeToString(), threads)
            except ImportError:
                raise
            except Exception as error:  # onnxruntime's exceptions have no class in common
                raise ProblemError(f"onnxruntime does not run it either: {str(error)[:300]}") from error
        return self._sessions[key]

    def __call__(self, arrays: list[Array | None], threads: int = 1) -> list[Array]:
        """The outputs."""
        given = {name: array for name, array in zip(self.names, arrays) if array is not None}
        found: list[Array] = self.session(arrays, threads).run(None, given)
        return found


def infer_outside(node: Node) -> list[tuple[tuple[int, ...], np.dtype]]:
    """Shapes and dtypes that onnxruntime gives for made-up numbers. Raises ProblemError where it cannot."""
    outside = node.attributes.get("onnx")
    if not isinstance(outside, Outside):
        raise ProblemError("no such operator is known")
    arrays = [None if v is None else v.data if v.data is not None else np.ones(v.lengths, v.kind) for v in node.inputs]
    try:
        return [(array.shape, array.dtype) for array in outside(arrays)]
    except (ImportError, ProblemError):
        raise
    except Exception as error:
        raise ProblemError(f"onnxruntime does not run it either: {str(error)[:300]}") from error

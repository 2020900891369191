"""Files that are damaged and nodes that no operator can be: one error of ours that names the node, whatever raised it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels

onnx = pytest.importorskip("onnx")
X = np.ones((1, 2, 6, 6), np.float32)


def model(op: str, constants: Mapping[str, Any], order: str, **attributes: Any) -> Any:
    """x, one node called "node", y."""
    helper = onnx.helper
    node = helper.make_node(op, order.split(), ["y"], "node", **attributes)
    numbers = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    ends = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, X.shape)], [helper.make_empty_tensor_value_info("y")]
    graph = helper.make_graph([node], "test", *ends, numbers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


ONES = np.ones((3, 2, 3, 3), np.float32)
INVALID: dict[str, tuple[Any, ...]] = {
    "no inputs": ("BatchNormalization", {}, "x", {}),
    "strides that are text": ("Conv", {"w": ONES}, "x w", {"strides": "two"}),
    "weights of integers": ("Conv", {"w": ONES.astype(np.int64)}, "x w", {}),
    "an axis that is text": ("Softmax", {}, "x", {"axis": "last"}),
    "an attribute that must be there": ("GroupNormalization", {"a": np.ones(2, np.float32)}, "x a a", {}),
    "a type that there is not": ("Cast", {}, "x", {"to": 1 << 40}),
    "branches that are missing": ("If", {"c": np.array(True)}, "c", {}),
    "a negative repeat": ("Tile", {"r": np.array([1, 1, 1, -2])}, "x r", {}),
    "an index out of range": ("Gather", {"i": np.array([7])}, "x i", {"axis": 2}),
    "bounds of an odd shape": ("Clip", {"a": np.zeros((5, 1), np.float32)}, "x a", {}),
    "letters that are none": ("Einsum", {"w": ONES}, "x w", {"equation": "[b,cd->"}),
    "a mode that there is not": ("Pad", {"p": np.array([0, 0, 9, 9, 0, 0, 9, 9])}, "x p", {"mode": "mirror"}),
}


@pytest.mark.parametrize("name", INVALID)
def test_nodes_that_no_operator_can_be(name: str) -> None:
    op, constants, order, attributes = INVALID[name]
    with pytest.raises((kernels.ProblemError, kernels.RefusedError), match=r"node|check_model"):
        kernels.load(model(op, constants, order, **attributes))(X)


def test_damaged_bytes() -> None:
    raw, rng = model("Conv", {"w": ONES}, "x w").SerializeToString(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(raw)
        for place in rng.integers(len(raw), size=3):
            damaged[min(place % 90, len(raw) - 1) if rng.random() < 0.5 else -1 - place % 90] = rng.integers(256)
        with contextlib.suppress(kernels.ProblemError, kernels.RefusedError):
            kernels.load(bytes(damaged))(X)


def test_numbers_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(model("Conv", {"w": ONES}, "x w"), path, save_as_external_data=True, location="weights", size_threshold=0)
    assert kernels.load(path)(X).shape == (1, 3, 4, 4)
    with pytest.raises(kernels.ProblemError, match="'w' lie in another file; give the model's path"):
        kernels.load(path.read_bytes())
    os.remove(tmp_path / "weights")
    with pytest.raises(kernels.ProblemError, match="weights"):
        kernels.load(path)

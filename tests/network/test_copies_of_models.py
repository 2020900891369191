"""Models and streams are copied, pickled and made accurate as plans are: in the middle of a signal too, the original gone."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE

import kernels
from kernels import layer
from kernels.network.model import Model

ROOT = Path(__file__).parents[2]
DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((1, 16, 300), dtype=np.float32)
WEIGHT = DRAW.standard_normal((16, 16, 3), dtype=np.float32)
HOW = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda made: pickle.loads(pickle.dumps(made))}


def model(**options: Any) -> Model:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1])
    values = [onnx.helper.make_tensor_value_info(name, 1, [1, 16, 300]) for name in ("x", "y")]
    made = onnx.helper.make_graph([node], "g", values[:1], values[1:], [onnx.numpy_helper.from_array(WEIGHT, "w")])
    return kernels.load(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString(), **options)


def stream() -> Any:
    layers = [layer("conv1d", WEIGHT, padding=1), layer("activation", "relu"), layer("max_pool1d", 3, 1)]
    return kernels.stream([*layers, layer("conv1d", WEIGHT, dilation=4)], shape=(1, 16, None))


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("called", [False, True], ids=["fresh", "called"])
def test_a_copy_of_a_model(how: str, called: bool) -> None:
    made, expected = model(), model()(X)
    if called:
        made(X)
    other = HOW[how](made)
    del made
    gc.collect()
    np.testing.assert_array_equal(other(X), expected)


@pytest.mark.parametrize("how", HOW)
def test_a_copy_of_a_model_with_a_node_that_onnxruntime_runs(how: str) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    ends = [onnx.helper.make_tensor_value_info("x", 1, [None, 3, 3]), onnx.ValueInfoProto(name="y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Det", ["x"], ["y"])], "g", ends[:1], ends[1:])
    made = kernels.load(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), rest="onnxruntime")
    x = DRAW.standard_normal((4, 3, 3), dtype=np.float32)
    expected = made(x)
    np.testing.assert_allclose(expected, np.linalg.det(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(HOW[how](made)(x), expected)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("at", [0, 1, 2, 130])
def test_a_copy_of_a_stream_goes_on_where_it_was(how: str, at: int) -> None:
    whole = stream()
    expected = np.concatenate([whole(X), whole.finish()], -1)
    made = stream()
    first = made(X[..., :at])
    other = HOW[how](made)
    apart = [made(X[..., at:] * 2), made.finish()]  # what the original does next is its own affair
    del made
    gc.collect()
    np.testing.assert_array_equal(np.concatenate([first, other(X[..., at:]), other.finish()], -1), expected)
    assert sum(each.shape[-1] for each in apart) == expected.shape[-1] - first.shape[-1]


def test_a_pickled_stream_goes_on_in_another_process(tmp_path: Path) -> None:
    made = stream()
    made(X[..., :100])
    (tmp_path / "stream").write_bytes(pickle.dumps((made, X[..., 100:])))
    code = f"import pickle, sys; s, x = pickle.load(open({str(tmp_path / 'stream')!r}, 'rb')); sys.stdout.buffer.write(s(x).tobytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == made(X[..., 100:]).tobytes()


def test_a_model_may_be_accurate_output_by_output() -> None:
    x = X.copy()
    x[0, :, 150] = np.nan
    for options in ({"accuracy": "each"}, {}):
        if not options:
            kernels.set_accuracy("each")
        try:
            made = model(**options)
            other = pickle.loads(pickle.dumps(made))
        finally:
            kernels.set_accuracy(None)
        for each in (made, other):
            assert np.isnan(each(x)).sum() == 16 * 3
            np.testing.assert_array_equal(np.isnan(each(x)).any((0, 1)).nonzero()[0], [149, 150, 151])
    with pytest.raises(kernels.ProblemError, match="accuracy is 'all'"):
        model(accuracy="all")

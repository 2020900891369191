"""Messages of ONNX read without the package around them: the same numbers and attributes, the same classes, and it is not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import kernels  # noqa: E402
from kernels.network.onnx_messages import PLAIN, array_of, attribute_of, dtype_of  # noqa: E402

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("number", PLAIN)
@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
def test_numbers_of_tensors(number: int, raw: bool) -> None:
    kind = helper.tensor_dtype_to_np_dtype(number)
    assert dtype_of(number) == kind
    array = (np.random.default_rng(number).standard_normal((2, 1, 3)) * 5).astype(np.int8).astype(kind)
    tensor = numpy_helper.from_array(array) if raw else helper.make_tensor("t", number, array.shape, array.ravel().tolist())
    assert tensor.HasField("raw_data") == raw
    for found in (array_of(tensor), numpy_helper.to_array(tensor)):
        assert found.dtype == array.dtype and found.shape == array.shape and (found == array).all()


def test_other_types_are_the_packages() -> None:
    tensor = helper.make_tensor("t", TensorProto.STRING, [2], [b"a", b"b"])
    assert array_of(tensor).tolist() == numpy_helper.to_array(tensor).tolist()
    assert dtype_of(TensorProto.BFLOAT16) == helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    with pytest.raises(KeyError):
        dtype_of(12345)


@pytest.mark.parametrize(
    "value",
    [1.5, 3, "word", [1.5, 2.0], [1, 2], ["a", "b"], numpy_helper.from_array(np.ones(2)), [numpy_helper.from_array(np.ones(2))],
     helper.make_graph([], "g", [], []), [helper.make_graph([], "g", [], [])], helper.make_tensor_type_proto(1, [2])],
    ids=lambda value: type(value[0] if isinstance(value, list) else value).__name__ + "s" * isinstance(value, list),
)  # fmt: skip
def test_attributes(value: Any) -> None:
    attribute = helper.make_attribute("a", value)
    assert attribute_of(attribute) == helper.get_attribute_value(attribute)


def test_attributes_that_cannot_be_read() -> None:
    attribute = helper.make_attribute("a", 3)
    attribute.ref_attr_name = "b"
    with pytest.raises(kernels.ProblemError, match="'a' refers to one of a function, 'b'"):
        attribute_of(attribute)


def test_a_model_is_read_without_the_package_and_its_classes_stay_the_same(tmp_path: Path) -> None:
    """Also where its numbers lie in another file, for which the package is asked."""
    weight = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [1, 2, 8]), ("y", [1, 4, 8]))]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")]))
    onnx.save(model, str(tmp_path / "one.onnx"))
    onnx.save(model, str(tmp_path / "two.onnx"), save_as_external_data=True, location="numbers", size_threshold=0)
    code = f"""
import sys
import numpy as np
import kernels
x = np.arange(16, dtype=np.float32).reshape(1, 2, 8)
one = kernels.load({str(tmp_path / "one.onnx")!r})(x)
from kernels.network.onnx_messages import messages
read = messages().ModelProto
assert "onnx" not in sys.modules and "ml_dtypes" not in sys.modules
two = kernels.load({str(tmp_path / "two.onnx")!r})(x)
import onnx
assert read is messages().ModelProto is onnx.ModelProto is onnx.onnx_ml_pb2.ModelProto
three = kernels.load(onnx.load({str(tmp_path / "one.onnx")!r}))(x)
assert (one == two).all() and (one == three).all()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]

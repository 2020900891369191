"""ONNX's protobuf messages and what they hold, without the rest of the package onnx.

A model is read with the messages alone, which the package keeps in one generated module. `import onnx` brings checkers, printers and
ml_dtypes too: 45 ms, and 580 with ml_dtypes 0.7 (one core of Granite Rapids, 1 December 2026), half of a small model's first answer. Who
imports onnx later gets the same classes: protobuf has one for each message.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

from kernels.problem.errors import ProblemError
from kernels.runtime.completing import completed

_MODULE = "onnx.onnx_ml_pb2"
# numbers of types that lie in a tensor as NumPy has them, and the field that holds them where they are not raw bytes
_PLAIN = {
    1: (np.float32, "float_data"), 2: (np.uint8, "int32_data"), 3: (np.int8, "int32_data"), 4: (np.uint16, "int32_data"),
    5: (np.int16, "int32_data"), 6: (np.int32, "int32_data"), 7: (np.int64, "int64_data"), 9: (np.bool_, "int32_data"),
    10: (np.float16, "int32_data"), 11: (np.float64, "double_data"), 12: (np.uint32, "uint64_data"), 13: (np.uint64, "uint64_data"),
}  # fmt: skip
PLAIN = {number: np.dtype(kind) for number, (kind, _) in _PLAIN.items()}
_FIELDS = {
    "FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "SPARSE_TENSOR": "sparse_tensor", "TYPE_PROTO": "tp",
    "FLOATS": "floats", "INTS": "ints", "STRINGS": "strings", "TENSORS": "tensors", "GRAPHS": "graphs",
    "SPARSE_TENSORS": "sparse_tensors", "TYPE_PROTOS": "type_protos",
}  # fmt: skip


def onnx_package() -> Any:
    """The package onnx. Raises ImportError that names the extra."""
    try:
        return completed(importlib.import_module)("onnx")
    except ImportError as error:
        raise _missing() from error


def _missing() -> ImportError:
    return ImportError("reading an ONNX model needs the package onnx: pip install 'spectroconv[onnx]'")


def messages() -> Any:
    """The module of ONNX's messages. Raises ImportError as `onnx_package` does."""
    return sys.modules.get(_MODULE) or _loaded()


@functools.cache
@completed
def _loaded() -> Any:
    package = importlib.util.find_spec("onnx")
    folders = package.submodule_search_locations if package else None
    place = Path(folders[0], "onnx_ml_pb2.py") if folders else None
    spec = importlib.util.spec_from_file_location(_MODULE, place) if place and place.exists() else None
    if spec is None or spec.loader is None:  # missing, or packed otherwise
        onnx_package()
        return importlib.import_module(_MODULE)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise _missing() from error
    return module


def loaded(path: Path) -> Any:
    """The ModelProto of a file, with the numbers that lie in files beside it. Other formats and other files are the package's work."""
    if path.suffix == ".onnx":
        content = path.read_bytes()
        if b"location" not in content:  # which every tensor in another file has as a key
            return messages().ModelProto.FromString(content)
    return onnx_package().load(str(path))


def dtype_of(number: int) -> np.dtype:
    """The dtype of a type's number. Raises KeyError where there is no such type."""
    return PLAIN.get(number) or np.dtype(onnx_package().helper.tensor_dtype_to_np_dtype(number))


def array_of(tensor: Any) -> np.ndarray:
    """The numbers of a TensorProto whose numbers lie in it."""
    if tensor.data_type not in _PLAIN or tensor.HasField("segment") or sys.byteorder != "little":
        found: np.ndarray = onnx_package().numpy_helper.to_array(tensor)
        return found
    kind, field = _PLAIN[tensor.data_type]
    shape = tuple(tensor.dims)
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, kind).reshape(shape)
    numbers: np.ndarray = np.asarray(getattr(tensor, field), {"int32_data": np.int32, "uint64_data": np.uint64}.get(field, kind))
    numbers = numbers.astype(np.uint16).view(kind) if kind is np.float16 else numbers.astype(kind)  # of halves it has the bits
    return numbers.reshape(shape)


@functools.cache
def _field_of(kind: int) -> str:
    return _FIELDS[messages().AttributeProto.AttributeType.Name(kind)]


def attribute_of(attribute: Any) -> Any:
    """What an AttributeProto holds. Raises ProblemError where that is nothing that can be read."""
    if attribute.ref_attr_name:
        raise ProblemError(f"attribute {attribute.name!r} refers to one of a function, {attribute.ref_attr_name!r}, outside of any")
    if attribute.type == attribute.UNDEFINED:
        return None
    try:
        value = getattr(attribute, _field_of(attribute.type))
    except (KeyError, ValueError):
        raise ProblemError(f"attribute {attribute.name!r} has a type of the number {attribute.type}, which ONNX does not have") from None
    return list(value) if attribute.type >= attribute.FLOATS and hasattr(value, "__len__") else value

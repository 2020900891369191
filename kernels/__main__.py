"""`python -m kernels`: run, explain and check ONNX models; calibrate what cost estimates rest on; tune the layers of a whole model;
compile ahead."""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernels.cost import calibration
from kernels.dispatch import tuning
from kernels.dispatch.heuristic import choose
from kernels.dispatch.measure import measure
from kernels.dispatch.warm import usual, warm
from kernels.methods import load
from kernels.network.models import Layer, LeftOut, from_layers, from_onnx
from kernels.problem.errors import ProblemError, RefusedError
from kernels.problem.options import thread_count
from kernels.runtime import store
from kernels.runtime.machine import cores


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    top = argparse.ArgumentParser("python -m kernels", description="Run ONNX models; measure for better choices.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="{run,explain,check,calibrate,tune,warm}")
    verbs.add_parser("calibrate", help="measure what cost estimates rest on; about a minute", description=(
        "Measure multiply-adds, bandwidth, waking threads and every method, and keep the numbers for the estimates behind \"auto\"."
    ))  # fmt: skip
    tune = verbs.add_parser("tune", help="measure the layers of a model", description=(
        "Time the ways to do each layer of a model and keep the winners: plans with implementation=\"auto\" take them from then on."
    ))  # fmt: skip
    what = tune.add_mutually_exclusive_group(required=True)
    what.add_argument("--onnx", type=Path, metavar="MODEL.onnx", help="the convolutions and pools of a model (needs the package onnx)")
    what.add_argument("--layers", type=Path, metavar="FILE", help="a file with a problem a line, or a JSON list of lines or rows")
    shapes: dict[str, Any] = {"metavar": "NAME=1x1x96x1366", "help": "shape of an input of the model that has free axes; may repeat"}
    tune.add_argument("--input", action="append", default=[], type=_shape, **shapes)
    tune.add_argument("--budget", type=float, default=0.5, metavar="SECONDS", help="of timed calls for each layer (%(default)s)")
    tune.add_argument("--threads", type=int, metavar="N", help="threads of the plans (every core)")
    tune.add_argument("--again", action="store_true", help="measure also what is known already")
    early = verbs.add_parser("warm", help="compile ahead, as for a container", description=(
        "Compile what a model or these layers need, so that their first call begins at once; without either, what usual layers need."
    ))  # fmt: skip
    ahead = early.add_mutually_exclusive_group()
    ahead.add_argument("--onnx", type=Path, metavar="MODEL.onnx", help="all steps of a model (needs the package onnx)")
    ahead.add_argument("--layers", type=Path, metavar="FILE", help="a file with a problem a line, as for tune")
    early.add_argument("--input", action="append", default=[], type=_shape, **shapes)
    early.add_argument("--threads", type=int, metavar="N", help="threads (every core)")
    for verb, words in _MODELS.items():
        each = verbs.add_parser(verb, help=words, description=f"{words.capitalize()}.")
        each.add_argument("model", type=Path, metavar="MODEL.onnx")
        each.add_argument("--input", action="append", default=[], type=_input, metavar="NAME=FILE.npy",
                          help="an input's numbers, or its shape (NAME=1x16000) for made-up ones; may repeat")  # fmt: skip
        each.add_argument("--threads", type=int, metavar="N", help="threads (every core)")
        each.add_argument("--rest", choices=("numpy", "onnxruntime"), default="numpy", help="who runs operators that are not known here")
        if verb == "explain":
            each.add_argument("--time", action="store_true", help="tell what each step takes, the median of 20 calls")
        if verb == "run":
            each.add_argument("--out", type=Path, metavar="FILE.npz", help="where the outputs are kept")
        if verb == "check":
            bound: dict[str, Any] = {"metavar": "SHARE", "help": "largest error allowed, of the largest value (%(default)s)"}
            each.add_argument("--bound", type=float, default=1e-4, **bound)
    return top


_MODELS = {"run": "compute a model's outputs", "explain": "tell what a model's steps are", "check": "compare a model with onnxruntime"}


def _input(text: str) -> tuple[str, Any]:
    """A name with a file or a shape."""
    name, _, value = text.rpartition("=")
    return (name, Path(value)) if value.endswith(".npy") else _shape(text)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    try:
        return name, tuple(int(size) for size in sizes.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} does not read like x=1x1x96x1366") from None


def say(line: str) -> None:
    """A line to whoever watches, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def calibrate() -> int:
    """Measure, and keep the numbers."""
    load()
    from kernels.dispatch.calibrate import calibrate  # brings Numba

    kept = calibration.keep(calibrate(say))
    say(f"kept in {store.where(calibration.KIND)}" if kept else "not kept: no file can be written")
    return 0 if kept else 1


def tune(layers: Sequence[Layer], budget: float, threads: int, again: bool) -> int:
    """Measure each layer and say what won and what it gains over the estimate's choice, then the same for the model."""
    load()
    before = after = 0.0
    width = max((len(layer.name) for layer in layers), default=0)
    for layer in layers:
        if again:
            tuning.forget(layer.problem)
        measured = measure(layer.problem, threads, budget)
        if measured is None:
            say(f"{layer.name:{width}}  not measured: {layer.problem}")
            continue
        own = choose(layer.problem).name
        fastest = measured.seconds[measured.winner]
        estimated = measured.seconds.get(own, fastest)
        before, after = before + layer.count * estimated, after + layer.count * fastest
        gain = f", {estimated / fastest:.2f}x {own}" if own != measured.winner else ""
        say(f"{layer.name:{width}}  {layer.count}x  {1e3 * fastest:9.3f} ms  {measured.winner}{gain}")
    say(f"{'all':{width}}      {1e3 * after:9.3f} ms  as measured, {1e3 * before:.3f} ms as estimated, {threads} threads")
    say(f"kept in {tuning.path()}" if tuning.path() and not store.readonly() else "not kept: KERNELS_TUNING forbids it")
    return 0


def compile_ahead(options: argparse.Namespace) -> int:
    """Compile, and say what."""
    if options.input and not options.onnx:
        raise ProblemError("--input gives shapes to an ONNX model, and there is no --onnx")
    if options.onnx:
        from kernels.network import commands

        return commands.run(options.onnx, dict(options.input), None, options.threads, "numpy", say)
    load()
    problems = [layer.problem for layer in from_layers(options.layers)] if options.layers else usual()
    warm(problems, thread_count("warm", options.threads), say)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; the exit code. What was measured before Ctrl-C is kept."""
    options = parser().parse_args(arguments)
    if options.verb in ("calibrate", "tune") and hasattr(os, "getloadavg") and os.getloadavg()[0] > cores() / 2:
        sys.stderr.write(f"other programs are at work (load {os.getloadavg()[0]:.1f}, {cores()} cores): what is measured now may mislead\n")
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            return _run(options)
        except (ProblemError, RefusedError, ImportError, OSError, UnicodeError) as error:
            sys.stderr.write(f"{error}\n")
            return 2
        except KeyboardInterrupt:
            sys.stderr.write("stopped; what was measured is kept\n")
            return 130


def _model(options: argparse.Namespace) -> int:
    from kernels.network import commands

    given = dict(options.input)
    if options.verb == "check" and not 0 <= options.bound < math.inf:
        raise ProblemError(f"--bound is {options.bound:g}, must be a share of at least 0")
    if options.verb == "run":
        return commands.run(options.model, given, options.out, options.threads, options.rest, say)
    if options.verb == "explain":
        return commands.explain(options.model, given, options.threads, options.rest, say, timed=options.time)
    return commands.check_model(options.model, given, options.bound, options.threads, options.rest, say)


def _run(options: argparse.Namespace) -> int:
    if options.verb in _MODELS:
        return _model(options)
    if options.verb == "calibrate":
        return calibrate()
    if options.verb == "warm":
        return compile_ahead(options)
    if not 0 < options.budget < math.inf:
        raise ProblemError(f"--budget is {options.budget:g}, must be a number of seconds above 0")
    if options.layers and options.input:
        raise ProblemError("--input gives shapes to an ONNX model; the lines of a file have their own")
    threads = thread_count("tune", options.threads)
    others: list[LeftOut] = []
    layers = from_onnx(options.onnx, dict(options.input), others) if options.onnx else from_layers(options.layers)
    for each in others:
        say(f"{each.name} ({each.operator}) is left out: {each.reason}")
    if not layers:
        raise ProblemError(f"{options.onnx or options.layers} holds no convolution or pool, so there is nothing to measure")
    return tune(layers, options.budget, threads, options.again)


def _show(message: Warning | str, *rest: Any, **more: Any) -> None:
    sys.stderr.write(f"warning: {message}\n")


if __name__ == "__main__":
    sys.exit(main())

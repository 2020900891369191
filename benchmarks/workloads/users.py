"""The user's own layers as workloads: those of an ONNX model or of a file, as the library's `models` reads them.

Layers are timed alone, as all of the suite's are: what follows a convolution in the model (batch norm, activation) is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from benchmarks.workloads.layer import Workload
from kernels.network import models
from kernels.problem.conv import Conv, ConvTranspose, Problem
from kernels.problem.pool import AdaptivePool, Pool


@dataclass(frozen=True)
class Own:
    """Layers that differ, each with its count, and sentences about them."""

    workloads: tuple[Workload, ...]
    notes: tuple[str, ...] = ()


def read(path: Path, inputs: Sequence[str] | None = None) -> Own:
    """The layers of a file of layers, or of a model if there are `inputs`; ValueError says what is wrong with it."""
    try:
        others: list[models.LeftOut] = []
        found = models.from_layers(path) if inputs is None else models.from_onnx(path, dict(map(shape_of, inputs)), others)
    except (ImportError, OSError) as error:
        raise ValueError(str(error)) from None
    layers, notes = [], [f"{each.name} ({each.operator}) is left out: {each.reason}" for each in others]
    for layer in found:
        called = layer.name.strip("/").replace("/", ".").replace(" ", "-")
        try:
            layers.append(replace(from_problem(layer.problem, f"{path.stem}.{called}"), count=layer.count))
        except ValueError as error:
            notes.append(f"{layer.name} is left out: {error}")
    if not layers:
        raise ValueError("; ".join([f"{path} has no layer to time", *notes]))
    one_each = merged(layers)
    without = len(others) + sum(layer.count for layer in found) - sum(layer.count for layer in layers)
    counted = f"{path.name}: {sum(layer.count for layer in layers)} layers, {len(one_each)} of them differ"
    counted += f"; {without} more of the model are left out and in no total" if without else ""
    return Own(one_each, (counted, *notes))


def shape_of(text: str) -> tuple[str, tuple[int, ...]]:
    """A name and a shape as people type them: x=1x1x96x1366."""
    name, _, sizes = text.rpartition("=")
    shape = sizes.split("x")
    if not name or not all(size.isdigit() and int(size) for size in shape):
        raise ValueError(f"--input {text!r}: a name and its sizes, e.g. --input x=1x1x96x1366")
    return name, tuple(map(int, shape))


def from_problem(problem: Problem, name: str) -> Workload:
    """A workload with a problem's numbers, without the epilogue that layers of the suite do not have."""
    if len(problem.size) == 3:
        raise ValueError(f"{problem.op}: layers of the suite have one or two spatial axes")
    if problem.dtype != "float32":
        raise ValueError(f"{problem.op}: the suite runs float32, this is {problem.dtype}")
    if isinstance(problem, AdaptivePool) or (isinstance(problem, Pool) and (problem.return_indices or problem.divisor_override)):
        raise ValueError(f"{problem.op}: the suite has no adaptive pools, positions of maxima or divisors of one's own")
    op, padding, pool = problem.op, problem.padding, problem if isinstance(problem, Pool) else None
    if isinstance(problem, ConvTranspose):  # what output padding adds is a negative crop
        padding = tuple((before, after - more) for (before, after), more in zip(padding, problem.output_padding))
    if pool and pool.kernel == pool.size and pool.out_size == (1, 1) and not any(map(any, padding)):
        op = f"global_{pool.kind}_pool"  # peers have calls of their own for it
    (kh, kw), (ph, pw), (h, w) = problem.kernel, padding, problem.size
    return Workload(
        id=name, model=name.partition(".")[0], layer=name.partition(".")[2], op=op, n=problem.n, c_in=problem.c_in, h=h, w=w,
        c_out=problem.c_out if isinstance(problem, Conv) else problem.c_in, kh=kh, kw=kw, stride=(problem.stride[0], problem.stride[1]),
        padding=((ph[0], ph[1]), (pw[0], pw[1])), dilation=(problem.dilation[0], problem.dilation[1]),
        groups=problem.groups if isinstance(problem, Conv) else 1, bias=isinstance(problem, Conv) and problem.bias, axes="",
        ceil_mode=pool is not None and pool.ceil_mode, count_include_pad=pool is None or pool.count_include_pad,
    )  # fmt: skip


def merged(layers: Iterable[Workload]) -> tuple[Workload, ...]:
    """Equal layers as one that counts them, called as the first; names that come again get a number."""
    first: dict[Workload, Workload] = {}
    counts: Counter[Workload] = Counter()
    for layer in layers:
        bare = replace(layer, id="", model="", layer="", count=1)
        first.setdefault(bare, layer)
        counts[bare] += layer.count
    given, taken, found = {layer.id for layer in first.values()}, set(), []
    for bare, layer in first.items():
        again = ""
        for number in count(2):  # a made-up name must be neither taken nor one that another layer came with
            if layer.id + again not in taken and not (again and layer.id + again in given):
                break
            again = f"-{number}"
        taken.add(layer.id + again)
        found.append(replace(layer, id=layer.id + again, layer=layer.layer + again, count=counts[bare]))
    return tuple(found)

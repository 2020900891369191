"""Who runs: every implementation the library registers, "auto", the peers that are installed, and contenders of other packages.

A peer is added by a file with a Contender, its line in `_peers` and its name in results.PEERS; from another package by an entry point
(entry_points.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from benchmarks.contenders import (
    entry_points,
    mnn_cpu,
    ncnn_cpu,
    onnxruntime_cpu,
    openvino_cpu,
    ours,
    scipy_cpu,
    torch_bfloat16,
    torch_compiled,
    torch_cpu,
)
from benchmarks.contenders.base import Contender, Prepared
from benchmarks.records.results import BASELINES, PEERS
from benchmarks.workloads.selection import matching

__all__ = ["Contender", "Prepared", "everyone", "installed", "select"]


def _peers() -> tuple[Contender, ...]:
    found: tuple[Contender, ...] = (
        torch_cpu.Torch(), torch_cpu.TorchChannelsLast(), torch_compiled.TorchCompiled(), onnxruntime_cpu.OnnxRuntime(),
        openvino_cpu.OpenVino(), ncnn_cpu.Ncnn(), mnn_cpu.Mnn(), scipy_cpu.SciPy(),
    )  # fmt: skip
    assert tuple(each.name for each in found) == (*PEERS, *BASELINES)
    return found


@cache
def everyone() -> tuple[Contender, ...]:
    """All contenders, installed or not: ours in the order the library names them, "auto", then the peers, PyTorch in bfloat16, those of
    other packages."""
    own = (*ours.contenders(), *_peers(), torch_bfloat16.TorchBfloat16())
    return (*own, *entry_points.found([each.name for each in own]))


def installed() -> tuple[Contender, ...]:
    return tuple(each for each in everyone() if each.available() is None)


def select(globs: Sequence[str] = ()) -> tuple[Contender, ...]:
    """The installed contenders that a glob fits; without globs all but those that run only when asked for. A glob that fits only absent
    ones is an error with the reason."""
    if not globs:
        return tuple(each for each in installed() if not each.asked_only)
    for glob in globs:
        fitting = [each for each in everyone() if each.name in matching([each.name for each in everyone()], [glob], "contender", shown=99)]
        if all(each.available() for each in fitting):
            raise ValueError(f"contender {glob!r}: " + "; ".join(f"{each.name}: {each.available()}" for each in fitting))
    wanted = matching([each.name for each in everyone()], globs, "contender", shown=99)
    return tuple(each for each in installed() if each.name in wanted)

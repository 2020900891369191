"""How much a stream gets through beside others: the same blocks in turns and without pauses, so that what else the machine does hits all
alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import kernels
from benchmarks.streams.live import Played
from benchmarks.streams.live_networks import NETWORKS, Listener
from benchmarks.streams.players import PLAYERS
from benchmarks.workloads.layer import Floats

OURS, WHOLE, FIELD, CACHED = "spectroconv", "whole signal", "torch (field anew)", "cached_conv"
# (network, samples of a block, who else, the least share of the other's throughput that is asked for)
ASKED = (
    ("crepe", 160, FIELD, 3.0), *((name, 4096, WHOLE, 0.7) for name in NETWORKS), *(("encoder", 128 << i, CACHED, 3.0) for i in range(5)),
)  # fmt: skip
WORST = "crepe", 160, 0.5  # and the longest block, as a share of what it lasts
BLOCKS = 48  # of a turn
SECONDS, LEAST, MOST = 2.0, 5, 40  # of turns in all, and how many turns


@dataclass(frozen=True)
class Compared:
    """Throughput of a stream as a share of another's, turn by turn, or why there is none."""

    network: str
    block: int
    other: str
    asked: float
    shares: tuple[float, ...] = ()
    reason: str = ""

    @property
    def share(self) -> float:
        """The median over turns."""
        return float(np.median(self.shares))


def compare(listener: Listener, block: int, other: str, asked: float, samples: Floats) -> Compared:
    """Blocks of samples to a stream and to another in turns."""
    front = listener.front()
    blocks = [front(each) for each in np.resize(samples, BLOCKS * block).reshape(-1, block)]
    try:
        theirs = _whole(listener, blocks) if other == WHOLE else _blocks(listener, other, block, blocks)
        runs = [_blocks(listener, OURS, block, blocks), theirs]
    except ImportError as error:
        return Compared(listener.name, block, other, asked, reason=f"not installed: {error.name}")
    except ValueError as error:
        return Compared(listener.name, block, other, asked, reason=str(error))
    for run in (*runs, *runs):
        run()
    shares: list[float] = []
    gc.collect()
    begun = time.perf_counter()
    while len(shares) < LEAST or (len(shares) < MOST and time.perf_counter() - begun < SECONDS):
        took = [0.0, 0.0]
        for i in (0, 1) if len(shares) % 2 else (1, 0):
            at = time.perf_counter()
            runs[i]()
            took[i] = time.perf_counter() - at
        shares.append(round(took[1] / took[0], 4))
    return Compared(listener.name, block, other, asked, tuple(shares))


def _blocks(listener: Listener, player: str, block: int, blocks: Sequence[Floats]) -> Callable[[], None]:
    play = PLAYERS[player](listener, block)

    def run() -> None:
        for each in blocks:
            play(each)

    return run


def _whole(listener: Listener, blocks: Sequence[Floats]) -> Callable[[], object]:
    signal = np.concatenate(blocks, -1)
    network = kernels.sequence(listener.layers, signal.shape, threads=1)
    return lambda: network(signal)


def standing(played: Sequence[Played], compared: Sequence[Compared]) -> list[tuple[str, str, str, str]]:
    """(what, asked, measured, whether it holds) of everything that is asked for and was measured."""
    network, block, most = WORST
    rows = [
        (f"{each.network}, blocks of {each.block}: throughput as a multiple of {each.other}", f"at least {each.asked:g}",
         f"{each.share:.2f}" if each.shares else each.reason, ("yes" if each.share >= each.asked else "no") if each.shares else "–")
        for each in compared
    ]  # fmt: skip
    for each in played:
        if (each.network, each.block, each.player) == (network, block, OURS) and each.seconds:
            held = "yes" if each.worst <= most else "no"
            rows.append((f"{network}, blocks of {block}: the longest of {len(each.seconds)}, as a share of what a block lasts",
                         f"at most {most:g}", f"{each.worst:.3f}", held))  # fmt: skip
    return rows

"""A clip played to networks in blocks at its own pace: how long each block takes against how long it lasts."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.streams.live_networks import Listener
from benchmarks.streams.players import PLAYERS, Play
from benchmarks.workloads.layer import Floats

WARM = 12  # blocks before the first that counts, of more than one receptive field: plans, caches, and the beginning of the signal


@dataclass(frozen=True)
class Played:
    """One network, one player, one length of blocks: seconds that each block took, or why there are none."""

    network: str
    player: str
    block: int
    rate: int
    seconds: tuple[float, ...] = ()
    late: int = 0
    error: float | None = None
    reason: str = ""

    @property
    def lasts(self) -> float:
        """Seconds that a block lasts."""
        return self.block / self.rate

    @property
    def load(self) -> float:
        """Seconds taken a second of signal: the real-time factor."""
        return float(np.mean(self.seconds)) / self.lasts

    @property
    def worst(self) -> float:
        """The longest block, as a share of what it lasts."""
        return max(self.seconds) / self.lasts

    @property
    def rare(self) -> float:
        """What 999 of 1000 blocks stay below, as a share of what they last."""
        return float(np.quantile(self.seconds, 0.999)) / self.lasts


def play(listener: Listener, player: str, samples: Floats, block: int, *, paced: bool = True, seconds: float = 5.0) -> Played:
    """Play samples to a network in blocks. paced: a block comes when its last sample would, as from a sound card."""
    try:
        run: Play = PLAYERS[player](listener, block)
    except ImportError as error:
        return Played(listener.name, player, block, listener.rate, reason=f"not installed: {error.name}")
    except ValueError as error:
        return Played(listener.name, player, block, listener.rate, reason=str(error))
    front, lasts = listener.front(), block / listener.rate
    count = max(3, int(seconds / lasts))
    warm = max(WARM, int(1.0 / lasts))
    needed = (count + warm) * block
    blocks = np.resize(samples, needed).reshape(-1, block)
    for each in blocks[:warm]:
        run(front(each))
    times, late = [], 0
    gc.collect()
    gc.disable()  # as a program that must answer in time does
    begun = time.perf_counter()
    try:
        for i, each in enumerate(blocks[warm:], 1):
            due = begun + i * lasts
            if paced and (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            at = time.perf_counter()
            run(front(each))
            end = time.perf_counter()
            times.append(end - at)
            late += paced and end > due + lasts
    finally:
        gc.enable()
    return Played(listener.name, player, block, listener.rate, tuple(times), late)


def agrees(listener: Listener, player: str, samples: Floats, block: int) -> float:
    """Largest difference from kernels.stream on the outputs that both give, as a share of the largest; past the first receptive field."""
    results = []
    for name in ("spectroconv", player):
        run, front = PLAYERS[name](listener, block), listener.front()
        signal = np.resize(samples, 3 * listener.rate // block * block).reshape(-1, block)
        results.append(np.concatenate([y for each in signal if (y := run(front(each))).size], -1))
    first, second = results
    settled = min(first.shape[-1], second.shape[-1]) // 2
    first, second = (y[..., settled : min(first.shape[-1], second.shape[-1])] for y in (first, second))
    return float(np.abs(first - second).max() / np.abs(first).max())

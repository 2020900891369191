"""All runners of a network, wired: each hands its blocks on to those that read them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels.streaming.blocks import Next
from kernels.streaming.computing import Computing
from kernels.streaming.joining import Joining
from kernels.streaming.parts import Cut, Elements, Joined, Rows, Windows, Wired
from kernels.streaming.runners import Cutting, Pointwise, Positions, Sliding
from kernels.streaming.subgraphs import Computed

Array = np.ndarray


class Running:
    """Takes blocks of a network's input; take: what takes the blocks of its outputs."""

    def __init__(self, wired: Wired, dtype: np.dtype, take: Next) -> None:
        net, last = wired.net, len(wired.parts)
        readers: list[list[Next]] = [[] for _ in range(last + 1)]  # of every place
        readers[last].append(take)
        read = [sum(places.count(place) for places in net.sources) for place in range(last + 1)]  # how often
        self._runners: list[Any] = []
        for i in range(last - 1, -1, -1):
            part, places, axis, after = wired.parts[i], net.sources[i], wired.axes[i + 1], _to_all(readers[i + 1])
            if isinstance(part, Windows):
                runner: Any = Sliding(part, dtype, after)
            elif isinstance(part, Rows):
                runner = Positions(part, axis, dtype, after)
            elif isinstance(part, Elements):
                runner = Pointwise(part, places[0] > 0 and read[places[0]] == 1, after)
            elif isinstance(part, Cut):
                runner = Cutting(part, axis, dtype, after)
            elif isinstance(part, Computed):
                runner = Computing(part, after)
            else:
                assert isinstance(part, Joined)
                runner = Joining(part, axis, dtype, after)
            for source, place in enumerate(places):
                readers[place].append(functools.partial(runner.feed, source) if isinstance(part, Joined | Computed) else runner.feed)
            self._runners.insert(0, runner)
        self.feed: Next = _to_all(readers[0])

    def reset(self) -> None:
        """To before the first block."""
        for runner in self._runners:
            runner.reset()

    def finish(self) -> None:
        """Hand on what the end completes, first to last."""
        for runner in self._runners:
            runner.finish()

    def state(self) -> Any:
        """What `restore` needs."""
        return [runner.state() for runner in self._runners]

    def restore(self, state: Any) -> None:
        """Go on from a state."""
        for runner, kept in zip(self._runners, state):
            runner.restore(kept)


def _to_all(readers: list[Next]) -> Next:
    """What hands a block to every reader."""
    if len(readers) == 1:
        return readers[0]
    all_of_them = tuple(readers)

    def feed(y: Array, m: int) -> None:
        for each in all_of_them:
            each(y, m)

    return feed

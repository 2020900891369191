"""Training: the same network with our layers and with PyTorch's, from the same numbers, and what came of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

import kernels.torch
from benchmarks.learning import baselines, listeners, sounds
from benchmarks.learning.labelled import Labelled
from benchmarks.learning.sounds import Floats, Ints

BLOCK = 10  # steps of one kind before the other has its turn


@dataclass(frozen=True)
class Task:
    """What is learnt. make(count, seed): examples and classes. network(layers): of our layers or of PyTorch's."""

    name: str
    sentence: str
    make: Callable[[int, int], tuple[Floats, Ints]]
    network: Callable[[Any], nn.Sequential]
    baseline: Callable[[Floats], Ints]
    baseline_name: str


TASKS = {
    "pitch": Task(
        "pitch", "Which of 48 notes is this quarter of a second of raw audio?", sounds.notes, listeners.pitch, baselines.by_autocorrelation,
        "autocorrelation",
    ),
    "onset": Task(
        "onset", "Does a note begin in the middle of this log-mel spectrogram?", sounds.bars, listeners.onset, baselines.by_flux,
        "spectral flux",
    ),
}  # fmt: skip


@dataclass
class Outcome:
    """losses: of every step of the network of our layers. accuracy, baseline: shares of held-out examples. rates: steps a second of "ours"
    and "torch", by block. held_out: (x, classes, predictions)."""

    losses: list[float] = field(default_factory=list)
    accuracy: float = 0.0
    baseline: float = 0.0
    rates: dict[str, list[float]] = field(default_factory=lambda: {"ours": [], "torch": []})
    held_out: tuple[Floats, Ints, Ints] | None = None
    network: nn.Sequential | None = None

    def rate(self, whose: str) -> float:
        """The median of a kind's blocks."""
        return statistics.median(self.rates[whose])


class _Trainer:
    """One network with its optimiser."""

    def __init__(self, network: nn.Sequential, x: torch.Tensor, classes: torch.Tensor) -> None:
        self.network, self.x, self.classes = network, x, classes
        self.optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def step(self, chosen: torch.Tensor) -> float:
        """One step on the chosen examples; the loss before it."""
        self.optimiser.zero_grad()
        loss = nn.functional.cross_entropy(self.network(self.x[chosen]), self.classes[chosen])
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def learn(
    task: Task, *, steps: int, batch: int = 32, examples: int = 2000, seed: int = 0, compare: bool = True,
    told: Callable[[int], None] = lambda step: None, given: Labelled | None = None,
) -> Outcome:  # fmt: skip
    """Train for so many steps; with `compare` PyTorch's layers take the same steps, block by block in turns. given: the user's own
    examples, of which a fifth is held out."""
    if given is None:
        x, classes = task.make(examples, seed + 1)
        held, truth = task.make(max(200, examples // 5), seed + 2)
    else:
        (x, classes), (held, truth) = given.parts()
    torch.manual_seed(seed)
    own = task.network(kernels.torch.nn)
    trainers = {"ours": _Trainer(own, torch.from_numpy(x), torch.from_numpy(classes))}
    if compare:
        theirs = task.network(nn)
        theirs.load_state_dict(own.state_dict())
        trainers["torch"] = _Trainer(theirs, torch.from_numpy(x), torch.from_numpy(classes))
    draw, outcome = np.random.default_rng(seed), Outcome(network=own)
    for first in range(0, steps, BLOCK):
        turns = [torch.from_numpy(draw.integers(0, len(x), batch)) for _ in range(min(BLOCK, steps - first))]
        for whose, trainer in trainers.items():
            begin = time.perf_counter()
            losses = [trainer.step(chosen) for chosen in turns]
            if first:  # the first block compiles
                outcome.rates[whose].append(len(turns) / (time.perf_counter() - begin))
            if whose == "ours":
                outcome.losses += losses
        told(min(first + BLOCK, steps))
    with torch.no_grad():
        guesses = own(torch.from_numpy(held)).argmax(1).numpy()
    outcome.held_out = held, truth, guesses
    outcome.accuracy = float((guesses == truth).mean())
    outcome.baseline = float((task.baseline(held) == truth).mean())
    return outcome


def melody(network: nn.Sequential, seed: int = 7) -> tuple[Ints, Ints]:
    """(true, named) notes of a held-out line of 24 notes, the network hearing each window of a quarter of a second."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.choice([-4, -3, -2, -1, 1, 2, 3, 4, 5], 24))
    line = np.clip(20 + steps, 0, sounds.NOTES - 1)
    x, truth = [], []
    for note in line:
        sound = sounds.tone(float(sounds.hertz(sounds.LOWEST + note)), 2 * sounds.LENGTH, rng)
        for at in range(0, sounds.LENGTH + 1, sounds.LENGTH // 2):
            part = sound[at : at + sounds.LENGTH]
            x.append(part / (part.std() + 1e-9))
            truth.append(note)
    with torch.no_grad():
        named = network(torch.from_numpy(np.array(x, np.float32)[:, None])).argmax(1).numpy()
    return np.array(truth), named

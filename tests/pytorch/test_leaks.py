"""Steps of training take no memory that they do not give back."""

from __future__ import annotations

import gc
import itertools
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kernels.torch  # noqa: E402

nn = torch.nn
STEPS, ROUNDS = 2500, 4  # 10,000 in all
GROWTH = 4 << 18  # bytes a round: 420 a step, less than any tensor of a step with its bookkeeping
STATUS = Path("/proc/self/status")


def resident() -> int:
    """Bytes of memory that the process holds now."""
    gc.collect()
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def growth(held: list[int]) -> int:
    """Bytes by which memory grew in the round that added least: a leak grows in each, what an allocator adds now and then does not."""
    return min(after - before for before, after in itertools.pairwise(held))


class Tiny(nn.Module):
    """A layer of each kind that can be trained, and pools."""

    def __init__(self) -> None:
        super().__init__()
        ours = kernels.torch.nn
        self.layers = nn.Sequential(
            ours.Conv1d(1, 4, 9, stride=2), ours.BatchNorm1d(4), nn.ReLU(), ours.MaxPool1d(2), ours.ConvTranspose1d(4, 4, 3),
            ours.AvgPool1d(2), ours.Conv1d(4, 2, 3, padding=1), ours.AdaptiveMaxPool1d(1), nn.Flatten(),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        return self.layers(x)


@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc")
def test_ten_thousand_steps() -> None:
    torch.manual_seed(0)
    module = Tiny()
    optimiser = torch.optim.SGD(module.parameters(), 0.01)
    x, target = torch.randn(2, 1, 64), torch.tensor([0, 1])
    held = []
    for _ in range(ROUNDS):
        for _ in range(STEPS):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x), target).backward()
            optimiser.step()
        held.append(resident())
    assert growth(held) < GROWTH, f"{[each >> 10 for each in held]} KiB after every {STEPS} steps"


@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc")
def test_weights_that_come_and_go() -> None:
    """What was packed for a weight goes with it, and what was packed before it changed."""
    x, held = torch.randn(1, 16, 200), []
    lasting = nn.Parameter(torch.randn(64, 16, 9))
    for _ in range(3):
        for i in range(120):
            with torch.no_grad():
                passing = nn.Parameter(torch.randn(64, 16, 9))  # 37 KB, packed as much
                kernels.torch.conv1d(x, passing)
                lasting.mul_(1.001)
                kernels.torch.conv1d(x[..., : 180 + i % 20], lasting)
        held.append(resident())
    assert growth(held) < GROWTH, f"{[each >> 10 for each in held]} KiB"

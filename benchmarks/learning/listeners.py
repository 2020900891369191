"""The networks that learn, of PyTorch's layers or of ours, which take the same names and the same parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.learning.sounds import NOTES

FILTERS, KERNEL, STRIDE = 64, 512, 8  # of the first layer of a network that hears raw audio


class Loudness(nn.Module):
    """log(1 + x): ears and spectrograms have it too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Number by number."""
        return torch.log1p(x)


def pitch(layers: Any) -> nn.Sequential:
    """Raw audio (n, 1, 2048) to notes: long filters, rectified, their loudness averaged over time, compared with one another."""
    return nn.Sequential(
        layers.Conv1d(1, FILTERS, KERNEL, stride=STRIDE), nn.ReLU(), layers.AvgPool1d(32), Loudness(), layers.Conv1d(FILTERS, 128, 1),
        nn.ReLU(), layers.Conv1d(128, 128, 1), nn.ReLU(), layers.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, NOTES), )  # fmt: skip


def onset(layers: Any) -> nn.Sequential:
    """Log-mel spectrograms (n, 1, 40, 15) to whether a note begins in the middle."""
    return nn.Sequential(
        layers.Conv2d(1, 16, (3, 7)), nn.ReLU(), layers.MaxPool2d((3, 1)), layers.Conv2d(16, 32, 3), nn.ReLU(), layers.MaxPool2d((3, 1)),
        nn.Flatten(), nn.Linear(32 * 3 * 7, 64), nn.ReLU(), nn.Linear(64, 2),
    )  # fmt: skip

"""The learned filters of section 9: read from a file, or trained here in a minute where PyTorch is installed.

The file, reports/learn/filters.json, is an object:
  rate     hertz, or sample_rate
  filters  a list of equally long lists of numbers: the weight (c_out, taps) of a first layer that hears raw audio
  source   a sentence that says how they came about, shown on the page; may be left out
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.tutorial import sound

FILE = Path(__file__).parents[2] / "reports" / "learn" / "filters.json"
RATE = 8000
TAPS = 256
FILTERS = 32
NOTES = range(45, 70)  # MIDI: 110 to 440 Hz
EXCERPT = 1024  # samples that the network hears


@dataclass(frozen=True)
class Learned:
    """Filters (c_out, taps) at a sample rate, what they were before training if that is known, and a sentence on where they are from."""

    rate: int
    filters: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64] | None
    source: str


def read(path: Path = FILE) -> Learned:
    """The filters of a file. Raises ValueError that names what is wrong with it."""
    found = json.loads(path.read_text(encoding="utf-8"))
    try:
        filters = np.array(found["filters"], dtype=np.float64)
        rate = int(found["rate"] if "rate" in found else found["sample_rate"])
        what = f"{filters.shape[0]} filters of {filters.shape[-1]} taps at {rate} Hz, as python -m benchmarks learn left them"
        source = str(found.get("source", what))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: needs rate and filters (equally long lists); {error!r}") from error
    if filters.ndim != 2 or filters.shape[1] < 8 or not np.isfinite(filters).all():
        raise ValueError(f"{path}: filters has shape {filters.shape}, must be (c_out, taps) with 8 taps or more, all finite")
    return Learned(rate, filters, None, source)


def excerpts(count: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(count, 1, EXCERPT) stretches of notes with vibrato and noise, and which of NOTES each is."""
    target = rng.integers(0, len(NOTES), count)
    out = np.empty((count, 1, EXCERPT), np.float32)
    for row, each in enumerate(target):
        midi = NOTES[int(each)] + rng.uniform(-0.2, 0.2)
        whole = sound.note(midi, 0.3, decay=rng.uniform(0.5, 4), vibrato=rng.uniform(0, 0.3), rate=RATE)
        start = rng.integers(100, whole.size - EXCERPT - 300)
        out[row, 0] = whole[start : start + EXCERPT] + 0.02 * rng.standard_normal(EXCERPT)
    return out / np.abs(out).max(axis=2, keepdims=True), target


def train(steps: int = 500, seed: int = 9) -> Learned:
    """A network of one long-kernel layer and one linear layer learns to name notes. Raises ImportError without PyTorch."""
    try:
        import torch
    except ImportError as error:
        raise ImportError("training filters needs torch: pip install torch") from error
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    heard, named = excerpts(2048, rng)
    held_out, answers = (torch.from_numpy(each) for each in excerpts(512, rng))
    first = torch.nn.Conv1d(1, FILTERS, TAPS, stride=16, bias=False)
    before = first.weight.detach().numpy()[:, 0].astype(np.float64).copy()
    norm, last = torch.nn.BatchNorm1d(FILTERS), torch.nn.Linear(FILTERS, len(NOTES))

    def network(x: torch.Tensor) -> torch.Tensor:
        return last(norm(torch.log1p(10 * first(x).square().mean(dim=2))))

    # the decay takes away what random values are left in the kernels and serve no note
    rest = [*norm.parameters(), *last.parameters()]
    optimiser = torch.optim.AdamW([{"params": first.parameters(), "weight_decay": 2.0}, {"params": rest, "weight_decay": 0.0}], lr=3e-3)
    x, y = torch.from_numpy(heard), torch.from_numpy(named)
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(0, len(x), 64))
        loss = torch.nn.functional.cross_entropy(network(x[chosen]), y[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    norm.eval()
    with torch.no_grad():
        right = float((network(held_out).argmax(1) == answers).float().mean())
    source = (
        f"{FILTERS} filters of {TAPS} taps at {RATE} Hz, trained in {steps} steps from random values to name {len(NOTES)} "
        f"synthesised notes, {sound.hertz(NOTES[0]):.0f} to {sound.hertz(NOTES[-1]):.0f} Hz; "
        f"{100 * right:.0f} % of 512 unheard excerpts are named rightly"
    )
    return Learned(RATE, first.weight.detach().numpy()[:, 0].astype(np.float64), before, source)


def find(path: Path = FILE) -> Learned | None:
    """The file's filters, else filters trained here, else None where neither can be had."""
    if path.exists():
        return read(path)
    try:
        return train()
    except ImportError:
        return None

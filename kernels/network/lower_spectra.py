"""Short-time Fourier transforms, as the operator of that name and as convolutions with windowed cosines and sines: vectors of frames."""

from __future__ import annotations

import numpy as np

from kernels.cost.calibration import calibration
from kernels.methods.fft.frames import Places, cycles, spectra, transforms
from kernels.network.fourier import Fourier, fourier
from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lower_by_numpy, lowers
from kernels.network.operators.products import frame_length
from kernels.network.operators.registry import whole
from kernels.network.views import View
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands

METHOD = "spectra of frames"


def as_spectra(lowering: Lowering, node: Node, problem: Conv, x: View, operands: Operands) -> bool:
    """A convolution whose weights are a windowed Fourier transform. Whether it became a step."""
    if len(problem.size) != 2 or problem.size[0] != 1 or problem.kernel[0] != 1 or problem.c_in != 1 or not problem.n:
        return False
    if problem.pool or problem.activation or any(map(any, problem.padding)) or problem.dilation[1] != 1 or not x.contiguous():
        return False
    if not transforms(problem.c_out - 2) or operands.weight is None or (operands.bias is not None and operands.bias.any()):
        return False
    found = fourier(np.asarray(operands.weight, problem.dtype).reshape(problem.c_out, -1))
    if found is None:
        return False
    y = lowering.new(node.y, range(len(x.shape)), anywhere=False)
    _step(lowering, node, x, y, found, problem.stride[1])
    return True


@lowers("STFT")
def _stft(lowering: Lowering, node: Node) -> None:
    """x (signals, length) or (signals, length, 1) -> (signals, frames, frequencies, 2), which lies as (signals, 2, frequencies, frames)."""
    hop, given = whole(node, 1), node.constant(2)
    window = node.inputs[2] if len(node.inputs) > 2 else None
    length, real = frame_length(node), len(node.x.lengths) == 2 or node.x.lengths[2] == 1
    known = window is None or (given is not None and len(given) == length)
    if not hop or not real or not node.attributes.get("onesided", 1) or not known:
        lower_by_numpy(lowering, node)
        return
    if not node.x.lengths[0] or not transforms(length) or node.x.kind not in (np.float32, np.float64):
        lower_by_numpy(lowering, node)
        return
    x = lowering.ordered(node, lowering.view(node.x))
    y = lowering.new(node.y, (0, 3, 2, 1), anywhere=False)
    numbers = np.ones(length, node.x.kind) if given is None else np.asarray(given, node.x.kind)
    _step(lowering, node, x, y, Fourier(numbers, lead=0, paired=False, conjugate=False), int(hop[0]))


def _step(lowering: Lowering, node: Node, x: View, y: View, found: Fourier, hop: int) -> None:
    """A step from signals to the spectra of their frames, which lie as (signals, frequencies and parts, frames)."""
    length, size, signals = len(found.window), found.window.itemsize, x.shape[0]
    bins = length // 2 + 1
    frames = y.size // (2 * bins * signals)
    bind, scratch = spectra(
        found.window, frames, signals, Places(found.lead, hop, x.size // signals, *((2, 1) if found.paired else (1, bins))),
        conjugate=found.conjugate, threads=lowering.settings.threads,
    )  # fmt: skip
    seconds = signals * cycles(length, frames, size) / calibration().clock
    lowering.step(node, [x], [y], lambda arrays, scratch: bind(arrays[0], arrays[1], scratch), METHOD, seconds, scratch=scratch)

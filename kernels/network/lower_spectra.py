"""Short-time Fourier transforms, as the operator of that name and as convolutions with windowed cosines and sines: vectors of frames.

What follows in the same pass: the power of spectra, and its products with filters that are bands. Each is seen when it is lowered right
behind the step whose output it alone reads, and takes that step's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import calibration
from kernels.methods.fft.frames import Finish, Places, cycles, spectra, transforms
from kernels.methods.fft.spectrogram import bands
from kernels.network.fourier import Fourier, fourier
from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lower_by_numpy, lowers
from kernels.network.operators.products import frame_length
from kernels.network.operators.registry import whole
from kernels.network.powers import power
from kernels.network.views import Array, Buffer, View
from kernels.primitives.vector_program import Operation
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands

METHOD, POWERS, BANDS = "spectra of frames", "power of frames", "sums of bands of frames"


@dataclasses.dataclass(frozen=True)
class Spectra:
    """What a step made of the frames of its signals, of which a step behind it may make more in the same pass."""

    found: Fourier
    hop: int
    frames: int  # of a signal
    signals: int
    finish: Finish | None = None

    @property
    def frequencies(self) -> int:
        return len(self.found.window) // 2 + 1

    @property
    def apart(self) -> tuple[int, int]:
        """Lines of frames from frequency to frequency, and from real to imaginary parts."""
        return (2, 1) if self.found.paired else (1, self.frequencies)

    def parts(self) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
        """Shape (signals, frequencies, frames), strides and start of real and of imaginary parts."""
        frequency, imaginary = (each * self.frames for each in self.apart)
        shape, strides = (self.signals, self.frequencies, self.frames), (2 * self.frequencies * self.frames, frequency, 1)
        return [(shape, strides, 0), (shape, strides, imaginary)]


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
    frames = y.size // (problem.c_out * x.shape[0])
    _step(lowering, node, x, y, Spectra(found, problem.stride[1], frames, x.shape[0]))
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
    found = Fourier(numbers, lead=0, paired=False, conjugate=False)
    _step(lowering, node, x, y, Spectra(found, int(hop[0]), y.shape[1], x.shape[0]))


def _step(lowering: Lowering, node: Node, x: View, y: View, made: Spectra) -> None:
    """A step from signals to the spectra of their frames, which lie as (signals, frequencies and parts, frames), or to what is made of
    these."""
    found, (length, size, signals) = made.found, (len(made.found.window), made.found.window.itemsize, x.shape[0])
    frequency, imaginary = made.apart
    bind, scratch = spectra(
        found.window, made.frames, signals, Places(found.lead, made.hop, x.size // signals, frequency, imaginary),
        conjugate=found.conjugate, threads=lowering.settings.threads, finish=made.finish,
    )  # fmt: skip
    seconds = signals * cycles(length, made.frames, size) / calibration().clock
    method = METHOD if made.finish is None else POWERS if made.finish.bands is None else BANDS

    def bound(arrays: list[Array], scratch: Array) -> Callable[[], None]:
        return bind(arrays[0], arrays[1], scratch)

    lowering.step(node, [x], [y], bound, method, seconds, scratch=scratch, more=made)


def as_power(lowering: Lowering, node: Node, operations: list[Operation], reads: list[View]) -> bool:
    """A chain that begins with the power of the spectra that were made last, which nobody else reads: it is made while they are in cache.
    Whether it was."""
    last = lowering.steps[-1] if lowering.steps else None
    if last is None or not isinstance(last.more, Spectra) or last.more.finish or last.when != lowering.when or len(node.outputs) > 1:
        return False
    found = power(operations, len(reads))
    read_last = all(lowering.read_last(value) for value in node.inputs if value is not None and value.data is None)
    if found is None or not read_last:
        return False
    made, whole = last.more, last.writes[0]
    parts = [dataclasses.replace(whole, shape=shape, strides=strides, offset=whole.offset + at) for shape, strides, at in made.parts()]
    if [_seen(reads[slot]) for slot in found.parts] != [_seen(part) for part in parts]:
        return False
    lowering.steps.pop()
    y = lowering.new(node.y, reads[found.parts[0]].order(), anywhere=False)
    _step(lowering, _together(last.node, node), last.reads[0], y, dataclasses.replace(made, finish=Finish(found.root)))
    if found.rest:
        others = [view for slot, view in enumerate(reads) if slot not in found.parts]
        lowering.program(node, y.dtype, [y, *others], [(found.rest[-1].to, y)], found.rest, f"{len(found.rest)} vector passes")
    return True


def as_bands(lowering: Lowering, node: Node, x: View, y: Callable[[], View]) -> bool:
    """A product of the power that was made last, which nobody else reads, with filters that are bands, as mel filters are. x: (signals,
    frames, frequencies); y: gives where (signals, frames, filters) go, filters before frames in memory. Whether it became a step."""
    last = lowering.steps[-1] if lowering.steps else None
    if last is None or not isinstance(last.more, Spectra) or last.when != lowering.when or not lowering.read_last(node.x):
        return False
    made = last.more
    if made.finish is None or made.finish.bands or node.attributes.get("activation") or x.strides[-1] != made.frames:
        return False
    if len(node.inputs) > 1 or x.buffer is not last.writes[0].buffer or x.size != last.writes[0].size or x.shape[-1] != made.frequencies:
        return False
    found = bands(np.asarray(node.attributes["weight"], x.dtype), node.attributes["bias"])
    if found is None:
        return False
    lowering.steps.pop()
    joined = dataclasses.replace(made, finish=made.finish._replace(bands=found))
    _step(lowering, _together(last.node, node), last.reads[0], y(), joined)
    return True


def _together(before: Node, node: Node) -> Node:
    """What one step does, for people who read it."""
    nodes = [each for part in (before, node) for each in part.attributes.get("nodes", [part])]
    return Node("Chain", before.inputs, node.outputs, {"nodes": nodes}, f"{before.label}+{node.label}")


def _seen(view: View) -> tuple[Buffer, int, list[tuple[int, int]]]:
    """What a reader sees of a buffer, in whatever order of axes."""
    return view.buffer, view.offset, sorted((step, n) for n, step in zip(view.shape, view.strides) if n > 1)

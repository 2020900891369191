"""Short-time Fourier transforms, as the operator of that name and as convolutions with windowed cosines and sines: vectors of frames.

What follows in the same pass: the power of spectra, and its products with filters that are bands. Each is seen when it is lowered right
behind the step whose output it alone reads, and takes that step's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kernels.cost.calibration import calibration
from kernels.methods.fft.frames import Epilogue, Places, cycles, spectra, transforms
from kernels.methods.fft.spectrogram import bands
from kernels.network.fourier import Fourier, fourier
from kernels.network.graph import Node, Value
from kernels.network.kept import of_arrays
from kernels.network.lowering import Lowering, Step, lower_by_numpy, lowers
from kernels.network.operators.products import frame_length
from kernels.network.operators.registry import whole
from kernels.network.powers import power
from kernels.network.views import Array, View
from kernels.primitives.vector_program import Operation
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands

METHOD, POWERS, BANDS = "spectra of frames", "power of frames", "sums of bands of frames"


@dataclasses.dataclass(frozen=True)
class Spectra:
    """What a step makes of the frames of its signals; a step behind it may make more in the same pass."""

    found: Fourier
    hop: int
    signals: int
    frames: int  # of a signal
    first: int = 0  # frames that are left out before them
    epilogue: Epilogue | None = None

    @property
    def frequencies(self) -> int:
        return len(self.found.window) // 2 + 1

    @property
    def places(self) -> tuple[int, int, int]:
        """Lines of frames in the output: from frequency to frequency, from real to imaginary parts, of a signal."""
        if self.epilogue:
            return 1, 0, self.frequencies
        return (2, 1, 2 * self.frequencies) if self.found.paired else (1, self.frequencies, 2 * self.frequencies)

    def part(self, y: View, imaginary: bool, first: int, frames: int) -> View:
        """Some frames of the output y, (signals, frequencies, frames): of real or of imaginary parts, or of powers."""
        frequency, parts, lines = self.places
        shape, strides = (self.signals, self.frequencies, frames), (lines * self.frames, frequency * self.frames, 1)
        return View(y.buffer, y.offset + imaginary * parts * self.frames + first, shape, strides, y.dtype)


class Last(NamedTuple):
    """The step that stands last, and what it makes."""

    step: Step
    made: Spectra

    def some(self, seen: View) -> tuple[int, int] | None:
        """(the first, how many) frames that a view of real parts or powers holds, of all frequencies; None where it holds something else.
        """
        y = self.step.writes[0]
        first, frames = seen.offset - y.offset, seen.size // (self.made.signals * self.made.frequencies)
        return (first, frames) if frames and seen.sees(self.made.part(y, False, first, frames)) else None


def _last(lowering: Lowering, values: list[Value]) -> Last | None:
    """The last step, where it makes spectra that nobody reads after these values."""
    step = lowering.steps[-1] if lowering.steps else None
    if step is None or not isinstance(step.more, Spectra) or step.when != lowering.when or not all(map(lowering.read_last, values)):
        return None
    return Last(step, step.more)


@of_arrays
def _fourier(weight: Array) -> Fourier | None:
    return fourier(weight.reshape(len(weight), -1))


def as_spectra(lowering: Lowering, node: Node, problem: Conv, x: View, operands: Operands) -> bool:
    """A convolution whose weights are a windowed Fourier transform. Whether it became a step."""
    if len(problem.size) != 2 or problem.size[0] != 1 or problem.kernel[0] != 1 or problem.c_in != 1 or not problem.n:
        return False
    if problem.pool or problem.activation or any(map(any, problem.padding)) or problem.dilation[1] != 1 or not x.contiguous():
        return False
    weight = node.attributes["weight"]
    if not transforms(problem.c_out - 2) or weight.dtype != x.dtype or (operands.bias is not None and operands.bias.any()):
        return False
    found = _fourier(weight)
    if found is None:
        return False
    y = lowering.new(node.y, range(len(x.shape)), anywhere=False)
    frames = y.size // (problem.c_out * x.shape[0])
    _step(lowering, node, x, y, Spectra(found, problem.stride[1], x.shape[0], frames))
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
    _step(lowering, node, x, y, Spectra(found, int(hop[0]), x.shape[0], y.shape[1]))


def _step(lowering: Lowering, node: Node, x: View, y: View, made: Spectra) -> None:
    """A step from signals to the spectra of their frames, which lie as (signals, frequencies and parts, frames), or to what is made of
    these."""
    found, length, size = made.found, len(made.found.window), made.found.window.itemsize
    frequency, imaginary, _ = made.places
    bind, scratch = spectra(
        found.window, made.frames, made.signals,
        Places(found.lead - made.first * made.hop, made.hop, x.size // made.signals, frequency, imaginary),
        conjugate=found.conjugate, threads=lowering.settings.threads, epilogue=made.epilogue,
    )  # fmt: skip
    seconds = made.signals * cycles(length, made.frames, size) / calibration().clock
    method = METHOD if made.epilogue is None else POWERS if made.epilogue.bands is None else BANDS
    lowering.step(node, [x], [y], lambda arrays, scratch: bind(arrays[0], arrays[1], scratch), method, seconds, scratch=scratch, more=made)


def _instead(lowering: Lowering, node: Node, last: Last, y: View, some: tuple[int, int], epilogue: Epilogue) -> None:
    """A step that makes more of some frames, in the place of the last one."""
    made = dataclasses.replace(last.made, first=last.made.first + some[0], frames=some[1], epilogue=epilogue)
    before = last.step.node
    layers = [*before.attributes.get("layers", [before]), node]
    joined = Node("Spectra", before.inputs, node.outputs, {"layers": layers}, f"{before.label}+{node.label}")
    lowering.steps.pop()
    _step(lowering, joined, last.step.reads[0], y, made)


def as_power(lowering: Lowering, node: Node, operations: list[Operation], reads: list[View]) -> bool:
    """A chain that begins with the power of the spectra that were made last, which nobody else reads: it is made while they are in cache.
    Whether it was."""
    found, values = power(operations, len(reads)), [value for value in node.inputs if value is not None]
    last = None if found is None else _last(lowering, [values[slot] for slot in found.parts])
    if found is None or last is None or last.made.epilogue or len(node.outputs) > 1 or node.y.kind != last.step.writes[0].dtype:
        return False
    for real, imaginary in (found.parts, found.parts[::-1]):
        some = last.some(reads[real])
        if some is not None and reads[imaginary] == _moved(reads[real], last.made.part(last.step.writes[0], True, *some)):
            break
    else:
        return False
    y = lowering.new(node.y, reads[real].order(), anywhere=False)
    _instead(lowering, node, last, y, some, Epilogue(found.root))
    if found.rest:
        others = [view for slot, view in enumerate(reads) if slot not in found.parts]
        lowering.program(node, y.dtype, [y, *others], [(found.rest[-1].to, y)], found.rest, f"{len(found.rest)} vector passes")
    return True


def as_bands(lowering: Lowering, node: Node, x: View, y: Callable[[], View]) -> bool:
    """A product of the power that was made last, which nobody else reads, with filters that are bands, as mel filters are. x: (signals,
    frames, frequencies); y: gives where (signals, frames, filters) go, filters before frames in memory. Whether it became a step."""
    last = _last(lowering, [node.x])
    if last is None or len(node.inputs) > 1 or node.attributes.get("activation") or x.shape[-1] != last.made.frequencies:
        return False
    epilogue, some = last.made.epilogue, last.some(x)
    if epilogue is None or epilogue.bands or some is None:
        return False
    if x.steps() != last.made.part(last.step.writes[0], False, *some).swapped().steps():
        return False
    found = bands(np.asarray(node.attributes["weight"], x.dtype), node.attributes["bias"])
    if found is None:
        return False
    _instead(lowering, node, last, y(), some, epilogue._replace(bands=found))
    return True


def _moved(view: View, to: View) -> View:
    """The view where another one begins."""
    return view._replace(offset=to.offset)

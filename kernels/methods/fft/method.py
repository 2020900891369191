"""Multiply spectra instead of sliding kernels: a convolution is a product, frequency by frequency.

Input and weights are transformed, channels are summed in the frequency domain, and each output channel is transformed back once. A kernel
of k taps then costs log2 of the transform's length instead of k, so large kernels win: tall, wide, or long on raw audio. Long axes are
cut into segments that overlap by the kernel's reach (overlap-save), which bounds memory for any length. A stride splits input and kernel
into phases that join the channels (polyphase): the products are those of stride 1, the transforms of outputs are shorter. Taps of an axis
that is not transformed join the channels too.

Two routes, whichever `blocking` estimates lower. One axis by the codelets of `codelets`, a vector of lines at a time, up to 1024
long: tall, wide and long kernels, where spectra stay in the caches and the epilogue is applied on the way out. A kernel longer than
that on a single line (an impulse response) is cut into partitions, whose products are summed before the one way back. SciPy's transforms,
of one axis or both: maps whose kernel is longer than a transform, and square ones on few channels.

It loses where kernels are small (the transforms are pure overhead) and where each weight spectrum is used once or twice (bandwidth).
A NaN or inf in the input reaches every output of its segment (or tile) and of no other; elsewhere it stays local only within rounding.
References: T. G. Stockham, "High-speed convolution and correlation", AFIPS 1966; M. Mathieu, M. Henaff, Y. LeCun, "Fast training of
convolutional networks through FFTs", arXiv 1312.5851.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kernels.cost.roofline import BIND, map_seconds, seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.methods.fft.blocking import best, best_shared, by_lines, frequencies, lost_cycles, summands, variant_names
from kernels.methods.fft.driver import prepare_spectra
from kernels.methods.fft.scipy_blocking import layout
from kernels.methods.fft.scipy_driver import prepare_tiles
from kernels.methods.fft.segments import Segments
from kernels.primitives.activations import codes
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.problem.seen_taps import Within
from kernels.runtime.machine import machine
from kernels.runtime.scratch import Scratch

Array = np.ndarray

LIMIT = 4 << 30  # bytes of spectra beyond which the method refuses
GROUP = 3000  # cycles that groups take beyond their transforms: 512 of 62x4 took 2.2 ms of a core, not 1.2
SPECTRAL, BY_SCIPY = 6.0, 60.0  # cycles to transform a number of weights: of a line of whole vectors (3 to 13), by SciPy (50 to 200)
ORIGIN_BYTES = 24  # of the image, row and column where each column of a tile of SciPy's route starts


def refuse(problem: Conv, variant: str = "") -> str | None:
    """None, or why a transform is of no use."""
    if problem.taps == 1:
        return "a kernel of one tap has nothing to transform; use direct or im2col"
    taken = layout(problem)
    if taken is None:
        return f"stride {problem.stride} is not shorter than the kernel's reach, so no two windows overlap; use direct or im2col"
    block = by_lines(problem, variant)
    if block is None and Segments.read(variant):
        return f"transforms of {variant!r} do not go with this kernel: they are too short, or its axis has one tap; use direct or fft"
    if block:
        memory = 2 * problem.itemsize * frequencies(block.length) * problem.c_out * summands(problem, block)
    else:
        memory = taken.weight_bytes + sum(taken.item_bytes) + ORIGIN_BYTES * taken.items * sum(taken.columns)
    if memory > LIMIT:
        return f"the spectra would take {memory / 2**30:.1f} GiB, more than {LIMIT / 2**30:.0f}; use direct or im2col"
    return None


def error_bound(problem: Conv, variant: str = "") -> float:
    """Largest error, as a share of the largest output: eps * (2 log2 N + 2 sqrt(K)), N the transform's length, K products a frequency.

    A transform's relative error in the 2-norm grows with log2 N (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., section
    24.1, theorem 24.2); summing K products adds sqrt(K), as in `rounding_bound`. The transforms spread each error over a whole segment.
    """
    block, taken = by_lines(problem, variant), layout(problem)
    if block:
        length, products = block.length, summands(problem, block)
    elif taken:
        length, products = math.prod(taken.transform), taken.planes * taken.direct_taps
    else:
        return math.inf
    return float(np.finfo(problem.dtype).eps) * (2 * math.log2(length) + 2 * products**0.5)


def prepare_adjoint(problem: Conv, threads: int, once: bool = False, within: Within | None = None) -> Prepared | None:
    """The same for weights of the layer that this is the adjoint of, by the codelets' route; alike if they serve one call."""
    threads, block = best_shared(problem, threads) if by_lines(problem) else (1, None)
    if block is None or within or (block.partitions and problem.groups > 1):
        return None
    return prepare_spectra(problem, threads, block, adjoint=True)


def prepare(problem: Conv, threads: int, variant: str = "") -> Prepared:
    """Compile the transforms and size the scratch, by the route that is estimated lower, or the only one."""
    if not by_lines(problem, variant):
        return prepare_tiles(problem, threads)
    used, block = best_shared(problem, threads, variant)
    assert block is not None
    segments = Segments.read(variant)
    if segments and segments.lead:
        return _from_before(problem, threads, segments)
    if block.partitions and problem.groups > 1:
        return _by_group(problem, threads, variant)
    return prepare_spectra(problem, used, block)


def _from_before(problem: Conv, threads: int, segments: Segments) -> Prepared:
    """Segments that begin before the first output: of a longer convolution, whose first outputs are dropped."""
    axis, lead = segments.axis, segments.lead
    before, after = problem.padding[axis]
    pairs = list(problem.padding)
    pairs[axis] = before + lead * problem.stride[axis], after
    longer = dataclasses.replace(problem, padding=tuple(pairs))
    found = prepare(longer, threads, str(segments.aligned))
    scratch = Scratch(math.prod(longer.conv_shape) * problem.itemsize)

    def pack(operands: Operands) -> Run:
        convolve = found.pack(operands)

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            whole = buffer[: scratch.nbytes].view(problem.dtype).reshape(longer.conv_shape)
            convolve(x, whole)
            np.copyto(out, whole[:, :, lead:] if axis == 0 else whole[..., lead:])
            scratch.give(buffer)

        return run

    return dataclasses.replace(found, pack=pack, workspace_bytes=found.workspace_bytes + scratch.nbytes)


def _by_group(problem: Conv, threads: int, variant: str) -> Prepared:
    """One group and image at a time, whose spectra stay in the last-level cache: all partitions of the kernel read them."""
    groups = problem.groups
    ins, outs = problem.c_in // groups, problem.c_out // groups
    one = dataclasses.replace(problem, n=1, c_in=ins, c_out=outs, groups=1)
    used, block = best_shared(one, threads, variant)
    assert block is not None
    one_group = prepare_spectra(one, used, block)

    def pack(operands: Operands) -> Run:
        members = [slice(g * outs, (g + 1) * outs) for g in range(groups)]
        runs = [one_group.pack(Operands(*(None if array is None else array[member] for array in operands))) for member in members]

        def run(x: Array, out: Array) -> None:
            for image, target in zip(x, out):
                for g, (member, convolve) in enumerate(zip(members, runs)):
                    convolve(image[g * ins : (g + 1) * ins], target[member])

        return run

    return dataclasses.replace(one_group, pack=pack, note=f"{groups} groups in turn, {one_group.note}")


def fuses(problem: Conv, variant: str = "") -> bool:
    """Scale, shift and the ReLU family are applied on the way out by codelets, not by SciPy's route; pools by neither."""
    return problem.pool is None and codes(problem.activation)[0] == 0 and by_lines(problem, variant) is not None


def variants(problem: Conv, threads: int) -> dict[str, Implementation]:
    """Other axes, lanes and lengths, and SciPy's transforms."""
    return {name: FFT.as_variant(name, "refuse", "prepare", "error_bound", "fuses") for name in variant_names(problem, threads)}


def named_variant(problem: Conv, variant: str) -> Implementation | None:
    """Fixed segments, which are never faster than free ones and so not measured."""
    return FFT.as_variant(variant, "refuse", "prepare", "error_bound", "fuses") if Segments.read(variant) else None


def estimate(problem: Conv) -> float:
    """The cycles of the route that is taken, and what maps move."""
    block, by_scipy = by_lines(problem), layout(problem)
    cycles = block.cycles if block else by_scipy.cycles if by_scipy else math.inf
    return seconds(cycles + GROUP * problem.n * problem.groups) + map_seconds(problem)


def segment_seconds(problem: Conv, threads: int, segments: Segments) -> float | None:
    """The same for fixed segments; None where a kernel does not fit them."""
    block = best(problem, threads, str(segments))
    return None if block is None else seconds(block.cycles + GROUP * problem.n * problem.groups) + map_seconds(problem)


def weight_cycles(problem: Conv) -> float:
    """Cycles of one core to transform the weights."""
    block, by_scipy = by_lines(problem), layout(problem)
    if block:
        lanes = machine().lanes(problem.itemsize)
        channels = problem.groups * -(-problem.c_out // problem.groups // lanes) * lanes
        return BIND + SPECTRAL * channels * summands(problem, block) * block.length
    return BIND + BY_SCIPY * (by_scipy.weight_bytes / problem.itemsize if by_scipy else 0)


FFT = Implementation(
    "fft", "conv", refuse, prepare, error_bound, fuses, variants=variants, named_variant=named_variant,
    prepare_adjoint=prepare_adjoint, estimate=estimate, lost=lost_cycles,
    packing=weight_cycles, local=False,
)  # fmt: skip
registry.add(FFT)

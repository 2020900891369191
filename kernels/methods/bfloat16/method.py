"""Direct convolution on pairs of bfloat16: the definition's sums in float32, of factors rounded to bfloat16.

Two input channels (of a single channel, two columns) are rounded to one pair of the size of a float32, weights likewise, and AVX512_BF16
adds both products of a pair to a float32 sum in one instruction. All else is direct convolution with half as many channels, by its own
blocking, drivers and tiles. Factors change by a share of up to 2^-8, so it is taken only where a caller allows it (precision="bfloat16").
It loses to direct where channels are few or odd, as the input is rounded in a pass of its own, and to Winograd and FFT where these need
less than half the products. Reference: S. Dash et al., "A study of BFLOAT16 for deep learning training", arXiv 1905.12322.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.cost.roofline import map_seconds, seconds
from kernels.methods import registry
from kernels.methods.bfloat16.pairs import input_cycles, input_rounder, paired, weight_rounder
from kernels.methods.bfloat16.tiles import tile, tile_oc
from kernels.methods.contract import Implementation, precision_bound
from kernels.methods.direct.blocking import best, best_pooled, variant_names, weight_cycles
from kernels.methods.direct.driver import prepare_blocks
from kernels.methods.direct.driver_oc import prepare_oc_blocks
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.machine import cores
from kernels.runtime.scratch import Scratch

Array = np.ndarray


def refuse(problem: Conv) -> str | None:
    """Unless the caller allows it. That a CPU cannot do it is refused for all methods alike, see `registry.refusal`."""
    return None if problem.precision == "bfloat16" else 'it rounds factors, which precision="bfloat16" must allow; direct does not'


def _threads_for(pairs: Conv, threads: int) -> int:
    return threads_for(best(pairs, 1).cycles, threads)


def prepare(problem: Conv, threads: int, variant: str = "", *, last: bool = False) -> Prepared:
    """Choose a blocking for pairs (of one variant only), compile its tiles and what rounds the input."""
    pairs = paired(problem)
    threads = _threads_for(pairs, threads)
    block = best_pooled(pairs, threads, variant) if pairs.pool else best(pairs, threads, variant, last)
    assert block is not None
    if block.oc_lanes:
        direct = prepare_oc_blocks(pairs, threads, block, tile_oc, last=last)
    else:
        direct = prepare_blocks(pairs, threads, block, tile, last=last)
    round_input, round_weight = input_rounder(problem, threads, last), weight_rounder(problem, threads)
    scratch = Scratch(4 * math.prod(pairs.x_shape))

    def pack(operands: Operands) -> Run:
        assert operands.weight is not None
        convolve = direct.pack(operands._replace(weight=round_weight(operands.weight)))

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            round_input(x, buffer)
            convolve(buffer, out)
            scratch.give(buffer)

        return run

    return Prepared(pack, direct.workspace_bytes + scratch.nbytes, f"pairs of bfloat16: {direct.note}")


def prepare_last(problem: Conv, threads: int) -> Prepared:
    """The same for channels last."""
    return prepare(problem, threads, last=True)


def fuses(problem: Conv) -> bool:
    """As direct convolution does."""
    pairs = paired(problem)
    return pairs.pool is None or all(best_pooled(pairs, threads) for threads in range(1, cores() + 1))


def variants(problem: Conv, threads: int) -> dict[str, Implementation]:
    """Other layouts and tiles."""
    pairs = paired(problem)
    return {name: BFLOAT16.as_variant(name, "prepare") for name in variant_names(pairs, _threads_for(pairs, threads))}


def estimate(problem: Conv) -> float:
    """The cycles of the blocking for pairs and of rounding the input, and what maps move."""
    return seconds(best(paired(problem), 1).cycles + input_cycles(problem)) + map_seconds(problem)


def packing(problem: Conv) -> float:
    """Cycles of one core to round the weights and to pack their pairs."""
    return weight_cycles(paired(problem)) + math.prod(problem.weight_shape)


BFLOAT16 = Implementation(
    "direct_bfloat16", "conv", refuse, prepare, precision_bound, fuses, variants=variants, prepare_last=prepare_last, estimate=estimate,
    packing=packing, picks_strides=True,
)  # fmt: skip
registry.add(BFLOAT16)

"""Direct convolution on pairs of bfloat16: the definition's sums in float32, of factors rounded to bfloat16.

Two input channels (of a single channel, two columns) are rounded to one pair of the size of a float32, weights likewise, and AVX512_BF16
adds both products of a pair to a float32 sum in one instruction. All else is direct convolution with half as many channels, by its own
blocking, drivers and tiles; where there is AMX, which multiplies matrices of pairs, that is one more tile. Factors change by a share of up
to 2^-8, so it is taken only where a caller allows it (precision="bfloat16"). It loses to direct where channels are few or odd, as the input
is rounded in a pass of its own, and to Winograd and FFT where these need less than half the products (by AMX, an eighth).
Reference: S. Dash et al., "A study of BFLOAT16 for deep learning training", arXiv 1905.12322.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.cost.gemm import MATRIX, PAIRED, Product
from kernels.cost.roofline import map_seconds, seconds
from kernels.methods import registry
from kernels.methods.bfloat16.matrix_tile import matrix_tile
from kernels.methods.bfloat16.pairs import input_cycles, input_rounder, paired, weight_rounder
from kernels.methods.bfloat16.tiles import tile, tile_oc
from kernels.methods.contract import Implementation, precision_bound
from kernels.methods.direct.blocking import MATRICES, best, best_pooled, variant_names, variant_of, weight_cycles
from kernels.methods.direct.driver import prepare_blocks
from kernels.methods.direct.driver_oc import prepare_oc_blocks
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime import system
from kernels.runtime.machine import cores, machine
from kernels.runtime.scratch import Scratch

Array = np.ndarray


def refuse(problem: Conv) -> str | None:
    """Unless the caller allows it. That a CPU cannot do it is refused for all methods alike, see `registry.refusal`."""
    return None if problem.precision == "bfloat16" else 'it rounds factors, which precision="bfloat16" must allow; direct does not'


def _depth(problem: Conv) -> int:
    """How many pairs of channels a product of matrices sums: as many as there are in the fewest even steps; of a single one as many kernel
    columns as divide them. 1 where matrices are of no use."""
    unit, pairs = machine().matrices, paired(problem)
    if not unit or (unit == "amx" and not system.tiles_permitted()):
        return 1
    ins, columns = pairs.c_in // problem.groups, pairs.kernel[1]
    if ins == 1:
        return max(depth for depth in range(1, MATRIX + 1) if columns % depth == 0)
    return -(-ins // -(-ins // MATRIX))


def _products(problem: Conv) -> dict[int, Product]:
    """What may be multiplied, by depth."""
    depth = _depth(problem)
    return {1: Product(cost=PAIRED[machine().mesh]), **({depth: Product(depth)} if depth > 1 else {})}


def _cycles(pairs: Conv, product: Product, last: bool = False) -> float:
    """Of one core, to round the input and to convolve it."""
    return best(pairs, 1, "", last, product).cycles + input_cycles(pairs)


def _choice(problem: Conv, variant: str = "", last: bool = False) -> tuple[Conv, Product]:
    """(the problem of pairs, what is multiplied): vectors or matrices, by their estimates for one core, or as a variant has it."""
    products = _products(problem)
    if variant:
        depth = max(products) if variant.endswith(MATRICES) else 1
        products = {depth: products[depth]}
    found = [(paired(problem, depth), product) for depth, product in products.items()]
    return min(found, key=lambda each: _cycles(each[0], each[1], last))


def _threads_for(pairs: Conv, threads: int, product: Product) -> int:
    return threads_for(best(pairs, 1, "", False, product).cycles, threads)


def prepare(problem: Conv, threads: int, variant: str = "", *, last: bool = False) -> Prepared:
    """Choose a blocking for pairs (of one variant only), compile its tiles and what rounds the input."""
    pairs, product = _choice(problem, variant, last)
    threads = _threads_for(pairs, threads, product)
    block = best_pooled(pairs, threads, variant, product=product) if pairs.pool else best(pairs, threads, variant, last, product)
    assert block is not None
    if block.oc_lanes:
        direct = prepare_oc_blocks(pairs, threads, block, tile_oc, last=last)
    else:
        direct = prepare_blocks(pairs, threads, block, tile if product.depth == 1 else matrix_tile, last=last)
    round_input, round_weight = input_rounder(problem, pairs, threads, last), weight_rounder(problem, pairs, threads)
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

    deep = f" in matrices {product.depth} deep" if product.depth > 1 else ""
    return Prepared(pack, direct.workspace_bytes + scratch.nbytes, f"pairs of bfloat16{deep}: {direct.note}")


def prepare_last(problem: Conv, threads: int) -> Prepared:
    """The same for channels last."""
    return prepare(problem, threads, last=True)


def fuses(problem: Conv) -> bool:
    """As direct convolution does."""
    pairs, product = _choice(problem)
    return pairs.pool is None or all(best_pooled(pairs, threads, product=product) for threads in range(1, cores() + 1))


def variants(problem: Conv, threads: int) -> dict[str, Implementation]:
    """Other layouts and tiles, and what vectors do best where matrices are taken, or the other way round."""
    _, taken = _choice(problem)
    names = []
    for depth, product in _products(problem).items():
        pairs = paired(problem, depth)
        each = _threads_for(pairs, threads, product)
        names += variant_names(pairs, each, product) if product == taken else [variant_of(best(pairs, each, product=product))]
    return {name: BFLOAT16.as_variant(name, "prepare") for name in names}


def estimate(problem: Conv) -> float:
    """The cycles of the blocking for pairs and of rounding the input, and what maps move."""
    pairs, product = _choice(problem)
    return seconds(_cycles(pairs, product)) + map_seconds(problem)


def packing(problem: Conv) -> float:
    """Cycles of one core to round the weights and to pack their pairs."""
    return weight_cycles(_choice(problem)[0]) + math.prod(problem.weight_shape)


BFLOAT16 = Implementation(
    "direct_bfloat16", "conv", refuse, prepare, precision_bound, fuses, variants=variants, prepare_last=prepare_last, estimate=estimate,
    packing=packing, picks_strides=True,
)  # fmt: skip
registry.add(BFLOAT16)

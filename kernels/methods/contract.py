"""The record that describes one implementation: one method for one operation, and what it hands back when it is prepared."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.primitives.prepared import Prepared
from kernels.problem.accuracy import PRECISIONS
from kernels.problem.conv import Conv, ConvTranspose, ConvWeight, Problem
from kernels.problem.pool import AdaptivePool

SUM_ORDERS = "taps", "loops", "definition"  # see `sum_order`; of several, a stream takes the first


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One method for one operation.

    name: what users write. operation: as `operation` says. refuse(problem): None, or the sentence why not. prepare(problem, threads):
    chooses tiles, compiles, sizes scratch. error_bound(problem): largest error expected, as a share of the largest sum of |x| |w| over a
    window (for `local` methods: of each output's own), before an activation. fuses(problem): whether prepare does the whole epilogue; if
    not, it is handed the bare convolution and the plan does the rest. sub_problems(problem): what it is lowered to, each with how often it
    runs; None where it is done as it stands. prepare_last: prepare for x (n, *size, c_in) and out (n, *out_size, c_out) where the method
    reads and writes these itself; None where the plan transposes them. prepare_unpacked: prepare for operands that serve one call, which
    need not be packed, or not in the same way; None where they are packed all the same.
    prepare_adjoint(problem, threads, once, within): prepare for the weights of the layer that the problem is the adjoint of, (c_in,
    c_out/groups, *kernel), whose taps count in reverse, of stride 1; None, or what it gives is, where they must be laid out anew first.
    once: they serve one call. within: the larger kernels that the problem's taps are part of, in that layer's own order; None: they have
    no others.
    prepare_added: prepare for outputs (channels first) that hold what is added to the sums and the bias, before the rest of the epilogue;
    None, or what it gives is, where somebody else adds.
    variants(problem, threads): by name, the method told to do it in another way than the one that it estimates best,
    for measuring. named_variant(problem, variant): one that is not worth measuring, but may be named.
    local: whether every output is a sum of its own window's products and nothing else, so that its error is a share of theirs, and a NaN
    or inf reaches no other output.
    estimate(problem): seconds of one core for a problem done as it stands, which only need to rank; None: "auto" never takes the method.
    lost(problem, threads): cycles that several threads take together beyond that, waiting for what others made or for the only one that
    works; None: none to speak of.
    What is lowered is estimated by these, and lowering_cycles(problem) that making them of the problem takes besides,
    lowering_packing(problem) that laying out their operands takes.
    packing(problem): cycles of one core that the operands take to be packed, in every call of a function; None where they are taken as they
    are. packing_unpacked: the same by prepare_unpacked.
    picks_strides: whether it packs inputs that a long window moves on by one by one, so that a network does better to copy its frames.
    trust: of the methods that can do a problem, the one with the highest is what the others' answers are compared with.
    lingers: seconds for which threads of the method go on spinning after a call, beside whoever is next.
    sum_order: the order, one of SUM_ORDERS, in which every output is summed wherever the input is cut, so that streams may take the method,
    and any other of the same order for the next block; None where the order depends on the cut.
    steady: the variant that keeps this order where the method itself may take another, which depends on the cut; "" where it never does.
    lowered: the registry made it of the method for another operation.
    Each function gets a problem of the operation. Convolutions have no taps that see only padding (`unseen_taps`): kernel, padding, stride
    and dilation may be others than the user's. `named_variant`, and methods with `trust`, get the user's own.
    """

    name: str
    operation: str
    refuse: Callable[[Any], str | None]
    prepare: Callable[[Any, int], Prepared]
    error_bound: Callable[[Any], float]
    fuses: Callable[[Any], bool] = lambda problem: False
    sub_problems: Callable[[Any], tuple[tuple[Any, int], ...] | None] = lambda problem: None
    prepare_last: Callable[[Any, int], Prepared] | None = None
    prepare_unpacked: Callable[[Any, int], Prepared] | None = None
    prepare_adjoint: Callable[..., Prepared | None] | None = None
    prepare_added: Callable[[Any, int], Prepared | None] | None = None
    variants: Callable[[Any, int], dict[str, Implementation]] = lambda problem, threads: {}
    named_variant: Callable[[Any, str], Implementation | None] = lambda problem, variant: None
    local: bool = True
    estimate: Callable[[Any], float] | None = None
    lost: Callable[[Any, int], float] | None = None
    lowering_cycles: Callable[[Any], float] = lambda problem: 0.0
    lowering_packing: Callable[[Any], float] = lambda problem: 0.0
    packing: Callable[[Any], float] | None = None
    packing_unpacked: Callable[[Any], float] | None = None
    picks_strides: bool = False
    trust: int = 0
    lingers: float = 0.0
    sum_order: str | None = None
    steady: str = ""
    lowered: bool = False

    def as_variant(self, name: str, *steps: str) -> Implementation:
        """The method with `variant=name` passed to these of its functions."""
        changes: dict[str, Any] = {step: functools.partial(getattr(self, step), variant=name) for step in steps}
        return dataclasses.replace(self, prepare_unpacked=None, **changes)


def operation(problem: Problem) -> str:
    """The name: "conv", "pool" or "conv_weight", for three spatial axes "conv3d", "pool3d" or "conv_weight3d"; "conv_transpose" and
    "adaptive_pool" for two or three."""
    if isinstance(problem, ConvTranspose):
        return "conv_transpose"
    if isinstance(problem, AdaptivePool):
        return "adaptive_pool"
    kind = "conv_weight" if isinstance(problem, ConvWeight) else "conv" if isinstance(problem, Conv) else "pool"
    return kind if len(problem.size) == 2 else f"{kind}3d"


def precision_bound(problem: Problem) -> float:
    """Error that a problem allows, as the same share as `rounding_bound`: that of sums in its own precision, and where factors may be
    rounded that of their products, each of which may change by u of the one and u of the other and u^2 of both."""
    share = PRECISIONS[problem.precision] if isinstance(problem, Conv) and problem.precision else 0.0
    return rounding_bound(problem) * (1 + share) ** 2 + 2 * share + share**2


def rounding_bound(problem: Problem) -> float:
    """Error of summing in the problem's own precision, as a share of the sum of the magnitudes |x| |w| of each output's own products.

    Rounding errors of a sum of K products are below sqrt(K) times the unit roundoff, times that sum, with high probability (Higham and
    Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019, theorem 2.4); the factor 4 covers
    the largest of many outputs. Where products cancel, as those of a zero-mean kernel on a signal with an offset do, the same error is a
    larger share of the output: 1.8e-3 of it for 33 such taps on 32000 plus noise, in PyTorch 3.4e-3. Compiled code takes numbers below
    the smallest normal one (1.2e-38, 2.2e-308) for zero, which may add as much for every product.
    """
    eps = float(np.finfo(problem.dtype).eps)
    if isinstance(problem, Conv):
        return 4 * eps * (problem.summands + 1) ** 0.5
    return 0.0 if problem.kind == "max" else 4 * eps * problem.taps**0.5

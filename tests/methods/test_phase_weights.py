"""Weights of a transposed layer's sub-problems, taken by vectors: every lane width, input channels that fill no vector, groups, phases
without a tap, all taps of an output channel; two threads and one."""

from __future__ import annotations

import numpy as np
import pytest
from memory import Guarded, given

from kernels.methods.lowered import phase_weights
from kernels.methods.lowered.transposed_overlap import Overlap
from kernels.methods.lowered.transposed_phases import sub_problems
from kernels.problem.conv import ConvTranspose
from kernels.problem.operands import Operands
from kernels.runtime.machine import pretend

# (kernel, stride, dilation): one tap a phase, windows that not all phases fill, taps far apart, one tap in all
KINDS = [((1, 4), (1, 4), (1, 1)), ((3, 5), (2, 2), (1, 1)), ((2, 3), (1, 2), (1, 3)), ((1, 1), (2, 2), (1, 1)), ((4, 4), (2, 2), (1, 1))]


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), KINDS)
def test_taps_are_taken(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], dtype: str, vector_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each number is the layer's own tap or zero, and nothing else is written, although memory held NaN."""
    groups, ins, outs = 2, 19, 35  # neither whole vectors nor whole blocks
    problem = ConvTranspose(
        op="conv_transpose2d", n=1, c_in=groups * ins, size=(6, 7), kernel=kernel, stride=stride, padding=((0, 0), (0, 0)),
        dilation=dilation, dtype=dtype, c_out=groups * outs, groups=groups, output_padding=(0, 0),
    )  # fmt: skip
    weight = given(np.random.default_rng(0).standard_normal((groups * ins, outs, *kernel)).astype(dtype)).array
    by_channel = weight.reshape(groups, ins, outs, -1)
    with pretend(vector_bytes=vector_bytes):
        subs = [sub for joined in (True, False) for sub in sub_problems(problem, 1, joined)]
        wanted = [(sub, phase_weights.taps_of(problem, sub)) for sub in subs]
        products = Overlap(subs[0].conv.__class__(
            op="conv2d", n=1, c_in=groups * ins, size=(6, 7), kernel=(1, 1), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1),
            dtype=dtype, c_out=groups * outs * problem.taps, groups=groups,
        ), 1, False)  # fmt: skip
        for sub, taps in [*wanted, (products, products.taps(problem))]:
            for threads in (1, 2):
                target = Guarded(sub.conv.weight_shape, dtype)
                monkeypatch.setattr(phase_weights.packed_weights, "take", lambda shape, kind, target=target: target.array)
                phase_weights.taking(problem, sub, threads)(Operands(weight))
                picked = np.where(taps >= 0, by_channel[..., taps], 0)  # (groups, ins, outs, phases, places)
                np.testing.assert_array_equal(target.array, picked.transpose(0, 2, 3, 1, 4).reshape(sub.conv.weight_shape))
                assert target.zones_untouched()

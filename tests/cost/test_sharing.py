"""What several threads lose by sharing a problem: data that goes from core to core, and layers too short for that."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference
from memory import Guarded, given

from kernels.cost.memory import handed_cycles
from kernels.methods import load, registry
from kernels.methods.estimate import estimate
from kernels.methods.fft import blocking
from kernels.methods.winograd import stride_phases
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine, pretend

load()
SHORT = Conv("conv1d", 1, 16, (1, 200), (1, 16), (1, 1), ((0, 0), (7, 8)), (1, 1), "float32", 16, 1, True)
LONG = dataclasses.replace(SHORT, n=8, size=(1, 20_000))
STRIDED = Conv("conv2d", 1, 16, (40, 40), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), "float32", 16, 1, True)


@pytest.fixture(autouse=True)
def wide_vectors():
    """The same decisions on every machine."""
    with pretend(vector_bytes=64, registers=32, mesh=False, l1=48 << 10, l2=2 << 20, l3=32 << 20):
        yield


def test_what_left_the_caches_is_not_handed() -> None:
    spec, room = machine(), 2 * machine().l2
    assert handed_cycles(1 << 16, 1, spec) == 0
    assert handed_cycles(1 << 16, 4, spec) == pytest.approx(1.5 * handed_cycles(1 << 16, 2, spec))
    assert 0 < handed_cycles(3 * room // 4, 2, spec) < handed_cycles(room // 2, 2, spec)
    assert handed_cycles(room, 2, spec) == handed_cycles(2 * room, 2, spec) == 0


def test_short_layers_are_left_to_one_thread() -> None:
    assert blocking.best_shared(SHORT, 2) == (1, blocking.best(SHORT, 1))
    assert blocking.best_shared(LONG, 2) == (2, blocking.best(LONG, 2))
    assert blocking.best_shared(LONG, 1) == (1, blocking.best(LONG, 1))


@pytest.mark.parametrize("threads", [1, 2])
def test_left_to_one_thread_it_is_right(threads: int) -> None:
    draw = np.random.default_rng(3)
    x, weight, bias = (draw.standard_normal(shape).astype("float32") for shape in (SHORT.x_shape, SHORT.weight_shape, SHORT.c_out))
    held, out = given(x), Guarded(SHORT.conv_shape, "float32")
    registry.get(SHORT, "fft").prepare(SHORT, threads).pack(Operands(weight, bias))(held.array, out.array)
    wanted = reference.conv(x, weight, bias, SHORT.stride, SHORT.padding, SHORT.dilation, SHORT.groups)
    np.testing.assert_allclose(out.array, wanted, atol=1e-5 * np.abs(wanted).max())
    assert out.zones_untouched()
    assert held.unchanged()


def test_estimates_count_what_is_lost() -> None:
    fft = registry.get(SHORT, "fft")
    alone = estimate(SHORT, fft)
    assert alone
    assert alone < (estimate(SHORT, fft, 2) or 0.0) < 2 * alone  # one works, the other waits, which others do for a while too
    winograd, direct = registry.get(STRIDED, "winograd"), registry.get(STRIDED, "direct")
    assert (estimate(STRIDED, winograd, 2) or 0.0) > (estimate(STRIDED, winograd) or 0.0)  # phases are handed over
    dense = dataclasses.replace(STRIDED, stride=(1, 1))
    assert estimate(dense, winograd, 2) == estimate(dense, winograd)
    assert estimate(STRIDED, direct, 2) == estimate(STRIDED, direct)


def test_short_rows_take_longer_to_set_apart() -> None:
    wide, narrow = (dataclasses.replace(STRIDED, size=size, stride=(2, 1)) for size in ((40, 400), (4000, 4)))
    assert stride_phases.cycles(narrow) > 5 * stride_phases.cycles(wide)

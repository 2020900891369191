"""Every way that the fft method can be divided, on small problems: either axis, lanes along columns or channels, several cache blocks, both
routes."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import reference
from memory import Guarded, given

from kernels.methods.fft import blocking as lines
from kernels.methods.fft.driver import prepare_spectra
from kernels.methods.fft.scipy_driver import prepare_tiles
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.machine import pretend

PROBLEMS = {
    "tall, taps beside": Conv("conv2d", 2, 3, (40, 21), (12, 3), (1, 1), ((5, 6), (1, 1)), (1, 1), "float32", 5, 1, True),
    "wide, groups": Conv("conv2d", 1, 4, (9, 50), (2, 17), (1, 1), ((0, 1), (8, 8)), (1, 1), "float32", 6, 2, True),
    "strides and dilation": Conv("conv2d", 2, 2, (45, 40), (9, 5), (3, 2), ((4, 0), (3, 2)), (2, 3), "float64", 3, 1, True),
    "one line": Conv("conv1d", 3, 5, (1, 90), (1, 20), (1, 4), ((0, 0), (9, 10)), (1, 1), "float32", 33, 1, True),
    "beyond the input": Conv("conv2d", 1, 2, (6, 5), (4, 3), (1, 1), ((9, 12), (7, 8)), (1, 1), "float32", 3, 1, True),
}


LONG_KERNELS = {
    "two images": Conv("conv1d", 2, 3, (1, 2500), (1, 700), (1, 1), ((0, 0), (300, 5)), (1, 1), "float32", 2, 1, True),
    "strided groups": Conv("conv1d", 1, 4, (1, 3000), (1, 1500), (1, 3), ((0, 0), (0, 0)), (1, 1), "float64", 4, 2, True),
}


def expected(problem: Conv, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return reference.conv(x, weight, bias, problem.stride, problem.padding, problem.dilation, problem.groups)


def families(problem: Conv) -> list[lines.Blocking]:
    """Of each axis, each meaning of the lanes and one or several segments, the blocking with the lowest estimate."""
    found: dict[tuple[int, bool, bool], lines.Blocking] = {}
    for block in sorted(lines.candidates(problem, 2), key=lambda block: block.cycles):
        found.setdefault((block.axis, block.oc_lanes, block.segments > 1), block)
    return list(found.values())


@pytest.mark.parametrize("name", PROBLEMS)
def test_both_routes(name: str) -> None:
    problem = PROBLEMS[name]
    draw = np.random.default_rng(7)
    shapes = problem.x_shape, problem.weight_shape, problem.c_out
    x, weight, bias = (draw.standard_normal(shape).astype(problem.dtype) for shape in shapes)
    wanted, tolerable = expected(problem, x, weight, bias), 40 * np.finfo(problem.dtype).eps
    operands = Operands(weight, bias)
    with pretend(l3=1 << 14):  # so small that a cache block holds one segment
        blockings = families(problem)
    assert {block.axis for block in blockings} == {axis for axis in (0, 1) if lines.taps(problem, axis).reach}
    for block, threads in itertools.product([*blockings, None], (1, 2)):
        held, out = given(x), Guarded(problem.conv_shape, problem.dtype)
        route = prepare_tiles(problem, threads) if block is None else prepare_spectra(problem, threads, block)
        route.pack(operands)(held.array, out.array)
        assert reference.share(out.array, wanted) <= tolerable, block
        assert out.zones_untouched(), block
        assert held.unchanged(), block


@pytest.mark.parametrize("name", LONG_KERNELS)
def test_partitioned_kernels(name: str) -> None:
    """A kernel cut into partitions, all outputs at a time and some at a time."""
    problem = LONG_KERNELS[name]
    draw = np.random.default_rng(8)
    shapes = problem.x_shape, problem.weight_shape, problem.c_out
    x, weight, bias = (draw.standard_normal(shape).astype(problem.dtype) for shape in shapes)
    wanted = expected(problem, x, weight, bias)
    whole = next(block for block in lines.partitioned(problem, 2) if block.length == 256)
    few = dataclasses.replace(whole, span=whole.span // 3, segments=-(-problem.conv_size[1] // (whole.span // 3 * whole.outputs)))
    assert whole.partitions > 1 and few.segments > whole.segments
    for block in (whole, few):
        held, out = given(x), Guarded(problem.conv_shape, problem.dtype)
        prepare_spectra(problem, 2, block).pack(Operands(weight, bias))(held.array, out.array)
        assert reference.share(out.array, wanted) <= 40 * np.finfo(problem.dtype).eps
        assert out.zones_untouched() and held.unchanged()


def test_every_length_has_factors() -> None:
    assert lines.LENGTHS[0] == 8
    assert lines.LENGTHS[-1] == lines.LONGEST
    assert all(length % 2 == 0 for length in lines.LENGTHS)


def test_nan_stays_in_its_tile() -> None:
    """Outputs of other tiles do not change."""
    problem = Conv("conv1d", 1, 1, (1, 4000), (1, 33), (1, 1), ((0, 0), (0, 0)), (1, 1), "float32", 1, 1, False)
    draw = np.random.default_rng(3)
    x, weight = draw.standard_normal(problem.x_shape).astype("float32"), draw.standard_normal(problem.weight_shape).astype("float32")
    block = next(block for block in sorted(lines.candidates(problem, 1), key=lambda block: block.cycles) if block.tiles > 4)
    clean, spoilt = np.empty(problem.conv_shape, "float32"), np.empty(problem.conv_shape, "float32")
    run = prepare_spectra(problem, 1, block).pack(Operands(weight))
    run(x, clean)
    x[..., 10] = np.nan
    run(x, spoilt)
    assert np.isnan(spoilt[..., :10]).all()
    np.testing.assert_array_equal(spoilt[..., block.outputs :], clean[..., block.outputs :])

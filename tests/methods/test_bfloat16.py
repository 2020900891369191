"""Direct convolution on pairs of bfloat16, beside a twin of NumPy: factors rounded to the nearest, of two the even one, sums in float64.

`test_contract_conv` and others hold it to its bound; here results must be those of exactly the rounded factors, but for rounding of sums.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import reference
from cases import CONV, ConvCase
from memory import Guarded, given
from patience import PATIENCE

import kernels
from kernels.methods import load
from kernels.methods.bfloat16.method import BFLOAT16
from kernels.methods.bfloat16.pairs import paired
from kernels.methods.contract import rounding_bound
from kernels.problem.operands import Operands
from kernels.runtime import system
from kernels.runtime.machine import machine, pretend

load()
NAME, PRECISION = "direct_bfloat16", {"precision": "bfloat16"}
HARDWARE = pytest.mark.skipif(machine().bfloat16 != "avx512_bf16", reason="needs a CPU with AVX512_BF16")
AMX = pytest.mark.skipif(
    machine().matrices != "amx" or not system.tiles_permitted(), reason="needs a CPU with AMX-BF16, and the kernel's permission to use it"
)
NUMBERS = {"bfloat16": "float32", "matrices": ""}
MATRICES = {"bfloat16": "float32", "matrices": "float32"}
BY = [
    pytest.param({"bfloat16": "avx512_bf16", "matrices": ""}, marks=HARDWARE, id="avx512_bf16"),
    pytest.param({"matrices": "amx"}, marks=AMX, id="amx"),
    pytest.param(NUMBERS, id="numbers"),
    pytest.param(MATRICES, id="matrices"),
]
Array = np.ndarray


def rounded(values: Array) -> Array:
    """The nearest bfloat16 of finite float32s: halfway cases by the parity of the kept half, one value at a time in integers."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.int64)
    kept, rest = bits >> 16, bits & 0xFFFF
    up = (rest > 0x8000) | ((rest == 0x8000) & (kept % 2 == 1))
    return ((kept + up) << 16).astype(np.uint32).view(np.float32)


def check(case: ConvCase, y: Array, x: Array, weight: Array, bias: Array | None, bound: float) -> None:
    """y is the sum of the products of the rounded factors, every output within `bound` of the sum of their magnitudes."""
    window = case.stride, case.padding, case.dilation, case.groups
    x, weight = rounded(x), rounded(weight)
    expected = reference.conv(x, weight, bias, *window)
    magnitudes = reference.conv(np.abs(x), np.abs(weight), None if bias is None else np.abs(bias), *window)
    assert y.shape == expected.shape
    assert (np.abs(y - expected) <= bound * magnitudes).all()  # NaN fails


# what stands in for hardware takes every case where there is none, else every fourth: packing is the same, each compiles its own tiles
EVERY = [(case, by) for i, case in enumerate(CONV) for by in BY if by.marks or i % 4 == 1 or machine().bfloat16 != "avx512_bf16"]


@pytest.mark.parametrize("case, by", [pytest.param(case, *by.values, marks=by.marks, id=f"{case.name}-{by.id}") for case, by in EVERY])
def test_sums_products_of_rounded_factors(case: ConvCase, by: dict[str, str], poisoned_scratch: None) -> None:
    x, weight, bias = case.arrays("float32")
    with pretend(**by):
        for threads in (1, 2):
            plan = kernels.plan(case.op, x.shape, weight, bias, implementation=NAME, threads=threads, **PRECISION, **case.options)
            source, target = given(x), Guarded(plan.out_shape, "float32")
            plan(source.array, out=target.array)
            assert source.unchanged() and target.zones_untouched()
            check(case, target.array, x, weight, bias, 2 * rounding_bound(plan.problem))


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("groups, channels", [(1, 1), (1, 3), (1, 8), (2, 6), (3, 9), (4, 4)])
def test_channels_last(groups: int, channels: int, by: dict[str, str], poisoned_scratch: None) -> None:
    case = ConvCase("last", (9, 21), (3, 4), 2, channels, 4 * groups, (1, 2), ((1, 0), (2, 1)), (2, 1), groups)
    x, weight, bias = case.arrays("float32")
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1)), np.moveaxis(weight, (1, 0), (-2, -1))
    with pretend(**by):
        y = kernels.conv2d(*last, bias, layout="channels_last", implementation=NAME, **PRECISION, **case.options)
    check(case, np.moveaxis(y, -1, 1), x, weight, bias, 1e-6)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("length, padding, stride, dilation", [(30_000, 0, 1, 1), (9_001, 253, 4, 1), (20_000, 40, 3, 7), (5, 90, 1, 20)])
def test_a_long_line_of_one_channel(
    length: int, padding: int, stride: int, dilation: int, by: dict[str, str], poisoned_scratch: None
) -> None:
    """Pairs of columns, in several tasks a line, with more padding than input."""
    case = ConvCase("line", (length,), (8,), 1, 1, 5, (stride,), ((padding, padding + 1),), (dilation,), 1)
    x, weight, bias = case.arrays("float32")
    with pretend(**by):
        plan = kernels.plan("conv1d", x.shape, weight, bias, implementation=NAME, threads=2, **PRECISION, **case.options)
        assert paired(plan.problem).taps == 4
        check(case, plan(x), x, weight, bias, 1e-6)


@pytest.mark.parametrize("by", BY)
def test_every_variant(by: dict[str, str], poisoned_scratch: None) -> None:
    """Lanes along outputs, in rows and flat, and along output channels."""
    with pretend(**by):
        tiles = set()
        for case in CONV[:: max(1, len(CONV) // 12)]:
            x, weight, bias = case.arrays("float32")
            options: dict[str, Any] = {**PRECISION, **case.options}
            plan = kernels.plan(case.op, x.shape, weight, bias, implementation=NAME, **options)
            method = plan._descriptor.choice.implementation
            for variant in method.variants(plan.problem, 2):
                tiles.add(variant.split()[0])
                y = kernels.plan(case.op, x.shape, weight, bias, implementation=f"{NAME}:{variant}", **options)(x)
                check(case, y, x, weight, bias, 2 * rounding_bound(plan.problem))
        assert {"lines", "flat"} <= tiles


def test_rounding_of_hard_numbers() -> None:
    """Halfway to an even and to an odd one, to the next power of two, to infinity; NaN and infinities stay what they are."""
    bits = [0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x3FFFFFFF, 0xBF818000, 0x7F7F7FFF]
    x = np.array([*bits, 0x7F7F8000, 0x7F800001, 0xFFC00000, 0x7F800000], np.uint32).view(np.float32).reshape(1, 1, -1)
    one = np.ones((1, 1, 1), np.float32)
    y = kernels.conv1d(x, one, implementation=NAME, **PRECISION)[0, 0]
    finite = np.isfinite(x[0, 0])
    np.testing.assert_array_equal(y[finite], rounded(x[0, 0])[finite])
    assert np.isposinf(y[7]) and np.isnan(y[8:10]).all() and np.isposinf(y[10])


def test_is_taken_only_where_it_is_allowed_and_faster() -> None:
    pointwise, small = np.ones((256, 256, 1, 1), np.float32), np.ones((4, 1, 3, 3), np.float32)
    plain = kernels.plan("conv2d", (1, 256, 40, 40), pointwise)
    assert plain.implementation != NAME and plain.error_bound <= 1e-4
    assert f'{NAME}: it rounds factors, which precision="bfloat16" must allow' in plain.explain()
    assert kernels.plan("conv2d", (1, 256, 40, 40), pointwise, precision="float32").problem == plain.problem
    allowed = kernels.plan("conv2d", (1, 256, 40, 40), pointwise, **PRECISION)
    assert allowed.implementation == NAME and f"{NAME}: taken" in allowed.explain() and "pairs of bfloat16" in allowed.explain()
    assert 2**-7 < allowed.error_bound < 2**-7 * 1.01
    assert kernels.parse(str(allowed.problem)) == allowed.problem != plain.problem
    few = kernels.plan("conv2d", (1, 1, 40, 40), small, **PRECISION)
    assert few.implementation != NAME and few.error_bound <= 1e-4


def test_networks() -> None:
    """Of a whole sequence, or of one layer, with what follows done by the same method."""
    draw = np.random.default_rng(6)
    x, weight = draw.standard_normal((1, 64, 30, 40)).astype(np.float32), draw.standard_normal((64, 64, 1, 1)).astype(np.float32) / 8
    layers = [kernels.layer("conv2d", weight), kernels.layer("activation", "relu"), kernels.layer("conv2d", weight)]
    plain, rounding = kernels.sequence(layers, x.shape), kernels.sequence(layers, x.shape, **PRECISION)
    assert NAME not in plain.explain() and rounding.explain().count(NAME) == 2
    share = reference.share(rounding(x), plain(x).astype(np.float64))
    assert 1e-5 < share <= 0.03
    one = kernels.sequence([kernels.layer("conv2d", weight, **PRECISION), *layers[1:]], x.shape)
    assert one.explain().count(NAME) == 1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rounding))(x), rounding(x))


def test_refusals() -> None:
    x, weight = np.ones((1, 2, 9), np.float32), np.ones((2, 2, 3), np.float32)
    with pytest.raises(kernels.RefusedError, match="it rounds factors"):
        kernels.conv1d(x, weight, implementation=NAME)
    with pytest.raises(kernels.ProblemError, match=r"precision='bfloat16' is for float32 arrays.*float64; pass x.astype\(np.float32\)"):
        kernels.conv1d(x.astype(np.float64), weight.astype(np.float64), **PRECISION)
    with pytest.raises(kernels.ProblemError, match=r"precision is 'bfloat15', must be .*did you mean"):
        kernels.conv1d(x, weight, precision="bfloat15")
    with pytest.raises(TypeError, match="precision"):
        kernels.conv_transpose1d(x, weight, **PRECISION)  # type: ignore[arg-type]
    half = kernels.conv1d(x.astype(np.float16), weight.astype(np.float16), implementation=NAME, **PRECISION)
    assert half.dtype == np.float16 and (half == 6).all()
    with pretend(bfloat16=""):
        for name in ("auto", NAME, "direct"):
            with pytest.raises(kernels.RefusedError, match=r'needs a CPU with AVX512_BF16, which .* lacks; use "float32"'):
                kernels.conv1d(x, weight, implementation=name, **PRECISION)
        np.testing.assert_array_equal(kernels.conv1d(x, weight, precision="float32"), kernels.conv1d(x, weight))


MATRIX_CASES = [  # size, kernel, n, c_in, c_out, stride, padding, dilation, groups
    ((7, 40), (3, 3), 2, 64, 33, (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((9, 21), (2, 3), 1, 39, 70, (2, 3), ((1, 0), (2, 1)), (1, 2), 1),  # 20 pairs as two tens, the last half zeros
    ((31, 2), (3, 3), 1, 66, 17, (1, 1), ((1, 1), (1, 1)), (1, 1), 1),  # 33 pairs and three of zeros
    ((1, 300), (1, 5), 2, 12, 1, (1, 1), ((0, 0), (2, 2)), (1, 1), 1),
    ((1, 1), (1, 1), 40, 64, 48, (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((6, 50), (1, 3), 1, 96, 40, (1, 2), ((0, 0), (1, 1)), (1, 1), 2),
    ((1, 3000), (1, 64), 2, 1, 40, (1, 4), ((0, 0), (30, 33)), (1, 1), 1),  # kernel columns, by phase
    ((20, 90), (4, 16), 1, 1, 35, (3, 10), ((0, 1), (4, 2)), (1, 1), 1),  # kernel columns, of which a phase has uneven numbers
    ((1, 700), (1, 15), 1, 2, 20, (1, 1), ((0, 0), (7, 7)), (1, 3), 1),  # kernel columns of a pair of channels
]


@pytest.mark.parametrize("by", [BY[1], BY[3]])
@pytest.mark.parametrize("l2", [2 << 20, 24 << 10], ids=["whole", "resumed"])
@pytest.mark.parametrize("shape", MATRIX_CASES, ids=str)
def test_matrices(shape: tuple[Any, ...], l2: int, by: dict[str, str], poisoned_scratch: None) -> None:
    """Every layout that matrices have, also of a cache that holds few channels, so that sums are added to those of channels before."""
    case = ConvCase("matrices", *shape)
    x, weight, bias = case.arrays("float32")
    with pretend(**by, l2=l2):
        plan = kernels.plan(case.op, x.shape, weight, bias, implementation=NAME, **PRECISION, **case.options)
        names = [*plan._descriptor.choice.implementation.variants(plan.problem, 2), "lines 32x2 matrices"]
        ours = [name for name in names if name.endswith("matrices")]
        for name in ours:
            prepared = BFLOAT16.as_variant(name, "prepare").prepare(plan.problem, 2)
            assert "pairs of bfloat16 in matrices" in prepared.note
            y = np.full(plan.out_shape, np.nan, np.float32)
            prepared.pack(Operands(weight, bias))(x.reshape(plan.problem.x_shape), y.reshape(plan.problem.conv_shape))
            check(case, y, x, weight, bias, 2 * rounding_bound(plan.problem))


def test_vectors_where_the_system_does_not_permit_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.ones((256, 256, 1, 1), np.float32)
    with pretend(bfloat16="avx512_bf16", matrices="amx"):
        monkeypatch.setattr(system, "tiles_permitted", lambda: False)
        assert "in matrices" not in BFLOAT16.prepare(kernels.plan("conv2d", (1, 256, 40, 40), weight, **PRECISION).problem, 1).note


@AMX
def test_matrices_are_taken_for_large_layers_only() -> None:
    for size, channels, large in ((40, 256, True), (1, 256, False)):
        weight = np.ones((channels, channels, 1, 1), np.float32)
        plan = kernels.plan("conv2d", (1, channels, size, size), weight, implementation=NAME, **PRECISION)
        assert ("pairs of bfloat16 in matrices 16 deep" in plan.explain()) == large


PERMISSION = """
import os, threading, numpy as np, kernels
x, weight = np.ones((2, 64, 300, 20), np.float32), np.ones((64, 64, 3, 3), np.float32)
begun, asked, answers = threading.Event(), threading.Event(), []

def compute():
    return kernels.conv2d(x, weight, precision="bfloat16", implementation="direct_bfloat16", threads=2)

def early():
    begun.set()
    asked.wait()
    answers.append(compute())

kernels.conv2d(x, weight, threads=2)  # workers are there before the permission
thread = threading.Thread(target=early)
thread.start()
begun.wait()
answers.append(compute())
asked.set()
thread.join()
child = os.fork()
if child == 0:
    os._exit(0 if (compute() == 576).all() else 1)
assert os.waitpid(child, 0)[1] == 0
assert len(answers) == 2 and all((y == 576).all() for y in answers)
"""


@AMX
def test_threads_from_before_the_permission_and_forked_children_have_it() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", PERMISSION], check=True, timeout=PATIENCE)


@HARDWARE
def test_the_instruction_agrees_with_what_stands_in_for_it() -> None:
    draw = np.random.default_rng(8)
    x, weight = draw.standard_normal((2, 64, 20, 33)).astype(np.float32), draw.standard_normal((40, 64, 3, 3)).astype(np.float32)
    with pretend(matrices=""):
        by_instruction = kernels.conv2d(x, weight, implementation=NAME, **PRECISION)
    with pretend(**NUMBERS):
        stand_in = kernels.conv2d(x, weight, implementation=NAME, **PRECISION)
    assert reference.share(by_instruction, stand_in.astype(np.float64)) <= 2e-6

"""Every implementation of convolution on every named problem: right to its bound, and it touches nothing but its output.

Implementations are found in the registry; a new one is tested by being registered.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import pytest
import reference
from cases import CONV, PRECISION, ConvCase
from memory import Guarded, given

import kernels
from kernels import implementations
from kernels.dispatch.plan import Plan
from kernels.methods import load, registry
from kernels.runtime.machine import pretend

load()
NAMES = list(registry.every("conv"))
CASES = {case.name: case for case in CONV}
SPREADING = {"fft", "winograd"}  # methods that transform blocks: one NaN spoils its block
NAIVE_FLOPS = 400_000  # plain Python does some 5e6 a second: problems above this would take it more than a tenth of a second each time
CELLS = [(name, case) for name in NAMES for case in CONV if name != "naive" or case.flops <= NAIVE_FLOPS]
# problems on which each vector width is tried: edges after every lane count of 16, 32 and 64 bytes, and every kind of layer
WIDE = [
    "first_layer", "blocks_of_every_kind", "pointwise", "width_9", "width_17", "width_33", "channels_out_17", "width_17_stride_2",
    "groups_3_of_5_to_7", "depthwise_stride_2", "depthwise_dilated_1d", "tall_16x3", "wide_3x39", "padding_uneven",
    "images_share_a_job", "images_of_one_tile", "dilated_tiles", "dilated_tiles_1d", "dilated_tiles_of_one_column",
]  # fmt: skip

# those whose jobs turn arrays over in different ways: a map in one block and in several, strides, groups, channels left over
TURNED = [
    "first_layer", "inner_layer", "blocks_of_every_kind", "width_17_stride_2", "groups_3_of_5_to_7", "channels_in_17",
    "images_share_a_job", "line_of_whole_vectors", "depthwise_20_channels", "depthwise_multiplier_2", "depthwise_stride_2",
    "depthwise_wide_1d", "dilated_tiles",
]  # fmt: skip

# methods with the vector widths that they are tried at; naive and jit know no vectors
AT_WIDTHS = [
    (name, vector_bytes) for name in NAMES if name not in ("naive", "jit") for vector_bytes in (16, 32, 64)
    if vector_bytes == 64 or name not in PRECISION  # machine.py has bfloat16 at 64 bytes only
]  # fmt: skip


def options_of(case: ConvCase, name: str) -> dict[str, Any]:
    """What a method needs to be told to do a case."""
    return {**case.options, **PRECISION.get(name, {})}


@functools.cache
def answers(name: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The two reference answers to a case without its bias; read-only."""
    case = CASES[name]
    x, weight, _ = case.arrays(dtype)
    arguments = x, weight, None, case.stride, case.padding, case.dilation, case.groups
    results = reference.conv(*arguments), reference.conv_by_scipy(*arguments) if case.flops < 3e7 else reference.conv(*arguments)
    for result in results:
        result.flags.writeable = False
    return results


def bias_column(case: ConvCase, bias: np.ndarray) -> np.ndarray:
    return bias.astype(np.float64).reshape(-1, *(1 for _ in case.size))


def check(plan: Plan, case: ConvCase, dtype: str, x: np.ndarray, bias: np.ndarray | None) -> None:
    """One call into guarded, poisoned memory; compared with both references."""
    source, target = given(x), Guarded(plan.out_shape, dtype)
    result = plan(source.array, out=target.array)
    assert result is target.array
    assert source.unchanged(), "the input was written to"
    assert target.zones_untouched(), "something was written outside the output"
    for expected in answers(case.name, dtype):
        if bias is not None:
            expected = expected + bias_column(case, bias)
        assert result.shape == expected.shape
        # written so that NaN, which compares false with everything, fails
        assert reference.share(result, expected) <= plan.error_bound + reference.rounding(case.summands)


def prepared(name: str, case: ConvCase, weight: np.ndarray, bias: np.ndarray | None, dtype: str, threads: int) -> Plan | None:
    """The plan, or None where the implementation refuses, after checking that it refuses by the rules."""
    shape = case.n, case.c_in, *case.size
    if name in PRECISION and dtype != "float32":
        return None
    options = options_of(case, name)
    sentence = implementations(case.op, shape, weight, bias, dtype=dtype, **options)[name]
    if sentence is None:
        plan = kernels.plan(case.op, shape, weight, bias, dtype=dtype, implementation=name, threads=threads, **options)
        assert plan.implementation == name
        return plan
    assert isinstance(sentence, str) and len(sentence.split()) >= 3, f"{sentence!r} is no sentence"
    with pytest.raises(kernels.RefusedError) as refusal:
        kernels.plan(case.op, shape, weight, bias, dtype=dtype, implementation=name, threads=threads, **options)
    assert sentence in str(refusal.value) and name in str(refusal.value)
    return None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, case", CELLS, ids=[f"{name}-{case.name}" for name, case in CELLS])
def test_contract(name: str, case: ConvCase, dtype: str, poisoned_scratch: None) -> None:
    x, weight, bias = case.arrays(dtype)
    weights, biases = given(weight), given(bias)
    for threads in (1,) if name == "naive" else (1, 2):  # naive has no threads to tell apart
        for given_bias in (None, biases.array):
            plan = prepared(name, case, weights.array, given_bias, dtype, threads)
            if plan is None:
                return
            check(plan, case, dtype, x, given_bias)
            assert weights.unchanged() and biases.unchanged(), "weight or bias was written to"


@pytest.mark.parametrize("case", [CASES[name] for name in WIDE], ids=WIDE)
@pytest.mark.parametrize("name, vector_bytes", AT_WIDTHS)
def test_every_vector_width(name: str, case: ConvCase, vector_bytes: int, poisoned_scratch: None) -> None:
    for dtype in ("float32", "float64"):
        x, weight, bias = case.arrays(dtype)
        with pretend(vector_bytes=vector_bytes, registers=32 if vector_bytes == 64 else 16):
            plan = prepared(name, case, weight, bias, dtype, 2)
            if plan is not None:
                check(plan, case, dtype, x, bias)


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("case", [case for case in CONV if case.groups == case.c_in], ids=lambda case: case.name)
def test_every_layout_of_depthwise(case: ConvCase, vector_bytes: int, poisoned_scratch: None) -> None:
    """Planes where they lie, lanes along packed rows and along channels, whichever is estimated faster."""
    for dtype in ("float32", "float64"):
        x, weight, bias = case.arrays(dtype)
        with pretend(vector_bytes=vector_bytes, registers=32 if vector_bytes == 64 else 16):
            problem = kernels.plan(case.op, x.shape, weight, bias, dtype=dtype, implementation="depthwise", **case.options).problem
            others = registry.get(problem, "depthwise").variants(problem, 2)
            assert set(others) < {"rows", "stacks", "planes"}
            for name in ("depthwise", *(f"depthwise:{other}" for other in others)):
                plan = kernels.plan(case.op, x.shape, weight, bias, dtype=dtype, implementation=name, threads=2, **case.options)
                check(plan, case, dtype, x, bias)


@pytest.mark.parametrize("case", [CASES[name] for name in TURNED], ids=TURNED)
@pytest.mark.parametrize("name, vector_bytes", [each for each in AT_WIDTHS if registry.every("conv")[each[0]].prepare_last])
def test_channels_last_inside_a_job(name: str, case: ConvCase, vector_bytes: int, poisoned_scratch: None) -> None:
    """Methods that turn arrays over themselves, with and without a pool that they fuse."""
    for dtype in ("float32", "float64")[: 1 if name in PRECISION else 2]:
        x, weight, bias = case.arrays(dtype)
        source = given(np.ascontiguousarray(np.moveaxis(x, 1, -1)))
        for pool in (None, ("max", 2)):
            if pool and min(answers(case.name, dtype)[0].shape[2:]) < 2:
                continue
            options = {**options_of(case, name), "pool": pool, "implementation": name, "dtype": dtype}
            with pretend(vector_bytes=vector_bytes, registers=32 if vector_bytes == 64 else 16):
                if implementations(case.op, x.shape, weight, **options_of(case, name))[name]:
                    return
                first = kernels.plan(case.op, x.shape, weight, bias, **options)
                turned = np.moveaxis(weight, (1, 0), (-2, -1))
                last = kernels.plan(case.op, source.array.shape, turned, bias, layout="channels_last", **options)
            target = Guarded(last.out_shape, dtype)
            last(source.array, out=target.array)
            np.testing.assert_array_equal(np.moveaxis(target.array, -1, 1), first(x))
            assert source.unchanged() and target.zones_untouched()
            assert "channels last" in last.explain()
            as_they_lie = "output channels in lanes", "as they lie"  # lanes along channels turn nothing over
            assert any(words in last.explain() for words in as_they_lie) or last.workspace_bytes > first.workspace_bytes


@pytest.mark.parametrize("name", NAMES)
def test_is_able_at_all(name: str) -> None:
    """An implementation that refuses everything would pass everything."""
    able = []
    for case in CONV:
        _, weight, bias = case.arrays("float32")
        if implementations(case.op, (case.n, case.c_in, *case.size), weight, bias, **options_of(case, name))[name] is None:
            able.append(case.name)
    assert len(able) >= 3
    assert name not in ("naive", "jit") or len(able) == len(CONV), "the definition refuses nothing"


def usual(name: str, *others: str) -> tuple[ConvCase, Plan]:
    """The first two-dimensional case that the implementation takes, `others` before all, and its plan in float32."""
    for case in (*(CASES[other] for other in (*others, "inner_layer", "depthwise")), *CONV):
        if len(case.size) != 2 or case.n == 0:
            continue
        _, weight, bias = case.arrays("float32")
        plan = prepared(name, case, weight, bias, "float32", 2)
        if plan is not None:
            return case, plan
    raise AssertionError(f"{name} takes no case; add one that it takes")


@pytest.mark.parametrize("name", NAMES)
def test_a_view_as_output(name: str) -> None:
    """`out` need not be contiguous; what lies between its elements stays."""
    case, plan = usual(name, "padding_uneven")
    x, _, bias = case.arrays("float32")
    n, c, h, w = plan.out_shape
    whole = np.full((n, c, 2 * h, 3 * w), 7.0, np.float32)
    view = whole[:, :, ::2, 1::3]
    view[...] = np.nan
    assert plan(x, out=view) is view
    expected = answers(case.name, "float32")[0] + bias_column(case, bias)
    assert reference.share(view, expected) <= plan.error_bound
    view[...] = 7.0
    assert (whole == 7.0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", ["transposed", "reversed", "every_other", "unaligned", "big_endian"])
def test_inputs_in_any_memory_order(name: str, order: str) -> None:
    case, plan = usual(name)
    x, _, bias = case.arrays("float32")
    if order == "transposed":
        odd = np.ascontiguousarray(x.transpose(3, 1, 0, 2)).transpose(2, 1, 3, 0)
    elif order == "reversed":
        odd = np.ascontiguousarray(x[:, ::-1, :, ::-1])[:, ::-1, :, ::-1]
    elif order == "every_other":
        odd = np.repeat(x, 2, axis=3)[..., ::2]
    elif order == "unaligned":
        odd = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
        assert not odd.flags.aligned
    else:
        odd = x.astype(">f4")
    expected = answers(case.name, "float32")[0] + bias_column(case, bias)
    assert reference.share(plan(odd), expected) <= plan.error_bound


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_stay_local(name: str, value: float) -> None:
    """Only outputs whose window sees the value may show it; a method that transforms blocks may spoil more, if its docstring says so."""
    case, plan = usual(name)
    x, weight, bias = case.arrays("float32")
    clean = answers(case.name, "float32")[0] + bias_column(case, bias)
    docstring = str(sys.modules[registry.every("conv")[name].refuse.__module__].__doc__)  # the page of the method
    rows, columns = case.size
    for h, w in ((0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)):
        spoilt, mark = x.copy(), np.zeros(x.shape)
        spoilt[0, case.c_in // 2, h, w], mark[0, case.c_in // 2, h, w] = value, 1
        y = plan(spoilt)
        sees = reference.conv(mark, np.ones(weight.shape), None, case.stride, case.padding, case.dilation, case.groups) != 0
        assert sees.any() and not sees.all()
        assert not np.isfinite(y[sees]).any()
        if name not in SPREADING:
            assert reference.share(np.where(sees, 0, y), np.where(sees, 0, clean)) <= 2 * plan.error_bound
        else:
            assert "NaN" in docstring, "the docstring does not say how far NaN spreads"


@pytest.mark.parametrize("name", NAMES)
def test_heavy_tailed_values(name: str) -> None:
    """The bound is a share of the largest output; a few huge values among small ones must not break it."""
    case, plan = usual(name, "wide_3x39")
    draw = np.random.default_rng(3)
    shape = case.n, case.c_in, *case.size
    x = (draw.standard_normal(shape) * 10.0 ** draw.integers(-6, 6, shape)).astype(np.float32)
    _, weight, bias = case.arrays("float32")
    expected = reference.conv(x, weight, bias, case.stride, case.padding, case.dilation, case.groups)
    assert reference.share(plan(x), expected) <= plan.error_bound

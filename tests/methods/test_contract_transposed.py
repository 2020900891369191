"""Every implementation of transposed convolution on named problems, against sums scattered in float64."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import reference
from cases import PRECISION
from memory import Guarded, given

import kernels
from kernels import implementations
from kernels.dispatch.plan import Plan
from kernels.methods import load, registry
from kernels.methods.lowered import transposed, transposed_overlap

load()
Array = np.ndarray
NAMES = [name for name in registry.every("conv_transpose") if name not in PRECISION]  # transposed layers have no precision to give


@dataclasses.dataclass(frozen=True)
class Case:
    """A transposed layer of x (n, c_in, *size) with weight (c_in, c_out/groups, *kernel); one number per axis for the rest."""

    name: str
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    c_in: int = 2
    c_out: int = 3
    n: int = 1
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    more: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    @property
    def op(self) -> str:
        return f"conv_transpose{len(self.size)}d"

    @property
    def options(self) -> dict[str, Any]:
        """What follows weight and bias in a call; what the case leaves out is 1, or 0 where it adds."""
        ones, zeros = (1,) * len(self.size), (0,) * len(self.size)
        return {
            "stride": self.stride or ones, "padding": self.padding or tuple((0, 0) for _ in zeros), "output_padding": self.more or zeros,
            "dilation": self.dilation or ones, "groups": self.groups,
        }  # fmt: skip

    def arrays(self, dtype: str) -> tuple[Array, Array, Array]:
        draw = np.random.default_rng(zlib.crc32(self.name.encode()))
        shapes = (self.n, self.c_in, *self.size), (self.c_in, self.c_out // self.groups, *self.kernel), (self.c_out,)
        return tuple(draw.standard_normal(shape).astype(dtype) for shape in shapes)  # type: ignore[return-value]

    def expected(self, x: Array, weight: Array, bias: Array | None) -> Array:
        return reference.conv_transpose(x, weight, bias, **self.options)


ONE = (1, 1)
CASES = [
    Case("doubling_k4", (6, 9), (4, 4), stride=(2, 2), padding=(ONE, ONE)),
    Case("doubling_k5_same", (6, 9), (5, 5), stride=(2, 2), padding=((1, 2), (1, 2))),
    Case("doubling_k2", (5, 17), (2, 2), 3, 4, stride=(2, 2)),
    Case("doubling_k3", (5, 8), (3, 3), stride=(2, 2), padding=(ONE, ONE), more=(1, 1)),
    Case("doubling_many_channels", (4, 6), (5, 5), 8, 8, stride=(2, 2), padding=((1, 2), (1, 2))),
    Case("stride_1", (5, 9), (3, 3), 8, 9, padding=(ONE, ONE)),
    Case("stride_1_uncropped", (6, 11), (3, 4)),
    Case("stride_1_cropped_past_the_kernel", (9, 12), (3, 3), padding=((4, 3), (0, 5))),
    Case("quadrupling_1d", (37,), (8,), 8, 6, stride=(4,)),
    Case("frames_1d", (9,), (64,), 5, 1, stride=(16,), padding=((24, 24),)),
    Case("frames_far_apart_1d", (33,), (50,), 3, 2, stride=(20,), padding=((7, 5),)),
    Case("gaps_far_apart_1d", (5,), (3,), 2, 3, stride=(18,), more=(17,), n=2),
    Case("gaps_1d", (7,), (2,), stride=(5,), more=(4,)),
    Case("gaps_2d", (4, 5), (1, 2), stride=(3, 4), more=(2, 1), n=2),
    Case("strides_differ", (5, 6), (3, 4), stride=(1, 3), padding=((1, 0), (0, 2)), more=(0, 2)),
    Case("dilated", (5, 6), (3, 3), dilation=(2, 3)),
    Case("dilated_by_the_stride", (5, 6), (3, 3), stride=(2, 2), dilation=(2, 4), more=(1, 3)),
    Case("dilated_across_the_stride", (6, 9), (3, 4), stride=(2, 3), dilation=(3, 2), padding=((1, 2), (3, 0)), more=(2, 0)),
    Case("dilated_6_by_4_1d", (9,), (5,), stride=(4,), dilation=(6,), padding=((3, 1),), more=(5,)),
    Case("taps_far_apart", (3,), (3,), stride=(2,), dilation=(100_001,), padding=((100_000, 100_001),)),
    Case("no_tap_reaches", (1, 1, 2), (1, 1, 1), stride=(1, 1, 3), padding=((0, 0), (0, 0), (1, 1)), more=(0, 0, 0)),
    Case("groups", (4, 7), (3, 3), 4, 6, stride=(2, 2), groups=2),
    Case("depthwise", (5, 8), (4, 4), 3, 3, stride=(2, 2), padding=(ONE, ONE), groups=3),
    Case("depthwise_multiplier", (5, 8), (3, 3), 3, 6, stride=(2, 1), groups=3, n=2),
    Case("depthwise_wide", (7, 75), (5, 5), 4, 4, stride=(2, 2), padding=((2, 2), (2, 2)), more=(1, 1), groups=4),
    Case("depthwise_dilated", (6, 41), (3, 4), 3, 3, stride=(3, 2), padding=((1, 0), (2, 5)), dilation=(2, 3), groups=3),
    Case("depthwise_rows_apart", (9, 5), (2, 3), 2, 2, stride=(5, 1), groups=2, n=2),
    Case("depthwise_taps_beyond_the_input", (3, 2), (4, 7), 2, 2, stride=(2, 3), padding=((3, 2), (3, 4)), groups=2),
    Case("depthwise_1d", (70,), (6,), 3, 3, stride=(4,), padding=((1, 2),), groups=3),
    Case("depthwise_long", (60,), (19,), 2, 2, stride=(2,), padding=((3, 4),), groups=2),
    Case("batch", (3, 4), (3, 3), n=5, stride=(2, 2)),
    Case("batch_0", (3, 4), (3, 3), n=0, stride=(2, 2)),
    Case("one_number", (1,), (1,), 1, 1, stride=(7,)),
    Case("cropped_to_one", (2, 2), (3, 3), stride=(2, 2), padding=((2, 2), (1, 3))),
    Case("volume", (3, 4, 5), (3, 3, 2), stride=(2, 1, 3), padding=(ONE, ONE, (0, 1)), more=(1, 0, 2)),
    Case("volume_groups", (2, 3, 4), (2, 2, 2), 4, 4, stride=(2, 2, 2), groups=2, n=2),
]  # fmt: skip
CELLS = [(name, case) for name in NAMES for case in CASES]
IDS = [f"{name}-{case.name}" for name, case in CELLS]


def prepared(name: str, case: Case, weight: Array, bias: Array | None, dtype: str, **options: Any) -> Plan | None:
    """The plan, or None where the implementation refuses, after checking that it refuses by the rules."""
    shape, options = (case.n, case.c_in, *case.size), options | case.options
    sentence = implementations(case.op, shape, weight, bias, dtype=dtype, **options)[name]
    if sentence is None:
        return kernels.plan(case.op, shape, weight, bias, dtype=dtype, implementation=name, **options)
    with pytest.raises(kernels.RefusedError) as refusal:
        kernels.plan(case.op, shape, weight, bias, dtype=dtype, implementation=name, **options)
    assert sentence in str(refusal.value)
    return None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, case", CELLS, ids=IDS)
def test_contract(name: str, case: Case, dtype: str, poisoned_scratch: None) -> None:
    x, weight, bias = case.arrays(dtype)
    for given_bias in (None, bias):
        plan = prepared(name, case, weight, given_bias, dtype)
        if plan is None:
            return
        assert kernels.parse(str(plan.problem)) == plan.problem
        source, target = given(x), Guarded(plan.out_shape, dtype)
        result = plan(source.array, out=target.array)
        assert source.unchanged() and target.zones_untouched()
        expected = case.expected(x, weight, given_bias)
        assert result.shape == expected.shape
        assert reference.share(result, expected) <= plan.error_bound + reference.rounding(plan.problem.summands)


@pytest.mark.parametrize("name", NAMES)
def test_does_some_itself(name: str) -> None:
    able = [case for case in CASES if prepared(name, case, *case.arrays("float32")[1:], "float32") is not None]
    assert len(able) >= (2 if name in ("depthwise", "winograd") else 10)


SOME = [case for case in CASES if case.name in ("gaps_2d", "doubling_k5_same", "batch", "volume")]


@pytest.mark.parametrize("case", SOME, ids=lambda case: case.name)
@pytest.mark.parametrize("name", NAMES)
def test_epilogue(name: str, case: Case, poisoned_scratch: None) -> None:
    """Scale, shift, activation and pool equal the separate steps, also where no tap reaches an output."""
    x, weight, bias = case.arrays("float32")
    draw = np.random.default_rng(5)
    scale, shift = draw.standard_normal((2, case.c_out)).astype(np.float32)
    column = (-1, *(1 for _ in case.size))
    sums = case.expected(x, weight, bias)
    scaled = sums * scale.reshape(column) + shift.reshape(column)
    largest = max(1.0, float(np.abs(scale).max())) * float(np.abs(sums).max()) + 1
    for activation in (None, "relu", "tanh"):
        for pool in (None, ("avg", 2, 1)):
            plan = prepared(name, case, weight, bias, "float32", scale=scale, shift=shift, activation=activation, pool=pool)
            if plan is None:
                return
            expected = scaled if activation is None else reference.activate(scaled, activation)
            if pool:
                ones = (1,) * len(case.size)
                expected = reference.avg_pool(expected, (2,) * len(ones), ones, [(0, 0)] * len(ones), ones, False, True, None)
            assert float(np.abs(plan(x) - expected).max()) <= (plan.error_bound + 2e-6) * largest


UP_TO = [st.integers(1, largest) for largest in (6, 7, 5, 4)]  # size, kernel, stride, dilation
AXIS = st.tuples(*UP_TO, st.tuples(st.integers(0, 9), st.integers(0, 9)), st.integers(0, 4))  # crop, output_padding


@hypothesis.settings(max_examples=150)
@hypothesis.given(axes=st.tuples(AXIS, AXIS), groups=st.integers(1, 2), n=st.integers(1, 2))
def test_any_phases(axes: Any, groups: int, n: int) -> None:
    """Every way that kernel, stride, dilation and crop can meet, through the plainest method."""
    size, kernel, stride, dilation, padding, more = zip(*axes)
    more = tuple(min(m, max(s, d) - 1) for m, s, d in zip(more, stride, dilation))
    full = [(i - 1) * s + (k - 1) * d + 1 + m for i, k, s, d, m in zip(size, kernel, stride, dilation, more)]
    hypothesis.assume(all(sum(crop) < length for crop, length in zip(padding, full)))
    case = Case("any", size, kernel, 2, 2, n, stride, padding, more, dilation, groups)
    x, weight, bias = case.arrays("float64")
    y = kernels.conv_transpose2d(x, weight, bias, implementation="jit", threads=1, **case.options)
    assert reference.share(y, case.expected(x, weight, bias)) <= 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_images_go_some_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("batch", (3, 4), (3, 3), n=5, stride=(2, 2))
    x, weight, bias = case.arrays("float32")
    monkeypatch.setattr(transposed, "BUDGET", 2 * 3 * 7 * 9 * 4)
    plan = prepared(name, case, weight, bias, "float32")
    if plan is not None:
        if name != "naive":
            assert "2 images at a time" in plan.explain()
        assert reference.share(plan(x), case.expected(x, weight, bias)) <= plan.error_bound


PRODUCTS = [
    Case("products_of_columns", (5, 6), (3, 21), 3, 2, 3, padding=((1, 1), (0, 4))),
    Case("products_of_columns_strided", (4, 31), (3, 9), 4, 2, stride=(1, 3), padding=((2, 0), (3, 3)), more=(0, 2), groups=2),
    Case("products_of_all_taps", (5, 9), (4, 5), 3, 2, 2, stride=(2, 2), padding=((1, 2), (2, 0)), dilation=(1, 2), more=(1, 1)),
    Case("products_cropped", (7, 40), (2, 3), 2, 1, padding=((3, 2), (0, 5)), dilation=(2, 1)),
    Case("products_1d", (33,), (30,), 5, 1, 2, stride=(7,), padding=((3, 8),)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", PRODUCTS, ids=lambda case: case.name)
def test_products_are_added_where_they_overlap(case: Case, dtype: str, poisoned_scratch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transposed_overlap, "BETTER", 1e9)
    monkeypatch.setattr(transposed_overlap, "BUDGET", 1)  # image by image
    x, weight, bias = case.arrays(dtype)
    for given_bias, activation in ((None, None), (bias, "relu")):
        plan = prepared("direct", case, weight, given_bias, dtype, activation=activation)
        assert plan is not None and "added where they overlap" in plan.explain()
        target = Guarded(plan.out_shape, dtype)
        expected = case.expected(x, weight, given_bias)
        result = plan(x, out=target.array)
        assert target.zones_untouched()
        expected = expected if activation is None else expected.clip(0)
        assert reference.share(result, expected) <= plan.error_bound + reference.rounding(plan.problem.summands)


def test_it_is_the_adjoint_of_the_convolution() -> None:
    """<conv(a), b> = <a, conv_transpose(b)> with the same weights."""
    draw = np.random.default_rng(2)
    a, weight = draw.standard_normal((1, 3, 11, 14)), draw.standard_normal((4, 3, 3, 4))
    b = draw.standard_normal(kernels.conv2d(a, weight, None, 2, 1).shape)
    back = kernels.conv_transpose2d(b, weight, None, 2, 1, output_size=(11, 14))
    assert np.vdot(kernels.conv2d(a, weight, None, 2, 1), b) == pytest.approx(np.vdot(a, back))


def test_what_arguments_mean() -> None:
    draw = np.random.default_rng(3)
    x, weight = draw.standard_normal((2, 4, 5, 6)), draw.standard_normal((4, 3, 3, 5))
    y = kernels.conv_transpose2d(x, weight, None, 2, "same")
    assert y.shape == (2, 3, 10, 12)
    np.testing.assert_array_equal(y, kernels.conv_transpose2d(x, weight, None, 2, ((0, 1), (1, 2))))
    lower = kernels.conv_transpose2d(x, weight, None, 2, "same_lower")
    np.testing.assert_array_equal(lower, kernels.conv_transpose2d(x, weight, None, 2, ((1, 0), (2, 1))))
    assert kernels.conv_transpose2d(x, weight, None, 7, "same").shape == (2, 3, 35, 42)
    np.testing.assert_array_equal(kernels.conv_transpose2d(x, weight, None, 2, "valid"), kernels.conv_transpose2d(x, weight, None, 2))
    np.testing.assert_array_equal(
        kernels.conv_transpose2d(x, weight, None, 3, 1, output_size=(14, 19)), kernels.conv_transpose2d(x, weight, None, 3, 1, (1, 1))
    )
    flipped = kernels.conv_transpose2d(x, weight, None, 2, flip=True)
    np.testing.assert_array_equal(flipped, kernels.conv_transpose2d(x, weight[..., ::-1, ::-1], None, 2))
    np.testing.assert_array_equal(kernels.conv_transpose2d(x[0], weight, None, 2), kernels.conv_transpose2d(x, weight, None, 2)[0])


@pytest.mark.parametrize("groups", [1, 2])
def test_channels_last(groups: int) -> None:
    """Weights are (*kernel, C_in/groups, C_out), as in every other convolution."""
    draw = np.random.default_rng(4)
    x, weight = draw.standard_normal((2, 4, 5)), draw.standard_normal((4, 6 // groups, 3))
    grouped = weight.reshape(groups, 4 // groups, 6 // groups, 3)
    last = grouped.transpose(3, 1, 0, 2).reshape(3, 4 // groups, 6)
    y = kernels.conv_transpose1d(x.transpose(0, 2, 1), last, None, 2, groups=groups, layout="channels_last")
    np.testing.assert_allclose(y.transpose(0, 2, 1), kernels.conv_transpose1d(x, weight, None, 2, groups=groups), rtol=0, atol=1e-12)


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "output_padding": ({"stride": 2, "output_padding": 2}, "is 2, must be smaller than stride 2 or dilation 1; use at most 1"),
    "output_size": ({"stride": 2, "output_size": 14}, r"axis W: output_size is 14, must be 11 to 12"),
    "cropped_away": ({"padding": 4}, r"axis W: padding \(4, 4\) leaves nothing of the 7 outputs"),
    "channels": ({"weight": np.ones((3, 2, 3))}, "x has 4 channels but weight wants 3"),
    "groups": ({"groups": 3}, "4 input channels do not divide into groups=3"),
    "flat_padding": ({"padding": [1, 2]}, "flat list"),
    "negative": ({"output_padding": -1}, "output_padding is -1, must be at least 0"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    options, message = ERRORS[case]
    with pytest.raises(kernels.ProblemError, match=message):
        kernels.conv_transpose1d(**{"x": np.ones((1, 4, 5)), "weight": np.ones((4, 2, 3)), **options})

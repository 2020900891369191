"""Problems as values: they validate themselves, print, re-read themselves and count their own work."""

from __future__ import annotations

import dataclasses

import hypothesis
import hypothesis.strategies as st
import pytest
import reference

from kernels import Conv, Pool, ProblemError, parse
from kernels.problem.conv import ACTIVATIONS, same_padding

LAYER = Conv(
    "conv2d", 2, 6, (20, 33), (3, 5), (2, 1), ((1, 0), (2, 3)), (1, 2), "float32", c_out=9, groups=3, bias=True, scale=True,
    activation=("leaky_relu", 0.2), pool=("max", (2, 3), (2, 2)),
)  # fmt: skip
WINDOW = Pool("max_pool2d", 1, 4, (10, 12), (3, 2), (2, 2), ((1, 1), (0, 1)), (1, 2), "float64", ceil_mode=True, return_indices=True)


@pytest.mark.parametrize("problem", [LAYER, WINDOW], ids=["conv", "pool"])
def test_is_a_value(problem: Conv | Pool) -> None:
    same = dataclasses.replace(problem)
    assert same == problem and hash(same) == hash(problem) and same is not problem
    assert dataclasses.replace(problem, n=7) != problem
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.n = 3  # type: ignore[misc]


def test_prints_every_part() -> None:
    assert str(LAYER) == "conv2d n2 c6 20x33 -> c9 k3x5 s2x1 p1+0x2+3 d1x2 g3 bias scale leaky_relu:0.2 pool:max:2x3:2x2 float32"
    assert str(WINDOW) == "max_pool2d n1 c4 10x12 -> k3x2 s2x2 p1+1x0+1 d1x2 ceil indices float64"


small = st.integers(1, 9)
pair = st.tuples(small, small)


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    groups = draw(st.integers(1, 3))
    kernel, dilation = draw(pair), draw(pair)
    size = tuple((k - 1) * d + draw(small) for k, d in zip(kernel, dilation))
    padding = tuple(draw(st.tuples(st.integers(0, 4), st.integers(0, 4))) for _ in range(2))
    activation = draw(st.none() | st.tuples(st.sampled_from(ACTIVATIONS), st.floats(0, 1)))
    pool = draw(st.none() | st.just(("avg", (1, 1), (2, 3))))
    return Conv(
        draw(st.sampled_from(["conv1d", "conv2d"])), draw(st.integers(0, 4)), groups * draw(small), size, kernel, draw(pair), padding,
        dilation, draw(st.sampled_from(["float32", "float64"])), c_out=groups * draw(small), groups=groups, bias=draw(st.booleans()),
        scale=draw(st.booleans()), activation=activation, pool=pool,
    )  # fmt: skip


@st.composite
def poolings(draw: st.DrawFn) -> Pool:
    kernel, dilation = draw(pair), draw(pair)
    size = tuple((k - 1) * d + draw(small) for k, d in zip(kernel, dilation))
    padding = tuple(draw(st.tuples(*(2 * [st.integers(0, (k - 1) * d)]))) for k, d in zip(kernel, dilation))
    kind = draw(st.sampled_from(["max", "avg"]))
    return Pool(
        f"{kind}_pool2d", draw(st.integers(0, 4)), draw(small), size, kernel, draw(pair), padding, dilation,
        draw(st.sampled_from(["float32", "float64"])), ceil_mode=draw(st.booleans()), count_include_pad=draw(st.booleans()),
        divisor_override=draw(st.none() | st.integers(1, 9)), return_indices=draw(st.booleans()),
    )  # fmt: skip


@hypothesis.given(convolutions() | poolings())
def test_re_reads_itself(problem: Conv | Pool) -> None:
    assert parse(str(problem)) == problem
    assert "\n" not in str(problem)


@hypothesis.given(poolings())
def test_windows_counted_as_the_reference_counts_them(problem: Pool) -> None:
    windows = reference.pool_size(problem.size, problem.kernel, problem.stride, problem.padding, problem.dilation, problem.ceil_mode)
    assert problem.out_size == windows


@hypothesis.given(size=st.integers(1, 60), kernel=st.integers(1, 12), stride=st.integers(1, 7), dilation=st.integers(1, 4))
def test_same_gives_one_output_per_stride(size: int, kernel: int, stride: int, dilation: int) -> None:
    """ceil(size / stride) outputs with the least padding that does it, the odd one after, or before."""
    before, after = same_padding(size, kernel, stride, dilation)
    assert (after, before) == same_padding(size, kernel, stride, dilation, lower=True)
    assert after - before in (0, 1)
    layer = Conv("conv1d", 1, 1, (1, size), (1, kernel), (1, stride), ((0, 0), (before, after)), (1, dilation), "float32", c_out=1)
    assert layer.out_shape[-1] == -(-size // stride)
    if before + after:
        assert (size + before + after - 1 - (kernel - 1) * dilation - 1) // stride + 1 < -(-size // stride)


@pytest.mark.parametrize("text", [
    "", "conv2d", "conv2d n1 c1 -> c4", "hello -> world", "conv2d n1 c1 5x5 -> c1 k3x3 s1x1 p0+0x0+0 d1x1 gX float32",
    "max_pool2d n1 c1 5x5 -> k3x3 s1x1 p0x0 d1x1 float32",
])  # fmt: skip
def test_other_text_is_no_problem(text: str) -> None:
    with pytest.raises(ProblemError, match="not a problem"):
        parse(text)


def test_counts_its_work() -> None:
    layer = Conv("conv2d", 2, 4, (5, 6), (3, 2), (1, 2), ((1, 1), (0, 0)), (1, 1), "float32", c_out=6, groups=2, bias=True)
    assert layer.x_shape == (2, 4, 5, 6) and layer.weight_shape == (6, 2, 3, 2) and layer.out_shape == (2, 6, 5, 3)
    assert layer.summands == 2 * 3 * 2
    assert layer.flops == 2 * (2 * 6 * 5 * 3) * 12
    assert layer.compulsory_bytes == 4 * (2 * 4 * 5 * 6 + 6 * 2 * 3 * 2 + 6 + 2 * 6 * 5 * 3)
    pooled = dataclasses.replace(layer, pool=("max", (2, 3), (2, 3)), dtype="float64")
    assert pooled.out_shape == (2, 6, 2, 1) and pooled.conv_shape == (2, 6, 5, 3)
    assert pooled.compulsory_bytes == 8 * (2 * 4 * 5 * 6 + 6 * 2 * 3 * 2 + 6 + 2 * 6 * 2 * 1)
    assert pooled.bare() == dataclasses.replace(layer, dtype="float64")
    assert pooled.bare().is_bare and not pooled.is_bare
    window = Pool("max_pool2d", 1, 3, (8, 9), (2, 3), (2, 3), ((0, 0), (0, 0)), (1, 1), "float32", return_indices=True)
    assert window.out_shape == (1, 3, 4, 3) and window.kind == "max" and window.flops == 3 * 4 * 3 * 6
    assert window.compulsory_bytes == 4 * 3 * 8 * 9 + 3 * 4 * 3 * (4 + 8)


WRONG = {
    "c_in=0": ({"c_in": 0}, "channels is 0, must be at least 1"),
    "c_out=0": ({"c_out": 0}, "output channels is 0, must be at least 1"),
    "groups=0": ({"groups": 0}, "groups is 0, must be at least 1"),
    "groups=4": ({"groups": 4}, r"6 input channels do not divide into groups=4 \(6 % 4 = 2\)"),
    "groups=2": ({"groups": 2}, r"9 output channels do not divide into groups=2 \(9 % 2 = 1\)"),
    "n=-1": ({"n": -1}, "batch is -1, must be at least 0"),
    "no_width": ({"size": (20, 0)}, "axis W: input is 0, must be at least 1"),
    "kernel=0": ({"kernel": (0, 5)}, "axis H: kernel is 0, must be at least 1"),
    "stride=0": ({"stride": (2, 0)}, "axis W: stride is 0, must be at least 1"),
    "dilation=0": ({"dilation": (0, 1)}, "axis H: dilation is 0, must be at least 1"),
    "padding=-1": ({"padding": ((0, 0), (0, -1))}, "axis W: padding is -1, must be at least 0"),
    "too_short": ({"size": (20, 3)}, r"axis W: input 3 \+ padding \(2, 3\) is shorter than the dilated kernel 9 \(kernel 5, dilation 2\)"),
    "dtype": ({"dtype": "float16"}, "dtype 'float16' is not computed; use one of float32, float64"),
    "activation": ({"activation": ("swish", 0.0)}, "activation 'swish' is not known; use one of relu"),
    "axes": ({"stride": (1,)}, "1 entries for 2 spatial axes"),
    "pool": ({"pool": ("max", (99, 1), (1, 1))}, "axis H: input 10 .* shorter than the dilated kernel 99"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_what_makes_no_layer_is_said_with_its_arithmetic(changes: dict, message: str) -> None:
    with pytest.raises(ProblemError, match=message) as wrong:
        dataclasses.replace(LAYER, **changes)
    assert isinstance(wrong.value, ValueError)
    assert "pool" in changes or str(wrong.value).startswith("conv2d: ")


def test_pooling_that_would_see_only_padding() -> None:
    with pytest.raises(ProblemError, match=r"axis W: padding \(0, 3\) reaches past the whole dilated kernel 3"):
        dataclasses.replace(WINDOW, padding=((1, 1), (0, 3)))
    with pytest.raises(ProblemError, match="divisor_override is 0, must not be 0"):
        Pool("avg_pool2d", 1, 1, (4, 4), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), "float32", divisor_override=0)

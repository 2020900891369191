"""What convolution and pooling are, as properties of random problems, for every implementation that takes them."""

from __future__ import annotations

import dataclasses
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import reference
import scipy.signal
from cases import PRECISION

import kernels
from kernels import implementations
from kernels.methods import load, registry

load()
CONVS, POOLS = [name for name in registry.every("conv") if name not in PRECISION], list(registry.every("pool"))
FASTER = [name for name in CONVS if name != "naive"]  # what equals the definition has its other properties
Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Layer:
    """A random small layer and the seed of its values."""

    n: int
    ins: int  # input channels of one group
    outs: int
    groups: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    more: tuple[int, int]  # positions beyond the least size
    seed: int

    @property
    def x_shape(self) -> tuple[int, ...]:
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation)]
        return self.n, self.ins * self.groups, *(max(1, s - sum(p)) + m for s, p, m in zip(spans, self.padding, self.more))

    @property
    def options(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def x(self, salt: int = 0) -> Array:
        return np.random.default_rng([self.seed, salt]).standard_normal(self.x_shape)

    def weight(self, salt: int = 1) -> Array:
        return np.random.default_rng([self.seed, salt]).standard_normal((self.outs * self.groups, self.ins, *self.kernel))


up_to = st.integers
SMALL = st.builds(
    Layer, n=up_to(1, 2), ins=st.sampled_from([1, 1, 1, 2, 3, 5]), outs=up_to(1, 9), groups=up_to(1, 3),
    kernel=st.tuples(up_to(1, 5), up_to(1, 12)), stride=st.tuples(up_to(1, 3), up_to(1, 4)), dilation=st.tuples(up_to(1, 3), up_to(1, 4)),
    padding=st.tuples(st.tuples(up_to(0, 4), up_to(0, 4)), st.tuples(up_to(0, 9), up_to(0, 9))),
    more=st.tuples(up_to(0, 7), up_to(0, 40)), seed=up_to(0, 2**31),
)  # fmt: skip
# both sides eight channels or more, steps of one: what methods that transform ask for
WIDE = st.builds(
    Layer, n=up_to(1, 2), ins=up_to(8, 9), outs=up_to(8, 10), groups=st.just(1),
    kernel=st.sampled_from([(3, 3), (3, 3), (1, 3), (3, 1), (5, 5), (2, 4)]), stride=st.just((1, 1)), dilation=st.just((1, 1)),
    padding=st.tuples(st.tuples(up_to(0, 2), up_to(0, 2)), st.tuples(up_to(0, 4), up_to(0, 4))),
    more=st.tuples(up_to(0, 9), up_to(0, 20)), seed=up_to(0, 2**31),
)  # fmt: skip
LAYERS = SMALL | WIDE
BOUND = 1e-10  # float64 throughout: a mistake is of the order of one, rounding of 1e-14


def able(name: str, layer: Layer) -> None:
    """Skip the example where the implementation refuses."""
    sentence = implementations("conv2d", layer.x_shape, layer.weight(), dtype="float64", **layer.options)[name]
    hypothesis.assume(sentence is None)


@pytest.mark.parametrize("name", CONVS)
@hypothesis.given(layer=LAYERS)
def test_any_layer_equals_the_definition(name: str, layer: Layer) -> None:
    able(name, layer)
    expected = reference.conv(layer.x(), layer.weight(), None, layer.stride, layer.padding, layer.dilation, layer.groups)
    for dtype in (np.float32, np.float64):
        x, weight = layer.x().astype(dtype), layer.weight().astype(dtype)
        y = kernels.conv2d(x, weight, implementation=name, **layer.options)
        assert y.shape == expected.shape
        assert reference.share(y, expected) <= (1e-4 if dtype == np.float32 else BOUND)


@pytest.mark.parametrize("name", FASTER)
@hypothesis.given(layer=LAYERS, a=st.floats(-3, 3), b=st.floats(-3, 3))
@hypothesis.settings(max_examples=10)
def test_linear_in_input_and_in_weight(name: str, layer: Layer, a: float, b: float) -> None:
    able(name, layer)

    def conv(x: Array, weight: Array) -> Array:
        return kernels.conv2d(x, weight, implementation=name, **layer.options)

    x, other_x, weight, other = layer.x(0), layer.x(2), layer.weight(1), layer.weight(3)
    largest = 1 + 10 * np.abs(weight).sum()
    both = a * conv(x, weight) + b * conv(other_x, weight)
    np.testing.assert_allclose(conv(a * x + b * other_x, weight), both, rtol=0, atol=BOUND * largest)
    both = a * conv(x, weight) + b * conv(x, other)
    np.testing.assert_allclose(conv(x, a * weight + b * other), both, rtol=0, atol=BOUND * largest)


@pytest.mark.parametrize("name", FASTER)
@hypothesis.given(layer=LAYERS, rows=st.integers(0, 3), columns=st.integers(0, 5))
@hypothesis.settings(max_examples=15)
def test_the_output_moves_with_the_input(name: str, layer: Layer, rows: int, columns: int) -> None:
    """An input moved by whole strides gives an output moved by as many positions, wherever it does not see an edge."""
    able(name, layer)
    x = layer.x()
    down, right = rows * layer.stride[0], columns * layer.stride[1]
    margins = [(p[0] + (k - 1) * d, p[1] + (k - 1) * d) for p, k, d in zip(layer.padding, layer.kernel, layer.dilation)]
    wide = np.pad(x, ((0, 0), (0, 0), (margins[0][0], margins[0][1] + down), (margins[1][0], margins[1][1] + right)))
    moved = np.roll(wide, (down, right), axis=(2, 3))  # what is rolled in are zeros
    options = layer.options | {"padding": 0}
    hypothesis.assume(implementations("conv2d", wide.shape, layer.weight(), dtype="float64", **options)[name] is None)
    y, z = (kernels.conv2d(v, layer.weight(), implementation=name, **options) for v in (wide, moved))
    largest = 1 + np.abs(y).max()
    kept = y[:, :, : y.shape[2] - rows, : y.shape[3] - columns]
    np.testing.assert_allclose(z[:, :, rows:, columns:], kept, rtol=0, atol=BOUND * largest)
    assert np.abs(z[:, :, :rows]).max(initial=0) <= BOUND * largest and np.abs(z[:, :, :, :columns]).max(initial=0) <= BOUND * largest


@pytest.mark.parametrize("name", FASTER)
@hypothesis.given(layer=LAYERS, depthwise=st.booleans())
@hypothesis.settings(max_examples=10)
def test_a_delta_kernel_reproduces_the_input(name: str, layer: Layer, depthwise: bool) -> None:
    """One filter per channel, with a one at (kh, kw) in its own channel's kernel and "full" padding: x appears there."""
    kh, kw = layer.kernel[0] // 2, layer.kernel[1] // 3
    x = layer.x()
    channels = x.shape[1]
    weight = np.zeros((channels, 1 if depthwise else channels, *layer.kernel))
    weight[range(channels), 0 if depthwise else range(channels), kh, kw] = 1
    spans = [(k - 1) * d for k, d in zip(layer.kernel, layer.dilation)]
    before = kh * layer.dilation[0], kw * layer.dilation[1]
    padding = [(b, s - b) for b, s in zip(before, spans)]
    options: dict[str, Any] = {"padding": padding, "dilation": layer.dilation, "groups": channels if depthwise else 1}
    hypothesis.assume(implementations("conv2d", x.shape, weight, dtype="float64", **options)[name] is None)
    np.testing.assert_allclose(kernels.conv2d(x, weight, implementation=name, **options), x, rtol=0, atol=BOUND)


@pytest.mark.parametrize("name", FASTER)
@hypothesis.given(
    channels=st.sampled_from([1, 8]), kernel=st.just((3, 3)) | st.tuples(up_to(1, 5), up_to(1, 9)),
    more=st.tuples(up_to(0, 9), up_to(0, 30)), seed=up_to(0, 2**31),
)  # fmt: skip
@hypothesis.settings(max_examples=15)
def test_flip_is_scipy_convolve(name: str, channels: int, kernel: tuple[int, int], more: tuple[int, int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((1, channels, kernel[0] + more[0], kernel[1] + more[1]))
    weight = draw.standard_normal((channels, channels, *kernel))
    hypothesis.assume(implementations("conv2d", x.shape, weight, dtype="float64")[name] is None)
    y = kernels.conv2d(x, weight, flip=True, implementation=name)
    for j in range(channels):
        parts = [scipy.signal.convolve(x[0, c], weight[j, c], mode="valid", method="direct") for c in range(channels)]
        np.testing.assert_allclose(y[0, j], sum(parts), rtol=0, atol=BOUND)


PLANES = st.tuples(up_to(1, 2), up_to(1, 3), up_to(5, 12), up_to(5, 40), up_to(0, 2**31))
WINDOWS = st.tuples(up_to(1, 4), up_to(1, 5))


def plane(drawn: tuple[int, ...]) -> Array:
    return np.random.default_rng(drawn[-1]).standard_normal(drawn[:4])


@pytest.mark.parametrize("name", POOLS)
@hypothesis.given(drawn=PLANES, window=WINDOWS, stride=WINDOWS, ceil=st.booleans(), data=st.data())
def test_any_pool_equals_the_definition(name: str, drawn: Any, window: Any, stride: Any, ceil: bool, data: st.DataObject) -> None:
    x = np.round(2 * plane(drawn))
    padding = tuple((data.draw(up_to(0, k // 2)), data.draw(up_to(0, k // 2))) for k in window)
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil}
    hypothesis.assume(implementations("max_pool2d", x.shape, window, dtype="float64", **options)[name] is None)
    maxima, _ = reference.max_pool(x, window, stride, padding, (1, 1), ceil)
    np.testing.assert_array_equal(kernels.max_pool2d(x, window, implementation=name, **options), maxima)
    hypothesis.assume(implementations("avg_pool2d", x.shape, window, dtype="float64", **options)[name] is None)
    averages = reference.avg_pool(x, window, stride, padding, (1, 1), ceil, True, None)
    np.testing.assert_allclose(kernels.avg_pool2d(x, window, implementation=name, **options), averages, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", POOLS)
@hypothesis.given(drawn=PLANES, window=WINDOWS)
@hypothesis.settings(max_examples=10)
def test_max_pooling_keeps_order(name: str, drawn: Any, window: Any) -> None:
    """Pooling a pooled map with windows of one changes nothing; larger in, larger out; ReLU may come before or after."""
    x = plane(drawn)
    y = kernels.max_pool2d(x, window, implementation=name)
    np.testing.assert_array_equal(kernels.max_pool2d(y, 1, implementation=name), y)
    raised = kernels.max_pool2d(x + np.abs(plane((*drawn[:4], drawn[4] + 1))), window, implementation=name)
    assert (raised >= y).all()
    np.testing.assert_array_equal(kernels.max_pool2d(np.maximum(x, 0), window, implementation=name), np.maximum(y, 0))
    np.testing.assert_array_equal(kernels.max_pool2d(np.repeat(y, 2, axis=3), (1, 2), implementation=name), y)


@pytest.mark.parametrize("name", POOLS)
@hypothesis.given(drawn=PLANES, window=WINDOWS, stride=WINDOWS)
@hypothesis.settings(max_examples=10)
def test_averages_are_convolutions_with_a_constant(name: str, drawn: Any, window: Any, stride: Any) -> None:
    x = plane(drawn)
    constant = np.full((x.shape[1], 1, *window), 1 / (window[0] * window[1]))
    y = kernels.avg_pool2d(x, window, stride, implementation=name)
    np.testing.assert_allclose(y, kernels.conv2d(x, constant, stride=stride, groups=x.shape[1]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", POOLS)
@hypothesis.given(drawn=PLANES)
@hypothesis.settings(max_examples=10)
def test_global_is_the_window_over_everything(name: str, drawn: Any) -> None:
    x = plane(drawn)
    np.testing.assert_array_equal(kernels.global_max_pool(x, implementation=name), kernels.max_pool2d(x, x.shape[2:], implementation=name))
    np.testing.assert_array_equal(kernels.global_avg_pool(x, implementation=name), kernels.avg_pool2d(x, x.shape[2:], implementation=name))
    np.testing.assert_array_equal(kernels.global_max_pool(x, implementation=name), x.max(axis=(2, 3), keepdims=True))

"""Padding that keeps sizes, and receptive fields against what perturbing an input shows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import kernels
from kernels import receptive_field, same_padding


@pytest.mark.parametrize("lower", [False, True])
def test_same_padding_gives_what_same_gives(lower: bool) -> None:
    for n, k, s, d in itertools.product((5, 8, 13), (1, 2, 3, 6), (1, 2, 5), (1, 2)):
        x, weight = np.arange(1.0, n + 1).reshape(1, 1, n), np.arange(1.0, k + 1).reshape(1, 1, k)
        padding = same_padding(n, k, s, d, lower=lower)
        y = kernels.conv1d(x, weight, padding=padding, stride=s, dilation=d)
        assert y.shape[-1] == -(-n // s)
        expected = kernels.conv1d(x, weight, padding="same_lower" if lower else "same", stride=s, dilation=d)
        np.testing.assert_array_equal(y, expected)


def test_same_padding_per_axis() -> None:
    assert same_padding((10, 7), (4, 3), (1, 2), lower=False) == ((1, 2), (1, 1))
    assert same_padding((10, 10, 10), 3) == ((1, 1),) * 3
    for bad in ((0, 3), (5, 0), (5, 3, 0), (5, 3, 1, 0), (5, (3, 3)), (5, 1.5)):
        with pytest.raises(kernels.ProblemError, match="same_padding: "):
            same_padding(*bad)  # type: ignore[arg-type]


def seen(layers: list[dict[str, Any]], n: int, output: int) -> np.ndarray:
    """Input positions on which an output of a stack of positive convolutions depends."""
    found = []
    for i in range(n):
        y = np.zeros((1, 1, n))
        y[0, 0, i] = 1
        for layer in layers:
            options = {key: value for key, value in layer.items() if key not in ("kernel_size", "transposed")}
            function = kernels.conv_transpose1d if layer.get("transposed") else kernels.conv1d
            y = function(y, np.ones((1, 1, layer["kernel_size"])), **options)
        if y[0, 0, output]:
            found.append(i)
    return np.array(found)


STACKS = [
    [{"kernel_size": 3}, {"kernel_size": 2, "stride": 2}, {"kernel_size": 5, "dilation": 2, "padding": 4}],
    [{"kernel_size": 4, "stride": 3, "padding": 2}, {"kernel_size": 3, "padding": "same"}],
    [{"kernel_size": 3, "dilation": 4, "padding": [(5, 0)]}, {"kernel_size": 3, "stride": 2, "padding": "same"}, {"kernel_size": 2}],
]


@pytest.mark.parametrize("layers", STACKS)
def test_receptive_field_is_what_an_output_sees(layers: list[dict[str, Any]]) -> None:
    n, output = 60, 9
    for depth in range(1, len(layers) + 1):
        field = receptive_field(layers, size=n)[depth - 1]
        positions = seen(layers[:depth], n, output)
        first = field.start[0] + output * field.stride[0]
        assert (positions[0], positions[-1]) == (first, first + field.size[0] - 1)
        assert field.centre[0] == field.start[0] + (field.size[0] - 1) / 2


UP: dict[str, Any] = {"transposed": True}
UPWARD: list[list[dict[str, Any]]] = [
    [UP | {"kernel_size": 4, "stride": 2, "padding": 1}, {"kernel_size": 3, "padding": 1}],
    [{"kernel_size": 3, "stride": 2}, UP | {"kernel_size": 5, "stride": 3, "dilation": 2, "padding": [(1, 4)]}, {"kernel_size": 2}],
    [UP | {"kernel_size": 3, "stride": 3, "padding": "same"}, {"kernel_size": 6, "stride": 3, "padding": "same"}],
    [UP | {"kernel_size": 8, "stride": 4, "padding": "same_lower"}],
]


@pytest.mark.parametrize("layers", UPWARD)
def test_receptive_field_of_transposed_layers(layers: list[dict[str, Any]]) -> None:
    """No output sees past its field, and over the phases of the stride some reach either end to within less than a position."""
    n, first, outputs = 40, 16, 12
    field = receptive_field(layers, size=n)[-1]
    ends = []
    for output in range(first, first + outputs):
        positions = seen(layers, n, output)
        start = field.start[0] + output * field.stride[0]
        ends.append((positions[0] - start, start + field.size[0] - 1 - positions[-1]))
    assert np.min(ends) > -1e-9 and all(side < 1 for side in np.min(ends, axis=0))
    problem = kernels.parse("conv_transpose1d n1 c1 1x40 -> c1 k1x8 s1x4 p0+0x2+2 d1x1 g1 o0x0 float32")
    assert receptive_field([problem])[-1] == receptive_field([UPWARD[-1][0]])[-1]
    assert receptive_field([problem])[-1].stride == (0.25,)


def test_published_numbers() -> None:
    """Table 1 of Araujo et al.: receptive field and effective stride of AlexNet v2's conv5 and VGG-16's last pool."""
    alexnet = [(11, 4), (3, 2), (5, 1, 1, 2), (3, 2), (3, 1, 1, 1), (3, 1, 1, 1), (3, 1, 1, 1), (3, 2)]
    last = receptive_field(alexnet)[-1]
    assert (last.size, last.stride) == ((195,), (32,))
    vgg = [layer for convs in (2, 2, 3, 3, 3) for layer in [*[(3, 1, 1, 1)] * convs, (2, 2)]]
    last = receptive_field(vgg)[-1]
    assert (last.size, last.stride) == ((212,), (32,))


def test_every_form_of_a_layer() -> None:
    forms: list[Any] = [((3, 7), (1, 2), 1, "same"), {"kernel_size": (3, 7), "stride": (1, 2), "padding": "same"}]
    plan = kernels.plan("conv2d", (1, 1, 40, 60), np.ones((2, 1, 3, 7), np.float32), stride=(1, 2), padding="same", implementation="naive")
    results = [receptive_field([form, (2, 2)], size=(40, 60)) for form in [*forms, plan.problem]]
    assert results[0] == results[1] == results[2]
    assert results[0][-1].size == (4, 9) and results[0][-1].stride == (2, 4)
    pooled = kernels.parse("conv1d n1 c1 1x64 -> c2 k1x3 s1x1 p0+0x1+1 d1x1 g1 pool:max:1x4:1x4 float32")
    assert receptive_field([pooled]) == receptive_field([(3, 1, 1, 1), (4, 4)])[-1:]


def test_units() -> None:
    """Frames of 1024 samples, 256 apart, at 16 kHz; bins of 15.625 Hz. Three frames span 2 hops and a window."""
    (field,) = receptive_field([((5, 3), 1, 1, (2, 1))], hop=256, sample_rate=16000, window=1024, bin_hz=15.625)
    assert field.seconds == pytest.approx(((2 * 256 + 1024) / 16000, 0.016, -0.016, 0.0))
    assert field.hertz == pytest.approx((5 * 15.625, 15.625, -2 * 15.625, 0.0))
    (turned,) = receptive_field([((3, 5), 1, 1, (1, 2))], hop=256, sample_rate=16000, window=1024, axes=("time", "frequency"))
    assert turned.seconds == field.seconds and turned.hertz is None
    (raw,) = receptive_field([(400, 160)], hop=1, sample_rate=16000)
    assert raw.seconds is not None and (raw.seconds.size, raw.seconds.stride) == (0.025, 0.01)


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [([(3, 2, 1, "same")], {}, "pass size="), ([3], {}, "layer 3 must be"), ([{"kernel": 3}], {}, "must have kernel_size"),
     ([(3, 0)], {}, "stride is .0,."), ([((3, 3), (1, 1, 1))], {}, "stride has 3 numbers"), ([(9,)], {"size": 5}, "does not fit size"),
     ([(3,)], {"hop": 256}, "seconds need hop"), ([(3,)], {"bin_hz": 10.0}, "have no 'frequency'"),
     ([((3, 3),)], {"axes": ["time"]}, "name each")],
)  # fmt: skip
def test_receptive_field_refuses(layers: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(kernels.ProblemError, match=message):
        receptive_field(layers, **options)

"""Short-time Fourier transforms in a graph: convolutions that are one are found whatever their order and signs, others stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.fourier import fourier
from kernels.network.graph import Graph
from kernels.network.model import Model

Array = np.ndarray
METHOD = "spectra of frames"


def rows(length: int, taps: int, *, paired: bool = False, conjugate: bool = False, lead: int | None = None) -> Array:
    """Windowed cosines and sines, (2 (length / 2 + 1), taps)."""
    lead = (length - taps) // 2 if lead is None else lead
    window = 0.01 + np.hanning(taps + 1)[:-1]
    angle = 2 * np.pi / length * np.outer(np.arange(length // 2 + 1), np.arange(lead, lead + taps))
    parts = window * np.cos(angle), window * np.sin(angle) * (1 if conjugate else -1)
    return np.stack(parts, 1).reshape(-1, taps) if paired else np.concatenate(parts)


def framed(x: Array, taps: int, hop: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), taps, axis=-1)[..., ::hop, :]


def layer(weight: Array, x: Array, hop: int, threads: int = 2, **more: Any) -> Model:
    graph = Graph()
    inputs = [graph.input("x", x.shape, x.dtype), graph.constant(weight[:, None].astype(x.dtype)), *more.values()]
    graph.output("y", graph.node("Conv", *inputs, strides=[hop], kernel_shape=[weight.shape[1]]))
    return Model(graph, threads=threads)


# length, taps, hop, frames, signals
CASES = [(512, 512, 160, 100, 1), (512, 400, 160, 33, 2), (400, 400, 160, 16, 1), (1024, 1024, 320, 101, 1), (64, 64, 16, 17, 3),
         (30, 30, 7, 40, 1), (320, 320, 160, 99, 1), (20, 17, 50, 31, 2), (256, 256, 128, 4, 1), (64, 40, 16, 7, 3),
         (32, 32, 8, 1, 1)]  # fmt: skip


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-10)])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_convolutions_that_transform(case: tuple[int, ...], conjugate: bool, paired: bool, dtype: Any, bound: float) -> None:
    length, taps, hop, frames, signals = case
    weight = rows(length, taps, paired=paired, conjugate=conjugate).astype(dtype)
    x = np.random.default_rng(length).standard_normal((signals, 1, taps + hop * (frames - 1) + 3)).astype(dtype)
    wanted = np.einsum("kt,nft->nkf", weight.astype(np.float64), framed(x[:, 0], taps, hop))
    for threads in (1, 2):
        model = layer(weight, x, hop, threads)
        assert METHOD in model.explain()
        np.testing.assert_allclose(model(x), wanted, atol=bound * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("length", [64, 2048])
def test_real_and_imaginary_parts_by_a_layer_each(length: int) -> None:
    weight, hop, graph = rows(length, length).astype(np.float32), length // 8, Graph()
    x = np.random.default_rng(0).standard_normal((1, 1, 4 * length + 999)).astype(np.float32)
    signal = graph.input("x", x.shape)
    for name, half in zip(("re", "im"), np.split(weight[:, None], 2)):
        graph.output(name, graph.node("Conv", signal, graph.constant(half), strides=[hop], kernel_shape=[length]))
    model, wanted = Model(graph), np.einsum("kt,nft->nkf", weight.astype(np.float64), framed(x[:, 0], length, hop))
    assert model.explain().count(METHOD) == 1
    for got, right in zip(model(x).values(), np.split(wanted, 2, axis=1)):
        np.testing.assert_allclose(got, right, atol=1e-6 * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("lead", [0, 5, 12])
def test_where_a_short_frame_lies_in_the_transform(lead: int) -> None:
    weight = rows(64, 52, lead=lead).astype(np.float32)
    found = fourier(weight)
    assert found is not None and found.lead == lead and not found.window[:lead].any()
    np.testing.assert_array_equal(found.window[lead : lead + 52], weight[0])


def test_numbers_beside_the_frames_are_not_read() -> None:
    """A frame of 52 numbers in a transform of 64: what lies before the first and behind the last is NaN."""
    weight = rows(64, 52).astype(np.float32)
    around = np.full((1, 1, 52 + 16 * 39 + 64), np.nan, np.float32)
    x = around[..., 32:-32]
    x[...] = np.random.default_rng(0).standard_normal(x.shape)
    assert np.isfinite(layer(weight, x, 16)(x)).all()


def spoilt(weight: Array) -> Array:
    weight[40, 3] += 1e-5
    return weight


@pytest.mark.parametrize(
    "weight", [spoilt(rows(64, 64)), rows(64, 64)[1:-1], rows(64, 64)[:33], rows(64, 64)[::-1].copy(), rows(46, 46), np.zeros((66, 64))]
)
def test_other_rows_are_summed(weight: Array) -> None:
    """One tap off, frequencies left out, another order, a length with a factor of 23, nothing."""
    x = np.random.default_rng(1).standard_normal((1, 1, 64 + 16 * 39)).astype(np.float32)
    model = layer(weight, x, 16)
    assert METHOD not in model.explain()
    wanted = np.einsum("kt,nft->nkf", weight, framed(x[:, 0], weight.shape[1], 16))
    np.testing.assert_allclose(model(x), wanted, atol=1e-6 * max(np.abs(wanted).max(), 1), rtol=0)


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("shape", [(2, 700), (1, 700, 1)])
def test_the_operator(shape: tuple[int, ...], windowed: bool, dtype: Any, bound: float) -> None:
    x, window = np.random.default_rng(2).standard_normal(shape).astype(dtype), np.hanning(60).astype(dtype)
    graph = Graph()
    inputs = [graph.input("x", shape, dtype), graph.constant(np.int64(20))]
    inputs += [graph.constant(window)] if windowed else [None, graph.constant(np.int64(60))]  # type: ignore[list-item]
    graph.output("y", graph.node("STFT", *inputs))
    model, frames = Model(graph), framed(x.reshape(shape[:2]), 60, 20)
    wanted = np.fft.rfft(frames * window if windowed else frames)
    assert METHOD in model.explain()
    np.testing.assert_allclose(model(x), np.stack([wanted.real, wanted.imag], -1), atol=bound * np.abs(wanted).max(), rtol=0)

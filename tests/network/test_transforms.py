"""Fourier transforms that are written as smaller products: what is found, what is not, and that the numbers stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate

METHOD = " of frames"  # spectra, or their power


class Written:
    """A graph that transforms frames of a b numbers by products with matrices of a and of b, as swift-f0 does."""

    def __init__(self, a: int, b: int, dtype: Any = np.float32) -> None:
        self.a, self.b, self.dtype, self.graph = a, b, dtype, Graph()

    def constant(self, array: Any) -> Value:
        return self.graph.constant(np.asarray(array, self.dtype))

    def integers(self, *numbers: int) -> Value:
        return self.graph.constant(np.array(numbers, np.int64))

    def node(self, op: str, *inputs: Value, **attributes: Any) -> Value:
        return self.graph.node(op, *inputs, **attributes)

    def roots(self, rows: int, columns: int, n: int) -> tuple[Value, Value]:
        """Cosines and negative sines."""
        angle = 2 * np.pi * (np.outer(np.arange(rows), np.arange(columns)) % n) / n
        return self.constant(np.cos(angle)), self.constant(-np.sin(angle))

    def complex(self, op: str, x: tuple[Value, Value], by: tuple[Value, Value]) -> tuple[Value, Value]:
        (re, im), (c, s) = x, by
        real = self.node("Sub", self.node(op, re, c), self.node(op, im, s))
        return real, self.node("Add", self.node(op, re, s), self.node(op, im, c))

    def parts(self, frames: Value, lead: tuple[int, ...], twist: float = 1.0) -> tuple[Value, Value]:
        """Real and imaginary parts, (..., a, b), of frequency k1 + a k2 at [k1][k2]."""
        split = self.node("Reshape", frames, self.integers(*lead, self.a, self.b))
        cos, sin = self.roots(self.a, self.a, self.a)
        first = self.node("MatMul", cos, split), self.node("MatMul", sin, split)
        twiddles = self.roots(self.a, self.b, self.a * self.b)
        assert twiddles[0].data is not None
        twiddles[0].data[-1, -1] *= twist
        return self.complex("MatMul", self.complex("Mul", first, twiddles), self.roots(self.b, self.b, self.b))

    def ordered(self, x: Value, lead: tuple[int, ...], bins: int | None = None) -> Value:
        """(..., frequencies), those that a real signal has."""
        rank = len(lead)
        turned = self.node("Transpose", x, perm=[*range(rank), rank + 1, rank])
        flat = self.node("Reshape", turned, self.integers(*lead, self.a * self.b))
        return self.node("Slice", flat, self.integers(0), self.integers(bins or self.a * self.b // 2 + 1), self.integers(rank))

    def power(self, parts: tuple[Value, Value], square: str = "Mul") -> Value:
        squares = [self.node("Mul", each, each) if square == "Mul" else self.node("Pow", each, self.constant(2.0)) for each in parts]
        return self.node("Add", *squares)

    def answers(self, x: np.ndarray, tolerance: float = 2e-6) -> str:
        """What the model says it does; its answers are those of the graph in float64."""
        model = Model(self.graph, threads=2)
        found: Any = model(x)
        wanted = evaluate(self.graph, {"x": x.astype(np.float64)})
        for name, each in wanted.items():
            got = found if len(wanted) == 1 else found[name]
            np.testing.assert_allclose(got, each, atol=tolerance * np.abs(each).max(), rtol=0)
        return model.explain()


def random(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(shape[-1]).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("square", ["Mul", "Pow"])
@pytest.mark.parametrize("a, b, frames", [(32, 32, 40), (16, 8, 1), (5, 20, 7), (8, 32, 17)])
def test_power_of_frames(a: int, b: int, frames: int, square: str) -> None:
    written = Written(a, b)
    x = written.graph.input("x", (frames, a * b))
    windowed = written.node("Mul", x, written.constant(np.hanning(a * b)))
    power = written.power(written.parts(windowed, (frames,)), square)
    written.graph.output("y", written.node("Sqrt", written.ordered(power, (frames,))))
    text = written.answers(random(frames, a * b))
    assert METHOD in text and "Linear" not in text


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_of_frames_of_a_batch(dtype: Any) -> None:
    written, lead = Written(8, 8, dtype), (3, 5)
    x = written.graph.input("x", (*lead, 64), dtype)
    for name, part in zip(("real", "imaginary"), written.parts(x, lead)):
        written.graph.output(name, written.ordered(part, lead))
    assert METHOD in written.answers(random(*lead, 64, dtype=dtype))


def test_frames_that_get_an_axis_before_they_are_split() -> None:
    written = Written(8, 32)
    x = written.graph.input("x", (7, 256))
    apart = written.node("Reshape", x, written.integers(7, 1, 256))
    frames = written.node("Mul", apart, written.constant(np.hanning(256)))
    written.graph.output("y", written.ordered(written.power(written.parts(frames, (7, 1))), (7, 1)))
    assert METHOD in written.answers(random(7, 256))


def test_conjugate() -> None:
    written = Written(8, 16)
    x = written.graph.input("x", (20, 128))
    _, imaginary = written.parts(x, (20,))
    written.graph.output("y", written.node("Neg", written.ordered(imaginary, (20,))))
    assert METHOD in written.answers(random(20, 128))


@pytest.mark.parametrize("start", [0, 2])
def test_frames_cut_from_a_signal(start: int) -> None:
    """Rows of a signal in hops side by side: frames are read where the signal lies, and nothing is copied."""
    written, hop, frames, runs = Written(16, 16), 64, 30, 4
    rows = start + frames + runs - 1
    x = written.graph.input("x", (1, rows * hop))
    hops = written.node("Reshape", x, written.integers(rows, hop))
    cut = [
        written.node("Slice", hops, written.integers(start + i), written.integers(start + i + frames), written.integers(0))
        for i in range(runs)
    ]
    windowed = written.node("Mul", written.constant(np.hanning(256)), written.node("Concat", *cut, axis=1))
    written.graph.output("y", written.ordered(written.power(written.parts(windowed, (frames,))), (frames,)))
    text = written.answers(random(1, rows * hop))
    assert METHOD in text and "Concat" not in text


def test_rows_in_another_order_are_no_signal() -> None:
    written, hop, frames = Written(8, 16), 64, 6
    x = written.graph.input("x", (frames + 1, hop))
    cut = [written.node("Slice", x, written.integers(i), written.integers(i + frames), written.integers(0)) for i in (1, 0)]
    joined = written.node("Concat", *cut, axis=1)
    written.graph.output("y", written.ordered(written.power(written.parts(joined, (frames,))), (frames,)))
    text = written.answers(random(frames + 1, hop))
    assert METHOD in text and "Concat" in text


@pytest.mark.parametrize("twist", [1.01, -1.0])
def test_what_is_almost_a_transform(twist: float) -> None:
    written = Written(16, 16)
    x = written.graph.input("x", (9, 256))
    written.graph.output("y", written.ordered(written.power(written.parts(x, (9,), twist)), (9,)))
    assert METHOD not in written.answers(random(9, 256))


def test_fewer_frequencies() -> None:
    written = Written(16, 16)
    x = written.graph.input("x", (9, 256))
    written.graph.output("y", written.ordered(written.power(written.parts(x, (9,))), (9,), bins=100))
    assert METHOD not in written.answers(random(9, 256))


def test_products_that_mix_frames() -> None:
    """As many frames as a frame has rows: the first product is one over frames."""
    written, a = Written(8, 8), 8
    x = written.graph.input("x", (a, a, 64))
    turned = written.node("Transpose", x, perm=[1, 0, 2])
    parts = written.parts(turned, (a, a))
    mixed = [written.node("Transpose", each, perm=[1, 0, 2, 3]) for each in parts]
    written.graph.output("y", written.ordered(written.power((mixed[0], mixed[1])), (a, a)))
    written.answers(random(a, a, 64))


def test_both_frames_and_parts_are_read_elsewhere() -> None:
    written = Written(16, 8)
    x = written.graph.input("x", (12, 128))
    parts = written.parts(x, (12,))
    written.graph.output("first", written.ordered(written.power(parts), (12,)))
    written.graph.output("parts", written.node("Exp", written.node("Mul", parts[0], written.constant(0.01))))
    text = written.answers(random(12, 128))
    assert METHOD in text and "Linear" in text


def test_batches_that_change_places() -> None:
    """Which frames stand where is no matter of single frames."""
    written, lead = Written(8, 8), (3, 5)
    x = written.graph.input("x", (*lead, 64))
    turned = written.node("Slice", x, written.integers(-1), written.integers(-4), written.integers(0), written.integers(-1))
    parts = written.parts(x, lead)
    changed = [written.node("Slice", each, *(written.integers(n) for n in (-1, -4, 0, -1))) for each in parts]
    written.graph.output("y", written.ordered(written.power((changed[0], changed[1])), lead))
    written.graph.output("z", written.node("Relu", turned))
    written.answers(random(*lead, 64))

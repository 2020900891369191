"""Random graphs of every kind of node that moves, joins or combines numbers: what runs against the NumPy twin, twice, in and out of order.

Faults here are those of memory: an output that is written where somebody still reads, a view of what is gone, a part left unwritten.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate

KINDS = ["unary", "binary", "channel", "transpose", "slice", "pad", "concat", "reduce", "conv", "linear", "left", "reshape", "softmax",
         "split", "pool", "where", "gather", "cumsum", "norm", "squares", "axes", "recurrent"]  # fmt: skip


class Maker:
    """Makes a graph of (n, c, h, w) values node by node, remembering the shape of each."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph()
        shape = tuple(int(each) for each in self.rng.integers(1, 7, 4))
        self.values: list[tuple[Value, tuple[int, ...]]] = [(self.graph.input("x", shape), shape)]
        if self.rng.random() < 0.5:
            self.values.append((self.graph.input("y", shape), shape))

    def numbers(self, *shape: int) -> Value:
        return self.graph.constant((self.rng.standard_normal(shape) / 2).astype(np.float32))

    def whole(self, *numbers: int) -> Value:
        return self.graph.constant(np.array(numbers, np.int64))

    def keep(self, value: Value, shape: Any) -> None:
        self.values.append((value, tuple(int(each) for each in shape)))

    def step(self) -> None:
        value, shape = self.values[int(self.rng.integers(len(self.values)))]
        getattr(self, str(self.rng.choice(KINDS)))(value, shape)

    def unary(self, x: Value, shape: tuple[int, ...]) -> None:
        self.keep(self.graph.node(str(self.rng.choice(["Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Sin", "Elu", "LeakyRelu"])), x), shape)

    def binary(self, x: Value, shape: tuple[int, ...]) -> None:
        others = [value for value, other in self.values if other == shape]
        other = others[int(self.rng.integers(len(others)))]
        self.keep(self.graph.node(str(self.rng.choice(["Add", "Sub", "Mul", "Max", "Min"])), x, other), shape)

    def channel(self, x: Value, shape: tuple[int, ...]) -> None:
        numbers = self.numbers(*(n if self.rng.random() < 0.5 else 1 for n in shape))
        self.keep(self.graph.node(str(self.rng.choice(["Add", "Mul", "Sub"])), x, numbers), shape)

    def squares(self, x: Value, shape: tuple[int, ...]) -> None:
        """Over an axis of two more often than not."""
        axis = shape.index(2) if 2 in shape else int(self.rng.integers(4))
        numbers = self.whole(axis)
        summed = [n if i != axis else 1 for i, n in enumerate(shape)]
        if self.rng.random() < 0.5:
            self.keep(self.graph.node("ReduceSumSquare", x, numbers), summed)
            return
        lower = self.graph.node("ReduceSum", self.graph.node("Mul", x, x), numbers, keepdims=0)
        self.keep(self.graph.node("Unsqueeze", self.graph.node("Abs", lower), numbers), summed)

    def axes(self, x: Value, shape: tuple[int, ...]) -> None:
        """An axis comes, something happens, the axis goes."""
        axis = self.whole(int(self.rng.integers(5)))
        moved = self.graph.node("Unsqueeze", self.graph.node("Tanh", x), axis)
        changed = self.graph.node("Mul", self.graph.node(str(self.rng.choice(["Sin", "Relu"])), moved), self.numbers(1, 1, 1, 1, 1))
        self.keep(self.graph.node("Squeeze", changed, axis), shape)

    def recurrent(self, x: Value, shape: tuple[int, ...]) -> None:
        n, c, h, w = shape
        (op, gates), hidden = (("LSTM", 4), ("GRU", 3))[int(self.rng.integers(2))], int(self.rng.integers(1, 6))
        steps = self.graph.node("Reshape", x, self.whole(n * c, h, w))
        weights = self.numbers(2, gates * hidden, w), self.numbers(2, gates * hidden, hidden)
        self.keep(self.graph.node(op, steps, *weights, hidden_size=hidden, direction="bidirectional"), (n * c, 2, h, hidden))

    def where(self, x: Value, shape: tuple[int, ...]) -> None:
        small = self.graph.node("Less", x, self.graph.constant(np.float32(0.1)))
        self.keep(self.graph.node("Where", small, x, self.graph.constant(np.float32(0.5))), shape)

    def transpose(self, x: Value, shape: tuple[int, ...]) -> None:
        perm = [int(each) for each in self.rng.permutation(len(shape))]
        self.keep(self.graph.node("Transpose", x, perm=perm), [shape[each] for each in perm])

    def slice(self, x: Value, shape: tuple[int, ...]) -> None:
        axis = int(self.rng.integers(len(shape)))
        step = int(self.rng.choice([1, 1, 2, -1]))
        start, end = (-1, -99) if step < 0 else (int(self.rng.integers(shape[axis])), 99)
        count = shape[axis] if step < 0 else -(-(shape[axis] - start) // step)
        y = self.graph.node("Slice", x, *(self.whole(each) for each in (start, end, axis, step)))
        self.keep(y, [count if i == axis else n for i, n in enumerate(shape)])

    def split(self, x: Value, shape: tuple[int, ...]) -> None:
        axis = int(self.rng.integers(len(shape)))
        if shape[axis] > 1:
            first = int(self.rng.integers(1, shape[axis]))
            parts = self.graph.several("Split", x, self.whole(first, shape[axis] - first), outputs=2, axis=axis)
            for part, length in zip(parts, (first, shape[axis] - first)):
                self.keep(part, [length if i == axis else n for i, n in enumerate(shape)])

    def pad(self, x: Value, shape: tuple[int, ...]) -> None:
        mode = str(self.rng.choice(["constant", "edge", "reflect"]))
        pairs = self.rng.integers(0, 3, (2, len(shape)))
        if mode == "reflect":
            pairs = np.minimum(pairs, np.array(shape) - 1)
        self.keep(self.graph.node("Pad", x, self.whole(*pairs.ravel()), mode=mode), np.array(shape) + pairs.sum(0))

    def concat(self, x: Value, shape: tuple[int, ...]) -> None:
        axis = int(self.rng.integers(len(shape)))

        def beside(lengths: tuple[int, ...]) -> tuple[int, ...]:
            return lengths[:axis] + lengths[axis + 1 :]

        fits = [(v, s) for v, s in self.values if len(s) == len(shape) and beside(s) == beside(shape)]
        chosen = [(x, shape), *(fits[int(i)] for i in self.rng.integers(len(fits), size=int(self.rng.integers(1, 3))))]
        y = self.graph.node("Concat", *(value for value, _ in chosen), axis=axis)
        self.keep(y, [sum(s[axis] for _, s in chosen) if i == axis else n for i, n in enumerate(shape)])

    def reduce(self, x: Value, shape: tuple[int, ...]) -> None:
        axes = sorted({int(each) for each in self.rng.integers(len(shape), size=2)})
        op = str(self.rng.choice(["ReduceMax", "ReduceSum", "ReduceMean", "ReduceMin", "ReduceL2"]))
        self.keep(self.graph.node(op, x, self.whole(*axes), keepdims=1), [1 if i in axes else n for i, n in enumerate(shape)])

    def softmax(self, x: Value, shape: tuple[int, ...]) -> None:
        self.keep(self.graph.node("Softmax", x, axis=int(self.rng.integers(len(shape)))), shape)

    def cumsum(self, x: Value, shape: tuple[int, ...]) -> None:
        self.keep(self.graph.node("CumSum", x, self.whole(int(self.rng.integers(len(shape))))), shape)

    def gather(self, x: Value, shape: tuple[int, ...]) -> None:
        axis = int(self.rng.integers(len(shape)))
        places = self.rng.integers(shape[axis], size=int(self.rng.integers(1, 4)))
        y = self.graph.node("Gather", x, self.whole(*places), axis=axis)
        self.keep(y, [len(places) if i == axis else n for i, n in enumerate(shape)])

    def norm(self, x: Value, shape: tuple[int, ...]) -> None:
        numbers = [self.numbers(shape[1]) for _ in range(3)]
        spread = self.graph.constant(self.rng.uniform(0.5, 2, shape[1]).astype(np.float32))
        self.keep(self.graph.node("BatchNormalization", x, *numbers, spread), shape)

    def conv(self, x: Value, shape: tuple[int, ...]) -> None:
        out = int(self.rng.integers(1, 5))
        y = self.graph.node("Conv", x, self.numbers(out, shape[1], 3, 3), self.numbers(out), pads=[1, 1, 1, 1])
        self.keep(y, (shape[0], out, *shape[2:]))

    def pool(self, x: Value, shape: tuple[int, ...]) -> None:
        op = str(self.rng.choice(["MaxPool", "AveragePool"]))
        self.keep(self.graph.node(op, x, kernel_shape=[1, 2], pads=[0, 1, 0, 0]), shape)

    def linear(self, x: Value, shape: tuple[int, ...]) -> None:
        out = int(self.rng.integers(1, 6))
        self.keep(self.graph.node("MatMul", x, self.numbers(shape[-1], out)), (*shape[:-1], out))

    def left(self, x: Value, shape: tuple[int, ...]) -> None:
        out = int(self.rng.integers(1, 6))
        self.keep(self.graph.node("MatMul", self.numbers(out, shape[-2]), x), (*shape[:-2], out, shape[-1]))

    def reshape(self, x: Value, shape: tuple[int, ...]) -> None:
        count = int(np.prod(shape))
        a = int(self.rng.choice([d for d in range(1, count + 1) if count % d == 0]))
        b = int(self.rng.choice([d for d in range(1, count // a + 1) if count // a % d == 0]))
        self.keep(self.graph.node("Reshape", x, self.whole(a, b, 1, -1)), (a, b, 1, count // a // b))


def random_model(seed: int) -> tuple[Graph, dict[str, np.ndarray]]:
    maker = Maker(seed)
    for _ in range(int(maker.rng.integers(3, 25))):
        maker.step()
    for i in range(int(maker.rng.integers(1, 4))):
        value, _ = maker.values[-1 - int(maker.rng.integers(min(4, len(maker.values))))]
        maker.graph.output(f"out{i}", value)
    given = {value.name: maker.rng.standard_normal(value.shape).astype(np.float32) for value in maker.graph.inputs}
    return maker.graph, given


def compare(seed: int) -> None:
    graph, given = random_model(seed)
    wanted = evaluate(graph, given)
    model = Model(graph, threads=1 + seed % 2)
    for _ in range(2):  # the second call finds what the first left in memory
        before = {name: array.copy() for name, array in given.items()}
        results = model(given)
        got = results if isinstance(results, dict) else {next(iter(wanted)): results}
        for name, array in wanted.items():
            scale = max(float(np.abs(array).max(initial=0)), 1.0)
            np.testing.assert_allclose(got[name], array, rtol=0, atol=2e-5 * scale, err_msg=f"seed {seed}, {name}\n{graph}")
        for name, array in given.items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_random_graphs(start: int) -> None:
    for seed in range(start, start + 20):
        compare(seed)

"""Each pass alone: what it rewrites, what it must leave, and that the numbers stay (by the NumPy twin)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph, Node, Value
from kernels.network.model import Model
from kernels.network.operators.registry import OPERATORS
from kernels.network.passes.accuracy import accurate_layers
from kernels.network.passes.activations import named_activations
from kernels.network.passes.affine import batch_norms, into_weights
from kernels.network.passes.chaining import MOST, chain_nodes
from kernels.network.passes.decompose import decompose
from kernels.network.passes.duplicates import merge_duplicates
from kernels.network.passes.epilogues import into_epilogues
from kernels.network.passes.identities import drop_identities
from kernels.network.passes.joins import flatten_joins
from kernels.network.passes.norms import named_norms
from kernels.network.passes.orders import wanted_orders
from kernels.network.passes.padding import into_convolutions
from kernels.network.passes.pools import pools_first
from kernels.network.passes.reductions import join_reductions
from kernels.network.passes.siblings import join_siblings
from kernels.network.passes.specialise import specialise
from kernels.network.passes.weights import hold_weights
from kernels.network.twin import compute

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 4, 6)


class Built:
    """A graph on x of SHAPE, specialised."""

    def __init__(self, make: Callable[[Graph, Value], Value]) -> None:
        graph = Graph()
        graph.output("y", make(graph, graph.input("x", SHAPE)))
        self.graph = specialise(graph, {"x": SHAPE})
        self.x = RNG.standard_normal(SHAPE).astype(np.float32)
        self.wanted = compute(self.graph, {"x": self.x})["y"]

    @property
    def ops(self) -> list[str]:
        return [node.op for node in self.graph.nodes]

    def unchanged(self) -> None:
        """The same numbers come out; for passes that leave operators of ONNX."""
        np.testing.assert_allclose(compute(self.graph, {"x": self.x})["y"], self.wanted, atol=1e-5)


def numbers(graph: Graph, *shape: int) -> Value:
    return graph.constant((RNG.standard_normal(shape) / 2).astype(np.float32))


def number(graph: Graph, value: float) -> Value:
    return graph.constant(np.float32(value))


def conv(graph: Graph, x: Value, **more: Any) -> Value:
    return graph.node("Conv", x, numbers(graph, 5, 3, 3, 3), numbers(graph, 5), **more)


def test_shape_arithmetic_folds() -> None:
    def make(g: Graph, x: Value) -> Value:
        first = g.node("Gather", g.node("Shape", x), g.constant([0]))
        return g.node("Reshape", x, g.node("Concat", first, g.constant([-1]), axis=0))

    built = Built(make)
    assert built.ops == ["Reshape"] and built.wanted.shape == (2, 72)


def test_what_follows_from_constants_alone_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all lengths; what follows from a shape, for each."""
    graph = Graph()
    x = graph.input("x", (1, None))
    wave = graph.node("Cos", graph.node("Reshape", numbers(graph, 2, 1), graph.constant([2, 1])))
    length = graph.node("Cast", graph.node("Shape", x), to=np.dtype(np.float32))
    graph.output("y", graph.node("Add", graph.node("Mul", x, wave), graph.node("Gather", length, graph.constant(1))))
    counted: list[str] = []
    for op in ("Cos", "Gather"):
        known = OPERATORS[op]

        def counting(node: Node, *inputs: Any, _compute: Any = known.compute) -> Any:
            counted.append(node.op)
            return _compute(node, *inputs)

        monkeypatch.setitem(OPERATORS, op, dataclasses.replace(known, compute=counting))
    for n in (3, 5, 3):
        given = RNG.standard_normal((1, n)).astype(np.float32)
        found = compute(specialise(graph, {"x": (1, n)}), {"x": given})["y"]
        angle = graph.nodes[0].inputs[0]
        assert angle is not None and angle.data is not None
        np.testing.assert_allclose(found, given * np.cos(angle.data) + n, rtol=1e-6)
    assert counted.count("Cos") == 1 and counted.count("Gather") == 3


def test_nodes_that_change_nothing_leave() -> None:
    def make(g: Graph, x: Value) -> Value:
        x = g.node("Reshape", x, g.constant([2, 3, 4, 6]))
        return g.node("Neg", g.node("Cast", g.node("Identity", g.node("Transpose", x, perm=[0, 1, 2, 3])), to=np.dtype(np.float32)))

    assert Built(make).ops == ["Neg"]


def test_padding() -> None:
    built = Built(lambda g, x: conv(g, g.node("Pad", x, g.constant([0, 0, 1, 2, 0, 0, 0, 1]))))
    assert into_convolutions(built.graph) == 1 and built.ops == ["Conv"] and built.graph.nodes[0].attributes["pads"] == [1, 2, 0, 1]
    built.unchanged()
    for mode, pads in (("reflect", [0, 0, 1, 1, 0, 0, 1, 1]), ("constant", [0, 1, 0, 0, 0, -1, 0, 0])):
        left = Built(lambda g, x, mode=mode, pads=pads: conv(g, g.node("Pad", x, g.constant(pads), mode=mode)))  # type: ignore[misc]
        assert into_convolutions(left.graph) == 0


def test_batch_norms_and_scales_go_into_weights() -> None:
    def make(g: Graph, x: Value) -> Value:
        y = g.node("BatchNormalization", conv(g, x), *(numbers(g, 5) for _ in range(3)), g.constant(np.ones(5, np.float32)))
        return g.node("Sub", number(g, 2.0), g.node("Neg", g.node("Div", y, number(g, 3.0))))

    built = Built(make)
    assert batch_norms(built.graph) == 1
    built.unchanged()
    hold_weights(built.graph)
    assert into_weights(built.graph) == 5 and built.ops == ["Conv"]
    held = built.graph.nodes[0]
    plain = Node("Conv", [held.x, *(built.graph.constant(held.attributes[name]) for name in ("weight", "bias"))], held.outputs, {}, "")
    built.graph.nodes = [plain]
    built.unchanged()


def test_what_two_read_does_not_go_into_weights() -> None:
    def make(g: Graph, x: Value) -> Value:
        y = conv(g, x)
        return g.node("Add", g.node("Mul", y, number(g, 2.0)), y)

    built = Built(make)
    hold_weights(built.graph)
    assert into_weights(built.graph) == 0


@pytest.mark.parametrize("name", ["silu", "leaky", "gelu", "gelu by tanh", "another by tanh", "hard_swish", "relu"])
def test_written_out_activations(name: str) -> None:
    def make(g: Graph, x: Value) -> Value:
        if name == "silu":
            return g.node("Mul", x, g.node("Sigmoid", x))
        if name == "leaky":
            return g.node("Max", g.node("Mul", x, number(g, 0.2)), x)
        if name == "gelu":
            erf = g.node("Erf", g.node("Div", x, number(g, 2**0.5)))
            return g.node("Mul", g.node("Mul", x, g.node("Add", erf, number(g, 1.0))), number(g, 0.5))
        if "tanh" in name:
            cube = g.node("Mul", number(g, 0.044715 if name == "gelu by tanh" else 0.05), g.node("Pow", x, number(g, 3.0)))
            inner = g.node("Tanh", g.node("Mul", g.node("Add", x, cube), number(g, (2 / np.pi) ** 0.5)))
            return g.node("Mul", g.node("Mul", number(g, 0.5), x), g.node("Add", number(g, 1.0), inner))
        if name == "hard_swish":
            return g.node("Mul", x, g.node("HardSigmoid", x, alpha=1 / 6, beta=0.5))
        return g.node("Max", x, number(g, 0.0))

    built = Built(make)
    known = "another" not in name
    assert named_activations(built.graph) == known and (len(built.ops) == 1) == known
    built.unchanged()


def test_a_maximum_of_a_steeper_line_is_no_leaky_relu() -> None:
    assert named_activations(Built(lambda g, x: g.node("Max", g.node("Mul", x, number(g, 1.5)), x)).graph) == 0


def test_epilogues() -> None:
    built = Built(lambda g, x: g.node("Tanh", g.node("LeakyRelu", conv(g, x), alpha=0.3)))
    hold_weights(built.graph)
    assert into_epilogues(built.graph) == 1 and built.ops == ["Conv", "Tanh"]
    assert built.graph.nodes[0].attributes["activation"] == ("leaky_relu", 0.3)


def test_siblings() -> None:
    def make(g: Graph, x: Value) -> Value:
        return g.node("Concat", conv(g, x), g.node("Neg", conv(g, x)), conv(g, x, dilations=[1, 2], pads=[0, 1, 0, 1]), axis=1)

    built = Built(make)
    hold_weights(built.graph)
    assert join_siblings(built.graph) == 1
    assert sorted(built.ops) == ["Concat", "Conv", "Conv", "Neg", "Slice", "Slice"]
    assert len(built.graph.nodes[0].attributes["weight"]) == 10


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "ReduceL2"])
def test_decomposed(op: str) -> None:
    def make(g: Graph, x: Value) -> Value:
        if op == "LayerNormalization":
            return g.node(op, x, numbers(g, 6), numbers(g, 6))
        if op in ("InstanceNormalization", "GroupNormalization"):
            return g.node(op, x, numbers(g, 3), numbers(g, 3), **({"num_groups": 3} if op[0] == "G" else {}))
        return g.node(op, x, g.constant([1, 2])) if op == "ReduceL2" else g.node(op, x, axis=2)

    built = Built(make)
    assert decompose(built.graph) == 1 and op not in built.ops
    built.unchanged()


def reduced(g: Graph, op: str, x: Value, axis: int, keep: int = 1) -> Value:
    return g.node(op, x, g.constant(np.array([axis])), keepdims=keep)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
def test_reductions_of_reductions(op: str) -> None:
    built = Built(lambda g, x: reduced(g, op, reduced(g, op, reduced(g, op, x, 1), -1), 2))
    assert join_reductions(built.graph) == 2
    assert built.ops == [op]
    built.unchanged()


def test_squares_of_another_shape() -> None:
    """An exponent of more axes than what it raises: the axes of the sum are those of the power."""
    g = Graph()
    x = g.input("x", (2, 2))
    raised = g.node("Pow", x, g.constant(np.full((1, 1, 1), 2, np.float32)))
    g.output("y", g.node("ReduceSum", raised, g.constant(np.array([1], np.int64)), keepdims=0))
    numbers = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(Model(g)(numbers), (numbers**2).sum(0, keepdims=True))


def test_a_window_beside_the_only_number() -> None:
    g = Graph()
    x = g.input("x", (1, 24, 1, 1))
    weight, bias = (np.random.default_rng(i).standard_normal(shape).astype(np.float32) for i, shape in enumerate(((32, 24, 1, 1), (32,))))
    g.output("y", g.node("Conv", x, g.constant(weight), g.constant(bias), pads=[1, 1, 1, 1], strides=[3, 3], kernel_shape=[1, 1]))
    np.testing.assert_array_equal(Model(g)(np.ones((1, 24, 1, 1), np.float32))[0, :, 0, 0], bias)


def test_reductions_that_stay() -> None:
    for make in (
        lambda g, x: reduced(g, "ReduceMean", reduced(g, "ReduceMax", x, 1), 2),
        lambda g, x: reduced(g, "ReduceMean", reduced(g, "ReduceMean", x, 1, 0), 1),  # the axis that is second now was third
        lambda g, x: g.node("Mul", reduced(g, "ReduceMean", mean := reduced(g, "ReduceMean", x, 1), 2), mean),
    ):
        built = Built(make)
        assert join_reductions(built.graph) == 0
        built.unchanged()


@pytest.mark.parametrize("root", ["Sqrt", "Pow"])
def test_global_norms_become_moments(root: str) -> None:
    def make(g: Graph, x: Value) -> Value:
        def mean(value: Value) -> Value:
            return reduced(g, "ReduceMean", reduced(g, "ReduceMean", value, 1), 2)

        distance = g.node("Sub", x, mean(x))
        variance = g.node("Add", mean(g.node("Pow", distance, number(g, 2.0))), number(g, 1e-8))
        deviation = g.node("Sqrt", variance) if root == "Sqrt" else g.node("Pow", variance, number(g, 0.5))
        return g.node("Div", g.node("Mul", numbers(g, 3, 1, 1), distance), deviation)

    built = Built(make)
    assert join_reductions(built.graph) == 2
    assert named_norms(built.graph) == 1
    assert [op for op in built.ops if op.startswith("Reduce")] == []
    got = Model(built.graph, threads=2)(built.x)
    np.testing.assert_allclose(got, built.wanted, atol=1e-5)


def test_duplicates_and_identities() -> None:
    def make(g: Graph, x: Value) -> Value:
        twice = [g.node("Exp", g.node("Add", x, number(g, 1.0))) for _ in range(2)]
        return g.node("Mul", g.node("Sub", *twice), g.node("Div", g.node("Add", number(g, 0.0), x), number(g, 1.0)))

    built = Built(make)
    assert merge_duplicates(built.graph) == 2
    assert drop_identities(built.graph) == 2 and built.ops == ["Add", "Exp", "Sub", "Mul"]
    built.unchanged()


def test_floats_times_zero_stay() -> None:
    assert drop_identities(Built(lambda g, x: g.node("Mul", x, number(g, 0.0))).graph) == 0


def test_joins_of_joins() -> None:
    built = Built(lambda g, x: g.node("Concat", g.node("Concat", x, x, axis=-1), x, axis=3))
    assert flatten_joins(built.graph) == 1 and built.ops == ["Concat"] and len(built.graph.nodes[0].inputs) == 3
    built.unchanged()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_negative_of_zero_keeps_its_sign_in_a_chain(dtype: type) -> None:
    graph = Graph()
    graph.output("y", graph.node("Neg", graph.input("x", (5,), dtype)))
    model, x = Model(graph), np.array([0.0, -0.0, 2.5, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(np.signbit(model(x)[:4]), np.signbit(-x[:4]))
    np.testing.assert_array_equal(model(x), -x)
    assert "vector pass" in model.explain()


def test_chains_wait_for_no_chain_that_waits_for_them() -> None:
    """What leaves a chain and comes back through a reduction is another chain, and long ones are cut."""

    def make(g: Graph, x: Value) -> Value:
        e = g.node("Exp", x)
        e = g.node("Div", e, g.node("ReduceSum", e, g.constant([3])))
        for _ in range(2 * MOST):
            e = g.node("Sin", e)
        return e

    built = Built(make)
    assert chain_nodes(built.graph) >= 3
    made: set[Value] = set(built.graph.inputs)
    for node in built.graph.nodes:
        assert all(value in made or value.data is not None for value in node.inputs if value is not None)
        made.update(node.outputs)
        assert node.op != "Chain" or len(node.attributes["nodes"]) <= MOST


def test_maxima_first() -> None:
    def make(g: Graph, x: Value) -> Value:
        return g.node("MaxPool", g.node("Max", g.node("Sigmoid", conv(g, x)), number(g, 0.4)), kernel_shape=[1, 2], pads=[0, 1, 0, 0])

    built = Built(make)
    pools_first(built.graph)
    assert built.ops == ["Conv", "Sigmoid", "Max", "MaxPool"]  # all three run in one chain and a pool
    built.unchanged()
    falling = Built(lambda g, x: g.node("MaxPool", g.node("Neg", conv(g, x)), kernel_shape=[1, 2]))
    assert pools_first(falling.graph) == 0


def test_layers_before_logarithms_are_accurate() -> None:
    def make(g: Graph, x: Value) -> Value:
        first = g.node("Relu", conv(g, x, pads=[1, 1, 1, 1]))
        second = g.node("Conv", first, numbers(g, 2, 5, 1, 1), name="second")
        return g.node("Log", g.node("Mul", second, second))

    built = Built(make)
    hold_weights(built.graph)
    into_epilogues(built.graph)
    accurate = accurate_layers(built.graph)
    layers = [node for node in built.graph.nodes if node.op == "Conv"]
    assert accurate == {layers[0], layers[1]}  # the first feeds the second, which has no activation, and stops there
    plain = Built(lambda g, x: g.node("Sigmoid", conv(g, x)))
    hold_weights(plain.graph)
    assert accurate_layers(plain.graph) == frozenset()


def test_orders_that_convolutions_want() -> None:
    built = Built(lambda g, x: conv(g, g.node("Transpose", g.node("Neg", g.node("Transpose", x, perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2])))
    orders = wanted_orders(built.graph)
    neg = next(node for node in built.graph.nodes if node.op == "Neg")
    assert orders.get(neg.y) == (0, 3, 1, 2)


@pytest.mark.parametrize("name, op", [("sigmoid", "HardSigmoid"), ("after", "HardSwish"), ("before", "HardSwish"), ("sixth", "HardSwish")])
def test_hard_activations_written_out(name: str, op: str) -> None:
    """As exporters before opset 14 write them."""

    def make(g: Graph, x: Value) -> Value:
        clipped = g.node("Clip", g.node("Add", x, number(g, 3)), number(g, 0), number(g, 6))
        if name == "before":
            return g.node("Div", g.node("Mul", x, clipped), number(g, 6))
        sixth = g.node("Mul", clipped, number(g, 1 / 6)) if name == "sixth" else g.node("Div", clipped, number(g, 6))
        return sixth if name == "sigmoid" else g.node("Mul", x, sixth)

    built = Built(make)
    named_activations(built.graph)
    assert built.ops == [op]
    built.unchanged()


def test_a_prelu_with_one_number_is_a_leaky_relu() -> None:
    built = Built(lambda g, x: g.node("PRelu", x, number(g, 0.3)))
    assert named_activations(built.graph) == 1 and built.ops == ["LeakyRelu"]
    built.unchanged()
    assert named_activations(Built(lambda g, x: g.node("PRelu", x, numbers(g, 6))).graph) == 0

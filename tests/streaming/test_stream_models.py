"""Models of `kernels.load` as streams and on dask arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 9, stride=2, padding=4), torch.nn.BatchNorm1d(8), torch.nn.LeakyReLU(0.1))
        self.left, self.right = torch.nn.Conv1d(8, 8, 5, padding=2), torch.nn.Conv1d(8, 4, 1)
        self.tail = torch.nn.Sequential(torch.nn.MaxPool1d(2), torch.nn.ConvTranspose1d(12, 3, 4, stride=2, padding=1), torch.nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(x)
        return self.tail(torch.cat([x + torch.relu(self.left(x)), self.right(x)], 1))


def exported(module: torch.nn.Module, path: Path) -> kernels.network.model.Model:
    torch.onnx.export(module.eval(), (torch.zeros(1, 1, 512),), str(path), input_names=["x"], dynamic_axes={"x": {2: "t"}}, dynamo=False)
    return kernels.load(str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_streams(tmp_path: Path) -> None:
    module = Net()
    model = exported(module, tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((1, 1, 1000)).astype(np.float32)
    s = kernels.stream(model, shape=(1, 1, None))
    y = np.concatenate([*(s(x[..., i : i + 77]) for i in range(0, 1000, 77)), s.finish()], -1)
    expected = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, expected, atol=1e-5)
    da = pytest.importorskip("dask.array")
    from kernels.dask import apply

    lazy = apply(model, da.from_array(x, chunks=(1, 1, 300)))
    np.testing.assert_allclose(lazy.compute(), expected, atol=1e-5)


class Causal(torch.nn.Conv1d):
    """As live models are written: nothing but the past is seen, since zeros are put before the signal."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class Halved(torch.nn.Module):
    """Padded by half of its length, whatever that is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv1d(torch.nn.functional.pad(x, (x.shape[-1] // 2, 0)), torch.ones(1, 1, 3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_exporters_write_around_layers_streams(tmp_path: Path) -> None:
    """Pads before convolutions, by lengths that are computed of constants; SiLU, GELU and PReLU as they are exported."""
    module = torch.nn.Sequential(
        Causal(1, 4, 5), torch.nn.SiLU(), Causal(4, 4, 3, dilation=4), torch.nn.GELU(), torch.nn.ConstantPad1d((1, 2), 0.0),
        torch.nn.Conv1d(4, 2, 6, stride=2, padding=1), torch.nn.PReLU(),
    )  # fmt: skip
    model = exported(module, tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((1, 1, 300)).astype(np.float32)
    s = kernels.stream(model, shape=(1, 1, None))
    y = np.concatenate([*(s(x[..., i : i + 37]) for i in range(0, 300, 37)), s.finish()], -1)
    np.testing.assert_allclose(y, module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_padding_that_the_length_decides_is_refused(tmp_path: Path) -> None:
    model = exported(Halved(), tmp_path / "net.onnx")
    with pytest.raises(kernels.RefusedError, match="depends on how long the signal is"):
        kernels.stream(model, shape=(1, 1, None))


class WaveNet(torch.nn.Module):
    """Halves of one convolution that gate each other, sums of skips that are no branches of one input, scales, slopes by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv1d(1, 6, 1)
        self.gates = torch.nn.ModuleList([Causal(6, 12, 2, dilation=1 << i) for i in range(3)])
        self.norm = torch.nn.BatchNorm1d(12)
        self.out, self.skip = (torch.nn.ModuleList([torch.nn.Conv1d(6, 6, 1) for _ in range(3)]) for _ in range(2))
        self.head = torch.nn.Sequential(torch.nn.PReLU(6), torch.nn.Conv1d(6, 8, 1), torch.nn.GLU(1))
        self.head[0].weight.data[:] = torch.linspace(-0.5, 1.5, 6)
        self.norm.running_mean[:] = torch.linspace(-1, 1, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, skips = self.first(x) * 3 - 1, 0.0
        for gate, out, skip in zip(self.gates, self.out, self.skip):
            halves = self.norm(gate(x))
            z = torch.tanh(halves[:, :6]) * torch.sigmoid(halves[:, 6:])
            skips = skip(z) + skips
            x = (x + out(z)) / 1.5
        return 1 - self.head(skips - x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gates_and_skips_stream(tmp_path: Path) -> None:
    module = WaveNet()
    model = exported(module, tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((1, 1, 400)).astype(np.float32)
    expected = module(torch.from_numpy(x)).detach().numpy()
    s = kernels.stream(model, shape=(1, 1, None))
    assert s.latency == 0
    assert sum(part.stage.words[0] == "conv1d" for part in s._made.wired.parts) == 1 + 3 * 3 + 1  # none twice
    first = s(x[..., :150])
    other = kernels.stream(model, shape=(1, 1, None))
    other.restore(s.state())
    for each in (s, other):
        y = np.concatenate([first, *(each(x[..., i : i + 33]) for i in range(150, 400, 33)), each.finish()], -1)
        np.testing.assert_allclose(y, expected, atol=1e-5)
    da = pytest.importorskip("dask.array")
    from kernels.dask import apply

    np.testing.assert_allclose(apply(model, da.from_array(x, chunks=(1, 1, 90))).compute(), expected, atol=1e-5)


def test_many_residual_connections_stream(tmp_path: Path) -> None:
    """Reading them took twice as long with every one more: 30 were never read."""
    nodes, before = [], "x"
    for i in range(60):
        nodes += [("Conv", [before, "w"], [f"c{i}"], {"pads": [1, 1]}), ("Add", [f"c{i}", before], [f"x{i}"], {})]
        before = f"x{i}"
    model = of_nodes(nodes, {"w": np.full((4, 4, 3), 0.01, np.float32)}, before)
    s, x = kernels.stream(model, shape=(1, 4, None)), np.ones((1, 4, 200), np.float32)
    np.testing.assert_allclose(np.concatenate([s(x[..., :99]), s(x[..., 99:]), s.finish()], -1), model(x), rtol=1e-5)


def test_of_a_split_what_is_read_streams() -> None:
    model = of_nodes([("Split", ["x"], ["a", "b"], {"axis": 1}), ("Tanh", ["b"], ["c"], {}), ("Mul", ["c", "b"], ["y"], {})], {})
    s, x = kernels.stream(model, shape=(1, 4, None)), np.random.default_rng(0).standard_normal((1, 4, 50)).astype(np.float32)
    np.testing.assert_allclose(np.concatenate([s(x[..., :20]), s(x[..., 20:]), s.finish()], -1), model(x), atol=1e-6)
    da = pytest.importorskip("dask.array")
    from kernels.dask import apply

    np.testing.assert_allclose(apply(model, da.from_array(x, chunks=(1, 4, 20))).compute(), model(x), atol=1e-6)


@pytest.mark.parametrize("nodes", [
    [("Mul", ["x", "row"], ["y"], {})],
    [("Div", ["one", "x"], ["y"], {})],
    [("Relu", ["x"], ["a"], {}), ("Sum", ["x", "a", "one"], ["y"], {})],
    [("Sub", ["x", "column"], ["a"], {}), ("Mul", ["column", "a"], ["b"], {}), ("Sub", ["column", "b"], ["c"], {}),
     ("Div", ["c", "column"], ["y"], {})],
], ids=["wider", "divided", "three", "by channel"])  # fmt: skip
def test_numbers_of_any_shape_but_along_time_stream(nodes: list[Any]) -> None:
    constants = {"row": np.ones((2, 4, 1), np.float32), "one": np.float32(1), "column": np.arange(1, 5, dtype=np.float32)[:, None]}
    model, x = of_nodes(nodes, constants), np.random.default_rng(0).random((1, 4, 50), np.float32) + 1
    s = kernels.stream(model, shape=(1, 4, None))
    np.testing.assert_allclose(np.concatenate([s(x[..., :20]), s(x[..., 20:]), s.finish()], -1), model(x), rtol=1e-5)
    assert s._made.computed == np.float32  # numbers by channel once made it float64


def of_nodes(nodes: list[Any], constants: dict[str, Any], result: str = "y") -> kernels.network.model.Model:
    """Nodes between x of four channels and a result."""
    onnx = pytest.importorskip("onnx")
    value, array = onnx.helper.make_tensor_value_info, onnx.numpy_helper.from_array
    made = [onnx.helper.make_node(op, inputs, outputs, **attributes) for op, inputs, outputs, attributes in nodes]
    held = [array(np.asarray(each), name) for name, each in constants.items()]
    graph = onnx.helper.make_graph(made, "test", [value("x", 1, [1, 4, "t"])], [value(result, 7 if result == "places" else 1, None)], held)
    return kernels.load(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8))


LENGTH = [("Shape", ["x"], ["shape"], {}), ("Gather", ["shape", "two"], ["length"], {}), ("Cast", ["length"], ["number"], {"to": 1})]
CONV = ("Conv", ["x", "w"], ["a"], {"pads": [1, 1]})
AWAY = ("Slice", ["a", "zero", "end", "two"], ["y"], {})
ALONE = {"w": np.ones((4, 4, 3), np.float32), "zero": [0], "two": [2]}


@pytest.mark.parametrize("nodes, constants, result, said", [
    ([CONV, AWAY], {"end": [1 << 20]}, "y", "y .Slice. depends on how long"),
    ([CONV, *LENGTH, ("Div", ["length", "by"], ["n"], {}), ("Mul", ["n", "by"], ["end"], {}), AWAY], {"by": [16]}, "y",
     "y .Slice. depends on how long"),
    ([*LENGTH, ("Mul", ["w", "number"], ["scaled"], {}), ("Conv", ["x", "scaled"], ["y"], {})], {}, "y", "y .Conv. depends on how long"),
    ([*LENGTH, ("PRelu", ["x", "number"], ["y"], {})], {}, "y", "y .PRelu. depends on how long"),
    ([CONV, ("Concat", ["a", "x"], ["y"], {"axis": -1})], {}, "y", r"y .Concat. works along axis 2 of shape .*, which is time"),
    ([("MaxPool", ["x"], ["a", "places"], {"kernel_shape": [2]})], {}, "places", "its result places does not stream"),
], ids=["cut", "trimmed", "weights", "slope", "joined", "places"])  # fmt: skip
def test_what_the_length_decides_is_refused(nodes: list[Any], constants: dict[str, Any], result: str, said: str) -> None:
    """Read for one length only, such nodes did nothing, or the same for every length: wrong numbers."""
    with pytest.raises(kernels.RefusedError, match=said):
        kernels.stream(of_nodes(nodes, ALONE | constants, result), shape=(1, 4, None))


def test_what_no_length_changes_streams() -> None:
    """Cut to the end, reshaped to the shape that is there, and taps that a short signal does not fill."""
    wide = np.random.default_rng(1).standard_normal((4, 4, 300)).astype(np.float32)
    reshape = ("Reshape", ["y", "shape"], ["z"], {})
    model = of_nodes([*LENGTH, CONV, AWAY, reshape, ("Conv", ["z", "wide"], ["q"], {})], ALONE | {"end": [2**31 - 1], "wide": wide}, "q")
    x = np.random.default_rng(0).standard_normal((1, 4, 700)).astype(np.float32)
    s = kernels.stream(model, shape=(1, 4, None))
    np.testing.assert_allclose(np.concatenate([s(x[..., :333]), s(x[..., 333:]), s.finish()], -1), model(x), atol=1e-3)


def of_activation(op: str, limits: list[float], attributes: dict[str, float]) -> kernels.network.model.Model:
    """A convolution and an activation."""
    onnx = pytest.importorskip("onnx")
    value, array = onnx.helper.make_tensor_value_info, onnx.numpy_helper.from_array
    weight = np.random.default_rng(1).standard_normal((6, 4, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1]),
        onnx.helper.make_node(op, ["c", *(f"limit{i}" for i in range(len(limits)))], ["y"], **attributes),
    ]
    constants = [array(weight, "w"), *(array(np.float32(number), f"limit{i}") for i, number in enumerate(limits))]
    graph = onnx.helper.make_graph(nodes, "test", [value("x", 1, [1, 4, "t"])], [value("y", 1, [1, 6, "t"])], constants)
    return kernels.load(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 24)], ir_version=10))


@pytest.mark.parametrize("op, limits, attributes", [
    ("Clip", [0.0, 6.0], {}), ("HardSigmoid", [], {"alpha": 1 / 6}), ("HardSwish", [], {}), ("Swish", [], {}), ("LeakyRelu", [], {}),
    ("Elu", [], {"alpha": 0.5}), ("Gelu", [], {}), ("Clip", [0.0, 1.0], {}), ("HardSigmoid", [], {"alpha": 0.2}),
    ("Swish", [], {"alpha": 2.0}), ("Mish", [], {}), ("Softplus", [], {}),
])  # fmt: skip
def test_activations_stream(op: str, limits: list[float], attributes: dict[str, float]) -> None:
    model = of_activation(op, limits, attributes)
    x = (4 * np.random.default_rng(0).standard_normal((1, 4, 60))).astype(np.float32)
    s = kernels.stream(model, shape=(1, 4, None))
    y = np.concatenate([s(x[..., :17]), s(x[..., 17:]), s.finish()], -1)
    np.testing.assert_allclose(y, model(x), atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_does_not_stream_is_named(tmp_path: Path) -> None:
    model = exported(torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.Softmax(-1)), tmp_path / "net.onnx")
    with pytest.raises(kernels.RefusedError, match=r"Softmax. works along axis 2 of shape .*, which is time"):
        kernels.stream(model, shape=(1, 1, None))

"""Models whose nodes are no layers as streams and on dask arrays: what takes every position along time for itself, and recurrences."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest

import kernels

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")


class Block(nn.Module):
    """A dilated convolution that is cut at its end, a norm over channels on the transposed signal, a gate of one channel, a residual."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.crop = 2 * dilation
        self.conv = nn.Conv1d(channels, channels, 3, padding=2 * dilation, dilation=dilation)
        self.norm, self.gate = nn.LayerNorm(channels), nn.Conv1d(channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.softplus(self.conv(x)[:, :, : -self.crop])
        y = self.norm(y.transpose(1, 2)).transpose(1, 2)
        return x + y * torch.sigmoid(self.gate(x))


class Rates(nn.Module):
    """Half the rate, back by repeating, back by shuffling channels into time, and both joined."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv1d(3, 6, 4, stride=2, padding=1), nn.Upsample(scale_factor=2, mode="nearest")
        self.wide, self.back = nn.Conv1d(6, 4, 3, padding=1), nn.ConvTranspose1d(6, 2, 4, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.down(x)
        n, _, t = y.shape
        shuffled = self.wide(y).view(n, 2, 2, t).permute(0, 1, 3, 2).reshape(n, 2, 2 * t)
        return torch.cat([self.up(y).abs().sqrt(), shuffled, self.back(y)[:, :, 1:-1]], 1)


class Frames(nn.Module):
    """A map with time first, whose rest becomes features: a linear layer and a softmax over classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.linear = nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d((1, 4)), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(torch.relu(self.conv(x))).permute(0, 2, 1, 3).flatten(2)
        return torch.softmax(self.linear(y) - y.mean(-1, keepdim=True), -1)


class Flat(nn.Module):
    """Samples without an axis of channels, and a matrix from the left."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mel = nn.Conv1d(1, 18, 16, stride=4), nn.Parameter(torch.rand(5, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x.unsqueeze(1))
        return torch.log(torch.matmul(self.mel, y[:, :9] ** 2 + y[:, 9:] ** 2) + 1e-3)


MODELS: dict[str, tuple[Any, tuple[int | None, ...]]] = {
    "blocks": (nn.Sequential(nn.Conv1d(2, 6, 1), *(Block(6, 1 << i) for i in range(3))), (1, 2, None)),
    "rates": (Rates(), (1, 3, None)),
    "frames": (Frames(), (1, 1, None, 8)),
    "flat": (Flat(), (1, None)),
}


def exported(module: Any, shape: tuple[int | None, ...], batch: int = 1) -> tuple[kernels.network.model.Model, np.ndarray, np.ndarray]:
    """A model, a signal of 200 for it, and what PyTorch makes of that."""
    torch.manual_seed(1)
    x = torch.randn(batch, *(200 if each is None else each for each in shape[1:]))
    written, axes = io.BytesIO(), {"x": {0: "n", shape.index(None): "t"}}
    torch.onnx.export(module.eval(), (x,), written, input_names=["x"], dynamic_axes=axes, opset_version=17, dynamo=False)
    with torch.no_grad():
        return kernels.load(written.getvalue()), x.numpy(), module(x).numpy()


def fed(s: kernels.streaming.stream.Stream, x: np.ndarray, axis: int, lengths: list[int]) -> np.ndarray:
    """All outputs for blocks of these lengths in turns."""
    found, at = [], 0
    while at < x.shape[axis]:
        n = lengths[len(found) % len(lengths)]
        found.append(s(np.take(x, range(at, min(at + n, x.shape[axis])), axis)))
        at += n
    return np.concatenate([*found, s.finish()], s.out_axis)


@pytest.mark.parametrize("name", MODELS)
def test_any_blocks_give_the_whole(name: str) -> None:
    module, shape = MODELS[name]
    model, x, expected = exported(module, shape)
    s = kernels.stream(model, shape=shape, axis=shape.index(None))
    for lengths in ([37], [1, 16, 3, 2, 90], [5, 7, 11, 13, 17, 19, 23, 25, 27, 29, 31]):
        np.testing.assert_allclose(fed(s, x, shape.index(None), lengths), expected, atol=2e-5)
        s.reset()
    assert "compiled" in s.explain()


@pytest.mark.parametrize("name", MODELS)
def test_any_chunks_give_the_whole(name: str) -> None:
    da = pytest.importorskip("dask.array")
    from kernels.dask import apply

    module, shape = MODELS[name]
    model, x, expected = exported(module, shape, batch=3)
    for chunks in ((3, 70), (2, 64)):
        signal = da.from_array(x, chunks=(chunks[0], *(chunks[1] if each is None else -1 for each in shape[1:])))
        lazy = apply(model, signal, axis=shape.index(None))
        assert lazy.shape == expected.shape
        np.testing.assert_allclose(lazy.compute(scheduler="threads"), expected, atol=2e-5)


class Recurrent(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv1d(1, 6, 8, stride=4), nn.Linear(10, 3)
        self.recurrent = kind(6, 10, num_layers=2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.recurrent(torch.relu(self.conv(x)).transpose(1, 2))[0]).transpose(1, 2)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrences_carry_their_states(kind: Any) -> None:
    model, x, expected = exported(Recurrent(kind), (1, 1, None))
    s = kernels.stream(model, shape=(1, 1, None))
    for lengths in ([50], [1, 30, 9]):
        np.testing.assert_allclose(fed(s, x, 2, lengths), expected, atol=2e-5)
        s.reset()
    begun = s(x[..., :90])
    others = [s, copy.copy(s), pickle.loads(pickle.dumps(s)), kernels.stream(model, shape=(1, 1, None))]
    others[-1].restore(s.state())
    for each in others:
        np.testing.assert_allclose(np.concatenate([begun, fed(each, x[..., 90:], 2, [20])], -1), expected, atol=2e-5)
    da = pytest.importorskip("dask.array")
    from kernels.dask import apply

    with pytest.raises(kernels.RefusedError, match="needs all of the signal before"):
        apply(model, da.from_array(x, chunks=(1, 1, 50)))


class Refused(nn.Module):
    def __init__(self, rest: Any) -> None:
        super().__init__()
        self.conv, self.rest = nn.Conv1d(1, 4, 3), rest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(self.conv(x))


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 4, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x.transpose(1, 2))[0]


class Of(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.forward = function


@pytest.mark.parametrize("rest, said", [
    (Both(), "goes bidirectional: it begins at the signal's end"),
    (Of(lambda y: y - y.mean(2, keepdim=True)), "makes one number of all positions along time"),
    (Of(lambda y: torch.softmax(y, 2)), "works along axis 2 of shape .*, which is time"),
    (Of(lambda y: y.transpose(1, 2) @ y), "has time along axes .1, 2."),
    (Of(lambda y: functional.pad(y, (1, 2), mode="reflect")), "Pad. works along axis 2"),
    (Of(lambda y: y[:, :, 3:]), "Slice. works along axis 2"),
    (Of(lambda y: functional.interpolate(y, scale_factor=2, mode="linear")), "Resize. works along axis 2"),
    (Of(lambda y: y.unflatten(2, (-1, 2)).transpose(1, 2).flatten(2)), "mixes time .axis 2. with other axes"),
    (Of(lambda y: y.cumsum(2)), "CumSum. does not stream"),
], ids=["bidirectional", "mean", "softmax", "attention", "reflect", "late", "linear", "frames", "running sum"])  # fmt: skip
def test_what_needs_more_than_a_position_is_named(rest: Any, said: str) -> None:
    model, _, _ = exported(Refused(rest), (1, 1, None))
    with pytest.raises(kernels.RefusedError, match=said):
        kernels.stream(model, shape=(1, 1, None))


def test_a_model_that_mixes_a_batch_is_not_cut_along_it() -> None:
    da = pytest.importorskip("dask.array")
    from kernels.dask import apply

    model, x, expected = exported(Refused(Of(lambda y: y - y.mean(0, keepdim=True))), (1, 1, None), batch=4)
    np.testing.assert_allclose(apply(model, da.from_array(x, chunks=(4, 1, 60))).compute(scheduler="threads"), expected, atol=2e-5)
    with pytest.raises(kernels.RefusedError, match=r"chunks along the batch need a model that takes signals one by one: .*ReduceMean"):
        apply(model, da.from_array(x, chunks=(2, 1, 60)))


def test_a_stream_of_another_dtype_is_refused() -> None:
    model, _, _ = exported(*MODELS["blocks"])
    with pytest.raises(kernels.RefusedError, match="computes in float32, the stream in float64; load the model with dtype='float64'"):
        kernels.stream(model, shape=(1, 2, None), dtype="float64")


def test_a_join_of_one_signal() -> None:
    """It is in ONNX, and shaped as what is before it."""
    from tests.streaming.test_stream_models import ALONE, CONV, of_nodes

    nodes = [CONV, ("Sum", ["a"], ["b"], {}), ("Concat", ["b"], ["c"], {"axis": 1}), ("MaxPool", ["c"], ["y"], {"kernel_shape": [2]})]
    model, x = of_nodes(nodes, ALONE), np.ones((1, 4, 50), np.float32)
    np.testing.assert_allclose(fed(kernels.stream(model, shape=(1, 4, None)), x, 2, [7]), model(x))


def test_a_node_that_is_not_valid_is_named() -> None:
    from tests.streaming.test_stream_models import ALONE, CONV, of_nodes

    model = of_nodes([CONV, ("Conv", ["a", "w", "b", "b"], ["y"], {})], ALONE | {"b": np.ones(4, np.float32)})
    with pytest.raises(kernels.ProblemError, match=r"y .Conv. has 4 inputs; it takes x, weight and bias"):
        kernels.stream(model, shape=(1, 4, None))

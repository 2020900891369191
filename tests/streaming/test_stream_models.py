"""Models of `kernels.load` as streams and on dask arrays."""

from __future__ import annotations

from pathlib import Path

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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_does_not_stream_is_named(tmp_path: Path) -> None:
    model = exported(torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.Softmax(-1)), tmp_path / "net.onnx")
    with pytest.raises(kernels.RefusedError, match=r"do not stream: .*Softmax"):
        kernels.stream(model, shape=(1, 1, None))

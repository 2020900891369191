"""Max pools keep no positions for their gradient: it finds them again in the input, as PyTorch's own has them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as theirs  # noqa: E402

import kernels.torch as ours  # noqa: E402
from kernels.api import grad_maxima  # noqa: E402
from kernels.runtime.bounded_cache import Recent  # noqa: E402

CASES = [
    ("max_pool1d", (2, 3, 40), (3, 2, 1)),
    ("max_pool1d", (3, 41), (4,)),
    ("max_pool2d", (2, 3, 20, 17), (2,)),
    ("max_pool2d", (2, 3, 20, 17), ((3, 2), (2, 1), (1, 0), (2, 3))),
    ("max_pool2d", (1, 2, 9, 8), (3, 2, 1, 1, True)),
    ("max_pool2d", (2, 3, 9, 75), ((2, 3),)),
    ("max_pool2d", (2, 3, 8, 70), (2, (3, 4))),
    ("max_pool2d", (2, 3, 7, 33), (2, None, 0, 1, True)),
    ("max_pool2d", (2, 3, 6, 59), ((1, 59),)),
    ("max_pool2d", (2, 3, 6, 59), ((3, 20), (2, 7), (1, 9))),
    ("max_pool3d", (2, 2, 6, 7, 8), (2, 2, 1)),
    ("max_pool3d", (1, 1, 1, 4, 64), ((2, 1, 8), (1, 1, 8), (1, 0, 0))),
    ("max_pool3d", (2, 3, 1, 5, 64), ((3, 2, 9), 1, (1, 1, 4))),
    ("max_pool3d", (2, 2, 1, 6, 40), ((1, 2, 2),)),
    ("max_pool3d", (2, 2, 1, 6, 40), ((1, 2, 10),)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("op", "shape", "arguments"), CASES)
def test_gradient_is_pytorchs(op: str, shape: tuple[int, ...], arguments: tuple[object, ...], dtype: torch.dtype) -> None:
    """Among many equals, too, as behind a ReLU, and twice differentiated."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=draw, dtype=dtype).relu().mul(2).round().div(2)
    found = []
    for functions in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = getattr(functions, op)(leaf, *arguments)
        grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=dtype).requires_grad_()
        (once,) = torch.autograd.grad(y, leaf, grad, retain_graph=True)
        (of_graph,) = torch.autograd.grad(y, leaf, grad, create_graph=True)
        (twice,) = torch.autograd.grad(of_graph.sum(), grad)
        found.append((y.detach(), once, of_graph.detach(), twice))
    for mine, other in zip(*found):
        torch.testing.assert_close(mine, other)


def test_channels_last_and_no_positions_kept() -> None:
    x = torch.randn(2, 4, 10, 12).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = ours.max_pool2d(x, 2)
    assert y.grad_fn is not None and all(saved.dtype != torch.int64 for saved in y.grad_fn.saved_tensors)
    (grad,) = torch.autograd.grad(y.sum(), x)
    (want,) = torch.autograd.grad(theirs.max_pool2d(x, 2).sum(), x)
    torch.testing.assert_close(grad, want)


@pytest.mark.parametrize("kernel", [2, 9, 20])
def test_what_is_hardly_a_number(kernel: int) -> None:
    """Numbers below the smallest normal one are told apart, -inf alone has a first, a NaN wins."""
    x = torch.full((1, 1, 3, 4 * kernel), 0.0)
    x[0, 0, 0, 1::kernel], x[0, 0, 1] = 1e-42, float("-inf")
    x[0, 0, 2, kernel - 1 :: kernel] = float("nan")
    found = []
    for functions in (ours, theirs):
        leaf = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(functions.max_pool2d(leaf, (1, kernel)).sum(), leaf)
        found.append(grad)
    assert torch.equal(*found)


def test_windows_that_see_padding_alone_stay_inside() -> None:
    """Taps of such a window lie on either side of the input and PyTorch's index lies outside; ours stays in its plane."""
    x, grad = np.arange(18, dtype=np.float32).reshape(2, 1, 1, 9), np.ones((2, 1, 1, 2), np.float32)
    guarded = np.full((4, 1, 1, 9), np.float32(7))
    grad_maxima.from_input("max_pool2d", x, grad, ((2, 8), (1, 1), (1, 0), (2, 1), False), 1, guarded[1:3])
    assert (guarded[[0, 3]] == 7).all() and (guarded[1:3].sum((1, 2, 3)) == 2).all()


def test_what_is_remembered_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: Recent[grad_maxima.Compute] = Recent(8, 4096)
    monkeypatch.setattr(grad_maxima, "_computing", remembered)
    for side in (10, 100):
        x, arguments = np.zeros((1, 1, side, side), np.float32), ((side // 2,) * 2, (side,) * 2, (0, 0), (2, 2), False)
        grad_maxima.from_input("max_pool2d", x, np.ones((1, 1, 1, 1), np.float32), arguments, 1, np.empty_like(x))
    assert [key[1] for key in remembered._sizes] == [(1, 1, 10, 10)]  # of the other one 2500 offsets of taps would be kept


def test_a_nan_takes_the_gradient() -> None:
    x = torch.tensor([[[1.0, float("nan"), 3.0, 2.0]]], requires_grad=True)
    (grad,) = torch.autograd.grad(ours.max_pool1d(x, 2).sum(), x)
    assert grad.tolist() == [[[0.0, 1.0, 1.0, 0.0]]]

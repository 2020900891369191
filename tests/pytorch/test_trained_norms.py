"""Batch norms that train: outputs, gradients and running statistics beside PyTorch's, and what goes to PyTorch's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from kernels.torch import nn as ours  # noqa: E402
from kernels.torch.calls import calls_of  # noqa: E402

nn = torch.nn
SHAPES = {"BatchNorm1d": (5, 6, 31), "BatchNorm2d": (3, 6, 5, 7), "BatchNorm3d": (2, 6, 3, 4, 5)}


def twins(name: str, **options: Any) -> tuple[Any, Any]:
    """Our batch norm in float32 and PyTorch's in float64, of the same weights."""
    mine = getattr(ours, name)(SHAPES[name][1], **options)
    for parameter in mine.parameters():
        nn.init.normal_(parameter)
    theirs = getattr(nn, name)(SHAPES[name][1], **options).double()
    theirs.load_state_dict(mine.state_dict())
    return mine, theirs


def methods(module: Any) -> set[Any]:
    return {method for method, _ in calls_of(module).kinds.values()}


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False, "eps": 0.1}])
@pytest.mark.parametrize("name", SHAPES)
def test_as_pytorch(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    mine, theirs = twins(name, **options)
    for _ in range(3):
        x, grad = torch.randn((2, *SHAPES[name])) * 3 + 1
        held = x.clone().requires_grad_(), x.double().requires_grad_()
        found, wanted = mine(held[0]), theirs(held[1])
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
        of_mine, of_theirs = (
            torch.autograd.grad(y, [each, *module.parameters()], grad.to(y.dtype))
            for y, each, module in ((found, held[0], mine), (wanted, held[1], theirs))
        )
        for one, other in zip(of_mine, of_theirs, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
    assert methods(mine) == {"by the batch"}
    for one, other in zip(mine.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one.to(other.dtype), other, rtol=1e-6, atol=1e-6)


def test_gradients_of_gradients() -> None:
    torch.manual_seed(0)
    module = ours.BatchNorm1d(3).double()
    x = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: module(each), (x,))
    assert torch.autograd.gradgradcheck(lambda each: module(each), (x,))


def test_what_goes_to_pytorch() -> None:
    module = ours.BatchNorm2d(4)
    for x in (torch.randn(2, 4, 5, 6).contiguous(memory_format=torch.channels_last), torch.randn(2, 4, 5, 6).transpose(2, 3)):
        other = copy.deepcopy(module)
        torch.testing.assert_close(other(x), nn.BatchNorm2d(4)(x))
        assert methods(other) == {None}
    with pytest.raises(ValueError, match="more than 1 value"):
        module(torch.randn(1, 4, 1, 1))


def test_the_output_may_be_changed_in_place() -> None:
    x, grad = torch.randn(2, 2, 6, 9, 9)
    results = []
    for made in (ours, nn):
        held = x.clone().requires_grad_()
        torch.relu_(made.BatchNorm2d(6)(held)).backward(grad)
        results.append(held.grad)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_batches_need_not_be_counted() -> None:
    mine, theirs = twins("BatchNorm2d")
    mine.num_batches_tracked = theirs.num_batches_tracked = None
    x = torch.randn(SHAPES["BatchNorm2d"])
    torch.testing.assert_close(mine(x).double(), theirs(x.double()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.running_mean.double(), theirs.running_mean)

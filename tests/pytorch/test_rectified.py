"""Convolutions and the rectifiers behind them in rows of modules: one function computes both where gradients may be required."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kernels.torch  # noqa: E402
from kernels.torch import nn as ours  # noqa: E402
from kernels.torch.calls import calls_of  # noqa: E402

nn = torch.nn
FUSED, APART = "ConvReLUBackward", "ReluBackward0"


def twins(row: Any, *shape: int) -> tuple[Any, Any, Any, Any]:
    """An accelerated copy of a row of modules, PyTorch's in float64, and an input of each."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    return kernels.torch.accelerate(row), copy.deepcopy(row).double(), x.requires_grad_(), x.detach().double().requires_grad_()


def kind(y: Any) -> str:
    return type(y.grad_fn).__name__


def compare(mine: Any, theirs: Any, x: Any, reference: Any) -> Any:
    """Outputs and all gradients; returns ours."""
    found, wanted = mine(x), theirs(reference)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    grad = torch.randn_like(found)
    of_mine = torch.autograd.grad(found, [x, *mine.parameters()], grad)
    of_theirs = torch.autograd.grad(wanted, [reference, *theirs.parameters()], grad.double())
    for one, other in zip(of_mine, of_theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)
    return found


ROWS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "plain": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU()), (2, 3, 9, 11)),
    "in place, no bias": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(inplace=True)), (2, 3, 9, 11)),
    "no batch": (lambda: nn.Sequential(nn.Conv1d(3, 8, 5, padding="same"), nn.ReLU()), (3, 50)),
    "circular": (lambda: nn.Sequential(nn.Conv3d(2, 5, 3, padding=1, padding_mode="circular"), nn.ReLU()), (2, 2, 4, 5, 6)),
    "long": (lambda: nn.Sequential(nn.Conv1d(1, 2, 9, stride=3, dilation=2), nn.ReLU()), (2, 1, 30_000)),
}


@pytest.mark.parametrize("name", ROWS)
def test_as_pytorch(name: str) -> None:
    make, shape = ROWS[name]
    row = make()
    mine, theirs, x, reference = twins(row, *shape)
    assert kind(compare(mine, theirs, x, reference)) == FUSED
    assert list(mine.state_dict()) == list(row.state_dict()) and isinstance(mine[1], nn.ReLU)
    with torch.no_grad():
        torch.testing.assert_close(mine(x).double(), theirs(reference), rtol=1e-5, atol=1e-5)
    assert {method for method, _ in calls_of(mine[0]).kinds.values()} <= {"with gradients", "direct", "winograd", "fft"}


def test_frozen_weights_and_channels_last() -> None:
    mine, theirs, x, reference = twins(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), 2, 3, 9, 11)
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert compare(mine, theirs, last, reference).is_contiguous(memory_format=torch.channels_last)
    for each in (mine, theirs):
        each.requires_grad_(False)
    for _ in range(3):  # packed once from the second call on
        assert kind(mine(x)) == FUSED
        one, other = (torch.autograd.grad(each(seen).square().sum(), seen)[0] for each, seen in ((mine, x), (theirs, reference)))
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)


def test_gradients_of_gradients() -> None:
    mine = kernels.torch.accelerate(nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU()).double())
    torch.manual_seed(0)
    x = torch.randn(2, 2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mine, (x,)) and torch.autograd.gradgradcheck(mine, (x,))


def test_what_is_no_number_passes_as_pytorchs_do() -> None:
    """An infinite gradient is shut off where the rectifier is closed; a NaN leaves it open. Where gradients' graphs are kept, too."""
    for keeps in (False, True):
        for spoilt in ("x", "grad"):
            mine, theirs, x, reference = twins(nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU()), 2, 2, 5, 7)
            grad = torch.randn(2, 4, 5, 7)
            with torch.no_grad():
                closed = tuple(int(i) for i in (theirs(reference) == 0).nonzero()[0])
                if spoilt == "grad":
                    grad[closed] = float("inf")
                else:
                    x[0, 0, 1, 2] = reference[0, 0, 1, 2] = float("nan")
            found = torch.autograd.grad(mine(x), [x, *mine.parameters()], grad, create_graph=keeps)
            wanted = torch.autograd.grad(theirs(reference), [reference, *theirs.parameters()], grad.double(), create_graph=keeps)
            for one, other in zip(found, wanted, strict=True):
                torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_an_output_that_was_changed_is_noticed() -> None:
    """A rectifier's gradient reads its output, so to change that in place is an error, as of PyTorch's."""
    for row in (nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU()), kernels.torch.accelerate(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU()))):
        y = row(torch.randn(1, 1, 9))
        y.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


class Louder(ours.Conv1d):
    """A user's subclass of ours with a forward of its own."""

    def forward(self, input: Any) -> Any:
        return super().forward(input) * 2 - 1


class Shifted(ours.Conv1d):
    """One that changes what a forward is made of."""

    def _conv_forward(self, input: Any, weight: Any, bias: Any) -> Any:
        return super()._conv_forward(input, weight, bias) - 1


def test_what_looks_at_either_is_called_by_itself() -> None:
    x = torch.randn(2, 1, 9)
    for made in (Louder, Shifted):
        row = kernels.torch.sequential.Sequential(made(1, 3, 3), nn.ReLU())
        torch.testing.assert_close(row(x), nn.Sequential.forward(row, x))
        assert kind(row(x)) == APART
    row = kernels.torch.accelerate(nn.Sequential(nn.Conv1d(1, 3, 3), nn.ReLU()))
    of_class = row[0]._conv_forward
    row[0]._conv_forward = lambda *given: of_class(*given) - 1
    assert kind(row(x)) == APART
    torch.testing.assert_close(row(x), nn.Sequential.forward(row, x))
    del row[0]._conv_forward
    assert kind(row(x)) == FUSED
    torch.testing.assert_close(torch.jit.trace(row, x)(x), row(x))  # which compares traces with gradients and without
    seen: list[float] = []
    handle = row[0].register_forward_hook(lambda module, given, y: seen.append(float(y.detach().min())))
    assert kind(row(x)) == APART and seen[0] < 0
    handle.remove()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert row(x).dtype == nn.Sequential.forward(row, x).dtype
    with torch.no_grad():
        assert row(x).grad_fn is None
    assert kind(row(x)) == FUSED


def test_per_sample_gradients() -> None:
    row = kernels.torch.accelerate(nn.Sequential(nn.Conv1d(1, 3, 3), nn.ReLU()))
    x = torch.randn(4, 1, 9)

    def loss(weights: Any, each: Any) -> Any:
        return torch.func.functional_call(row, weights, (each[None],)).square().sum()

    weights = dict(row.named_parameters())
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for i, each in enumerate(x):
        for name, wanted in zip(weights, torch.autograd.grad(loss(weights, each), list(weights.values())), strict=True):
            torch.testing.assert_close(found[name][i], wanted, rtol=1e-5, atol=1e-5)

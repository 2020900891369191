"""Batch norms that train: outputs, gradients and running statistics beside PyTorch's, and what goes to PyTorch's own."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kernels.torch  # noqa: E402
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


def test_pytorchs_own_refuses_no_epsilon() -> None:
    mine, theirs = (module.BatchNorm1d(2, eps=0.0) for module in (ours, nn))
    x, found = torch.randn(3, 2, 5), []
    for module in (theirs, mine):  # newer PyTorch refuses it in training
        try:
            found.append(str(module(x)))
        except ValueError as error:
            found.append(str(error))
    assert found[0] == found[1]


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


def blocks(kind: str, *, inplace: bool = False) -> tuple[Any, Any, Any, Any]:
    """An accelerated batch norm with a rectifier in a row of modules, PyTorch's in float64, and an input of each."""
    torch.manual_seed(0)
    norm = getattr(nn, kind)(SHAPES[kind][1])
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    row = nn.Sequential(nn.Identity(), norm, nn.ReLU(inplace=inplace), nn.Identity())
    x = torch.randn(SHAPES[kind]) * 3 + 1
    return kernels.torch.accelerate(row), row.double(), x.requires_grad_(), x.detach().double().requires_grad_()


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
def test_rectifiers_that_follow(kind: str, inplace: bool) -> None:
    """One function computes both; what comes out, gradients, running statistics and keys are PyTorch's, in training and after it."""
    mine, theirs, x, reference = blocks(kind, inplace=inplace)
    found, wanted = mine(x), theirs(reference)
    assert type(found.grad_fn).__name__ == "NormaliseBackward"
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    grad = torch.randn(SHAPES[kind])
    of_mine = torch.autograd.grad(found, [x, *mine.parameters()], grad)
    of_theirs = torch.autograd.grad(wanted, [reference, *theirs.parameters()], grad.double())
    for one, other in zip(of_mine, of_theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
    for (name, one), (other_name, other) in zip(mine.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other_name
        torch.testing.assert_close(one.to(other.dtype), other, rtol=1e-6, atol=1e-6)
    assert methods(mine[1]) == {"by the batch"}
    torch.testing.assert_close(mine.eval()(x).double(), theirs.eval()(reference), rtol=1e-5, atol=1e-5)


def test_rectified_not_a_number_stays() -> None:
    mine, theirs, x, reference = blocks("BatchNorm2d")
    with torch.no_grad():
        x[1, 2, 3, 4] = reference[1, 2, 3, 4] = float("nan")
    found, wanted = mine(x), theirs(reference)
    assert torch.equal(found.isnan(), wanted.isnan()) and found.isnan().any()
    found.sum().backward()
    wanted.sum().backward()
    assert torch.equal(x.grad.isnan(), reference.grad.isnan())


def test_gradients_of_gradients_of_rectified() -> None:
    mine = kernels.torch.accelerate(nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()).double())
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mine, (x,)) and torch.autograd.gradgradcheck(mine, (x,))


def test_what_is_no_number_passes_rectifiers_as_pytorchs_do() -> None:
    """An infinite gradient is shut off where the rectifier is closed; a NaN leaves it open. Where gradients' graphs are kept, too."""
    for keeps in (False, True):
        for spoilt in ("x", "grad"):
            mine, theirs, x, reference = blocks("BatchNorm2d")
            grad = torch.randn(SHAPES["BatchNorm2d"])
            with torch.no_grad():
                closed = tuple(int(i) for i in (theirs(reference) == 0).nonzero()[0])
                if spoilt == "grad":
                    grad[closed] = float("inf")
                else:
                    x[closed] = reference[closed] = float("nan")
            found = torch.autograd.grad(mine(x), [x, *mine.parameters()], grad, create_graph=keeps)
            wanted = torch.autograd.grad(theirs(reference), [reference, *theirs.parameters()], grad.double(), create_graph=keeps)
            for one, other in zip(found, wanted, strict=True):
                torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_hooks_see_norm_and_rectifier_apart() -> None:
    mine, _, x, _ = blocks("BatchNorm2d")
    seen: list[float] = []
    for each in (mine[1], mine[2]):
        each.register_forward_hook(lambda module, given, y: seen.append(float(y.detach().min())))
    assert float(mine(x).detach().min()) == seen[1] == 0 and seen[0] < 0


def test_rows_of_modules_stay_what_they_are() -> None:
    """Slices, copies, pickles, subclasses, and what traces them."""

    class Block(nn.Sequential):
        pass

    row = nn.Sequential(Block(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU()), nn.Flatten())
    fast, x = kernels.torch.accelerate(row), torch.randn(3, 2, 9)
    wanted = row(x)
    assert isinstance(fast[0], Block) and isinstance(fast, nn.Sequential)
    for each in (fast, copy.deepcopy(fast), fast[:2], torch.fx.symbolic_trace(fast)):
        torch.testing.assert_close(each(x), wanted, rtol=1e-5, atol=1e-5)
    assert [line.module for line in fast.report()] == ["0.0", "0.1"]


class Louder(ours.BatchNorm2d):
    """A user's subclass of ours, whose forward takes no more than PyTorch's."""

    def forward(self, input: Any) -> Any:
        return super().forward(input) * 2 - 1


class Announced(nn.BatchNorm2d):
    """A user's subclass that computes what its base does."""


def test_forwards_of_ones_own_are_called() -> None:
    """Whatever stands in the place of a forward, of the norm's or of the rectifier's, is called as in torch.nn.Sequential."""
    for position in (0, 1):
        for name in ("forward", "_call_impl"):
            row = kernels.torch.accelerate(nn.Sequential(nn.BatchNorm2d(6), nn.ReLU()))
            before = getattr(row[position], name)
            setattr(row[position], name, lambda input, before=before: before(input) * 2 - 1)
            x = torch.randn(SHAPES["BatchNorm2d"])
            torch.testing.assert_close(row(x), nn.Sequential.forward(row, x))
            assert float(row(x).detach().min()) == (0 if position == 0 else -1)
    row = kernels.torch.sequential.Sequential(Louder(6), nn.ReLU())
    x = torch.randn(SHAPES["BatchNorm2d"])
    torch.testing.assert_close(row(x), nn.Sequential.forward(row, x))


def test_only_what_is_known_of_hooks_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    row, x = kernels.torch.accelerate(nn.Sequential(Announced(6), nn.ReLU())), torch.randn(SHAPES["BatchNorm2d"])
    assert type(row(x).grad_fn).__name__ == "NormaliseBackward"
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, y: None)
    try:
        assert type(row(x).grad_fn).__name__ == "ReluBackward0"
    finally:
        handle.remove()
    monkeypatch.setattr(kernels.torch.sequential, "HOOKS", ("_hooks_of_another_pytorch",))
    assert type(row(x).grad_fn).__name__ == "ReluBackward0"


@pytest.mark.parametrize("kind", SHAPES)
def test_a_norm_is_called_and_traced_as_pytorchs(kind: str) -> None:
    mine, theirs = getattr(ours, kind)(6), getattr(nn, kind)(6)
    assert inspect.signature(mine.forward).parameters.keys() == inspect.signature(theirs.forward).parameters.keys()
    x = torch.randn(SHAPES[kind])
    torch.testing.assert_close(torch.fx.symbolic_trace(mine)(x), theirs(x), rtol=1e-5, atol=1e-5)

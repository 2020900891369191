"""Who wants to see a call sees it: subclasses of tensors, modes, torch.fx, forward-mode derivatives, the flop counter."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kernels.torch  # noqa: E402

nn, functional = torch.nn, torch.nn.functional
X = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))


class Tagged(torch.Tensor):
    """What a user derives from tensors stays derived."""


def test_subclasses_stay() -> None:
    x = X.as_subclass(Tagged)
    for op, arguments in (("conv1d", (WEIGHT,)), ("max_pool1d", (2,)), ("avg_pool1d", (2,)), ("adaptive_max_pool1d", (3,))):
        ours, theirs = (getattr(module, op)(x, *arguments) for module in (kernels.torch, functional))
        assert type(ours) is type(theirs) is Tagged
        torch.testing.assert_close(ours.as_subclass(torch.Tensor), theirs.as_subclass(torch.Tensor))


def test_modes_see_the_function_and_the_operator() -> None:
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[Any] = []

    class Functions(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(function)
            return function(*args, **(kwargs or {}))

    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(function)
            return function(*args, **(kwargs or {}))

    with Functions():
        kernels.torch.conv1d(X, WEIGHT)
    assert kernels.torch.conv1d in seen
    with Operators():
        kernels.torch.max_pool1d(X, 2)
    assert torch.ops.spectroconv.max_pool1d.default in seen


def test_fx_traces_functions_and_modules() -> None:
    plain = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.ConvTranspose1d(4, 2, 3), nn.AdaptiveAvgPool1d(3)
    ).eval()
    traced = torch.fx.symbolic_trace(kernels.torch.accelerate(plain))
    assert kernels.torch.conv1d in {node.target for node in traced.graph.nodes}
    with torch.no_grad():
        torch.testing.assert_close(traced(X), plain(X), rtol=1e-4, atol=1e-5)


CALLS = [("conv1d", (WEIGHT,)), ("max_pool1d", (2,)), ("avg_pool1d", (2,)), ("adaptive_avg_pool1d", (4,))]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("op, arguments", CALLS, ids=lambda each: each if isinstance(each, str) else "")
def test_forward_mode_derivatives(op: str, arguments: Any) -> None:
    from torch.autograd import forward_ad

    tangent = torch.ones_like(X)
    ours, theirs = (lambda x, module=module: getattr(module, op)(x, *arguments) for module in (kernels.torch, functional))
    with forward_ad.dual_level():
        found, wanted = (forward_ad.unpack_dual(call(forward_ad.make_dual(X, tangent))).tangent for call in (ours, theirs))
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.func.jvp(ours, (X,), (tangent,)), torch.func.jvp(theirs, (X,), (tangent,)))
    small = X[:1, :, :8].double()
    arguments = tuple(each.double() if isinstance(each, torch.Tensor) else each for each in arguments)
    for transform in (torch.func.jacfwd, torch.func.jacrev):
        torch.testing.assert_close(transform(ours)(small), transform(theirs)(small))
    cubed = [torch.func.hessian(lambda x, call=call: call(x).pow(3).sum())(small) for call in (ours, theirs)]
    torch.testing.assert_close(*cubed)


def test_flops_are_counted() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for module in (kernels.torch, functional):
        with FlopCounterMode(display=False) as counter:
            module.conv1d(X, WEIGHT, None, 2, 1)
            module.conv_transpose2d(X[..., None], WEIGHT.permute(1, 0, 2)[..., None])
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_what_is_no_tensor_is_refused_as_pytorch_does() -> None:
    for wrong in (None, "x", X.numpy()):
        with pytest.raises(TypeError):
            functional.conv1d(wrong, WEIGHT)
        with pytest.raises(TypeError):
            kernels.torch.conv1d(wrong, WEIGHT)

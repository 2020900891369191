"""Accelerated modules compute what the originals do, keep their state, and tell who computed what."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kernels.torch  # noqa: E402
from kernels.torch.accelerate import OURS  # noqa: E402

nn = torch.nn


class Renamed(nn.Conv2d):
    """A user's subclass that computes nothing of its own."""


class Doubled(nn.Conv2d):
    """One that does."""

    def forward(self, x: Any) -> Any:
        return 2 * super().forward(x)


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), Renamed(8, 8, 3, padding="same"), Doubled(8, 8, 1),
        nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(16, 3),
    ).eval()  # fmt: skip


X = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_it_computes_the_same_and_says_by_what() -> None:
    module = network()
    fast = kernels.torch.accelerate(module)
    assert list(fast.state_dict()) == list(module.state_dict())
    assert type(module[0]) is nn.Conv2d  # the original is left alone
    with torch.no_grad():
        same(fast(X), module(X))
        same(fast(X), module(X))
    lines = {line.module: line for line in fast.report()}
    assert set(lines) == {"0", "1", "3", "4", "5", "6", "7", "8", "9", "10"}
    assert all(line.method and not line.reason for name, line in lines.items() if name != "5")
    assert "Doubled computes its own way" in lines["5"].reason and "PyTorch" in str(fast.report())
    same(fast(X), module(X))
    assert "gradients" in {line.module: line for line in fast.report()}["1"].reason  # a batch norm that might be trained
    fast.double()(X.double())
    fast.bfloat16()(X.bfloat16())
    assert any("bfloat16" in (line.reason or "") for line in fast.report())


def test_training_goes_on_as_before() -> None:
    module, losses = network().train(), []
    fast = kernels.torch.accelerate(module)
    for each in (module, fast):
        optimizer = torch.optim.SGD(each.parameters(), 0.05)
        for _ in range(3):
            optimizer.zero_grad()
            loss = each(X).square().sum()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    same(torch.stack(losses[3:]), torch.stack(losses[:3]))
    same(fast.state_dict(), module.state_dict())
    with torch.no_grad():
        same(fast.eval()(X), module.eval()(X))


def test_copies_and_state() -> None:
    module = network()
    fast = kernels.torch.accelerate(module)
    with torch.no_grad():
        want = fast(X)
        twin = copy.deepcopy(fast)
        twin[0].weight.mul_(2)
        assert torch.equal(fast(X), want) and not torch.equal(twin(X), want)
        assert twin.report()[0].method and len(twin.report()) == len(fast.report())
        fast.load_state_dict({name: value * 1.5 if value.is_floating_point() else value for name, value in module.state_dict().items()})
        module.load_state_dict(fast.state_dict())
        same(fast(X), module(X))
    del module[7]  # which PyTorch itself does not pickle
    fast = kernels.torch.accelerate(module)
    again = pickle.loads(pickle.dumps(fast))
    with torch.no_grad():
        same(again(X), module(X))
    assert type(again[0]) is kernels.torch.nn.Conv2d and isinstance(again[4], Renamed)
    assert fast.to("meta")(X.to("meta")).shape == (2, 3)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_both_weight_norms_compute_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (nn.utils.parametrizations.weight_norm, nn.utils.weight_norm):
        module = make(nn.Conv1d(4, 4, 3))
        module(torch.randn(1, 4, 9))  # leaves a computed weight behind, which deepcopy alone refuses
        fast = kernels.torch.accelerate(module)
        x = torch.randn(1, 4, 20)
        with torch.no_grad():
            same(fast(x), module(x))
            first = kernels.torch.weight_norm.weight_of(fast)
            same(fast(x), module(x))
            assert kernels.torch.weight_norm.weight_of(fast) is first
            for each in (fast, module):
                next(each.parameters()).add_(1)
                for parameter in each.parameters():
                    parameter.mul_(1.5)
            same(fast(x), module(x))
        for each in (fast, module):
            each(x).sum().backward()
        same([parameter.grad for parameter in fast.parameters()], [parameter.grad for parameter in module.parameters()])


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("make", [
    lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 3)), lambda: nn.utils.weight_norm(nn.Conv1d(4, 4, 3)),
    lambda: nn.BatchNorm1d(4).eval(),
])  # fmt: skip
def test_what_is_computed_of_tensors_of_one_call_is_not_kept_for_the_next(make: Any) -> None:
    """Weights of a call of their own (functional_call) come to lie where others lay, with the same names and versions."""
    torch.manual_seed(0)
    module = make()
    fast, x = kernels.torch.accelerate(module), torch.randn(1, 4, 20)

    name, weight = next((name, each) for name, each in module.named_parameters() if "bias" not in name)
    numbers = np.empty(tuple(weight.shape), np.float32)

    def call(called: Any, value: int) -> Any:
        numbers.fill(value)
        return torch.func.functional_call(called, {name: torch.from_numpy(numbers)}, (x,))

    with torch.no_grad():
        found = [call(fast, value) for value in range(1, 50)]
        same(found, [call(module, value) for value in range(1, 50)])


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_inference_mode_computed_serves_gradients_too() -> None:
    for make in (nn.utils.parametrizations.weight_norm, nn.utils.weight_norm):
        fast, x = kernels.torch.accelerate(make(nn.Conv1d(4, 4, 3)).requires_grad_(False)), torch.randn(1, 4, 20)
        with torch.inference_mode():
            y = fast(x)
        again = fast(x.requires_grad_())
        same(again, y)
        again.sum().backward()
        assert x.grad.abs().max() > 0


@pytest.mark.parametrize("base", list(OURS), ids=lambda base: base.__name__)
def test_classes_are_drop_in(base: Any) -> None:
    axes = int(base.__name__[-2])
    ours = OURS[base]
    arguments = (4,) if "Norm" in base.__name__ else (4, 6, 3) if "Conv" in base.__name__ else (2,)
    torch.manual_seed(0)
    theirs, mine = base(*arguments).eval(), ours(*arguments).eval()
    assert issubclass(ours, base) and repr(mine) == repr(theirs)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, *(7, 6, 8)[:axes])
    with torch.no_grad():
        same(mine(x), theirs(x))
        assert all(method and not reason for method, reason in kernels.torch.calls.calls_of(mine).kinds.values())
        if "Transpose" in base.__name__:
            size = [length + 2 for length in x.shape[2:]]
            same(mine(x, output_size=size), theirs(x, output_size=size))


def test_two_modules_in_two_threads() -> None:
    modules = [network(), network()]
    with torch.no_grad():
        modules[1][0].weight.mul_(-1)
    fast = [kernels.torch.accelerate(module) for module in modules]
    wrong: list[int] = []

    def work(i: int) -> None:
        with torch.no_grad():
            for _ in range(5):
                if not torch.allclose(fast[i](X), modules[i](X), atol=1e-5):
                    wrong.append(i)

    running = [threading.Thread(target=work, args=(i,)) for i in (0, 1, 0, 1)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong


def test_traced_and_exported() -> None:
    module = network()
    del module[7]
    fast = kernels.torch.accelerate(module)
    exported = torch.export.export(fast, (X,))
    assert "spectroconv.conv2d.default" in {str(node.target) for node in exported.graph.nodes}
    same(exported.module()(X), module(X))
    with torch.no_grad():
        same(torch.compile(fast, backend="aot_eager", fullgraph=True)(X), module(X))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a torch"):
        kernels.torch.accelerate(lambda x: x)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:There is a performance drop:UserWarning")
def test_modules_under_transforms() -> None:
    """torch.func differentiates a loss for every example, and calls modules with stacks of parameters that are not theirs."""
    func = torch.func
    modules = [
        nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular"), nn.ConvTranspose1d(3, 4, 3, stride=2), nn.BatchNorm1d(3).eval(),
        nn.MaxPool1d(2), nn.AdaptiveMaxPool1d(3), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(3),
        nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 3)), nn.utils.weight_norm(nn.Conv1d(3, 4, 3)),
    ]  # fmt: skip
    x = torch.randn(4, 2, 3, 9, generator=torch.Generator().manual_seed(0))
    for module in modules:
        fast, own = kernels.torch.accelerate(module), dict(module.named_parameters())

        def with_parameters(net: nn.Module, parameters: dict[str, torch.Tensor], each: torch.Tensor) -> torch.Tensor:
            return func.functional_call(net, parameters, (each,))

        def gradients(net: nn.Module) -> torch.Tensor:
            return func.vmap(func.grad(lambda each: net(each).square().sum()))(x)

        same(gradients(fast), gradients(module))
        stacks = {name: torch.stack([value, 2 * value, value + 1]) for name, value in own.items()}
        if stacks:
            members = [func.vmap(lambda each, net=net: with_parameters(net, each, x[0]))(stacks) for net in (fast, module)]
            same(*members)

"""torch.compile(backend="spectroconv") as PyTorch's users expect a backend to be: modes, copies, hooks, graph breaks, odd tensors."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from kernels.torch import compiler  # noqa: E402

nn, functional = torch.nn, torch.nn.functional
pytestmark = pytest.mark.usefixtures("fresh")
X = torch.randn(3, 1, 64, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Convolutions, a batch norm, dropout, a buffer, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.drop = nn.Conv1d(1, 4, 5, padding=2), nn.BatchNorm1d(4), nn.Dropout(0.3)
        self.b, self.linear = nn.Conv1d(4, 2, 3, stride=2, padding=1), nn.Linear(2, 3)
        self.register_buffer("gain", torch.full((1,), 2.0))

    def forward(self, x: Any) -> Any:
        return self.linear(self.b(self.drop(functional.relu(self.norm(self.a(x))) * self.gain)).mean(-1))


def fast(call: Any, **options: Any) -> Any:
    return torch.compile(call, backend="spectroconv", **options)


def same(ours: Any, theirs: Any, near: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, rtol=near, atol=near / 10)


def test_modes_follow_one_another() -> None:
    net = Net().eval()
    ours = fast(net)
    with torch.inference_mode():
        same(ours(X), net(X))
        assert ours(X).is_inference()
        inference = torch.randn(3, 1, 64)
    with torch.no_grad():
        same(ours(X), net(X))
        same(ours(inference), net(inference))
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    for call, each in ((ours, x), (net, y)):
        call(each).square().sum().backward()
    same(x.grad, y.grad)


def test_train_and_eval_take_turns() -> None:
    theirs = Net()
    theirs.drop.p = 0.0
    mine = copy.deepcopy(theirs)
    ours = fast(mine)
    for training in (True, False, True, False):
        same(ours.train(training)(X), theirs.train(training)(X))
        same(mine.norm.running_mean, theirs.norm.running_mean)
    dropping = fast(nn.Sequential(nn.Conv1d(1, 4, 3), nn.Dropout(0.5)))
    assert not torch.equal(dropping(X), dropping(X)), "each call drops others"


def test_copies_keep_to_themselves() -> None:
    net = Net().eval()
    ours = fast(net)
    with torch.no_grad():
        ours(X)
        twin = copy.deepcopy(ours)
        twin._orig_mod.a.weight.mul_(2)
        same(ours(X), net(X))
        same(twin(X), twin._orig_mod(X))
        again = pickle.loads(pickle.dumps(net))
        same(fast(again)(X), net(X))
        net.load_state_dict(Net().eval().state_dict(), assign=True)
        same(ours(X), net(X))
        net.a.bias = None
        same(ours(X), net(X))
    assert fast(Net().eval().to("meta"))(X.to("meta")).shape == (3, 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_dtypes(dtype: Any) -> None:
    net = Net().eval()
    ours = fast(net)
    with torch.no_grad():
        same(ours(X), net(X))
        y, theirs = ours.to(dtype)(X.to(dtype)), net(X.to(dtype))
        assert y.dtype is dtype
        same(y.double(), theirs.double(), 1e-4 if dtype is torch.float64 else 3e-2)
        net.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert ours(X).dtype is net(X).dtype
        same(ours(X), net(X))


def test_hooks_and_graph_breaks() -> None:
    net, seen = Net().eval(), []
    net.a.register_forward_hook(lambda module, inputs, y: y * 2)
    net.b.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    net.norm.register_forward_hook(lambda module, inputs, y: seen.append(float(y.mean())))
    ours, other = fast(net), nn.Conv1d(1, 4, 3)

    def branching(x: Any) -> Any:
        y = net.a(x)
        if y.sum() > 0:
            return y * 2
        return other(x) * y.tolist()[0][0][0]

    with torch.no_grad():
        for _ in range(2):
            same(ours(X), net(X))
        assert len(seen) == 4
        for x in (X, -X, X):
            same(fast(branching)(x), branching(x))


class State(nn.Module):
    """A buffer that every call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3)
        self.register_buffer("state", torch.zeros(2))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: Any) -> Any:
        y = self.conv(x) + self.state[:, None]
        self.state.mul_(0.9).add_(y.mean((0, 2)) * 0.1)
        self.calls += 1
        return y


def test_buffers_that_change() -> None:
    theirs = State().eval()
    mine = copy.deepcopy(theirs)
    ours = fast(mine)
    with torch.no_grad():
        for _ in range(5):
            same(ours(X), theirs(X))
            same(mine.state, theirs.state)
    assert int(mine.calls) == 5


CONV, WIDE, SPECTRA = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(1, 8, 3), nn.Conv1d(33, 4, 3)


def _in_place(x: Any) -> Any:
    y = CONV(x)
    y += 1
    y[:, 0] = 0
    y.clamp_(min=0)
    y[:, :, ::2].mul_(2)
    return y


def _complex(x: Any) -> Any:
    spectrum = torch.stft(x[:, 0].repeat(1, 8), 64, 16, window=torch.hann_window(64), return_complex=True)
    return SPECTRA(spectrum.abs().log1p()), torch.istft(spectrum, 64, 16, window=torch.hann_window(64))


def _attention(x: Any) -> Any:
    y = WIDE(x).transpose(1, 2)
    return functional.scaled_dot_product_attention(y, y, y, is_causal=True)


def _indexing(x: Any) -> Any:
    y = CONV(x)
    return y[:, torch.tensor([0, 3, 1])], y.gather(2, torch.zeros(3, 4, 1, dtype=torch.long)), y.topk(2, -1).values, y.cumsum(-1)


CALLS: dict[str, Callable[[Any], Any]] = {
    "in place": _in_place, "complex": _complex, "attention": _attention, "indexing": _indexing,
    "a loop": lambda x: [x := torch.tanh(CONV(x)[:, :1]) + x for _ in range(6)][-1],
    "containers": lambda x: {"y": CONV(x), "more": (3, [CONV(x) + 1, torch.zeros(2)])},
    "vmap": lambda x: torch.func.vmap(lambda each: CONV(each[None])[0])(x),
    "other weights": lambda x: torch.func.functional_call(CONV, {"weight": CONV.weight * 2}, (x,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_stands_beside_convolutions(name: str) -> None:
    ours = fast(CALLS[name])
    with torch.no_grad():
        for _ in range(2):
            same(ours(X), CALLS[name](X))


def test_odd_tensors() -> None:
    net = Net().eval()
    ours = fast(net)
    holes = X.clone()
    holes[0, 0, 5], holes[1, 0, 7] = float("nan"), float("inf")
    turned, empty = torch.randn(64, 1, 3).permute(2, 1, 0), X[:0]
    with torch.no_grad():
        for x in (torch.randn(3, 1, 128)[:, :, ::2], turned, X[:1].expand(3, 1, 64), X.flip(-1), holes, empty, X):
            torch.testing.assert_close(ours(x), net(x), rtol=1e-4, atol=1e-5, equal_nan=True)
        kept = ours(X)
        twin = kept.clone()
        ours(X + 1)
        assert torch.equal(kept, twin), "results are the caller's"


def test_threads_and_bounded_recompiles() -> None:
    nets = [Net().eval() for _ in range(2)]
    calls, wrong = [fast(net) for net in nets], []

    def work(i: int) -> None:
        try:
            with torch.no_grad():
                for turn in range(20):
                    x = torch.randn(1 + turn % 4, 1, 40 + 8 * (turn % 5))
                    same(calls[i](x), nets[i](x))
        except BaseException as error:  # what a thread raises nobody sees
            wrong.append(repr(error))

    running = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong and len(compiler.RECENT) <= 8
    assert all(len(compiled.regions) == 1 for compiled in compiler.RECENT)

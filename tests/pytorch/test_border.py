"""What goes in and out of a compiled graph: how it lies in memory, who shares it, what is held when all is gone."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kernels.torch  # noqa: E402
from kernels.torch import compiler  # noqa: E402
from kernels.torch.memory_orders import inverse, order_of  # noqa: E402
from kernels.torch.program import Program  # noqa: E402

nn = torch.nn
pytestmark = pytest.mark.usefixtures("fresh")


def same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_orders() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert order_of(x) is None
    assert order_of(x.contiguous(memory_format=torch.channels_last)) == (0, 2, 3, 1)
    assert order_of(x.transpose(0, 3)) == (3, 1, 2, 0)
    assert order_of(x[:, ::2]) is None and order_of(x[:, :1].expand(2, 3, 4, 5)) is None and order_of(x[:0]) is None
    one = torch.randn(2, 1, 4, 5)
    last = one.contiguous(memory_format=torch.channels_last)
    for each in (one, last, one.transpose(1, 2), one.permute(3, 1, 0, 2), one.new_empty(1, 1, 3)):
        order = order_of(each)
        if order is not None:
            assert each.permute(order).is_contiguous() and each.permute(order).permute(inverse(order)).stride() == each.stride()
        else:
            assert each.is_contiguous()


NET = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3))


def test_tensors_come_and_go_as_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copies at the border: what a region reads is where the tensor is, what it gives has the strides that PyTorch gives."""
    read: list[int] = []
    run = Program.__call__

    def seen(program: Program, tensors: Any) -> Any:
        plain = program.steps

        def steps(given: Any) -> Any:
            read.extend(array.__array_interface__["data"][0] for array in given.values())
            return plain(given)

        program.steps = steps  # type: ignore[assignment]
        try:
            return run(program, tensors)
        finally:
            program.steps = plain

    monkeypatch.setattr(Program, "__call__", seen)
    net = NET.eval()
    fast = torch.compile(net, backend="spectroconv", fullgraph=True)
    x = torch.randn(2, 3, 16, 12)
    with torch.no_grad():
        for given in (x, x.contiguous(memory_format=torch.channels_last), torch.randn(2, 3, 12, 16).transpose(2, 3)):
            read.clear()
            ours, theirs = fast(given), net(given)
            same(ours, theirs)
            assert given.data_ptr() in read and ours.stride() == theirs.stride()
        turned = torch.compile(lambda x: net(x).permute(0, 2, 3, 1), backend="spectroconv")(x)
        same(turned, net(x).permute(0, 2, 3, 1))
        assert turned.stride() == net(x).permute(0, 2, 3, 1).stride()
        for given in (x[:, :, ::2], x[:1].expand(4, 3, 16, 12), x.flip(3), torch.randn(2, 16, 12, 6)[..., ::2].permute(0, 3, 1, 2)):
            same(fast(given), net(given))


def test_views_of_one_result_share_its_memory() -> None:
    conv = nn.Conv1d(2, 4, 3)

    def call(x: Any) -> Any:
        y = conv(x)
        low, high = y.chunk(2, 1)
        z = torch.relu(y)
        return y, y[:, 0], y.transpose(1, 2), low, high.unsqueeze(1), z[:, 1], z[:, 1:], y.detach(), x[:, 0], torch.relu(low)

    fast = torch.compile(call, backend="spectroconv", fullgraph=True)
    with torch.no_grad():
        for length in (20, 26, 33):
            x = torch.randn(2, 2, length)
            ours, theirs = fast(x), call(x)
            same(ours, theirs)
            for each in (ours, theirs):
                each[0].fill_(2)
                each[5].fill_(3)
            same(ours, theirs)
    assert all(len(compiled.regions) == 1 for compiled in compiler.RECENT)


def test_accelerated_modules_are_one_region() -> None:
    plain = nn.Sequential(
        nn.Conv1d(1, 4, 4, padding="same"), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2, ceil_mode=True),
        nn.ConvTranspose1d(4, 2, 4, 2, 1, 1), nn.AdaptiveMaxPool1d(1), nn.Flatten(),
    ).eval()  # fmt: skip
    module = kernels.torch.accelerate(plain)
    fast = torch.compile(module, backend="spectroconv", fullgraph=True)
    with torch.no_grad():
        for length in range(40, 120, 9):
            x = torch.randn(2, 1, length)
            same(fast(x), plain(x))
    assert len(compiler.RECENT) <= 2, "our own max_pool1d ties a trace to no length"
    assert all(len(compiled.regions) == 1 and not compiled.rest and not compiled.regions[0].reason for compiled in compiler.RECENT)


def test_what_is_told_holds_no_weights() -> None:
    net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU()).eval()
    fast = torch.compile(net, backend="spectroconv")
    with torch.no_grad():
        fast(torch.randn(1, 1, 20))
    weight = weakref.ref(net[0].weight)
    del net, fast
    torch._dynamo.reset()
    gc.collect()
    assert weight() is None and "convolution.default" in kernels.torch.explain()

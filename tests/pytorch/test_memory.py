"""Tensors for results: what PyTorch's own are like, and whose memory is used again."""

from __future__ import annotations

import gc
import threading

import pytest

torch = pytest.importorskip("torch")

from kernels.torch import forget, nn  # noqa: E402
from kernels.torch.memory import empty, results  # noqa: E402

LONG = (4, 3, 400, 300)  # numbers of more than a megabyte
FORMATS = torch.contiguous_format, torch.channels_last


@pytest.mark.parametrize("shape", ((2, 3, 5, 7), LONG))
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_a_result_is_as_pytorchs_own(shape: tuple[int, ...], format: torch.memory_format, dtype: torch.dtype) -> None:
    ours, theirs = empty(shape, dtype, format), torch.empty(shape, dtype=dtype, memory_format=format)
    assert ours.shape == theirs.shape and ours.stride() == theirs.stride() and ours.dtype == theirs.dtype
    assert ours.is_contiguous(memory_format=format) and not ours._is_view() and not ours.requires_grad
    with torch.inference_mode():
        assert empty(shape, dtype, format).is_inference()
    assert not empty(shape, dtype, format).is_inference()


def test_memory_is_used_again_once_no_tensor_holds_it() -> None:
    forget()
    x = empty(LONG, torch.float32)
    at, view = x.data_ptr(), x[1:, :, ::3].detach()
    view.fill_(5)
    del x
    gc.collect()
    other = empty(LONG, torch.float32).zero_()
    assert other.data_ptr() != at and bool((view == 5).all()), "a view holds it"
    del view
    gc.collect()
    again = empty(LONG, torch.float32)
    assert again.data_ptr() == at
    del again
    forget()
    assert not any(piece.resident for piece in results._free)


def test_a_steps_memory_is_that_of_the_step_before() -> None:
    layer = torch.nn.Sequential(nn.Conv2d(2, 12, 3, padding=1), nn.BatchNorm2d(12), nn.MaxPool2d(2))
    x = torch.randn(4, 2, 128, 128, requires_grad=True)

    def step() -> None:
        layer(x).square().sum().backward()
        layer.zero_grad()
        x.grad = None

    def places() -> set[int]:
        gc.collect()
        results._join()
        return {each.memory.ctypes.data + each.start for each in results._free}

    forget()
    step()
    before = places()
    for _ in range(3):
        step()
    assert before and places() == before


def test_results_of_several_threads_share_nothing() -> None:
    layer, x = nn.Conv2d(2, 12, 3, padding=1), torch.randn(4, 2, 128, 128)
    wanted = torch.nn.functional.conv2d(x, layer.weight, layer.bias, padding=1).detach()
    right = []

    def work() -> None:
        for _ in range(5):
            with torch.no_grad():
                y = layer(x)
            right.append(torch.allclose(y, wanted, atol=1e-4))
            y.add_(1)  # no other result shares its memory

    some = [threading.Thread(target=work) for _ in range(3)]
    for each in some:
        each.start()
    for each in some:
        each.join()
    assert right == [True] * 15
    with torch.no_grad():
        last = layer(x)
    forget()
    gc.collect()
    assert torch.allclose(last, wanted, atol=1e-4)

"""kernels.torch's functions against torch.nn.functional's: values, gradients, layouts in memory, what goes to PyTorch."""

from __future__ import annotations

import threading
import zipfile
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kernels.torch  # noqa: E402 (PyTorch first, or the file is skipped)
from kernels.torch import compute  # noqa: E402

functional = torch.nn.functional
SIZES = {1: (13,), 2: (9, 7), 3: (5, 6, 4)}


def made(*shape: int, dtype: Any = torch.float64, seed: int = 0) -> Any:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed + sum(shape)))


CONV: list[tuple[Any, ...]] = [
    (1, 0, 1, 1), (2, 1, 1, 1), (1, "same", 1, 2), ([2], [1], [1], 2), (1, "valid", 2, 1), (1, "same", 2, 1),
]  # fmt: skip


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("arguments", CONV, ids=str)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_convolution(axes: int, arguments: tuple[Any, ...], batched: bool) -> None:
    x, weight, bias = made(2, 4, *SIZES[axes]), made(6, 4 // arguments[3], *(2, 3, 2)[:axes]), made(6)
    x = x if batched else x[0]
    op = f"conv{axes}d"
    theirs = getattr(functional, op)(x, weight, bias, *arguments)
    for _ in range(3):  # packed for the call, kept, found again
        torch.testing.assert_close(getattr(kernels.torch, op)(x, weight, bias, *arguments), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("arguments", [(2, 1, 1, 2, 1), (1, 0, 0, 1, 2), (3, 0, 2, 1, 1)], ids=str)
def test_transposed_convolution(axes: int, arguments: tuple[Any, ...]) -> None:
    x, weight = made(2, 4, *SIZES[axes]), made(4, 3, *(2, 3, 2)[:axes])
    op = f"conv_transpose{axes}d"
    theirs = getattr(functional, op)(x, weight, None, *arguments)
    for _ in range(3):
        torch.testing.assert_close(getattr(kernels.torch, op)(x, weight, None, *arguments), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("batched", [True, False])
def test_pools(axes: int, batched: bool) -> None:
    x = made(2, 4, *SIZES[axes]) if batched else made(4, *SIZES[axes])
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("max_pool", (2,)), ("max_pool", (3, 2, 1, 1, True)), ("max_pool", (2, 1, 0, 2, False, True)), ("avg_pool", (3, 2, 1, True, False)),
        ("avg_pool", (2, [])), ("adaptive_avg_pool", (3,)), ("adaptive_max_pool", (3, True)), ("adaptive_max_pool", (2,)),
    ]  # fmt: skip
    for name, arguments in calls:
        if arguments == (2, []) and axes > 1:
            arguments = (2, None)
        ours, theirs = (getattr(module, f"{name}{axes}d")(x, *arguments) for module in (kernels.torch, functional))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13, msg=f"{name}{arguments}")


@pytest.mark.parametrize("groups", [1, 2])
def test_channels_last_stay_last(groups: int) -> None:
    for shape, format, op, kernel in (
        ((2, 4, 9, 7), torch.channels_last, "conv2d", (3, 2)),
        ((2, 4, 5, 6, 4), torch.channels_last_3d, "conv3d", (2, 3, 2)),
    ):
        x = made(*shape).contiguous(memory_format=format)
        weight = made(6, 4 // groups, *kernel)
        ours = getattr(kernels.torch, op)(x, weight, None, 1, 1, 1, groups)
        assert ours.is_contiguous(memory_format=format) and not ours.is_contiguous()
        torch.testing.assert_close(ours, getattr(functional, op)(x, weight, None, 1, 1, 1, groups), rtol=0, atol=1e-12, check_stride=False)
        weight = made(4, 3, *kernel)
        op = op.replace("conv", "conv_transpose")
        ours = getattr(kernels.torch, op)(x, weight, None, 2, 1, 1, groups)
        assert ours.is_contiguous(memory_format=format)
        torch.testing.assert_close(ours, getattr(functional, op)(x, weight, None, 2, 1, 1, groups), rtol=0, atol=1e-12, check_stride=False)
        pool = op.replace("conv_transpose", "max_pool")
        both = (getattr(module, pool)(x, 2, return_indices=True) for module in (kernels.torch, functional))
        for mine, other in zip(*both):
            assert mine.is_contiguous(memory_format=format) and torch.equal(mine, other)


def test_odd_strides_are_read_right() -> None:
    x, weight = made(4, 9, 14).transpose(0, 1)[::2, :, 1::2], made(5, 3, 4).permute(2, 1, 0).contiguous().permute(2, 1, 0)
    weight = weight[:, :, ::2].repeat(1, 2, 1)[:, 1:5]
    for _ in range(3):
        torch.testing.assert_close(kernels.torch.conv1d(x, weight), functional.conv1d(x, weight), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_gradients() -> None:
    from torch.autograd import gradcheck, gradgradcheck

    x, weight, bias = made(1, 4, 4, 3).requires_grad_(), made(4, 2, 2, 2).requires_grad_(), made(4).requires_grad_()
    assert gradcheck(lambda x, w, b: kernels.torch.conv2d(x, w, b, 2, 1, 1, 2), (x, weight, bias))
    assert gradcheck(lambda x, w, b: kernels.torch.conv2d(x, w, b, 1, "same", 1, 2), (x, weight, bias))
    assert gradgradcheck(lambda x, w, b: kernels.torch.conv2d(x, w, b, 1, "same", 1, 2), (x, weight, bias))
    assert gradcheck(lambda x, w: kernels.torch.conv_transpose2d(x[0], w, None, 2, 1, 1, 2), (x, weight))
    assert gradcheck(lambda x: kernels.torch.max_pool2d(x, 2, 1, 1), x)
    assert gradcheck(lambda x: kernels.torch.avg_pool2d(x, 3, 2, 1, True, False), x)
    assert gradcheck(lambda x: kernels.torch.avg_pool1d(x[0], 2), x)
    assert gradcheck(lambda x: kernels.torch.adaptive_avg_pool2d(x, (3, None)), x)
    assert gradcheck(lambda x: kernels.torch.adaptive_max_pool1d(x[0], 2), x)
    assert gradcheck(lambda x: kernels.torch.adaptive_avg_pool1d(x[0], 2), x)
    x3 = made(1, 2, 3, 4, 3).requires_grad_()
    assert gradcheck(lambda x: kernels.torch.avg_pool3d(x, 2, 1), x3) and gradcheck(lambda x: kernels.torch.adaptive_avg_pool3d(x, 2), x3)


OPERATORS: list[tuple[str, tuple[Any, ...]]] = [
    ("conv1d", (made(2, 4, 9), made(6, 2, 3), made(6), (2,), (1, 1), (1,), 2)),
    ("conv2d", (made(2, 4, 9, 7), made(6, 4, 3, 2), None, (1, 1), (1, 1, 0, 1), (1, 1), 1)),
    ("conv_transpose1d", (made(2, 4, 9), made(4, 3, 3), made(6), (2,), (1,), (1,), 2, (1,))),
    ("max_pool2d", (made(2, 4, 9, 7), (2, 2), (2, 2), (0, 0), (1, 1), True)),
    ("max_pool1d_with_indices", (made(2, 4, 9), (2,), (2,), (0,), (1,), False)),
    ("avg_pool1d", (made(2, 4, 9), (2,), (2,), (0,), False, True, None)),
    ("adaptive_avg_pool2d", (made(2, 4, 9, 7), (3, 2))),
    ("adaptive_max_pool1d_with_indices", (made(2, 4, 9), (4,))),
]


@pytest.mark.parametrize("name, arguments", OPERATORS, ids=lambda each: each if isinstance(each, str) else "")
@pytest.mark.parametrize("gradients", [False, True])
def test_operators_are_what_pytorch_wants(name: str, arguments: tuple[Any, ...], gradients: bool) -> None:
    given = [each.clone().requires_grad_(gradients) if isinstance(each, torch.Tensor) else each for each in arguments]
    found = torch.library.opcheck(getattr(torch.ops.spectroconv, name).default, tuple(given))
    assert set(found.values()) == {"SUCCESS"}


def test_a_weight_is_packed_once_and_again_after_it_changed() -> None:
    kernels.torch.forget()
    x, weight, bias = (made(*shape, dtype=torch.float32) for shape in ((1, 3, 20), (4, 3, 3), (4,)))
    weight = torch.nn.Parameter(weight)
    with torch.no_grad():
        first = kernels.torch.conv1d(x, weight, bias)
        plans = dict(compute.kept(weight, bias).plans)
        assert len(plans) == 1
        assert torch.equal(kernels.torch.conv1d(x, weight, bias), first)
        assert compute.kept(weight, bias).plans == plans
        for change in (weight, bias):
            change.mul_(2)
            assert compute.kept(weight, bias) is None
            torch.testing.assert_close(kernels.torch.conv1d(x, weight, bias), functional.conv1d(x, weight, bias))
        weight.data = made(4, 3, 3, dtype=torch.float32, seed=9)  # other memory, another weight
        torch.testing.assert_close(kernels.torch.conv1d(x, weight, bias), functional.conv1d(x, weight, bias))
        for seed in range(4):  # a new bias may lie where the last one lay
            torch.testing.assert_close(
                kernels.torch.conv1d(x, weight, made(4, dtype=torch.float32, seed=seed)),
                functional.conv1d(x, weight, made(4, dtype=torch.float32, seed=seed)),
            )
    name = id(weight)
    del weight, change
    assert name not in compute._kept  # what was packed goes with the weight


def test_a_trained_weight_is_never_stale() -> None:
    x, weight = made(2, 3, 20), torch.nn.Parameter(made(4, 3, 3))
    optimizer = torch.optim.SGD([weight], 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        y = kernels.torch.conv1d(x, weight)
        torch.testing.assert_close(y, functional.conv1d(x, weight))
        y.square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            torch.testing.assert_close(kernels.torch.conv1d(x, weight), functional.conv1d(x, weight))


def test_inference_tensors() -> None:
    with torch.inference_mode():
        x, weight = made(2, 3, 20), made(4, 3, 3)
        for _ in range(3):
            torch.testing.assert_close(kernels.torch.conv1d(x, weight), functional.conv1d(x, weight), rtol=0, atol=1e-12)
            weight.mul_(2)  # which no version counter tells


def test_what_is_not_ours_goes_to_pytorch() -> None:
    x, weight = made(2, 3, 20), made(4, 3, 3)
    half = kernels.torch.conv1d(x.bfloat16(), weight.bfloat16())
    assert half.dtype is torch.bfloat16
    assert kernels.torch.conv1d(x.to("meta"), weight.to("meta")).device.type == "meta"
    assert kernels.torch.conv1d(x.to(torch.complex64), weight.to(torch.complex64)).dtype is torch.complex64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kernels.torch.conv1d(x.float(), weight.float()).dtype is torch.bfloat16
    negative = torch.imag(torch.complex(x, x).conj())  # its sign is a bit that PyTorch carries along
    torch.testing.assert_close(kernels.torch.conv1d(negative, weight), functional.conv1d(negative, weight), rtol=0, atol=1e-12)
    for wrong in ((x.float(), weight), (x, weight, made(3)), (x[:, :2], weight), (x, weight, None, 0), (x, weight, None, 1, -1)):
        with pytest.raises(RuntimeError) as theirs:
            functional.conv1d(*wrong)
        with pytest.raises(RuntimeError) as ours:
            kernels.torch.conv1d(*wrong)
        assert str(ours.value) == str(theirs.value)
    with pytest.raises(RuntimeError):
        kernels.torch.max_pool1d(x, 2, 2, 2)


def test_transforms_and_modes_are_obeyed() -> None:
    x, weight = made(5, 2, 3, 20), made(4, 3, 3)
    batched = torch.func.vmap(lambda each: kernels.torch.conv1d(each, weight))(x)
    torch.testing.assert_close(batched, torch.stack([functional.conv1d(each, weight) for each in x]), rtol=0, atol=1e-12)
    jacobian = torch.func.grad(lambda w: kernels.torch.conv1d(x[0], w).square().sum())(weight)
    torch.testing.assert_close(jacobian, torch.func.grad(lambda w: functional.conv1d(x[0], w).square().sum())(weight))
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    with FakeTensorMode():
        assert isinstance(kernels.torch.max_pool1d(torch.empty(1, 2, 8), 2), FakeTensor)
    traced = torch.jit.trace(lambda each: kernels.torch.conv1d(each, weight), x[0])
    torch.testing.assert_close(traced(x[1]), functional.conv1d(x[1], weight), rtol=0, atol=1e-12)


def test_results_are_tensors_like_any_other() -> None:
    x = made(2, 3, 20, dtype=torch.float32)
    y = kernels.torch.max_pool1d(x, 2)
    y.resize_(2, 3, 40)  # its memory is PyTorch's
    assert kernels.torch.max_pool1d(x[:0], 2).shape == (0, 3, 10)


def test_threads_share_packed_weights() -> None:
    weights = [torch.nn.Parameter(made(8, 4, 3, dtype=torch.float32, seed=seed)) for seed in range(3)]
    inputs = [made(2, 4, length, dtype=torch.float32) for length in (30, 41, 52, 30)]
    wrong: list[str] = []

    def work(shift: int) -> None:
        with torch.no_grad():
            for turn in range(30):
                x, weight = inputs[(turn + shift) % 4], weights[turn % 3]
                if not torch.allclose(kernels.torch.conv1d(x, weight, padding=1), functional.conv1d(x, weight, padding=1), atol=1e-5):
                    wrong.append(f"{shift} {turn}")

    running = [threading.Thread(target=work, args=(shift,)) for shift in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong


def test_export_keeps_our_operators(tmp_path: Any) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(made(4, 3, 3, dtype=torch.float32))

        def forward(self, x: Any) -> Any:
            return kernels.torch.max_pool1d(kernels.torch.conv1d(x, self.weight, padding="same"), 2)

    net, x = Net(), made(2, 3, 20, dtype=torch.float32)
    exported = torch.export.export(net, (x,), dynamic_shapes=({2: torch.export.Dim.AUTO},))
    names = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert "spectroconv.conv1d.default" in names
    longer = made(2, 3, 26, dtype=torch.float32)
    torch.testing.assert_close(exported.module()(longer), net(longer))
    torch.export.save(exported, tmp_path / "net.pt2")
    assert zipfile.is_zipfile(tmp_path / "net.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(x), net(x))

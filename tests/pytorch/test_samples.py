"""PyTorch's own sample inputs for its convolutions and pools: ours give the same results and gradients, and pass gradcheck in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")  # which PyTorch's samples import

from torch.autograd import gradcheck, gradgradcheck  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

import kernels.torch  # noqa: E402

KINDS = "conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"
NAMES = [f"{kind}{axes}d" for kind in KINDS for axes in (1, 2, 3)]
INFOS = {info.name.removeprefix("nn.functional."): info for info in op_db if info.name.startswith("nn.functional.")}
COMPARED, CHECKED = 150, 20  # samples of each operator that are compared and differentiated; max pools have up to 1440
ALL = 50  # elements of the tensors up to which every one is moved for finite differences; of more, one random direction
LARGE = 3000  # elements up to which that is done


def samples(name: str, dtype: Any, count: int, *, requires_grad: bool) -> list[Any]:
    """At most so many of PyTorch's samples, from all over the list."""
    torch.manual_seed(0)
    found = list(INFOS[name].sample_inputs("cpu", dtype, requires_grad=requires_grad))
    return found[:: -(-len(found) // count)]


def only_values(y: Any) -> Any:
    """The values of a pool that gives positions too."""
    return y[0] if isinstance(y, tuple) else y


def tensors_of(sample: Any) -> list[Any]:
    """The tensors among the arguments."""
    return [each for each in (sample.input, *sample.args) if isinstance(each, torch.Tensor)]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_results_and_gradients(name: str, dtype: Any) -> None:
    ours, theirs = getattr(kernels.torch, name), INFOS[name].op
    near = {"rtol": 1e-4, "atol": 1e-4} if dtype is torch.float32 else {"rtol": 1e-9, "atol": 1e-11}
    found = samples(name, dtype, COMPARED, requires_grad=True)
    assert len(found) >= 4
    for sample in found:
        with torch.no_grad():
            torch.testing.assert_close(
                ours(sample.input, *sample.args, **sample.kwargs), theirs(sample.input, *sample.args, **sample.kwargs), **near
            )
        y, other = (only_values(op(sample.input, *sample.args, **sample.kwargs)) for op in (ours, theirs))
        wanted = [each for each in tensors_of(sample) if each.requires_grad]
        grad = torch.randn_like(other)
        assert y.requires_grad and wanted
        torch.testing.assert_close(torch.autograd.grad(y, wanted, grad), torch.autograd.grad(other, wanted, grad), **near)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", NAMES)
def test_finite_differences(name: str) -> None:
    small = [each for each in samples(name, torch.float64, COMPARED, requires_grad=True) if 0 < each.input.numel() <= LARGE]
    assert small
    for sample in small[:: -(-len(small) // CHECKED)]:

        def call(*tensors: Any, sample: Any = sample) -> Any:
            given = iter(tensors)
            arguments: Sequence[Any] = [next(given) if isinstance(each, torch.Tensor) else each for each in (sample.input, *sample.args)]
            return only_values(getattr(kernels.torch, name)(*arguments, **sample.kwargs))

        tensors = tensors_of(sample)
        assert gradcheck(call, tensors, fast_mode=sum(each.numel() for each in tensors) > ALL)
        assert gradgradcheck(call, tensors, fast_mode=True)

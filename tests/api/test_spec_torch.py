"""PyTorch's own sample inputs and error inputs for convolution and pooling, answered by this library and by PyTorch in float64.

Maximum pools have 2,880 of the 3,076 samples; every seventh of theirs is run, all where the environment variable KERNELS_ALL_SAMPLES is
set (which takes a minute more).
"""

from __future__ import annotations

import functools
import os
import sys
import types
import unittest
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import reference

import kernels

torch = pytest.importorskip("torch")
try:
    import expecttest  # noqa: F401
except ImportError:  # PyTorch's test helpers want its TestCase, which nothing here uses
    sys.modules["expecttest"] = types.ModuleType("expecttest")
    sys.modules["expecttest"].TestCase = unittest.TestCase  # type: ignore[attr-defined]
common = pytest.importorskip("torch.testing._internal.common_methods_invocations")

FAMILIES = ("conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
NAMES = {f"{family}{axes}d" for family in FAMILIES for axes in (1, 2, 3)}
OPS = {op.name.removeprefix("nn.functional."): op for op in common.op_db if op.name.removeprefix("nn.functional.") in NAMES}
# largest difference, as a share of the largest answer
BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12, torch.int64: 1e-12, torch.uint8: 1e-5, torch.float16: 1e-3}
EVERY = 1 if os.environ.get("KERNELS_ALL_SAMPLES") else 7  # has no divisor in common with the lengths of the lists


def test_nothing_is_left_out() -> None:
    assert OPS.keys() == NAMES


@functools.cache
def samples(name: str) -> list[Any]:
    """In float32; drawing them takes longer than answering them."""
    return list(OPS[name].sample_inputs("cpu", torch.float32))


def selected(name: str, dtype: Any) -> Iterator[Any]:
    every = EVERY if len(samples(name)) > 100 else 1
    for sample in samples(name)[::every]:
        yield sample.transform(lambda value: value.to(dtype) if isinstance(value, torch.Tensor) else value)


def in_float64(value: Any) -> Any:
    return value.to(torch.float64) if isinstance(value, torch.Tensor) else value


def theirs(name: str, sample: Any) -> tuple[np.ndarray, ...]:
    options = {key: in_float64(value) for key, value in sample.kwargs.items()}
    answer = OPS[name].op(in_float64(sample.input), *map(in_float64, sample.args), **options)
    return tuple(part.numpy() for part in (answer if isinstance(answer, tuple) else (answer,)))


def ours(name: str, sample: Any) -> tuple[np.ndarray, ...]:
    answer = getattr(kernels, name)(sample.input, *sample.args, **sample.kwargs)
    return answer if isinstance(answer, tuple) else (answer,)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dtype", BOUNDS, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("name", sorted(OPS))
def test_samples(name: str, dtype: Any) -> None:
    returned = {torch.float32: "float32", torch.uint8: "float32", torch.float16: "float16"}.get(dtype, "float64")
    for sample in selected(name, dtype):
        expected, answer = theirs(name, sample), ours(name, sample)
        assert [part.shape for part in answer] == [part.shape for part in expected], sample
        assert [part.dtype.name for part in answer] == [returned, "int64"][: len(expected)], sample
        if "max" in name:
            assert all(map(np.array_equal, answer, expected)), sample
        else:
            assert reference.share(answer[0], expected[0]) <= BOUNDS[dtype], sample


@pytest.mark.parametrize("name", sorted(OPS))
def test_bfloat16_is_refused(name: str) -> None:
    sample = next(selected(name, torch.bfloat16))
    with pytest.raises(kernels.ProblemError, match=rf"{name}: x cannot be read as an array.*BFloat16.*float\(\)"):
        ours(name, sample)


def widened(mistake: Any) -> bool:
    """Operands of different dtypes are computed in the widest here; complex ones are refused."""
    tensors = [value for value in (mistake.sample_input.input, *mistake.sample_input.args) if isinstance(value, torch.Tensor)]
    return "should be the same" in mistake.error_regex and not any(tensor.is_complex() for tensor in tensors)


@pytest.mark.parametrize("name", sorted(name for name in OPS if OPS[name].error_inputs_func))
def test_error_inputs(name: str) -> None:
    mistakes = list(OPS[name].error_inputs("cpu"))
    assert mistakes
    for mistake in mistakes:
        sample = mistake.sample_input
        if widened(mistake):
            assert reference.share(ours(name, sample)[0], theirs(name, sample)[0]) <= 1e-12
            continue
        if "not supported for strided" in mistake.error_regex:  # "same" means ceil(n / stride) outputs here
            stride = sample.kwargs["stride"]
            assert ours(name, sample)[0].shape[2:] == tuple(-(-n // stride) for n in sample.input.shape[2:])
            continue
        for value in (sample.input, *sample.args):  # a tensor that wants its gradient is refused for that alone
            if isinstance(value, torch.Tensor):
                value.requires_grad_(False)
        with pytest.raises(kernels.ProblemError, match=f"^{name}: "):
            ours(name, sample)

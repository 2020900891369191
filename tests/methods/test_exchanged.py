"""Transposed layers whose weights are the input of a product: against float64, through the function, which packs in each call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from memory import Guarded, given

import kernels
from kernels import methods
from kernels.dispatch.heuristic import choose
from kernels.methods import registry
from kernels.methods.estimate import estimate, packing_seconds
from kernels.methods.lowered import transposed, transposed_exchanged
from kernels.problem.conv import ConvTranspose
from kernels.problem.operands import Operands
from kernels.runtime.machine import pretend

methods.load()
Array = np.ndarray


def layer(size: Any, kernel: Any, n: int = 1, stride: Any = (1, 1), padding: Any = ((0, 0), (0, 0)), dilation: Any = (1, 1),
          more: Any = (0, 0), c_in: int = 5, c_out: int = 3, dtype: str = "float32", bias: bool = False) -> ConvTranspose:  # fmt: skip
    return ConvTranspose(
        op="conv_transpose2d", n=n, c_in=c_in, size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation, dtype=dtype,
        c_out=c_out, output_padding=more, bias=bias,
    )  # fmt: skip


def expected(problem: ConvTranspose, x: Array, weight: Array, bias: Array | None) -> Array:
    """By the definition, in float64."""
    full = [(i - 1) * s + (k - 1) * d + 1 + m for i, s, k, d, m in
            zip(problem.size, problem.stride, problem.kernel, problem.dilation, problem.output_padding)]  # fmt: skip
    y = np.zeros((problem.n, problem.c_out, *full))
    (h, w), (sh, sw), (dh, dw) = problem.size, problem.stride, problem.dilation
    for i, j in np.ndindex(*problem.kernel):
        part = np.einsum("nihw,io->nohw", x.astype(np.float64), weight[:, :, i, j].astype(np.float64))
        y[:, :, i * dh : i * dh + (h - 1) * sh + 1 : sh, j * dw : j * dw + (w - 1) * sw + 1 : sw] += part
    (top, bottom), (left, right) = problem.padding
    y = y[:, :, top : full[0] - bottom, left : full[1] - right]
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


CASES = {
    "stride_is_kernel": {"size": (1, 9), "kernel": (1, 25), "stride": (1, 25), "padding": ((0, 0), (3, 7)), "n": 2},
    "gaps": {"size": (3, 4), "kernel": (2, 1), "stride": (4, 3), "more": (1, 2)},
    "overlap": {"size": (5, 6), "kernel": (4, 5), "stride": (2, 2), "padding": ((1, 2), (2, 0)), "dilation": (1, 2), "n": 3, "bias": True},
    "one_position": {"size": (7, 1), "kernel": (3, 41), "padding": ((1, 1), (0, 2)), "n": 2, "c_in": 45},
    "one_channel": {"size": (2, 33), "kernel": (1, 70), "stride": (1, 64), "c_out": 1, "c_in": 19},
    "many_channels": {"size": (2, 2), "kernel": (3, 3), "stride": (2, 1), "padding": ((1, 1), (1, 1)), "c_out": 37},
}


@pytest.mark.parametrize(("dtype", "vector_bytes"), [("float32", 16), ("float64", 32), ("float32", 64)])
@pytest.mark.usefixtures("poisoned_scratch")
def test_against_float64(dtype: str, vector_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lane width; images together, and one by one with some of them twice; one thread and two give the same bits."""
    draw = np.random.default_rng(0)
    for name, case in CASES.items():
        problem = layer(**case, dtype=dtype)  # type: ignore[arg-type]
        x, weight, bias = (draw.standard_normal(shape).astype(dtype) for shape in
                           (problem.x_shape, (problem.c_in, problem.c_out, *problem.kernel), (problem.c_out,)))  # fmt: skip
        wanted = expected(problem, x, weight, bias if problem.bias else None)
        each = problem.c_out * problem.taps * problem.size[0] * problem.size[1] * problem.itemsize
        for budget in (1 << 20, 2 * each, 1):
            monkeypatch.setattr(transposed_exchanged, "BUDGET", budget)
            results = []
            for threads in (1, 2):
                with pretend(vector_bytes=vector_bytes):
                    method = registry.every("conv")["direct"]
                    found = transposed_exchanged.exchanged(problem, method)
                    assert found is not None
                    ready = transposed_exchanged.prepare(problem, found, method, threads)
                    assert ready is not None
                    target = Guarded(problem.conv_shape, dtype)
                    operands = Operands(given(weight).array, given(bias).array if problem.bias else None)
                    ready.pack(operands)(given(x).array, target.array)
                assert target.zones_untouched(), name
                assert np.abs(target.array - wanted).max() <= (1e-5 if dtype == "float32" else 1e-13) * np.abs(wanted).max(), name
                results.append(target.array)
            np.testing.assert_array_equal(*results, err_msg=name)


# many weights over few positions, which wait for weights; positions without end, which do not
DEEP = layer((1, 13), (1, 8), stride=(1, 4), padding=((0, 0), (3, 3)), c_in=512, c_out=64)
WIDE = layer((40, 400), (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), c_in=64, c_out=64)


def test_where_weights_cost_most() -> None:
    """Only weights of one call: a plan lays them out once. The estimate that ranks methods is that of the way which is taken."""
    clock = transposed.calibration().clock, transposed.calibration().bandwidth
    assert transposed._exchanged(DEEP, "direct", *clock) is not None
    assert transposed._exchanged(WIDE, "direct", *clock) is None
    method = registry.get(DEEP, "direct")
    assert packing_seconds(DEEP, method) < packing_seconds(DEEP, method, unpacked=False)
    packed = estimate(DEEP, method)
    assert packed is not None and choose(DEEP, "auto", 2, packs=True).estimates["direct"] == pytest.approx(
        packed + packing_seconds(DEEP, method)
    )
    assert "weights as input" in method.prepare_unpacked(DEEP, 2).note  # type: ignore[misc]
    assert "weights as input" not in method.prepare(DEEP, 2).note


def test_the_function_takes_it() -> None:
    draw = np.random.default_rng(1)
    grad, weight = draw.standard_normal((1, 512, 13)), draw.standard_normal((512, 64, 8))
    single = kernels.grad.conv1d_input((1, 64, 50), *(each[...].astype(np.float32) for each in (weight, grad)), 4, 3)
    exact = kernels.grad.conv1d_input((1, 64, 50), weight, grad, 4, 3, implementation="im2col")
    assert np.abs(single - exact).max() <= 1e-5 * np.abs(exact).max()

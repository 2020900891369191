"""What follows a convolution (bias, scale and shift, activation, pool) equals the separate steps, whoever does it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from cases import PRECISION

import kernels
from kernels import implementations
from kernels.methods import load, registry
from kernels.primitives import elementwise as epilogue
from kernels.problem.conv import ACTIVATIONS
from kernels.problem.operands import Operands
from kernels.runtime.machine import pretend

load()
NAMES = list(registry.every("conv"))
FORMS: list[Any] = [*ACTIVATIONS, ("leaky_relu", 0.3), ("elu", 0.7)]
SPATIAL = (2, 3)


def arrays(dtype: str) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(11)
    shapes = (2, 3, 7, 21), (5, 3, 3, 3), (5,), (5,), (5,)
    return tuple(2 * draw.standard_normal(shape).astype(dtype) for shape in shapes)


def steps(dtype: str, activation: Any, scaled: bool, pool: tuple[str, Any, Any] | None) -> tuple[np.ndarray, float]:
    """(the answer step by step in float64, the largest value that any step had, in which errors are counted)."""
    x, weight, bias, scale, shift = arrays(dtype)
    y = reference.conv(x, weight, bias, (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    largest = float(np.abs(y).max())
    if scaled:
        y = y * scale.reshape(-1, 1, 1).astype(np.float64) + shift.reshape(-1, 1, 1)
        largest *= max(1.0, float(np.abs(scale).max()))
    if activation is not None:
        name, slope = activation if isinstance(activation, tuple) else (activation, {"leaky_relu": 0.01, "elu": 1.0}.get(activation, 0.0))
        y = reference.activate(y, name, slope)
    if pool is not None:
        window = pool[1], pool[2], ((0, 0), (0, 0)), (1, 1), False
        y = reference.max_pool(y, *window)[0] if pool[0] == "max" else reference.avg_pool(y, *window, True, None)
    return y, max(largest, float(np.abs(y).max()))


def check(name: str, dtype: str, activation: Any = None, scaled: bool = False, pool: tuple[str, Any, Any] | None = None) -> None:
    x, weight, bias, scale, shift = arrays(dtype)
    options: dict[str, Any] = {"padding": 1, "activation": activation, "pool": pool}
    if scaled:
        options |= {"scale": scale, "shift": shift}
    if name in PRECISION and dtype != "float32":
        return
    options |= PRECISION.get(name, {})
    if implementations("conv2d", x.shape, weight, bias, dtype=dtype, **options)[name] is not None:
        with pytest.raises(kernels.RefusedError):
            kernels.plan("conv2d", x.shape, weight, bias, dtype=dtype, implementation=name, **options)
        return
    expected, largest = steps(dtype, activation, scaled, pool)
    for threads in (1, 2):
        plan = kernels.plan("conv2d", x.shape, weight, bias, dtype=dtype, implementation=name, threads=threads, **options)
        out = np.full(plan.out_shape, np.nan, dtype)
        plan(x, out=out)
        assert out.shape == expected.shape
        # the steps after the sum round too: some ten units of the last place, in exp and tanh
        slack = 16 * float(np.finfo(dtype).eps)
        assert float(np.abs(out - expected).max()) <= (plan.error_bound + slack) * largest


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", FORMS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_activation(name: str, activation: Any, dtype: str, poisoned_scratch: None) -> None:
    check(name, dtype, activation)


@pytest.mark.parametrize("pool", [None, ("max", (2, 3), (2, 3)), ("avg", (2, 2), (1, 2)), ("max", (3, 3), (2, 1))], ids=str)
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_order_of_steps(name: str, scaled: bool, activation: Any, pool: Any, poisoned_scratch: None) -> None:
    """Scales have both signs, so pooling before scaling, or an activation before it, would show."""
    check(name, "float32", activation, scaled, pool)


@pytest.mark.parametrize("vector_bytes", [16, 32])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("naive", "jit")])
def test_narrow_vectors(name: str, vector_bytes: int, poisoned_scratch: None) -> None:
    with pretend(vector_bytes=vector_bytes, registers=16):
        for activation in (None, "relu", "relu6", "leaky_relu"):
            check(name, "float32", activation, True, ("max", (2, 2), (2, 2)))
            check(name, "float64", activation, True)


@pytest.mark.parametrize("shape", [(2, 3, 150, 161), (1, 3, 1, 1), (2, 3, 4, 5, 6), (0, 3, 7, 7)], ids=str)
@pytest.mark.parametrize("scaled", [False, True])
def test_one_pass_over_planes(scaled: bool, shape: tuple[int, ...]) -> None:
    """Planes longer than a thread takes at a time, a number each, three axes, none at all; every number is met once."""
    problem = kernels.parse(f"conv2d n2 c1 150x161 -> c3 k1x1 s1x1 p0+0x0+0 d1x1 g1 {'scale ' * scaled}elu:0.5 float32")
    assert isinstance(problem, kernels.Conv)
    scale, shift = np.array([2, -1, 0.5], np.float32), np.array([0, 1, -3], np.float32)
    y = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    column = (-1,) + (1,) * (len(shape) - 2)
    x = y.astype(np.float64) * scale.reshape(column) + shift.reshape(column) if scaled else y.astype(np.float64)
    operands = Operands(scale=scale, shift=shift) if scaled else Operands()
    epilogue.prepare(problem, 2)(operands)(y)
    np.testing.assert_allclose(y, np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0))), rtol=1e-5, atol=1e-6)


def test_scale_or_shift_alone() -> None:
    x, weight, bias, scale, shift = arrays("float64")
    y = kernels.conv2d(x, weight, bias)
    np.testing.assert_allclose(kernels.conv2d(x, weight, bias, scale=scale), y * scale[:, None, None], rtol=0, atol=1e-12)
    np.testing.assert_allclose(kernels.conv2d(x, weight, bias, shift=shift), y + shift[:, None, None], rtol=0, atol=1e-12)


def test_pool_takes_what_the_pools_take() -> None:
    x, weight, *_ = arrays("float32")
    y = kernels.conv2d(x, weight)
    for pool in (("max", 2), ("avg", (2, 3)), ("max", 3, 1), ("avg", (3, 2), (1, 2)), ["max", [2, 2], None]):
        separate = getattr(kernels, f"{pool[0]}_pool2d")(y, *pool[1:])
        fused = kernels.conv2d(x, weight, pool=pool)
        assert fused.shape == separate.shape
        assert reference.share(fused, separate.astype(np.float64)) <= 1e-6
    line = kernels.conv1d(x[:, :, 0], weight[:, :, 0], pool=("max", 4, 2))
    np.testing.assert_allclose(line, kernels.max_pool1d(kernels.conv1d(x[:, :, 0], weight[:, :, 0]), 4, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["direct", "winograd"])
@pytest.mark.parametrize(
    ("size", "kernel", "pool"),
    [((21, 8), (1, 5), ("avg", (3, 3), (3, 4))), ((40, 30), (3, 3), ("max", (1, 30), None)), ((33, 50), (3, 3), ("max", (2, 2), (3, 2))),
     ((1, 700), (1, 3), ("max", (1, 3), None)), ((64, 9), (3, 3), ("avg", (64, 9), None)), ((17, 17), (5, 5), ("max", (4, 9), None))],
    ids=str,
)  # fmt: skip
def test_fused_windows(size: Any, kernel: Any, pool: Any, name: str, poisoned_scratch: None) -> None:
    """Windows that leave out the last rows and columns, cover whole axes, or cut a long line into jobs."""
    draw = np.random.default_rng(5)
    x, weight = draw.standard_normal((2, 9, *size)).astype(np.float32), draw.standard_normal((20, 9, *kernel)).astype(np.float32)
    padding = [k // 2 for k in kernel]
    plan = kernels.plan("conv2d", x.shape, weight, padding=padding, pool=pool, activation="relu", implementation=name)
    y = kernels.conv2d(x, weight, padding=padding, activation="relu", implementation="jit")
    separate = getattr(kernels, f"{pool[0]}_pool2d")(y, *pool[1:], implementation="jit")
    assert float(np.abs(plan(x) - separate).max()) <= (plan.error_bound + 1e-6) * float(np.abs(y).max())


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("activation", ["elu", ("elu", -0.5), "tanh", "hardsigmoid", "silu"], ids=str)
@pytest.mark.parametrize("name", ["direct", "winograd"])
def test_maxima_of_activations(name: str, activation: Any, layout: str, poisoned_scratch: None) -> None:
    """Activations that only rise may follow the pool, those that fall somewhere may not; NaN comes through either way."""
    draw = np.random.default_rng(6)
    x = draw.standard_normal((1, 9, 21, 30)).astype(np.float32)
    weight = draw.standard_normal((20, 9, 3, 3)).astype(np.float32) / 9
    x[0, 4, 10, 10] = np.nan
    options: dict[str, Any] = {"padding": 1, "activation": activation}
    expected = kernels.max_pool2d(kernels.conv2d(x, weight, implementation="jit", **options), (3, 4), implementation="jit")
    if layout == "channels_last":
        x, weight = np.moveaxis(x, 1, -1), np.moveaxis(weight, (1, 0), (-2, -1))
    plan = kernels.plan("conv2d", x.shape, weight, pool=("max", (3, 4)), layout=layout, implementation=name, **options)
    y = plan(x)
    y = np.moveaxis(y, -1, 1) if layout == "channels_last" else y
    finite = np.isfinite(y)
    assert not finite[np.isnan(expected)].any() and finite.mean() > 0.5
    np.testing.assert_allclose(y[finite], expected[finite], rtol=0, atol=(plan.error_bound + 1e-6) * np.nanmax(np.abs(expected)))


@pytest.mark.parametrize(
    ("name", "size", "channels", "kernel", "groups", "pool"),
    [("winograd", (19, 23), (9, 20), (3, 3), 1, None), ("winograd", (9, 700), (9, 20), (3, 3), 1, None),
     ("winograd", (40, 30), (9, 20), (3, 3), 1, ("max", (1, 30))), ("direct", (40, 30), (9, 20), (3, 3), 1, ("max", (1, 30))),
     ("direct", (1, 5000), (40, 20), (1, 3), 1, None), ("direct", (1, 6), (64, 130), (1, 3), 1, None),
     ("direct", (20, 20), (400, 6), (3, 3), 1, None), ("depthwise", (33, 50), (6, 6), (3, 3), 6, None),
     ("depthwise", (1, 20000), (2, 2), (1, 3), 2, None)],
    ids=str,
)  # fmt: skip
def test_smooth_activations_inside(
    name: str, size: Any, channels: Any, kernel: Any, groups: int, pool: Any, poisoned_scratch: None
) -> None:
    """Blocks of whole planes, of rows, of parts of rows and of some input channels only: each sum is bent once, when it is finished."""
    draw = np.random.default_rng(5)
    x = draw.standard_normal((2, channels[0], *size)).astype(np.float32)
    weight = draw.standard_normal((channels[1], channels[0] // groups, *kernel)).astype(np.float32)
    options: dict[str, Any] = {"padding": [k // 2 for k in kernel], "groups": groups, "activation": ("elu", 0.7), "pool": pool}
    scale = np.full(channels[1], 0.3, np.float32)
    with pretend(l2=256 << 10):  # so that some cut the input channels
        plan = kernels.plan("conv2d", x.shape, weight, scale=scale, implementation=name, **options)
        assert registry.get(plan.problem, name).fuses(plan.problem)
    y = kernels.conv2d(x, weight, scale=scale, implementation="jit", **options)
    assert float(np.abs(plan(x) - y).max()) <= (plan.error_bound + 4e-6) * float(np.abs(y).max())


@pytest.mark.parametrize("activation", FORMS, ids=str)
def test_activations_far_out(activation: Any) -> None:
    """No overflow warning and no NaN where the limit is finite, for sums of +-100 and +-1e4; NaN stays NaN."""
    x = np.array([[[-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]]], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        y = kernels.conv1d(x, np.ones((1, 1, 1), np.float32), activation=activation)
    name, slope = activation if isinstance(activation, tuple) else (activation, {"leaky_relu": 0.01, "elu": 1.0}.get(activation, 0.0))
    with np.errstate(all="ignore"):
        expected = np.array([limit(name, float(v), slope) for v in x.ravel()])
    np.testing.assert_allclose(y.ravel(), expected, rtol=2e-6, atol=1e-6)
    x[...] = np.nan
    assert np.isnan(kernels.conv1d(x, np.ones((1, 1, 1), np.float32), activation=activation)).all()


def limit(name: str, value: float, slope: float) -> float:
    """The activation where Python's math would overflow too: exp of a large negative number is zero."""
    if value < -700:
        return {"leaky_relu": slope * value, "elu": -slope, "tanh": -1.0}.get(name, 0.0)
    if value > 700:
        return {"relu6": 6.0, "sigmoid": 1.0, "tanh": 1.0, "hardsigmoid": 1.0}.get(name, value)
    return float(reference.ACTIVATIONS[name](value, slope))

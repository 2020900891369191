"""Layers whose kernels reach past short maps, through every way of asking for them: float64 references, which leave out nothing."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import reference
from memory import Guarded, given

import kernels
from kernels import grad
from kernels.dispatch.measure import checked
from kernels.methods import load, registry
from kernels.methods.contract import Implementation
from kernels.methods.unseen_taps import DESCRIBING, PREPARING
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.problem.seen_taps import seen

load()
# (size, kernel, stride, padding, dilation, taps that are left)
SHORT: dict[str, tuple[Any, ...]] = {
    "one row": ((1, 40), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 3)),
    "one pixel, strided": ((1, 1), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), (1, 1)),
    "two columns, tall kernel": ((30, 2), (5, 7), (1, 1), ((2, 2), (3, 3)), (1, 1), (5, 3)),
    "dilated past both ends": ((9, 13), (3, 3), (1, 1), ((4, 4), (16, 16)), (4, 16), (3, 1)),
    "causal": ((1, 20), (1, 3), (1, 1), ((0, 0), (64, 0)), (1, 32), (1, 1)),
    "uneven": ((2, 17), (4, 5), (1, 2), ((1, 2), (2, 2)), (1, 1), (3, 5)),
    "stepped over": ((1, 6), (2, 5), (3, 5), ((2, 3), (2, 6)), (1, 1), (1, 5)),
    "line": ((12,), (9,), (1,), ((32, 32),), (8,), (3,)),
    "volume": ((1, 3, 11), (3, 5, 3), (1, 1, 1), ((1, 1), (2, 2), (1, 1)), (1, 1, 1), (1, 5, 3)),
    "shallow volume": ((2, 1, 11), (5, 3, 3), (1, 1, 2), ((2, 2), (1, 1), (4, 4)), (1, 1, 4), (3, 1, 3)),
}  # fmt: skip
ASKED = {"layer": (2, 16, 24, 1), "groups": (1, 16, 32, 2), "depthwise": (2, 12, 12, 12)}


def made(name: str, asked: str, dtype: str = "float32") -> tuple[Any, ...]:
    size, kernel, stride, padding, dilation, left = SHORT[name]
    n, c_in, c_out, groups = ASKED[asked]
    draw = np.random.default_rng(len(name))
    shapes = (n, c_in, *size), (c_out, c_in // groups, *kernel), (c_out,)
    arrays = [draw.standard_normal(shape).astype(dtype) for shape in shapes]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return f"conv{len(size)}d", arrays, options, (1,) * (2 - len(size)) + left


def wanted(arrays: list[np.ndarray], options: dict[str, Any]) -> np.ndarray:
    return reference.conv(*arrays, options["stride"], options["padding"], options["dilation"], options["groups"])


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", SHORT)
@pytest.mark.usefixtures("poisoned_scratch")
def test_every_method(name: str, asked: str) -> None:
    for dtype in ("float32", "float64"):
        op, arrays, options, left = made(name, asked, dtype)
        x, weight, bias = map(given, arrays)
        expected, met = wanted(arrays, options), 0
        arguments = op, arrays[0].shape, weight.array, bias.array
        for method, refusal in kernels.implementations(*arguments, dtype=dtype, **options).items():
            if refusal:
                continue
            for threads in (1,) if method == "naive" else (1, 2):  # naive has no threads to tell apart
                plan = kernels.plan(*arguments, dtype=dtype, implementation=method, threads=threads, **options)
                bound = plan.error_bound + reference.rounding(plan.problem.summands)
                out = Guarded(plan.out_shape, dtype)
                assert reference.share(plan(x.array, out=out.array), expected) <= bound, (method, threads)
                assert out.zones_untouched() and x.unchanged() and weight.unchanged() and bias.unchanged()
                if method == "naive":  # plain Python takes seconds, and packs nothing that a function would pack otherwise
                    continue
                called = getattr(kernels, op)(x.array, weight.array, bias.array, implementation=method, threads=threads, **options)
                assert reference.share(called, expected) <= bound, (method, threads)
                met += "others see only padding" in plan.explain()
        assert seen(plan.problem)[0].kernel == left and met


@pytest.mark.parametrize("name", SHORT)
def test_channels_last_and_what_follows(name: str) -> None:
    op, (x, weight, bias), options, _ = made(name, "layer")
    expected = np.maximum(wanted([x, weight, bias], options), 0)
    for method in ("direct", "winograd", "fft", "auto"):
        last = np.moveaxis(x, 1, -1), np.moveaxis(weight, (0, 1), (-1, -2))
        if method != "auto" and kernels.implementations(op, x.shape, weight, bias, **options)[method]:
            continue
        y = getattr(kernels, op)(*last, bias, activation="relu", layout="channels_last", implementation=method, **options)
        assert reference.share(np.moveaxis(y, -1, 1), expected) <= 2e-5, method
        y = getattr(kernels, op)(x, weight, bias, activation="relu", pool=("max", 1), implementation=method, **options)
        assert reference.share(y, expected) <= 2e-5, method


@pytest.mark.parametrize("name", SHORT)
def test_gradients(name: str) -> None:
    """Weights that only meet padding have gradients of zero; inputs get what the others send."""
    op, (x, weight, bias), options, _ = made(name, "groups", "float64")
    g = np.random.default_rng(3).standard_normal(wanted([x, weight, bias], options).shape)
    of_input = getattr(grad, f"{op}_input")(x.shape, weight, g, **options)
    of_weight = getattr(grad, f"{op}_weight")(x, weight.shape, g, **options)
    move = 1e-3  # the layer is linear in each, so differences of any length are derivatives
    draw = np.random.default_rng(4)
    for array, gradient in ((x, of_input), (weight, of_weight)):
        step = draw.standard_normal(array.shape)
        others = [array + move * step if one is array else one for one in (x, weight, bias)]
        change = ((wanted(others, options) - wanted([x, weight, bias], options)) * g).sum() / move
        np.testing.assert_allclose((gradient * step).sum(), change, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", ["two columns, tall kernel", "dilated past both ends", "uneven", "shallow volume"])
@pytest.mark.usefixtures("poisoned_scratch")
def test_every_method_of_weights_gradients(name: str, asked: str) -> None:
    """They sum for the taps that see something and write zeros for the others, and nothing else."""
    op, (x, weight, _), options, left = made(name, asked)
    problem = ConvWeight(
        op=f"{op}_weight", n=x.shape[0], c_in=x.shape[1], size=x.shape[2:], kernel=weight.shape[2:], c_out=weight.shape[0],
        dtype="float32", **options,
    )  # fmt: skip
    less, taps = seen(problem)
    assert less.kernel == left
    grad = np.random.default_rng(5).standard_normal(problem.conv_shape).astype(np.float32)
    expected = np.full(problem.out_shape, np.nan, np.float32)
    registry.get(problem, "reference").prepare(problem, 1).pack(Operands(grad))(x, expected)
    unseen = np.ones(problem.kernel, bool)
    unseen[tuple(slice(*some) for some in taps)] = False
    assert not expected[..., unseen].any()
    for method, refusal in registry.refusals(problem).items():
        if refusal or method == "reference":
            continue
        for threads in (1, 2):
            implementation = registry.get(problem, method)
            prepared, out = implementation.prepare(problem, threads), Guarded(problem.out_shape, "float32")
            prepared.pack(Operands(grad))(x, out.array)
            assert out.zones_untouched() and "others see only padding" in prepared.note
            assert reference.share(out.array, expected) <= implementation.error_bound(problem) + reference.rounding(problem.summands)
            assert not out.array[..., unseen].any()


def test_measured_ways_agree_with_sums_of_all_taps() -> None:
    problem = kernels.parse("conv2d n1 c16 1x40 -> c16 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32")
    names = ["direct", "winograd", *(f"direct:{name}" for name in registry.get(problem, "direct").variants(problem, 2))]
    assert len(names) > 2
    assert list(checked(problem, 2, names, 0.1)) == names


@pytest.mark.parametrize("implementation", ["direct", "auto"])
def test_streams_cut_anywhere(implementation: str) -> None:
    """Blocks shorter than a dilated kernel's reach, to the bit."""
    draw = np.random.default_rng(6)
    x = draw.standard_normal((1, 8, 90)).astype(np.float32)
    weights = draw.standard_normal((3, 8, 8, 3)).astype(np.float32)
    layers = [kernels.layer("conv1d", weight, padding=((2 * d, 0),), dilation=d) for weight, d in zip(weights, (1, 8, 32))]
    stream = kernels.stream(layers, shape=(1, 8, None), implementation=implementation)
    whole = kernels.sequence(layers, x.shape, implementation="direct", threads=1)(x)
    cuts = [0, 1, 3, 10, 41, 90]
    parts = [stream(x[..., a:b]) for a, b in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.finish()], -1), whole)


def test_every_function_of_a_method_is_known() -> None:
    """One that a method gains is either handed problems without unseen taps or named here."""
    functions = {field.name for field in dataclasses.fields(Implementation) if "Callable" in str(field.type)}
    assert functions == {*PREPARING, *DESCRIBING, "variants", "named_variant"}


@pytest.mark.parametrize("stride", [1 << 20, 1 << 33, 1 << 40])
def test_a_stride_that_nobody_takes(stride: int) -> None:
    """One window, far from a second one: tables and lines as long as the step ended the process."""
    draw = np.random.default_rng(0)
    x, weight = draw.standard_normal((1, 2, 40), np.float32), draw.standard_normal((8, 2, 16), np.float32)
    expected = np.einsum("cl,ocl->o", x[0, :, :16], weight)[None, :, None]
    for name in ("auto", "direct", "im2col", "jit", "naive"):
        plan = kernels.plan("conv1d", x.shape, weight, stride=stride, implementation=name)
        np.testing.assert_allclose(plan(x), expected, atol=1e-5)
        assert plan.workspace_bytes < 1 << 20
    gradient = kernels.grad.conv1d_weight(x, weight.shape, np.ones((1, 8, 1), np.float32), stride)
    np.testing.assert_allclose(gradient, np.broadcast_to(x[:, :, :16], weight.shape))
    values = np.ones((1, 2, 1), np.float32)
    for name in ("auto", "direct", "im2col", "depthwise", "naive"):
        options = {"stride": stride, "output_padding": 1, "groups": 2, "implementation": name}
        plan = kernels.plan("conv_transpose1d", values.shape, weight[:2, :1], **options)
        np.testing.assert_allclose(plan(values), np.pad(weight[None, :2, 0], ((0, 0), (0, 0), (0, 1))))
    moved = grad.conv2d_input((1, 17, 16, 16), np.ones((1, 17, 4, 3), np.float32), np.ones((1, 1, 1, 4), np.float32), (stride, 3), 0, 3)
    assert moved.sum() == 4 * 17 * 12

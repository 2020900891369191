"""The contract of every method for weights' gradients, and gradients by name, against float64 by routes that share nothing with them."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import reference
from memory import Guarded, given

import kernels
from kernels import methods
from kernels.dispatch.heuristic import choose
from kernels.dispatch.preparation import prepare
from kernels.methods import registry
from kernels.methods.gradients import blocking as gradient_blocking
from kernels.methods.gradients import strided, winograd_blocking
from kernels.methods.gradients.driver import prepare_blocks
from kernels.methods.gradients.winograd_driver import prepare_tiles
from kernels.problem.conv import ConvWeight, parse
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine, pretend

methods.load()

LINES = [
    "conv2d_weight n2 c3 9x11 -> c5 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32",
    "conv2d_weight n1 c16 12x20 -> c32 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32",
    "conv2d_weight n3 c24 13x17 -> c40 k3x3 s1x1 p0+2x1+0 d1x1 g2 float32",
    "conv2d_weight n2 c8 10x14 -> c12 k5x3 s2x3 p2+1x0+1 d1x1 g2 float32",
    "conv2d_weight n2 c6 15x16 -> c6 k3x3 s1x2 p1+1x1+1 d2x1 g6 float32",
    "conv2d_weight n2 c6 15x16 -> c18 k3x2 s2x1 p1+1x1+1 d2x3 g6 float64",
    "conv2d_weight n1 c1 20x30 -> c64 k7x5 s1x1 p3+3x2+2 d1x1 g1 float32",
    "conv2d_weight n2 c2 17x40 -> c18 k7x7 s1x3 p3+3x2+2 d1x1 g2 float32",
    "conv2d_weight n1 c1 9x41 -> c5 k3x20 s2x2 p1+1x25+24 d1x1 g1 float64",
    "conv2d_weight n2 c40 3x2 -> c50 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32",
    "conv2d_weight n4 c64 5x7 -> c48 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32",
    "conv2d_weight n5 c33 4x6 -> c17 k4x6 s1x1 p0+0x0+0 d1x1 g1 float32",
    "conv2d_weight n1 c4 40x9 -> c8 k17x1 s1x1 p8+8x0+0 d1x1 g1 float32",
    "conv2d_weight n2 c20 12x12 -> c20 k3x3 s4x4 p5+0x0+6 d1x1 g1 float64",
    "conv1d_weight n2 c2 1x300 -> c16 k1x64 s1x4 p0+0x31+32 d1x1 g1 float32",
    "conv2d_weight n4 c10 14x15 -> c17 k4x5 s1x2 p1+2x2+1 d1x1 g1 float32",
    "conv1d_weight n3 c20 1x90 -> c24 k1x9 s1x1 p0+0x16+16 d1x4 g1 float32",
    "conv1d_weight n2 c32 1x50 -> c32 k1x3 s1x1 p0+0x2+0 d1x2 g32 float32",
    "conv3d_weight n2 c4 5x6x7 -> c6 k3x2x3 s2x1x1 p1+1x0+1x1+1 d1x2x1 g2 float32",
]  # fmt: skip


def weight_gradient(problem: ConvWeight, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """In float64: images summed like channels, the gradient slid over the input like a kernel dilated by the stride."""
    groups, ins, outs = problem.groups, problem.c_in // problem.groups, problem.c_out // problem.groups
    parts = []
    for g in range(groups):
        images = x[:, g * ins : (g + 1) * ins].swapaxes(0, 1)
        kernel = grad[:, g * outs : (g + 1) * outs].swapaxes(0, 1)
        full = reference.conv(images, kernel, None, problem.dilation, problem.padding, problem.stride, 1)
        parts.append(full[(..., *(slice(k) for k in problem.kernel))].swapaxes(0, 1))
    return np.concatenate(parts)


def made(problem: ConvWeight, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return tuple(draw.standard_normal(shape).astype(problem.dtype) for shape in (problem.x_shape, problem.conv_shape))


def cases() -> list[tuple[str, str]]:
    found = []
    for line in LINES:
        problem = parse(line)
        for name, sentence in registry.refusals(problem).items():
            if sentence is None:
                names = [name, *(f"{name}:{key}" for key in registry.get(problem, name).variants(problem, 2))]
                found += [(line, one) for one in names]
    return found


@pytest.mark.parametrize(("line", "name"), cases())
@pytest.mark.usefixtures("poisoned_scratch")
def test_contract(line: str, name: str) -> None:
    """Every number is written, nothing else is, inputs stay; the error is within the bound on one thread and on several, to the same bits
    whenever the threads are the same."""
    problem = parse(line)
    x, grad = (given(array) for array in made(problem))
    expected = weight_gradient(problem, x.array, grad.array)
    method, _, variant = name.partition(":")
    for threads in (1, 2, 3):
        if variant and variant not in registry.get(problem, method).variants(problem, threads):
            continue  # what is best on so many threads is no variant of itself
        choice = choose(problem, name, threads)
        run = prepare(problem, choice, threads).pack(Operands(grad.array))
        answers = []
        for _ in range(2):
            out = Guarded(problem.out_shape, problem.dtype)
            run(x.array, out.array)
            assert out.zones_untouched()
            answers.append(out.array.copy())
        assert x.unchanged() and grad.unchanged()
        assert answers[0].tobytes() == answers[1].tobytes()
        bound = choice.implementation.error_bound(problem) + reference.rounding(problem.summands)
        assert reference.share(answers[0], expected) <= bound


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("line", LINES[:4] + LINES[6:8] + LINES[12:13])
def test_lanes(line: str, vector_bytes: int) -> None:
    """Every width of vectors that the CPU has."""
    if vector_bytes > machine().vector_bytes:
        pytest.skip("this CPU has no such vectors")
    problem = parse(line)
    x, grad = made(problem)
    expected = weight_gradient(problem, x, grad)
    with pretend(vector_bytes=vector_bytes, registers=16 if vector_bytes < 64 else 32):
        for name, sentence in registry.refusals(problem).items():
            if sentence is None:
                implementation = registry.get(problem, name)
                out = np.full(problem.out_shape, np.nan, problem.dtype)
                implementation.prepare(problem, 2).pack(Operands(grad))(x, out)
                assert reference.share(out, expected) <= implementation.error_bound(problem) + reference.rounding(problem.summands)


@pytest.mark.parametrize(("channels", "outs", "splits"), [(16, 32, 1), (16, 32, 2), (40, 48, 2), (32, 75, 1)])
@pytest.mark.usefixtures("poisoned_scratch")
def test_winograd_tasks_share_channels(channels: int, outs: int, splits: int) -> None:
    """Tasks that have some input and some output channels of a group, the last ones fewer."""
    problem = parse("conv2d_weight n3 c80 9x14 -> c150 k3x3 s1x1 p1+1x1+1 d1x1 g2 float32")
    x, grad = made(problem)
    expected = weight_gradient(problem, x, grad)
    block = dataclasses.replace(winograd_blocking.best(problem, 2), images=1, rows=2, channels=channels, outs=outs, splits=splits)
    for threads in (1, 2):
        out = Guarded(problem.out_shape, problem.dtype)
        prepare_tiles(problem, threads, block).pack(Operands(grad))(x, out.array)
        assert out.zones_untouched()
        assert reference.share(out.array, expected) <= winograd_blocking.error(problem, block) + reference.rounding(problem.summands)


TURNED = [
    "conv2d_weight n3 c1 20x30 -> c33 k7x5 s1x3 p3+3x2+2 d1x1 g1 float32",
    "conv2d_weight n5 c3 5x7 -> c50 k3x3 s1x1 p1+1x1+0 d1x2 g1 float32",
    "conv2d_weight n3 c4 9x40 -> c6 k3x2 s2x1 p0+2x1+0 d2x1 g2 float64",
]  # fmt: skip


@pytest.mark.parametrize("line", TURNED)
@pytest.mark.usefixtures("poisoned_scratch")
def test_taps_in_rows_of_sums(line: str) -> None:
    """Output channels along vectors, in one task and in several, of which the last has fewer; blocks of several images and of a few rows;
    sums of one split and of more."""
    problem = parse(line)
    x, grad = made(problem)
    expected = weight_gradient(problem, x, grad)
    turned = [block for block in gradient_blocking.blockings(problem, 2) if block.along == gradient_blocking.TURNED]
    assert turned
    oh, ow = problem.conv_size
    for images, rows, outs, splits in ((1, oh, None, 1), (2, oh, 16, 2), (1, 2, 16, 1), (1, 2, None, 3)):
        block = dataclasses.replace(turned[0], images=images, rows=rows, columns=ow, splits=splits, outs=outs or turned[0].outs)
        out = Guarded(problem.out_shape, problem.dtype)
        prepare_blocks(problem, 2, block).pack(Operands(grad))(x, out.array)
        assert out.zones_untouched()
        assert reference.share(out.array, expected) <= registry.get(problem, "direct").error_bound(problem)


@pytest.mark.parametrize("line", [
    "conv1d_weight n1 c32 1x9 -> c21 k1x8 s1x4 p0+0x3+3 d1x1 g1 float32",
    "conv2d_weight n2 c48 3x4 -> c18 k3x3 s1x1 p1+1x1+1 d1x2 g1 float32",
    "conv2d_weight n3 c10 2x5 -> c6 k2x3 s1x1 p1+0x1+1 d1x1 g2 float64",
])  # fmt: skip
@pytest.mark.usefixtures("poisoned_scratch")
def test_sums_lie_as_weights_do(line: str) -> None:
    """Every tap of many channels side by side: in place, in tasks of some input channels; copied where rows are no whole vectors and where
    there are several splits."""
    problem = parse(line)
    x, grad = made(problem)
    expected = weight_gradient(problem, x, grad)
    unfolded = [block for block in gradient_blocking.blockings(problem, 2) if block.along == gradient_blocking.UNFOLDED]
    assert unfolded
    ins = problem.c_in // problem.groups
    for channels, splits in ((ins, 1), (-(-ins // 32) * 16, 1), (ins, problem.n)):
        block = dataclasses.replace(unfolded[0], images=1, channels=min(channels, ins), splits=splits)
        out = Guarded(problem.out_shape, problem.dtype)
        prepare_blocks(problem, 2, block).pack(Operands(grad))(x, out.array)
        assert out.zones_untouched()
        assert reference.share(out.array, expected) <= registry.get(problem, "direct").error_bound(problem)


@pytest.mark.parametrize("budget", [1, 20_000, 1 << 20])
@pytest.mark.usefixtures("poisoned_scratch")
def test_phases_of_few_images_at_a_time(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they sum to does not depend much on how many there are at a time; none at all make zeros."""
    monkeypatch.setattr(strided, "PHASES_BYTES", budget)
    several = parse("conv2d_weight n5 c10 14x15 -> c17 k4x5 s1x2 p1+2x2+1 d1x1 g1 float32")
    numbers = [(count, portion.n) for count, portion in strided.portions(several)]
    assert numbers == {1: [(5, 1)], 20_000: [(2, 2), (1, 1)], 1 << 20: [(1, 5)]}[budget]
    for problem in (several, parse("conv1d_weight n0 c8 1x40 -> c8 k1x3 s1x2 p0+0x0+0 d1x1 g1 float32")):
        x, grad = made(problem)
        out = Guarded(problem.out_shape, problem.dtype)
        winograd = registry.get(problem, "winograd")
        winograd.prepare(problem, 2).pack(Operands(grad))(x, out.array)
        assert out.zones_untouched()
        expected = weight_gradient(problem, x, grad) if problem.n else np.zeros(problem.out_shape)
        assert reference.share(out.array, expected) <= winograd.error_bound(problem) + reference.rounding(problem.summands)


def test_portions_are_as_few_as_there_is_room_for_whatever_divides_the_images() -> None:
    """And all images are in one of them; what an image alone takes too much memory for is refused."""
    line = "conv2d_weight n{} c256 32x32 -> c512 k4x4 s2x2 p1+1x1+1 d1x1 g1 float32"
    room = strided.PHASES_BYTES // strided.image_bytes(parse(line.format(1)))
    for n in (1, room - 1, room, room + 1, 31, 1_000_003):
        found = strided.portions(parse(line.format(n)))
        assert sum(count * portion.n for count, portion in found) == n and all(portion.n <= room for _, portion in found)
        assert sum(count for count, _ in found) <= -(-n // room) and len(found) <= 2
    sentence = registry.refusals(parse("conv2d_weight n1 c64 2048x2048 -> c64 k3x3 s2x2 p1+1x1+1 d1x1 g1 float32"))["winograd"]
    assert sentence and "MiB, more than" in sentence


def test_sums_of_small_maps_stay_in_cache() -> None:
    """Where sums outweigh planes, a thread's scratch is a few times the second-level cache; on Granite Rapids, whose blocking is meant."""
    problem = parse("conv2d_weight n8 c512 12x8 -> c512 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32")
    with pretend(vector_bytes=64, registers=32, l1=48 << 10, l2=2 << 20, l3=128 << 20, mesh=True):
        assert registry.get(problem, "winograd").prepare(problem, 2).workspace_bytes <= 2 * 3 * (2 << 20)


@pytest.mark.parametrize("line", [
    "conv2d_weight n1 c512 6x172 -> c256 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32",
    "conv2d_weight n1 c8 200x16 -> c64 k5x7 s1x1 p2+2x3+3 d1x1 g1 float32",
])  # fmt: skip
def test_threads_have_as_many_blocks_each(line: str) -> None:
    """Three blocks in two splits take as long as four; on Granite Rapids, whose blockings are meant."""
    problem = parse(line)
    with pretend(vector_bytes=64, registers=32, l1=48 << 10, l2=2 << 20, l3=128 << 20, mesh=True):
        block = gradient_blocking.best(problem, 2)
    blocks = -(-problem.n // block.images) * math.prod(-(-n // own) for n, own in zip(problem.conv_size, (block.rows, block.columns)))
    assert blocks % block.splits == 0


def numeric(function: object, array: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """d(sum of grad * function(array)) by finite differences of float64."""
    result, step = np.zeros(array.shape), 1e-5
    for place in np.ndindex(*array.shape):
        ends = []
        for sign in (1, -1):
            moved = array.copy()
            moved[place] += sign * step
            ends.append(float((function(moved) * grad).sum()))
        result[place] = (ends[0] - ends[1]) / (2 * step)
    return result


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("flip", [False, True])
def test_gradients_are_those_of_the_layers(transposed: bool, axes: int, layout: str, flip: bool) -> None:
    """Finite differences of the library's own layer in float64, with strides, dilation, groups, padding of every kind."""
    draw = np.random.default_rng(axes)
    size, kernel, stride, dilation = (5, 6, 4)[:axes], (2, 3, 2)[:axes], (2, 1, 2)[:axes], (1, 2, 3)[:axes]
    op, groups = f"conv{'_transpose' * transposed}{axes}d", 2
    x = draw.standard_normal((2, 4, *size))
    weight = draw.standard_normal(((4, 3) if transposed else (6, 2)) + kernel)
    more = {"output_padding": tuple(max(s, d) - 1 for s, d in zip(stride, dilation))} if transposed else {}
    options = {"stride": stride, "padding": [(1, 0)] * axes, "dilation": dilation, "groups": groups, "flip": flip, "layout": layout, **more}
    if layout == "channels_last":
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        if transposed:  # (*kernel, C_in/groups, C_out)
            weight = draw.standard_normal((*kernel, 2, 6))
        else:
            weight = np.ascontiguousarray(np.moveaxis(weight, (0, 1), (-1, -2)))
    layer = getattr(kernels, op)
    y = layer(x, weight, None, **options)
    grad = draw.standard_normal(y.shape)
    by_input = getattr(kernels.grad, f"{op}_input")(x.shape, weight, grad, **options)
    by_weight = getattr(kernels.grad, f"{op}_weight")(x, weight.shape, grad, **options)
    some = tuple(slice(0, 3) for _ in x.shape)  # of many inputs
    full = numeric(lambda array: layer(array, weight, None, **options), x, grad) if x.size < 100 else None
    if full is None:
        probe = draw.standard_normal(x.shape)
        ends = [float((layer(x + s * 1e-5 * probe, weight, None, **options) * grad).sum()) for s in (1, -1)]
        assert math.isclose((ends[0] - ends[1]) / 2e-5, float((by_input * probe).sum()), rel_tol=1e-5, abs_tol=1e-5)
    else:
        np.testing.assert_allclose(by_input[some], full[some], rtol=1e-5, atol=1e-6)
    for seed in range(2):
        probe = np.random.default_rng(seed).standard_normal(weight.shape)
        ends = [float((layer(x, weight + s * 1e-5 * probe, None, **options) * grad).sum()) for s in (1, -1)]
        assert math.isclose((ends[0] - ends[1]) / 2e-5, float((by_weight * probe).sum()), rel_tol=1e-5, abs_tol=1e-5)
    out = np.empty(weight.shape)
    assert getattr(kernels.grad, f"{op}_weight")(x, weight.shape, grad, **options, out=out) is out
    assert np.array_equal(out, by_weight)


def test_plans_and_names() -> None:
    """Plans of gradients are called with what functions take, name their method, and refuse in sentences."""
    draw = np.random.default_rng(0)
    x, weight = draw.standard_normal((2, 3, 8, 9)).astype(np.float32), draw.standard_normal((4, 3, 3, 3)).astype(np.float32)
    grad = draw.standard_normal((2, 4, 8, 9)).astype(np.float32)
    plan = kernels.plan("conv2d_weight", x.shape, weight.shape, grad.shape, padding=1)
    assert plan.out_shape == weight.shape and "conv2d_weight" in plan.explain() and plan.error_bound < 1e-4
    assert np.array_equal(plan(x, grad), kernels.grad.conv2d_weight(x, weight.shape, grad, padding=1, implementation=plan.implementation))
    back = kernels.plan("conv2d_input", x.shape, weight, padding=1)
    assert np.allclose(back(grad), kernels.grad.conv2d_input(x.shape, weight, grad, padding=1), atol=1e-5)
    assert kernels.implementations("conv2d_weight", x.shape, weight.shape, padding=1)["reference"] is None
    with pytest.raises(kernels.ProblemError, match="grad_output has shape"):
        kernels.grad.conv2d_weight(x, weight.shape, grad[:, :, 1:], padding=1)
    with pytest.raises(kernels.ProblemError, match="does not exist"):
        kernels.grad.conv2d_weight(x, weight.shape, grad, padding=1, implementation="nothing")
    assert not kernels.grad.conv2d_weight(x[:0], weight.shape, grad[:0], padding=1).any()
    line = str(plan.problem)
    assert parse(line) == plan.problem and str(parse(line)) == line


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_pools(axes: int, layout: str) -> None:
    """Finite differences of the library's own pools in float64."""
    draw = np.random.default_rng(axes)
    x = draw.standard_normal((2, 2, 7, 6, 5)[: 2 + axes])
    if layout == "channels_last":
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    grads, same = kernels.grad, {"layout": layout}

    def compare(function: object, result: np.ndarray) -> None:
        np.testing.assert_allclose(result, numeric(function, x, grad), rtol=1e-6, atol=1e-7)

    for include, divisor in itertools.product((True, False), (None, 3)):
        args = 3, 2, 1, True, include, divisor
        pool = getattr(kernels, f"avg_pool{axes}d")
        grad = draw.standard_normal(pool(x, *args, **same).shape)
        result = getattr(grads, f"avg_pool{axes}d")(grad, x.shape, *args, **same)
        compare(lambda array, args=args, pool=pool: pool(array, *args, **same), result)
    for name in ("max_pool", "adaptive_max_pool"):
        pool, args = getattr(kernels, f"{name}{axes}d"), (3,)
        y, indices = pool(x, *args, return_indices=True, **same)
        grad = draw.standard_normal(y.shape)
        compare(lambda array: pool(array, *args, **same), getattr(grads, f"{name}{axes}d")(grad, indices, x.shape, **same))  # noqa: B023
        with pytest.raises(kernels.ProblemError, match="indices run from"):
            getattr(grads, f"{name}{axes}d")(grad, indices + 10**6, x.shape, **same)
    pool = getattr(kernels, f"adaptive_avg_pool{axes}d")
    grad = draw.standard_normal(pool(x, 4, **same).shape)
    compare(lambda array: pool(array, 4, **same), getattr(grads, f"adaptive_avg_pool{axes}d")(grad, x.shape, 4, **same))
    grad = draw.standard_normal(kernels.global_avg_pool(x, **same).shape)
    compare(lambda array: kernels.global_avg_pool(array, **same), grads.global_avg_pool(grad, x.shape, **same))


@pytest.mark.parametrize("name", [*reference.ACTIVATIONS, ("leaky_relu", 0.3), ("elu", 0.7)])
def test_activations(name: object) -> None:
    """Central differences of the epilogue's own activation, from the input and, where it determines them, from the output."""
    x = np.linspace(-6.7, 6.9, 61)
    word, slope = name if isinstance(name, tuple) else (name, {"leaky_relu": 0.01, "elu": 1.0}.get(name, 0.0))
    grad = np.linspace(0.5, 1.5, len(x))
    ends = [reference.activate(x + sign * 1e-6, word, slope) for sign in (1, -1)]
    expected = grad * (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(kernels.grad.activation(name, grad, input=x), expected, rtol=1e-5, atol=1e-6)
    if word in ("gelu", "gelu_tanh", "silu", "hardswish"):
        with pytest.raises(kernels.ProblemError, match="input="):
            kernels.grad.activation(name, grad, output=x)
    else:
        y = reference.activate(x, word, slope)
        np.testing.assert_allclose(kernels.grad.activation(name, grad, output=y), expected, rtol=1e-5, atol=1e-6)


def test_bias_scale_and_shift() -> None:
    draw = np.random.default_rng(0)
    x, grad, scale = draw.standard_normal((3, 4, 5, 6)), draw.standard_normal((3, 4, 5, 6)), draw.standard_normal(4)
    np.testing.assert_allclose(kernels.grad.bias(grad), grad.sum((0, 2, 3)))
    by_x, by_scale, by_shift = kernels.grad.scale_shift(grad, x, scale)
    np.testing.assert_allclose(by_x, grad * scale[:, None, None])
    np.testing.assert_allclose(by_scale, (grad * x).sum((0, 2, 3)))
    np.testing.assert_allclose(by_shift, grad.sum((0, 2, 3)))
    last = kernels.grad.bias(np.moveaxis(grad, 1, -1), layout="channels_last")
    np.testing.assert_allclose(last, grad.sum((0, 2, 3)))

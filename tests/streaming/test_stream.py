"""Streams against one call on the whole signal, to the bit: random layers, random cuts."""

from __future__ import annotations

import doctest
import pickle
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kernels
from kernels import ProblemError, RefusedError, layer
from kernels.streaming import runners

Array = np.ndarray
slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def drawn(seed: int, *shape: int, dtype: str = "float32") -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@st.composite
def windows(draw: Any, channels: int, axes: int, time: int) -> tuple[kernels.Layer, int]:
    """A layer that streams, and the channels that it gives; other axes than time keep their size."""
    seed = draw(st.integers(0, 1000))
    kind = draw(st.sampled_from(("conv", "conv", "conv_transpose", "max_pool", "avg_pool", "batch_norm", "activation")))
    if kind == "batch_norm":
        return layer(kind, drawn(seed, channels), abs(drawn(seed, channels)) + 0.5, drawn(seed + 1, channels)), channels
    if kind == "activation":
        return layer(kind, draw(st.sampled_from(("relu", "tanh", "gelu", ("leaky_relu", 0.1))))), channels
    k, d = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    s = draw(st.integers(1, 3))
    reach = (k - 1) * d + 1
    before, after = draw(st.integers(0, reach - 1)), draw(st.integers(0, reach - 1))

    def per_axis(along: Any, other: Any) -> tuple[Any, ...]:
        return tuple(along if i == time % axes else other for i in range(axes))

    options: dict[str, Any] = {"stride": per_axis(s, 1), "padding": per_axis((before, after), (1, 1)), "dilation": per_axis(d, 1)}
    op = f"{kind}{axes}d"
    if kind.endswith("pool"):
        if kind == "avg_pool":
            options |= {"count_include_pad": draw(st.booleans()), "implementation": "jit"}
        options["ceil_mode"] = draw(st.booleans())
        return layer(op, per_axis(k, 3), **options), channels
    groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    c_out = groups * draw(st.integers(1, 2))
    shape = (c_out, channels // groups) if kind == "conv" else (channels, c_out // groups)
    if kind == "conv_transpose":
        options |= {"output_padding": per_axis(draw(st.integers(0, max(s, d) - 1)), 0), "implementation": "direct:phases"}
    weight, bias = drawn(seed, *shape, *per_axis(k, 3)), drawn(seed, c_out) if draw(st.booleans()) else None
    activation = draw(st.sampled_from((None, "relu", "sigmoid")))
    return layer(op, weight, bias, groups=groups, activation=activation, **options), c_out


@st.composite
def keeping(draw: Any, channels: int, axes: int, time: int) -> list[kernels.Layer]:
    """Layers that keep every length, for branches."""
    found = []
    for _ in range(draw(st.integers(0, 2))):
        k, d, seed = draw(st.integers(1, 4)), draw(st.integers(1, 2)), draw(st.integers(0, 99))
        before = draw(st.integers(0, (k - 1) * d))
        pairs = tuple((before, (k - 1) * d - before) if i == time % axes else (1, 1) for i in range(axes))
        kernel = tuple(k if i == time % axes else 3 for i in range(axes))
        dilation = tuple(d if i == time % axes else 1 for i in range(axes))
        found.append(layer(f"conv{axes}d", drawn(seed, channels, channels, *kernel), padding=pairs, dilation=dilation))
    return found


@st.composite
def stacks(draw: Any) -> tuple[list[kernels.Layer], tuple[int | None, ...], int]:
    """(layers, shape, axis)."""
    axes = draw(st.integers(1, 2))
    axis = -1 if axes == 1 else draw(st.sampled_from((-1, -2)))
    n, channels = draw(st.integers(1, 2)), draw(st.sampled_from((1, 2, 4)))
    shape = (n, channels, *(None if i == axis % axes else 5 for i in range(axes)))
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 3)) == 0:
            branches = [draw(keeping(channels, axes, axis)) for _ in range(draw(st.integers(1, 3)))]
            op = draw(st.sampled_from(("add", "multiply", "concatenate")))
            layers.append(layer(op, *branches))
            channels *= len(branches) if op == "concatenate" else 1
        elif channels > 1 and draw(st.integers(0, 3)) == 0:
            first = draw(st.integers(0, channels - 1))
            layers.append(layer("channels", first, channels))
            channels -= first
        else:
            one, channels = draw(windows(channels, axes, axis))
            layers.append(one)
    return layers, shape, axis


def filled(shape: tuple[int | None, ...], length: int, seed: int = 0) -> Array:
    return drawn(seed, *(length if each is None else each for each in shape))


def blocks(x: Array, axis: int, lengths: list[int]) -> list[Array]:
    """x in blocks of these lengths, over and over."""
    found, first, i = [], 0, 0
    while first < x.shape[axis]:
        m = lengths[i % len(lengths)] if any(lengths) else 1
        found.append(np.take(x, range(first, min(first + m, x.shape[axis])), axis))
        first, i = first + m, i + 1
    return found


def whole(layers: list[kernels.Layer], x: Array) -> Array:
    return kernels.sequence(layers, x.shape, implementation="direct", threads=1)(x)


@slow
@given(stacks(), st.integers(1, 120), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_any_cut_gives_the_whole_signals_bits(stack: Any, length: int, cuts: list[int]) -> None:
    layers, shape, axis = stack
    try:
        s = kernels.stream(layers, shape=shape, axis=axis)
    except ProblemError as error:
        assert "branches" in str(error) or "axis" in str(error)
        return
    x = filled(shape, length)
    try:
        expected = whole(layers, x)
    except ProblemError:  # too short for a layer
        return
    given_blocks = [s(block) for block in blocks(x, axis, cuts)]
    assert [y.shape[axis] for y in given_blocks] == np.diff([0, *(s._made.net.ready(n) for n in np.cumsum(
        [b.shape[axis] for b in blocks(x, axis, cuts)]))]).tolist()  # fmt: skip
    y = np.concatenate([*given_blocks, s.finish()], axis)
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("c_in, k, stride", [(16, 9, 2), (16, 4, 1), (9, 9, 1), (64, 5, 3)])
def test_one_channel_of_sound_in_any_blocks(c_in: int, k: int, stride: int) -> None:
    """Decoders end so. Products that are added where they overlap, which some lengths take, are summed in another order."""
    decoder, x = [layer("conv_transpose1d", drawn(0, c_in, 1, k), stride=stride)], drawn(1, 1, c_in, 70)
    s = kernels.stream(decoder, shape=(1, c_in, None))
    expected = kernels.sequence(decoder, x.shape, implementation="direct:phases", threads=1)(x)
    for m in (1, 2, 3, 5, 16, 50, 70):
        s.reset()
        y = np.concatenate([*(s(block) for block in blocks(x, -1, [m])), s.finish()], -1)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("c_in, c_out, k, m", [(256, 64, 9, 16), (1024, 32, 3, 64), (512, 64, 5, 7), (1500, 20, 1, 100)])
def test_many_channels_in_any_blocks(c_in: int, c_out: int, k: int, m: int) -> None:
    """Of a long block some channels are packed at a time, of a short one all."""
    layers, x = [layer("conv1d", drawn(0, c_out, c_in, k), drawn(1, c_out))], drawn(2, 1, c_in, 1500)
    s = kernels.stream(layers, shape=(1, c_in, None))
    expected = kernels.sequence(layers, x.shape, implementation="direct", threads=1)(x)
    y = np.concatenate([*(s(block) for block in blocks(x, -1, [m])), s.finish()], -1)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("cuts", [[1], [7], [64], [0, 1, 0, 5], [4096], [10000]])
def test_long_signals_in_any_blocks(cuts: list[int]) -> None:
    layers = [
        layer("conv1d", drawn(0, 8, 1, 64), drawn(1, 8), stride=4, padding=((30, 30),), activation="relu"),
        layer("max_pool1d", 2), layer("conv1d", drawn(2, 8, 8, 9), padding=4),
        layer("conv_transpose1d", drawn(3, 8, 2, 8), stride=4, padding=2),
    ]  # fmt: skip
    x = drawn(4, 1, 1, 20011 if cuts[0] > 5 else 2003)
    s = kernels.stream(layers, shape=(1, 1, None))
    y = np.concatenate([*(s(block) for block in blocks(x, -1, cuts)), s.finish()], -1)
    np.testing.assert_array_equal(y, whole(layers, x))


NETWORK = [
    layer("conv1d", drawn(0, 4, 2, 5), padding=2), layer("add", [layer("conv1d", drawn(1, 4, 4, 3), padding=1)], []),
    layer("batch_norm", drawn(2, 4), abs(drawn(3, 4))), layer("max_pool1d", 3, 2),
]  # fmt: skip


def test_state_goes_on_in_another_process() -> None:
    x = drawn(5, 1, 2, 300)
    s = kernels.stream(NETWORK, shape=(1, 2, None))
    first = s(x[..., :123])
    kept = pickle.dumps(s.state())
    assert len(kept) < 4000
    script = (
        "import pickle, sys; import numpy as np; import kernels; from tests.streaming.test_stream import NETWORK\n"
        "state, rest = pickle.load(sys.stdin.buffer)\n"
        "s = kernels.stream(NETWORK, shape=(1, 2, None)); s.restore(pickle.loads(state))\n"
        "pickle.dump([s(rest[..., :50]), s(rest[..., 50:]), s.finish()], sys.stdout.buffer)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps((kept, x[..., 123:])), capture_output=True, check=True)
    y = np.concatenate([first, *pickle.loads(done.stdout)], -1)
    np.testing.assert_array_equal(y, whole(NETWORK, x))


def test_clones_go_on_apart() -> None:
    x, other = drawn(5, 1, 2, 300), drawn(6, 1, 2, 300)
    s = kernels.stream(NETWORK, shape=(1, 2, None))
    first = s(x[..., :100])
    twin = s.clone()
    mixed = np.concatenate([x[..., :100], other[..., 100:]], -1)
    rest, twins = s(x[..., 100:]), twin(other[..., 100:])
    np.testing.assert_array_equal(np.concatenate([first, rest, s.finish()], -1), whole(NETWORK, x))
    np.testing.assert_array_equal(np.concatenate([first, twins, twin.finish()], -1), whole(NETWORK, mixed))


def test_reset_begins_anew_and_finish_ends() -> None:
    x = drawn(5, 1, 2, 100)
    s = kernels.stream(NETWORK, shape=(1, 2, None))
    once = [s(x), s.finish()]
    with pytest.raises(ProblemError, match="finished already; reset"):
        s(x)
    with pytest.raises(ProblemError, match="finished already"):
        s.finish()
    s.reset()
    for before, now in zip(once, [s(x), s.finish()]):
        np.testing.assert_array_equal(before, now)


def test_reset_and_restore_drop_what_waited_for_a_longer_out() -> None:
    s, x = kernels.stream([layer("conv1d", drawn(0, 3, 1, 4))], shape=(1, 1, None)), drawn(1, 1, 1, 50)
    begin, once = s.state(), s.clone()(x)
    for back in (s.reset, lambda: s.restore(begin)):
        with pytest.raises(ProblemError, match="47 more came"):
            s(x, out=np.empty((1, 3, 5), np.float32))
        waiting = s.state()
        back()
        np.testing.assert_array_equal(s(x), once)
        s.restore(waiting)
        np.testing.assert_array_equal(s(x[..., :0]), once)
        s.reset()


def test_a_block_that_was_stopped_inside_ends_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(5, 1, 2, 100)
    s = kernels.stream(NETWORK, shape=(1, 2, None))
    kept, once = s.state(), s.clone()(x)

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    for back in (s.reset, lambda: s.restore(kept)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(s._runner, "feed", stop)
            s(x)
        for use in (lambda: s(x), s.finish, s.state, s.clone):
            with pytest.raises(ProblemError, match="stopped inside"):
                use()
        back()
        np.testing.assert_array_equal(s(x), once)


def test_latency_and_ratio_are_what_is_seen() -> None:
    s = kernels.stream(NETWORK, shape=(1, 2, None))
    assert s.ratio == Fraction(1, 2)
    came, x = [], drawn(0, 1, 2, 200)
    for i in range(200):
        came += [i] * s(x[..., i : i + 1]).shape[-1]
    late = [i - int(o / s.ratio) for o, i in enumerate(came)]
    assert max(late) == s.latency == 2 + 1 + 2
    assert s.receptive_field == 5 + 2 + 2


def test_double_and_half_precision() -> None:
    weight = drawn(0, 3, 1, 4, dtype="float64")
    x = drawn(1, 1, 1, 50, dtype="float64")
    s = kernels.stream([layer("conv1d", weight)], shape=(1, 1, None), dtype="float64")
    assert s(x).dtype == np.float64
    half = kernels.stream([layer("conv1d", weight.astype("float16"))], shape=(1, 1, None), dtype="float16")
    y = half(x.astype("float16"))
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, whole([layer("conv1d", weight.astype("float16"))], x.astype("float16")).astype("float16"))


def test_out_takes_the_outputs() -> None:
    s = kernels.stream([layer("conv1d", drawn(0, 3, 1, 4))], shape=(1, 1, None))
    x, out = drawn(1, 1, 1, 50), np.full((1, 3, 60), np.nan, np.float32)
    front = s(x, out=out)
    assert np.shares_memory(front, out) and front.shape == (1, 3, 47)
    np.testing.assert_array_equal(front, whole([layer("conv1d", drawn(0, 3, 1, 4))], x))
    assert np.isnan(out[..., 47:]).all()
    with pytest.raises(ProblemError, match="out holds 3 outputs along time, 50 more came"):
        s(x, out=out[..., :3])
    both = s(x)
    assert both.shape == (1, 3, 100)
    expected = whole([layer("conv1d", drawn(0, 3, 1, 4))], np.concatenate([x] * 3, -1))
    np.testing.assert_array_equal(np.concatenate([expected[..., :47], both], -1), expected)
    with pytest.raises(ProblemError, match="out must be a NumPy array of float32"):
        s(x, out=out.astype(float))


def test_nothing_is_allocated_for_a_length_seen_before() -> None:
    s = kernels.stream(NETWORK, shape=(1, 2, None), block=32)
    x, out = drawn(1, 1, 2, 32), np.empty((1, 4, 32), np.float32)
    for _ in range(9):
        s(x, out=out)
    tracemalloc.start()
    try:
        s(x, out=out)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(500):
            s(x, out=out)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 4096 and peak - before < 4096, "views and tuples, which Python keeps for itself"


def test_blocks_belong_to_the_caller() -> None:
    """A block is neither written to nor needed afterwards, and a result stays what it was."""
    layers = [layer("activation", "relu"), layer("conv1d", drawn(0, 1, 1, 3)), layer("activation", "tanh")]
    s = kernels.stream(layers, shape=(1, 1, None))
    x = drawn(1, 1, 1, 40)
    before, expected = x.copy(), whole(layers, x)
    first = s(x[..., :20])
    kept = first.copy()
    block = x[..., 20:].copy()
    second = s(block)
    block[...] = np.nan
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(np.concatenate([first, second], -1), expected)


def test_linear_and_norm_along_frequency() -> None:
    layers = [
        layer("conv2d", drawn(0, 4, 1, 3, 3), padding=1), layer("linear", drawn(1, 6, 8), drawn(2, 6), "relu"),
        layer("batch_norm", drawn(3, 6), abs(drawn(4, 6)), axis=3),
    ]  # fmt: skip
    x = drawn(5, 1, 1, 90, 8)
    s = kernels.stream(layers, shape=(1, 1, None, 8), axis=2)
    y = np.concatenate([*(s(block) for block in blocks(x, 2, [1, 7, 30])), s.finish()], 2)
    np.testing.assert_array_equal(y, whole(layers, x))


@pytest.mark.parametrize(("layers", "message"), [
    ([layer("conv1d", drawn(0, 2, 2, 3)), layer("global_avg_pool")], "layer 1: global_avg_pool needs the whole signal; use avg_pool1d"),
    ([layer("adaptive_max_pool1d", 4)], "layer 0: adaptive_max_pool1d shares the whole signal out"),
    ([layer("flatten")], "layer 0: flatten mixes time"),
    ([layer("conv1d", drawn(0, 2, 2, 3), padding="same", stride=2)], 'layer 0: conv1d: padding="same" with stride 2'),
    ([layer("max_pool1d", 2, padding="same")], 'layer 0: max_pool1d: padding="same" with stride 2'),
    ([layer("add", [layer("linear", drawn(0, 2, 2))], [])], "layer 0.0.0: linear works along the last axis"),
    ([layer("conv1d", drawn(0, 2, 2, 3), padding=3)], "layer 0: padding .3, 3. is as long as the dilated kernel 3"),
    ([layer("conv1d", drawn(0, 2, 2, 3), implementation="fft")], "layer 0: conv1d: the sums of implementation 'fft' depend on where"),
    ([layer("avg_pool1d", 3, implementation="window")], "layer 0: avg_pool1d: the sums of implementation 'window' depend"),
    ([layer("batch_norm", drawn(0, 9), drawn(0, 9), axis=2)], "layer 0: batch_norm along time"),
    ([layer("conv_transpose1d", drawn(0, 2, 2, 3), stride=2, output_size=32)], "layer 0: conv_transpose1d: output_size is the length of a"),
])  # fmt: skip
def test_refusals_name_the_layer_and_what_would_work(layers: list[kernels.Layer], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        kernels.stream(layers, shape=(1, 2, None))


@pytest.mark.parametrize(("shape", "options", "message"), [
    ((1, 2, 3), {}, "axis -1 is time; that axis, and no other, must be None"),
    ((1, 2), {}, "must be"), ((1, None, 5), {}, "must be None"), ((1, 2, None), {"axis": 1}, "axis is 1, must be one of the spatial axes"),
    ((1, 2, None), {"block": 0}, "block is 0, must be at least 1"), ((1, 2, None), {"block": -4}, "block is -4"),
    ((1, 2, None), {"block": 2**40}, "a block of 1,099,511,627,776 inputs would take"), ((1, 2, None), {"block": 2**70}, "would take"),
    ((1, 2, None), {"implementation": 3}, "must be a name"), ((1, 3, None), {}, "layer 0: conv1d: x has 3 channels"),
])  # fmt: skip
def test_mistakes(shape: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        kernels.stream([layer("conv1d", drawn(0, 2, 2, 3))], shape=shape, **options)


def test_blocks_of_another_shape_and_another_networks_state() -> None:
    s = kernels.stream(NETWORK, shape=(1, 2, None))
    with pytest.raises(ProblemError, match="a block has shape"):
        s(drawn(0, 1, 3, 5))
    other = kernels.stream(NETWORK[:1], shape=(1, 2, None))
    with pytest.raises(ProblemError, match="not one of a stream of these layers"):
        other.restore(s.state())


def test_explain_says_what_is_taken() -> None:
    s = kernels.stream(NETWORK, shape=(1, 2, None), block=32)
    text = s.explain()
    assert "direct" in text and "window" in text and "depend on where the signal is cut" in text and "latency 5" in text


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(sys.modules["kernels.streaming.stream"]).failed == 0
    assert doctest.testmod(runners).failed == 0

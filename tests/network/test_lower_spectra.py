"""Short-time Fourier transforms in a graph: convolutions that are one are found whatever their order and signs, others stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network import lower_spectra
from kernels.network.fourier import fourier
from kernels.network.graph import Graph
from kernels.network.kept import of_arrays
from kernels.network.model import Model
from kernels.network.twin import evaluate
from kernels.runtime.constants import hold

Array = np.ndarray
METHOD = "spectra of frames"


def rows(length: int, taps: int, *, paired: bool = False, conjugate: bool = False, lead: int | None = None) -> Array:
    """Windowed cosines and sines, (2 (length / 2 + 1), taps)."""
    lead = (length - taps) // 2 if lead is None else lead
    window = 0.01 + np.hanning(taps + 1)[:-1]
    angle = 2 * np.pi / length * np.outer(np.arange(length // 2 + 1), np.arange(lead, lead + taps))
    parts = window * np.cos(angle), window * np.sin(angle) * (1 if conjugate else -1)
    return np.stack(parts, 1).reshape(-1, taps) if paired else np.concatenate(parts)


def framed(x: Array, taps: int, hop: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), taps, axis=-1)[..., ::hop, :]


def layer(weight: Array, x: Array, hop: int, threads: int = 2, **more: Any) -> Model:
    graph = Graph()
    inputs = [graph.input("x", x.shape, x.dtype), graph.constant(weight[:, None].astype(x.dtype)), *more.values()]
    graph.output("y", graph.node("Conv", *inputs, strides=[hop], kernel_shape=[weight.shape[1]]))
    return Model(graph, threads=threads)


# length, taps, hop, frames, signals
CASES = [(512, 512, 160, 100, 1), (512, 400, 160, 33, 2), (400, 400, 160, 16, 1), (1024, 1024, 320, 101, 1), (64, 64, 16, 17, 3),
         (30, 30, 7, 40, 1), (320, 320, 160, 99, 1), (20, 17, 50, 31, 2), (256, 256, 128, 4, 1), (64, 40, 16, 7, 3),
         (32, 32, 8, 1, 1)]  # fmt: skip


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-10)])
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_convolutions_that_transform(case: tuple[int, ...], conjugate: bool, paired: bool, dtype: Any, bound: float) -> None:
    length, taps, hop, frames, signals = case
    weight = rows(length, taps, paired=paired, conjugate=conjugate).astype(dtype)
    x = np.random.default_rng(length).standard_normal((signals, 1, taps + hop * (frames - 1) + 3)).astype(dtype)
    wanted = np.einsum("kt,nft->nkf", weight.astype(np.float64), framed(x[:, 0], taps, hop))
    for threads in (1, 2):
        model = layer(weight, x, hop, threads)
        assert METHOD in model.explain()
        np.testing.assert_allclose(model(x), wanted, atol=bound * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("length", [64, 2048])
def test_real_and_imaginary_parts_by_a_layer_each(length: int) -> None:
    weight, hop, graph = rows(length, length).astype(np.float32), length // 8, Graph()
    x = np.random.default_rng(0).standard_normal((1, 1, 4 * length + 999)).astype(np.float32)
    signal = graph.input("x", x.shape)
    for name, half in zip(("re", "im"), np.split(weight[:, None], 2)):
        graph.output(name, graph.node("Conv", signal, graph.constant(half), strides=[hop], kernel_shape=[length]))
    model, wanted = Model(graph), np.einsum("kt,nft->nkf", weight.astype(np.float64), framed(x[:, 0], length, hop))
    assert model.explain().count(METHOD) == 1
    for got, right in zip(model(x).values(), np.split(wanted, 2, axis=1)):
        np.testing.assert_allclose(got, right, atol=1e-6 * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("lead", [0, 5, 12])
def test_where_a_short_frame_lies_in_the_transform(lead: int) -> None:
    weight = rows(64, 52, lead=lead).astype(np.float32)
    found = fourier(weight)
    assert found is not None and found.lead == lead and not found.window[:lead].any()
    np.testing.assert_array_equal(found.window[lead : lead + 52], weight[0])


def test_weights_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for every new length, though two layers are joined anew each time; and no longer than the model lives."""
    looked: list[int] = []
    monkeypatch.setattr(lower_spectra, "fourier", lambda weight: looked.append(len(weight)) or fourier(weight))
    graph, weight = Graph(), rows(64, 64).astype(np.float32)
    signal = graph.input("x", (1, 1, None))
    for name, half in zip(("re", "im"), np.split(weight[:, None], 2)):
        graph.output(name, graph.node("Conv", signal, graph.constant(hold(half.copy())), strides=[16], kernel_shape=[64]))
    model = Model(graph)
    for length in (640, 800, 960):
        x = np.random.default_rng(length).standard_normal((1, 1, length)).astype(np.float32)
        wanted = np.einsum("kt,nft->nkf", weight, framed(x[:, 0], 64, 16))
        np.testing.assert_allclose(np.concatenate(list(model(x).values()), 1), wanted, atol=1e-6 * np.abs(wanted).max(), rtol=0)
    assert looked == [66]


def test_what_is_kept_of_arrays_goes_with_them() -> None:
    calls: list[int] = []
    total = of_arrays(lambda *arrays: calls.append(len(arrays)) or sum(each.sum() for each in arrays))
    one, two = np.ones(3), np.ones(4)
    assert [total(one, two), total(one, two), total(two, one), total(one)] == [7, 7, 7, 3] and calls == [2, 2, 1]
    known = next(cell.cell_contents for cell in total.__closure__ if isinstance(cell.cell_contents, dict))
    assert len(known) == 3
    del two
    assert len(known) == 1


def test_numbers_beside_the_frames_are_not_read() -> None:
    """A frame of 52 numbers in a transform of 64: what lies before the first and behind the last is NaN."""
    weight = rows(64, 52).astype(np.float32)
    around = np.full((1, 1, 52 + 16 * 39 + 64), np.nan, np.float32)
    x = around[..., 32:-32]
    x[...] = np.random.default_rng(0).standard_normal(x.shape)
    assert np.isfinite(layer(weight, x, 16)(x)).all()


def spoilt(weight: Array) -> Array:
    weight[40, 3] += 1e-5
    return weight


@pytest.mark.parametrize(
    "weight", [spoilt(rows(64, 64)), rows(64, 64)[1:-1], rows(64, 64)[:33], rows(64, 64)[::-1].copy(), rows(46, 46), np.zeros((66, 64))]
)
def test_other_rows_are_summed(weight: Array) -> None:
    """One tap off, frequencies left out, another order, a length with a factor of 23, nothing."""
    x = np.random.default_rng(1).standard_normal((1, 1, 64 + 16 * 39)).astype(np.float32)
    model = layer(weight, x, 16)
    assert METHOD not in model.explain()
    wanted = np.einsum("kt,nft->nkf", weight, framed(x[:, 0], weight.shape[1], 16))
    np.testing.assert_allclose(model(x), wanted, atol=1e-6 * max(np.abs(wanted).max(), 1), rtol=0)


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("shape", [(2, 700), (1, 700, 1)])
def test_the_operator(shape: tuple[int, ...], windowed: bool, dtype: Any, bound: float) -> None:
    x, window = np.random.default_rng(2).standard_normal(shape).astype(dtype), np.hanning(60).astype(dtype)
    graph = Graph()
    inputs = [graph.input("x", shape, dtype), graph.constant(np.int64(20))]
    inputs += [graph.constant(window)] if windowed else [None, graph.constant(np.int64(60))]  # type: ignore[list-item]
    graph.output("y", graph.node("STFT", *inputs))
    model, frames = Model(graph), framed(x.reshape(shape[:2]), 60, 20)
    wanted = np.fft.rfft(frames * window if windowed else frames)
    assert METHOD in model.explain()
    np.testing.assert_allclose(model(x), np.stack([wanted.real, wanted.imag], -1), atol=bound * np.abs(wanted).max(), rtol=0)


class FrontEnd:
    """A graph that begins with a Conv of windowed cosines and sines, from float64 numbers of what it computes."""

    def __init__(self, *, paired: bool = False, signals: int = 1, frames: int = 50, length: int = 128, hop: int = 32) -> None:
        self.graph, self.bins, self.frames, self.signals = Graph(), length // 2 + 1, frames, signals
        self.x = np.random.default_rng(3).standard_normal((signals, 1, length + hop * (frames - 1))).astype(np.float32)
        weight = rows(length, length, paired=paired)
        signal = self.graph.input("x", self.x.shape)
        made = self.node("Conv", signal, self.constant(weight[:, None]), strides=[hop], kernel_shape=[length])
        exact = np.einsum("kt,nft->nkf", weight, framed(self.x[:, 0], length, hop))
        start, stop, step = ((0, 1), (2 * self.bins,) * 2, 2) if paired else ((0, self.bins), (self.bins, 2 * self.bins), 1)
        self.parts = [self.node("Slice", made, *(self.integers(n) for n in (a, b, 1, step))) for a, b in zip(start, stop)]
        self.exact = [exact[:, a:b:step] for a, b in zip(start, stop)]
        self.power = self.node("Add", *(self.node("Mul", part, part) for part in self.parts))
        self.exact_power = self.exact[0] ** 2 + self.exact[1] ** 2

    def node(self, op: str, *inputs: Any, **attributes: Any) -> Any:
        return self.graph.node(op, *inputs, **attributes)

    def constant(self, array: Any) -> Any:
        return self.graph.constant(np.asarray(array, np.float32))

    def integers(self, *numbers: int) -> Any:
        return self.graph.constant(np.array(numbers, np.int64))

    def mel(self, x: Any, filters: Array) -> Any:
        """(signals, frequencies, frames) to (signals, frames, filters)."""
        return self.node("MatMul", self.node("Transpose", x, perm=[0, 2, 1]), self.constant(filters.T))

    def check(self, wanted: dict[str, Array], *methods: str) -> str:
        for name in wanted:
            assert name in self.graph.outputs
        for threads in (1, 2):
            model = Model(self.graph, threads=threads)
            found: Any = model(self.x)
            for name, each in wanted.items():
                got = found if len(wanted) == 1 else found[name]
                np.testing.assert_allclose(got, each, atol=2e-6 * np.abs(each).max(), rtol=0)
            text = model.explain()
            assert all(method in text for method in methods), text
        return text


def triangles(count: int, frequencies: int) -> Array:
    places = np.linspace(0, frequencies - 1, count + 2)[1:-1, None]
    return np.maximum(0, 1 - np.abs(np.arange(frequencies) - places) / (frequencies / count))


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("signals, frames", [(1, 50), (3, 17), (2, 5), (1, 1)])
@pytest.mark.parametrize("root", [False, True])
def test_mel_of_power_and_magnitude_in_one_step(root: bool, signals: int, frames: int, paired: bool) -> None:
    front = FrontEnd(paired=paired, signals=signals, frames=frames)
    power, exact = front.power, front.exact_power
    if root:
        power, exact = front.node("Sqrt", power), np.sqrt(exact)
    filters = triangles(12, front.bins)
    biased = front.node("Add", front.mel(power, filters), front.constant(np.arange(12.0)))
    front.graph.output("y", front.node("Log", biased) if frames > 1 else biased)
    wanted = exact.swapaxes(1, 2) @ filters.T + np.arange(12)
    text = front.check({"y": np.log(wanted) if frames > 1 else wanted}, "sums of bands of frames")
    assert text.startswith("2 steps" if frames > 1 else "1 steps")


def test_a_logarithm_of_the_power() -> None:
    """What follows the power in its chain is a pass over it, with other inputs."""
    front = FrontEnd()
    scale = front.constant(1 + np.arange(front.bins * 1.0)[:, None])
    scaled = front.node("Add", front.node("Mul", front.power, scale), front.constant(1.0))
    front.graph.output("y", front.node("Transpose", front.node("Neg", front.node("Log", scaled)), perm=[0, 2, 1]))
    wanted = -np.log1p(front.exact_power * (1 + np.arange(front.bins))[:, None])
    front.check({"y": wanted.swapaxes(1, 2)}, "Conv+Mul+Mul+Add")


def test_moves_between_power_and_root() -> None:
    front = FrontEnd(signals=2)
    moved = front.node("Unsqueeze", front.power, front.integers(1))
    image = front.node("Relu", front.node("Sqrt", moved))
    front.graph.output("y", front.node("Conv", image, front.constant(np.ones((2, 1, 3, 3))), kernel_shape=[3, 3]))
    magnitude = np.sqrt(front.exact_power)
    sums = np.lib.stride_tricks.sliding_window_view(magnitude, (3, 3), (1, 2)).sum((-2, -1))
    front.check({"y": np.stack([sums, sums], 1)}, "power of frames")


@pytest.mark.parametrize("what", ["spectra", "power", "both"])
def test_what_others_read_is_made(what: str) -> None:
    front = FrontEnd(signals=2)
    wanted = {"y": front.exact_power.swapaxes(1, 2) @ triangles(12, front.bins).T}
    front.graph.output("y", front.mel(front.power, triangles(12, front.bins)))
    if what != "power":
        front.graph.output("real", front.node("Exp", front.node("Mul", front.parts[0], front.constant(0.01))))
        wanted["real"] = np.exp(0.01 * front.exact[0])
    if what != "spectra":
        front.graph.output("power", front.node("Relu", front.power))
        wanted["power"] = front.exact_power
    text = front.check(wanted)
    assert "sums of bands" not in text


def test_filters_that_are_no_bands() -> None:
    front = FrontEnd()
    filters = np.random.default_rng(5).random((24, front.bins))
    front.graph.output("y", front.mel(front.power, filters))
    front.check({"y": front.exact_power.swapaxes(1, 2) @ filters.T}, "power of frames")


@pytest.mark.parametrize("swap", [False, True])
def test_a_sum_of_squares_of_other_numbers(swap: bool) -> None:
    """The square of one part twice, or of parts in opposite orders of frequencies, is no power."""
    front = FrontEnd()
    turned = front.node("Slice", front.parts[1], front.integers(-1), front.integers(-front.bins - 1), front.integers(1), front.integers(-1))
    other, exact = (turned, front.exact[1][:, ::-1]) if swap else (front.parts[0], front.exact[0])
    total = front.node("Add", front.node("Mul", front.parts[0], front.parts[0]), front.node("Mul", other, other))
    front.graph.output("y", front.node("Sqrt", total))
    text = front.check({"y": np.sqrt(front.exact[0] ** 2 + exact**2)})
    assert "power of frames" not in text


def test_signals_behind_frames() -> None:
    """Filters of frames that come first: a step for (signals, filters, frames) would write elsewhere."""
    front, filters = FrontEnd(signals=3), triangles(12, FrontEnd().bins)
    moved = front.node("Transpose", front.power, perm=[2, 0, 1])
    front.graph.output("y", front.node("MatMul", moved, front.constant(filters.T)))
    front.check({"y": front.exact_power.transpose(2, 0, 1) @ filters.T})


def test_as_many_frames_as_frequencies() -> None:
    """A product over frames is none over frequencies, and a square of frames is no imaginary part."""
    front = FrontEnd(frames=65)
    assert front.frames == front.bins
    smooth = triangles(12, 65)
    front.graph.output("y", front.node("MatMul", front.power, front.constant(smooth.T)))
    text = front.check({"y": front.exact_power @ smooth.T})
    assert "sums of bands" not in text
    other = FrontEnd(frames=65)
    real, turned = other.parts[0], other.node("Transpose", other.parts[1], perm=[0, 2, 1])
    other.graph.output("y", other.node("Add", other.node("Mul", real, real), other.node("Mul", turned, turned)))
    text = other.check({"y": other.exact[0] ** 2 + other.exact[1].swapaxes(1, 2) ** 2})
    assert "power of frames" not in text


def test_whether_there_is_power() -> None:
    front = FrontEnd()
    front.graph.output("y", front.node("Greater", front.power, front.constant(10.0)))
    model, clear = Model(front.graph), np.abs(front.exact_power - 10) > 1e-3
    np.testing.assert_array_equal(model(front.x)[clear], (front.exact_power > 10)[clear])


def random_front_end(seed: int) -> tuple[FrontEnd, str]:
    """Spectra, and what may become of them in any order of nodes: the graph, and what it is."""
    rng = np.random.default_rng(seed)
    pick = lambda *choices: choices[int(rng.integers(len(choices)))]  # noqa: E731
    sizes = {"signals": pick(1, 1, 3), "frames": pick(1, 5, 16, 33), "length": pick(64, 256), "hop": pick(16, 64, 100)}
    front = FrontEnd(paired=pick(False, True), **sizes)
    frames, x, told = front.frames, list(front.parts), []

    def change(name: str, value: Any, *inputs: Any, **attributes: Any) -> Any:
        told.append(name)
        return front.node(name, value, *inputs, **attributes)

    if pick(False, False, True):
        x.reverse()
    if frames > 5 and pick(False, True):
        first, last = int(rng.integers(3)), int(rng.integers(3))
        x = [change("Slice", part, *(front.integers(n) for n in (first, frames - last, 2))) for part in x]
        frames -= first + last
    if pick(False, True):
        x = [change("Transpose", part, perm=[0, 2, 1]) for part in x]
        turned = True
    else:
        turned = False
    if pick(False, False, False, True):
        front.graph.output("part", change("Exp", front.node("Mul", x[0], front.constant(0.01))))
    two = front.constant(2.0)
    y = front.node("Add", *(front.node("Mul", part, part) if pick(False, True) else front.node("Pow", part, two) for part in x))
    for name in pick((), ("Sqrt",), ("Sqrt", "Relu"), ("Relu", "Sqrt"), ("Unsqueeze", "Sqrt", "Squeeze")):
        y = change(name, y, *([front.integers(0)] if "queeze" in name else []))
    if pick(False, False, True):
        scale = front.constant(rng.random((1, frames, 1) if turned else (1, 1, frames)))
        y = change("Mul", y, scale)
    if pick(False, False, True):
        front.graph.output("power", y)
    if pick(False, True):
        rows = y if turned else change("Transpose", y, perm=[0, 2, 1])
        matrix = pick(triangles(12, front.bins), triangles(6, front.bins), rng.random((10, front.bins)))
        y = change("MatMul", rows, front.constant(matrix.T))
        if pick(False, True):
            y = change("Add", y, front.constant(rng.random(len(matrix))))
    front.graph.output("y", change("Neg", y))
    return front, " ".join(told)


def compare_front_end(seed: int) -> None:
    front, told = random_front_end(seed)
    wanted = evaluate(front.graph, {"x": front.x.astype(np.float64)})
    for threads in (1, 2):
        model = Model(front.graph, threads=threads)
        for _ in range(2):
            found: Any = model(front.x)
            for name, each in wanted.items():
                got = found if len(wanted) == 1 else found[name]
                np.testing.assert_allclose(got, each, atol=4e-6 * np.abs(each).max(), rtol=0, err_msg=f"{seed}: {told}\n{model.explain()}")


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_random_front_ends(start: int) -> None:
    for seed in range(start, start + 20):
        compare_front_end(seed)

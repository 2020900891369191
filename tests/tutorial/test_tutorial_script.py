"""The page's own arithmetic against the library, number for number: the functions that compute what the reader changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import lesson_page
import numpy as np
import pytest

import kernels
from benchmarks.tutorial import pack
from benchmarks.tutorial.numbers import capture, fast, maps

EXACT = {"rtol": 0, "atol": 1e-12}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with lesson_page.browser(tmp_path_factory.mktemp("script")) as driver:
        yield driver


def planes(page: Any, body: str) -> np.ndarray:
    """Runs a function's body, in which T is the page's script; it returns a plane."""
    found = page.execute_script(f"const T = tutorial; const p = (() => {{ {body} }})(); return [p.h, p.w, [...p.v]];")
    return np.array(found[2], dtype=np.float64).reshape(found[:2])


CASES = list(itertools.product((4, 7), (1, 3, 4), (1, 2, 3), (0, 1, 2), (1, 2)))  # input, kernel, stride, padding, dilation


def test_convolution_of_every_size(page: Any) -> None:
    rng = np.random.default_rng(0)
    for n, k, s, p, d in CASES:
        x, w = rng.standard_normal((n, n + 1)), rng.standard_normal((k, k))
        length = page.execute_script("return tutorial.outLength(arguments[0])", {"n": n, "k": k, "s": s, "p": p, "d": d})
        if length < 1:
            with pytest.raises(kernels.ProblemError):
                kernels.conv2d(x[None, None], w[None, None], None, s, p, d)
            continue
        ours = kernels.conv2d(x[None, None], w[None, None], None, s, p, d)[0, 0]
        options = as_js({"stride": s, "padding": p, "dilation": d})
        theirs = planes(page, f"return T.correlate(T.planeOf({x.tolist()}), T.planeOf({w.tolist()}), {options});")
        assert theirs.shape[0] == length
        np.testing.assert_allclose(theirs, ours, **EXACT)


def as_js(options: dict[str, int]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in options.items()) + "}"


def test_transposed_of_every_size(page: Any) -> None:
    rng = np.random.default_rng(1)
    for n, k, s, p, d in CASES:
        for op in range(max(s, d)):
            size = (n - 1) * s - 2 * p + d * (k - 1) + 1 + op
            if size < 1:
                continue
            x, w = rng.standard_normal((n, n)), rng.standard_normal((k, k))
            ours = kernels.conv_transpose2d(x[None, None], w[None, None], None, s, p, op, 1, d)[0, 0]
            args = as_js({"s": s, "p": p, "d": d, "op": op})
            theirs = planes(page, f"return T.paint(T.planeOf({x.tolist()}), T.planeOf({w.tolist()}), {args});")
            np.testing.assert_allclose(theirs, ours, **EXACT)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools(page: Any, kind: str) -> None:
    x = np.random.default_rng(2).standard_normal((8, 13))
    function = kernels.max_pool2d if kind == "max" else kernels.avg_pool2d
    for size, stride in (((1, 2), (1, 2)), ((2, 4), (2, 4)), ((3, 3), (1, 2))):
        theirs = planes(page, f"return T.pool(T.planeOf({x.tolist()}), {list(size)}, '{kind}', {list(stride)});")
        np.testing.assert_allclose(theirs, function(x[None, None], size, stride)[0, 0], **EXACT)


def test_flip_and_slide(page: Any) -> None:
    for preset, flip in itertools.product(lesson_page.data()["flip"]["presets"], (True, False)):
        f, g = (pack.unpack(preset[name]).astype(np.float64).tolist() for name in "fg")
        theirs = page.execute_script("return tutorial.overlaps(...arguments)", f, g, flip)
        ours = kernels.conv1d(np.array([[f]]), np.array([[g]]), padding=len(g) - 1, flip=flip)[0, 0]
        np.testing.assert_allclose(theirs, ours, **EXACT)


@pytest.mark.parametrize("index", range(len(maps.single())))
def test_kernels_on_the_spectrogram(page: Any, index: int) -> None:
    each = lesson_page.data()["maps"]["kernels"][index]
    x = pack.unpack(lesson_page.data()["maps"]["maps"])[0].astype(np.float64)
    weight = pack.unpack(each["weight"]).astype(np.float64)
    body = """
      const maps = T.SECTIONS.kernel.data, packed = T.unpack(maps.maps), kernel = T.unpack(maps.kernels[INDEX].weight);
      const x = T.plane(...packed.shape.slice(1), packed.values.slice(0, packed.shape[1] * packed.shape[2]));
      const w = T.plane(...kernel.shape, kernel.values);
      return T.correlate(x, w, { padding: T.samePadding(w) });"""
    theirs = planes(page, body.replace("INDEX", str(index)))
    np.testing.assert_allclose(theirs, maps.same(x[None], weight[None, None])[0], rtol=0, atol=1e-11)


def test_receptive_fields_of_every_preset(page: Any) -> None:
    for preset in lesson_page.data()["capture"]["presets"]:
        theirs = page.execute_script("return tutorial.receptiveFields(arguments[0])", preset["stack"])
        for got, field in zip(theirs, preset["fields"]):
            for name in ("size", "stride", "start"):
                np.testing.assert_allclose(got[name], field[name], atol=1e-9)


def test_effective_fields(page: Any) -> None:
    stacks = [preset["stack"] for preset in lesson_page.data()["capture"]["presets"] if len(preset["stack"]) in range(1, 14)]
    for stack, axis in itertools.product(stacks, (0, 1)):
        theirs = page.execute_script("return tutorial.effectiveField(...arguments)", stack, axis)
        np.testing.assert_allclose(theirs, capture.effective(stack, axis), rtol=0, atol=1e-12)


def test_shifts(page: Any) -> None:
    body = """
      const data = tutorial.SECTIONS.shift.data, { shape, values } = tutorial.unpack(data.pictures), [, h, w] = shape, T = tutorial;
      const picture = (s) => T.plane(h, w, values.slice(s * h * w, (s + 1) * h * w));
      const seen = (s, later) => T.crop(picture(s), 0, data.start - later, h, data.width);
      return data.checks.map(({ semitones, later, stride, padded, pool }) =>
        T.shifted(seen(0, 0), seen(semitones, later), T.planeOf(data.kernel),
          { bins: semitones, later, stride, padded, width: pool }).share);"""
    theirs = page.execute_script(body)
    ours = [check["difference"] for check in lesson_page.data()["shift"]["checks"]]
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-9)


def test_answers_of_kernels(page: Any) -> None:
    for bank in lesson_page.data()["raw"]["banks"]:
        filters = pack.unpack(bank["filters"]).astype(np.float64)
        for check in bank["checks"]:
            theirs = page.execute_script(
                "const [f, hz, r] = arguments; return f.map((each) => tutorial.answer(each, hz, r))",
                filters.tolist(),
                check["hertz"],
                bank["rate"],
            )
            np.testing.assert_allclose(theirs, check["response"], rtol=0, atol=2e-3 * max(theirs))


def test_every_algorithm_gives_the_librarys_output(page: Any) -> None:
    data = lesson_page.data()["fast"]
    counts = {}
    for name in ("naive", "im2col", "winograd", "fft", "direct"):
        found = page.execute_script("return tutorial.runAlgorithm(...arguments)", name, fast.TOY.tolist(), fast.TOY_KERNEL.tolist())
        np.testing.assert_allclose(found["out"], data["answers"].get(name, data["answers"]["naive"]), rtol=0, atol=1e-9)
        counts[name] = found["steps"][-1]["products"], found["steps"][-1]["loads"]
    assert counts["naive"] == (144, 288) and counts["winograd"][0] == 64 and counts["direct"] == (144, 54)
    assert counts["im2col"][0] == 144 and counts["fft"][0] > 256


def test_transform_is_the_embedded_one(page: Any) -> None:
    """Section 9 multiplies a kernel with the sound itself; the library's number stands beside it."""
    size = pack.unpack(lesson_page.data()["raw"]["stft"]["size"])
    for bin_, frame in ((7, 40), (20, 3), (60, 100)):
        page.execute_script("tutorial.SECTIONS.stft.move({ bin: arguments[0], frame: arguments[1] })", bin_, frame)
        value = float(page.execute_script("return document.getElementById('stft').dataset.value"))
        assert value == pytest.approx(float(size[bin_, frame]), abs=1e-4 * float(size.max()))

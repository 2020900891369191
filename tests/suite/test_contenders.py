"""Every installed contender answers small workloads of each kind as the reference does, and the reference as SciPy and plain sums do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import signal

from benchmarks import contenders, workloads
from benchmarks.contenders import Contender, Prepared, scipy_cpu
from benchmarks.inputs import expected
from benchmarks.inputs.clip import Clip
from benchmarks.inputs.tensors import Tensors, tensors
from benchmarks.records.results import CHOOSERS, PEERS
from benchmarks.workloads.layer import Workload
from kernels.dispatch import tuning

CLIP = Clip("test", 8000, np.ones((2, 8000), np.float32))
CONV, CONV1D = workloads.by_id("vggish.conv1"), workloads.by_id("beattcn.d256c1")
CONV, CONV1D = replace(CONV, input=None, h=9, w=7), replace(CONV1D, input=None, w=40, padding=((0, 0), (4, 4)), dilation=(1, 2), c_out=6)
POOL = replace(workloads.by_id("cnn14.pool1"), c_in=3, c_out=3, h=9, w=8)
UP = replace(workloads.by_id("spleeter.up4"), stride=(2, 2))
KINDS = {
    "first layer": replace(CONV, c_out=5),
    "several in, two items": replace(CONV, n=2, c_in=3, c_out=4),
    "no bias": replace(CONV, c_in=2, c_out=3, bias=False),
    "unequal padding": replace(CONV, c_in=2, c_out=3, kh=4, kw=2, padding=((1, 2), (0, 1))),
    "stride": replace(CONV, c_in=2, c_out=3, stride=(2, 3)),
    "dilation": replace(CONV, c_in=2, c_out=3, dilation=(2, 3), padding=((2, 2), (3, 3))),
    "filters of one channel, more padding than they reach": replace(CONV, c_in=2, c_out=4, groups=2, padding=((3, 3), (1, 1))),
    "fades to denormals": replace(CONV, c_in=2, c_out=3, denormals=True),
    "maximum, fades to denormals": replace(POOL, op="max_pool2d", denormals=True),
    "groups": replace(CONV, c_in=4, c_out=6, groups=2),
    "depthwise": replace(CONV, c_in=4, c_out=4, groups=4),
    "1x1": replace(CONV, c_in=4, c_out=4, kh=1, kw=1, padding=((0, 0), (0, 0))),
    "1-D dilated": CONV1D,
    "1-D stride, unequal padding": replace(CONV1D, stride=(1, 3), padding=((0, 0), (3, 4)), kw=4),
    "average": POOL,
    "maximum": replace(POOL, op="max_pool2d"),
    "overlapping maximum": replace(POOL, op="max_pool2d", kh=3, kw=3),
    "average 1-D": replace(POOL, op="avg_pool1d", h=1, kh=1, stride=(1, 2)),
    "maximum 1-D": replace(POOL, op="max_pool1d", h=1, kh=1, kw=3, stride=(1, 3)),
    "maximum, padded": replace(POOL, op="max_pool2d", kh=3, kw=3, padding=((1, 1), (1, 1))),
    "maximum, unequal padding, ceil": replace(POOL, op="max_pool2d", kh=3, kw=4, padding=((0, 1), (3, 1)), stride=(2, 3), ceil_mode=True),
    "maximum, dilated": replace(POOL, op="max_pool2d", kh=3, kw=2, dilation=(2, 3), stride=(1, 2)),
    "average, padded": replace(POOL, kh=3, kw=3, padding=((1, 1), (1, 1))),
    "average of what is there, ceil": replace(POOL, kh=3, kw=3, padding=((1, 1), (1, 1)), ceil_mode=True, count_include_pad=False),
    "average, unequal padding": replace(POOL, kh=3, kw=3, padding=((0, 1), (2, 1))),
    "average, ceil": replace(POOL, kh=2, kw=3, h=7, ceil_mode=True),
    "transposed": replace(UP, c_in=4, c_out=6, h=4, w=5),
    "transposed, more at the end": replace(UP, c_in=4, c_out=2, h=4, w=5, kh=3, kw=3, padding=((0, -1), (1, 0))),
    "global average": replace(workloads.by_id("cnn14.globalpool"), c_in=6, c_out=6),
    "batch": replace(CONV, c_out=4).batched(3),
}


@pytest.mark.parametrize("contender", contenders.installed(), ids=lambda each: each.name)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_agree_with_the_reference(kind: str, contender: Contender) -> None:
    workload = KINDS[kind]
    if sentence := contender.refuse(workload):
        assert len(sentence.split()) >= 4, f"a sentence, not {sentence!r}"
        pytest.skip(sentence)
    given = tensors(workload, CLIP)
    prepared = contender.prepare(workload, given, threads=1)
    for _ in range(2):  # the second call must not find the first one's leftovers
        got = prepared.answer(prepared.run())
        want = expected.answer(workload, given)
        assert got.shape == want.shape and got.dtype == np.float32
        both = expected.Expected(want, expected.largest_sum(workload, given))
        bound = expected.tolerance(workload, both) if prepared.error_bound is None else prepared.error_bound
        assert expected.error(got, want, both.largest_sum) <= bound


def by_definition(workload: Workload, given: Tensors) -> np.ndarray:
    """Convolution written out value by value, the slowest and plainest way there is."""
    assert given.weight is not None
    if workload.is_transposed:
        return scattered(workload, given)
    x = np.pad(given.x.reshape(workload.n, workload.c_in, workload.h, workload.w).astype(float), ((0, 0), (0, 0), *workload.padding))
    weight = given.weight.reshape(workload.c_out, -1, workload.kh, workload.kw).astype(float)
    out = np.zeros((workload.n, workload.c_out, workload.oh, workload.ow))
    per_in, per_out = workload.c_in // workload.groups, workload.c_out // workload.groups
    for n, o, i, j in np.ndindex(out.shape):
        total = 0.0 if given.bias is None else float(given.bias[o])
        for c, a, b in np.ndindex(per_in, workload.kh, workload.kw):
            row, column = i * workload.stride[0] + a * workload.dilation[0], j * workload.stride[1] + b * workload.dilation[1]
            total += weight[o, c, a, b] * x[n, o // per_out * per_in + c, row, column]
        out[n, o, i, j] = total
    return out.reshape(workload.out_shape)


def scattered(workload: Workload, given: Tensors) -> np.ndarray:
    """Transposed convolution: each input value adds its kernel to the output, of which padding crops the sides."""
    assert given.weight is not None and workload.groups == 1
    x = given.x.reshape(workload.n, workload.c_in, workload.h, workload.w).astype(float)
    weight = given.weight.reshape(workload.c_in, workload.c_out, workload.kh, workload.kw).astype(float)
    full = np.zeros((workload.n, workload.c_out, workload.h * workload.stride[0] + 20, workload.w * workload.stride[1] + 20))
    for n, c, i, j in np.ndindex(x.shape):
        full[n, :, i * workload.stride[0] :, j * workload.stride[1] :][:, : workload.kh, : workload.kw] += x[n, c, i, j] * weight[c]
    (top, _), (left, _) = workload.padding
    out = full[:, :, top : top + workload.oh, left : left + workload.ow] + (0 if given.bias is None else given.bias.reshape(1, -1, 1, 1))
    return out.reshape(workload.out_shape)


@pytest.mark.parametrize("kind", [name for name, each in KINDS.items() if each.is_conv])
def test_the_reference_is_the_definition(kind: str) -> None:
    workload = KINDS[kind]
    given = tensors(workload, CLIP)
    np.testing.assert_allclose(expected.answer(workload, given), by_definition(workload, given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [name for name, each in KINDS.items() if each.is_conv and not each.is_transposed])
def test_sums_and_transforms_give_one_reference(kind: str) -> None:
    workload = KINDS[kind]
    given = tensors(workload, CLIP)
    x = given.x.astype(np.float64).reshape(workload.n, workload.c_in, workload.h, workload.w)
    got = expected.transformed(workload, x, given).reshape(workload.out_shape)
    np.testing.assert_allclose(got, expected.answer(workload, given), rtol=1e-12, atol=1e-12)


def test_a_reverb_is_scipys_convolution_with_the_response_turned_round() -> None:
    whole = workloads.by_id("signals.reverb")
    workload = replace(whole, w=9000, kw=expected.TAPS + 1, padding=((0, 0), (expected.TAPS, expected.TAPS)), input=None)
    given = tensors(workload, CLIP)
    assert given.weight is not None and whole.padding[1] == (whole.kw - 1, whole.kw - 1)
    want = signal.convolve(given.x[0, 0].astype(float), given.weight[0, 0, ::-1].astype(float))
    np.testing.assert_allclose(expected.answer(workload, given)[0, 0], want, rtol=1e-12, atol=1e-12)


def test_what_would_take_minutes_is_predicted_from_a_shorter_layer() -> None:
    reverb = workloads.by_id("signals.reverb32")
    for contender in contenders.installed():
        small = contender.pilot(reverb)
        assert small is None if contender.name in ("fft", *CHOOSERS) else small is not None and small.flops < reverb.flops, contender.name
    assert all(each.pilot(CONV) is None for each in contenders.installed() if each.name in ("torch", "direct", "onnxruntime"))


def test_scipy_takes_the_quickest_of_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    scipy = next(each for each in contenders.everyone() if each.name == "scipy")
    workload = replace(KINDS["1-D stride, unequal padding"], c_in=3, c_out=6, groups=3)
    given = tensors(workload, CLIP)
    names = iter((3.0, 4.0, 1.0, 1.5, 2.0, 9.0))  # from, to: of oaconvolve, fftconvolve, pairs
    monkeypatch.setattr(scipy_cpu, "_pairs", lambda *_: lambda: None)
    monkeypatch.setattr(scipy_cpu, "perf_counter", lambda: next(names))
    prepared = scipy.prepare(workload, given, 2)
    assert prepared.remark == "chose fftconvolve"
    assert expected.error(prepared.answer(prepared.run()), expected.answer(workload, given)) <= expected.tolerance(workload)


def test_the_reference_is_scipys_correlation() -> None:
    workload = replace(CONV, c_out=1, bias=False, h=30, w=40, kh=5, kw=7, padding=((0, 0), (0, 0)))
    given = tensors(workload, CLIP)
    assert given.weight is not None
    want = signal.correlate2d(given.x[0, 0].astype(float), given.weight[0, 0].astype(float), mode="valid")
    np.testing.assert_allclose(expected.answer(workload, given)[0, 0], want, rtol=1e-12, atol=1e-12)


def test_pools_of_the_reference() -> None:
    x = np.arange(24, dtype=np.float32).reshape(1, 1, 4, 6)
    two = replace(POOL, c_in=1, c_out=1, h=4, w=6)
    np.testing.assert_array_equal(expected.answer(two, Tensors(x, None, None))[0, 0], [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    two = replace(two, op="max_pool2d")
    np.testing.assert_array_equal(expected.answer(two, Tensors(x, None, None))[0, 0], [[7, 9, 11], [19, 21, 23]])


def test_the_largest_sum_is_that_of_all_products_without_their_signs() -> None:
    for workload in KINDS.values():
        given = tensors(workload, CLIP)
        largest = expected.largest_sum(workload, given)
        assert largest is not None and largest >= np.abs(expected.answer(workload, given)).max()
        if workload.is_conv and not workload.is_transposed and workload.groups == 1:
            products = np.abs(by_definition(workload, unsigned(given)))
            assert largest == pytest.approx(products.max(), rel=1e-5)


def unsigned(given: Tensors) -> Tensors:
    """All values without their signs."""
    return Tensors(*(None if array is None else np.abs(array) for array in (given.x, given.weight, given.bias)))  # type: ignore[arg-type]


def test_answers_are_remembered_per_workload_and_clip() -> None:
    given = tensors(CONV, CLIP)
    first = expected.remembered(CONV, given, CLIP)
    assert expected.remembered(CONV, given, CLIP) is first
    assert expected.remembered(CONV, given, Clip("test", 8000, CLIP.samples)) is not first


def test_every_registered_implementation_is_a_contender() -> None:
    names = [each.name for each in contenders.everyone()]
    assert {"naive", "jit", *CHOOSERS, *PEERS} <= set(names)
    assert "measured" not in [each.name for each in contenders.select()]
    assert [each.name for each in contenders.select(["meas*"])] == ["measured"]
    asked = ["direct_bfloat16", "bfloat16_torch"]
    assert not set(asked) & {each.name for each in contenders.select()}
    asked = [each.name for each in contenders.installed() if each.name in asked]
    assert [each.name for each in contenders.select(asked)] == asked
    assert len(set(names)) == len(names)
    assert all(each.inside_timer.endswith(".") for each in contenders.everyone())


class Made(Contender):
    """A contender that is installed or not, as the test says."""

    inside_timer = "Nothing."

    def __init__(self, name: str, missing: str | None) -> None:
        self.name, self.missing = name, missing

    def available(self) -> str | None:
        return self.missing

    def refuse(self, workload: Workload) -> str | None:
        return None

    def prepare(self, *_: object) -> Prepared:
        raise AssertionError("never asked")


def test_globs_and_absent_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same whatever this environment has installed."""
    made = (Made("naive", None), Made("torch", "PyTorch is not installed"), Made("torch_last", None), Made("lone", "no lone here"))
    monkeypatch.setattr(contenders, "everyone", lambda: made)

    def names(*globs: str) -> list[str]:
        return [each.name for each in contenders.select(globs)]

    assert names("na*", "torch_last") == ["naive", "torch_last"] and names() == ["naive", "torch_last"]
    assert names("torch*") == ["torch_last"], "of what a glob fits, the installed ones"
    with pytest.raises(ValueError, match=r"no contender fits 'tensorflow'; there are naive, torch, torch_last, lone"):
        names("tensorflow")
    with pytest.raises(ValueError, match="contender 'lone': lone: no lone here"):
        names("lone")
    with pytest.raises(ValueError, match="contender 'torch': torch: PyTorch is not installed"):
        names("naive", "torch")


@pytest.mark.parametrize("name", CHOOSERS)
def test_what_chooses_says_what(name: str) -> None:
    chooser = next(each for each in contenders.everyone() if each.name == name)
    workload = KINDS["first layer"]
    chosen = chooser.prepare(workload, tensors(workload, CLIP), 1).remark
    assert chosen.removeprefix("chose ").partition(":")[0] in [each.name for each in contenders.everyone()]
    assert not tuning._table, "what one contender measured must not help the next"


def test_operations_the_library_lacks_are_refused_by_name() -> None:
    auto = next(each for each in contenders.everyone() if each.name == "auto")
    assert auto.refuse(workloads.by_id("musicnn.backend-temporal-pooling")) == "kernels has no operation global_max_concat_mean_time"

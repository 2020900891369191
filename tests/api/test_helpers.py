"""What users of convolutions write by hand: batch norm folded, windows unfolded and folded, channels shuffled, separable layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference

import kernels
from kernels.runtime.machine import pretend

draw = np.random.default_rng(3).standard_normal


# --- batch norm


@pytest.mark.parametrize("given", ["everything", "no affine part", "no bias"])
@pytest.mark.parametrize("groups", [1, 2])
def test_batch_norm_goes_into_the_weights(given: str, groups: int) -> None:
    x, weight = draw((2, 4, 7, 6)), draw((6, 4 // groups, 3, 2))
    bias, mean, gamma, beta = draw((4, 6))
    var = draw(6) ** 2
    gamma, beta = (None, None) if given == "no affine part" else (gamma, beta)
    bias = None if given == "no bias" else bias
    y = reference.conv(x, weight, bias, (1, 1), ((0, 0), (0, 0)), (1, 1), groups)
    column = np.s_[:, None, None]
    expected = (y - mean[column]) / np.sqrt(var[column] + 1e-3)
    if gamma is not None and beta is not None:
        expected = expected * gamma[column] + beta[column]
    folded = kernels.fold_batch_norm(weight, bias, mean, var, gamma, beta, 1e-3)
    np.testing.assert_allclose(kernels.conv2d(x, *folded, groups=groups), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_batch_norm_folds_as_pytorch_does(transposed: bool) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    weight, bias, mean, gamma, beta = draw((5, 5, 3)).astype(np.float32), *draw((4, 5)).astype(np.float32)
    var = (draw(5) ** 2).astype(np.float32)
    tensors = [torch.from_numpy(np.ascontiguousarray(value)) for value in (weight, bias, mean, var, gamma, beta)]
    theirs = fuse_conv_bn_weights(*tensors[:4], 1e-5, *tensors[4:], transpose=transposed)
    ours = kernels.fold_batch_norm(weight, bias, mean, var, gamma, beta, transposed=transposed)
    for mine, other in zip(ours, theirs):
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_batch_norm_of_a_grouped_transposed_layer() -> None:
    """Output channel g * (C_out / groups) + j has its weights at [inputs of group g, j]."""
    weight, gamma = draw((4, 3, 2)), np.arange(1.0, 7.0)
    folded, _ = kernels.fold_batch_norm(weight, None, np.zeros(6), np.ones(6), gamma, None, 0.0, transposed=True, groups=2)
    for c, j in np.ndindex(4, 3):
        np.testing.assert_allclose(folded[c, j], weight[c, j] * gamma[c // 2 * 3 + j])


def test_batch_norm_refuses() -> None:
    weight, ones = draw((3, 2, 3)), np.ones(3)
    with pytest.raises(kernels.ProblemError, match=r"mean has shape \(2,\), must be \(3,\)"):
        kernels.fold_batch_norm(weight, None, np.ones(2), ones)
    with pytest.raises(kernels.ProblemError, match=r"var\[1\] \+ eps = -2.0"):
        kernels.fold_batch_norm(weight, None, ones, np.array([1.0, -2.0, 1.0]))
    with pytest.raises(kernels.ProblemError, match="groups=2"):
        kernels.fold_batch_norm(weight, None, ones, ones, transposed=True, groups=2)


# --- windows and columns


WINDOWS: list[dict[str, Any]] = [
    {"kernel_size": 3}, {"kernel_size": (2, 3), "stride": (2, 1)}, {"kernel_size": (3, 2), "dilation": (2, 3), "padding": (2, 1)},
    {"kernel_size": 1, "stride": 3}, {"kernel_size": (7, 9)}, {"kernel_size": 2, "dilation": 2, "padding": 2, "stride": 2},
]  # fmt: skip


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (3, 7, 9), (0, 3, 7, 9)], ids=str)
@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_unfold_and_fold_are_pytorchs(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    x = draw(shape)
    columns = torch.nn.functional.unfold(torch.from_numpy(x), **options)
    ours = kernels.unfold(x, **options)
    np.testing.assert_array_equal(ours, columns.numpy())
    back = torch.nn.functional.fold(columns, (7, 9), **options)
    np.testing.assert_allclose(kernels.fold(ours, (7, 9), **options), back.numpy(), rtol=0, atol=1e-14)


def test_unfolded_windows_times_weights_are_the_convolution() -> None:
    x, weight = draw((2, 3, 20)), draw((4, 3, 5))
    options: dict[str, Any] = {"padding": [(1, 2)], "stride": 2, "dilation": 3}
    y = weight.reshape(4, 15) @ kernels.unfold(x, (5,), **options)
    np.testing.assert_allclose(y, kernels.conv1d(x, weight, **options), rtol=0, atol=1e-12)


def test_fold_is_the_transpose_of_unfold() -> None:
    """<unfold(x), c> = <x, fold(c)> for every x and c, one axis, padding that differs."""
    x = draw((2, 3, 20))
    options: dict[str, Any] = {"padding": [(3, 1)], "stride": 2, "dilation": 2}
    columns = kernels.unfold(x, (4,), **options)
    c = draw(columns.shape)
    assert np.vdot(columns, c) == pytest.approx(np.vdot(x, kernels.fold(c, (20,), (4,), **options)))


def test_unfold_and_fold_keep_their_inputs_dtypes() -> None:
    assert kernels.unfold(np.ones((1, 1, 4, 4), np.int8), 2).dtype == np.int8
    assert kernels.fold(np.ones((1, 4, 9), np.float16), 4, 2).dtype == np.float16
    assert kernels.fold(np.ones((1, 4, 9), np.int64), 4, 2).dtype == np.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: kernels.unfold(np.ones((1, 1, 3)), (5,)), "axis W: input 3 .* kernel 5"),
     (lambda: kernels.unfold(np.ones((1, 1, 3, 3)), (2,)), "x has shape"),
     (lambda: kernels.unfold(np.ones((1, 1, 3, 3)), (2, 0)), "kernel is .2, 0."),
     (lambda: kernels.unfold(np.broadcast_to(np.float32(0), (64, 1024, 2048, 2048)), 64), "GiB"),
     (lambda: kernels.fold(np.ones((1, 5, 9)), 4, 2), "5 rows, not a multiple of the 4 taps"),
     (lambda: kernels.fold(np.ones((1, 4, 8)), 4, 2), "8 columns, .* 3 x 3"),
     (lambda: kernels.channel_shuffle(np.ones((1, 5, 2)), 2), "5 channels .* groups=2")],
)  # fmt: skip
def test_rearranging_refuses(call: Any, message: str) -> None:
    with pytest.raises(kernels.ProblemError, match=message):
        call()


def test_channels_shuffle_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = draw((2, 6, 4, 5)).astype(np.float16)
    for groups in (1, 2, 3, 6):
        ours = kernels.channel_shuffle(x, groups)
        np.testing.assert_array_equal(ours, torch.nn.functional.channel_shuffle(torch.from_numpy(x), groups).numpy())
        last = kernels.channel_shuffle(np.moveaxis(x, 1, -1), groups, layout="channels_last")
        np.testing.assert_array_equal(np.moveaxis(last, -1, 1), ours)
        assert ours.dtype == x.dtype and not np.may_share_memory(ours, x)


# --- separable layers


SEPARABLE: list[dict[str, Any]] = [
    {"padding": "same"}, {"stride": 2, "padding": "same"}, {"stride": (3, 2), "padding": [(2, 0), (1, 1)], "dilation": (2, 1)},
    {"padding": (5, 1)}, {"stride": 3},
]  # fmt: skip


@pytest.mark.parametrize("l2", [1 << 10, 8 << 10, 1 << 20])
@pytest.mark.parametrize("options", SEPARABLE, ids=str)
def test_separable_is_two_convolutions(options: dict[str, Any], l2: int) -> None:
    """Blocks of one row, of several, and the whole: a halo too short or a padding in the wrong block would show."""
    x, depthwise, pointwise = draw((2, 3, 17, 9)), draw((6, 1, 3, 3)), draw((4, 6, 1, 1))
    between, bias, scale, shift = draw(6), *draw((3, 4))
    after = {"scale": scale, "shift": shift, "activation": "tanh"}
    middle = kernels.conv2d(x, depthwise, between, groups=3, activation="relu", **options)
    expected = kernels.conv2d(middle, pointwise, bias, **after)
    with pretend(l2=l2):
        y = kernels.separable_conv2d(x, depthwise, pointwise, bias, **options, depthwise_bias=between, depthwise_activation="relu", **after)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pool", [("max", 2), ("avg", 3, 2), ("max", (2, 1), (4, 1))], ids=str)
def test_separable_with_a_pool_channels_last_and_an_output(pool: Any) -> None:
    x, depthwise, pointwise, bias = draw((2, 3, 17, 9)), draw((6, 1, 3, 3)), draw((4, 6, 1, 1)), draw(4)
    expected = kernels.conv2d(kernels.conv2d(x, depthwise, padding=1, groups=3), pointwise, bias, activation="relu", pool=pool)
    turned = np.moveaxis(x, 1, -1), np.moveaxis(depthwise, (1, 0), (-2, -1)), np.moveaxis(pointwise, (1, 0), (-2, -1))
    options: dict[str, Any] = {"padding": "same", "activation": "relu", "pool": pool}
    with pretend(l2=8 << 10):
        for out in (np.full(expected.shape, np.nan), np.full((*expected.shape, 2), np.nan)[..., 0]):
            assert kernels.separable_conv2d(x, depthwise, pointwise, bias, **options, out=out) is out
            np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)
        last = kernels.separable_conv2d(*turned, bias, **options, layout="channels_last")
        single = np.empty(last.shape[1:])
        assert kernels.separable_conv2d(turned[0][1], *turned[1:], bias, **options, layout="channels_last", out=single) is single
    np.testing.assert_allclose(np.moveaxis(last, -1, 1), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(single, last[1])


def test_separable_along_one_axis_without_a_batch() -> None:
    x, depthwise, pointwise = draw((5, 400)).astype(np.float32), draw((5, 1, 8)), draw((3, 5, 1)).astype(np.float32)
    middle = kernels.conv1d(x, depthwise, padding="same", stride=2, groups=5)
    with pretend(l2=2 << 10):
        y = kernels.separable_conv1d(x, depthwise, pointwise, padding="same", stride=2)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, kernels.conv1d(middle, pointwise), rtol=0, atol=1e-12)


def test_separable_dtypes_and_empty_batches() -> None:
    x, depthwise, pointwise = (np.ones(shape, np.float16) for shape in ((1, 2, 5, 5), (2, 1, 3, 3), (3, 2, 1, 1)))
    y = kernels.separable_conv2d(x, depthwise, pointwise)
    assert y.dtype == np.float16 and (y == 18).all()
    assert kernels.separable_conv2d(x[:0], depthwise, pointwise).shape == (0, 3, 3, 3)
    out = np.zeros_like(y)
    assert kernels.separable_conv2d(x, depthwise, pointwise, out=out) is out and (out == 18).all()


def test_separable_refuses() -> None:
    x, depthwise = np.ones((1, 2, 5, 5)), np.ones((4, 1, 3, 3))
    with pytest.raises(kernels.ProblemError, match=r"pointwise_weight has shape \(3, 2, 1, 1\), must be \(C_out, 4, 1, 1\)"):
        kernels.separable_conv2d(x, depthwise, np.ones((3, 2, 1, 1)))
    with pytest.raises(kernels.ProblemError, match="depthwise_weight has shape"):
        kernels.separable_conv2d(x, np.ones((4, 2, 3, 3)), np.ones((3, 4, 1, 1)))
    with pytest.raises(kernels.ProblemError, match="x has shape"):
        kernels.separable_conv2d(np.ones(5), depthwise, np.ones((3, 4, 1, 1)))
    pointwise = np.ones((3, 4, 1, 1))
    for out, message in ((np.ones((1, 3, 3, 2)), "out has shape"), (x[:, :1, :3, :3].repeat(3, 1).view(int), "dtype int64"),
                         (depthwise.reshape(-1)[:27].reshape(1, 3, 3, 3), "out overlaps depthwise_weight")):  # fmt: skip
        with pytest.raises(kernels.ProblemError, match=message):
            kernels.separable_conv2d(x, depthwise, pointwise, out=out)
    with pytest.raises(kernels.ProblemError, match=r"must be \(1, 1, 4, C_out\) to follow"):
        kernels.separable_conv2d(x, np.ones((3, 3, 1, 4)), pointwise, layout="channels_last")


def test_arrays_of_numbers_count_axes_as_lists_do() -> None:
    x = np.arange(24.0).reshape(1, 2, 12)
    np.testing.assert_array_equal(kernels.unfold(x, np.array([3])), kernels.unfold(x, (3,)))
    columns = kernels.unfold(x, (3,))
    np.testing.assert_array_equal(kernels.fold(columns, np.array([12]), (3,)), kernels.fold(columns, (12,), (3,)))
    assert kernels.same_padding(np.array([96, 1366]), (3, 4)) == kernels.same_padding((96, 1366), (3, 4))
    assert kernels.receptive_field([(np.array([3, 5]), 2)]) == kernels.receptive_field([((3, 5), 2)])
    ends = [(1, 0), (2, 0)]
    for padding in (ends, tuple(ends), np.array(ends)):  # pairs may be more than half a kernel
        assert kernels.avg_pool2d(x, (2, 3), padding=padding).shape == (1, 1, 4)


def test_what_padding_would_take_is_refused_before_it_is_allocated() -> None:
    far = 1 << 40
    with pytest.raises(kernels.ProblemError, match=r"unfold: .* would take"):
        kernels.unfold(np.ones((1, 1, 4), np.float32), (3,), padding=[(far - 2, 0)], stride=far)
    with pytest.raises(kernels.ProblemError, match=r"fold: .* would take"):
        kernels.fold(np.ones((1, 3, 1), np.float32), (4,), (3,), padding=[(far - 2, 0)], stride=far)

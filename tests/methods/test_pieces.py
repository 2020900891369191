"""The plain loops cut planes that take long into pieces: the same bits whatever the pieces, none longer than signals may wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kernels
from kernels.dispatch import preparation
from kernels.methods.reference import conv_jit, pieces, pool_jit
from kernels.methods.reference.pieces import LONGEST, count

RNG = np.random.default_rng(0)
CASES: dict[str, tuple[Any, ...]] = {
    "conv2d": (RNG.standard_normal((2, 3, 11, 13), np.float32), RNG.standard_normal((4, 3, 3, 2), np.float32), {"padding": 1}),
    "conv2d of steps": (RNG.standard_normal((1, 4, 17, 19), np.float32), RNG.standard_normal((6, 2, 3, 4), np.float32),
                        {"stride": (2, 3), "dilation": (3, 2), "groups": 2, "padding": [(2, 0), (1, 4)]}),
    "conv1d": (RNG.standard_normal((1, 2, 200), np.float32), RNG.standard_normal((3, 2, 7), np.float32), {"stride": 3, "padding": 5}),
    "conv_transpose2d": (RNG.standard_normal((1, 3, 9, 8), np.float32), RNG.standard_normal((3, 2, 3, 3), np.float32), {"stride": 2}),
    "conv3d": (RNG.standard_normal((1, 2, 5, 6, 7), np.float32), RNG.standard_normal((2, 2, 2, 3, 3), np.float32), {"padding": 1}),
    "max_pool2d": (RNG.standard_normal((2, 3, 14, 15), np.float32), (3, 4), {"stride": (2, 1), "padding": 1}),
    "avg_pool2d": (RNG.standard_normal((2, 3, 14, 15), np.float32), (3, 4), {"stride": 2, "padding": 1, "ceil_mode": True}),
    "max_pool1d": (RNG.standard_normal((1, 2, 90), np.float32), 9, {"stride": 1, "dilation": 2}),
    "avg_pool3d": (RNG.standard_normal((1, 2, 6, 7, 8), np.float32), 2, {"stride": 1}),
    "adaptive_avg_pool2d": (RNG.standard_normal((1, 2, 13, 11), np.float32), (5, 4), {}),
    "adaptive_max_pool2d": (RNG.standard_normal((1, 2, 13, 11), np.float32), (5, 4), {}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test prepares with other pieces is used by no other test."""
    yield
    preparation.forget()


@pytest.mark.parametrize("longest", [1e-12, 3e-7, 2e-6])
@pytest.mark.parametrize("name", CASES)
def test_pieces_give_the_bits_of_whole_planes(monkeypatch: pytest.MonkeyPatch, name: str, longest: float) -> None:
    x, second, options = CASES[name]
    op = name.split()[0]
    whole = kernels.plan(op, x.shape, second, implementation="jit", **options)
    tasks: list[int] = []

    def counted(*arguments: Any) -> int:
        tasks.append(count(*arguments))
        return tasks[-1]

    monkeypatch.setattr(pieces, "LONGEST", longest)
    for module in (conv_jit, pool_jit):
        monkeypatch.setattr(module, "count", counted)
    preparation.forget()
    cut = kernels.plan(op, x.shape, second, implementation="jit", **options)
    assert tasks and (longest > 1e-9 or max(tasks) > 1)
    out = np.full(cut.out_shape, np.nan, np.float32)
    np.testing.assert_array_equal(cut(x, out=out), whole(x))


def test_positions_of_maxima(monkeypatch: pytest.MonkeyPatch) -> None:
    x = CASES["max_pool2d"][0]
    whole = kernels.plan("max_pool2d", x.shape, 3, implementation="jit", return_indices=True)(x)
    monkeypatch.setattr(pieces, "LONGEST", 1e-12)
    preparation.forget()
    cut = kernels.plan("max_pool2d", x.shape, 3, implementation="jit", return_indices=True)(x)
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.25, 3.0, 1e4])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 100_000), (300, 400), (7, 0), (0, 7)])
def test_no_piece_is_longer_than_signals_may_wait_or_empty(seconds: float, rows: int, columns: int) -> None:
    piece = pieces.pieces(seconds, rows, columns)
    assert min(piece) >= 1
    if rows and columns:
        outputs = piece[0] * piece[1]
        assert piece[0] <= rows and piece[1] <= columns and (piece[0] == 1 or piece[1] == columns)
        # rounding up to whole outputs of a row may take one more
        assert outputs == 1 or seconds * (outputs - (piece[1] < columns)) / (rows * columns) <= LONGEST * 1.0001
        assert seconds > LONGEST or count(rows, columns, piece) == 1
    else:
        assert count(rows, columns, piece) == 0

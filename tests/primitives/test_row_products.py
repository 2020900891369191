"""Rows times a packed matrix: against NumPy, and to the bit whichever end of the matrix is read first."""

from __future__ import annotations

import numpy as np
from micro_kernels import at, invoke

from kernels.primitives.row_products import packed, row_products
from kernels.runtime.machine import machine

GATES, COLUMNS, DEPTH, ROWS, VECTORS = 3, 70, 37, 2, 2


def test_blocks_from_either_end() -> None:
    lanes = machine().lanes(4)
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((GATES * COLUMNS, DEPTH), dtype=np.float32)
    x, source = rng.standard_normal((ROWS, DEPTH), dtype=np.float32), rng.standard_normal((ROWS, GATES * COLUMNS), dtype=np.float32)
    blocks = -(-COLUMNS // (VECTORS * lanes))
    wide = blocks * VECTORS * lanes
    laid_out = packed(matrix, GATES, 1, blocks, VECTORS)
    results = []
    for from_end in (0, 1):
        y = np.full((GATES, ROWS, wide), np.nan, np.float32)
        invoke(
            row_products(VECTORS, ROWS, lanes, 4), lanes, 4, VECTORS, ROWS, 0, at(y), wide, ROWS * wide, at(x), DEPTH, at(laid_out), DEPTH,
            GATES, blocks, at(source), GATES * COLUMNS, COLUMNS, COLUMNS, ROWS, from_end,
        )  # fmt: skip
        results.append(y)
    expected = source.astype(np.float64) + x.astype(np.float64) @ matrix.T.astype(np.float64)
    np.testing.assert_allclose(results[0][:, :, :COLUMNS], expected.reshape(ROWS, GATES, COLUMNS).swapaxes(0, 1), atol=1e-4)
    np.testing.assert_array_equal(*results)

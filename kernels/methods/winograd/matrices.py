"""The three matrices of a Winograd convolution, built exactly from its interpolation points.

F(m, r) computes m outputs of a correlation with r taps from m + r - 1 = t multiplications:

    y = A' [ (G g) * (B' d) ]        A' is m x t, G is t x r, B' is t x t, * is element by element

Multiplying polynomials of r and m coefficients by evaluating both at t points and interpolating, read backwards (transposed), gives
A' = V_m', G = V_r and B' = inverse of V_t', where V_k[i][j] = a_i^j is the evaluation at point a_i and the last point is infinity. Row i of
B' is multiplied by f_i = product over k of (a_i - a_k) and row i of G divided by it, which leaves B' with small numbers.
Sources: A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", arXiv 1509.09308, section 4; S. Winograd,
"Arithmetic complexity of computations", SIAM 1980, chapter IV.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

Matrix = list[list[Fraction]]

# Finite points in the order they are taken: pairs +-p share half their work, and small powers of two round least
POINTS = [Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2), Fraction(1, 2), Fraction(-1, 2), Fraction(4), Fraction(-4)]


def _times(polynomial: list[Fraction], root: Fraction) -> list[Fraction]:
    """polynomial * (x - root), lowest coefficient first."""
    shifted = [Fraction(0), *polynomial]
    return [high - root * low for high, low in zip(shifted, [*polynomial, Fraction(0)])]


@functools.cache
def matrices(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """(A', G, B') of F(m, r), m outputs and r taps, as exact fractions."""
    t = m + r - 1
    points = POINTS[: t - 1]
    a_t, g, b_t = [[Fraction(0)] * t for _ in range(m)], [], []
    for i, point in enumerate(points):
        others = [other for other in points if other != point]
        factor = math.prod((point - other for other in others), start=Fraction(1))
        row = [Fraction(1)]
        for other in others:
            row = _times(row, other)
        b_t.append(row + [Fraction(0)])
        g.append([point**j / factor for j in range(r)])
        for j in range(m):
            a_t[j][i] = point**j
    last = [Fraction(1)]
    for point in points:
        last = _times(last, point)
    b_t.append(last)
    g.append([Fraction(int(j == r - 1)) for j in range(r)])
    a_t[m - 1][t - 1] = Fraction(1)
    return a_t, g, b_t

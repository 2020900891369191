"""Windows as wide as the input: their rows lie one behind the other, so kernel, stride and padding of whole rows slide along one line.

    rows x0 x1 x2 | y0 y1 y2 | z0 z1 z2      kernel of 2 rows, stride 1      =      x0 x1 x2 y0 y1 y2 z0 z1 z2      kernel of 6, stride 3

Input, weights and output lie in memory as they did; what changes is that a line is packed at once, where a map has a line for every row.
"""

from __future__ import annotations

import dataclasses
import functools

from kernels.problem.conv import Conv


@functools.lru_cache(maxsize=64)
def as_one_line(problem: Conv) -> Conv:
    """The same sums along one line; the problem itself where windows are narrower or padded beside, taps have gaps, or a pool follows."""
    (h, w), (kh, kw), (dh, dw) = problem.size, problem.kernel, problem.dilation
    dense = (dh == 1 or kh == 1) and (dw == 1 or kw == 1)
    if h == 1 or kw != w or any(problem.padding[1]) or not dense or problem.pool:
        return problem
    (above, below), step = problem.padding[0], problem.stride[0] * w
    if above + h + below == kh:
        step = 1  # there is one window, whose numbers need not be picked out
    return dataclasses.replace(
        problem, size=(1, h * w), kernel=(1, kh * w), stride=(1, step), padding=((0, 0), (above * w, below * w)), dilation=(1, 1)
    )

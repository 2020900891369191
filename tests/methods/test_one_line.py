"""Direct sums of windows as wide as the input, which are done along one line."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import reference
from memory import Guarded, given

from kernels.methods import load, registry
from kernels.methods.direct.one_line import as_one_line
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands

load()
ROWS = Conv("conv2d", 2, 6, (21, 5), (3, 5), (1, 1), ((1, 1), (0, 0)), (1, 1), "float32", 7, 1, True)
PROBLEMS = {
    "rows": ROWS,
    "one row, strided, groups": dataclasses.replace(ROWS, kernel=(1, 5), stride=(2, 1), padding=((0, 3), (0, 0)), groups=2, c_out=8),
    "a gap beside a single row": dataclasses.replace(ROWS, kernel=(1, 5), padding=((0, 0), (0, 0)), dilation=(3, 1), dtype="float64"),
    "columns of one": dataclasses.replace(ROWS, size=(40, 1), kernel=(5, 1), stride=(4, 3), padding=((2, 1), (0, 0))),
    "the whole input": dataclasses.replace(ROWS, kernel=(21, 5), padding=((0, 0), (0, 0)), c_out=33),
    "one output, the last row unread": dataclasses.replace(ROWS, size=(4, 6), kernel=(3, 6), stride=(2, 1), padding=((0, 0), (0, 0))),
    "wider than shuffles pick": dataclasses.replace(ROWS, size=(30, 17), kernel=(2, 17), stride=(3, 1), padding=((1, 0), (0, 0))),
}
OTHERS = {
    "padded beside": {"padding": ((1, 1), (1, 0))},
    "narrower": {"kernel": (3, 4)},
    "gaps": {"dilation": (2, 1)},
    "pooled": {"pool": ("max", (2, 1), (2, 1))},
    "a line already": {"op": "conv1d", "size": (1, 5), "kernel": (1, 5), "padding": ((0, 0), (0, 0))},
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", PROBLEMS)
def test_right(name: str, last: bool) -> None:
    problem = PROBLEMS[name]
    line = as_one_line(problem)
    assert line.size == (1, problem.size[0] * problem.size[1])
    assert (line.n, line.c_out, *line.conv_size[::-1]) == problem.conv_shape
    draw = np.random.default_rng(5)
    shapes = problem.x_shape, problem.weight_shape, problem.c_out
    x, weight, bias = (draw.standard_normal(shape).astype(problem.dtype) for shape in shapes)
    wanted = reference.conv(x, weight, bias, problem.stride, problem.padding, problem.dilation, problem.groups)
    direct = registry.get(problem, "direct")
    if last:
        x, wanted = (np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in (x, wanted))
    held, out = given(x), Guarded(wanted.shape, problem.dtype)
    prepare = direct.prepare_last if last else direct.prepare
    assert prepare
    prepare(problem, 2).pack(Operands(weight, bias))(held.array, out.array)
    np.testing.assert_allclose(out.array, wanted, atol=40 * np.finfo(problem.dtype).eps * np.abs(wanted).max())
    assert out.zones_untouched()
    assert held.unchanged()


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_none(name: str) -> None:
    problem = dataclasses.replace(ROWS, **OTHERS[name])
    assert as_one_line(problem) is problem


def test_as_many_outputs() -> None:
    for h, w, kh, step, above, below in itertools.product(range(1, 7), (1, 3), range(1, 8), (1, 2, 3), (0, 2), (0, 1)):
        if h + above + below >= kh:
            problem = dataclasses.replace(ROWS, size=(h, w), kernel=(kh, w), stride=(step, 2), padding=((above, below), (0, 0)))
            assert sorted(as_one_line(problem).conv_size) == sorted(problem.conv_size)

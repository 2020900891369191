"""kernels/methods/README.md says what each implementation refuses, as the code does."""

from __future__ import annotations

import re

import numpy as np
import pytest
import refusals
from cases import CONV, POOL, ConvCase, PoolCase

import kernels
from kernels.methods import registry
from kernels.methods.contract import operation
from kernels.problem.request import request_of


def test_the_table_says_nothing_that_the_code_does_not() -> None:
    """A method that somebody adds in a file of its own is not in the table until it is written anew, and breaks nothing."""
    text = refusals.PAGE.read_text(encoding="utf-8")
    shown = text.partition(refusals.BEGIN)[2].partition(refusals.END)[0].splitlines()
    written = refusals.page(text).partition(refusals.BEGIN)[2].partition(refusals.END)[0].splitlines()
    assert len(shown) > 10 and not set(shown) - set(written), "run python tests/refusals.py"


@pytest.mark.parametrize("case", [*CONV, *POOL], ids=lambda case: case.name)
def test_nothing_else_is_refused(case: ConvCase | PoolCase) -> None:
    """A sentence made elsewhere than in `refuse` would be missing from the table."""
    if isinstance(case, ConvCase):
        x, weight, _ = case.arrays("float32")
        request = request_of(case.op, x.shape, x.dtype, (weight,), case.options)
    else:
        args = case.kernel, case.stride, case.padding, case.dilation, case.ceil_mode
        request = request_of(f"max_pool{len(case.size)}d", (case.n, case.channels, *case.size), np.dtype(np.float32), args, {})
    told = {each.name: refusals.sentences(each) for each in refusals.implementations() if each.operation == operation(request.problem)}
    for name, sentence in registry.refusals(request.problem).items():
        patterns = [".*".join(map(re.escape, text.split(refusals.VARIES))) for text in told[name]]
        assert sentence is None or any(re.fullmatch(pattern, sentence) for pattern in patterns), f"{name}: {sentence}"


def test_some_are_refused() -> None:
    weight = np.ones((16, 16, 3, 3), np.float32)
    assert kernels.implementations("conv2d", (1, 16, 9, 9), weight, dilation=4)["winograd"] is not None
    long = kernels.implementations("conv1d", (1, 256, 3_200_000), np.zeros((256, 256, 3), np.float32), dilation=800_000, padding=800_000)
    assert "hold" in str(long["winograd"]) and long["direct"] is None, "whole turns of long dilations would fill the memory"

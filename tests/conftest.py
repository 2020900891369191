"""What all tests share: bounded, repeatable hypothesis runs, and scratch memory that holds NaN whenever it is lent."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest
from memory import MARK, ZONE

from kernels.api import call as api
from kernels.runtime import scratch
from kernels.runtime.machine import machine, pretend

os.environ["KERNELS_TUNING"] = "off"  # what was measured on the machine that runs the tests decides nothing in them

hypothesis.settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=15, database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],  # compiling; refusals
)  # fmt: skip
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def pairs_of_bfloat16() -> Iterator[None]:
    """Where no hardware multiplies bfloat16, what stands in for it, so that all around it is tested everywhere."""
    if machine().bfloat16:
        yield
    else:
        with pretend(bfloat16="float32"):
            yield


@pytest.fixture(autouse=True)
def nothing_remembered(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests that change the library's parts neither find what was prepared before, nor leave what they made."""
    changes = "monkeypatch" in request.fixturenames
    if changes:
        api.forget()
    yield
    if changes:
        api.forget()


@pytest.fixture
def poisoned_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scratch buffer is all ones in bits (NaN in both precisions) whenever it is lent, and lies between zones that must stay."""
    lent: dict[int, np.ndarray] = {}

    def lend(self: scratch.Scratch) -> np.ndarray:
        raw = scratch.aligned(self.nbytes + 2 * ZONE)
        raw.fill(MARK)
        buffer = raw[ZONE : ZONE + self.nbytes]
        buffer.fill(255)
        lent[id(buffer)] = raw
        return buffer

    def take_back(self: scratch.Scratch, buffer: np.ndarray) -> None:
        raw = lent.pop(id(buffer))
        assert (raw[:ZONE] == MARK).all() and (raw[ZONE + self.nbytes :] == MARK).all(), "something was written outside the scratch"

    monkeypatch.setattr(scratch.Scratch, "take", lend)
    monkeypatch.setattr(scratch.Scratch, "give", take_back)

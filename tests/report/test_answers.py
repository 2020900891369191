"""What `check` says: counts and totals, every wrong answer in full, no name cut beyond reading."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.report import answers
from tests import fabricated_run as fabricated


def shown(everything: bool = False, name: str = "") -> str:
    lines = [replace(line, seconds=(), workload=name or line.workload) for line in fabricated.lines(1)]
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(answers.summary(lines, everything))
    return out.getvalue()


def test_counts_totals_and_what_is_wrong() -> None:
    text = shown()
    assert len(text.splitlines()) < 40, "as many lines as contenders, not as cells"
    assert "wrong: yamnet.pw8 im2col, error 3.0e-01 of 1.0e-05 allowed: error 0.3 is above" in " ".join(text.split())
    assert "failed: panns.stft scipy" in text
    total = next(line.split() for line in text.splitlines() if line.startswith("all"))
    lines = fabricated.lines(1)
    counts = [sum(line.status == status for line in lines) for status in ("ok", "wrong", "refused", "over_budget", "failed")]
    assert [int(each) for each in total[1:6]] == counts


def test_every_answer_on_demand() -> None:
    assert shown(everything=True).count("vggish.conv1") == len(fabricated.EVERYBODY)


@pytest.mark.parametrize("name", ["x" * 300, "[red]", "a$b"])
def test_names_are_text(name: str) -> None:
    text = shown(name=name)
    assert max(map(len, text.splitlines())) <= 80 and (name[:20] in text)

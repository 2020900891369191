"""Ratios, their intervals, and means over workloads."""

from math import prod
from pathlib import Path
from statistics import median

import fabricated_run as fabricated
import pytest

from benchmarks.records.results import Cell, Line, merge
from benchmarks.report import formats, standing

LAYER = fabricated.WORKLOADS[0]


def cells(times: dict[str, list[list[float]]], workload: tuple = LAYER) -> tuple[Cell, ...]:
    """One cell per contender from its samples, pass by pass."""
    lines: list[Line] = []
    for contender, passes in times.items():
        lines += [fabricated.line(workload, contender, number, seconds=tuple(seconds)) for number, seconds in enumerate(passes, 1)]
    return merge(lines)


def test_ratio_is_of_medians_over_passes() -> None:
    fast, slow = cells({"direct": [[1.0, 1.1, 9.0], [1.0, 1.0, 1.0], [1.2, 1.2, 1.2]], "torch": [[2.0, 2.2, 2.4], [3.3] * 3, [2.0] * 3]})
    found = standing.ratio(fast, slow)
    assert found is not None and found.value == pytest.approx(2.2 / 1.1)
    assert found.low is not None and found.high is not None
    assert found.low <= 2.0 / 1.2 and found.high >= 3.3 / 1.0
    assert found.verdict == "faster"


def test_the_interval_holds_one_when_passes_overlap() -> None:
    one, other = cells({"direct": [[1.0] * 9, [1.3] * 9, [1.1] * 9], "torch": [[1.2] * 9, [1.25] * 9, [1.2] * 9]})
    assert standing.ratio(one, other).verdict == "even"  # type: ignore[union-attr]


def test_noise_within_one_pass_widens_the_interval() -> None:
    noisy, calm = [0.5, 0.6, 1.0, 1.5, 1.9], [1.05, 1.05, 1.05, 1.05, 1.05]
    one, other = cells({"direct": [noisy], "torch": [calm]})
    assert standing.ratio(one, other).verdict == "even"  # type: ignore[union-attr]
    one, other = cells({"direct": [[0.5, 0.51, 0.5, 0.49, 0.5]], "torch": [calm]})
    assert standing.ratio(one, other).verdict == "faster"  # type: ignore[union-attr]
    assert standing.ratio(other, one).verdict == "slower"  # type: ignore[union-attr]


def test_a_single_sample_decides_nothing() -> None:
    one, other = cells({"direct": [[1.0]], "torch": [[50.0, 50.0]]})
    found = standing.ratio(one, other)
    assert found is not None and found.value == 50 and found.verdict == "unsure"


def test_equal_contenders_are_rarely_told_apart() -> None:
    """Both drawn alike in 5 passes: of 100 pairs few may be called faster or slower; the bound in the docstring is 0.8 %."""
    import random

    draw, told = random.Random(5), 0
    for _ in range(100):
        passes = lambda: [[draw.gauss(1, 0.02) * drift for _ in range(7)] for drift in (draw.gauss(1, 0.05) for _ in range(5))]  # noqa: E731
        one, other = cells({"direct": passes(), "torch": passes()})
        told += standing.ratio(one, other).verdict != "even"  # type: ignore[union-attr]
    assert told <= 4


def test_auto_speaks_for_us_and_the_fastest_of_ours_may_be_another() -> None:
    row = standing.Row(LAYER[0], 2, 1, cells({"auto": [[1.1] * 3], "direct": [[1.0] * 3], "torch": [[2.0] * 3], "openvino": [[1.5] * 3]}))
    assert row.lead is not None and row.lead.contender == "auto" and row.best_ours is not None and row.best_ours.contender == "direct"
    assert row.best_peer is not None and row.best_peer.contender == "openvino"
    assert row.speedup is not None and row.speedup.value == pytest.approx(1.5 / 1.1)
    without = standing.Row(LAYER[0], 2, 1, cells({"direct": [[1.0] * 3], "scipy": [[9.0] * 3]}))
    assert without.lead is not None and without.lead.contender == "direct"
    assert without.best_peer is None and without.speedup is None and without.baseline is not None


def test_wrong_cells_never_count() -> None:
    line = fabricated.line(LAYER, "direct", status="wrong", reason="error 1")
    row = standing.Row(LAYER[0], 2, 1, merge([line, fabricated.line(LAYER, "torch")]))
    assert row.best_ours is None and row.speedup is None


def test_mean_over_compute_bound_rows_only() -> None:
    conv, pool = fabricated.WORKLOADS[2], fabricated.WORKLOADS[1]
    found = cells({"direct": [[1.0] * 3, [1.0] * 3], "torch": [[2.0] * 3, [2.4] * 3]}, conv)
    found += cells({"direct": [[1.0] * 3, [1.0] * 3], "torch": [[8.0] * 3, [8.0] * 3]}, pool)
    run = fabricated.header(2, cells=found)
    compute, everything = standing.mean_speedup(run), standing.mean_speedup(run, compute_only=False)
    assert compute is not None and compute.count == 1 and compute.value == pytest.approx(2.2)
    assert compute.low == pytest.approx(2.0) and compute.high == pytest.approx(2.4)
    assert everything is not None and everything.count == 2 and everything.value == pytest.approx((2.2 * 8) ** 0.5)
    assert standing.mean_speedup(run, "fft") is None


def test_mean_agrees_with_a_plain_computation(tmp_path: Path) -> None:
    from benchmarks.records.archive import load

    run = load(fabricated.write(tmp_path / "run"))
    ratios = []
    for workload in run.workloads():
        timed = [cell for cell in run.cells if cell.workload == workload and cell.samples]
        at = {cell.contender: median(median(seconds) for seconds in cell.samples) for cell in timed}
        ours = min(at[name] for name in at if name in fabricated.OURS)
        ratios.append(min(at[name] for name in at if name not in (*fabricated.OURS, "scipy")) / ours)
    mean = standing.mean_speedup(run, compute_only=False)
    assert mean is not None and mean.value == pytest.approx(prod(ratios) ** (1 / len(ratios)))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0671, "0.0671"), (0.9996, "1.00"), (5.2, "5.20"), (57.81, "57.8"), (99.96, "100"), (1234.4, "1234"), (2e-5, "2e-05")],
)
def test_digits(value: float, text: str) -> None:
    assert formats.digits(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.5, "1.50 s"), (0.9999, "1.00 s"), (0.0123, "12.3 ms"), (4.5e-5, "45.0 µs"), (3e-8, "30.0 ns"), (None, "–")],
)
def test_seconds(value: float | None, text: str) -> None:
    assert formats.seconds(value) == text

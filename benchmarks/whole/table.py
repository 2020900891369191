"""Whole models as a table of README, and as a page with time lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import own_files
from benchmarks.report.markers import between
from benchmarks.report.standing import geometric_mean
from benchmarks.whole.comparison import OURS, Whole
from benchmarks.whole.runtimes import RUNTIMES

BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"


def runtimes_of(found: Sequence[Whole]) -> list[str]:
    """The runtimes that were timed or say why not, ours first."""
    names = dict.fromkeys(name for each in found for name in (*each.seconds, *each.reasons)) or dict.fromkeys(RUNTIMES)
    return [OURS, *(name for name in names if name != OURS)]


def lines(found: Sequence[Whole], about: Mapping[str, str]) -> list[str]:
    """A sentence, then a row a model, the fastest against others first."""
    others = runtimes_of(found)[1:]
    timed = any(each.first is not None for each in found)
    reference = about.get("reference", "onnxruntime")
    weighed = any(each.memory for each in found)
    more = " first answer |" * timed + " MB |" * weighed
    head = f"| model | input | {' | '.join((OURS, *others))} | best other / {OURS} | error |{more}"
    rows = [head, "| --- | --- |" + " ---: |" * (len(others) + 3 + timed + weighed)]
    for each in sorted(found, key=lambda each: -(each.speed or 0)):
        times = [_milliseconds(each.median(name)) for name in (OURS, *others)]
        speed = "–" if each.speed is None else f"{each.speed:.2f}"
        error = error_of(each, "–")
        first = f" {'–' if each.first is None else f'{each.first:.1f} s'} |" * timed
        memory = f" {' / '.join(_megabytes(each.memory.get(name)) for name in (OURS, reference))} |" * weighed
        rows.append(f"| {each.model} | {each.input} | {' | '.join(times)} | {speed} | {error} |{first}{memory}")
    speeds = [each.speed for each in found if each.speed]
    mean = f" Geometric mean of the ratios: {geometric_mean(speeds):.2f}." if speeds else ""
    starts = (
        "; “first answer” is from loading the file to the first result in a new process, what was compiled before lying on disk" * timed
    )
    sizes = f"; “MB” is by how much such a process grows at most, ours / {reference}'s" * weighed
    own = f" (in brackets {others[0]}'s own)" * any(each.error_of_reference is not None for each in found)
    sentence = (
        f"Milliseconds a call, {about['threads']} threads of an {about['cpu']}, calls in turns, medians of {about['turns']}, "
        f"{about['day']}, commit {about['commit']}.{mean} “Error” is the largest against {reference}{own}, as a share of "
        f"the largest value{starts}{sizes}."
    )
    return [sentence, "", *rows]


def error_of(found: Whole, none: str) -> str:
    """The error, and behind it the reference runtime's own where there is one."""
    errors = [found.error, found.error_of_reference]
    shown = [f"{error:.0e}".replace("e-0", "e-") for error in errors if error is not None]
    return f"{shown[0]} ({shown[1]})" if len(shown) > 1 else "".join(shown) or none


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:.3g}"


def _megabytes(size: float | None) -> str:
    return "–" if size is None else f"{size / 1e6:.0f}"


def page(found: Sequence[Whole], about: Mapping[str, str]) -> str:
    """The table, and where the time goes: each runtime's parts that take a hundredth or more, the longest first."""
    text = [f"<!-- {own_files.MARK} -->", "# Whole models", "", *lines(found, about), ""]
    for each in found:
        text += [f"## {each.model}", ""]
        text += [f"{name}: {reason}" for name, reason in each.reasons.items()]
        for name, parts in each.timelines.items():
            total = sum(seconds for _, seconds in parts) or 1.0
            text += ["", f"{name}, {len(parts)} parts, {1e3 * total:.3g} ms in all:", "", "```"]
            longest = sorted(parts, key=lambda part: -part[1])
            text += [f"{seconds / total:6.1%} {1e3 * seconds:10.4f} ms  {part}" for part, seconds in longest if seconds >= total / 100]
            text += ["```"]
        text += [""]
    return "\n".join(text).rstrip() + "\n"


def update(readme: Path, found: Sequence[Whole], about: Mapping[str, str]) -> bool:
    """Put the table between the markers of a file; True if that changed it."""
    return between(readme, BEGIN, END)("\n".join(lines(found, about)))

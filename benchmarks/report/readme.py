"""README's results: a picture, a sentence and a short table, written between two markers from the newest committed core run."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import multimode

from benchmarks.records import archive
from benchmarks.records.results import PEERS, Run
from benchmarks.report import formats, own_files, tables
from benchmarks.report.markers import between
from benchmarks.report.pictures import ranking, style
from benchmarks.report.standing import geometric_mean

BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
PICTURE = "speed.svg"
# Kinds of layers, told by the problem's text, the first that fits: "conv2d n1 c1 96x64 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias"
KINDS = (
    ("3x3 convolutions", r"conv2d .* k3x3 .* d1x1 g1\b"),
    ("1x1 convolutions", r"conv\dd .* k1x1 .* g1\b"),
    ("grouped and depthwise convolutions", r"conv\dd .* g(?!1\b)\d"),
    ("other 2-D convolutions", r"conv2d "),
    ("1-D convolutions", r"conv1d "),
    ("transposed convolutions", r"conv_transpose"),
    ("pooling", r"\S*pool"),
)  # fmt: skip


def newest_core(folders: Iterable[Path]) -> Run | None:
    """The newest run of the whole core preset; what stopped, ran chosen workloads or under a load does not count, nor what was run without
    the choice of methods or without some peer."""
    for folder in sorted(folders, reverse=True):
        try:
            run = archive.load(folder)
        except (OSError, ValueError):
            continue
        words = {word.partition("=")[0] for word in run.command}
        chosen = words & {"--workload", "--layers", "--onnx", "--beside"}
        everybody = "--contender" not in words or {"auto", *PEERS} <= set(run.contenders())
        if run.preset == "core" and not run.stopped and not chosen and everybody:
            return run
    return None


def section(run: Run, picture: str, page: str) -> str:
    """What stands between the markers."""
    return "\n".join([
        f"![Speed of each layer of the core preset, best other library = 1]({picture})", "",
        f"{ranking.sentence(run)} Every layer with its numbers: [page of this run]({page}).", "",
        *by_kind(run), "", tables.origin(run),
    ])  # fmt: skip


def by_kind(run: Run) -> list[str]:
    """One line a kind of layer: how many, the mean speed, its least and most, who was the best peer most often."""
    lines = ["| layers | number | speed, best peer = 1 | slowest to fastest | best peer, most often |"]
    lines.append("| --- | ---: | ---: | ---: | --- |")
    places, left = ranking.places(run), set()
    for name, pattern in KINDS:
        found = [place for place in places if place.name not in left and re.match(pattern, place.ours.problem)]
        left |= {place.name for place in found}
        if found:
            speeds = [place.speed.value for place in found]
            between = f"{formats.relative(min(speeds))}–{formats.relative(max(speeds))}×" if len(found) > 1 else formats.NOTHING
            peers = " or ".join(sorted(multimode(place.peer.contender for place in found)))
            lines.append(f"| {name} | {len(found)} | {formats.relative(geometric_mean(speeds))}× | {between} | {tables.plain(peers)} |")
    return lines


def draw(run: Run, path: Path) -> Path:
    """The picture as a file, on white, so that it can be read on a dark page too."""
    drawn = io.BytesIO()
    with style.settings(run.id):
        figure = ranking.figure(run)
        figure.savefig(drawn, format="svg", facecolor="white", metadata={"Date": None, "Description": own_files.MARK})
    return own_files.write(path, drawn.getvalue())


def update(readme: Path | str, run: Run) -> bool:
    """Put picture and table between the markers of a file; True if that changed it. The markers must be there, once each and in order."""
    readme = Path(readme)
    put = between(readme, BEGIN, END)
    assert run.folder is not None
    folder = run.folder.resolve().parent
    picture = draw(run, folder / PICTURE)
    beside = [path.relative_to(readme.resolve().parent).as_posix() for path in (picture, folder / run.folder.name / "index.html")]
    return put(section(run, *beside))

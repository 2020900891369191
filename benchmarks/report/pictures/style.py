"""How every picture looks: a contender's mark is the same everywhere, axes are plain, colours come from a palette.

Ours are discs told apart by colour, peers are shapes in one colour: nine hues are as many as eyes tell apart. On the page, colours that
nobody would choose stand for CSS variables until the drawing is done, so that one drawing serves light and dark.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.records.results import Cell, Run
from benchmarks.report.standing import contender_order

MARKERS = {
    "torch": "s", "torch_channels_last": "D", "torch_compiled": "p", "onnxruntime": "^", "openvino": "v", "ncnn": "<", "mnn": ">",
    "scipy": "P",
}  # fmt: skip
SPARE = ("X", "*", "h")  # peers of other packages
DISCS = ("o", "H", "8")  # ours; the first as long as there are hues
GLYPHS = {
    "o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚", "X": "✖", "p": "⬟", "*": "★", "<": "◀", ">": "▶", "h": "⬢", "H": "⬣",
    "8": "⯃",
}  # fmt: skip
DASHES = {"torch": "-", "torch_channels_last": "--", "onnxruntime": "-.", "openvino": ":", "scipy": "-"}
WIDE, NARROW = (14.5, 6.6), (4.9, 5.6)  # inches of 72 units: 1044 and 353 units, close to the pixels they are shown at

Anchors = Mapping[Cell, str]  # the id of each cell's row in the table


@dataclass(frozen=True)
class Palette:
    """Colours of a drawing."""

    ink: str
    faint: str
    peer: str
    hues: tuple[str, ...]


HUES = ("#1759b8", "#0e8ca8", "#a0741b", "#7b4bb0", "#12805c", "#d0462b", "#c23a86", "#6d7d10", "#7a4a21")
OURS = ("auto", "direct", "winograd", "fft", "depthwise", "window", "im2col", "jit", "naive")  # in the order of HUES
PAPER = Palette("#1d1f24", "#dcdee2", "#7a7f8a", HUES)
PAGE = Palette("#010203", "#010204", "#010205", tuple(f"#0103{i:02x}" for i in range(len(HUES))))
VARIABLES = {PAGE.ink: "var(--ink)", PAGE.faint: "var(--faint)", PAGE.peer: "var(--peer)"} | {
    hue: f"var(--hue-{i})" for i, hue in enumerate(PAGE.hues)
}


@dataclass(frozen=True)
class Mark:
    """How a contender looks: `hue` is None for peers."""

    contender: str
    hue: int | None
    marker: str

    @property
    def glyph(self) -> str:
        return GLYPHS[self.marker]

    @property
    def dashes(self) -> str:
        return DASHES.get(self.contender, "-")

    @property
    def css_colour(self) -> str:
        return VARIABLES[self.colour(PAGE)]

    def colour(self, palette: Palette) -> str:
        return palette.peer if self.hue is None else palette.hues[self.hue]


def marks(run: Run) -> dict[str, Mark]:
    """One mark for each contender that has a time, by name, ours first."""
    timed = [name for name in contender_order(run) if any(cell.contender == name and cell.median_s for cell in run.cells)]
    theirs = peers(run)
    looks: dict[str, tuple[int | None, str]] = {}
    for name in sorted(timed, key=lambda name: name not in (*OURS, *MARKERS)):  # those with a look of their own keep it
        if name in theirs:
            free = [(None, marker) for marker in (*SPARE, *MARKERS.values())]
            own = (None, MARKERS[name]) if name in MARKERS else _spare(name, free[: len(SPARE)])
        else:
            free = [(hue, marker) for marker in DISCS for hue in range(len(HUES))]
            own = (OURS.index(name), DISCS[0]) if name in OURS else _spare(name, free[: len(HUES)])
        looks[name] = next((look for look in (own, *free) if look not in looks.values()), own)
    return {name: Mark(name, *looks[name]) for name in timed}


def _spare(name: str, some: Sequence[tuple[int | None, str]]) -> tuple[int | None, str]:
    """One of some, always the same for a name: a contender looks the same on every page, whoever else took part."""
    return some[zlib.crc32(name.encode()) % len(some)]


def peers(run: Run) -> set[str]:
    """The contenders that are not ours, baselines too."""
    return {cell.contender for cell in run.cells if not cell.is_ours}


@contextmanager
def settings(salt: str) -> Iterator[None]:
    """Matplotlib's own settings while drawing and saving; a fixed salt gives the same bytes for the same run."""
    chosen: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 11, "font.family": "DejaVu Sans"}
    chosen["text.parse_math"] = False  # names from outside are text, whatever dollars they hold
    with rc_context(chosen):
        yield


def one_axes(size: tuple[float, float], left: float = 0.72, bottom: float = 0.58) -> tuple[Figure, Axes]:
    """A figure with one pair of axes and room for labels in inches; asking Matplotlib to find the room draws everything twice."""
    figure, (width, height) = Figure(figsize=size), size
    return figure, figure.add_axes((left / width, bottom / height, 1 - (left + 0.12) / width, 1 - (bottom + 0.08) / height))


def dress(axes: Axes, palette: Palette, x: str, y: str, ticks: int = 12, log_x: bool = True) -> None:
    """Logarithmic axes with plain numbers, a faint grid and no frame."""
    axes.set_yscale("log")
    if log_x:
        axes.set_xscale("log")
    axes.set_xlabel(x, color=palette.ink)
    axes.set_ylabel(y, color=palette.ink)
    for axis, log in ((axes.xaxis, log_x), (axes.yaxis, True)):
        if log:
            axis.set_major_locator(LogLocator(10, numticks=ticks))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
    plain(axes, palette)


def plain(axes: Axes, palette: Palette) -> None:
    """A faint grid behind, no frame, ink for words."""
    axes.grid(True, color=palette.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", color=palette.faint, labelcolor=palette.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)

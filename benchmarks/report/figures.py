"""The roofline: every timed cell of a run under what the machine can do, as SVG that the page's own style colours.

Matplotlib draws; then every point gets its text for hovering and a link to its row in the table, ids that could clash with the page
go, and colours become the page's CSS variables, so that one drawing serves light and dark. It is drawn twice, for desktops and for
phones, because text inside a scaled picture scales with it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import log10
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.report import formats
from benchmarks.report.standing import contender_order
from benchmarks.results import PEERS, Cell, Run

SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}href"
WIDE, NARROW = (14.5, 6.6), (4.9, 5.6)  # inches of 72 units: 1044 and 353 units, close to the pixels they are shown at

# Ours are discs and told apart by colour, peers by shape in one colour: 8 hues are as many as eyes tell apart.
PEER_MARKERS = {"torch": "s", "torch_channels_last": "D", "onnxruntime": "^", "openvino": "v", "scipy": "P"}
GLYPHS = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚"}
HUES = 8

# Colours that nobody would choose stand for CSS variables until the drawing is done.
_INK, _FAINT, _PEER = "#010203", "#010204", "#010205"
_HUE = [f"#0103{i:02x}" for i in range(HUES)]
_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--faint)", _PEER: "var(--peer)"} | {hue: f"var(--hue-{i})" for i, hue in enumerate(_HUE)}


@dataclass(frozen=True)
class Mark:
    """How a contender looks in the roofline and in its legend."""

    contender: str
    marker: str
    colour: str

    @property
    def glyph(self) -> str:
        return GLYPHS[self.marker]

    @property
    def css_colour(self) -> str:
        return _VARIABLES[self.colour]


def marks(run: Run) -> tuple[Mark, ...]:
    """One mark for each contender that has a time."""
    timed = [name for name in contender_order(run) if any(cell.contender == name and cell.median_s for cell in run.cells)]
    ours = [name for name in timed if name not in PEERS]
    return tuple(
        Mark(name, PEER_MARKERS[name], _PEER) if name in PEERS else Mark(name, "o", _HUE[ours.index(name) % HUES]) for name in timed
    )


def roofline(run: Run, anchors: Mapping[Cell, str], size: tuple[float, float]) -> str:
    """Inline SVG; `anchors` gives each cell the id of its row in the table. Empty if nothing was timed."""
    timed = [cell for cell in run.cells if cell.gflops and cell.bytes]
    if not timed:
        return ""
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": f"{run.id} {size}", "font.size": 11, "font.family": "DejaVu Sans"}
    with rc_context(settings):  # a fixed salt: the same run gives the same bytes
        figure = Figure(figsize=size)
        axes = figure.add_axes(_inside(*size))
        for mark in marks(run):
            cells = [cell for cell in timed if cell.contender == mark.contender]
            points = axes.scatter(
                [_intensity(cell) for cell in cells], [max(cell.gflops or 0.0, floor(run)) for cell in cells],
                s=32, marker=mark.marker, c=mark.colour, alpha=0.75, linewidths=0, zorder=3,
            )  # fmt: skip
            points.set_gid(f"contender:{mark.contender}")
            points.set_urls([f"#{anchors[cell]}" for cell in cells])
        _limits(axes, run)
        _dress(axes, narrow=size[0] < 6)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    texts = {f"#{anchors[cell]}": _hover(cell, run) for cell in timed}
    return _for_page(buffer.getvalue(), texts)


def floor(run: Run) -> float:
    """GFLOP/s under which points stand on the lower edge, 0 if none has to: plain Python loops, 100,000 times under the peak, would
    press what matters into a fifth of the height."""
    if not run.limits:
        return 0.0
    edge = 10.0 ** round(log10(max(machine["fma_gflops"] for machine in run.limits.values()) / 2000))
    return edge if any(cell.gflops and cell.gflops < edge for cell in run.cells) else 0.0


def _inside(width: float, height: float) -> tuple[float, float, float, float]:
    """Axes with room for labels in inches; asking Matplotlib to find it draws everything twice."""
    left, bottom, right, top = 0.72, 0.58, 0.12, 0.08
    return left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height


def _intensity(cell: Cell) -> float:
    return max(cell.flops, 1) / cell.bytes


def _hover(cell: Cell, run: Run) -> str:
    share = cell.share_of_limit(run.limits)
    limit = f", {formats.share(share)} of the limit" if share else ""
    return f"{cell.workload} · {cell.contender}: {formats.seconds(cell.median_s)}, {formats.digits(cell.gflops)} GFLOP/s{limit}"


def _limits(axes: Axes, run: Run) -> None:
    """For each measured number of threads, the bandwidth slope up to the ridge and the FMA peak after it."""
    left, right = axes.get_xlim()
    left, right = max(left, min(_intensity(cell) for cell in run.cells if cell.bytes) / 2), max(right, 100.0) * 1.3
    for threads, machine in sorted(run.limits.items(), key=lambda item: int(item[0])):
        peak, bandwidth = machine["fma_gflops"], machine["bandwidth_gbs"]
        ridge = peak / bandwidth
        start, end = min(left, ridge / 4), max(right, ridge * 4)
        axes.plot([start, ridge, end], [start * bandwidth, peak, peak], color=_INK, linewidth=1.2)
        on = f", {threads} thread{'s' if threads != '1' else ''}" if len(run.limits) > 1 else ""
        axes.annotate(
            f"FMA peak {formats.digits(peak)} GFLOP/s{on}", (end, peak), xytext=(0, 11),
            textcoords="offset points", ha="right", color=_INK,
        )  # fmt: skip
        axes.annotate(
            f"{formats.digits(bandwidth)} GB/s", (ridge / 2, peak / 2), xytext=(-12, 8), textcoords="offset points", ha="right", color=_INK
        )


def _dress(axes: Axes, narrow: bool) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FLOP per compulsory byte", color=_INK)
    axes.set_ylabel("GFLOP/s", color=_INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=6 if narrow else 12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(True, color=_FAINT, linewidth=0.6)
    axes.tick_params(which="both", color=_FAINT, labelcolor=_INK)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.6)  # room for the words over the peak
    for spine in axes.spines.values():
        spine.set_visible(False)


def _for_page(svg: str, texts: Mapping[str, str]) -> str:
    """Give points their hover text and links, drop what only a file of its own needs, hand the colours to the page."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", "Roofline: GFLOP/s of every timed cell over its arithmetic intensity; the table holds the same numbers")
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):  # the style would reach the whole page
                parent.remove(child)
    referenced = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'xlink:href="#([^"]+)"', svg))
    for element in root.iter():
        identity = element.get("id", "")
        if identity.startswith("contender:"):
            element.set("data-contender", identity.removeprefix("contender:"))
        if identity and identity not in referenced:
            del element.attrib["id"]
        if element.tag == f"{{{SVG}}}a" and element.get(XLINK) in texts:
            target = element.attrib.pop(XLINK)
            element.attrib.pop("target", None)  # a row of this page, not a new window
            element.set("href", target)
            element.set("tabindex", "-1")  # hundreds of stops would bury the rest of the page; the table has them for the keyboard
            title = ElementTree.Element(f"{{{SVG}}}title")
            title.text = texts[target]
            element.insert(0, title)
    text = ElementTree.tostring(root, encoding="unicode")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", text)

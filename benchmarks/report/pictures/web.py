"""Matplotlib's SVG made fit to stand inside a page: small, coloured by the page's own style, its points links to rows of the table.

Ids that could clash with the page go, a point shrinks from 290 bytes to 60 (its look moves to its group), numbers keep one decimal.
"""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from benchmarks.report.pictures.style import VARIABLES

SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}href"
GEOMETRY = {"d", "x", "y", "x1", "y1", "transform", "points", "viewBox"}
NUMBER = re.compile(r"-?\d+\.\d\d+")


def inline(figure: Figure, label: str) -> str:
    """The figure as an SVG element that says `label` to those who cannot see it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(buffer.getvalue())
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", label)
    _drop(root, "metadata", "style", "clipPath")  # the style would reach the whole page; nothing is drawn outside its axes
    _links(root)
    _names(root)
    _lighten(root)
    for element in root.iter():
        for name in GEOMETRY & set(element.attrib):
            element.set(name, re.sub(r"\s+", " ", NUMBER.sub(_short, element.attrib[name])).strip())
    text = ElementTree.tostring(root, encoding="unicode")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"font-family: [^;\"]*;? ?", "", text))


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def _drop(root: ElementTree.Element, *tags: str) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.removeprefix(f"{{{SVG}}}") in tags:
                parent.remove(child)


def _lighten(parent: ElementTree.Element) -> None:
    """Take away what draws nothing: groups that say nothing of their own, frames without a line, turns by nothing."""
    children: list[ElementTree.Element] = []
    for child in parent:
        _lighten(child)
        child.attrib.pop("clip-path", None)
        if child.get("transform", "").startswith("rotate(-0 "):
            del child.attrib["transform"]
        if child.tag == f"{{{SVG}}}g" and not child.attrib:
            children += child
        elif (len(child) or child.tag not in (f"{{{SVG}}}g", f"{{{SVG}}}defs")) and child.get("style") != "fill: none":
            children.append(child)
    parent[:] = children


def _links(root: ElementTree.Element) -> None:
    """Points as <a href><use/></a>; what they all look like is said once, by their group."""
    for group in root.iter(f"{{{SVG}}}g"):
        for link in group.findall(f"{{{SVG}}}a"):
            point = next(each for each in link.iter() if each.tag in (f"{{{SVG}}}use", f"{{{SVG}}}path"))  # a path where points are few
            group.set("style", point.attrib.pop("style", ""))
            target = link.attrib.pop(XLINK)
            link.clear()
            # hundreds of stops would bury the rest of the page; the table has them for the keyboard
            link.attrib |= {"href": target, "tabindex": "-1"}
            link.append(point)
    for element in root.iter():
        if XLINK in element.attrib:
            element.set("href", element.attrib.pop(XLINK))


def _names(root: ElementTree.Element) -> None:
    """Keep ids that something refers to; those that name a contender become data."""
    text = ElementTree.tostring(root, encoding="unicode")
    referenced = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    for element in root.iter():
        identity = element.get("id", "")
        if identity.startswith("contender:"):
            element.set("data-contender", identity.removeprefix("contender:"))
        if identity and identity not in referenced:
            del element.attrib["id"]

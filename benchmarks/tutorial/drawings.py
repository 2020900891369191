"""The small drawings of section 5: which taps a kind of convolution has, and which channels hear which."""

from __future__ import annotations

from markupsafe import Markup

Taps = list[tuple[int, int]]
Wires = list[tuple[int, int]]


def taps(h: int, w: int, dilation: int = 1) -> Taps:
    """Places of a kernel's taps around its middle."""
    return [((y - h // 2) * dilation, (x - w // 2) * dilation) for y in range(h) for x in range(w)]


def wires(groups: int) -> Wires:
    """Who hears whom among four channels in so many groups."""
    return [(a, b) for a in range(4) for b in range(4) if a * groups // 4 == b * groups // 4]


SHUFFLE = [(0, 0), (1, 2), (2, 1), (3, 3)]
# steps of each kind: taps, wires, planes of a volume
KINDS: dict[str, list[tuple[Taps, Wires, int]]] = {
    "plain": [(taps(3, 3), wires(1), 1)],
    "point": [(taps(1, 1), wires(1), 1)],
    "line": [(taps(1, 3), wires(1), 1)],
    "volume": [(taps(3, 3), wires(1), 3)],
    "transposed": [(taps(3, 3), wires(1), 1)],
    "dilated": [(taps(3, 3, 2), wires(1), 1)],
    "spatial": [(taps(3, 1), wires(1), 1), (taps(1, 3), wires(1), 1)],
    "depthwise": [(taps(3, 3), wires(4), 1), (taps(1, 1), wires(1), 1)],
    "grouped": [(taps(3, 3), wires(2), 1)],
    "shuffled": [(taps(1, 1), wires(2), 1), (taps(3, 3), SHUFFLE, 1), (taps(1, 1), wires(2), 1)],
}


def groups_of_four() -> Markup:
    """Section 4's wiring, for a view box of 100 by 80: four channels and all lines, each with the most groups in which it remains."""
    out = []
    for a, b in wires(1):
        most = max(groups for groups in (1, 2, 4) if (a, b) in wires(groups))
        out.append(f'<line data-groups="{most}" x1="14" x2="86" y1="{10 + 20 * a}" y2="{10 + 20 * b}"/>')
    for a in range(4):
        out.append(f'<circle class="in" cx="10" cy="{10 + 20 * a}" r="6"/><circle class="out" cx="90" cy="{10 + 20 * a}" r="6"/>')
    return Markup("".join(out))


def kind(key: str) -> tuple[int, Markup]:
    """Width and inside of a kind's drawing, 64 high: field and taps, then channels, once a step."""
    out = []
    cell = 44 / 7
    for step, (places, pairs, planes) in enumerate(KINDS[key]):
        left = 86 * step
        for z in reversed(range(planes)):
            out.append(f'<rect class="field" x="{left + 4 * z}" y="{12 - 4 * z}" width="44" height="44"/>')
            for y, x in places:
                at = left + 4 * z + 22 + (x - 0.5) * cell, 34 - 4 * z + (y - 0.5) * cell
                shade = "out" if key == "transposed" else "tap"
                side = f'width="{cell - 1.2:.2f}" height="{cell - 1.2:.2f}"'
                out.append(f'<rect class="{shade}" x="{at[0] + 0.6:.2f}" y="{at[1] + 0.6:.2f}" {side}/>')
        for a, b in pairs:
            out.append(f'<line x1="{left + 57}" x2="{left + 76}" y1="{15 + 13 * a}" y2="{15 + 13 * b}"/>')
        for a in range(4):
            for side, x in (("in", 57), ("out", 76)):
                out.append(f'<circle class="{side}" cx="{left + x}" cy="{15 + 13 * a}" r="3"/>')
    return 86 * len(KINDS[key]) - 6, Markup("".join(out))

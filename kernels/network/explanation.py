"""What a program does, step by step, for people."""

from __future__ import annotations

from kernels.network.program import Program
from kernels.network.views import View


def explain(program: Program, threads: int) -> str:
    """A line a step: the model's nodes, what they are, the shape that comes out, the method, the estimate, where it lies."""
    rows = []
    for i, step in enumerate(program.steps):
        node = step.node
        op = "+".join(each.op for each in node.attributes["nodes"]) if node.op == "Chain" else node.op
        op += f"+{node.attributes['activation'][0]}" if node.attributes.get("activation") else ""
        shape = "x".join(map(str, step.writes[0].shape)) if step.writes else ""
        seconds = "" if step.seconds is None else f"{1e3 * step.seconds:.3g} ms"
        rows.append((str(i), _short(op, 48), shape, step.method, seconds, _place(program, step.writes[0]), _short(node.label, 40)))
    widths = [max(map(len, column)) for column in zip(*rows)] if rows else []
    head = f"{len(rows)} steps, {threads} thread{'s' * (threads > 1)}, arena {program.arena_bytes:,} bytes (apart: {program.apart_bytes:,})"
    lines = ["  ".join(field.ljust(width) for field, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([f"{head}, scratch {program.scratch_bytes + program.own_bytes:,} bytes", *lines])


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _place(program: Program, view: View) -> str:
    start = program.starts.get(view.buffer)
    if start is None:
        return view.buffer.name or view.buffer.kind
    return f"arena {start + view.offset * view.dtype.itemsize:,} + {view.buffer.nbytes:,} bytes"

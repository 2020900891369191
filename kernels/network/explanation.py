"""What a program does, step by step, for people."""

from __future__ import annotations

from collections.abc import Sequence

from kernels.network.graph import Node
from kernels.network.lowering import Step
from kernels.network.program import Program
from kernels.network.views import View


def explain(program: Program, threads: int, taken: Sequence[float] | None = None) -> str:
    """A line a step: the model's nodes, what they are, the shape that comes out, the method, the estimate, where it lies; taken: seconds
    that each step took, told with its share of all."""
    rows = []
    for i, step in enumerate(program.steps):
        node = step.node
        shape = "x".join(map(str, step.writes[0].shape)) if step.writes else ""
        seconds = "" if step.seconds is None else f"{1e3 * step.seconds:.3g} ms"
        measured = [] if taken is None else [f"took {1e3 * taken[i]:.3g} ms", f"{taken[i] / (sum(taken) or 1):.1%}"]
        place = _place(program, step.writes[0])
        method = f"{step.method}, in one branch" if program.when[step] else step.method
        rows.append((str(i), _short(operators(step), 48), shape, method, seconds, *measured, place, _short(node.label, 40)))
    widths = [max(map(len, column)) for column in zip(*rows)] if rows else []
    head = f"{len(rows)} steps, {threads} thread{'s' * (threads > 1)}, arena {program.arena_bytes:,} bytes (apart: {program.apart_bytes:,})"
    lines = ["  ".join(field.ljust(width) for field, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([f"{head}, scratch {program.scratch_bytes + program.own_bytes:,} bytes", *lines])


def operators(step: Step) -> str:
    """What a step computes, in ONNX's words."""
    return "+".join(_operators(each) for each in step.node.attributes.get("layers", [step.node]))


def _operators(node: Node) -> str:
    op = "+".join(each.op for each in node.attributes["nodes"]) if node.op == "Chain" else node.op
    return op + (f"+{node.attributes['activation'][0]}" if node.attributes.get("activation") else "")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _place(program: Program, view: View) -> str:
    start = program.starts.get(view.buffer)
    if start is None:
        return view.buffer.name or view.buffer.kind
    return f"arena {start + view.offset * view.dtype.itemsize:,} + {view.buffer.nbytes:,} bytes"

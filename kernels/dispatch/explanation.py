"""What was decided for a problem and why, in words."""

from __future__ import annotations

from kernels.dispatch.descriptor import Descriptor


def explain(descriptor: Descriptor) -> str:
    """One line an implementation: estimates against refusals, and against reality where that was measured.

    Estimates are of one core; times are those of one call on the plan's threads, when they were measured.
    """
    choice, prepared = descriptor.choice, descriptor.prepared
    measured = choice.measured.seconds if choice.measured else {}

    def figures(name: str, *words: str) -> str:
        known = [f"estimated {1e3 * choice.estimates[name]:.3g} ms of one core"] if name in choice.estimates else []
        known += [f"measured {1e3 * measured[name]:.3g} ms"] if name in measured else []
        return f"{name}: {', '.join([*words, *known])}"

    taken = "taken, measured fastest" if measured else "taken"
    taken += " with another epilogue" if choice.measured and choice.measured.related else ""
    used = f"{descriptor.threads} thread{'s' * (descriptor.threads > 1)}, workspace {prepared.workspace_bytes:,} bytes"
    lines = [str(descriptor.problem), figures(choice.name, taken, used)]
    if prepared.note:
        lines.append(f"  {prepared.note}")
    for name, sentence in choice.refusals.items():
        if sentence:
            lines.append(f"{name}: {sentence}")
        elif name != choice.name:
            lines.append(figures(name, "supported" if name in choice.estimates else "supported, never taken unless named"))
        variants = (other for other in measured if other.startswith(f"{name}:") and other != choice.name)
        lines += [figures(other, "supported") for other in variants]
    return "\n".join(lines)

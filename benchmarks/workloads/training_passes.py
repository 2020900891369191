"""What training adds to a layer, as workloads: the gradient of its input, that of its weights, and a whole step.

A step computes the layer, both gradients and that of the bias, and moves weights and bias; its answer is the output and the three
gradients, one behind the other. The gradient of the output is seeded normal values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import prod

from benchmarks.workloads.layer import Workload

FORWARD, INPUT, WEIGHT, STEP = "forward", "input", "weight", "step"
PASSES = {FORWARD: "", INPUT: ".backward_input", WEIGHT: ".backward_weight", STEP: ".step"}  # what each adds to a layer's name
RATE = 1e-4  # of a step's update


@dataclass(frozen=True)
class Training(Workload):
    """One pass of a convolution; all fields but the name and `part` are the layer's."""

    part: str = INPUT

    @property
    def layer_shape(self) -> tuple[int, ...]:
        """The layer's output, which is the shape of the gradient that is given."""
        return Workload.out_shape.fget(self)  # type: ignore[attr-defined, no-any-return]

    @property
    def parts(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of what is computed."""
        assert self.weight_shape is not None
        of_bias = ((self.c_out,),) if self.bias else ()
        whole = self.layer_shape, self.x_shape, self.weight_shape, *of_bias
        return whole if self.part == STEP else (self.x_shape,) if self.part == INPUT else (self.weight_shape,)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.parts[0] if len(self.parts) == 1 else (sum(map(prod, self.parts)),)

    @property
    def summed(self) -> int:
        positions = prod(self.x_shape[2:] if self.is_transposed else self.layer_shape[2:])
        of_input, of_weight = self.c_out // self.groups * self.kh * self.kw, self.n * positions
        return {INPUT: of_input, WEIGHT: of_weight, STEP: max(self.terms, of_input, of_weight)}[self.part]

    @property
    def flops(self) -> int:
        """Each gradient takes as many as the layer."""
        one: int = Workload.flops.fget(self)  # type: ignore[attr-defined]
        return 3 * one if self.part == STEP else one

    @property
    def bytes(self) -> int:
        """Each pass moves the layer's three arrays; a step reads and writes the weights once more."""
        one: int = Workload.bytes.fget(self)  # type: ignore[attr-defined]
        return 3 * one if self.part == STEP else one

    def describe(self) -> str:
        """A line for people."""
        return f"{PASSES[self.part].lstrip('.')} of {super().describe()}"


def of(workload: Workload, part: str) -> Workload:
    """The pass of a layer: of a forward pass the layer itself."""
    if part == FORWARD:
        return workload
    given = {field.name: getattr(workload, field.name) for field in fields(Workload)}
    return Training(**given | {"id": workload.id + PASSES[part]}, part=part)


def expand(workloads: Iterable[Workload], passes: Sequence[str]) -> list[Workload]:
    """Each layer's passes, one after the other; only convolutions of one layer have others than forward. ValueError for what is no pass."""
    for part in passes:
        if part not in PASSES:
            raise ValueError(f"no pass {part!r}; there are {', '.join(PASSES)}")
    found = []
    for workload in workloads:
        asked = passes if workload.is_conv and not isinstance(workload, Training) else (FORWARD,) if FORWARD in passes else ()
        found += [workload] if isinstance(workload, Training) else [of(workload, part) for part in asked]
    return found


def names_one(glob: str) -> bool:
    """Whether a glob means passes by their names."""
    return any(suffix and suffix in glob for suffix in PASSES.values())

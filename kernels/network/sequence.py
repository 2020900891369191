"""A stack of layers planned for one input shape: one call runs them all, and what lies between them shares one block of memory.

Every stage (`layers`) becomes a step: a plan's bare `run`, or a pass over finished numbers. Steps read and write views that are made once
for each block of memory, so that between two layers there is nothing but a Python call. The first step reads the caller's x, the last
writes the caller's out, and concatenated branches of one image write straight into their channels. A block serves one call at a time;
concurrent calls take others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as List
from typing import Any

import numpy as np

from kernels.api.call import input_dtype, measuring
from kernels.dispatch.conversion import check_out
from kernels.methods import load
from kernels.network.fusion import Choosing, fuse
from kernels.network.layers import Defaults, Layer, owned, read
from kernels.problem.accuracy import accuracy_of
from kernels.problem.arrays import canonical, intake, plain, result_dtypes, too_large, warn_if_widened
from kernels.problem.errors import ProblemError, shown
from kernels.problem.options import Signature, shape, thread_count
from kernels.runtime.machine import memory
from kernels.runtime.scratch import aligned

Array = np.ndarray


class Sequence:
    """`network(x)` computes; see `kernels.sequence`. Holds copies of all weights: later changes to the caller's arrays do not reach it.

    Nothing in a sequence changes that a caller sees: copies are the sequence itself. A pickle holds the layers and options, and is planned
    anew where it is read, on any machine.
    """

    KEPT = 4  # arenas kept for later calls; more concurrent callers than this allocate and drop

    def __init__(
        self, layers: List[Layer], x_shape: List[int], dtype: Any, implementation: str, accuracy: str | None, budget: float,
        threads: int | None, precision: str | None = None,
    ) -> None:  # fmt: skip
        given, lengths = input_dtype("sequence", dtype), shape("sequence", x_shape)
        if len(lengths) < 2:
            raise ProblemError(f"sequence: x_shape is {lengths}; must be (N, C, *spatial)")
        if not isinstance(implementation, str):
            raise ProblemError(f"sequence: implementation is {shown(implementation)}, must be a name")
        from kernels.network.steps import Steps  # brings Numba, as the methods do

        load()
        defaults = Defaults(implementation, accuracy_of("sequence", accuracy), precision)
        stages = read(layers, lengths, given, defaults)
        computed = np.result_type(*(result_dtypes([stage.dtype])[0] for stage in stages)) if stages else result_dtypes([given])[0]
        if computed != result_dtypes([given])[0]:  # one dtype for all, as for the operands of one layer
            wide = {f"layer {stage.index}": stage.dtype for stage in stages if stage.dtype.itemsize == 8}
            warn_if_widened("sequence", given, np.dtype(computed), dict(list(wide.items())[:1]))
            given = np.dtype(computed)
            stages = read(layers, lengths, given, defaults)
        self.threads = thread_count("sequence", threads)
        choosing = Choosing(self.threads, budget)
        self._steps = Steps(fuse(stages, choosing), lengths, np.dtype(computed), choosing)
        last = stages[-1] if stages else None
        self._signature = Signature(lengths, last.out_shape if last else lengths, last.dtype if last else given, len(lengths) - 2)
        if self.workspace_bytes > memory():
            raise too_large("sequence", "the arrays between layers and scratch space", self.workspace_bytes)
        self._arenas: deque[Any] = deque(maxlen=self.KEPT)
        options = implementation, defaults.accuracy, 0.0, threads, precision  # measured once
        self._made_of = owned(layers), lengths, np.dtype(given).str, *options

    def __copy__(self) -> Sequence:
        return self

    def __deepcopy__(self, memo: Any) -> Sequence:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return self._signature.out_shape

    @property
    def arena_bytes(self) -> int:
        """Bytes of the block that arrays between layers share."""
        return self._steps.arena_bytes

    @property
    def workspace_bytes(self) -> int:
        """Bytes that one call uses besides input and output: the arena and the scratch space of every layer's method."""
        return self._steps.arena_bytes + self._steps.scratch_bytes

    @property
    def error_bound(self) -> float:
        """Sum of the layers' bounds: largest error to expect, as a share of the largest output, where no layer cancels most of it."""
        return self._steps.error_bound

    def explain(self) -> str:
        """What was decided: a line a step with the layers it does, the shape it gives, implementation, estimate, where its result lies."""
        signature, steps = self._signature, self._steps
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        head = f"{signature.x_shape} -> {signature.out_shape} {steps.dtype}, {threads}, arena {steps.arena_bytes:,} bytes"
        return "\n".join([f"{head} (apart: {steps.apart_bytes:,}), scratch {steps.scratch_bytes:,} bytes", *steps.lines()])

    def __repr__(self) -> str:
        return f"<Sequence {self._signature.x_shape} -> {self._signature.out_shape}, arena {self.arena_bytes:,} bytes>"

    def __call__(self, x: Any, out: Any = None) -> Array:
        """The result for an x of the planned shape; into `out` if given."""
        signature, dtype = self._signature, self._steps.dtype
        x = intake("sequence", "x", x)
        if x.shape != signature.x_shape:
            raise ProblemError(f"sequence: x has shape {x.shape}, planned for {signature.x_shape}; make a sequence for this shape")
        if out is not None:
            check_out("sequence", out, signature, x)
        x = canonical(x, dtype, x.shape)
        direct = out is not None and out.dtype == dtype and plain(out)
        y = out if direct else np.empty(signature.out_shape, dtype)
        if x.size and y.size:
            try:
                ready = self._arenas.pop()
            except IndexError:
                ready = self._steps.ready(aligned(self._steps.arena_bytes))
            self._steps.run(ready, x, y)
            self._arenas.append(ready)
        if direct:
            return y
        with np.errstate(over="ignore"):  # float16 overflows to infinity, as its own arithmetic does
            y = y.astype(signature.dtype, copy=False)
        if out is None:
            return y
        out[...] = y
        return out


def sequence(
    layers: List[Layer], x_shape: List[int], *, dtype: Any = "float32", implementation: str = "auto", accuracy: str | None = None,
    precision: str | None = None, effort: str = "estimate", budget: float = 0.5, threads: int | None = None,
) -> Sequence:  # fmt: skip
    """Plan a stack of layers for inputs of `x_shape` (N, C, *spatial) and `dtype`; the result is called with x, and with `out=`.

    Each layer is made by `kernels.layer` and gets what the one before gives. The result is that of the layers called one after the other,
    within the sum of their error bounds. Batch norms, activations and pools that follow a convolution are done with it where that can be.
    All layers compute in the widest precision that x or a weight has. `implementation` and `accuracy` are for convolutions whose
    layer names none, `precision` for those that are not transposed; effort="measure" times what "auto" may take for
    `budget` seconds a layer, as `kernels.plan` does. Several Python threads may call the result at once. Raises ProblemError and
    RefusedError as `kernels.plan` does, the layer's index in front.

    >>> from kernels import layer
    >>> network = sequence([
    ...     layer("conv2d", np.ones((2, 1, 3, 3), np.float32), padding=1),
    ...     layer("activation", "relu"),
    ...     layer("max_pool2d", 2),
    ...     layer("flatten"),
    ...     layer("linear", np.ones((3, 2 * 4 * 4), np.float32), activation="sigmoid"),
    ... ], (1, 1, 8, 8), implementation="direct", threads=1)
    >>> network(np.ones((1, 1, 8, 8))).shape
    (1, 3)
    >>> print(network.explain())  # doctest: +ELLIPSIS
    (1, 1, 8, 8) -> (1, 3) float32, 1 thread, arena 128 bytes (apart: 128), scratch ... bytes
    0+1+2  conv2d relu max_pool2d  (1, 2, 4, 4)  direct ...  arena 0 + 128 bytes
    3      flatten                 (1, 32)       view   ...  arena 0 + 128 bytes
    4      linear sigmoid          (1, 3)        ...  out
    """
    return Sequence(layers, x_shape, dtype, implementation, accuracy, measuring("sequence", effort, budget), threads, precision)

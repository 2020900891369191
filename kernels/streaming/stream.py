"""A signal in blocks through a network: `kernels.stream`. What it gives, joined, is what one call on the whole signal gives, to the bit.

Layers are read and fused as `kernels.sequence` does; `parts` are what a stream shares with its clones, `runners` hold the past.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as List
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.api.call import input_dtype
from kernels.methods import load
from kernels.network.layers import Layer, owned
from kernels.network.model import Model
from kernels.problem import halo
from kernels.problem.arrays import canonical, intake, too_large
from kernels.problem.errors import ProblemError, shown
from kernels.problem.options import per_axis, several, thread_count
from kernels.runtime.machine import memory
from kernels.streaming.lines import lines_of
from kernels.streaming.models import lines_of_model
from kernels.streaming.reading import read_along
from kernels.streaming.refusals import check

if TYPE_CHECKING:
    from kernels.streaming.parts import Wired

Array = np.ndarray


class Stream:
    """`s(block)` gives the outputs that the block completes; see `kernels.stream`. It serves one signal and one thread at a time.

    A copy is a clone: it goes on at the same place of the signal, apart. A pickle holds layers and state, and goes on in any process.
    """

    def __init__(self, made: _Made) -> None:
        from kernels.streaming.running import Running  # brings Numba

        self._made = made
        self._given: list[Array] = []  # what came and was not handed out yet
        self._into: Array | None = None
        self._filled = 0
        self._runner = Running(made.wired, made.computed, self._take)
        self._fed = self._finished = self._inside = False

    @property
    def latency(self) -> int:
        """Inputs that must follow the contemporary of an output (input o / ratio of output o) until the output comes, at most."""
        return halo.latency(self._made.net)

    @property
    def ratio(self) -> Fraction:
        """Outputs per input."""
        return self._made.net.ratio

    @property
    def out_axis(self) -> int:
        """The axis of time in what comes out, counted from the end: the input's, unless a model moves it."""
        return self._made.out_axis

    @property
    def receptive_field(self) -> int:
        """Inputs that one output sees, at most."""
        left, right = halo.context(self._made.net)
        return left + right + 1

    def __call__(self, x: Any, out: Array | None = None) -> Array:
        """The outputs that a block completes, possibly none; a new array, or the front of `out` along time.

        x: shaped as planned, of any length along time. Nothing else is allocated for lengths that were seen before. Raises ProblemError
        for other shapes, for an `out` too short, after `finish`, and after a block that an error or Ctrl-C stopped.
        """
        made = self._made
        if self._finished or self._inside:
            raise self._over()
        if type(x) is not np.ndarray or x.dtype is not made.computed or not x.flags.c_contiguous:
            x = canonical(intake("stream", "block", x), made.computed, np.shape(x))
        shape, axis = x.shape, made.axis
        if shape[:axis] != made.before or shape[axis + 1 :] != made.behind if axis != -1 else shape[:-1] != made.before:
            raise ProblemError(f"stream: a block has shape {shape}, must be {made.shape}; only time may have any length")
        m = shape[axis]
        self._into, self._filled = (None, 0) if out is None else (self._checked(out), 0)
        if m:
            self._fed = self._inside = True
            self._runner.feed(x, m)
            self._inside = False
        return self._came()

    def finish(self) -> Array:
        """The outputs that only the padding at the end completes; then the stream is finished, until `reset`."""
        if self._finished or self._inside:
            raise self._over()
        self._into, self._inside = None, True
        if self._fed:
            self._runner.finish()
        self._finished, self._inside = True, False
        return self._came()

    def reset(self) -> None:
        """Forget the signal: the next block is the beginning of another."""
        self._runner.reset()
        self._given, self._fed, self._finished, self._inside = [], False, False, False

    def state(self) -> dict[str, Any]:
        """All that is known of the signal, as small arrays that can be pickled: what `restore` goes on from, in any process."""
        if self._inside:
            raise self._over()
        known = {"network": self._made.signature, "fed": self._fed, "finished": self._finished, "given": list(self._given)}
        return known | {"layers": self._runner.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a stream of the same network was. Raises ProblemError for the state of another network."""
        if not isinstance(state, dict) or state.get("network") != self._made.signature:
            raise ProblemError("stream: the state is not one of a stream of these layers and this shape; restore it where it was taken")
        self._inside = True
        self._runner.restore(state["layers"])
        self._fed, self._finished, self._given, self._inside = state["fed"], state["finished"], list(state["given"]), False

    def clone(self) -> Stream:
        """Another stream at the same place of the same signal; both share packed weights and go on apart."""
        twin = Stream(self._made)
        twin.restore(self.state())
        return twin

    __copy__ = clone

    def __deepcopy__(self, memo: Any) -> Stream:
        return self.clone()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._made.made_of, self.state())

    def warm(self, block: int) -> None:
        """Make every plan for blocks of so many inputs: those at the beginning, in the middle, and at the end of a signal."""
        twin, made = Stream(self._made), self._made
        zeros = np.zeros((*made.before, block, *made.behind), made.computed)
        field = self.receptive_field + self.latency
        repeats = made.net.grid // math.gcd(made.net.grid, block)  # blocks after which all states come back
        for _ in range(2 * repeats + -(-field // block) + 1):
            twin(zeros)
        twin.finish()

    def explain(self) -> str:
        """A line a layer: what it does, shape, implementations, latency; and what was not taken because its sums depend on the cut."""
        made = self._made
        head = f"{made.shape} {made.computed}, {made.threads} thread{'s' * (made.threads > 1)}, latency {self.latency}, ratio {self.ratio}"
        rows = [head, *_rows(made.wired)]
        why = "fft in other segments, winograd, im2col, averages by window are not taken: their sums depend on where the signal is cut"
        return "\n".join([*rows, why])

    def __repr__(self) -> str:
        return f"<Stream {self._made.shape}, latency {self.latency}, ratio {self.ratio}>"

    def _over(self) -> ProblemError:
        """Why the signal cannot go on: of a block that was stopped inside, some layers know and others do not."""
        why = "its signal is finished already" if self._finished else "a block was stopped inside, or another thread is in one (clone() it)"
        return ProblemError(f"stream: {why}; reset() begins another signal, restore() goes on from a state that was kept")

    def _take(self, y: Array, count: int) -> None:
        """Keep what came: in the caller's array while it has room, else in one of its own."""
        into, end = self._into, self._filled + count
        if into is None or self._given or end > into.shape[self._made.out_axis]:
            self._given.append(y.copy())
            return
        np.copyto(self._part(into, self._filled, end), y.reshape(self._made.out(count)), casting="same_kind")
        self._filled = end

    def _part(self, y: Array, first: int, end: int) -> Array:
        """Positions first to end along time."""
        place: Any = (*self._made.whole, slice(first, end))
        return y[place]

    def _checked(self, out: Any) -> Array:
        """The caller's array, which may be of any length along time."""
        made = self._made
        if not isinstance(out, np.ndarray) or out.dtype != made.returned or out.shape != made.out(np.shape(out)[made.out_axis]):
            raise ProblemError(f"stream: out must be a NumPy array of {made.returned} and shape {made.out(0)}, of any length along time")
        return out

    def _came(self) -> Array:
        """What came, as the user sees it. Raises ProblemError where `out` was too short; then it comes with the next call."""
        made, given, into = self._made, self._given, self._into
        if into is not None:
            if given:
                rest = sum(y.shape[made.out_axis] for y in given)
                raise ProblemError(
                    f"stream: out holds {into.shape[made.out_axis]} outputs along time, {rest} more came; they come with the next call; "
                    "pass a longer one then, or none"
                )
            return self._part(into, 0, self._filled)
        self._given = []
        given = given or [np.empty(made.out(0), made.computed)]
        y = given[0] if len(given) == 1 else np.concatenate(given, made.out_axis)
        y = y.reshape(made.out(y.shape[made.out_axis]))
        if y.dtype != made.returned:
            with np.errstate(over="ignore"):  # float16 overflows to infinity, as its own arithmetic does
                y = y.astype(made.returned)
        return y


class _Made:
    """What streams of the same network share: the parts with their packed weights, shapes, and the arithmetic."""

    def __init__(
        self, layers: Any, given: Any, axis: int, implementation: str, threads: int | None, dtype: Any, block: int | None = None
    ) -> None:
        from kernels.streaming.parts import wire  # brings Numba

        load()
        self.made_of = owned(layers), given, axis, implementation, threads, np.dtype(input_dtype("stream", dtype)).str, block
        self.threads = thread_count("stream", threads)
        self.axis, shape = _axis(given, axis, 0 if isinstance(layers, Model) else 2)
        self.shape = tuple(shape)
        lines = lines_of_model(layers, shape) if isinstance(layers, Model) else lines_of(layers, self.axis)
        check(lines, len(shape))
        read = read_along(lines, self.shape, implementation, input_dtype("stream", dtype))
        self.computed, self.returned, last = read.computed, read.returned, read.out_shape
        self.before, self.behind = self.shape[: self.axis], self.shape[len(shape) + self.axis + 1 :]
        nbytes = math.prod((*self.before, block or 0, *self.behind)) * self.computed.itemsize
        if nbytes > memory():
            raise too_large("stream", f"a block of {block:,} inputs", nbytes)
        self.wired = wire(read.lines, self.axis, self.computed, self.threads, block=block)
        self.net = self.wired.net
        self.out_axis = self.wired.axes[-1]
        self.whole = (slice(None),) * (len(last) + self.out_axis)  # of the axes before time
        self._last = last[: self.out_axis], last[len(last) + self.out_axis + 1 :]
        known = tuple((*stage.where, *stage.words) for line in read.lines for stage in line.stages)
        self.signature = (self.shape, self.axis, str(self.computed), known, str(self.net))

    def out(self, count: int) -> tuple[int, ...]:
        """The shape of so many outputs."""
        return (*self._last[0], count, *self._last[1])


def _restored(made_of: tuple[Any, ...], state: dict[str, Any]) -> Stream:
    """A stream from its pickle."""
    made = Stream(_Made(*made_of))
    made.restore(state)
    return made


def _axis(given: Any, axis: int, least: int) -> tuple[int, list[Any]]:
    """(axis of time counted from the end, shape as a list). least: the first axis that may be time."""
    if not several(given) or len(given) <= least:
        raise ProblemError(f"stream: shape is {shown(given)}; must be (N, C, *spatial) with None for time, e.g. (1, 1, None)")
    shape = list(given)
    along = per_axis("stream", "axis", axis, 1)[0]
    if not -len(shape) <= along < len(shape) or along % len(shape) < least:
        axes = "spatial axes" if least else "axes"
        raise ProblemError(f"stream: axis is {axis}, must be one of the {axes} of shape {tuple(shape)}: {least} to {len(shape) - 1}")
    along = along % len(shape) - len(shape)
    fixed = [each for i, each in enumerate(shape) if i != along % len(shape)]
    if shape[along] is not None or None in fixed:
        raise ProblemError(f"stream: shape is {tuple(shape)}, axis {axis} is time; that axis, and no other, must be None")
    if any(per_axis("stream", "shape", each, 1)[0] < 1 for each in fixed):
        raise ProblemError(f"stream: shape is {tuple(shape)}; all lengths but that of time must be at least 1")
    return along, shape


def _rows(wired: Wired) -> list[str]:
    rows = []
    for i, part in enumerate(wired.parts):
        words = " ".join(part.stage.words)
        row = f"  {part.stage.index}  {words}  {part.taken}  latency {halo.latency(part.halo)}, ratio {part.halo.ratio}"
        if len(wired.net.sources[i]) > 1:
            row += f", of its branches {', '.join(map(str, wired.net.delays(i)))} outputs wait"
        rows.append(row)
    return rows


def stream(
    layers: List[Layer], *, shape: List[int | None], axis: int = -1, block: int | None = None, implementation: str = "auto",
    threads: int | None = 1, dtype: Any = "float32",
) -> Stream:  # fmt: skip
    """Plan a stack of layers for a signal that comes in blocks: `s(block)` gives the outputs that a block completes.

    layers: as `kernels.sequence` takes them: convolutions (plain and transposed), pools, batch norms, activations, linear layers along
    another axis than time, some of the channels, branches that are added, multiplied or concatenated (aligned by delay). Or a model of
    `kernels.load`, connected in any way, whose nodes are such layers, take every position along time for itself (norms over channels,
    softmax, gates, reductions over frequency, transposes) or carry states forward (LSTM, GRU, RNN). shape: (N, C, *spatial) with None
    for time, which is `axis`; of a model, the shape of its input. block: the usual number of inputs, for which all plans are made now;
    blocks of any length may come. implementation: for convolutions whose layer names none; "auto" takes the faster of direct and
    depthwise, which sum alike wherever blocks are cut, and, where blocks have a usual length, of fft in segments that end where such
    blocks do: then nothing comes later with them, with shorter blocks up to a segment, which `latency` holds. threads: 1 keeps blocks of
    a few milliseconds away from thread launches; None: every core.

    The outputs of all blocks and of `finish()`, joined, are those of one call on the whole signal with the same methods, to the bit: of
    `kernels.sequence(..., implementation="direct")` whose average pools name "jit" and whose transposed layers name "direct:phases"; layers
    in segments are called as explain() says, e.g. "fft:w columns 128, segments of 64 from -31". A model's norms and other reductions are
    within rounding. Raises RefusedError with the layer's index for what needs the whole signal: global and adaptive pools, "same" padding
    of a stride, flattening, methods whose sums depend on the cut; ProblemError as `kernels.sequence` does.

    >>> from kernels import layer
    >>> s = stream([layer("conv1d", np.ones((1, 1, 3), np.float32), padding=1), layer("max_pool1d", 2)], shape=(1, 1, None))
    >>> s.latency, s.ratio
    (2, Fraction(1, 2))
    >>> s(np.ones((1, 1, 4))), s(np.ones((1, 1, 1))), s.finish()
    (array([[[3.]]], dtype=float32), array([[[3.]]], dtype=float32), array([], shape=(1, 1, 0), dtype=float32))
    """
    if not isinstance(implementation, str):
        raise ProblemError(f"stream: implementation is {shown(implementation)}, must be a name")
    if block is not None and (block := per_axis("stream", "block", block, 1)[0]) < 1:
        raise ProblemError(f"stream: block is {block}, must be at least 1: the usual number of inputs")
    made = Stream(_Made(layers, shape, axis, implementation, threads, dtype, block))
    if block is not None:
        made.warm(block)
    return made

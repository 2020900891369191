"""Recordings as lazy arrays: samples are read from the file where they are computed with, at whatever rate is asked for.

A worker that needs a neighbour's samples reads them itself, so that networks on recordings pass nothing between workers (`apply`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
from dask._task_spec import Task
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from kernels.problem.errors import ProblemError
from kernels.problem.options import per_axis
from kernels.streaming.buffers import Buffers

Array = np.ndarray

# of the filter in front of resampling: that of scipy.signal.resample_poly
ZEROS = 10  # zero crossings on each side
KAISER = 5.0


@dataclasses.dataclass(frozen=True)
class Recording:
    """A file that is read at `rate`, where it has `own_rate`; a value that processes can share."""

    path: str
    rate: int
    own_rate: int
    frames: int  # samples of a channel in the file
    channels: int  # that are given out: 1 where the file's are averaged
    mono: bool
    stamp: tuple[int, int]  # bytes of the file and when it was changed, in ns: another file of this name is another recording

    @classmethod
    def of(cls, path: Any, rate: int | None = None, *, mono: bool = False) -> Recording:
        """What a file says of itself. Raises ProblemError where it cannot be read, is cut short or has no samples, ImportError without
        soundfile."""
        try:
            import soundfile
        except ImportError as error:
            raise ImportError("recordings are read by soundfile: pip install 'spectroconv[cluster]'") from error
        path = Path(path).resolve()
        try:
            with soundfile.SoundFile(str(path)) as file:
                own_rate, frames, channels = int(file.samplerate), int(file.frames), int(file.channels)
                if frames:
                    file.seek(frames - 1)
                    frames = frames if len(file.read(1)) else -1
            stat = path.stat()
        except (OSError, RuntimeError) as error:
            raise ProblemError(f"{path.name} cannot be read as audio: {str(error).rpartition(': ')[2]}") from None
        if frames < 1:
            raise ProblemError(f"{path.name} {'ends before its header says' if frames else 'has no samples'}; record or export it anew")
        return cls(
            str(path), own_rate if rate is None else rate, own_rate, frames, 1 if mono else channels, mono, (stat.st_size, stat.st_mtime_ns)
        )

    @property
    def samples(self) -> int:
        """Samples of a channel at `rate`."""
        up, down = self._steps
        return -(-self.frames * up // down)

    def read(self, low: int, high: int) -> Array:
        """Samples [low, high) at `rate`, (channels, high - low) in float32; silence lies before the first and after the last.

        They are those of `scipy.signal.resample_poly` on the whole file, wherever they are cut: its filter is given all that it sees.
        """
        with self.opened() as read:
            return read(low, high)

    @contextlib.contextmanager
    def opened(self, buffers: Buffers | None = None) -> Iterator[Callable[[int, int], Array]]:
        """The same of a file that stays open, for stretches that follow each other. What it gave is overwritten by the next but one, and
        goes back to `buffers` at the end."""
        import soundfile

        with soundfile.SoundFile(self.path) as file:
            reader = _Reader(self, file, buffers or Buffers())
            yield reader
            reader.close()

    @property
    def _steps(self) -> tuple[int, int]:
        """(up, down): so many samples are given for so many of the file."""
        common = math.gcd(self.rate, self.own_rate)
        return self.rate // common, self.own_rate // common


class _Reader:
    """Reads stretches of a recording into memory that it uses again; what two stretches share is read once, so that a compressed file is
    decoded straight on."""

    def __init__(self, recording: Recording, file: Any, buffers: Buffers) -> None:
        self._recording, self._file, self._at = recording, file, 0
        self._buffers = buffers
        self._first = self._last = 0  # the samples of the file that lie in _frames, a row each
        self._frames: Array | None = None
        self._given: list[Array] = []

    def __call__(self, low: int, high: int) -> Array:
        recording = self._recording
        up, down = recording._steps
        if up == down:
            return self._stored(low, high)
        from scipy.signal import resample_poly

        half = ZEROS * max(up, down)  # of the filter, at `up` times the file's rate
        first = -(-(low * down - half) // up) // down * down  # a sample of the file that one of the outputs coincides with
        stored = self._stored(first, ((high - 1) * down + half) // up + 1)
        begin = low - first // down * up
        return np.ascontiguousarray(resample_poly(stored, up, down, axis=-1, window=_filter(up, down))[:, begin : begin + high - low])

    def close(self) -> None:
        """Give all memory back."""
        for each in (*self._given, *([] if self._frames is None else [self._frames])):
            self._buffers.give(each)
        self._given, self._frames = [], None

    def _stored(self, low: int, high: int) -> Array:
        """Samples [low, high) of the file, (channels, high - low)."""
        recording = self._recording
        first = min(max(low, 0), recording.frames)
        last = max(min(high, recording.frames), first)
        frames = self._read(first, last)
        if frames.shape == (high - low, 1):
            return frames.reshape(1, -1)
        if len(self._given) > 1:
            self._buffers.give(self._given.pop(0))
        found = self._buffers.take((recording.channels, high - low), frames.dtype)
        self._given.append(found)
        begin = min(max(-low, 0), high - low)
        end = begin + last - first
        found[:, :begin], found[:, end:] = 0, 0
        if recording.mono and frames.shape[1] > 1:
            np.mean(frames, axis=1, out=found[0, begin:end])
        else:
            found[:, begin:end] = frames.T
        return found

    def _read(self, first: int, last: int) -> Array:
        """Samples [first, last) of the file, a row each."""
        before, begin = self._frames, first
        frames = self._buffers.take((last - first, self._file.channels), np.dtype(np.float32))
        if before is not None and self._first <= first < self._last:
            begin = min(self._last, last)
            frames[: begin - first] = before[first - self._first : begin - self._first]
        if begin < last:
            if begin != self._at:
                self._file.seek(begin)
            self._at = begin + len(self._file.read(last - begin, out=frames[begin - first :]))
            if self._at < last:
                recording = self._recording
                raise ProblemError(
                    f"{recording.path} ends at sample {self._at} and had {recording.frames} before: it was changed; open it anew"
                )
        if before is not None:
            self._buffers.give(before)
        self._first, self._last, self._frames = first, last, frames
        return frames


@functools.lru_cache(maxsize=8)
def _filter(up: int, down: int) -> Array:
    """The filter that `resample_poly` would design anew for every piece."""
    from scipy.signal import firwin

    most = max(up, down)
    return np.asarray(firwin(2 * ZEROS * most + 1, 1 / most, window=("kaiser", KAISER)), np.float32)


class Samples(MaterializedLayer):
    """The chunks of a recording; `apply` reads from the recording instead."""

    def __init__(self, mapping: Any, recording: Recording) -> None:
        super().__init__(mapping)
        self.recording = recording


def recording_of(x: Any) -> Recording | None:
    """The recording that a lazy array is, all of it as it is."""
    return getattr(x.dask.layers.get(x.name), "recording", None)


def _chunk(recording: Recording, low: int, high: int) -> Array:
    return recording.read(low, high)[None]


def from_audio(path: Any, *, rate: int | None = None, mono: bool = False, chunks: int | None = None) -> Any:
    """A recording as a lazy array (1, channels, samples) in float32, read by libsndfile: WAV, FLAC, OGG, AIFF, MP3.

    rate: samples a second, into which the file is resampled while it is read (`scipy.signal.resample_poly`, seamless between chunks); None:
    the file's own. mono: the mean of all channels. chunks: samples a chunk; None: a minute. Networks that are applied to it read the
    halo of their chunks themselves, so workers must see the file under the same path. Raises ProblemError where the file cannot be read.
    """
    if rate is not None and per_axis("from_audio", "rate", rate, 1)[0] < 1:
        raise ProblemError(f"from_audio: rate is {rate}, must be at least 1, e.g. 16000")
    recording = Recording.of(path, rate, mono=mono)
    size = 60 * recording.rate if chunks is None else per_axis("from_audio", "chunks", chunks, 1)[0]
    if size < 1:
        raise ProblemError(f"from_audio: chunks is {chunks} samples, must be at least 1, e.g. {60 * recording.rate} for a minute")
    edges = [*range(0, recording.samples, size), recording.samples]
    name = f"audio-{tokenize(recording, size)}"
    keys = [(name, 0, 0, i) for i in range(len(edges) - 1)]
    graph = {key: Task(key, _chunk, recording, low, high) for key, low, high in zip(keys, edges, edges[1:])}
    lengths = tuple(high - low for low, high in itertools.pairwise(edges))
    layer = HighLevelGraph.from_collections(name, Samples(graph, recording), dependencies=())
    return dask.array.Array(layer, name, ((1,), (recording.channels,), lengths), meta=np.empty((0, 0, 0), np.float32))

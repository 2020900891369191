"""Recordings as lazy arrays: samples are read from the file where they are computed with, at whatever rate is asked for.

A worker that needs a neighbour's samples reads them itself, so that networks on recordings pass nothing between workers (`apply`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
from dask._task_spec import Task
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from kernels.problem.errors import ProblemError
from kernels.problem.options import per_axis

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
        up, down = self._steps
        if up == down:
            return self._stored(low, high)
        from scipy.signal import resample_poly

        half = ZEROS * max(up, down)  # of the filter, at `up` times the file's rate
        first = -(-(low * down - half) // up) // down * down  # a sample of the file that one of the outputs coincides with
        stored = self._stored(first, ((high - 1) * down + half) // up + 1)
        begin = low - first // down * up
        return np.ascontiguousarray(resample_poly(stored, up, down, axis=-1, window=_filter(up, down))[:, begin : begin + high - low])

    @property
    def _steps(self) -> tuple[int, int]:
        """(up, down): so many samples are given for so many of the file."""
        common = math.gcd(self.rate, self.own_rate)
        return self.rate // common, self.own_rate // common

    def _stored(self, low: int, high: int) -> Array:
        """Samples [low, high) of the file."""
        import soundfile

        found = np.zeros((self.channels, high - low), np.float32)
        first, last = max(low, 0), min(high, self.frames)
        if first < last:
            with soundfile.SoundFile(self.path) as file:
                file.seek(first)
                read = file.read(last - first, dtype="float32", always_2d=True)
            if len(read) < last - first:
                raise ProblemError(f"{self.path} ends at sample {first + len(read)} of {self.frames}; it was changed while it was read")
            place = found[:, first - low : last - low]
            place[:] = read.mean(axis=1) if self.mono and read.shape[1] > 1 else read.T
        return found


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

"""A model over a folder of recordings: pieces of files that workers read, compute and store on their own, so that a run can be killed
and goes on where it stopped.

A piece is a stretch of outputs. Its worker reads the samples that the model needs for it, halo and all, from the file itself: nothing is
passed between workers, and a worker holds one piece at a time. Results of a file are a Zarr array (channels, time) whose chunks are the
pieces, beside an array that says which pieces are done, written last.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

import kernels
from benchmarks.inputs.frontends import mel_filters
from benchmarks.workloads.layer import Floats
from kernels.dask.recordings import Recording
from kernels.dask.worker import threads_here
from kernels.streaming.models import lines_of_model
from kernels.streaming.sections import Network, Sections

SUFFIXES = ".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3"


@dataclass(frozen=True)
class Front:
    """What the model hears: samples at a rate, or frames of log-mel bands of them every `hop`, each centred on its time."""

    rate: int = 16000
    bands: int = 0  # 0: samples
    n_fft: int = 512
    hop: int = 160

    @property
    def step(self) -> int:
        """Samples from one input of the model to the next."""
        return self.hop if self.bands else 1

    def length(self, samples: int) -> int:
        """Inputs of the model for so many samples."""
        return samples // self.hop + 1 if self.bands else samples

    def read(self, file: Recording, low: int, high: int) -> Floats:
        """Inputs [low, high) of a recording at this rate: (1, 1, time) or (1, 1, bands, time)."""
        if not self.bands:
            return file.read(low, high)[None]
        half = self.n_fft // 2
        heard = file.read(low * self.hop - half, (high - 1) * self.hop + half)[0]
        frames = np.lib.stride_tricks.sliding_window_view(heard, self.n_fft)[:: self.hop]
        power = np.abs(np.fft.rfft(frames * np.hanning(self.n_fft + 1)[:-1].astype(np.float32), axis=1)) ** 2
        return np.log(power @ _filters(self.rate, self.n_fft, self.bands).T + 1e-9).T[None, None].astype(np.float32)


@functools.lru_cache(maxsize=4)
def _filters(rate: int, n_fft: int, bands: int) -> Any:
    return mel_filters(rate, n_fft, bands)


class Model:
    """A model on pieces of a signal: its layers where they stream, else the whole model on windows of the length that it takes."""

    def __init__(self, path: str, front: Front, threads: int) -> None:
        self.model = kernels.load(path, threads=threads)
        shape = self.model.inputs[0].shape or ()
        self._flat = front.bands > 0 and len(shape) == 3  # bands as channels
        channels = (front.bands,) if self._flat else (1, front.bands) if front.bands else (1,)
        self.window = 0
        self._sections: dict[int, Sections] = {}
        try:
            self._network = Network(lines_of_model(self.model, (1, *channels, None)), (1, *channels, None), -1, "auto", "float32", 0, 1)
            Sections(self._network, threads)
        except ValueError as error:  # it does not stream
            fixed = [length for length in shape[-1:] if isinstance(length, int)]
            if not fixed:
                raise ValueError(f"{path} does not stream: {error}; and its last axis has no fixed length to cut windows of") from None
            self.window = fixed[0]
        self._threads = threads

    def _of(self, n: int) -> Sections:
        step = max(self._network.step, 1)
        if step not in self._sections:
            self._sections[step] = Sections.of(self._network, n, self._threads)
        return self._sections[step]

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return max(0, n // self.window) if self.window else self._of(n).net.length(n)

    def spacing(self, n: int) -> float:
        """Inputs from one output to the next."""
        return self.window or float(1 / self._of(n).net.ratio)

    def needs(self, first: int, end: int, n: int) -> tuple[int, int]:
        """The inputs of outputs [first, end)."""
        return (first * self.window, end * self.window) if self.window else self._of(n).needs(first, end, n)

    def __call__(self, x: Floats, first: int, end: int, n: int) -> Floats:
        """Outputs (channels, end - first) from the inputs that they need."""
        x = x[:, 0] if self._flat else x
        if not self.window:
            found = self._of(n)
            return np.moveaxis(found(x, first, end, n), found.out_axis, -1).reshape(-1, end - first)
        windows = (np.ascontiguousarray(x[..., i * self.window : (i + 1) * self.window]) for i in range(end - first))
        return np.stack([np.asarray(self.model(window)).reshape(-1) for window in windows], -1)


@functools.lru_cache(maxsize=4)
def model_of(path: str, front: Front, threads: int, stamp: float) -> Model:
    """A model with the plans that this process has made; stamp: when the file was changed."""
    return Model(path, front, threads)


@dataclass(frozen=True)
class Piece:
    """Outputs [first, end) of one file, and where they go."""

    file: Recording
    name: str
    first: int
    end: int
    number: int


@dataclass(frozen=True)
class Job:
    """One run: the model, what it hears, and the store."""

    model: str
    front: Front
    out: str

    def work(self, piece: Piece) -> float:
        """Compute and store a piece; seconds of audio that it stands for. Any process may do it, and do it again."""
        model = model_of(self.model, self.front, threads_here(), Path(self.model).stat().st_mtime)
        n = self.front.length(piece.file.samples)
        low, high = model.needs(piece.first, piece.end, n)
        y = model(self.front.read(piece.file, low, high), piece.first, piece.end, n)
        values, done = _arrays(self.out, piece.name, (Path(self.out) / piece.name / "done" / "zarr.json").stat().st_mtime_ns)
        values[:, piece.first : piece.end] = y
        done[piece.number] = 1
        return (piece.end - piece.first) * model.spacing(n) * self.front.step / self.front.rate


@functools.lru_cache(maxsize=64)
def _arrays(out: str, name: str, made: int) -> tuple[Any, Any]:
    """A file's arrays of values and of marks, opened once a process. made: when they were, so that those of another run are others."""
    import zarr

    group = zarr.open_group(out, mode="r+")
    return group[f"{name}/values"], group[f"{name}/done"]


def files(folder: Path) -> list[Path]:
    """The recordings under a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def pieces(job: Job, folder: Path, seconds: float, *, resample: bool = False) -> tuple[list[Piece], dict[str, str], int]:
    """(pieces still to do, why files are bad, pieces done before); makes the arrays of files that have none yet. resample: recordings of
    another rate than the front end's are resampled while they are read, else they are bad."""
    import zarr

    model = model_of(job.model, job.front, threads_here(), Path(job.model).stat().st_mtime)
    group = zarr.open_group(job.out, mode="a")  # not before: a model that is refused leaves no folder behind
    about = {"model": Path(job.model).name, "front": str(job.front), "seconds": seconds}
    if dict(group.attrs).get("about", about) != about:
        raise ValueError(f"{job.out} is the result of another run ({group.attrs['about']}); choose another --out")
    group.attrs["about"] = about
    found: list[Piece] = []
    bad, before = {}, 0
    for path in files(folder):
        name = group_name(path, folder)
        try:
            file = _check(path, job.front.rate, resample)
            n = job.front.length(file.samples)
            outputs = model.length(n)
            if outputs < 1:
                raise ValueError(f"{file.samples / file.rate:.2f} s are too short for the model")
        except (ValueError, RuntimeError, OSError) as error:
            bad[name] = str(error)
            continue
        spacing = model.spacing(n)
        each = max(1, math.ceil(seconds * job.front.rate / job.front.step / spacing))
        count = -(-outputs // each)
        if f"{name}/done" not in group:
            _make(group, name, model, job.front, n, outputs, each, count)
        done = np.asarray(group[f"{name}/done"][:])  # type: ignore[index]
        before += int(done.sum())
        found += [
            Piece(file, name, i * each, min((i + 1) * each, outputs), i) for i in range(count) if not done[i]
        ]  # fmt: skip
    return found, bad, before


def group_name(path: PurePath, folder: PurePath) -> str:
    """A file's group in the results: where it lies in the folder, by slashes on every system, so that each reads the others' results."""
    return path.relative_to(folder).as_posix()


def _check(path: Path, rate: int, resample: bool) -> Recording:
    """A file as the model hears it. Raises ValueError where it cannot be heard."""
    file = Recording.of(path, rate, mono=True)
    if file.own_rate != rate and not resample:
        raise ValueError(f"it has {file.own_rate} Hz, the model hears {rate}; --resample converts it while it is read")
    return file


def _make(group: Any, name: str, model: Model, front: Front, n: int, outputs: int, each: int, count: int) -> None:
    low, high = model.needs(0, 1, n)
    shape = (1, front.bands, high - low) if front.bands else (1, high - low)
    channels = len(model(np.zeros((1, *shape), np.float32), 0, 1, n))
    values = group.create_array(f"{name}/values", shape=(channels, outputs), chunks=(channels, each), dtype="float32")
    time = np.arange(outputs) * model.spacing(n) * front.step / front.rate
    group.create_array(f"{name}/time", data=time.astype(np.float64))
    values.attrs["_ARRAY_DIMENSIONS"] = ["channel", "time"]
    group.create_array(f"{name}/done", shape=(count,), chunks=(1,), dtype="int8")


def run(job: Job, todo: list[Piece], client: Any, workers: int) -> Iterator[tuple[Piece, float | BaseException]]:
    """Every piece with the seconds of audio that it stands for, or why it failed, as they come; a few per worker wait, not all."""
    from concurrent.futures import ThreadPoolExecutor
    from concurrent.futures import as_completed as of_threads

    if client is None:
        with ThreadPoolExecutor(workers) as pool:
            futures = {pool.submit(job.work, piece): piece for piece in todo}
            for future in of_threads(futures):
                yield futures[future], future.exception() or future.result()
        return
    from distributed import as_completed

    waiting = iter(todo)
    started = {client.submit(job.work, piece, pure=False): piece for _, piece in zip(range(4 * workers), waiting)}
    coming = as_completed(list(started))
    for future in coming:
        piece = started.pop(future)
        error = future.exception()
        yield piece, error if error is not None else future.result()
        for following in waiting:
            another = client.submit(job.work, following, pure=False)
            started[another] = following
            coming.add(another)
            break

"""What a cluster on this machine reaches of what one process reaches with as many threads on chunks in memory, and what its workers hold.

Both compute the same networks on chunks of the same length and keep the largest value of every channel in each chunk. The process has its
audio in memory; workers read theirs from a WAV file, halo and all (`kernels.dask.from_audio`), or get it from tasks that make chunks, so
that workers hand each other what halos need.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.host.peak_memory import high_water
from benchmarks.report import own_files
from benchmarks.streams.live_networks import NETWORKS, Listener
from benchmarks.streams.local_cluster import local_client
from benchmarks.workloads.layer import Floats

SOURCES = "file", "tasks"  # where chunks come from: read by who needs them, or made by tasks of their own
TURNS = 2  # of the process before the cluster's, and as many after it
IN_MEMORY = 0.5  # hours of audio that the process has
CHUNKS = 100_000  # of the graph whose making is timed


@dataclass(frozen=True)
class Measured:
    """One network on chunks of `chunk` seconds: hours of audio in an hour. process: in turns, before and after; peaks: bytes that a worker
    held at most, the largest, after each of `hours`."""

    network: str
    source: str
    chunk: float
    workers: int
    threads: int  # of a worker
    hours: tuple[float, ...]
    process: tuple[float, ...]
    cluster: tuple[float, ...]  # for each of `hours`
    peaks: tuple[int, ...]
    same: bool  # whether the results of both are the same

    @property
    def share(self) -> float:
        """The cluster's longest run, as a share of the process."""
        return self.cluster[-1] / float(np.median(self.process))


def write_audio(path: Path, samples: Floats, rate: int, hours: float) -> Path:
    """A WAV file of 16 bits that repeats the samples for so long."""
    import soundfile

    left = int(hours * 3600 * rate)
    with soundfile.SoundFile(str(path), "w", rate, 1, "PCM_16") as file:
        while left > 0:
            file.write(samples[:left])
            left -= len(samples)
    return path


def largest(y: Floats) -> Floats:
    """Of every channel in a chunk of outputs."""
    return np.asarray(y.max(axis=-1, keepdims=True))


def _summed_up(listener: Listener, x: Any) -> Any:
    """The network's outputs on a lazy array, of which every chunk's largest are kept."""
    from kernels.dask import apply

    y = apply(listener.layers, x)
    return y.map_blocks(largest, chunks=(*y.chunks[:-1], (1,) * y.numblocks[-1]), meta=y._meta)


def _stretch(path: str, block_info: Any = None) -> Floats:
    """A chunk of a recording, as a task of its own."""
    from kernels.dask.recordings import Recording

    return Recording.of(path).read(*block_info[None]["array-location"][-1])[None]


def _lazy(path: Path, source: str, size: int) -> Any:
    import dask.array

    from kernels.dask import from_audio

    x = from_audio(path, chunks=size)
    if source == "file":
        return x
    return dask.array.map_blocks(_stretch, str(path), chunks=x.chunks, meta=x._meta, dtype=x.dtype)


def measure(
    network: str, samples: Floats, hours: Sequence[float], chunk: float, workers: int, threads: int, source: str, say: Callable[[str], None]
) -> Measured:  # fmt: skip
    """Time one network. hours: of the cluster's runs, the longest last; samples: what is repeated for so long."""
    import dask.array

    listener = NETWORKS[network]()
    rate, size = listener.rate, int(chunk * listener.rate)
    process, found, peaks = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        say(f"{network}: writing {sum(hours):g} hours of audio")
        files = [write_audio(Path(folder) / f"{i}.wav", samples, rate, each) for i, each in enumerate(hours)]
        short = write_audio(Path(folder) / "short.wav", samples, rate, min(hours[0], 16 * chunk / 3600))
        memory = _lazy(files[0], source, size)[..., : int(IN_MEMORY * 3600 * rate)].compute(scheduler="threads")
        chunks = dask.array.from_array(memory, chunks=(1, 1, size), name=False)

        def alone() -> Any:
            gc.collect()
            begun = time.perf_counter()
            y = _summed_up(listener, chunks).compute(scheduler="threads", num_workers=workers * threads)
            process.append(memory.shape[-1] / rate / (time.perf_counter() - begun))
            return y

        say(f"{network}: one process")
        expected = alone()
        process.clear()  # which made the plans
        for _ in range(TURNS):
            alone()
        with local_client(workers, threads) as client:
            say(f"{network}: {workers} workers make their plans")
            _summed_up(listener, _lazy(short, source, size)).compute()
            for path, each in zip(files, hours):
                say(f"{network}: {workers} workers, {each:g} hours")
                begun = time.perf_counter()
                y = _summed_up(listener, _lazy(path, source, size)).compute()
                found.append(each * 3600 / (time.perf_counter() - begun))
                peaks.append(max(each or 0 for each in client.run(high_water).values()))
        say(f"{network}: one process")
        for _ in range(TURNS):
            alone()
    inner = min(y.shape[-1], expected.shape[-1]) - 1  # the last chunks end elsewhere
    same = bool(np.array_equal(y[..., :inner], expected[..., :inner]))
    return Measured(network, source, chunk, workers, threads, tuple(hours), tuple(process), tuple(found), tuple(peaks), same)


def graph_seconds() -> float:
    """What the graph of CHUNKS chunks takes to make."""
    import dask.array

    from kernels.dask import apply

    listener = NETWORKS["encoder"]()
    size = 10 * listener.rate
    x = dask.array.zeros((1, 1, CHUNKS * size), chunks=(1, 1, size), dtype="float32")
    begun = time.perf_counter()
    apply(listener.layers, x)
    return time.perf_counter() - begun


def store(found: Sequence[Measured], folder: Path, about: Mapping[str, str]) -> Path:
    """Keep what was measured; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cluster.json"
    data = {"comment": own_files.MARK, "about": dict(about), "measured": [asdict(each) for each in found]}
    return own_files.write(path, json.dumps(data, indent=1) + "\n")


def read(path: Path) -> tuple[list[Measured], dict[str, str]]:
    """What `store` kept."""
    data = json.loads(path.read_text(encoding="utf-8"))
    rows = [{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()} for row in data["measured"]]
    return [Measured(**row) for row in rows], data["about"]


def write(found: Sequence[Measured], about: Mapping[str, str], folder: Path) -> Path:
    """The table as a page beside the data; returns it."""
    path = folder / "README.md"
    return own_files.write(path, "\n".join([f"<!-- {own_files.MARK} -->", "# Clusters", "", *lines(found, about), ""]))


def lines(found: Sequence[Measured], about: Mapping[str, str]) -> list[str]:
    """A sentence, then a row a network."""
    rows = [
        f"Hours of audio in an hour, {about['cpu']}, {about['day']}, commit {about['commit']}. One process has at most {IN_MEMORY:g} hours "
        "of audio in memory and as many threads as all workers; median of turns before and after. Workers read a WAV file, or get chunks "
        f"from tasks. Their start and their plans are not counted. A graph of {CHUNKS:,} chunks is made in {about['graph']} s.",
        "",
        "| network | chunks | one process | workers | audio | cluster | share | a worker holds at most |",
        "| --- | --- | ---: | --- | --- | ---: | ---: | ---: |",
    ]  # fmt: skip
    for each in found:
        for hours, speed, peak in zip(each.hours, each.cluster, each.peaks):
            process = float(np.median(each.process))
            rows.append(
                f"| {each.network} | {each.chunk:g} s from {'the file' if each.source == 'file' else 'tasks'} | {process:.0f} | "
                f"{each.workers} of {each.threads} thread{'s' * (each.threads > 1)} | {hours:g} h | {speed:.0f} | {speed / process:.2f} | "
                f"{peak / 1e6:.0f} MB |"
            )  # fmt: skip
    return rows

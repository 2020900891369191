"""Recordings as lazy arrays: what is read is what lies in the file, at any rate and wherever it is cut; networks read their halos."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE

import kernels
from kernels import ProblemError
from tests.streaming.test_stream import drawn, whole

da = pytest.importorskip("dask.array")
soundfile = pytest.importorskip("soundfile")

import kernels.dask as lazy  # noqa: E402 -- needs dask
from kernels.dask.recordings import Recording  # noqa: E402
from tests.clusters.test_dask import LAYERS  # noqa: E402


def written(path: Path, frames: int, rate: int = 8000, channels: int = 2) -> np.ndarray:
    samples = (np.random.default_rng(frames).standard_normal((frames, channels)) / 8).astype(np.float32)
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return np.ascontiguousarray(soundfile.read(path, dtype="float32", always_2d=True)[0].T)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("mono", [False, True])
def test_chunks_are_what_lies_in_the_file(tmp_path: Path, suffix: str, mono: bool) -> None:
    path = tmp_path / f"a{suffix}"
    samples = written(path, 3001)
    expected = samples.mean(axis=0, keepdims=True) if mono else samples
    x = lazy.from_audio(path, mono=mono, chunks=1000)
    assert x.shape == (1, len(expected), 3001) and x.chunks[2] == (1000, 1000, 1000, 1) and x.dtype == np.float32
    np.testing.assert_allclose(x.compute(scheduler="threads")[0], expected, atol=1e-7)
    np.testing.assert_allclose(x[..., 995:1010].compute(scheduler="threads")[0], expected[:, 995:1010], atol=1e-7)
    assert lazy.from_audio(path).chunks[2] == (3001,), "a minute"


@pytest.mark.parametrize(("own", "rate"), [(44100, 16000), (8000, 16000), (22050, 16000), (16000, 44100), (48000, 16000), (8000, 8001)])
def test_resampled_wherever_it_is_cut(tmp_path: Path, own: int, rate: int) -> None:
    from scipy.signal import resample_poly

    path = tmp_path / "a.wav"
    samples = written(path, 20011, own)
    up, down = np.array((rate, own)) // np.gcd(rate, own)
    expected = resample_poly(samples, up, down, axis=-1)
    recording = Recording.of(path, rate)
    assert recording.samples == expected.shape[-1]
    for low, high in ((0, 1), (0, 500), (1, 2), (777, 3001), (expected.shape[-1] - 40, expected.shape[-1])):
        np.testing.assert_allclose(recording.read(low, high), expected[:, low:high], atol=1e-6)
    x = lazy.from_audio(path, rate=rate, chunks=1237)
    np.testing.assert_allclose(x.compute(scheduler="threads")[0], expected, atol=1e-6)


def test_silence_lies_around(tmp_path: Path) -> None:
    samples = written(tmp_path / "a.wav", 100)
    recording = Recording.of(tmp_path / "a.wav")
    np.testing.assert_array_equal(recording.read(-5, 107), np.pad(samples, ((0, 0), (5, 7))))
    assert not recording.read(200, 210).any() and not recording.read(-9, -3).any()


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("rate", [8000, 6000])
def test_stretches_of_an_open_file(tmp_path: Path, suffix: str, rate: int) -> None:
    """Overlapping, apart, backwards, around the ends: what is read after something else is what is read alone; the last two stay."""
    written(tmp_path / f"a{suffix}", 5000)
    recording = Recording.of(tmp_path / f"a{suffix}", rate, mono=suffix == ".flac")
    stretches = [(-20, 500), (480, 900), (480, 700), (880, 1500), (2500, 3000), (2990, 6000), (100, 101), (101, 102), (6000, 6100), (0, 9)]
    given: list[np.ndarray] = []
    with recording.opened() as read:
        for i, stretch in enumerate(stretches):
            given.append(read(*stretch))
            for each, alone in zip(given[-2:], stretches[max(i - 1, 0) : i + 1]):
                np.testing.assert_array_equal(each, recording.read(*alone))


@pytest.mark.parametrize("chunks", [2000, 7, 40011])
def test_networks_read_their_halos(tmp_path: Path, chunks: int) -> None:
    samples = written(tmp_path / "a.wav", 10007)
    x = lazy.from_audio(tmp_path / "a.wav", chunks=chunks)
    y = lazy.apply(LAYERS, x, implementation="direct")
    expected = whole(LAYERS, samples[None])
    assert y.shape == expected.shape and sum(y.chunks[2]) == expected.shape[2]
    computing = [key for key in y.dask if isinstance(key, tuple) and key[0] == y.name]
    assert len(computing) == y.npartitions and not any("halo" in str(key) or x.name in str(key) for key in y.dask)
    np.testing.assert_array_equal(y.compute(scheduler="threads", num_workers=2), expected)
    part = x[..., :5000]  # no longer the recording as it is
    np.testing.assert_array_equal(lazy.apply(LAYERS, part, implementation="direct").compute(), whole(LAYERS, samples[None, :, :5000]))


def test_a_changed_file_is_another_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    written(path, 500)
    before = lazy.from_audio(path)
    written(path, 501)
    assert lazy.from_audio(path).name != before.name
    with pytest.raises(ProblemError, match="was changed"):
        written(path, 400)
        before.compute(scheduler="synchronous")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 8000)
    written(tmp_path / "a.wav", 50)
    for name, options, message in (
        ("broken.wav", {}, "cannot be read as audio"), ("nowhere.wav", {}, "cannot be read as audio"), ("none.wav", {}, "has no samples"),
        ("a.wav", {"rate": 0}, "rate is 0, must be at least 1"), ("a.wav", {"chunks": 0}, "chunks is 0 samples"),
        ("a.wav", {"rate": "fast"}, "rate is 'fast', must be a whole number"),
    ):  # fmt: skip
        with pytest.raises(ProblemError, match=message):
            lazy.from_audio(tmp_path / name, **options)


def test_from_zarr_to_zarr(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    x = drawn(3, 2, 2, 4001)
    da.from_array(x, chunks=(1, 2, 500)).to_zarr(str(tmp_path / "x.zarr"))
    lazy.apply(LAYERS, da.from_zarr(str(tmp_path / "x.zarr")), implementation="direct").rechunk({2: 200}).to_zarr(str(tmp_path / "y.zarr"))
    np.testing.assert_array_equal(da.from_zarr(str(tmp_path / "y.zarr")).compute(), whole(LAYERS, x))


SCRIPT = """
import sys
import numpy as np
from distributed import Client, LocalCluster
from kernels.dask import apply, from_audio
from tests.clusters.test_dask import LAYERS

CHUNK = 1_000_000

def held():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

def largest(y):
    return y.max(axis=-1, keepdims=True)

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, Client(cluster) as client:
        peaks = []
        for path in sys.argv[1:]:
            y = apply(LAYERS, from_audio(path, chunks=CHUNK))
            y.map_blocks(largest, chunks=(*y.chunks[:-1], (1,) * y.numblocks[-1]), meta=y._meta).compute()
            peaks.append(max(client.run(held).values()))
    print(*peaks)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_workers_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Eight times as long a recording: what workers held at most grows by less than two chunks with their outputs."""
    pytest.importorskip("distributed")
    (tmp_path / "run.py").write_text(SCRIPT)
    noise = (np.random.default_rng(0).standard_normal((1_000_000, 2)) * 1000).astype(np.int16)
    for name, count in (("short.wav", 6), ("long.wav", 48)):
        with soundfile.SoundFile(tmp_path / name, "w", 48000, 2, "PCM_16") as file:
            for _ in range(count):
                file.write(noise)
    root = str(Path(kernels.__file__).parents[1])
    command = [sys.executable, tmp_path / "run.py", tmp_path / "short.wav", tmp_path / "long.wav"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, f"{root}/tests"])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    short, long = map(int, done.stdout.split())
    chunk = 1_000_000 * (2 + 4 / 3) * 4  # bytes of inputs and outputs
    assert long - short < 2 * chunk, (short, long)


def test_recordings_need_soundfile(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r"spectroconv\[cluster\]"):
        lazy.from_audio(tmp_path / "a.wav")

"""A model over a folder: results as of the whole file, bad files listed, a killed run that goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
from patience import until
from typer.testing import CliRunner

import kernels
from benchmarks.__main__ import app

soundfile = pytest.importorskip("soundfile")
zarr = pytest.importorskip("zarr")
onnx = pytest.importorskip("onnx")
pytest.importorskip("dask")

ROOT = Path(__file__).resolve().parents[2]


def model(path: Path, *, bands: int = 0, length: int | str = "t") -> Path:
    """Two convolutions, a pool and a residual branch; on a fixed length a global pool at the end."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    kernel, one = ((3, 5), (bands, 1)) if bands else ((5,), (1,))
    shape = [1, 1, bands, length] if bands else [1, 1, length]
    first = (rng.standard_normal((4, 1, *kernel)) / 4).astype(np.float32)
    second = (rng.standard_normal((4, 4, *[3 if i == len(kernel) - 1 else 1 for i in range(len(kernel))])) / 4).astype(np.float32)
    pads = [1, 2, 1, 2] if bands else [2, 2]
    inner = [0, 1, 0, 1] if bands else [1, 1]
    stride = [1, 2] if bands else [2]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=pads, strides=[1] * len(kernel)), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=stride, strides=stride),
        helper.make_node("Conv", ["c", "w2"], ["d"], pads=inner),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node(*(("GlobalAveragePool", ["e"], ["y"]) if isinstance(length, int) else ("Sigmoid", ["e"], ["y"]))),
    ]  # fmt: skip
    weights = [numpy_helper.from_array(each, name) for each, name in ((first, "w1"), (second, "w2"))]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    assert one
    return path


def recording(path: Path, seconds: float, rate: int = 8000, seed: int = 0) -> np.ndarray:
    samples = (np.random.default_rng(seed).standard_normal(int(seconds * rate)) / 8).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return np.asarray(soundfile.read(path, dtype="float32")[0])


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["archive", *map(str, arguments)])


def test_a_folder(tmp_path: Path) -> None:
    folder, out = tmp_path / "music", tmp_path / "out.zarr"
    heard = {"a.wav": recording(folder / "a.wav", 3.0), "deep/b.flac": recording(folder / "deep" / "b.flac", 1.7, seed=1)}
    recording(folder / "other.wav", 1.0, rate=22050)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    path = model(tmp_path / "m.onnx")
    done = call(folder, "--model", path, "--out", out, "--rate", 8000, "--seconds", 0.5)
    assert done.exit_code == 1 and "left out: broken.wav" in done.output and "22050 Hz, the model hears 8000; --resample" in done.output
    group, whole = zarr.open_group(out, mode="r"), kernels.load(str(path))
    for name, samples in heard.items():
        expected = whole(samples[None, None])[0]
        values = group[f"{name}/values"][:]
        assert values.shape == expected.shape
        np.testing.assert_allclose(values, expected, atol=1e-5)
        np.testing.assert_allclose(group[f"{name}/time"][:], np.arange(expected.shape[1]) * 2 / 8000)
        assert group[f"{name}/done"][:].all()
    again = call(folder, "--model", path, "--out", out, "--rate", 8000, "--seconds", 0.5)
    assert "0.00 hours of audio" in again.output, "nothing is done twice"
    assert call(folder, "--model", path, "--out", out, "--rate", 8000, "--seconds", 0.7).exit_code == 2, "another run's store"


def test_recordings_of_other_rates_are_resampled(tmp_path: Path) -> None:
    from scipy.signal import resample_poly

    folder, out, path = tmp_path / "music", tmp_path / "out.zarr", model(tmp_path / "m.onnx")
    samples = recording(folder / "other.wav", 2.0, rate=22050)
    done = call(folder, "--model", path, "--out", out, "--rate", 8000, "--seconds", 0.5, "--resample")
    assert done.exit_code == 0, done.output
    expected = kernels.load(str(path))(resample_poly(samples, 160, 441)[None, None])[0]
    values = zarr.open_group(out, mode="r")["other.wav/values"][:]
    assert values.shape == expected.shape == (4, 8000)
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_log_mel_frames_and_windows_of_fixed_models(tmp_path: Path) -> None:
    from benchmarks.streams.recordings import Front
    from kernels.dask.recordings import Recording

    folder = tmp_path / "music"
    recording(folder / "a.wav", 2.0)
    front = Front(8000, 16, 256, 80)
    file = Recording.of(folder / "a.wav")
    frames = front.read(file, 0, front.length(16000))
    assert frames.shape == (1, 1, 16, 201)
    np.testing.assert_array_equal(front.read(file, 50, 90), frames[..., 50:90])
    options = ["--rate", 8000, "--front", "log-mel", "--bands", 16, "--n-fft", 256, "--hop", 80, "--seconds", 0.4]
    path, out = model(tmp_path / "free.onnx", bands=16), tmp_path / "free.zarr"
    assert call(folder, "--model", path, "--out", out, *options).exit_code == 0
    values = zarr.open_group(out, mode="r")["a.wav/values"][:]
    np.testing.assert_allclose(values, kernels.load(str(path))(frames)[0].reshape(-1, 100), atol=1e-5)
    path, out = model(tmp_path / "fixed.onnx", bands=16, length=20), tmp_path / "fixed.zarr"
    assert call(folder, "--model", path, "--out", out, *options).exit_code == 0
    group, whole = zarr.open_group(out, mode="r"), kernels.load(str(path))
    expected = [whole(np.ascontiguousarray(frames[..., 20 * i : 20 * i + 20])).reshape(-1) for i in range(10)]
    np.testing.assert_allclose(group["a.wav/values"][:], np.stack(expected, -1), atol=1e-5)
    np.testing.assert_allclose(group["a.wav/time"][:], np.arange(10) * 0.2)


def test_results_lie_by_slashes() -> None:
    from benchmarks.streams.recordings import group_name

    folder = PureWindowsPath("C:\\music")
    assert group_name(folder / "a" / "b.wav", folder) == group_name(PurePosixPath("/m/a/b.wav"), PurePosixPath("/m")) == "a/b.wav"


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    folder, out = tmp_path / "music", tmp_path / "out.zarr"
    samples = recording(folder / "long.wav", 120.0)
    path = model(tmp_path / "m.onnx")
    command = [sys.executable, "-m", "benchmarks", "archive", str(folder), "--model", str(path), "--out", str(out), "--rate", "8000",
               "--seconds", "0.5"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    marks = out / "long.wav" / "done" / "c"
    until(lambda: process.poll() is not None or (marks.exists() and len(list(marks.iterdir())) >= 3))
    process.kill()
    process.wait()
    before = {mark.name: mark.stat().st_mtime_ns for mark in marks.iterdir()}
    finished = np.asarray(zarr.open_group(out, mode="r")["long.wav/done"][:])
    assert 1 <= finished.sum() < 240, "killed in between"
    done = subprocess.run([*command, "--workers", "1"], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    kept = np.flatnonzero(finished)
    assert all((marks / str(number)).stat().st_mtime_ns == before[str(number)] for number in kept), "done pieces stay as they were"
    values = zarr.open_group(out, mode="r")["long.wav/values"][:]
    np.testing.assert_allclose(values, kernels.load(str(path))(samples[None, None])[0], atol=1e-5)

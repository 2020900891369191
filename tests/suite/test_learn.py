"""The training example: it learns, its filters are tuned, its page and files are whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from benchmarks.__main__ import app  # noqa: E402
from benchmarks.learning import baselines, filters, sounds, training  # noqa: E402


def test_a_tiny_case_learns_notes() -> None:
    """In 200 steps on 800 examples, with a fixed seed: most of 48 notes, by filters that are tuned more sharply than noise."""
    outcome = training.learn(training.TASKS["pitch"], steps=200, examples=800, compare=False)
    assert np.mean(outcome.losses[-20:]) < 0.3 * np.mean(outcome.losses[:20])
    assert outcome.accuracy >= 0.8 and outcome.baseline >= 0.9
    waves = outcome.network[0].weight.detach().numpy()[:, 0]
    noise = np.random.default_rng(0).standard_normal(waves.shape)
    assert np.median(filters.tuning(waves)) > 1.5 * np.median(filters.tuning(noise))


def test_the_command_writes_its_page(tmp_path: Path) -> None:
    for task in ("pitch", "onset"):
        result = CliRunner().invoke(app, ["learn", "--task", task, "--steps", "20", "--out", str(tmp_path / task)])
        assert result.exit_code == 0, result.output
        assert "steps a second" in result.output
        page = (tmp_path / task / "index.html").read_text()
        assert page.count("<svg") >= 2 and "src=" not in page and "http" not in page.replace("http://www.w3.org", "")
    found = json.loads((tmp_path / "pitch" / "filters.json").read_text())
    assert len(found["filters"]) == len(found["peak_hertz"]) == len(found["spectra"]) == 64
    assert found["peak_hertz"] == sorted(found["peak_hertz"])
    assert CliRunner().invoke(app, ["learn", "--task", "nothing"]).exit_code == 2
    assert CliRunner().invoke(app, ["learn", "--audio", str(tmp_path)]).exit_code == 2
    assert CliRunner().invoke(app, ["learn", "--seed", "-1"]).exit_code == 2
    (tmp_path / "taken").touch()
    assert CliRunner().invoke(app, ["learn", "--out", str(tmp_path / "taken")]).exit_code == 2


def test_baselines_find_what_is_there() -> None:
    x, classes = sounds.notes(100, 5)
    assert (baselines.by_autocorrelation(x) == classes).mean() > 0.9
    x, classes = sounds.bars(200, 5)
    assert (baselines.by_flux(x) == classes).mean() > 0.6


def test_recordings_are_read(tmp_path: Path) -> None:
    import soundfile

    lines, rng = ["file,start,end,hertz"], np.random.default_rng(0)
    for i, note in enumerate((10, 20, 30)):
        sound = sounds.tone(float(sounds.hertz(sounds.LOWEST + note)), 5 * sounds.RATE, rng)
        soundfile.write(tmp_path / f"{i}.wav", 0.1 * sound, sounds.RATE)
        lines.append(f"{i}.wav,0,5,{float(sounds.hertz(sounds.LOWEST + note))}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    x, classes = sounds.recordings(tmp_path)
    assert x.shape == (len(classes), 1, sounds.LENGTH) and set(classes) == {10, 20, 30}
    (tmp_path / "labels.csv").write_text("\n".join(["0.wav,9,10,100", *lines[1:]]), encoding="utf-8-sig")  # behind the end: no example
    np.testing.assert_array_equal(sounds.recordings(tmp_path)[0], x)
    for rest in ("zero,5,100", "0", "0,5,0", "0,5,nan", "0,5,inf", "0,inf,9", "-1,5,9", "5,1,9"):
        (tmp_path / "labels.csv").write_text(f"0.wav,{rest}")
        with pytest.raises(ValueError, match="line 1"):
            sounds.recordings(tmp_path)
    for content in ("ä".encode("latin-1"), b"a" * 200_000):
        (tmp_path / "labels.csv").write_bytes(content)
        with pytest.raises(ValueError, match="no table of UTF-8 text"):
            sounds.recordings(tmp_path)

"""The training example: it learns, its filters are tuned, its page and files are whole."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from benchmarks.__main__ import app  # noqa: E402
from benchmarks.learning import baselines, filters, labelled, sounds, training  # noqa: E402
from benchmarks.report import own_files  # noqa: E402


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
        assert own_files.MARK in page[: own_files.BEGINNING]
        assert page.count("<svg") >= 2 and "src=" not in page and "http" not in page.replace("http://www.w3.org", "")
    found = json.loads((tmp_path / "pitch" / "filters.json").read_text())
    assert found["comment"] == own_files.MARK
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

    lines, seconds = ["file,start,end,hertz"], np.arange(5 * sounds.RATE) / sounds.RATE
    for i, note in enumerate((10, 20, 30)):
        sound = np.sin(2 * np.pi * float(sounds.hertz(sounds.LOWEST + note)) * seconds)
        soundfile.write(tmp_path / f"{i}.wav", 0.1 * sound, sounds.RATE)
        lines.append(f"{i}.wav,0,5,{float(sounds.hertz(sounds.LOWEST + note))}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    x, classes, _, left_out = labelled.recordings(tmp_path)
    assert x.shape == (len(classes), 1, sounds.LENGTH) and set(classes) == {10, 20, 30} and not left_out
    (tmp_path / "labels.csv").write_text("\n".join(["0.wav,9,10,100", *lines[1:]]), encoding="utf-8-sig")  # behind the end: no example
    np.testing.assert_array_equal(labelled.recordings(tmp_path).x, x)
    assert labelled.recordings(tmp_path).left_out == {"behind the recording's end": 1}
    for rest in ("zero,5,100", "0", "0,5,0", "0,5,nan", "0,5,inf", "0,inf,9", "-1,5,9", "5,1,9"):
        (tmp_path / "labels.csv").write_text(f"0.wav,{rest}")
        with pytest.raises(ValueError, match="line 1"):
            labelled.recordings(tmp_path)
    for content in ("ä".encode("latin-1"), b"a" * 200_000):
        (tmp_path / "labels.csv").write_bytes(content)
        with pytest.raises(ValueError, match="no table of UTF-8 text"):
            labelled.recordings(tmp_path)


def test_held_out_examples_share_no_samples_with_those_learnt_from() -> None:
    """Of every pitch that has three: neighbours of one note overlap by half, and notes may overlap each other."""
    half, far = sounds.LENGTH // 2, labelled.FAR
    starts = np.array([0, half, 2 * half, 3 * half, far, 9 * half, far + 2 * half - 1, far + 2 * half, 20 * half, 21 * half, 22 * half])
    classes = np.array([5, 5, 5, 5, 5, 6, 6, 8, 7, 7, 7])
    given = labelled.Labelled(np.arange(11, dtype=np.float32)[:, None, None], classes, starts, Counter())
    (learnt, known), (held, truth) = given.parts()
    assert held.ravel().tolist() == [4, 10] and truth.tolist() == [5, 7]
    assert learnt.ravel().tolist() == [0, 1, 2, 3, 5, 7, 8] and known.tolist() == [5, 5, 5, 5, 6, 8, 7] and given.shared() == 2


def test_what_is_labelled_twice_is_not_learnt_where_it_is_held_out(tmp_path: Path) -> None:
    import soundfile

    noise = np.random.default_rng(0).standard_normal(10 * sounds.RATE)
    soundfile.write(tmp_path / "a.wav", 0.1 * noise, sounds.RATE)
    rows = [f"{name},{at},{at + 1},{hertz}" for hertz, name in ((440, "a.wav"), (220, "./a.wav")) for at in range(10)]  # a chord
    again = [f"a.wav,{at + 0.1},{at + 1},440" for at in range(9)]
    (tmp_path / "labels.csv").write_text("\n".join(rows + again))
    given = labelled.recordings(tmp_path)
    (learnt, _), (held, _) = given.parts()
    assert len(learnt) > len(held) > 0 and len(learnt) + len(held) + given.shared() == len(given.x)
    pieces = np.lib.stride_tricks.sliding_window_view(noise, 64)
    norm = (pieces**2).sum(1) ** 0.5

    def begins(examples: labelled.Floats) -> labelled.Ints:
        """Where in the recording each is, by what it begins with."""
        return np.array([(pieces @ each[0, :64] / norm).argmax() for each in examples])

    assert np.abs(begins(learnt)[:, None] - begins(held)).min() >= sounds.LENGTH
    (tmp_path / "labels.csv").write_text("\n".join(["a.wav,0,1,440"] * 40))
    with pytest.raises(ValueError, match="every example shares samples"):
        labelled.recordings(tmp_path)


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    """Said before anything is measured, by every verb that writes a page."""
    verbs = {
        "index.html": [["learn", "--steps", "20"], ["tutorial"]], "filters.json": [["learn", "--steps", "20"]], "live.json": [["live"]],
        "README.md": [["cluster"], ["--preset", "models"]],
    }  # fmt: skip
    for name, commands in verbs.items():
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        for command in commands:
            result = CliRunner().invoke(app, [*(["run"] if command[0].startswith("-") else []), *command, "--out", str(folder)])
            assert result.exit_code == 2 and "was not written by the suite" in result.output, (command, result.output)
        assert (folder / name).read_text() == "mine"

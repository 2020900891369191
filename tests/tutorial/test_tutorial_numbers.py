"""What the page embeds, against float64 definitions written here; its code; the filters' file."""

from __future__ import annotations

import json
from pathlib import Path

import lesson_page
import numpy as np
import pytest
from scipy import signal

from benchmarks.inputs.clip import Clip
from benchmarks.tutorial import frontend, learned, pack, snippets, sound
from benchmarks.tutorial.numbers import capture, kinds, maps, raw, shift
from benchmarks.workloads import catalogue


def test_flip_is_numpys_convolution_and_correlation() -> None:
    for preset in lesson_page.data()["flip"]["presets"]:
        f, g = (pack.unpack(preset[name]).astype(np.float64) for name in "fg")
        np.testing.assert_allclose(pack.unpack(preset["convolution"]), np.convolve(f, g), atol=2e-6)
        np.testing.assert_allclose(pack.unpack(preset["correlation"]), np.correlate(f, g, "full"), atol=2e-6)


def test_stft_is_scipys_and_numpys() -> None:
    transform = lesson_page.data()["raw"]["stft"]
    assert transform["scipy"] < 1e-12 and transform["numpy"] < 1e-12


def test_example_by_hand() -> None:
    example = lesson_page.data()["maps"]["example"]
    for channel, kernel, alone in zip(example["channels"], example["kernels"], example["alone"]):
        np.testing.assert_allclose(alone, signal.correlate2d(channel, kernel, "valid"), atol=1e-12)
    np.testing.assert_allclose(example["summed"], np.sum(example["alone"], axis=0), atol=1e-12)
    np.testing.assert_allclose(example["out"], np.array(example["summed"]) + example["bias"], atol=1e-12)


def test_maps_are_what_they_say() -> None:
    loud, change, percussive = frontend.channels(sound.synthesise().samples)
    assert loud.shape == (frontend.BANDS, sound.FRAMES) and loud.min() == 0 and loud.max() == 1
    np.testing.assert_allclose(change[:, 1:], loud[:, 1:] - loud[:, :-1])
    snare, chord = int(0.52 * sound.RATE / sound.HOP), int(0.8 * sound.RATE / sound.HOP)
    assert percussive[40:, snare : snare + 3].mean() > 0.5 and percussive[40:, chord].mean() < 0.2


def test_kernels_fire_where_they_should() -> None:
    """The vertical edge on a drum hit, the comb at 440 Hz in the vibrato and not in the chord's gap."""
    maps_ = frontend.channels(sound.synthesise().samples)
    by_name = {each["name"]: maps.same(maps_[:1], each["weight"][None, None])[0] for each in maps.single()}
    onset = by_name["vertical edge"].clip(0).sum(0)
    hits = [int((at + 0.02) * sound.RATE / sound.HOP) for at in (0.5, 2.5, 3.5)]
    for hit in hits:
        assert onset[hit - 2 : hit + 3].max() > 4 * np.median(onset)
    comb = by_name["harmonic comb"]
    vibrato = int(1.5 * sound.RATE / sound.HOP)
    row = (comb.shape[0] - maps.comb().shape[0]) // 2
    assert comb[:, vibrato].max() > 2 * comb[:, int(0.985 * sound.RATE / sound.HOP)].max() and row >= 0


def test_costs_are_counted() -> None:
    plain, *_ = kinds.kinds(16, 3)
    assert kinds.cost(plain.steps[0]) == (64 * 128 * 16 * 16 * 9, 16 * 16 * 9)
    rows = {row["key"]: row for row in kinds.numbers(measure=False)["rows"] if (row["c"], row["k"]) == (16, 3)}
    assert rows["depthwise"]["parameters"] == 16 * 9 + 16 * 16 and rows["grouped"]["macs"] * 4 == rows["plain"]["macs"]


@pytest.mark.parametrize("preset", capture.presets(), ids=lambda preset: preset["name"])
def test_presets_chain_and_fields_are_the_definition(preset: dict) -> None:
    size, step = np.ones(2), np.ones(2)
    for layer, field in zip(preset["stack"], preset["fields"]):
        kernel, stride, dilation = (np.array(layer[name]) for name in ("kernel", "stride", "dilation"))
        if layer["what"] == "transposed":
            step = step / stride
        size = size + (kernel - 1) * dilation * step
        step = step if layer["what"] == "transposed" else step * stride
        np.testing.assert_allclose(field["size"], size)
        np.testing.assert_allclose(field["stride"], step)


def test_every_model_of_the_catalogue_is_a_preset() -> None:
    assert {preset["name"] for preset in capture.presets()} == {layer.model for layer in catalogue()}


def test_effective_field_is_a_gradient() -> None:
    """The share of each input in one output of a stack of means, by finite differences."""
    stack = [layer for layer in capture.own_stack() if layer["what"] == "conv" or layer["stride"] != [1, 1]]
    profile = capture.effective(stack, 1)
    size = int(capture.fields(stack)[-1]["size"][1])
    assert profile.shape == (size,) and profile.sum() == pytest.approx(1)

    def output(x: np.ndarray) -> float:
        for layer in stack:
            k, s = layer["kernel"][1], layer["stride"][1]
            x = np.array([x[i : i + k].mean() for i in range(0, x.size - k + 1, s)])
        return float(x[0])

    gradient = [output(unit) for unit in np.eye(size)]
    np.testing.assert_allclose(profile, gradient, atol=1e-12)


def test_shift_is_exact_where_it_should_be() -> None:
    checks = lesson_page.data()["shift"]["checks"]
    for check in checks:
        divides = check["later"] % (check["stride"] * check["pool"]) == 0
        if check["semitones"] == 0 and divides and (not check["padded"] or check["later"] == 0):
            assert check["difference"] == 0, check
        if check["later"] == 3 and check["stride"] > 1:
            assert check["difference"] > 0.1, check
    plain = [check for check in checks if check["semitones"] == 1 and check["later"] == 0 and check["stride"] == check["pool"] == 1]
    assert all(0 < check["difference"] < 0.35 for check in plain)


def test_transposed_clips_are_shifted_pictures() -> None:
    scene = sound.synthesise()
    before, after = (frontend.constant_q(sound.transposed(scene, semitones)) for semitones in (0, 2))
    assert np.linalg.norm(after[2:] - before[:-2]) < 0.2 * np.linalg.norm(before) < 0.5 * np.linalg.norm(after - before)
    recorded = sound.of_clip(Clip("a recording", sound.RATE, np.stack([scene.tonal] * 2).astype(np.float32)))
    vocoder = frontend.constant_q(sound.transposed(recorded, 2))
    assert np.linalg.norm(vocoder[2:] - before[:-2]) < 0.6 * np.linalg.norm(vocoder - before)


def test_a_clip_of_any_length_is_heard() -> None:
    rng = np.random.default_rng(0)
    for samples in (4000, 300_000):
        scene = sound.of_clip(Clip("noise", 22050, rng.standard_normal((2, samples)).astype(np.float32)))
        assert scene.samples.shape == (sound.LENGTH,) and np.isfinite(scene.samples).all()
        assert np.isfinite(shift.numbers(scene)["checks"][-1]["difference"])


def test_gabor_kernels_answer_to_their_notes() -> None:
    bank = raw.unit(raw.gabor(8000, 256))
    for index in (10, 20, 30):
        answers = raw.response(bank, sound.hertz(raw.GABOR_NOTES[index]), 8000)
        assert abs(int(answers.argmax()) - index) <= 1


@pytest.mark.parametrize("name", snippets.SNIPPETS)
def test_code_runs_as_pasted(name: str) -> None:
    text = snippets.SNIPPETS[name].strip()
    assert snippets.output(text) and max(map(len, text.splitlines())) <= 68 and len(text.splitlines()) == 5


def test_filters_file_is_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    found = learned.find(lesson_page.filters_file(tmp_path))
    assert found is not None and found.filters.shape == (4, 64) and found.rate == 8000 and found.before is None
    path = tmp_path / "bad.json"
    for content in ({"filters": [[1.0] * 8]}, {"rate": 8000, "filters": [[1.0], [1.0, 2.0]]}, {"rate": 8000, "filters": [[1.0, 2.0]]}):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="filters"):
            learned.read(path)


def test_training_finds_frequencies() -> None:
    pytest.importorskip("torch")
    found = learned.train(steps=60, seed=1)
    assert found.before is not None and found.filters.shape == found.before.shape
    spectra = [np.abs(np.fft.rfft(bank, 1024)) ** 2 for bank in (found.before, found.filters)]
    low = [float(spectrum[:, 10:100].sum() / spectrum.sum()) for spectrum in spectra]  # 80 to 780 Hz
    assert low[1] > 1.5 * low[0]

"""The clip, WAV files in every format, and the front ends: deterministic, and shaped like music rather than noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from benchmarks import workloads
from benchmarks.inputs import frontends
from benchmarks.inputs.audio_file import read_audio
from benchmarks.inputs.clip import Clip
from benchmarks.inputs.synthesiser import synthesise
from benchmarks.inputs.tensors import ALIGNMENT, tensors


@pytest.fixture(scope="module")
def clip() -> Clip:
    return synthesise()


def sine(frequency: float, rate: int, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def test_the_clip_is_the_same_every_time(clip: Clip) -> None:
    again = synthesise.__wrapped__()
    np.testing.assert_array_equal(again.samples, clip.samples)
    assert clip.samples.shape == (2, 30 * 44100)
    assert 0.85 < np.abs(clip.samples).max() <= 0.91


def test_the_clip_is_music_not_a_tone_nor_noise(clip: Clip) -> None:
    power = frontends.stft_power(clip.mono(44100), 4096, 1024)
    mean = power.mean(axis=1)
    # Flatness: 1 for white noise, near 0 for a single tone; polyphony with drums lies between.
    flatness = np.exp(np.log(mean + 1e-20).mean()) / mean.mean()
    assert 1e-5 < flatness < 0.2
    peaks = (mean[1:-1] > mean[:-2]) & (mean[1:-1] > mean[2:]) & (mean[1:-1] > 1e-4 * mean.max())
    assert peaks.sum() > 30, "many partials"
    energy = power.sum(axis=0)
    assert np.percentile(energy, 95) > 10 * np.percentile(energy, 2), "notes decay and there are rests (noise: 1.1)"
    left, right = clip.samples
    assert 0.3 < np.corrcoef(left, right)[0, 1] < 0.999, "stereo, yet one piece"


def test_an_a_sounds_where_it_should(clip: Clip) -> None:
    """The bass of the first bar is A1 (55 Hz; its octave below is struck), so harmonics of 55 Hz tower over what is between them."""
    beat = 60 / 112
    spectrum = np.abs(np.fft.rfft(clip.mono(44100)[: int(4 * beat * 44100)] * np.hanning(int(4 * beat * 44100))))
    bins = np.fft.rfftfreq(int(4 * beat * 44100), 1 / 44100)
    at = spectrum[np.abs(bins - 110) < 1.0].max()
    between = np.median(spectrum[(bins > 85) & (bins < 105)])
    assert at > 5 * between


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", ["uint8", "int16", "int24", "int32", "float32", "float64"])
def test_wav_of_every_format(tmp_path: Path, kind: str, channels: int) -> None:
    rate = 22050
    wanted = np.stack([sine(440, rate), sine(660, rate, level=0.25)][:channels], axis=1)
    path = tmp_path / f"{kind}.wav"
    if kind == "int24":
        write_24_bit(path, rate, wanted)
    else:
        scale = {"uint8": 127.0, "int16": 2.0**15 - 1, "int32": 2.0**31 - 1}.get(kind, 1.0)
        data = wanted * scale + (128 if kind == "uint8" else 0)
        wavfile.write(path, rate, (np.round(data) if scale > 1 else data).astype(kind).squeeze())
    clip = read_audio(path)
    assert clip.rate == rate and clip.name == path.name
    assert clip.samples.shape == (2, rate)
    np.testing.assert_allclose(clip.samples[0], wanted[:, 0], atol=0.01 if kind == "uint8" else 1e-4)
    np.testing.assert_allclose(clip.samples[1], wanted[:, -1], atol=0.01 if kind == "uint8" else 1e-4)


def write_24_bit(path: Path, rate: int, samples: np.ndarray) -> None:
    """A WAV file byte by byte: nothing in SciPy writes three-byte samples."""
    numbers = np.round(samples * (2**23 - 1)).astype("<i4")
    body = b"".join(int(each).to_bytes(3, "little", signed=True) for each in numbers.ravel())
    channels = samples.shape[1]
    head = b"fmt " + (16).to_bytes(4, "little") + (1).to_bytes(2, "little") + channels.to_bytes(2, "little")
    head += rate.to_bytes(4, "little") + (rate * channels * 3).to_bytes(4, "little") + (channels * 3).to_bytes(2, "little")
    head += (24).to_bytes(2, "little") + b"data" + len(body).to_bytes(4, "little")
    path.write_bytes(b"RIFF" + (len(head) + len(body) + 4).to_bytes(4, "little") + b"WAVE" + head + body)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampling_keeps_the_pitch(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "tone.wav"
    wavfile.write(path, rate, (sine(1000, rate) * 32767).astype(np.int16))
    found = read_audio(path).mono(16000)
    assert abs(found.size - 16000) <= 2
    assert abs(int(np.argmax(np.abs(np.fft.rfft(found, 16000)))) - 1000) <= 1
    assert abs(np.abs(found[2000:-2000]).max() - 0.5) < 0.02


def test_what_is_no_usable_wav_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        read_audio(tmp_path / "missing.wav")
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(ValueError, match="cannot be read as audio"):
        read_audio(tmp_path / "text.wav")
    wavfile.write(tmp_path / "silent.wav", 8000, np.zeros(8000, np.int16))
    with pytest.raises(ValueError, match="silent"):
        read_audio(tmp_path / "silent.wav")
    wavfile.write(tmp_path / "short.wav", 8000, np.ones(10, np.int16))
    with pytest.raises(ValueError, match="at least a tenth"):
        read_audio(tmp_path / "short.wav")
    wavfile.write(tmp_path / "slow.wav", 1, np.ones(8000, np.int16))  # resampled for a model, hours of it
    with pytest.raises(ValueError, match="has 1 samples a second"):
        read_audio(tmp_path / "slow.wav")
    (tmp_path / "headless.raw").write_bytes(bytes(1000))  # libsndfile's wrapper asks for a rate by a TypeError
    with pytest.raises(ValueError, match="cannot be read as audio"):
        read_audio(tmp_path / "headless.raw")


def test_a_tone_lands_in_its_mel_band_and_constant_q_bin() -> None:
    clip = Clip("tone", 16000, np.stack([sine(1000, 16000)] * 2).astype(np.float32))
    mel = frontends.log_mel(clip, 16000, 512, 256, 64)
    edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 66)
    wanted = int(np.argmin(np.abs(edges[1:-1] - 2595 * np.log10(1 + 1000 / 700))))
    assert abs(int(mel.mean(axis=1).argmax()) - wanted) <= 1
    high = Clip("tone", 22050, np.stack([sine(1046.5, 22050)] * 2).astype(np.float32))  # C6: five octaves above FMIN
    stack = frontends.harmonic_cqt(high, 22050, 8192, 256, 264, 36, (1.0, 2.0))
    assert abs(int(stack[0].mean(axis=1).argmax()) - 180) <= 1
    assert abs(int(stack[1].mean(axis=1).argmax()) - 144) <= 1, "an octave lower where filters begin an octave higher"


def test_first_layers_hear_the_clip(clip: Clip) -> None:
    first = [each for each in workloads.catalogue() if each.input]
    assert len(first) == 63
    different = {(dict(each.input or ())["kind"], each.axes, each.c_in): each for each in first}
    assert len(different) >= 9
    for workload in different.values():
        given = tensors(workload, clip)
        assert given.x.shape == workload.x_shape and given.x.dtype == np.float32
        assert np.isfinite(given.x).all() and given.x.std() > 1e-4, workload.id
        assert not np.any((given.x != 0) & (np.abs(given.x) < np.finfo(np.float32).tiny)), f"{workload.id}: denormals"


def test_axes_follow_the_model(clip: Clip) -> None:
    """The same frames, time first for one model and frequency first for another."""
    musicnn, sota = (tensors(workloads.by_id(name), clip).x[0, 0] for name in ("musicnn.timbral67", "sota.musicnn.v67"))
    np.testing.assert_array_equal(musicnn, sota[:, :187].T)


def test_batch_items_are_consecutive_stretches(clip: Clip) -> None:
    workload = workloads.by_id("vggish.conv1")
    x = tensors(workload.batched(3), clip).x
    np.testing.assert_array_equal(x[0], tensors(workload, clip).x[0])
    assert not np.array_equal(x[0], x[1]) and not np.array_equal(x[1], x[2])


def test_inner_layers_are_seeded_normals_and_arrays_are_guarded(clip: Clip) -> None:
    workload = workloads.by_id("yamnet.pw8")
    one, two = tensors(workload, clip), tensors(workload, clip)
    np.testing.assert_array_equal(one.x, two.x)
    assert one.weight is not None and two.weight is not None
    np.testing.assert_array_equal(one.weight, two.weight)
    assert abs(one.x.mean()) < 0.05 and abs(one.x.std() - 1) < 0.05
    assert one.x.ctypes.data % ALIGNMENT == 0
    with pytest.raises(ValueError, match="read-only"):
        one.x[...] = 0


def chunk(name: bytes, body: bytes, pad: bool = True) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + (b"\0" if pad and len(body) % 2 else b"")


def fmt(kind: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16) -> bytes:
    frame = channels * bits // 8
    fields = ((kind, 2), (channels, 2), (rate, 4), (rate * frame, 4), (frame, 2), (bits, 2))
    return chunk(b"fmt ", b"".join(number.to_bytes(width, "little") for number, width in fields))


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + (len(body) if size is None else size).to_bytes(4, "little") + body


TONE = (sine(440, 8000) * 20000).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("fault", "content"),
    [
        ("no data chunk", riff(fmt())), ("ends inside its format chunk", riff(fmt())[:22]),
        ("0 channels", riff(fmt(channels=0), chunk(b"data", TONE))), ("0 bits a sample", riff(fmt(bits=0), chunk(b"data", TONE))),
        ("0 samples a second", riff(fmt(rate=0), chunk(b"data", TONE))), ("no format chunk", riff(chunk(b"data", TONE))),
        ("cannot be read as audio", b""), ("cannot be read as audio", b"not audio at all"),
        ("up to 1e\\+300", riff(fmt(3, bits=64), chunk(b"data", np.full(8000, 1e300).tobytes()))),
        ("as good as silent", riff(fmt(3, bits=64), chunk(b"data", np.full(8000, 1e-320).tobytes()))),
        ("NaN or infinite", riff(fmt(3, bits=32), chunk(b"data", np.full(8000, np.nan, np.float32).tobytes()))),
    ],
)  # fmt: skip
def test_broken_recordings_are_one_sentence_that_names_file_and_fault(tmp_path: Path, fault: str, content: bytes) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"--audio: .*odd\.wav.*{fault}") as refusal:
        read_audio(path)
    assert "\n" not in str(refusal.value)


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        read_audio(tmp_path)


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("lost", [1, 3])
def test_a_recording_cut_in_mid_sample_is_read_to_its_last_whole_frame(tmp_path: Path, bits: int, channels: int, lost: int) -> None:
    path = tmp_path / "cut.wav"
    samples = np.stack([sine(440, 8000)] * channels, axis=1)
    if bits == 24:
        write_24_bit(path, 8000, samples)
    else:
        wavfile.write(path, 8000, (samples * 32767).astype(np.int16))
    path.write_bytes(path.read_bytes()[:-lost])
    clip = read_audio(path)
    assert 7998 <= clip.samples.shape[1] < 8000
    np.testing.assert_allclose(clip.samples[0][:7990], samples[:7990, 0], atol=1e-3)


@pytest.mark.parametrize("content", [
    riff(fmt(), b"data" + bytes(4) + TONE, size=0), riff(fmt(), b"data" + b"\xff" * 4 + TONE, size=2**32 - 1),
    riff(chunk(b"junk", b"odd", pad=False), fmt(), chunk(b"data", TONE)), riff(chunk(b"junk", b"odd"), fmt(), chunk(b"data", TONE)),
])  # fmt: skip
def test_unfinished_recordings_and_odd_chunks_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    assert read_audio(tmp_path / "x.wav").samples.shape == (2, 8000)


@pytest.mark.parametrize(("channels", "said"), [
    ([1, -1], "opposite phase"), ([0, 0, 1], "behind its first two channels"), ([0, 0], "silent throughout"),
    ([1e-12, 1e-12], "as good as silent"),
])  # fmt: skip
def test_what_models_would_hear_as_silence_is_refused(tmp_path: Path, channels: list[float], said: str) -> None:
    tone = sine(440, 8000)
    wavfile.write(tmp_path / "x.wav", 8000, np.stack([tone * each for each in channels], axis=1))
    with pytest.raises(ValueError, match=said):
        read_audio(tmp_path / "x.wav")
    wavfile.write(tmp_path / "y.wav", 8000, np.stack([tone, tone * 0], axis=1))
    assert read_audio(tmp_path / "y.wav").mono(8000).any(), "one silent channel of two is music"


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "AIFF", "MP3"])
def test_other_formats(tmp_path: Path, kind: str) -> None:
    import soundfile

    if kind not in soundfile.available_formats():
        pytest.skip(f"this libsndfile has no {kind}")
    path, wanted = tmp_path / f"x.{kind.lower()}", np.stack([sine(440, 44100), sine(660, 44100)], axis=1)
    soundfile.write(path, wanted, 44100, format=kind)
    clip = read_audio(path)
    assert clip.rate == 44100 and abs(clip.samples.shape[1] - 44100) < 4000
    spectrum = np.abs(np.fft.rfft(clip.samples[0][4000:40000] * np.hanning(36000)))
    assert abs(int(np.argmax(spectrum)) * 44100 / 36000 - 440) < 3

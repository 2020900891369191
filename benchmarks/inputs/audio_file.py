"""A listener's own recording as a clip: WAV, FLAC, OGG, AIFF or MP3, read by libsndfile; what no model could hear is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.inputs.clip import Clip

LOWEST_RATE = 1000  # Hz: below, a recording holds no music, and resampling it for a model makes it as long as memory
LOUDEST, QUIETEST = 1e9, 1e-9  # peaks: integers that nobody scaled are under 2**31; -180 dB is below the noise of every recording
CANCELLED = 1e-4  # what is left of channels of opposite phase, as a share of either: -80 dB
CONVERT = "`sox` or `ffmpeg` converts it"


def read_audio(path: Path | str) -> Clip:
    """A recording of any rate; mono, stereo, or the first two of more channels. ValueError names the file and what is wrong with it."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"--audio: there is no file {path}")
    if path.is_dir():
        raise ValueError(f"--audio: {path} is a folder; name a file in it")
    if not path.is_file():
        raise ValueError(f"--audio: {path} is a pipe or a device; name a file, for it is read more than once")
    samples, rate = _decoded(path)
    if rate < 1 or samples.shape[1] < 1:
        raise ValueError(f"--audio: {path} says that it has {samples.shape[1]} channels at {rate} Hz; {CONVERT}")
    if rate < LOWEST_RATE:
        raise ValueError(f"--audio: {path} has {rate} samples a second; at least {LOWEST_RATE} are needed to hear anything")
    if len(samples) < rate // 10 or not len(samples):
        raise ValueError(f"--audio: {path} has {len(samples)} samples; at least a tenth of a second ({rate // 10} at {rate} Hz) is needed")
    stereo = np.ascontiguousarray(samples[:, [0, min(1, samples.shape[1] - 1)]].T)
    _heard(path, samples, stereo)
    return Clip(path.name, int(rate), stereo.astype(np.float32))


def _decoded(path: Path) -> tuple[npt.NDArray[np.float64], int]:
    """Samples (length, channels) in -1 … 1, and the rate. Frames that the file's end cuts are left out."""
    import soundfile

    content = path.read_bytes()
    broken, mended, fault = _fault(content), _mended(content), ""
    for source in (str(path), *([io.BytesIO(mended)] if mended else [])):
        try:
            samples, rate = soundfile.read(source, dtype="float64", always_2d=True)
        except (RuntimeError, OSError, ValueError, TypeError, MemoryError) as error:  # TypeError: .raw files do not say what they are
            fault = fault or str(error).rpartition(": ")[2].strip().rstrip(".") or type(error).__name__
            continue
        if len(samples):
            return samples, int(rate)
    if broken:
        raise ValueError(f"--audio: {path} is a broken recording: {broken}; record or export it anew")
    raise ValueError(f"--audio: {path} cannot be read as audio ({fault or 'it holds no samples'}); {CONVERT}")


def _fault(content: bytes) -> str:
    """What a WAV file's header says that no recording can be; "" for other files and where nothing is wrong with it."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return ""
    place = content.find(b"fmt ", 12)
    if place < 0:
        return "it has no format chunk"
    if len(content) < place + 24:
        return "it ends inside its format chunk"
    numbers = {name: int.from_bytes(content[place + at : place + at + size], "little")
               for name, at, size in (("channels", 10, 2), ("samples a second", 12, 4), ("bits a sample", 22, 2))}  # fmt: skip
    for name, value in numbers.items():
        if value == 0 and (name != "bits a sample" or content[place + 8] in (1, 3)):  # compressed kinds have no bits a sample
            return f"its header says 0 {name}"
    return "" if content.find(b"data", place + 24) >= 0 else "it has no data chunk"


def _mended(content: bytes) -> bytes | None:
    """A WAV file of its format and samples alone, with right sizes: of a recording that was never finished, or with chunks that lack the
    byte that pads odd lengths. None for what is no WAV file or has no samples."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    kept, at = {}, 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"data":
            left = len(content) - at - 8
            kept[name] = content[at + 8 :][: size if 0 < size <= left else left]
            break
        kept.setdefault(name, content[at + 8 : at + 8 + size])
        at += 8 + size
        if size % 2 and content[at : at + 4] not in (b"data", b"fmt "):
            at += 1
    if not {b"fmt ", b"data"} <= set(kept):
        return None
    body = b"WAVE" + b"".join(name + len(kept[name]).to_bytes(4, "little") + kept[name] for name in (b"fmt ", b"data"))
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _heard(path: Path, samples: npt.NDArray[np.float64], stereo: npt.NDArray[np.float64]) -> None:
    """ValueError for what models would hear as silence or as no numbers: what counts is what reaches them, in float32."""
    if not np.isfinite(samples).all():
        raise ValueError(f"--audio: {path} holds NaN or infinite samples")
    peak, heard, mono = np.abs(samples).max(), np.abs(stereo).max(), np.abs(stereo.mean(axis=0)).max()
    if peak > LOUDEST:
        raise ValueError(f"--audio: {path} has samples of up to {peak:.2g}, which is no sound: float files hold -1 to 1")
    if peak == 0:
        raise ValueError(f"--audio: {path} is silent throughout; times on zeros would not be those of music")
    if peak < QUIETEST:
        raise ValueError(f"--audio: {path} is as good as silent: its loudest sample is {peak:.2g}; make it louder")
    if heard < QUIETEST:
        raise ValueError(f"--audio: {path} has sound only behind its first two channels, which are silent; mix it down to two")
    if mono < CANCELLED * heard:
        raise ValueError(f"--audio: {path} has channels of opposite phase: models hear their mean, which is silence; turn one round")

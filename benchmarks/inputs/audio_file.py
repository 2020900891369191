"""A listener's own recording as a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import wavfile

from benchmarks.inputs.clip import Clip


def read_wav(path: Path | str) -> Clip:
    """A WAV file of any rate, mono or stereo (more channels: the first two), 8/16/24/32-bit integers or floats."""
    path = Path(path)
    try:
        rate, data = wavfile.read(path)
    except FileNotFoundError:
        raise ValueError(f"--audio: there is no file {path}") from None
    except ValueError as error:
        raise ValueError(f"--audio: {path} cannot be read as WAV ({error}); `sox in.mp3 out.wav` or ffmpeg converts it") from None
    if data.shape[0] < rate // 10:
        raise ValueError(f"--audio: {path} has {data.shape[0]} samples; at least a tenth of a second ({rate // 10} at {rate} Hz) is needed")
    if data.dtype == np.uint8:  # the only unsigned WAV format, silence at 128
        samples = (data.astype(np.float64) - 128) / 128
    elif data.dtype.kind == "i":  # 24-bit files arrive in the upper three bytes of an int32, so full scale is 2**31 for both
        samples = data.astype(np.float64) / -float(np.iinfo(data.dtype).min)
    else:
        samples = data.astype(np.float64)
    if not np.isfinite(samples).all():
        raise ValueError(f"--audio: {path} holds NaN or infinite samples")
    if not samples.any():
        raise ValueError(f"--audio: {path} is silent throughout; times on zeros would not be those of music")
    channels = samples.reshape(samples.shape[0], -1).T
    stereo = np.stack([channels[0], channels[min(1, channels.shape[0] - 1)]])
    return Clip(path.name, int(rate), np.ascontiguousarray(stereo, dtype=np.float32))

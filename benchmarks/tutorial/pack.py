"""Arrays and sounds as JSON: what the page's script reads again with `unpack` (script/00-maths.js)."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

Packed = dict[str, Any]


def array(values: npt.ArrayLike) -> Packed:
    """Numbers as little-endian float32 in base64, with their shape."""
    found = np.ascontiguousarray(values, dtype="<f4")
    return {"shape": list(found.shape), "f32": base64.b64encode(found.tobytes()).decode("ascii")}


def sound(samples: npt.ArrayLike, rate: int) -> Packed:
    """A mono sound as 16-bit integers in base64; peaks above full scale are turned down, quiet sounds stay quiet."""
    found = np.asarray(samples, dtype=np.float64)
    found = found / max(1.0, float(np.abs(found).max(initial=0.0)))
    return {"rate": rate, "i16": base64.b64encode(np.round(found * 32767).astype("<i2").tobytes()).decode("ascii")}


def unpack(packed: Packed) -> npt.NDArray[np.float32]:
    """The array that `array` packed; tests read the page's data with it."""
    return np.frombuffer(base64.b64decode(packed["f32"]), dtype="<f4").reshape(packed["shape"])

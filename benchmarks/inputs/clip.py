"""A clip of music, as what makes inputs of it sees it: two channels of samples at a rate, resampled on demand and remembered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from scipy.signal import resample_poly

from benchmarks.workloads.layer import Floats

RATE = 44100


@dataclass(frozen=True, eq=False)
class Clip:
    """Audio: samples (2, length) in -1 … 1 at `rate`, and the name that reports show."""

    name: str
    rate: int
    samples: Floats
    _resampled: dict[int, Floats] = field(default_factory=dict, repr=False)

    @cached_property
    def digest(self) -> str:
        """What the clip holds, whatever it is called."""
        return hashlib.sha256(np.ascontiguousarray(self.samples).tobytes() + str(self.rate).encode()).hexdigest()

    def at(self, rate: int) -> Floats:
        """Both channels at another sample rate, remembered."""
        if rate == self.rate:
            return self.samples
        if rate not in self._resampled:
            ratio = Fraction(rate, self.rate)
            resampled = resample_poly(self.samples.astype(np.float64), ratio.numerator, ratio.denominator, axis=1)
            self._resampled[rate] = resampled.astype(np.float32)
        return self._resampled[rate]

    def mono(self, rate: int) -> Floats:
        return np.asarray(self.at(rate).mean(axis=0), dtype=np.float32)

"""Segments of a signal that are fixed by name, wherever it is cut: a variant of `fft` for signals that come in blocks.

A transform mixes all outputs of its segment, so that their rounding depends on where the segment begins. The variant
"w columns 128, segments of 64 from -31" says it: transforms of 128 along the width, 64 outputs from each, the first of which begins 31
outputs before output 0. Every output of the whole signal, and of any part of it that begins with a segment, then has the same bits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_NAME = re.compile(r"([hw]) (columns|channels) (\d{1,5}), segments of (\d{1,5})(?: from -(\d{1,5}))?")


@dataclass(frozen=True)
class Segments:
    """axis: that is transformed. oc_lanes, length, outputs: as of `Blocking`. lead: outputs of the first segment that lie before output 0.

    >>> name = str(Segments(axis=1, oc_lanes=False, length=128, outputs=64, lead=31))
    >>> name, str(Segments.read(name)) == name
    ('w columns 128, segments of 64 from -31', True)
    """

    axis: int
    oc_lanes: bool
    length: int
    outputs: int
    lead: int = 0

    def __str__(self) -> str:
        begin = f" from -{self.lead}" if self.lead else ""
        return f"{'hw'[self.axis]} {'channels' if self.oc_lanes else 'columns'} {self.length}, segments of {self.outputs}{begin}"

    @property
    def aligned(self) -> Segments:
        """The same for a part of the signal that begins with a segment."""
        return replace(self, lead=0)

    @classmethod
    def read(cls, name: str) -> Segments | None:
        """What a variant's name says; None for other variants."""
        found = _NAME.fullmatch(name)
        if not found:
            return None
        axis, lanes, length, outputs, lead = found.groups()
        segments = cls("hw".index(axis), lanes == "channels", int(length), int(outputs), int(lead or 0))
        return segments if segments.lead < segments.outputs else None

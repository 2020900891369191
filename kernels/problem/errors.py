"""Errors, arguments that make no problem and a problem that a named implementation cannot do; a warning; and what was meant instead."""

from __future__ import annotations

import difflib
import math
import reprlib
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any


class ProblemError(ValueError):
    """The arguments make no problem; the message names the argument, the axis, the arithmetic and what would work."""


class RefusedError(ValueError):
    """The named implementation cannot do this problem; the message is the sentence it refuses with."""


class PrecisionWarning(UserWarning):
    """A float64 operand makes a call with float32 input compute in float64, at half the speed or less."""


_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = 12
_SHORT.maxstring = _SHORT.maxother = 60


def shown(value: Any) -> str:
    """What was passed, for a message of a line: long arrays and tensors by their shapes, anything else by a short repr.

    >>> import numpy as np
    >>> shown(np.ones((64, 64, 3, 3))), shown([1, (2, "same")]), shown("x" * 1000)[-5:]
    ('an array of shape (64, 64, 3, 3)', "[1, (2, 'same')]", "xxxx'")
    """
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and math.prod(shape) > _SHORT.maxlist:
        return f"an array of shape {tuple(shape)}"
    return textwrap.shorten(_SHORT.repr(value), 160, placeholder=" ...")


def meant(value: Any, known: Iterable[str], others: Mapping[str, str] | None = None) -> str:
    """What somebody may have meant who wrote `value`, for the end of a message, or "": a name in other letters, another library's word
    for it (`others`: lower case, no separators), or the nearest.

    >>> meant("LeakyReLU", ["relu", "leaky_relu"]), meant("NHWC", ["channels_last"], {"nhwc": "channels_last"}), meant(3, ["relu"])
    ('; did you mean "leaky_relu"?', '; did you mean "channels_last"?', '')
    """
    if not isinstance(value, str):
        return ""

    def plain(word: str) -> str:
        return "".join(letter for letter in word.lower() if letter.isalnum())

    words = {plain(word): word for word in known}
    found = words.get(plain(value)) or (others or {}).get(plain(value))
    near = difflib.get_close_matches(plain(value)[:64], words, 1)
    found = found or (words[near[0]] if near else None)
    return f'; did you mean "{found}"?' if found else ""

"""Examples of the user's own: a folder of recordings, and labels.csv with a line "file,start,end,hertz" for each note (seconds)."""

from __future__ import annotations

import csv
import functools
import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.inputs.audio_file import read_audio
from benchmarks.learning.sounds import LENGTH, LOWEST, NOTES, RATE, Floats, Ints

LEAST = 2 * NOTES  # examples
SILENT = 1e-6  # deviation: -120 dB
FAR = 2**40  # samples, more than any recording has


class Labelled(NamedTuple):
    """x (count, 1, LENGTH) and classes; the sample at which each example begins, recordings lying FAR apart; how many notes gave none, by
    reason."""

    x: Floats
    classes: Ints
    starts: Ints
    left_out: Counter[str]

    def parts(self) -> tuple[tuple[Floats, Ints], tuple[Floats, Ints]]:
        """(learnt from, held out): of every pitch with three examples or more the last fifth, at least one, is held out. What shares
        samples with one of them, under whatever pitch, is in neither: it would be known before."""
        one, other = self._divided()
        return (self.x[one], self.classes[one]), (self.x[other], self.classes[other])

    def shared(self) -> int:
        """How many examples are in neither part."""
        return len(self.x) - sum(map(len, self._divided()))

    def _divided(self) -> tuple[Ints, Ints]:
        """Which examples are learnt from, and which are held out."""
        of_pitch = [np.flatnonzero(self.classes == pitch) for pitch in self._pitches()]
        held = np.concatenate([own[len(own) - max(1, len(own) // 5) :] for own in of_pitch])
        taken = np.sort(self.starts[held])
        place = np.searchsorted(taken, self.starts)  # of the nearest one at or behind a start; before it stands the nearest before
        behind, before = np.append(taken, taken[-1] + FAR)[place], np.append(taken[0] - FAR, taken)[place]
        return np.flatnonzero((behind - self.starts >= LENGTH) & (self.starts - before >= LENGTH)), held

    def _pitches(self) -> Ints:
        """Those that can be told from themselves."""
        classes, counts = np.unique(self.classes, return_counts=True)
        return classes[counts >= 3]


def recordings(folder: Path) -> Labelled:
    """Each note of the table in examples of LENGTH samples, half of one apart. Raises ValueError for what cannot be read."""
    table, xs, classes, starts, left_out = folder / "labels.csv", [], [], [], Counter[str]()
    files: dict[Path, int] = {}
    if not table.is_file():
        raise ValueError(f"{table} is missing; it has a line for each note: file,start,end,hertz")
    try:
        rows = list(csv.reader(table.read_text(encoding="utf-8-sig").splitlines()))  # spreadsheets begin files with a mark
    except (UnicodeError, csv.Error) as error:
        raise ValueError(f"{table} is no table of UTF-8 text: {error}") from error

    @functools.lru_cache(1)  # notes of a recording follow each other
    def heard(name: str) -> Floats:
        return read_audio(folder / name).mono(RATE)

    for number, row in enumerate(rows, 1):
        if not any(each.strip() for each in row) or row[0].strip().lower() == "file":
            continue
        name, start, end, pitch = _note(table, number, row)
        sound, note = heard(name)[int(start * RATE) : int(end * RATE)], round(69 + 12 * math.log2(pitch / 440)) - LOWEST
        parts = {at: sound[at : at + LENGTH] for at in range(0, len(sound) - LENGTH + 1, LENGTH // 2)}
        parts = {at: part for at, part in parts.items() if part.std() > SILENT}
        if why := _why_not(len(sound), note, len(parts)):
            left_out[why] += 1
            continue
        first = FAR * files.setdefault((folder / name).resolve(), len(files)) + int(start * RATE)
        xs += [part / part.std() for part in parts.values()]
        classes += [note] * len(parts)
        starts += [first + at for at in parts]
    if len(xs) < LEAST or max(Counter(classes).values()) < 3:
        why = "".join(f"; left out: {count} notes {reason}" for reason, count in left_out.items())
        raise ValueError(f"{table}: {len(xs)} examples of {LENGTH / RATE:.2f} s; at least {LEAST} are wanted, three of a pitch{why}")
    found = Labelled(np.array(xs, np.float32)[:, None], np.array(classes), np.array(starts, np.int64), left_out)
    if not len(found._divided()[0]):
        raise ValueError(f"{table}: every example shares samples with one that is held out; label more notes that do not overlap")
    return found


def _why_not(samples: int, note: int, parts: int) -> str:
    """Why a note gives no example; "" where it gives some."""
    if not 0 <= note < NOTES:
        return "outside 65 to 988 Hz"
    if not samples:
        return "behind the recording's end"
    if samples < LENGTH:
        return f"shorter than {LENGTH / RATE:.2f} s"
    return "" if parts else "silent"


def _note(table: Path, number: int, row: list[str]) -> tuple[str, float, float, float]:
    """(file, start, end, hertz) of a line of the table; ValueError names it where it is none."""
    try:
        name, start, end, pitch = row[0].strip(), *map(float, row[1:4])
    except ValueError as error:
        raise ValueError(f"{table}, line {number}: {row} is not file,start,end,hertz") from error
    if not (0 <= start < end < math.inf and 0 < pitch < math.inf):
        raise ValueError(f"{table}, line {number}: {row} is no note: start is at least 0, end after it, hertz above 0")
    return name, start, end, pitch

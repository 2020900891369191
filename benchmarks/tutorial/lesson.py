"""The page: data, template, style and script in one HTML file."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import kernels
from benchmarks.report import own_files
from benchmarks.tutorial import drawings, snippets, sound
from benchmarks.tutorial.glossary import GLOSSARY, LINKS
from benchmarks.tutorial.numbers import capture, fast, flip, kinds, maps, raw, shift
from benchmarks.tutorial.sound import Scene
from benchmarks.workloads import by_id

HERE = resources.files("benchmarks.tutorial")
LARGEST = 6 * 2**20  # bytes of the page
NAME = "index.html"


def numbers(scene: Scene, measure: bool = True) -> dict[str, Any]:
    """What the script reads, by section. Without `measure` nothing is timed, for tests."""
    return {
        "flip": flip.numbers(), "maps": maps.numbers(scene), "kinds": kinds.numbers(measure), "capture": capture.numbers(scene),
        "shift": shift.numbers(scene), "raw": raw.numbers(scene), "fast": fast.numbers(measure),
    }  # fmt: skip


def script() -> str:
    """The script's files, one after the other."""
    files = sorted((each for each in (HERE / "script").iterdir() if each.name.endswith(".js")), key=lambda each: each.name)
    return "\n".join(each.read_text(encoding="utf-8").strip() for each in files) + "\n"


def machine() -> str:
    """The processor's name and the threads that were used."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    import numba

    return f"{name}, {numba.get_num_threads()} threads"


def render(scene: Scene, data: dict[str, Any]) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(HERE / "template")), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    embedded = json.dumps(data, default=lambda value: value.tolist(), separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return environment.get_template("page.html").render(
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")), script=Markup(script()), data=Markup(embedded),
        numbers=data, scene=scene, picture=drawings.kind, wiring=drawings.groups_of_four(), code=snippets.examples(), layer=by_id,
        glossary=GLOSSARY, links=LINKS, machine=machine(), version=kernels.__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d"), measured=data["kinds"]["rows"][0]["ms"] is not None,
        generator=own_files.MARK,
    )  # fmt: skip


def write(folder: Path, scene: Scene | None = None, measure: bool = True) -> Path:
    """Writes the page into a folder and returns its path. Raises ValueError if it grew too large to send around."""
    own_files.ready(folder, NAME)
    scene = scene or sound.synthesise()
    text = render(scene, numbers(scene, measure)).encode("utf-8")
    if len(text) > LARGEST:
        raise ValueError(f"the page has {len(text)} bytes, more than {LARGEST}; embed shorter sounds")
    return own_files.write(folder / NAME, text)

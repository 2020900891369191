"""The page as a whole: one file that asks for nothing, fits every screen, is accessible, and shows each of the tutorial's statements."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import lesson_page
import pytest
from typer.testing import CliRunner

from benchmarks.report import own_files
from benchmarks.tutorial import lesson
from benchmarks.tutorial.glossary import LINKS

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "reports" / "tutorial" / lesson.NAME
SECTIONS = ("flip", "kernel", "channels", "arithmetic", "kinds", "pooling", "capture", "shift", "raw", "fast")

# What the tutorial that this project grew from says, the section in which it can be seen, and a word of the page that says it.
STATEMENTS = {
    "one signal is reversed and slid along the other": ("flip", "Turn one signal round, slide it"),
    "the area of the product at each position is the convolution there": ("flip", "area you get there is one number of the result"),
    "networks do not reverse: that is cross-correlation": ("flip", "that is cross-correlation"),
    "the input is K channels of 2-D arrays": ("channels", "reads K maps"),
    "a kernel is a small 2-D array of weights": ("kernel", "A kernel is a small picture"),
    "all kernels of a layer are an array (h, l, K, J)": ("channels", "(h, l, K, J)"),
    "a filter is K kernels, one for each input channel": ("channels", "K kernels, one for each input channel"),
    "one filter gives one of J output channels": ("channels", "A filter is what makes one of the J"),
    "there is one bias a filter": ("channels", "a single bias"),
    "step 1: each kernel slides over its channel": ("channels", "1: each channel, its own kernel"),
    "step 2: the processed channels are summed": ("channels", "2: the sum"),
    "step 3: the bias is added": ("channels", "3: the bias"),
    "pooling makes maps smaller by an operation on windows": ("pooling", "one number in the place of a window"),
    "the maximum keeps that something is active and drops where": ("pooling", "forgets where in the window"),
    "the average is applied globally at the end, for inputs of any size": ("pooling", "however long the clip"),
    "1-D kernels learn fundamental frequencies from raw samples": ("raw", "have found their own frequencies"),
    "2-D layers work on time-frequency pictures": ("kernel", "A spectrogram is a picture of sound"),
    "kernel size bounds what can be captured": ("capture", "cannot tell apart what differs outside its window"),
    "it must be large enough to tell two patterns apart": ("capture", "tell a vibrato from a steady note"),
    "large kernels allow no distortion; stacks with subsampling do": ("capture", "allows the parts to be a little out of place"),
    "the output shifts with the input and is otherwise unchanged": ("shift", "the output moves with it and is otherwise unchanged"),
    "there are many kinds of convolutions": ("kinds", "All kinds are one idea"),
}


def section(text: str, name: str) -> str:
    return text.partition(f'<section id="sec-{name}"')[2].partition("</section>")[0]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_statement_can_be_seen(statement: str) -> None:
    name, words = STATEMENTS[statement]
    assert words in section(lesson_page.text(), name)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_all_its_parts(name: str) -> None:
    found = section(lesson_page.text(), name)
    assert "<math" in found and 'class="widget"' in found and "<pre" in found and "In a published model" in found
    prose = found.partition('<div class="prose">')[2].partition("</div>")[0]
    assert len(re.findall(r"[.!?](?=\s|</p>)", prose)) in (2, 3), "two or three sentences"


def test_one_file_of_bounded_size() -> None:
    text = lesson_page.text()
    assert own_files.MARK in text[: own_files.BEGINNING]
    assert len(text.encode()) <= lesson.LARGEST and len(lesson.script().encode()) < 60_000
    assert not re.search(r'(src|href)="(?!data:|#|https://)', text) and "@import" not in text and "default-src 'none'" in text
    for _, address, _ in LINKS:
        assert f'href="{address}"' in text


@pytest.mark.skipif(not COMMITTED.exists(), reason="no page was committed")
def test_the_committed_page_is_of_this_script_and_linked() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    assert len(text.encode()) <= lesson.LARGEST and lesson.script() in text
    assert f"reports/tutorial/{lesson.NAME}" in "".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:14])


Media = dict[str, str]


@pytest.mark.parametrize(("size", "phone", "media"), [
    ((390, 844), True, {"prefers-color-scheme": "dark"}), ((768, 1024), False, {}), ((1280, 900), False, {"prefers-color-scheme": "dark"}),
    ((1920, 1080), False, {"prefers-reduced-motion": "reduce"}),
])  # fmt: skip
def test_no_error_no_request_nothing_wider_than_the_screen(
    tmp_path: Path, size: tuple[int, int], phone: bool, media: dict[str, str]
) -> None:
    with lesson_page.browser(tmp_path, size, phone=phone, media=media) as page:
        assert page.execute_script("return document.documentElement.scrollWidth") == size[0]
        if "prefers-reduced-motion" in media:  # the end at once, no frames between
            page.execute_script("document.querySelector('#flip [data-do=play]').click()")
            assert page.execute_script("const s = document.querySelector('#flip [data-name=t]'); return s.value === s.max")
            assert page.execute_script("document.querySelector('#hero button').click(); return document.getAnimations().length") == 0
        background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(20, 22, 26)" if "dark" in media.values() else "rgb(250, 249, 246)")
        assert page.get_log("browser") == [] and lesson_page.requests(page) == []


def test_axe_finds_no_serious_fault(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    roots = [os.environ.get("AXE_CORE", ""), str(ROOT / "node_modules" / "axe-core")]
    if npm:
        roots.append(subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False).stdout.strip() + "/axe-core")
    scripts = [Path(root) / "axe.min.js" for root in roots if root and (Path(root) / "axe.min.js").exists()]
    if not scripts:
        pytest.skip("no axe-core here: npm install -g axe-core, or AXE_CORE=its folder")
    for scheme in ("light", "dark"):
        with lesson_page.browser(tmp_path, media={"prefers-color-scheme": scheme}) as page:
            page.execute_script(scripts[0].read_text(encoding="utf-8"))
            found = page.execute_async_script("const done = arguments[0]; axe.run().then((r) => done(r.violations))")
        faults = [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]
        assert faults == [], scheme


def test_the_command_refuses_in_a_sentence(tmp_path: Path) -> None:
    from benchmarks.__main__ import app

    done = CliRunner().invoke(app, ["tutorial", "--audio", str(tmp_path / "none.wav"), "--out", str(tmp_path)])
    assert done.exit_code == 2 and "there is no file" in done.output

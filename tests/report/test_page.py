"""The page: holds every cell, asks nothing of the network, survives hostile text, and is the same each time it is written."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fabricated_run as fabricated
import pytest

from benchmarks.records.archive import load
from benchmarks.records.results import Run
from benchmarks.report import entries, formats, noise, page
from benchmarks.report.pictures import bars, error_speed, roofline, style, web

VOID = {"meta", "input", "br", "wbr", "link", "img", "hr"}
AT = {column.key: place for place, column in enumerate(entries.COLUMNS)}
HOSTILE = '"><script>alert(1)</script>\' onload=x & {{ 7*7 }}'


class Page(HTMLParser):
    """Tags with their attributes, ids, and the text of the table's rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, list[str]] = {}
        self.open: list[str] = []
        self._row: list[str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self._row = self.rows.setdefault(found["id"], []) if found.get("id", "").startswith("cell-") else None
        elif tag in ("td", "th") and self._row is not None:
            self._row.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self._row and {"td", "th"} & set(self.open):
            self._row[-1] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(fabricated.write(tmp_path_factory.mktemp("page") / "run"))


@pytest.fixture(scope="module")
def text(run: Run) -> str:
    return page.render(run)


def test_every_cell_is_a_row_with_its_reproducer(run: Run, text: str) -> None:
    found = Page(text)
    assert not found.open
    rows = {(fields[0], fields[1]): fields for fields in found.rows.values()}
    assert set(rows) == {(cell.workload, cell.contender) for cell in run.cells} and len(found.rows) == len(run.cells)
    for cell in run.cells:
        fields = rows[cell.workload, cell.contender]
        assert fields[AT["command"]] == f"python -m benchmarks run --workload {cell.workload} --contender {cell.contender}"
        assert fields[AT["status"]] == entries.WORDS[cell.status] and cell.reason in fields[AT["reason"]]
        assert (fields[AT["time"]] == "–") == (cell.status != "ok")
        assert fields[AT["error"]] == formats.error(cell.error) and fields[AT["of_sum"]] == formats.error(cell.error_of_sum)
    assert AT["error"] - AT["time"] <= 3  # beside the speed, not at the far end


@pytest.mark.parametrize("picture", [roofline, error_speed])
@pytest.mark.parametrize("size", [style.WIDE, style.NARROW])
def test_every_timed_cell_is_a_point(run: Run, picture: Any, size: tuple[float, float]) -> None:
    timed = {f"#cell-{number}" for number, cell in enumerate(run.cells) if cell.median_s}
    anchors = {cell: f"cell-{number}" for number, cell in enumerate(run.cells)}
    with style.settings("test"):
        drawn = web.inline(picture.figure(run, style.PAGE, size, anchors), picture.LABEL)
    assert sorted(re.findall(r'href="(#cell-\d+)"', drawn)) == sorted(timed)
    assert not re.search(r"#0103|#0102", drawn), "a placeholder colour was left"
    assert len(drawn) / len(timed) < 250, "points weigh too much"
    if picture is roofline:
        assert "FMA peak 240 GFLOP/s" in drawn and "33.0 GB/s" in drawn


def test_points_stand_where_speed_and_error_are(run: Run) -> None:
    axis, places = error_speed.points(run)
    assert axis.startswith("speed") and len(places) == sum(cell.median_s is not None for cell in run.cells)
    for cell, (speed, error) in places.items():
        best = min(other.median_s for other in run.cells if other.workload == cell.workload and other.is_peer and other.median_s)
        assert speed == pytest.approx(max(best / (cell.median_s or 0), 0.01)) and error == pytest.approx(3e-7)
    axis, places = error_speed.points(replace(run, cells=tuple(cell for cell in run.cells if not cell.is_peer)))
    assert axis == "GFLOP/s" and all(speed == cell.gflops for cell, (speed, _) in places.items())


def test_bars_hold_every_timed_cell_once(run: Run, text: str) -> None:
    for panel in bars.panels(run):
        timed = {cell.contender for cell in run.cells if cell.workload == panel.title and cell.median_s}
        assert {bar.cell.contender for bar in panel.bars} | {name.split()[0] for name in panel.slow} == timed
        speeds = [bar.speed.value for bar in panel.bars]
        assert speeds == sorted(speeds, reverse=True) and all(0 < bar.share <= 1 for bar in panel.bars)
        for bar in panel.bars:
            assert bar.whisker is None or (bar.whisker[0] <= bar.share + 1e-9 and bar.share <= bar.whisker[1] + 1e-9)
            assert (bar.whisker is None) == (panel.one == pytest.approx(bar.share) and bar.cell.is_peer)
    assert len(re.findall(r"<li[ >]", text)) == sum(len(panel.bars) for panel in bars.panels(run))


def test_noise_is_said_and_marked(run: Run, text: str) -> None:
    assert "The machine was noisy." not in text and "marked ≈" in text
    first = next(cell for cell in run.cells if cell.median_s)
    wild = tuple(tuple(second * pace for second in seconds) for pace, seconds in zip((1, 1.5, 1.2), first.samples, strict=True))
    shaken = replace(run, cells=(replace(first, samples=wild), *run.cells[run.cells.index(first) + 1 : 2 * len(fabricated.EVERYBODY)]))
    marked = [fields for fields in Page(page.render(shaken)).rows.values() if noise.MARK in fields[AT["time"]]]
    assert [(fields[0], fields[1]) for fields in marked] == [(first.workload, first.contender)]
    noisy = tuple(replace(cell, samples=tuple(tuple(s * pace for s in x) for pace, x in zip((1, 1.2, 1), cell.samples, strict=False)))
                  for cell in run.cells[: 2 * len(fabricated.EVERYBODY)])  # fmt: skip
    assert "The machine was noisy." in page.render(replace(run, cells=noisy))
    once = replace(run, cells=tuple(replace(cell, samples=cell.samples[:1]) for cell in run.cells[: 2 * len(fabricated.EVERYBODY)]))
    assert noise.of_run(once) is None and "One pass: how noisy" in page.render(once)


def test_what_is_inside_the_timer_is_said_once_a_contender(run: Run, text: str) -> None:
    assert text.count("run into a preallocated output") == len(run.contenders())


def test_heat_map_says_refusals_with_their_reason(run: Run, text: str) -> None:
    titles = [attributes.get("title", "") for tag, attributes in Page(text).tags if tag == "a"]
    for cell in run.cells:
        wanted = f"{cell.workload} · {cell.contender}: "
        found = [title for title in titles if title.startswith(wanted)]
        assert len(found) == 1
        assert cell.median_s or found[0] == f"{wanted}{entries.WORDS[cell.status]}: {cell.reason}"


def test_nothing_is_asked_of_the_network(text: str) -> None:
    found = Page(text)
    for tag, attributes in found.tags:
        assert "target" not in attributes
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert set(re.findall(r"https?://[^\s\"<]+", text)) <= {"http://www.w3.org/2000/svg"}
    policy = [attributes["content"] for _, attributes in found.tags if attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy[0].startswith("default-src 'none'")


def test_ids_are_unique_and_links_lead_somewhere(text: str) -> None:
    found = Page(text)
    identities = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    for _, attributes in found.tags:
        for name in ("href", "xlink:href", "aria-labelledby"):
            if name in attributes:
                assert attributes[name].lstrip("#") in identities
    for identity in re.findall(r"url\(#([^)]+)\)", text):
        assert identity in identities


def test_hostile_text_stays_text(run: Run) -> None:
    def change(cell):  # type: ignore[no-untyped-def]
        contender = HOSTILE if cell.contender == "jit" else cell.contender
        if cell.workload != "panns.stft":
            return replace(cell, contender=contender)
        reason = HOSTILE if cell.reason else ""
        return replace(cell, contender=contender, workload=HOSTILE, problem=HOSTILE, reason=reason, inside_timer=HOSTILE)

    hostile = replace(
        run, id=HOSTILE, preset=HOSTILE, audio=HOSTILE, command=("python", HOSTILE), environment={"cpu": HOSTILE, HOSTILE: [HOSTILE]},
        cells=tuple(change(cell) for cell in run.cells[-5 * len(fabricated.EVERYBODY) :]),
    )  # fmt: skip
    text = page.render(hostile)
    found = Page(text)
    assert sum(tag == "script" for tag, _ in found.tags) == 1 and not any("onload" in attributes for _, attributes in found.tags)
    assert "{{ 7*7 }}" in text and "<script>alert" not in text
    assert any(fields[0] == HOSTILE for fields in found.rows.values()) and any(fields[1] == HOSTILE for fields in found.rows.values())


def test_several_threads_and_batches_have_rows_of_their_own(tmp_path: Path) -> None:
    limits = {"1": fabricated.LIMITS["2"] | {"fma_gflops": 120.0}} | fabricated.LIMITS
    header = fabricated.header(1, threads=(1, 2), limits=limits, command=("benchmarks", "--audio=my clip.wav"))
    run = load(fabricated.write(tmp_path / "run", fabricated.lines(1, (1, 2), (1, 8), fabricated.WORKLOADS[:2]), header))
    rows = Page(page.render(run)).rows.values()
    assert len(rows) == len(run.cells) == 4 * 2 * len(fabricated.EVERYBODY)
    assert len({(fields[0], fields[1]) for fields in rows}) == len(rows)
    command = next(fields[AT["command"]] for fields in rows if fields[0] == "vggish.conv1 batch 8 1 thread" and fields[1] == "direct")
    assert command.endswith("--contender direct --threads 1 --batch 8 --audio 'my clip.wav'")


def test_a_run_with_no_time_and_no_limits_still_has_a_page(run: Run) -> None:
    refused = replace(run, limits={}, cells=tuple(cell for cell in run.cells if cell.status != "ok"))
    text = page.render(refused)
    assert "Nothing was timed in this run." in text and len(Page(text).rows) == len(refused.cells)
    assert len(Page(page.render(replace(run, limits={}, cells=run.cells[:11]))).rows) == 11
    assert not Page(page.render(replace(run, cells=()))).rows


def test_a_reproducer_sets_what_the_run_set(run: Run) -> None:
    cell = next(iter(run.cells))
    plain = f"python -m benchmarks run --workload {cell.workload} --contender {cell.contender}"
    asked = {
        "--preset core --passes 5": "--preset core", "--cold-cache --workload *": "--cold-cache", "--threads=2": "--threads 2",
        "--onnx my.onnx --input x=1x2 --input y=3": "--onnx my.onnx --input x=1x2 --input y=3",
    }  # fmt: skip
    for given, wanted in asked.items():
        preset = "core" if "core" in given else "quick"
        again = entries.reproducer(cell, replace(run, preset=preset, command=("python", "-m", "benchmarks", *given.split())))
        assert again == f"{plain} {wanted}"


def test_memory_imports_and_an_early_stop_are_shown(run: Run) -> None:
    kept = replace(run.cells[0], peak_bytes=3 << 20, import_s=1.5)
    text = page.render(replace(run, cells=(kept, *run.cells[1:11]), stopped="run out of time"))
    (fields,) = (fields for fields in Page(text).rows.values() if fields[1] == kept.contender)
    assert fields[AT["peak"]] == "3.00 MiB" and "after 1.50 s of imports" in text and "it had run out of time" in text


def test_limits_of_every_thread_count_are_shown_with_their_spread(run: Run) -> None:
    one = {"fma_gflops": 120.0, "fma_spread": 0.02, "launch_us": 1.5}
    both = replace(run, limits={"1": one} | {key: dict(value) for key, value in run.limits.items()})
    assert formats.limits(both) == [
        ("multiply-adds, GFLOP/s", ["120 ± 2 %", "240 ± 1 %"]), ("launch of threads, µs", ["1.50", "–"]),
        ("y = a·x, GB/s", ["–", "33.0 ± 3 %"]),
    ]  # fmt: skip


def test_peers_of_other_packages_have_shapes_of_their_own(run: Run) -> None:
    cells = tuple(replace(cell, contender="jax") if cell.contender == "scipy" else cell for cell in run.cells)
    found = style.marks(replace(run, cells=cells))
    assert found["jax"].hue is not None and found["torch"].hue is None  # by its name it is one of ours
    looks = [(mark.hue, mark.marker) for mark in found.values()]
    assert len(set(looks)) == len(looks) and all(mark.glyph for mark in found.values())


def test_the_environment_is_shown_whole(run: Run) -> None:
    kept = {
        "memory_bytes": 8 << 30, "pools": [{"api": "blas", "threads": 2}, {"api": "openmp", "threads": None}],
        "features": ["avx2", "fma"], "governor": None,
    }  # fmt: skip
    assert list(formats.flat(kept | {"vars": {"OMP_NUM_THREADS": "2"}, "dirty": True, "none": []})) == [
        ("memory", "8.00 GiB"), ("pools · 1", "api blas, threads 2"), ("pools · 2", "api openmp, threads –"), ("features", "avx2, fma"),
        ("governor", "–"), ("vars · OMP_NUM_THREADS", "2"), ("dirty", "yes"), ("none", "–"),
    ]  # fmt: skip


def test_written_twice_it_is_the_same_and_small(run: Run, text: str) -> None:
    assert run.folder is not None
    path = page.write(run.folder)
    assert path.name == "index.html" and path.read_text(encoding="utf-8") == text
    assert len(text.encode()) / len(run.cells) < 3000  # 300 cells of the core preset: under a megabyte

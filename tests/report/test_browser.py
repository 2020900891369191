"""The page in a real browser: no error, no request, nothing wider than a phone; sorting, filters, tooltips, legend and keys do their work.

A script added to the end of the page works its controls as a user would and posts what it saw to the page around it, which Chromium
prints. Skipped where there is no Chromium.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import fabricated_run as fabricated
import pytest
from patience import PATIENCE

from benchmarks.records.archive import load
from benchmarks.records.results import Run
from benchmarks.report import page
from benchmarks.report.standing import contender_order

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
    "--window-size=1600,1000", "--virtual-time-budget=4000", "--dump-dom",
)  # fmt: skip
WATCH = """<script>window.seen = [];
addEventListener("error", (event) => seen.push(event.message));
addEventListener("securitypolicyviolation", (event) => seen.push(event.blockedURI));</script>"""
USE = """<script>
const rows = () => [...document.querySelectorAll("#table tbody tr")].filter((row) => !row.hidden);
const numbers = (column) => rows().map((row) => row.cells[column].dataset.sort ?? null);
const click = (column) => document.querySelector(`[data-column="${column}"]`).click();
const headings = () => [...document.querySelectorAll("#table th[aria-sort]")].map((each) => each.getAttribute("aria-sort"));
const set = (id, value) => {
  const control = document.getElementById(id); control.value = value; control.dispatchEvent(new Event("input"));
};
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const result = { width: document.documentElement.scrollWidth, room: document.documentElement.clientWidth };
result.narrowest = Math.min(...[...document.querySelectorAll("dd")].map((each) => each.clientWidth));
result.all = rows().length;
result.orders = [...document.querySelectorAll("#table th.n button")].map((button) => {
  button.click();
  const found = numbers(Number(button.dataset.column)).filter((value) => value !== null).map(Number);
  return found.every((value, index) => index === 0 || found[index - 1] <= value);
});
click(3); result.up = numbers(3); result.up_said = headings();
click(3); result.down = numbers(3); result.down_said = headings();
click(1); result.names = rows().map((row) => row.cells[1].textContent);
set("find", "PANNS stft"); result.found = rows().map((row) => row.cells[0].textContent);
result.said = document.getElementById("shown").textContent;
set("find", ""); set("by-status", "refused"); result.refused = rows().map((row) => row.cells[2].textContent);
set("by-contender", "fft"); set("by-status", ""); result.fft = rows().map((row) => row.cells[1].textContent);
const square = document.querySelector(".heat td.refused a");
square.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" }));
const tip = document.getElementById("tip"); const at = tip.getBoundingClientRect();
result.tip = tip.hidden ? null : tip.textContent; result.tip_inside = at.left >= 0 && at.right <= result.room;
const box = document.querySelector(".legend input[value=direct]"); box.click();
result.direct = [...document.querySelectorAll('.picture g[data-contender="direct"]')].map((group) => getComputedStyle(group).display);
result.boxes = [...document.querySelectorAll(".legend input[value=direct]")].map((each) => each.checked);
document.querySelector('.legend [data-all="1"]').click();
result.shown = document.querySelectorAll(".picture g[hidden]").length;
result.pictures = [...document.querySelectorAll(".picture")].map((each) => getComputedStyle(each).display);
const over = new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" });
document.querySelector('.picture a[href="#cell-4"]').dispatchEvent(over);
result.point = tip.textContent;
const stops = document.querySelectorAll(".heat a:not([tabindex='-1'])");
result.stops = stops.length; stops[0].focus();
press("ArrowDown"); press("ArrowRight"); press("ArrowRight"); result.moved = document.activeElement.dataset.tip;
press("End"); result.ended = document.activeElement.dataset.tip;
result.bars = [...document.querySelectorAll("#bars li > i")].map((bar) => bar.getBoundingClientRect().width);
result.speeds = [...document.querySelectorAll(".results tbody tr td:nth-child(2)")].map((each) => each.getBoundingClientRect().right);
// upright headings: one line each, as wide as their letters are high
result.headings = [...document.querySelectorAll(".heat thead tr:last-child th > span")].map((each) => each.getBoundingClientRect().width);
set("find", "panns"); set("by-status", "ok"); click(3); result.address = location.hash;
set("find", ""); set("by-status", ""); location.hash = "";
result.body = getComputedStyle(document.body).backgroundColor;
set("by-contender", "direct");
const link = [...document.querySelectorAll(".heat a")].find((each) => each.dataset.tip.includes("· torch:"));
link.click();
setTimeout(() => {
  const row = document.getElementById(link.hash.slice(1));
  result.revealed = !row.hidden && row.matches(":target");
  result.seen = window.seen;
  result.requests = performance.getEntriesByType("resource").map((each) => each.name);
  location.hash = result.address;
  setTimeout(() => {
    result.recalled = [rows().map((row) => row.cells[0].textContent), document.getElementById("by-status").value, headings()[3]];
    parent.postMessage(result, "*");
  }, 200);
}, 300);
</script>"""
FRAME = """<!doctype html><pre id="result"></pre>
<script>addEventListener("message", (event) => (document.getElementById("result").textContent = JSON.stringify(event.data)));</script>
<iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe>"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(fabricated.write(tmp_path_factory.mktemp("browser") / "run"))


def used(run: Run, folder: Path, width: int, *flags: str) -> dict[str, Any]:
    text = page.render(run).replace("<head>", "<head>" + WATCH).replace("</body>", USE + "</body>")
    (folder / "page.html").write_text(text, encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width))
    command = [str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", (folder / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1], f"the page said nothing:\n{done.stdout[-2000:]}"
    return json.loads(html.unescape(found[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(("width", "flags"), [(1280, ()), (390, ("--blink-settings=preferredColorScheme=0",))])
def test_the_page_works(run: Run, tmp_path: Path, width: int, flags: tuple[str, ...]) -> None:
    saw = used(run, tmp_path, width, *flags)
    assert saw["seen"] == saw["requests"] == [] and saw["width"] == saw["room"] <= width
    assert saw["all"] == len(run.cells) and saw["orders"] == [True] * 13
    assert saw["narrowest"] > width / 2  # long settings must not squeeze their values

    times = sorted(cell.median_s for cell in run.cells if cell.median_s)
    untimed = [None] * (len(run.cells) - len(times))
    assert [value and float(value) for value in saw["up"]] == [pytest.approx(time, rel=1e-6) for time in times] + untimed
    assert [value and float(value) for value in saw["down"]] == [pytest.approx(time, rel=1e-6) for time in times[::-1]] + untimed
    assert saw["up_said"][3] == "ascending" and saw["down_said"][3] == "descending"
    assert set(saw["down_said"]) == {"descending", "none"}
    assert saw["names"] == sorted(cell.contender for cell in run.cells)

    assert set(saw["found"]) == {"panns.stft"} and len(saw["found"]) == len(fabricated.EVERYBODY)
    assert saw["said"] == f"{len(fabricated.EVERYBODY)} of {len(run.cells)} cells"
    assert saw["refused"] == ["refused"] * sum(cell.status == "refused" for cell in run.cells)
    assert saw["fft"] == ["fft"] * len(run.workloads())
    assert "too small to win anything" in saw["tip"] and saw["tip_inside"]
    assert saw["direct"] == ["none"] * 4 and saw["boxes"] == [False] * 2 and saw["shown"] == 0 and saw["revealed"]
    assert saw["pictures"] == (["block", "none"] if width > 640 else ["none", "block"]) * 3
    fifth = run.cells[4]
    assert saw["point"].startswith(f"{fifth.workload} · {fifth.contender}: ")
    assert "GFLOP/s" in saw["point"] and "error 3.0e-07" in saw["point"]
    order = contender_order(run)
    assert saw["stops"] == 1 and saw["moved"].startswith(f"{run.workloads()[1]} · {order[2]}: ")
    assert saw["ended"].startswith(f"{run.workloads()[1]} · {order[-1]}: ")
    assert len(saw["bars"]) > 40 and max(saw["bars"]) < width / 2
    assert max(saw["speeds"]) <= width and max(saw["headings"]) < 24
    assert saw["address"] == "#cells?find=panns&by-contender=fft&by-status=ok&sort=time.ascending"
    assert saw["recalled"] == [["panns.stft"], "ok", "ascending"], "the address shows the same table again"
    assert saw["body"] == ("rgb(251, 251, 250)" if not flags else "rgb(21, 23, 26)")

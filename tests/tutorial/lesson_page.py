"""The tutorial's page for its tests: written once, nothing timed, a small bank of filters from a file; and a browser that opens it."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE, until

from benchmarks.tutorial import learned, lesson, sound

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
WIDE = (1280, 900)


def filters_file(folder: Path) -> Path:
    """A file as `python -m benchmarks learn` may leave it: four waves of 64 taps."""
    n = np.arange(64)
    waves = [np.hanning(64) * np.cos(2 * np.pi * hertz * n / 8000) for hertz in (880, 220, 440, 330)]
    path = folder / "filters.json"
    path.write_text(json.dumps({"rate": 8000, "filters": [list(wave) for wave in waves], "source": "four waves, for tests"}))
    return path


@functools.cache
def data() -> dict[str, Any]:
    """The page's numbers, nothing timed."""
    before = learned.FILE
    with tempfile.TemporaryDirectory() as folder:
        learned.FILE = filters_file(Path(folder))
        try:
            return lesson.numbers(sound.synthesise(), measure=False)
        finally:
            learned.FILE = before


@functools.cache
def text() -> str:
    """The page."""
    return lesson.render(sound.synthesise(), data())


@contextmanager
def browser(folder: Path, size: tuple[int, int] = WIDE, *, phone: bool = False, media: dict[str, str] | None = None) -> Iterator[Any]:
    """A driven Chromium with the page open; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium or chromedriver here")
    from selenium.webdriver.chrome.service import Service

    path = folder / "index.html"
    path.write_text(text(), encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_script_timeout(PATIENCE)
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": phone}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": name, "value": value} for name, value in (media or {}).items()]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        driver.get(path.as_uri())
        until(lambda: driver.execute_script("return Boolean(globalThis.tutorial)"))
        yield driver
    finally:
        driver.quit()


def requests(driver: Any) -> list[str]:
    """What the page asked for besides itself and data it carries."""
    asked = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            sent = message["params"]
            if sent["documentURL"].endswith("/index.html"):  # not what Chromium's own first tab asks for
                asked.append(sent["request"]["url"])
    return [url for url in asked if not url.startswith(("data:", "about:")) and not url.endswith("/index.html")]

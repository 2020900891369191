"""Every control does what it says: by mouse, finger and keys, on a desk and on a phone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import lesson_page
import pytest
from patience import until

WIDGETS = (
    "flip", "kernel", "channels", "filters", "arithmetic", "kinds", "pooling", "capture", "shift", "raw", "stft", "fast", "measured",
)  # fmt: skip
SHOWS = """
  const root = document.getElementById(arguments[0]), copy = root.cloneNode(true);
  for (const each of copy.querySelectorAll("input, output, .say")) each.remove();
  return copy.innerHTML + [...root.querySelectorAll("canvas")].map((each) => each.toDataURL()).join();"""
CENTRE = """
  arguments[0].scrollIntoView({ block: "center", behavior: "instant" });
  const box = arguments[0].getBoundingClientRect(); return [box.left, box.top, box.width, box.height];"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with lesson_page.browser(tmp_path_factory.mktemp("controls")) as driver:
        yield driver


def shows(page: Any, widget: str) -> str:
    return str(page.execute_script(SHOWS, widget))


def one(page: Any, selector: str) -> Any:
    return page.execute_script("return document.querySelector(arguments[0])", selector)


def told(page: Any, widget: str) -> str:
    return str(one(page, f"#{widget} .told").text)


def values(page: Any, widget: str) -> dict[str, Any]:
    return dict(page.execute_script("return tutorial.SECTIONS[arguments[0]].values()", widget))


def played(page: Any) -> int:
    return int(page.execute_script("return document.body.dataset.played ?? 0"))


@pytest.mark.parametrize("widget", WIDGETS)
def test_every_control_changes_what_is_shown(page: Any, widget: str) -> None:
    """Sliders by arrow keys; choices, ticks and lists by clicks."""
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    if widget == "arithmetic":
        page.execute_script("tutorial.SECTIONS.arithmetic.move({ way: 'transposed', s: 2 })")  # output padding is for these
    controls = page.find_elements("css selector", f"#{widget} [data-name]")
    assert controls
    for control in controls:
        name, kind = control.get_attribute("data-name"), control.get_attribute("type")
        before, was = shows(page, widget), values(page, widget)[name]
        if kind == "range":
            at_end = control.get_attribute("value") == control.get_attribute("max")
            if control.get_attribute("max") == control.get_attribute("min"):
                continue
            control.send_keys(Keys.ARROW_LEFT if at_end else Keys.ARROW_RIGHT)
        elif control.tag_name == "select":
            Select(control).select_by_index(0 if str(was) != "0" else len(Select(control).options) - 1)
            if len(Select(control).options) == 1:
                continue
        elif kind == "radio" and control.is_selected():
            continue
        else:
            page.execute_script("arguments[0].closest('label').click()", control)
        assert values(page, widget)[name] != was, (widget, name)
        nothing_timed = widget == "kinds" and name == "order" and values(page, widget)[name] == "kind"
        until(lambda before=before, nothing_timed=nothing_timed: nothing_timed or shows(page, widget) != before)


def test_the_slid_signal_is_dragged(page: Any) -> None:
    from selenium.webdriver import ActionChains

    page.execute_script("tutorial.SECTIONS.flip.move({ preset: 0, flip: 'convolution', t: 0 })")
    drawing = one(page, "#flip .slide svg")
    left, top, width, height = page.execute_script(CENTRE, drawing)
    mouse = ActionChains(page, duration=20)
    mouse.w3c_actions.pointer_action.move_to_location(int(left + 0.35 * width), int(top + height / 2)).click_and_hold()
    mouse.w3c_actions.pointer_action.move_to_location(int(left + 0.6 * width), int(top + height / 2)).release()
    mouse.perform()
    t = int(-7 + 0.6 * 26)
    until(lambda: values(page, "flip")["t"] == t)
    assert f"At t = {t} the product's area is 8;" in told(page, "flip")


def test_a_finger_drags_too(page: Any) -> None:
    page.execute_script("tutorial.SECTIONS.flip.move({ t: 0 })")
    left, top, width, height = page.execute_script(CENTRE, one(page, "#flip .slide svg"))
    for kind, share in (("touchStart", 0.5), ("touchMove", 0.55), ("touchMove", 0.7), ("touchEnd", None)):
        points = [] if share is None else [{"x": left + share * width, "y": top + height / 2}]
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    until(lambda: values(page, "flip")["t"] == int(-7 + 0.7 * 26))


@pytest.mark.parametrize("map_", range(2))
def test_the_window_follows_pointer_and_keys(page: Any, map_: int) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    element = page.find_elements("css selector", "#kernel .map")[map_]
    left, top, width, height = page.execute_script(CENTRE, element)
    mouse = ActionChains(page, duration=20)
    mouse.w3c_actions.pointer_action.move_to_location(int(left + 0.5 * width), int(top + 0.25 * height))
    mouse.perform()
    at = values(page, "kernel")
    assert abs(at["column"] - 128) <= 1 and abs(at["row"] - 60) <= 1
    before = played(page)
    element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP)
    now = values(page, "kernel")
    assert (now["column"], now["row"]) == (at["column"] + 1, at["row"] + 1)
    element.send_keys(Keys.ENTER)
    element.click()
    assert played(page) == before + 2


def test_a_drawn_kernel_is_used(page: Any) -> None:
    page.execute_script("tutorial.SECTIONS.kernel.move({ preset: 4 })")
    inputs = page.find_elements("css selector", "#kernel .own input")
    assert len(inputs) == 9 and inputs[0].is_displayed()
    for index, each in enumerate(inputs):
        each.clear()
        each.send_keys("1" if index == 4 else "0")
    cells = [[cell.text for cell in page.find_elements("css selector", f"#kernel .sumrow > :nth-child({n}) td")] for n in (1, 2)]
    assert cells[1] == ["0", "0", "0", "0", "1", "0", "0", "0", "0"]
    assert one(page, "#kernel .sum.big").text == cells[0][4]


@pytest.mark.parametrize(("selector", "sounds"), [
    ("[data-sound='0.dry']", 1), ("[data-sound='1.response']", 1), ("[data-sound='1.wet']", 1), ("#hero button", 1),
    ("#kernel [data-do=scene]", 1), ("#kernel [data-do=peaks]", 5), ("#shift [data-do=play]", 1),
])  # fmt: skip
def test_what_can_be_heard_is_played(page: Any, selector: str, sounds: int) -> None:
    before = played(page)
    page.execute_script("arguments[0].click()", one(page, selector))
    assert played(page) == before + sounds


def test_a_line_runs_over_the_picture_while_the_whole_sound_plays(page: Any) -> None:
    """By an animation that the compositor runs: no frame of it waits for the script. A second click begins anew. A thousand times slower
    once begun, so that it does not end before this test looks."""
    running = """arguments[0].click();
      const animations = document.querySelector('#hero i').getAnimations();
      for (const each of animations) each.updatePlaybackRate(0.001);
      return animations.map((each) => [each.playState, each.effect.getTiming().duration]);"""
    for _ in range(2):
        (state, milliseconds), *others = page.execute_script(running, one(page, "#hero button"))
        assert state == "running" and others == [] and milliseconds == pytest.approx(4096)
    before = page.execute_script("return document.querySelector('#hero i').getBoundingClientRect().left")
    until(lambda: page.execute_script("return document.querySelector('#hero i').getBoundingClientRect().left") > before)


@pytest.mark.parametrize(("widget", "name"), [("flip", "t"), ("arithmetic", "at"), ("fast", "step")])
def test_animations_run_to_their_end_and_stop(page: Any, widget: str, name: str) -> None:
    move = {
        "flip": {"preset": 0, "t": 0},
        "arithmetic": {"way": "plain", "n": 4, "k": 3, "s": 1, "p": 0, "d": 1, "at": 0},
        "fast": {"step": 0},
    }
    page.execute_script("tutorial.SECTIONS[arguments[0]].move(arguments[1])", widget, move[widget])
    button = one(page, f"#{widget} [data-do=play]")
    text = button.text
    assert page.execute_script("arguments[0].click(); return arguments[0].textContent", button) == "Stop"
    until(lambda: button.text == text)
    slider = one(page, f"#{widget} [data-name={name}]")
    assert slider.get_attribute("value") == slider.get_attribute("max")
    page.execute_script("arguments[0].click(); arguments[0].click()", button)
    assert button.text == text


def test_three_steps(page: Any) -> None:
    cell = one(page, "#channels [data-grid=p0] tr:nth-child(2) td:nth-child(3)")
    page.execute_script("tutorial.SECTIONS.channels.move({ step: 3 })")
    page.execute_script("arguments[0].click()", cell)
    example = lesson_page.data()["maps"]["example"]
    assert (values(page, "channels")["row"], values(page, "channels")["column"]) == (1, 2)
    summed, out = example["summed"][1][2], example["out"][1][2]
    assert told(page, "channels").startswith(f"Step 3: {summed:.0f} + 2 = {out:.0f}.".replace("-", "−"))
    shown = [each.text for each in page.find_elements("css selector", "#channels [data-grid=out] td")]
    assert shown == [f"{value:.0f}".replace("-", "−") for row in example["out"] for value in row]


def test_arithmetic_says_what_the_library_says(page: Any) -> None:
    import numpy as np

    import kernels

    for n, k, s, p, d in itertools.product((4, 7), (2, 3), (1, 2), (0, 2), (1, 2)):
        sizes = {"n": n, "k": k, "s": s, "p": p, "d": d, "way": "plain", "groups": 0}
        page.execute_script("tutorial.SECTIONS.arithmetic.move(arguments[0])", sizes)
        if n + 2 * p < d * (k - 1) + 1:
            assert told(page, "arithmetic").startswith("No output")
            continue
        results = "const { x, w, out } = tutorial.SECTIONS.arithmetic.result; return [x, w, out]"
        found = page.execute_script(f"{results}.map((e) => [e.h, e.w, [...e.v]])")
        x, w, out = (np.array(values_).reshape(h, width) for h, width, values_ in found)
        ours = kernels.conv2d(x[None, None].astype(float), w[None, None].astype(float), None, s, p, d)[0, 0]
        np.testing.assert_array_equal(out, ours)
        shown = [int(each.text.replace("−", "-")) for each in page.find_elements("css selector", "#arithmetic table:nth-of-type(1) td.out")]
        assert shown == ours.astype(int).ravel().tolist()
        call = one(page, "#arithmetic .call").text.splitlines()[1].removeprefix("y = ")
        assert eval(call, {"kernels": kernels, "x": np.ones((1, 4, n, n)), "weight": np.ones((4, 4, k, k))}).shape == (1, 4, *ours.shape)


def test_hover_goes_both_ways(page: Any) -> None:
    page.execute_script("tutorial.SECTIONS.arithmetic.move({ way: 'plain', n: 6, k: 3, s: 1, p: 1, d: 1, groups: 0, at: 0 })")
    inputs, outputs = page.find_elements("css selector", "#arithmetic .grid")
    over = "arguments[0].rows[arguments[1]].cells[arguments[2]].dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))"
    page.execute_script(over, outputs, 2, 2)
    assert "sees 9 positions" in told(page, "arithmetic") and len(inputs.find_elements("css selector", ".on")) == 9
    page.execute_script(over, outputs, 0, 0)
    assert "sees 9 positions, 5 of them padding" in told(page, "arithmetic")
    page.execute_script(over, inputs, 1, 1)  # the first input within the padding
    assert "seen by 4 of 36 outputs" in told(page, "arithmetic") and len(outputs.find_elements("css selector", ".on")) == 4


def test_the_stack_is_edited(page: Any) -> None:
    page.execute_script("tutorial.SECTIONS.capture.move({ preset: '0' })")
    add = one(page, "#capture [data-add=conv]")
    rows = len(page.find_elements("css selector", "#capture tbody tr"))
    page.execute_script("arguments[0].click()", add)
    assert len(page.find_elements("css selector", "#capture tbody tr")) == rows + 1
    kernel = one(page, "#capture tbody tr:last-child [data-edit$='kernel.1']")
    kernel.clear()
    kernel.send_keys("9")
    fields = page.execute_script("return tutorial.receptiveFields(tutorial.SECTIONS.capture.stack())")
    assert fields[-1]["size"][1] == fields[-2]["size"][1] + 8 * fields[-2]["stride"][1]
    assert f"{fields[-1]['size'][0]} × {fields[-1]['size'][1]} bands" in one(page, "#capture .facts").text
    page.execute_script("arguments[0].click()", one(page, "#capture tbody tr:last-child button"))
    assert len(page.find_elements("css selector", "#capture tbody tr")) == rows


def test_pooling_forgives_a_frame(page: Any) -> None:
    page.execute_script("tutorial.SECTIONS.pooling.move({ nudge: 1, window: 3, pooling: 'max' })")
    raw, pooled = (float(one(page, f"#pooling [data-count={name}]").text.split()[0]) for name in ("raw", "pooled"))
    assert raw > 10 * pooled


def test_a_square_of_the_map_tells_its_times(page: Any) -> None:
    page.execute_script("arguments[0].focus()", one(page, "#measured [data-cell='0']"))
    said = one(page, "#measured .cell-said").text
    assert all(name in said for name in lesson_page.data()["fast"]["map"][0]["ms"])

"""In JupyterLab, as a student does it: open a lesson, run all of it, move its widgets by mouse and keyboard."""

import json
import statistics
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Locator, expect

from tests.browser import PICTURE, PUT_BACK
from tests.lab.server import open_and_run, page_of

LESSONS = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))


# Milliseconds from moving the slider to the frame for that place, which is what a hand feels; null where the
# slider has no such place and stays where it is.
REDRAW = """([widget, position]) => new Promise((resolve, reject) => {
  const input = widget.querySelector("input[type=range]"), image = widget.querySelector("img.lim-frame");
  const before = input.value;
  input.value = position;
  if (input.value === before) { resolve(null); return; }
  const began = performance.now();
  let last = null;
  const watcher = new MutationObserver(async () => { await image.decode().catch(() => {}); last = performance.now() - began; });
  watcher.observe(image, { attributeFilter: ["src"] });
  input.dispatchEvent(new Event("input", { bubbles: true }));
  setTimeout(() => { watcher.disconnect(); last === null ? reject(new Error("no redraw")) : resolve(last); }, 700);
})"""


def picture(widget: Locator) -> int:
    """A hash of what the widget shows, once it has come to rest."""
    before = None
    for _ in range(80):
        now = widget.evaluate(PICTURE)
        if now == before and widget.get_attribute("data-state") != "running":
            return now
        before = now
        widget.page.wait_for_timeout(80)
    raise AssertionError("The widget never came to rest.")


def change(widget: Locator, control: Locator, act) -> None:
    """`act` must move the control, and the picture with it; then the control goes back to where it was."""
    start, value, label = picture(widget), control.input_value(), control.evaluate("input => input.labels[0].innerText")
    act()
    assert control.input_value() != value, f"{label} did not move"
    for _ in range(40):
        if picture(widget) != start:
            break
        widget.page.wait_for_timeout(50)
    else:
        raise AssertionError(f"{label} moved and the picture did not")
    control.evaluate(PUT_BACK, value)


def assert_follows_the_theme(widget: Locator) -> None:
    """A widget is dark while Lab is."""
    colour = "node => getComputedStyle(node).backgroundColor"
    light = widget.evaluate(colour)
    widget.page.evaluate("() => { document.body.dataset.jpThemeLight = 'false'; }")
    assert widget.evaluate(colour) != light
    widget.page.evaluate("() => { document.body.dataset.jpThemeLight = 'true'; }")
    assert widget.evaluate(colour) == light


def test_it_asks_nobody_for_news_or_updates(lab):
    setting = "@jupyterlab/apputils-extension:notification"
    with urlopen(f"{lab.address}/lab/api/settings/{setting}?token={lab.token}") as answer:
        properties = json.load(answer)["schema"]["properties"]
    assert properties["fetchNews"]["default"] == "false"
    assert properties["checkForUpdates"]["default"] is False


@pytest.fixture(params=LESSONS)
def lesson(request, lab, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    open_and_run(page, page_of(lab, f"{request.param}.ipynb"))
    yield page
    context.close()
    assert [text for text in complaints if "lim" in text or "Widget" in text] == []


def test_widgets_answer_to_mouse_and_keyboard(lesson):
    widgets = lesson.locator(".jp-OutputArea-output .lim-widget")
    expect(widgets.first).to_be_visible()
    assert lesson.locator(".jp-OutputArea-output:has-text('Error displaying widget')").count() == 0
    assert_follows_the_theme(widgets.first)
    times = []
    for widget in widgets.all():
        widget.scroll_into_view_if_needed()
        for place, control in enumerate(widget.locator("input[type=range]:visible").all()):
            box = control.bounding_box()
            ratio = control.evaluate("input => (input.value - input.min) / (input.max - input.min)")
            there = {"x": box["width"] * (0.1 if ratio > 0.5 else 0.9), "y": box["height"] / 2}
            change(widget, control, lambda control=control, there=there: control.click(position=there))
            if place == 0:  # the page of the book takes keys to every control; here Lab must not take them away
                arrow = "ArrowLeft" if ratio > 0.5 else "ArrowRight"
                change(widget, control, lambda control=control, arrow=arrow: control.press(arrow))
                assert control.evaluate("input => document.activeElement === input")
        for choices in widget.locator("select:visible").all():
            arrow = "ArrowUp" if choices.evaluate("list => list.selectedIndex") else "ArrowDown"
            change(widget, choices, lambda choices=choices, arrow=arrow: choices.press(arrow))
        if widget.locator("img.lim-frame").count() and widget.locator("input[type=range]").count():
            last = float(widget.locator("input[type=range]").first.get_attribute("max"))
            places = [last * part for part in (0.13, 0.81, 0.28)]
            found = [lesson.evaluate(REDRAW, [widget.element_handle(), place]) for place in places]
            times += [time for time in found if time is not None]
    if times:
        print(f"\nredraw in Lab: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms of {len(times)}")

"""Each slider and list of each widget changes its picture, by mouse and from the keyboard, without a kernel."""

import pytest
from hands import move_by_keyboard, redrawn
from visits import PHONE, has_widgets, page_names

from tests.browser import PICTURE, PUT_BACK

WITH_WIDGETS = [name for name in page_names() if has_widgets(name)]


def picture(widget) -> str:
    """A hash of what the widget shows, once it has come to rest."""
    page = widget.page
    before = None
    for _ in range(100):
        is_running = widget.get_attribute("data-state") == "running"  # asked first: the last picture follows a run
        now = widget.evaluate(PICTURE)
        if now == before and now not in ("blank", "0 pictures, 2166136261") and not is_running:
            return now
        before = now
        page.wait_for_timeout(60)
    raise AssertionError("The widget never came to rest, or shows nothing.")


# Of several radio buttons, the place of the one that is on.
VALUE = """(input) => input.type === "checkbox" ? String(input.checked)
  : input.type === "radio" ? String([...document.getElementsByName(input.name)].findIndex((each) => each.checked))
  : input.value"""


def can_be_moved(control) -> bool:
    """Not what belongs to another choice of the list beside it; and of several radio buttons the one that is on."""
    off = "input => input.disabled || (input.type === 'radio' && !input.checked)"
    return control.is_visible() and not control.evaluate(off)


def move_by_mouse(control) -> None:
    if control.evaluate("input => input.tagName") == "SELECT":
        other = control.evaluate(
            "input => [...input.options].findIndex((option, place) => place !== input.selectedIndex)"
        )
        control.select_option(index=other)
        return
    if control.get_attribute("type") == "checkbox":
        control.click()
        return
    if control.get_attribute("type") == "radio":
        control.page.locator(f"input[name='{control.get_attribute('name')}']").nth(1).click()
        return
    low, high, value = (float(control.evaluate(f"input => input.{name}")) for name in ("min", "max", "value"))
    box = control.bounding_box()
    there = 0.08 if (value - low) / (high - low) > 0.5 else 0.92
    control.click(position={"x": box["width"] * there, "y": box["height"] / 2})


@pytest.mark.parametrize("name", WITH_WIDGETS)
def test_every_control_changes_the_picture(visit, name):
    seen = visit(name)
    seen.show_widgets()
    for widget in seen.page.locator(".lim-widget").all():
        widget.scroll_into_view_if_needed()
        title = widget.locator(".lim-title").inner_text()
        controls = widget.locator("input, select").all()
        assert controls, f"{title} has nothing to move"
        for control in controls:
            if can_be_moved(control):
                assert_moves(widget, control, move_by_mouse, title)
                assert_moves(widget, control, move_by_keyboard, title)
    assert seen.problems == []


def assert_moves(widget, control, move, title):
    """The control moves, the picture with it; then it is put back."""
    start, value = picture(widget), control.evaluate(VALUE)
    move(control)
    redrawn(widget)
    label = control.evaluate("input => input.labels[0].innerText")
    assert control.evaluate(VALUE) != value, f"{title}: {label} did not move by {move.__name__}"
    assert picture(widget) != start, f"{title}: moving {label} changed nothing"
    control.evaluate(PUT_BACK, value)


def test_widgets_move_by_touch_on_a_phone(visit):
    seen = visit("notebooks/00_start_here", PHONE, "dark")
    seen.show_widgets()
    widget = seen.page.locator(".lim-widget").first
    start = picture(widget)
    move_by_mouse(widget.locator("input").first)
    assert picture(widget) != start


@pytest.mark.parametrize("name", WITH_WIDGETS)
def test_buttons_answer(visit, name):
    """Play runs and stops; the sampler runs again; nothing complains."""
    seen = visit(name, still=False)
    seen.show_widgets()
    for button in seen.page.locator(".lim-widget button").all():
        if not (button.is_visible() and button.is_enabled()):
            continue  # nobody can press it
        button.click()
        seen.page.wait_for_timeout(120)
    assert seen.problems == []


def test_host_says_so_when_a_widget_cannot_start(visit):
    """A state that the front end does not know must be seen by the reader, not swallowed."""
    seen = visit("notebooks/00_start_here")
    seen.page.evaluate(
        """() => {
          const place = document.createElement("script");
          place.type = "application/vnd.jupyter.widget-view+json";
          place.textContent = JSON.stringify({ model_id: "broken" });
          document.querySelector("article").prepend(place);
          const state = document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]');
          const all = JSON.parse(state.textContent);
          const [known] = Object.values(all.state);
          all.state = { broken: { ...known, state: { kind: "no such kind" } } };
          state.textContent = JSON.stringify(all);
          const host = document.querySelector('script[src*="widgets.js"]');
          document.head.append(Object.assign(document.createElement("script"), { src: host.src }));
        }"""
    )
    seen.page.locator(".lim-host[data-state=failed]").wait_for()
    assert "could not start" in seen.page.locator(".lim-host[data-state=failed]").inner_text()

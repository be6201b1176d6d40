"""What a reader's hands do to a widget: move, press, choose, look at it on a phone; and what is seen then."""

import re

from tests.browser import PICTURE

PUT = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }"

# As on a slow machine: pictures so many milliseconds apart, by their own clock.
SLOW = """(gap) => {
  const ask = window.requestAnimationFrame;
  let clock = 0;
  window.requestAnimationFrame = (tick) => ask(() => tick(clock += gap));
}"""

# Remember each step that is shown, the first number of a text.
WATCH = """(widget, where) => {
  const count = widget.querySelector(where);
  window.seen = [];
  const note = () => window.seen.push(Number(count.textContent.match(/\\d+/)[0]));
  new MutationObserver(note).observe(count, { childList: true });
}"""

# Milliseconds that each of some values of a control takes until the picture is drawn.
TIMES = """(input, values) => values.map((value) => {
  const began = performance.now();
  input.value = value;
  input.dispatchEvent(new Event(input.tagName === "SELECT" ? "change" : "input", { bubbles: true }));
  return performance.now() - began;
})"""


# What is drawn at some places of a canvas, in CSS pixels of it: red, green, blue and opacity.
COLOURS = """(canvas, places) => places.map(([x, y]) => {
  const ratio = canvas.width / canvas.clientWidth;
  return Array.from(canvas.getContext("2d").getImageData(Math.floor(x * ratio), Math.floor(y * ratio), 1, 1).data);
})"""

# Colours of the theme, by name.
INKS = """(widget, names) => names.map((name) => {
  const hex = parseInt(getComputedStyle(widget).getPropertyValue(`--lim-${name}`).trim().slice(1), 16);
  return [hex >> 16, (hex >> 8) & 255, hex & 255];
})"""

# Pairs of parts that lie over each other, and parts that reach beyond the widget, or whose own text does beyond them.
CLASHES = """(widget, { where, nested, cut }) => {
  const parts = [...widget.querySelectorAll(where)].filter((part) => part.getClientRects().length);
  const boxes = parts.map((part) => part.getBoundingClientRect()), edge = widget.getBoundingClientRect(), found = [];
  const named = (part) => part.textContent || part.className || part.tagName;
  boxes.forEach((one, i) => {
    const isCut = !cut && parts[i].clientWidth && parts[i].scrollWidth > parts[i].clientWidth + 1;
    if (one.left < edge.left || one.right > edge.right || isCut) found.push(named(parts[i]));
    boxes.slice(i + 1).forEach((other, k) => {
      if (nested && parts[i].contains(parts[i + 1 + k])) return;
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left), down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (across > 1 && down > 1) found.push(`${named(parts[i])} over ${named(parts[i + 1 + k])}`);
    });
  });
  return found;
}"""


def clashes(widget, where, nested=False, cut=False):
    """Parts, by a selector, that lie over each other or reach beyond the widget, in words.

    `nested` ones may hold others; of those that may be `cut`, text may be longer than its place.
    """
    return widget.evaluate(CLASHES, {"where": where, "nested": nested, "cut": cut})


def slider(widget, name):
    return widget.get_by_role("slider", name=name)


def put(widget, name, value):
    slider(widget, name).evaluate(PUT, value)


def choose(widget, name, option):
    """An option of a list, by its place or its text."""
    widget.get_by_role("combobox", name=name).select_option(str(option))


def press(widget, name):
    widget.get_by_role("button", name=name).click()


def state(widget, wanted):
    widget.locator(f"xpath=self::*[@data-state='{wanted}']").wait_for()


def numbers(texts):
    """What a widget writes by hand, as numbers."""
    small = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
    plain = [text.replace("∞", "inf").removesuffix("\u202f%") for text in texts]
    powers = [re.sub(f"^10(?=[{small}])", "1·10", text).replace("·10", "e") for text in plain]
    return [float(text.translate(str.maketrans(small + "−", "-0123456789-"))) for text in powers]


def counts(widget):
    """The numbers that a widget shows large, below its pictures."""
    return numbers(widget.locator(".lim-counts strong").all_inner_texts())


def captions(widget):
    """The lines of each caption."""
    return [caption.inner_text().split("\n") for caption in widget.locator("figcaption").all()]


def slow_down(widget, gap=250):
    widget.page.evaluate(SLOW, gap)


def goes_on(widget, step, last, where="figcaption span"):
    """A play after a pause starts from the step on show and comes to its end, where pictures come slowly, too."""
    slow_down(widget)
    widget.evaluate(WATCH, where)
    press(widget, "Play")
    state(widget, "done")
    seen = widget.page.evaluate("() => window.seen")
    assert seen == sorted(seen)
    assert seen[0] >= step
    assert seen[-1] == last


def at_rest(widget):
    """Wait until nothing runs in the widget."""
    widget.page.wait_for_function("(widget) => widget.dataset.state !== 'running'", arg=widget.element_handle())


def redrawn(widget):
    """Wait until the pictures have followed."""
    widget.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def resize(widget, size):
    """To another window, once the pictures have followed."""
    widget.page.set_viewport_size(size)
    redrawn(widget)


def set_theme(widget, theme):
    widget.page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)


def move_by_keyboard(control):
    """One place on; one place back from the last. A box is ticked or not."""
    kind = control.get_attribute("type")
    if kind in ("checkbox", "radio"):
        control.press("Space" if kind == "checkbox" else "ArrowRight")
        return
    is_list = control.evaluate("(input) => input.tagName === 'SELECT'")
    place, end = ("input.selectedIndex", "input.options.length - 1") if is_list else ("input.value", "input.max")
    last = control.evaluate(f"(input) => {place} === {end}")
    back, on = ("ArrowUp", "ArrowDown") if is_list else ("ArrowLeft", "ArrowRight")
    control.press(back if last else on)


def set_width(widget, width):
    """As wide as a column of the book or of Lab, once the pictures have followed; it may be narrower than its window."""
    widget.evaluate("(card, width) => { card.style.width = `${width}px`; }", width)
    redrawn(widget)


def assert_fits(widget, width):
    """Nothing is wider than a window of that width, once the pictures have followed."""
    resize(widget, {"width": width, "height": 800})
    assert widget.page.evaluate("document.documentElement.scrollWidth") <= width


def assert_follows_the_theme(widget, theme):
    """The picture changes with the theme, and only then: it is drawn in light colours at first."""
    redrawn(widget)  # its first size, too, may come a frame late
    before = widget.evaluate(PICTURE)
    assert before != "blank"
    set_theme(widget, theme)
    redrawn(widget)
    assert (widget.evaluate(PICTURE) != before) == (theme == "dark")


def assert_moves_on_a_phone(widget):
    """Each slider and list changes the picture from the keyboard, and nothing is wider than the window."""
    assert_fits(widget, 390)
    for control in [*widget.get_by_role("slider").all(), *widget.get_by_role("combobox").all()]:
        at_rest(widget)
        before = widget.evaluate(PICTURE)
        assert before != "blank"
        move_by_keyboard(control)
        at_rest(widget)
        assert widget.evaluate(PICTURE) != before, control.evaluate("(input) => input.labels[0].textContent")
    assert widget.page.evaluate("document.documentElement.scrollWidth") <= 390


def redraw_times(control, values):
    """Milliseconds of the one in the middle and of the longest."""
    times = sorted(control.evaluate(TIMES, values))
    return times[len(times) // 2], times[-1]


def tell_redraw_times(control, values):
    """For who looks (pytest -s): a machine of tests is too busy to hold it to a time."""
    usual, longest = redraw_times(control, values)
    name = control.evaluate("(input) => input.labels[0].firstChild.textContent")
    print(f"{name}: {usual:.1f} ms, at most {longest:.1f} ms")

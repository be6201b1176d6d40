"""The live widget of a model that learns what it reads, as a reader uses it: its numbers are torch's, for any text."""

import re
from functools import cache, partial

import pytest
import torch
from hands import (
    COLOURS,
    INKS,
    assert_fits,
    assert_moves_on_a_phone,
    at_rest,
    choose,
    numbers,
    press,
    put,
    redrawn,
    resize,
    set_theme,
    slider,
    slow_down,
    tell_redraw_times,
)

from companion.data.text import encode, passages
from companion.foundations.language import WindowMLP
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.teaching.widgets import live_reader
from companion.teaching.widgets.reader import LEARNING_RATES, STRIDES
from tests.browser import PICTURE

MODEL = WindowMLP(97, embedding=6, width=20, generator=torch.Generator().manual_seed(0))
PLACES = {"a play": ("plays", 1000), "a manual": ("docs", 1300), "a program": ("code", 1500)}
TEXTS = {name: passages(style, [0])[0][:length] for name, (style, length) in PLACES.items()}
CAT = "The cat sat on the mat. " * 30

# How often the picture changes by itself, looked at each time that it could.
CHANGES = """async (widget) => {
  const canvas = widget.querySelector("canvas");
  const began = performance.now();
  let seen = canvas.toDataURL(), changes = 0;
  while (widget.dataset.state === "running" && performance.now() - began < 20000) {
    await new Promise(requestAnimationFrame);
    const now = canvas.toDataURL();
    if (now !== seen) changes++;
    seen = now;
  }
  return changes;
}"""

# What is wider than the widget that it stands in, and what two parts of the same row cover.
BEYOND = """(card) => {
  const edge = card.getBoundingClientRect().right - 10;
  const parts = [...card.querySelectorAll("canvas, textarea, select, button, input, figcaption, .lim-counts > div, .lim-writing p")];
  const boxes = parts.map((part) => part.getBoundingClientRect());
  const wide = parts.filter((part, k) => boxes[k].right > edge || part.scrollWidth > part.clientWidth + 1);
  const overlapping = parts.filter((part, k) => boxes.some((box, j) => j < k && !part.contains(parts[j]) && !parts[j].contains(part)
    && box.right > boxes[k].left + 1 && boxes[k].right > box.left + 1 && box.bottom > boxes[k].top + 1 && boxes[k].bottom > box.top + 1));
  return [...wide, ...overlapping].map((part) => part.className || part.tagName);
}"""

# Note on the page each event of the keyboard and the clipboard that reaches it.
LISTEN = """() => {
  window.heard = [];
  for (const kind of ["keydown", "keypress", "keyup", "copy", "cut", "paste"]) {
    document.addEventListener(kind, () => window.heard.push(kind));
  }
}"""


def reader(model=MODEL, texts=TEXTS, **words):
    return live_reader(model, texts, **{"title": "t", "alt": "a", "note": "n", "lr": 0.01, **words})


def read(widget):
    """Once it has come to rest."""
    at_rest(widget)
    return widget


def counts(widget):
    return widget.locator(".lim-counts strong").all_inner_texts()


def paper(widget):
    return widget.get_by_role("textbox")


@cache
def losses(text, optimizer="Adam", lr=0.01, stride=16):
    """Of each character of a text in bits, without and with learning."""
    make = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}[optimizer]
    model = WindowMLP(97, embedding=6, width=20, generator=torch.Generator().manual_seed(0)).double()
    static = evaluate_stream(model, encode(text), 8, stride).log_loss
    online = evaluate_stream(model, encode(text), 8, stride, partial(make, lr=lr)).log_loss
    return static / torch.tensor(2.0).log(), online / torch.tensor(2.0).log()


def expected(text, blocks=None, **words):
    """Means of both, gain, steps and FLOPs, after so many blocks."""
    stride = words.get("stride", 16)
    last = len(text) - 8
    blocks = -(-last // stride) if blocks is None else blocks
    done = min(last, blocks * stride)
    base, own = (each[:done].mean().item() for each in losses(text, **words))
    inputs = 8 * blocks + done - blocks
    near = pytest.approx
    return [near(base, abs=0.0051), near(own, abs=0.0051), near(100 * (1 - own / base), abs=0.051), blocks,
            near(3 * inputs / (7 + done), abs=0.051)]  # fmt: skip


def shown(widget):
    base, own, gain, *_ = counts(widget)
    assert all(re.fullmatch(r"\d+\.\d\d", each) for each in (base, own))
    assert re.fullmatch(r"−?\d+\.\d\u202f%", gain)
    return numbers([text.removesuffix(" ×") for text in counts(widget)])


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_first_text_is_read_at_once_and_the_numbers_are_torchs(show):
    widget, problems = show(reader())
    assert read(widget).get_attribute("data-state") == "done"
    text = TEXTS["a play"]
    assert shown(widget) == expected(text)
    assert widget.locator("figcaption span").inner_text() == "1000 of 1000 characters"
    base, own, gain, steps, _ = counts(widget)
    assert widget.get_by_role("img").get_attribute("aria-label") == (
        f"a After 1000 characters: static {base}, learning {own} bits per character, a gain of {gain} in {steps} steps."
    )
    inputs = 23 * 62
    assert widget.locator(".lim-note").inner_text() == (
        f"FLOPs, against static in one pass: 3 × for learning, {inputs / 999:.2f} × for context that each block reads again. n"
    )
    assert problems == []


def test_each_text_and_each_setting_is_read_anew(show):
    widget, problems = show(reader())
    text = TEXTS["a play"]
    read(widget)
    for name, place, words in [
        ("Learning rate", 0, {"lr": LEARNING_RATES[0]}),
        ("Learning rate", 4, {"lr": LEARNING_RATES[4]}),
        ("Stride", 0, {"lr": LEARNING_RATES[4], "stride": STRIDES[0]}),
        ("Stride", 3, {"lr": LEARNING_RATES[4], "stride": STRIDES[3]}),
    ]:
        put(widget, name, place)
        assert shown(read(widget)) == expected(text, **words)
    choose(widget, "Optimiser", "SGD")
    assert shown(read(widget)) == expected(text, optimizer="SGD", **words)
    for name in ("a program", "a manual", "a play"):
        choose(widget, "Text", name)
        assert paper(widget).input_value() == TEXTS[name]
        assert shown(read(widget)) == expected(TEXTS[name], optimizer="SGD", **words)
    assert problems == []


def test_it_opens_with_the_settings_that_it_was_given(show):
    widget, problems = show(reader(optimizer="SGD", lr=0.1, stride=4))
    assert shown(read(widget)) == expected(TEXTS["a play"], optimizer="SGD", lr=0.1, stride=4)
    assert widget.get_by_role("combobox", name="Optimiser").input_value() == "1"
    assert slider(widget, "Learning rate").get_attribute("aria-valuetext") == "0.1"
    assert slider(widget, "Stride").get_attribute("aria-valuetext") == "4"
    assert problems == []


def test_a_rate_that_harms_is_a_loss_in_numbers_and_in_colour(show):
    widget, problems = show(reader(lr=0.3))
    read(widget)
    assert shown(widget) == expected(TEXTS["a play"], lr=0.3)
    assert counts(widget)[2].startswith("−")
    gain = widget.locator(".lim-counts strong").nth(2)
    colour = "(text) => getComputedStyle(text).color"
    (rival,) = widget.evaluate(INKS, ["rival"])
    assert list(map(int, re.findall(r"\d+", gain.evaluate(colour)))) == rival
    put(widget, "Learning rate", 2)
    read(widget)
    assert not counts(widget)[2].startswith("−")
    assert list(map(int, re.findall(r"\d+", gain.evaluate(colour)))) != rival
    assert problems == []


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_a_rate_that_breaks_the_model_breaks_nothing_else(show, optimizer):
    model = WindowMLP(97, embedding=6, width=20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.head.weight *= 1e37
    widget, problems = show(reader(model, optimizer=optimizer, lrs=(0.01, 10), lr=10))
    read(widget)
    assert widget.evaluate(PICTURE) != "blank"
    assert "NaN" not in widget.inner_text()
    assert "NaN" not in widget.get_by_role("img").get_attribute("aria-label")
    assert problems == []


# --- a reader's own text ----------------------------------------------------------------------------------------------


def test_a_typed_text_is_read_as_it_is_typed(show):
    widget, problems = show(reader())
    read(widget)
    choose(widget, "Text", "your own")
    read(widget)
    assert paper(widget).input_value() == ""
    assert counts(widget) == ["–"] * 5
    assert widget.evaluate(PICTURE) != "blank"
    paper(widget).press_sequentially("To be or")
    read(widget)
    assert counts(widget) == ["–"] * 5
    assert widget.locator(".lim-note").inner_text() == "Type more than 8 characters. n"
    press(widget, "Run")
    press(widget, "One block")
    assert counts(widget) == ["–"] * 5
    paper(widget).press_sequentially(" not to be, that is the question:\nWhether")
    read(widget)
    text = "To be or not to be, that is the question:\nWhether"
    assert paper(widget).input_value() == text
    assert shown(widget) == expected(text)
    assert widget.locator("figcaption span").inner_text() == f"{len(text)} of {len(text)} characters"
    assert problems == []


def test_characters_outside_the_alphabet_are_read_as_one_symbol(show):
    widget, problems = show(reader())
    read(widget)
    text = "Café 你好, naïve \N{GRINNING FACE}! " * 8
    paper(widget).fill(text)
    assert shown(read(widget)) == expected(text)
    assert problems == []


def test_whoever_edits_a_sample_has_a_text_of_their_own_and_the_sample_stays(show):
    widget, problems = show(reader(own="My first words here. " * 6))
    read(widget)
    chosen = widget.get_by_role("combobox", name="Text")
    choose(widget, "Text", "your own")
    assert shown(read(widget)) == expected("My first words here. " * 6)
    choose(widget, "Text", "a play")
    read(widget)
    paper(widget).focus()
    paper(widget).press("Control+End")
    paper(widget).press_sequentially("Exit.")
    assert chosen.input_value() == "3"
    changed = TEXTS["a play"] + "Exit."
    assert shown(read(widget)) == expected(changed)
    choose(widget, "Text", "a play")
    assert paper(widget).input_value() == TEXTS["a play"]
    assert shown(read(widget)) == expected(TEXTS["a play"])
    choose(widget, "Text", "your own")
    assert paper(widget).input_value() == changed
    assert shown(read(widget)) == expected(changed)
    assert problems == []


def test_no_more_can_be_typed_than_the_widget_reads(show):
    widget, problems = show(reader())
    read(widget)
    assert paper(widget).get_attribute("maxlength") == "4000"
    assert widget.locator(".lim-typed output").inner_text() == "1000 of 4000"
    paper(widget).fill("")
    assert widget.locator(".lim-typed output").inner_text() == "0 of 4000"
    assert problems == []


def test_what_is_typed_does_not_reach_the_page(show):
    widget, problems = show(reader())
    read(widget).page.evaluate(LISTEN)
    paper(widget).focus()
    for key in (
        "a",
        "b",
        "d",
        "d",
        "Enter",
        "ArrowLeft",
        "Escape",
        "Shift+Enter",
        "Control+a",
        "Control+c",
        "Control+x",
        "Control+v",
    ):
        paper(widget).press(key)
    slider(widget, "Stride").press("ArrowLeft")
    assert set(widget.page.evaluate("() => window.heard")) <= {"keyup", "keypress"}, "and those only of the slider"
    before = widget.page.evaluate("() => window.heard.length")
    paper(widget).press_sequentially("more")
    assert widget.page.evaluate("() => window.heard.length") == before
    read(widget)
    assert problems == []


def test_the_textarea_is_named_and_reached_by_the_tab_key(show):
    widget, problems = show(reader())
    read(widget)
    assert widget.get_by_label("The text: edit or type").evaluate("(area) => area.tagName") == "TEXTAREA"
    slider(widget, "Stride").focus()
    widget.page.keyboard.press("Tab")
    widget.page.keyboard.type("Q")
    assert "Q" in paper(widget).input_value()
    widget.page.keyboard.press("Tab")
    assert widget.page.evaluate("() => document.activeElement.textContent") in ("Run", "Pause")
    read(widget)
    assert problems == []


# --- the picture ------------------------------------------------------------------------------------------------------


def trailing(bits, last):
    sums = torch.cat([bits.new_zeros(1), bits.cumsum(0)])
    places = torch.arange(1, len(bits) + 1)
    start = (places - last).clamp_min(0)
    return (sums[places] - sums[start]) / (places - start)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_learning_wins_and_loses_is_filled_between_the_curves(show, theme):
    """The area between the curves has one colour where learning is ahead, another where it is behind."""
    widget, problems = show(reader(lr=0.1, stride=4))
    read(widget)
    set_theme(widget, theme)
    redrawn(widget)
    canvas, text = widget.locator("canvas"), TEXTS["a play"]
    ink = dict(zip(("learned", "rival", "exact"), widget.evaluate(INKS, ["learned", "rival", "exact"])))
    width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    left, right, top, base = 28, width - 22, 8, height - 34
    still, learned = (trailing(bits, round(992 / 20)) for bits in losses(text, lr=0.1, stride=4))
    highest = max(each[15:].max().item() for each in (still, learned))
    ceiling = next(mark for mark in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20) if mark >= highest)

    def at(place, mean):
        return [left + (right - left) * (8 + place + 1) / len(text), base - (base - top) * mean / ceiling]

    far = ((still - learned).abs() * (base - top) / ceiling > 8).nonzero().flatten()
    far = far[far > 30]
    won = (learned < still)[far]
    assert 20 < won.sum() < len(won) - 20
    middles = [at(place, (still[place] + learned[place]).item() / 2) for place in far.tolist()]
    seen = torch.tensor(canvas.evaluate(COLOURS, middles)).double()
    for name, where in (("learned", won), ("rival", ~won)):
        right_colour = (seen[where, :3] - torch.tensor(ink[name])).abs().amax(1) < 8
        assert right_colour.double().mean() > 0.9, "but for a line that crosses"
        assert seen[where, 3].median().item() == pytest.approx(0.3 * 255, abs=3)
    for name, means in (("exact", still), ("learned", learned)):
        places = [at(place, means[place].item()) for place in far.tolist()]
        lines = torch.tensor(canvas.evaluate(COLOURS, places)).double()
        assert ((lines[:, :3] - torch.tensor(ink[name])).abs().amax(1) < 60).double().mean() > 0.8
    above = [[x, top + 2] for x, _ in middles if max(still.max(), learned.max()) < 0.95 * ceiling]
    assert all(cover == 0 for *_, cover in canvas.evaluate(COLOURS, above))
    assert problems == []


def test_where_nothing_is_learned_nothing_is_filled(show):
    """Before the first step the curves are one."""
    widget, problems = show(reader(stride=64))
    read(widget)
    canvas = widget.locator("canvas")
    width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    first = [[28 + (width - 50) * 50 / 1000, y] for y in range(10, int(height) - 36)]
    covers = [cover for *_, cover in canvas.evaluate(COLOURS, first)]
    assert sum(0 < cover < 255 for cover in covers) < 12, "grid lines and a line's edges"
    assert problems == []


# --- what each would write --------------------------------------------------------------------------------------------


def test_the_adapted_model_goes_on_in_the_style_of_the_text(show):
    widget, problems = show(reader(lr=0.03, stride=4))
    read(widget)
    paper(widget).fill(CAT)
    read(widget)
    static, learned = widget.locator(".lim-writing p").all_inner_texts()
    before = CAT[-30:]
    assert static.startswith(before)
    assert learned.startswith(before)
    assert learned[30:].count("cat sat on the mat.") >= 3
    assert "cat" not in static[30:]
    assert len(learned) > 100
    press(widget, "Start again")
    static, learned = widget.locator(".lim-writing p").all_inner_texts()
    assert static == learned
    assert static.startswith(CAT[:8])
    assert problems == []


def test_only_the_line_that_was_begun_stands_in_front_of_what_is_written(show):
    widget, problems = show(reader())
    read(widget)
    paper(widget).fill("A first line.\nA second line\nAnd more")
    read(widget)
    for place in (0, 1):
        assert widget.locator(".lim-writing .lim-before").nth(place).inner_text() == "And more"
    assert problems == []


# --- running ----------------------------------------------------------------------------------------------------------

LONG = passages("code", [0])[0][:4000]


# Press the first button, and say at once what that has changed.
RUN = """(card) => {
  card.querySelector("button").click();
  return [card.dataset.state, card.querySelector("figcaption span").textContent];
}"""


# How often another picture is asked for in a while.
FRAMES = """async () => {
  const ask = window.requestAnimationFrame;
  let count = 0;
  window.requestAnimationFrame = (tick) => { count++; return ask(tick); };
  await new Promise((over) => setTimeout(over, 250));
  window.requestAnimationFrame = ask;
  return count;
}"""


def done(widget):
    return int(widget.locator("figcaption span").inner_text().split()[0]) - 8


def test_it_runs_pauses_goes_on_block_by_block_and_starts_again(show):
    widget, problems = show(reader(own=LONG), still=False)
    read(widget)
    choose(widget, "Text", "your own")
    widget.page.wait_for_function("() => parseInt(document.querySelector('figcaption span').textContent) > 300")
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    assert widget.get_attribute("data-state") == "paused"
    scored = done(widget)
    assert 300 <= scored + 8 < 4000
    assert scored % 16 == 0
    assert shown(widget) == expected(LONG, scored // 16)
    redrawn(widget)
    assert done(widget) == scored, "it rests"
    press(widget, "One block")
    assert shown(widget) == expected(LONG, scored // 16 + 1)
    press(widget, "Run")
    assert widget.get_attribute("data-state") == "running"
    read(widget)
    assert widget.get_attribute("data-state") == "done"
    assert shown(widget) == expected(LONG)
    press(widget, "Start again")
    assert widget.get_attribute("data-state") == "paused"
    assert counts(widget) == ["–"] * 5
    press(widget, "One block")
    assert shown(widget) == expected(LONG, 1)
    press(widget, "Run")
    press(widget, "One block")
    assert widget.get_attribute("data-state") == "paused"
    press(widget, "Run")
    read(widget)
    assert shown(widget) == expected(LONG)
    assert widget.evaluate(RUN) == ["running", "8 of 4000 characters"], "from the start"
    widget.page.evaluate("() => window.stop()")
    stopped = done(widget)
    redrawn(widget)
    assert done(widget) == stopped
    assert problems == []


def test_a_change_while_it_runs_starts_it_afresh(show):
    widget, problems = show(reader(own=LONG), still=False)
    choose(widget, "Text", "your own")
    widget.page.wait_for_function("() => parseInt(document.querySelector('figcaption span').textContent) > 200")
    put(widget, "Learning rate", 1)
    assert widget.get_attribute("data-state") == "running"
    put(widget, "Stride", 3)
    choose(widget, "Optimiser", "SGD")
    choose(widget, "Text", "a program")
    assert shown(read(widget)) == expected(TEXTS["a program"], lr=LEARNING_RATES[1], stride=64, optimizer="SGD")
    choose(widget, "Text", "your own")
    put(widget, "Stride", 2)
    assert widget.evaluate(FRAMES) > 0
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    assert widget.evaluate(FRAMES) == 0, "what was given up does not go on"
    assert problems == []


@pytest.mark.parametrize("still", [True, False])
def test_without_motion_only_the_first_and_the_last_picture_are_drawn(show, still):
    model = WindowMLP(97, width=100, generator=torch.Generator().manual_seed(0))
    widget, problems = show(reader(model, stride=1), still=still)
    read(widget)
    if still:
        slow_down(widget, 0)  # and nobody waits for a clock
    put(widget, "Learning rate", 1)
    changes = widget.evaluate(CHANGES)
    assert changes <= 2 if still else changes > 3
    assert widget.get_attribute("data-state") == "done"
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(reader())
    read(widget)
    assert widget.get_by_role("slider").count() == 2
    assert widget.get_by_role("combobox").count() == 2
    assert_moves_on_a_phone(widget)
    read(widget)
    assert_fits(widget, 320)
    assert problems == []


@pytest.mark.parametrize("width", [340, 600, 860])
def test_nothing_reaches_beyond_the_widget_or_into_something_else(show, width):
    widget, problems = show(reader())
    read(widget)
    resize(widget, {"width": width + 16, "height": 900})
    assert widget.evaluate("(card) => card.offsetWidth") == width
    assert widget.evaluate(BEYOND) == []
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    widget, problems = show(reader(own=LONG))
    choose(widget, "Text", "your own")
    read(widget)
    for name, places in {"Learning rate": range(8), "Stride": range(4)}.items():
        tell_redraw_times(slider(widget, name), list(places))
    began = widget.page.evaluate("() => performance.now()")
    read(widget)
    print(f"then read after {widget.page.evaluate('() => performance.now()') - began:.0f} ms")
    assert problems == []

"""The live widget of a coloured text as a reader moves it: its colours and numbers are those of the losses that it carries."""

import re

import pytest
import torch
from hands import (
    COLOURS,
    INKS,
    assert_fits,
    assert_follows_the_theme,
    assert_moves_on_a_phone,
    choose,
    clashes,
    goes_on,
    numbers,
    press,
    put,
    redrawn,
    resize,
    set_theme,
    set_width,
    slider,
    state,
    tell_redraw_times,
)

from companion.teaching.widgets import live_reading
from companion.teaching.widgets.reading import STEPS, mean_bits, quantise
from tests.browser import PICTURE

PLAY = "Enter two Clowns.\nWhat is he that builds stronger than either the mason, the shipwright, or the carpenter?\n\n"
CODE = "    def builds(self, *, stronger=True):\n        return self.frame if stronger else None\n"
TEXT = PLAY * 12 + CODE * 12 + PLAY * 4
SIZE = len(TEXT)
CHANGES = {0: "a play", 12 * len(PLAY): "code", 12 * len(PLAY + CODE): "the play again"}
NAMES = ("static", "Adam 0.001", "SGD", "cache")
GENERATOR = torch.Generator().manual_seed(0)
LOSSES = {name: -torch.rand(SIZE, generator=GENERATOR).log() * scale for name, scale in zip(NAMES, (3, 1.5, 2, 3.5))}
LOSSES["static"][:20] = 0  # a reader that knows the first line by heart
LOSSES["static"][40], LOSSES["cache"][40] = 30, 30  # beyond the scale
LEVELS = dict(zip(NAMES, quantise(torch.stack(list(LOSSES.values())))))

ROWS, KEPT, PAD, FULL = 7, 2, 6, 8 * STEPS

# Width of a letter, and height and width of a panel.
SIZES = """(canvas) => {
  const pen = canvas.getContext("2d");
  pen.font = `${getComputedStyle(canvas).fontSize} ${FONT}`;
  return [pen.measureText("0".repeat(64)).width / 64, canvas.clientHeight, canvas.clientWidth];
}""".replace(
    "${FONT}",
    'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace',
)

# What must not lie over each other, nor reach beyond the widget.
PLACED = ".lim-title, .lim-control, button, figcaption > *, canvas, .lim-surprises, th, td, .lim-note"


def reading(**words):
    return live_reading(TEXT, LOSSES, **{"title": "t", "alt": "a", "note": "n", "marks": CHANGES, **words})


def table(widget):
    """The texts of the table: its head, then its rows."""
    rows = [row.locator("th, td").all_inner_texts() for row in widget.locator("table tr").all()]
    return [[text.replace("\n", " ") for text in texts] for texts in rows]


def assert_table(widget, place, lower="Adam 0.001", upper="static", character=None):
    """What the table says at a place, under the pointer another character."""
    (_, *heads), (_, *sofar), (_, *recent), (label, *chances) = table(widget)
    assert heads == [upper, lower, "gain"]
    for texts, span in ((sofar, None), (recent, 400)):
        one, other = (mean_bits(LEVELS[name], span)[place].item() for name in (upper, lower))
        assert numbers(texts[:2]) == pytest.approx([one, other], abs=0.0051)
        if one == 0:
            assert texts[2] == "–"
        else:
            gain = 100 * (1 - other / one)
            assert numbers(texts[2:]) == pytest.approx([gain], abs=0.051 if abs(gain) < 99.9 else 0.51)
    at = place if character is None else character
    assert label == f"Probability of {dict({' ': 'space', chr(10): '“↵”'}).get(TEXT[at], f'“{TEXT[at]}”')}"
    pair = [LEVELS[name][at].item() for name in (upper, lower)]
    for level, text in zip(pair, chances):
        if level in (0, 255):
            assert text == {0: ">97\u202f%", 255: "<0.002\u202f%"}[level]
        else:
            assert numbers([text]) == pytest.approx([100 * 2 ** (-level / STEPS)], rel=0.051)
    if {0, 255} & set(pair):
        assert chances[2] == ""
    else:
        assert numbers([chances[2].removeprefix("×\u202f")]) == pytest.approx(
            [2 ** ((pair[0] - pair[1]) / STEPS)], rel=0.051
        )


def panel(widget, row):
    return widget.locator(".lim-wide canvas").nth(row)


def layout(canvas):
    """Cell width, row height, and where each line begins, by a slower way than the widget's own."""
    cell, height, width = canvas.evaluate(SIZES)
    columns, starts, start = int((width - 2 * PAD) // cell), [0], 0
    while start < SIZE:
        piece = TEXT[start : start + columns]
        if "\n" in piece:
            words = piece[: piece.index("\n")]
            piece = words + re.match("\n+", piece[len(words) :])[0]
        elif start + columns < SIZE and piece.strip() and " " in piece[len(piece) - len(piece.lstrip()) :]:
            piece = piece[: piece.rindex(" ") + 1]
        start += len(piece)
        starts.append(start)
    return cell, (height - 2 * PAD) / ROWS, starts


def line_of(starts, place):
    return max(k for k, start in enumerate(starts) if start <= place)


def page(starts, place):
    """The first line on show, by turning pages."""
    line, top = line_of(starts, place), 0
    while line >= top + ROWS:
        top += ROWS - KEPT
    return max(0, min(top, len(starts) - 1 - ROWS))


def corners(canvas, place):
    """Of each place on show, where its cell's upper left corner is."""
    cell, row, starts = layout(canvas)
    top = page(starts, place)
    shown = range(starts[top], starts[min(top + ROWS, len(starts) - 1)])
    lines = {at: line_of(starts, at) for at in shown}
    return {at: (PAD + (at - starts[k]) * cell, PAD + (k - top) * row) for at, k in lines.items()}, cell, row


def colour_of(stops, level):
    at = 4 * min(FULL, level) / FULL
    low = min(3, int(at))
    return stops[low] + (at - low) * (stops[low + 1] - stops[low])


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_numbers_are_torchs_at_each_place_and_for_each_reader(show):
    widget, problems = show(reading(place=30))
    assert_table(widget, 30)
    for place in (0, 17, 19, 40, SIZE - 1, SIZE // 2, 401):
        put(widget, "Place", place)
        assert_table(widget, place)
        assert slider(widget, "Place").get_attribute("aria-valuetext") == f"{place + 1} of {SIZE}"
    for name in (*NAMES[2:], NAMES[1]):
        choose(widget, "Lower panel", NAMES.index(name) - 1)
        assert_table(widget, 401, name)
    put(widget, "Place", 40)
    choose(widget, "Lower panel", NAMES.index("cache") - 1)
    assert_table(widget, 40, "cache")
    assert problems == []


def test_a_reader_that_needs_more_bits_has_a_negative_gain(show):
    widget, problems = show(reading(static="SGD", shown="cache", place=SIZE - 1))
    assert_table(widget, SIZE - 1, "cache", "SGD")
    assert table(widget)[1][-1].startswith("−")
    assert widget.get_by_role("combobox").locator("option").all_inner_texts() == ["static", "Adam 0.001", "cache"]
    assert widget.locator("figcaption strong").all_inner_texts()[:2] == ["SGD", "cache"]
    assert problems == []


def test_the_author_of_the_place_stands_above_the_text(show):
    widget, problems = show(reading())
    for place, name in CHANGES.items():
        put(widget, "Place", place)
        assert widget.locator("figcaption span").first.inner_text() == name
        if place:
            put(widget, "Place", place - 1)
            assert widget.locator("figcaption span").first.inner_text() != name
    plain, problems = show(reading(marks=None))
    assert plain.locator("figcaption span").first.inner_text() == ""
    assert plain.locator(".lim-note").inner_text() == "n"
    assert problems == []


def test_the_pictures_are_told_in_words(show):
    widget, problems = show(reading(place=1500))
    labels = [canvas.get_attribute("aria-label") for canvas in widget.locator("canvas").all()]
    assert all(label.endswith(". a") for label in labels)
    _, _, starts = layout(panel(widget, 0))
    first = starts[page(starts, 1500)]
    assert first > 1000, "not the first page"
    for name, label in zip(NAMES, labels[:2]):
        mean = LEVELS[name][first:1501].double().mean().item() / STEPS
        said = re.fullmatch(rf"As {name} read it: characters (\d+) to 1501 of {SIZE}, at ([\d.]+) bits each\. a", label)
        assert int(said[1]) == first + 1
        assert float(said[2]) == pytest.approx(mean, abs=0.0051)
    said = re.findall(r"[−\d][\d.]*\d|\d", labels[2].replace("0.001", ""))
    means = [[mean_bits(LEVELS[name], span)[1500].item() for name in NAMES[:2]] for span in (400, None)]
    gain = 100 * (1 - means[1][1] / means[1][0])
    assert numbers(said) == pytest.approx([400, 1501, SIZE, *means[0], *means[1], gain], abs=0.051)
    assert problems == []


# --- the text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [340, 600, 860])
def test_each_character_that_was_read_stands_on_the_colour_of_its_loss(show, theme, width):
    widget, problems = show(reading())
    set_theme(widget, theme)
    set_width(widget, width)
    for place in (25, 1350, SIZE - 1, 400):
        put(widget, "Place", place)
        redrawn(widget)
        stops = torch.tensor(widget.evaluate(INKS, [f"surprise-{k}" for k in range(5)]), dtype=torch.float64)
        for row, name in enumerate(("static", "Adam 0.001")):
            places, cell, _ = corners(panel(widget, row), place)
            assert place in places
            spots = [[x + cell / 2, y + 2.5] for x, y in places.values()]  # above the letter, inside the frame
            seen = torch.tensor(panel(widget, row).evaluate(COLOURS, spots), dtype=torch.float64)[:, :3]
            levels = [LEVELS[name][at].item() if at <= place else 0 for at in places]
            wanted = torch.stack([colour_of(stops, level) for level in levels])
            assert ((seen - wanted).abs().amax(1) < 4).all()
            assert len(places) > 100
    assert problems == []


def test_a_page_is_turned_when_it_is_full_and_keeps_its_last_lines(show):
    widget, problems = show(reading())
    canvas = panel(widget, 0)
    _, _, starts = layout(canvas)
    put(widget, "Place", starts[ROWS] - 1)
    before, _, _ = corners(canvas, starts[ROWS] - 1)
    last = widget.locator("canvas").first.get_attribute("aria-label")
    assert "characters 1 to" in last
    put(widget, "Place", starts[ROWS])
    after, _, _ = corners(canvas, starts[ROWS])
    assert f"characters {starts[ROWS - KEPT] + 1} to" in widget.locator("canvas").first.get_attribute("aria-label")
    kept = sorted(before.keys() & after.keys())
    assert kept == list(range(starts[ROWS - KEPT], starts[ROWS]))
    assert problems == []


def test_the_pointer_tells_the_probability_of_a_character_that_was_read(show):
    widget, problems = show(reading(place=150))
    mouse = widget.page.mouse
    for row in (0, 1):
        canvas = panel(widget, row)
        canvas.scroll_into_view_if_needed()
        box, (places, cell, height) = canvas.bounding_box(), corners(canvas, 150)
        before = widget.evaluate(PICTURE)
        for at in (3, 40, 149):
            mouse.move(box["x"] + places[at][0] + 0.6 * cell, box["y"] + places[at][1] + 0.6 * height)
            assert_table(widget, 150, character=at)
            assert widget.evaluate(PICTURE) != before
        mouse.move(box["x"] + places[155][0] + 0.5 * cell, box["y"] + places[155][1] + 0.5 * height)
        assert_table(widget, 150)
        mouse.move(box["x"] + places[40][0] + 0.5 * cell, box["y"] + places[40][1] + 0.5 * height)
        mouse.move(box["x"] + box["width"] - 2, box["y"] + 4)
        assert_table(widget, 150)
        assert widget.evaluate(PICTURE) == before, "nothing is left of it"
        mouse.move(box["x"] + places[40][0] + 0.5 * cell, box["y"] + places[40][1] + 0.5 * height)
        assert_table(widget, 150, character=40)
        mouse.move(1, 1)
        assert_table(widget, 150)
    mouse.move(box["x"] + places[40][0] + 0.5 * cell, box["y"] + places[40][1] + 0.5 * height)
    put(widget, "Place", 30)
    assert_table(widget, 30)
    mouse.move(1, 1)
    assert_table(widget, 30)
    assert problems == []


def test_a_finger_points_until_the_place_moves(show):
    widget, problems = show(reading(place=150))
    canvas = panel(widget, 1)
    canvas.scroll_into_view_if_needed()
    box, (places, cell, height) = canvas.bounding_box(), corners(canvas, 150)
    touch = {
        "pointerType": "touch",
        "clientX": box["x"] + places[7][0] + 0.5 * cell,
        "clientY": box["y"] + places[7][1] + 0.5 * height,
    }
    for name in ("pointerdown", "pointerup", "pointerleave"):
        canvas.dispatch_event(name, touch)
        assert_table(widget, 150, character=7)
    choose(widget, "Lower panel", 1)
    assert_table(widget, 150, "SGD", character=7)
    put(widget, "Place", 151)
    assert_table(widget, 151, "SGD")
    assert problems == []


# --- the curve --------------------------------------------------------------------------------------------------------


def test_the_curve_can_be_dragged(show):
    widget, problems = show(reading())
    canvas = widget.locator("canvas").last
    canvas.scroll_into_view_if_needed()
    box, mouse = canvas.bounding_box(), widget.page.mouse
    left, right = box["x"] + 40, box["x"] + box["width"] - 10
    before = widget.evaluate(PICTURE)
    mouse.move(left + 0.25 * (right - left), box["y"] + 60)
    mouse.down()
    place = int(slider(widget, "Place").input_value())
    assert place == pytest.approx(0.25 * (SIZE - 1), abs=3)
    assert_table(widget, place)
    assert widget.evaluate(PICTURE) != before
    mouse.move(right + 60, box["y"] + 80)
    mouse.up()
    assert slider(widget, "Place").input_value() == str(SIZE - 1)
    mouse.move(left, box["y"] + 80)
    assert slider(widget, "Place").input_value() == str(SIZE - 1), "released"
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_lines_are_where_the_means_are(show, theme):
    widget, problems = show(reading(place=SIZE - 1, marks=None))
    set_theme(widget, theme)
    redrawn(widget)
    canvas = widget.locator("canvas").last
    width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    left, right, top, base = 40, width - 10, 22, height - 34
    means = {name: mean_bits(levels, 400) for name, levels in LEVELS.items()}
    ceiling = 1.05 * max(each[49:].max().item() for each in means.values())
    (blue, orange) = torch.tensor(widget.evaluate(INKS, ["learned", "rival"]), dtype=torch.float64)
    places = list(range(60, SIZE - 60, 25))
    for name, ink, least in (
        ("Adam 0.001", blue, 0.95),
        ("static", orange, 0.5),
    ):  # that of the static reader is dashed
        spots = [
            [left + (right - left) * at / (SIZE - 1), base - (base - top) * means[name][at].item() / ceiling]
            for at in places
        ]
        seen = torch.tensor(canvas.evaluate(COLOURS, spots), dtype=torch.float64)[:, :3]
        assert ((seen - ink).abs().amax(1) < 60).double().mean() > least
    assert problems == []


def test_what_has_not_been_read_is_fainter_in_the_curve(show):
    widget, problems = show(reading(place=SIZE // 2, marks=None))
    redrawn(widget)
    canvas = widget.locator("canvas").last
    width = canvas.evaluate("(canvas) => canvas.clientWidth")
    (blue,) = widget.evaluate(INKS, ["learned"])
    strip = """(canvas, [from, to, blue]) => {
      const ratio = canvas.width / canvas.clientWidth, pen = canvas.getContext("2d");
      const { data } = pen.getImageData(from * ratio, 22 * ratio, (to - from) * ratio, canvas.height - 57 * ratio);
      let most = 0;
      for (let at = 0; at < data.length; at += 4) if (blue.every((part, k) => Math.abs(part - data[at + k]) < 30)) most = Math.max(most, data[at + 3]);
      return most;
    }"""
    middle = 40 + (width - 50) / 2
    read, unread = (canvas.evaluate(strip, [*ends, blue]) for ends in ([80, middle - 12], [middle + 12, width - 14]))
    assert read > 240
    assert 60 < unread < 140
    assert problems == []


# --- playing ----------------------------------------------------------------------------------------------------------


def test_it_reads_pauses_and_goes_on(show):
    widget, problems = show(reading(), still=False)
    press(widget, "Play")
    widget.page.wait_for_function("() => Number(document.querySelector('.lim-widget input').value) > 20")
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    place = int(slider(widget, "Place").input_value())
    assert 20 < place < SIZE
    assert_table(widget, place)
    press(widget, "One step")
    assert_table(widget, place + 1)
    goes_on(widget, place + 2, SIZE, where="output")
    assert_table(widget, SIZE - 1)
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_the_lower_reader_can_change_while_it_plays(show):
    widget, problems = show(reading(), still=False)
    press(widget, "Play")
    state(widget, "running")
    choose(widget, "Lower panel", 2)
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    assert_table(widget, int(slider(widget, "Place").input_value()), "cache")
    assert problems == []


def test_it_can_be_taken_away_while_it_plays(show):
    widget, problems = show(reading(), still=False)
    press(widget, "Play")
    state(widget, "running")
    widget.page.evaluate("() => window.stop()")
    place = slider(widget, "Place").input_value()
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 400))")
    assert slider(widget, "Place").input_value() == place, "it reads no farther"
    press(widget, "Pause")
    press(widget, "Play")
    widget.page.evaluate("() => document.querySelector('.lim-widget').remove()")
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 400))")
    assert problems == []


def test_without_motion_a_play_is_at_its_end_at_once(show):
    widget, problems = show(reading())
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "done"
    assert_table(widget, SIZE - 1)
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(reading(place=200))
    assert widget.get_by_role("slider").count() == 1
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


@pytest.mark.parametrize(("width", "window"), [(324, 340), (324, 1280), (600, 1280), (860, 1280)])
def test_nothing_lies_over_another_thing_or_reaches_beyond_the_widget(show, width, window):
    """A column of the book or of Lab may be narrower than its window."""
    widget, problems = show(reading(place=40, shown="cache"))
    resize(widget, {"width": window, "height": 900})
    set_width(widget, width)
    assert clashes(widget, PLACED) == []
    below = widget.locator("table").bounding_box()["y"] > widget.locator("canvas").last.bounding_box()["y"] + 50
    assert below == (width < 860), "beside the curve where there is room"
    assert problems == []


@pytest.mark.parametrize("width", [324, 415, 600, 860])
def test_it_is_equally_high_at_every_place(show, width):
    widget, problems = show(reading())
    set_width(widget, width)
    wide, narrow, space, broken = (TEXT.index(character) for character in ("W", "i", " ", "\n"))
    heights = set()
    for place in (0, wide, narrow, space, broken, 40, SIZE - 1):
        put(widget, "Place", place)
        heights.add(widget.evaluate("(card) => card.offsetHeight"))
    assert len(heights) == 1
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(reading(place=100))
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_two_readers_need_no_list_and_the_shortest_text_is_shown(show):
    losses = {name: LOSSES[name][:2] for name in ("static", "SGD")}
    widget, problems = show(live_reading("a\n", losses, title="t", alt="a"))
    assert widget.get_by_role("combobox").count() == 0
    assert widget.evaluate(PICTURE) != "blank"
    press(widget, "One step")
    assert widget.get_attribute("data-state") == "done"
    assert "NaN" not in widget.inner_text()
    assert problems == []


def test_the_longest_names_fit(show):
    names = ["a reader who has a long name", "another one, of 28 letters. "]
    losses = dict(zip(names, list(LOSSES.values())[:2]))
    marks = {at: f"the author of character {at}" for at in range(0, SIZE, SIZE // 7)}
    widget, problems = show(live_reading(TEXT, losses, title="t", alt="a", marks=marks, place=150))
    for width in (324, 600, 860):
        set_width(widget, width)
        assert clashes(widget, PLACED) == []
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    text = (TEXT * 30)[:16_000]
    losses = {f"reader {k}": each.repeat(30)[:16_000] for k, each in enumerate((*LOSSES.values(), *LOSSES.values()))}
    widget, problems = show(live_reading(text, losses, title="t", alt="a", marks={0: "a", 8000: "b"}))
    for control, values in (
        (slider(widget, "Place"), list(range(0, 16_000, 400))),
        (widget.get_by_role("combobox"), [1, 3, 2, 6]),
    ):
        tell_redraw_times(control, values)
    assert problems == []

"""The live widget of a labelled stream as a reader moves it: its numbers and its map are torch's."""

import math
import re
from functools import cache

import pytest
import torch
from hands import (
    INKS,
    assert_moves_on_a_phone,
    captions,
    choose,
    goes_on,
    press,
    put,
    redraw_times,
    set_theme,
    slider,
    tell_redraw_times,
)

from companion.data.streams import Stream, moving_classes
from companion.foundations.online import centred_one_hot
from companion.methods.kalman import KalmanHead, average_log_softmax
from companion.teaching.widgets import live_stream
from companion.teaching.widgets.stream import GAMMA_RATES, GAMMAS, plane_bumps, stream_path
from tests.browser import PICTURE

ROWS, TRAIL = 240, 40
NOISE = torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
NAMES = ("abrupt", "slow", "none")
STREAMS = {name: moving_classes(ROWS, name, segment=80, generator=torch.Generator().manual_seed(0)) for name in NAMES}
LETTERS = "ABCD"

# The colours of some places of a canvas; a place is (across, down) in shares of it.
SHARES = """(canvas, places) => places.map(([across, down]) => Array.from(
  canvas.getContext("2d").getImageData(across * canvas.width, down * canvas.height, 1, 1).data.slice(0, 3)))"""


def stream(streams=STREAMS, noise=NOISE, **words):
    return live_stream(streams, noise, **{"title": "t", "alt": "a", "note": "n", **words})


@cache
def path(name="abrupt", gamma=1.0, learn=False, rate=1e-4):
    points, labels, _ = STREAMS[name]
    words = {"num_classes": 3, "gamma": gamma, "learn": learn, "gamma_rate": rate}
    return stream_path(plane_bumps(points.double()), labels, NOISE, **words)


def loss(found, rows=ROWS):
    return -found.log_prob[:rows].mean().item()


def chances_before(row, places):
    """Class probabilities at some places of the plane, by what is learned of the first rows: torch's own filter."""
    points, labels, _ = STREAMS["abrupt"]
    found, head = path(learn=True), KalmanHead(37, 3, learn_gamma=True)
    for own, label, delta in zip(plane_bumps(points[:row].double()), labels, found.delta):
        head.delta.data.copy_(delta)
        head.update(own[None], centred_one_hot(label[None], 3, torch.float64))
    mean, variance = head.predict(plane_bumps(places.double()))
    alpha = found.alpha[row - 1] if row else torch.tensor(5.0, dtype=torch.float64)
    return average_log_softmax(mean, variance, alpha, NOISE[:, None].expand(-1, len(places), -1)).exp().detach()


@cache
def best(name="abrupt"):
    return min(GAMMAS, key=lambda gamma: loss(path(name, gamma)))


def numbers(widget):
    """Of each line of the table that is shown: its name, log-loss and accuracy."""
    rows = [row.locator("th, td").all_inner_texts() for row in widget.locator("tbody tr:visible").all()]
    return {name: (float(loss), float(share.rstrip("\u202f%"))) for name, loss, share in rows}


def expected_numbers(rows, name="abrupt", rate=1e-4, hand=None):
    runs = {"γ learned": path(name, learn=True, rate=rate)}
    if hand is not None:
        runs[f"γ = {hand:g}, by hand"] = path(name, hand)
    runs[f"γ = {best(name):g}, best in hindsight"] = path(name, best(name))
    runs["γ = 1, never forgets"] = path(name)
    exact = {text: (loss(run, rows), 100 * run.correct[:rows].double().mean().item()) for text, run in runs.items()}
    return {text: (pytest.approx(a, rel=6e-3, abs=6e-5), pytest.approx(b, abs=0.051)) for text, (a, b) in exact.items()}


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_numbers_after_each_row_are_torchs(show):
    widget, problems = show(stream())
    assert widget.get_attribute("data-state") == "done", "all rows are there from the start"
    for rows in (ROWS, 1, 97, 83):
        put(widget, "Row", rows)
        assert numbers(widget) == expected_numbers(rows)
        assert widget.locator("thead th").first.inner_text() == f"rows 1–{rows}"
        _, (_, memory), (_, recent) = captions(widget)
        learned = path(learn=True)
        gamma = math.exp(-learned.delta[rows - 1].item() / 2)
        assert float(memory.split("= ")[1]) == pytest.approx(gamma, abs=0.06 * (1 - gamma) + 1e-12)
        now = -learned.log_prob[max(0, rows - TRAIL) : rows].mean().item()
        assert float(recent.split(": ")[1]) == pytest.approx(now, rel=6e-3)
    put(widget, "Row", 0)
    assert widget.locator("thead th").first.inner_text() == "no row yet"
    assert set(widget.locator("tbody td").all_inner_texts()) == {"–"}
    assert problems == []


def test_the_next_point_is_predicted_before_it_is_learned(show):
    widget, problems = show(stream())
    points, labels, _ = STREAMS["abrupt"]
    for row in (0, 81, 120):
        put(widget, "Row", row)
        (chances,) = chances_before(row, points[row, None])
        (title, words), *_ = captions(widget)
        assert title == f"Row {row + 1}"
        said, share, label = re.findall(r"says (.) at ([\d.]+)\u202f%, is (.)", words)[0]
        assert (said, label) == (LETTERS[chances.argmax()], LETTERS[labels[row]])
        assert float(share) == pytest.approx(100 * chances.max().item(), abs=0.051)
    put(widget, "Row", ROWS)
    assert captions(widget)[0] == [f"After row {ROWS}", "no more to come"]
    assert problems == []


def test_another_stream_or_another_rate_is_learned_anew_at_the_row_on_show(show):
    widget, problems = show(stream())
    put(widget, "Row", 150)
    for index, name in [(1, "slow"), (2, "none"), (0, "abrupt")]:
        choose(widget, "Stream", index)
        assert numbers(widget) == expected_numbers(150, name)
    for place in (7, 0, 5):
        put(widget, "Rate ρ", place)
        assert numbers(widget) == expected_numbers(150, rate=GAMMA_RATES[place])
    assert slider(widget, "Rate ρ").get_attribute("aria-valuetext") == "3·10⁻⁴"
    choose(widget, "Stream", 1)
    assert numbers(widget) == expected_numbers(150, "slow", rate=3e-4)
    assert problems == []


def test_forgetting_by_hand_has_its_own_slider_and_its_own_line(show):
    widget, problems = show(stream(gamma=0.99))
    assert slider(widget, "γ by hand").count() == 0
    put(widget, "Row", 130)
    before = widget.evaluate(PICTURE)
    choose(widget, "Forgetting", "by hand")
    assert slider(widget, "Rate ρ").count() == 0
    assert widget.evaluate(PICTURE) != before
    for place in (2, 0, 8):
        put(widget, "γ by hand", place)
        assert numbers(widget) == expected_numbers(130, hand=GAMMAS[place])
        assert captions(widget)[1][1] == f"by hand: γ = {GAMMAS[place]:g}"
    choose(widget, "Forgetting", "learned")
    assert widget.evaluate(PICTURE) == before
    assert numbers(widget) == expected_numbers(130)
    assert problems == []
    assert slider(show(stream(learned=False))[0], "γ by hand").count() == 1


def test_the_note_compares_all_rows_and_says_that_the_best_constant_is_known_afterwards(show):
    widget, problems = show(stream())
    for index, name in enumerate(NAMES):
        choose(widget, "Stream", index)
        note = widget.locator(".lim-note").inner_text()
        found = re.findall(
            r"all 240 rows: ([\d.]+) with γ learned, ([\d.]+) with γ = 1; of 9 constants the best, known only "
            r"afterwards, is ([\d.]+) with ([\d.]+)\. n$", note,
        )[0]  # fmt: skip
        learned, still, gamma, least = map(float, found)
        assert gamma == best(name)
        expected = [loss(path(name, learn=True)), loss(path(name)), loss(path(name, gamma))]
        assert [learned, still, least] == pytest.approx(expected, rel=6e-3)
    choose(widget, "Forgetting", "by hand")
    assert "with γ = 0.99 by hand" in widget.locator(".lim-note").inner_text()
    assert problems == []


# --- the picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_map_has_the_colour_of_a_class_where_it_is_sure_and_the_backgrounds_where_it_is_not(show, theme):
    widget, problems = show(stream())
    set_theme(widget, theme)
    put(widget, "Row", 79)
    palette = torch.tensor(widget.evaluate(INKS, ["surface", "class-0", "class-1", "class-2"]), dtype=torch.float64)
    shares = 0.05 + 0.9 * torch.rand(800, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = torch.stack([6 * shares[:, 0] - 3, 3 - 6 * shares[:, 1]], 1)
    chances = chances_before(79, places)
    colours = torch.tensor(widget.locator("canvas").first.evaluate(SHARES, shares.tolist()), dtype=torch.float64)
    away = colours - palette[0]

    free = (torch.cdist(places, STREAMS["abrupt"].features[39:80].double()) > 0.35).all(1)  # no point lies there
    sure, unsure = free & (chances.max(1).values > 0.9), free & (chances.max(1).values < 0.5)
    assert min(sure.sum(), unsure.sum()) > 20
    assert away[sure].norm(dim=1).mean() > 4 * away[unsure].norm(dim=1).mean()
    towards = torch.nn.functional.normalize(palette[1:] - palette[0], dim=1)
    assert ((away @ towards.T).argmax(1) == chances.argmax(1))[sure].double().mean() > 0.97
    assert problems == []


def test_the_row_can_be_dragged_along_both_plots(show):
    widget, problems = show(stream())
    for canvas in widget.locator("canvas").all()[1:]:
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        left, right = box["x"] + 48, box["x"] + box["width"] - 16
        mouse = widget.page.mouse
        mouse.move(left + 0.25 * (right - left), box["y"] + 60)
        before = widget.evaluate(PICTURE)
        mouse.down()
        assert int(slider(widget, "Row").input_value()) == pytest.approx(60, abs=2)
        assert widget.evaluate(PICTURE) != before
        mouse.move(left + 0.75 * (right - left), box["y"] + 80, steps=3)
        assert int(slider(widget, "Row").input_value()) == pytest.approx(180, abs=2)
        mouse.move(right + 60, box["y"] + 80)
        mouse.up()
        mouse.move(left, box["y"] + 60)
        assert slider(widget, "Row").input_value() == str(ROWS), "no farther than the last, and let go"
    assert problems == []


def test_it_plays_from_the_first_row_pauses_and_goes_on(show):
    widget, problems = show(stream(), still=False)
    press(widget, "Play")
    widget.page.wait_for_function("() => Number(document.querySelector(\"input[max='240']\").value) % 240 > 5")
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    row = int(slider(widget, "Row").input_value())
    assert 5 < row < ROWS
    assert numbers(widget) == expected_numbers(row)
    press(widget, "One step")
    assert numbers(widget) == expected_numbers(row + 1)
    goes_on(widget, row + 2, ROWS, "figcaption strong")  # which names the row that comes next
    assert numbers(widget) == expected_numbers(ROWS)
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_without_motion_a_play_is_at_its_end_at_once(show):
    widget, problems = show(stream())
    press(widget, "One step")
    assert slider(widget, "Row").input_value() == "1", "after the last comes the first"
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "done"
    assert problems == []


@pytest.mark.parametrize("learned", [True, False])
def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show, learned):
    widget, problems = show(stream(learned=learned))
    assert widget.get_by_role("slider").count() == 2
    assert_moves_on_a_phone(widget)
    assert problems == []


@pytest.mark.parametrize("classes", [2, 4])
def test_one_stream_of_other_numbers_of_classes_and_points_beyond_the_square_are_shown(show, classes):
    points, labels, _ = moving_classes(60, num_classes=classes, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(4, classes, generator=torch.Generator().manual_seed(1))
    gammas = {"gammas": (0.9, 0.99), "gamma": 0.99}
    widget, problems = show(live_stream({"only": Stream(3 * points, labels)}, noise, title="t", alt="a", **gammas))
    put(widget, "Row", 59)
    assert widget.evaluate(PICTURE) != "blank"
    assert [f"class {letter}" in widget.inner_text() for letter in LETTERS] == [k < classes for k in range(4)]
    assert len(numbers(widget)) == 3, "gamma = 1 is compared with where it is no choice, too"
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    streams = {name: moving_classes(600, name, generator=torch.Generator().manual_seed(0)) for name in NAMES}
    noise = torch.randn(32, 3, generator=torch.Generator().manual_seed(1))
    widget, problems = show(stream(streams, noise))
    for control in (slider(widget, "Row"), slider(widget, "Rate ρ")):
        last = int(control.get_attribute("max"))
        tell_redraw_times(control, [round(share * last) for share in (0, 0.9, 0.2, 0.7, 0.5, 0.4, 0.1, 1)])
    names = widget.get_by_role("combobox", name="Stream")
    (_, new), (_, seen) = redraw_times(names, [1, 2]), redraw_times(names, [0, 1])
    print(f"a new stream: {new:.0f} ms, one seen before: {seen:.0f} ms")
    assert problems == []

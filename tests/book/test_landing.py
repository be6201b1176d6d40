"""The front page: its widget goes from noise to data and back, each lesson's card has a thumbnail that moves, and the routes
are those of the curriculum."""

import math
import re
from pathlib import PurePosixPath

import pytest
import torch
import yaml
from hands import (
    assert_fits,
    assert_follows_the_theme,
    clashes,
    press,
    put,
    redrawn,
    set_theme,
    slider,
    slow_down,
    state,
    tell_redraw_times,
)

from companion.classroom.book import ROOT
from companion.foundations.diffusion import sample
from companion.foundations.mixtures import GaussianMixture
from companion.teaching.curriculum import LESSONS, ROUTES
from tests.browser import PICTURE

INDEX = "book/index"
STEPS = [1, 2, 4, 8, 16, 60]
POSITIONS = "(figure) => Array.from(figure.positions())"

# Scrolls until a share of the canvas, from its top, is at the window's lower edge.
RAISE = """(canvas, share) => {
  const box = canvas.getBoundingClientRect();
  scrollBy({ top: box.top + share * box.height - innerHeight, behavior: "instant" });
}"""

# What a card shows before it plays, and in its first two pictures.
PLAY_TWICE = """(card) => {
  const canvas = card.querySelector("canvas"), shown = [canvas.toDataURL()], asked = [];
  window.requestAnimationFrame = (tick) => asked.push(tick);
  card.dispatchEvent(new PointerEvent("pointerenter"));
  for (const now of [1e6, 1e6 + 80]) {
    asked.shift()(now);
    shown.push(canvas.toDataURL());
  }
  return shown;
}"""


def stage(seen):
    return seen.page.locator(".lim-stage")


def cards(seen):
    return seen.page.locator(".lim-card-live").all()


def stem(link):
    return PurePosixPath(link.get_attribute("href")).stem


def positions(widget):
    """(times, points, 2)."""
    return torch.tensor(widget.evaluate(POSITIONS), dtype=torch.float64).view(61, -1, 2)


def lemniscate():
    """The widget's law: narrow Gaussians along a lemniscate."""
    angle = 2 * math.pi * torch.arange(56, dtype=torch.float64) / 56
    size = 2.3 / (1 + angle.sin() ** 2)
    means = torch.stack([size * angle.cos(), size * angle.sin() * angle.cos()], dim=1)
    return GaussianMixture(means, torch.full((56,), 0.045, dtype=torch.float64))


# -- the widget --


def test_the_widget_comes_before_a_word_is_read(visit):
    seen = visit(INDEX)
    assert seen.page.locator("h1 + .lim-stage + .lim-lead").count() == 1
    picture = stage(seen).get_by_role("img")
    assert "figure eight" in picture.get_attribute("aria-label")
    assert picture.bounding_box()["y"] < 300
    assert "Steps" in stage(seen).locator("figcaption").inner_text()
    assert seen.problems == []


@pytest.mark.parametrize("name", ["Time", "Steps"])
def test_sliders_change_the_picture_by_mouse_and_from_the_keyboard(visit, name):
    seen = visit(INDEX)
    widget, control = stage(seen), slider(stage(seen), name)
    before = widget.evaluate(PICTURE)
    box = control.bounding_box()
    control.click(position={"x": 0.25 * box["width"], "y": box["height"] / 2})
    redrawn(widget)
    clicked, said = widget.evaluate(PICTURE), control.get_attribute("aria-valuetext")
    control.press("ArrowLeft")
    redrawn(widget)
    assert control.get_attribute("aria-valuetext") != said
    assert len({before, clicked, widget.evaluate(PICTURE)}) == 3
    control.press("ArrowRight")
    redrawn(widget)
    assert widget.evaluate(PICTURE) == clicked  # every way back is the way there
    assert seen.problems == []


def test_sliders_say_what_they_mean(visit):
    widget = stage(visit(INDEX))
    time, steps = (slider(widget, name) for name in ("Time", "Steps"))
    assert time.get_attribute("aria-valuetext") == "t = 0.00"
    put(widget, "Time", 0)
    assert time.get_attribute("aria-valuetext") == "t = 1.00"
    for place, number in enumerate(STEPS):
        put(widget, "Steps", place)
        assert steps.get_attribute("aria-valuetext") == str(number)
        assert widget.locator(".lim-controls span").last.inner_text() == str(number)


@pytest.mark.parametrize("steps", [1, 4, 60])
def test_points_go_where_the_exact_sampler_takes_them(visit, steps):
    widget = stage(visit(INDEX))
    put(widget, "Steps", STEPS.index(steps))
    found = positions(widget)[:: 60 // steps]
    times = (1 - torch.arange(steps + 1, dtype=torch.float64) / steps) ** 1.6
    expected = torch.stack(list(sample(lemniscate().denoise, found[0], times)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_few_steps_do_not_get_there(visit):
    """As the caption says: with one step all points end in one place, and the figure grows with the steps."""
    widget, widths = stage(visit(INDEX)), []
    for place in range(len(STEPS)):
        put(widget, "Steps", place)
        widths.append(positions(widget)[-1, :, 0].std().item())
    assert widths[0] < 1e-6
    assert widths == sorted(widths)
    assert widths[-1] > 2.5 * widths[1]


def test_how_long_a_move_of_the_steps_takes_is_told(visit):
    tell_redraw_times(slider(stage(visit(INDEX)), "Steps"), [5, 4, 5, 3, 5])


def test_it_plays_once_and_then_when_asked(visit):
    seen = visit(INDEX, still=False)
    widget = stage(seen)
    state(widget, "done")
    end = widget.evaluate(PICTURE)
    assert slider(widget, "Time").input_value() == "60"
    press(widget, "Play")
    press(widget, "Pause")
    state(widget, "paused")
    paused = widget.evaluate(PICTURE)
    seen.page.wait_for_timeout(300)
    assert widget.evaluate(PICTURE) == paused != end
    slow_down(widget, 100)
    press(widget, "Play")
    state(widget, "done")
    assert widget.evaluate(PICTURE) == end
    press(widget, "Play")
    put(widget, "Time", 30)
    state(widget, "paused")  # whoever takes the slider has it
    assert slider(widget, "Time").input_value() == "30"
    assert seen.problems == []


# -- thumbnails --


def test_every_lesson_has_a_card_with_a_thumbnail(visit):
    shown = cards(visit(INDEX))
    assert sorted(stem(card.locator("> a")) for card in shown) == sorted(one.stem for one in LESSONS.values())
    for card in shown:
        card.scroll_into_view_if_needed()
        redrawn(card)
        assert card.locator("> canvas[aria-hidden=true]").count() == 1
        assert card.evaluate(PICTURE) != "blank"


def test_a_thumbnail_moves_while_its_card_is_hovered(visit):
    seen = visit(INDEX, still=False)
    state(stage(seen), "done")
    slow_down(stage(seen), 100)
    for card in cards(seen):
        seen.page.mouse.move(0, 0)
        card.scroll_into_view_if_needed()
        redrawn(card)
        moves(card, False)
        rest = card.evaluate(PICTURE)
        card.hover()
        moves(card, True)
        leaves(card, rest)
    seen.page.mouse.move(0, 0)
    moves(card, False)
    left = card.evaluate(PICTURE)
    redrawn(card)
    assert card.evaluate(PICTURE) == left
    assert seen.problems == []


def test_a_thumbnail_moves_while_its_card_has_the_focus(visit):
    seen = visit(INDEX, still=False)
    state(stage(seen), "done")
    slow_down(stage(seen), 100)
    card = cards(seen)[0]
    card.scroll_into_view_if_needed()
    redrawn(card)
    moves(card, False)
    rest = card.evaluate(PICTURE)
    card.locator("> a").focus()
    moves(card, True)
    leaves(card, rest)
    card.locator("> a").blur()
    moves(card, False)


def moves(card, wanted):
    """Wait until the card's thumbnail runs, or stands still."""
    card.locator(f"> canvas[data-state={'running' if wanted else 'still'}]").wait_for()


def leaves(card, picture):
    """Wait until a thumbnail shows another picture: a sketch may rest for a while at its end."""
    for _ in range(50):
        redrawn(card)
        if card.evaluate(PICTURE) != picture:
            return
    pytest.fail(card.inner_text())


@pytest.mark.parametrize("size", [(1280, 400), (360, 640), (700, 150)], ids=["desk", "phone", "lower than a thumbnail"])
def test_a_thumbnail_plays_once_when_most_of_it_is_in_view(visit, size):
    seen = visit(INDEX, size, still=False)
    card = cards(seen)[-1]
    canvas = card.locator("> canvas")
    canvas.evaluate(RAISE, 0.25)
    redrawn(card)
    before = card.evaluate(PICTURE)
    assert before != "blank"
    seen.page.wait_for_timeout(300)
    moves(card, False)
    assert card.evaluate(PICTURE) == before
    canvas.evaluate(RAISE, 0.8)
    moves(card, True)
    moves(card, False)
    assert seen.problems == []


def test_a_thumbnail_goes_on_from_where_it_stood(visit):
    """Its first picture is the one on show, however long ago anything played."""
    seen = visit(INDEX, still=False)
    card = cards(seen)[-1]
    card.scroll_into_view_if_needed()
    moves(card, True)
    seen.page.wait_for_function("() => document.querySelector('canvas[data-state=running]') === null")
    rest, first, second = card.evaluate(PLAY_TWICE)
    assert rest == first != second


# -- everyone --


def test_nothing_moves_for_who_asks_for_stillness(visit):
    seen = visit(INDEX)
    state(stage(seen), "done")
    assert slider(stage(seen), "Time").input_value() == "60"
    for one in [stage(seen), *cards(seen)]:
        one.scroll_into_view_if_needed()
        one.hover()
        redrawn(one)
        before = one.evaluate(PICTURE)
        seen.page.wait_for_timeout(150)
        assert one.evaluate(PICTURE) == before != "blank"


def test_what_moves_stops_for_who_then_asks_for_stillness(visit):
    seen = visit(INDEX, still=False)
    widget, card = stage(seen), cards(seen)[0]
    state(widget, "done")
    card.hover()
    moves(card, True)
    widget.get_by_role("button", name="Play").dispatch_event("click")  # the mouse stays on the card
    state(widget, "running")
    seen.page.emulate_media(reduced_motion="reduce")
    state(widget, "paused")
    moves(card, False)
    seen.page.emulate_media(reduced_motion="no-preference")
    moves(card, True)
    state(widget, "paused")  # it has a button to go on
    assert seen.problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_follow_the_theme(visit, theme):
    seen = visit(INDEX)
    for one in (stage(seen), cards(seen)[0]):
        set_theme(one, "light")
        one.scroll_into_view_if_needed()
        redrawn(one)
        assert_follows_the_theme(one, theme)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits(visit, width):
    seen = visit(INDEX)
    assert_fits(stage(seen), width)
    parts = "canvas, button, label, .lim-controls span, input, figcaption"
    assert clashes(stage(seen), parts) == []
    for card in cards(seen):
        card.scroll_into_view_if_needed()
        redrawn(card)
        size, drawn = card.locator("> canvas").evaluate(
            "(canvas) => [canvas.clientWidth / canvas.clientHeight, canvas.width / canvas.height]"
        )
        assert size == pytest.approx(16 / 7, rel=0.02)
        assert drawn == pytest.approx(16 / 7, rel=0.02)
    assert seen.problems == []


# -- words --


def test_routes_are_those_of_the_curriculum(visit):
    shown = []
    for card in visit(INDEX).page.locator(".lim-card-route").all():
        lessons = [(link.inner_text(), stem(link)) for link in card.locator("li a").all()]
        minutes = card.locator(".sd-card-body > p").inner_text()
        shown.append((card.locator(".sd-card-title").inner_text(), lessons, minutes))
    assert shown == [(name, *announced(route)) for name, route in ROUTES.items()]


def announced(route):
    """Its lessons with their pages, and its minutes; of a route by the minute what it plans, its exercise last."""
    lessons, last = [LESSONS[name] for name in route.lessons], route.meetings[-1]
    planned = re.fullmatch(r"(\d+)–(\d+)", last.when)
    if planned:
        start, end = map(int, planned.groups())
        words = f"{start} minutes for the lessons, {end - start} for {last.what.replace(' in pairs,', '')}"
    else:
        read, exercises = (divmod(sum(getattr(one, kind) for one in lessons), 60) for kind in ("read", "exercises"))
        words = "{} hours {} minutes to read, {} hours {} minutes for all exercises".format(*read, *exercises)
    return [(one.id, one.stem) for one in lessons], words


def test_a_chip_of_a_route_has_the_name_of_its_lesson(visit):
    """The name begins with what is seen, so that whoever speaks to the browser can say it."""
    for card in visit(INDEX).page.locator(".lim-card-route").all():
        assert card.locator("ol").get_attribute("role") == "list"  # its list has no bullets
        for link in card.get_by_role("list").get_by_role("link").all():
            one = LESSONS[link.inner_text()]
            name = f"{one.id} · {one.title}"
            assert card.get_by_role("link", name=name, exact=True).get_attribute("href") == link.get_attribute("href")
            assert link.get_attribute("title") == name


def test_how_to_cite_is_what_the_citation_file_says(visit):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    said = " ".join(visit(INDEX).page.locator("#what-is-inside-and-how-to-cite-it").inner_text().split())
    for words in (citation["title"], f"version {citation['version']}", citation["authors"][0]["name"]):
        assert words in said

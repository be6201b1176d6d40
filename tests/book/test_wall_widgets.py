"""The live widget of a stream of tasks as a reader moves it: what it shows are the numbers that it carries."""

import pytest
import torch
from hands import (
    COLOURS,
    INKS,
    assert_fits,
    assert_follows_the_theme,
    assert_moves_on_a_phone,
    clashes,
    press,
    put,
    redrawn,
    resize,
    set_width,
    slider,
    state,
    tell_redraw_times,
)

from companion.teaching.widgets import live_wall
from tests.browser import PICTURE

COUNT, PALE, LEFT, STRIP = 30, 0.22, 34, 13
ENTERS = {"digits": 0, "textures": 0, "faces": 7, "several labels": 20}
FAMILIES = ["digits", "textures"] + [
    [family for family, first in ENTERS.items() if first <= place][place % 4 if place >= 20 else place % 2 + (place >= 7)]
    for place in range(2, COUNT)
]  # fmt: skip
GREYS = [20 + 7 * place for place in range(COUNT)]
GENERATOR = torch.Generator().manual_seed(3)
OTHERS = torch.randint(0, 256, (COUNT, 2, 6, 6), generator=GENERATOR, dtype=torch.uint8)
TASKS = [
    {
        "name": f"task number {place}",
        "family": family,
        "classes": 2 + place % 5,
        "train": 50 + 47 * place,
        "labels": family == "several labels",
        "pictures": torch.cat([torch.full((1, 6, 6), GREYS[place], dtype=torch.uint8), OTHERS[place]]),
        "captions": [f"class {k + place % 3}" for k in range(3)],
    }
    for place, family in enumerate(FAMILIES)
]
NAMES = ["independent", "previous", "dynamic"]
ERRORS = 0.2 + 0.5 * torch.rand(3, COUNT, generator=GENERATOR, dtype=torch.float64)
ERRORS[1, 12:] -= 0.1
ERRORS[2, 20:] -= 0.15
MEANS = ERRORS.cumsum(1) / torch.arange(1, COUNT + 1)

# The grey values of a picture, pixel by pixel.
GREY = "(canvas) => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).filter((_, k) => k % 4 === 0)"

# What must not lie over each other, nor reach beyond the widget.
PLACED = ".lim-title, .lim-control, button, .lim-winner, figcaption > *, canvas.lim-canvas, .lim-label, .lim-task, .lim-facts, .lim-samples span, caption, td, thead th, .lim-learner > *, .lim-note"


def wall(tasks=TASKS, learners=None, **words):
    usual = {"title": "t", "alt": "a", "note": "n"}
    return live_wall(tasks, learners or dict(zip(NAMES, ERRORS)), **(usual | words))


def fullest():
    """160 tasks of 10 families, 12 learners, 16 pictures, and the longest of everything."""
    tasks = [
        TASKS[place % COUNT] | {
            "name": f"{place} has a name of forty letters in it.."[:40].ljust(40, "x"),
            "family": f"family {place // 9 % 10} of long names"[:24].ljust(24, "y"),
            "pictures": torch.full((16, 13, 13), place, dtype=torch.uint8),
            "captions": ["a caption wx" if place % 2 else "wwwwwwwwwwww"] * 16,
        }
        for place in range(160)
    ]  # fmt: skip
    errors = torch.rand(12, 160, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    names = [f"learner {k} has a name of forty letters"[:40].ljust(40, "x") for k in range(11)] + ["w" * 40]
    return wall(tasks, dict(zip(names, errors)))


def canvas(widget):
    return widget.locator("canvas.lim-bricks")


def grid(widget):
    """Columns and the side of a place, from the width: for 30 tasks all have room in places of 60 pixels, or less."""
    across = canvas(widget).evaluate("(canvas) => canvas.clientWidth") - LEFT
    columns = min(COUNT, -(-across // 60))
    return columns, min(60, across / columns)


def middle(widget, place):
    """The middle of a task's picture, in CSS pixels of the wall."""
    columns, pitch = grid(widget)
    row, column = divmod(place, columns)
    return LEFT + column * pitch + (pitch - 3) / 2, 2 + row * (pitch + STRIP) + (pitch - 3) / 2


def seen(widget):
    """Grey and opacity of each task's picture on the wall."""
    redrawn(widget)
    places = [middle(widget, place) for place in range(COUNT)]
    colours = torch.tensor(canvas(widget).evaluate(COLOURS, places), dtype=torch.float64)
    return colours[:, 0], colours[:, 3] / 255


def go(widget, place):
    put(widget, "Task", place + 1)


def click_on(widget, place):
    x, y = middle(widget, place)
    canvas(widget).click(position={"x": x, "y": y})


def winner(widget):
    return widget.locator(".lim-winner [role=status]").inner_text().replace("\u202f", "")


def wanted_sentence(place, shown=(0, 1, 2), reference=0):
    means, family = MEANS[:, place], FAMILIES[place]
    count = FAMILIES[: place + 1].count(family)
    ends = {1: "st", 2: "nd", 3: "rd", 21: "st"}
    met = "a family met for the first time" if count == 1 else f"the {count}{ends.get(count, 'th')} of its family"
    order = sorted(shown, key=lambda learner: means[learner].item())
    best, other = order[0], order[1] if order[0] == reference else reference
    beside = f"{100 * means[best]:.1f}%, {100 * (means[other] - means[best]):.1f} points below ‘{NAMES[other]}’."
    named = f"‘{NAMES[best]}’, the reference," if best == reference else f"‘{NAMES[best]}’"
    return f"Task {place + 1} of {COUNT}, {family}: {met}. So far {named} has the lowest mean error, {beside}"


def table(widget):
    """The rows of the list, as texts: learner, this task, so far, ahead."""
    rows = widget.locator("tbody tr").all()
    return [[text.strip() for text in row.locator("th, td").all_inner_texts()] for row in rows]


def assert_shows(widget, place, shown=(0, 1, 2), reference=0):
    """Sentence, task, families and table are those of a task."""
    assert winner(widget) == wanted_sentence(place, shown, reference)
    assert slider(widget, "Task").input_value() == str(place + 1)
    assert slider(widget, "Task").get_attribute("aria-valuetext") == f"{place + 1} of {COUNT}"
    task = TASKS[place]
    assert widget.locator(".lim-task").inner_text() == f"{task['name']} ({task['family']})"
    asked = "labels, several at once" if task["labels"] else "classes, one label each"
    assert (
        widget.locator(".lim-facts").inner_text() == f"{task['classes']} {asked}; {task['train']:,} training pictures"
    )
    assert widget.locator(".lim-samples span").all_inner_texts() == task["captions"]
    for which, picture in enumerate(widget.locator(".lim-sample").all()):
        assert picture.evaluate(GREY) == task["pictures"][which].flatten().tolist()
    met = FAMILIES[: place + 1]
    assert widget.locator(".lim-family .lim-sofar").all_inner_texts() == [str(met.count(family)) for family in ENTERS]
    for learner, (name, now, mean, ahead) in enumerate(table(widget)):
        assert name == NAMES[learner]
        if learner not in shown:
            assert [now, mean, ahead] == ["–"] * 3
            continue
        assert now == f"{100 * ERRORS[learner, place]:.1f}\u202f%"
        assert mean == f"{100 * MEANS[learner, place]:.1f}\u202f%"
        points = 100 * (MEANS[reference, place] - MEANS[learner, place]).item()
        wanted = f"{abs(points):.1f}\xa0{'ahead' if points > 0 else 'behind'}" if abs(points) >= 0.05 else "level"
        assert ahead == ("reference" if learner == reference else wanted)
    best = min(shown, key=lambda learner: MEANS[learner, place].item())
    assert widget.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.matches('.lim-leader'))") == [
        learner == best for learner in range(3)
    ]


# --- what it shows ------------------------------------------------------------------------------------------------------


def test_the_slider_goes_to_each_task_and_all_numbers_follow(show):
    widget, problems = show(wall(place=7))
    assert_shows(widget, 7)
    for place in (0, 3, 19, 20, 21, 29):
        go(widget, place)
        assert_shows(widget, place)
    best = {min(range(3), key=lambda learner: MEANS[learner, place].item()) for place in (0, 3, 19, 20, 29)}
    assert len(best) > 1, "the lead was seen to change"
    assert problems == []


def test_tasks_that_are_not_met_are_pale_and_the_current_one_is_ringed(show):
    widget, problems = show(wall())
    ink = torch.tensor(widget.evaluate(INKS, ["ink"])[0], dtype=torch.float64)
    for place in (0, 11, 29):
        go(widget, place)
        greys, opacity = seen(widget)
        assert opacity[: place + 1].eq(1).all()
        assert torch.allclose(opacity[place + 1 :], torch.tensor(PALE, dtype=torch.float64), atol=0.01)
        torch.testing.assert_close(greys[: place + 1], torch.tensor(GREYS[: place + 1]).double(), rtol=0, atol=1)
        x, y = middle(widget, place)
        _, pitch = grid(widget)
        ring = canvas(widget).evaluate(COLOURS, [[x - (pitch - 3) / 2 - 1.5, y], [x + 3, y - (pitch - 3) / 2 - 1.5]])
        assert (torch.tensor(ring).double()[:, :3] - ink).abs().max() < 10
    assert problems == []


def test_a_click_on_the_wall_goes_there_and_a_drag_scrubs(show):
    widget, problems = show(wall())
    for place in (13, 4, 29):
        click_on(widget, place)
        assert_shows(widget, place)
    canvas(widget).click(position={"x": 4, "y": 20})
    assert_shows(widget, 29)
    edge, mouse = canvas(widget).bounding_box(), widget.page.mouse
    at = [(edge["x"] + x, edge["y"] + y) for x, y in (middle(widget, place) for place in range(COUNT))]
    mouse.move(*at[2])
    assert canvas(widget).get_attribute("title") == f"3: task number 2, {FAMILIES[2]}"
    mouse.down()
    mouse.move(*at[6])
    assert_shows(widget, 6)
    mouse.move(*at[17])
    mouse.up()
    assert_shows(widget, 17)
    mouse.move(*at[1])
    assert_shows(widget, 17)
    assert problems == []


def test_the_plot_can_be_dragged_from_task_to_task(show):
    widget, problems = show(wall())
    plot = widget.locator("canvas.lim-slide")
    plot.scroll_into_view_if_needed()
    edge, mouse = plot.bounding_box(), widget.page.mouse
    at = [edge["x"] + 54 + (edge["width"] - 64) * place / (COUNT - 1) for place in range(COUNT)]
    mouse.move(at[9], edge["y"] + 60)
    mouse.down()
    assert_shows(widget, 9)
    mouse.move(at[25] + 2, edge["y"] + 30)
    assert_shows(widget, 25)
    mouse.up()
    assert problems == []


def test_a_family_is_lit_while_it_is_pointed_at_and_stays_when_it_is_pressed(show):
    widget, problems = show(wall(place=11))
    faces = widget.get_by_role("button", name="faces")
    is_faces, is_met = torch.tensor([family == "faces" for family in FAMILIES]), torch.arange(COUNT) <= 11
    plain = torch.where(is_met, 1, PALE)
    lit = torch.where(is_faces, torch.where(is_met, 1, 0.5), torch.where(is_met, 0.25, 0.08))

    def assert_opacity(wanted):
        torch.testing.assert_close(seen(widget)[1], wanted.double(), rtol=0, atol=0.01)

    faces.hover()
    assert_opacity(lit)
    widget.page.mouse.move(1, 1)
    assert_opacity(plain)
    faces.click()
    widget.page.mouse.move(1, 1)
    assert_opacity(lit)
    assert faces.get_attribute("aria-pressed") == "true"
    go(widget, 29)
    assert_opacity(torch.where(is_faces, 1, 0.25))
    widget.get_by_role("button", name="digits").click()
    assert faces.get_attribute("aria-pressed") == "false"
    widget.get_by_role("button", name="digits").click()
    widget.page.mouse.move(1, 1)
    go(widget, 11)
    assert_opacity(plain)
    widget.get_by_role("button", name="textures").focus()
    widget.page.keyboard.press("Tab")
    assert_opacity(lit)
    widget.page.keyboard.press("Enter")
    widget.page.keyboard.press("Shift+Tab")
    widget.get_by_role("checkbox").nth(1).focus()
    assert_opacity(lit)
    faces.dispatch_event("click")
    faces.dispatch_event("pointerenter", {"pointerType": "touch"})
    assert_opacity(plain)
    assert problems == []


def test_a_family_that_has_not_entered_is_pale_and_says_when_it_will(show):
    widget, problems = show(wall(place=19))
    several = widget.locator(".lim-family").nth(3)
    assert several.get_attribute("aria-label") == "several labels: not yet, enters at task 24"
    assert "lim-absent" in several.get_attribute("class")
    assert FAMILIES.index("several labels") == 23
    go(widget, 23)
    assert several.get_attribute("aria-label") == "several labels: 1 so far"
    assert "lim-absent" not in several.get_attribute("class")
    assert problems == []


def test_learners_are_shown_and_hidden_and_the_reference_stays(show):
    widget, problems = show(wall(shown=["previous", "independent"], place=15))
    boxes = [widget.get_by_role("checkbox", name=name) for name in NAMES]
    assert [box.is_checked() for box in boxes] == [True, True, False]
    assert [box.is_disabled() for box in boxes] == [False, True, False]
    assert_shows(widget, 15, (0, 1), 1)
    before = widget.evaluate(PICTURE)
    boxes[2].press("Space")
    assert widget.evaluate(PICTURE) != before
    assert_shows(widget, 15, (0, 1, 2), 1)
    boxes[0].uncheck()
    go(widget, 28)
    assert_shows(widget, 28, (1, 2), 1)
    boxes[2].uncheck()
    assert winner(widget).endswith(f"So far ‘previous’ has a mean error of {100 * MEANS[1, 28]:.1f}%.")
    assert problems == []


def test_the_plot_runs_through_the_means_up_to_the_task_and_is_pale_beyond(show):
    widget, problems = show(wall(shown=["dynamic"], place=14))
    redrawn(widget)
    plot, own = widget.locator("canvas.lim-slide"), MEANS[2]
    width, height = plot.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    settled = own[2:]  # the first twentieth tells little
    room = max(0.02, 0.12 * (settled.max() - settled.min()).item())
    low, high = settled.min().item() - room, settled.max().item() + room

    def spot(place):
        x = 54 + (width - 64) * place / (COUNT - 1)
        return x, height - 34 - (height - 44) * (own[place].item() - low) / (high - low)

    opacity = torch.tensor(plot.evaluate(COLOURS, [list(spot(place)) for place in range(2, COUNT - 1)]))[:, 3] / 255
    assert opacity[:13].min() > 0.75
    assert 0.1 < opacity[14:].min() <= opacity[14:].max() < 0.6
    assert problems == []


def test_the_pictures_are_told_in_words(show):
    widget, problems = show(wall(place=9))
    said = canvas(widget).get_attribute("aria-label")
    met = ", ".join(f"{family} {FAMILIES[:10].count(family)}" for family in ("digits", "textures", "faces") if family in FAMILIES[:10])  # fmt: skip
    assert (
        said
        == f"A wall of 30 pictures, one for each task in time; 10 are met. Families so far: {met}. Not yet: several labels. a"
    )
    said = widget.locator("canvas.lim-slide").get_attribute("aria-label").replace("\u202f", "")
    means = ", ".join(f"{name} {100 * MEANS[k, 9]:.1f}%" for k, name in enumerate(NAMES))
    assert said == f"Mean error of tasks 1 to 10: {means}."
    assert widget.locator("figcaption span").all_inner_texts() == ["10 of 30 met", "tasks 1 to 10"]
    assert problems == []


# --- playing ----------------------------------------------------------------------------------------------------------


def test_a_play_goes_through_the_tasks_and_can_be_stopped(show):
    widget, problems = show(wall(place=23), still=False)
    press(widget, "Play")
    assert widget.locator(".lim-winner [role=status]").get_attribute("aria-live") == "off", "not each task is read out"
    widget.page.wait_for_function("() => Number(document.querySelector('.lim-widget input').value) > 24")
    press(widget, "Pause")
    place = int(slider(widget, "Task").input_value()) - 1
    assert_shows(widget, place)
    assert widget.locator(".lim-winner [role=status]").get_attribute("aria-live") == "polite"
    click_on(widget, 26)
    press(widget, "Play")
    widget.get_by_role("checkbox", name="previous").uncheck()
    assert widget.get_attribute("data-state") == "running", "a learner less does not stop it"
    state(widget, "done")
    assert_shows(widget, 29, (0, 2))
    press(widget, "Next")
    assert_shows(widget, 0, (0, 2))
    press(widget, "Next")
    assert_shows(widget, 1, (0, 2))
    press(widget, "Play")
    click_on(widget, 6)
    assert widget.get_attribute("data-state") == "paused"
    press(widget, "Play")
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_without_motion_a_play_is_at_its_end_at_once(show):
    widget, problems = show(wall())
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "done"
    assert_shows(widget, 29)
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_the_slider_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(wall())
    assert widget.get_by_role("slider").count() == 1
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


@pytest.mark.parametrize(("width", "window"), [(304, 320), (374, 390), (600, 1280), (860, 1280)])
def test_nothing_lies_over_another_thing_or_reaches_beyond_or_jumps(show, width, window):
    for given, last in ((wall(), COUNT), (fullest(), 160)):
        widget, problems = show(given)
        resize(widget, {"width": window, "height": 900})
        set_width(widget, width)
        heights = set()
        for number in (1, 2, 10, last // 2, last):
            put(widget, "Task", number)
            assert clashes(widget, PLACED) == []
            heights.add(widget.evaluate("(card) => [card, ...card.querySelectorAll('canvas, tr')].map((each) => Math.round(each.getBoundingClientRect().top + each.offsetHeight)).join()"))  # fmt: skip
        assert len(heights) == 1, "nothing moves while the task does"
        widget.get_by_role("checkbox").nth(1).uncheck()
        assert clashes(widget, PLACED) == []
        assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(wall(place=5))
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_two_tasks_one_learner_and_one_picture_are_enough(show):
    tasks = [TASKS[0] | {"name": f"{k}", "pictures": torch.zeros(1, 1, 1, dtype=torch.uint8), "captions": [""]} for k in "ab"]  # fmt: skip
    widget, problems = show(wall(tasks, {"alone": [0.0, 1.0]}))
    assert (
        winner(widget)
        == "Task 1 of 2, digits: a family met for the first time. So far ‘alone’ has a mean error of 0.0%."
    )
    press(widget, "Next")
    assert winner(widget) == "Task 2 of 2, digits: the 2nd of its family. So far ‘alone’ has a mean error of 50.0%."
    assert not widget.locator(".lim-samples span").is_visible()
    assert "NaN" not in widget.inner_text()
    assert widget.evaluate(PICTURE) != "blank"
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    widget, problems = show(fullest())
    tell_redraw_times(slider(widget, "Task"), [1 + 7 * k for k in range(20)])
    assert problems == []

"""The live widget of accuracy against compute as a reader moves it: what it shows are the numbers that it carries."""

import math

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

from companion.teaching.widgets import live_curves
from tests.browser import PICTURE

BUDGETS = [0.5e9, 1e9, 2e9, 4e9, 8e9, 16e9]
TASKS = ["greek", "digits", "shapes"]
NAMES = ["whole", "weakest half cut", "most filters cut at random", "a head on a frozen network", "from scratch"]
GROUPS = ["whole", "pruned", "random", "frozen", "scratch"]
STEPS = [[0, 0, 1, 3, 7, 28], [0, 1, 3, 6, 13, 27], [1, 4, 8, 17, 34, 1068], None, [0, 0, 0, 0, 0, 2]]
FIRSTS = [2, 1, 0, 0, 5]
ENDS = torch.tensor([0.92, 0.85, 0.72, 0.6, 0.5], dtype=torch.float64)
GENERATOR = torch.Generator().manual_seed(5)


def shares():
    """(ways, seeds, tasks, budgets): each way comes to its end, and a head is there at once."""
    counts = torch.tensor([steps or [40] * 6 for steps in STEPS], dtype=torch.float64)
    level = 0.1 + (ENDS[:, None] - 0.1) * (1 - (-counts / 5).exp())
    noise = 0.03 * torch.randn(5, 5, 3, 6, generator=GENERATOR, dtype=torch.float64)
    own = torch.tensor([-0.08, 0.0, 0.08], dtype=torch.float64)[:, None]
    return (level[:, None, None] + noise + own).clamp(0, 1)


SHARES = shares()
WAYS = {
    name: {"accuracy": values, "steps": steps, "group": group}
    for name, values, steps, group in zip(NAMES, SHARES, STEPS, GROUPS)
}
LEFT, RIGHT, TOP, BELOW = 54, 10, 10, 34

# What must not lie over each other, nor reach beyond the widget.
PLACED = ".lim-title, .lim-control, button, .lim-winner, figcaption > *, canvas, .lim-key span, .lim-way > span, legend, td, thead th, .lim-named > span, .lim-bar, .lim-note"


def curves(ways=WAYS, budgets=BUDGETS, **words):
    usual = {"title": "t", "alt": "a", "note": "n", "reference": "whole", "tasks": TASKS}
    return live_curves(ways, budgets, **(usual | words))


def by_seed(task=None):
    """(ways, seeds, budgets), of one task or the mean of all; nan where nothing can be learned yet."""
    values = (SHARES.mean(2) if task is None else SHARES[:, :, task]).clone()
    for way, first in enumerate(FIRSTS):
        values[way, :, :first] = math.nan
    return values


def means(task=None):
    return by_seed(task).mean(1)


def table(widget):
    """The rows of the list, as texts: name, right, updates, gain."""
    return [
        [text.strip() for text in row.locator("th, td").all_inner_texts()] for row in widget.locator("tbody tr").all()
    ]


def order_at(place, task=None, shown=range(5)):
    values = means(task)[:, place].nan_to_num(-1)
    return sorted(shown, key=lambda way: -values[way].item())


def assert_table(widget, place, task=None, shown=range(5), reference=0):
    rows, values = table(widget), means(task)[:, place]
    order = order_at(place, task, shown)
    assert [row[0] for row in rows] == [NAMES[way] for way in order]
    for way, (_, *texts) in zip(order, rows):
        if values[way].isnan():
            assert texts == ["cannot afford one update"]
            continue
        right, updates, gain = texts
        assert numbers([right]) == pytest.approx([100 * values[way].item()], abs=0.051)
        assert updates == ("none" if STEPS[way] is None else str(STEPS[way][place]))
        if way == reference:
            assert gain == "reference"
        elif values[reference].isnan():
            assert gain == "–"
        else:
            wanted = 100 * (values[way] / values[reference] - 1).item()
            assert numbers([gain.replace("±", "")]) == pytest.approx(
                [wanted], abs=0.051 if abs(wanted) < 99.9 else 0.51
            )
            assert gain.startswith("+" if wanted > 0.05 else "−" if wanted < -0.05 else ("±", "+", "−"))


def winner(widget):
    text = widget.locator(".lim-winner [role=status]").inner_text()
    return text.replace("\u202f", "").replace("\xa0", " ")


def box(widget, name):
    return widget.get_by_role("checkbox", name=name)


def canvas(widget):
    return widget.locator("canvas.lim-scene")


def spot(widget, budget, share, up=(0, 1), log=True, range_of=BUDGETS):
    """Where a share at a budget lies on the canvas, in CSS pixels of it."""
    width, height = canvas(widget).evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    scale = (lambda value: math.log10(value / 1e9)) if log else (lambda value: value / 1e9)
    low, high = scale(range_of[0]), scale(range_of[-1])
    low, high = (low - 0.03 * (high - low), high + 0.03 * (high - low)) if log else (0, 1.03 * high)
    x = LEFT + (width - RIGHT - LEFT) * (scale(budget) - low) / (high - low)
    return x, height - BELOW - (height - BELOW - TOP) * (share - up[0]) / (up[1] - up[0])


def colours(widget, places):
    """Red, green, blue and opacity of some places."""
    return torch.tensor(canvas(widget).evaluate(COLOURS, [list(place) for place in places]), dtype=torch.float64)


def inks(widget, *names):
    return torch.tensor(widget.evaluate(INKS, list(names)), dtype=torch.float64)


def hue(way):
    """The name of a way's colour: the reference has none of the hues."""
    return "ink" if way == 0 else ["learned", "rival", "third", "way-3"][way - 1]


def is_like(seen, ink):
    return ((seen[..., :3] - ink).abs().amax(-1) < 40) & (seen[..., 3] > 200)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_list_is_torchs_at_each_budget_and_for_each_task(show):
    widget, problems = show(curves())
    assert_table(widget, 3)
    for place in (0, 1, 2, 4, 5):
        put(widget, "Budget", place)
        assert_table(widget, place)
        assert slider(widget, "Budget").get_attribute("aria-valuetext") == f"{BUDGETS[place] / 1e9:g}\xa0GFLOP"
    for task in (1, 2, 0):
        choose(widget, "Task", task + 1)
        assert_table(widget, 5, task)
        assert widget.locator("figcaption span").inner_text() == TASKS[task]
    put(widget, "Budget", 1)
    assert_table(widget, 1, 0)
    choose(widget, "Task", 0)
    assert_table(widget, 1)
    assert widget.locator("figcaption span").inner_text() == "mean of 3 tasks"
    assert problems == []


def test_who_wins_is_named_with_its_gain_and_its_seeds(show):
    widget, problems = show(curves())
    for place, task in ((0, None), (2, None), (3, 2), (5, None), (5, 0)):
        put(widget, "Budget", place)
        choose(widget, "Task", 0 if task is None else task + 1)
        (best, second, *_), values = order_at(place, task), means(task)[:, place]
        alive = by_seed(task)[[way for way in range(5) if way != best and not values[way].isnan()], :, place]
        won = (by_seed(task)[best, :, place] > alive.amax(0)).sum().item()
        wins = f"wins (best in {won} of 5 seeds)"
        begin = f"At {BUDGETS[place] / 1e9:g} GFLOP, ‘{NAMES[best]}’"
        if best == 0:
            beside = f", the reference, {wins}: {100 * values[0]:.1f}% right, +{100 * (values[0] / values[second] - 1):.1f}% over ‘{NAMES[second]}’."
        elif values[0].isnan():
            beside = f" {wins}: {100 * values[best]:.1f}% right; ‘whole’ cannot afford one update."
        else:
            gain = 100 * (values[best] / values[0] - 1)
            beside = f" {wins}: {100 * values[best]:.1f}% right, +{gain:.{0 if gain > 99.95 else 1}f}% over ‘whole’."
        assert winner(widget) == f"{begin}{beside}"
    assert {order_at(0)[0], order_at(5)[0]} == {3, 0}, "the sentence was seen with and without the reference"
    assert problems == []


def test_the_picture_is_told_in_words(show):
    widget, problems = show(curves(budget=2e9))
    said = canvas(widget).get_attribute("aria-label").replace("\u202f", "").replace("\xa0", " ")
    assert said.startswith("Accuracy against compute, mean of 3 tasks, mean and range of 5 seeds. At 2 GFLOP: ")
    assert said.endswith(". a")
    seeds = by_seed()[:, :, 2]
    for way in range(4):
        mean, low, high = (100 * value.item() for value in (seeds[way].mean(), seeds[way].min(), seeds[way].max()))
        assert f"{NAMES[way]} {mean:.1f}% ({low:.1f}% to {high:.1f}%)" in said
    assert "from scratch cannot afford one update" in said
    leaders = [NAMES[order_at(place)[0]] for place in range(6)]
    assert leaders[0] == leaders[1] == NAMES[3]
    assert "Best of those shown: ‘a head on a frozen network’ from 0.5 GFLOP to" in said
    choose(widget, "Shown", 1)
    said = canvas(widget).get_attribute("aria-label").replace("\u202f", "").replace("\xa0", " ")
    mean, low, high = (100 - 100 * value.item() for value in (seeds[0].mean(), seeds[0].max(), seeds[0].min()))
    assert said.startswith("Error against compute")
    assert f"whole {mean:.1f}% ({low:.1f}% to {high:.1f}%)" in said
    name = widget.get_by_role("table").get_attribute("aria-label").replace("\xa0", " ")
    assert name == "All ways shown at 2 GFLOP, the best first; gain over ‘whole’"
    assert problems == []


# --- which are shown ----------------------------------------------------------------------------------------------------


def test_ways_are_shown_and_hidden_and_the_reference_stays(show):
    widget, problems = show(curves(budget=16e9, shown=NAMES[1:3]))
    assert_table(widget, 5, shown=[0, 1, 2])
    assert [each.is_checked() for each in widget.get_by_role("checkbox").all()] == [True, True, True, False, False]
    assert box(widget, "whole (reference)").is_disabled()
    before = widget.evaluate(PICTURE)
    box(widget, NAMES[3]).check()
    assert_table(widget, 5, shown=[0, 1, 2, 3])
    assert widget.evaluate(PICTURE) != before
    put(widget, "Budget", 0)
    assert winner(widget).startswith("At 0.5 GFLOP, ‘a head on a frozen network’ wins (best in 5 of 5 seeds): ")
    box(widget, NAMES[3]).uncheck()
    assert winner(widget).startswith("At 0.5 GFLOP, ‘most filters cut at random’ wins")
    box(widget, NAMES[2]).uncheck()
    assert winner(widget) == "At 0.5 GFLOP, none of the ways shown can afford to learn anything."
    assert_table(widget, 0, shown=[0, 1])
    box(widget, NAMES[1]).press("Space")
    assert_table(widget, 0, shown=[0])
    put(widget, "Budget", 5)
    assert winner(widget) == f"At 16 GFLOP, ‘whole’ has {100 * means()[0, 5]:.1f}% right."
    assert problems == []


def test_another_reference_is_what_the_others_are_compared_with(show):
    widget, problems = show(curves(reference=NAMES[3], budget=16e9))
    assert_table(widget, 5, reference=3)
    assert winner(widget).startswith("At 16 GFLOP, ‘whole’ wins (best in 5 of 5 seeds): ")
    assert winner(widget).endswith(f"over ‘{NAMES[3]}’.")
    assert box(widget, f"{NAMES[3]} (reference)").is_disabled()
    assert problems == []


def test_bars_are_as_long_as_what_is_right_and_marked_at_the_reference(show):
    widget, problems = show(curves(budget=16e9))
    values = means()[:, 5]
    for way, bar in zip(order_at(5), widget.locator(".lim-bar").all()):
        width = bar.evaluate("(bar) => bar.clientWidth")
        filled, mark = bar.evaluate(
            "(bar) => [parseFloat(getComputedStyle(bar, '::before').width), parseFloat(getComputedStyle(bar, '::after').left)]"
        )
        assert filled == pytest.approx(values[way].item() * width, abs=0.6)
        assert mark + 1 == pytest.approx(values[0].item() * width, abs=0.6)
    put(widget, "Budget", 0)
    last = widget.locator(".lim-bar").last
    assert last.evaluate("(bar) => parseFloat(getComputedStyle(bar, '::before').width)") == 0
    assert last.evaluate("(bar) => parseFloat(getComputedStyle(bar, '::after').left)") < -2, "no reference yet"
    assert problems == []


def test_a_way_stands_out_while_it_is_pointed_at(show):
    widget, problems = show(curves())
    plain = widget.evaluate(PICTURE)
    widget.locator(".lim-way").nth(1).hover()
    lit = widget.evaluate(PICTURE)
    assert lit != plain
    widget.page.mouse.move(1, 1)
    assert widget.evaluate(PICTURE) == plain
    widget.locator("tbody tr").filter(has_text=NAMES[1]).hover()
    assert widget.evaluate(PICTURE) == lit
    widget.page.mouse.move(1, 1)
    widget.get_by_role("button", name="Next").focus()
    widget.page.keyboard.press("Tab")
    assert box(widget, NAMES[1]).evaluate("(input) => input === document.activeElement")
    assert widget.evaluate(PICTURE) == lit
    widget.page.keyboard.press("Shift+Tab")
    assert widget.evaluate(PICTURE) == plain
    widget.locator(".lim-way").nth(1).dispatch_event("pointerenter", {"pointerType": "touch"})
    assert widget.evaluate(PICTURE) == plain, "a finger would never leave"
    widget.locator(".lim-way").nth(1).click()
    without = widget.evaluate(PICTURE)
    widget.page.mouse.move(1, 1)
    assert widget.evaluate(PICTURE) == without, "a way that is hidden stands out no longer"
    assert problems == []


# --- the picture ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theme", "shown_as", "across"),
    [
        ("light", "accuracy", "logarithmic"),
        ("dark", "accuracy", "linear"),
        ("light", "error", "logarithmic"),
        ("light", "error (log)", "linear"),
    ],
)
def test_each_line_has_a_mark_at_each_budget_that_it_can_afford(show, theme, shown_as, across):
    floor = 0.05
    errors = 1 - by_seed().nan_to_num(0)
    assert floor <= errors.min() < 2 * floor
    height = {"accuracy": lambda share: share, "error": lambda share: 1 - share, "error (log)": lambda share: math.log10(1 - share)}[shown_as]  # fmt: skip
    up = (math.log10(floor), 0) if shown_as == "error (log)" else (0, 1)
    for way in (0, 2, 4):
        widget, problems = show(curves(shown=[], shown_as=shown_as, across=across, budget=0.5e9, reference=NAMES[way]))  # fmt: skip
        set_theme(widget, theme)
        redrawn(widget)
        (ink,) = inks(widget, "ink")
        first, own = FIRSTS[way], means()[way]
        places = [spot(widget, BUDGETS[at], height(own[at].item()), up, across == "logarithmic") for at in range(max(1, first), 6)]  # fmt: skip
        assert is_like(colours(widget, places), ink).all()
        assert problems == []


def test_nothing_is_drawn_of_a_way_before_it_can_learn(show):
    """The shares of chance that are stored there are no results."""
    stored = SHARES.clone()
    for way, first in enumerate(FIRSTS):
        stored[way, :, :, :first] = 0.5
    ways = {
        name: {"accuracy": values, "steps": steps, "group": group}
        for name, values, steps, group in zip(NAMES, stored, STEPS, GROUPS)
    }
    pictures = []
    for each in (ways, WAYS):
        widget, problems = show(curves(each))
        pictures.append(widget.evaluate(PICTURE))
        assert problems == []
    assert pictures[0] == pictures[1]
    widget, problems = show(curves(shown=[], budget=16e9))
    redrawn(widget)
    x, _ = spot(widget, BUDGETS[1], 0)
    far, base = spot(widget, BUDGETS[2], 0)
    heights = [base - 3 - 40 * k for k in range(1, 6)]
    columns = [x + k * (far - x - 8) / 8 for k in range(8)]
    (ink,) = inks(widget, "ink")
    assert not is_like(colours(widget, [(column, y) for column in columns for y in heights]), ink).any()
    assert problems == []


def test_groups_have_hues_and_the_reference_has_none(show):
    widget, problems = show(curves(budget=0.5e9))
    redrawn(widget)
    for way in range(5):
        (ink,) = inks(widget, hue(way))
        own = means()[way]
        places = [spot(widget, BUDGETS[at], own[at].item()) for at in range(max(1, FIRSTS[way]), 6)]
        assert is_like(colours(widget, places), ink).double().mean() >= 0.6, "others may lie over it"
    swatches = widget.locator(".lim-way .lim-swatch")
    middle = (
        "(canvas) => Array.from(canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data)"
    )
    for theme in ("dark", "light"):
        set_theme(widget, theme)
        redrawn(widget)
        for way in range(5):
            (ink,) = inks(widget, hue(way))
            seen = torch.tensor(swatches.nth(way).evaluate(middle), dtype=torch.float64)
            assert is_like(seen, ink)
    assert problems == []


def test_the_pale_line_runs_along_the_best_of_those_on_show(show):
    widget, problems = show(curves(shown=[NAMES[1], NAMES[3]], budget=0.5e9))
    redrawn(widget)

    def pale(ways, at, share):
        """A place beside the lines, within the width of the pale one."""
        x, y = spot(widget, BUDGETS[at], share)
        seen = colours(widget, [(x + 0.5, y - 5)])[0]
        return seen[3] > 35

    values = means()
    best = values[[0, 1, 3]].nan_to_num(-1).amax(0)
    assert {values[:, at][[0, 1, 3]].nan_to_num(-1).argmax().item() for at in range(6)} >= {0, 2}
    for at in range(1, 6):
        assert pale([0, 1, 3], at, best[at].item())
    before = widget.evaluate(PICTURE)
    box(widget, NAMES[3]).uncheck()
    assert widget.evaluate(PICTURE) != before
    assert problems == []


def test_the_band_reaches_from_the_lowest_to_the_highest_seed(show):
    widget, problems = show(curves(shown=[], reference=NAMES[3], budget=0.5e9))
    redrawn(widget)
    seeds = by_seed()[3]
    for at in range(1, 6):
        low, high = seeds[:, at].min().item(), seeds[:, at].max().item()
        (x, bottom), (_, top) = spot(widget, BUDGETS[at], low), spot(widget, BUDGETS[at], high)
        inside = colours(widget, [(x - 1, bottom - 2), (x - 1, top + 2)])
        outside = colours(widget, [(x - 1, bottom + 3), (x - 1, top - 3)])
        assert (inside[:, 3] > 15).all()
        assert (outside[:, 3] < inside[:, 3]).all()
    assert problems == []


def test_an_error_of_nothing_lies_at_the_lower_end_which_says_so(show):
    perfect = {**WAYS, "whole": {**WAYS["whole"], "accuracy": torch.ones(5, 3, 6)}}
    text = "CanvasRenderingContext2D.prototype.fillText"
    for ways, lowest in ((WAYS, "5%"), (perfect, "≤10%")):
        widget, problems = show(curves(ways, shown_as="error (log)", budget=0.5e9))
        widget.page.evaluate(
            f"() => {{ window.said = []; const own = {text}; {text} = function (...all) {{ window.said.push(all[0]); own.apply(this, all); }}; }}"
        )
        put(widget, "Budget", 5)
        said = [each.replace("\u202f", "") for each in widget.page.evaluate("() => window.said")]
        heights = [each for each in said if each.endswith("%")]
        assert heights[0] == lowest
        assert heights[-1] == "100%"
        assert not any(each.startswith("≤") for each in heights[1:])
        assert "16" not in said, "ticks are round"
    x, y = spot(widget, BUDGETS[4], -1, (-1, 0))
    (ink,) = inks(widget, "ink")
    assert is_like(colours(widget, [(x - 6, y - 0.5)]), ink).all()
    assert "Infinity" not in widget.inner_text()
    assert problems == []


def test_the_plot_can_be_dragged_from_budget_to_budget(show):
    for across, log in (("logarithmic", True), ("linear", False)):
        widget, problems = show(curves(across=across))
        canvas(widget).scroll_into_view_if_needed()
        edge, mouse = canvas(widget).bounding_box(), widget.page.mouse
        at = [edge["x"] + spot(widget, budget, 0, log=log)[0] for budget in BUDGETS]
        mouse.move(at[4] + 4, edge["y"] + 60)
        mouse.down()
        assert_table(widget, 4)
        assert slider(widget, "Budget").input_value() == "4"
        for place in (5, 3, 0):
            mouse.move(at[place] - 2, edge["y"] + 80)
            assert_table(widget, place)
        mouse.move(edge["x"] + edge["width"] + 50, edge["y"] + 60)
        assert_table(widget, 5)
        mouse.up()
        mouse.move(at[1], edge["y"] + 60)
        assert_table(widget, 5)
        assert widget.get_attribute("data-state") == "done"
        assert problems == []


# --- playing ----------------------------------------------------------------------------------------------------------


def test_a_play_goes_through_the_budgets_and_can_be_stopped(show):
    widget, problems = show(curves(budget=0.5e9), still=False)
    assert widget.get_attribute("data-state") == "paused"
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "running"
    widget.page.wait_for_function("() => Number(document.querySelector('.lim-widget input').value) > 0")
    press(widget, "Pause")
    place = int(slider(widget, "Budget").input_value())
    assert 0 < place < 5
    assert_table(widget, place)
    press(widget, "Next")
    assert_table(widget, place + 1)
    put(widget, "Budget", 4)
    press(widget, "Play")
    choose(widget, "Task", 2)
    assert widget.get_attribute("data-state") == "running", "another task does not stop it"
    state(widget, "done")
    assert_table(widget, 5, 1)
    assert problems == []


def test_moving_the_budget_stops_a_play(show):
    widget, problems = show(curves(budget=0.5e9), still=False)
    press(widget, "Play")
    put(widget, "Budget", 2)
    assert widget.get_attribute("data-state") == "paused"
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 1200))")
    assert_table(widget, 2)
    press(widget, "Play")
    widget.page.evaluate("() => window.stop()")
    widget.page.evaluate("() => document.querySelector('.lim-widget').remove()")
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 60))")
    assert problems == []


def test_without_motion_a_play_is_at_its_end_at_once(show):
    widget, problems = show(curves(budget=0.5e9))
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "done"
    assert_table(widget, 5)
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(curves())
    assert widget.get_by_role("slider").count() == 1
    assert widget.get_by_role("combobox").count() == 3
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


def fullest():
    """14 ways with the longest names, and the longest of everything else."""
    names = [f"way {k} has a name of forty letters in it."[:40].ljust(40, "x") for k in range(13)] + ["w" * 40]
    return {
        name: {"accuracy": SHARES[k % 5], "steps": STEPS[k % 5], "group": str(k % 6)} for k, name in enumerate(names)
    }


@pytest.mark.parametrize(("width", "window"), [(304, 320), (324, 340), (324, 1280), (600, 1280), (860, 1280)])
def test_nothing_lies_over_another_thing_or_reaches_beyond_the_widget(show, width, window):
    """A column of the book or of Lab may be narrower than its window."""
    for ways in (WAYS, fullest()):
        widget, problems = show(curves(ways, reference=next(iter(ways)), budget=0.5e9))
        resize(widget, {"width": window, "height": 900})
        set_width(widget, width)
        for place in (0, 5):
            put(widget, "Budget", place)
            assert clashes(widget, PLACED) == []
        below = widget.locator("table").bounding_box()["y"] > canvas(widget).bounding_box()["y"] + 50
        assert below == (width < 860), "beside the picture where there is room"
        assert problems == []


@pytest.mark.parametrize("width", [324, 600, 860])
def test_it_is_equally_high_at_every_budget(show, width):
    for shown in (None, [NAMES[1]]):  # the longest sentence comes early, or late
        widget, problems = show(curves(shown=shown))
        set_width(widget, width)
        heights = set()
        for place in range(6):
            put(widget, "Budget", place)
            heights.add(
                widget.evaluate("(card) => `${card.offsetHeight}, ${card.querySelector('thead th').offsetWidth}`")
            )
        assert len(heights) == 1, "nor does a column move"
        assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(curves())
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_two_ways_two_budgets_one_seed_and_one_task_are_enough(show):
    ways = {name: {"accuracy": [[[0.25, share]]], "steps": [0, 1], "group": "g"} for name, share in (("a", 0.5), ("b", 1.0))}  # fmt: skip
    widget, problems = show(live_curves(ways, [1e6, 3e9], title="t", alt="a", reference="a"))
    assert widget.get_by_role("combobox").count() == 2, "no list of one task"
    assert widget.locator(".lim-key").inner_text() == "best of the ways shown", "one seed has no band"
    assert winner(widget) == "At 3 GFLOP, ‘b’ wins: 100.0% right, +100% over ‘a’."
    assert widget.get_attribute("data-state") == "done"
    for shown_as in (1, 2, 0):
        choose(widget, "Shown", shown_as)
        put(widget, "Budget", 0)
        assert winner(widget) == "At 0.001 GFLOP, none of the ways shown can afford to learn anything."
        assert "NaN" not in widget.inner_text() + canvas(widget).get_attribute("aria-label")
        assert "undefined" not in widget.inner_text() + canvas(widget).get_attribute("aria-label")
        assert widget.evaluate(PICTURE) != "blank"
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    widget, problems = show(curves(fullest(), reference="w" * 40))
    for control, values in (
        (slider(widget, "Budget"), [0, 1, 2, 3, 4, 5] * 5),
        (widget.get_by_role("combobox").first, [1, 3, 2, 0]),
        (widget.get_by_role("combobox").nth(1), [1, 2, 0]),
    ):
        tell_redraw_times(control, values)
    assert problems == []

"""The live widget of error against compute on a stream as a reader moves it: what it shows are the numbers that it carries."""

import math
from itertools import pairwise

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
    put,
    redrawn,
    resize,
    set_theme,
    set_width,
    slider,
    slow_down,
    state,
    tell_redraw_times,
)

from companion.teaching.widgets import live_frontier
from tests.browser import PICTURE

PARTS = ["all", "first half", "second half"]
BUDGETS = ["15", "60", "240", "4 x 15", "4 x 60"]
STEPS = torch.tensor([15, 60, 240, 60, 240], dtype=torch.float64)
NAMES = ["independent", "dynamic", "dynamic, small search", "pretrained"]
ENDS = torch.tensor([0.4, 0.3, 0.33, 0.235], dtype=torch.float64)  # where each learner comes to
COSTS = [1.0, 1.0, 1.0, 5.0]  # of a step
SEARCH = [0.0, 2e12, 6e10, 0.0]
GENERATOR = torch.Generator().manual_seed(5)


def draw():
    """(learners, budgets, parts, seeds): each learner comes to its end, and trials help less than steps."""
    level = ENDS[:, None] + 0.22 * (STEPS / 15) ** -0.6 + torch.tensor([0, 0, 0, 0.03, 0.03], dtype=torch.float64)
    own = torch.tensor([0.0, 0.03, -0.03], dtype=torch.float64)[:, None]
    noise = 0.012 * torch.randn(4, 5, 3, 5, generator=GENERATOR, dtype=torch.float64)
    return (level[:, :, None, None] + own + noise).clamp(0, 1)


ERRORS = draw()
# No number of operations ends in a half of its third digit: Python and the browser would round it differently.
TRAINING = torch.tensor(COSTS, dtype=torch.float64)[:, None] * STEPS * 6.73e9
FOUND = torch.tensor(SEARCH, dtype=torch.float64)[:, None].expand(4, 5)
POINTS = {
    name: [
        {"budget": budget, "training": cost.item(), "search": found, "errors": dict(zip(PARTS, errors))}
        for budget, cost, errors in zip(BUDGETS, TRAINING[k], ERRORS[k])
    ]
    for k, (name, found) in enumerate(zip(NAMES, SEARCH))
}
ENDS_ACROSS = (TRAINING.min().item(), (TRAINING + FOUND).max().item())
LEFT, RIGHT, TOP, BELOW = 54, 10, 12, 34
HEIGHTS = (0.2, 0.7)  # the ends of the axis when all learners are on show

# What must not lie over each other, nor reach beyond the widget.
PLACED = ".lim-title, .lim-control, .lim-check, .lim-winner, figcaption > *, canvas, .lim-key span, .lim-way > span, legend, td, thead th, .lim-cell, .lim-named > span, .lim-note"


# Tick the first box, and remember the pictures until nothing moves.
MOVE = """async (widget) => {
  const scene = widget.querySelector("canvas.lim-scene"), pictures = [scene.toDataURL()];
  widget.querySelector("input").click();
  if (widget.dataset.state !== "running") throw new Error("nothing moves");
  while (widget.dataset.state === "running") {
    await new Promise((done) => requestAnimationFrame(done));
    pictures.push(scene.toDataURL());
  }
  return pictures;
}"""


def frontier(points=POINTS, **words):
    return live_frontier(points, **({"title": "t", "alt": "a", "note": "n"} | words))


def limit_at(place):
    low, high = ENDS_ACROSS
    return math.inf if place == 100 else low * (high / low) ** (place / 100)


def gflop(value):
    """Three digits, as they are written."""
    return f"{float(f'{value / 1e9:.3g}'):,.6g}"


def operations(counted):
    return TRAINING + FOUND if counted else TRAINING


def best_within(place=100, counted=False, part=0):
    """The budget of each learner's lowest error within a limit, or None."""
    means, affordable = ERRORS[:, :, part].mean(-1), operations(counted) <= limit_at(place) * (1 + 1e-9)
    rows = means.masked_fill(~affordable, math.inf)
    return [row.argmin().item() if row.isfinite().any() else None for row in rows]


def frontier_of(place=100, counted=False, part=0, shown=range(4)):
    """Learner and budget of the points that no other one beats, by looking at all of them."""
    means, costs = ERRORS[:, :, part].mean(-1), operations(counted)
    points = [(k, b) for k in shown for b in range(5) if costs[k, b] <= limit_at(place) * (1 + 1e-9)]

    def beats(one, other):
        return means[one] <= means[other] and costs[one] <= costs[other] and (means[one] < means[other] or costs[one] < costs[other])  # fmt: skip

    return {point for point in points if not any(beats(other, point) for other in points)}


def table(widget):
    """Rows of the list, as texts: name, budget, GFLOP, of what, error, its range, ahead, in how many seeds."""
    rows = widget.locator("tbody tr").all()
    cells = [row.locator("th .lim-named span, td.lim-budget, td .lim-cell, td.lim-lack").all_inner_texts() for row in rows]  # fmt: skip
    return [[text.strip() for text in row] for row in cells]


def assert_table(widget, place=100, counted=False, part=0, shown=range(4), reference=0):
    best, seeds, costs = best_within(place, counted, part), ERRORS[:, :, part], operations(counted)
    means = [math.inf if best[k] is None else seeds[k, best[k]].mean().item() for k in range(4)]
    order, rows = sorted(shown, key=lambda k: means[k]), table(widget)
    assert [row[0] for row in rows] == [NAMES[k] for k in order]
    for k, (_, *texts) in zip(order, rows):
        if best[k] is None:
            assert texts == ["", "not affordable"]
            continue
        at = best[k]
        budget, total, parted, error, half, ahead, won = texts
        trained, found = gflop(TRAINING[k, at]), gflop(SEARCH[k])
        assert (budget, total) == (BUDGETS[at], gflop(costs[k, at]))
        assert parted == (f"{trained} + {found}" if counted else f"{trained} (+ {found})")
        own = seeds[k, at]
        assert numbers([error]) == pytest.approx([100 * means[k]], abs=0.051)
        assert numbers([half.removeprefix("± ")]) == pytest.approx([50 * (own.max() - own.min()).item()], abs=0.051)
        if k == reference:
            assert (ahead, won) == ("reference", "")
        elif best[reference] is None:
            assert (ahead, won) == ("–", "")
        else:
            other = seeds[reference, best[reference]]
            assert numbers([ahead.replace("±", "")]) == pytest.approx([100 * (means[reference] - means[k])], abs=0.051)
            assert won == f"in {(own < other).sum().item()} of 5"


def sentences(widget):
    texts = widget.locator(".lim-winner [role=status]").all_inner_texts()
    return [text.replace("\u202f", "").replace("\xa0", " ") for text in texts]


def box(widget, name):
    return widget.get_by_role("checkbox", name=name, exact=True)


def canvas(widget):
    return widget.locator("canvas.lim-scene")


def spot(widget, cost, error, heights=HEIGHTS):
    """Where an error at some operations lies on the canvas, in CSS pixels of it."""
    width, height = canvas(widget).evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    low, high = map(math.log10, ENDS_ACROSS)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    x = LEFT + (width - RIGHT - LEFT) * (math.log10(cost) - low) / (high - low)
    return x, height - BELOW - (height - BELOW - TOP) * (error - heights[0]) / (heights[1] - heights[0])


def marks(widget, counted=False, part=0, shown=range(4), heights=HEIGHTS):
    """Whether the mark of each point is full, by the colour of its middle."""
    places = {
        (k, b): spot(widget, operations(counted)[k, b].item(), ERRORS[k, b, part].mean().item(), heights)
        for k in shown
        for b in range(5)
    }
    seen = torch.tensor(canvas(widget).evaluate(COLOURS, [list(place) for place in places.values()])).double()
    hues = ["ink" if k == 0 else f"learner-{k - 1}" for k, _ in places]
    inks = torch.tensor(widget.evaluate(INKS, hues)).double()
    return {point: full for point, full in zip(places, ((seen[:, :3] - inks).abs().amax(1) < 30).tolist())}


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_list_is_torchs_within_each_limit_for_each_part_with_the_search_or_without(show):
    widget, problems = show(frontier())
    assert_table(widget)
    for place in (80, 60, 30, 0):
        put(widget, "At most", place)
        assert slider(widget, "At most").get_attribute("aria-valuetext") == gflop(limit_at(place))
        assert_table(widget, place)
    box(widget, "Count the search").check()
    assert best_within(0, True) == [0, None, None, None]
    for place in (0, 45, 75, 100):
        put(widget, "At most", place)
        assert_table(widget, place, True)
    assert slider(widget, "At most").get_attribute("aria-valuetext") == "no limit"
    for part in (1, 2):
        choose(widget, "Part of the stream", PARTS[part])
        assert_table(widget, 100, True, part)
        assert widget.locator("figcaption span").inner_text() == PARTS[part]
    box(widget, "Count the search").uncheck()
    assert_table(widget, 100, False, 2)
    assert problems == []


def test_who_has_the_lowest_error_is_named_with_its_lead_and_its_seeds(show):
    widget, problems = show(frontier(reference="dynamic"))
    leaders = set()
    for place, counted, part in ((100, False, 0), (100, True, 1), (70, True, 0), (50, False, 2), (20, True, 0)):
        put(widget, "At most", place)
        box(widget, "Count the search").set_checked(counted)
        choose(widget, "Part of the stream", part)
        best, seeds = best_within(place, counted, part), ERRORS[:, :, part]
        own = {k: seeds[k, at] for k, at in enumerate(best) if at is not None}
        first, *others = sorted(own, key=lambda k: own[k].mean())
        leaders.add(first)
        begin = "Without a limit" if place == 100 else f"Within {gflop(limit_at(place))} GFLOP"
        error, rival = f"{100 * own[first].mean():.1f}%", others[0] if first == 1 and others else 1
        words = f"{begin}, ‘{NAMES[first]}’{', the reference,' if first == 1 else ''} has the lowest error, {error}"
        if rival in own:
            gap = f"{100 * (own[rival].mean() - own[first].mean()):.1f} points"
            won = (own[first] < own[rival]).sum().item()
            assert sentences(widget)[0] == f"{words}: {gap} below ‘{NAMES[rival]}’, lower in {won} of 5 seeds."
        else:
            assert sentences(widget)[0] == f"{words}; ‘dynamic’ is not affordable."
    assert len(leaders) >= 3
    assert problems == []


def test_what_counting_the_search_changes_is_said_both_ways(show):
    widget, problems = show(frontier())
    before, after = ({b for k, b in frontier_of(counted=counted) if k == 1} for counted in (False, True))
    assert (len(before), len(after)) == (3, 0), "dynamic leaves"
    lost = min(before, key=lambda b: ERRORS[1, b, 0].mean())
    costs = f"from {gflop(TRAINING[1, lost])} to {gflop(TRAINING[1, lost] + SEARCH[1])} GFLOP"
    moved = f"‘dynamic’ (budget {BUDGETS[lost]})"
    assert sentences(widget)[1] == f"If the search is counted, {moved} moves {costs}: it leaves the frontier."
    box(widget, "Count the search").check()
    assert sentences(widget)[1] == f"Counting the search moves {moved} {costs}: it leaves the frontier."
    put(widget, "At most", 60)
    assert "GFLOP, beyond the limit: it leaves the frontier." in sentences(widget)[1]
    for name in NAMES[1:3]:
        box(widget, name).uncheck()
    assert sentences(widget)[1] == "None of the learners shown searches."
    assert problems == []


def test_the_picture_is_told_in_words(show):
    widget, problems = show(frontier(counted=True))
    said = canvas(widget).get_attribute("aria-label").replace("\u202f", "").replace("\xa0", " ")
    on_it = sorted(frontier_of(counted=True), key=lambda point: operations(True)[point])
    told = [f"‘{NAMES[k]}’ at {BUDGETS[b]} ({gflop(operations(True)[k, b])} GFLOP, {100 * ERRORS[k, b, 0].mean():.1f}%)" for k, b in on_it]  # fmt: skip
    begin = "Error against operations, all, search counted. The frontier, from the cheapest: "
    assert said == f"{begin}{', '.join(told)}. {' '.join(sentences(widget))} a"
    name = widget.get_by_role("table").get_attribute("aria-label").replace("\xa0", " ")
    assert name == "Without a limit, each learner shown at the budget of its lowest error, the best first; search counted; ahead of ‘independent’"  # fmt: skip
    assert problems == []


# --- which are shown ----------------------------------------------------------------------------------------------------


def test_learners_are_shown_and_left_out_and_the_reference_is_what_they_are_compared_with(show):
    widget, problems = show(frontier(shown=NAMES[1:3], reference="pretrained"))
    assert_table(widget, shown=[1, 2], reference=3)
    boxes = widget.locator(".lim-way input").all()
    assert [each.is_checked() for each in boxes] == [False, True, True, False]
    assert "points above ‘pretrained’, lower in 0 of 5 seeds." in sentences(widget)[0]
    box(widget, "pretrained (reference)").check()
    assert_table(widget, shown=[1, 2, 3], reference=3)
    assert "‘pretrained’, the reference, has the lowest error" in sentences(widget)[0]
    box(widget, "dynamic").press("Space")
    box(widget, "dynamic, small search").uncheck()
    assert_table(widget, shown=[3], reference=3)
    assert sentences(widget)[0] == f"Without a limit, ‘pretrained’ has an error of {100 * ERRORS[3, best_within()[3], 0].mean():.1f}%."  # fmt: skip
    box(widget, "pretrained (reference)").uncheck()
    assert table(widget) == []
    assert sentences(widget) == ["No learner is shown.", ""]
    assert widget.evaluate(PICTURE) != "blank"
    assert problems == []


def test_a_learner_stands_out_with_its_budgets_while_it_is_pointed_at(show):
    text = "CanvasRenderingContext2D.prototype.fillText"
    widget, problems = show(frontier())
    widget.page.evaluate(
        f"() => {{ const own = {text}; {text} = function (...all) {{ window.said.push(all[0]); own.apply(this, all); }}; }}"
    )
    widget.page.evaluate("() => { window.said = []; }")
    plain = widget.evaluate(PICTURE)
    widget.locator(".lim-way").nth(1).hover()
    lit = widget.evaluate(PICTURE)
    assert lit != plain
    assert widget.page.evaluate("() => window.said").count("4 x 60") == 1
    widget.page.mouse.move(1, 1)
    assert widget.evaluate(PICTURE) == plain
    widget.locator("tbody tr").filter(has_text="dynamic").first.hover()
    assert widget.evaluate(PICTURE) == lit
    widget.page.mouse.move(1, 1)
    slider(widget, "At most").focus()
    widget.page.keyboard.press("Tab")
    widget.page.keyboard.press("Tab")
    assert box(widget, "dynamic").evaluate("(input) => input === document.activeElement")
    assert widget.evaluate(PICTURE) == lit
    widget.locator(".lim-way").nth(1).click()
    without = widget.evaluate(PICTURE)
    widget.page.mouse.move(1, 1)
    assert widget.evaluate(PICTURE) == without, "who is left out stands out no longer"
    assert problems == []


def test_a_point_says_what_it_is_while_it_is_pointed_at(show):
    widget, problems = show(frontier())
    edge = canvas(widget).bounding_box()
    x, y = spot(widget, TRAINING[3, 2].item(), ERRORS[3, 2, 0].mean().item())
    widget.page.mouse.move(edge["x"] + x + 3, edge["y"] + y + 3)
    said = widget.locator("figcaption span").inner_text().replace("\u202f", "").replace("\xa0", " ")
    assert said == f"{100 * ERRORS[3, 2, 0].mean():.1f}%, {gflop(TRAINING[3, 2])} GFLOP: pretrained, 240"
    widget.page.mouse.move(edge["x"] + 70, edge["y"] + edge["height"] - 60)
    assert widget.locator("figcaption span").inner_text() == "all"
    assert problems == []


# --- the picture ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_are_full_on_the_frontier_and_hollow_elsewhere(show, theme):
    widget, problems = show(frontier())
    set_theme(widget, theme)
    redrawn(widget)
    seen = {}
    for counted, part in ((False, 0), (True, 0), (True, 2)):
        box(widget, "Count the search").set_checked(counted)
        choose(widget, "Part of the stream", part)
        found, drawn = frontier_of(counted=counted, part=part), marks(widget, counted, part)
        assert all(drawn[point] for point in found)
        covered = [point for point, full in drawn.items() if full and point not in found]
        assert len(covered) <= 1, "the edge of another mark may lie over the middle of one"
        seen[counted, part] = frozenset(found)
    assert seen[False, 0] != seen[True, 0], "the frontier moved"
    assert problems == []


def test_the_frontier_moves_when_learners_are_left_out(show):
    widget, problems = show(frontier(shown=NAMES[:1] + NAMES[3:]))
    redrawn(widget)
    seeds = ERRORS[[0, 3]]
    heights = (math.floor(seeds.min().item() * 10) / 10, math.ceil(seeds.max().item() * 10) / 10)
    shown = [0, 3]
    found = frontier_of(shown=shown)
    assert found - frontier_of()
    drawn = marks(widget, shown=shown, heights=heights)
    assert {point for point, full in drawn.items() if full} == found
    assert problems == []


def test_the_pale_staircase_runs_along_the_frontier_to_the_limit(show):
    widget, problems = show(frontier())
    for place in (100, 60):
        put(widget, "At most", place)
        on_it = sorted(frontier_of(place), key=lambda point: TRAINING[point])
        costs = [TRAINING[point].item() for point in on_it] + [min(limit_at(place), ENDS_ACROSS[1])]
        for (one, other), point in zip(pairwise(costs), on_it):
            x, y = spot(widget, math.sqrt(one * other), ERRORS[point][0].mean().item())
            inside, below = torch.tensor(canvas(widget).evaluate(COLOURS, [[x, y + 3], [x, y + 8]]))[:, 3].tolist()
            assert inside >= 45 or below > 0, "pale, or a line lies over it"
            assert inside > below or below > 100
        beyond = spot(widget, ENDS_ACROSS[1] * 0.97, ERRORS[on_it[-1]][0].mean().item())
        opacity = torch.tensor(canvas(widget).evaluate(COLOURS, [[beyond[0], beyond[1] + 2]]))[0, 3].item()
        assert (opacity > 30) == (place == 100)
    assert problems == []


def test_the_plot_can_be_dragged_to_a_limit(show):
    widget, problems = show(frontier())
    canvas(widget).scroll_into_view_if_needed()
    edge, mouse = canvas(widget).bounding_box(), widget.page.mouse
    for k, place in enumerate((60, 35, 90)):
        mouse.move(edge["x"] + spot(widget, limit_at(place), 0.5)[0], edge["y"] + 60)
        if k == 0:
            mouse.down()
        assert abs(int(slider(widget, "At most").input_value()) - place) <= 1
    assert_table(widget, int(slider(widget, "At most").input_value()))
    mouse.move(edge["x"] + edge["width"] + 50, edge["y"] + 60)
    assert slider(widget, "At most").input_value() == "100"
    assert_table(widget)
    mouse.up()
    mouse.move(edge["x"] + 200, edge["y"] + 60)
    assert slider(widget, "At most").input_value() == "100"
    assert problems == []


# --- moving -----------------------------------------------------------------------------------------------------------


def test_points_move_to_where_the_search_puts_them(show):
    """The list and the sentences are there at once, and the picture ends where one without motion is."""
    widget, problems = show(frontier(), still=False)
    still, more = show(frontier(counted=True))
    slow_down(widget, 50)
    pictures = widget.evaluate(MOVE)
    after = widget.evaluate(PICTURE)
    assert len(set(pictures)) >= 5, "it is seen on its way"
    assert_table(widget, 100, True)
    assert after == still.evaluate(PICTURE)
    box(widget, "Count the search").uncheck()
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    box(widget, "Count the search").check()
    put(widget, "At most", 40)
    state(widget, "done")
    assert_table(widget, 40, True)
    put(widget, "At most", 100)
    assert widget.evaluate(PICTURE) == after, "turned back on the way, it ends there, too"
    box(widget, "Count the search").uncheck()
    widget.page.evaluate("() => window.stop()")
    widget.page.evaluate("() => document.querySelector('.lim-widget').remove()")
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 60))")
    assert problems == more == []


def test_without_motion_points_are_there_at_once(show):
    widget, problems = show(frontier())
    before = widget.evaluate(PICTURE)
    box(widget, "Count the search").check()
    assert widget.get_attribute("data-state") == "done"
    assert widget.evaluate(PICTURE) != before
    box(widget, "Count the search").press("Space")
    assert widget.evaluate(PICTURE) == before
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(frontier())
    assert widget.get_by_role("slider").count() == widget.get_by_role("combobox").count() == 1
    assert widget.get_by_role("checkbox").count() == 5
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


def fullest():
    """14 learners at 8 budgets, with the longest names and the largest numbers."""
    names = [f"learner {k} has a name of forty letters here"[:40].ljust(40, "x") for k in range(13)] + ["w" * 40]
    budgets = [f"{k} x 1234567890"[:12] for k in range(1, 9)]
    return {
        name: [
            {
                "budget": budget,
                "training": 6e12 * (1 + k % 8),
                "search": 4.5e13,
                "errors": dict(zip(PARTS, ERRORS[k % 4, b % 5])),
            }
            for b, budget in enumerate(budgets)
        ]
        for k, name in enumerate(names)
    }


@pytest.mark.parametrize(("width", "window"), [(304, 320), (324, 340), (374, 390), (600, 1280), (860, 1280)])
def test_nothing_lies_over_another_thing_or_reaches_beyond_the_widget(show, width, window):
    """A column of the book or of Lab may be narrower than its window."""
    for points in (POINTS, fullest()):
        widget, problems = show(frontier(points, counted=True))
        resize(widget, {"width": window, "height": 900})
        set_width(widget, width)
        for place in (100, 30):
            put(widget, "At most", place)
            assert clashes(widget, PLACED, nested=True) == []
        box(widget, "Count the search").uncheck()
        assert clashes(widget, PLACED, nested=True) == []
        beside = widget.locator(".lim-ways").bounding_box()["x"] > canvas(widget).bounding_box()["x"] + 200
        assert beside == (width > 640), "learners beside the picture where there is room"
        assert problems == []


@pytest.mark.parametrize("width", [324, 600, 860])
def test_it_is_equally_high_whatever_is_moved(show, width):
    for shown in (None, NAMES[1:2]):
        widget, problems = show(frontier(shown=shown))
        set_width(widget, width)
        heights = set()
        for counted in (False, True):
            box(widget, "Count the search").set_checked(counted)
            for part in range(3):
                choose(widget, "Part of the stream", part)
                for place in range(0, 101, 10):
                    put(widget, "At most", place)
                    heights.add(widget.evaluate("(card) => [card, card.querySelector('tbody'), card.querySelector('thead th')].map((part) => `${part.offsetHeight} ${part.offsetWidth}`).join(', ')"))  # fmt: skip
        assert len(heights) == 1, "nor does a column move"
        assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(frontier())
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_one_learner_one_budget_one_part_and_one_seed_are_enough(show):
    widget, problems = show(live_frontier({"a": [{"budget": "15", "training": 5e9, "search": 0, "errors": {"all": [0.25]}}]}, title="t", alt="a"))  # fmt: skip
    assert widget.get_by_role("combobox").count() == 0, "no list of one part"
    assert widget.locator(".lim-key").inner_text().splitlines()[-1] == "a learner’s own frontier", "one seed has no bar"
    assert sentences(widget) == ["Without a limit, ‘a’ has an error of 25.0%.", "None of the learners shown searches."]
    for place in (0, 50):
        put(widget, "At most", place)
        assert sentences(widget)[0] == "Within 5 GFLOP, ‘a’ has an error of 25.0%."
    box(widget, "Count the search").check()
    assert table(widget) == [["a", "15", "5", "5 + 0", "25.0\u202f%", "", "reference", ""]]
    said = widget.inner_text() + canvas(widget).get_attribute("aria-label")
    assert "NaN" not in said
    assert "undefined" not in said
    assert "Infinity" not in said
    assert widget.evaluate(PICTURE) != "blank"
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    widget, problems = show(frontier(fullest()))
    for control, values in (
        (slider(widget, "At most"), [0, 20, 40, 60, 80, 100] * 5),
        (widget.get_by_role("combobox"), [1, 2, 0]),
    ):
        tell_redraw_times(control, values)
    assert problems == []

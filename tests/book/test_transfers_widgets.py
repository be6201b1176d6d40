"""The live widget of transfers as a reader moves it: what it shows are the chains and counts of what it carries."""

import pytest
import torch
from hands import (
    assert_fits,
    assert_follows_the_theme,
    assert_moves_on_a_phone,
    choose,
    clashes,
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

from companion.teaching.widgets import live_transfers
from tests.browser import PICTURE

ROWS = ["digits", "textures", "shapes", "several labels"]
GENERATOR = torch.Generator().manual_seed(7)


def below(limit):
    return int(torch.randint(limit, (), generator=GENERATOR))


COUNT = 40
FAMILIES = [0, 1, 0, 2, *(below(3 if place < 15 else 4) for place in range(4, COUNT))]
NAMES = [f"{place:03d}-{ROWS[family].replace(' ', '_')}" for place, family in enumerate(FAMILIES)]
SOURCES = [-1, -1, 0, 0, *(max(below(place + 4), below(place + 4)) - 4 for place in range(4, COUNT))]
SOURCES = [max(-1, source) for source in SOURCES]
ERRORS, REFERENCE = torch.rand(2, COUNT, generator=GENERATOR, dtype=torch.float64)
PICTURES = torch.randint(256, (COUNT, 6, 4), generator=GENERATOR, dtype=torch.uint8)
TASKS = [
    {"name": name, "family": ROWS[family], "thumbnail": picture}
    for name, family, picture in zip(NAMES, FAMILIES, PICTURES)
]
LEARNERS = {
    "dynamic": {"sources": SOURCES, "errors": ERRORS, "reference": REFERENCE},
    "given": {"sources": [-1] * COUNT, "errors": ERRORS.flip(0), "start": "pretrained"},
    "previous": {"sources": list(range(-1, COUNT - 1)), "errors": REFERENCE, "reference": REFERENCE},
}

# What must not lie over each other, nor reach beyond the widget.
PLACED = ".lim-title, .lim-control, .lim-buttons, .lim-hold, .lim-said, figcaption > *, canvas.lim-scene, .lim-key > div, .lim-heading, .lim-chain li, .lim-counts > div, .lim-favourite, caption, td, thead span, tbody th, .lim-note"

# Colours that are drawn in with the pen, and how often; and where arcs begin.
STROKES = """(widget) => {
  window.arcs = [];
  const own = CanvasRenderingContext2D.prototype.stroke;
  let from = null;
  const move = CanvasRenderingContext2D.prototype.moveTo, curve = CanvasRenderingContext2D.prototype.bezierCurveTo;
  CanvasRenderingContext2D.prototype.moveTo = function (x, y) { from = [x, y]; move.call(this, x, y); };
  CanvasRenderingContext2D.prototype.bezierCurveTo = function (...at) {
    this.drawn = { from, to: at.slice(4) };
    curve.apply(this, at);
  };
  CanvasRenderingContext2D.prototype.stroke = function () {
    if (this.drawn) window.arcs.push({ ...this.drawn, width: this.lineWidth, opacity: this.globalAlpha, isDashed: this.getLineDash().length > 0, colour: this.strokeStyle });
    this.drawn = null;
    own.call(this);
  };
}"""


def transfers(tasks=TASKS, learners=LEARNERS, **words):
    return live_transfers(tasks, learners, **{"title": "t", "alt": "a", "note": "n", **words})


def chain_of(sources, place):
    return [place] + (chain_of(sources, sources[place]) if sources[place] >= 0 else [])


def descendants_of(sources, place, now):
    return [task for task in range(place + 1, now + 1) if place in chain_of(sources, task)]


def kind_of(sources, task):
    return "none" if sources[task] < 0 else "own" if FAMILIES[sources[task]] == FAMILIES[task] else "other"


def plain(text):
    return text.replace("\u202f", "").replace("\xa0", " ")


def said(widget):
    return plain(widget.locator(".lim-said [role=status]").inner_text())


def canvas(widget):
    return widget.locator("canvas.lim-scene")


def hold(widget):
    return widget.get_by_role("checkbox")


def spot(widget, task):
    """Where a task's mark lies on the canvas, in CSS pixels of it."""
    width, height = canvas(widget).evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    left, row = 104 if width < 480 else 110, (height - 36 - 6 - 8) / len(ROWS)
    rows = list(dict.fromkeys(FAMILIES))
    return left + (width - 10 - left) / COUNT * (task + 0.5), 8 + row * (rows.index(FAMILIES[task]) + 0.6)


def click(widget, task):
    x, y = spot(widget, task)
    canvas(widget).click(position={"x": x, "y": y})


def counts(widget):
    return [plain(text) for text in widget.locator(".lim-counts strong").all_inner_texts()]


def table(widget):
    return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in widget.locator("tbody tr").all()]


def percent(share):
    return f"{100 * share:.1f}%"


def assert_shows(widget, place, now, learner="dynamic"):
    """Sentence, chain, counts and matrix are those that Python finds."""
    sources, errors = LEARNERS[learner]["sources"], LEARNERS[learner]["errors"]
    chain, later = chain_of(sources, place), descendants_of(sources, place, now)
    text, start = said(widget), LEARNERS[learner].get("start", "untrained")
    begin = f"started from ‘{NAMES[chain[1]]}’" if len(chain) > 1 else f"started {start}."
    assert text.startswith(f"‘{NAMES[place]}’ {begin}")
    assert (f"its chain goes {len(chain) - 1} steps back to ‘{NAMES[chain[-1]]}’" in text) == (len(chain) > 2)
    assert f"Its error is {percent(errors[place].item())}" in text
    assert (f"{len(later) or 'no'} later task" in text) == (place < now)
    kinds = [kind_of(sources, task) for task in range(now + 1)]
    own, other, none = (kinds.count(kind) for kind in ("own", "other", "none"))
    assert f"started from their own family, {other} from another, {none} {start}." in text
    ends = [chain_of(sources, task)[-1] for task in range(now + 1)]
    largest = max(ends.count(root) for root in ends)
    reference = LEARNERS[learner].get("reference")
    wanted = [percent(errors[place].item()), "–" if reference is None else percent(reference[place].item())]
    assert counts(widget)[:2] == wanted
    for shown, count in zip(counts(widget)[2:], (own, other, none, largest), strict=True):
        assert shown.split(" (")[0] == str(count)
        assert float(shown.split(" (")[1].rstrip("%)")) == pytest.approx(100 * count / (now + 1), abs=0.51)
    rows = list(dict.fromkeys(FAMILIES))
    matrix = [[0] * len(rows) for _ in range(len(rows) + 1)]
    for task in range(now + 1):
        source = sources[task]
        matrix[len(rows) if source < 0 else rows.index(FAMILIES[source])][rows.index(FAMILIES[task])] += 1
    assert table(widget) == [[str(count) if count else "·" for count in row] for row in matrix]
    children = [sources[: now + 1].count(task) for task in range(now + 1)]
    best = children.index(max(children))
    favourite = plain(widget.locator(".lim-favourite > span").first.inner_text())
    if max(children):
        below_best = len(descendants_of(sources, best, now))
        wanted = f"Most started from: ‘{NAMES[best]}’: {max(children)} directly, {below_best} descendant"
        assert favourite.removesuffix("s") == wanted
    else:
        assert favourite == "Most started from: none yet"


def chain_names(widget):
    """The parts of the chain that are seen."""
    parts = widget.locator(".lim-chain li:not(.lim-off)")
    return [plain(text) for text in parts.locator(".lim-of").all_inner_texts()]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_what_it_says_and_counts_is_pythons_at_each_task_and_for_each_learner(show):
    widget, problems = show(transfers())
    assert_shows(widget, COUNT - 1, COUNT - 1)
    for place in (0, 1, 3, 17, 30):
        put(widget, "Task", place)
        assert_shows(widget, place, place)
        assert slider(widget, "Task").get_attribute("aria-valuetext") == NAMES[place]
        assert widget.locator("figcaption span").inner_text() == f"{place + 1} of {COUNT}"
    for learner in ("previous", "given"):
        choose(widget, "Learner", learner)
        assert_shows(widget, 30, 30, learner)
        put(widget, "Task", 0)
        assert_shows(widget, 0, 0, learner)
        put(widget, "Task", 30)
    assert widget.locator(".lim-key").inner_text().count("pretrained") == 1
    assert widget.locator("tbody th").last.inner_text() == "pretrained"
    assert said(widget) in plain(canvas(widget).get_attribute("aria-label"))
    assert canvas(widget).get_attribute("aria-label").endswith(" a")
    assert problems == []


def test_it_starts_where_it_is_told(show):
    widget, problems = show(transfers(learner="previous", place=12))
    assert_shows(widget, 12, 12, "previous")
    assert problems == []


def test_the_chain_is_shown_part_by_part_and_can_be_walked(show):
    place = next(task for task in range(COUNT) if len(chain_of(SOURCES, task)) == 6)
    chain = chain_of(SOURCES, place)
    widget, problems = show(transfers())
    put(widget, "Task", place)
    assert chain_names(widget) == [*(NAMES[task] for task in chain), "untrained"]
    errors = [plain(text) for text in widget.locator(".lim-chain li:not(.lim-off) span:not(.lim-of)").all_inner_texts()]
    assert errors[: len(chain)] == [percent(ERRORS[task].item()) for task in chain]
    pictures = widget.locator(".lim-chain canvas")
    got = pictures.nth(1).evaluate(
        "(canvas) => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"
    )
    assert got[::4] == PICTURES[chain[1]].flatten().tolist()
    links = [item.get_attribute("data-link") for item in widget.locator(".lim-chain li:not(.lim-off)").all()]
    assert links == ["", *(kind_of(SOURCES, task) for task in chain)]
    widget.locator(".lim-chain button").nth(1).press("Enter")
    assert chain_names(widget)[0] == NAMES[chain[1]]
    assert_shows(widget, chain[1], place)
    assert widget.locator(".lim-chain button").first.evaluate("(node) => node === document.activeElement")
    assert widget.locator(".lim-chain li:not(.lim-off) button:disabled").count() == 1, "nothing is behind the start"
    put(widget, "Task", COUNT - 1)
    choose(widget, "Learner", "previous")
    hold(widget).uncheck()
    names = chain_names(widget)
    assert (names[-3:], len(names)) == ([f"{COUNT - 7} more", NAMES[0], "untrained"], 9)
    assert problems == []


# --- the picture ------------------------------------------------------------------------------------------------------


def arcs(widget, move):
    """The arcs that one move draws, as (source, task): how."""
    widget.page.evaluate("() => { window.arcs = []; }")
    move()
    places = {tuple(round(each, 3) for each in spot(widget, task)): task for task in range(COUNT)}
    found = {}
    for arc in widget.page.evaluate("() => window.arcs"):
        ends = [places[tuple(round(each, 3) for each in arc[end])] for end in ("from", "to")]
        assert tuple(ends) not in found
        found[tuple(ends)] = arc
    return found


def test_the_graph_grows_and_the_chain_and_the_descendants_stand_out(show):
    widget, problems = show(transfers())
    redrawn(widget)
    widget.evaluate(STROKES)
    for place, now in ((20, 20), (2, 33), (0, 39)):
        hold(widget).uncheck()
        put(widget, "Task", place)
        hold(widget).check()
        drawn = arcs(widget, lambda now=now: put(widget, "Task", now))
        assert set(drawn) == {(SOURCES[task], task) for task in range(now + 1) if SOURCES[task] >= 0}
        chain, later = chain_of(SOURCES, place), descendants_of(SOURCES, place, now)
        assert len(chain) > 1 or later, "something stands out"
        for (source, task), arc in drawn.items():
            level = 2 if task in chain else 1 if task in later else 0
            assert arc["width"] == pytest.approx([1, 1.6, 3.2][level])
            assert (arc["opacity"] > 0.9) == (level > 0)
            assert arc["isDashed"] == (FAMILIES[source] != FAMILIES[task])
    hues = {arc["isDashed"]: arc["colour"] for arc in drawn.values()}
    assert hues == {False: "#0072b2", True: "#c25400"}
    assert problems == []


def test_a_list_says_which_arcs_are_shown(show):
    widget, problems = show(transfers())
    redrawn(widget)
    widget.evaluate(STROKES)
    place, now = 3, COUNT - 1
    click(widget, place)
    all_arcs = {(SOURCES[task], task) for task in range(COUNT) if SOURCES[task] >= 0}
    kin = {*chain_of(SOURCES, place), *descendants_of(SOURCES, place, now)}
    of_chain = arcs(widget, lambda: choose(widget, "Show", 1))
    assert set(of_chain) == {ends for ends in all_arcs if ends[1] in kin}
    assert 0 < len(of_chain) < len(all_arcs)
    between = arcs(widget, lambda: choose(widget, "Show", 2))
    assert set(between) == {ends for ends in all_arcs if FAMILIES[ends[0]] != FAMILIES[ends[1]]}
    assert set(arcs(widget, lambda: choose(widget, "Show", 0))) == all_arcs
    assert problems == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_click_on_a_mark_looks_at_its_task(show, width):
    widget, problems = show(transfers())
    resize(widget, {"width": width, "height": 900})
    click(widget, 3)
    assert_shows(widget, 3, COUNT - 1)
    assert hold(widget).is_checked()
    assert widget.locator(".lim-hold").inner_text() == f"Stay with ‘{NAMES[3]}’"
    put(widget, "Task", 25)
    assert_shows(widget, 3, 25)
    put(widget, "Task", 1)
    assert_shows(widget, 1, 1)  # it has not come yet
    put(widget, "Task", 9)
    assert_shows(widget, 3, 9)
    click(widget, 28)
    assert_shows(widget, 28, 28)  # a task that is still to come: the time goes on to it
    assert slider(widget, "Task").input_value() == "28"
    assert not hold(widget).is_checked()
    before = said(widget)
    canvas(widget).click(position={"x": 10, "y": 10})
    assert said(widget) == before, "no task is there"
    assert problems == []


def test_the_box_stays_with_a_task_from_the_keyboard(show):
    widget, problems = show(transfers(place=4))
    hold(widget).press("Space")
    put(widget, "Task", 38)
    assert_shows(widget, 4, 38)
    hold(widget).press("Space")
    assert_shows(widget, 38, 38)
    assert widget.locator(".lim-hold").inner_text() == "Stay with this task"
    assert problems == []


def test_pictures_stand_for_tasks_where_there_is_room(show):
    draw = "() => { window.drawn = 0; const own = CanvasRenderingContext2D.prototype.drawImage; CanvasRenderingContext2D.prototype.drawImage = function (...all) { if (this.canvas.classList.contains('lim-scene')) window.drawn++; own.apply(this, all); }; }"
    for count, has_room in ((COUNT, False), (12, True)):
        shown = {name: {key: value[:count] for key, value in each.items() if key != "start"} for name, each in LEARNERS.items()}  # fmt: skip
        widget, problems = show(transfers(TASKS[:count], shown))
        redrawn(widget)
        widget.page.evaluate(draw)
        put(widget, "Task", 7)
        assert widget.page.evaluate("() => window.drawn") == (8 if has_room else 0)
        assert problems == []


# --- playing ----------------------------------------------------------------------------------------------------------


def test_a_play_goes_through_the_stream_and_can_be_stopped(show):
    widget, problems = show(transfers(place=0), still=False)
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "running"
    widget.page.wait_for_function("() => Number(document.querySelector('.lim-widget input').value) > 1")
    press(widget, "Pause")
    place = int(slider(widget, "Task").input_value())
    assert 1 < place < COUNT - 1
    assert_shows(widget, place, place)
    press(widget, "Next")
    assert_shows(widget, place + 1, place + 1)
    put(widget, "Task", COUNT - 3)
    press(widget, "Play")
    state(widget, "done")
    assert_shows(widget, COUNT - 1, COUNT - 1)
    press(widget, "Play")
    put(widget, "Task", 5)
    assert widget.get_attribute("data-state") == "paused"
    assert problems == []


def test_without_motion_a_play_is_at_its_end_at_once(show):
    widget, problems = show(transfers(place=2))
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "done"
    assert_shows(widget, COUNT - 1, COUNT - 1)
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(transfers())
    assert widget.get_by_role("slider").count() == 1
    assert widget.get_by_role("combobox").count() == 2
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


def fullest():
    """160 tasks of 10 families, 6 learners, and the longest of all names."""
    count, generator = 160, torch.Generator().manual_seed(1)
    family_of = [k % 10 for k in range(count)]
    tasks = [
        {"name": f"{k:03d} of forty letters, as long as it gets"[:40].ljust(40, "x"), "family": f"family {family} of 24 letters".ljust(24, "x")[:24]}
        for k, family in enumerate(family_of)
    ]  # fmt: skip
    errors, others = torch.rand(2, count, generator=generator)
    sources = [k - 1 - k % 3 for k in range(count)]
    learners = {
        f"learner {k} of forty letters".ljust(40, "x"): {"sources": [max(-1, source - k) for source in sources], "errors": errors, "reference": others, "start": "w" * 16}
        for k in range(6)
    }  # fmt: skip
    return live_transfers(tasks, learners, title="t", alt="a", note="n")


@pytest.mark.parametrize(("width", "window"), [(304, 320), (372, 390), (600, 1280), (860, 1280)])
def test_nothing_lies_over_another_thing_and_nothing_jumps(show, width, window):
    """A column of the book or of Lab may be narrower than its window."""
    for built in (transfers(), fullest()):
        widget, problems = show(built)
        resize(widget, {"width": window, "height": 900})
        set_width(widget, width)
        places = widget.evaluate(
            """(card) => {
              const input = card.querySelector("input[type=range]"), list = card.querySelector("select"), box = card.querySelector("input[type=checkbox]"), seen = new Set();
              const note = () => seen.add(`${card.offsetHeight}, ${[...card.querySelectorAll("canvas.lim-scene, .lim-chain, .lim-counts, table, tbody")].map((part) => part.offsetTop)}`);
              for (let learner = 0; learner < list.options.length; learner++) {
                list.value = learner;
                list.dispatchEvent(new Event("change"));
                for (let place = 0; place <= Number(input.max); place += 3) {
                  input.value = place;
                  input.dispatchEvent(new Event("input"));
                  note();
                  if (place % 15 === 9) { box.click(); note(); }
                }
              }
              return [...seen];
            }"""
        )
        assert len(places) == 1
        for place in (0, 30):
            put(widget, "Task", place)
            assert clashes(widget, PLACED, nested=True, cut=True) == []
        beside = widget.locator("table").bounding_box()["x"] > canvas(widget).bounding_box()["x"] + 50
        assert beside == (width >= 700), "beside the counts where there is room"
        assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(transfers())
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_what_lies_on_a_shade_can_be_read(show):
    """Letters of the matrix against their ground, by the contrast that accessibility asks for: 4.5."""
    widget, problems = show(transfers())
    measure = """(widget) => [...widget.querySelectorAll("tbody td")].map((cell) => {
      const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const light = (colours) => {
        for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
        const parts = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      const style = getComputedStyle(cell), ground = light([getComputedStyle(widget).backgroundColor, style.backgroundColor]), ink = light([style.color]);
      return (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
    })"""
    for theme in ("light", "dark"):
        set_theme(widget, theme)
        redrawn(widget)
        assert min(widget.evaluate(measure)) > 4.5
    assert problems == []


def test_two_tasks_one_learner_and_no_pictures_are_enough(show):
    tasks = [{"name": "a", "family": "f"}, {"name": "b", "family": "f"}]
    widget, problems = show(live_transfers(tasks, {"l": {"sources": [-1, 0], "errors": [0.5, 0.25]}}, title="t", alt="a"))  # fmt: skip
    assert widget.get_by_role("combobox").count() == 1, "no list of one learner"
    assert said(widget).startswith("‘b’ started from ‘a’, of its own family; that one started untrained. Its error is 25.0%. Of 2 tasks")  # fmt: skip
    assert widget.locator(".lim-counts span").first.inner_text() == "error of this task"
    assert "without transfer" not in widget.inner_text()
    put(widget, "Task", 0)
    assert said(widget).startswith("‘a’ started untrained. Its error is 50.0%. Of 1 task so far")
    for text in (widget.inner_text(), canvas(widget).get_attribute("aria-label")):
        assert "NaN" not in text
        assert "undefined" not in text
    assert widget.evaluate(PICTURE) != "blank"
    assert widget.locator(".lim-chain canvas").first.is_hidden()
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    widget, problems = show(fullest())
    tell_redraw_times(slider(widget, "Task"), [*range(0, 160, 8)] * 2)
    assert problems == []


def test_staying_with_a_task_is_seen_in_the_picture(show):
    widget, problems = show(transfers())
    redrawn(widget)
    before = widget.evaluate(PICTURE)
    hold(widget).check()
    redrawn(widget)
    assert widget.evaluate(PICTURE) != before
    hold(widget).uncheck()
    redrawn(widget)
    assert widget.evaluate(PICTURE) == before
    assert problems == []

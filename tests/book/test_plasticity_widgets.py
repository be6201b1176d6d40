"""The live widget of networks that learn task after task as a reader moves it: its numbers are torch's."""

import re
from functools import cache

import pytest
import torch
from hands import (
    COLOURS,
    INKS,
    assert_fits,
    assert_moves_on_a_phone,
    at_rest,
    captions,
    goes_on,
    press,
    put,
    redrawn,
    set_theme,
    set_width,
    slider,
    state,
    tell_redraw_times,
)

from companion.foundations.stacks import StackedMLP
from companion.teaching.widgets import live_plasticity
from companion.teaching.widgets.plasticity import (
    DRIFT_RATES,
    LEARNING_RATES,
    STRENGTHS,
    WAYS,
    plasticity_path,
    random_label_points,
)
from tests.browser import PICTURE

COUNT, PASSES = 4, 15
EVERY = PASSES * 4  # steps of a task
STEPS = COUNT * EVERY
TASKS = random_label_points(COUNT, passes=PASSES, generator=torch.Generator().manual_seed(0))
NETWORKS = StackedMLP(COUNT, 8, 4, 24, generator=torch.Generator().manual_seed(1))
NAMES = ("soft reset", "L2-init", "hard reset (told)", "SGD")

# What is wider than the column it stands in.
BEYOND = """(card) => [...card.querySelectorAll(".lim-column")].flatMap((column) => {
  const edge = column.getBoundingClientRect().right + 1;
  const parts = [...column.querySelectorAll("canvas, table, figcaption")];
  return parts.filter((part) => part.getBoundingClientRect().right > edge).map((part) => part.tagName);
})"""

# What is said when a slider starts the learning, and how often the pictures change by themselves until it is over,
# looked at each time that one could.
CHANGES = """async (input) => {
  input.value = 0;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  const widget = input.closest(".lim-widget"), note = widget.querySelector(".lim-note").textContent;
  const canvas = widget.querySelector("canvas");
  let seen = canvas.toDataURL(), changes = 0;
  while (widget.dataset.state === "running") {
    await new Promise(requestAnimationFrame);
    const now = canvas.toDataURL();
    if (now !== seen) changes++;
    seen = now;
  }
  return [note, changes];
}"""


def plasticity(tasks=TASKS, networks=NETWORKS, **words):
    return live_plasticity(tasks, networks, **{"title": "t", "alt": "a", "note": "n", **words})


@cache
def path(way, steps=STEPS, lr=0.3, drift_lr=0.005, strength=0.01):
    return plasticity_path(TASKS, NETWORKS, way, steps=steps, lr=lr, drift_lr=drift_lr, strength=strength)


def learned(widget):
    at_rest(widget)
    return widget


def table(widget):
    """Of each method: accuracy so far, in the last five tasks, and silent neurons, in percent."""
    rows = [row.locator("th, td").all_inner_texts() for row in widget.locator("tbody tr").all()]
    return {name: [None if text == "–" else float(text) for text in texts] for name, *texts in rows}


def expected_table(steps, **words):
    found = {}
    for name, way in zip(NAMES, WAYS):
        run, over = path(way, steps, **words), steps // EVERY
        recent = run.accuracy[max(0, over - 5) * EVERY : over * EVERY].mean().item() if over else None
        exact = [run.accuracy.mean().item(), recent, run.silent]
        found[name] = [None if each is None else pytest.approx(100 * each, abs=0.051) for each in exact]
    return found


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_all_tasks_are_learned_at_the_start_and_the_numbers_after_each_step_are_torchs(show):
    widget, problems = show(plasticity())
    assert learned(widget).get_attribute("data-state") == "done"
    for steps in (STEPS, 61, 130, 59, 60):
        put(widget, "Step", steps)
        assert table(widget) == expected_table(steps)
        (_, step), (_, gammas), (_, task) = captions(widget)
        assert step == f"step {steps} of {STEPS}"
        last = path("soft reset", steps).gammas[-1]
        shown = list(map(float, re.findall(r"[\d.]+", gammas)))
        assert shown == pytest.approx(last.tolist(), abs=6e-4)
        if steps < STEPS:
            assert task == f"task {steps // EVERY + 1}, step {steps % EVERY} of {EVERY}"
    put(widget, "Step", 0)
    assert all(texts[:2] == [None, None] for texts in table(widget).values())
    assert problems == []


def test_another_setting_is_learned_anew_and_only_where_it_counts(show):
    widget, problems = show(plasticity())
    learned(widget)
    put(widget, "Step", 150)
    for name, place, words in [
        ("Drift rate", len(DRIFT_RATES) - 2, {"drift_lr": DRIFT_RATES[-2]}),
        ("strength", 5, {"strength": STRENGTHS[5]}),
        ("Learning rate", 1, {"lr": LEARNING_RATES[1]}),
        ("Drift rate", 0, {"drift_lr": 0}),
    ]:
        before = table(widget)
        start = slider(widget, name).input_value()
        put(widget, name, place)
        learned(widget)
        assert table(widget) == expected_table(150, **words)
        touched = {"drift_lr": {"soft reset"}, "strength": {"L2-init"}, "lr": set(NAMES)}[next(iter(words))]
        assert {each for each in NAMES if table(widget)[each] != before[each]} <= touched
        put(widget, name, start)
        assert widget.get_attribute("data-state") != "running", "what was learned before is kept"
        assert table(widget) == before
    put(widget, "Drift rate", 0)
    assert slider(widget, "Drift rate").get_attribute("aria-valuetext") == "0: SGD"
    learned(widget)
    assert table(widget)["soft reset"] == table(widget)["SGD"]
    assert problems == []


def test_the_note_says_the_mean_gamma_where_a_task_begins_and_inside(show):
    widget, problems = show(plasticity())
    note = learned(widget).locator(".lim-note").inner_text()
    found = re.findall(r"^Mean γ: ([\d.]+) on the first batch of a task, ([\d.]+) in the second half of one\. n$", note)
    gammas = path("soft reset").gammas.view(COUNT, EVERY, 3)[1:]
    expected = [gammas[:, 0].mean().item(), gammas[:, EVERY // 2 :].mean().item()]
    assert list(map(float, found[0])) == pytest.approx(expected, abs=6e-4)
    assert problems == []


# --- the picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_cell_is_filled_where_the_point_is_known(show, theme):
    widget, problems = show(plasticity())
    learned(widget)
    set_theme(widget, theme)
    canvas = widget.locator("canvas").last
    model = StackedMLP(None, 8, 4, 24)
    starts = torch.cat([each[0].flatten() for each in NETWORKS.parameters()])
    torch.nn.utils.vector_to_parameters(starts, model.parameters())
    known_at_first = model(TASKS.points).argmax(-1) == TASKS.labels[0]
    for steps in (0, 75, 118):
        put(widget, "Step", steps)
        redrawn(widget)
        inks = widget.evaluate(INKS, ["class-0", "class-1", "class-2", "class-3"])
        cell = canvas.evaluate("(canvas) => canvas.clientWidth") / 17
        for half, way in ((0, "soft reset"), (1, "SGD")):
            known = path(way, steps).known if steps else known_at_first
            inset = 0.22 * cell  # inside the edge, outside the letter
            places = [[(half * 9 + i % 8) * cell + inset, 22 + (i // 8) * cell + inset] for i in range(32)]
            seen = torch.tensor(canvas.evaluate(COLOURS, places), dtype=torch.float64)[:, :3]
            wanted = torch.tensor([inks[label] for label in TASKS.labels[steps // EVERY]])
            assert ((seen - wanted).abs().amax(1)[known] < 4).all()
            assert (seen[~known] == 0).all(), "empty, not painted"
    assert problems == []


def test_the_bars_of_gamma_hang_where_a_task_begins(show):
    widget, problems = show(plasticity(drift_lr=0.02))
    learned(widget)
    canvas = widget.locator("canvas").nth(1)
    put(widget, "Step", 3 * EVERY)  # on show are the first three tasks
    redrawn(widget)
    width, height = canvas.evaluate("(canvas) => [canvas.clientWidth, canvas.clientHeight]")
    room, left, right = (height - 34) / 3, 40, width - 20
    (blue,) = widget.evaluate(INKS, ["learned"])
    gammas = path("soft reset", drift_lr=0.02).gammas
    bottom = next(each for each in (0.9, 0.6, 0) if gammas.min() >= each)
    step_width = (right - left) / (3 * EVERY)
    bars, gaps = [], []
    for layer in range(3):
        top, base = room * layer + 18, room * (layer + 1) - 2
        for step, gamma in enumerate(gammas[: 3 * EVERY, layer].tolist()):
            reach = (1 - gamma) / (1 - bottom) * (base - top)
            place = [left + (step + 0.5) * step_width, top + 4]
            if reach > 8:
                bars.append(place)
            elif reach == 0:
                gaps.append(place)
        assert gammas[[EVERY, 2 * EVERY], layer].max() < 1, "all layers go back where a task begins"
    assert min(len(bars), len(gaps)) > 5
    near = [
        (torch.tensor(canvas.evaluate(COLOURS, places))[:, :3] - torch.tensor(blue)).abs().amax(1) < 60
        for places in (bars, gaps)
    ]
    assert near[0].all()
    assert near[1].double().mean() < 0.1, "but for the edges of bars"
    assert problems == []


def test_the_step_can_be_dragged_along_the_accuracies(show):
    widget, problems = show(plasticity())
    learned(widget)
    canvas = widget.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    left, right = box["x"] + 40, box["x"] + box["width"] - 10
    mouse = widget.page.mouse
    mouse.move(left + 0.25 * (right - left), box["y"] + 60)
    before = widget.evaluate(PICTURE)
    mouse.down()
    assert int(slider(widget, "Step").input_value()) == pytest.approx(60, abs=2)
    assert widget.evaluate(PICTURE) != before
    mouse.move(right + 60, box["y"] + 80)
    mouse.up()
    assert slider(widget, "Step").input_value() == str(STEPS)
    assert problems == []


@pytest.mark.parametrize("width", [600, 900])
def test_nothing_reaches_beyond_its_column(show, width):
    """The column of the book is 600 pixels wide, also in a window that is wider."""
    widget, problems = show(plasticity())
    learned(widget)
    set_width(widget, width)
    assert widget.evaluate(BEYOND) == []
    assert problems == []


# --- playing ----------------------------------------------------------------------------------------------------------


def test_it_plays_from_the_start_pauses_starts_again_and_goes_on(show):
    widget, problems = show(plasticity(), still=False)
    learned(widget)
    press(widget, "Play")
    widget.page.wait_for_function("() => Number(document.querySelector(\"input[max='240']\").value) % 240 > 5")
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    step = int(slider(widget, "Step").input_value())
    assert 5 < step < STEPS
    assert table(widget) == expected_table(step)
    press(widget, "Start again")
    assert slider(widget, "Step").input_value() == "0"
    press(widget, "One step")
    assert table(widget) == expected_table(1)
    put(widget, "Step", 200)
    goes_on(widget, 200, STEPS)
    assert table(widget) == expected_table(STEPS)
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_a_play_may_begin_while_the_networks_still_learn_and_a_setting_may_change_while_it_plays(show):
    tasks = random_label_points(30, generator=torch.Generator().manual_seed(0))
    networks = StackedMLP(30, 8, 4, 24, generator=torch.Generator().manual_seed(1))
    widget, problems = show(plasticity(tasks, networks), still=False)
    press(widget, "Play")
    widget.page.wait_for_function("() => Number(document.querySelector(\"input[max='2400']\").value) % 2400 > 40")
    put(widget, "Drift rate", 2)
    step = int(slider(widget, "Step").input_value())
    assert 40 < step < 2400, "the play stops where it was"
    state(widget, "paused")
    rows = table(widget)
    assert captions(widget)[0][1] == f"step {step} of 2400"
    for name, way in zip(NAMES, WAYS):
        run = plasticity_path(tasks, networks, way, steps=step, drift_lr=DRIFT_RATES[2])
        assert rows[name][0] == pytest.approx(100 * run.accuracy.mean().item(), abs=0.051)
    assert problems == []


@pytest.mark.parametrize("still", [True, False])
def test_without_motion_only_the_first_and_the_last_picture_of_learning_are_drawn(show, still):
    tasks = random_label_points(30, generator=torch.Generator().manual_seed(0))
    networks = StackedMLP(30, 8, 4, 24, generator=torch.Generator().manual_seed(1))
    widget, problems = show(plasticity(tasks, networks), still=still)
    assert widget.evaluate(PICTURE) != "blank"
    learned(widget)
    note, changes = slider(widget, "Learning rate").evaluate(CHANGES)
    assert note == "Learning …"
    assert changes <= 2 if still else changes > 3
    assert captions(widget)[0][1] == "step 2400 of 2400"
    press(widget, "Start again")
    if still:
        press(widget, "Play")
        assert widget.get_attribute("data-state") == "done"
    assert problems == []


# --- where it is read -------------------------------------------------------------------------------------------------


def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show):
    widget, problems = show(plasticity())
    learned(widget)
    assert widget.get_by_role("slider").count() == 4
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


@pytest.mark.parametrize(("classes", "size", "depth"), [(2, 20, 1), (4, 64, 3)])
def test_other_numbers_of_points_classes_and_layers_are_shown(show, classes, size, depth):
    tasks = random_label_points(1, size=size, num_classes=classes, passes=3, generator=torch.Generator().manual_seed(0))
    networks = StackedMLP(1, 8, classes, 12, depth=depth, generator=torch.Generator().manual_seed(1))
    widget, problems = show(plasticity(tasks, networks, batch=4))
    learned(widget)
    assert widget.evaluate(PICTURE) != "blank"
    assert len(captions(widget)[1][1].removeprefix("now ").split(", ")) == depth + 1
    assert widget.locator(".lim-note").inner_text() == "n", "one task has no boundary"
    assert problems == []


def test_a_learning_rate_that_is_too_large_breaks_nothing(show):
    widget, problems = show(plasticity(lrs=(0.3, 10), lr=10, drift_lrs=(0, 10), drift_lr=10, posterior_scale=0.1))
    learned(widget)
    assert widget.evaluate(PICTURE) != "blank"
    assert "NaN" not in widget.inner_text()
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    tasks = random_label_points(30, generator=torch.Generator().manual_seed(0))
    widget, problems = show(plasticity(tasks, StackedMLP(30, 8, 4, 24, generator=torch.Generator().manual_seed(1))))
    learned(widget)
    for name, places in {"Step": (0, 79, 2399, 1200, 1201, 639, 2400), "Drift rate": (0, 1, 2, 3, 5, 6, 7)}.items():
        tell_redraw_times(slider(widget, name), list(places))
    began = widget.page.evaluate("() => performance.now()")
    learned(widget)
    print(f"then learned after {widget.page.evaluate('() => performance.now()') - began:.0f} ms")
    assert problems == []

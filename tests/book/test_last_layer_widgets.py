"""The live widgets of the closed-form last layer as a reader moves them: their numbers and their ends are torch's."""

import math
import re

import pytest
import torch
from hands import assert_moves_on_a_phone, counts, goes_on, numbers, press, put, resize, set_theme, slider, state

from companion.teaching.widgets import live_recursive, live_valley
from companion.teaching.widgets.recursive import bump_features, recursive_weights
from companion.teaching.widgets.valley import valley_paths

GENERATOR = torch.Generator().manual_seed(0)
# Nothing near 0, so that several frequencies fit: valleys of the solved loss at about 1.8, 4 (the lowest) and 6.
X = (1 + torch.rand(40, generator=GENERATOR, dtype=torch.float64)) * (
    1 - 2 * torch.randint(2, (40,), generator=GENERATOR)
)
Y = torch.cos(4 * X) + 0.1 * torch.randn(40, generator=GENERATOR, dtype=torch.float64)
STEPS, MOST = 16, 12
GRID = torch.linspace(0, 1, 61, dtype=torch.float64)
DRIFT = torch.sin(2 * math.pi * GRID + torch.linspace(0, 3, STEPS, dtype=torch.float64)[:, None])
BATCH_X = torch.rand(STEPS, MOST, generator=GENERATOR, dtype=torch.float64)
BATCH_Y = torch.sin(2 * math.pi * BATCH_X + torch.linspace(0, 3, STEPS, dtype=torch.float64)[:, None])
BATCH_Y = BATCH_Y + 0.1 * torch.randn(STEPS, MOST, generator=GENERATOR, dtype=torch.float64)

# How light some places of a canvas are; a place is (across, down) in shares of it.
LIGHTNESS = """(canvas, places) => places.map(([across, down]) => {
  const { data } = canvas.getContext("2d").getImageData(across * canvas.width, down * canvas.height, 1, 1);
  return data[0] + data[1] + data[2];
})"""


def valley(x=X, y=Y, **words):
    return live_valley(x, y, **{"title": "t", "alt": "a", "note": "n", "theta": 3.4, **words})


def recursive(truth=DRIFT, **words):
    usual = {"title": "t", "alt": "a", "note": "n", "bumps": 20, "batch_size": 5, "strength": 0.1}
    return live_recursive(BATCH_X, BATCH_Y, truth, **{**usual, **words})


# --- the valley -------------------------------------------------------------------------------------------------------


def loss(theta, w, ridge=0.0):
    """At places of any shape."""
    features = torch.cos(theta[..., None] * X)
    return 0.5 * (Y - w[..., None] * features).square().mean(-1) + 0.5 * ridge * w**2


def valley_curve():
    """Thetas over the window, and the w that is best for each."""
    thetas = torch.linspace(0, 8, 801, dtype=torch.float64)
    features = torch.cos(thetas[:, None] * X)
    return thetas, features @ Y / features.square().sum(1)


def columns(widget):
    """Of closed form and of joint descent: theta, w, loss, and where that lies."""
    names = widget.locator("thead th").all_inner_texts()
    texts = [row.locator("td").all_inner_texts() for row in widget.locator("tbody tr").all()]
    found = {name: (*numbers(values), place) for name, (*values, place) in zip(names, zip(*texts))}
    return found["closed form"], found["joint descent"]


def assert_columns(widget, closed, joint, ridge=0.0):
    """Both columns are those of a (theta, w) and a place, to the digits that they show."""
    for (theta, w, height, place), (point, expected) in zip(columns(widget), (closed, joint)):
        assert (theta, w) == pytest.approx(tuple(point.tolist()), abs=6e-3)
        assert height == pytest.approx(loss(*point, ridge).item(), rel=6e-3, abs=6e-5)
        assert place == expected


def test_the_last_layer_is_solved_wherever_theta_is_put(show):
    widget, problems = show(valley(ridge=0.05, weight=-1, theta=1))
    assert widget.get_attribute("data-state") == "paused", "it waits for the reader"
    for place, where in ((90, "local"), (210, "lowest"), (305, "local"), (400, "local")):
        put(widget, "θ at the start", place)
        closed, joint = (path[0] for path in valley_paths(X, Y, theta=place / 50, weight=-1, steps=0, ridge=0.05)[::-1])
        assert_columns(widget, (closed, where), (joint, where), 0.05)
    assert problems == []


@pytest.mark.parametrize(
    ("theta", "words", "place"),
    [(3.4, "in the lowest valley", "lowest"), (2.6, "in a local valley", "local")],
)
def test_a_play_ends_where_torchs_descents_end_and_some_starts_are_stuck(show, theta, words, place):
    widget, problems = show(valley(theta=theta))
    press(widget, "Play")
    state(widget, "done")
    joint, closed = valley_paths(X, Y, theta=theta)
    assert_columns(widget, (closed[-1], place), (joint[-1], place))
    note = widget.locator(".lim-note").inner_text()
    assert note.startswith(f"After 100 steps closed form ends {words}")
    assert f"joint descent ends {words}" in note
    tallest = max(0.5 * Y.square().mean().item(), loss(*valley_curve()).max().item())
    for path, step in zip((closed, joint), re.findall(r"reached at step (\d+)", note)):
        heights = loss(*path.T)
        near = (heights - heights[-1]).abs() <= 0.01 * (tallest - loss(*valley_curve()).min())
        assert int(step) == len(near) - near.flip(0).long().cumprod(0).sum()
    assert note.endswith(" n")
    lowest = float(re.findall(r"at θ = (\d\.\d\d)", note)[0])
    assert lowest == pytest.approx(4, abs=0.05)
    assert "step 100 of 100" in widget.inner_text()
    assert problems == []


def test_one_step_at_a_time_is_the_same_descent(show):
    widget, problems = show(valley(learning_rate=0.5, steps=10))
    joint, closed = valley_paths(X, Y, theta=3.4, learning_rate=0.5, steps=10)
    for step in range(1, 11):
        press(widget, "One step")
        assert_columns(widget, (closed[step], "lowest"), (joint[step], "lowest"))
    assert widget.get_attribute("data-state") == "done"
    press(widget, "One step")
    assert "step 1 of 10" in widget.inner_text(), "after the last comes the first"
    press(widget, "Back to the start")
    assert_columns(widget, (closed[0], "lowest"), (joint[0], "lowest"))
    assert widget.locator(".lim-note").inner_text() == "n"
    assert problems == []


def test_another_learning_rate_shows_both_ways_at_once_and_so_does_theta_from_then_on(show):
    widget, problems = show(valley())
    put(widget, "Learning rate", 5)
    joint, closed = valley_paths(X, Y, theta=3.4, learning_rate=0.5)
    assert_columns(widget, (closed[-1], "lowest"), (joint[-1], "lowest"))
    put(widget, "θ at the start", 130)
    joint, closed = valley_paths(X, Y, theta=2.6, learning_rate=0.5)
    assert_columns(widget, (closed[-1], "local"), (joint[-1], "local"))
    assert problems == []


def test_a_rate_that_is_too_large_is_said_to_diverge_or_to_leave(show):
    widget, problems = show(valley(learning_rates=(0.2, 1e3)))
    put(widget, "Learning rate", 1)
    closed, joint = columns(widget)
    assert joint == (math.inf, math.inf, math.inf, "diverged")
    assert closed[3] == "outside"
    assert -1e4 < closed[0] < 1e4
    note = widget.locator(".lim-note").inner_text()
    assert "joint descent diverged" in note
    assert widget.page.evaluate("document.documentElement.scrollWidth") <= 1280, "long numbers widen nothing"
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_farther_from_the_background_the_larger_the_loss(show, theme):
    widget, problems = show(valley(theta=0))
    set_theme(widget, theme)
    resize(widget, {"width": 900, "height": 900})
    canvas = widget.locator("canvas").first
    box = canvas.bounding_box()
    side = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    shares = torch.cartesian_prod(side[1:], side)  # no column that the start lies on
    left, right, top, base = 40, box["width"] - 10, 8, box["height"] - 22
    places = torch.stack(
        [(left + (right - left) * shares[:, 0]) / box["width"], (top + (base - top) * shares[:, 1]) / box["height"]], 1
    )
    light = torch.tensor(canvas.evaluate(LIGHTNESS, places.tolist()), dtype=torch.float64)
    away = -light if theme == "light" else light
    theta, w = 8 * shares[:, 0], 1.5 - 3 * shares[:, 1]
    features = torch.cos(theta[:, None] * X)
    free = (w - features @ Y / features.square().sum(1)).abs() > 0.2  # no valley's line there
    assert free.sum() > 150
    assert torch.corrcoef(torch.stack([away[free], loss(theta, w)[free].sqrt()]))[0, 1] > 0.95
    assert problems == []


def test_theta_can_be_dragged_on_the_map(show):
    widget, problems = show(valley())
    canvas = widget.locator("canvas").first
    box = canvas.bounding_box()
    left, right = box["x"] + 40, box["x"] + box["width"] - 10
    mouse = widget.page.mouse
    mouse.move(left + 0.25 * (right - left), box["y"] + 60)
    mouse.down()
    assert columns(widget)[0][0] == pytest.approx(2, abs=0.03)
    mouse.move(left + 0.6 * (right - left), box["y"] + 100, steps=3)
    assert columns(widget)[0][0] == pytest.approx(4.8, abs=0.03)
    mouse.move(right + 60, box["y"] + 100)
    assert columns(widget)[0][0] == 8, "no farther than the window"
    mouse.up()
    mouse.move(left, box["y"] + 60)
    assert columns(widget)[0][0] == 8, "let go"
    assert slider(widget, "θ at the start").input_value() == "400"
    assert problems == []


def test_the_valley_plays_pauses_and_goes_on(show):
    widget, problems = show(valley(), still=False)
    press(widget, "Play")
    widget.page.wait_for_function("() => parseInt(document.querySelector('figcaption span').textContent.slice(5)) > 5")
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    step = int(re.findall(r"step (\d+) of 100", widget.inner_text())[0])
    assert 5 < step < 100
    joint, closed = valley_paths(X, Y, theta=3.4, steps=step)
    assert_columns(widget, (closed[-1], "lowest"), (joint[-1], "lowest"))
    goes_on(widget, step, 100)
    widget.page.evaluate("() => window.stop()")
    assert problems == []


# --- the recursion ----------------------------------------------------------------------------------------------------

FEATURES, ON_GRID = bump_features(BATCH_X), bump_features(GRID)


def expected_counts(step, batch=5, strength=0.1, forgetting=0.0, truth=DRIFT):
    """The numbers below the picture, by torch: three errors to the truth, that on the batch, and how far W moved."""
    states = recursive_weights(FEATURES, BATCH_Y, batch_size=batch, strength=strength, forgetting=forgetting)
    everything = recursive_weights(FEATURES, BATCH_Y, batch_size=batch, strength=strength, forgetting=1.0)
    rows, values = FEATURES[step - 1, :batch], BATCH_Y[step - 1, :batch]
    identity = torch.eye(21, dtype=torch.float64)
    alone = torch.linalg.solve(rows.T @ rows + batch * strength * identity, rows.T @ values)
    exact = truth[step - 1] if truth.ndim == 2 else truth
    errors = [(ON_GRID @ w - exact).square().mean().sqrt().item() for w in (states[step], alone, everything[step])]
    on_batch = (values - rows @ states[step]).square().mean().sqrt().item()
    return pytest.approx([*errors, on_batch, (states[step] - states[step - 1]).norm().item()], rel=0.06, abs=1e-12)


def test_the_numbers_of_each_step_are_torchs(show):
    widget, problems = show(recursive())
    assert widget.get_attribute("data-state") == "done", "all steps are there from the start"
    for step in (STEPS, 9, 1):
        put(widget, "Step", step)
        assert counts(widget) == expected_counts(step)
        assert f"step {step} of {STEPS}" in widget.inner_text()
    put(widget, "Step", 0)
    texts = widget.locator(".lim-counts strong").all_inner_texts()
    assert texts[3:] == ["–", "–"], "no batch yet"
    assert numbers(texts[:1]) == pytest.approx([DRIFT[0].square().mean().sqrt().item()], rel=6e-3), "W = 0"
    assert problems == []


def test_batch_size_and_strength_change_what_is_learned(show):
    widget, problems = show(recursive())
    put(widget, "Batch size", 12)
    assert counts(widget) == expected_counts(STEPS, batch=12)
    put(widget, "Strength", 5)
    assert slider(widget, "Strength").get_attribute("aria-valuetext") == "0.003"
    assert counts(widget) == expected_counts(STEPS, batch=12, strength=0.003)
    put(widget, "Batch size", 4)
    put(widget, "Strength", 0)
    assert slider(widget, "Strength").get_attribute("aria-valuetext") == "10⁻⁵"
    assert counts(widget) == expected_counts(STEPS, batch=4, strength=1e-5)
    assert counts(widget)[3] < 1e-3, "fewer points than features: the batch is interpolated"
    put(widget, "Strength", 18)
    assert slider(widget, "Strength").get_attribute("aria-valuetext") == "10⁴"
    assert counts(widget)[4] < 1e-3, "frozen"
    assert problems == []


def test_forgetting_has_a_slider_only_where_it_is_taught(show):
    widget, problems = show(recursive(forgetting=0.8, strength=0.01))
    assert counts(widget) == expected_counts(STEPS, strength=0.01, forgetting=0.8)
    put(widget, "Forgetting", 0.95)
    assert counts(widget) == expected_counts(STEPS, strength=0.01, forgetting=0.95)
    put(widget, "Forgetting", 1)
    fit, _, everything, *_ = counts(widget)
    assert fit == everything
    assert problems == []
    assert slider(show(recursive())[0], "Forgetting").count() == 0


def test_a_truth_that_stays_is_compared_with_at_every_step(show):
    widget, problems = show(recursive(truth=DRIFT[3]))
    for step in (STEPS, 4):
        put(widget, "Step", step)
        assert counts(widget) == expected_counts(step, truth=DRIFT[3])
    assert problems == []


def test_the_note_tells_the_mean_error_of_the_later_half(show):
    widget, problems = show(recursive())
    states = recursive_weights(FEATURES, BATCH_Y, batch_size=5, strength=0.1)[1:]
    errors = (states @ ON_GRID.T - DRIFT).square().mean(1).sqrt()
    note = widget.locator(".lim-note").inner_text()
    (first, last, mean) = re.findall(r"^Mean error of steps (\d+) to (\d+): ([\d.]+);", note)[0]
    assert (int(first), int(last)) == (9, 16)
    assert float(mean) == pytest.approx(errors[8:].mean().item(), rel=6e-3)
    assert note.endswith(" n")
    assert problems == []


@pytest.mark.parametrize(("forgetting", "name"), [(None, "strength"), (0.8, "forgetting")])
def test_the_sweep_goes_from_over_fitting_to_a_frozen_layer_or_over_all_that_can_be_forgotten(show, forgetting, name):
    widget, problems = show(recursive(forgetting=forgetting, strength=0.01))
    choices = {
        "strength": [float(f"{d}e{k}") for k in range(-5, 4) for d in (1, 3)] + [1e4],
        "forgetting": [k / 20 for k in range(21)],
    }

    def error(batch, value):
        words = {"strength": 0.01, "forgetting": 0.0, name: value}
        states = recursive_weights(FEATURES, BATCH_Y, batch_size=batch, **words)[1:]
        return (states @ ON_GRID.T - DRIFT).square().mean(1).sqrt()[8:].mean().item()

    label = r"against the \w+ .: (.+) at (.+) and (.+) at (.+), least at . = (.+): (.+)\.$"
    for batch in (5, 12):
        put(widget, "Batch size", batch)
        errors = [error(batch, value) for value in choices[name]]
        least = min(range(len(errors)), key=errors.__getitem__)
        wanted = (errors[0], choices[name][0], errors[-1], choices[name][-1], choices[name][least], errors[least])
        texts = re.findall(label, widget.locator("canvas").last.get_attribute("aria-label"))[0]
        assert numbers(texts) == pytest.approx(wanted, rel=6e-3)
        assert 0 < least < len(errors) - 1, "both ends are worse than something between them"
        caption = widget.locator("figcaption").last.inner_text()
        assert caption.split("= ")[1] == texts[4]
    assert problems == []


def test_the_recursion_plays_from_the_first_step_pauses_and_goes_on(show):
    widget, problems = show(recursive(), still=False)
    assert slider(widget, "Step").input_value() == str(STEPS)
    press(widget, "Play")
    widget.page.wait_for_function("() => ['3', '4', '5'].includes(document.querySelector('input').value)")
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    step = int(slider(widget, "Step").input_value())
    assert 3 <= step < STEPS
    assert counts(widget) == expected_counts(step)
    press(widget, "One step")
    assert counts(widget) == expected_counts(step + 1)
    goes_on(widget, step + 1, STEPS)
    assert counts(widget) == expected_counts(STEPS)
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_a_stream_of_single_points_has_no_batch_size(show):
    single = live_recursive(BATCH_X[:, :1], BATCH_Y[:, :1], DRIFT, title="t", alt="a")
    widget, problems = show(single)
    assert slider(widget, "Batch size").count() == 0
    assert counts(widget) == expected_counts(STEPS, batch=1)
    assert problems == []


# --- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [valley, recursive, lambda: recursive(forgetting=0.5)])
def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show, make):
    widget, problems = show(make())
    assert_moves_on_a_phone(widget)
    assert problems == []


@pytest.mark.parametrize("make", [valley, recursive])
def test_without_motion_a_play_is_at_its_end_at_once(show, make):
    widget, problems = show(make())
    press(widget, "One step")
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "done"
    assert problems == []

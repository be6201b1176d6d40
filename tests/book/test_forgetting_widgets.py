"""The live widget of fixed forgetting as a reader moves it: its numbers are torch's."""

import math
import re

import pytest
import torch
from hands import (
    assert_follows_the_theme,
    assert_moves_on_a_phone,
    counts,
    goes_on,
    numbers,
    press,
    put,
    slider,
    tell_redraw_times,
)

from companion.teaching.widgets import live_forgetting
from companion.teaching.widgets.forgetting import GAMMAS, forgetting_path
from companion.teaching.widgets.recursive import bump_features
from tests.browser import PICTURE

GENERATOR = torch.Generator().manual_seed(0)
STEPS, JUMP = 120, 72
SHIFT = torch.linspace(0, 0.15, STEPS, dtype=torch.float64) + 0.3 * (torch.arange(STEPS) >= JUMP)
GRID = torch.linspace(0, 1, 61, dtype=torch.float64)
X = torch.rand(STEPS, generator=GENERATOR, dtype=torch.float64)
Y = torch.sin(2 * math.pi * (X + SHIFT)) + 0.3 * torch.randn(STEPS, generator=GENERATOR, dtype=torch.float64)
DRIFT = torch.sin(2 * math.pi * (GRID + SHIFT[:, None]))
ON_GRID = bump_features(GRID, bumps=16)
SCORED = STEPS // 4  # the points that are not scored


def forgetting(truth=DRIFT, **words):
    usual = {"title": "t", "alt": "a", "note": "n", "gamma": 0.999, "weight_variance": 0.5, "noise_variance": 0.09}
    return live_forgetting(X, Y, truth, **{**usual, **words})


def path(gamma, truth=DRIFT):
    """By torch, at each step: error, belief and percent of the truth in the band; and each point's log-density."""
    features = bump_features(X, bumps=16)
    means, covariances, logs = forgetting_path(features, Y, gamma=gamma, weight_variance=0.5, noise_variance=0.09)
    variances = torch.einsum("gp,spq,gq->sg", ON_GRID, covariances, ON_GRID)
    exact = torch.cat([truth[:1], truth]) if truth.ndim == 2 else truth
    off = means @ ON_GRID.T - exact
    inside = 100 * (off.square() <= 4 * variances).double().mean(1)
    return off.square().mean(1).sqrt(), variances.mean(1).sqrt(), inside, logs


def assert_counts(widget, gamma, step, truth=DRIFT):
    errors, beliefs, inside, logs = path(gamma, truth)
    error, belief, share, log = counts(widget)
    assert (error, belief) == pytest.approx((errors[step].item(), beliefs[step].item()), rel=6e-3)
    assert share == pytest.approx(inside[step].item(), abs=0.51)
    assert log == pytest.approx(logs[step - 1].item(), rel=6e-3, abs=1e-3)


def test_the_numbers_of_each_step_and_each_gamma_are_torchs(show):
    widget, problems = show(forgetting())
    assert widget.get_attribute("data-state") == "done", "all steps are there from the start"
    for place, gamma in ((8, 0.999), (0, 0.5), (12, 1.0), (3, 0.95)):
        put(widget, "γ", place)
        assert slider(widget, "γ").get_attribute("aria-valuetext") == f"{gamma:g}"
        for step in (STEPS, JUMP + 3, 1):
            put(widget, "Step", step)
            assert_counts(widget, gamma, step)
            assert f"step {step} of {STEPS}" in widget.inner_text()
    put(widget, "Step", 0)
    texts = widget.locator(".lim-counts strong").all_inner_texts()
    prior = (0.5 * ON_GRID.square().sum(1)).mean().sqrt().item()
    assert numbers(texts[:2]) == pytest.approx([DRIFT[0].square().mean().sqrt().item(), prior], rel=6e-3)
    assert texts[3] == "–", "no point yet"
    assert problems == []


def test_a_truth_that_stays_is_compared_with_at_every_step(show):
    widget, problems = show(forgetting(truth=DRIFT[3], step=7))
    assert slider(widget, "Step").input_value() == "7"
    for step in (7, STEPS):
        put(widget, "Step", step)
        assert_counts(widget, 0.999, step, truth=DRIFT[3])
    assert problems == []


@pytest.mark.parametrize("gamma", [0.95, 0.995, 1.0])
def test_the_note_tells_the_means_after_the_first_quarter(show, gamma):
    widget, problems = show(forgetting(gamma=gamma))
    note = widget.locator(".lim-note").inner_text()
    assert note.startswith(f"Steps {SCORED + 1} to {STEPS} with γ = {gamma:g}: ")
    errors, beliefs, inside, logs = path(gamma)
    later = slice(SCORED + 1, None)
    over = 100 * (beliefs < errors)[later].double().mean().item()
    number = r"(\d[\d.]*|−[\d.]+)"
    pattern = (
        rf"error {number}, believed {number}; (\d+).% .*; overconfident in (\d+).% .*; mean log-density {number}, "
    )
    got = numbers(re.findall(pattern, note)[0])
    wanted = (errors[later].mean().item(), beliefs[later].mean().item(), logs[SCORED:].mean().item())
    assert (got[0], got[1], got[4]) == pytest.approx(wanted, rel=6e-3)
    assert got[2:4] == pytest.approx([inside[later].mean().item(), over], abs=0.51)
    assert note.endswith(" n")
    assert problems == []


def test_test_then_train_has_a_best_gamma_between_too_unsure_and_too_sure(show):
    widget, problems = show(forgetting())
    scores = [path(gamma)[3][SCORED:].mean().item() for gamma in GAMMAS]
    best = max(range(len(scores)), key=scores.__getitem__)
    assert 0 < best < len(scores) - 1
    label = widget.locator("canvas").last.get_attribute("aria-label")
    ends = numbers(re.findall(r"gamma: (\S+) at 0.5, (\S+) at \S+, (\S+) at 1;", label)[0])
    assert ends == pytest.approx([scores[0], scores[best], scores[-1]], rel=6e-3)
    assert f"best at {GAMMAS[best]:g}; now " in label
    put(widget, "γ", best)
    assert "the best of all here" in widget.locator(".lim-note").inner_text()
    assert problems == []


def test_a_small_gamma_is_unsure_and_a_gamma_of_one_is_sure_and_wrong(show):
    widget, problems = show(forgetting())
    ratio = r"error (\S+) × believed"
    put(widget, "γ", 3)
    assert float(re.findall(ratio, widget.inner_text())[0]) < 1
    put(widget, "γ", 12)
    assert float(re.findall(ratio, widget.inner_text())[0]) > 3
    assert problems == []


def test_both_small_pictures_can_be_dragged(show):
    widget, problems = show(forgetting())
    page = widget.page
    _, track, sweep = widget.locator("canvas").all()

    def place(canvas, share):
        box = canvas.bounding_box()
        left, right = box["x"] + 48, box["x"] + box["width"] - 10
        return left + share * (right - left), box["y"] + box["height"] / 2

    before = widget.evaluate(PICTURE)
    page.mouse.move(*place(track, 0.25))
    page.mouse.down()
    assert slider(widget, "Step").input_value() == "30"
    page.mouse.move(*place(track, 0.6), steps=3)
    assert slider(widget, "Step").input_value() == "72"
    assert_counts(widget, 0.999, 72)
    page.mouse.up()
    page.mouse.move(*place(track, 0.1))
    assert slider(widget, "Step").input_value() == "72", "let go"
    assert widget.evaluate(PICTURE) != before
    page.mouse.move(*place(sweep, 1.5))
    page.mouse.down()
    assert slider(widget, "γ").input_value() == "8", "not on it"
    page.mouse.up()
    page.mouse.move(*place(sweep, 0.51))
    page.mouse.down()
    assert slider(widget, "γ").get_attribute("aria-valuetext") == "0.995"
    page.mouse.move(*place(sweep, 1.5))
    page.mouse.up()
    assert slider(widget, "γ").get_attribute("aria-valuetext") == "1", "no farther than its end"
    assert_counts(widget, 1.0, 72)
    assert problems == []


def test_it_plays_from_the_first_step_pauses_and_goes_on(show):
    widget, problems = show(forgetting(), still=False)
    press(widget, "Play")
    widget.page.wait_for_function(
        "() => { const at = +document.querySelectorAll('input')[1].value; return at > 3 && at < 90; }"
    )
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    step = int(slider(widget, "Step").input_value())
    assert 3 < step < STEPS
    assert_counts(widget, 0.999, step)
    press(widget, "One step")
    assert_counts(widget, 0.999, step + 1)
    goes_on(widget, step + 1, STEPS)
    assert_counts(widget, 0.999, STEPS)
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_without_motion_a_play_is_at_its_end_at_once(show):
    widget, problems = show(forgetting(step=5))
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "done"
    assert slider(widget, "Step").input_value() == str(STEPS)
    assert problems == []


@pytest.mark.parametrize("truth", [DRIFT, DRIFT[0]])
def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show, truth):
    widget, problems = show(forgetting(truth=truth))
    assert_moves_on_a_phone(widget)
    assert problems == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, theme):
    widget, problems = show(forgetting())
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    widget, problems = show(forgetting())
    for name in ("γ", "Step"):
        control = slider(widget, name)
        tell_redraw_times(control, list(range(int(control.get_attribute("max")) + 1)))
    assert problems == []

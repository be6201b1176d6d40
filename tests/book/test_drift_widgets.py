"""The live widgets of the drift and of the evidence as a reader moves them: their numbers are torch's."""

import math
import re

import pytest
import torch
from hands import (
    assert_fits,
    assert_follows_the_theme,
    assert_moves_on_a_phone,
    counts,
    goes_on,
    numbers,
    press,
    put,
    slider,
    state,
    tell_redraw_times,
)

from companion.methods.soft_reset import learning_rate_rise
from companion.teaching.widgets import live_drift, live_evidence
from companion.teaching.widgets.drift import DRIFTS, PARTICLES, drift_path
from companion.teaching.widgets.evidence import DRIFT_LRS, evidence_curve, evidence_noise, turned_labels
from tests.browser import PICTURE

GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(24, 2, generator=GENERATOR, dtype=torch.float64)
UNIFORMS = (torch.randperm(24, generator=GENERATOR).double() + 0.5) / 24
WEIGHTS = (2.6, 1.5)
GRID = torch.linspace(0, 1, 101, dtype=torch.float64)


def drifting(**words):
    return live_drift(**{"title": "t", "alt": "a", "note": "n", **words})


def evidence(**words):
    return live_evidence(POINTS, UNIFORMS, **{"title": "t", "alt": "a", "note": "n", "weights": WEIGHTS, **words})


def click_along(canvas, share, left):
    """Press the mouse at a share of the way along a plot."""
    box = canvas.bounding_box()
    canvas.page.mouse.move(box["x"] + left + share * (box["width"] - 10 - left), box["y"] + box["height"] / 2, steps=2)


# --- the drift --------------------------------------------------------------------------------------------------------


def cells(widget):
    """The table's numbers, row by row, without those that are not there."""
    texts = [row.locator("td").all_inner_texts() for row in widget.locator("tbody tr").all()]
    plain = [[text.removeprefix("×").strip() for text in row] for row in texts]
    return [numbers([text for text in row if text]) for row in plain]


def assert_table(widget, gammas, gamma, scale=0.4):
    """What the table says after some drifts, with one by gamma to come."""
    mean, std = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 0.7], dtype=torch.float64)
    noise = torch.randn(DRIFTS + 1, PARTICLES, 2, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.cat([noise, noise[:1]])  # for the drift to come, of which only the belief is shown
    start = torch.tensor([2.0, 1.2], dtype=torch.float64)
    means, stds, clouds = drift_path(start, mean, std, noise, posterior_scale=scale, gammas=[*gammas, gamma])
    lefts = [*(means[-2:] / start)[:, 0].tolist(), 0.0]
    distance, width, rate, measured = cells(widget)
    assert distance == pytest.approx([100 * left for left in lefts], abs=0.51)
    assert width == pytest.approx([*(stds[-2:] / std)[:, 0].tolist(), 1.0], abs=0.0051)
    rises = [learning_rate_rise(torch.tensor(left, dtype=torch.float64), scale).item() for left in lefts]
    assert rate == pytest.approx(rises, rel=6e-3)
    own = clouds[-2].std(0) / std
    assert measured == pytest.approx([own.square().mean().sqrt().item()], abs=0.0051)
    said = re.findall(r"measure (\S+) and (\S+)\)", widget.locator(".lim-note").inner_text())[0]
    assert numbers(said) == pytest.approx(own.tolist(), abs=0.0051)


def test_the_table_is_torchs_at_each_gamma_and_width_and_after_each_drift(show):
    widget, problems = show(drifting())
    assert_table(widget, [], 0.7)
    for place in (0, 37, 100):
        put(widget, "γ", place)
        assert_table(widget, [], place / 100)
    put(widget, "Width", 90)
    assert_table(widget, [], 1.0, scale=0.9)
    put(widget, "Width", 20)
    done = []
    for place in (90, 50, 80):
        put(widget, "γ", place)
        press(widget, "Drift once")
        done.append(place / 100)
        assert_table(widget, done, place / 100, scale=0.2)
        assert f"{len(done)} drift" in widget.locator("figcaption span").first.inner_text()
    put(widget, "Width", 70)
    assert_table(widget, done, 0.8, scale=0.7)
    put(widget, "γ", 30)
    assert_table(widget, done, 0.3, scale=0.7)
    assert "together like one by γ = 0.360," in widget.locator(".lim-note").inner_text()
    press(widget, "Reset")
    assert_table(widget, [], 0.3, scale=0.7)
    assert widget.locator("figcaption span").first.inner_text() == "before any drift"
    assert problems == []


def test_after_many_drifts_the_law_of_the_start_stays(show):
    widget, problems = show(drifting())
    press(widget, "Play")
    assert widget.get_attribute("data-state") == "done"
    assert_table(widget, [0.7] * DRIFTS, 0.7)
    (distance, _, _), width, _, (measured,) = cells(widget)
    assert distance == 0
    assert width == [1, 1, 1]
    assert measured == pytest.approx(1, abs=0.15)
    before = widget.evaluate(PICTURE)
    put(widget, "γ", 20)
    assert widget.evaluate(PICTURE) != before, "the mark of gamma"
    assert cells(widget)[1] == [1, 1, 1]
    press(widget, "Drift once")
    assert_table(widget, [0.2], 0.2)
    assert problems == []


def test_a_play_drifts_pauses_and_goes_on(show):
    widget, problems = show(drifting(gamma=0.9), still=False)
    press(widget, "Play")
    caption = widget.locator("figcaption span").first
    widget.page.wait_for_function("() => /^[2-9] drifts/.test(document.querySelector('figcaption span').textContent)")
    assert widget.get_attribute("data-state") == "running"
    press(widget, "Pause")
    step = int(caption.inner_text().split()[0])
    assert_table(widget, [0.9] * step, 0.9)
    put(widget, "γ", 60)
    press(widget, "Drift once")
    assert_table(widget, [0.9] * step + [0.6], 0.6)
    goes_on(widget, step + 1, DRIFTS)
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_the_plot_can_be_dragged(show):
    widget, problems = show(drifting())
    page, plot = widget.page, widget.locator("canvas").last
    click_along(plot, 0.25, 40)
    page.mouse.down()
    assert slider(widget, "γ").get_attribute("aria-valuetext") == "0.25"
    click_along(plot, 1.4, 40)
    page.mouse.up()
    assert slider(widget, "γ").get_attribute("aria-valuetext") == "1.00", "no farther than its end"
    assert_table(widget, [], 1.0)
    label = plot.get_attribute("aria-label")
    assert "At gamma 1.00: 100" in label
    assert problems == []


# --- the evidence -----------------------------------------------------------------------------------------------------


def assert_counts(widget, angle=60, rows=24, flips=0.0, scale=0.5, rate=0.01):
    labels = turned_labels(POINTS[:rows], UNIFORMS[:rows], weights=WEIGHTS, angle=angle, flips=flips)

    def curve(gammas):
        words = {"weights": WEIGHTS, "posterior_scale": scale}
        return evidence_curve(POINTS[:rows], labels, evidence_noise(), gammas, **words)

    values, slopes = curve(GRID)
    slope = slopes[-1].item()
    stepped = min(1.0, max(0.0, 1 + rate * slope))
    (at_step,), _ = curve(torch.tensor([stepped], dtype=torch.float64))
    best = GRID[values.argmax()].item()
    wanted = [slope, stepped, best, values[-1].item(), at_step.item(), values.max().item()]
    assert counts(widget) == pytest.approx(wanted, abs=0.0051)
    said = (POINTS[:rows] @ torch.tensor(WEIGHTS, dtype=torch.float64)).sign()
    note = widget.locator(".lim-note").inner_text()
    wrong, against = map(int, re.findall(r" (\d+) wrong labels?; the network contradicts (\d+)\.", note)[0])
    assert (wrong, against) == (int((UNIFORMS[:rows] < flips).sum()), int((said != labels).sum()))
    assert ("asks for no drift" in note) == (slope >= 0)
    assert note.endswith(" n")
    return slope, stepped, best


def test_the_numbers_are_torchs_at_every_place_of_every_slider(show):
    widget, problems = show(evidence())
    assert_counts(widget)
    for angle in (0, 25, 180):
        put(widget, "Task turned", angle)
        for rows in (24, 7, 1):
            put(widget, "Rows", rows)
            assert_counts(widget, angle, rows)
    put(widget, "Rows", 20)
    put(widget, "Wrong labels", 6)
    assert_counts(widget, 180, 20, 0.3)
    put(widget, "Width", 85)
    assert_counts(widget, 180, 20, 0.3, 0.85)
    for place, rate in enumerate(DRIFT_LRS):
        put(widget, "Step of", place)
        assert_counts(widget, 180, 20, 0.3, 0.85, rate)
    assert problems == []


def test_the_same_task_keeps_gamma_at_1_and_a_turned_one_lowers_it(show):
    widget, problems = show(evidence(angle=0, drift_lr=0.02))
    slope, stepped, best = assert_counts(widget, angle=0, rate=0.02)
    assert slope > 0
    assert (stepped, best) == (1, 1)
    assert widget.locator(".lim-note").inner_text().startswith("The same task: 24 rows, 0 wrong labels;")
    put(widget, "Task turned", 180)
    slope, stepped, best = assert_counts(widget, angle=180, rate=0.02)
    assert slope < -50
    assert (stepped, best) == (0, 0)
    assert widget.locator(".lim-note").inner_text().startswith("Task turned by 180°: ")
    assert problems == []


def test_the_curve_is_told_in_words(show):
    widget, problems = show(evidence(angle=90, rows=9))
    label = widget.locator("canvas").last.get_attribute("aria-label")
    said = numbers(re.findall(r"[−\d][\d.]*\d|\d", label))
    slope, stepped, best, now, at_step, highest = counts(widget)
    fresh = evidence_curve(
        POINTS[:9],
        turned_labels(POINTS[:9], UNIFORMS[:9], weights=WEIGHTS, angle=90),
        evidence_noise(),
        GRID[:1],
        weights=WEIGHTS,
        posterior_scale=0.5,
    )[0].item()
    assert said == pytest.approx([fresh, 0, now, 1, slope, highest, best, at_step, stepped], abs=0.0051)
    assert math.isfinite(fresh)
    assert problems == []


# --- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [drifting, evidence])
def test_each_control_moves_the_picture_from_the_keyboard_and_a_phone_is_wide_enough(show, make):
    widget, problems = show(make())
    assert_moves_on_a_phone(widget)
    assert_fits(widget, 320)
    assert problems == []


@pytest.mark.parametrize("make", [drifting, evidence])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_follows_the_theme(show, make, theme):
    widget, problems = show(make())
    assert_follows_the_theme(widget, theme)
    assert problems == []


def test_it_can_be_taken_away_while_it_plays(show):
    widget, problems = show(drifting(), still=False)
    press(widget, "Play")
    state(widget, "running")
    widget.page.evaluate("() => { window.stop(); document.querySelector('.lim-widget').remove(); }")
    widget.page.evaluate("() => new Promise((done) => setTimeout(done, 400))")
    assert problems == []


def test_how_long_a_redraw_takes_is_told(show):
    for make in (drifting, evidence):
        widget, problems = show(make())
        for control in widget.get_by_role("slider").all():
            low, high = (int(control.get_attribute(end)) for end in ("min", "max"))
            tell_redraw_times(control, list(range(low, high + 1)))
        assert problems == []

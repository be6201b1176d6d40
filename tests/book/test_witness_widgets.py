"""The live witness as a reader moves it: its numbers are torch's, its colours are its signs, its flow ends where torch's does."""

import re

import pytest
import torch
from hands import choose, press, put, slider, slow_down, state

from companion.data import toy
from companion.foundations.distances import energy_distance
from companion.methods.mmd_flow import (
    FeatureMLP,
    NoiseConditionalWitness,
    VarianceExploding,
    VariancePreserving,
    adaptive_flow,
    train_witness,
)
from companion.teaching.widgets import live_witness
from tests.browser import PICTURE

PAGE = "notebooks/04_mmd_gradient_flow"

# Until what was asked for is drawn.
SETTLE = """async () => {
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
}"""

# How much more red than blue each of some places is; a place is (across, up) in shares of the canvas.
REDNESS = """(canvas, places) => places.map(([across, up]) => {
  const { data } = canvas.getContext("2d").getImageData(across * canvas.width, (1 - up) * canvas.height, 1, 1);
  return data[0] - data[2];
})"""

# How many pictures are asked for while a slider moves three times.
ASKED = """(input) => {
  const { requestAnimationFrame: ask } = window;
  let asked = 0;
  window.requestAnimationFrame = (tick) => { asked++; return ask(tick); };
  for (const value of [10, 20, 30]) {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }
  window.requestAnimationFrame = ask;
  return asked;
}"""


def trained(noising, steps=150):
    torch.manual_seed(0)
    witness = NoiseConditionalWitness(FeatureMLP(2, 16, 24), noising)
    generator = torch.Generator().manual_seed(0)
    for _ in train_witness(witness, toy.eight_gaussians(), steps, generator=generator):
        pass
    return witness


@pytest.fixture(scope="module")
def preserving():
    return trained(VariancePreserving())


@pytest.fixture(scope="module")
def exploding():
    return trained(VarianceExploding(high=3.0, data_std=1.5))


def cloud(seed, n=40):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


STARTS = {"near": cloud(0), "far": 0.3 * cloud(1) + 1.5}
DATA = toy.eight_gaussians().sample(80, torch.Generator().manual_seed(2))


def field(witness, starts=STARTS, **words):
    return live_witness(witness, starts, DATA, **{"title": "t", "alt": "a", "limit": 3, "note": "n"} | words)


def picture(widget):
    """A hash of the canvas, once what was asked for is drawn."""
    widget.evaluate(SETTLE)
    return widget.evaluate(PICTURE)


def counts(widget):
    """The numbers beside the picture: level, steps done, MMD^2, mean slope."""
    picture(widget)
    level, done, gap, slope = widget.locator(".lim-counts strong").all_inner_texts()
    return float(level), int(done.split()[0]), float(gap), float(slope)


def rest(widget):
    """The energy distance at the end of a flow."""
    state(widget, "done")
    (distance,) = re.findall(
        r"the energy distance to the data is (-?\d+\.\d{3})", widget.locator(".lim-note").inner_text()
    )
    return float(distance)


def flow(witness, start, levels, step=0.1, inner_steps=4):
    *_, points = adaptive_flow(witness, start, levels, step, inner_steps)
    return points


def at(witness, position, count=1):
    """The level of a position, `count` times."""
    noising = witness.noising
    return noising.at(torch.full((count,), position, dtype=torch.float64)).clamp(noising.low, noising.high)


def slopes(witness, points, particles, level):
    """f and its slope at some points, for these particles."""
    level = level.to(points).squeeze()
    apart = witness.mean_features(particles, level) - witness.remembered(level)[0]
    points = points.clone().requires_grad_()
    values = witness(points, level) @ apart
    (slope,) = torch.autograd.grad(values.sum(), points)
    return values.detach(), slope, apart


@pytest.mark.parametrize("kind", ["preserving", "exploding"])
@pytest.mark.parametrize("place", [96, 41, 0])
def test_the_numbers_at_a_level_are_torchs(request, show, kind, place):
    witness = request.getfixturevalue(kind)
    widget, problems = show(field(witness))
    assert widget.get_attribute("data-state") == "paused", "it waits for the reader"
    put(widget, "Noise level", place)
    level = at(witness, place / 96)
    _, slope, apart = slopes(witness, STARTS["near"], STARTS["near"], level)
    speed = (witness.noising.unit(level, 2) * slope.norm(dim=1)).mean().item()
    assert counts(widget) == (
        pytest.approx(level.item(), abs=6e-4),
        0,
        pytest.approx(apart.square().sum().item(), rel=0.06),  # two digits are shown
        pytest.approx(speed, abs=6e-4),
    )
    assert problems == []


@pytest.mark.parametrize("kind", ["preserving", "exploding"])
def test_what_is_orange_lies_above_zero_and_what_is_blue_below(request, show, kind):
    witness = request.getfixturevalue(kind)
    widget, problems = show(field(witness, starts={"near": STARTS["near"]}))
    put(widget, "Noise level", 60)
    picture(widget)
    side = (torch.arange(24) + 0.5) / 24
    shares = torch.cartesian_prod(side, side)
    values, _, _ = slopes(witness, 6 * shares - 3, STARTS["near"], at(witness, 60 / 96))
    red = torch.tensor(widget.locator("canvas").evaluate(REDNESS, shares.tolist()))
    clear = values.abs() * witness.noising.unit(at(witness, 60 / 96), 2) > 0.05
    assert 40 < (values[clear] < 0).sum() < clear.sum() - 40, "both are there"
    same = (red[clear] > 0) == (values[clear] > 0)
    assert same.float().mean() > 0.9, "but for points and arrows that lie on the colours"
    assert problems == []


@pytest.mark.parametrize("kind", ["preserving", "exploding"])
def test_the_adaptive_flow_ends_where_torchs_does(request, show, kind):
    witness = request.getfixturevalue(kind)
    widget, problems = show(field(witness))
    press(widget, "Play")
    expected = flow(witness, STARTS["near"], witness.noising.levels(25))
    assert rest(widget) == pytest.approx(energy_distance(expected, DATA).item(), abs=6e-4)
    assert counts(widget)[:2] == (pytest.approx(witness.noising.low, abs=6e-4), 100)
    assert slider(widget, "Noise level").input_value() == "0", "the slider moved along"
    note = widget.locator(".lim-note").inner_text()
    assert note.startswith("After 100 steps the energy distance")
    assert note.endswith(" n")
    assert problems == []


def test_one_level_only_is_the_level_of_the_hand_and_as_many_steps(show, exploding):
    widget, problems = show(field(exploding, position=0.75, levels=5, inner_steps=3))
    choose(widget, "Levels of the flow", 1)
    expected = flow(exploding, STARTS["near"], at(exploding, 0.75, 5), inner_steps=3)
    assert rest(widget) == pytest.approx(energy_distance(expected, DATA).item(), abs=6e-4)
    assert counts(widget)[:2] == (pytest.approx(at(exploding, 0.75).item(), abs=6e-4), 15)
    put(widget, "Noise level", 24)
    press(widget, "Play")
    expected = flow(exploding, STARTS["near"], at(exploding, 0.25, 5), inner_steps=3)
    assert rest(widget) == pytest.approx(energy_distance(expected, DATA).item(), abs=6e-4)
    assert problems == []


def test_another_start_and_another_step_length_start_the_flow_afresh(show, preserving):
    widget, problems = show(field(preserving, levels=5))
    levels = preserving.noising.levels(5)
    choose(widget, "Start", 1)
    distances = [rest(widget)]
    put(widget, "Step length", 3)
    distances.append(rest(widget))
    press(widget, "Play")
    distances.append(rest(widget))
    expected = [energy_distance(flow(preserving, STARTS["far"], levels, step), DATA).item() for step in (0.1, 0.2, 0.2)]
    assert distances == pytest.approx(expected, abs=6e-4)
    assert abs(expected[0] - expected[1]) > 2e-3
    assert problems == []


def test_the_level_slider_shows_other_fields_of_the_same_particles(show, preserving):
    widget, problems = show(field(preserving))
    first = picture(widget)
    put(widget, "Noise level", 30)
    assert picture(widget) != first
    assert counts(widget)[1] == 0
    put(widget, "Noise level", 96)
    assert picture(widget) == first
    press(widget, "Play")
    end = rest(widget)
    before = picture(widget)
    put(widget, "Noise level", 96)
    assert picture(widget) != before
    assert counts(widget)[1] == 100
    press(widget, "Back to the start")
    assert picture(widget) == first
    put(widget, "Noise level", 50)
    press(widget, "Play")
    assert rest(widget) == end, "an adaptive flow keeps to its own levels"
    assert problems == []


def test_one_step_at_a_time_is_the_same_flow(show, preserving):
    widget, problems = show(field(preserving, levels=3, inner_steps=2))
    levels = preserving.noising.levels(3)
    for done, points in enumerate(adaptive_flow(preserving, STARTS["near"], levels, 0.1, 2)):
        level = levels[min(done // 2, 2)]
        _, _, apart = slopes(preserving, points, points, level)
        assert counts(widget)[:3] == (
            pytest.approx(level.item(), abs=6e-4),
            done,
            pytest.approx(apart.square().sum().item(), rel=0.06),
        )
        press(widget, "One step")
    assert counts(widget)[1] == 1, "after the last comes the first"
    assert problems == []


def test_a_slider_that_moves_on_asks_for_one_picture(show, preserving):
    widget, problems = show(field(preserving))
    picture(widget)
    assert slider(widget, "Noise level").evaluate(ASKED) == 1
    assert counts(widget)[0] == pytest.approx(at(preserving, 30 / 96).item(), abs=6e-4), "that of the last place"
    assert problems == []


def test_it_plays_pauses_and_the_hand_takes_the_level(show, preserving):
    widget, problems = show(field(preserving), still=False)
    press(widget, "Play")
    widget.page.wait_for_function("() => parseInt(document.querySelectorAll('.lim-counts strong')[1].textContent) > 8")
    assert widget.get_attribute("data-state") == "running"
    assert float(slider(widget, "Noise level").input_value()) < 96
    put(widget, "Noise level", 96)
    assert widget.get_attribute("data-state") == "paused"
    halfway = counts(widget)
    assert halfway[0] == 1
    assert 8 < halfway[1] < 100
    choose(widget, "Levels of the flow", 1)
    state(widget, "running")
    widget.page.wait_for_function("() => parseInt(document.querySelectorAll('.lim-counts strong')[1].textContent) > 4")
    put(widget, "Noise level", 48)
    assert widget.get_attribute("data-state") == "running", "at one level the flow goes on at the new one"
    press(widget, "Pause")
    assert counts(widget)[0] == pytest.approx(at(preserving, 0.5).item(), abs=6e-4)
    widget.page.evaluate("() => window.stop()")
    assert problems == []


def test_one_start_needs_no_list_and_one_level_is_the_noisiest(show, preserving):
    widget, problems = show(field(preserving, starts={"only": STARTS["near"]}, levels=1, inner_steps=2))
    assert widget.get_by_role("combobox").count() == 1
    press(widget, "Play")
    expected = flow(preserving, STARTS["near"], preserving.noising.levels(1), inner_steps=2)
    assert rest(widget) == pytest.approx(energy_distance(expected, DATA).item(), abs=6e-4)
    assert counts(widget)[:2] == (1, 2)
    assert problems == []


def test_a_play_ends_where_pictures_come_slowly(show, preserving):
    widget, problems = show(field(preserving), still=False)
    slow_down(widget, 100)
    press(widget, "Play")
    rest(widget)
    assert counts(widget)[1] == 100
    assert problems == []


def test_the_lessons_page_has_one_that_flows(visit):
    seen = visit(PAGE)
    seen.show_widgets()
    widgets = seen.page.locator(".lim-witness").all()
    assert widgets, "the page shows no witness"
    for widget in widgets:
        widget.scroll_into_view_if_needed()
        before = picture(widget)
        press(widget, "Play")
        rest(widget)
        assert picture(widget) != before
    assert seen.problems == []

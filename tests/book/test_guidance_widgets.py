"""The widget of guidance as a reader moves it: what follows from the weights by hand, and what from the learned ones."""

import re

import hands
import pytest
import torch
from hands import choose, press, slider, state

from companion.data.labelled import four_classes
from companion.foundations.conditional import ConditionalDenoiser
from companion.foundations.diffusion import time_grid
from companion.foundations.distances import energy_distance
from companion.foundations.networks import TimeMLP
from companion.methods.guidance import GuidanceWeights, sample_guided
from companion.teaching.widgets import live_guidance
from companion.teaching.widgets.base import front_end

START = """async ([text, count]) => {
  const front = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  return Array.from(front.normals(1).fill(new Float32Array(count)));
}"""

# A hash of each canvas: three planes, then the weights.
PICTURES = """(widget) => [...widget.querySelectorAll("canvas")].map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let sum = 2166136261;
  for (const value of data) sum = Math.imul(sum ^ value, 16777619) >>> 0;
  return sum;
})"""


# How many clocks run once a slider has moved three times.
CLOCKS = """(input) => {
  const running = new Set(), { requestAnimationFrame: ask, cancelAnimationFrame: cancel } = window;
  window.requestAnimationFrame = (tick) => {
    const id = ask((now) => { running.delete(id); tick(now); });
    running.add(id);
    return id;
  };
  window.cancelAnimationFrame = (id) => { running.delete(id); cancel(id); };
  for (const value of [0.5, 1, 2]) {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }
  return running.size;
}"""


def base(seed, start=0.5, output="softplus"):
    torch.manual_seed(seed)
    model = ConditionalDenoiser(TimeMLP(2, 8, width=16, depth=2), 4)
    with torch.no_grad():
        model.embedding.weight.mul_(3)
    return model, GuidanceWeights(4, start=start, output=output)


def three(models=None, **words):
    labels = torch.arange(4).repeat_interleave(20)
    data = four_classes().sample_given(labels, torch.Generator().manual_seed(0))
    models = models or {"short": base(0, 1.0), "long": base(1, 0.01)}
    return live_guidance(models, data, labels, **{"title": "t", "alt": "a", "points": 40} | words)


def rest(widget):
    """Wait until all three samples are there; what their captions say."""
    state(widget, "done")
    return widget.locator("figcaption span").all_inner_texts()[:3]


def put(widget, label, value):
    hands.put(widget, label, value)
    return rest(widget)


def test_without_a_weight_the_constant_and_the_interval_are_one_unguided_sample(show):
    widget, problems = show(three(weight=2))
    apart = rest(widget)
    assert len(set(apart)) == 3, apart
    assert all(re.fullmatch(r"distance -?\d+\.\d{3}", text) for text in apart), apart
    constant, interval, learned, _ = widget.evaluate(PICTURES)
    assert len({constant, interval, learned}) == 3
    same = put(widget, "Weight by hand", 0)
    assert same[0] == same[1]
    assert same[2] == apart[2], "the learned weight does not ask the hand"
    unguided, too, as_before, _ = widget.evaluate(PICTURES)
    assert (unguided, as_before) == (too, learned)
    assert "Calls of the network in 20 steps: 20, 20 and 40." in widget.locator(".lim-note").inner_text()
    assert problems == []


def test_a_step_is_asked_twice_where_its_weight_is_not_zero_and_both_ends_of_the_interval_belong_to_it(show):
    widget, problems = show(three(interval=(0.2, 0.8), steps=10))
    rest(widget)
    note = widget.locator(".lim-note")
    assert "in 10 steps: 20, 17 and 20." in note.inner_text(), "0.2, 0.3 to 0.8: seven of the ten"
    put(widget, "Interval: highest t", 0.3)
    assert "in 10 steps: 20, 12 and 20." in note.inner_text(), "0.2 and 0.3"
    put(widget, "Steps", 1 + [5, 10, 20, 40, 100].index(10))
    assert "in 20 steps: 40, 23 and 40." in note.inner_text(), "0.2, 0.25 and 0.3"
    assert problems == []


def test_an_interval_over_all_times_is_the_constant(show):
    widget, problems = show(three(interval=(0, 1)))
    constant, interval, _ = rest(widget)
    assert constant == interval
    assert problems == []


def test_neither_end_of_the_interval_passes_the_other(show):
    widget, problems = show(three(interval=(0.2, 0.5)))
    rest(widget)
    low, high = slider(widget, "Interval: lowest t"), slider(widget, "Interval: highest t")
    put(widget, "Interval: lowest t", 0.7)
    assert (low.input_value(), high.input_value()) == ("0.7", "0.75")
    put(widget, "Interval: highest t", 0.1)
    assert (low.input_value(), high.input_value()) == ("0.05", "0.1")
    assert "from 0.05 to 0.10" in widget.locator("canvas").nth(3).get_attribute("aria-label")
    assert problems == []


def test_a_start_between_two_places_of_the_sliders_is_moved_to_one(show):
    widget, problems = show(three(weight=1.02, interval=(0.21, 0.79)))
    exact, _ = show(three(weight=1, interval=(0.2, 0.8)))
    assert rest(widget) == rest(exact)
    assert widget.evaluate(PICTURES) == exact.evaluate(PICTURES)
    assert problems == []


def test_the_distances_are_those_of_torch_from_the_same_start(show):
    models = {"short": base(0, 1.0)}
    shown = three(models, weight=1.5, steps=10)
    widget, problems = show(shown)
    captions = rest(widget)
    start = widget.page.evaluate(START, [front_end(), 80])
    model, weights = models["short"]
    cloud = torch.frombuffer(bytearray(shown.reference), dtype=torch.float32).view(-1, 2)
    classes = torch.frombuffer(bytearray(shown.labels), dtype=torch.uint8)
    labels = torch.arange(40) % 4
    for caption, weight in zip(captions, (1.5, (1.5, 0.2, 0.8), weights), strict=True):
        noise = torch.tensor(start).view(40, 2)
        *_, points = sample_guided(model.conditional, model.unconditional, weight, labels, noise, time_grid(10))
        own = [energy_distance(points[labels == label], cloud[classes == label]) for label in range(4)]
        assert float(caption.removeprefix("distance ")) == pytest.approx(torch.stack(own).mean().item(), abs=6e-4)
    assert problems == []


def test_another_base_brings_its_own_samples_and_its_own_weights(show):
    widget, problems = show(three())
    before, (*planes, weights) = rest(widget), widget.evaluate(PICTURES)
    assert "class 0 from 0.9" in widget.locator("canvas").nth(3).get_attribute("aria-label")
    choose(widget, "Base", "long")
    after = rest(widget)
    assert all(old != new for old, new in zip(before, after, strict=True))
    *others, low = widget.evaluate(PICTURES)
    assert low != weights
    assert all(old != new for old, new in zip(planes, others, strict=True))
    assert "class 0 from 0.01 to 0.01" in widget.locator("canvas").nth(3).get_attribute("aria-label")
    assert problems == []


def test_one_base_needs_no_list_and_a_dead_relu_asks_once_a_step(show):
    model, weights = base(0, output="relu")
    torch.nn.init.constant_(weights.net[-1].bias, -5)
    widget, problems = show(three({"only": (model, weights)}, weight=0))
    constant, interval, learned = rest(widget)
    assert widget.locator("select").count() == 0
    assert constant == interval == learned
    assert "20, 20 and 20." in widget.locator(".lim-note").inner_text()
    assert problems == []


def test_run_again_repeats_the_noise_and_new_noise_does_not(show):
    widget, problems = show(three())
    first = rest(widget)
    press(widget, "Run again")
    assert rest(widget) == first
    press(widget, "New noise")
    assert rest(widget) != first
    assert problems == []


def test_it_moves_and_a_slider_in_the_midst_starts_it_afresh(show):
    """What comes out is what a widget at rest shows with the same weight: no step is left over from the run before."""
    still, _ = show(three(weight=1.5))
    expected = rest(still)
    widget, problems = show(three(), still=False)
    assert widget.get_attribute("data-state") == "running"
    widget.page.wait_for_function("() => document.querySelector('figcaption span').textContent < 'at t = 0.8'")
    assert slider(widget, "Weight by hand").evaluate(CLOCKS) == 1
    assert put(widget, "Weight by hand", 1.5) == expected
    widget.page.evaluate("() => window.stop()")
    assert problems == []

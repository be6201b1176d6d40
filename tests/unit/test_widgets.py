"""Widgets carry what they need: frames, paths or weights, small enough for a page, and refuse what they cannot show."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from companion.data import toy
from companion.data.labelled import four_classes
from companion.foundations.conditional import ConditionalDenoiser
from companion.foundations.distances import energy_distance
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.networks import TimeMLP
from companion.methods.distributional import DistributionalDenoiser
from companion.methods.guidance import GuidanceWeights
from companion.teaching.widgets import (
    Choice,
    Slider,
    explore,
    live_coupling,
    live_guidance,
    live_posterior,
    live_sampler,
    live_speculation,
    particles,
)


def bar(height, colour="black"):
    """A bar of some height."""
    figure = Figure(figsize=(1, 1), facecolor="white")
    axes = figure.subplots()
    axes.set_facecolor("white")
    axes.bar([0], [height], color=colour)
    axes.set_ylim(0, 10)
    return figure


def ink(frame: bytes) -> float:
    """How dark a frame on a white background is."""
    return 255 - float(np.asarray(Image.open(io.BytesIO(frame)).convert("L")).mean())


def answers(widget, monkeypatch, *messages):
    """What the widget sends back to the front end."""
    sent = []
    monkeypatch.setattr(widget, "send", lambda content, buffers=(): sent.append((content, buffers)))
    for message in messages:
        widget._answer(widget, message, [])
    return sent


@pytest.fixture
def all_frames(monkeypatch):
    monkeypatch.setenv("COMPANION_FRAMES", "all")


@pytest.mark.usefixtures("all_frames")
def test_every_frame_of_the_grid_is_stored_in_row_major_order():
    widget = explore(bar, height=Slider(1, 9, steps=3), colour=Choice(["black", "none"]))
    inks = [ink(frame) for frame in widget.frames]
    assert len(inks) == 6
    assert inks[0] < inks[2] < inks[4], "a taller bar has more ink"
    assert inks[1] < inks[0], "the second axis runs fastest"


def test_a_live_session_draws_the_ends_and_the_default_only(monkeypatch):
    monkeypatch.delenv("COMPANION_FRAMES", raising=False)
    widget = explore(bar, height=Slider(1, 9, default=3, steps=9))
    assert [bool(frame) for frame in widget.frames] == [place in (0, 2, 8) for place in range(9)]


@pytest.mark.usefixtures("all_frames")
def test_a_kernel_draws_the_exact_frame_between_two_places(monkeypatch):
    widget = explore(bar, height=Slider(1, 9, steps=3))
    ((hello, _), (reply, (frame,))) = answers(
        widget, monkeypatch, {"type": "hello"}, {"type": "draw", "positions": [0.5]}
    )
    assert hello == {"type": "alive"}
    assert reply["place"] is None
    assert ink(widget.frames[0]) < ink(frame) < ink(widget.frames[1])


def test_a_missing_frame_is_filled_at_its_place(monkeypatch):
    monkeypatch.delenv("COMPANION_FRAMES", raising=False)
    widget = explore(bar, height=Slider(1, 9, steps=5), colour=Choice(["black", "none"]))
    ((reply, (frame,)),) = answers(widget, monkeypatch, {"type": "fill", "place": 2})
    assert reply == {"type": "frame", "place": 2, "positions": None}
    assert ink(widget.frames[0]) < ink(frame) < ink(widget.frames[4]), "place 2 is the second height, in black"


def test_a_draw_that_fails_in_a_live_session_says_so_in_the_widget(monkeypatch):
    monkeypatch.delenv("COMPANION_FRAMES", raising=False)

    def picky(height):
        if 2 < height < 8:
            raise RuntimeError("too middling")
        return bar(height)

    widget = explore(picky, height=Slider(1, 9, default=1, steps=9))
    ((reply, buffers),) = answers(widget, monkeypatch, {"type": "draw", "positions": [4]})
    assert reply == {"type": "error", "text": "RuntimeError: too middling"}
    assert not buffers


def test_a_draw_that_fails_at_once_fails_the_cell():
    def broken(height):
        raise RuntimeError("no figure")

    with pytest.raises(RuntimeError, match="no figure"):
        explore(broken, height=Slider(0, 1))


def test_a_grid_too_large_for_a_page_is_refused():
    with pytest.raises(ValueError, match="sliders is a grid of 121 frames"):
        explore(bar, height=Slider(1, 9), colour=Choice([str(level / 11) for level in range(11)]))


def test_a_slider_that_draw_does_not_take_is_refused():
    with pytest.raises(ValueError, match="sliders are width"):
        explore(bar, width=Slider(0, 1))


def test_draw_must_return_a_figure():
    with pytest.raises(TypeError, match="draw is returning a int"):
        explore(lambda height: 3, height=Slider(0, 1))


def test_a_logarithmic_slider_has_equal_ratios():
    slider = Slider(1, 100, steps=3, logarithmic=True)
    assert slider.values == pytest.approx([1, 10, 100])
    assert slider.value_at(0.5) == pytest.approx(10**0.5)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Slider(1, 0), "low, high"),
        (lambda: Slider(0, 1, logarithmic=True), "low is 0"),
        (lambda: Slider(0, 1, steps=1), "steps is 1"),
        (lambda: Slider(0, 1, default=2), "default is 2"),
        (lambda: Choice([1]), "options is"),
        (lambda: Choice([1, 2], default=3), "default is 3"),
    ],
)
def test_sliders_and_choices_refuse_what_cannot_be_shown(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_particles_keep_positions_to_a_thousandth_of_the_window():
    paths = torch.rand(5, 20, 2) * 4 - 2
    widget = particles({"cloud": paths}, title="t", alt="a", limit=2.0)
    stored = np.frombuffer(widget.clouds[0]["paths"], "<u2").reshape(5, 20, 2) / 65535 * 4 - 2
    assert np.abs(stored - paths.numpy()).max() < 1e-4


def test_particles_take_what_a_sampler_yields():
    widget = particles({"walk": (torch.zeros(3, 2) + step for step in range(4))}, title="t", alt="a")
    assert widget.labels == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("paths", "words", "sentence"),
    [
        ({}, {}, "paths is empty"),
        ({"a": torch.zeros(4, 3, 2), "b": torch.zeros(5, 3, 2)}, {}, "one number of frames"),
        ({"a": torch.zeros(4, 3, 3)}, {}, "points in the plane"),
        ({"a": torch.zeros(4, 3, 2)}, {"labels": ["one"]}, "labels is 1 words"),
        ({"a": torch.zeros(100, 5000, 2)}, {}, "fewer points or frames"),
    ],
)
def test_particles_refuse_what_cannot_be_shown(paths, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        particles(paths, title="t", alt="a", **words)


def test_live_widgets_carry_the_networks_weights_and_little_else():
    standard = DistributionalDenoiser(TimeMLP(2), None)
    drawing = DistributionalDenoiser(TimeMLP(2, noise_dim=4), (4,))
    law = toy.eight_gaussians()
    sampler = live_sampler({"standard": standard, "drawing": drawing}, law.sample(50), title="t", alt="a")
    posterior = live_posterior(drawing, standard, law, law.sample(50), title="t", alt="a")
    count = sum(parameter.numel() for parameter in drawing.parameters())
    assert len(sampler.networks[1]["weights"]) == 4 * count
    assert sampler.networks[1]["sizes"] == [2 + 13 + 4, 64, 64, 64, 2]
    assert len(posterior.law["stds"]) == 8
    assert sum(len(network["weights"]) for network in sampler.networks) < 700_000


def test_live_widgets_refuse_networks_that_the_browser_cannot_run():
    with pytest.raises(TypeError, match="TimeMLP"):
        live_sampler({"linear": torch.nn.Linear(2, 2)}, torch.zeros(3, 2), title="t", alt="a")
    with pytest.raises(ValueError, match="of the plane"):
        live_sampler({"space": TimeMLP(3)}, torch.zeros(3, 2), title="t", alt="a")
    with pytest.raises(ValueError, match="steps is 5"):
        live_sampler({"plane": TimeMLP(2)}, torch.zeros(3, 2), title="t", alt="a", steps=5)


def test_the_coupling_carries_its_start_only():
    widget = live_coupling(title="t", alt="a", note="n", draft_mean=-1, std=0.5, points=20)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("coupling", "t", "a", "n")
    assert (widget.draft_mean, widget.target_mean, widget.std, widget.points) == (-1.0, 0.6, 0.5, 20)


def test_the_speculative_chain_carries_its_law_and_its_sliders_places():
    law = toy.eight_gaussians()
    data = law.sample(50)
    widget = live_speculation(law, data, title="t", alt="a", steps=100, window=4, churn=0.5)
    assert widget.kind == "speculation"
    assert widget.step_choices[widget.steps_index] == 100
    assert widget.windows[widget.windows_index] == 4
    assert (widget.churn, widget.limit) == (0.5, 3.0)
    np.testing.assert_allclose(widget.law["means"], law.means)
    assert sum(widget.law["weights"]) == pytest.approx(1)
    np.testing.assert_array_equal(np.frombuffer(widget.reference, "<f4").reshape(50, 2), data.numpy())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"draft_mean": 2.5}, r"draft_mean is 2.5, but must be a number in \[-2, 2\]"),
        ({"std": 0}, r"std is 0, but must be a number in \[0.2, 1.2\]"),
        ({"points": 0}, "points is 0, but must be at least 1"),
        ({"points": 5000}, "points is 5000, but must be at most 400"),
        ({"alt": " "}, "alt is empty"),
    ],
)
def test_the_coupling_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        live_coupling(**{"title": "t", "alt": "a", **words})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"law": GaussianMixture(torch.zeros(1, 3), torch.ones(1))}, "law is in 3 dimensions"),
        ({"data": torch.zeros(5, 3)}, "data is of shape .* but must be points in the plane"),
        ({"data": torch.zeros(100_000, 2)}, "data is 800000 bytes, but must be at most 700000"),
        ({"steps": 40}, r"steps is 40, but must be one of \(25, 50, 100\)"),
        ({"window": 5}, "window is 5, but must be one of"),
        ({"windows": (0, 8)}, "each of windows is 0, but must be at least 1"),
        ({"churn": 0}, r"churn is 0, but must be a number in \[0.1, 1\]: the less fresh noise"),
        ({"limit": 0}, "limit is 0, but must be"),
        ({"title": ""}, "title is empty"),
    ],
)
def test_the_speculative_chain_refuses_what_it_cannot_show(words, sentence):
    usual = {"law": toy.eight_gaussians(), "data": torch.zeros(5, 2), "title": "t", "alt": "a"}
    with pytest.raises(ValueError, match=sentence):
        live_speculation(**{**usual, **words})


def classified(each=20, classes=4):
    labels = torch.arange(classes).repeat_interleave(each)
    return four_classes().sample_given(labels, torch.Generator().manual_seed(0)), labels


def base(classes=4, weights=4, **network):
    model = ConditionalDenoiser(TimeMLP(**{"dim": 2, "noise_dim": 8, "depth": 2} | network), classes)
    return model, GuidanceWeights(weights)


def guidance(models=None, points=40, **words):
    data, labels = classified()
    models = {"it": base()} if models is None else models
    usual = {"models": models, "data": data, "labels": labels, "title": "t", "alt": "a"}
    return live_guidance(**{**usual, "points": points, **words})


def test_guidance_carries_every_base_with_its_own_weights_and_the_data_with_its_classes():
    pairs = {"short": base(), "long": base()}
    data, labels = classified()
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    widget = guidance(pairs, data=data[order], labels=labels[order], weight=1, interval=(0.3, 0.7), steps=40, points=43)
    assert (widget.kind, widget.weight, widget.interval, widget.limit) == ("guidance", 1.0, [0.3, 0.7], 3.0)
    assert widget.step_choices[widget.steps_index] == 40
    assert widget.points == 40, "equally many of each class"
    np.testing.assert_array_equal(np.frombuffer(widget.reference, "<f4").reshape(80, 2), data[order].numpy())
    np.testing.assert_array_equal(np.frombuffer(widget.labels, "u1"), labels[order].numpy())
    assert [network["name"] for network in widget.networks] == ["short", "long"]
    for (model, weights), network in zip(pairs.values(), widget.networks, strict=True):
        assert (network["sizes"], network["noise"], network["classes"]) == ([2 + 13 + 8, 64, 64, 2], 8, 4)
        assert network["learned"]["sizes"] == [4 + 3 + 3, 32, 32, 1]
        assert network["learned"]["output"] == "softplus"
        rows = np.frombuffer(network["embeddings"], "<f4").reshape(5, 8)
        np.testing.assert_array_equal(rows, model.embedding.weight.detach().numpy())
        parts = [network["weights"], network["learned"]["weights"]]
        counts = [sum(number.numel() for number in part.parameters()) for part in (model.network, weights)]
        assert [len(part) for part in parts] == [4 * count for count in counts]
    assert guidance({"it": (base()[0], GuidanceWeights(4, output="relu"))}).networks[0]["learned"]["output"] == "relu"


def test_the_noise_floor_of_guidance_is_what_fresh_points_of_the_law_would_measure():
    """The spread of the metric over samples of the law itself, against a cloud as large as the others of a split."""
    data, labels = classified(each=300)
    floor = guidance(data=data, labels=labels, points=300).floor
    law, generator = four_classes(), torch.Generator().manual_seed(7)

    def metric():
        clouds = ([law.given(label).sample(n, generator) for n in (75, 225)] for label in range(4))
        return torch.stack([energy_distance(*pair) for pair in clouds]).mean()

    spread = torch.stack([metric() for _ in range(40)]).std().item()
    assert 0.6 < floor / spread < 1.6


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"models": {}}, "models is empty, but must be at least one base with its learned weights"),
        ({"models": {"it": base(dim=3)}}, "it is of 3 dimensions, but must be of the plane, dim 2"),
        ({"models": {"it": base(noise_dim=4)}}, "it is with embeddings of 8, but must be with embeddings of 4"),
        ({"models": {"it": base(weights=3)}}, "it is of 4 classes, its weights of 3, but must be of as many classes"),
        ({"models": {"a": base(), "b": base(3, 3)}}, r"models is of \[4, 3\] classes, but must be all of the same"),
        ({"models": {"it": base(5, 5)}}, "models is of 5 classes, but must be of at most 4 classes"),
        ({"data": torch.zeros(80, 3)}, r"data is of shape \(80, 3\), but must be points in the plane"),
        ({"data": torch.zeros(2, 40, 2)}, r"data is of shape \(2, 40, 2\), but must be points in the plane, \(m, 2\)"),
        ({"labels": torch.zeros(79).long()}, r"labels is of shape \(79,\), but must be of shape \(80,\)"),
        ({"labels": torch.arange(80) % 5}, "labels is outside in some row, but must be from 0 to 3"),
        ({"labels": torch.arange(80) % 3}, "data is 0 points of some class, but must be at least 20 points of each"),
        ({"points": 44}, "data is 20 points of some class, but must be at least 22 points of each class, twice"),
        ({"points": 7}, "points is 7, but must be at least 8"),
        ({"weight": 3.5}, r"weight is 3.5, but must be a number in \[0, 3\]"),
        ({"interval": (0.6, 0.4)}, r"interval is \(0.6, 0.4\), but must be \(low, high\), rising by at least 0.05"),
        ({"interval": (0.5, 0.5)}, r"interval is \(0.5, 0.5\), but must be \(low, high\), rising"),
        ({"interval": (0.5, 1.5)}, r"interval's low or high is 1.5, but must be a number in \[0, 1\]"),
        ({"steps": 30}, r"steps is 30, but must be one of \(5, 10, 20, 40, 100\)"),
        ({"step_choices": (0, 20)}, "each of step_choices is 0, but must be at least 1"),
        ({"limit": 0}, "limit is 0, but must be a number"),
        (
            {"models": {str(name): base(width=256) for name in range(4)}},
            r"models and data is \d+ bytes, but must be at most",
        ),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)
def test_guidance_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        guidance(**words)

"""Widgets carry what they need: frames, paths or weights, small enough for a page, and refuse what they cannot show."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from companion.data import toy
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.networks import TimeMLP
from companion.methods.distributional import DistributionalDenoiser
from companion.teaching.widgets import (
    Choice,
    Slider,
    explore,
    live_coupling,
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

"""Live models: the weights of a small network travel with the widget and the sampler runs in the browser."""

from collections.abc import Mapping

import traitlets
from torch import Tensor, nn

from companion.foundations.mixtures import GaussianMixture
from companion.foundations.networks import TimeMLP
from companion.foundations.validation import Number, require, require_count
from companion.teaching.widgets.base import Widget, as_points, float_bytes, plane_mixture

COLOURS = ("rival", "learned", "third")


class LiveWidget(Widget):
    """What both carry: the networks, the data behind them, how many points to draw and the window."""

    networks = traitlets.List().tag(sync=True)
    reference = traitlets.Bytes().tag(sync=True)
    points = traitlets.Int().tag(sync=True)
    limit = traitlets.Float().tag(sync=True)


class LiveSampler(LiveWidget):
    """The widget that `live_sampler` makes."""

    step_choices = traitlets.List(traitlets.Int()).tag(sync=True)
    steps_index = traitlets.Int().tag(sync=True)
    churn = traitlets.Float().tag(sync=True)


class LivePosterior(LiveWidget):
    """The widget that `live_posterior` makes."""

    law = traitlets.Dict().tag(sync=True)
    at = traitlets.List(traitlets.Float()).tag(sync=True)
    t = traitlets.Float().tag(sync=True)


def live_sampler(
    models: Mapping[str, nn.Module],
    data: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    steps: int = 4,
    churn: Number = 1.0,
    step_choices: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64),
    points: int = 300,
    limit: Number = 3.0,
) -> LiveSampler:
    """Sample side by side with up to three networks; steps and churn are the reader's.

    Args:
        models: for each panel's name a `TimeMLP` of the plane, or a module that holds one as `.network`.
        data: points (m, 2), drawn behind in grey, to which the energy distance is measured.
        title, alt, note: above the panels; what to look for, for who cannot see it; below the panels.
        steps: at the start, one of `step_choices`.
        churn: at the start, 0 (DDIM) to 1 (DDPM).
        step_choices: of the slider.
        points: sampled in each panel.
        limit: half-width of the window.

    Raises:
        TypeError: a model is not a TimeMLP, or data is not a tensor.
        ValueError: a model not of the plane, no model or more than three, steps not among the choices, or
            churn outside [0, 1].
    """
    require(1 <= len(models) <= 3, "models", f"{len(models)} of them", "one to three")
    require(steps in step_choices, "steps", steps, f"one of {step_choices}")
    require(0 <= churn <= 1, "churn", churn, "a number from 0 to 1")
    require_count("points", points, 2)
    networks = [
        {"name": name, "colour": colour, **plane_network(model, name)}
        for (name, model), colour in zip(models.items(), COLOURS)
    ]
    return LiveSampler(
        kind="sampler", title=title, alt=alt, note=note, networks=networks,
        reference=float_bytes(as_points(data, "data")), points=points, limit=float(limit),
        step_choices=list(step_choices), steps_index=step_choices.index(steps), churn=float(churn),
    )  # fmt: skip


def live_posterior(
    distributional: nn.Module,
    standard: nn.Module,
    law: GaussianMixture,
    data: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    at: tuple[float, float] = (0.3, 0.2),
    t: Number = 0.6,
    points: int = 400,
    limit: Number = 3.0,
) -> LivePosterior:
    """Drag a noisy point and see where its clean point may be: the exact posterior, its mean, the network's draws.

    Args:
        distributional, standard: a `TimeMLP` of the plane each, or a module that holds one as `.network`.
        law: the mixture they were trained on, for the exact posterior.
        data: points (m, 2), drawn behind in grey.
        title, alt, note: above the plane; what to look for, for who cannot see it; below the plane.
        at, t: the noisy point and its time at the start.
        points: draws shown.
        limit: half-width of the window.

    Raises:
        TypeError, ValueError: as `live_sampler`.
    """
    mixture = plane_mixture(law)
    networks = [plane_network(distributional, "distributional"), plane_network(standard, "standard")]
    return LivePosterior(
        kind="posterior", title=title, alt=alt, note=note, networks=networks, law=mixture,
        reference=float_bytes(as_points(data, "data")), points=points, limit=float(limit), at=list(at), t=float(t),
    )  # fmt: skip


def plane_network(model: nn.Module, name: str) -> dict:
    """What `makeNetwork` of the front end needs of a `TimeMLP`, or of a module that holds one as `.network`.

    Raises:
        TypeError: it is no TimeMLP and holds none.
        ValueError: not of the plane.
    """
    network = getattr(model, "network", model)
    require(isinstance(network, TimeMLP), name, f"a {type(network).__name__}", "a TimeMLP or hold one", TypeError)
    require(network.dim == 2, name, f"of {network.dim} dimensions", "of the plane, dim 2")
    return {**layer_weights(network.net), "noise": network.noise_dim, "waves": network.waves}


def layer_weights(perceptron: nn.Sequential) -> dict:
    """Sizes of a perceptron's layers, and each layer's matrix and bias as the front end reads them."""
    layers = [layer for layer in perceptron if isinstance(layer, nn.Linear)]
    weights = b"".join(float_bytes(layer.weight) + float_bytes(layer.bias) for layer in layers)
    return {"sizes": [layers[0].in_features, *(layer.out_features for layer in layers)], "weights": weights}

"""The live widget of deep MMD gradient flow: a learned witness at any noise level, and particles that go down it."""

from collections.abc import Mapping

import torch
import traitlets
from torch import Tensor, nn

from companion.foundations.distances import energy_distance
from companion.foundations.validation import Number, require, require_count, require_in
from companion.methods.mmd_flow import FeatureMLP, NoiseConditionalWitness, VarianceExploding, VariancePreserving
from companion.teaching.widgets.base import MOST_BYTES, Widget, as_points, float_bytes, require_words
from companion.teaching.widgets.live import layer_weights

MOST_PARTICLES = 400  # a step of more would not fit between two pictures
SPLITS = 20  # of the data, for the noise floor


class LiveWitness(Widget):
    """The widget that `live_witness` makes."""

    network = traitlets.Dict().tag(sync=True)
    noising = traitlets.Dict().tag(sync=True)
    means = traitlets.Bytes().tag(sync=True)
    starts = traitlets.List().tag(sync=True)
    reference = traitlets.Bytes().tag(sync=True)
    floor = traitlets.Float().tag(sync=True)
    limit = traitlets.Float().tag(sync=True)
    position = traitlets.Float().tag(sync=True)
    levels = traitlets.Int().tag(sync=True)
    inner_steps = traitlets.Int().tag(sync=True)
    step_choices = traitlets.List(traitlets.Float()).tag(sync=True)
    steps_index = traitlets.Int().tag(sync=True)


def live_witness(
    witness: NoiseConditionalWitness,
    starts: Mapping[str, Tensor],
    data: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    step: Number = 0.1,
    step_choices: tuple[Number, ...] = (0.02, 0.05, 0.1, 0.2, 0.4),
    levels: int = 25,
    inner_steps: int = 4,
    position: Number = 0.5,
    limit: Number | None = None,
) -> LiveWitness:
    """A trained witness in the plane: its field at any noise level, and particles that flow down it in the browser.

    The flow is `companion.methods.mmd_flow.adaptive_flow` with the mean features that the witness remembers: level by
    level from noisy to clean, or at one level throughout, which is the reader's. The field is that between the data
    and the particles as they lie now.

    Args:
        witness: trained, so that it remembers its data, over a `FeatureMLP` of the plane.
        starts: for each start's name its particles (n, 2), 2 to 400 of them. A list lets the reader choose among several.
        data: points (k, 2), at least 4, drawn behind in grey, to which the energy distance is measured at the end. Its
            noise floor is the spread of that distance over random splits of them.
        title, alt, note: above the picture; what to look for, for who cannot see it; below the picture.
        step: length of a step at the start, one of `step_choices`.
        step_choices: of the slider.
        levels, inner_steps: levels of the adaptive flow, and steps at each; at one level it goes as many steps in all.
        position: of the single level at the start, from 0 (clean) to 1 (noisy); moved to the slider's nearest place.
        limit: half-width of the window; None for one that holds data and starts.

    Raises:
        TypeError: no `NoiseConditionalWitness` or one over another network than a `FeatureMLP`, starts that are no
            mapping, particles or data that are no tensors, a number that is none, or a title or alt that is no text.
        ValueError: a witness that remembers nothing or is not of the plane, no start, too few or too many particles,
            points not in the plane or not finite, a step not among the choices, a number out of range, more than 0.7 MB
            in all, or an empty title or alt.
    """
    require_words(title, alt)
    network = _network(witness)
    mapping = isinstance(starts, Mapping)
    require(mapping, "starts", f"a {type(starts).__name__}", "a mapping of names to particles", TypeError)
    require(len(starts) > 0, "starts", "empty", "at least one start")
    clouds = {name: _cloud(points, name, 2) for name, points in starts.items()}
    for name, cloud in clouds.items():
        require(len(cloud) <= MOST_PARTICLES, name, f"{len(cloud)} particles", f"at most {MOST_PARTICLES}")
    reference = _cloud(data, "data", 4)
    for choice in step_choices:
        require_in("each of step_choices", choice, "(0, inf)")
    require(step in step_choices, "step", step, f"one of {tuple(step_choices)}")
    require_count("levels", levels, 1)
    require_count("inner_steps", inner_steps, 1)
    require_in("position", position, "[0, 1]")
    if limit is None:
        limit = 1.05 * max(cloud.abs().max().item() for cloud in (reference, *clouds.values()))
    require_in("limit", limit, "(0, inf)")
    means = float_bytes(witness.clean_means)
    points = float_bytes(reference)
    carried = len(network["weights"]) + len(means) + len(points) + sum(8 * len(cloud) for cloud in clouds.values())
    allowed = f"at most {MOST_BYTES}: fewer points or a narrower network"
    require(carried <= MOST_BYTES, "witness and data", f"{carried} bytes", allowed)
    return LiveWitness(
        kind="witness", title=title, alt=alt, note=note, network=network, noising=_noising(witness.noising), means=means,
        starts=[{"name": name, "points": float_bytes(cloud)} for name, cloud in clouds.items()], reference=points,
        floor=_floor(reference, max(map(len, clouds.values()))), limit=float(limit), position=float(position),
        levels=levels, inner_steps=inner_steps, step_choices=[float(choice) for choice in step_choices],
        steps_index=step_choices.index(step),
    )  # fmt: skip


def _network(witness: object) -> dict:
    """What `makeWitness` of the front end needs of the witness's network."""
    came = f"a {type(witness).__name__}"
    require(isinstance(witness, NoiseConditionalWitness), "witness", came, "a NoiseConditionalWitness", TypeError)
    network = witness.network
    perceptron = isinstance(network, FeatureMLP)
    require(perceptron, "witness", f"over a {type(network).__name__}", "over a FeatureMLP", TypeError)
    require(network.dim == 2, "witness", f"of {network.dim} dimensions", "of the plane, dim 2")
    require(bool(witness.remembers), "witness", "without memory of its data", "one that remembers its data: train it")
    layers = nn.Sequential(network.from_x, network.from_position, *network.hidden, network.head)
    return {
        "width": network.from_x.out_features,
        "depth": len(network.hidden),
        "features": network.num_features,
        "waves": network.waves,
        "weights": layer_weights(layers)["weights"],
    }


def _noising(noising: VariancePreserving | VarianceExploding) -> dict:
    """What `levelAt` and its like of the front end need."""
    explodes = isinstance(noising, VarianceExploding)
    data_std = float(noising.data_std) if explodes else 1.0
    return {"explodes": explodes, "low": float(noising.low), "high": float(noising.high), "data_std": data_std}


def _cloud(points: object, name: str, least: int) -> Tensor:
    """Points in the plane as float32, at least `least` of them."""
    cloud = as_points(points, name)
    require(cloud.ndim == 2, name, f"of shape {tuple(cloud.shape)}", "points in the plane, (n, 2)")
    require(len(cloud) >= least, name, f"{len(cloud)} points", f"at least {least}")
    require(bool(cloud.isfinite().all()), name, "not finite in some row", "finite points")
    return cloud


def _floor(data: Tensor, particles: int) -> float:
    """Spread of the energy distance between as many of the data as there are particles, at most half, and the others."""
    generator = torch.Generator().manual_seed(0)
    n = min(particles, len(data) // 2)

    def distance() -> Tensor:
        mixed = data[torch.randperm(len(data), generator=generator)]
        return energy_distance(mixed[:n], mixed[n:])

    return torch.stack([distance() for _ in range(SPLITS)]).std().item()

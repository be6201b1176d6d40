"""The live widget of guidance: one start, three ways to choose the weight, sampled side by side in the browser."""

from collections.abc import Mapping

import torch
import traitlets
from torch import Tensor

from companion.foundations.conditional import ConditionalDenoiser
from companion.foundations.distances import energy_distance
from companion.foundations.validation import Number, require, require_count, require_in, require_labels
from companion.methods.guidance import GuidanceWeights
from companion.teaching.widgets.base import MOST_BYTES, as_points, float_bytes, require_words
from companion.teaching.widgets.live import LiveWidget, layer_weights, plane_network

MOST_CLASSES = 4  # each has a mark and a colour of its own
MOST_WEIGHT = 3.0
PLACE = 0.05  # from one place of the sliders to the next
SPLITS = 20  # of the data, for the noise floor


class LiveGuidance(LiveWidget):
    """The widget that `live_guidance` makes."""

    labels = traitlets.Bytes().tag(sync=True)
    floor = traitlets.Float().tag(sync=True)
    weight = traitlets.Float().tag(sync=True)
    interval = traitlets.List(traitlets.Float()).tag(sync=True)
    step_choices = traitlets.List(traitlets.Int()).tag(sync=True)
    steps_index = traitlets.Int().tag(sync=True)


def live_guidance(
    models: Mapping[str, tuple[ConditionalDenoiser, GuidanceWeights]],
    data: Tensor,
    labels: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    weight: Number = 0.5,
    interval: tuple[Number, Number] = (0.2, 0.8),
    steps: int = 20,
    step_choices: tuple[int, ...] = (5, 10, 20, 40, 100),
    points: int = 300,
    limit: Number = 3.0,
) -> LiveGuidance:
    """Guided samples by a constant weight, the same in a limited interval, and the learned weight, from one start.

    The sampler is `companion.methods.guidance.sample_guided` without churn, in the browser: the base, the weight, the
    interval and the steps are the reader's. Under the planes stand the weights that each step used.

    Args:
        models: for each base's name the base, a `ConditionalDenoiser` of a `TimeMLP` of the plane, and the weights
            learned for it; all of the same one to four classes. A list lets the reader choose among several.
        data, labels: points (m, 2) and their classes (m,), drawn behind in grey, to which the class-mean energy
            distance is measured; at least twice as many of each class as are sampled, and best not those the models
            were trained on. The noise floor is the spread of that distance over random splits of them.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        weight: of the constant and within the interval, at the start, 0 to 3; moved to the slider's nearest place.
        interval: (low, high) at the start, rising by at least 0.05 within [0, 1]; moved likewise.
        steps: at the start, one of `step_choices`.
        step_choices: of the slider.
        points: sampled in each plane, equally many of each class; the remainder is left out.
        limit: half-width of the window.

    Raises:
        TypeError: a pair that holds no `ConditionalDenoiser` of a `TimeMLP` or no `GuidanceWeights`, data or labels
            that are no tensors, labels that are not whole, a number that is none, or a title or alt that is no text.
        ValueError: no model, a model not of the plane, numbers of classes that disagree or are more than four, data
            not in the plane or too few of a class, an interval that does not rise, steps not among the choices, a
            number out of range, more than 0.7 MB in all, or an empty title or alt.
    """
    require_words(title, alt)
    mapping = isinstance(models, Mapping)
    require(mapping, "models", f"a {type(models).__name__}", "a mapping of names to pairs", TypeError)
    require(len(models) > 0, "models", "empty", "at least one base with its learned weights")
    networks = [{"name": name, **_pair(pair, name)} for name, pair in models.items()]
    counts = [network["classes"] for network in networks]
    require(len(set(counts)) == 1, "models", f"of {counts} classes", "all of the same number of classes")
    classes = counts[0]
    require(classes <= MOST_CLASSES, "models", f"of {classes} classes", f"of at most {MOST_CLASSES} classes")
    reference = as_points(data, "data")
    require(reference.ndim == 2, "data", f"of shape {tuple(reference.shape)}", "points in the plane, (m, 2)")
    require_labels("labels", labels, len(reference))
    labels = labels.detach().cpu().long()
    inside = bool(((labels >= 0) & (labels < classes)).all())
    require(inside, "labels", "outside in some row", f"from 0 to {classes - 1}, as the models' classes")
    require_count("points", points, 2 * classes)
    each, fewest = points // classes, int(labels.bincount(minlength=classes).min())
    enough = f"at least {2 * each} points of each class, twice as many as are sampled"
    require(fewest >= 2 * each, "data", f"{fewest} points of some class", enough)
    require_in("weight", weight, f"[0, {MOST_WEIGHT:g}]")
    require(isinstance(interval, tuple | list), "interval", repr(interval), "(low, high)", TypeError)
    require(len(interval) == 2, "interval", repr(interval), "(low, high)")
    for end in interval:
        require_in("interval's low or high", end, "[0, 1]")
    rises = interval[1] - interval[0] > PLACE - 1e-9
    require(rises, "interval", tuple(interval), f"(low, high), rising by at least {PLACE}")
    for choice in step_choices:
        require_count("each of step_choices", choice, 1)
    require(steps in step_choices, "steps", steps, f"one of {tuple(step_choices)}")
    require_in("limit", limit, "(0, inf)")
    cloud, classified = float_bytes(reference), labels.to(torch.uint8).numpy().tobytes()
    carried = len(cloud) + len(classified) + sum(map(_carried, networks))
    allowed = f"at most {MOST_BYTES}: fewer points or models"
    require(carried <= MOST_BYTES, "models and data", f"{carried} bytes", allowed)
    return LiveGuidance(
        kind="guidance", title=title, alt=alt, note=note, networks=networks, reference=cloud, labels=classified,
        floor=_floor(reference, labels, each), points=each * classes, limit=float(limit), weight=float(weight),
        interval=[float(end) for end in interval], step_choices=list(step_choices),
        steps_index=step_choices.index(steps),
    )  # fmt: skip


def _pair(pair: object, name: str) -> dict:
    """A base and its learned weights for `makeConditional` and `makeWeights` of the front end."""
    two = isinstance(pair, tuple | list) and len(pair) == 2
    came = f"{len(pair)} things" if isinstance(pair, tuple | list) else f"a {type(pair).__name__}"
    require(two, name, came, "a pair (ConditionalDenoiser, GuidanceWeights)", TypeError)
    model, weights = pair
    for part, kind in ((model, ConditionalDenoiser), (weights, GuidanceWeights)):
        require(isinstance(part, kind), name, f"with a {type(part).__name__}", f"with a {kind.__name__}", TypeError)
    network = plane_network(model, name)
    fits = network["noise"] == model.embedding.embedding_dim
    sizes = f"embeddings of {model.embedding.embedding_dim}"
    require(fits, name, f"with {sizes}", f"with embeddings of {network['noise']}, the network's noise_dim")
    agree = weights.num_classes == model.num_classes
    both = f"of {model.num_classes} classes, its weights of {weights.num_classes}"
    require(agree, name, both, "of as many classes as its weights")
    return {
        **network,
        "embeddings": float_bytes(model.embedding.weight),
        "classes": model.num_classes,
        "learned": {**layer_weights(weights.net), "output": weights.output},
    }


def _carried(network: dict) -> int:
    return len(network["weights"]) + len(network["embeddings"]) + len(network["learned"]["weights"])


def _floor(data: Tensor, labels: Tensor, each: int) -> float:
    """Spread of the class-mean energy distance between `each` points of every class and the others of its class."""
    generator = torch.Generator().manual_seed(0)
    clouds = [data[labels == label] for label in labels.unique()]

    def distance() -> Tensor:
        mixed = [cloud[torch.randperm(len(cloud), generator=generator)] for cloud in clouds]
        return torch.stack([energy_distance(cloud[:each], cloud[each:]) for cloud in mixed]).mean()

    return torch.stack([distance() for _ in range(SPLITS)]).std().item()

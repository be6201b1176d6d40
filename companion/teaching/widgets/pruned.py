"""The live widget of a network of pictures that is pruned and asked in the browser."""

import copy
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
import traitlets
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.residual import ExpandedResidualNet
from companion.foundations.validation import Number, require, require_floating
from companion.methods.pruning import prunable_filters, prune_filters, reestimate_batch_norm
from companion.teaching.widgets.base import (
    MOST_BYTES,
    Widget,
    float_bytes,
    require_choices,
    require_rising,
    require_words,
)

Criterion: TypeAlias = Literal["l2", "random"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)
SIDE = 16  # pixels of a picture
FEWEST_PICTURES, MOST_PICTURES, MOST_RATIOS = 2, 12, 16
LONGEST_NAME, LONGEST_CLASS = 28, 14  # letters, for which there is room
EXAMPLE = torch.zeros(1, 1, SIDE, SIDE)


class LivePruned(Widget):
    """The widget that `live_pruned` makes."""

    weights = traitlets.Bytes().tag(sync=True)
    sizes = traitlets.Dict().tag(sync=True)
    norms = traitlets.List(traitlets.Bytes()).tag(sync=True)
    orders = traitlets.List().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    ratios = traitlets.List(traitlets.Float()).tag(sync=True)
    ratio_index = traitlets.Int().tag(sync=True)
    criteria = traitlets.List(traitlets.Unicode()).tag(sync=True)
    criterion_index = traitlets.Int().tag(sync=True)


def live_pruned(
    model: ExpandedResidualNet,
    images: Float[Tensor, "n 1 16 16"],
    names: Sequence[str],
    *,
    calibration: Float[Tensor, "m 1 16 16"],
    classes: Sequence[str],
    title: str,
    alt: str,
    note: str = "",
    ratio: Number = 0.5,
    ratios: Sequence[Number] = RATIOS,
    criterion: Criterion = "l2",
    generator: torch.Generator | None = None,
) -> LivePruned:
    """A network that looks at a picture in the browser, whole and pruned: what both say, what they compute, how long it takes.

    The reader chooses one of some pictures or draws one, and sets the ratio, the criterion, whether filters are cut out or
    masked with zeros, and whether the batch norms' statistics are those of the whole network or re-estimated. Shown are the
    five most probable classes of both networks, their operations, the time that they take there, and what the first block's
    hidden filters answer.

    Weights travel in half precision, and everything is computed from what travels: the networks are `prune_filters` of the
    rounded one, to 1e-5 in the logits. Batch norms travel as a scale and a shift, in single precision. At ratio 0 nothing is cut
    and nothing re-estimated.

    Args:
        model: of grey pictures, 16 x 16.
        images: 2 to 12 of them, as the model takes them: each of mean 0 and standard deviation 1, as those of
            `companion.data.pictures`; a drawing is brought to that, too.
        names: what each picture shows, at most 28 characters each.
        calibration: at least two pictures, of all kinds, from which statistics are re-estimated, all in one batch.
        classes: the model's, by short names of at most 14 characters.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        ratio: of the filters that go, at the start, one of `ratios`.
        ratios: 2 to 16 that rise, of the slider.
        criterion: at the start, which filters stay: the largest ("l2") or any ("random").
        generator: draws the random order, one for all ratios; a new one of seed 0 when None.

    Raises:
        TypeError: a model, tensor, name, number or generator that is none, or a title or alt that is no text.
        ValueError: shapes or lengths that do not fit, numbers that are not finite, a choice that is not offered, a ratio that
            leaves a block no filter, more than 0.7 MB, or an empty title or alt.
    """
    require_words(title, alt)
    rounded = _require_model(model)
    _require_pictures("images", images, FEWEST_PICTURES, MOST_PICTURES)
    names = _require_names("names", names, len(images), "pictures", LONGEST_NAME)
    _require_pictures("calibration", calibration, 2)
    classes = _require_names("classes", classes, rounded.head.out_features, "the model's classes", LONGEST_CLASS)
    require_choices("ratio", ratio, ratios, "[0, 1)", MOST_RATIOS)
    require_rising("ratios", ratios)
    _require_filters_left(rounded, ratios[-1])
    require(criterion in CRITERIA, "criterion", repr(criterion), " or ".join(map(repr, CRITERIA)))
    strengths = [_strengths(rounded, each, generator) for each in CRITERIA]
    norms = [_folded(rounded)]
    for each in strengths:
        norms += [_folded(_reestimated(rounded, each, one, calibration)) for one in ratios]
    weights, pictures = _half_bytes(rounded), float_bytes(images)
    carried = len(weights) + len(pictures) + sum(map(len, norms))
    require(carried <= MOST_BYTES, "model", f"of {carried} bytes", f"of at most {MOST_BYTES}, with its batch norms")
    return LivePruned(
        kind="pruned", title=title, alt=alt, note=note, weights=weights, sizes=_sizes(rounded), norms=norms,
        orders=[[_strongest_first(layer) for layer in each] for each in strengths], images=pictures, names=names, classes=classes,
        ratios=[float(each) for each in ratios], ratio_index=ratios.index(ratio),
        criteria=list(CRITERIA), criterion_index=CRITERIA.index(criterion),
    )  # fmt: skip


# --- what travels ---------------------------------------------------------------------------------------------------


def _convolutions(model: ExpandedResidualNet) -> Iterator[nn.Conv2d]:
    """All of them, in the order in which they travel."""
    yield model.stem[0]
    for block in model.blocks:
        yield from (block.conv1, block.conv2)
        if isinstance(block.shortcut, nn.Conv2d):
            yield block.shortcut


def _sizes(model: ExpandedResidualNet) -> dict:
    blocks = [
        {
            "hidden": block.conv1.out_channels,
            "outputs": block.conv2.out_channels,
            "stride": block.conv1.stride[0],
            "shortcut": isinstance(block.shortcut, nn.Conv2d),
        }
        for block in model.blocks
    ]
    return {"side": SIDE, "stem": model.stem[0].out_channels, "blocks": blocks, "classes": model.head.out_features}


def _half_bytes(model: ExpandedResidualNet) -> bytes:
    """Little-endian float16: the convolutions, then the head's weights and biases."""
    parts = [each.weight.flatten() for each in _convolutions(model)]
    numbers = torch.cat([*parts, model.head.weight.flatten(), model.head.bias])
    return numbers.detach().half().numpy().astype("<f2").tobytes()


def _folded(model: ExpandedResidualNet) -> bytes:
    """What each batch norm multiplies by and what it adds, in evaluation: scales, then shifts, norm by norm."""
    parts = []
    for norm in (each for each in model.modules() if isinstance(each, nn.BatchNorm2d)):
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        parts += [scale, norm.bias - norm.running_mean * scale]
    return float_bytes(torch.cat(parts))


def _strengths(model: nn.Module, criterion: Criterion, generator: torch.Generator | None) -> list[Float[Tensor, " h"]]:
    """One number for each hidden filter of each block: what `prune_filters` ranks by, drawn in the same order."""
    weights = [model.get_submodule(name).weight.detach() for name in prunable_filters(model, EXAMPLE)]
    if criterion == "l2":
        return [each.flatten(1).norm(dim=1) for each in weights]
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    known = isinstance(generator, torch.Generator)
    require(known, "generator", f"a {type(generator).__name__}", "a torch.Generator or None", TypeError)
    return [torch.rand(len(each), generator=generator, device=generator.device).cpu() for each in weights]


def _strongest_first(strengths: Float[Tensor, " h"]) -> list[int]:
    return strengths.argsort(descending=True, stable=True).tolist()


def _reestimated(model: nn.Module, strengths: Sequence[Tensor], ratio: Number, calibration: Tensor) -> nn.Module:
    """The pruned network with statistics of its own; at ratio 0 the whole one as it is."""
    if ratio == 0:
        return model
    waiting = iter(strengths)
    smaller = prune_filters(model, ratio, lambda weight: next(waiting), EXAMPLE)
    reestimate_batch_norm(smaller, calibration.detach().to("cpu", torch.float32), len(calibration))
    return smaller


# --- what is refused ------------------------------------------------------------------------------------------------


def _require_model(model: object) -> ExpandedResidualNet:
    """A copy for the CPU whose weights are rounded to half precision; raise unless it can travel."""
    came = f"a {type(model).__name__}"
    require(isinstance(model, ExpandedResidualNet), "model", came, "an ExpandedResidualNet", TypeError)
    require(model.in_channels == 1, "model", f"of {model.in_channels} channels", "of one, for grey pictures")
    rounded = copy.deepcopy(model).to("cpu", torch.float32).eval()
    for each in rounded.parameters():
        each.data = each.data.half().float()
    finite = all(bool(each.isfinite().all()) for each in (*rounded.parameters(), *rounded.buffers()))
    require(finite, "model", "not finite in some place", "made of numbers that half precision can hold")
    return rounded


def _require_pictures(argument: str, images: object, fewest: int, most: Number = np.inf) -> None:
    require_floating(argument, images)
    fits = images.shape[1:] == (1, SIDE, SIDE)
    require(fits, argument, f"of shape {tuple(images.shape)}", f"of shape (n, 1, {SIDE}, {SIDE})")
    allowed = f"at least {fewest} pictures" if most == np.inf else f"{fewest} to {most} pictures"
    require(fewest <= len(images) <= most, argument, f"{len(images)} pictures", allowed)
    require(bool(images.isfinite().all()), argument, "not finite in some place", "finite numbers")


def _require_names(argument: str, names: object, count: int, of: str, longest: int) -> list[str]:
    listed = isinstance(names, tuple | list)
    require(listed, argument, f"a {type(names).__name__}", "a list of texts", TypeError)
    require(len(names) == count, argument, f"{len(names)} texts", f"{count}, one for each of {of}")
    for name in names:
        require(isinstance(name, str), f"each of {argument}", repr(name), "a text", TypeError)
        fits = len(name.strip()) > 0 and len(name) <= longest
        require(fits, f"each of {argument}", repr(name), f"a text of 1 to {longest} characters")
    return list(names)


def _require_filters_left(model: ExpandedResidualNet, ratio: Number) -> None:
    fewest = min(block.conv1.out_channels for block in model.blocks)
    allowed = f"small enough to leave a filter of the {fewest} in a block"
    require(int(fewest * (1 - ratio)) > 0, "each of ratios", ratio, allowed)

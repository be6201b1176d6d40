"""The live widget of what filter pruning takes from a network: its hidden filters by their norms, and its operations layer by layer."""

import copy
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.networks import ResidualBlock, ResidualNet
from companion.foundations.validation import Number, require, require_floating, require_in
from companion.teaching.widgets.base import Widget, double_bytes, require_choices, require_rising, require_words

Strength: TypeAlias = Literal["l2", "l1", "random"]
Order: TypeAlias = Literal["strength", "network"]
CRITERIA: tuple[Strength, ...] = get_args(Strength)
ORDERS: tuple[Order, ...] = get_args(Order)
RATIOS = tuple(place / 20 for place in range(20))
MOST_NETWORKS, MOST_BLOCKS, MOST_FILTERS, MOST_RATIOS, LONGEST_NAME = 4, 6, 512, 40, 28  # beyond, there is no room
MEASURES = {"kept": True, "estimated": True, "tuned": False}  # accuracies, and whether each must be there


class LiveFilters(Widget):
    """The widget that `live_filters` makes."""

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    names_index = traitlets.Int().tag(sync=True)
    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    hidden = traitlets.List(traitlets.Int()).tag(sync=True)
    shares = traitlets.List(traitlets.Int()).tag(sync=True)
    weights = traitlets.Int().tag(sync=True)
    strengths = traitlets.Bytes().tag(sync=True)
    criteria = traitlets.List(traitlets.Unicode()).tag(sync=True)
    criteria_index = traitlets.Int().tag(sync=True)
    orders = traitlets.List(traitlets.Unicode()).tag(sync=True)
    orders_index = traitlets.Int().tag(sync=True)
    ratios = traitlets.List(traitlets.Float()).tag(sync=True)
    ratios_index = traitlets.Int().tag(sync=True)
    left = traitlets.List(traitlets.Dict()).tag(sync=True)


def live_filters(
    models: Mapping[str, ResidualNet],
    example: Float[Tensor, "1 c h w"],
    *,
    title: str,
    alt: str,
    note: str = "",
    network: str | None = None,
    ratio: Number = 0.5,
    ratios: tuple[Number, ...] = RATIOS,
    criterion: Strength = "l2",
    order: Order = "strength",
    left: Mapping[str, Mapping[str, Mapping[Any, Mapping[str, Any]]]] | None = None,
    generator: torch.Generator | None = None,
) -> LiveFilters:
    """A network that is pruned as the reader moves the ratio: which filters stay, and what is left of its operations.

    Drawn are the residual stream, whose width does not change, and each block's hidden filters by their norm, kept or cut;
    beside them the operations of each layer before and after, and of all for every ratio. What is shown is exact: the filters are
    those that `prune_filters` keeps, the operations those that `count_flops` counts.

    Args:
        models: one to four by name, all of the same sizes; the reader chooses.
        example: one picture that they take.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        network: the one at the start; the first when None.
        ratio: at the start, one of `ratios`.
        ratios: of the slider, rising, in [0, 1); each must leave a filter in every block.
        criterion: at the start: "l2", "l1" or "random".
        order: of the filters in the picture at the start: by their "strength", or that of the "network".
        left: accuracies on what the networks have learned, where they were measured, by network, criterion and ratio (a number
            or its text): {"kept": with the batch norms' statistics that were cut with the filters, "estimated": with new
            ones, "tuned": after tuning, if at hand}, each a list with a number in [0, 1] for each seed. Shown are mean, lowest
            and highest; between two ratios the straight line, and said so. Networks and criteria may be left out.
        generator: for "random", as `prune_filters` takes it, for each network from the same state; its state stays. None
            for one of seed 0.

    Raises:
        TypeError: models, an example, a number or accuracies of the wrong type, or a title or alt that is no text.
        ValueError: too many or too few of something, networks of different sizes or with weights that are not finite, a ratio
            that would empty a block, a choice that is not offered, accuracies outside [0, 1], or an empty title or alt.
    """
    require_words(title, alt)
    names = _require_models(models)
    require_floating("example", example)
    is_one = example.ndim == 4 and len(example) == 1
    require(is_one, "example", f"of shape {tuple(example.shape)}", "one picture, of shape (1, c, h, w)")
    network = names[0] if network is None else network
    require(network in names, "network", repr(network), " or ".join(map(repr, names)))
    require_choices("ratio", ratio, ratios, "[0, 1)", MOST_RATIOS)
    require_rising("ratios", ratios)
    require(criterion in CRITERIA, "criterion", repr(criterion), " or ".join(map(repr, CRITERIA)))
    require(order in ORDERS, "order", repr(order), " or ".join(map(repr, ORDERS)))
    is_fine = generator is None or isinstance(generator, torch.Generator)
    came = f"a {type(generator).__name__}"
    require(is_fine, "generator", came, "None or a torch.Generator", TypeError)
    sizes = [describe_layers(model, example) for model in models.values()]
    for name, each in zip(names, sizes):
        require(each == sizes[0], f"models[{name!r}]", "of other sizes", f"of the same sizes as {names[0]!r}")
    blocks = list(models[names[0]].blocks)
    hidden = [block.conv1.out_channels for block in blocks]
    _require_filters(hidden, ratios)
    strengths = torch.cat([filter_strengths(model, generator).flatten() for model in models.values()])
    return LiveFilters(
        kind="filters", title=title, alt=alt, note=note, names=names, names_index=names.index(network),
        layers=sizes[0], hidden=hidden, shares=[_share_of_a_filter(block) for block in blocks],
        weights=sum(each.numel() for each in models[names[0]].parameters()), strengths=double_bytes(strengths),
        criteria=list(CRITERIA), criteria_index=CRITERIA.index(criterion),
        orders=list(ORDERS), orders_index=ORDERS.index(order),
        ratios=[float(each) for each in ratios], ratios_index=list(ratios).index(ratio),
        left=_require_left(left, names),
    )  # fmt: skip


def describe_layers(model: ResidualNet, example: Float[Tensor, "1 c h w"]) -> list[dict[str, Any]]:
    """What the operations of each convolution and linear layer depend on, in the order of a forward pass.

    Each has its `part` ("stem", "conv1", "conv2", "shortcut" or "head"), the place of its `block` (-1 outside), `inputs` and
    `outputs`, the numbers of its `kernel` and the `sides` of what it puts out. A layer takes 2 x kernel x inputs x outputs
    operations at each place of its output.
    """
    model, layers = copy.deepcopy(model).eval(), []

    def note(name: str, module: nn.Conv2d | nn.Linear, output: Tensor) -> None:
        first, *rest = name.split(".")
        block, part = (int(rest[0]), rest[1]) if first == "blocks" else (-1, first)
        sizes = {"inputs": module.weight.shape[1], "outputs": len(module.weight), "kernel": module.weight[0, 0].numel()}
        layers.append({"part": part, "block": block, **sizes, "sides": list(output.shape[2:]) or [1, 1]})

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda module, _, output, name=name: note(name, module, output))
    with torch.no_grad():
        model(example)
    return layers


def filter_strengths(model: ResidualNet, generator: torch.Generator | None = None) -> Float[Tensor, "criteria filters"]:
    """The strengths by which `prune_filters` chooses among the hidden filters of all blocks: L2, L1 and random."""
    weights = [block.conv1.weight.detach() for block in model.blocks]
    norms = [torch.cat([each.flatten(1).norm(p=p, dim=1) for each in weights]).cpu().double() for p in (2, 1)]
    own = torch.Generator().manual_seed(0) if generator is None else generator.clone_state()
    drawn = [torch.rand(len(each), generator=own, device=own.device) for each in weights]
    return torch.stack([*norms, torch.cat(drawn).cpu().double()])


def _share_of_a_filter(block: ResidualBlock) -> int:
    """Weights that go with one hidden filter: its own, those of its batch norm, and those that read it."""
    norm = sum(each.numel() for each in block.norm1.parameters()) // block.conv1.out_channels
    return block.conv1.weight[0].numel() + norm + block.conv2.weight[:, 0].numel()


def _require_models(models: object) -> list[str]:
    """The names of the networks; raise unless they are a few that can be drawn."""
    came = f"a {type(models).__name__}"
    require(isinstance(models, Mapping), "models", came, "a mapping from names to networks", TypeError)
    require(1 <= len(models) <= MOST_NETWORKS, "models", f"{len(models)} networks", f"1 to {MOST_NETWORKS} networks")
    for name, model in models.items():
        require(isinstance(name, str), "each name of models", repr(name), "a text", TypeError)
        fits = len(name.strip()) > 0 and len(name) <= LONGEST_NAME
        require(fits, "each name of models", repr(name), f"a text of 1 to {LONGEST_NAME} characters")
        argument, came = f"models[{name!r}]", f"a {type(model).__name__}"
        require(isinstance(model, ResidualNet), argument, came, "a ResidualNet", TypeError)
        other = next((each for each in model.blocks if not isinstance(each, ResidualBlock)), None)
        came = f"with a {type(other).__name__}"
        require(other is None, argument, came, "a ResidualNet whose blocks are ResidualBlocks", TypeError)
        blocks = len(model.blocks)
        require(blocks <= MOST_BLOCKS, argument, f"of {blocks} blocks", f"of at most {MOST_BLOCKS} blocks")
        finite = all(bool(each.isfinite().all()) for each in model.parameters())
        require(finite, argument, "not finite in some place", "made of finite numbers")
    return list(models)


def _require_filters(hidden: list[int], ratios: tuple[Number, ...]) -> None:
    """Raise unless every ratio leaves a filter in each block, and all can be drawn."""
    most, fewest = max(hidden), min(hidden)
    allowed = f"of at most {MOST_FILTERS} hidden filters in a block"
    require(most <= MOST_FILTERS, "each of models", f"of {most}", allowed)
    left = int(fewest * (1 - ratios[-1])) > 0
    require(left, "each of ratios", ratios[-1], f"small enough to leave a filter of the {fewest} in each block")


def _require_left(left: object, names: list[str]) -> list[dict[str, Any]]:
    """Mean, lowest and highest of the accuracies for each network: by criterion, at rising ratios."""
    if left is None:
        return []
    _require_mapping("left", left, "None or a mapping from networks to accuracies")
    _require_known("left", left, names)
    found: list[dict[str, Any]] = []
    for name in names:
        rows = left.get(name, {})
        _require_mapping(f"left[{name!r}]", rows, "a mapping from criteria to accuracies")
        _require_known(f"left[{name!r}]", rows, CRITERIA)
        found.append({key: _summary(f"left[{name!r}][{key!r}]", row) for key, row in rows.items()})
    return found


def _summary(argument: str, row: object) -> dict[str, Any]:
    """Accuracies of one network by one criterion: the ratios, and mean, lowest and highest of each measure there."""
    _require_mapping(argument, row, "a mapping from ratios to accuracies")
    require(1 <= len(row) <= MOST_RATIOS, argument, f"{len(row)} ratios", f"1 to {MOST_RATIOS} ratios")
    places = {_ratio(argument, key): key for key in row}
    require(len(places) == len(row), argument, f"with {len(row)} keys for {len(places)} ratios", "one for each ratio")
    ratios = sorted(places)
    measured = {}
    for each in ratios:
        inner = f"{argument}[{places[each]!r}]"
        _require_mapping(inner, row[places[each]], "a mapping from measures to accuracies")
        _require_known(inner, row[places[each]], MEASURES)
    for measure, needed in MEASURES.items():
        given = [measure in row[places[each]] for each in ratios]
        when = "at every ratio" if needed else "at every ratio or at none"
        require(all(given) or not (needed or any(given)), argument, f"without {measure!r} somewhere", f"given {when}")
        if all(given):
            cells = [(f"{argument}[{places[each]!r}][{measure!r}]", row[places[each]][measure]) for each in ratios]
            measured[measure] = [_spread(*cell) for cell in cells]
    return {"ratios": ratios, **measured}


def _spread(argument: str, values: object) -> list[float]:
    """Mean, lowest and highest."""
    listed = isinstance(values, tuple | list)
    require(listed, argument, f"a {type(values).__name__}", "a list of numbers, one for each seed", TypeError)
    require(len(values) > 0, argument, "empty", "a list of numbers, one for each seed")
    for value in values:
        require_in(f"each of {argument}", value, "[0, 1]")
    return [sum(values) / len(values), float(min(values)), float(max(values))]


def _ratio(argument: str, key: object) -> float:
    """A ratio from a number or, as in a stored result, its text."""
    try:
        value = float(key) if isinstance(key, str) else key
    except ValueError:
        value = key
    require_in(f"each ratio of {argument}", value, "[0, 1)")
    return float(value)


def _require_mapping(argument: str, value: object, allowed: str) -> None:
    require(isinstance(value, Mapping), argument, f"a {type(value).__name__}", allowed, TypeError)


def _require_known(argument: str, value: Mapping, known: object) -> None:
    other = next((key for key in value if key not in known), None)
    require(other is None, f"each key of {argument}", repr(other), " or ".join(map(repr, known)))

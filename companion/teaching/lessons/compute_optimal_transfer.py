"""Lesson 09's tasks and ways to move a pretrained network to them: every way by name, and one curve of it.

`tasks_of(seed)` are eight tasks with eight labels a class; `start(kind, session)` is the network that a way starts from, and
`curve(kind, setting, ...)` what it comes to at each budget of operations.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.data.pictures import Task, few_labels
from companion.foundations.residual import ExpandedResidualNet
from companion.foundations.training import train
from companion.foundations.validation import Number, require
from companion.methods.pruning import SGD, CurvePoint, accuracy_compute_curve, count_flops, prune_filters
from companion.methods.rivals import transfer
from companion.methods.rivals.transfer import distillation_loss, fit_probe, prune_channels, shrinking_loss
from companion.teaching.lessons import pretrained as networks
from companion.teaching.lessons.pretrained import CLASSES, RECIPES, fresh, mixed_batch, pretrained, training_of
from companion.teaching.session import Session

SOURCES = (*networks.SOURCES, "companion.methods.pruning", transfer, __name__)
SEEDS = (0, 1, 2, 3, 4)  # a seed is a network, trained from that seed, and eight tasks
TARGETS = ("other_letters", "greek", "cyrillic", "symbols", "digits", "other_clothes", "other_shapes", "other_textures")
TUNING_TARGETS = ("symbols", "other_shapes", "other_textures")  # drawn anew, so no picture is met again
WAYS, LABELS, HELD_OUT = 10, 8, 40  # classes at most, labels of each, test pictures of each
BUDGETS = tuple(0.5e9 * 2**power for power in range(7))  # operations
RATES = {"pretrained": (0.0025, 0.005, 0.01, 0.02, 0.04), "untrained": (0.02, 0.04, 0.08, 0.16, 0.32)}
BATCHES = (4, 8, 16, 32)
PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
RATIOS = (0.5, 0.75, 0.9)
UPSTREAM_STEPS, UPSTREAM_BATCH = 500, 64
SMALL_STEPS = RECIPES["strong"]["steps"]
EXAMPLE = torch.zeros(1, 1, 16, 16)
Setting = dict[str, Number]


@dataclass(frozen=True)
class Kind:
    """A way to come from a pretrained network to a task.

    Attributes:
        words: for tables.
        cut: what is done to the network first: "no", "filters", "random", "channels", or one of `UPSTREAM`.
        ratio: of the filters, or channels, that go.
        network: which network is cut: of `pretrained`, "untrained", or "small", with a quarter of the filters from the
            start.
        head: "zeros", or "probe": fitted on the first network's representation before anything else.
        tuned: whether the network is then tuned on the task, or only its head is fitted.
    """

    words: str
    cut: str = "no"
    ratio: float = 0.0
    network: str = "strong"
    head: str = "zeros"
    tuned: bool = True


KINDS: dict[str, Kind] = (
    {"dense": Kind("whole")}
    | {f"L2 {r}": Kind(f"weakest {r:.0%} of the filters cut", "filters", r) for r in RATIOS}
    | {f"random {r}": Kind(f"{r:.0%} of the filters cut at random", "random", r) for r in RATIOS}
    | {"scratch": Kind("whole, untrained", network="untrained")}
    | {f"scratch {r}": Kind(f"untrained, the size of {r:.0%} cut", "random", r, "untrained") for r in RATIOS}
    | {
        "small": Kind("small from the start, pretrained as long", network="small"),
        "channels 0.75": Kind("weakest 75% of the channels cut", "channels", 0.75),
        "recovered 0.75": Kind("weakest 75% cut, then trained further", "recovered", 0.75),
        "distilled 0.75": Kind("weakest 75% cut, then distilled", "distilled", 0.75),
        "distilled random 0.75": Kind("75% cut at random, then distilled", "distilled at random", 0.75),
        "shrunk 0.75": Kind("weakest 75% pressed, then cut", "shrunk", 0.75),
        "probe": Kind("whole and frozen, a head fitted", head="probe", tuned=False),
        "probe 0.75": Kind("75% cut and frozen, a head fitted", "filters", 0.75, head="probe", tuned=False),
        "probe, dense": Kind("a head fitted, then the whole tuned", head="probe"),
        "probe, L2 0.75": Kind("75% cut, a head fitted, then tuned", "filters", 0.75, head="probe"),
        "weak L2 0.75": Kind("weakest 75% cut, small penalty", "filters", 0.75, "weak"),
        "weak random 0.75": Kind("75% cut at random, small penalty", "random", 0.75, "weak"),
    }
)
DISTILLING: list[Setting] = [{"rate": rate, "temperature": heat} for rate in (1e-3, 3e-3) for heat in (1.0, 3.0)]
UPSTREAM: dict[str, list[Setting]] = {  # ways that go on with pretraining
    "recovered": [{"rate": rate} for rate in (3e-4, 1e-3, 3e-3)],
    "distilled": DISTILLING,
    "distilled at random": DISTILLING,
    "shrunk": [{"rate": 1e-3, "strength": strength} for strength in (3e-2, 1e-1, 3e-1, 1.0)],
}


def tasks_of(seed: int, targets: Sequence[str] = TARGETS) -> list[Task]:
    """The tasks of a seed, one of each target."""
    return [few_labels(name, WAYS, LABELS, HELD_OUT, 100 * seed + TARGETS.index(name)) for name in targets]


def settings_of(kind: str) -> list[Setting]:
    """All settings of a kind among which the best is looked for."""
    if not KINDS[kind].tuned:
        return [{"penalty": penalty} for penalty in PENALTIES]
    rates = RATES["untrained" if KINDS[kind].network == "untrained" else "pretrained"]
    return [{"rate": rate, "batch": batch} for rate, batch in product(rates, BATCHES)]


# --- networks to start from ---------------------------------------------------------------------------------------


def start(kind: str, session: Session, upstream: Setting | None = None) -> nn.Module:
    """The network that a kind starts from, before it meets a task.

    Args:
        kind: its name.
        session: its seed chooses the network, and draws what is drawn.
        upstream: a setting of `UPSTREAM`, for the ways that go on with pretraining.

    Raises:
        ValueError: an unknown kind.
    """
    require(kind in KINDS, "kind", repr(kind), "one of " + ", ".join(KINDS))
    way = KINDS[kind]
    if way.network == "untrained":
        model = fresh("strong", 500 + session.seed, session.device)
    elif way.network == "small":
        model = pretrained_small(session)
    else:
        model = pretrained(way.network, session)
    return cut(model, way.cut, way.ratio, session, upstream)


def pretrained_small(session: Session) -> nn.Module:
    """A network with a quarter of the hidden filters that was pretrained like the whole one, here and now."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(700 + session.seed)
        model = ExpandedResidualNet(num_classes=CLASSES, expansion=1).to(session.device)
    for _ in training_of(model, "strong", session.seed, steps=SMALL_STEPS):
        pass
    return model


def cut(model: nn.Module, how: str, ratio: float, session: Session, upstream: Setting | None = None) -> nn.Module:
    """A network after one of the ways to make it smaller."""
    example = EXAMPLE.to(session.device)
    if how == "no":
        return model
    if how == "channels":
        return prune_channels(model, ratio)
    if how == "random":
        return prune_filters(model, ratio, "random", example, session.generator(11, "cpu"))
    if how == "distilled at random":
        return trained_further(cut(model, "random", ratio, session), how, ratio, session, upstream)
    if how == "shrunk":
        model = trained_further(model, how, ratio, session, upstream)
    smaller = prune_filters(model, ratio, example=example)
    return smaller if how in ("filters", "shrunk") else trained_further(smaller, how, ratio, session, upstream)


def trained_further(model: nn.Module, how: str, ratio: float, session: Session, upstream: Setting) -> nn.Module:
    """A copy, trained for some steps on the pictures of pretraining: to its labels, to what the whole network says, or pressed."""
    model, generator = copy.deepcopy(model), session.generator(12, "cpu")
    teacher = pretrained("strong", session)
    press = shrinking_loss(model, ratio, upstream["strength"], EXAMPLE.to(session.device)) if how == "shrunk" else None

    def loss(model: nn.Module) -> torch.Tensor:
        images, labels = (each.to(session.device) for each in mixed_batch(UPSTREAM_BATCH, "train", generator))
        if how.startswith("distilled"):
            return distillation_loss(model, teacher, images, upstream["temperature"])
        squares = torch.stack([each.square().sum() for each in model.parameters()]).sum()
        value = cross_entropy(model(images), labels) + RECIPES["strong"]["penalty"] / 2 * squares
        return value if press is None else value + press(model)

    for _ in train(model, loss, UPSTREAM_STEPS, upstream["rate"], 0.9, generator):
        pass
    return model


def upstream_flops(kind: str, model: nn.Module) -> int:
    """Operations that a kind spends on the pictures of pretraining before the first task, but for the
    whole network's own; `model` is what it starts from."""
    how = KINDS[kind].cut
    if KINDS[kind].network == "small":
        return SMALL_STEPS * RECIPES["strong"]["batch"] * count_flops(model, EXAMPLE, training=True)
    if how not in UPSTREAM:
        return 0
    whole = fresh("strong", 0)
    learning = count_flops(whole if how == "shrunk" else model, EXAMPLE, training=True)
    asking = count_flops(whole, EXAMPLE) if how.startswith("distilled") else 0
    return UPSTREAM_STEPS * UPSTREAM_BATCH * (learning + asking)


# --- one curve ----------------------------------------------------------------------------------------------------


def curve(
    kind: str,
    setting: Setting,
    model: nn.Module,
    tasks: Iterable[Task],
    session: Session,
    budgets: Sequence[Number] = BUDGETS,
) -> Iterator[CurvePoint]:
    """A point for each budget of each task.

    Args:
        kind: its name.
        setting: one of `settings_of(kind)`.
        model: what `start` gave.
        tasks: on the session's device.
        session: its seed draws the batches.
        budgets: operations, rising.
    """
    way = KINDS[kind]
    optimizer = partial(SGD, lr=setting["rate"]) if way.tuned else None
    for place, task in enumerate(tasks):
        generator = session.generator(100 + place, "cpu")
        if way.head == "zeros":
            yield from accuracy_compute_curve(model, [task], budgets, optimizer, setting["batch"], generator=generator)
        elif not way.tuned:
            yield from _probed(model, task, budgets, setting["penalty"])
        else:
            fitted, spent = fit_probe(model, *task.train, task.num_classes)
            for budget in budgets:
                if budget <= spent:  # not even the head can be fitted
                    yield CurvePoint(task.name, 0, budget, 0, 0, 1 / task.num_classes, math.log(task.num_classes))
            affordable = [budget - spent for budget in budgets if budget > spent]
            if not affordable:
                continue
            points = accuracy_compute_curve(
                fitted, [task], affordable, optimizer, setting["batch"], new_head=False, generator=generator
            )
            for point in points:
                point.budget, point.spent = point.budget + spent, point.spent + spent
                yield point


def best_curve(
    kind: str,
    chosen: Sequence[Setting],
    model: nn.Module,
    tasks: Sequence[Task],
    session: Session,
    budgets: Sequence[Number] = BUDGETS,
) -> list[list[CurvePoint]]:
    """For each task a point for each budget, with the setting that was chosen for that budget; each setting has runs of its own."""
    table: list[list[CurvePoint]] = [[None] * len(budgets) for _ in tasks]
    for setting in [each for place, each in enumerate(chosen) if each not in chosen[:place]]:
        places = [place for place, each in enumerate(chosen) if each == setting]
        points = curve(kind, setting, model, tasks, session, [budgets[place] for place in places])
        for row, place in product(table, places):
            row[place] = next(points)
    return table


def _probed(model: nn.Module, task: Task, budgets: Sequence[Number], penalty: Number) -> Iterator[CurvePoint]:
    """A head fitted to as many labels as a budget allows, evenly over the classes."""
    images, labels = task.train
    each = count_flops(model, images[:1])
    order = torch.arange(len(images)).view(task.num_classes, -1).T.flatten()  # one of every class, and again
    for budget in budgets:
        seen = order[: int(0.97 * budget // each)]  # the rest is for the head
        fitted, spent = fit_probe(model, images[seen], labels[seen], task.num_classes, penalty)
        with torch.no_grad():
            logits = fitted.eval()(task.test.images)
        right = (logits.argmax(1) == task.test.labels).double().mean().item()
        yield CurvePoint(task.name, 0, budget, spent, 0, right, cross_entropy(logits, task.test.labels).item())

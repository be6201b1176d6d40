"""Lesson 10's learners, and one run of one of them through a stream.

A learner of the comparison is a *kind* at a *budget* with a *rate*: `run_of` leads it through the stream of a seed and
gives what the comparison keeps of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from companion.data.streams.mini import MiniStream
from companion.foundations.residual import ExpandedResidualNet
from companion.methods.nevis import Learner, Recipe, Run, dynamic, independent, multitask, previous, run
from companion.methods.nevis import pretrained as start_from
from companion.methods.pruning import prune_filters
from companion.methods.rivals.task_streams import closed_form, soup
from companion.teaching.lessons.pretrained import SOURCES as PRETRAINED_SOURCES
from companion.teaching.lessons.pretrained import pretrained
from companion.teaching.session import Session

SOURCES = (
    *PRETRAINED_SOURCES,
    "companion.data.streams.events",
    "companion.data.streams.mini",
    "companion.foundations.linear",
    "companion.methods.nevis",
    "companion.methods.pruning",
    "companion.methods.rivals.task_streams",
    __name__,
)
TASKS = 108
SEEDS = (0, 1, 2, 3, 4)
SHARE_CUT = 0.75  # of lesson 09's filters: what is left is as large as the networks that start untrained
EXAMPLE = torch.zeros(1, 1, 16, 16)


@dataclass(frozen=True)
class Budget:
    """What a learner may spend on a task: so many trials of so many steps."""

    steps: int
    trials: int = 1


BUDGETS = {
    "15": Budget(15),
    "60": Budget(60),
    "240": Budget(240),
    "4 x 15": Budget(15, 4),
    "4 x 60": Budget(60, 4),
}


def untrained(num_classes: int) -> nn.Module:
    """The network of the learners that start from nothing: 30 thousand weights."""
    return ExpandedResidualNet(num_classes=num_classes, expansion=1).to(memory_format=torch.channels_last)


def trained(seed: int, cut: bool, device: torch.device | str = "cpu") -> nn.Module:
    """Lesson 09's network, whole or with three quarters of its hidden filters cut away."""
    model = pretrained("strong", Session("lesson", seed, torch.device(device)))
    return prune_filters(model, SHARE_CUT, example=EXAMPLE.to(device)) if cut else model


@dataclass(frozen=True)
class Kind:
    """A learner of the comparison.

    Attributes:
        label: its name in figures and tables.
        make: (stream, recipe, seed) -> learner.
        tuned_as: the kind whose learning rate it takes; None: it has none.
    """

    label: str
    make: Callable[[MiniStream, Recipe, int], Learner]
    tuned_as: str | None


KINDS = {
    "independent": Kind(
        "independent", lambda stream, recipe, seed: independent(stream, untrained, recipe, seed), "independent"
    ),
    "previous": Kind("previous", lambda stream, recipe, seed: previous(stream, untrained, recipe, seed), "previous"),
    "dynamic": Kind("dynamic", lambda stream, recipe, seed: dynamic(stream, untrained, recipe, seed), "dynamic"),
    "dynamic_few": Kind(
        "dynamic, small search",
        lambda stream, recipe, seed: dynamic(stream, untrained, recipe, seed, last=10, pictures=100),
        "dynamic",
    ),
    "soup": Kind("mean of the last four", lambda stream, recipe, seed: soup(stream, untrained, recipe, seed), "soup"),
    "multitask": Kind(
        "one network for all", lambda stream, recipe, seed: multitask(stream, untrained, recipe, seed), "multitask"
    ),
    "pretrained": Kind(
        "pretrained, ¾ cut",
        lambda stream, recipe, seed: start_from(stream, trained(seed, cut=True), recipe, seed),
        "pretrained",
    ),
    "dynamic_pretrained": Kind(
        "dynamic from pretrained",
        lambda stream, recipe, seed: dynamic(stream, trained(seed, cut=True), recipe, seed),
        "dynamic_pretrained",
    ),
    "whole": Kind(
        "pretrained, whole",
        lambda stream, recipe, seed: start_from(stream, trained(seed, cut=False), recipe, seed),
        "whole",
    ),
    "closed_form": Kind(
        "closed-form head",
        lambda stream, recipe, seed: closed_form(stream, trained(seed, cut=False), recipe=recipe),
        None,
    ),
}


def rates_of(rate: float, trials: int) -> tuple[float, ...]:
    """The rates of so many trials around one: it alone, or with neighbours half and twice as large."""
    return (rate,) if trials == 1 else tuple(rate * 2.0**power for power in range(1, 1 - trials, -1))


def learner_of(kind: str, stream: MiniStream, budget: str = "15", rate: float = 0.1, seed: int = 0) -> Learner:
    """A learner of the comparison.

    Args:
        kind: of `KINDS`.
        stream: that it will meet.
        budget: of `BUDGETS`.
        rate: the learning rate, or the middle of several.
        seed: of untrained networks, of the trained one, and of batches.
    """
    spent = BUDGETS[budget]
    return KINDS[kind].make(stream, Recipe(spent.steps, learning_rates=rates_of(rate, spent.trials)), seed)


def run_of(kind: str, budget: str, rate: float, seed: int, tasks: int = TASKS) -> dict[str, list]:
    """What the comparison keeps of a run: for each task its error, the operations of training and of search, and the place
    of the earlier task it started from, or -1."""
    stream = MiniStream(tasks, seed)
    made = run(learner_of(kind, stream, budget, rate, seed), stream)
    rows = list(made)
    return {"errors": [row.error for row in rows]} | kept_of(made)


def kept_of(made: Run) -> dict[str, Any]:
    """Operations and starts by task, of a run's state."""
    training = made.state["training"]
    sources = made.state.get("sources", [None] * len(training))
    return {
        "training": training,
        "search": made.state.get("search", [0.0] * len(training)),
        "sources": [-1 if source is None else source for source in sources],
    }

"""Exercise 10.6: a learner of twenty lines that beats `previous`, on a short stream.

>>> stream = ShortStream(seed=0, tasks=2)
>>> stream.get_dataset_by_key("00/train").task_key.kind.name, network(3)[-1].out_features
('CLASSIFICATION', 3)
>>> journey = travel(lambda task, bodies, fresh: Start(), seed=0, tasks=2)
>>> len(journey.errors), journey.search
(2, 0.0)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from companion.data.streams.events import (
    Dataset,
    DatasetBuilder,
    Event,
    MiniBatch,
    PredictionEvent,
    TaskKey,
    TaskKind,
    TaskMetadata,
    TrainingEvent,
)
from companion.foundations.validation import require_count
from companion.methods import pruning
from companion.methods.nevis import Recipe, Start, TaskData, body_of, fine_tuning, run
from companion.teaching.checks.answers import (
    NotAttempted,
    NotYet,
    StudentFunction,
    describe,
    expect,
    read_function,
    read_number,
)
from companion.teaching.checks.framework import exercise

CHOOSE = "choose(task, bodies, fresh)"
TASKS, SYMBOLS, QUESTIONS, SIDE = 12, 5, 3, 8
RECIPE = Recipe(steps=20, batch=16, learning_rates=(0.1,))
SEEDS = (0, 1, 2)  # of the streams that a check runs
MARGIN = 0.04  # by which the mean error must be lower than that of `previous`
BUDGET = 2.0  # search over training, at most
SLACK = 1e-4  # of weights, for rounding in means
Choose = Callable[[TaskData, list[Tensor], nn.Module], Start]


class ShortStream:
    """Tiny tasks on pictures of one kind, (n, 1, 8, 8), which are asked one of three questions.

    Each picture is a sum of three symbols, one of each set, and noise. A task asks which symbol of *one* set is there, of
    three to five; the next task asks about another set. What a network has to see comes back, but never at once.

    Args:
        seed: of all tasks.
        tasks: how many.
    """

    _listeners: ClassVar[list[list[str]]] = []

    def __init__(self, seed: int = 0, tasks: int = TASKS) -> None:
        require_count("seed", seed, 0)
        require_count("tasks", tasks, 1)
        generator = torch.Generator().manual_seed(seed)
        sets = [3 * normalize(torch.randn(SYMBOLS, SIDE**2, generator=generator), dim=1) for _ in range(QUESTIONS)]
        self._data: dict[str, tuple[MiniBatch, int]] = {}
        self.questions: list[int] = []
        for place in range(tasks):
            others = [asked for asked in range(QUESTIONS) if asked not in self.questions[-1:]]
            asked = others[int(torch.randint(len(others), (), generator=generator))]
            self.questions.append(asked)
            self._data |= _task(sets, asked, f"{place:02d}", generator)

    def events(self) -> Iterator[Event]:
        """For each task a `TrainingEvent`, then a `PredictionEvent` for its test pictures."""
        for place in range(len(self.questions)):
            name = f"{place:02d}"
            yield TrainingEvent(f"{name}/train", f"{name}/train_and_dev", f"{name}/dev")
            yield PredictionEvent(f"{name}/test")

    def get_dataset_by_key(self, dataset_key: str) -> Dataset:
        """A task's data set."""
        for noted in self._listeners:
            noted.append(dataset_key)
        whole, classes = self._data[dataset_key]
        key = TaskKey(dataset_key.partition("/")[0], TaskKind.CLASSIFICATION, TaskMetadata(classes))
        return Dataset(DatasetBuilder(whole, 0), key, len(whole.image))

    @classmethod
    @contextmanager
    def watched(cls) -> Iterator[list[str]]:
        """Notes the keys that any such stream is asked for."""
        noted: list[str] = []
        cls._listeners.append(noted)
        try:
            yield noted
        finally:
            cls._listeners.remove(noted)


def _task(sets: list[Tensor], asked: int, name: str, generator: torch.Generator) -> dict[str, tuple[MiniBatch, int]]:
    """Its data sets with its number of classes, by their keys."""

    def whole(end: int, start: int = 0) -> int:
        return start + int(torch.randint(end - start, (), generator=generator))

    classes, size = whole(SYMBOLS + 1, 3), whole(80, 40)
    chosen = torch.randperm(SYMBOLS, generator=generator)[:classes]
    data = {}
    for split, count in {"train": size, "dev": 50, "test": 200}.items():
        labels = torch.randint(classes, (count,), generator=generator)
        images = 0.7 * torch.randn(count, SIDE**2, generator=generator)
        for place, symbols in enumerate(sets):
            shown = chosen[labels] if place == asked else torch.randint(SYMBOLS, (count,), generator=generator)
            images += symbols[shown]
        data[split] = MiniBatch(images.view(count, 1, SIDE, SIDE), labels, None)
    data["train_and_dev"] = MiniBatch(
        torch.cat([data["train"].image, data["dev"].image]), torch.cat([data["train"].label, data["dev"].label]), None
    )
    return {f"{name}/{split}": (batch, classes) for split, batch in data.items()}


def network(num_classes: int) -> nn.Module:
    """The short stream's network: eight hidden numbers, which is few."""
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 8), nn.ReLU(), nn.Linear(8, num_classes))


# One run


@dataclass
class Visit:
    """One call of `choose`.

    Attributes:
        start: what it gave.
        bodies: what it was given, as it was.
        left: the same, as it was left.
        untrained: the body of the untrained network.
        asked: keys of streams that were asked for data.
        counted: operations that it took, as torch counts them, without those of metering by `count_flops`.
    """

    start: object
    bodies: list[Tensor]
    left: list[Tensor]
    untrained: Tensor
    asked: list[str]
    counted: int


@dataclass
class Journey:
    """One run through a short stream.

    Attributes:
        errors: of each task.
        visits: each call of `choose`.
        training: operations of learning.
        search: what was declared for choosing.
    """

    errors: list[float]
    visits: list[Visit]
    training: float
    search: float

    @property
    def error(self) -> float:
        return sum(self.errors) / len(self.errors)


class _Counter(FlopCounterMode):
    """torch's counter of all that runs, less what runs while `count_flops` meters, which is free."""

    def __init__(self) -> None:
        super().__init__(display=False)
        self._free = 0

    @property
    def counted(self) -> int:
        return self.get_total_flops() - self._free

    @contextmanager
    def without_metering(self) -> Iterator[None]:
        """Inside, passes that `count_flops` makes are not counted."""
        outer, known = self, pruning.FlopCounterMode

        class Free(known):
            def __enter__(self) -> "Free":
                self._before = outer.get_total_flops()
                return super().__enter__()

            def __exit__(self, *error: object) -> bool | None:
                ended = super().__exit__(*error)
                outer._free += outer.get_total_flops() - self._before
                return ended

        pruning.FlopCounterMode = Free
        try:
            yield
        finally:
            pruning.FlopCounterMode = known


def travel(choose: Choose, seed: int, tasks: int = TASKS, recipe: Recipe = RECIPE) -> Journey:
    """Lead a learner that starts where `choose` says through a short stream, and watch every call of it."""
    stream, visits = ShortStream(seed, tasks), []

    def watched(task: TaskData, bodies: list[Tensor], fresh: nn.Module) -> Start:
        before, given, untrained = [each.clone() for each in bodies], [each.clone() for each in bodies], body_of(fresh)
        with ShortStream.watched() as asked, _Counter() as counter, counter.without_metering():
            start = choose(task, given, fresh)
        visits.append(Visit(start, before, given[: len(before)], untrained, asked, counter.counted))
        _require_start(start, len(before), len(untrained))
        return Start(None if start.body is None else start.body.detach().clone(), start.source, start.operations)

    made = run(fine_tuning(stream, network, watched, recipe, seed), stream)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        errors = [row.error for row in made]
    return Journey(errors, visits, sum(made.state["training"]), sum(made.state["search"]))


def _require_start(start: object, stored: int, weights: int) -> None:
    if start is None:
        raise NotAttempted(f"{CHOOSE} returns nothing yet.")
    if not isinstance(start, Start):
        raise NotYet(f"Expected {CHOOSE} to give a Start; got {describe(start)}.", "a start")
    body, source = start.body, start.source
    row = body is None or (isinstance(body, Tensor) and body.is_floating_point() and body.shape == (weights,))
    if not row:
        raise NotYet(
            f"Expected the body to be None, or a row of {weights} weights as body_of gives it; got {describe(body)}.",
            "a start",
        )
    place = source is None or (isinstance(source, int) and not isinstance(source, bool) and 0 <= source < stored)
    if not place:
        raise NotYet(
            f"Expected the source to be None, or a place from 0 to {stored - 1}; got {describe(source)}.", "a start"
        )
    if read_number(start.operations, "the operations") < 0:
        raise NotYet("Operations are never below 0.", "a start")


@cache
def error_of_previous(seed: int, steps: int = RECIPE.steps) -> float:
    """The mean error of `previous` on a short stream, with so many steps a task."""
    return travel(_previous, seed, recipe=replace(RECIPE, steps=steps)).error


def against_previous(choose: Choose, seed: int) -> tuple[float, float, float] | None:
    """Mean errors of a learner and of `previous` on a short stream, and the learner's search over its training.

    None for a function that returns nothing yet.
    """
    try:
        journey = travel(choose, seed)
    except NotAttempted:
        return None
    return journey.error, error_of_previous(seed), journey.search / journey.training


def _previous(task: TaskData, bodies: list[Tensor], fresh: nn.Module) -> Start:
    return Start(bodies[-1], len(bodies) - 1) if bodies else Start()


class _Chooser(StudentFunction):
    """Without the inputs, which are long, in what it says of an error."""

    def _inputs(self, values: tuple[object, ...]) -> str:
        return f"at task {len(values[1])}, counted from 0"


class Starts:
    """The student's function, and its runs: the first stream's shows whether the rules hold, all of them how well it learns."""

    def __init__(self, choose: StudentFunction) -> None:
        self._choose = choose

    @cached_property
    def first(self) -> Journey:
        return travel(self._choose, SEEDS[0])

    @cached_property
    def journeys(self) -> list[Journey]:
        return [self.first, *(travel(self._choose, seed) for seed in SEEDS[1:])]

    @property
    def visits(self) -> list[Visit]:
        return self.first.visits


@exercise(
    "10.6",
    "Beat `previous`",
    difficulty=4,
    minutes=20,
    equation="the paper's learners Previous and Dynamic",
    takeaway="The last task's network is the wrong start where the next task asks for something else, and an earlier one can be the right one. Asking costs operations, and they are in your bill: whether they would have bought more as steps is the next question.",
)
def starts(answer: object) -> Starts:
    function = read_function(answer, CHOOSE).function
    return Starts(_Chooser(function, CHOOSE))


@starts.requires(
    "a start",
    "At every task, and at the first one, too, `choose` gives a `Start`: a body or None, its place or None, and operations.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    expect(len(starts.visits) == TASKS)


@starts.requires(
    "earlier networks untouched",
    "`bodies` is the store of all earlier networks. Writing into one (`+=`, methods that end in _) changes what the learner "
    "has learned, and its answers to old tasks.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    for visit in starts.visits:
        pairs = zip(visit.bodies, visit.left)
        same = all(torch.allclose(before, after, rtol=0, atol=0, equal_nan=True) for before, after in pairs)
        same = same and len(visit.left) == len(visit.bodies)
        expect(same, f"with {len(visit.bodies)} stored networks one was changed")


@starts.requires(
    "no peeking",
    "`choose` is given all that it may see: the task's training and development pictures. A start that is chosen with a "
    "stream's other data, test pictures above all, tells nothing about tasks to come.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    asked = [key for visit in starts.visits for key in visit.asked]
    expect(not asked, f"yours asked a stream for {asked[0]}" if asked else "")


@starts.requires(
    "networks that exist",
    "A start is an earlier network, the untrained one, or a mixture of them: each of its weights lies between the smallest "
    "and the largest at that place. A body that was trained on the way, or comes from elsewhere, was not paid for.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    for visit in starts.visits:
        if visit.start.body is None:
            continue
        body = visit.start.body.detach()
        known = torch.stack([*visit.bodies, visit.untrained])
        expect(body.isfinite().all(), "a weight is not finite")
        out = torch.maximum(known.amin(0) - body, body - known.amax(0)).max().item()
        expect(out <= SLACK, f"with {len(visit.bodies)} stored networks a weight lies {out:.2g} outside")


@starts.requires(
    "all is metered",
    "What `choose` computes with networks goes into `Start.operations`: every candidate, every picture, forward, and "
    "backward if you train. Metering with `count_flops` is free; count each picture once for each network that it is shown "
    "to.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    counted = sum(visit.counted for visit in starts.visits)
    declared = sum(float(visit.start.operations) for visit in starts.visits)
    expect(counted == 0 or declared > 0, "yours declares nothing, and torch counted some")
    share = declared / max(counted, 1)
    expect(counted == 0 or share >= 0.9, f"yours declares {share:.2f} of what torch counted")


@starts.requires(
    "within the budget",
    f"A search may cost {BUDGET:.0f} times the training of the whole stream, not more. Fewer candidates, fewer pictures, or no "
    "training of candidates.",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    ratio = starts.first.search / starts.first.training
    expect(ratio <= BUDGET, f"yours costs {ratio:.1f} times the training")


@starts.requires(
    "better than previous",
    f"The mean error must be at least {MARGIN} below that of `previous`, over {len(SEEDS)} streams. Neighbouring tasks ask "
    "about different things here: which of the earlier networks already sees what this task asks for?",
)
def _(starts: Starts, generator: torch.Generator) -> None:
    journeys = starts.journeys
    mine = sum(journey.error for journey in journeys) / len(SEEDS)
    theirs = sum(error_of_previous(seed) for seed in SEEDS) / len(SEEDS)
    later = [visit for journey in journeys for visit in journey.visits if visit.bodies]
    told = f"mean error {mine:.3f}, previous {theirs:.3f}"
    if mine > theirs - MARGIN:
        none = all(visit.start.body is None or torch.equal(visit.start.body, visit.untrained) for visit in later)
        expect(not none, f"yours never starts from an earlier network; {told}")
        last = all(visit.start.body is not None and torch.equal(visit.start.body, visit.bodies[-1]) for visit in later)
        expect(not last, f"yours is `previous`; {told}")
        expect(False, told)

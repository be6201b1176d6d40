"""Learners for a stream of tasks, scored by their error and by the operations that they spend.

A learner meets one task after another: it trains on each, and is judged on it. Independent learners start each task
anew; others start from what they learned before: from the last task's network, from the one whose representation suits
the new task best, from one network for all tasks, or from a network that was trained elsewhere. All operations count:
every trial, and every picture that was shown to a network in search of a start.

The interface is that of the reference implementation (`Learner`, `ResourceUsage`, events and keys): a learner written
for it runs here, on data that are tensors.

>>> from companion.data.streams.mini import MiniStream
>>> from companion.foundations.networks import ResidualNet
>>> stream = MiniStream(num_tasks=2)
>>> learner = previous(stream, lambda classes: ResidualNet(1, classes, width=4, stages=2), Recipe(steps=5))
>>> [row.task for row in run(learner, stream)]
['000-gratings', '001-textures']

Source: Bornschein et al., "NEVIS'22: A Stream of 100 Tasks Sampled from 30 Years of Computer Vision Research" (2023),
JMLR 24(308), arXiv 2211.11747.
"""

import copy
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear, one_hot

from companion.data.streams.events import (
    Dataset,
    MiniBatch,
    PredictionEvent,
    TaskKind,
    TaskStream,
    TrainingEvent,
)
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_count,
    require_in,
)
from companion.methods.pruning import count_flops, head_of, reestimate_batch_norm, with_head

State: TypeAlias = Any
Network: TypeAlias = nn.Module | Callable[[int], nn.Module]
JUDGED = 256  # pictures that are predicted at once
SAVED = {"events", "within", "learner", "rows", "usage"}


# --- the interface ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ResourceUsage:
    """What a learner used; None stands for "not known".

    Attributes:
        floating_point_operations: two for each product of a matrix product or a convolution.
        peak_parameter_count: numbers that were kept at once.
        peak_parameter_size_bytes: their size.
    """

    floating_point_operations: Number | None = None
    peak_parameter_count: int | None = None
    peak_parameter_size_bytes: int | None = None

    def combine(self, other: "ResourceUsage") -> "ResourceUsage":
        """Of both, one after the other: operations add up, of peaks the higher counts; what one does not know, is not known."""

        def both(function, first, second):
            return None if first is None or second is None else function(first, second)

        return ResourceUsage(
            both(lambda a, b: a + b, self.floating_point_operations, other.floating_point_operations),
            both(max, self.peak_parameter_count, other.peak_parameter_count),
            both(max, self.peak_parameter_size_bytes, other.peak_parameter_size_bytes),
        )


class Predictions(NamedTuple):
    """A batch, and the learner's logits or scores for it: (n, num_classes)."""

    batch: MiniBatch
    output: Float[Tensor, "n k"]


class TrainFunction(Protocol):
    """Learns a task: (event, state, write_checkpoint) -> (new state, what it used)."""

    def __call__(
        self,
        event: TrainingEvent,
        state: State,
        write_checkpoint: Callable[[Any], None],
        *,
        checkpoint_to_resume: Any = None,
    ) -> tuple[State, ResourceUsage]: ...


class Learner(NamedTuple):
    """Three functions.

    Attributes:
        init: () -> state.
        train: (event, state, write_checkpoint, *, checkpoint_to_resume=None) -> (state, ResourceUsage). What it gives to
            `write_checkpoint` within a long task comes back as `checkpoint_to_resume` after a kill.
        predict: (event, state) -> iterator of `Predictions`.
    """

    init: Callable[[], State]
    train: TrainFunction
    predict: Callable[[PredictionEvent, State], Iterator[Predictions]]


class Row(NamedTuple):
    """One judgement.

    Attributes:
        task: its name.
        split: the data set's.
        error: share of wrong answers; for several labels, 1 - mean average precision.
        floating_point_operations: spent on training since the stream began; None if the learner does not tell.
    """

    task: str
    split: str
    error: float
    floating_point_operations: Number | None


class Run:
    """A learner's way through a stream: iterate it for its rows.

    Attributes:
        state: the learner's, after what was yielded so far.
        usage: in all so far.
    """

    def __init__(self, learner: Learner, stream: TaskStream, checkpoint: Path | None) -> None:
        self._learner, self._stream, self._checkpoint = learner, stream, checkpoint
        self.state: State = None
        self.usage = ResourceUsage(0.0, 0, 0)
        self._rows = self._go()

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        return next(self._rows)

    def _go(self) -> Iterator[Row]:
        saved = None if self._checkpoint is None else _read(self._checkpoint)
        keys, rows, within = [], [], None
        if saved is None:
            self.state = self._learner.init()
        else:
            self.state, self.usage = saved["learner"], ResourceUsage(*saved["usage"])
            keys, within = saved["events"], saved["within"]
            rows = [Row(*row) for row in saved["rows"]]
        events = [list(event) for event in self._stream.events()]
        same = events[: len(keys)] == keys
        require(same, "checkpoint", f"{self._checkpoint}, of another stream", "of a run on the same stream")
        yield from rows
        for place, event in enumerate(self._stream.events()):
            if place < len(keys):
                continue
            row = None
            if isinstance(event, TrainingEvent):
                write = partial(self._save, keys, rows)
                self.state, used = self._learner.train(event, self.state, write, checkpoint_to_resume=within)
                self.usage = self.usage.combine(used)
            else:
                row = self._judged(event)
                rows = [*rows, row]
            keys, within = [*keys, list(event)], None
            self._save(keys, rows, None)
            if row is not None:
                yield row

    def _judged(self, event: PredictionEvent) -> Row:
        dataset = self._stream.get_dataset_by_key(event.dataset_key)
        outputs, targets = [], []
        for batch, output in self._learner.predict(event, self.state):
            outputs.append(torch.as_tensor(output))
            target = batch.label if batch.multi_label_one_hot is None else batch.multi_label_one_hot
            targets.append(torch.as_tensor(target))
        require(len(outputs) > 0, "predict(event, state)", "without a batch", "an iterator of (batch, output)")
        error = task_error(dataset.task_key.kind, torch.cat(outputs), torch.cat(targets))
        split = event.dataset_key.rpartition("/")[2]
        return Row(dataset.task_key.name, split, error, self.usage.floating_point_operations)

    def _save(self, keys: list, rows: list[Row], within: Any) -> None:
        if self._checkpoint is None:
            return
        used = self.usage
        saved = {
            "events": keys,
            "within": within,
            "learner": self.state,
            "rows": [tuple(row) for row in rows],
            "usage": (used.floating_point_operations, used.peak_parameter_count, used.peak_parameter_size_bytes),
        }
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._checkpoint.with_name(self._checkpoint.name + ".partial")
        torch.save(saved, unfinished)
        os.replace(unfinished, self._checkpoint)


def run(learner: Learner, stream: TaskStream, checkpoint: Path | str | None = None) -> Run:
    """Lead a learner through a stream.

    Args:
        learner: any `Learner`.
        stream: any object with `events()`, always the same, and `get_dataset_by_key(key)`.
        checkpoint: a file, written in one atomic step after each event and whenever the learner asks. If it exists, the
            run goes on from there, after yielding the rows that it holds: a learner that draws from nothing but its
            state then gives the same rows as if nothing had stopped. A state of your own classes needs
            `torch.serialization.add_safe_globals` to be read again.

    Yields:
        a row for each prediction event. The run's `state` and `usage` can be read at any time.

    Raises:
        TypeError: no learner, or no stream.
        ValueError: when iterated, a file that is no checkpoint, or is one of another stream.

    Source: the paper's section 4; its rows carry the cumulative operations of training.
    """
    three = isinstance(learner, Learner) or all(callable(getattr(learner, name, None)) for name in Learner._fields)
    require(three, "learner", f"a {type(learner).__name__}", "a Learner, with init, train and predict", TypeError)
    _require_stream(stream)
    path = None if checkpoint is None else Path(checkpoint)
    return Run(learner, stream, path)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        saved = torch.load(path, weights_only=True)
    except Exception as error:
        own = "GLOBAL " in str(error)
        came = "with objects of unknown classes" if own else "unreadable"
        allowed = "of plain values, or of classes named to torch.serialization.add_safe_globals" if own else "whole"
        raise ValueError(f"checkpoint {path} is {came}, but must be {allowed}.") from error
    require(isinstance(saved, dict) and saved.keys() == SAVED, "checkpoint", str(path), "a file that run() wrote")
    return saved


def _require_stream(stream: object) -> None:
    both = isinstance(stream, TaskStream)
    allowed = "a stream of tasks, with events() and get_dataset_by_key(key)"
    require(both, "stream", f"a {type(stream).__name__}", allowed, TypeError)


# --- scores -------------------------------------------------------------------------------------------------------


def task_error(kind: TaskKind, output: Float[Tensor, "n k"], target: Int[Tensor, " n"] | Float[Tensor, "n k"]) -> float:
    """The error of a task: 1 - accuracy of the highest score, or 1 - mean average precision of the labels.

    Raises:
        ValueError: outputs and targets that do not go together, or no label with a positive.
    """
    rows = output.ndim == 2 and len(output) == len(target) > 0
    require(
        rows, "output", f"of shape {tuple(output.shape)}", f"of shape ({len(target)}, num_classes), one row or more"
    )
    if kind is TaskKind.CLASSIFICATION:
        return 1 - (output.argmax(1) == target.to(output.device)).double().mean().item()
    same = output.shape == target.shape
    require(same, "target", f"of shape {tuple(target.shape)}", f"of shape {tuple(output.shape)}, as the output")
    target = target.to(output.device)
    with_positives = [place for place in range(output.shape[1]) if bool((target[:, place] > 0.5).any())]
    require(len(with_positives) > 0, "target", "without a positive", "with a positive of one label at least")
    precisions = [average_precision(output[:, place], target[:, place]) for place in with_positives]
    return 1 - sum(precisions) / len(precisions)


def average_precision(scores: Float[Tensor, " n"], target: Float[Tensor, " n"]) -> float:
    """Sum over thresholds of precision times the gain in recall; equal scores share a threshold. At least one positive."""
    order = scores.argsort(descending=True, stable=True)
    scores, positive = scores[order], (target[order] > 0.5).double()
    last = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    last[:-1] = scores[1:] != scores[:-1]
    found = positive.cumsum(0)[last]
    shown = torch.arange(1, len(scores) + 1, device=scores.device)[last]
    gained = found.diff(prepend=found.new_zeros(1))
    return ((found / shown * gained).sum() / found[-1]).item()


def knn_error(
    kind: TaskKind,
    features: Float[Tensor, "n p"],
    target: Int[Tensor, " n"] | Float[Tensor, "n k"],
    queries: Float[Tensor, "m p"],
    answers: Int[Tensor, " m"] | Float[Tensor, "m k"],
    num_classes: int,
    neighbours: int = 5,
) -> float:
    """The error of a vote of the nearest neighbours (Euclidean); of equal votes the first class counts.

    Args:
        kind: of the task.
        features, target: of those who vote.
        queries, answers: of those who are voted on.
        num_classes: or labels.
        neighbours: at most as many as there are.

    Raises:
        ValueError: fewer than one neighbour, or shapes that do not go together.
    """
    require_count("neighbours", neighbours, 1)
    fits = len(features) == len(target) and len(queries) == len(answers) and features.shape[1:] == queries.shape[1:]
    require(fits, "features", f"of shape {tuple(features.shape)}", "of as many rows as target, as wide as queries")
    if features.dtype in (torch.half, torch.bfloat16):
        features, queries = features.float(), queries.float()
    nearest = torch.cdist(queries, features).topk(min(neighbours, len(features)), largest=False).indices
    voices = (
        one_hot(target.long(), num_classes).to(features) if kind is TaskKind.CLASSIFICATION else target.to(features)
    )
    return task_error(kind, voices[nearest].mean(1), answers)


# --- one task -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How a network learns a task: by SGD with Nesterov's momentum, with a warm-up over a tenth of the steps and half a
    cosine to 0. With several learning rates, each is tried, the best on the development pictures is kept, and all count.

    Attributes:
        steps: updates of a trial.
        batch: pictures of an update; all, where a task has fewer.
        learning_rates: one trial each.
        smoothing: of class labels.
        momentum: of SGD.
        weight_decay: of SGD.
        calibration: at most so many training pictures for the batch norms' statistics when a trial has ended.

    Raises:
        TypeError, ValueError: a number out of range.
    """

    steps: int = 60
    batch: int = 16
    learning_rates: tuple[Number, ...] = (0.05,)
    smoothing: Number = 0.1
    momentum: Number = 0.9
    weight_decay: Number = 1e-4
    calibration: int = 128

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "calibration"):
            require_count(name, getattr(self, name), 1)
        rates = self.learning_rates
        some = isinstance(rates, tuple | list) and len(rates) > 0
        require(some, "learning_rates", repr(rates), "a tuple of numbers, one at least", TypeError)
        for rate in rates:
            require_in("learning_rates", rate, "(0, inf)")
        require_in("smoothing", self.smoothing, "[0, 1)")
        require_in("momentum", self.momentum, "(0, 1)")
        require_in("weight_decay", self.weight_decay, "[0, inf)")


class TaskData(NamedTuple):
    """A task as a learner sees it, on its network's device: training and development pictures with their targets."""

    name: str
    kind: TaskKind
    num_classes: int
    images: Float[Tensor, "n c h w"]
    target: Int[Tensor, " n"] | Float[Tensor, "n k"]
    dev_images: Float[Tensor, "m c h w"]
    dev_target: Int[Tensor, " m"] | Float[Tensor, "m k"]


class Start(NamedTuple):
    """Where a task's network starts.

    Attributes:
        body: the weights, as `body_of` gives them; None: as the network came.
        source: the place of the earlier task that they come from, if it is one.
        operations: that choosing took.
    """

    body: Float[Tensor, " weights"] | None = None
    source: int | None = None
    operations: Number = 0


Choose: TypeAlias = Callable[[TaskData, list[Tensor], nn.Module], Start]


def body_of(model: nn.Module) -> Float[Tensor, " weights"]:
    """A copy of all weights and statistics but those of the last linear layer, in one row, on the CPU."""
    return torch.cat([value.detach().flatten() for value in _body(model)]).cpu()


def load_body(model: nn.Module, body: Float[Tensor, " weights"]) -> None:
    """Write such a row into a network of the same kind, in place.

    Raises:
        ValueError: the row has another length.
    """
    parts = _body(model)
    sizes = [part.numel() for part in parts]
    require(len(body) == sum(sizes), "body", f"of {len(body)} weights", f"of {sum(sizes)}, as the network has")
    with torch.no_grad():
        for part, values in zip(parts, body.to(parts[0].device).split(sizes)):
            part.copy_(values.view(part.shape))


def _body(model: nn.Module) -> list[Tensor]:
    name, _ = head_of(model)
    own = model.state_dict(keep_vars=True)
    return [value for key, value in own.items() if not key.startswith(f"{name}.") and value.is_floating_point()]


def representation(
    model: nn.Module, images: Float[Tensor, "n c h w"], own_statistics: bool = True
) -> Float[Tensor, "n p"]:
    """What the last linear layer of a network is given, without a gradient.

    Args:
        model: left in evaluation mode, or with the batch norms in training mode.
        images: all at once.
        own_statistics: the batch norms are in training mode, so that a network that has never seen such pictures, or
            none at all, is asked with their own statistics; the running ones change.

    Raises:
        TypeError, ValueError: no pictures, or a model without a linear layer.
    """
    require_batch("images", images)
    _, head = head_of(model)
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.eval()
    for each in model.modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            each.train(own_statistics)
    try:
        with torch.no_grad():
            model(images)
    finally:
        hook.remove()
    return seen[0]


class Meter:
    """Operations of a network for a number of pictures: counted once for each size of head and picture."""

    def __init__(self) -> None:
        self._known: dict[tuple, float] = {}

    def __call__(self, model: nn.Module, images: Float[Tensor, "n c h w"], training: bool = False) -> float:
        """Operations of one pass of the network over all of `images`: forward, or forward and backward."""
        key = (head_of(model)[1].out_features, tuple(images.shape[1:]), training)
        if key not in self._known:
            few = images[:2]
            self._known[key] = count_flops(model, few, training) / len(few)
        return self._known[key] * len(images)


def task_loss(kind: TaskKind, logits: Tensor, target: Tensor, smoothing: Number = 0.0) -> Float[Tensor, ""]:
    """Cross-entropy of classes, or of each label, in nats."""
    if kind is TaskKind.CLASSIFICATION:
        return cross_entropy(logits, target, label_smoothing=float(smoothing))
    return binary_cross_entropy_with_logits(logits, target)


def rate_at(step: int, steps: int) -> float:
    """The share of the learning rate at a step, counted from 0: a warm-up over a tenth of them, times half a cosine."""
    return min(1.0, (step + 1) / max(1, round(steps / 10))) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def descend(
    parameters: Iterable[nn.Parameter], recipe: Recipe, rate: Number, loss_at: Callable[[int], Float[Tensor, ""]]
) -> None:
    """Follow the gradients of a loss that depends on the step, in place, as a recipe says.

    Args:
        parameters: that learn.
        recipe: how.
        rate: the highest learning rate.
        loss_at: (step, counted from 0) -> loss.
    """
    settings = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    optimizer = torch.optim.SGD(parameters, lr=rate, nesterov=True, **settings)
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = rate * rate_at(step, recipe.steps)
        optimizer.zero_grad(set_to_none=True)
        loss_at(step).backward()
        optimizer.step()


def fit(
    model: nn.Module, task: TaskData, recipe: Recipe, rate: Number, generator: torch.Generator, meter: Meter
) -> float:
    """Train a network on a task, in place, and set its batch norms' statistics; the operations that it took."""
    model.train()
    batch = min(recipe.batch, len(task.images))
    rows = torch.randint(len(task.images), (recipe.steps, batch), generator=generator, device=generator.device)
    rows = rows.to(task.images.device)

    def loss_at(step: int) -> Tensor:
        chosen = rows[step]
        return task_loss(task.kind, model(task.images[chosen]), task.target[chosen], recipe.smoothing)

    descend(model.parameters(), recipe, rate, loss_at)
    spent = recipe.steps * meter(model, task.images[:batch], training=True)
    return spent + calibrate(model, task, recipe, meter)


def calibrate(model: nn.Module, task: TaskData, recipe: Recipe, meter: Meter) -> float:
    """Set the batch norms' statistics to those of the task's pictures; the operations that it took."""
    seen = task.images[: recipe.calibration]
    reestimate_batch_norm(model, seen, len(seen))
    return meter(model, seen)


UNTRIED = {"trials": 0, "training": 0.0, "error": math.inf}  # what is known of a task before its first trial
Learn: TypeAlias = Callable[[int], tuple[nn.Module, dict[str, Any], float]]


def best_trial(
    task: TaskData, recipe: Recipe, meter: Meter, learn: Learn, part: dict[str, Any], write_checkpoint: Callable
) -> dict[str, Any]:
    """Try each of a recipe's learning rates and keep what the one learned that errs least on the development pictures.

    Args:
        task: that is learned.
        recipe: whose `learning_rates` are tried; a single one is not judged.
        meter: of operations.
        learn: (number of the trial) -> (the network that has learned, what to keep of it, operations that it took).
        part: `UNTRIED` with whatever else is to be remembered, or what `write_checkpoint` was given.
        write_checkpoint: is given what is known so far, after each trial but the last.

    Returns:
        `part` with what was kept; "training" has the operations of all trials and judgements.
    """
    trials = len(recipe.learning_rates)
    for trial in range(part["trials"], trials):
        model, kept, spent = learn(trial)
        error = -math.inf
        if trials > 1:
            error = task_error(task.kind, logits_of(model, task.dev_images), task.dev_target)
            spent += meter(model, task.dev_images)
        part = part | {"trials": trial + 1, "training": part["training"] + spent}
        if error < part["error"]:
            part |= {"error": error} | kept
        if trial + 1 < trials:
            write_checkpoint(part)
    return part


# --- learners that tune a network a task --------------------------------------------------------------------------


def fine_tuning(
    stream: TaskStream, network: Network, choose: Choose, recipe: Recipe | None = None, seed: int = 0
) -> Learner:
    """A learner with a network for each task, that starts where `choose` says, with a fresh head.

    Args:
        stream: whose data sets it asks for by their keys.
        network: a function of the number of classes that makes an untrained network which ends in a linear layer, or a
            trained network, copies of which get a new head.
        choose: (task, bodies of all earlier tasks, an untrained network) -> `Start`. It may load other weights into that
            network.
        recipe: how a task is learned.
        seed: of untrained networks and of batches.

    Raises:
        TypeError: no stream, network, callable or recipe.
        ValueError: a seed below 0, or a network without a linear layer.
    """
    require_call(stream, network, recipe, seed)
    require_callable("choose", choose, "a callable (task, bodies, network) -> Start")
    recipe, meter = recipe or Recipe(), Meter()

    def init() -> State:
        return {name: [] for name in ("names", "bodies", "heads", "sources", "training", "search")}

    def train(event, state, write_checkpoint, *, checkpoint_to_resume=None):
        place = len(state["names"])
        fresh = make(network, num_classes_of(stream, event), seed, place)
        task = task_data(stream, event, fresh)
        part = checkpoint_to_resume
        if part is None:
            start = choose(task, state["bodies"], make(network, task.num_classes, seed, place))
            body = body_of(fresh) if start.body is None else start.body
            part = UNTRIED | {"start": body, "source": start.source, "search": float(start.operations)}

        def learn(trial: int) -> tuple[nn.Module, dict[str, Tensor], float]:
            model = copy.deepcopy(fresh)
            load_body(model, part["start"])
            generator = generator_of(seed, place, trial, task.images.device)
            spent = fit(model, task, recipe, recipe.learning_rates[trial], generator, meter)
            return model, {"body": body_of(model), "head": head_weights(model)}, spent

        part = best_trial(task, recipe, meter, learn, part, write_checkpoint)
        new = {"names": task.name, "bodies": part["body"], "heads": part["head"], "sources": part["source"]}
        new |= {"training": part["training"], "search": part["search"]}
        state = {name: [*values, new[name]] for name, values in state.items()}
        stored = [*state["bodies"], *state["heads"], part["body"]]
        return state, usage_of(part["training"] + part["search"], stored)

    return Learner(init, train, predict_stored(stream, network, seed))


def predict_stored(
    stream: TaskStream, network: Network, seed: int = 0
) -> Callable[[PredictionEvent, State], Iterator[Predictions]]:
    """The `predict` of learners whose state has "names", "bodies" and "heads", one of each for each task."""

    def predict(event: PredictionEvent, state: State) -> Iterator[Predictions]:
        dataset = stream.get_dataset_by_key(event.dataset_key)
        place = stored_place(state, dataset)
        model = make(network, dataset.task_key.metadata.num_classes, seed, place)
        load_body(model, state["bodies"][place])
        load_head(model, state["heads"][place])
        yield from predictions(model, dataset)

    return predict


def independent(stream: TaskStream, network: Network, recipe: Recipe | None = None, seed: int = 0) -> Learner:
    """Each task starts from an untrained network.

    Arguments and errors as `fine_tuning`. Source: the paper's "Independent".
    """
    return fine_tuning(stream, network, lambda task, bodies, fresh: Start(), recipe, seed)


def previous(stream: TaskStream, network: Network, recipe: Recipe | None = None, seed: int = 0) -> Learner:
    """Each task starts from the last task's network.

    Arguments and errors as `fine_tuning`. Source: the paper's "Previous".
    """

    def choose(task: TaskData, bodies: list[Tensor], fresh: nn.Module) -> Start:
        return Start(bodies[-1], len(bodies) - 1) if bodies else Start()

    return fine_tuning(stream, network, choose, recipe, seed)


def dynamic(
    stream: TaskStream,
    network: Network,
    recipe: Recipe | None = None,
    seed: int = 0,
    last: int | None = 20,
    pictures: int | None = 300,
    neighbours: int = 5,
) -> Learner:
    """Each task starts from the earlier network whose representation suits it best, or from an untrained one if that does.

    Each candidate is judged by a vote of nearest neighbours: training pictures vote on development pictures, with the
    batch norms in training mode. Of equal candidates the newest is taken, the untrained last. The operations of the
    search, representations and distances, are counted and kept apart in the state.

    Args:
        last: how many of the newest networks are candidates; None: all.
        pictures: how many of the training, and of the development pictures are shown at most; None: all.
        neighbours: that vote.

    The other arguments and errors as `fine_tuning`; ValueError, too, for a number below 1. Source: the paper's "Dynamic";
    the reference implementation leaves the search out of its count.
    """
    for name, value in {"last": last, "pictures": pictures}.items():
        if value is not None:
            require_count(name, value, 1)
    require_count("neighbours", neighbours, 1)
    meter = Meter()

    def choose(task: TaskData, bodies: list[Tensor], fresh: nn.Module) -> Start:
        if not bodies:
            return Start()
        first = 0 if last is None else max(0, len(bodies) - last)
        shown, asked = task.images[:pictures], task.dev_images[:pictures]

        def error() -> float:
            features, queries = representation(fresh, shown), representation(fresh, asked)
            answers = task.dev_target[:pictures]
            return knn_error(
                task.kind, features, task.target[:pictures], queries, answers, task.num_classes, neighbours
            )

        untrained = error()
        best, source = math.inf, None
        for place in reversed(range(first, len(bodies))):
            load_body(fresh, bodies[place])
            found = error()
            if found < best:
                best, source = found, place
        candidates = len(bodies) - first + 1
        once = meter(fresh, shown) + meter(fresh, asked)
        spent = candidates * (once + 2 * len(shown) * len(asked) * head_of(fresh)[1].in_features)
        return Start(None, None, spent) if untrained < best else Start(bodies[source], source, spent)

    return fine_tuning(stream, network, choose, recipe, seed)


def pretrained(stream: TaskStream, model: nn.Module, recipe: Recipe | None = None, seed: int = 0) -> Learner:
    """Each task starts from a network that was trained elsewhere.

    What that training cost is not in the count.

    Args:
        model: any network of such pictures with a linear layer at its end; left as it is.

    The other arguments and errors as `fine_tuning`. Source: the paper's "Pretrained".
    """
    require_module(model)
    return independent(stream, model, recipe, seed)


# --- one network for all tasks ------------------------------------------------------------------------------------


def multitask(stream: TaskStream, network: Network, recipe: Recipe | None = None, seed: int = 0) -> Learner:
    """One network for all tasks, with a head for each: it goes on learning the old tasks while it learns the new one.

    Each update sees a batch of the new task and one of an earlier task, drawn evenly: after the first task it costs twice
    as much as an update of the others. The batch norms' statistics are those of the task that is predicted. With several
    learning rates, each is tried from the same start.

    Arguments and errors as `fine_tuning`. Source: the paper's multitask baseline.
    """
    require_call(stream, network, recipe, seed)
    recipe, meter = recipe or Recipe(), Meter()

    def init() -> State:
        return {"names": [], "events": [], "body": None, "heads": [], "training": []}

    def train(event, state, write_checkpoint, *, checkpoint_to_resume=None):
        place = len(state["names"])
        fresh = make(network, num_classes_of(stream, event), seed, 0)
        if state["body"] is not None:
            load_body(fresh, state["body"])
        task = task_data(stream, event, fresh)
        earlier = [TrainingEvent(*each) for each in state["events"]]

        def learn(trial: int) -> tuple[nn.Module, dict[str, Any], float]:
            model, heads = copy.deepcopy(fresh), [_linear_of(each, fresh) for each in state["heads"]]
            generator = generator_of(seed, place, trial, task.images.device)
            beside = []
            if earlier:
                drawn = torch.randint(len(earlier), (recipe.steps,), generator=generator, device=generator.device)
                data = {other: task_data(stream, earlier[other], model) for other in set(drawn.tolist())}
                beside = [(data[other], heads[other]) for other in drawn.tolist()]
            spent = _fit_all(model, heads, task, beside, recipe, recipe.learning_rates[trial], generator, meter)
            kept = [*(torch.cat([weight, bias[:, None]], 1).detach().cpu() for weight, bias in heads)]
            return model, {"body": body_of(model), "heads": [*kept, head_weights(model)]}, spent

        part = best_trial(task, recipe, meter, learn, checkpoint_to_resume or UNTRIED, write_checkpoint)
        state = {
            "names": [*state["names"], task.name],
            "events": [*state["events"], list(event)],
            "body": part["body"],
            "heads": part["heads"],
            "training": [*state["training"], part["training"]],
        }
        return state, usage_of(part["training"], [*part["heads"], part["body"], part["body"]])

    def predict(event, state):
        dataset = stream.get_dataset_by_key(event.dataset_key)
        place = stored_place(state, dataset)
        model = make(network, dataset.task_key.metadata.num_classes, seed, 0)
        load_body(model, state["body"])
        load_head(model, state["heads"][place])
        calibrate(model, task_data(stream, TrainingEvent(*state["events"][place]), model), recipe, meter)
        yield from predictions(model, dataset)

    return Learner(init, train, predict)


def _fit_all(model, heads, task, beside, recipe, rate, generator, meter) -> float:
    """Train a network on a new task, with an earlier task and its head beside it at each step, in place; the operations
    that it took."""
    model.train()
    batch, device = min(recipe.batch, len(task.images)), task.images.device
    rows = torch.randint(len(task.images), (recipe.steps, batch), generator=generator, device=generator.device)
    shares = torch.rand((recipe.steps, recipe.batch), generator=generator, device=generator.device)
    rows, shares = rows.to(device), shares.to(device)
    inner: list[Tensor] = []
    hook = head_of(model)[1].register_forward_pre_hook(lambda module, inputs: inner.append(inputs[0]))

    def loss_at(step: int) -> Tensor:
        chosen = rows[step]
        loss = task_loss(task.kind, model(task.images[chosen]), task.target[chosen], recipe.smoothing)
        if beside:
            old, (weight, bias) = beside[step]
            again = (shares[step] * len(old.images)).long()
            inner.clear()
            model(old.images[again])
            logits = linear(inner[0], weight, bias)
            loss = loss + task_loss(old.kind, logits, old.target[again], recipe.smoothing)
        inner.clear()
        return loss

    descend([*model.parameters(), *(part for head in heads for part in head)], recipe, rate, loss_at)
    hook.remove()
    shown = batch + (recipe.batch if beside else 0)
    spent = recipe.steps * shown * meter(model, task.images[:1], training=True)
    return spent + calibrate(model, task, recipe, meter)


def _linear_of(head: Tensor, model: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    like = head_of(model)[1].weight
    return nn.Parameter(head[:, :-1].to(like).clone()), nn.Parameter(head[:, -1].to(like).clone())


# --- what learners share ------------------------------------------------------------------------------------------


def make(network: Network, num_classes: int, seed: int, place: int) -> nn.Module:
    """A task's network before it learns: the same for the same seed and place, with a head of zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1_000_003 * int(seed) + place)
        return with_head(network if isinstance(network, nn.Module) else network(num_classes), num_classes)


def task_data(stream: TaskStream, event: TrainingEvent, model: nn.Module) -> TaskData:
    """A training event's task, on the device and in the dtype of a network."""
    train = stream.get_dataset_by_key(event.train_dataset_key)
    dev = stream.get_dataset_by_key(event.dev_dataset_key)
    key = train.task_key
    (images, target), (dev_images, dev_target) = (_moved(whole_of(each), model) for each in (train, dev))
    return TaskData(key.name, key.kind, key.metadata.num_classes, images, target, dev_images, dev_target)


def whole_of(dataset: Dataset) -> MiniBatch:
    """All of a data set's examples in their order."""
    return next(iter(dataset.builder_fn(shuffle=False).batch(dataset.num_examples)))


def _moved(batch: MiniBatch, model: nn.Module) -> tuple[Tensor, Tensor]:
    like = next(model.parameters())
    target = batch.label if batch.multi_label_one_hot is None else batch.multi_label_one_hot
    return batch.image.to(like), target.to(like) if target.is_floating_point() else target.to(like.device)


def predictions(model: nn.Module, dataset: Dataset) -> Iterator[Predictions]:
    """A network's logits for a data set, batch by batch, in evaluation mode."""
    for batch in dataset.builder_fn(shuffle=False).batch(JUDGED):
        yield Predictions(batch, logits_of(model, _moved(batch, model)[0]))


def logits_of(model: nn.Module, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
    """A network's logits in evaluation mode; the network stays in it."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(JUDGED)])


def head_weights(model: nn.Module) -> Float[Tensor, "k p1"]:
    """A copy of the last linear layer: its weights, with the bias as a last column, on the CPU."""
    head = head_of(model)[1]
    return torch.cat([head.weight, head.bias[:, None]], dim=1).detach().cpu()


def load_head(model: nn.Module, head: Float[Tensor, "k p1"]) -> None:
    """Write such a matrix into a network's last linear layer, in place."""
    own = head_of(model)[1]
    with torch.no_grad():
        own.weight.copy_(head[:, :-1])
        own.bias.copy_(head[:, -1])


def generator_of(seed: int, place: int, trial: int, device: torch.device) -> torch.Generator:
    """Of the batches of one trial."""
    return torch.Generator(device).manual_seed(1_000_003 * int(seed) + 101 * place + trial + 1)


def usage_of(operations: Number, stored: list[Tensor]) -> ResourceUsage:
    """What a learner used that keeps these tensors."""
    count = sum(each.numel() for each in stored)
    return ResourceUsage(float(operations), count, sum(each.numel() * each.element_size() for each in stored))


def search_operations(state: State) -> float:
    """What the search for starts has taken so far, of a learner's state that tells; else 0."""
    return float(sum(state.get("search", []))) if isinstance(state, dict) else 0.0


def stored_place(state: State, dataset: Dataset) -> int:
    """The place of a data set's task among those that were learned: the last one, if it came more than once."""
    name, learned = dataset.task_key.name, state["names"]
    require(name in learned, "event", f"of {name}, which was not learned", "of a task that was")
    return len(learned) - 1 - learned[::-1].index(name)


def num_classes_of(stream: TaskStream, event: TrainingEvent) -> int:
    """Classes, or labels, of a training event's task."""
    return stream.get_dataset_by_key(event.train_dataset_key).task_key.metadata.num_classes


def require_module(model: object) -> None:
    """Refuse what is no network."""
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)


def require_call(stream: object, network: object, recipe: object, seed: object) -> None:
    """Refuse what no learner can be made of."""
    _require_stream(stream)
    allowed = "a function of the number of classes, or a network"
    require_callable("network", network, allowed)
    if isinstance(network, nn.Module):
        head_of(network)
    fits = recipe is None or isinstance(recipe, Recipe)
    require(fits, "recipe", f"a {type(recipe).__name__}", "a Recipe", TypeError)
    require_count("seed", seed, 0)

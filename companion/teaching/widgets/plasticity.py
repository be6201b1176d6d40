"""The live widget of small networks that learn one task after the other by several methods, trained in the browser."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
import traitlets
from jaxtyping import Bool, Float, Int
from torch import Tensor

from companion.data.streams import Stream
from companion.foundations.stacks import StackedMLP, StreamTrainer, cross_entropy
from companion.foundations.validation import (
    Number,
    require,
    require_count,
    require_floating,
    require_in,
    require_labels,
)
from companion.methods.rivals.plasticity import L2Init, OnlineSGD
from companion.methods.soft_reset import SoftReset
from companion.teaching.widgets.base import (
    MOST_BYTES,
    Widget,
    double_bytes,
    float_bytes,
    require_choices,
    require_rising,
    require_words,
)

Way: TypeAlias = Literal["soft reset", "L2-init", "hard reset", "SGD"]
WAYS = ("soft reset", "L2-init", "hard reset", "SGD")
MOST_POINTS, MOST_CLASSES, MOST_LAYERS, MOST_CHOICES = 64, 4, 4, 12  # beyond, there is no room or no colour
MOST_WORK = 4e6  # steps times numbers of a network; beyond, a reader would wait
LEARNING_RATES = (0.03, 0.1, 0.2, 0.3, 0.5, 0.8)
DRIFT_RATES = (0.0, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.1)  # from none to resets within tasks
STRENGTHS = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


class RandomLabels(NamedTuple):
    """The same points under new labels in each task, in `passes` orders each.

    Attributes:
        points: (n, p).
        labels: of each task (tasks, n), from 0.
        order: rows of `points` as they are shown (tasks, passes, n); each point once in each pass.
    """

    points: Float[Tensor, "n p"]
    labels: Int[Tensor, "tasks n"]
    order: Int[Tensor, "tasks passes n"]

    def stream(self) -> Stream:
        """Row after row, as a learner meets them."""
        _, passes, n = self.order.shape
        labels = self.labels.gather(1, self.order.flatten(1))
        return Stream(
            self.points[self.order.flatten()], labels.flatten(), tuple(range(passes * n, labels.numel(), passes * n))
        )


def random_label_points(
    tasks: int = 30,
    *,
    size: int = 32,
    inputs: int = 8,
    num_classes: int = 4,
    passes: int = 20,
    generator: torch.Generator | None = None,
) -> RandomLabels:
    """Standard normal points to be learned by heart: each task gives all of them new labels, drawn evenly.

    Args:
        tasks: labellings that follow each other.
        size: points, chosen once.
        inputs: numbers of a point.
        num_classes: K, at least 2.
        passes: of each task through all points, each in a random order.
        generator: of all draws; the points lie on its device.

    Raises:
        TypeError, ValueError: a size that is not a whole number, or too small.
    """
    for name, value in {"tasks": tasks, "size": size, "inputs": inputs, "passes": passes}.items():
        require_count(name, value, 1)
    require_count("num_classes", num_classes, 2)
    device = "cpu" if generator is None else generator.device
    points = torch.randn(size, inputs, generator=generator, device=device)
    labels = torch.randint(num_classes, (tasks, size), generator=generator, device=device)
    order = torch.rand(tasks, passes, size, generator=generator, device=device).argsort(-1)
    return RandomLabels(points, labels, order)


class LivePlasticity(Widget):
    """The widget that `live_plasticity` makes."""

    points = traitlets.Bytes().tag(sync=True)
    labels = traitlets.Bytes().tag(sync=True)
    order = traitlets.Bytes().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    sizes = traitlets.List(traitlets.Int()).tag(sync=True)
    tasks = traitlets.Int().tag(sync=True)
    passes = traitlets.Int().tag(sync=True)
    batch = traitlets.Int().tag(sync=True)
    lrs = traitlets.List(traitlets.Float()).tag(sync=True)
    lrs_index = traitlets.Int().tag(sync=True)
    drift_lrs = traitlets.List(traitlets.Float()).tag(sync=True)
    drift_lrs_index = traitlets.Int().tag(sync=True)
    strengths = traitlets.List(traitlets.Float()).tag(sync=True)
    strengths_index = traitlets.Int().tag(sync=True)
    posterior_scale = traitlets.Float().tag(sync=True)


def live_plasticity(
    tasks: RandomLabels,
    networks: StackedMLP,
    *,
    title: str,
    alt: str,
    note: str = "",
    batch: int = 8,
    lr: Number = 0.3,
    lrs: tuple[Number, ...] = LEARNING_RATES,
    drift_lr: Number = 0.005,
    drift_lrs: tuple[Number, ...] = DRIFT_RATES,
    strength: Number = 0.01,
    strengths: tuple[Number, ...] = STRENGTHS,
    posterior_scale: Number = 1.0,
) -> LivePlasticity:
    """Four small networks learn task after task in the browser, each by its own method: watch which of them can still learn.

    Plain gradient descent (SGD), a network that is drawn anew when it is told of a new task (hard reset), one that is pulled
    to its start (L2-init), and one that goes back as far as the next batch asks for (soft reset, one gamma for each layer,
    without noise). All start alike and meet the same batches, each scored before it is learned. Shown are the accuracy of
    each task, gamma of each layer over the last three tasks, which points SGD and soft reset know by now, and the share of
    neurons that are 0 for all points. `plasticity_path` is what the browser computes.

    Args:
        tasks: of at most 64 points and four classes; `random_label_points` makes them.
        networks: a stack with one perceptron for each task, without layer norm: all methods start from the first, and the
            hard reset takes the next one at each new task. Their numbers are taken in single precision, biases included.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        batch: points of a step, a divisor of their number.
        lr: learning rate of all methods at the start, one of `lrs`.
        lrs: of the slider.
        drift_lr: of soft reset at the start, one of `drift_lrs`.
        drift_lrs: of the slider; with 0 soft reset is SGD.
        strength: of L2-init at the start, one of `strengths`.
        strengths: of the slider; with 0 L2-init is SGD.
        posterior_scale: of soft reset.

    Raises:
        TypeError: tasks or networks of another type, a number that is none, or a title or alt that is no text.
        ValueError: shapes that do not fit, values that are not finite, too many or too few of something, a rate that is
            not among its choices, a number out of range, or an empty title or alt.
    """
    require_words(title, alt)
    weights = _require_tasks(tasks, networks, batch)
    choices = {
        "lr": (lr, lrs, "(0, 10]"), "drift_lr": (drift_lr, drift_lrs, "[0, 10]"), "strength": (strength, strengths, "[0, 10]"),
    }  # fmt: skip
    for name, (chosen, among, interval) in choices.items():
        require_choices(name, chosen, among, interval, MOST_CHOICES)
        require_rising(f"{name}s", among)
    require_in("posterior_scale", posterior_scale, "[0.1, 1]")
    carried = {
        "points": double_bytes(tasks.points), "labels": bytes(tasks.labels.flatten().tolist()),
        "order": bytes(tasks.order.flatten().tolist()), "weights": float_bytes(weights),
    }  # fmt: skip
    size = sum(map(len, carried.values()))
    require(size <= MOST_BYTES, "tasks and networks", f"{size} bytes", f"at most {MOST_BYTES}: fewer tasks")
    return LivePlasticity(
        kind="plasticity", title=title, alt=alt, note=note, **carried, sizes=_sizes(networks),
        tasks=len(tasks.labels), passes=tasks.order.shape[1], batch=batch,
        lrs=[float(choice) for choice in lrs], lrs_index=lrs.index(lr),
        drift_lrs=[float(choice) for choice in drift_lrs], drift_lrs_index=drift_lrs.index(drift_lr),
        strengths=[float(choice) for choice in strengths], strengths_index=strengths.index(strength),
        posterior_scale=float(posterior_scale),
    )  # fmt: skip


class PlasticityPath(NamedTuple):
    """What one method did: of each step, before it, the accuracy on its batch, and the gammas chosen (1 without soft
    reset); at the end the weights, which points are known under the labels of the last task, and the share of silent
    neurons."""

    accuracy: Float[Tensor, " steps"]
    gammas: Float[Tensor, "steps layers"]
    theta: Float[Tensor, " P"]
    known: Bool[Tensor, " n"]
    silent: float


def plasticity_path(
    tasks: RandomLabels,
    networks: StackedMLP,
    way: Way,
    *,
    steps: int | None = None,
    batch: int = 8,
    lr: Number = 0.3,
    drift_lr: Number = 0.005,
    strength: Number = 0.01,
    posterior_scale: Number = 1.0,
) -> PlasticityPath:
    """One method through the tasks, test then train, in double precision.

    Args:
        tasks, networks, batch, lr, drift_lr, strength, posterior_scale: as in `live_plasticity`.
        way: "soft reset", "L2-init", "hard reset" or "SGD".
        steps: batches that are learned; None for all.

    Raises:
        TypeError, ValueError: as `live_plasticity` and the trainers, an unknown way, or more steps than there are.
    """
    starts = _require_tasks(tasks, networks, batch).double()
    require(way in WAYS, "way", repr(way), " or ".join(map(repr, WAYS)))
    found = tasks.stream()
    most, every = len(found.labels) // batch, tasks.order[0].numel() // batch
    steps = most if steps is None else steps
    require_count("steps", steps, 1)
    require(steps <= most, "steps", steps, f"at most {most}")
    features, labels = (
        each[: steps * batch].unflatten(0, (steps, batch)) for each in (found.features.double(), found.labels)
    )
    inputs, *hidden, outputs = _sizes(networks)
    model = StackedMLP(None, inputs, outputs, hidden[0], len(hidden), dtype=torch.float64)
    _set(model, starts[0])
    trainer: StreamTrainer = {
        "soft reset": lambda: SoftReset(model, lr, drift_lr, posterior_scale, samples=0),
        "L2-init": lambda: L2Init(model, lr, strength),
    }.get(way, lambda: OnlineSGD(model, lr))()
    accuracy, gammas = [], []
    for step, (x, y) in enumerate(zip(features, labels)):
        if way == "hard reset" and step % every == 0:
            _set(model, starts[step // every])
        with torch.no_grad():
            accuracy.append((model(x).argmax(-1) == y).double().mean())
        trainer.learn(cross_entropy, (x, y))
        own = trainer.gammas.values() if isinstance(trainer, SoftReset) else starts.new_ones(len(model.layers))
        gammas.append(torch.stack(tuple(own)))
    points = tasks.points.double()
    with torch.no_grad():
        *between, logits = model.activations(points)
        silent = silent_share(between)
        known = logits.argmax(-1) == tasks.labels[(steps - 1) // every]
    return PlasticityPath(torch.stack(accuracy), torch.stack(gammas), trainer.theta.clone(), known, silent)


def silent_share(hidden: Sequence[Float[Tensor, "n _"]]) -> float:
    """The share of hidden neurons that are 0 for every row; `hidden` has what each layer gives after its ReLU."""
    return torch.cat([(each <= 0).all(0) for each in hidden]).double().mean().item()


def _sizes(networks: StackedMLP) -> list[int]:
    return [networks.layers[0].weight.shape[-1], *(layer.weight.shape[-2] for layer in networks.layers)]


@torch.no_grad()
def _set(model: StackedMLP, numbers: Float[Tensor, " P"]) -> None:
    parameters = list(model.parameters())
    for each, part in zip(parameters, numbers.split([each.numel() for each in parameters])):
        each.copy_(part.view(each.shape))


def _require_tasks(tasks: object, networks: object, batch: object) -> Float[Tensor, "tasks P"]:
    """The networks' numbers in single precision; raise unless everything fits together."""
    came = f"a {type(tasks).__name__}"
    require(isinstance(tasks, RandomLabels), "tasks", came, "a RandomLabels, from random_label_points", TypeError)
    points, labels, order = tasks
    require_floating("tasks.points", points)
    fits = points.ndim == 2 and 2 <= len(points) <= MOST_POINTS and points.shape[1] >= 1
    require(fits, "tasks.points", f"of shape {tuple(points.shape)}", f"(n, p) with n from 2 to {MOST_POINTS}")
    require(bool(points.isfinite().all()), "tasks.points", "not finite in some place", "finite numbers")
    n = len(points)
    for name, value in {"labels": labels, "order": order}.items():
        came = f"a {type(value).__name__}"
        require(isinstance(value, Tensor), f"tasks.{name}", came, "a tensor of whole numbers", TypeError)
    rows = labels.ndim == 2 and labels.shape[1] == n and len(labels) >= 1
    wanted = f"of shape (tasks, {n}), one label for each point"
    require(rows, "tasks.labels", f"of shape {tuple(labels.shape)}", wanted)
    ordered = order.ndim == 3 and order.shape[::2] == labels.shape and order.shape[1] >= 1
    wanted = f"of shape ({len(labels)}, passes, {n})"
    require(ordered, "tasks.order", f"of shape {tuple(order.shape)}", wanted)
    require_labels("tasks.order", order.flatten(), order.numel(), n)
    each_once = bool((order.sort(-1).values == torch.arange(n, device=order.device)).all())
    require(each_once, "tasks.order", "without some point in a pass", "each point once in each pass")
    require_count("batch", batch, 1)
    require(n % batch == 0, "batch", batch, f"a divisor of {n}, the number of points")
    require(isinstance(networks, StackedMLP), "networks", f"a {type(networks).__name__}", "a StackedMLP", TypeError)
    require(not networks.layer_norm, "networks", "with layer norm", "without")
    count = networks.runs or 1
    alone = networks.runs is not None and count == len(labels)
    require(alone, "networks", f"a stack of {count}", f"a stack of {len(labels)}, one for each task")
    inputs, *hidden, outputs = _sizes(networks)
    require(inputs == points.shape[1], "networks", f"for {inputs} inputs", f"for {points.shape[1]}, as the points have")
    require(2 <= outputs <= MOST_CLASSES, "networks", f"with {outputs} outputs", f"with 2 to {MOST_CLASSES}")
    deep = 1 <= len(hidden) < MOST_LAYERS
    require(deep, "networks", f"of {len(hidden) + 1} layers", f"of 2 to {MOST_LAYERS}")
    require_labels("tasks.labels", labels.flatten(), labels.numel(), outputs)
    weights = torch.cat([each.detach().flatten(1) for each in networks.parameters()], 1).float()
    require(bool(weights.isfinite().all()), "networks", "not finite in some place", "made of finite numbers")
    work = order.numel() // batch * weights.shape[1]
    allowed = f"at most {MOST_WORK:.0g}: fewer tasks, or narrower networks"
    require(work <= MOST_WORK, "steps times numbers of a network", work, allowed)
    return weights

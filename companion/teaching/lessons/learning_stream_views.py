"""What foundation f5 shows beside its cells: kinds of drift, regret, a tracker at work, and networks task after task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from companion.data.streams import Stream
from companion.foundations.online import run_stream
from companion.foundations.stacks import StackedMLP
from companion.foundations.tracking import best_rate, regret, track, tracking_error, wandering_mean
from companion.foundations.validation import Number, require, require_count, require_in
from companion.methods.rivals.online import SoftmaxSGD
from companion.methods.rivals.plasticity import OnlineSGD
from companion.teaching import figures
from companion.teaching.lessons.plasticity import batches, follow
from companion.teaching.widgets.plasticity import silent_share

KINDS = ("no drift", "labels, sudden", "labels, gradual", "inputs, gradual")
Kind: TypeAlias = Literal["no drift", "labels, sudden", "labels, gradual", "inputs, gradual"]
NETWORKS, POINTS, INPUTS, CLASSES, WIDTH, BATCH, PASSES = 5, 16, 8, 4, 16, 4, 8
Reset: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]  # (theta, start, fresh) -> theta
TRACKER_ALT = "Above a wandering mean in grey and the prediction in blue, below the squared error over time: it falls from the start and settles, exact and measured alike. A small rate comes late, a large one trembles with the noise; for each drift one rate settles on the dashed line."
COLOURS = {
    "nothing": figures.RIVAL,
    "hard reset": figures.EXACT,
    "shrink and perturb": figures.FOURTH,
    "towards the start": figures.LEARNED,
}


# --- kinds of drift -----------------------------------------------------------------------------------------------


def drifting_rule(kind: Kind, n: int = 900, generator: torch.Generator | None = None) -> Stream:
    """Points (n, 2) and whether they lie above a rule, which changes, or is met in another place.

    "labels": the same points get other labels, since the line that parts them is another in the second half (sudden) or
    turns half round from the first row to the last (gradual). "inputs": the rule is one bent curve throughout, but the
    points wander along it, from its left to its right.

    Raises:
        TypeError, ValueError: an unknown kind, or n below 2.
    """
    require(kind in KINDS, "kind", repr(kind), " or ".join(map(repr, KINDS)))
    require_count("n", n, 2)
    device = "cpu" if generator is None else generator.device
    points = torch.randn(n, 2, generator=generator, device=device)
    time = torch.arange(n, device=device) / n
    if kind == "inputs, gradual":
        points[:, 0] = 0.7 * points[:, 0] + 5 * time - 2.5
        points[:, 1] -= points[:, 0].square() / 2  # the points stay by the rule: half of them are above it
        return Stream(points / 2, (points[:, 1] > -points[:, 0].square() / 2).long())
    angle = {"no drift": 0 * time, "labels, sudden": 2.2 * (time >= 0.5), "labels, gradual": torch.pi * time}[kind]
    above = angle.cos() * points[:, 1] + angle.sin() * points[:, 0] > 0
    return Stream(points, above.long(), (n // 2,) if kind == "labels, sudden" else ())


def follow_drift(stream: Stream, rate: Number = 0.3, taught: int | None = None) -> Bool[Tensor, " n"]:
    """Whether each row was predicted right, before it was learned, by softmax regression on (x1, x2, 1).

    Args:
        stream: points (n, 2) and labels.
        rate: of learning.
        taught: rows after which nothing more is learned; None: it never stops.
    """
    rows = torch.cat([stream.features, torch.ones_like(stream.features[:, :1])], 1)
    learner = SoftmaxSGD(3, 2, rate)
    states = run_stream(learner, rows[:taught], stream.labels[:taught])
    correct = torch.cat([state.correct for state in states])
    if taught is None:
        return correct
    with torch.no_grad():
        later = learner.log_probabilities(rows[taught:]).argmax(1) == stream.labels[taught:]
    return torch.cat([correct, later])


def drift_figure(seed: int, n: int = 900, taught: int = 200) -> figures.Picture:
    """Early and late rows of four streams, and who is right: a learner that stops after `taught` rows, one that goes on."""
    figure, axes = figures.panels(len(KINDS), 3, size=(2.45, 2.0), height_ratios=(1, 1, 1.15))
    for place, kind in enumerate(KINDS):
        stream = drifting_rule(kind, n, torch.Generator().manual_seed(seed))
        for row, part in enumerate((slice(0, 130), slice(n - 130, n))):
            panel = axes[len(KINDS) * row + place]
            for label, colour in enumerate((figures.THIRD, figures.FOURTH)):
                chosen = stream.features[part][stream.labels[part] == label]
                figures.scatter(panel, chosen, colour, size=9, opacity=0.8, limit=None)
            panel.set(xlim=(-3, 3), ylim=(-4.5, 2.5) if kind == "inputs, gradual" else (-2.9, 2.9), aspect="auto")
            if row == 0:
                panel.set_title(kind)
        panel = axes[2 * len(KINDS) + place]
        for stop, colour, name in (
            (taught, figures.RIVAL, "stops learning"),
            (None, figures.LEARNED, "keeps learning"),
        ):
            panel.plot(*window_means(follow_drift(stream, taught=stop), 100), color=colour, label=name)
        panel.axvline(taught, color=figures.EXACT, linewidth=1, linestyle=":")
        panel.set(ylim=(0, 1.03), xlabel="row", xticks=[0, n // 2, n])
        if place:
            panel.set_yticklabels([])
    axes[0].set_ylabel("first rows")
    axes[len(KINDS)].set_ylabel("last rows")
    axes[2 * len(KINDS)].set_ylabel("share right")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    alt = "Four streams of points in two colours. Without drift a learner that stopped after the first rows stays right. Where the labels change at once it falls and stays low; where they change slowly it sinks, and where only the points move it sinks as well. The learner that goes on recovers in each."
    return figures.describe(figure, alt)


def window_means(correct: Bool[Tensor, " n"], window: int) -> tuple[list[int], list[float]]:
    """The mean of the last `window` rows, and after how many rows it was taken.

    Raises:
        TypeError, ValueError: a window that is not a whole number from 1 to n.
    """
    require_count("window", window, 1)
    require(window <= len(correct), "window", window, f"at most {len(correct)}, the number of rows")
    means = correct.double().unfold(0, window, 1).mean(1)
    return list(range(window, len(correct) + 1)), means.tolist()


# --- regret -------------------------------------------------------------------------------------------------------


def switching_mean(
    n: int, segment: int, runs: int = 1, jump: Number = 2.0, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "runs n"], tuple[int, ...]]:
    """Observations of variance 1 whose mean is +jump / 2 and -jump / 2 by turns, `segment` of each; and where it switches."""
    require_count("n", n, 1)
    require_count("segment", segment, 1)
    require_count("runs", runs, 1)
    device = "cpu" if generator is None else generator.device
    side = 1 - 2 * (torch.arange(n, device=device) // segment % 2)
    noise = torch.randn(runs, n, generator=generator, device=device)
    return jump / 2 * side + noise, tuple(range(segment, n, segment))


def leader_regret(n: int) -> Float[Tensor, " n"]:
    """Expected regret of the running mean after 1 to n observations of variance 1 around 0, from a first guess 0.

    1 + 1 + 1/2 + ... + 1/(n - 1): it grows like log n, without end, but ever more slowly.
    """
    require_count("n", n, 1)
    terms = torch.cat([torch.ones(1, dtype=torch.float64), 1 / torch.arange(1, n, dtype=torch.float64)])
    return terms.cumsum(0)


def regret_figure(
    rates: Sequence[Number],
    static: Sequence[Number],
    by_segment: Sequence[Number],
    n: int,
    generator: torch.Generator,
    runs: int = 400,
) -> figures.Picture:
    """Left: the running mean on a stream that stays, measured over runs and exact. Right: two regrets against the rate."""
    figure, (left, right) = figures.panels(2, size=(4.1, 3.2))
    observations = torch.randn(runs, n, generator=generator, device=generator.device)
    predictions = track(observations, 1 / torch.arange(1, n + 1, device=generator.device))
    lengths = sorted({round(n ** (place / 12)) for place in range(1, 13)} - {1})
    measured = [regret(observations[:, :some], predictions[:, :some]).mean().item() for some in lengths]
    left.plot(range(1, n + 1), leader_regret(n), color=figures.EXACT, linewidth=4, label="exact")
    left.plot(lengths, measured, "o", color=figures.LEARNED, markersize=5, label="measured")
    left.set(xscale="log", xlabel="rows so far", ylabel="regret", title="No drift: the running mean", ylim=(0, None))
    left.legend()
    right.axhline(0, color=figures.EXACT, linewidth=1.5)
    right.plot(rates, by_segment, "o-", color=figures.LEARNED, markersize=4, label="best of each segment")
    right.plot(rates, static, "o-", color=figures.RIVAL, markersize=4, label="one best for all")
    right.set(xscale="log", xlabel="rate a", ylabel="regret per row", title="Drift: the mean switches")
    right.set(ylim=(None, max(0.0, *static, *by_segment) + 0.75))  # room for the legend
    right.legend(loc="upper left")
    alt = "Left: measured regret of the running mean lies on the exact curve, a straight line over a logarithmic axis. Right: regret against the best constant of each segment is above zero for every rate and smallest at a middle one; regret against one constant for all rows is below zero there."
    return figures.describe(figure, alt)


# --- following a mean ---------------------------------------------------------------------------------------------


def measured_errors(
    rates: Sequence[Number], drift_variance: Number, generator: torch.Generator, n: int = 1000, runs: int = 50
) -> list[float]:
    """Mean squared distance of prediction and mean over the last half of runs, for each rate; the noise has variance 1."""
    mean, observations = wandering_mean(n, drift_variance, runs=runs, generator=generator)
    late = slice(n // 2, None)
    return [(track(observations, rate) - mean)[:, late].square().mean().item() for rate in rates]


def rates_figure(
    rates: Sequence[Number], errors: Mapping[float, Sequence[float]], shades: Sequence[str] = ("o", "s", "^")
) -> figures.Picture:
    """Tracking error against the rate, measured in blue on the exact curve in grey, for some drifts (their variances)."""
    figure, (axes,) = figures.panels(1, size=(6.4, 3.5))
    places = torch.logspace(-2.3, 0, 200, dtype=torch.float64)
    for (drift, found), marker in zip(errors.items(), shades):
        axes.plot(places, tracking_error(places, drift), color=figures.EXACT, linewidth=3, zorder=1)
        axes.plot(rates, found, marker, color=figures.LEARNED, markersize=6, label=f"drift q = {drift:g}")
        best = best_rate(drift)
        axes.plot([best], [tracking_error(best, drift)], "*", color=figures.INK, markersize=13, zorder=4)
    axes.plot([], [], color=figures.EXACT, linewidth=3, label="exact")
    axes.plot([], [], "*", color=figures.INK, markersize=12, linestyle="", label="best rate, exact")
    axes.set(xscale="log", yscale="log", xlabel="rate a", ylabel="tracking error", ylim=(0.02, 30))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "For three speeds of drift the measured errors lie on the exact curves. Each curve is a valley: to the left of it the tracker lags, to the right it follows the noise. The faster the drift, the farther right the valley, where a star marks the best rate."
    return figures.describe(figure, alt)


def tracker_figure(rate: Number, drift: Number, runs: int = 300, n: int = 120) -> figures.Picture:
    """Above: one stream and the tracker. Below: the mean squared error over time from a start that is 3 off, over many runs.

    `drift` is the standard deviation of a step of the mean; the noise has 1. Exact in grey; dashed: the best rate's error.
    """
    require_in("drift", drift, "[0, inf)")
    mean, observations = wandering_mean(n, drift**2, runs=runs, generator=torch.Generator().manual_seed(0))
    mean, observations = mean + 3, observations + 3
    predictions = track(observations, rate)
    figure, (above, below) = figures.panels(1, 2, size=(5.0, 2.7))  # one upon the other: legible on a phone
    above.plot(observations[1], ".", color=figures.EXACT, markersize=4, alpha=0.55, label="seen")
    above.plot(mean[1], color=figures.EXACT, linewidth=3, label="mean")
    above.plot(predictions[1], color=figures.LEARNED, linewidth=1.8, label="prediction")
    middle, reach = mean[1].mean().item(), max(5.0, 0.75 * (mean[1].max() - mean[1].min()).item())
    above.set(
        xlabel="row",
        title=f"rate {rate:.2g}, drift {drift:.2g}",
        ylim=(min(middle - reach, -0.5), middle + 1.35 * reach),
    )
    above.legend(ncols=3, loc="upper center", fontsize=9.5, columnspacing=1, handlelength=1.4)
    steps = torch.arange(n, dtype=torch.float64)
    settled = tracking_error(rate, drift**2)
    exact = settled + (9 - settled) * (1 - rate) ** (2 * steps)
    below.plot(steps, exact, color=figures.EXACT, linewidth=4, label="exact")
    below.plot((predictions - mean).square().mean(0), color=figures.LEARNED, linewidth=1.6, label="measured")
    if drift > 0:
        best = tracking_error(best_rate(drift**2), drift**2)
        below.axhline(best, color=figures.INK, linestyle="--", linewidth=1.3, label="best rate, settled")
    below.set(yscale="log", ylim=(0.001, 60), xlabel="row", title="squared error over time")
    below.legend(fontsize=9.5, loc="lower left")
    return figures.describe(figure, TRACKER_ALT)


# --- task after task ----------------------------------------------------------------------------------------------


@dataclass
class TaskRuns:
    """What networks did on task after task, under each way to begin a new one.

    Attributes:
        accuracy: of each task, way and network, mean over its batches, each scored before it was learned.
        first: the same for the first pass through the points alone.
        silent: share of hidden neurons that are 0 for every point at the end of a task, mean over networks.
        ways: their names.
    """

    accuracy: Float[Tensor, "tasks ways networks"]
    first: Float[Tensor, "tasks ways networks"]
    silent: Float[Tensor, "tasks ways"]
    ways: tuple[str, ...]

    def late(self, way: str, share: float = 0.25) -> Float[Tensor, " networks"]:
        """Mean accuracy of each network over the last tasks."""
        last = max(1, round(share * len(self.accuracy)))
        return self.accuracy[-last:, self.ways.index(way)].mean(0)


def relabelled(
    tasks: int, change: Number, generator: torch.Generator, networks: int = NETWORKS
) -> tuple[Float[Tensor, "networks n p"], Int[Tensor, "tasks networks n"]]:
    """The same points in each task; in each new one about a share `change` of them gets a new label, drawn evenly."""
    require_count("tasks", tasks, 1)
    require_in("change", change, "[0, 1]")
    device = generator.device
    points = torch.randn(networks, POINTS, INPUTS, generator=generator, device=device)
    labels = [torch.randint(CLASSES, (networks, POINTS), generator=generator, device=device)]
    for _ in range(tasks - 1):
        new = torch.randint(CLASSES, (networks, POINTS), generator=generator, device=device)
        changed = torch.rand(networks, POINTS, generator=generator, device=device) < change
        labels.append(torch.where(changed, new, labels[-1]))
    return points, torch.stack(labels)


def task_after_task(
    ways: Mapping[str, Reset],
    change: Number,
    generator: torch.Generator,
    *,
    tasks: int = 20,
    lr: Number = 0.3,
    networks: int = NETWORKS,
) -> TaskRuns:
    """Small perceptrons learn 16 points by heart, task after task, and begin each new task by some reset.

    Every way starts from the same networks and meets the same batches. Plain gradient descent, one step a batch.

    Args:
        ways: by name, (theta, start, fresh) -> theta: all weights as they are, as they were drawn, and drawn anew.
        change: share of the points with a new label in a new task.
        generator: of all draws, on the CPU.
        tasks: one after the other.
        lr: learning rate.
        networks: of each way.
    """
    require(len(ways) > 0, "ways", "empty", "at least one")
    points, labels = relabelled(tasks, change, generator, networks)
    count = len(ways)
    drawn = StackedMLP(networks, INPUTS, CLASSES, WIDTH, generator=generator)
    model = StackedMLP(count * networks, INPUTS, CLASSES, WIDTH)
    with torch.no_grad():
        for own, each in zip(model.parameters(), drawn.parameters()):
            own.copy_(each.repeat(count, *[1] * (each.ndim - 1)))
    trainer = OnlineSGD(model, lr, runs=count * networks)
    start = trainer.theta[:networks].clone()
    accuracy, silent = [], []
    for task in range(tasks):
        if task:
            drawn.reset_parameters(generator)
            fresh = torch.cat([each.detach().flatten(1) for each in drawn.parameters()], 1)
            for part, reset in zip(trainer.theta.split(networks), ways.values()):
                part.copy_(reset(part.clone(), start, fresh))
        order = torch.rand(PASSES, networks, POINTS, generator=generator).argsort(-1).transpose(0, 1).flatten(1)
        shown = points.gather(1, order[..., None].expand(-1, -1, INPUTS)), labels[task].gather(1, order)
        *_, trace = follow(trainer, batches(*shown, BATCH, count), PASSES * POINTS // BATCH)
        accuracy.append(trace.accuracy.unflatten(0, (PASSES, -1)).mean(1).unflatten(1, (count, networks)))
        with torch.no_grad():
            hidden = model.activations(points.repeat(count, 1, 1))[:-1]
        silent.append([silent_share([one[i] for one in hidden]) for i in range(count * networks)])
    passes = torch.stack(accuracy)
    shares = torch.tensor(silent).unflatten(1, (count, networks)).mean(2)
    return TaskRuns(passes.mean(1), passes[:, 0], shares, tuple(ways))


def tasks_figure(runs: Mapping[str, TaskRuns]) -> figures.Picture:
    """Accuracy task by task, one panel for each stream, and the share of silent neurons in the first of them."""
    figure, axes = figures.panels(len(runs) + 1, size=(3.5, 3.5))
    for panel, (title, found) in zip(axes, runs.items()):
        for place, way in enumerate(found.ways):
            rows = found.accuracy[:, place]
            numbers = range(1, len(rows) + 1)
            panel.plot(numbers, rows.mean(1), color=COLOURS.get(way), label=way)
            panel.fill_between(numbers, rows.amin(1), rows.amax(1), color=COLOURS.get(way), alpha=0.1, linewidth=0)
        panel.axhline(1 / CLASSES, color=figures.EXACT, linestyle=":", linewidth=1.4)
        panel.set(xlabel="task", title=title, ylim=(0, 1.02))
    axes[0].set_ylabel("accuracy before learning")
    first = next(iter(runs.values()))
    for place, way in enumerate(first.ways):
        axes[-1].plot(range(1, len(first.silent) + 1), first.silent[:, place], color=COLOURS.get(way))
    axes[-1].set(xlabel="task", ylabel="share of silent neurons", title="all labels drawn again", ylim=(0, 1.02))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(first.ways))
    alt = "Where all labels are drawn again, a network that is never reset falls towards guessing while its neurons go silent; with any reset it keeps its level. Where a quarter of the labels are, the network that is never reset is best, and a hard reset costs most."
    return figures.describe(figure, alt)

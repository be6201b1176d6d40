"""What lesson 07 shows beside its cells: accuracy task by task, gamma in time, what the network has become, and the stored
comparisons. Changing a view makes no result stale."""

import time
from statistics import mean, median
from typing import Any

import torch
from IPython.display import Markdown
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from companion.data.images import fashion
from companion.data.streams import flight_days
from companion.foundations.stacks import StackedMLP, StreamTrainer
from companion.foundations.validation import Number
from companion.teaching import figures, progress, results
from companion.teaching.lessons.kalman_bench import BLOCK
from companion.teaching.lessons.plasticity import BATCH, KINDS, StreamName, Trace, batches, follow
from companion.teaching.results import percent
from companion.teaching.widgets.plasticity import RandomLabels, random_label_points, silent_share

NAMES = {
    "layer norm": "SGD, layer norm",
    "hard reset": "hard reset, told when",
    "soft reset": "soft reset, γ per layer",
    "soft reset, one gamma": "soft reset, one γ",
    "soft reset, gamma per weight": "soft reset, γ per weight",
    "soft reset, proximal": "soft reset, proximal, 3 updates",
    "online SGD": "SGD",
}
LINES = {
    "online SGD": (figures.RIVAL, "-"),
    "hard reset": (figures.EXACT, "--"),
    "shrink & perturb": (figures.FOURTH, "-"),
    "layer norm": (figures.INK, ":"),
    "L2-init": (figures.THIRD, "-"),
    "soft reset": (figures.LEARNED, "-"),
}
LAYERS = {"layers.0": figures.LEARNED, "layers.1": figures.THIRD, "layers.2": figures.FOURTH}


# --- what the widgets start from ------------------------------------------------------------------------------------


def small_tasks(tasks: int = 30) -> tuple[RandomLabels, StackedMLP]:
    """32 points under new random labels again and again, and a perceptron 8-24-24-4 for each labelling."""
    generator = torch.Generator().manual_seed(0)
    return random_label_points(tasks, generator=generator), StackedMLP(tasks, 8, 4, 24, generator=generator)


# --- live runs ----------------------------------------------------------------------------------------------------


def tasks_figure(traces: dict[str, Trace], tasks: int) -> figures.Picture:
    """Accuracy before learning, task by task."""
    figure, (axes,) = figures.panels(1, size=(7.2, 3.0))
    for kind, trace in traces.items():
        colour, style = LINES[kind]
        axes.plot(range(1, tasks + 1), trace.by_task(tasks)[:, 0], style, color=colour, label=NAMES.get(kind, kind))
    mark_chance(axes)
    axes.set(xlabel="task", ylabel="accuracy before learning", ylim=(0, 0.85))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "Accuracy in each task. With SGD it falls from about one half in the first tasks to little more than guessing. A network that is drawn anew for each task keeps one level throughout."
    return figures.describe(figure, alt)


def mark_chance(axes: Axes, chance: Number = 0.1) -> None:
    axes.axhline(chance, color=figures.EXACT, linestyle=":", linewidth=1.4, zorder=0)


def gamma_figure(trace: Trace, steps: int, tasks: int = 4, first: int = 1) -> figures.Picture:
    """1 - gamma of each layer over some tasks, and the accuracy of the batches."""
    figure, (above, below) = figures.panels(1, rows=2, size=(7.6, 2.2), sharex=True)
    shown = slice(first * steps, (first + tasks) * steps)
    places = torch.arange(shown.start, shown.stop)
    for place, (name, colour) in enumerate(LAYERS.items()):
        above.plot(places, 1 - trace.gamma[name][shown, 0], color=colour, linewidth=1.5, label=f"layer {place + 1}")
    above.set(ylabel="1 − γ", ylim=(0, None), title="How far each layer goes back before a batch")
    above.legend(loc="upper left", bbox_to_anchor=(1, 1))
    below.plot(places, trace.accuracy[shown, 0], color=figures.LEARNED, linewidth=1.2)
    below.set(xlabel="batch", ylabel="accuracy", ylim=(0, 1.02), title="Before learning it")
    for axes in (above, below):
        for change in range(shown.start, shown.stop + 1, steps):
            axes.axvline(change, color=figures.EXACT, linewidth=0.9, alpha=0.7, zorder=0)
    alt = "One minus gamma is near zero within tasks. At the first batch of each new task it leaps up, mostly in the last layer, and falls back within a few batches. The accuracy drops to guessing there and climbs again."
    return figures.describe(figure, alt)


def inside_table(trainers: dict[str, StreamTrainer], rows: Float[Tensor, "n p"]) -> Markdown:
    """What a network has become: silent neurons, effective rank of the last hidden layer, size of its weights."""
    lines = ["| after the last task | silent neurons, % | effective rank | size of the weights |", "|:--|--:|--:|--:|"]
    for kind, trainer in trainers.items():
        hidden = [each[0] for each in trainer.model.activations(rows[None])[:-1]]
        size = torch.cat([layer.weight.detach().flatten() for layer in trainer.model.layers]).square().mean().sqrt()
        name = NAMES.get(kind, kind)
        lines.append(f"| {name} | {100 * silent_share(hidden):.0f} | {effective_rank(hidden[-1]):.1f} | {size:.2f} |")
    return Markdown("\n".join(lines))


def effective_rank(features: Float[Tensor, "n width"]) -> float:
    """exp of the entropy of the singular values, as parts of their sum; 0 where all features are."""
    found = torch.linalg.svdvals(features.detach().double())
    total = found.sum()
    return torch.special.entr(found / total).sum().exp().item() if total > 0 else 0.0


# --- stored comparisons -------------------------------------------------------------------------------------------


def rows_of(name: StreamName) -> dict[str, Any]:
    """All kinds on one stream."""
    return results.load(f"07_{name}")["rows"]


def chosen(kind: str, name: StreamName = "labels") -> dict[str, Number]:
    """The setting that a kind was given on a stream."""
    return rows_of(name)[kind]["chosen"]


def values(name: StreamName, kind: str, what: str = "accuracy") -> list[Number]:
    """Of each seed."""
    return rows_of(name)[kind][what]


def ahead(name: StreamName, kind: str, other: str, what: str = "accuracy") -> list[float]:
    """For each seed by how much one kind is above another."""
    return [one - two for one, two in zip(values(name, kind, what), values(name, other, what))]


def words(kind: str) -> str:
    """What a kind is called in tables, in bold for the methods of the lesson."""
    name = NAMES.get(kind, kind)
    return f"**{name}**" if kind.startswith("soft reset") else name


def rivals_table() -> Markdown:
    """Accuracy before learning on both streams, medians over five seeds with half of their range; costs beside it."""
    costs = results.load("07_costs")
    stored: dict[StreamName, Any] = {name: rows_of(name) for name in ("labels", "permuted")}
    lines = [
        "| gradients a batch | | random labels, % | last ten tasks | permuted pixels, % | ms a batch |",
        "|--:|:--|--:|--:|--:|--:|",
    ]
    order = sorted(KINDS, key=lambda kind: (KINDS[kind].gradients, median(stored["labels"][kind]["accuracy"])))
    for kind in order:
        row, other = stored["labels"][kind], stored["permuted"][kind]
        cells = [percent(row["accuracy"]), f"{100 * median(row['late']):.1f}", percent(other["accuracy"])]
        lines.append(f"| {KINDS[kind].gradients} | {words(kind)} | {' | '.join(cells)} | {costs[kind]:.2f} |")
    return Markdown("\n".join(lines))


def curves_figure() -> figures.Picture:
    """Accuracy task by task, means of five seeds, on both streams."""
    figure, axes = figures.panels(2, size=(4.6, 3.4))
    for panel, name, title in zip(axes, ("labels", "permuted"), ("random labels", "permuted pixels")):
        for kind, (colour, style) in LINES.items():
            curve = rows_of(name)[kind]["curve"]
            panel.plot(range(1, len(curve) + 1), curve, style, color=colour, label=NAMES.get(kind, kind))
        panel.set(xlabel="task", title=title)
    mark_chance(axes[0])
    axes[0].set(ylabel="accuracy before learning", ylim=(0, 0.8))
    axes[1].set(ylim=(0.6, 0.85))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    alt = "Random labels: SGD falls from one half to little more than guessing, the others but layer norm keep their level, and soft reset's is the highest of these lines. Permuted pixels: all lie close together."
    return figures.describe(figure, alt)


def rates_figure() -> figures.Picture:
    """Accuracy on random labels as the step of gamma, or the pull of L2-init, is moved away from its best."""
    stored = results.load("07_rates")
    figure, (axes,) = figures.panels(1, size=(6.0, 3.2))
    for kind, label in (("soft reset", "soft reset: step of γ"), ("L2-init", "L2-init: strength of the pull")):
        figures.band(axes, stored["factors"], stored["rows"][kind], LINES[kind][0], label)
    axes.set(xscale="log", xlabel="times the tuned setting", ylabel="accuracy before learning", ylim=(0, 0.8))
    axes.set_xticks([1 / 32, 1 / 8, 1 / 2, 2, 8, 32], ["1/32", "1/8", "1/2", "2", "8", "32"])
    axes.minorticks_off()
    axes.legend(loc="lower center")
    return figures.describe(figure, "Both curves have a maximum near one and fall to both sides.")


def by_age_figure() -> figures.Picture:
    """Mean gamma of each layer by the number of batches since a change, over five seeds."""
    figure, axes = figures.panels(2, size=(4.4, 2.8), sharey=True)
    for panel, name, title in zip(axes, ("labels", "permuted"), ("random labels", "permuted pixels")):
        for place, (layer, colour) in enumerate(LAYERS.items()):
            gamma = torch.tensor(rows_of(name)["soft reset"]["gamma by age"][layer])
            panel.plot(range(1, 31), 1 - gamma[:30], color=colour, label=f"layer {place + 1}")
        panel.set(xlabel="batches since a change", title=title)
    axes[0].set(ylabel="mean of 1 − γ", ylim=(0, None))
    axes[1].legend()
    return figures.describe(
        figure,
        "One minus gamma is largest in the first batch after a change. On random labels it falls to zero in ten batches, with permuted pixels in five, and from less.",
    )


def elsewhere_table() -> Markdown:
    """The settings for permuted digits on streams that they were not tuned for."""
    stored = results.load("07_elsewhere")["rows"]
    lines = [
        "| settings of the permuted stream | nothing changes, % | two permutations take turns, % |",
        "|:--|--:|--:|",
    ]
    for kind in sorted(KINDS, key=lambda kind: median(stored["still"][kind])):
        if KINDS[kind].gradients < 4:
            lines.append(f"| {words(kind)} | {percent(stored['still'][kind])} | {percent(stored['returning'][kind])} |")
    return Markdown("\n".join(lines))


# --- flights ------------------------------------------------------------------------------------------------------


def flights_table() -> Markdown:
    """The flights after the first 10,000: log-loss, right answers, and how far each is from soft reset."""
    rows = results.load("07_flights")["rows"]
    lines = ["| | log-loss | right, % | log-loss minus that of soft reset, by days |", "|:--|--:|--:|--:|"]
    for kind, row in sorted(rows.items(), key=lambda each: -median(each[1]["loss"])):
        apart = "" if kind == "soft reset" else f"{row['apart']:+.4f} ± {row['error']:.4f}"
        lines.append(f"| {words(kind)} | {median(row['loss']):.4f} | {100 * median(row['accuracy']):.1f} | {apart} |")
    return Markdown("\n".join(lines))


def flights_figure() -> figures.Picture:
    """What gamma did over the year, in means of 200 flights."""
    gamma = torch.tensor(results.load("07_flights")["rows"]["soft reset"]["gamma"])
    days = flight_days()[:: 20 * BLOCK][: len(gamma)]
    figure, (axes,) = figures.panels(1, size=(7.4, 2.2))
    axes.plot(days, 1 - gamma, color=figures.LEARNED, linewidth=1.4)
    axes.set(xlabel="day of 2013", ylabel="mean of 1 − γ", ylim=(0, None))
    return figures.describe(figure, "One minus gamma through the year.")


# --- at GPU size --------------------------------------------------------------------------------------------------


def large_run(device: torch.device | str, seed: int, tasks: int = 10, images: int = 1200, epochs: int = 30) -> str:
    """Fashion images under new random labels, learned by heart by networks 1024-1024-1024-10: SGD and soft reset.

    Saved under `runs/` after each task; if it is stopped, it goes on from there. Speeds are those of this call.
    """
    generator = torch.Generator(device).manual_seed(seed)
    chosen_images = fashion("train").images[:images].flatten(1).to(device)
    order = torch.stack([torch.randperm(images, generator=generator, device=device) for _ in range(tasks * epochs)])
    names = torch.randint(10, (tasks, images), generator=generator, device=device).repeat_interleave(epochs, 0)
    features, labels = chosen_images[order.flatten()][None], names.gather(1, order).flatten()[None]
    path = progress.RUNS / f"07-{tasks}-{images}-{epochs}-{generator.device.type}-seed{seed}.pt"
    saved, steps = progress.load(path) or {}, images * epochs // BATCH
    lines = ["| | accuracy before learning, % | in the last task | batches a second |", "|:--|--:|--:|--:|"]
    for kind, settings in {"online SGD": {"lr": 0.05}, "soft reset": {"lr": 0.1, "drift_lr": 1e-4}}.items():
        model = StackedMLP(1, features.shape[-1], 10, 1024, generator=generator)
        trainer = KINDS[kind].make(model, **settings, runs=1, generator=generator)
        accuracy = []
        if kind in saved:
            accuracy = saved[kind]["accuracy"]
            model.load_state_dict(saved[kind]["model"])
            generator.set_state(saved[kind]["generator"])
        first, began = len(accuracy), time.perf_counter()
        for task in range(first, tasks):
            rows = slice(task * images * epochs, (task + 1) * images * epochs)
            *_, trace = follow(trainer, batches(features[:, rows], labels[:, rows], BATCH), steps, progress=True)
            accuracy = [*accuracy, trace.accuracy.mean().item()]
            saved[kind] = {"accuracy": accuracy, "model": model.state_dict(), "generator": generator.get_state()}
            progress.save(saved, path)
        speed = (tasks - first) * steps / (time.perf_counter() - began)
        lines.append(f"| {words(kind)} | {100 * mean(accuracy):.1f} | {100 * accuracy[-1]:.1f} | {speed:.0f} |")
    path.unlink(missing_ok=True)
    return "\n".join(lines)

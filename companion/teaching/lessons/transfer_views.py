"""What lesson 09 shows beside its cells: the tasks, the filters, and the stored comparisons. Changing a view makes no result
stale."""

import time
from collections.abc import Sequence
from functools import partial
from statistics import mean, median
from typing import Any

import torch
from IPython.display import Markdown
from jaxtyping import Float
from torch import Tensor

from companion.data.pictures import CLOTHES, GLYPHS, SHAPES, TEXTURES, Task, classes_of, pictures
from companion.foundations.linear import ridge
from companion.foundations.validation import Number
from companion.methods.pruning import SGD, accuracy_compute_curve, count_flops, prune_filters
from companion.teaching import figures, results
from companion.teaching.lessons.compute_optimal_transfer import (
    KINDS,
    SMALL_STEPS,
    TARGETS,
    UPSTREAM_BATCH,
    UPSTREAM_STEPS,
    Setting,
    best_curve,
    tasks_of,
)
from companion.teaching.lessons.lite import stored_features
from companion.teaching.lessons.pretrained import SHARES, mixed_batch, pretrained
from companion.teaching.results import percent
from companion.teaching.session import Session

GIGA = 1e9
GUESSING = 0.12  # mean over the tasks: five of ten classes, one of eight, one of eight, one of five
GARMENTS = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
NAMES = {
    "other_letters": "letters, other fonts",
    "greek": "Greek",
    "cyrillic": "Cyrillic",
    "symbols": "signs of mathematics",
    "digits": "handwritten digits",
    "other_clothes": "other clothes",
    "other_shapes": "other shapes",
    "other_textures": "other textures",
}
STYLES = {
    "dense": (figures.EXACT, "s-"),
    "L2 0.5": ("#56b4e9", "o-"),
    "L2 0.75": (figures.LEARNED, "o-"),
    "L2 0.9": ("#003f63", "o-"),
    "random 0.5": ("#f0a35e", "^--"),
    "random 0.75": (figures.RIVAL, "^--"),
    "scratch": (figures.INK, "x:"),
    "scratch 0.75": (figures.THIRD, "v:"),
    "small": ("#7a7a00", "P-"),
    "probe": (figures.INK, "*-."),
    "probe, dense": (figures.FOURTH, "D-"),
    "probe, L2 0.75": ("#d98ccf", "D--"),
}


# --- pictures -----------------------------------------------------------------------------------------------------


def tasks_figure(session: Session, columns: int = 24) -> figures.Picture:
    """A row of pictures of each family: those of pretraining above, the tasks' below."""
    generator = session.generator(21, "cpu")
    figure, (above, below) = figures.panels(1, rows=2, size=(7.4, 2.2), height_ratios=[len(SHARES), len(TARGETS)])
    for axes, families, title in ((above, tuple(SHARES), "learned at length"), (below, TARGETS, "met with few labels")):
        labels = [torch.randperm(classes_of(name), generator=generator).repeat(columns)[:columns] for name in families]
        drawn = torch.cat([pictures(name, own, "train", generator) for name, own in zip(families, labels)])
        figures.image_grid(axes, -drawn.clamp(-2, 2) / 2, columns, title)
    alt = "Two sheets of small grey pictures. Above, a row each of printed letters, printed digits, shapes, textures and clothes. Below, letters of other fonts, Greek, Cyrillic, signs, handwritten digits, other clothes, other shapes and other textures."
    return figures.describe(figure, alt)


def samples(session: Session) -> tuple[Float[Tensor, "n 1 16 16"], list[str]]:
    """A few pictures of the classes that the networks learned, and what they are."""
    chosen = {"letters": (0, 6, 17, 27), "print": (3, 8), "shapes": (1, 5), "textures": (2,), "clothes": (1, 4)}
    generator = session.generator(22, "cpu")
    drawn = [pictures(family, torch.tensor(places), "test", generator) for family, places in chosen.items()]
    names = [name_of(family, place) for family, places in chosen.items() for place in places]
    return torch.cat(drawn), names


def name_of(family: str, place: int) -> str:
    """What a class of a family of pretraining is called."""
    if family in GLYPHS:
        return GLYPHS[family][0][place]
    return {"shapes": SHAPES, "clothes": [GARMENTS[each] for each in CLOTHES]}.get(
        family, [f"texture {each + 1}" for each in range(TEXTURES)]
    )[place]


def class_names() -> list[str]:
    """The classes of pretraining, in the order of the networks' outputs."""
    return [name_of(family, place) for family in SHARES for place in range(classes_of(family))]


def calibration(session: Session, n: int = 256) -> Float[Tensor, "n 1 16 16"]:
    """Pictures of pretraining without their labels."""
    return mixed_batch(n, "train", session.generator(23, "cpu"))[0].to(session.device)


# --- what is left before tuning -----------------------------------------------------------------------------------


def left(network: str = "strong") -> dict[str, dict[str, dict[str, list[float]]]]:
    """Accuracy on the learned classes, by criterion, ratio and kind of statistics, for each seed."""
    return results.load("09_upstream")["rows"][network]


def norms_figure() -> figures.Picture:
    """The norms of all hidden filters, sorted and in units of the largest of the block, of a network that was trained with a strong penalty and of one with a weak one."""
    stored = results.load("09_upstream")["norms"]
    figure, axes = figures.panels(2, size=(4.0, 3.0), sharey=True)
    for panel, (network, title) in zip(axes, (("strong", "strong penalty"), ("weak", "weak penalty"))):
        for place, norms in enumerate(stored[network]):
            share = [(rank + 0.5) / len(norms) for rank in range(len(norms))]
            panel.plot(
                share, [norm / max(norms) for norm in norms], color=figures.CYCLE[place], label=f"block {place + 1}"
            )
        panel.set(xlabel="share of the filters", title=title, ylim=(0, None))
    axes[0].set(ylabel="norm, the largest = 1")
    axes[0].legend()
    alt = "Filter norms, the largest first. With the strong penalty they fall towards zero, in the last block for half of the filters, in the first for hardly any. With the weak penalty most filters of a block are within a third of each other."
    return figures.describe(figure, alt)


def left_figure() -> figures.Picture:
    """Accuracy on the learned classes against the ratio, before any tuning."""
    figure, axes = figures.panels(2, size=(4.1, 3.3), sharey=True)
    lines = {"l2": (figures.LEARNED, "weakest cut"), "random": (figures.RIVAL, "cut at random")}
    for panel, (network, title) in zip(axes, (("strong", "strong penalty"), ("weak", "weak penalty"))):
        for criterion, (colour, label) in lines.items():
            rows = left(network)[criterion]
            ratios = [float(ratio) for ratio in rows]
            figures.band(panel, ratios, [row["estimated"] for row in rows.values()], colour, label)
            kept = [median(row["kept"]) for row in rows.values()]
            old = f"{label}, old statistics"
            panel.plot(ratios, kept, "o:", markersize=4, color=colour, linewidth=1.4, label=old)
        panel.set(xlabel="share that is cut", title=title, ylim=(0, 1))
    axes[0].set(ylabel="right, of 68 classes")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "Accuracy against the share that is cut. Strong penalty: with new statistics, half of the filters go for one to three points if the weakest go, and cost half of the accuracy if chosen at random; with the old statistics a random cut loses most at once. Weak penalty: the two are closer."
    return figures.describe(figure, alt)


def right(model: torch.nn.Module, session: Session, n: int = 600) -> float:
    """Share of right answers on held-out pictures of the learned classes."""
    images, labels = (each.to(session.device) for each in mixed_batch(n, "test", session.generator(24, "cpu")))
    with torch.no_grad():
        return (model.eval()(images).argmax(1) == labels).double().mean().item()


# --- curves -------------------------------------------------------------------------------------------------------


def curves() -> dict[str, Any]:
    """The stored comparison."""
    return results.load("09_curves")


def budgets() -> list[float]:
    """In operations."""
    return curves()["budgets"]


def accuracies(kind: str, budget: Number, target: str | None = None) -> list[float]:
    """For each seed the accuracy at a budget, the mean over the tasks or that on one."""
    place = budgets().index(budget)
    rows = curves()["rows"][kind]["accuracy"]
    return [task_mean(row, place) if target is None else row[TARGETS.index(target)][place] for row in rows]


def task_mean(row: Sequence[Sequence[float]], place: int) -> float:
    """Mean over tasks at one budget."""
    return mean(each[place] for each in row)


def gains(kind: str, budget: Number, base: str = "dense", target: str | None = None) -> list[float]:
    """For each seed the relative gain in accuracy, over another way at the same budget."""
    pairs = zip(accuracies(kind, budget, target), accuracies(base, budget, target))
    return [one / other - 1 for one, other in pairs]


def affordable(kind: str) -> list[float]:
    """The budgets that buy an update, or a fitted head."""
    if not KINDS[kind].tuned or KINDS[kind].head == "probe":
        return [budget for budget, spent in zip(budgets(), curves()["rows"][kind]["spent"]) if spent > 0]
    return [budget for budget, steps in zip(budgets(), curves()["rows"][kind]["steps"]) if steps > 0]


def chosen(kind: str) -> list[Setting]:
    """The settings that a kind was given, one for each budget."""
    return curves()["rows"][kind]["chosen"]


def curves_figure(kinds: Sequence[str], title: str = "") -> figures.Picture:
    """Accuracy against compute, medians over five seeds with their range; each from the first budget that buys an update."""
    figure, (axes,) = figures.panels(1, size=(8.8, 3.9))
    for kind in kinds:
        colour, line = STYLES[kind]
        places = affordable(kind)
        rows = [accuracies(kind, budget) for budget in places]
        shown = [budget / GIGA for budget in places]
        axes.plot(shown, [median(row) for row in rows], line, color=colour, markersize=5, label=KINDS[kind].words)
        low, high = [min(row) for row in rows], [max(row) for row in rows]
        axes.fill_between(shown, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.axhline(GUESSING, color=figures.EXACT, linestyle=":", linewidth=1.2, zorder=0)
    axes.set(xscale="log", xlabel="training compute for a task, GFLOP", ylabel="right, mean of 8 tasks", title=title)
    axes.set_xticks([budget / GIGA for budget in budgets()], [f"{budget / GIGA:g}" for budget in budgets()])
    axes.minorticks_off()
    axes.grid(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "Accuracy against training compute, with a logarithmic axis, for: " + "; ".join(KINDS[k].words for k in kinds)
    return figures.describe(figure, f"{alt}. Lines rise and level off; the smaller a network, the earlier.")


def budget_table(kinds: Sequence[str], shown: Sequence[float] | None = None) -> Markdown:
    """Percent right at some budgets, medians over five seeds with half of their range; cost and setting beside them."""
    shown = budgets() if shown is None else shown
    heads = " | ".join(f"{budget / GIGA:g}" for budget in shown)
    lines = [
        f"| % right, at GFLOP | {heads} | MFLOP a picture |",
        "|:--|" + "--:|" * (len(shown) + 1),
    ]
    for kind in kinds:
        row = curves()["rows"][kind]
        cells = [percent(accuracies(kind, budget), 0) if budget in affordable(kind) else "–" for budget in shown]
        lines.append(f"| {KINDS[kind].words} | {' | '.join(cells)} | {row['flops']['picture'] / 1e6:.1f} |")
    return Markdown("\n".join(lines))


def targets_table(kinds: Sequence[str], budget: Number) -> Markdown:
    """Percent right on each task at one budget, medians over five seeds."""
    lines = ["| | " + " | ".join(KINDS[kind].words for kind in kinds) + " |", "|:--|" + "--:|" * len(kinds)]
    for target in TARGETS:
        cells = [f"{100 * median(accuracies(kind, budget, target)):.0f}" for kind in kinds]
        lines.append(f"| {NAMES[target]} | {' | '.join(cells)} |")
    return Markdown("\n".join(lines))


def further_table(kinds: Sequence[str], low: Number, high: Number) -> Markdown:
    """Ways that go on with pretraining: what that costs, and what it is worth at two budgets."""
    lines = [
        f"| way | GFLOP before the first task | % right at {low / GIGA:g} GFLOP | at {high / GIGA:g} |",
        "|:--|--:|--:|--:|",
    ]
    for kind in kinds:
        cost = curves()["rows"][kind]["flops"]["upstream"] / GIGA
        lines.append(
            f"| {KINDS[kind].words} | {cost:.0f} | {percent(accuracies(kind, low), 0)} | {percent(accuracies(kind, high), 0)} |"
        )
    return Markdown(
        "\n".join(lines)
        + f"\n\n{UPSTREAM_STEPS} further steps of {UPSTREAM_BATCH} pictures, the best of three or four settings; "
        + f"small from the start: {SMALL_STEPS} steps, as many as the whole network took."
    )


def ways(kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Kinds for `live_curves`, by their words."""
    groups = {"filters": "pruned", "random": "random", "no": "whole", "channels": "other"}
    found = {}
    for kind in kinds:
        row, way = curves()["rows"][kind], KINDS[kind]
        group = "scratch" if way.network == "untrained" else groups.get(way.cut, "other")
        group = "head first" if way.head == "probe" else group
        found[way.words] = {"accuracy": row["accuracy"], "steps": row["steps"] if way.tuned else None, "group": group}
        if way.head == "probe":
            found[way.words]["spent"] = row["spent"]
    return found


def costs_table() -> Markdown:
    """Operations and CPU time of a step on 32 pictures, for each ratio."""
    rows = results.load("09_costs")
    whole = rows["0.0"]
    lines = [
        "| filters cut | MFLOP a step | of the whole | ms a step, one thread | of the whole |",
        "|--:|--:|--:|--:|--:|",
    ]
    for ratio, row in rows.items():
        shares = [row[name] / whole[name] for name in ("flops", "milliseconds")]
        lines.append(
            f"| {float(ratio):.0%} | {row['flops'] / 1e6:.0f} | {shares[0]:.2f} | {row['milliseconds']:.1f} | {shares[1]:.2f} |"
        )
    return Markdown("\n".join(lines))


# --- EfficientNet-lite0 -------------------------------------------------------------------------------------------


def lite_table() -> Markdown:
    """Percent right on ten kinds of clothes at each budget, medians over five seeds with half of their range; and of a head on the
    features that are stored, fitted now."""
    stored, heads_alone = results.load("09_lite"), lite_heads()
    heads = " | ".join(f"{budget / GIGA:g} GFLOP" for budget in stored["budgets"])
    lines = [f"| filters cut | GFLOP a step of 16 | {heads} |", "|--:|--:|" + "--:|" * len(stored["budgets"])]
    for ratio, row in stored["rows"].items():
        cells = [percent(found, 0) for found in zip(*row["accuracy"])]
        lines.append(f"| {float(ratio):.0%} | {16 * row['flops']['training'] / GIGA:.1f} | {' | '.join(cells)} |")
    lines += ["", "Frozen, with a head fitted to the features of seed 0's pictures just now:"]
    lines += [
        f"{words}, {100 * heads_alone[name]:.0f} % right;"
        for name, words in (("whole", "whole"), ("cut", "a quarter cut"))
    ]
    return Markdown("\n".join(lines)[:-1] + ".")


def lite_heads() -> dict[str, float]:
    """Share of right answers of a ridge regression on what the frozen network says, whole and cut, fitted now."""
    stored, found = stored_features(), {}
    targets = torch.nn.functional.one_hot(stored["labels_train"], 10).double()
    for name in ("whole", "cut"):
        train, test = (stored[f"{name}_{split}"].double() for split in ("train", "test"))
        middle = train.mean(0)
        weights = ridge(train - middle, targets - targets.mean(0), 0.1 * train.var(0).sum().item())
        told = (test - middle) @ weights + targets.mean(0)
        found[name] = (told.argmax(1) == stored["labels_test"]).double().mean().item()
    return found


# --- live ---------------------------------------------------------------------------------------------------------


def live_curve(
    kind: str, model: torch.nn.Module, task: Task, session: Session, until: Number
) -> list[tuple[float, float]]:
    """Budget in GFLOP and accuracy of one way on one task, run now, with the settings that are stored for each budget."""
    allowed = [budget for budget in budgets() if budget <= until]
    (points,) = best_curve(kind, chosen(kind)[: len(allowed)], model, [task], session, allowed)
    return [(point.budget / GIGA, point.accuracy) for point in points if point.steps]


# --- at GPU size --------------------------------------------------------------------------------------------------


def large_run(session: Session, ratios: Sequence[float] = (0.0, 0.5, 0.75)) -> str:
    """A network sixteen times as wide and more, trained on the GPU, at three ratios and equal compute."""
    model = pretrained("full", session)
    example = torch.zeros(1, 1, 16, 16, device=session.device)
    tasks = [
        task._replace(
            train=type(task.train)(*(each.to(session.device) for each in task.train)),
            test=type(task.test)(*(each.to(session.device) for each in task.test)),
        )
        for task in tasks_of(session.seed)
    ]
    whole = count_flops(model, example, training=True)
    allowed = [32 * whole * power for power in (2, 8, 32)]
    lines = [
        "| filters cut | GFLOP a step | % right at 2, 8 and 32 steps' worth of the whole network | seconds |",
        "|--:|--:|:--|--:|",
    ]
    for ratio in ratios:
        began = time.perf_counter()
        smaller = prune_filters(model, ratio, example=example)
        generator = session.generator(100)
        points = list(accuracy_compute_curve(smaller, tasks, allowed, partial(SGD, lr=0.02), generator=generator))
        right = [
            f"{100 * mean(p.accuracy for p in points[place :: len(allowed)]):.0f}" for place in range(len(allowed))
        ]
        cost = 32 * count_flops(smaller, example, training=True) / GIGA
        lines.append(f"| {ratio:.0%} | {cost:.2f} | {', '.join(right)} | {time.perf_counter() - began:.0f} |")
    return "\n".join(lines)

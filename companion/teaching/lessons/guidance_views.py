"""What lesson 03 shows beside its cells: classes in colour, weights as heat maps, and the stored comparisons.

Changing a view does not make a stored result stale.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import torch
from IPython.display import Markdown
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import Tensor
from tqdm.auto import tqdm

from companion.foundations.conditional import LabelledMixture
from companion.foundations.validation import Number
from companion.methods.guidance import Reward, Schedule
from companion.teaching import figures, results
from companion.teaching.lessons.learned_guidance import Model, TiltedLaw, against_tilt, exam, learned_weights
from companion.teaching.session import Session

CLASSES = (figures.LEARNED, figures.RIVAL, figures.THIRD, figures.FOURTH)
MARKS = ("o", "s", "^", "D")
BASES = {
    "exact": ("the exact model", figures.EXACT),
    "long": ("fine-tuned to the end", figures.THIRD),
    "short": ("fine-tuned briefly", figures.LEARNED),
    "scratch": ("from scratch, stopped early", figures.RIVAL),
}
LOSS_COLOURS = {
    "unguided": figures.EXACT,
    "best signed constant": figures.RIVAL,
    "self-consistency": figures.LEARNED,
    "square, shared noise": figures.FOURTH,
    "square, independent noise": figures.THIRD,
}


def by_class(
    axes: Axes, points: Float[Tensor, "n 2"], labels: Int[Tensor, " n"], title: str | None = None, limit: Number = 2.6
) -> None:
    """Points of four classes, each with its colour and mark."""
    for label, (colour, mark) in enumerate(zip(CLASSES, MARKS)):
        x, y = points[labels == label].detach().cpu().unbind(1)
        axes.scatter(x, y, s=7, c=colour, marker=mark, alpha=0.5, linewidths=0)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal", title=title)
    axes.spines[:].set_visible(False)


def contours(axes: Axes, law: LabelledMixture, limit: Number = 2.6) -> None:
    """Where each class lives: one contour, around about nine tenths of it."""
    side = torch.linspace(-limit, limit, 140)
    grid = torch.cartesian_prod(side, side)
    for label, colour in enumerate(CLASSES):
        density = law.given(label).to("cpu").log_prob(grid).exp()
        level = _level(density, 0.9)
        axes.contour(side, side, density.view(140, 140).T, levels=[level], colors=[colour], linewidths=1.2)


def push_figure(model: Model, law: LabelledMixture, times: Sequence[Number], label: int) -> figures.Picture:
    """Where guidance moves the prediction for one class, `x_c - x_u`, at three times."""
    figure, axes = figures.panels(len(times), size=(3.1, 3.2), sharex=True, sharey=True)
    side = torch.linspace(-2.3, 2.3, 13)
    grid = torch.cartesian_prod(side, side).to(law.means.device)
    labels = torch.full((len(grid),), label, device=grid.device)
    for axis, t in zip(axes, times):
        push = (model.conditional(grid, t, labels) - model.unconditional(grid, t)).cpu()
        contours(axis, law)
        axis.quiver(*grid.cpu().T, *push.T, color=figures.INK, angles="xy", scale_units="xy", scale=4, width=0.006)
        axis.set(title=f"t = {t:g}", xticks=[], yticks=[], aspect="equal")
        axis.spines[:].set_visible(False)
    alt = "Arrows from everywhere towards the class asked for: long where the other classes are and short inside it while t is small; near t = 1 alike everywhere."
    return figures.describe(figure, alt)


def weights_figure(weights: Schedule, names: Sequence[str], points: int = 60) -> figures.Picture:
    """The learned weight over both times, a panel for each class; only s < t means anything."""
    place = (torch.arange(points) + 0.5) / points
    t, s = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    tables = []
    for label in range(len(names)):
        with torch.no_grad():
            values = weights(torch.full((len(t),), label), s, t).view(points, points).cpu().clone()
        values[(s >= t).view(points, points)] = torch.nan
        tables.append(values)
    most = max(torch.nan_to_num(values).max().item() for values in tables)
    figure, axes = figures.panels(len(names), size=(2.5, 2.9), sharey=True)
    for axis, values, name in zip(axes, tables, names):
        picture = axis.imshow(
            values.T, origin="lower", extent=(0, 1, 0, 1), vmin=0, vmax=max(most, 0.1), cmap="viridis"
        )
        axis.set(
            title=f"{name}\nup to {torch.nan_to_num(values).max():.2g}", xlabel="t (from)", xticks=[0, 1], yticks=[0, 1]
        )
    axes[0].set_ylabel("s (to)")
    figure.colorbar(picture, ax=axes, shrink=0.8, label="weight")
    alt = "Four triangles of colour: dark for the frequent class, bright for the rare one."
    return figures.describe(figure, alt)


def valley(weights: Sequence[Number], distances: Sequence[float], blur: Number) -> figures.Picture:
    """Distance against the weight, the best one ringed, and a dotted line at the weight that repairs the blur."""
    figure, (axes,) = figures.panels(1, size=(5.4, 3.2))
    axes.plot(weights, distances, "o-", color=figures.LEARNED, markersize=5)
    best = min(range(len(weights)), key=distances.__getitem__)
    axes.plot(weights[best], distances[best], "o", markersize=13, fillstyle="none", color=figures.RIVAL)
    axes.axvline(blur / (1 - blur), color=figures.EXACT, linestyle=":")
    axes.set(
        xlabel="constant weight w",
        ylabel="class-mean distance",
        ylim=(-0.02, 0.42),
        title=f"best weight {weights[best]:g}",
    )
    return figure


def curves_figure() -> figures.Picture:
    """The exam's distance against a constant weight, for four bases; five seeds."""
    stored = results.load("03_bench")
    figure, (axes,) = figures.panels(1, size=(8.4, 3.6))
    for name, (title, colour) in BASES.items():
        rows = list(zip(*stored["curves"][name]))
        figures.band(axes, stored["constants"], rows, colour, title)
    axes.axhline(stored["floor"], color=figures.INK, linestyle=":", linewidth=1.5)
    axes.annotate("noise floor", (3, stored["floor"]), ha="right", va="bottom", fontsize=10.5)
    axes.set(yscale="log", xlabel="constant weight w", ylabel="class-mean distance")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    alt = "Three curves rise from w = 0; only that of the briefly fine-tuned base falls a little before it rises."
    return figures.describe(figure, alt)


def bench_table(stage: str) -> Markdown:
    """Medians over five seeds: how far, how many evaluations for a sample, how many seconds of training."""
    stored = results.load("03_bench")
    lines = ["| | 1000 × distance | range | evaluations | training, CPU s |", "|:--|--:|--:|--:|--:|"]
    for method, rows in sorted(stored["rows"][stage].items(), key=lambda item: -median(_pick(item[1], "distance"))):
        distances = [1000 * value for value in _pick(rows, "distance")]
        spread = f"{min(distances):.0f} to {max(distances):.0f}"
        evaluations, seconds = (median(_pick(rows, name)) for name in ("evaluations", "seconds"))
        cost = f"{seconds:.1f}" if seconds else "none"
        name = f"**{method}**" if method == "learned weight" else method
        lines.append(f"| {name} | {median(distances):.0f} | {spread} | {evaluations:.0f} | {cost} |")
    lines.append(f"| *noise floor* | {1000 * stored['floor']:.1f} | | | |")
    return Markdown("\n".join(lines))


def bench_values(stage: str, method: str, name: str = "distance") -> list[float]:
    """One value for each seed of the stored bench."""
    return _pick(results.load("03_bench")["rows"][stage][method], name)


def largest_weights(stage: str) -> list[float]:
    """The largest learned weight of each seed, over classes and the sampler's steps."""
    return [max(max(row) for row in table) for table in results.load("03_bench")["weights"][stage]]


def losses_figure() -> figures.Picture:
    """Left: the exact model with weights of either sign, against the number of steps. Right: both bases; five seeds."""
    stored = results.load("03_losses")
    figure, (left, right) = figures.panels(2, size=(4.4, 3.6))
    for name, rows in stored["exact"].items():
        figures.band(left, stored["steps"], list(zip(*rows)), LOSS_COLOURS[name], name)
    left.axhline(stored["floor"], color=figures.INK, linestyle=":", linewidth=1.5)
    left.set(title="exact model, signed weights", xlabel="sampling steps", ylabel="class-mean distance")
    left.set(xscale="log", yscale="log")
    left.set_xticks(stored["steps"], stored["steps"])
    left.minorticks_off()
    names = list(stored["short"])
    for place, stage in enumerate(("short", "long")):
        for shift, name in enumerate(names):
            at = place + 0.18 * (shift - (len(names) - 1) / 2)
            values = stored[stage][name]
            right.bar(at, median(values), 0.17, color=LOSS_COLOURS[name])
            right.vlines(at, min(values), max(values), color=figures.INK, linewidth=1.2)
    right.set(title="bases, 20 steps", xticks=[0, 1], xticklabels=["briefly", "to the end"], xlabel="fine-tuned")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    alt = "With shared noise the exact model stays about where it is unguided; self-consistency lowers the distance at few steps."
    return figures.describe(figure, alt)


def over_unguided(name: str, steps: int) -> list[float]:
    """For each seed the exact model's distance with weights learned by a loss, over that without guidance."""
    stored = results.load("03_losses")
    place = stored["steps"].index(steps)
    pairs = zip(stored["exact"][name], stored["exact"]["unguided"])
    return [learned[place] / unguided[place] for learned, unguided in pairs]


def tilt_contours(
    axes: Axes, tilt: TiltedLaw, strength: Number, shares: Sequence[float], linewidth: float = 1.0
) -> None:
    """Contours of a tilted law that hold such shares of it."""
    side, table = tilt.grid[:: tilt.cells, 0], tilt.probabilities(strength)
    levels = sorted({_level(table, share) for share in shares})
    axes.contour(side, side, table.view(tilt.cells, -1).T, levels=levels, colors=figures.INK, linewidths=linewidth)


def tilt_figure(
    law: LabelledMixture, reward: Reward, points: Float[Tensor, "n 2"], labels: Int[Tensor, " n"]
) -> figures.Picture:
    """Guided samples over the tilted law of each class that earns as much reward."""
    tilts = [TiltedLaw(law, label, reward, cells=140) for label in range(law.num_classes)]
    rows = against_tilt(tilts, points, labels)
    figure, axes = figures.panels(len(tilts), size=(2.5, 2.9), sharex=True, sharey=True)
    for axis, tilt in zip(axes, tilts):
        strength = rows["strength"][tilt.label]
        tilt_contours(axis, tilt, strength, (0.9, 0.6, 0.3))
        own = points[labels == tilt.label].cpu()
        figures.scatter(axis, own, CLASSES[tilt.label], size=5, opacity=0.4, limit=2.3)
        axis.set_title(f"tilt {strength:.2g}\ndistance {rows['from_tilted'][tilt.label]:.3f}", fontsize=11.5)
    return figure


def rewarded_figures(
    law: LabelledMixture, rewards: dict[str, Reward], strengths: Sequence[Number], session: Session
) -> dict[tuple[str, Number], figures.Picture]:
    """`tilt_figure` for each reward and weight of the reward, from weights that are learned quickly, on the CPU."""
    session = replace(session, device=torch.device("cpu"))
    data, judge = law.sample_labelled(4000, session.generator(8)), exam(law, session.seed, n=250)
    pictures = {}
    for name, strength in tqdm(list(itertools.product(rewards, strengths)), desc="rewards", leave=False):
        settings = {"reward": rewards[name], "reward_weight": strength, "beta": 1.5}
        weights = learned_weights(
            law, data, session, steps=session.pick(smoke=10, lesson=150), learning_rate=0.01, **settings
        )
        samples = judge.sample(law, weights, steps=40)
        pictures[name, strength] = tilt_figure(law, rewards[name], samples, judge.labels)
    return pictures


def reward_figure() -> figures.Picture:
    """Distance from the tilted law of equal reward against the reward, for two rewards; five seeds."""
    stored = results.load("03_rewards")
    figure, axes = figures.panels(2, size=(4.3, 3.4))
    labels = {"like its class": "mean of log p(class | x)", "far out": "mean of tanh |x|"}
    for axis, (name, label) in zip(axes, labels.items()):
        for kind, colour in (("constant weight", figures.RIVAL), ("learned weight", figures.LEARNED)):
            for row in stored["rows"][name][kind]:
                along = sorted((unit["reward"], unit["from_tilted"]) for unit in row)
                axis.plot(*zip(*along), "o-", color=colour, markersize=3.5, linewidth=1, alpha=0.6)
            axis.plot([], [], "o-", color=colour, markersize=4, label=kind)
        axis.set(title=f"reward: {name}", xlabel=label)
    axes[0].set_ylabel("distance from the tilted law")
    axes[0].legend()
    alt = "For the first reward the learned weight stays far nearer to the tilted law; for the second both leave it."
    return figures.describe(figure, alt)


def reward_values(reward: str, reward_weight: Number, name: str) -> list[float]:
    """For each seed a measured value of the weights learned for a reward."""
    stored = results.load("03_rewards")
    place = stored["strengths"][reward].index(reward_weight)
    return [row[place][name] for row in stored["rows"][reward]["learned weight"]]


def over_constant(reward: str, reward_weight: Number) -> list[float]:
    """For each seed, the learned weights' distance from the tilted law over that of a constant of equal reward.

    The constant's distance is read between the two measured constants whose rewards are on either side.
    """
    stored, ratios = results.load("03_rewards"), []
    place = stored["strengths"][reward].index(reward_weight)
    kinds = stored["rows"][reward]
    for learned, constants in zip(kinds["learned weight"], kinds["constant weight"]):
        own = learned[place]
        after = next(rank for rank, row in enumerate(constants) if row["reward"] > own["reward"])
        low, high = constants[after - 1], constants[after]
        part = (own["reward"] - low["reward"]) / (high["reward"] - low["reward"])
        ratios.append(own["from_tilted"] / (low["from_tilted"] + part * (high["from_tilted"] - low["from_tilted"])))
    return ratios


def half_table() -> Markdown:
    """Medians over five seeds of the mean reward for lying to the right, by class, against the reward's weight."""
    stored = results.load("03_rewards")
    lines = ["| reward weight | right | top | left | bottom |", "|--:|--:|--:|--:|--:|"]
    for place, strength in enumerate(stored["half"]):
        seeds = [row[place]["reward"] for row in stored["rows"]["half"]]
        cells = [f"{median(values):.2f}" for values in zip(*seeds)]
        lines.append("| " + " | ".join([f"{strength:g}", *cells]) + " |")
    return Markdown("\n".join(lines))


def digits_figure() -> figures.Picture:
    """Two distances of the same digits: constants as a curve, learned weights with rewards as another; five seeds."""
    stored = results.load("03_digits")
    figure, (left, right) = figures.panels(2, size=(4.3, 3.5))
    for kind, colour, settings in (
        ("constant", figures.RIVAL, stored["constants"]),
        ("learned", figures.LEARNED, stored["rewards"]),
    ):
        middle = {
            name: [median(row[place][name] for row in stored[kind]) for place in range(len(settings))]
            for name in ("pixels", "features", "read")
        }
        label = "constant weight" if kind == "constant" else "learned, reward rising"
        left.plot(middle["pixels"], middle["features"], "o-", color=colour, markersize=4, linewidth=1.2, label=label)
        right.plot(middle["pixels"], middle["read"], "o-", color=colour, markersize=4, linewidth=1.2)
        for place in (0, len(settings) - 1):
            at = middle["pixels"][place], middle["features"][place]
            left.annotate(f"{settings[place]:g}", at, xytext=(4, 4), textcoords="offset points", fontsize=10)
    left.set(xlabel="distance in pixels", ylabel="distance in features")
    right.set(xlabel="distance in pixels", ylabel="share read as asked for")
    left.legend()
    alt = (
        "Along the constants the feature distance falls while the pixel distance rises; learned weights hold the left."
    )
    return figures.describe(figure, alt)


def over_best_constant(name: str) -> list[float]:
    """For each seed the learned weight's distance on digits, in "pixels" or "features", over the best constant's."""
    stored = results.load("03_digits")
    pairs = zip(stored["learned"], stored["constant"])
    return [learned[0][name] / min(row[name] for row in constants) for learned, constants in pairs]


def _pick(rows: Sequence[dict], name: str) -> list[float]:
    return [row[name] for row in rows]


def _level(density: Tensor, share: Number) -> float:
    """The density above which `share` of the mass lies."""
    falling = density.flatten().sort(descending=True).values
    mass = falling.cumsum(0) / falling.sum()
    return falling[int((mass < share).sum())].item()

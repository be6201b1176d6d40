"""What lesson 02 shows beside its cells: histograms, windows on a path, and the stored comparisons.

Changing a view does not make a stored result stale.
"""

from collections.abc import Iterator, Sequence
from statistics import median

import torch
from IPython.display import Markdown
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import Tensor

from companion.foundations.diffusion import bridge_weights, time_grid
from companion.foundations.validation import Number
from companion.methods.speculative import SpeculativeState
from companion.teaching import figures, results
from companion.teaching.lessons.speculative_sampling import speed_ups

DRAFT_COLOURS = {"frozen prediction": figures.LEARNED, "frozen drift": figures.FOURTH, "small model": figures.THIRD}
NAMES = {"eight_gaussians": "eight Gaussians", "digits": "digits"}


def token_tables(shift: Number, sharpness: Number, tokens: int = 12) -> tuple[Tensor, Tensor]:
    """Two distributions over `tokens` tokens: a target with two bumps, and a draft that is moved and reshaped."""
    place = torch.arange(tokens, dtype=torch.float64)

    def bumps(move: Number, power: Number) -> Float[Tensor, " tokens"]:
        weight = torch.exp(-((place - 3 - move) ** 2) / 3) + 0.7 * torch.exp(-((place - 8 - move) ** 2) / 2) + 0.02
        return weight**power / (weight**power).sum()

    return bumps(0, 1), bumps(shift, sharpness)


def histograms(
    axes: Sequence[Axes],
    target: Float[Tensor, " v"],
    draft: Float[Tensor, " v"],
    tokens: Int[Tensor, " n"],
    kept: Tensor,
) -> None:
    """Left: target, draft and their overlap. Right: what comes out, split into kept and replaced, over the target."""
    left, right = axes
    place, edges = torch.arange(len(target)), torch.arange(len(target) + 1) - 0.5
    left.bar(place, torch.minimum(target, draft), 1, color=figures.THIRD, alpha=0.45, label="overlap")
    left.stairs(target, edges, color=figures.EXACT, linewidth=2.2, label="target")
    left.stairs(draft, edges, color=figures.LEARNED, linewidth=2.2, label="draft")
    left.set_title(f"overlap {torch.minimum(target, draft).sum():.2f}")
    share = torch.stack([torch.bincount(tokens[rows], minlength=len(target)) for rows in (kept, ~kept)]) / len(tokens)
    right.bar(place, share[0], 1, color=figures.THIRD, alpha=0.6, label="kept")
    right.bar(place, share[1], 1, bottom=share[0], color=figures.RIVAL, alpha=0.6, label="replaced")
    right.stairs(target, edges, color=figures.EXACT, linewidth=2.2)
    right.set_title(f"kept {kept.double().mean():.2f}")
    for axis in axes:
        axis.set(xlabel="token", ylim=(0, 0.32), yticks=[], xticks=range(0, len(target), 2))
        axis.legend(loc="upper right", fontsize=9.5)


def window_figure(states: Iterator[SpeculativeState]) -> figures.Picture:
    """One window in three panels, the first with at least three kept drafts and a rejected one in the middle of a path."""
    for state in states:
        window = state.window
        if window is None:
            continue
        telling = window.rejected & (window.moved >= 4) & (window.moved < window.lengths) & (window.start >= 10)
        if telling.any():
            break
    row = int(telling.long().argmax())
    chain, start, moved = int(window.chains[row]), int(window.start[row]), int(window.moved[row])
    drafts, path = window.states[:, row].cpu(), state.path[:, chain].cpu()
    behind, kept, value = path[max(0, start - 6) : start + 1], drafts[1:moved], path[start + moved]

    figure, axes = figures.panels(3, size=(3.2, 3.0), sharex=True, sharey=True)
    titles = ("1. draft a window", "2. ask, and couple", "3. go on from there")
    for place, axis in enumerate(axes):
        axis.plot(*behind.T, "o-", color=figures.INK, linewidth=0.8, markersize=3)
        if place == 0:
            axis.plot(*drafts.T, "-", color=figures.LEARNED, linewidth=0.9, zorder=1)
            axis.scatter(*drafts[1:].T, s=22, color=figures.LEARNED)
            continue
        walked = torch.cat([drafts[:moved], value[None]]) if place == 2 else drafts
        axis.plot(*walked.T, "-", color=figures.INK if place == 2 else figures.LEARNED, linewidth=0.8, zorder=1)
        axis.scatter(*kept.T, s=30, color=figures.THIRD, zorder=3)
        axis.scatter(*value, s=44, color=figures.RIVAL, zorder=4)
        if place == 1:
            axis.scatter(*drafts[moved:].T, s=22, color="#9fc6e0", zorder=2)
            axis.plot(*torch.stack([drafts[moved], value]).T, "--", color=figures.RIVAL, linewidth=1.3)
    for axis, title in zip(axes, titles):
        axis.set(title=title, xticks=[], yticks=[], aspect="equal")
        axis.spines[:].set_visible(False)
    alt = "A window of drafts in blue; the first ones turn green; the first that fails jumps to its orange reflection."
    return figures.describe(figure, alt)


def rounds_figure() -> figures.Picture:
    """Sequential rounds and evaluations over the number of steps, against the window; five seeds."""
    stored = results.load("02_rounds")
    figure, axes = figures.panels(2, size=(4.2, 3.3))
    for axis, count, title in zip(axes, ("rounds", "evaluations"), ("rounds that wait", "evaluations in all")):
        for (steps, counts), colour in zip(stored["exact"].items(), figures.CYCLE):
            shares = [[value / int(steps) for value in seeds] for seeds in counts[count]]
            figures.band(axis, stored["windows"], shares, colour, f"K = {steps}")
        axis.axhline(1, color=figures.EXACT, linestyle="--")
        axis.set(title=title, xlabel="window", xscale="log", ylim=(0, None), ylabel="divided by K")
        axis.set_xticks(stored["windows"], stored["windows"])
        axis.minorticks_off()
    axes[0].legend()
    alt = "Rounds fall towards a tenth of the steps as the window grows; evaluations rise above one."
    return figures.describe(figure, alt)


def drafts_figure() -> figures.Picture:
    """Rounds against the window for three drafts, on trained targets; five seeds, K = 100."""
    stored = results.load("02_rounds")
    figure, axes = figures.panels(2, size=(4.2, 3.3), sharey=True)
    for axis, (name, drafts) in zip(axes, stored["drafts"].items()):
        for kind, counts in drafts.items():
            figures.band(axis, stored["draft_windows"], counts["rounds"], DRAFT_COLOURS[kind], kind)
        axis.set(title=NAMES[name], xlabel="window", xscale="log", ylim=(0, 105))
        axis.set_xticks([1, 2, 4, 8, 16, 32], [1, 2, 4, 8, 16, 32])
        axis.minorticks_off()
    axes[0].set_ylabel("rounds of K = 100")
    axes[0].legend()
    alt = "The small model needs fewest rounds on points; on digits the frozen prediction does at most windows."
    return figures.describe(figure, alt)


def limits_figure() -> figures.Picture:
    """Rounds against dimension and against churn; five seeds, K = 100, window 8."""
    stored = results.load("02_limits")
    figure, (left, right) = figures.panels(2, size=(4.2, 3.3), sharey=True)
    for (kind, counts), colour in zip(stored["by_dimension"].items(), (figures.LEARNED, figures.RIVAL)):
        figures.band(left, stored["dimensions"], counts["rounds"], colour, kind)
    for (name, counts), colour in zip(stored["by_churn"].items(), (figures.LEARNED, figures.RIVAL)):
        figures.band(right, stored["churns"], counts["rounds"], colour, NAMES[name])
    for axis, label in ((left, "dimension"), (right, "churn")):
        axis.axhline(stored["steps"], color=figures.EXACT, linestyle="--")
        axis.set(xscale="log", xlabel=label, ylim=(0, 105))
        axis.minorticks_off()
        axis.legend(fontsize=10.5)
    left.set_ylabel("rounds of K = 100")
    alt = "Rounds climb towards 100 with the dimension for a broad Gaussian, and as the churn goes to 0."
    return figures.describe(figure, alt)


def speed_up_figure(name: str, point_cost: Number, draft_cost: Number) -> figures.Picture:
    """Speed-up by the latency model against the window, for three drafts; the best window marked."""
    stored = results.load("02_rounds")
    figure, (axes,) = figures.panels(1, size=(5.6, 3.3))
    windows = stored["draft_windows"]
    for kind, values in speed_ups(
        stored["drafts"][name], windows, stored["draft_steps"], point_cost, draft_cost
    ).items():
        axes.plot(windows, values, "o-", markersize=4, color=DRAFT_COLOURS[kind], label=kind)
        best = max(range(len(windows)), key=values.__getitem__)
        axes.plot(windows[best], values[best], "o", markersize=11, fillstyle="none", color=DRAFT_COLOURS[kind])
    axes.axhline(1, color=figures.EXACT, linestyle="--")
    axes.set(xscale="log", xlabel="window", ylabel="times faster", ylim=(0, 10.5))
    axes.set_xticks([1, 2, 4, 8, 16, 32], [1, 2, 4, 8, 16, 32])
    axes.minorticks_off()
    axes.legend(loc="upper left")
    return figure


def rivals_table(name: str) -> Markdown:
    """Medians over five seeds: what each sampler costs, and how far its samples are from the data."""
    rows = dict(results.load("02_rivals")["rows"][name])
    floor = rows.pop("floor")["distance"]
    wide = "width" in next(iter(rows.values()))
    head = ["", "rounds", "evaluations", "1000 × distance"] + ["width of the modes"] * wide
    lines = ["| " + " | ".join(head) + " |", "|:--|" + "--:|" * (len(head) - 1)]
    for method, counts in rows.items():
        middle = {count: median(values[0]) for count, values in counts.items()}
        cells = [f"{middle['rounds']:.0f}", f"{middle['evaluations']:.0f}", f"{1000 * middle['distance']:.1f}"]
        cells += [f"{middle['width']:.2f}"] if wide else []
        lines.append("| " + " | ".join([method, *cells]) + " |")
    lines.append(f"| *noise floor* | | | {1000 * floor:.1f} |" + " |" * wide)
    return Markdown("\n".join(lines))


def rival_values(name: str, method: str, count: str) -> list[float]:
    """One value for each seed of the stored comparison with rivals."""
    return results.load("02_rivals")["rows"][name][method][count][0]


def kept_along_the_path(curves: dict[int, Float[Tensor, " K"]]) -> figures.Picture:
    """Share of chains that kept their draft at each step of even grids, by number of steps: against time, and noise."""
    figure, (left, right) = figures.panels(2, size=(4.2, 3.2), sharey=True)
    for (steps, share), colour in zip(curves.items(), figures.CYCLE):
        times = time_grid(steps)
        _, _, std = bridge_weights(times[:-1], times[1:], churn=1.0)
        left.plot(times[:-1], share, color=colour, linewidth=1.6, label=f"K = {steps}")
        right.plot(std[:-1], share[:-1], color=colour, linewidth=1.6)
    left.set(xlabel="time t of the step (1 noise, 0 data)", ylabel="share kept", ylim=(0, 1.03))
    left.invert_xaxis()
    left.legend(loc="lower left")
    right.set(xlabel="std of the step's noise", xscale="log")
    right.invert_xaxis()
    alt = "The share kept stays near one until the last tenth of the path, where the noise is small, and falls there."
    return figures.describe(figure, alt)

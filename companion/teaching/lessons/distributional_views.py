"""What lesson 01 shows beside its cells: the stored comparison as a figure and a table, and the best free cloud.

Changing a view does not make a stored result stale.
"""

from collections.abc import Sequence

import torch
from IPython.display import Markdown
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from companion.foundations.distances import distance_power
from companion.foundations.validation import Number
from companion.methods.distributional import expected_score, optimal_spread
from companion.teaching import figures, results
from companion.teaching.lessons.few_steps import few_steps_table as summary

TITLES = {"eight_gaussians": "eight Gaussians", "checkerboard": "checkerboard"}
CURVES = {
    "distributional": figures.LEARNED,
    "standard DDIM": figures.RIVAL,
    "standard DDIM, equal cost": "#e69f00",
    "standard DDPM, analytic variance": figures.FOURTH,
    "progressive distillation": figures.THIRD,
    "consistency model": "#56b4e9",
    "denoising diffusion GAN": figures.INK,
}


def few_steps_figure() -> Figure:
    """Energy distance against sampling steps, median and range over five seeds, one panel for each law."""
    stored = results.load("01_few_steps")
    figure, axes = figures.panels(2, size=(4.3, 4.0), sharey=True)
    for axis, (name, law) in zip(axes, stored["laws"].items()):
        curves = {}
        for method in CURVES:
            columns = zip(*law["energy_distance"][method])
            curves[method] = {steps: values for steps, values in zip(stored["steps"], columns) if values[0] is not None}
        figures.against_steps(axis, curves, CURVES, law["floor"], "energy distance" if axis is axes[0] else "")
        axis.set_title(TITLES[name])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    alt = "Energy distance against steps. At one and two steps the distributional curve lies far below every standard one."
    return figures.describe(figure, alt)


def few_steps_table() -> Markdown:
    """Median over seeds of a thousand times the energy distance, and CPU seconds of training, teacher included."""
    table = summary()
    head = ["1000 × distance after", *map(str, table["steps"]), "training"]
    rows = ["| " + " | ".join(head) + " |", "|:--|" + "--:|" * (len(head) - 1)]
    for name, law in table["laws"].items():
        rows.append(f"| **{TITLES[name]}**" + " |" * len(head))
        for method, values in law["median"].items():
            shown = ["" if value is None else f"{1000 * value:.1f}" for value in values]
            rows.append("| " + " | ".join([method, *shown, f"{_seconds(law['seconds'], method):.0f} s"]) + " |")
        rows.append("| *noise floor* | " + f"{1000 * law['floor']:.1f} | " * len(table["steps"]) + "|")
    return Markdown("\n".join(rows))


def gains(rival: str, steps: tuple[int, ...]) -> list[float]:
    """Energy distance of the distributional sampler over the rival's better churn, for each law, seed and step."""
    stored = results.load("01_few_steps")
    places = [stored["steps"].index(step) for step in steps]
    ratios = []
    for law in stored["laws"].values():
        distances = law["energy_distance"]
        ddim, ddpm = (distances[rival.replace("standard", f"standard {churn}")] for churn in ("DDIM", "DDPM"))
        for ours, first, second in zip(distances["distributional"], ddim, ddpm):
            ratios += [ours[place] / min(first[place], second[place]) for place in places]
    return ratios


def _seconds(seconds: dict[str, float], method: str) -> float:
    """CPU seconds to train, found under the method's name or the longest name that it begins with."""
    return seconds[max((name for name in seconds if _plain(method).startswith(name)), key=len)]


def _plain(method: str) -> str:
    return method.replace("standard DDIM", "standard").replace("standard DDPM", "standard")


def best_cloud(
    target: Float[Tensor, "n 2"], lam: Number, beta: Number, points: int = 120, steps: int = 60
) -> Float[Tensor, "points 2"]:
    """The cloud that gradient descent on the energy score reaches, free of any network, against a sample of the truth.

    The cloud itself is the model here, so each of its points is also paired with itself (a V-statistic): at
    beta = 2 and lam = 1 its spread then has no gradient at all.
    """
    cloud = torch.randn(points, 2, generator=torch.Generator().manual_seed(0), dtype=target.dtype).requires_grad_()
    optimizer = torch.optim.Adam([cloud], lr=0.15)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def mean_power(others: Tensor) -> Tensor:
        return distance_power((cloud[:, None] - others).square().sum(-1), beta).mean()

    for _ in range(steps):
        loss = mean_power(target) - lam / 2 * mean_power(cloud)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return cloud.detach()


def loss_against_spread(axes: Axes, lam: Number, beta: Number) -> None:
    """The exact expected loss of a Gaussian model of a standard Gaussian truth, and its lowest point if it has one."""
    spreads = torch.linspace(0, 1.5, 100)
    axes.plot(spreads, expected_score(spreads, lam, beta))
    if beta < 2:
        best = optimal_spread(lam, beta)
        axes.axvline(best, color=figures.EXACT, linestyle="--")
        axes.text(best, 1.02, f"best {best:.2f}", transform=axes.get_xaxis_transform(), ha="center")
    axes.set(xlabel="spread s of the model", ylabel="expected loss", ylim=(0, None))


def strays(grid: Sequence[int], shares: dict[str, list[float]]) -> figures.Picture:
    """Share of samples far from every mode, against steps."""
    figure, (axes,) = figures.panels(1, size=(5.5, 3))
    for (kind, values), colour in zip(shares.items(), (figures.RIVAL, figures.LEARNED)):
        axes.plot(grid, values, "o-", color=colour, label=kind)
    axes.set(xscale="log", xlabel="sampling steps", ylabel="share of strays", ylim=(0, None))
    axes.set_xticks(grid, grid)
    axes.minorticks_off()
    axes.legend()
    return figures.describe(
        figure, "The share of strays falls with the steps, and is lower for the distributional denoiser."
    )

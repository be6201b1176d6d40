"""What foundation lesson f2 shows beside its cells: fields of arrows, walks, widths, a leak and a copy."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from companion.data.toy import eight_gaussians
from companion.foundations.diffusion import add_noise, sample, sigma, time_grid
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.one_gaussian import equal_angles, leaky_mean, sampled_moments
from companion.foundations.validation import Number
from companion.teaching import figures

PROBES = torch.tensor([[0.3, 0.25], [-1.5, 0.2], [0.8, -2.0]])


def noise_like(x: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Standard normal noise of the shape, dtype and device of `x`."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def fields_figure(law: GaussianMixture, times: Sequence[Number], generator: torch.Generator) -> figures.Picture:
    """The law noised to each time, in grey, the direction of its score in blue, and three posterior means in orange.

    Arrows have one length in a panel, except that short ones stay short: directions matter here.
    """
    clean = law.sample(700, generator)
    noise = noise_like(clean, generator)
    line = torch.linspace(-2.7, 2.7, 12, device=clean.device)
    grid = torch.cartesian_prod(line, line)
    figure, axes = figures.panels(len(times), size=(2.5, 2.5))
    for axis, t in zip(axes, times):
        figures.scatter(axis, add_noise(clean, t, noise), figures.EXACT, size=4, title=f"t = {t}")
        score = law.score(grid, t)
        arrows = score / (score.norm(dim=1, keepdim=True) + score.norm(dim=1).quantile(0.2))
        axis.quiver(*grid.T.cpu(), *arrows.T.cpu(), color=figures.LEARNED, width=0.007, scale=14, headwidth=4, zorder=2)
        probes = PROBES.to(grid)
        for start, end in zip(probes.cpu(), law.denoise(probes, t).cpu()):
            axis.plot(*torch.stack([start, end]).T, color=figures.RIVAL, linewidth=1.6, zorder=3)
            axis.plot(*start, "o", color=figures.INK, markersize=4.5, zorder=4)
            axis.plot(*end, "X", color=figures.RIVAL, markersize=7, zorder=4)
    alt = "Grey clouds from eight clusters to one blob; blue arrows point uphill in density; orange lines lead to posterior means."
    return figures.describe(figure, alt)


def walks_figure(
    law: GaussianMixture, steps: int, churn: Number, session_generator: Callable[[int], torch.Generator], points: int
) -> figures.Picture:
    """Left: eight walks from noise with the exact mean. Right: where many walks end, over the data in grey.

    Args:
        law: of the data.
        steps, churn: of the sampler, on the uniform grid.
        session_generator: gives a fresh stream for an offset, `session.generator`.
        points: how many walks.
    """
    generator = session_generator(1)
    noise = noise_like(law.sample(points, session_generator(2)), generator)
    states = torch.stack(list(sample(law.denoise, noise, time_grid(steps), churn, generator)))
    data = law.sample(500, session_generator(3))
    figure, (left, right) = figures.panels(2, size=(2.9, 2.9))
    for axis in (left, right):
        figures.scatter(axis, data, figures.EXACT, size=4, opacity=0.35, limit=2.8)
    for walk in states[:, :8].unbind(1):
        left.plot(*walk.T.cpu(), color=figures.LEARNED, linewidth=0.9, marker="o", markersize=2, alpha=0.8)
    left.plot(*states[0, :8].T.cpu(), "o", color=figures.INK, markersize=4, zorder=3)
    left.set_title("eight walks")
    figures.scatter(right, states[-1], size=4, limit=2.8, title="where they end")
    return figure


def width_figure(std: Number, session_generator: Callable[[int], torch.Generator], points: int) -> figures.Picture:
    """The share of a Gaussian's width that is left after K steps: formulas in grey, the sampler's own in colour."""
    law = GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([float(std)], dtype=torch.float64))
    grid = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
    ways = {
        "equal angles, churn 0": (lambda steps: equal_angles(steps, std), 0.0, figures.LEARNED, "o"),
        "uniform grid, churn 0": (time_grid, 0.0, figures.RIVAL, "s"),
        "uniform grid, churn 1": (time_grid, 1.0, figures.THIRD, "^"),
    }
    figure, (axis,) = figures.panels(1, size=(6.2, 3.3))
    axis.axhline(1, color=figures.EXACT, linestyle="--", linewidth=1.2)
    for place, (name, (times, churn, colour, marker)) in enumerate(ways.items()):
        exact = [sampled_moments(times(steps), 0.0, std, churn).std / std for steps in grid]
        generator = session_generator(10 + place)
        start = torch.randn(points, 2, generator=generator, dtype=torch.float64)
        ends = [list(sample(law.denoise, start, times(steps), churn, generator))[-1] for steps in grid]
        axis.plot(grid, exact, color=figures.EXACT, linewidth=1.6, zorder=1)
        axis.plot(grid, [end.std() / std for end in ends], marker, color=colour, label=name)
    axis.set(xscale="log", xlabel="sampling steps", ylabel="share of the width", ylim=(-0.04, 1.08))
    axis.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    axis.minorticks_off()
    axis.legend(loc="lower right")
    alt = "The share of a Gaussian's width rises from nothing at one step towards one; equal angles keep most, churn least."
    return figures.describe(figure, alt)


def leaky_samples(
    law: GaussianMixture, start: Number, churn: Number, generator: torch.Generator, points: int, steps: int = 100
) -> Float[Tensor, "points d"]:
    """Samples that begin at time `start` from noise alone, `sigma(start) noise`, as a leaky schedule would have it."""
    noise = sigma(start) * noise_like(law.sample(points, generator), generator)
    *_, samples = sample(law.denoise, noise, time_grid(steps, start=start), churn, generator)
    return samples


def leak_figure(
    start: Number, churn: Number, session_generator: Callable[[int], torch.Generator], points: int
) -> figures.Picture:
    """A leak moves one Gaussian towards zero, and points of a ring to its near side.

    The cross is the mean of the samples, the ring around it the formula's, the grey dot the mean of the data.
    """
    one, ring = off_centre()
    figure, axes = figures.panels(2, size=(2.9, 2.9))
    for place, (axis, law, title) in enumerate(zip(axes, (one, ring), ("one Gaussian", "eight Gaussians"))):
        figures.scatter(axis, law.sample(points, session_generator(20 + place)), figures.EXACT, size=5, limit=None)
        samples = leaky_samples(law, start, churn, session_generator(30 + place), points, steps=60)
        figures.scatter(axis, samples, size=4, limit=None, title=title)
        _mark(axis, law.weights @ law.means, samples.mean(0))
        axis.plot(0, 0, "+", color=figures.INK, markersize=9)
        axis.set(xlim=(-1.3, 3.3), ylim=(-1.4, 3.2))
    mean = one.means[0]
    predicted = [leaky_mean(value, one.stds[0].item(), start, churn) for value in mean.tolist()]
    axes[0].add_patch(figures.ring(tuple(predicted), 0.2, figures.INK))
    return figure


def off_centre() -> tuple[GaussianMixture, GaussianMixture]:
    """One Gaussian and a ring of eight, both with a mean away from zero, (1.2, 0.9)."""
    mean, ring = torch.tensor([[1.2, 0.9]]), eight_gaussians(radius=1.2)
    return GaussianMixture(mean, torch.tensor([0.6])), GaussianMixture(ring.means + mean, ring.stds)


def _mark(axis: Axes, wanted: Tensor, found: Tensor) -> None:
    """The mean that the data have and the mean that came."""
    axis.plot(*wanted.cpu(), "o", color="white", markeredgecolor=figures.INK, markersize=8, zorder=4)
    axis.plot(*found.cpu(), "X", color=figures.RIVAL, markeredgecolor="white", markersize=10, zorder=5)


def copies_figure(
    law: GaussianMixture, generator: torch.Generator, examples: int = 25, points: int = 400
) -> figures.Picture:
    """Left: samples with the exact score of the law. Right: with the exact score of a few examples of it, which they copy."""
    training = law.sample(examples, generator)
    memory = GaussianMixture(training, torch.full((examples,), 0.01).to(training))
    noise = noise_like(law.sample(points, generator), generator)
    figure, axes = figures.panels(2, size=(2.9, 2.9))
    for axis, model, title in zip(axes, (law, memory), ("score of the law", "score of the examples")):
        *_, samples = sample(model.denoise, noise, time_grid(60))
        axis.plot(*training.T.cpu(), "o", color="none", markeredgecolor=figures.INK, markersize=8, zorder=3)
        figures.scatter(axis, samples, size=6, limit=2.8, title=title)
    alt = (
        "Left, blue samples fill eight clusters. Right, every sample sits inside one of the black rings, the examples."
    )
    return figures.describe(figure, alt)

"""What foundation f1 shows beside its cells: estimates of a distance between two clouds, and what they are worth."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from matplotlib.colors import to_rgb
from torch import Tensor

from companion.foundations.distances import energy_distance, mmd2, noise_floor, rbf
from companion.foundations.exact_distances import exact_energy_distance, exact_mmd2, project
from companion.foundations.mixtures import GaussianMixture
from companion.foundations.validation import Number, require_count
from companion.methods.distributional import energy_score_loss, expected_score
from companion.teaching import figures

Distance = Callable[[Tensor, Tensor], Tensor]


def modes(count: int, degrees: Number = 0, std: Number = 0.4, radius: Number = 2.0) -> GaussianMixture:
    """`count` equal Gaussians on a circle in the plane, the first at so many degrees from the right.

    Raises:
        TypeError, ValueError: `count` is no whole number from 1, or `std` is not positive.
    """
    require_count("count", count, 1)
    angle = math.radians(degrees) + 2 * math.pi * torch.arange(count) / count
    return GaussianMixture(radius * torch.stack([angle.cos(), angle.sin()], dim=1), torch.full((count,), float(std)))


def repeat(
    p: GaussianMixture,
    q: GaussianMixture,
    n: int,
    repeats: int,
    distances: Sequence[Distance],
    generator: torch.Generator,
) -> Float[Tensor, "distances repeats"]:
    """Each distance between n points of p and n points of q, on the same fresh clouds, `repeats` times."""
    clouds = [(p.sample(n, generator), q.sample(n, generator)) for _ in range(repeats)]
    return torch.stack([torch.stack([distance(x, y) for x, y in clouds]) for distance in distances])


def bias_figure(draws: Mapping[int, Float[Tensor, "2 repeats"]], spread: Number) -> figures.Picture:
    """Plug-in (first row) and unbiased estimates of one law's distance from itself, against n and as histograms.

    Args:
        draws: for each number of points, both estimates, repeated.
        spread: `2 E|X - X'|`, so that the plug-in's mean is `spread / n`.
    """
    figure, (left, right) = figures.panels(2, size=(4.0, 3.4))
    sizes, smallest = list(draws), min(draws)
    left.plot(sizes, [spread / n for n in sizes], color=figures.EXACT, linewidth=5, alpha=0.6, label="2 E|X − X′| / n")
    left.axhline(0, color=figures.EXACT, linestyle="--", linewidth=1.5)
    for row, (name, colour) in enumerate([("V-statistic", figures.RIVAL), ("U-statistic", figures.LEARNED)]):
        values = torch.stack([draws[n][row] for n in sizes]).cpu()
        low, high = values.quantile(0.05, dim=1), values.quantile(0.95, dim=1)
        left.fill_between(sizes, low, high, color=colour, alpha=0.18, linewidth=0)
        left.plot(sizes, values.mean(1), "o", color=colour, markersize=6, label=name)
        right.hist(draws[smallest][row].cpu(), bins=24, color=colour, alpha=0.55, label=name)
    left.set(xscale="log", xlabel="points in each cloud, n", ylabel="estimate", title="one law, twice: truth is 0")
    left.set_xticks(sizes, sizes)
    left.minorticks_off()
    left.legend()
    right.axvline(0, color=figures.EXACT, linestyle="--", linewidth=1.5)
    right.set(xlabel=f"estimate at n = {smallest}", yticks=[], title="spread of single estimates")
    alt = "The V-statistic's mean falls like one over n and stays above 0; the U-statistic's mean is 0 at every n."
    return figures.describe(figure, alt)


def floor_figure(
    p: GaussianMixture, q: GaussianMixture, floors: Mapping[int, float], repeats: int, generator: torch.Generator
) -> figures.Picture:
    """Energy distances of p from itself (dark line) and from q (blue), for numbers of points with their noise floors."""
    figure, axes = figures.panels(len(floors), size=(4.0, 3.2))
    exact = exact_energy_distance(p, q).item()
    for axis, (n, floor) in zip(axes, floors.items()):
        same, other = (repeat(p, law, n, repeats, [energy_distance], generator)[0].cpu() for law in (p, q))
        edges = torch.linspace(min(same.min(), other.min()), max(same.max(), other.max()), 25).tolist()
        axis.hist(same, bins=edges, histtype="step", color=figures.INK, linewidth=1.8, label="same law")
        axis.hist(other, bins=edges, color=figures.LEARNED, alpha=0.6, label="two laws")
        axis.axvline(exact, color=figures.EXACT, linestyle="--", label="exact, two laws")
        axis.set(xlabel="energy distance", yticks=[], title=f"n = {n}, noise floor {floor:.3f}")
    axes[0].legend()
    alt = "With few points the two histograms lie over each other; with many they part, and the same-law one shrinks to 0."
    return figures.describe(figure, alt)


def mmd_floors(
    law: GaussianMixture, n: int, bandwidths: Sequence[float], repeats: int, generator: torch.Generator
) -> dict[float, float]:
    """The noise floor of `mmd2` at each bandwidth, for n points, all from the same clouds."""
    clouds = [law.sample(n, generator) for _ in range(2 * repeats)]
    floors = {}
    for bandwidth in bandwidths:
        kernel = rbf(bandwidth)
        floors[bandwidth] = noise_floor(iter(clouds).__next__, lambda x, y: mmd2(x, y, kernel), repeats).item()  # noqa: B023
    return floors


def in_floors(p: GaussianMixture, q: GaussianMixture, floors: Mapping[float, float]) -> dict[float, float]:
    """The exact squared MMD of p and q at each bandwidth, in units of its noise floor."""
    return {bandwidth: exact_mmd2(p, q, bandwidth).item() / floor for bandwidth, floor in floors.items()}


def bandwidth_figure(
    p: GaussianMixture,
    q: GaussianMixture,
    bandwidth: float,
    floors: Mapping[float, float],
    n: int,
    generator: torch.Generator,
) -> figures.Picture:
    """Left: a cloud of each law, and the kernel about one point in orange. Right: squared MMD over its noise floor."""
    x, y = p.sample(n, generator), q.sample(n, generator)
    figure, (left, right) = figures.panels(2, size=(3.7, 3.8))
    side = torch.linspace(-3.4, 3.4, 120)
    grid, centre = torch.cartesian_prod(side, side), p.means[:1].cpu()
    sheet = torch.ones(120, 120, 4)
    sheet[..., :3] = torch.tensor(to_rgb(figures.RIVAL))
    sheet[..., 3] = 0.55 * rbf(bandwidth)(grid, centre).view(120, 120).T
    left.imshow(sheet.numpy(), extent=(-3.4, 3.4, -3.4, 3.4), origin="lower")
    figures.scatter(left, x, figures.EXACT, size=9, limit=3.4)
    figures.scatter(left, y, size=9, limit=3.4, title=f"bandwidth {bandwidth:g}")
    exact, places = in_floors(p, q, floors), list(floors)
    seen = [mmd2(x, y, rbf(place)).item() / floor for place, floor in floors.items()]
    right.axhspan(-2, 2, color=figures.EXACT, alpha=0.2, linewidth=0)
    right.plot(places, list(exact.values()), color=figures.EXACT, linewidth=4, label="exact")
    right.plot(places, seen, "o", color=figures.LEARNED, label="these clouds")
    right.axvline(bandwidth, color=figures.RIVAL)
    median = torch.pdist(x).median().item()
    right.axvline(median, color=figures.INK, linestyle=":", linewidth=1.5, label="median distance")
    right.set(xscale="log", xlabel="bandwidth", ylabel="MMD² in noise floors", ylim=(-5, 48))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figures.describe(
        figure, "Far too narrow and far too wide kernels leave the squared MMD inside the grey band."
    )


def scores_figure(n: int, generator: torch.Generator) -> figures.Picture:
    """Left: expected scores of forecasts N(0, s^2 I) when N(0, I) is true. Right: regret, and half the energy distance."""
    figure, (left, right) = figures.panels(2, size=(4.0, 3.4))
    spreads = torch.linspace(0, 2, 101, dtype=torch.float64)
    like = {"generator": generator, "device": generator.device}
    truth = torch.randn(n, 2, **like)
    honest = expected_score(torch.ones(1, dtype=torch.float64)).item()
    left.plot(spreads, expected_score(spreads), color=figures.EXACT, linewidth=4, label="energy score")
    left.plot(spreads, expected_score(spreads, lam=0.0), color=figures.RIVAL, label="first term alone")
    right.plot(spreads, expected_score(spreads) - honest, color=figures.EXACT, linewidth=4, label="exact regret")
    for place, spread in enumerate(torch.linspace(0, 2, 9).tolist()):
        score = energy_score_loss(spread * torch.randn(2, n, 2, **like), truth).item()
        left.plot(spread, score, "o", color=figures.LEARNED, label=None if place else "measured")
        half = energy_distance(spread * torch.randn(n, 2, **like), truth).item() / 2
        right.plot(spread, half, "o", color=figures.LEARNED, label=None if place else "half the distance, measured")
    for axis, what, top in ((left, "expected score", 3.6), (right, "regret", 0.55)):
        axis.axvline(1, ymax=0.6, color=figures.EXACT, linestyle="--", linewidth=1.5)
        axis.set(xlabel="spread s of the forecast", ylabel=what, ylim=(0, top))
        axis.legend(loc="upper left")
    alt = "The energy score is lowest at the honest spread 1, the first term alone at 0; regret is half the energy distance."
    return figures.describe(figure, alt)


def slices_figure(
    angles: Float[Tensor, " k"], lines: Float[Tensor, " k"], p: GaussianMixture, q: GaussianMixture
) -> figures.Picture:
    """The energy distance along each direction: of samples in blue, exact in grey, with the mean over directions."""
    figure, (left, right) = figures.panels(2, size=(4.0, 3.2), width_ratios=(1, 1.5))
    generator = torch.Generator(p.means.device).manual_seed(0)
    for law, colour in ((p, figures.EXACT), (q, figures.LEARNED)):
        figures.scatter(left, law.sample(200, generator), colour, size=8, limit=3.2)
    left.axline((0, 0), slope=1, color=figures.INK, linestyle=":", linewidth=1.5)
    left.set_title("dotted: a blind slice")
    fine = torch.linspace(0, math.pi, 91, device=p.means.device)
    directions = torch.stack([fine.cos(), fine.sin()], dim=1)
    exact = [exact_energy_distance(project(p, u), project(q, u)).item() for u in directions]
    right.plot(fine.rad2deg().cpu(), exact, color=figures.EXACT, linewidth=4, label="exact")
    right.plot(angles.rad2deg().cpu(), lines.cpu(), "o", color=figures.LEARNED, markersize=4, label="samples")
    right.axhline(lines.mean().item(), color=figures.INK, linestyle="--", linewidth=1.5, label="mean over slices")
    right.set(xlabel="direction, degrees", ylabel="distance on the slice", xticks=[0, 45, 90, 135, 180])
    right.set_ylim(min(0.0, lines.min().item()) - 0.05, 1.45 * max(exact))
    right.legend(ncols=3, loc="upper center", columnspacing=1, handlelength=1.2)
    alt = "The distance on a slice is largest at 0 and 90 degrees and 0 at 45 and 135; its mean is well above 0."
    return figures.describe(figure, alt)


def floors_by_dimension(
    dimensions: Sequence[int], n: int, repeats: int, generator: torch.Generator, shift: Number = 1.0
) -> list[float]:
    """Energy distance of N(0, I) from itself moved by `shift` along one axis, over the noise floor, in each dimension."""

    def draw(dimension: int, moved: Number = 0) -> Tensor:
        points = torch.randn(n, dimension, generator=generator, device=generator.device)
        points[:, 0] += moved
        return points

    ratios = []
    for d in dimensions:
        floor = noise_floor(lambda: draw(d), repeats=repeats)  # noqa: B023
        seen = torch.stack([energy_distance(draw(d), draw(d, shift)) for _ in range(repeats)]).mean()
        ratios.append((seen / floor).item())
    return ratios


def dimensions_figure(dimensions: Sequence[int], ratios: Sequence[float]) -> figures.Picture:
    """Distance over noise floor against dimension."""
    figure, (axes,) = figures.panels(1, size=(5.5, 3))
    axes.axhspan(0, 2, color=figures.EXACT, alpha=0.2, linewidth=0)
    axes.plot(dimensions, ratios, "o-", color=figures.LEARNED)
    axes.set(xscale="log", xlabel="dimension", ylabel="distance in noise floors", ylim=(0, None))
    axes.set_xticks(dimensions, dimensions)
    axes.minorticks_off()
    return figures.describe(figure, "The same shift of one coordinate sinks towards the floor as dimensions are added.")

"""What foundation f3 works out and shows: guidance of exact models, beside the sharpened density.

On a line everything is a number on a grid: the sharpened density `p(x|c)^(1+w) / p(x)^w`, what noising makes of it, and
the law of the guided sampler itself, whose steps are a rising map of the starting noise. In the plane the sharpened
density is a `TiltedLaw` for the reward `log p(c|x)`, and the sampler's law is known by its samples.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.conditional import LabelledMixture
from companion.foundations.diffusion import alpha, sample, sigma, time_grid
from companion.foundations.distances import energy_distance
from companion.foundations.validation import Number, require, require_count, require_in
from companion.methods.guidance import sample_guided
from companion.methods.rivals.classifier_guidance import class_gradient
from companion.teaching import figures
from companion.teaching.lessons.guidance_views import contours, tilt_contours
from companion.teaching.lessons.learned_guidance import TiltedLaw, alignment
from companion.teaching.session import Session

GRID = torch.linspace(-6, 6, 1201, dtype=torch.float64)  # a step of 0.01, the last time of a walk of 100 steps
NOISE = torch.linspace(-5.5, 5.5, 301, dtype=torch.float64)
ASKED = 1  # the class on the right of the line
STEPS = 100


# --- on a line ----------------------------------------------------------------------------------------------------


def line_law(distance: Number = 2.0, std: Number = 0.5) -> LabelledMixture:
    """Two classes on a line, one Gaussian each, `distance` apart, in double precision.

    Raises:
        TypeError, ValueError: a distance below 0, or a std that is not positive.
    """
    require_in("distance", distance, "[0, inf)")
    require_in("std", std, "(0, inf)")
    means = torch.tensor([[-distance / 2], [distance / 2]], dtype=torch.float64)
    return LabelledMixture(means, torch.full_like(means[:, 0], std), torch.arange(2))


def sharpened(law: LabelledMixture, weight: Number, t: Number = 0.0) -> Float[Tensor, " m"]:
    """The density proportional to `p_t(x|c)^(1+w) / p_t(x)^w` on `GRID`, c being the class on the right.

    At t = 0 it is the sharpened density. At a later time it is the density whose score guidance follows.

    Raises:
        TypeError, ValueError: a law that is not on a line, a weight below -1, or a time outside [0, 1].
    """
    _require_line(law)
    require_in("weight", weight, "[-1, inf)")
    x = GRID[:, None]
    log = (1 + weight) * law.given(ASKED).log_prob(x, t) - weight * law.log_prob(x, t)
    return normalised((log - log.max()).exp())


def normalised(density: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """The density on `GRID`, divided by its integral."""
    return density / torch.trapezoid(density, GRID)


def noised(density: Float[Tensor, " m"], t: Number) -> Float[Tensor, " m"]:
    """The density on `GRID` of `alpha(t) X + sigma(t) noise`, where X has the given one.

    Raises:
        ValueError: a time outside [0, 1], or too near 0 for the grid's step of 0.01 (0 itself is fine).
    """
    require_in("t", t, "[0, 1]")
    if t == 0:
        return density
    require(t >= 0.01, "t", t, "0, or at least 0.01")
    apart = (GRID[:, None] - alpha(t) * GRID) / sigma(t)
    return normalised((-apart.square() / 2).exp() @ density)


def guided_walk(law: LabelledMixture, weight: Number, steps: int = STEPS) -> list[Float[Tensor, " z"]]:
    """Where the guided sampler (DDIM) has each point of `NOISE` at each time of `time_grid(steps)`.

    Raises:
        TypeError, ValueError: a law that is not on a line, or as `sample_guided`.
    """
    _require_line(law)
    labels = torch.full(NOISE.shape, ASKED)
    walk = sample_guided(law.conditional, law.unconditional, weight, labels, NOISE[:, None], time_grid(steps))
    return [state[:, 0] for state in walk]


def right_walk(law: LabelledMixture, weight: Number, steps: int = STEPS) -> list[Float[Tensor, " z"]]:
    """The same sampler and the same steps with the denoiser of the sharpened density itself, by quadrature.

    Raises:
        TypeError, ValueError: a law that is not on a line, or more than 100 steps, too fine for the grid.
    """
    _require_line(law)
    require_count("steps", steps, 1)
    require(steps <= STEPS, "steps", steps, f"at most {STEPS}")
    log = sharpened(law, weight).log()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        likelihood = -((x - alpha(t) * GRID) / sigma(t)).square() / 2
        return (log + likelihood).softmax(1) @ GRID[:, None]

    return [state[:, 0] for state in sample(denoise, NOISE[:, None], time_grid(steps))]


def density_at(state: Float[Tensor, " z"]) -> Float[Tensor, " m"]:
    """The density on `GRID` of the points of a walk, by change of variables: no samples, no noise.

    The walk is a rising map of its start, so the density where noise z arrives is that of z over the map's slope.

    Raises:
        ValueError: the map does not rise everywhere (steps too coarse for the weight).
    """
    (slope,) = torch.gradient(state, spacing=(NOISE,))
    require(bool((slope > 0).all()), "state", "falling somewhere", "a rising map of the noise")
    density = (-NOISE.square() / 2).exp() / math.sqrt(2 * math.pi) / slope
    return normalised(torch.from_numpy(np.interp(GRID, state, density, left=0.0, right=0.0)))


def total_variation(p: Float[Tensor, " m"], q: Float[Tensor, " m"]) -> float:
    """The share of mass that must be moved to turn one density on `GRID` into the other."""
    return torch.trapezoid((p - q).abs(), GRID).item() / 2


def line_figure(law: LabelledMixture, weights: Sequence[Number]) -> figures.Picture:
    """For each weight: the class, the sharpened density, the law of the guided sampler, and that of the right score."""
    figure, axes = figures.panels(len(weights), size=(3.1, 3.2), sharex=True)
    for axis, weight in zip(axes, weights):
        target = sharpened(law, weight)
        guided, right = (density_at(walk(law, weight)[-1]) for walk in (guided_walk, right_walk))
        axis.fill_between(GRID, target, color=figures.EXACT, alpha=0.45, linewidth=0, label="sharpened density")
        axis.plot(GRID, sharpened(law, 0), ":", color=figures.INK, linewidth=1.4, label="class")
        axis.plot(GRID, guided, color=figures.LEARNED, label="guided sampler")
        axis.plot(GRID, right, "--", color=figures.RIVAL, linewidth=1.4, label="sampler, right score")
        off = [total_variation(law_of, target) for law_of in (guided, right)]
        axis.set(title=f"w = {weight:g}\nmass astray {off[0]:.2f} and {off[1]:.2f}", xlim=(-1, 3.2), yticks=[])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    alt = "At w = 0 all curves agree. At larger weights the guided sampler's curve stands to the right of the grey area and is narrower; the dashed one covers it."
    return figures.describe(figure, alt)


def midway_figure(
    law: LabelledMixture, walk: Sequence[Float[Tensor, " z"]], weight: Number, t: Number
) -> figures.Picture:
    """At one time: the noised sharpened density, the sharpened noised one, and the guided sampler's own law.

    Args:
        law, weight: as `sharpened`.
        walk: `guided_walk(law, weight, steps)`.
        t: one of its times.

    Raises:
        ValueError: a time that is none of the walk's.
    """
    steps = len(walk) - 1
    place = round(steps * (1 - t))
    require(abs(place - steps * (1 - t)) < 1e-6, "t", t, f"a whole number of steps of {1 / steps:g}")
    figure, (axis,) = figures.panels(1, size=(6.6, 3.5))
    wanted = noised(sharpened(law, weight), t)
    axis.fill_between(GRID, wanted, color=figures.EXACT, alpha=0.45, linewidth=0, label="sharpened, then noised")
    axis.plot(GRID, sharpened(law, weight, t), color=figures.RIVAL, label="noised, then sharpened")
    axis.plot(GRID, density_at(walk[place]), color=figures.LEARNED, label="guided sampler")
    axis.set(xlim=(-3, 4.5), ylim=(0, 1.8), xlabel="x", ylabel="density", title=f"w = {weight:g}, t = {t:g}")
    axis.legend(loc="upper left")
    return figure


# --- in the plane -------------------------------------------------------------------------------------------------


def bayes_figure(law: LabelledMixture, label: int, t: Number) -> figures.Picture:
    """Bayes' rule for scores: the score of all data, the classifier's gradient, and their sum, which is the class's score."""
    side = torch.linspace(-2.1, 2.1, 12)
    grid = torch.cartesian_prod(side, side)
    everything = law.score(grid, t)
    towards = class_gradient(law.class_log_probs, grid, t, torch.full((len(grid),), label))
    fields = {
        "score of all data": (everything, figures.EXACT),
        "+ classifier's gradient": (towards, figures.RIVAL),
        "= score of the class": (everything + towards, figures.LEARNED),
    }
    figure, axes = figures.panels(3, size=(3.1, 3.3))
    for axis, (title, (field, colour)) in zip(axes, fields.items()):
        contours(axis, law, limit=2.3)
        axis.quiver(*grid.T, *field.T, color=colour, angles="xy", scale_units="xy", scale=26, width=0.007)
        axis.set(title=title, xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), xticks=[], yticks=[], aspect="equal")
        axis.spines[:].set_visible(False)
    alt = "Three fields of arrows: towards all four classes; away from three of them, towards the one asked for; and their sum, towards that one alone."
    return figures.describe(figure, alt)


def tilts(law: LabelledMixture, cells: int = 140) -> list[TiltedLaw]:
    """The sharpened density of each class: the class tilted by `log p(c|x)`, on a grid of the plane."""
    law = law.to("cpu")
    return [TiltedLaw(law, label, alignment(law), cells=cells) for label in range(law.num_classes)]


def beside_figure(
    law: LabelledMixture, targets: Sequence[TiltedLaw], weight: Number, session: Session
) -> figures.Picture:
    """Draws of the sharpened densities, in grey, and guided samples, in blue, over contours of the former."""
    count = session.pick(smoke=60, lesson=250)
    generator = torch.Generator().manual_seed(1000 * session.seed + 1)
    labels = torch.arange(len(targets)).repeat_interleave(count)
    noise = torch.randn(len(labels), 2, generator=generator)
    walk = sample_guided(law.conditional, law.unconditional, weight, labels, noise, time_grid(40))
    *_, guided = walk
    drawn = torch.cat([target.sample(count, weight, generator) for target in targets])
    apart = [energy_distance(guided[labels == label], drawn[labels == label]) for label in range(len(targets))]
    distance = max(0.0, torch.stack(apart).mean().item())
    figure, axes = figures.panels(2, size=(3.4, 3.7))
    pairs = {
        "sharpened density": (drawn, figures.EXACT),
        f"guided sampler\ndistance {distance:.3f}": (guided, figures.LEARNED),
    }
    for axis, (title, (points, colour)) in zip(axes, pairs.items()):
        for target in targets:
            tilt_contours(axis, target, weight, (0.9, 0.5), linewidth=0.9)
        figures.scatter(axis, points, colour, size=5, opacity=0.45, limit=2.4, title=title)
    return figure


def spread(points: Float[Tensor, "n 2"]) -> float:
    """The mean distance of two different points: how diverse a sample is.

    >>> spread(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    5.0
    """
    return torch.pdist(points).mean().item()


def what_happens(
    law: LabelledMixture, weights: Sequence[Number], session: Session, count: int
) -> dict[str, dict[str, list[float]]]:
    """Of class 0, for each weight: how far out points lie, and their spread, "guided" and "sharpened".

    Keys of each: "out", the mean distance from the middle of all data, and "spread".
    """
    generator, target = session.generator(5, "cpu"), tilts(law, 200)[0]
    labels, noise = torch.zeros(count).long(), torch.randn(count, 2, generator=generator)
    rows: dict[str, dict[str, list[float]]] = {name: {"out": [], "spread": []} for name in ("guided", "sharpened")}
    for weight in weights:
        *_, ends = sample_guided(law.conditional, law.unconditional, weight, labels, noise, time_grid(80))
        for name, points in (("guided", ends), ("sharpened", target.sample(count, weight, generator))):
            rows[name]["out"].append(points.norm(dim=1).mean().item())
            rows[name]["spread"].append(spread(points))
    return rows


def what_happens_figure(weights: Sequence[Number], rows: dict[str, dict[str, list[float]]]) -> figures.Picture:
    """How far out points lie and how diverse they are, against the weight."""
    figure, axes = figures.panels(2, size=(4.0, 3.1))
    looks = {"guided": (figures.LEARNED, "guided sampler"), "sharpened": (figures.EXACT, "sharpened density")}
    titles = {"out": "mean distance from the middle", "spread": "mean distance of two samples"}
    for axis, (what, title) in zip(axes, titles.items()):
        for name, (colour, label) in looks.items():
            axis.plot(weights, rows[name][what], "o-", markersize=4, color=colour, label=label)
        axis.set(title=title, xlabel="weight w", ylim=(0, None))
    axes[0].legend(loc="lower right")
    alt = "Against the weight, the guided curve rises on the left and falls on the right, both faster than those of the sharpened density."
    return figures.describe(figure, alt)


def _require_line(law: LabelledMixture) -> None:
    line = law.means.shape[1] == 1 and law.num_classes > ASKED
    require(line, "law", f"of {law.means.shape[1]} dimension(s)", "on a line, with at least two classes")

"""The live widget of the Ornstein-Uhlenbeck drift of a belief about two weights, towards the law of their start."""

from collections.abc import Sequence

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require, require_count, require_floating, require_in
from companion.methods.soft_reset import drift
from companion.teaching.widgets.base import Widget, float_bytes, require_words

PARTICLES, DRIFTS = 150, 60
PLACES = 100  # of both sliders between 0 and 1
NARROWEST = 0.1  # belief over start: its learning rate rises a hundredfold, and the outline can still be seen


class LiveDrift(Widget):
    """The widget that `live_drift` makes."""

    weights = traitlets.List(traitlets.Float()).tag(sync=True)
    init_mean = traitlets.List(traitlets.Float()).tag(sync=True)
    init_std = traitlets.List(traitlets.Float()).tag(sync=True)
    noise = traitlets.Bytes().tag(sync=True)
    particles = traitlets.Int().tag(sync=True)
    drifts = traitlets.Int().tag(sync=True)
    places = traitlets.Int().tag(sync=True)
    gamma_index = traitlets.Int().tag(sync=True)
    scale_index = traitlets.Int().tag(sync=True)
    least_scale_index = traitlets.Int().tag(sync=True)


def live_drift(
    *,
    title: str,
    alt: str,
    note: str = "",
    weights: tuple[Number, Number] = (2.0, 1.2),
    init_mean: tuple[Number, Number] = (0.0, 0.0),
    init_std: tuple[Number, Number] = (1.0, 0.7),
    posterior_scale: Number = 0.4,
    gamma: Number = 0.7,
    seed: int = 0,
) -> LiveDrift:
    """The drift of soft reset in the plane of two weights: set gamma, see where one more drift leads, and let it happen.

    The belief about the weights starts as N(weights, (posterior_scale init_std)^2), the law of the start is N(init_mean,
    init_std^2). Beside the law of the start lie the belief of now and that after one more drift; 150 particles, drawn from
    the first belief, make each drift with noise of their own, up to 60 times, at the gamma of each time. The plot shows, for
    every gamma, how much of the distance to the start the next drift leaves, and the belief's width after it. `drift_path`
    is what the browser computes.

    Args:
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        weights: where the network is.
        init_mean, init_std: of the law of its start; standard deviations from 0.01 to 100, neither more than 20 times the
            other.
        posterior_scale: width of the belief over that of the start, at the start of its slider, from 0.1 to 1.
        gamma: at the start of its slider, in [0, 1]; both are moved to the nearest hundredth.
        seed: of the particles and of their noise.

    Raises:
        TypeError: what should be a pair is none, a number that is none, or a title or alt that is no text.
        ValueError: numbers that are not finite or out of range, weights more than 50 of the start's standard deviations
            away, or an empty title or alt.
    """
    require_words(title, alt)
    for name, pair in {"weights": weights, "init_mean": init_mean, "init_std": init_std}.items():
        two = isinstance(pair, tuple | list) and len(pair) == 2
        require(two, name, repr(pair), "a pair of numbers", TypeError)
        for number in pair:
            require_in(f"each of {name}", number, "[0.01, 100]" if name == "init_std" else "(-inf, inf)")
    require(max(init_std) <= 20 * min(init_std), "init_std", tuple(init_std), "two numbers within a factor of 20")
    far = max(abs(own - mean) / std for own, mean, std in zip(weights, init_mean, init_std))
    require(far <= 50, "weights", f"{far:.3g} standard deviations from init_mean", "at most 50 away")
    require_in("posterior_scale", posterior_scale, f"[{NARROWEST}, 1]")
    require_in("gamma", gamma, "[0, 1]")
    require_count("seed", seed, 0)
    noise = torch.randn(DRIFTS + 1, PARTICLES, 2, generator=torch.Generator().manual_seed(seed))
    return LiveDrift(
        kind="drift", title=title, alt=alt, note=note, weights=_floats(weights), init_mean=_floats(init_mean),
        init_std=_floats(init_std), noise=float_bytes(noise), particles=PARTICLES, drifts=DRIFTS, places=PLACES,
        gamma_index=round(PLACES * gamma), scale_index=round(PLACES * posterior_scale),
        least_scale_index=round(PLACES * NARROWEST),
    )  # fmt: skip


def drift_path(
    weights: Float[Tensor, "2"],
    init_mean: Float[Tensor, "2"],
    init_std: Float[Tensor, "2"],
    noise: Float[Tensor, "most n 2"],
    *,
    posterior_scale: Number,
    gammas: Sequence[Number],
) -> tuple[Float[Tensor, "states 2"], Float[Tensor, "states 2"], Float[Tensor, "states n 2"]]:
    """A belief about two weights and particles drawn from it, before the first drift and after each.

    Args:
        weights: mean of the belief at first; its standard deviations are posterior_scale init_std.
        init_mean, init_std: of the law of the start.
        noise: standard normal numbers: of the particles' places at first, then of each of their drifts.
        posterior_scale, gammas: the belief's width over that of the start; of each drift, in [0, 1].

    Returns:
        Means, standard deviations and particles.

    Raises:
        TypeError, ValueError: as `methods.soft_reset.drift`, or less noise than drifts.
    """
    require_floating("noise", noise)
    enough = len(noise) > len(gammas)
    require(enough, "noise", f"for {len(noise) - 1} drifts", f"for at least {len(gammas)}, one for each gamma")
    require_in("posterior_scale", posterior_scale, "(0, inf)")
    means, stds = [weights], [posterior_scale * init_std]
    particles = [means[0] + stds[0] * noise[0]]
    still = torch.zeros_like(init_std)
    for gamma, own in zip(gammas, noise[1:]):
        mean, std = drift(means[-1], stds[-1], init_mean, init_std, gamma)
        centre, spread = drift(particles[-1], still, init_mean, init_std, gamma)  # of each particle by itself
        means.append(mean)
        stds.append(std)
        particles.append(centre + spread * own)
    return torch.stack(means), torch.stack(stds), torch.stack(particles)


def _floats(pair: tuple[Number, Number]) -> list[float]:
    return [float(number) for number in pair]

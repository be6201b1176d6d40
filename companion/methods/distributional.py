"""Distributional diffusion: learn the law of the clean point, not its mean, and take big steps.

A standard denoiser learns `E[x0 | x_t]` by regression. A distributional denoiser takes fresh noise
beside `x_t` and is trained with a scoring rule so that its output is a *draw* of `x0 | x_t`. Steps that
compose exact posterior draws keep the right law on any grid, however coarse.

Source: De Bortoli, Galashov, Guntupalli, Zhou, Murphy, Gretton and Doucet, "Distributional Diffusion
Models with Scoring Rules", ICML 2025 (arXiv 2502.02483). Equation numbers below are that paper's.

>>> from companion.data.toy import eight_gaussians
>>> from companion.foundations.diffusion import time_grid
>>> from companion.foundations.networks import TimeMLP
>>> generator = torch.Generator().manual_seed(0)
>>> model = DistributionalDenoiser(TimeMLP(dim=2, noise_dim=2), noise_shape=(2,))
>>> for state in train_distributional(model, eight_gaussians(), steps=10, generator=generator):
...     pass
>>> noise = torch.randn(1000, 2, generator=generator)
>>> *_, points = sample_distributional(model, noise, time_grid(4), generator=generator)
>>> points.shape
torch.Size([1000, 2])
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.foundations.diffusion import Time, add_noise, as_time, sample
from companion.foundations.distances import pairwise_power
from companion.foundations.training import Data, TrainingState, draw_batch, train
from companion.foundations.validation import (
    Number,
    require,
    require_callable,
    require_count,
    require_floating,
    require_in,
)


def energy_score_loss(
    predictions: Float[Tensor, "m n *event"],
    target: Float[Tensor, "n *event"],
    beta: Number = 1.0,
    lam: Number = 1.0,
    weight: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """Generalised energy score of m draws against the point that came true, eq. (12) and (15), as a loss.

        mean over n of   (1/m) sum_j |x0 - xh_j|^beta
                       - lam / (2 m (m - 1)) sum_{j != j'} |xh_j - xh_j'|^beta

    The first term pulls every draw to the data, the second pushes the draws apart. It is smallest for
    the true law, and only there (strictly proper), when lam = 1 and 0 < beta < 2. With lam = 0 and
    beta = 2 it is the usual regression loss. The second term is a U-statistic, so the value is unbiased
    for every m: more draws buy less variance, not another target.

    Args:
        predictions: m draws for each of the n points, (m, n, *event); event axes are flattened.
        target: the clean points (n, *event).
        beta: exponent in (0, 2].
        lam: weight of the repulsion in [0, 1].
        weight: (n,), multiplies each point's score before the mean.

    Raises:
        TypeError: not floating tensors.
        ValueError: shapes disagree, beta or lam out of range, or m = 1 with lam > 0.
    """
    require_floating("predictions", predictions)
    require_floating("target", target)
    shapes_fit = predictions.ndim >= 3 and predictions.shape[1:] == target.shape
    require(
        shapes_fit,
        "predictions",
        f"of shape {tuple(predictions.shape)}",
        f"of shape (m, {', '.join(map(str, target.shape))})",
    )
    require_in("beta", beta, "(0, 2]")
    require_in("lam", lam, "[0, 1]")
    population = len(predictions)
    enough = population >= 2 or (population == 1 and lam == 0)
    require(enough, "predictions", f"{population} draws for each point", "at least 2 draws, or 1 when lam is 0")
    require(
        predictions.device == target.device,
        "predictions",
        f"on {predictions.device}",
        f"on {target.device} like target",
    )
    if weight is not None:
        require_floating("weight", weight)
        require(
            weight.shape == target.shape[:1], "weight", f"of shape {tuple(weight.shape)}", f"of shape ({len(target)},)"
        )

    draws, target = predictions.flatten(2).transpose(0, 1).contiguous(), target.flatten(1)[:, None]
    score = pairwise_power(draws, target, beta, exact=True).mean((1, 2))
    if lam > 0:  # a draw is at distance 0 of itself: the sum is over j != j'
        pairs = pairwise_power(draws, draws, beta, exact=True).sum((1, 2))
        score = score - lam / 2 * pairs / (population * (population - 1))
    return (score if weight is None else weight * score).mean()


def optimal_spread(lam: Number, beta: Number = 1.0) -> float:
    """Standard deviation of the best isotropic Gaussian model of a standard Gaussian law, in any dimension.

    Setting the derivative of the expected score to zero gives `s = sqrt(q / (2 - q))` with
    `q = lam^(2 / (2 - beta))`: 1 at lam = 1, shrinking to 0 (the median) as lam does.

    Raises:
        ValueError: lam outside [0, 1], or beta outside (0, 2), where no spread is best.
    """
    require_in("lam", lam, "[0, 1]")
    require_in("beta", beta, "(0, 2)", " (at 2 the score does not depend on the spread)")
    shrink = lam ** (2 / (2 - beta))
    return math.sqrt(shrink / (2 - shrink))


def expected_score(
    spread: Float[Tensor, " *s"], lam: Number = 1.0, beta: Number = 1.0, dim: int = 2
) -> Float[Tensor, " *s"]:
    """The loss in expectation, for data N(0, I) and a model N(0, spread^2 I) in `dim` dimensions.

    `E|N(0, v I)|^beta = v^(beta/2) 2^(beta/2) Gamma((dim + beta)/2) / Gamma(dim/2)`, with v = 1 + spread^2
    for the first term and 2 spread^2 for the second.

    Raises:
        TypeError: `spread` is not a floating tensor.
        ValueError: lam, beta or dim out of range.
    """
    require_floating("spread", spread)
    require_in("lam", lam, "[0, 1]")
    require_in("beta", beta, "(0, 2]")
    require_count("dim", dim, 1)
    moment = 2 ** (beta / 2) * math.exp(math.lgamma((dim + beta) / 2) - math.lgamma(dim / 2))
    return moment * ((1 + spread**2) ** (beta / 2) - lam / 2 * (2 * spread**2) ** (beta / 2))


class DistributionalDenoiser(nn.Module):
    """A network that takes (x, t, noise), with the noise drawn for it: each call is one draw of x0 given x_t.

    Args:
        network: any module (x (n, *event), t () or (n,), noise (n, *noise_shape)) -> (n, *event).
        noise_shape: of one point's noise, (2,) for a `TimeMLP(noise_dim=2)` or (1, 8, 8) for a
            `UNet(noise_channels=1)` on 8x8 images. None wraps an ordinary denoiser, called with (x, t).
    """

    def __init__(self, network: nn.Module, noise_shape: tuple[int, ...] | None) -> None:
        super().__init__()
        require(
            isinstance(network, nn.Module), "network", f"a {type(network).__name__}", "a torch.nn.Module", TypeError
        )
        shape = noise_shape is None or isinstance(noise_shape, tuple | list)
        require(shape, "noise_shape", repr(noise_shape), "None or a tuple such as (2,)", TypeError)
        for size in noise_shape or ():
            require_count("each length in noise_shape", size, 1)
        self.network = network
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def forward(
        self,
        x: Float[Tensor, "n *event"],
        t: Time,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Float[Tensor, "n *event"]:
        """One draw of x0 for each row of `x` at time `t`; `noise` (n, *noise_shape) replaces the drawn one."""
        if self.noise_shape is None:
            require(noise is None, "noise", "given", "None, as this denoiser takes no noise")
            return self.network(x, t)
        shape = (len(x), *self.noise_shape)
        if noise is None:
            noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)
        require(noise.shape == shape, "noise", f"of shape {tuple(noise.shape)}", f"of shape {shape}")
        return self.network(x, t, noise)

    def draws(
        self, x: Float[Tensor, "n *event"], t: Time, population: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "m n *event"]:
        """`population` draws of x0 for each row of `x`, in one pass of the network."""
        require_count("population", population, 1)
        t = as_time(t, x).expand(len(x))
        repeated = x.expand(population, *x.shape).flatten(0, 1)
        return self(repeated, t.repeat(population), generator).unflatten(0, (population, len(x)))


def train_distributional(
    model: DistributionalDenoiser,
    data: Data,
    steps: int,
    population: int = 8,
    beta: Number = 1.0,
    lam: Number = 1.0,
    batch_size: int = 256,
    learning_rate: Number = 2e-3,
    weight: Callable[[Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[TrainingState]:
    """Algorithm 1: noise a batch to random times, draw a population of clean points, score it.

    `population=1, beta=2, lam=0` with a denoiser that takes no noise trains the standard one.

    Args:
        model: trained in place, in the dtype and on the device of its parameters, which `data` must share.
        data: a tensor (N, *event), a law with `.sample(n, generator)`, or such a callable.
        steps: updates; each costs about `population` times one of a standard denoiser.
        population: draws m for each noisy point.
        beta, lam: of `energy_score_loss`.
        batch_size: noisy points for each update.
        learning_rate: at the start; see `training.train`.
        weight: of the loss as a function of the times (n,); None weighs them equally.
        generator: for the batches, times and noise, on the model's device.
        resume: a `TrainingState.state_dict()`.

    Raises:
        TypeError: `model` is no `DistributionalDenoiser`, `weight` cannot be called.
        ValueError: as `energy_score_loss` and `training.train`, at the call.
    """
    require_count("population", population, 1)
    require_count("batch_size", batch_size, 1)
    require_in("beta", beta, "(0, 2]")
    require_in("lam", lam, "[0, 1]")
    require(population >= 2 or lam == 0, "population", population, "at least 2, or 1 when lam is 0")
    draws = callable(getattr(model, "draws", None))
    require(draws, "model", f"a {type(model).__name__}", "a DistributionalDenoiser", TypeError)
    require(weight is None or callable(weight), "weight", f"a {type(weight).__name__}", "None or a callable", TypeError)

    def loss(model: DistributionalDenoiser) -> Tensor:
        x0 = draw_batch(data, batch_size, generator)
        t = torch.rand(batch_size, generator=generator, dtype=x0.dtype, device=x0.device)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        predictions = model.draws(add_noise(x0, t, noise), t, population, generator)
        return energy_score_loss(predictions, x0, beta, lam, None if weight is None else weight(t))

    return train(model, loss, steps, learning_rate, generator=generator, resume=resume)


def sample_distributional(
    model: Callable[..., Tensor],
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " times"],
    churn: Number = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[Float[Tensor, "n *event"]]:
    """Algorithm 2: at each time draw a clean point, then cross the bridge to it; yields every state.

    The same as `diffusion.sample` with a denoiser that draws, without gradients. With exact posterior
    draws every state has the exact noised law, on any grid and for every churn. At churn 0 the draws
    are still random.

    Args and errors as `diffusion.sample`; `model` is a callable (x, t, generator) -> (n, *event).
    """
    require_callable("model", model, "a callable (x, t, generator) -> x0")

    def draw(x: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            return model(x, t, generator)

    return sample(draw, x, times, churn, generator)

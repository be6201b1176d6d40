"""Gaussian mixtures: the data laws for which every question of diffusion has an exact answer.

A mixture of isotropic Gaussians stays one when it is noised, and the law of the clean point given a
noisy one is a mixture again. So the score, the posterior mean and the whole posterior are closed
forms, and what a network learns can be laid beside the truth.

>>> law = GaussianMixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.1, 0.1]))
>>> law.denoise(torch.tensor([[0.0]]), 0.5)      # half way between the modes, where no data live
tensor([[0.]])
"""

import torch
from jaxtyping import Float
from torch import Tensor

from companion.foundations.diffusion import Time, alpha, as_time, expand_time, sigma
from companion.foundations.validation import require, require_count, require_floating


class GaussianMixture:
    """Mixture of k isotropic Gaussians in d dimensions, `sum_k weights_k N(means_k, stds_k^2 I)`.

    Args:
        means: (k, d).
        stds: (k,), positive.
        weights: (k,), non-negative; normalised here. Equal weights when None.

    Raises:
        TypeError: an argument is not a floating tensor.
        ValueError: shapes disagree, a std is not positive, or a weight is negative.
    """

    def __init__(
        self,
        means: Float[Tensor, "k d"],
        stds: Float[Tensor, " k"],
        weights: Float[Tensor, " k"] | None = None,
    ) -> None:
        require_floating("means", means)
        require_floating("stds", stds)
        require(means.ndim == 2, "means", f"of shape {tuple(means.shape)}", "of shape (k, d)")
        require(stds.shape == means.shape[:1], "stds", f"of shape {tuple(stds.shape)}", f"of shape ({len(means)},)")
        require(bool((stds > 0).all()), "stds", stds.tolist(), "positive")
        if weights is None:
            weights = torch.ones_like(stds)
        require_floating("weights", weights)
        require(weights.shape == stds.shape, "weights", f"of shape {tuple(weights.shape)}", f"of shape ({len(means)},)")
        require(
            bool((weights >= 0).all() and weights.sum() > 0), "weights", weights.tolist(), "non-negative, not all 0"
        )
        self.means, self.stds, self.weights = means, stds, weights / weights.sum()

    def to(self, *args, **kwargs) -> "GaussianMixture":
        """The same law on another device or in another dtype, as `Tensor.to`."""
        return GaussianMixture(*(value.to(*args, **kwargs) for value in (self.means, self.stds, self.weights)))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """`n` independent points."""
        require_count("n", n, 1)
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(
            n, self.means.shape[1], generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        return self.means[chosen] + self.stds[chosen, None] * noise

    def log_prob(self, x: Float[Tensor, "n d"], t: Time = 0.0) -> Float[Tensor, " n"]:
        """Log density at `x` of the law noised to time `t` (0: of the law itself)."""
        return self._joint_log_prob(x, t).logsumexp(1)

    def score(self, x: Float[Tensor, "n d"], t: Time) -> Float[Tensor, "n d"]:
        """Gradient of the noised log density; equal to `(alpha(t) denoise(x, t) - x) / sigma(t)^2` (Tweedie's formula).

        Computed as the pull of each component, `sum_k p(k | x) (alpha means_k - x) / variance_k`, which
        stays exact as t -> 0, where Tweedie's formula divides rounding errors by 0.
        """
        weights = self._joint_log_prob(x, t).softmax(1)
        t = as_time(t, x)
        variance = alpha(t)[..., None] ** 2 * self.stds**2 + sigma(t)[..., None] ** 2
        centred = x[:, None] - expand_time(alpha(t), x[:, None]) * self.means
        return -((weights / variance)[..., None] * centred).sum(1)

    def posterior(
        self, x: Float[Tensor, "n d"], t: Time
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k d"], Float[Tensor, "*n k"]]:
        """The law of the clean point given `x` at time `t`: again a mixture, by Bayes' rule for Gaussians.

        Returns weights (n, k), means (n, k, d) and stds (k,), or (n, k) when `t` is (n,).
        """
        self._require_points(x)
        t = as_time(t, x)
        variance = self.stds**2
        noisy_variance = alpha(t)[..., None] ** 2 * variance + sigma(t)[..., None] ** 2
        gain = alpha(t)[..., None] * variance / noisy_variance
        residual = x[:, None] - expand_time(alpha(t), x[:, None]) * self.means
        means = self.means + gain[..., None] * residual
        stds = (sigma(t)[..., None] ** 2 * variance / noisy_variance).sqrt()
        return self._joint_log_prob(x, t).softmax(1), means, stds

    def denoise(self, x: Float[Tensor, "n d"], t: Time) -> Float[Tensor, "n d"]:
        """The posterior mean `E[x0 | x_t = x]`: what a perfect standard denoiser predicts."""
        weights, means, _ = self.posterior(x, t)
        return (weights[..., None] * means).sum(1)

    def sample_posterior(
        self, x: Float[Tensor, "n d"], t: Time, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        """One draw of `x0 | x_t = x` for each row: what a perfect distributional denoiser returns."""
        weights, means, stds = self.posterior(x, t)
        chosen = torch.multinomial(weights, 1, generator=generator)
        mean = means.gather(1, chosen[..., None].expand(-1, 1, x.shape[1]))[:, 0]
        std = stds.expand_as(weights).gather(1, chosen)
        return mean + std * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)

    def _joint_log_prob(self, x: Float[Tensor, "n d"], t: Time) -> Float[Tensor, "n k"]:
        """log weights_k + log N(x; alpha means_k, alpha^2 stds_k^2 + sigma^2)."""
        self._require_points(x)
        t = as_time(t, x)
        variance = alpha(t)[..., None] ** 2 * self.stds**2 + sigma(t)[..., None] ** 2
        centred = x[:, None] - expand_time(alpha(t), x[:, None]) * self.means
        square = centred.square().sum(-1)
        return self.weights.log() - 0.5 * (square / variance + x.shape[1] * (2 * torch.pi * variance).log())

    def _require_points(self, x: object) -> None:
        require_floating("x", x)
        d = self.means.shape[1]
        require(x.ndim == 2 and x.shape[1] == d, "x", f"of shape {tuple(x.shape)}", f"of shape (n, {d})")
        require(x.device == self.means.device, "x", f"on {x.device}", f"on {self.means.device} like the mixture")

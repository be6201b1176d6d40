"""A Kalman filter over the last layer: classify a stream that drifts, and learn while being tested how fast to forget.

Each class has a column of weights. Between two blocks of rows the weights are supposed to wander, by an
Ornstein-Uhlenbeck step that keeps their prior variance; then a block of centred one-hot targets is absorbed exactly, as if
its noise were Gaussian. All classes share one covariance, so a row costs O(m^2 + m K). Prediction keeps the softmax: the
belief about the K outputs is Gaussian, and the class probabilities are its average softmax. How much is forgotten, gamma,
and how sharp the softmax is, alpha, are learned by a gradient on the log-probability that each block had before it was
absorbed.

Source: M. K. Titsias, A. Galashov, A. Rannen-Triki, R. Pascanu, Y. W. Teh, J. Bornschein, "Kalman Filter for Online
Classification of Non-Stationary Data", ICLR 2024 (arXiv 2306.08448). The recursion for blocks, the square-root form and
their derivations are ours, from the textbook's algebra.

>>> generator = torch.Generator().manual_seed(0)
>>> labels = torch.randint(2, (200,), generator=generator)
>>> features = torch.randn(200, 3, generator=generator) + (2 * labels - 1)[:, None]
>>> for state in run_stream(KalmanHead(3, 2, learn_gamma=True), features, labels, every=200, generator=generator):
...     pass
>>> bool(state.correct.double().mean() > 0.9)
True
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.linear import require_rows
from companion.foundations.online import OnlineLearner, StreamState, centred_one_hot, run_stream
from companion.foundations.validation import (
    Number,
    require,
    require_count,
    require_floating,
    require_in,
    require_labels,
)

__all__ = ["KalmanHead", "StreamState", "UnitFeatures", "average_log_softmax", "centred_one_hot", "run_stream"]


class KalmanHead(OnlineLearner):
    """A linear last layer, W (m, K), as the state of a Kalman filter.

        w_n | w_{n-1} ~ N(gamma w_{n-1}, (1 - gamma^2) weight_variance I)       each column of W wanders, prior N(0, weight_variance I)
        y | phi ~ N(W' phi, noise_variance I)                                   for the update
        p(y = k | phi) = E softmax(alpha f)_k,  f ~ N(W' phi, v I)              for the prediction

    gamma = 1 is ridge regression of all rows so far, gamma = 0 forgets everything between two blocks. One block is one
    drift, so gamma is per block.

    A stream, row by row (`run_stream` does this):

        log_prob = head.log_prob(features, labels)        # test: by the belief as it drifts by now
        head.adapt(log_prob)                              # one gradient step on gamma and alpha (and on a backbone)
        head.update(features, targets)                    # drift, and absorb

    Args:
        num_features: m. Give features a fixed scale, such as unit norm: `weight_variance` is in their units.
        num_classes: K, or the number of outputs in regression.
        weight_variance: of the prior. By the prior an output has the variance `weight_variance` |phi|^2; that of centred
            one-hot targets is (K - 1) / K^2, a good start.
        noise_variance: of the targets; with `weight_variance`, the ridge is their ratio.
        gamma: how much of the weights is kept from block to block, in [0, 1]; the start, if it is learned.
        learn_gamma: whether `adapt` moves it.
        gamma_rate: of its gradient steps, on delta = -2 log gamma.
        alpha: scale of the softmax; the start, if it is learned. One-hot targets are small, so well above 1.
        alpha_rate: of its gradient steps, on log alpha; 0 keeps it.
        samples: of the Monte Carlo average, unless a call says otherwise.
        square_root: keep a root L of the covariance L L' instead of the covariance itself. The covariance is then
            positive by construction, whatever the rounding, for a QR decomposition of (2m, m) per drift. None: where the
            dtype is not float64.
        dtype: of the belief; features and targets are converted.
        device: of the belief.

    Raises:
        TypeError, ValueError: a number out of range, or a dtype that is neither float32 nor float64.
    """

    mean: Tensor
    status: Tensor

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        weight_variance: Number = 1.0,
        noise_variance: Number = 0.1,
        gamma: Number = 1.0,
        learn_gamma: bool = False,
        *,
        gamma_rate: Number = 1e-5,
        alpha: Number = 5.0,
        alpha_rate: Number = 1e-2,
        samples: int = 32,
        square_root: bool | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        require_count("num_features", num_features, 1)
        require_count("num_classes", num_classes, 1)
        for name, value in {
            "weight_variance": weight_variance,
            "noise_variance": noise_variance,
            "alpha": alpha,
        }.items():
            require_in(name, value, "(0, inf)")
        require_in("gamma", gamma, "(0, 1]" if learn_gamma else "[0, 1]")
        for name, value in {"gamma_rate": gamma_rate, "alpha_rate": alpha_rate}.items():
            require_in(name, value, "[0, inf)")
        require_count("samples", samples, 1)
        require(dtype in (torch.float32, torch.float64), "dtype", dtype, "torch.float32 or torch.float64")
        self.num_features, self.num_classes = num_features, num_classes
        self.weight_variance, self.noise_variance = weight_variance, noise_variance
        self.gamma_rate, self.alpha_rate, self.samples = gamma_rate, alpha_rate, samples
        self.square_root = dtype != torch.float64 if square_root is None else square_root
        self.drifts = learn_gamma or gamma < 1
        place = {"dtype": dtype, "device": device}
        delta = -2 * math.log(gamma) if gamma > 0 else math.inf
        self.delta = nn.Parameter(torch.tensor(delta, **place), requires_grad=learn_gamma)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha), **place), requires_grad=alpha_rate > 0)
        self.register_buffer("mean", torch.zeros(num_features, num_classes, **place))
        self.register_buffer("belief", torch.empty(num_features, num_features, **place))  # A, or its root L
        self.register_buffer("status", torch.zeros((), dtype=torch.int32, device=device))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Back to the prior; gamma and alpha stay as they are."""
        scale = self.weight_variance**0.5 if self.square_root else self.weight_variance
        self.mean.zero_()
        self.belief.copy_(scale * torch.eye(self.num_features, dtype=self.belief.dtype, device=self.belief.device))

    @property
    def gamma(self) -> Float[Tensor, ""]:
        """What the weights are multiplied by from block to block."""
        return torch.exp(-0.5 * self.delta.detach())

    @property
    def alpha(self) -> Float[Tensor, ""]:
        """The scale of the softmax."""
        return self.log_alpha.detach().exp()

    @property
    def covariance(self) -> Float[Tensor, "m m"]:
        """A: of each column of the weights after the last update."""
        return self.belief @ self.belief.T if self.square_root else self.belief

    def predict(self, features: Float[Tensor, "b m"]) -> tuple[Float[Tensor, "b K"], Float[Tensor, " b"]]:
        """Mean and variance of the outputs W' phi, by the belief after one more drift; the state stays as it is.

            mean = gamma M' phi,   variance = gamma^2 phi' A phi + (1 - gamma^2) weight_variance |phi|^2

        All outputs of a row have the same variance; that of the targets is larger by `noise_variance`. Differentiable in
        the features and in delta.

        Raises:
            TypeError, ValueError: features that are not a floating (b, m), b at least 1.
        """
        features = self._features(features)
        root = features @ self.belief if self.square_root else None
        spread = (features @ self.belief * features).sum(1) if root is None else root.square().sum(1)
        if not self.drifts:
            return features @ self.mean, spread
        kept, added = torch.exp(-self.delta), -torch.expm1(-self.delta) * self.weight_variance
        return torch.exp(-0.5 * self.delta) * (features @ self.mean), kept * spread + added * features.square().sum(1)

    def log_prob(
        self,
        features: Float[Tensor, "b m"],
        labels: Int[Tensor, " b"],
        generator: torch.Generator | None = None,
        samples: int | None = None,
    ) -> Float[Tensor, " b"]:
        """Log-probability of each label, by Monte Carlo: log of the average softmax over draws of the outputs.

        Differentiable in delta, log alpha and the features.

        Raises:
            TypeError, ValueError: as `log_probabilities`, or labels that are not (b,) whole numbers below K.
        """
        log_probabilities = self.log_probabilities(features, generator, samples)
        require_labels("labels", labels, len(log_probabilities), self.num_classes)
        return log_probabilities.gather(1, labels.long()[:, None])[:, 0]

    def log_probabilities(
        self, features: Float[Tensor, "b m"], generator: torch.Generator | None = None, samples: int | None = None
    ) -> Float[Tensor, "b K"]:
        """Log-probability of every class: `log E softmax(alpha f)`, f ~ N(mean, variance I).

        Args:
            features: (b, m).
            generator: of the draws.
            samples: how many, at a cost of O(K) each.

        Raises:
            TypeError, ValueError: features that are not a floating (b, m), or no samples.
        """
        samples = self.samples if samples is None else samples
        require_count("samples", samples, 1)
        mean, variance = self.predict(features)
        place = {"dtype": mean.dtype, "device": mean.device}
        noise = torch.randn(samples, *mean.shape, generator=generator, **place)
        return average_log_softmax(mean, variance, self.log_alpha.exp(), noise)

    def log_density(self, features: Float[Tensor, "b m"], targets: Float[Tensor, "b K"]) -> Float[Tensor, " b"]:
        """Log-density of the targets of each row, summed over outputs: what to `adapt` to in regression.

        `log N(targets | mean, (variance + noise_variance) I)`; each row by itself, as if it came first in its block.

        Raises:
            TypeError, ValueError: rows that do not fit.
        """
        require_rows(features, targets)
        require(
            targets.shape[1] == self.num_classes,
            "targets",
            f"of shape {tuple(targets.shape)}",
            f"of shape (b, {self.num_classes})",
        )
        mean, variance = self.predict(features)
        variance = variance + self.noise_variance
        misfit = (targets.to(mean) - mean).square().sum(1) / variance
        return -0.5 * (misfit + self.num_classes * (2 * math.pi * variance).log())

    def descend(self) -> None:
        """A gradient step on log alpha and delta, which stays at least 0: gamma does not exceed 1."""
        for parameter, rate in ((self.log_alpha, self.alpha_rate), (self.delta, self.gamma_rate)):
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=rate)
        if self.delta.requires_grad:
            self.delta.clamp_(min=0)

    @torch.no_grad()
    def update(self, features: Float[Tensor, "b m"], targets: Float[Tensor, "b K"]) -> None:
        """One drift, then the whole block at once; the same as row by row with one drift before the first.

            M- = gamma M,  A- = gamma^2 A + (1 - gamma^2) weight_variance I
            S = Phi A- Phi' + noise_variance I,  G = A- Phi' S^-1
            M = M- + G (Y - Phi M-),  A = A- - G Phi A-

        `status` is not 0 from then on if S could not be factored (features that are not finite): reading it waits for the
        device, and `run_stream` does so when it yields.

        Args:
            features: Phi (b, m).
            targets: Y (b, K), as given: centre one-hot rows outside (`centred_one_hot`).

        Raises:
            TypeError, ValueError: rows that do not fit.
        """
        require_rows(features, targets)
        features, targets = self._features(features), targets.to(self.mean)
        fits = targets.shape[1] == self.num_classes
        require(fits, "targets", f"of shape {tuple(targets.shape)}", f"of shape (b, {self.num_classes})")
        if self.drifts:
            self._drift()
        root = self.belief.T @ features.T if self.square_root else None  # L' Phi'
        cross = self.belief @ (features.T if root is None else root)  # A Phi'
        innovation = features @ cross
        innovation.diagonal().add_(self.noise_variance)
        factor, status = torch.linalg.cholesky_ex(innovation)
        torch.maximum(self.status, status, out=self.status)
        residuals = targets - features @ self.mean
        self.mean.addmm_(cross, torch.cholesky_solve(residuals, factor))
        whitened = torch.linalg.solve_triangular(factor, cross.T, upper=False)  # C^-1 Phi A, where S = C C'
        if root is None:
            self.belief.addmm_(whitened.T, whitened, alpha=-1)  # symmetric, but for the product's last digits
        else:  # Andrews 1968: L <- L - L Phi' .. = L - A Phi' C^-T (C + s I)^-1 Phi L
            factor.diagonal().add_(self.noise_variance**0.5)
            step = torch.linalg.solve_triangular(factor, root.T, upper=False)
            self.belief.addmm_(whitened.T, step, alpha=-1)

    def _drift(self) -> None:
        kept, added = torch.exp(-self.delta), -torch.expm1(-self.delta) * self.weight_variance
        self.mean.mul_(torch.exp(-0.5 * self.delta))
        if self.square_root:
            noise = torch.diag_embed(added.sqrt().expand(self.num_features))
            stacked = torch.cat([torch.exp(-0.5 * self.delta) * self.belief.T, noise])
            self.belief.copy_(torch.linalg.qr(stacked, mode="r").R.T)
        else:
            self.belief.mul_(kept).diagonal().add_(added)

    def _features(self, features: Tensor) -> Tensor:
        require_floating("features", features)
        fits = features.ndim == 2 and features.shape[1] == self.num_features and len(features) > 0
        allowed = f"of shape (b, {self.num_features}) with at least one row"
        require(fits, "features", f"of shape {tuple(features.shape)}", allowed)
        return features.to(self.mean.dtype)


class UnitFeatures(nn.Module):
    """Rows scaled to unit norm, and a constant appended: features whose scale `weight_variance` can rely on.

    Put it behind a backbone: (..., m) -> (..., m + 1).

    Args:
        constant: what is appended; its square beside 1 is the share of the prior variance that the bias has.

    Raises:
        TypeError, ValueError: a constant that is no positive number.
    """

    def __init__(self, constant: Number = 0.3) -> None:
        super().__init__()
        require_in("constant", constant, "(0, inf)")
        self.constant = constant

    def forward(self, features: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch width"]:
        """The rows with one more column; a row of (almost) zeros stays one, but for the constant."""
        require_floating("features", features)
        scaled = nn.functional.normalize(features, dim=-1, eps=1e-6)
        return torch.cat([scaled, torch.full_like(features[..., :1], self.constant)], -1)


def average_log_softmax(
    mean: Float[Tensor, "b K"], variance: Float[Tensor, " b"], scale: Float[Tensor, ""], noise: Float[Tensor, "s b K"]
) -> Float[Tensor, "b K"]:
    """`log 1/s sum_j softmax(scale (mean + sqrt(variance) noise_j))`, for standard normal `noise`.

    Raises:
        TypeError, ValueError: tensors that are not floating, or shapes that do not fit.
    """
    for name, value in {"mean": mean, "variance": variance, "scale": scale, "noise": noise}.items():
        require_floating(name, value)
    require(mean.ndim == 2, "mean", f"of shape {tuple(mean.shape)}", "of shape (b, K)")
    fits = variance.shape == mean.shape[:1]
    require(fits, "variance", f"of shape {tuple(variance.shape)}", f"of shape ({len(mean)},)")
    fits = noise.ndim == 3 and noise.shape[1:] == mean.shape
    require(fits, "noise", f"of shape {tuple(noise.shape)}", f"of shape (s, {', '.join(map(str, mean.shape))})")
    least = torch.finfo(variance.dtype).tiny  # the root has no slope at 0
    outputs = mean + variance.clamp_min(least).sqrt()[:, None] * noise
    return torch.log_softmax(scale * outputs, -1).logsumexp(0) - math.log(len(noise))

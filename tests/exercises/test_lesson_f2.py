"""Every check of lesson f2 lets the solution pass, and each of its properties catches a wrong answer that people give."""

import math

import torch

from companion.foundations.diffusion import sample, time_grid
from companion.foundations.mixtures import GaussianMixture


def posterior(
    shrink=True, gain=True, bayes=True, prior=True, normaliser="d", hard=False, logs=True, square=True, sum_axis=2
):
    """The posterior mean with one mistake: a mean not shrunk, a gain left out, the data's weights, no normaliser, ..."""

    def posterior_mean(x, t, means, stds, weights):
        alpha, sigma = 1 - t, t
        variance = alpha**2 * stds**2 + sigma**2 if square else (alpha * stds + sigma) ** 2
        away = x[:, None] - (alpha if shrink else 1) * means
        power = {"d": x.shape[1] / 2, "one": 1 / 2, "none": 0}[normaliser]
        log = -away.square().sum(sum_axis) / (2 * variance) - power * variance.log()
        log = log + weights.log() if prior else log
        likely = log.softmax(1) if logs else log.exp() / log.exp().sum(1, keepdim=True)
        if hard:
            likely = torch.nn.functional.one_hot(log.argmax(1), len(weights)).to(x)
        if not bayes:
            likely = weights.expand_as(log)
        each = means + (alpha * stds**2 / variance)[:, None] * away if gain else means.expand(len(x), -1, -1)
        return (likely[..., None] * each).sum(1)

    return posterior_mean


def score_instead(x, t, means, stds, weights):
    return GaussianMixture(means, stds, weights).score(x, t)


def one_row(x, t, means, stds, weights):
    return posterior()(x, t, means, stds, weights).mean(0)


def in_double(x, t, means, stds, weights):
    return posterior()(*(value.double() if torch.is_tensor(value) else value for value in (x, t, means, stds, weights)))


def point_itself(x, t, means, stds, weights):
    return x.clone()


def rescaled_point(x, t, means, stds, weights):
    return x / max(1 - t, 1e-6)


def in_place(x, t, means, stds, weights):
    x -= (1 - t) * means[0]
    return x


def swapped_schedule(x, t, means, stds, weights):
    return posterior()(x, 1 - t, means, stds, weights)


def package(x, t, means, stds, weights):
    return GaussianMixture(means, stds, weights).denoise(x, t)


def looped(x, t, means, stds, weights):
    """Slow, and right."""
    rows = []
    for point in x:
        away = point - (1 - t) * means
        variance = (1 - t) ** 2 * stds**2 + t**2
        log = weights.log() - away.square().sum(1) / (2 * variance) - len(point) / 2 * variance.log()
        rows.append(log.softmax(0) @ (means + ((1 - t) * stds**2 / variance)[:, None] * away))
    return torch.stack(rows)


NO_WIDTH = 0.25 / math.hypot(0.25, 0.75)

WRONG = [
    ("f2.1", "no shift", (5.0, 5.0), "some shift"),
    ("f2.1", "DDPM forgets everything", (2.0, 5.0), "some shift"),
    ("f2.1", "the wrong way", (8.0, 6.8), "towards zero"),
    ("f2.1", "shifts with their sign", (-3.0, -1.8), "towards zero"),
    ("f2.1", "the mean of the noise", (0.0, 0.0), "towards zero"),
    ("f2.1", "the shifts", (3.0, 1.8), "mean, not shift"),
    ("f2.1", "as if the data were one wide", (5 * (1 - NO_WIDTH), 5 * (1 - NO_WIDTH**2)), "width counts"),
    ("f2.1", "the share of signal", (3.75, 3.75), "width counts"),
    ("f2.1", "the variance", (1.8, 3.2), "root"),
    ("f2.1", "churn does not matter", (2.0, 2.0), "fresh noise forgets"),
    ("f2.1", "swapped", (3.2, 2.0), "fresh noise forgets"),
    ("f2.1", "two digits", (2.1, 3.2), "churn 0"),
    ("f2.1", "half the correlation", (2.0, 3.5), "churn 1"),
    ("f2.1", "the cube", (2.0, 5 * (1 - 0.6**3)), "churn 1"),
    ("f2.1", "one number", 2.0, "type"),
    ("f2.1", "words", ("nearer", "further"), "type"),
    ("f2.2", "one mean for all points", one_row, "shape"),
    ("f2.2", "another dtype", in_double, "shape"),
    ("f2.2", "the score", score_instead, "data at t = 0"),
    ("f2.2", "means of the clusters", posterior(gain=False), "data at t = 0"),
    ("f2.2", "alpha and sigma swapped", swapped_schedule, "data at t = 0"),
    ("f2.2", "the mean not shrunk", posterior(shrink=False), "one Gaussian"),
    ("f2.2", "standard deviations added", posterior(square=False), "one Gaussian"),
    ("f2.2", "the noisy point", point_itself, "one Gaussian"),
    ("f2.2", "divided by alpha", rescaled_point, "one Gaussian"),
    ("f2.2", "equal weights", posterior(prior=False), "prior weights"),
    ("f2.2", "the data's weights", posterior(bayes=False), "Bayes' weights"),
    ("f2.2", "the likeliest", posterior(hard=True), "prior weights"),
    ("f2.2", "no normaliser", posterior(normaliser="none"), "width in the density"),
    ("f2.2", "the normaliser of one dimension", posterior(normaliser="one"), "width in the density"),
    ("f2.2", "densities, not logarithms", posterior(logs=False), "far away"),
    ("f2.2", "writes into x", in_place, "inputs untouched"),
    ("f2.2", "a number", 0.5, "type"),
]


def hard_unless_pure_noise(x, t, means, stds, weights):
    """Right at t = 1, where someone had a look; elsewhere the likeliest component."""
    return (package if t == 1 else posterior(hard=True))(x, t, means, stds, weights)


WRONG.append(("f2.2", "the likeliest, once there is signal", hard_unless_pure_noise, "an average"))

RIGHT = [
    ("f2.1", (2.0, 3.2)),
    ("f2.1", [torch.tensor(2.0), 3.2]),
    ("f2.2", package),
    ("f2.2", looped),
    ("f2.2", posterior()),
]


def test_the_key_of_the_leak_is_what_a_sampler_does():
    law = GaussianMixture(torch.tensor([[5.0]]), torch.tensor([2.25]))
    for churn, mean in ((0.0, 2.0), (1.0, 3.2)):
        generator = torch.Generator().manual_seed(0)
        start = 0.75 * torch.randn(20_000, 1, generator=generator)
        *_, ends = sample(law.denoise, start, time_grid(200, start=0.75), churn, generator)
        assert abs(ends.mean().item() - mean) < 0.06

"""Every check of lesson 06 lets the solution pass, and each property catches a wrong answer that people give."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from companion.classroom.light import read_source
from companion.methods.kalman import KalmanHead, centred_one_hot, run_stream
from companion.methods.last_layer import solve_last_layer
from companion.teaching.checks import check
from companion.teaching.checks.lesson_06 import leak
from companion.teaching.checks.lesson_06.leak import moved_by_later_rows, one_by_one, score_on_noise, total_probability
from companion.teaching.checks.lesson_06.overconfident import TOO_SURE, USEFUL, WITHIN, try_filter

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "exercises" / "06_kalman_online.py"


def eye(n, like):
    return torch.eye(n, dtype=like.dtype)


# 06.1


def memory(steps=49.75, gamma=0.999900005, added=1.99):
    return {"steps": steps, "gamma": gamma, "added": added}


# 06.2


def drift(mean, covariance, gamma, weight_variance, of_mean=1, power=2, noise=lambda gamma: 1 - gamma**2):
    """The solution, with other powers of gamma and another factor of the noise on request."""
    fresh = noise(gamma) * weight_variance * eye(len(covariance), covariance)
    return gamma**of_mean * mean, gamma**power * covariance + fresh


def drifting(**mistake):
    return lambda *case: drift(*case, **mistake)


def drift_by_columns(mean, covariance, gamma, weight_variance):
    columns = [gamma * mean[:, j] for j in range(mean.shape[1])]
    away = weight_variance * eye(len(covariance), covariance) - covariance
    return [torch.stack(columns, 1), weight_variance * eye(len(covariance), covariance) - gamma**2 * away]


def drift_in_place(mean, covariance, gamma, weight_variance):
    mean *= gamma
    covariance *= gamma**2
    covariance += (1 - gamma**2) * weight_variance * eye(len(covariance), covariance)
    return mean, covariance


def drift_linearised(mean, covariance, gamma, weight_variance):
    prior = weight_variance * eye(len(covariance), covariance)
    return gamma * mean, covariance + 2 * (1 - gamma) * (prior - covariance)


def drift_of_information(mean, covariance, gamma, weight_variance):
    """Through the inverse of what is kept, which gamma divides."""
    kept = torch.linalg.inv(torch.linalg.inv(covariance) / torch.tensor(gamma**2, dtype=covariance.dtype))
    return gamma * mean, kept + (1 - gamma**2) * weight_variance * eye(len(covariance), covariance)


def drift_of_every_entry(mean, covariance, gamma, weight_variance):
    return gamma * mean, gamma**2 * covariance + (1 - gamma**2) * weight_variance


# 06.3


def absorb(mean, covariance, features, targets, noise_variance):
    spread = features @ covariance @ features.T + noise_variance * eye(len(features), features)
    gain = covariance @ features.T @ torch.linalg.inv(spread)
    return mean + gain @ (targets - features @ mean), covariance - gain @ features @ covariance


def absorb_information(mean, covariance, features, targets, noise_variance):
    after = torch.linalg.inv(torch.linalg.inv(covariance) + features.T @ features / noise_variance)
    return mean + after @ features.T @ (targets - features @ mean) / noise_variance, after


def absorb_rows(mean, covariance, features, targets, noise_variance):
    for row, target in zip(features[:, None], targets[:, None]):
        mean, covariance = absorb(mean, covariance, row, target, noise_variance)
    return mean, covariance


def absorb_joseph(mean, covariance, features, targets, noise_variance):
    spread = features @ covariance @ features.T + noise_variance * eye(len(features), features)
    gain = torch.linalg.solve(spread, features @ covariance).T
    kept = eye(len(covariance), covariance) - gain @ features
    return [mean + gain @ (targets - features @ mean), kept @ covariance @ kept.T + noise_variance * gain @ gain.T]


def absorb_with_noise(noise):
    """The block update with another noise, from its variance and the number of rows."""
    return lambda m, p, f, y, s: absorb(m, p, f, y, noise(s, len(f)))


def absorb_with_one_noise(mean, covariance, features, targets, noise_variance):
    spread = features @ covariance @ features.T + noise_variance
    gain = torch.linalg.solve(spread, features @ covariance).T
    return mean + gain @ (targets - features @ mean), covariance - gain @ features @ covariance


def absorb_targets(mean, covariance, features, targets, noise_variance):
    after, covariance = absorb(0 * mean, covariance, features, targets, noise_variance)
    return mean + after, covariance


def absorb_with_old_covariance(mean, covariance, features, targets, noise_variance, old_mean=False):
    after, doubt = mean, covariance
    for row, target in zip(features[:, None], targets[:, None]):
        gain = covariance @ row.T / (row @ covariance @ row.T + noise_variance)
        after = after + gain @ (target - row @ (mean if old_mean else after))
        doubt = doubt - gain @ row @ doubt
    return after, (doubt + doubt.T) / 2


def absorb_with_old_mean(mean, covariance, features, targets, noise_variance):
    after = mean
    for row, target in zip(features[:, None], targets[:, None]):
        gain = covariance @ row.T / (row @ covariance @ row.T + noise_variance)
        after = after + gain @ (target - row @ mean)
        covariance = covariance - gain @ row @ covariance
    return after, covariance


def absorb_with_diagonal_spread(mean, covariance, features, targets, noise_variance):
    spread = (features @ covariance * features).sum(1) + noise_variance
    gain = covariance @ features.T / spread
    return mean + gain @ (targets - features @ mean), absorb(mean, covariance, features, targets, noise_variance)[1]


def absorb_mean_surprise(mean, covariance, features, targets, noise_variance):
    gain = torch.linalg.solve(
        features @ covariance @ features.T + noise_variance * eye(len(features), features), features @ covariance
    ).T
    surprise = (targets - features @ mean).mean(0, keepdim=True)
    after = mean + gain.mean(1, keepdim=True) @ surprise * len(features)
    return after, covariance - gain @ features @ covariance


def absorb_without_correlations(mean, covariance, features, targets, noise_variance):
    """As if the covariance were what it is at the prior: the same in all directions."""
    flat = covariance.diagonal().mean() * eye(len(covariance), covariance)
    after, _ = absorb(mean, flat, features, targets, noise_variance)
    return after, absorb(mean, covariance, features, targets, noise_variance)[1]


def absorb_the_mean(*case):
    return absorb(*case)[0]


def absorb_without_learning(mean, covariance, *rows):
    return absorb(mean, covariance, *rows)[0], covariance


def absorb_and_add(mean, covariance, *rows):
    after, smaller = absorb(mean, covariance, *rows)
    return after, 2 * covariance - smaller


def absorb_and_skew(mean, covariance, *rows):
    after, smaller = absorb(mean, covariance, *rows)
    return after, smaller.tril() + smaller.diagonal().diag() / 9


def block(absorb=absorb, per_row=lambda gamma, rows: gamma ** (1 / rows)):
    return {"absorb": absorb, "per_row": per_row}


# 06.4


def log_predictive(
    delta, mean, covariance, features, target, weight_variance, noise_variance, of_mean=1, of_variance=1
):
    """The log-probability of a target; mean or variance detached from delta on request."""
    kept = torch.exp(-delta)
    mu = torch.exp(-delta / 2) * (features @ mean).squeeze()
    v = kept * (features @ covariance @ features.T).squeeze() + (1 - kept) * weight_variance * features.square().sum()
    mu, v = mu if of_mean else mu.detach(), v if of_variance else v.detach()
    return torch.distributions.Normal(mu, (v + noise_variance).sqrt()).log_prob(target.squeeze())


def slope(delta, *case, density=log_predictive, **mistake):
    delta = torch.tensor(float(delta), dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(density(delta, *case, **mistake), delta)
    return found.item()


def delta_step(delta, rate, *case, **mistake):
    return max(0.0, delta + rate * slope(delta, *case, **mistake))


def stepping(**mistake):
    return lambda *case: delta_step(*case, **mistake)


def step_by_hand(delta, rate, mean, covariance, features, target, weight_variance, noise_variance):
    gamma = math.exp(-delta / 2)
    variance = gamma**2 * features @ covariance @ features.T
    variance = variance + (1 - gamma**2) * weight_variance * features.square().sum() + noise_variance
    error = target - gamma * features @ mean
    widens = gamma**2 * (weight_variance * features.square().sum() - features @ covariance @ features.T)
    found = -gamma / 2 * features @ mean * error / variance + 0.5 * widens * (error**2 / variance**2 - 1 / variance)
    return torch.clamp(delta + rate * found, min=0)


def step_by_gamma(sign):
    def step(delta, rate, *case):
        return max(0.0, delta + sign * rate * slope(delta, *case) / (-math.exp(-delta / 2) / 2))

    return step


def step_in_float32(delta, rate, *case):
    """By autograd, from a delta whose dtype nobody chose."""
    delta = torch.tensor(delta, requires_grad=True)
    (found,) = torch.autograd.grad(log_predictive(delta, *case), delta)
    return (delta.detach() + rate * found).clamp_min(0)


def step_with_prior(delta, rate, mean, covariance, features, target, weight_variance, noise_variance):
    """The added variance has no |phi|^2."""
    length = features.square().sum().item()
    return delta_step(delta, rate, mean, covariance, features, target, weight_variance / length, noise_variance)


def step_without_fresh_noise(delta, rate, mean, covariance, features, target, weight_variance, noise_variance):
    return delta_step(delta, rate, mean, covariance, features, target, 0.0, noise_variance)


def step_without_noise(delta, rate, mean, covariance, features, target, weight_variance, noise_variance):
    return delta_step(delta, rate, mean, covariance, features, target, weight_variance, 0.0)


def step_after_drift(delta, rate, mean, covariance, features, target, weight_variance, noise_variance):
    """From a belief that has drifted already."""
    moved = drift(mean, covariance, math.exp(-delta / 2), weight_variance)
    return delta_step(delta, rate, *moved, features, target, weight_variance, noise_variance)


# 06.5


def choice(stubborn=1.0, gullible=1e-4, honest=(0.9993, 0.09)):
    return {"stubborn": stubborn, "gullible": gullible, "honest": honest}


# 06.6


def prequential(head, features, labels, generator, steps=("score", "adapt", "update"), uncentred=0.0):
    """The solution; another order, or targets that are not centred, on request."""
    scores = []
    for row, label, target in one_by_one(head, features, labels):
        for step in steps:
            if step in ("score", "draw"):
                log_prob = head.log_prob(row, label, generator)
            if step == "score":
                scores.append(log_prob.detach())
            if step == "adapt":
                head.adapt(log_prob)
            if step == "update":
                head.update(row, target + uncentred)
    return torch.cat(scores)


def in_order(*steps):
    return scoring(lambda *case: prequential(*case, steps=steps))


def prequential_in_one_block(head, features, labels, generator):
    log_prob = head.log_prob(features, labels, generator)
    head.adapt(log_prob)
    head.update(features, centred_one_hot(labels, head.num_classes, features.dtype))
    return log_prob


def prequential_standardised(head, features, labels, generator):
    return prequential(head, (features - features.mean(0)) / features.std(0), labels, generator)


def prequential_twice(head, features, labels, generator):
    """A pass to learn, and then the same rows again to score."""
    prequential(head, features, labels, generator)
    return prequential(head, features, labels, generator)


def prequential_detached(head, features, labels, generator):
    scores = []
    for row, label, target in one_by_one(head, features, labels):
        scores.append(head.log_prob(row, label, generator).detach())
        head.adapt(scores[-1])
        head.update(row, target)
    return torch.cat(scores)


def prequential_one_hot(head, features, labels, generator):
    return prequential(head, features, labels, generator, uncentred=1 / head.num_classes)


def prequential_by_run_stream(head, features, labels, generator):
    return torch.cat([state.log_prob for state in run_stream(head, features, labels, generator=generator)])


def scoring(prequential=prequential, words=("label", "nothing", "later", "label")):
    return {"words": words, "prequential": prequential}


WRONG = [
    ("06.1", "without the square", memory(steps=-1 / math.log(0.99)), "the square counts"),
    ("06.1", "linear", memory(steps=100), "the square counts"),
    ("06.1", "one half", memory(steps=math.log(2) / (2 * -math.log(0.99))), "steps of 0.99"),
    ("06.1", "one half without the square", memory(steps=69), "steps of 0.99"),
    ("06.1", "a quarter of it", memory(steps=25), "steps of 0.99"),
    ("06.1", "sign", memory(steps=-49.75), "steps of 0.99"),
    ("06.1", "no square in gamma", memory(gamma=math.exp(-1 / 5000)), "a long memory"),
    ("06.1", "delta for gamma", memory(gamma=0.0002), "a long memory"),
    ("06.1", "three nines", memory(gamma=0.999), "a long memory"),
    ("06.1", "above one", memory(gamma=math.exp(1 / 10_000)), "a long memory"),
    ("06.1", "one direction", memory(added=1 - 0.99**2), "in all directions"),
    ("06.1", "linear noise", memory(added=1.0), "how much noise"),
    ("06.1", "a difference squared", memory(added=0.01), "how much noise"),
    ("06.1", "the prior's", memory(added=100), "how much noise"),
    ("06.1", "a word", memory(steps="fifty"), "type"),
    ("06.1", "a list", [50, 0.9999, 1.99], "type"),
    ("06.2", "variances alone", lambda m, p, g, v: (m, p.diagonal()), "a mean and a covariance"),
    (
        "06.2",
        "double precision",
        lambda *case: tuple(part.double() for part in drift(*case)),
        "a mean and a covariance",
    ),
    ("06.2", "the mean alone", lambda *case: drift(*case)[0], "two things"),
    ("06.2", "in place", drift_in_place, "inputs untouched"),
    ("06.2", "noise always", drifting(noise=lambda gamma: 1), "nothing at one"),
    ("06.2", "uncorrelated", lambda m, p, g, v: drift(m, p.diagonal().diag(), g, v), "nothing at one"),
    ("06.2", "the mean squared", drifting(of_mean=2), "the mean shrinks once"),
    ("06.2", "the mean stays", drifting(of_mean=0), "the mean shrinks once"),
    ("06.2", "the mean's root", drifting(of_mean=0.5), "the mean shrinks once"),
    ("06.2", "no noise", drifting(noise=lambda gamma: 0), "the prior stays"),
    ("06.2", "noise of 1 - gamma", drifting(noise=lambda gamma: 1 - gamma), "the prior stays"),
    ("06.2", "noise of (1 - gamma)^2", drifting(noise=lambda gamma: (1 - gamma) ** 2), "the prior stays"),
    ("06.2", "gamma once on A", drifting(power=1), "the prior stays"),
    ("06.2", "a root of the noise", drifting(noise=lambda gamma: (1 - gamma**2) ** 0.5), "the prior stays"),
    ("06.2", "weight deviation", lambda m, p, g, v: drift(m, p, g, v**0.5), "the prior stays"),
    ("06.2", "in every entry", drift_of_every_entry, "the prior stays"),
    ("06.2", "linearised", drift_linearised, "two are one"),
    ("06.2", "inverted", drift_of_information, "all forgotten at zero"),
    ("06.2", "gamma once", drifting(power=1, noise=lambda gamma: 1 - gamma), "the law of the drift"),
    ("06.2", "to the fourth", drifting(power=4, noise=lambda gamma: 1 - gamma**4), "the law of the drift"),
    ("06.2", "a number", 0.5, "type"),
    ("06.3", "the mean alone", block(absorb_the_mean), "two things"),
    (
        "06.3",
        "variances",
        block(lambda *case: (absorb(*case)[0], absorb(*case)[1].diagonal())),
        "a mean and a covariance",
    ),
    ("06.3", "transposed", block(lambda *case: (absorb(*case)[0].T, absorb(*case)[1])), "a mean and a covariance"),
    ("06.3", "targets", block(absorb_targets), "by surprise alone"),
    ("06.3", "covariance as it was", block(absorb_without_learning), "surer after it"),
    ("06.3", "added", block(absorb_and_add), "surer after it"),
    ("06.3", "lopsided", block(absorb_and_skew), "surer after it"),
    ("06.3", "no noise", block(absorb_with_noise(lambda s, b: 1e-9)), "the noise variance"),
    ("06.3", "noise of 1", block(absorb_with_noise(lambda s, b: 1.0)), "the noise variance"),
    ("06.3", "deviation for variance", block(absorb_with_noise(lambda s, b: s**0.5)), "the noise variance"),
    ("06.3", "variance squared", block(absorb_with_noise(lambda s, b: s**2)), "the noise variance"),
    ("06.3", "in every entry", block(absorb_with_one_noise), "noise on the diagonal"),
    ("06.3", "over b", block(absorb_with_noise(lambda s, b: s / b)), "noise on the diagonal"),
    ("06.3", "times b", block(absorb_with_noise(lambda s, b: s * b)), "noise on the diagonal"),
    ("06.3", "old covariance", block(absorb_with_old_covariance), "one row knows another"),
    ("06.3", "all old", block(lambda *case: absorb_with_old_covariance(*case, old_mean=True)), "one row knows another"),
    ("06.3", "old mean", block(absorb_with_old_mean), "one row knows another"),
    ("06.3", "diagonal spread", block(absorb_with_diagonal_spread), "one row knows another"),
    ("06.3", "mean surprise", block(absorb_mean_surprise), "ridge from the prior"),
    ("06.3", "first row", block(lambda m, p, f, y, s: absorb(m, p, f[:1], y[:1], s)), "ridge from the prior"),
    ("06.3", "all directions alike", block(absorb_without_correlations), "row by row"),
    ("06.3", "a loop", block(absorb_rows), "one system"),
    ("06.3", "the inverse covariance", block(absorb_information), "one system"),
    ("06.3", "a share each", block(per_row=lambda gamma, rows: gamma / rows), "one drift a block"),
    ("06.3", "a power", block(per_row=lambda gamma, rows: gamma**rows), "one drift a block"),
    ("06.3", "linear", block(per_row=lambda gamma, rows: 1 - (1 - gamma) / rows), "one drift a block"),
    ("06.3", "squares", block(per_row=lambda gamma, rows: gamma ** (1 / (2 * rows))), "one drift a block"),
    ("06.3", "numbers", block(0.5, 0.5), "type"),
    ("06.4", "not clipped", lambda delta, rate, *case: delta + rate * slope(delta, *case), "never below zero"),
    ("06.4", "absolute", lambda delta, rate, *case: abs(delta + rate * slope(delta, *case)), "never below zero"),
    ("06.4", "by gamma", step_by_gamma(1), "by delta, not by gamma"),
    ("06.4", "by gamma, sign mended", step_by_gamma(-1), "by delta, not by gamma"),
    ("06.4", "variance constant", stepping(of_variance=0), "mean and variance"),
    ("06.4", "mean constant", stepping(of_mean=0), "mean and variance"),
    ("06.4", "nothing added", step_without_fresh_noise, "what the drift adds"),
    ("06.4", "no length of phi", step_with_prior, "what the drift adds"),
    ("06.4", "no noise", step_without_noise, "the noise is in it"),
    ("06.4", "downhill", lambda delta, rate, *case: max(0.0, delta - rate * slope(delta, *case)), "uphill"),
    ("06.4", "nothing", lambda delta, rate, *case: delta, "uphill"),
    ("06.4", "twice", lambda delta, rate, *case: delta_step(delta, 2 * rate, *case), "the slope"),
    ("06.4", "half", lambda delta, rate, *case: delta_step(delta, rate / 2, *case), "the slope"),
    ("06.4", "drifted before", step_after_drift, "the slope"),
    ("06.4", "stuck at zero", lambda delta, *case: delta and delta_step(delta, *case), "the slope"),
    ("06.4", "gamma", lambda *case: math.exp(-delta_step(*case) / 2), "uphill"),
    ("06.4", "a number", 0.5, "type"),
    ("06.5", "above one", choice(stubborn=1.01), "in range"),
    ("06.5", "no noise", choice(gullible=0), "in range"),
    ("06.5", "noise below zero", choice(honest=(0.9993, -0.09)), "in range"),
    ("06.5", "a short memory", choice(stubborn=0.9), "stubborn"),
    ("06.5", "nearly stubborn", choice(stubborn=0.999), "stubborn"),
    ("06.5", "much noise", choice(gullible=1.0), "gullible"),
    ("06.5", "a little too gullible", choice(gullible=0.01), "gullible"),
    ("06.5", "too unsure", choice(honest=(0.99, 0.09)), "error as believed"),
    ("06.5", "no memory", choice(honest=(0.9, 0.09)), "error as believed"),
    ("06.5", "still stubborn", choice(honest=(0.9999, 0.09)), "error as believed"),
    ("06.5", "two mistakes", choice(honest=(0.99, 0.001)), "and of use"),
    ("06.5", "one number", choice(honest=0.9993), "type"),
    ("06.5", "a word", choice(stubborn="one"), "type"),
    ("06.6", "all honest", scoring(words=("nothing",) * 4), "who saw what"),
    ("06.6", "noise is all", scoring(words=("label", "nothing", "nothing", "nothing")), "who saw what"),
    ("06.6", "exchanged", scoring(words=("label", "later", "nothing", "label")), "who saw what"),
    ("06.6", "three words", scoring(words=("label", "nothing", "later")), "type"),
    ("06.6", "the mean", scoring(lambda *case: prequential(*case).mean()), "a score a row"),
    ("06.6", "probabilities", scoring(lambda *case: prequential(*case).exp()), "a score a row"),
    ("06.6", "losses", scoring(lambda *case: -prequential(*case)), "a score a row"),
    ("06.6", "update first", in_order("update", "score", "adapt"), "no luck on noise"),
    ("06.6", "two passes", scoring(prequential_twice), "shares of one"),
    ("06.6", "adapt first", in_order("draw", "adapt", "score", "update"), "shares of one"),
    ("06.6", "standardised", scoring(prequential_standardised), "nothing from later"),
    ("06.6", "no update", in_order("score", "adapt"), "each row is learned"),
    ("06.6", "one block", scoring(prequential_in_one_block), "each row is learned"),
    ("06.6", "no adapt", in_order("score", "update"), "it adapts"),
    ("06.6", "detached", scoring(prequential_detached), "it adapts"),
    ("06.6", "adapt last", in_order("score", "update", "adapt"), "as run_stream does"),
    ("06.6", "draws twice", in_order("score", "draw", "adapt", "update"), "as run_stream does"),
    ("06.6", "updates twice", in_order("score", "adapt", "update", "update"), "as run_stream does"),
    ("06.6", "a number", scoring(0.5), "type"),
]

RIGHT = [
    ("06.1", memory()),
    ("06.1", memory(50, 0.9999, 2)),
    ("06.1", memory(torch.tensor(49.0), np.float64(0.99 ** (1 / 100)), 1.98)),
    ("06.2", drift),
    ("06.2", drift_by_columns),
    ("06.3", block()),
    ("06.3", block(absorb_joseph, lambda gamma, rows: math.exp(math.log(gamma) / rows))),
    ("06.3", block(per_row=lambda gamma, rows: torch.tensor(gamma, dtype=torch.float64) ** (1 / rows))),
    ("06.4", delta_step),
    ("06.4", step_by_hand),
    ("06.4", step_in_float32),
    ("06.5", choice()),
    ("06.5", choice(torch.tensor(0.99999), 0.0005, [0.999, 0.09])),
    ("06.5", choice(1, 2e-5, torch.tensor([0.9993, 0.08]))),
    ("06.6", scoring()),
    ("06.6", scoring(prequential_by_run_stream, [" Label", "NOTHING", "later", "label"])),
    ("06.6", scoring(prequential_one_hot)),
]


DRAWN = [
    ("06.1", memory()),
    ("06.2", drift),
    ("06.3", block()),
    ("06.4", delta_step),
    ("06.5", choice()),
    ("06.6", scoring()),
]  # right answers, on other draws too

STEADY = ("06.3", "06.4", "06.6")  # wrong answers to them get the same hint on other draws


def test_an_exception_in_an_answer_is_an_error():
    def divides(mean, covariance, gamma, weight_variance):
        return mean, covariance / 0 * missing

    for name, answer in (("06.2", divides), ("06.3", block(divides)), ("06.4", divides), ("06.6", scoring(divides))):
        assert check(name, answer).status == "error"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("06.2", lambda *case: None),
        ("06.3", block(per_row=lambda *case: ...)),
        ("06.4", lambda *case: None),
        ("06.6", scoring(lambda *case: None)),
    ],
)
def test_stubs_are_not_attempted(name, answer):
    assert check(name, answer).status == "not attempted"


# What the exercises say is so


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def silent(head, steps):
    """A row of zeros tells nothing: the head only drifts."""
    zeros = torch.zeros(1, head.num_features, dtype=torch.float64)
    for _ in range(steps):
        head.update(zeros, torch.zeros(1, head.num_classes, dtype=torch.float64))


def taught(gamma, m=4, k=2):
    """A head after some rows, with gamma from now on."""
    head = KalmanHead(m, k, noise_variance=0.2, gamma=gamma)
    head.update(normal(6, m), normal(6, k, seed=1))
    return head


@pytest.mark.parametrize(("gamma", "steps"), [(0.99, 50), (math.exp(-1 / 1000), 500)])
def test_what_was_learned_shrinks_by_the_square_of_gamma(gamma, steps):
    head = taught(gamma)
    before, mean = torch.eye(4, dtype=torch.float64) - head.covariance, head.mean.clone()
    silent(head, steps)
    torch.testing.assert_close(torch.eye(4, dtype=torch.float64) - head.covariance, gamma ** (2 * steps) * before)
    torch.testing.assert_close(head.mean, gamma**steps * mean)
    assert gamma ** (2 * steps) == pytest.approx(math.exp(-1), rel=0.01)


def test_a_sure_filter_of_100_weights_gets_199_by_a_drift_and_a_row_takes_0_0033():
    head = KalmanHead(100, 1, noise_variance=0.1, gamma=0.99)
    head.belief.zero_()
    silent(head, 1)
    assert head.covariance.trace().item() == pytest.approx(1.99, abs=1e-9)
    before, unit = head.covariance, torch.nn.functional.normalize(normal(1, 100))
    _, after = absorb(normal(100, 1), before, unit, normal(1, 1), 0.1)
    taken = (before - after).trace().item()
    assert taken == pytest.approx(0.0199**2 / 0.1199)
    assert round(taken, 4) == 0.0033


def test_with_100_features_gamma_0_99_stays_near_the_prior_and_0_9999_does_not():
    directions, left = torch.nn.functional.normalize(normal(400, 100), dim=1), {}
    for gamma in (0.99, 0.9999):
        head = KalmanHead(100, 1, gamma=gamma)
        for row in directions[:, None]:
            head.update(row, torch.zeros(1, 1, dtype=torch.float64))
        left[gamma] = head.covariance.trace().item() / 100
    assert 0.66 < left[0.99] < 0.75
    assert left[0.9999] < 0.11


def test_the_drift_is_that_of_the_package_and_of_the_law():
    head = taught(0.8)
    expected = drift(head.mean.clone(), head.covariance.clone(), 0.8, 1.0)
    silent(head, 1)
    torch.testing.assert_close((head.mean, head.covariance), expected)
    mean, covariance = normal(2, 1), torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
    root, draws = torch.linalg.cholesky(covariance), 200_000
    weights = mean.T + normal(draws, 2, seed=1) @ root.T
    moved = 0.8 * weights + (0.36 * 2.0) ** 0.5 * normal(draws, 2, seed=2)
    came = drift(mean, covariance, 0.8, 2.0)
    torch.testing.assert_close(moved.mean(0), came[0][:, 0], rtol=0, atol=0.01)
    torch.testing.assert_close(moved.T.cov(), came[1], rtol=0, atol=0.02)


def test_the_trap_of_the_drift_has_all_but_the_law():
    trap, prior = drifting(power=1, noise=lambda gamma: 1 - gamma), 2.0 * torch.eye(3, dtype=torch.float64)
    mean, covariance = normal(3, 1), 0.1 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(trap(mean, prior, 0.7, 2.0)[1], prior)
    torch.testing.assert_close(trap(mean, covariance, 1.0, 2.0), (mean, covariance))
    torch.testing.assert_close(trap(mean, covariance, 0.0, 2.0), (0 * mean, prior))
    twice = trap(*trap(mean, covariance, 0.7, 2.0), 0.6, 2.0)
    torch.testing.assert_close(twice, trap(mean, covariance, 0.42, 2.0))
    _, right = drift(mean, covariance, 0.7**0.5, 2.0)
    torch.testing.assert_close(trap(mean, covariance, 0.7, 2.0)[1], right)  # with a mean that has the root of gamma


def test_a_block_is_that_of_the_package_and_from_the_prior_ridge():
    head, features, targets = taught(0.9), normal(3, 4, seed=2), normal(3, 2, seed=3)
    expected = absorb(*drift(head.mean.clone(), head.covariance.clone(), 0.9, 1.0), features, targets, 0.2)
    head.update(features, targets)
    torch.testing.assert_close((head.mean, head.covariance), expected)
    prior = torch.zeros(4, 2, dtype=torch.float64), 1.7 * torch.eye(4, dtype=torch.float64)
    mean, _ = absorb(*prior, features, targets, 0.2)
    torch.testing.assert_close(mean, solve_last_layer(features, targets, 0.2 / 1.7 / 3))


def test_a_drift_for_each_row_forgets_as_much_and_is_another_filter():
    features, targets = normal(5, 4, seed=2), normal(5, 2, seed=3)
    block, rows = taught(0.5), taught(0.5 ** (1 / 5))
    silent(block, 1)
    silent(rows, 5)
    torch.testing.assert_close((rows.mean, rows.covariance), (block.mean, block.covariance))
    block, rows = taught(0.5), taught(0.5 ** (1 / 5))
    rows.mean.copy_(block.mean)
    rows.belief.copy_(block.belief)
    block.update(features, targets)
    for row, target in zip(features[:, None], targets[:, None]):
        rows.update(row, target)
    assert (block.mean - rows.mean).abs().max() > 0.01


def test_the_step_on_delta_is_that_of_the_package():
    head = KalmanHead(4, 1, noise_variance=0.2, gamma=0.9, learn_gamma=True, gamma_rate=0.01)
    head.update(normal(6, 4), normal(6, 1, seed=1))
    row, target = normal(1, 4, seed=2), normal(1, 1, seed=3)
    expected = delta_step(head.delta.item(), 0.01, head.mean, head.covariance, row, target, 1.0, 0.2)
    head.adapt(head.log_density(row, target))
    assert head.delta.item() == pytest.approx(expected, rel=1e-9)


def test_learned_forgetting_is_better_than_none_and_leaps_at_a_change():
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x = 2 * math.pi * torch.rand(450, 1, generator=generator, dtype=torch.float64)
        truth = torch.where(torch.arange(450) // 150 % 2 == 0, 1, -1)[:, None] * x.sin()
        features = torch.cat([torch.ones_like(x), x.sin(), x.cos()], dim=1)
        targets = truth + 0.3 * torch.randn(450, 1, generator=generator, dtype=torch.float64)
        errors = {}
        for rate, start in ((1e-4, 0.001), (0, 0.001), (0, 0.0)):
            delta, deltas, square = start, [], 0.0
            belief = torch.zeros(3, 1, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
            for row, target, goal in zip(features[:, None], targets[:, None], truth):
                square += (math.exp(-delta / 2) * row @ belief[0] - goal).square().item()
                delta = step_by_hand(delta, rate, *belief, row, target, 1.0, 0.09).item()
                belief = absorb(*drift(*belief, math.exp(-delta / 2), 1.0), row, target, 0.09)
                deltas.append(delta)
            errors[rate, start] = square / 450
            if rate:
                assert max(deltas[150:165]) > 2 * deltas[149]
                assert max(deltas[300:315]) > 1.5 * deltas[299]
                assert deltas[299] < 0.7 * max(deltas[150:299])
        assert errors[1e-4, 0.001] < errors[0, 0.001] < errors[0, 0.0] / 3


@pytest.mark.parametrize("seed", range(3))
def test_the_thresholds_of_the_filters_have_margin(seed):
    def trial(gamma, noise_variance):
        return try_filter(gamma, noise_variance, torch.Generator().manual_seed(seed))

    assert trial(1.0, 0.09).ratio > 20 * TOO_SURE
    assert trial(0.9995, 1e-4).ratio > 1.5 * TOO_SURE
    honest = trial(0.9993, 0.09)
    assert 1.2 / WITHIN < honest.ratio < WITHIN / 1.2
    assert honest.error < USEFUL - 0.006
    lazy = trial(0.99, 0.001)
    assert 1 / WITHIN < lazy.ratio < WITHIN
    assert 2.5 * honest.error < lazy.error < 4 * honest.error
    assert trial(0.99, 0.09).ratio < 0.4
    assert trial(0.9995, 0.09).error < trial(0.9995, 1e-4).error
    assert trial(0.998, 0.09).ratio < 1 / WITHIN
    assert trial(0.9997, 0.09).ratio > WITHIN


def test_the_stubborn_variance_is_that_of_three_weights_whatever_the_errors_are():
    head, x = KalmanHead(3, 1, noise_variance=0.09), 2 * math.pi * normal(300, 1)
    features = torch.cat([torch.ones_like(x), x.sin(), x.cos()], dim=1)
    other = KalmanHead(3, 1, noise_variance=0.09)
    head.update(features, normal(300, 1, seed=1))
    other.update(features, 100 * normal(300, 1, seed=2))
    torch.testing.assert_close(head.covariance, other.covariance)
    assert head.predict(features)[1].mean().item() == pytest.approx(3 * 0.09 / 300, rel=0.02)


def loops():
    """The four loops, as the notebook shows them."""
    (cell,) = (cell for cell in read_source(NOTEBOOK).cells if cell.source.startswith("def loop_a"))
    scope = {"torch": torch, "one_by_one": one_by_one}
    exec(cell.source, scope)
    return [scope[f"loop_{letter}"] for letter in "abcd"]


@pytest.mark.parametrize("seed", range(3))
def test_each_loop_leaks_as_the_exercise_says_and_the_tests_see_what_they_see(seed):
    def values(test):
        return [test(loop, torch.Generator().manual_seed(seed)) for loop in (*loops(), prequential)]

    noise, total, later = values(score_on_noise), values(total_probability), values(moved_by_later_rows)
    assert noise[0] > -0.3
    assert all(score < -0.75 for score in noise[1:])
    assert abs(noise[3] - noise[4]) < 0.1
    assert total[0] > 1.5
    assert abs(total[3] - 1) > 1e-5
    assert all(abs(total[place] - 1) < 1e-9 for place in (1, 2, 4))
    assert later[2] > 0.1
    assert all(later[place] < 1e-9 for place in (0, 1, 3, 4))


def test_a_softmax_does_not_feel_whether_targets_are_centred():
    features, labels = leak.moving(torch.Generator().manual_seed(0), 60)
    heads = [leak.head(), leak.head()]
    both = [
        loop(head, features, labels, torch.Generator().manual_seed(1))
        for head, loop in zip(heads, (prequential, prequential_one_hot))
    ]
    torch.testing.assert_close(*both)
    assert heads[0].mean.sum(1).abs().max() < 1e-9
    between = heads[1].mean - heads[0].mean
    torch.testing.assert_close(between, between[:, :1].expand(-1, 3))


def test_the_notebook_tells_words_that_the_checks_know():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert set(re.findall(r'`"(\w+)"`', text)) == set(leak.WORDS)

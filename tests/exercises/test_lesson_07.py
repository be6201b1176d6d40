"""Every check of lesson 07 lets the solution pass, and each property catches a wrong answer that people give."""

import copy
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from companion.classroom.light import read_source
from companion.data.streams import random_label_digits
from companion.methods.rivals.plasticity import OnlineSGD
from companion.methods.soft_reset import SoftReset, StackedMLP, cross_entropy, learning_rate_rise
from companion.methods.soft_reset import drift as drift_of_package
from companion.teaching.checks import check
from companion.teaching.checks.lesson_07.harm import CALM, FOUND, HURTS, INSIDE, STREAMS, reset_gain, try_drift
from companion.teaching.checks.lesson_07.order import (
    SteppedReset,
    accuracy,
    fresh,
    in_order,
    learnable,
    noise,
    score_on_noise,
)
from companion.teaching.checks.lesson_07.silence import network
from companion.teaching.lessons.plasticity import run, stream

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "exercises" / "07_soft_reset.py"


# 07.1


def std_after(std, init_std, gamma, k, left=lambda gamma, k: gamma ** (2 * k)):
    """The solution; another share of the belief's variance that is left on request."""
    share = left(gamma, k)
    return math.sqrt(share * std**2 + (1 - share) * init_std**2)


def std_by_loop(std, init_std, gamma, k, added=lambda gamma: 1 - gamma**2, kept=lambda gamma: gamma**2):
    variance = std**2
    for _ in range(k):
        variance = kept(gamma) * variance + added(gamma) * init_std**2
    return variance**0.5


def std_in_torch(std, init_std, gamma, k):
    both = torch.tensor([std, init_std], dtype=torch.float64)
    shares = torch.tensor([gamma ** (2 * k), 1 - gamma ** (2 * k)], dtype=torch.float64)
    return (both.square() * shares).sum().sqrt()


def std_towards(std, init_std, gamma, k):
    """From the start's variance inwards."""
    return np.sqrt(init_std**2 - gamma**k * gamma**k * (init_std**2 - std**2))


def std_of_one_sum(std, init_std, gamma, k):
    return gamma**k * std + math.sqrt(1 - gamma ** (2 * k)) * init_std


def widths(std_after=std_after, mixed=(0.1 / 1.9) ** 0.5):
    return {"std_after": std_after, "mixed": mixed}


def left(share):
    return widths(lambda *case: std_after(*case, left=share))


def looped(**mistake):
    return widths(lambda *case: std_by_loop(*case, **mistake))


# 07.2


def drifted(theta, init_mean, gamma):
    return gamma * theta + (1 - gamma) * init_mean


def drifted_in_place(theta, init_mean, gamma):
    theta *= gamma
    theta += (1 - gamma) * init_mean
    return theta


def drifted_with_noise(theta, init_mean, gamma):
    return drifted(theta, init_mean, gamma) + (1 - gamma**2) ** 0.5 * torch.randn_like(theta)


def rate(lr, gamma, posterior_scale):
    return lr * (gamma**2 + (1 - gamma**2) / posterior_scale**2)


def rate_by_widths(lr, gamma, posterior_scale):
    """Through the variances themselves, with another start."""
    start = torch.tensor(0.37, dtype=torch.float64)
    before = (posterior_scale * start).square()
    return lr * (gamma**2 * before + (1 - gamma**2) * start.square()) / before


def soft_step(theta, init_mean, gamma, lr, posterior_scale, gradient):
    moved = drifted(theta, init_mean, gamma)
    return moved - rate(lr, gamma, posterior_scale) * gradient(moved)


def step_at_theta(theta, init_mean, gamma, lr, posterior_scale, gradient):
    return drifted(theta, init_mean, gamma) - rate(lr, gamma, posterior_scale) * gradient(theta)


def step_at_start(theta, init_mean, gamma, lr, posterior_scale, gradient):
    return drifted(theta, init_mean, gamma) - rate(lr, gamma, posterior_scale) * gradient(init_mean)


def step_first(theta, init_mean, gamma, lr, posterior_scale, gradient):
    return drifted(theta - rate(lr, gamma, posterior_scale) * gradient(theta), init_mean, gamma)


def step_without_rise(theta, init_mean, gamma, lr, posterior_scale, gradient):
    moved = drifted(theta, init_mean, gamma)
    return moved - lr * gradient(moved)


def step_uphill(theta, init_mean, gamma, lr, posterior_scale, gradient):
    return soft_step(theta, init_mean, gamma, -lr, posterior_scale, gradient)


def step_from_theta(theta, init_mean, gamma, lr, posterior_scale, gradient):
    """The gradient is that of the drifted weights, and the step starts at the old ones."""
    return theta - rate(lr, gamma, posterior_scale) * gradient(drifted(theta, init_mean, gamma))


def step_twice(theta, init_mean, gamma, lr, posterior_scale, gradient):
    moved = soft_step(theta, init_mean, gamma, lr, posterior_scale, gradient)
    return moved - rate(lr, gamma, posterior_scale) * gradient(moved)


def step_undrifted(theta, init_mean, gamma, lr, posterior_scale, gradient):
    return theta - rate(lr, gamma, posterior_scale) * gradient(theta)


def step_without_gradient(theta, init_mean, gamma, lr, posterior_scale, gradient):
    return drifted(theta, init_mean, gamma)


def step_by_entries(theta, init_mean, gamma, lr, posterior_scale, gradient):
    moved = torch.stack([start + gamma * (now - start) for now, start in zip(theta, init_mean)])
    descent, longer = gradient(moved), lr * (1 - gamma**2) * (posterior_scale**-2 - 1)
    return torch.sub(moved - lr * descent, descent, alpha=longer)


def steps(drifted=drifted, rate=rate, soft_step=soft_step):
    return {"drifted": drifted, "rate": rate, "soft_step": soft_step}


# 07.3


def of_tensor(gradient, theta, start, batch_size):
    return -batch_size * (gradient * (theta - start)).sum()


def gamma_slope(gradients, thetas, init_means, batch_size, formula=of_tensor):
    layers = zip(gradients, thetas, init_means)
    return [sum(formula(*each, batch_size) for each in zip(*layer)) for layer in layers]


def slope_in_one_tensor(gradients, thetas, init_means, batch_size):
    """Through flat vectors, as one tensor (L,)."""
    found = []
    for layer in zip(gradients, thetas, init_means):
        gradient, theta, start = (torch.cat([each.flatten() for each in part]) for part in layer)
        found.append(batch_size * torch.dot(gradient, start - theta))
    return torch.stack(found)


def slope_in_numpy(gradients, thetas, init_means, batch_size):
    return np.array(
        [
            -batch_size * sum(np.vdot(g.numpy(), t.numpy() - s.numpy()) for g, t, s in zip(*layer))
            for layer in zip(gradients, thetas, init_means)
        ]
    )


def slope_of_each_tensor(gradients, thetas, init_means, batch_size):
    tensors = zip(sum(gradients, []), sum(thetas, []), sum(init_means, []))  # noqa: RUF017
    return [of_tensor(*each, batch_size) for each in tensors]


def slope_in_place(gradients, thetas, init_means, batch_size):
    for layer, starts in zip(thetas, init_means):
        for theta, start in zip(layer, starts):
            theta -= start
    zeros = [[0 * each for each in layer] for layer in thetas]
    return gamma_slope(gradients, thetas, zeros, batch_size)


def slope_cumulated(*case):
    """Each layer's slope has those of the layers before it, too."""
    return torch.stack(gamma_slope(*case)).cumsum(0).tolist()


def slope_of_mean_over_layer(gradients, thetas, init_means, batch_size):
    found = gamma_slope(gradients, thetas, init_means, batch_size)
    return [each / sum(part.numel() for part in layer) for each, layer in zip(found, thetas)]


def next_gamma(slope, drift_lr):
    return torch.clamp(1 + drift_lr * slope, 0, 1)


def slopes(gamma_slope=gamma_slope, next_gamma=next_gamma):
    return {"gamma_slope": gamma_slope, "next_gamma": next_gamma}


def summed(formula):
    return slopes(lambda *case: gamma_slope(*case, formula=formula))


# 07.4


def stream_scores(model, batches, trainer, order="scdg"):
    """The solution, in another order on request."""
    return in_order(model, batches, trainer, order)


def scores_by_learn(model, batches, trainer):
    """With the trainer's own step, and numbers instead of tensors."""
    scores = []
    for x, labels in batches:
        guess = [row.index(max(row)) for row in model(x).tolist()]
        scores.append(sum(a == b for a, b in zip(guess, labels.tolist())) / len(guess))
        trainer.learn(cross_entropy, (x, labels))
    return scores


def scores_after_choosing(model, batches, trainer):
    """Choosing moves no weight, so the score may come after it."""
    return in_order(model, batches, trainer, "csdg")


def log_probs(model, batches, trainer):
    scores = []
    for batch in batches:
        scores.append(-cross_entropy(model, batch).mean().detach())
        trainer.learn(cross_entropy, batch)
    return torch.stack(scores)


def scores_at_the_end(model, batches, trainer):
    """First a pass to learn, then all scores."""
    in_order(model, batches, trainer, "scdg")
    return [accuracy(model, batch) for batch in batches]


def scores_standardised(model, batches, trainer):
    rows = torch.cat([x for x, _ in batches])
    scaled = [((x - rows.mean(0)) / rows.std(0), labels) for x, labels in batches]
    return in_order(model, scaled, trainer, "scdg")


def scores_of_a_copy(lag):
    """By the network as it was `lag` batches ago."""

    def loop(model, batches, trainer):
        scores, old = [], [copy.deepcopy(model.state_dict()) for _ in range(lag)]
        for batch in batches:
            old.append(copy.deepcopy(model.state_dict()))
            stale = copy.deepcopy(model)
            stale.load_state_dict(old.pop(0))
            scores.append(accuracy(stale, batch))
            trainer.learn(cross_entropy, batch)
        return scores

    return loop


def scores_of_the_first_network(model, batches, trainer):
    first, scores = copy.deepcopy(model), []
    for batch in batches:
        scores.append(accuracy(first, batch))
        trainer.learn(cross_entropy, batch)
    return scores


def scores_of_next_batch(model, batches, trainer):
    """Each score is of the network that has learned the batch, on the rows of the next."""
    scores = []
    for batch, following in zip(batches, [*batches[1:], batches[0]]):
        trainer.learn(cross_entropy, batch)
        scores.append(accuracy(model, following))
    return torch.stack(scores)


def scores_twice_over(model, batches, trainer):
    for batch in batches:
        trainer.learn(cross_entropy, batch)
    return in_order(model, batches, trainer, "scdg")


def scores_of_errors(model, batches, trainer):
    """Batches that are all right are not learned."""
    scores = []
    for batch in batches:
        scores.append(accuracy(model, batch))
        if scores[-1] < 1:
            trainer.learn(cross_entropy, batch)
    return scores


def scores_by_sgd(model, batches, trainer):
    optimiser, scores = torch.optim.SGD(model.parameters(), lr=1.0), []
    for batch in batches:
        scores.append(accuracy(model, batch))
        optimiser.zero_grad()
        cross_entropy(model, batch).mean().backward()
        optimiser.step()
    return scores


def scores_of_both(model, batches, trainer):
    """The better of the scores before and after the drift."""
    scores = []
    for batch in batches:
        before = accuracy(model, batch)
        trainer.choose(batch)
        trainer.drift()
        scores.append(max(before, accuracy(model, batch)))
        trainer.descend(batch)
    return scores


def scores_in_numpy(*case):
    return np.array(scores_by_learn(*case))


def scoring(stream_scores=stream_scores, honest=0.1):
    return {"honest": honest, "stream_scores": stream_scores}


def ordered(steps):
    return scoring(lambda *case: stream_scores(*case, order=steps))


# 07.5


def resets(hurts=("slow pixels", "turns", "still"), jumpy=0.3, careful=0.008):
    return {"hurts": set(hurts) if isinstance(hurts, tuple) else hurts, "jumpy": jumpy, "careful": careful}


# 07.6


def silent_share(model, x, layers=slice(None, -1), silent=lambda layer: (layer <= 0).all(0)):
    """The solution, with other layers or another meaning of silent on request."""
    return torch.cat([silent(each).flatten() for each in model.activations(x)[layers]]).double().mean()


def share_by_hand(model, x):
    """Neuron by neuron, through the layers themselves."""
    count, silent, inputs = 0, 0, x
    for layer in list(model.layers)[:-1]:
        before = inputs @ layer.weight.mT + layer.bias
        for column in before.T:
            count += 1
            silent += int(max(column.tolist()) <= 0)
        inputs = before.clamp_min(0)
    return silent / count


def share_of_sums(model, x):
    """Sums over rows that are 0."""
    sums = torch.cat([each.sum(0) for each in model.activations(x)[:-1]])
    return int((sums == 0).sum()) / len(sums)


def share_of_layers(model, x):
    return torch.stack([(each <= 0).all(0).double().mean() for each in model.activations(x)[:-1]]).mean()


def shares(features):
    values = torch.linalg.svdvals(features)
    return values / values.sum()


def entropy(p):
    return torch.special.entr(p).sum()


def effective_rank(features):
    return entropy(shares(features)).exp()


def rank_in_numpy(features):
    values = np.linalg.svd(features.numpy(), compute_uv=False)
    p = values / np.sum(values)
    p = p[p > 1e-14]
    return float(np.prod(p**-p))


def rank_in_bits(features):
    p = shares(features)
    return 2 ** -(p * (p + 1e-12).log2()).sum().item()


def rank_of_squares(features):
    p = torch.linalg.svdvals(features).square()
    return entropy(p / p.sum()).exp()


def rank_over_largest(features):
    values = torch.linalg.svdvals(features)
    return entropy(values / values.max()).exp()


def rank_with_nan(features):
    """0 log 0 is nan, and somebody turns nan into 0 too late."""
    values = torch.linalg.svd(features, full_matrices=True).S
    return torch.nan_to_num(-(values * values.log()).sum()).exp()


def silence(silent_share=silent_share, effective_rank=effective_rank):
    return {"silent_share": silent_share, "effective_rank": effective_rank}


def counting(**mistake):
    return silence(lambda *case: silent_share(*case, **mistake))


WRONG = [
    ("07.1", "the variance", widths(lambda *case: std_after(*case) ** 2), "a standard deviation"),
    (
        "07.1",
        "no squares",
        widths(lambda s, f, g, k: (g ** (2 * k) * s + (1 - g ** (2 * k)) * f) ** 0.5),
        "a standard deviation",
    ),
    (
        "07.1",
        "init_std not squared",
        widths(lambda s, f, g, k: (g ** (2 * k) * s**2 + (1 - g ** (2 * k)) * f) ** 0.5),
        "a standard deviation",
    ),
    ("07.1", "one too many", left(lambda gamma, k: gamma ** (2 * k + 2)), "no drift, no change"),
    ("07.1", "k left out", left(lambda gamma, k: gamma**2), "no drift, no change"),
    (
        "07.1",
        "noise once, at 0 too",
        widths(lambda s, f, g, k: (g ** (2 * k) * s**2 + (1 - g**2) * f**2) ** 0.5),
        "no drift, no change",
    ),
    ("07.1", "1 - left", left(lambda gamma, k: 1 - gamma ** (2 * k)), "no drift, no change"),
    ("07.1", "no noise", looped(added=lambda gamma: 0.0), "the limit"),
    ("07.1", "noise of 1 - gamma", looped(added=lambda gamma: 1 - gamma), "the limit"),
    ("07.1", "noise of (1 - gamma)^2", looped(added=lambda gamma: (1 - gamma) ** 2), "the limit"),
    ("07.1", "gamma once on the variance", looped(kept=lambda gamma: gamma), "the limit"),
    (
        "07.1",
        "noise k times",
        widths(lambda s, f, g, k: (g ** (2 * k) * s**2 + k * (1 - g**2) * f**2) ** 0.5),
        "the limit",
    ),
    (
        "07.1",
        "noise of the first drift alone",
        widths(lambda s, f, g, k: (g ** (2 * k) * s**2 + bool(k) * (1 - g**2) * f**2) ** 0.5),
        "the limit",
    ),
    ("07.1", "one drift for all", left(lambda gamma, k: gamma**2 if k else 1), "the limit"),
    ("07.1", "deviations add up", widths(std_of_one_sum), "the start stays"),
    ("07.1", "k squared", left(lambda gamma, k: gamma ** (k * k)), "drifts follow each other"),
    ("07.1", "linear in k", left(lambda gamma, k: max(0.0, 1 - 2 * k * (1 - gamma))), "drifts follow each other"),
    ("07.1", "k times", left(lambda gamma, k: max(0.0, 1 - k * (1 - gamma**2))), "drifts follow each other"),
    ("07.1", "gamma not squared", left(lambda gamma, k: gamma**k), "the law of the drift"),
    ("07.1", "evenly", widths(lambda s, f, g, k: g**k * s + (1 - g**k) * f), "the law of the drift"),
    ("07.1", "to the fourth", left(lambda gamma, k: gamma ** (4 * k)), "the law of the drift"),
    ("07.1", "an exponential", left(lambda gamma, k: math.exp(-2 * k * (1 - gamma))), "the law of the drift"),
    ("07.1", "exchanged", widths(lambda s, f, g, k: std_after(f, s, g, k)), "no drift, no change"),
    ("07.1", "as a drift", widths(mixed=1.0), "where averages settle"),
    ("07.1", "its variance", widths(mixed=0.1 / 1.9), "where averages settle"),
    ("07.1", "the share of the draw", widths(mixed=0.1), "where averages settle"),
    ("07.1", "nothing left", widths(mixed=0), "where averages settle"),
    ("07.1", "one step of noise", widths(mixed=math.sqrt(0.19)), "where averages settle"),
    ("07.1", "one half", widths(mixed=0.5), "where averages settle"),
    ("07.1", "numbers", widths(0.5), "type"),
    ("07.1", "only the function", std_after, "type"),
    (
        "07.2",
        "a number",
        steps(lambda theta, init_mean, gamma: drifted(theta, init_mean, gamma).mean()),
        "weights as they came",
    ),
    ("07.2", "double precision", steps(lambda *case: drifted(*case).double()), "weights as they came"),
    ("07.2", "in place", steps(drifted_in_place), "inputs untouched"),
    ("07.2", "exchanged", steps(lambda theta, start, gamma: gamma * start + (1 - gamma) * theta), "nothing at one"),
    (
        "07.2",
        "towards the start at once",
        steps(lambda theta, start, gamma: theta + gamma * (start - theta)),
        "nothing at one",
    ),
    ("07.2", "to zero", steps(lambda theta, start, gamma: gamma * theta), "home at zero"),
    ("07.2", "noise", steps(drifted_with_noise), "home at zero"),
    ("07.2", "no drift", steps(lambda theta, start, gamma: theta.clone()), "home at zero"),
    ("07.2", "the square", steps(lambda theta, start, gamma: drifted(theta, start, gamma**2)), "part of the way"),
    ("07.2", "the root", steps(lambda theta, start, gamma: drifted(theta, start, gamma**0.5)), "part of the way"),
    (
        "07.2",
        "a root for the start",
        steps(lambda theta, start, gamma: gamma * theta + (1 - gamma**2) ** 0.5 * start),
        "part of the way",
    ),
    ("07.2", "not divided", steps(rate=lambda lr, g, s: lr * (g**2 * s**2 + 1 - g**2)), "plain at one"),
    ("07.2", "the second term alone", steps(rate=lambda lr, g, s: lr * (1 - g**2) / s**2), "plain at one"),
    ("07.2", "gamma exchanged", steps(rate=lambda lr, g, s: lr * (1 - g**2 + g**2 / s**2)), "plain at one"),
    ("07.2", "over gamma", steps(rate=lambda lr, g, s: lr / (1 - g + 1e-9)), "plain at one"),
    ("07.2", "lr forgotten", steps(rate=lambda lr, g, s: g**2 + (1 - g**2) / s**2), "plain at one"),
    ("07.2", "s for s squared", steps(rate=lambda lr, g, s: lr * (g**2 + (1 - g**2) / s)), "it rises"),
    ("07.2", "the widths' ratio", steps(rate=lambda lr, g, s: lr * (g**2 + (1 - g**2) / s**2) ** 0.5), "it rises"),
    ("07.2", "falling", steps(rate=lambda lr, g, s: lr * (g**2 + (1 - g**2) * s**2)), "it rises"),
    ("07.2", "inverse", steps(rate=lambda lr, g, s: lr / (g**2 + (1 - g**2) / s**2)), "it rises"),
    ("07.2", "falling with s", steps(rate=lambda lr, g, s: lr * (g**2 + (1 - g**2) * s)), "it rises"),
    ("07.2", "constant", steps(rate=lambda lr, g, s: lr), "it rises"),
    ("07.2", "one too many", steps(rate=lambda lr, g, s: lr * (1 + (1 - g**2) / s**2)), "it rises"),
    ("07.2", "gamma squared", steps(rate=lambda lr, g, s: lr * g**2), "it rises"),
    ("07.2", "gamma not squared", steps(rate=lambda lr, g, s: lr * (g + (1 - g) / s**2)), "variance over variance"),
    ("07.2", "half squared", steps(rate=lambda lr, g, s: lr * (g + (1 - g**2) / s**2)), "variance over variance"),
    (
        "07.2",
        "a square of 1 - gamma",
        steps(rate=lambda lr, g, s: lr * (g**2 + (1 - g) ** 2 / s**2)),
        "variance over variance",
    ),
    ("07.2", "a power of s", steps(rate=lambda lr, g, s: lr / s ** (2 * (1 - g))), "variance over variance"),
    ("07.2", "gradient before", steps(soft_step=step_at_theta), "drift, then descend"),
    ("07.2", "gradient at the start", steps(soft_step=step_at_start), "drift, then descend"),
    ("07.2", "descends first", steps(soft_step=step_first), "drift, then descend"),
    ("07.2", "never drifts", steps(soft_step=step_undrifted), "drift, then descend"),
    ("07.2", "no gradient", steps(soft_step=step_without_gradient), "drift, then descend"),
    ("07.2", "two steps", steps(soft_step=step_twice), "drift, then descend"),
    ("07.2", "uphill", steps(soft_step=step_uphill), "downhill, as far as allowed"),
    ("07.2", "lr as it was", steps(soft_step=step_without_rise), "downhill, as far as allowed"),
    ("07.2", "from the old weights", steps(soft_step=step_from_theta), "downhill, as far as allowed"),
    ("07.2", "numbers", steps(rate=0.1), "type"),
    ("07.3", "one for all", slopes(lambda *case: sum(gamma_slope(*case))), "one for each layer"),
    ("07.3", "one in a list", slopes(lambda *case: [sum(gamma_slope(*case))]), "one for each layer"),
    ("07.3", "one for each tensor", slopes(slope_of_each_tensor), "one for each layer"),
    ("07.3", "cumulated", slopes(slope_cumulated), "one for each layer"),
    (
        "07.3",
        "one for each number",
        slopes(lambda g, t, s, b: [[-b * a * c for a, c in zip(x, y)] for x, y in zip(g, t)]),
        "type",
    ),
    ("07.3", "in place", slopes(slope_in_place), "inputs untouched"),
    ("07.3", "from zero", summed(lambda g, t, s, b: -b * (g * t).sum()), "from the start"),
    ("07.3", "the start alone", summed(lambda g, t, s, b: -b * (g * s).sum()), "from the start"),
    ("07.3", "added", summed(lambda g, t, s, b: -b * (g * (t + s)).sum()), "from the start"),
    ("07.3", "the gradient alone", summed(lambda g, t, s, b: -b * g.sum()), "from the start"),
    ("07.3", "its square", summed(lambda g, t, s, b: -b * g.square().sum()), "from the start"),
    ("07.3", "of the loss", summed(lambda g, t, s, b: b * (g * (t - s)).sum()), "the sign"),
    ("07.3", "the way back", summed(lambda g, t, s, b: -b * (g * (s - t)).sum()), "the sign"),
    ("07.3", "absolute", summed(lambda g, t, s, b: abs(of_tensor(g, t, s, b))), "the sign"),
    ("07.3", "lengths", summed(lambda g, t, s, b: -b * g.norm() * (t - s).norm()), "the sign"),
    ("07.3", "only back", summed(lambda g, t, s, b: of_tensor(g, t, s, b).clamp_max(0)), "the sign"),
    ("07.3", "of the mean loss", summed(lambda g, t, s, b: of_tensor(g, t, s, 1)), "all rows of the batch"),
    ("07.3", "over b", summed(lambda g, t, s, b: of_tensor(g, t, s, 1 / b)), "all rows of the batch"),
    ("07.3", "root of b", summed(lambda g, t, s, b: of_tensor(g, t, s, b**0.5)), "all rows of the batch"),
    ("07.3", "b squared", summed(lambda g, t, s, b: of_tensor(g, t, s, b * b)), "all rows of the batch"),
    ("07.3", "means", summed(lambda g, t, s, b: of_tensor(g, t, s, b) / g.numel()), "a sum over the layer"),
    ("07.3", "mean of the layer", slopes(slope_of_mean_over_layer), "a sum over the layer"),
    ("07.3", "sums first", summed(lambda g, t, s, b: -b * g.sum() * (t - s).sum()), "a sum over the layer"),
    ("07.3", "weights alone", summed(lambda g, t, s, b: of_tensor(g, t, s, b) * (g.ndim == 2)), "a sum over the layer"),
    ("07.3", "twice", summed(lambda g, t, s, b: 2 * of_tensor(g, t, s, b)), "the slope of J"),
    (
        "07.3",
        "a direction",
        summed(lambda g, t, s, b: of_tensor(g, t, s, b) / ((t - s).norm() + 1e-12)),
        "the slope of J",
    ),
    (
        "07.3",
        "a cosine",
        summed(lambda g, t, s, b: of_tensor(g, t, s, b) / ((t - s).norm() + 1e-12) / g.norm()),
        "the slope of J",
    ),
    ("07.3", "from nothing", slopes(next_gamma=lambda slope, lr: min(1, max(0, lr * slope))), "begins at one"),
    ("07.3", "the slope", slopes(next_gamma=lambda slope, lr: slope), "begins at one"),
    ("07.3", "a sigmoid", slopes(next_gamma=lambda slope, lr: torch.sigmoid(lr * slope)), "begins at one"),
    ("07.3", "downhill", slopes(next_gamma=lambda slope, lr: min(1, max(0, 1 - lr * slope))), "up the slope"),
    ("07.3", "without drift_lr", slopes(next_gamma=lambda slope, lr: min(1, max(0, 1 + slope))), "up the slope"),
    ("07.3", "an exponential", slopes(next_gamma=lambda slope, lr: torch.exp(lr * slope).clamp(0, 1)), "up the slope"),
    ("07.3", "over drift_lr", slopes(next_gamma=lambda slope, lr: min(1, max(0, 1 + slope / lr))), "up the slope"),
    ("07.3", "not clipped", slopes(next_gamma=lambda slope, lr: 1 + lr * slope), "between 0 and 1"),
    ("07.3", "clipped above", slopes(next_gamma=lambda slope, lr: min(1, 1 + lr * slope)), "between 0 and 1"),
    ("07.3", "clipped below", slopes(next_gamma=lambda slope, lr: max(0, 1 + lr * slope)), "between 0 and 1"),
    ("07.3", "mirrored", slopes(next_gamma=lambda slope, lr: min(1, abs(1 + lr * slope))), "between 0 and 1"),
    (
        "07.3",
        "the wrong way round",
        slopes(next_gamma=lambda slope, lr: max(1, min(0, 1 + lr * slope))),
        "up the slope",
    ),
    ("07.3", "numbers", slopes(0.5), "type"),
    ("07.4", "a half", scoring(honest=0.5), "by chance"),
    ("07.4", "nothing", scoring(honest=0), "by chance"),
    ("07.4", "all", scoring(honest=1.0), "by chance"),
    ("07.4", "in per cent", scoring(honest=10), "by chance"),
    ("07.4", "as the drift leaks", scoring(honest=0.3), "by chance"),
    ("07.4", "the mean", scoring(lambda *case: stream_scores(*case).mean()), "a score a batch"),
    ("07.4", "log-probabilities", scoring(log_probs), "a score a batch"),
    (
        "07.4",
        "right answers counted",
        scoring(lambda m, b, t: stream_scores(m, b, t) * len(b[0][0])),
        "a score a batch",
    ),
    ("07.4", "in per cent, too", scoring(lambda *case: 100 * stream_scores(*case)), "a score a batch"),
    ("07.4", "wrong answers", scoring(lambda *case: 1 - stream_scores(*case)), "a score a batch"),
    ("07.4", "always over 16", scoring(lambda m, b, t: stream_scores(m, b, t) * len(b[0][0]) / 16), "a score a batch"),
    ("07.4", "one left out", scoring(lambda *case: stream_scores(*case)[1:]), "a score a batch"),
    ("07.4", "learned first", ordered("cdgs"), "no luck on noise"),
    ("07.4", "drifted first", ordered("cdsg"), "no luck on noise"),
    ("07.4", "score within", ordered("cgsd"), "no luck on noise"),
    ("07.4", "two passes", scoring(scores_twice_over), "nothing from later"),
    ("07.4", "at the end", scoring(scores_at_the_end), "nothing from later"),
    ("07.4", "standardised", scoring(scores_standardised), "nothing from later"),
    ("07.4", "the next batch", scoring(scores_of_next_batch), "nothing from later"),
    ("07.4", "never learns", ordered("s"), "each batch is learned"),
    ("07.4", "no gradient", ordered("scd"), "each batch is learned"),
    ("07.4", "gradient alone", ordered("sg"), "each batch is learned"),
    ("07.4", "gamma of no batch", ordered("sdg"), "each batch is learned"),
    ("07.4", "no drift", ordered("scg"), "each batch is learned"),
    ("07.4", "drift first", ordered("sdcg"), "each batch is learned"),
    ("07.4", "drift last", ordered("scgd"), "each batch is learned"),
    ("07.4", "gradient first", ordered("sgcd"), "each batch is learned"),
    ("07.4", "two steps", ordered("scdgg"), "each batch is learned"),
    ("07.4", "learned twice", ordered("scdgcdg"), "each batch is learned"),
    ("07.4", "drifts twice", ordered("scddg"), "each batch is learned"),
    ("07.4", "learns its errors only", scoring(scores_of_errors), "each batch is learned"),
    ("07.4", "an optimiser of its own", scoring(scores_by_sgd), "each batch is learned"),
    ("07.4", "the better of two", scoring(scores_of_both), "no luck on noise"),
    ("07.4", "an old copy", scoring(scores_of_a_copy(1)), "the network as it is"),
    ("07.4", "a very old copy", scoring(scores_of_a_copy(5)), "the network as it is"),
    ("07.4", "the first network", scoring(scores_of_the_first_network), "the network as it is"),
    ("07.4", "a number", scoring(0.1), "type"),
    ("07.4", "a word", scoring(honest="chance"), "type"),
    ("07.5", "all", resets(tuple(STREAMS)), "what a reset mends"),
    ("07.5", "labels, too", resets(("labels", "slow pixels", "turns", "still")), "what a reset mends"),
    ("07.5", "pixels, too", resets(("pixels", "slow pixels", "turns", "still")), "what a reset mends"),
    ("07.5", "only what stands still", resets(("still",)), "what a reset loses"),
    ("07.5", "the rate ignored", resets(("turns", "still")), "what a reset loses"),
    ("07.5", "turns forgotten", resets(("slow pixels", "still")), "what a reset loses"),
    ("07.5", "the others", resets(("labels", "pixels")), "what a reset loses"),
    ("07.5", "none", resets(()), "what a reset loses"),
    ("07.5", "another name", resets(("slow pixels", "turns", "sleeping")), "type"),
    ("07.5", "a number of them", resets(3), "type"),
    ("07.5", "no drift", resets(careful=0), "in range"),
    ("07.5", "below zero", resets(jumpy=-0.1), "in range"),
    ("07.5", "as large as can be", resets(jumpy=1e6), "in range"),
    ("07.5", "not jumpy", resets(jumpy=0.01), "jumpy"),
    ("07.5", "nearly jumpy", resets(jumpy=0.04), "jumpy"),
    ("07.5", "the lesson's", resets(jumpy=0.0025), "jumpy"),
    ("07.5", "deaf", resets(careful=0.0001), "it finds the change"),
    ("07.5", "hard of hearing", resets(careful=0.002), "it finds the change"),
    ("07.5", "as shown", resets(careful=0.03), "and nothing else"),
    ("07.5", "exchanged", resets(jumpy=0.008, careful=0.3), "jumpy"),
    ("07.5", "jumpy twice", resets(careful=0.3), "and nothing else"),
    ("07.5", "a word", resets(jumpy="high"), "type"),
    ("07.6", "a count", silence(lambda *case: silent_share(*case) * 40), "a share"),
    ("07.6", "per cent", silence(lambda *case: 100 * silent_share(*case)), "a share"),
    ("07.6", "below zero", silence(lambda *case: silent_share(*case) - 1), "a share"),
    ("07.6", "zeros", counting(silent=lambda layer: layer <= 0), "silent neurons, not quiet rows"),
    ("07.6", "for some row", counting(silent=lambda layer: (layer <= 0).any(0)), "silent neurons, not quiet rows"),
    ("07.6", "rows", counting(silent=lambda layer: (layer <= 0).all(1)), "silent neurons, not quiet rows"),
    ("07.6", "rows with a zero", counting(silent=lambda layer: (layer <= 0).any(1)), "silent neurons, not quiet rows"),
    ("07.6", "alive", silence(lambda *case: 1 - silent_share(*case)), "silent neurons, not quiet rows"),
    ("07.6", "less than zero", counting(silent=lambda layer: (layer < 0).all(0)), "silent neurons, not quiet rows"),
    ("07.6", "logits, too", counting(layers=slice(None)), "the hidden ones"),
    ("07.6", "logits alone", counting(layers=slice(-1, None)), "the hidden ones"),
    ("07.6", "the first alone", counting(layers=slice(0, 1)), "the hidden ones"),
    ("07.6", "the last hidden", counting(layers=slice(-2, -1)), "the hidden ones"),
    ("07.6", "a mean of layers", silence(share_of_layers), "each neuron once"),
    ("07.6", "a threshold", counting(silent=lambda layer: layer.mean(0) < 1e-3), "silent is silent"),
    ("07.6", "below a tenth", counting(silent=lambda layer: layer.mean(0) < 0.1 * layer.mean()), "silent is silent"),
    ("07.6", "for most rows", counting(silent=lambda layer: (layer <= 0).double().mean(0) > 0.9), "silent is silent"),
    ("07.6", "the median", counting(silent=lambda layer: layer.median(0).values <= 0), "silent is silent"),
    ("07.6", "no spread", counting(silent=lambda layer: layer.std(0) == 0), "silent is silent"),
    (
        "07.6",
        "all or none",
        counting(silent=lambda layer: (layer > 0).all(0) | (layer <= 0).all(0)),
        "silent is silent",
    ),
    ("07.6", "the first row", counting(silent=lambda layer: layer[0] <= 0), "silent is silent"),
    ("07.6", "rounded", counting(silent=lambda layer: layer.round(decimals=2).eq(0).all(0)), "silent is silent"),
    ("07.6", "the entropy", silence(effective_rank=lambda f: entropy(shares(f))), "equal directions count one each"),
    (
        "07.6",
        "bits",
        silence(effective_rank=lambda f: (entropy(shares(f)) / math.log(2)).exp()),
        "equal directions count one each",
    ),
    ("07.6", "sign", silence(effective_rank=lambda f: (-entropy(shares(f))).exp()), "equal directions count one each"),
    ("07.6", "no shares", silence(effective_rank=rank_with_nan), "equal directions count one each"),
    (
        "07.6",
        "over columns",
        silence(effective_rank=lambda f: effective_rank(f) / f.shape[1]),
        "equal directions count one each",
    ),
    (
        "07.6",
        "as many as above one half",
        silence(effective_rank=lambda f: (torch.linalg.svdvals(f) > 0.4).sum()),
        "without a unit",
    ),
    ("07.6", "the rank", silence(effective_rank=torch.linalg.matrix_rank), "weak directions count less"),
    ("07.6", "over the largest", silence(effective_rank=rank_over_largest), "equal directions count one each"),
    ("07.6", "squares", silence(effective_rank=rank_of_squares), "weak directions count less"),
    (
        "07.6",
        "participation",
        silence(effective_rank=lambda f: 1 / shares(f).square().sum()),
        "weak directions count less",
    ),
    (
        "07.6",
        "stable rank",
        silence(effective_rank=lambda f: (torch.linalg.svdvals(f) / torch.linalg.matrix_norm(f, 2)).square().sum()),
        "weak directions count less",
    ),
    ("07.6", "a number", silence(0.5), "type"),
]

RIGHT = [
    ("07.1", widths()),
    ("07.1", widths(std_by_loop, 0.2294)),
    ("07.1", widths(std_in_torch, torch.tensor([0.229]))),
    ("07.1", widths(std_towards, np.float64(0.2295))),
    ("07.2", steps()),
    ("07.2", steps(lambda theta, start, gamma: torch.lerp(start, theta, gamma), rate_by_widths, step_by_entries)),
    ("07.3", slopes()),
    ("07.3", slopes(slope_in_one_tensor, lambda slope, lr: float(np.clip(1 + lr * slope.item(), 0, 1)))),
    ("07.3", slopes(slope_in_numpy, lambda slope, lr: min(1, max(0, 1 + lr * slope)))),
    ("07.4", scoring()),
    ("07.4", scoring(scores_by_learn, 0.11)),
    ("07.4", scoring(scores_in_numpy, np.float64(0.09))),
    ("07.4", scoring(scores_after_choosing, torch.tensor(0.1))),
    ("07.5", resets()),
    ("07.5", resets([" Still", "TURNS", "slow  pixels"], 1, torch.tensor(0.01))),
    ("07.5", resets(frozenset(HURTS), np.float64(0.2), 0.006)),
    ("07.6", silence()),
    ("07.6", silence(share_by_hand, rank_in_numpy)),
    ("07.6", silence(share_of_sums, rank_in_bits)),
]


DRAWN = [
    ("07.1", widths()),
    ("07.2", steps()),
    ("07.3", slopes()),
    ("07.4", scoring()),
    ("07.6", silence()),
]  # right answers, on other draws too

STEADY = ("07.1", "07.2", "07.3", "07.4", "07.6")  # wrong answers to them get the same hint on other draws


def test_an_exception_in_an_answer_is_an_error():
    def divides(*case):
        return case[0] / 0 * missing

    for name, answer in (
        ("07.1", widths(divides)),
        ("07.2", steps(soft_step=divides)),
        ("07.3", slopes(divides)),
        ("07.4", scoring(divides)),
        ("07.6", silence(divides)),
    ):
        assert check(name, answer).status == "error"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("07.1", widths(lambda *case: None)),
        ("07.1", widths(mixed=...)),
        ("07.2", steps(soft_step=lambda *case: ...)),
        ("07.3", slopes(next_gamma=lambda *case: None)),
        ("07.4", scoring(lambda *case: None)),
        ("07.4", scoring(honest=...)),
        ("07.5", {...}),
        ("07.5", resets({...})),
        ("07.6", silence(effective_rank=lambda features: None)),
    ],
)
def test_stubs_are_not_attempted(name, answer):
    assert check(name, answer).status == "not attempted"


# What the exercises say is so


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_width_is_that_of_the_package_and_of_simulated_drifts():
    mean = std = torch.tensor(0.4, dtype=torch.float64)
    start, init_std = torch.tensor(-0.3, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64)
    weights = 0.4 + 0.4 * normal(200_000)
    for k in range(1, 5):
        mean, std = drift_of_package(mean, std, start, init_std, 0.8)
        weights = 0.8 * weights + 0.2 * start + 0.6 * init_std * normal(200_000, seed=k)
        assert std_after(0.4, 1.5, 0.8, k) == pytest.approx(std.item(), rel=1e-12)
        assert weights.std().item() == pytest.approx(std.item(), rel=0.01)  # its own error is 0.0016
    assert std_after(0.0, 1.0, 0.9, 1) == pytest.approx(0.44, abs=0.005)


def test_averages_with_fresh_draws_settle_at_023():
    weights = normal(100_000)
    for k in range(60):
        weights = 0.9 * weights + 0.1 * normal(100_000, seed=k + 1)
    assert weights.std().item() == pytest.approx(math.sqrt(0.1 / 1.9), rel=0.01)
    assert round(math.sqrt(0.1 / 1.9), 2) == 0.23


def test_the_rate_and_the_step_are_those_of_the_package():
    for gamma in (0.0, 0.4, 1.0):
        rise = learning_rate_rise(torch.tensor(gamma, dtype=torch.float64), 0.25).item()
        assert rate(0.3, gamma, 0.25) == pytest.approx(0.3 * rise)
    assert rate(1.0, 0.0, 0.25) == 16
    generator = torch.Generator().manual_seed(0)
    model = StackedMLP(None, 3, 4, width=5, generator=generator, dtype=torch.float64)
    trainer = SoftReset(model, 0.3, 0.05, 0.7, per="model", samples=0)
    trainer.theta.add_(0.3 * normal(*trainer.theta.shape))
    batch = normal(8, 3), torch.randint(4, (8,), generator=generator)
    before = trainer.theta.clone()

    def gradient(theta):
        now = trainer.theta.clone()
        trainer.theta.copy_(theta)
        found = trainer.gradient(cross_entropy, batch)
        trainer.theta.copy_(now)
        return found

    (slope,) = gamma_slope([[gradient(before)]], [[before]], [[trainer.init_mean]], 8)
    gamma = next_gamma(slope, 0.05).item()
    expected = soft_step(before, trainer.init_mean, gamma, 0.3, 0.7, gradient)
    trainer.learn(cross_entropy, batch)
    assert 0 < gamma < 1
    torch.testing.assert_close(trainer.gammas["model"].item(), gamma)
    torch.testing.assert_close(trainer.theta, expected)


def test_each_layer_of_the_package_has_the_gamma_of_the_slopes():
    generator = torch.Generator().manual_seed(1)
    model = StackedMLP(None, 3, 4, width=5, generator=generator, dtype=torch.float64)
    trainer = SoftReset(model, 0.3, 0.01, samples=0)
    trainer.theta.add_(0.3 * normal(*trainer.theta.shape))
    batch = normal(8, 3), torch.randint(4, (8,), generator=generator)
    parts = trainer.gradient(cross_entropy, batch), trainer.theta.clone(), trainer.init_mean
    layers = [[list(pair) for pair in zip(*[iter(trainer.split(part))] * 2)] for part in parts]
    expected = [next_gamma(slope, 0.01).item() for slope in gamma_slope(*layers, 8)]
    trainer.learn(cross_entropy, batch)
    came = [gamma.item() for gamma in trainer.gammas.values()]
    assert came == pytest.approx(expected)
    assert len({*came}) == 3


def test_a_step_in_three_parts_is_the_step():
    for options in ({"per": "layer", "samples": 1}, {"per": "parameter", "samples": 0}):
        thetas = []
        for whole in (True, False):
            generator = torch.Generator().manual_seed(0)
            model = StackedMLP(None, 4, 3, width=6, generator=generator)
            trainer = SteppedReset(model, 0.5, 0.01, 0.8, generator=generator, **options)
            for batch in learnable(torch.Generator().manual_seed(1), 10):
                batch = batch[0].float(), batch[1]
                if whole:
                    trainer.learn(cross_entropy, batch)
                else:
                    in_order(model, [batch], trainer, "scdg")
            thetas.append(trainer.theta.clone())
        assert torch.equal(*thetas)


def loops():
    """The two loops, as the notebook shows them."""
    (cell,) = (cell for cell in read_source(NOTEBOOK).cells if cell.source.startswith("def learned_first"))
    scope = {"accuracy": accuracy}
    exec(cell.source, scope)
    return scope["learned_first"], scope["drifted_first"]


@pytest.mark.parametrize("seed", range(3))
def test_both_loops_leak_and_the_honest_one_is_right_once_in_ten_times(seed):
    learned, drifted, honest = (
        score_on_noise(loop, torch.Generator().manual_seed(seed)) for loop in (*loops(), stream_scores)
    )
    assert learned > 0.3
    assert drifted > 0.2
    assert abs(honest - 0.1) < 4 * math.sqrt(0.09 / (150 * 16))
    assert round(math.sqrt(0.09 / (150 * 16)), 3) == 0.006


def test_with_one_gamma_a_layer_the_leak_of_the_drift_is_small():
    scores = []
    for seed in range(4):
        model, _ = fresh(torch.Generator().manual_seed(seed))
        trainer = SteppedReset(model, 1.0, 0.2, 0.8, samples=0)
        scores.append(in_order(model, noise(torch.Generator().manual_seed(seed), 150), trainer, "cdsg").mean().item())
    assert 0.1 < sum(scores) / 4 < 0.13


def test_more_than_a_thousand_gammas():
    _, trainer = fresh(torch.Generator().manual_seed(0))
    assert sum(gamma.numel() for gamma in trainer.gammas.values()) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", STREAMS)
def test_resets_hurt_where_the_exercise_says_so(name, seed):
    kept, reset = reset_gain(name, seed)
    if name in HURTS:
        assert reset < kept - 0.03
    else:
        assert reset > kept + 0.03


@pytest.mark.parametrize("seed", range(3))
def test_the_thresholds_of_the_drift_rates_have_margin(seed):
    def trial(drift_lr):
        return try_drift(drift_lr, torch.Generator().manual_seed(seed))

    calm = trial(0.008)
    assert calm.inside > CALM + 0.001
    assert calm.at_change < FOUND - 0.03
    jumpy = trial(0.3)
    assert jumpy.inside < INSIDE - 0.2
    assert jumpy.accuracy[60:100].mean() < calm.accuracy[60:100].mean() - 0.2
    shown = trial(0.03)
    assert INSIDE < shown.inside < CALM
    for drift_lr in (0.004, 0.016):
        edge = trial(drift_lr)
        assert edge.at_change < FOUND + 0.02
        assert edge.inside > CALM - 0.001


@pytest.mark.parametrize("seed", range(10))
def test_networks_of_the_check_have_the_silent_neurons_they_announce(seed):
    model, x = network(torch.Generator().manual_seed(seed))
    hidden = [each.detach() for each in model.activations(x)[:-1]]
    assert [int((each <= 0).all(0).sum()) for each in hidden] == [4, 3]
    assert [int(((each > 0).sum(0) == 1).sum()) >= 1 for each in hidden] == [True, True]
    assert bool((model.activations(x)[-1] <= 0).all(0).any())


def test_plain_descent_falls_silent_and_soft_reset_does_not():
    for seed in range(2):
        labelled = random_label_digits(20, size=32, epochs=20, generator=torch.Generator().manual_seed(seed))
        digits, ends = labelled.features.flatten(1) / 2, {}
        for name, make in (
            ("plain", lambda model: OnlineSGD(model, 0.8)),
            ("soft", lambda model: SoftReset(model, 0.8, 0.005, 0.9, samples=0)),
        ):
            model = StackedMLP(None, 64, 10, width=32, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                before = silent_share(model, digits[:32]).item(), effective_rank(model.activations(digits[:32])[-2])
            trainer, scores = make(model), []
            for batch in zip(digits.split(16), labelled.labels.split(16)):
                scores.append(accuracy(model, batch))
                trainer.learn(cross_entropy, batch)
            with torch.no_grad():
                after = silent_share(model, digits[:32]).item(), effective_rank(model.activations(digits[:32])[-2])
            ends[name] = *after, torch.stack(scores[-120:]).mean().item()
            assert before[0] < 0.2
            assert before[1] > 8
        assert ends["plain"][0] > 0.5
        assert ends["soft"][0] < 0.25
        assert ends["plain"][1] < 5 < 8 < ends["soft"][1]
        assert ends["plain"][2] < ends["soft"][2] - 0.15


@pytest.mark.slow
def test_a_small_rate_ends_as_badly_with_about_half_of_the_neurons_alive():
    seeds = (0, 1, 2)
    trace = run("online SGD", [{"lr": 0.1}], "labels", seeds)
    x = torch.stack([stream("labels", seed).features[:160] for seed in seeds])
    silent = torch.cat([(each <= 0).all(1) for each in trace.trainer.model.activations(x)[:-1]], 1).float().mean(1)
    assert bool((trace.by_task(60)[-10:].mean(0) < 0.2).all())
    assert bool(((silent > 0.3) & (silent < 0.7)).all())


def test_a_silent_neuron_has_no_gradient():
    model, x = network(torch.Generator().manual_seed(0))
    labels = torch.arange(len(x)) % 3
    cross_entropy(model, (x, labels)).sum().backward()
    silent = (model.activations(x)[0] <= 0).all(0)
    first, second = model.layers[0], model.layers[1]
    assert not first.weight.grad[silent].any()
    assert not first.bias.grad[silent].any()
    assert not second.weight.grad[:, silent].any()
    assert bool(first.weight.grad[~silent].any())


def test_the_notebook_tells_names_that_the_checks_know():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert set(re.findall(r'^# - `"([\w ]+)"`', text, flags=re.M)) == set(STREAMS)
    for name, (_, lr, _) in STREAMS.items():
        (line,) = re.findall(rf'^# - `"{name}"`: (.*)$', text, flags=re.M)
        assert f"{lr:g}" in line or name == "slow pixels"


def test_another_stream_is_refused():
    with pytest.raises(ValueError, match=r"^name is 'sleeping', but must be one of 'labels', "):
        reset_gain("sleeping", 0)

"""Every check of lesson 03 lets the solution pass, and each property catches a wrong answer that people give."""

import itertools
import math

import numpy as np
import pytest
import torch

from companion.data.labelled import LONG_TAIL, four_classes
from companion.foundations.diffusion import add_noise, bridge, time_grid
from companion.foundations.distances import energy_distance
from companion.methods.guidance import guide, self_consistency_loss
from companion.teaching.checks.lesson_03 import rewards
from companion.teaching.checks.lesson_03.energy import best_constant as best_of_squares
from companion.teaching.checks.lesson_03.energy import stein_weight
from companion.teaching.checks.lesson_03.powered import powered_moments, sampled_moments
from companion.teaching.checks.lesson_03.rewards import AWAY, RAISED, sure_of_the_class, try_reward

# 03.1


def dot(a, b):
    return (a * b).flatten(1).sum(1)


def best_weight(x0, x_c, x_u):
    d = x_c - x_u
    return dot(x0 - x_c, d).mean() / dot(d, d).mean()


def best_by_lstsq(x0, x_c, x_u):
    return torch.linalg.lstsq((x_c - x_u).reshape(-1, 1), (x0 - x_c).reshape(-1, 1)).solution


def best_by_numpy(x0, x_c, x_u):
    missing, d = ((a - b).numpy().ravel() for a, b in ((x0, x_c), (x_c, x_u)))
    return np.dot(missing, d) / np.dot(d, d)


def best_by_three_points(x0, x_c, x_u):
    """The lowest point of the parabola through its values at -1, 0 and 1."""
    low, here, high = ((x0 - guide(x_c, x_u, weight)).square().sum().item() for weight in (-1.0, 0.0, 1.0))
    return (low - high) / (2 * (low + high - 2 * here))


def mean_of_ratios(x0, x_c, x_u):
    d = x_c - x_u
    return (dot(x0 - x_c, d) / dot(d, d)).mean()


def length_not_squared(x0, x_c, x_u):
    d = x_c - x_u
    return dot(x0 - x_c, d).sum() / d.flatten(1).norm(dim=1).sum()


def ratio_of_lengths(x0, x_c, x_u):
    """How long the error is, without asking where it points; signed by whether it goes on or back."""
    error, d = x0 - x_c, x_c - x_u
    return torch.sign(dot(error, d).sum()) * error.norm() / d.norm()


def first_coordinate(x0, x_c, x_u):
    return best_weight(*(points.flatten(1)[:, :1] for points in (x0, x_c, x_u)))


def repair(repairs=(1 / 9, 1, 3), best_weight=best_weight):
    return {"repairs": repairs, "best_weight": best_weight}


# 03.2


def guided(x_c, x_u, weight):
    weight = weight.reshape(-1, *[1] * (x_c.ndim - 1))
    return x_c + weight * (x_c - x_u)


def guided_by_transposing(x_c, x_u, weight):
    return (x_c.movedim(0, -1) * (1 + weight) - weight * x_u.movedim(0, -1)).movedim(-1, 0)


def guided_by_einsum(x_c, x_u, weight):
    return x_c + torch.einsum("n,n...->n...", weight, x_c - x_u)


def guided_at_scale(x_c, x_u, weight):
    return guided(x_u, 2 * x_u - x_c, weight)


def limited(t, weight, low, high):
    return weight * ((low <= t) & (t <= high)).to(t)


def limited_by_where(t, weight, low, high):
    return torch.where((t - low) * (t - high) <= 0, torch.full_like(t, weight), torch.zeros_like(t))


def inside(times, low, high):
    return int(((low <= times) & (times <= high)).sum())


def evaluations(times, weight, low, high):
    return len(times) - 1 + (weight != 0) * inside(times[:-1], low, high)


def evaluations_in_a_loop(times, weight, low, high):
    calls = 0
    for t in times[:-1].tolist():
        calls += 2 if weight and low <= t <= high else 1
    return float(calls)


def guidance(**changed):
    return {"guided": guided, "limited": limited, "evaluations": evaluations} | changed


def counting(count):
    return guidance(evaluations=count)


# 03.3


def powered(mean, v_c, v_u, weight):
    precision = (1 + weight) / v_c - weight / v_u
    return (1 + weight) * mean / v_c / precision, 1 / precision


def powered_with(variance=None, mean=None):
    """The powered density with one mistake."""

    def answer(m, c, u, w):
        right = powered(m, c, u, w)
        return (mean(m, c, u, w) if mean else right[0]), (variance(m, c, u, w) if variance else right[1])

    return answer


def sampled(mean, v_c, v_u, weight, times, prior=True, noisy=True, spread=2, scale=1.0, gain_scale=1):
    """The walk, with mistakes on request."""
    centre, std = 0.0, 1.0
    times = [float(time) for time in times]
    for t, s in itertools.pairwise(times):
        a = 1 - t
        top = a if gain_scale else 1.0
        gain_c, gain_u = (top * v / (a**2 * v + t**2) for v in (v_c, v_u))
        slope = (scale + weight) * gain_c - (scale + weight - 1) * gain_u
        offset = (scale + weight) * (1 - gain_c * a) * mean if prior else 0.0
        old, clean = (s / t if noisy else 0.0), 1 - s - (a * s / t if noisy else 0.0)
        centre, std = old * centre + clean * (slope * centre + offset), (old + clean * slope) * std
    return centre, std**spread


def sampled_with(**mistake):
    return lambda *walk: sampled(*walk, **mistake)


def sampled_in_the_limit(mean, v_c, v_u, weight, times):
    return sampled(mean, v_c, v_u, weight, time_grid(400))


def sampled_by_drawing(mean, v_c, v_u, weight, times):
    start = torch.randn(1000).double()
    at_0, at_1 = (sampled_map(x, mean, v_c, v_u, weight, times) for x in (0.0, 1.0))
    ends = at_0 + (at_1 - at_0) * start
    return ends.mean(), ends.var()


def sampled_map(x, mean, v_c, v_u, weight, times):
    for t, s in itertools.pairwise(times.tolist()):
        a = 1 - t
        x_c, x_u = (m + a * v / (a * a * v + t * t) * (x - a * m) for m, v in ((mean, v_c), (0.0, v_u)))
        x = s / t * x + (1 - s - a * s / t) * (x_c + weight * (x_c - x_u))
    return x


def sampled_by_probes(*walk):
    at_0, at_1 = (sampled_map(x, *walk) for x in (0.0, 1.0))
    return torch.tensor([at_0, (at_1 - at_0) ** 2])


def laws(powered=powered, sampled=sampled, narrower="sampled"):
    return {"powered": powered, "sampled": sampled, "narrower": narrower}


# 03.4


def powers(a, b, beta):
    square = (a[:, :, None] - b[:, None]).square().sum(-1)
    return torch.where(square > 0, torch.where(square > 0, square, 1).pow(beta / 2), 0)


def score(pushed, noised, beta, lam):
    m = pushed.shape[1]
    pairs = powers(pushed, pushed, beta).sum((1, 2)) / (m * (m - 1))
    return (powers(pushed, noised, beta).mean((1, 2)) - lam / 2 * pairs).mean()


def score_by_cdist(pushed, noised, beta, lam):
    m = pushed.shape[1]
    apart = ~torch.eye(m, dtype=torch.bool)
    cross = torch.cdist(pushed, noised) ** beta
    return cross.mean() - lam / 2 * (torch.cdist(pushed, pushed)[:, apart] ** beta).mean()


def score_in_loops(pushed, noised, beta, lam):
    n, m, _ = pushed.shape
    total = 0.0
    for i in range(n):
        for j in range(m):
            for k in range(m):
                total = total + (pushed[i, j] - noised[i, k]).norm() ** beta / m**2
                if j < k:
                    total = total - lam * (pushed[i, j] - pushed[i, k]).norm() ** beta / (m * (m - 1))
    return total / n


def score_from_distances(pushed, noised, beta, lam):
    """From squares of lengths and inner products, as some write it."""
    m = pushed.shape[1]

    def distance(a, b):
        square = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None] - 2 * a @ b.mT
        return square.clamp_min(1e-24) ** (beta / 2)

    own = 1 - torch.eye(m, dtype=pushed.dtype)
    repelled = (own * distance(pushed, pushed)).sum((1, 2)) / (m * (m - 1))
    return (distance(pushed, noised).mean((1, 2)) - lam / 2 * repelled).mean()


def score_with(cross=None, take=None):
    """The score with another cross term, or another repulsion (before lam)."""

    def answer(pushed, noised, beta, lam):
        first = cross(pushed, noised, beta) if cross else score(pushed, noised, beta, 0.0)
        second = (
            take(pushed, noised, beta) if take else score(pushed, noised, beta, 0.0) - score(pushed, noised, beta, 1.0)
        )
        return first - lam * second

    return answer


def repulsion(points, beta):
    m = points.shape[1]
    return powers(points, points, beta).sum((1, 2)).mean() / (2 * m * (m - 1))


def without_own(pairs):
    m = pairs.shape[1]
    return (pairs.sum((1, 2)) - pairs.diagonal(dim1=1, dim2=2).sum(1)).mean() / (m * (m - 1))


def score_over_all_points(pushed, noised, beta, lam):
    return score(pushed.reshape(1, -1, pushed.shape[-1]), noised.reshape(1, -1, noised.shape[-1]), beta, lam)


def score_with_a_bare_root(pushed, noised, beta, lam):
    def distances(a, b):
        return (a[:, :, None] - b[:, None]).square().sum(-1).sqrt() ** beta

    m = pushed.shape[1]
    return distances(pushed, noised).mean() - lam / 2 * distances(pushed, pushed).sum((1, 2)).mean() / (m * (m - 1))


def score_with_all_own_pairs(distances):
    """The right numbers, but the repulsion keeps the pairs of a particle with itself, at distance 0."""

    def answer(pushed, noised, beta, lam):
        m = pushed.shape[1]
        own = distances(pushed, pushed).pow(beta).sum((1, 2)).mean() / (m * (m - 1))
        return distances(pushed, noised).pow(beta).mean() - lam / 2 * own

    return answer


def lengths(a, b):
    return torch.linalg.vector_norm(a[:, :, None] - b[:, None], dim=-1)


def score_in_place(pushed, noised, beta, lam):
    answer = score(pushed, noised, beta, lam)
    pushed -= 1
    return answer


# 03.5


def best_constant(x0, x_c, x_u, noise_s, noise_t, s, t):
    x_s, x_t = add_noise(x0, s, noise_s), add_noise(x0, t, noise_t)
    clean = (t - s) / t
    pushed, moved = s / t * x_t + clean * x_c, clean * (x_c - x_u)
    return ((x_s - pushed) * moved).sum() / moved.square().sum()


def best_by_numbers(*case):
    """The lowest point of the parabola through three of its values."""
    x0, x_c, x_u, noise_s, noise_t, s, t = case

    def square(weight):
        pushed = s / t * add_noise(x0, t, noise_t) + (t - s) / t * (x_c + weight * (x_c - x_u))
        return (pushed - add_noise(x0, s, noise_s)).square().mean().item()

    low, here, high = square(-1.0), square(0.0), square(1.0)
    return (low - high) / (2 * (low + high - 2 * here))


def best_with(change):
    """The right minimiser of a changed problem."""
    return lambda *case: best_of_squares(*change(*case))


def best_without_old_noise(x0, x_c, x_u, noise_s, noise_t, s, t):
    moved = (1 - s) * (x_c - x_u)
    return (((1 - s) * x0 + s * noise_s - (1 - s) * x_c) * moved).sum() / moved.square().sum()


def best_by_regression(x0, x_c, x_u, *_):
    return best_weight(x0, x_c, x_u)


def broken(best_constant=best_constant, independent=stein_weight):
    return {"best_constant": best_constant, "independent": independent}


# 03.6


def outwards(x0, labels):
    return torch.sigmoid((x0.norm(dim=1) - 1.3) / 0.2)


def towards(labels):
    angle = labels * math.pi / 2
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def along_its_class(x0, labels):
    return torch.sigmoid(3 * ((x0 * towards(labels)).sum(1) - 1))


def square_of_distance(x0, labels):
    return torch.tanh(x0.square().sum(1) / 4)


def unlike_its_class(x0, labels):
    return 1 - torch.exp(-(x0 - 0.72 * towards(labels)).square().sum(1))


def one_side(x0, labels):
    along = towards(labels)
    return torch.sigmoid(4 * (x0[:, 1] * along[:, 0] - x0[:, 0] * along[:, 1]))


WRONG = [
    ("03.1", "what is missing", repair((0.1, 0.5, 0.75)), "missing share"),
    ("03.1", "the scale", repair((1 / 0.9, 2, 4)), "not the scale"),
    ("03.1", "upside down", repair((9, 1, 1 / 3)), "repairs"),
    ("03.1", "always 0", repair((0, 0, 0)), "repairs"),
    ("03.1", "the root", repair([1 / 9, 1, 3**0.5]), "repairs"),
    ("03.1", "a weight a row", repair(best_weight=lambda x0, x_c, x_u: dot(x0 - x_c, x_c - x_u)), "one number"),
    ("03.1", "from x_u", repair(best_weight=lambda x0, x_c, x_u: 1 + best_weight(x0, x_c, x_u)), "from x_c"),
    ("03.1", "turned", repair(best_weight=lambda x0, x_c, x_u: -best_weight(x0, x_c, x_u)), "sign"),
    ("03.1", "ratios", repair(best_weight=mean_of_ratios), "ratio of means"),
    ("03.1", "a length", repair(best_weight=length_not_squared), "a share"),
    ("03.1", "not divided", repair(best_weight=lambda x0, x_c, x_u: dot(x0 - x_c, x_c - x_u).mean()), "a share"),
    (
        "03.1",
        "kept from being negative",
        repair(best_weight=lambda *points: best_weight(*points).clamp_min(0)),
        "overshoot",
    ),
    ("03.1", "lengths", repair(best_weight=ratio_of_lengths), "exact prediction"),
    ("03.1", "one coordinate", repair(best_weight=first_coordinate), "least squares"),
    ("03.1", "two weights", repair((1, 3)), "type"),
    ("03.1", "a number", repair(best_weight=0.0), "type"),
    ("03.2", "the scale", guidance(guided=guided_at_scale), "weight 0"),
    ("03.2", "always guided", guidance(guided=lambda x_c, x_u, weight: guided(x_c, x_u, 1 + weight)), "weight 0"),
    (
        "03.2",
        "backwards",
        guidance(guided=lambda x_c, x_u, weight: guided(x_c, 2 * x_c - x_u, weight)),
        "away from x_u",
    ),
    (
        "03.2",
        "a mean of both",
        guidance(guided=lambda x_c, x_u, weight: guided(x_c, x_u, -weight)),
        "away from x_u",
    ),
    (
        "03.2",
        "weights of coordinates",
        guidance(guided=lambda x_c, x_u, weight: x_c + weight * (x_c - x_u)),
        "a weight for each row",
    ),
    (
        "03.2",
        "one weight for all",
        guidance(guided=lambda x_c, x_u, weight: guided(x_c, x_u, weight.mean())),
        "a weight for each row",
    ),
    (
        "03.2",
        "points only",
        guidance(guided=lambda x_c, x_u, weight: x_c + weight[:, None] * (x_c - x_u)),
        "images",
    ),
    (
        "03.2",
        "double precision",
        guidance(guided=lambda x_c, x_u, weight: guided(x_c.double(), x_u.double(), weight.double())),
        "images",
    ),
    (
        "03.2",
        "booleans",
        guidance(limited=lambda t, weight, low, high: (low <= t) & (t <= high)),
        "weights of a batch",
    ),
    ("03.2", "a number for all", guidance(limited=lambda t, weight, low, high: weight), "weights of a batch"),
    (
        "03.2",
        "below high",
        guidance(limited=lambda t, weight, low, high: weight * (t <= high).to(t)),
        "off outside",
    ),
    (
        "03.2",
        "outside",
        guidance(limited=lambda t, weight, low, high: weight - limited(t, weight, low, high)),
        "off outside",
    ),
    (
        "03.2",
        "1 inside",
        guidance(limited=lambda t, weight, low, high: limited(t, 1.0, low, high)),
        "off outside",
    ),
    (
        "03.2",
        "the scale outside",
        guidance(limited=lambda t, weight, low, high: 1 + limited(t, weight - 1, low, high)),
        "off outside",
    ),
    (
        "03.2",
        "without its ends",
        guidance(limited=lambda t, weight, low, high: weight * ((low < t) & (t < high)).to(t)),
        "both ends",
    ),
    (
        "03.2",
        "without one end",
        guidance(limited=lambda t, weight, low, high: weight * ((low <= t) & (t < high)).to(t)),
        "both ends",
    ),
    ("03.2", "guided steps", counting(lambda times, w, low, high: inside(times, low, high)), "every step asks once"),
    (
        "03.2",
        "twice each guided step",
        counting(lambda times, w, low, high: 2 * inside(times, low, high)),
        "every step asks once",
    ),
    (
        "03.2",
        "a step too many",
        counting(lambda times, w, low, high: evaluations(times, w, low, high) + 1),
        "every step asks once",
    ),
    (
        "03.2",
        "always two",
        counting(lambda times, w, low, high: 2 * (len(times) - 1)),
        "second call saved",
    ),
    (
        "03.2",
        "two for a weight of 0",
        counting(lambda times, w, low, high: evaluations(times, 1.0, low, high)),
        "second call saved",
    ),
    (
        "03.2",
        "the last time",
        counting(lambda times, w, low, high: len(times) - 1 + (w != 0) * inside(times, low, high)),
        "where steps start",
    ),
    (
        "03.2",
        "where steps end",
        counting(lambda times, w, low, high: len(times) - 1 + (w != 0) * inside(times[1:], low, high)),
        "where steps start",
    ),
    (
        "03.2",
        "three each",
        counting(lambda times, w, low, high: len(times) - 1 + 2 * (w != 0) * inside(times[:-1], low, high)),
        "calls of the sampler",
    ),
    (
        "03.2",
        "sixteen steps",
        counting(lambda times, w, low, high: evaluations(times, w, low, high) if len(times) < 50 else 0),
        "calls of the sampler",
    ),
    (
        "03.2",
        "without the ends",
        counting(lambda times, w, low, high: evaluations(times, w, low + 1e-9, high - 1e-9)),
        "calls of the sampler",
    ),
    ("03.2", "one function", guided, "type"),
    ("03.2", "in place", guidance(guided=lambda x_c, x_u, w: x_c.copy_(guided(x_c, x_u, w))), "inputs untouched"),
    ("03.3", "the power of scale", laws(lambda m, c, u, w: powered(m, c, u, w - 1)), "no power"),
    ("03.3", "a standard deviation", laws(powered_with(lambda *case: powered(*case)[1] ** 0.5)), "no power"),
    ("03.3", "variances add", laws(powered_with(lambda m, c, u, w: (1 + w) * c - w * u)), "precisions add"),
    ("03.3", "powers of variances", laws(powered_with(lambda m, c, u, w: c ** (1 + w) / u**w)), "precisions add"),
    ("03.3", "all data forgotten", laws(powered_with(lambda m, c, u, w: c / (1 + w))), "precisions add"),
    ("03.3", "the class's mean", laws(powered_with(mean=lambda m, c, u, w: m)), "the mean moves"),
    ("03.3", "as far again", laws(powered_with(mean=lambda m, c, u, w: (1 + w) * m)), "the mean moves"),
    ("03.3", "plus", laws(powered_with(lambda m, c, u, w: 1 / ((1 + w) / c + w / u))), "powered density"),
    ("03.3", "powered again", laws(sampled=lambda *walk: powered(*walk[:4])), "not by formula"),
    ("03.3", "any times", laws(sampled=sampled_in_the_limit), "these steps"),
    (
        "03.3",
        "the limit's formula",
        laws(sampled=lambda m, c, u, w, times: (sampled(m, c, u, w, times)[0], c * (c / u) ** w)),
        "these steps",
    ),
    ("03.3", "drawn", laws(sampled=sampled_by_drawing), "no draws"),
    ("03.3", "no prior", laws(sampled=sampled_with(prior=False)), "one step"),
    ("03.3", "scale w", laws(sampled=sampled_with(scale=0.0)), "one step"),
    ("03.3", "the std", laws(sampled=sampled_with(spread=1)), "variance"),
    ("03.3", "old noise dropped", laws(sampled=sampled_with(noisy=False)), "the guided sampler"),
    ("03.3", "gain without a", laws(sampled=sampled_with(gain_scale=0)), "one step"),
    ("03.3", "the wrong word", laws(narrower="powered"), "narrower"),
    ("03.3", "another word", laws(narrower="both"), "type"),
    ("03.3", "only a variance", laws(powered=lambda *case: powered(*case)[1]), "type"),
    ("03.4", "one score a point", lambda a, b, beta, lam: powers(a, b, beta).mean((1, 2)), "one number"),
    ("03.4", "a Python number", lambda *case: score(*case).item(), "one number"),
    ("03.4", "a sum", lambda a, b, beta, lam: len(a) * score(a, b, beta, lam), "mean over points"),
    ("03.4", "points mixed", score_over_all_points, "points apart"),
    ("03.4", "only j = k", score_with(lambda a, b, beta: (a - b).norm(dim=-1).pow(beta).mean()), "every pair"),
    ("03.4", "no j = k", score_with(lambda a, b, beta: without_own(powers(a, b, beta))), "j = k in the cross term"),
    (
        "03.4",
        "no j = k over m squared",
        score_with(lambda a, b, beta: (1 - 1 / a.shape[1]) * without_own(powers(a, b, beta))),
        "j = k in the cross term",
    ),
    ("03.4", "no beta", lambda a, b, beta, lam: score(a, b, 1.0, lam), "exponent"),
    ("03.4", "squares to beta", lambda a, b, beta, lam: score(a, b, 2 * beta, lam), "exponent"),
    ("03.4", "no beta in the repulsion", score_with(take=lambda a, b, beta: repulsion(a, 1.0)), "exponent"),
    (
        "03.4",
        "beta after the mean",
        score_with(lambda a, b, beta: powers(a, b, 1.0).mean() ** beta),
        "exponent",
    ),
    (
        "03.4",
        "coordinates",
        score_with(lambda a, b, beta: (a[:, :, None] - b[:, None]).abs().pow(beta).sum(-1).mean()),
        "cross term",
    ),
    ("03.4", "half the cross term", score_with(lambda a, b, beta: powers(a, b, beta).mean() / 2), "cross term"),
    ("03.4", "added", score_with(take=lambda a, b, beta: -repulsion(a, beta)), "repulsion is subtracted"),
    ("03.4", "the noised ones", score_with(take=lambda a, b, beta: repulsion(b, beta)), "whose pairs"),
    ("03.4", "no half", score_with(take=lambda a, b, beta: 2 * repulsion(a, beta)), "the half"),
    ("03.4", "no half, m squared", score_with(take=lambda a, b, beta: powers(a, a, beta).mean()), "the half"),
    ("03.4", "m squared", score_with(take=lambda a, b, beta: powers(a, a, beta).mean() / 2), "own pairs"),
    ("03.4", "each pair once", score_with(take=lambda a, b, beta: repulsion(a, beta) / 2), "each pair twice"),
    ("03.4", "no lam", lambda a, b, beta, lam: score(a, b, beta, float(lam > 0)), "the score"),
    (
        "03.4",
        "five particles",
        score_with(take=lambda a, b, beta: powers(a, a, beta).sum((1, 2)).mean() / 40),
        "the score",
    ),
    ("03.4", "0/0", score_with_a_bare_root, "gradient"),
    ("03.4", "safe at beta 1 only", score_with_all_own_pairs(lengths), "gradient"),
    ("03.4", "detached", lambda a, b, beta, lam: score(a.detach(), b, beta, lam), "gradient"),
    ("03.4", "in place", score_in_place, "inputs untouched"),
    ("03.4", "a number", 0.5, "type"),
    (
        "03.5",
        "moved by d",
        broken(lambda *case: (1 - case[5] / case[6]) * best_constant(*case)),
        "what a step moves",
    ),
    ("03.5", "turned", broken(lambda *case: -best_constant(*case)), "sign"),
    ("03.5", "the old noise forgotten", broken(best_without_old_noise), "one noise is a regression"),
    (
        "03.5",
        "from x_u",
        broken(lambda *case: 1 + best_constant(*case)),
        "one noise is a regression",
    ),
    ("03.5", "the regression", broken(best_by_regression), "noise of its own"),
    (
        "03.5",
        "one noise for both",
        broken(best_with(lambda x0, x_c, x_u, ns, nt, s, t: (x0, x_c, x_u, nt, nt, s, t))),
        "noise of its own",
    ),
    (
        "03.5",
        "noises exchanged",
        broken(best_with(lambda x0, x_c, x_u, ns, nt, s, t: (x0, x_c, x_u, nt, ns, s, t))),
        "whose noise",
    ),
    (
        "03.5",
        "noise of variance s",
        broken(best_with(lambda x0, x_c, x_u, ns, nt, s, t: (x0, x_c, x_u, nt + (ns - nt) * s**-0.5, nt, s, t))),
        "least square",
    ),
    ("03.5", "0 for both", broken(independent=lambda s, t: 0), "not 0"),
    ("03.5", "negative", broken(independent=lambda s, t: -stein_weight(s, t)), "too much"),
    ("03.5", "c once", broken(independent=lambda s, t: s * (1 - t) / t), "short steps"),
    ("03.5", "a constant", broken(independent=lambda s, t: 0.8), "short steps"),
    ("03.5", "a factor t", broken(independent=lambda s, t: s * (1 - t) / (t * (t - s))), "the experiment"),
    ("03.5", "c squared", broken(independent=lambda s, t: s * (1 - t) * t / (t - s) ** 2), "the experiment"),
    ("03.5", "no 1 - t", broken(independent=lambda s, t: s / (t - s)), "the experiment"),
    ("03.5", "a number", broken(independent=0.8), "type"),
    ("03.5", "one function", best_constant, "type"),
    ("03.6", "one for all", lambda x0, labels: x0.norm(), "one number a row"),
    ("03.6", "whole numbers", lambda x0, labels: (x0[:, 0] > 0).long(), "one number a row"),
    ("03.6", "no limit", lambda x0, labels: x0.norm(dim=1), "from 0 to 1"),
    ("03.6", "negative", lambda x0, labels: -outwards(x0, labels), "from 0 to 1"),
    ("03.6", "a threshold", lambda x0, labels: (x0.norm(dim=1) > 1.3).float(), "a slope"),
    ("03.6", "detached", lambda x0, labels: outwards(x0.detach(), labels), "a slope"),
    ("03.6", "a constant", lambda x0, labels: 0.5 + 0 * x0[:, 0], "a slope"),
    ("03.6", "half a plane", lambda x0, labels: torch.sigmoid(3 * x0[:, 0]), "raised"),
    ("03.6", "one side of the class", one_side, "raised"),
    ("03.6", "the middle", lambda x0, labels: torch.exp(-x0.square().sum(1)), "raised"),
    ("03.6", "away from its class", lambda x0, labels: 1 - along_its_class(x0, labels), "raised"),
    ("03.6", "sure of the class", sure_of_the_class, "away from the tilted law"),
    (
        "03.6",
        "sure of any class",
        lambda x0, labels: rewards.overlapping_law().class_log_probs(x0).exp().amax(1),
        "away from the tilted law",
    ),
    ("03.6", "in place", lambda x0, labels: outwards(x0.detach().mul_(2), labels), "inputs untouched"),
    ("03.6", "a number", 0.5, "type"),
]

RIGHT = [
    ("03.1", repair()),
    ("03.1", repair(torch.tensor([1 / 9, 1.0, 3.0]), best_by_lstsq)),
    ("03.1", repair(np.array([0.11, 1, 3]).tolist(), best_by_numpy)),
    ("03.1", repair([0.111, 1, 3], best_by_three_points)),
    ("03.1", repair(best_weight=lambda *points: best_weight(*points).item())),
    ("03.2", guidance()),
    ("03.2", guidance(guided=guided_by_transposing, limited=limited_by_where, evaluations=evaluations_in_a_loop)),
    ("03.2", guidance(guided=guided_by_einsum, evaluations=lambda *case: torch.tensor(evaluations(*case)))),
    ("03.2", guidance(guided=guide)),
    ("03.3", laws()),
    ("03.3", laws(sampled=sampled_by_probes, narrower=["Sampled"])),
    ("03.3", laws(lambda *case: list(powered(*case)), lambda *walk: np.array(sampled(*walk)).tolist(), " sampled ")),
    ("03.3", laws(lambda *case: torch.tensor(powered_moments(*case)), sampled_moments)),
    ("03.4", score),
    ("03.4", score_by_cdist),
    ("03.4", score_with_all_own_pairs(torch.cdist)),
    ("03.4", score_in_loops),
    ("03.4", score_from_distances),
    ("03.5", broken()),
    ("03.5", broken(best_by_numbers, lambda s, t: 1 / ((1 / s - 1) / (1 / t - 1) - 1))),
    ("03.5", broken(lambda *case: np.float64(best_constant(*case)), lambda s, t: torch.tensor(stein_weight(s, t)))),
    ("03.6", outwards),
    ("03.6", along_its_class),
    ("03.6", square_of_distance),
    ("03.6", unlike_its_class),
    ("03.6", lambda x0, labels: outwards(x0, labels).double()),
]


DRAWN = [
    ("03.1", repair()),
    ("03.2", guidance()),
    ("03.3", laws()),
    ("03.4", score),
    ("03.5", broken()),
]  # right answers, on other draws too


# What the exercises say is so


def exact_points(law, n, s, t, seed=0):
    """Clean points of a law, their exact predictions at time t, and two noises: what `best_constant` is called with."""
    generator = torch.Generator().manual_seed(seed)
    law = law.to(torch.float64)
    x0, labels = law.sample_labelled(n, generator)
    noise_s, noise_t = torch.randn(2, n, 2, generator=generator, dtype=torch.float64)
    x_t = add_noise(x0, t, noise_t)
    return x0, law.conditional(x_t, t, labels), law.unconditional(x_t, t), noise_s, noise_t, s, t


def test_a_share_of_the_way_is_repaired_by_its_weight():
    x_u, goal = torch.zeros(1, 2), torch.tensor([[3.0, -1.0]])
    for share, weight in zip((0.9, 0.5, 0.25), (1 / 9, 1.0, 3.0)):
        torch.testing.assert_close(guide(x_u + share * (goal - x_u), x_u, weight), goal)


def test_the_powered_density_is_wider_and_nearer_than_what_is_sampled():
    for v_c in (0.1, 0.4, 0.8):
        for weight in (0.3, 1.0, 2.5):
            for steps in (20, 1000):
                (near, wide), (far, narrow) = (
                    powered_moments(1.0, v_c, 1.0, weight),
                    sampled_moments(1.0, v_c, 1.0, weight, time_grid(steps)),
                )
                assert narrow < wide
                assert near < far


def test_with_short_steps_the_variance_is_a_geometric_mean():
    for mean, v_c, v_u, weight in ((0.0, 1.0, 2.0, 1.0), (1.0, 0.25, 1.0, 2.0), (0.5, 0.5, 1.5, 0.5)):
        _, variance = sampled_moments(mean, v_c, v_u, weight, time_grid(2000))
        assert variance == pytest.approx(v_c * (v_c / v_u) ** weight, rel=5e-3)
    assert powered_moments(0.0, 1.0, 2.0, 1.0)[1] == pytest.approx(2 / 3)


def test_the_score_is_what_the_package_learns_from():
    law, (n, m) = four_classes(), (6, 3)
    x0, labels = law.sample_labelled(n, torch.Generator().manual_seed(0))
    s, t = torch.linspace(0.1, 0.5, n), torch.linspace(0.4, 0.9, n)
    settings = law.conditional, law.unconditional, lambda labels, s, t: torch.full_like(s, 0.7), x0, labels, s, t
    loss = self_consistency_loss(*settings, m, 1.3, 0.6, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    rows = torch.arange(n).repeat_interleave(m)
    noised = add_noise(x0[rows], s[rows], torch.randn(n * m, 2, generator=generator))
    x_t = add_noise(x0[rows], t[rows], torch.randn(n * m, 2, generator=generator))
    clean = guide(law.conditional(x_t, t[rows], labels[rows]), law.unconditional(x_t, t[rows]), 0.7)
    pushed, _ = bridge(x_t, clean, t[rows], s[rows])
    torch.testing.assert_close(score(pushed.view(n, m, 2), noised.view(n, m, 2), 1.3, 0.6), loss)


@pytest.mark.parametrize("m", [2, 8])
def test_the_score_is_half_an_energy_distance_above_a_constant_for_any_number_of_particles(m):
    generator = torch.Generator().manual_seed(0)

    def draw(scale):
        return scale * torch.randn(40_000, m, 2, generator=generator, dtype=torch.float64)

    narrow, wide, same = (score(draw(scale), draw(1.0), 1.0, 1.0).item() for scale in (0.5, 1.5, 1.0))
    for came, scale in ((narrow, 0.5), (wide, 1.5)):
        clouds = draw(scale).flatten(0, 1)[:4000], draw(1.0).flatten(0, 1)[:4000]
        assert came - same == pytest.approx(energy_distance(*clouds).item() / 2, abs=0.02)
        assert came > same + 0.03


def test_with_m_squared_below_the_line_a_narrower_cloud_scores_better():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2, 20_000, 4, 2, generator=generator, dtype=torch.float64)
    for divide, narrow_wins in ((1.0, False), (0.75, True)):
        same, narrow = (
            score(scale * draws[0], draws[1], 1.0, 0.0) - divide * repulsion(scale * draws[0], 1.0)
            for scale in (1.0, 0.85)
        )
        assert bool(narrow < same) is narrow_wins


@pytest.mark.parametrize("frequencies", [None, LONG_TAIL])
@pytest.mark.parametrize(("s", "t"), [(0.4, 0.6), (0.2, 0.5), (0.45, 0.5)])
def test_an_exact_model_is_asked_for_0_with_one_noise_and_for_the_formula_with_two(frequencies, s, t):
    case = exact_points(four_classes(frequencies=frequencies), 200_000, s, t)
    x0, x_c, x_u, _, noise_t, *times = case
    assert best_constant(*case).item() == pytest.approx(stein_weight(s, t), abs=0.08)
    assert best_constant(x0, x_c, x_u, noise_t, noise_t, *times).item() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(("s", "t", "least"), [(0.4, 0.6, -0.1), (0.2, 0.5, -0.3), (0.6, 0.7, -0.1)])
def test_the_score_of_an_exact_model_is_least_a_little_below_0(s, t, least):
    law = four_classes().to(torch.float64)
    x0, labels = law.sample_labelled(10_000, torch.Generator().manual_seed(0))
    times = (torch.full_like(x0[:, 0], time) for time in (s, t))
    settings = (law.conditional, law.unconditional), (x0, labels, *times)

    def loss(weight):
        generator = torch.Generator().manual_seed(1)
        constant = lambda labels, s, t: torch.full_like(s, weight)  # noqa: E731
        return self_consistency_loss(*settings[0], constant, *settings[1], generator=generator).item()

    curve = {weight: loss(weight) for weight in (-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4)}
    assert least <= min(curve, key=curve.get) <= 0
    assert curve[0.0] < curve[0.1] < curve[0.2] < curve[0.4]


@pytest.mark.parametrize("seed", range(2))
def test_the_thresholds_of_the_rewards_have_margin(seed):
    def outcome(reward):
        trial = try_reward(reward, torch.Generator().manual_seed(seed))
        return trial.after - trial.before, trial.distance

    raised, distance = outcome(sure_of_the_class)
    assert raised > 1.5 * RAISED
    assert distance < AWAY / 2
    for reward in (outwards, along_its_class):
        raised, distance = outcome(reward)
        assert raised > 2 * RAISED
        assert distance > 1.5 * AWAY
    assert outcome(one_side)[0] < RAISED / 2

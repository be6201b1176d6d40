"""Every check of foundation f1 lets the solution pass, and each property catches a wrong answer that people give."""

import math

import pytest
import torch

from companion.foundations.distances import energy_distance


def pairs(places):
    """The sum of distances over pairs, each once."""
    n = len(places)
    return ((2 * torch.arange(n) - n + 1) * places.sort().values).sum()


def parts(x, y):
    """Sums within x, within y and between, and the two sizes."""
    within_x, within_y = pairs(x), pairs(y)
    return within_x, within_y, pairs(torch.cat([x, y])) - within_x - within_y, len(x), len(y)


def right(x, y):
    a, b, c, n, m = parts(x, y)
    return 2 * c / (n * m) - 2 * a / (n * (n - 1)) - 2 * b / (m * (m - 1))


def plug_in(x, y):
    a, b, c, n, m = parts(x, y)
    return 2 * c / (n * m) - 2 * a / n**2 - 2 * b / m**2


def halved(x, y):
    a, b, c, n, m = parts(x, y)
    return 2 * c / (n * m) - a / (n * (n - 1)) - b / (m * (m - 1))


def one_size(x, y):
    a, b, c, n, _ = parts(x, y)
    return 2 * c / n**2 - 2 * a / (n * (n - 1)) - 2 * b / (n * (n - 1))


def with_weights(offset, keep_order=False):
    """The right sums but for the weights or the sort."""

    def total(places):
        n = len(places)
        return ((2 * torch.arange(n) - n + offset) * (places if keep_order else places.sort().values)).sum()

    def distance(x, y):
        n, m = len(x), len(y)
        a, b = total(x), total(y)
        return 2 * (total(torch.cat([x, y])) - a - b) / (n * m) - 2 * a / (n * (n - 1)) - 2 * b / (m * (m - 1))

    return distance


def cross_not_doubled(x, y):
    a, b, c, n, m = parts(x, y)
    return c / (n * m) - 2 * a / (n * (n - 1)) - 2 * b / (m * (m - 1))


def poured_together(x, y):
    a, b, _, n, m = parts(x, y)
    return 2 * pairs(torch.cat([x, y])) / (n * m) - 2 * a / (n * (n - 1)) - 2 * b / (m * (m - 1))


def one_within(x, y):
    a, b, c, n, m = parts(x, y)
    return 2 * c / (n * m) - (2 * a + 2 * b) / (n * (n - 1) + m * (m - 1)) * 2


def all_pairs(x, y):
    return energy_distance(x[:, None], y[:, None])


def by_differences(x, y):
    n, m = len(x), len(y)
    within = (x[:, None] - x).abs().sum() / (n * (n - 1)) + (y[:, None] - y).abs().sum() / (m * (m - 1))
    return 2 * (x[:, None] - y).abs().mean() - within


def by_gaps(x, y):
    """Twice the integral of the squared gap of the two distribution functions, then the plug-in's bias taken off."""
    both = torch.cat([x, y])
    order = both.argsort()
    steps = torch.cat([torch.full_like(x, 1 / len(x)), torch.full_like(y, -1 / len(y))])[order].cumsum(0)
    v = 2 * (steps[:-1].square() * both[order].diff()).sum()
    return v - sum(2 * pairs(c) / (len(c) ** 2 * (len(c) - 1)) for c in (x, y))


def sorts_in_place(x, y):
    x.copy_(x.sort().values)
    return right(x, y)


WRONG = [
    ("f1.1", "zero, the true distance", 0.0, "not unbiased"),
    ("f1.1", "a negative bias", -1 / 24, "sign"),
    ("f1.1", "the small cloud alone", 1 / 30, "both clouds"),
    ("f1.1", "the large cloud alone", 1 / 120, "both clouds"),
    ("f1.1", "self-pairs counted twice", 1 / 12, "counted once"),
    ("f1.1", "both clouds as one", 2 / 150, "each its own size"),
    ("f1.1", "the mean size", 2 / 75, "each its own size"),
    ("f1.1", "no mean distance", 1 / 8, "mean distance"),
    ("f1.1", "half the interval", 1 / 16, "mean distance"),
    ("f1.1", "the distance from the middle", 1 / 32, "mean distance"),
    ("f1.1", "the root mean square", 1 / 8 / math.sqrt(6), "mean distance"),
    ("f1.1", "n - 1 for n", (1 / 9 + 1 / 39) / 3, "n, not n - 1"),
    ("f1.1", "one digit", 0.04, "value"),
    ("f1.1", "a word for a number", "zero", "type"),
    ("f1.2", "a Python float", lambda x, y: right(x, y).item(), "one number"),
    ("f1.2", "another dtype", lambda x, y: right(x, y).double(), "one number"),
    ("f1.2", "never sorted", with_weights(1, keep_order=True), "order does not matter"),
    ("f1.2", "ranks from one", with_weights(-1), "moves along"),
    ("f1.2", "weights off by one", with_weights(0), "moves along"),
    ("f1.2", "the root of it", lambda x, y: right(x, y).abs().sqrt(), "scale"),
    ("f1.2", "the square of it", lambda x, y: right(x, y).square(), "scale"),
    ("f1.2", "one size for both", one_size, "symmetric"),
    ("f1.2", "within less between", lambda x, y: -right(x, y), "sign"),
    ("f1.2", "the V-statistic", plug_in, "unbiased"),
    ("f1.2", "clipped at 0", lambda x, y: right(x, y).clamp_min(0), "below 0"),
    ("f1.2", "its size", lambda x, y: right(x, y).abs(), "below 0"),
    ("f1.2", "half the pairs within", halved, "pairs counted once"),
    ("f1.2", "the cross term once", cross_not_doubled, "between"),
    ("f1.2", "pairs within not taken off", poured_together, "between"),
    ("f1.2", "pairs within averaged together", one_within, "value"),
    ("f1.2", "a matrix of all pairs", by_differences, "no matrix of pairs"),
    ("f1.2", "the package's distance", all_pairs, "no matrix of pairs"),
    ("f1.2", "sorted in the caller's tensor", sorts_in_place, "inputs untouched"),
    ("f1.2", "no function at all", 0.5, "type"),
]

RIGHT = [
    ("f1.1", 1 / 24),
    ("f1.1", torch.tensor(0.0417)),
    ("f1.2", right),
    ("f1.2", by_gaps),
]


@pytest.mark.parametrize("seed", range(5))
def test_the_ways_to_be_right_agree_on_other_draws(seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(17, generator=generator).double(), torch.randn(8, generator=generator).double() + seed
    for answer in (right, by_gaps, by_differences):
        torch.testing.assert_close(answer(x, y), all_pairs(x, y))


def test_the_bias_is_what_the_plug_in_averages():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([plug_in(*torch.rand(50, generator=generator).split([40, 10])) for _ in range(2000)])
    assert (draws.mean() - 1 / 24).abs() < 4 * draws.std() / math.sqrt(2000)
    assert draws.std() / math.sqrt(2000) < 0.1 / 24

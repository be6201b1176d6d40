"""Exercise 09.6: a batch norm's statistics, old ones and new ones.

>>> batches = [torch.tensor([[[[1.0]]], [[[3.0]]]]), torch.tensor([[[[5.0]]], [[[5.0]]], [[[8.0]]]])]
>>> mean, variance = statistics_of(batches)
>>> mean.item(), variance.item()
(4.0, 2.5)
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    read_number,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

STATISTICS, STALE = "statistics(batches)", "stale(old, new, momentum, updates)"
NEEDED, SORTED, MIXED = 22, 1.0, 2.0
Batches = list[Float[Tensor, "_ c h w"]]
Pair = tuple[Float[Tensor, " c"], Float[Tensor, " c"]]
SIZES = (7, 3, 2, 5)


def statistics_of(batches: Batches) -> Pair:
    """Means over batches of the means and of the unbiased variances."""
    means = torch.stack([each.mean((0, 2, 3)) for each in batches])
    variances = torch.stack([each.var((0, 2, 3)) for each in batches])
    return means.mean(0), variances.mean(0)


def stale_of(old: float, new: float, momentum: float, updates: int) -> float:
    """A running mean after some updates with batches of the same mean."""
    left = (1 - momentum) ** updates
    return left * old + (1 - left) * new


class Norms:
    """The student's two functions and three numbers."""

    def __init__(self, statistics: StudentFunction, stale: StudentFunction, numbers: dict[str, float]) -> None:
        self._statistics, self._stale, self.numbers = statistics, stale, numbers

    def __call__(self, batches: Batches) -> Pair:
        value = self._statistics([each.clone() for each in batches])
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise NotYet(f"Return mean and variance; {STATISTICS} gave {describe(value)}.", "a number a channel")
        channels, dtype = batches[0].shape[1], batches[0].dtype
        try:
            parts = zip(("the mean", "the variance"), value)
            return tuple(expect_tensor(part, (channels,), dtype, name).detach() for name, part in parts)
        except NotYet as error:
            raise NotYet(f"{error}.", "a number a channel") from None

    def stale(self, old: float, new: float, momentum: float, updates: int) -> float:
        return read_number(self._stale(old, new, momentum, updates), STALE)


@exercise(
    "09.6",
    "Statistics that lag behind",
    difficulty=2,
    minutes=15,
    equation="re-estimation of the batch norms' statistics",
    takeaway="A cut network, and one after a few updates, is judged with statistics of a network that is no more. One pass of pictures without labels mends that, and costs a third of an update on them; but a mean over batches of sorted pictures misses how far the classes are apart.",
)
def norms(answer: object) -> Norms:
    parts = read_parts(answer, ("statistics", "stale", "needed", "sorted_variance", "mixed_variance"))
    numbers = {name: read_number(parts[name], name) for name in ("needed", "sorted_variance", "mixed_variance")}
    return Norms(read_function(parts["statistics"], STATISTICS), read_function(parts["stale"], STALE), numbers)


def _batches(generator: torch.Generator, sizes: tuple[int, ...] = SIZES, channels: int = 3) -> Batches:
    """Batches of different sizes, each around a centre of its own, and as wide as it likes."""
    found = []
    for size in sizes:
        width, centre = (
            0.5 + torch.rand(channels, 1, 1, generator=generator, dtype=DOUBLE),
            normal(generator, channels, 1, 1),
        )
        found.append(2 * centre + 3 * width * normal(generator, size, channels, 2, 3))
    return found


def _like(found: Pair, place: int, formula: Callable[[Batches], Tensor], batches: Batches) -> bool:
    return torch.allclose(found[place], formula(batches), rtol=1e-9)


def _all(batches: Batches) -> Float[Tensor, "n c 2 3"]:
    return torch.cat(batches)


def _channels(batches: Batches, name: str, **options: bool) -> Float[Tensor, "b c"]:
    return torch.stack([getattr(each, name)((0, 2, 3), **options) for each in batches])


def _running(values: Float[Tensor, "b c"], start: float) -> Float[Tensor, " c"]:
    """With the momentum that batch norms have by default."""
    left = torch.full_like(values[0], start)
    for value in values:
        left = 0.9 * left + 0.1 * value
    return left


@norms.requires(
    "a number a channel",
    "A batch norm has one mean and one variance for each channel, over all pictures of a batch and over all their "
    "places.",
)
def _(norms: Norms, generator: torch.Generator) -> None:
    batches = _batches(generator, (6,), channels=4)
    mean, _ = norms(batches)
    expect_close(mean, statistics_of(batches)[0], 1e-9, "of a single batch a channel's mean")


@norms.requires(
    "unbiased",
    "The variance divides by one less than the number of values, which for a channel is pictures times places, n h "
    "w. The running variance is meant for other pictures, whose mean is not fitted to them.",
)
def _(norms: Norms, generator: torch.Generator) -> None:
    batches = _batches(generator, (3,))
    found = norms(batches)
    for formula, words in (
        (lambda b: b[0].var((0, 2, 3), correction=0), "yours divides by their number"),
        (lambda b: b[0].std((0, 2, 3)), "yours is the standard deviation"),
        (lambda b: b[0].square().mean((0, 2, 3)), "your mean is not taken off"),
        (lambda b: b[0].mean((2, 3)).var(0), "yours is that of the pictures' means"),
        (lambda b: b[0].var((2, 3)).mean(0), "yours is taken within each picture, and misses how they differ"),
        (lambda b: b[0].var(0).mean((1, 2)), "yours is taken at each place, and misses how these differ"),
    ):
        expect(not _like(found, 1, formula, batches), words)
    expect_close(found[1], statistics_of(batches)[1], 1e-9, "of a single batch a channel's variance")


@norms.requires(
    "all batches alike",
    "Each batch counts as much as any other, whatever its place: a plain mean, without momentum. So do those with "
    "fewer pictures, as in torch with momentum = None.",
)
def _(norms: Norms, generator: torch.Generator) -> None:
    batches = _batches(generator)
    found = norms(batches)
    for formula, words in (
        (lambda b: _all(b).mean((0, 2, 3)), "yours lets large batches count more"),
        (lambda b: _channels(b, "mean")[-1], "yours is the last batch's"),
        (lambda b: _channels(b, "mean")[0], "yours is the first batch's"),
        (lambda b: _channels(b, "mean").sum(0), "yours is the sum"),
        (lambda b: _running(_channels(b, "mean"), 0.0), "yours has a momentum, so the batches hardly count"),
    ):
        expect(not _like(found, 0, formula, batches), words)
    expect_close(found[0], statistics_of(batches)[0], 1e-9, f"of batches of {SIZES} pictures a channel's mean")


@norms.requires(
    "a mean of variances",
    "The variance is taken within each batch, from that batch's own mean, and then the mean over batches is taken. "
    "That is another number than the variance of all pictures together.",
)
def _(norms: Norms, generator: torch.Generator) -> None:
    batches = _batches(generator)
    found = norms(batches)
    for formula, words in (
        (lambda b: _all(b).var((0, 2, 3)), "yours is the variance of all together"),
        (lambda b: _all(b).var((0, 2, 3), correction=0), "yours is the variance of all together"),
        (lambda b: _channels(b, "mean").var(0), "yours is the variance of the batches' means"),
        (lambda b: _channels(b, "std").mean(0).square(), "yours is the square of the mean standard deviation"),
        (lambda b: _channels(b, "var")[-1], "yours is the last batch's"),
        (lambda b: _running(_channels(b, "var"), 1.0), "yours has a momentum"),
    ):
        expect(not _like(found, 1, formula, batches), words)
    expect_close(found[1], statistics_of(batches)[1], 1e-9, f"of batches of {SIZES} pictures a channel's variance")


# How stale statistics are


@norms.requires(
    "old ones fade",
    "Every update leaves 1 - momentum of the running mean and adds momentum times the batch's mean: torch's "
    "momentum is the share of the *new*. Try 0 updates, one, and many.",
)
def _(norms: Norms, generator: torch.Generator) -> None:
    cases = [
        (normal(generator).item(), 3 + normal(generator).item(), uniform(generator, 0.05, 0.4), updates)
        for updates in (0, 1, 2, 5, 20)
    ]
    came = [norms.stale(*case) for case in cases]
    for formula, words in (
        (lambda a, b, m, k: m**k * a + (1 - m**k) * b, "your momentum is the share of the old"),
        (lambda a, b, m, k: (1 - m) * a + m * b, "yours is that of a single update"),
        (
            lambda a, b, m, k: max(0, 1 - k * m) * a + min(1, k * m) * b,
            "yours loses the same amount each time, not the same share",
        ),
        (lambda a, b, m, k: (1 - m) ** k * b + (1 - (1 - m) ** k) * a, "yours has old and new the other way round"),
        (lambda a, b, m, k: a * (1 - m) ** k + m * b, "yours adds the new one once, at the end"),
    ):
        expect(not all(math.isclose(v, formula(*c), rel_tol=1e-9) for v, c in zip(came, cases)), words)
    for value, case in zip(came, cases):
        what = "with old {:.3g}, new {:.3g} and momentum {:.3g} the running mean after {} updates".format(*case)
        expect_close(value, stale_of(*case), 1e-9, what)


@norms.requires(
    "how many updates",
    "The old mean keeps the share 0.9^k, which must be at most a tenth: take logarithms, and round up.",
)
def _(norms: Norms, generator: torch.Generator) -> None:
    came = norms.numbers["needed"]
    for wrong, words in (
        (9, "as if a tenth of the start were lost each time, but it is a tenth of what is left"),
        (10, "as if a tenth of the start were lost each time, but it is a tenth of what is left"),
        (1, "as if the momentum were the share of the old"),
        (21, "one update short"),
    ):
        expect(came != wrong, f"you say {came:g}, {words}")
    expect(came == NEEDED, f"you say {came:g}, after which {_left(came)} of the old is left")


def _left(updates: float) -> str:
    return f"{100 * 0.9 ** min(max(updates, 0), 1000):.3g} %"


@norms.requires(
    "sorted pictures",
    "All batches count alike, and what is measured is the variance within each. In batches of one class it is that "
    "of the class; in mixed ones the distance of the classes comes on top, here 1, the square of the distance from "
    "their middle.",
)
def _(norms: Norms, generator: torch.Generator) -> None:
    for name, expected, words in (
        ("sorted_variance", SORTED, "in a batch of one class"),
        ("mixed_variance", MIXED, "in a batch of both"),
    ):
        came = norms.numbers[name]
        expect(
            name == "sorted_variance" or abs(came - 5.0) > 0.01,
            "mixed_variance: the means lie 1 from their middle, not 2",
        )
        expect(abs(came - expected) <= 0.01, f"{name}: {words} you say {came:.3g}")

"""Exercise f3.1: noise and sharpen three boxes, in both orders."""

from collections.abc import Sequence

import torch
from torch import Tensor

from companion.teaching.checks.answers import DOUBLE, expect, expect_close, read_number, read_parts
from companion.teaching.checks.framework import exercise

KEEP = 0.75  # the chance that noising leaves a point in its box
DATA = torch.full((3,), 1 / 3, dtype=DOUBLE)
CERTAINTY = torch.tensor([1.0, 0.5, 0.0], dtype=DOUBLE)  # p(c | box)
ORDERS = ("sharpened_then_noised", "noised_then_sharpened")

Answer = dict[str, float]


def normalised(table: Tensor) -> Tensor:
    """The table divided by its sum."""
    return table / table.sum()


def noise(table: Tensor) -> Tensor:
    """With chance `KEEP` stay, else move to any of the boxes, each as likely."""
    return KEEP * table + (1 - KEEP) * table.sum() / len(table)


def sharpen(data: Tensor, certainty: Tensor, weight: float) -> Tensor:
    """The table proportional to `p(x) p(c|x)^(1 + weight)`."""
    return normalised(data * certainty ** (1 + weight))


def both_orders(weight: float = 1.0) -> tuple[float, float]:
    """The share of box A: sharpened and then noised, noised and then sharpened.

    >>> [round(share, 4) for share in both_orders(0.0)]     # without a weight the order does not matter
    [0.5833, 0.5833]
    """
    joint, all_data = noise(DATA * CERTAINTY), noise(DATA)
    first = noise(sharpen(DATA, CERTAINTY, weight))[0]
    return first.item(), sharpen(all_data, joint / all_data, weight)[0].item()


@exercise(
    "f3.1",
    "Three boxes, two orders",
    difficulty=2,
    minutes=10,
    equation="Bradley and Nakkiran (2025), section 3",
    takeaway="41/60 when sharpened first, 49/66 when noised first. Guidance works with the second at every time, so it pushes towards the sure box more than the sharpened law asks for.",
)
def boxes(answer: object) -> Answer:
    parts = read_parts(answer, ORDERS)
    return {name: read_number(parts[name], name) for name in ORDERS}


def _is(came: float, *wrong: float) -> bool:
    return any(abs(came - value) < 2e-3 for value in wrong)


@boxes.requires("a share", "Both numbers are shares of all points, between 0 and 1. Is a table not divided by its sum?")
def _(answer: Answer, generator: torch.Generator) -> None:
    for name in ORDERS:
        expect(0 <= answer[name] <= 1, f"{name} is {answer[name]:.4g}")


@boxes.requires(
    "which is which",
    "Both numbers are right and stand in each other's place. Sharpen first: start with p(x) p(c|x)^2 of the clean boxes.",
)
def _(answer: Answer, generator: torch.Generator) -> None:
    first, second = both_orders()
    expect(not (_is(answer[ORDERS[0]], second) and _is(answer[ORDERS[1]], first)))


@boxes.requires(
    "they differ",
    "You found one number for both. A mean of squares is not the square of a mean: noising mixes the boxes, and "
    "squaring before or after the mixing is not the same. That is the whole point of this lesson.",
)
def _(answer: Answer, generator: torch.Generator) -> None:
    expect(abs(answer[ORDERS[0]] - answer[ORDERS[1]]) > 1e-3)


@boxes.requires(
    "the power",
    "With w = 1 the classifier enters squared: p(x) p(c|x)^(1+w), or p(x|c)^2 / p(x). To the first power it gives the "
    "class itself, without any guidance; to the third it is w = 2.",
)
def _(answer: Answer, generator: torch.Generator) -> None:
    for weight in (0.0, 2.0):
        for name, wrong in zip(ORDERS, both_orders(weight)):
            expect(not _is(answer[name], wrong), f"{name} is what w = {weight:g} gives")


@boxes.requires(
    "normalised",
    "Shares must add up to 1 over the three boxes. After squaring they do not: divide by the sum of all three, and in "
    "the first order do so before the noise comes.",
)
def _(answer: Answer, generator: torch.Generator) -> None:
    conditional = normalised(DATA * CERTAINTY)
    raw = conditional**2 / DATA
    plain = DATA * CERTAINTY**2
    first = [noise(raw), noise(plain), KEEP * raw + (1 - KEEP) / 3, KEEP * plain + (1 - KEEP) / 3]
    second = [noise(conditional) ** 2 / DATA, noise(conditional) ** 2, noise(CERTAINTY) ** 2, noise(CERTAINTY) ** 2 / 3]
    for name, tables in zip(ORDERS, (first, second)):
        expect(not _is(answer[name], *(table[0].item() for table in tables)), name)


@boxes.requires(
    "noise last",
    "Sharpened, then noised: the noise is missing or only half there. Three quarters of the points stay in their box; "
    "the last quarter is dealt out evenly, a third of it to each box.",
)
def _(answer: Answer, generator: torch.Generator) -> None:
    clean = sharpen(DATA, CERTAINTY, 1.0)[0].item()
    expect(not _is(answer[ORDERS[0]], clean, KEEP * clean), "in the first order")


@boxes.requires(
    "noise everywhere",
    "Noised, then sharpened: everything in the formula must be of the noised points, the classifier, too. "
    "p_t(c|x) = p_t(x|c) p(c) / p_t(x): after noising even box C has some of the class.",
)
def _(answer: Answer, generator: torch.Generator) -> None:
    conditional = noise(normalised(DATA * CERTAINTY))
    clean_classifier = normalised(conditional * CERTAINTY), sharpen(noise(DATA), CERTAINTY, 1.0)
    expect(not _is(answer[ORDERS[1]], *(table[0].item() for table in clean_classifier)), "in the second order")


@boxes.requires(
    "first order",
    "Sharpened, then noised comes out otherwise. Write three numbers for the boxes: p(x) p(c|x)^2, divided by their sum; "
    "then three quarters of each plus a twelfth.",
)
def _(answer: Answer, generator: torch.Generator) -> None:
    expect_close(answer[ORDERS[0]], both_orders()[0], 2e-3, ORDERS[0])


@boxes.requires(
    "second order",
    "Noised, then sharpened comes out otherwise. Noise p(x|c) = (2/3, 1/3, 0) and p(x); then square the first, divide by "
    "the second and by the sum.",
)
def _(answer: Answer, generator: torch.Generator) -> None:
    expect_close(answer[ORDERS[1]], both_orders()[1], 2e-3, ORDERS[1])


def fractions(answer: Sequence[float]) -> Answer:
    """An answer from its two numbers, in the order of `ORDERS`."""
    return dict(zip(ORDERS, answer, strict=True))

"""Exercise f4.1: what exponential forgetting and a drift do to a variance while no rows come."""

import math
from dataclasses import dataclass

import torch

from companion.teaching.checks.answers import expect, read_number, read_parts
from companion.teaching.checks.framework import exercise

KEPT, SURE, STEPS = 0.9, 0.01, 20
SETTLED = 1 - KEPT
FADED = SURE / KEPT**STEPS
DRIFTED = 1 - KEPT**STEPS * (1 - SURE)
PASSED = math.log(SURE) / math.log(KEPT)


@dataclass(frozen=True)
class Silence:
    """The student's four numbers."""

    settled: float
    faded: float
    drifted: float
    passed: float


@exercise(
    "f4.1",
    "What a silence does",
    difficulty=2,
    minutes=10,
    equation="the two ways to forget",
    takeaway="The drift forgets fast where much is known and stops at the prior; exponential forgetting starts slowly and never stops. The same share is not the same forgetting.",
)
def silence(answer: object) -> Silence:
    parts = read_parts(answer, ("settled", "faded", "drifted", "passed"))
    return Silence(**{name: read_number(value, name) for name, value in parts.items()})


def near(came: float, wanted: float) -> bool:
    """Equal to two per cent: what a student rounds to."""
    return math.isclose(came, wanted, rel_tol=0.02)


@silence.requires(
    "rows remembered",
    "The information settles where what fades is what comes in: I = 0.9 I + 1. A variance is its inverse, and 'just after each "
    "row' means that the row is counted.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    came = silence.settled
    expect(not near(came, 1 / SETTLED), f"you say {came:.3g}, which is the information, in rows")
    expect(not near(came, SETTLED / KEPT), f"you say {came:.3g}, the variance just before a row")
    expect(near(came, SETTLED), f"you say {came:.3g}")


@silence.requires(
    "doubt grows",
    "In silence a filter can only become less sure. Exponential forgetting multiplies the *information* by 0.9, so it divides "
    "the variance by it.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    expect(silence.faded > SURE, f"from the variance {SURE} you come to {silence.faded:.3g}")


@silence.requires(
    "a power, not a sum",
    "Each step multiplies the variance of the first filter by the same factor, 1/0.9. Twenty of them make a power; the variance "
    "of the prior does not enter.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    expect(near(silence.faded, FADED), f"you say {silence.faded:.3g}")


@silence.requires(
    "back to the prior",
    "The drift can doubt no more than the prior did: its variance lies between what it was and 1, whatever the number of steps.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    expect(SURE < silence.drifted < 1, f"you say {silence.drifted:.4g}")


@silence.requires(
    "what has been learned",
    "Each drift leaves gamma^2 = 0.9 of what has been learned, which is 1 - A: at first 0.99. Mind which is given, gamma or its "
    "square.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    came = silence.drifted
    expect(not near(came, 1 - KEPT ** (2 * STEPS) * (1 - SURE)), f"you say {came:.3g}, where 0.9 has been squared")
    expect(near(came, DRIFTED), f"you say {came:.3g}")


@silence.requires(
    "past the prior",
    "Solve 0.01 / 0.9^n = 1 for n, with the same logarithm above and below. The drift never gets there.",
)
def _(silence: Silence, generator: torch.Generator) -> None:
    came = silence.passed
    expect(0 < came < 1000, f"you say {came:.3g} steps")
    expect(abs(came - PASSED) < 1, f"after {came:.3g} steps its variance is {SURE / KEPT**came:.3g}")

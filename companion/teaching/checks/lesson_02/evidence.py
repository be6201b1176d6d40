"""Exercise 02.4: a test of a sampler's steps, because its samples hide what is wrong."""

from collections.abc import Callable

import torch

from companion.methods.speculative import reflection_coupling
from companion.teaching.checks.answers import (
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    read_function,
    read_number,
    read_parts,
)
from companion.teaching.checks.framework import exercise
from companion.teaching.checks.lesson_02.suspects import SUSPECTS, Walk, couplings, random_walk

SIGNATURE = "p_value(path, means, stds)"
WRONG = {name for name, coupling in SUSPECTS.items() if coupling != "exact"}
PROOF = 0.01


class Evidence:
    """The student's test and their verdict on the three suspects."""

    def __init__(self, test: StudentFunction, wrong: set[str]) -> None:
        self.test, self.wrong = test, wrong

    def p_value(self, walk: Walk) -> float:
        return read_number(self.test(*walk), SIGNATURE)

    def must_find(self, walks: list[Walk]) -> None:
        """Raise unless each of these wrong walks gets a small p-value."""
        highest = max(self.p_value(walk) for walk in walks)
        expect(highest < PROOF, f"the p-value came out as {highest:.2g}, expected below {PROOF}")


@exercise(
    "02.4",
    "The bug that samples hide",
    difficulty=3,
    minutes=15,
    equation="Algorithm 3",
    takeaway="Samples carry what is left of the error, somewhere; the steps carry all of it. Exact ones leave standard normal residuals, given the past, whatever the data.",
)
def evidence(answer: object) -> Evidence:
    parts = read_parts(answer, ("p_value", "wrong"))
    test, letters = read_function(parts["p_value"], SIGNATURE), parts["wrong"]
    if isinstance(letters, list | tuple | set) and all(isinstance(letter, str) for letter in letters):
        letters = "".join(sorted(letters))
    if not isinstance(letters, str) or not set(letters.upper()) <= {*SUSPECTS, ",", " "}:
        raise NotYet(f"Expected wrong to be letters among A, B and C, such as 'B'; got {describe(letters)}.", "type")
    return Evidence(test, set(letters.upper()) & set(SUSPECTS))


def _honest(generator: torch.Generator, **settings: int) -> Walk:
    return random_walk(generator, reflection_coupling, **settings)


def _noisy(walk: Walk) -> Walk:
    """Without the last step, which has no noise."""
    return Walk(walk.path[:-1], walk.means[:-1], walk.stds[:-1])


@evidence.requires(
    "a p-value",
    "Return a p-value: a number from 0 to 1, how often an exact sampler looks at least as bad as this. For a "
    "statistic z that is standard normal if all is well, it is `math.erfc(abs(z) / math.sqrt(2))`.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    for n in (50, 100, 200, 400, 800):
        value = evidence.p_value(_noisy(_honest(generator, n=n, steps=10)))
        expect(0 <= value <= 1, f"got {value:.3g}")


@evidence.requires(
    "steps without noise",
    "A step whose std is 0 goes to its mean, and its residual is 0/0. Leave out the steps with `stds == 0`, wherever "
    "they stand, rather than always the last; and draw nothing at random, so that one walk has one p-value.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    walk = _honest(generator, steps=10)
    try:
        with_the_last = evidence.p_value(walk)
    except NotYet:
        raise NotYet("the p-value is not a number") from None
    expect_close(with_the_last, evidence.p_value(_noisy(walk)), 1e-6, "with such a step at the end the p-value")


@evidence.requires(
    "std of each step",
    "The steps differ in their noise. The same residuals in other units, another one for each step, must give the "
    "same p-value: divide by the std of the step, before you pool or square.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    walk = _honest(generator, steps=10)
    units = 0.2 + 3 * torch.rand(10, generator=generator, dtype=torch.float64)
    residuals = walk.path[1:] - walk.means
    inverse = torch.where(walk.stds > 0, 1 / walk.stds, 0)
    same = Walk(walk.path, walk.path[1:] - inverse[:, None, None] * residuals, (walk.stds > 0).double())
    other = Walk(walk.path, walk.path[1:] - (units * inverse)[:, None, None] * residuals, units * same.stds)
    expect_close(evidence.p_value(other), evidence.p_value(same), 1e-4, "in other units the p-value")


def _accused(evidence: Evidence, generator: torch.Generator, below: float) -> float:
    """Share of 200 exact samplers, of 50 chains each, whose p-value is below this."""
    walk = _honest(generator, n=10_000, steps=12)
    few = (Walk(walk.path[:, at : at + 50], walk.means[:, at : at + 50], walk.stds) for at in range(0, 10_000, 50))
    return sum(evidence.p_value(part) < below for part in few) / 200


@evidence.requires(
    "exact sampler",
    "You accuse samplers that are exact. For these, the residual (path[k + 1] - means[k]) / stds[k] is standard "
    "normal at every step, whatever the law of the states: compare that with N(0, 1).",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    share = _accused(evidence, generator, PROOF)
    expect(share < 0.4, f"{share:.0%} of 200 exact samplers get a p-value below {PROOF}")


@evidence.requires(
    "false alarms",
    "Your p-values are too small: below 0.05 should be one exact sampler in twenty. The usual reasons: the smallest "
    "of many p-values, which is small by chance, or a wrong spread of the statistic. The square of a standard "
    "normal has variance 2.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    share = _accused(evidence, generator, 0.05)
    expect(share < 0.115, f"{share:.1%} of 200 exact samplers get a p-value below 0.05")


def _walks(generator: torch.Generator, coupling: str, n: int = 2000, **settings: float | int) -> list[Walk]:
    """Walks with one coupling, in 1 and in 2 dimensions."""
    verify: Callable = couplings(generator)[coupling]
    return [random_walk(generator, verify, n=n, dim=dim, **settings) for dim in (1, 2)]


@evidence.requires(
    "keeps everything",
    "You overlook a sampler that keeps every draft. A draft errs in another direction at every point, so the errors "
    "cancel in the mean of the residuals. In their squares they do not.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    evidence.must_find(_walks(generator, "accept everything", distance=0.8))


@evidence.requires(
    "every step",
    "You overlook a sampler that errs at one step only, an early one. The end of the path does not remember it: "
    "look at all steps.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    early = 3 + int(torch.randint(8, (), generator=generator))
    evidence.must_find(_walks(generator, "accept everything", distance=3.5, only=early))


@evidence.requires(
    "redraws",
    "You overlook a sampler that draws afresh from the target after a rejection. It has taken the drafts far from "
    "the target's mean away and put too few back, so its squares are too *small*. A test must look to both sides.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    evidence.must_find(_walks(generator, "redraw after a rejection", n=4000, distance=0.5))


@evidence.requires(
    "innocent",
    "Your test is good, but you accuse the sampler that is exact. Run `p_value` on all three suspects again.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    expect(evidence.wrong <= WRONG)


@evidence.requires(
    "still at large",
    "Your test is good, but a wrong sampler is missing from your letters. Run `p_value` on all three suspects, and "
    "take more chains if one is near the border.",
)
def _(evidence: Evidence, generator: torch.Generator) -> None:
    expect(evidence.wrong >= WRONG)

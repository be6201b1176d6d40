"""Exercise 06.1: how long a filter remembers, and where its drift adds doubt."""

import math
from dataclasses import dataclass

import torch

from companion.teaching.checks.answers import expect, read_number, read_parts
from companion.teaching.checks.framework import exercise

GAMMA, LONG, FEATURES = 0.99, 5000, 100
STEPS = -1 / (2 * math.log(GAMMA))
ADDED = FEATURES * (1 - GAMMA**2)


@dataclass(frozen=True)
class Memory:
    """The student's three numbers."""

    steps: float
    gamma: float
    added: float


@exercise(
    "06.1",
    "How long does a filter remember?",
    difficulty=2,
    minutes=10,
    equation="the drift of the weights",
    takeaway="What was learned shrinks by gamma^2 a step, in every direction at once: gamma = 0.99 lets go in 50 steps what 5,000 rows may have taught. So gamma lives very close to 1, and one learns delta = -2 log(gamma) instead.",
)
def memory(answer: object) -> Memory:
    parts = read_parts(answer, ("steps", "gamma", "added"))
    return Memory(**{name: read_number(value, name) for name, value in parts.items()})


@memory.requires(
    "the square counts",
    "That is when gamma^n is 1/e: the mean has shrunk so far. The covariance is of second order, and what it holds shrinks "
    "by gamma^2 a step, so it is gone in half the time.",
)
def _(memory: Memory, generator: torch.Generator) -> None:
    expect(abs(memory.steps - 2 * STEPS) > 2, f"you say {memory.steps:.4g} steps")


@memory.requires(
    "steps of 0.99",
    "Solve gamma^(2n) = 1/e for n: take logarithms of both sides. For gamma near 1, -log(gamma) is about 1 - gamma.",
)
def _(memory: Memory, generator: torch.Generator) -> None:
    half = abs(memory.steps - STEPS * math.log(2)) < 1
    expect(not half, f"after {memory.steps:.4g} steps one half is left, not 1/e")
    left = GAMMA ** (2 * memory.steps) if abs(memory.steps) < 1e6 else 0.0
    expect(abs(memory.steps - STEPS) < 1.5, f"after {memory.steps:.4g} steps the share {left:.3g} is left")


@memory.requires(
    "a long memory",
    "With your gamma another number of steps goes by until 1/e is left. Solve gamma^(2n) = 1/e for gamma this time, with "
    "n = 5000, and keep the square.",
)
def _(memory: Memory, generator: torch.Generator) -> None:
    gamma = memory.gamma
    expect(0 < gamma < 1, f"you say {gamma:g}; a gamma that forgets is above 0 and below 1")
    steps = -1 / (2 * math.log(gamma))
    expect(abs(steps - LONG) < 0.02 * LONG, f"with gamma = {gamma:.6g} it takes {steps:.5g} steps")


@memory.requires(
    "in all directions",
    "A drift adds (1 - gamma^2) weight_variance I. That is a matrix: each of the 100 directions gets its share, whether rows "
    "ever point there or not. Add them up.",
)
def _(memory: Memory, generator: torch.Generator) -> None:
    expect(abs(memory.added - ADDED / FEATURES) > 1e-3, f"you say {memory.added:.3g}, which is one direction's")


@memory.requires(
    "how much noise",
    "The noise must make up for what shrinking takes from the *variance* of the weights, and that is multiplied by gamma^2. "
    "So its variance is (1 - gamma^2) weight_variance, in each of the 100 directions.",
)
def _(memory: Memory, generator: torch.Generator) -> None:
    for wrong, words in ((1 - GAMMA, "1 - gamma"), ((1 - GAMMA) ** 2, "(1 - gamma)^2")):
        expect(abs(memory.added - FEATURES * wrong) > 1e-3, f"you say {memory.added:.3g}, 100 times {words}")
    expect(abs(memory.added - ADDED) < 0.02, f"you say {memory.added:.4g}")

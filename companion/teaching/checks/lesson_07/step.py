"""Exercise 07.2: the drift of the weights, the learning rate that rises with it, and the step that they make."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
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

DRIFTED, RATE = "drifted(theta, init_mean, gamma)", "rate(lr, gamma, posterior_scale)"
STEP = "soft_step(theta, init_mean, gamma, lr, posterior_scale, gradient)"
Case = tuple[Tensor, Tensor, float, float, float, "Gradient"]


class Gradient:
    """That of a random quadratic loss; keeps where it was asked for."""

    def __init__(self, generator: torch.Generator, size: int) -> None:
        root = normal(generator, size, size)
        self.curvature, self.offset, self.asked = root @ root.T / size, normal(generator, size), []

    def __call__(self, theta: Tensor) -> Tensor:
        self.asked.append(theta.detach().clone())
        return self.curvature.to(theta) @ theta - self.offset.to(theta)

    def __repr__(self) -> str:
        return "a function of theta"


class SoftStep:
    """The student's drift, learning rate and step."""

    def __init__(self, drifted: StudentFunction, rate: StudentFunction, step: StudentFunction) -> None:
        self._drifted, self._rate, self._step = drifted, rate, step

    def drifted(self, theta: Tensor, init_mean: Tensor, gamma: float) -> Tensor:
        return expect_tensor(self._drifted(theta, init_mean, gamma), tuple(theta.shape), theta.dtype, DRIFTED)

    def rate(self, lr: float, gamma: float, posterior_scale: float) -> float:
        return read_number(self._rate(lr, gamma, posterior_scale), RATE)

    def step(self, theta: Tensor, *case: object) -> Tensor:
        return expect_tensor(self._step(theta, *case), tuple(theta.shape), theta.dtype, STEP)

    def steps_like(self, formula: Callable[..., Tensor], generator: torch.Generator) -> bool:
        cases = [_case(generator) for _ in range(3)]
        return all(torch.allclose(self.step(*case), formula(*case), rtol=1e-8) for case in cases)


@exercise(
    "07.2",
    "The step of soft reset",
    difficulty=2,
    minutes=15,
    equation="the update of the paper's gradient form",
    takeaway="A drift moves the point from which a gradient step starts, and lets it go further: by the variance of the drifted belief over that of the belief before. With gamma = 1 it is plain gradient descent.",
)
def soft_step(answer: object) -> SoftStep:
    parts = read_parts(answer, ("drifted", "rate", "soft_step"))
    signatures = {"drifted": DRIFTED, "rate": RATE, "soft_step": STEP}
    return SoftStep(*(read_function(parts[name], signature) for name, signature in signatures.items()))


def _case(generator: torch.Generator, size: int = 5, gamma: float | None = None) -> Case:
    gamma = uniform(generator, 0.3, 0.9) if gamma is None else gamma
    rates = uniform(generator, 0.05, 0.3), uniform(generator, 0.4, 0.8)
    return normal(generator, size), normal(generator, size), gamma, *rates, Gradient(generator, size)


# The drift


@soft_step.requires(
    "weights as they came",
    "Let `drifted` return a tensor of theta's shape and dtype, for weights of any shape: one gamma serves them all.",
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    for dtype, shape in ((DOUBLE, (6,)), (torch.float32, (3, 2)), (DOUBLE, (1,))):
        theta, init_mean = (normal(generator, *shape).to(dtype) for _ in range(2))
        step.drifted(theta, init_mean, 0.7)


@soft_step.requires(
    "nothing at one", "With gamma = 1 the weights stay where they are. Which of the two has the factor gamma?"
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    theta, init_mean = normal(generator, 2, 6)
    expect_close(step.drifted(theta, init_mean, 1.0), theta, 1e-9, "a drifted weight")


@soft_step.requires(
    "home at zero",
    "With gamma = 0 each weight is where it was at the start, at init_mean: not at 0, and without noise. Plain soft reset takes "
    "the *mean* of the drifted belief; its width counts in the learning rate.",
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    theta, init_mean = normal(generator, 2, 6)
    came = step.drifted(theta, init_mean, 0.0)
    expect(not torch.allclose(came, torch.zeros_like(came), atol=1e-9), "yours leads to 0")
    expect_close(came, init_mean, 1e-9, "a drifted weight")


@soft_step.requires(
    "part of the way",
    "A mean is linear: gamma of the distance from the start is left. The square is for variances.",
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    for gamma in (0.25, 0.8):
        theta, init_mean = normal(generator, 2, 6)
        left = (step.drifted(theta, init_mean, gamma) - init_mean) / (theta - init_mean)
        for power, words in ((2, "gamma^2"), (0.5, "the root of gamma")):
            expect(
                not torch.allclose(left, torch.full_like(left, gamma**power)), f"with gamma = {gamma} {words} is left"
            )
        expect_close(left, torch.full_like(left, gamma), 1e-7, f"with gamma = {gamma} the share that is left")


# The learning rate


@soft_step.requires(
    "plain at one",
    "With gamma = 1 nothing has drifted, and the learning rate is lr, whatever posterior_scale is.",
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    for scale in (0.3, 0.8, 1.0):
        lr = uniform(generator, 0.1, 0.9)
        expect_close(step.rate(lr, 1.0, scale) / lr, 1.0, 1e-9, f"with posterior_scale = {scale} the rate over lr")


@soft_step.requires(
    "it rises",
    "Where more is uncertain a step may go *further*. The belief before the drift has the width s init_std, with s at most 1; at "
    "gamma = 0 it has that of the start, init_std, and the learning rate grows by the ratio of the *variances*.",
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    for scale in (0.3, 0.8):
        lr = uniform(generator, 0.1, 0.9)
        came = step.rate(lr, 0.0, scale) / lr
        for power, words in (
            (1, "s, so it falls"),
            (2, "s^2, so it falls"),
            (-1, "1/s, the ratio of the widths"),
            (0, "1: it does not depend on s"),
        ):
            expect(abs(came - scale**power) > 1e-6, f"at gamma = 0 yours is lr times {words}")
        expect_close(came, scale**-2, 1e-9, f"at gamma = 0, with s = {scale}, the rate over lr")


@soft_step.requires(
    "variance over variance",
    "Both ends are right, and the way between them is not: after the drift the variance is gamma^2 s^2 + 1 - gamma^2 in units of "
    "init_std^2, and before it was s^2. gamma is squared, for it multiplies weights.",
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    for gamma in (0.2, 0.6, 0.95):
        for scale in (0.3, 0.8, 1.0):
            lr = uniform(generator, 0.1, 0.9)
            expected, linear = rise(gamma, scale), gamma + (1 - gamma) / scale**2
            came = step.rate(lr, gamma, scale) / lr
            expect(scale == 1 or abs(came - linear) > 1e-6, "in yours gamma is not squared")
            expect_close(came, expected, 1e-7, f"with gamma = {gamma} and s = {scale} the rate over lr")


def rise(gamma: float, scale: float) -> float:
    """By what the learning rate grows."""
    return gamma**2 + (1 - gamma**2) / scale**2


# The step


def moved(theta: Tensor, init_mean: Tensor, gamma: float) -> Tensor:
    """The drifted weights."""
    return gamma * theta + (1 - gamma) * init_mean


def stepped(
    theta: Tensor,
    init_mean: Tensor,
    gamma: float,
    lr: float,
    posterior_scale: float,
    gradient: Gradient,
    *,
    at: str = "drifted",
    rise: Callable[[float, float], float] = rise,
    sign: float = 1,
) -> Tensor:
    """Drift, then descend; from elsewhere, with another rise or uphill on request."""
    drifted = moved(theta, init_mean, gamma)
    places = {"drifted": drifted, "theta": theta, "start": init_mean}
    return drifted - sign * lr * rise(gamma, posterior_scale) * gradient(places[at])


def learned_first(
    theta: Tensor, init_mean: Tensor, gamma: float, lr: float, posterior_scale: float, gradient: Gradient
) -> Tensor:
    """Descend, then drift."""
    return moved(theta - lr * rise(gamma, posterior_scale) * gradient(theta), init_mean, gamma)


@soft_step.requires(
    "drift, then descend",
    "First the drift, then the gradient *at the drifted weights*, and from there the step. A gradient of the old weights "
    "points down a slope on which you no longer stand.",
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    for formula, words in (
        (lambda *case: stepped(*case, at="theta"), "yours takes the gradient at theta, before the drift"),
        (lambda *case: stepped(*case, at="start"), "yours takes the gradient at the start"),
        (learned_first, "yours descends first, and then drifts"),
        (lambda theta, *case: stepped(theta, theta, *case[1:]), "yours does not drift"),
    ):
        expect(not step.steps_like(formula, generator), words)
    case = _case(generator)
    step.step(*case)
    expect(len(case[-1].asked) > 0, "yours never asks for a gradient")
    for place in case[-1].asked:
        expect_close(place, moved(*case[:3]), 1e-7, "where the gradient is asked for, a weight")


@soft_step.requires(
    "downhill, as far as allowed",
    "From the drifted weights the step is minus the raised learning rate times the gradient there.",
)
def _(step: SoftStep, generator: torch.Generator) -> None:
    for formula, words in (
        (lambda *case: stepped(*case, sign=-1), "yours goes uphill"),
        (lambda *case: stepped(*case, rise=lambda gamma, scale: 1), "yours has lr, without the rise"),
    ):
        expect(not step.steps_like(formula, generator), words)
    for size, gamma in ((5, None), (2, 1.0), (7, 0.0)):
        case = _case(generator, size, gamma)
        expect_close(step.step(*case), stepped(*case), 1e-7, f"with gamma = {case[2]:.3g} a weight after the step")

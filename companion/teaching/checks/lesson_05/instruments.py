"""Exercise 05.7: regression with a hidden cause, and two solved stages that are not misled."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.methods.last_layer import solve_last_layer
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

BIAS = "bias(confounding, var_z, var_e)"
STAGES = "two_stage(phi, psi, phi_of_others, outcomes, ridges)"
Case = tuple[Tensor, Tensor, Tensor, Tensor, tuple[float, float]]
Formula = Callable[[Tensor, Tensor, Tensor, Tensor, tuple[float, float]], Tensor]


class Instruments:
    """The student's bias and their two stages."""

    def __init__(self, bias: StudentFunction, stages: StudentFunction) -> None:
        self._bias, self.stages = bias, stages

    def bias(self, *case: float) -> float:
        return read_number(self._bias(*case), BIAS)

    def biased_like(self, formula: Callable[[float, float, float], float], generator: torch.Generator) -> bool:
        cases = [_design(generator) for _ in range(4)]
        return all(abs(self.bias(*case) - formula(*case)) < 1e-6 * max(1, abs(formula(*case))) for case in cases)

    def solves_like(self, formula: Formula, cases: list[Case]) -> bool:
        return all(torch.allclose(self.stages(*case).to(DOUBLE), formula(*case), 1e-6, 1e-9) for case in cases)


@exercise(
    "05.7",
    "The instrument",
    difficulty=3,
    minutes=15,
    equation="instrumental variables, both stages in closed form",
    takeaway="More data does not help a regression whose noise moves with its input. Two last layers do, one after the other: keep of the treatment what the instrument explains, and regress on that.",
)
def instruments(answer: object) -> Instruments:
    parts = read_parts(answer, ("bias", "two_stage"))
    return Instruments(read_function(parts["bias"], BIAS), read_function(parts["two_stage"], STAGES))


def _design(generator: torch.Generator) -> tuple[float, float, float]:
    return uniform(generator, -2, 2), uniform(generator, 0.3, 3), uniform(generator, 0.3, 2)


def _right_bias(confounding: float, var_z: float, var_e: float) -> float:
    return confounding * var_e / (var_z + var_e)


@instruments.requires(
    "no cause, no bias",
    "With confounding 0 regression is right, and with twice the confounding the bias is twice as large, sign and all.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    for _ in range(3):
        confounding, var_z, var_e = _design(generator)
        expect_close(instruments.bias(0.0, var_z, var_e), 0.0, 1e-7, "without confounding the bias")
        doubled = instruments.bias(2 * confounding, var_z, var_e)
        expect_close(
            doubled, 2 * instruments.bias(confounding, var_z, var_e), 1e-6, "with twice the confounding the bias"
        )


@instruments.requires(
    "over the treatment's variance",
    "You stop at the covariance of e and x, or divide by part of the variance of x. A slope is a covariance over the "
    "variance of the *treatment*, to which instrument and hidden cause both add.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    expect(not instruments.biased_like(lambda c, z, e: c * e, generator), "yours is the covariance")
    expect(not instruments.biased_like(lambda c, z, e: c * e / z, generator), "you divide by the instrument's")
    expect(not instruments.biased_like(lambda c, z, e: c, generator), "yours is the confounding itself")
    deviations = instruments.biased_like(lambda c, z, e: c * e**0.5 / (z + e) ** 0.5, generator)
    expect(not deviations, "you divide standard deviations")


@instruments.requires(
    "whose share",
    "You give the share of x that comes from the instrument. That part is innocent: what misleads is the share of x that "
    "*is* the hidden cause.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    expect(not instruments.biased_like(lambda c, z, e: c * z / (z + e), generator))


@instruments.requires(
    "the bias",
    "A regression of many rows says something else. With x = z + e, the slope of y on x is a + c times the slope of e on x.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    for _ in range(3):
        confounding, var_z, var_e = case = _design(generator)
        z, e, noise = normal(generator, 3, 100_000) * torch.tensor([[var_z], [var_e], [0.01]], dtype=DOUBLE).sqrt()
        x = z + e
        measured = (x @ (0.7 * x + confounding * e + noise) / (x @ x) - 0.7).item()
        came = instruments.bias(*case)
        found = f"with confounding {confounding:.2f}, variances {var_z:.2f} and {var_e:.2f} yours is {came:.4f}"
        expect(abs(came - measured) < 0.03, f"{found}, measured {measured:.4f}")
        expect_close(came, _right_bias(*case), 1e-6, "the bias")


def _case(generator: torch.Generator, m: int = 12, n: int = 9, p: int = 4, q: int = 3, k: int = 2) -> Case:
    """Features of instruments and of treatments (m rows), of other instruments and outcomes (n rows), two ridges."""
    phi, others = normal(generator, m, p), normal(generator, n, p)
    psi = phi @ normal(generator, p, q) + normal(generator, m, q)
    outcomes = others @ normal(generator, p, k) + normal(generator, n, k)
    return phi, psi, others, outcomes, (uniform(generator, 0.1, 0.3), uniform(generator, 0.5, 0.9))


def _same_rows(generator: torch.Generator) -> list[Case]:
    """Cases in which all four come from the same rows, and there are as many features of both kinds."""
    cases = []
    for _ in range(2):
        phi, psi, _, _, ridges = _case(generator, 12, 12, 3, 3)
        cases.append((phi, psi, phi, psi @ normal(generator, 3, 2) + normal(generator, 12, 2), ridges))
    return cases


def _stages(phi: Tensor, psi: Tensor, others: Tensor, outcomes: Tensor, ridges: tuple[float, float]) -> Tensor:
    return solve_last_layer(others @ solve_last_layer(phi, psi, ridges[0]), outcomes, ridges[1])


@instruments.requires(
    "a last layer for psi",
    "Return u, (q, k), in the dtype of the features: a weight for each feature of the *treatment*, as f(x) = psi(x) u. The "
    "two sets of rows may differ in number.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    for dtype, sizes in ((DOUBLE, (12, 9, 4, 3, 2)), (torch.float32, (6, 15, 5, 2, 1)), (DOUBLE, (10, 10, 3, 3, 1))):
        *tensors, ridges = _case(generator, *sizes)
        came = instruments.stages(*(tensor.to(dtype) for tensor in tensors), ridges)
        expect_tensor(came, (sizes[3], sizes[4]), dtype, STAGES)


@instruments.requires(
    "what the instrument explains",
    "The second stage still sees the hidden cause. Regress on phi V, which is what the instrument says of psi(x); in psi(x) "
    "itself, and in what the first stage leaves over, the cause is still there.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    cases = _same_rows(generator)
    expect(not instruments.solves_like(lambda f, p, o, y, r: solve_last_layer(p, y, r[1]), cases), "yours is naive")

    def leftover(phi: Tensor, psi: Tensor, others: Tensor, outcomes: Tensor, ridges: tuple[float, float]) -> Tensor:
        return solve_last_layer(psi - phi @ solve_last_layer(phi, psi, ridges[0]), outcomes, ridges[1])

    expect(not instruments.solves_like(leftover, cases), "yours uses what is left over")
    reduced = instruments.solves_like(lambda f, p, o, y, r: solve_last_layer(o, y, r[1]), cases)
    expect(not reduced, "yours are weights of the instrument's features")


@instruments.requires(
    "whose rows",
    "Stage 2 takes the *other* rows: V comes from the first set, and its features are those of the second, where the "
    "outcomes were seen.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    cases = [_case(generator, 10, 10), _case(generator, 8, 8, 3, 2)]
    expect(not instruments.solves_like(lambda f, p, o, y, r: _stages(f, p, f, y, r), cases))


@instruments.requires(
    "each its ridge",
    "The first ridge belongs to stage 1 and the second to stage 2, each counted for a mean over its own rows.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    cases = [_case(generator), _case(generator, 7, 16, 3, 2, 1)]

    def with_ridges(change: Callable[[tuple[float, float], int, int], tuple[float, float]]) -> Formula:
        return lambda f, p, o, y, r: _stages(f, p, o, y, change(r, len(f), len(o)))

    expect(not instruments.solves_like(with_ridges(lambda r, m, n: r[::-1]), cases), "you exchange them")
    expect(not instruments.solves_like(with_ridges(lambda r, m, n: (r[0], r[0])), cases), "you use the first twice")
    expect(not instruments.solves_like(with_ridges(lambda r, m, n: (r[1], r[1])), cases), "you use the second twice")
    summed = instruments.solves_like(with_ridges(lambda r, m, n: (r[0] / m, r[1] / n)), cases)
    expect(not summed, "you count them for sums over rows")
    phi, psi, others, outcomes, ridges = cases[0]
    once = instruments.stages(*cases[0])
    twice = instruments.stages(*(tensor.repeat(2, 1) for tensor in (phi, psi, others, outcomes)), ridges)
    expect_close(twice, once, 1e-7, "with every row twice an entry of u")


@instruments.requires(
    "both stages",
    "Two solves, one after the other, give something else: V for psi(x) from phi(z), then u for the outcomes from phi(z) V.",
)
def _(instruments: Instruments, generator: torch.Generator) -> None:
    for case in (_case(generator), _case(generator, 7, 16, 3, 2, 1)):
        expect_close(instruments.stages(*case), _stages(*case), 1e-7, "an entry of u")

"""Exercise 05.5: recursive least squares as a Kalman filter, and two ways to forget."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.foundations.linear import RecursiveLeastSquares
from companion.teaching.checks.answers import (
    DOUBLE,
    Belief,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_belief,
    read_function,
    read_parts,
    uniform,
)
from companion.teaching.checks.framework import exercise

UPDATE = "update(mean, covariance, features, targets)"
FORGET = "forget(covariance, forgetting, penalty)"
DRIFT = "drift(mean, covariance, keep, penalty)"


class Filter:
    """The student's three steps of a filter."""

    def __init__(self, update: StudentFunction, forget: StudentFunction, drift: StudentFunction) -> None:
        self._update, self._forget, self._drift = update, forget, drift

    def update(self, mean: Tensor, covariance: Tensor, features: Tensor, targets: Tensor) -> Belief:
        return read_belief(self._update(mean, covariance, features, targets), mean, UPDATE)

    def forget(self, covariance: Tensor, forgetting: float, penalty: float) -> Tensor:
        value = self._forget(covariance, forgetting, penalty)
        return expect_tensor(value, tuple(covariance.shape), covariance.dtype, FORGET)

    def drift(self, mean: Tensor, covariance: Tensor, keep: float, penalty: float) -> Belief:
        return read_belief(self._drift(mean, covariance, keep, penalty), mean, DRIFT)

    def updates_like(self, formula: Callable[..., Belief], generator: torch.Generator) -> bool:
        cases = [_case(generator), _case(generator, 6, 2, 2)]
        return all(_alike(one, other) for case in cases for one, other in zip(self.update(*case), formula(*case)))

    def forgets_like(self, formula: Callable[[Tensor, float, float], Tensor], generator: torch.Generator) -> bool:
        cases = [
            (_covariance(generator, 3), uniform(generator, 0.3, 0.9), uniform(generator, 0.2, 0.6)) for _ in range(3)
        ]
        return all(_alike(self.forget(*case), formula(*case)) for case in cases)


@exercise(
    "05.5",
    "The filter behind the recursion",
    difficulty=4,
    minutes=20,
    equation="recursive least squares with a lasting prior",
    takeaway="The recursion is a Kalman filter whose weights are believed to have moved between batches. Forgetting only widens the belief; a drift pulls it home as well, and that is where lesson 06 begins.",
)
def kalman(answer: object) -> Filter:
    parts = read_parts(answer, ("update", "forget", "drift"))
    signatures = {"update": UPDATE, "forget": FORGET, "drift": DRIFT}
    return Filter(**{name: read_function(parts[name], signature) for name, signature in signatures.items()})


def _covariance(generator: torch.Generator, p: int) -> Tensor:
    """A covariance well below that of a prior of penalty 0.6."""
    root = normal(generator, p, p)
    return 0.1 * root @ root.T / p + 0.05 * torch.eye(p, dtype=DOUBLE)


def _case(generator: torch.Generator, n: int = 3, p: int = 4, k: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, covariance, features and targets."""
    mean, covariance = normal(generator, p, k), 4 * _covariance(generator, p)
    return mean, covariance, normal(generator, n, p), normal(generator, n, k)


def _alike(came: Tensor, expected: Tensor) -> bool:
    return torch.allclose(came.detach(), expected, rtol=1e-6, atol=1e-9)


def _update(mean: Tensor, covariance: Tensor, features: Tensor, targets: Tensor, noise: float = 1.0) -> Belief:
    spread = features @ covariance @ features.T + noise * torch.eye(len(features), dtype=DOUBLE)
    gain = torch.linalg.solve(spread, features @ covariance).T
    return mean + gain @ (targets - features @ mean), covariance - gain @ features @ covariance


def _forget(covariance: Tensor, forgetting: float, penalty: float) -> Tensor:
    identity = torch.eye(len(covariance), dtype=DOUBLE)
    return torch.linalg.inv(forgetting * torch.linalg.inv(covariance) + (1 - forgetting) * penalty * identity)


# The update


@kalman.requires(
    "a mean and a covariance",
    "Let `update` and `drift` return two tensors, the mean (p, k) and the covariance (p, p), and `forget` one (p, p), all "
    "in the dtype that came.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    for dtype, sizes in ((DOUBLE, (3, 4, 2)), (torch.float32, (5, 2, 1)), (DOUBLE, (1, 1, 1))):
        case = [tensor.to(dtype) for tensor in _case(generator, *sizes)]
        kalman.update(*case)
        kalman.drift(*case[:2], 0.9, 0.5)
        kalman.forget(case[1], 0.9, 0.5)


@kalman.requires(
    "by surprise alone",
    "Targets that are just what was predicted, F times the mean, should leave the mean where it is. The gain belongs "
    "before the surprise, Y - F mean.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    mean, covariance, features, _ = _case(generator)
    came, _ = kalman.update(mean, covariance, features, features @ mean)
    expect_close(came, mean, 1e-7, "an entry of the mean")


@kalman.requires(
    "surer after it",
    "Every batch takes some of the doubt away, and as much whatever its targets are: P - G F P, with the gain "
    "G = P F' (F P F' + I)^-1. What a filter will know can be said before it has seen anything.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    mean, covariance, features, targets = _case(generator)
    _, came = kalman.update(mean, covariance, features, targets)
    _, other = kalman.update(mean, covariance, features, targets + 1)
    expect_close(other, came, 1e-9, "with other targets an entry of the covariance")
    before, after = covariance.trace().item(), came.trace().item()
    expect(after < before - 1e-6, f"the sum of the variances goes from {before:.3g} to {after:.3g}")


@kalman.requires(
    "unit noise",
    "The spread of what is observed is F P F' + I: what is unknown about W, and noise of variance 1 in each row. Without "
    "noise every batch is believed word for word.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    expect(not kalman.updates_like(lambda *case: _update(*case, noise=1e-9), generator), "yours has no noise")
    one = torch.ones(1, 1, dtype=DOUBLE)
    mean, covariance = kalman.update(0 * one, one, one, one)
    found = "believing N(0, 1) and observing 1 with noise of variance 1"
    expect_close(mean, 0.5 * one, 1e-7, f"{found}, the mean")
    expect_close(covariance, 0.5 * one, 1e-7, f"{found}, the variance")


@kalman.requires(
    "rows add up",
    "Two batches one after the other must tell as much as both at once. Here rows are counted, each with noise 1, and "
    "no mean over them is taken.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    mean, covariance, features, targets = _case(generator, 6, 3)
    belief = mean, covariance
    for rows in (slice(0, 2), slice(2, 6)):
        belief = kalman.update(*belief, features[rows], targets[rows])
    for name, came, whole in zip(
        ("mean", "covariance"), belief, kalman.update(mean, covariance, features, targets), strict=True
    ):
        expect_close(came, whole, 1e-7, f"in two parts an entry of the {name}")


# Forgetting


@kalman.requires(
    "nothing forgotten",
    "With forgetting = 1 nothing is forgotten, and the covariance must stay as it is. The prior's share comes back with the "
    "factor 1 - forgetting.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    covariance = _covariance(generator, 3)
    expect_close(kalman.forget(covariance, 1.0, 0.5), covariance, 1e-7, "an entry of the covariance")


@kalman.requires(
    "doubt grows",
    "Forgetting must make the filter less sure. It is the *information* that shrinks, P^-1; a covariance times the factor "
    "would say that old rows count more than they did.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    for _ in range(3):
        covariance = _covariance(generator, 3)
        grown = kalman.forget(covariance, 0.8, 0.5) - covariance
        least = torch.linalg.eigvalsh((grown + grown.T) / 2)[0].item()
        expect(least > 0, f"in some direction the variance changes by {least:.3g}")


@kalman.requires(
    "the prior lasts",
    "Forget again and again without any data, and the doubt must end at the prior's, I/penalty. P/forgetting alone grows "
    "without end in directions that no batch has: that is why the recursion gives the prior's share back.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    prior = torch.eye(3, dtype=DOUBLE) / 0.5
    covariance = _covariance(generator, 3)
    for _ in range(200):
        covariance = kalman.forget(covariance, 0.8, 0.5)
    expect_close(covariance, prior, 1e-6, "after 200 times an entry of the covariance")
    expect_close(kalman.forget(_covariance(generator, 3), 0.0, 0.5), prior, 1e-7, "with all forgotten an entry")


@kalman.requires(
    "information is mixed",
    "You mix covariances, forgetting P + (1 - forgetting) I/penalty. The recursion mixes what the batches *tell*, the "
    "inverses: forgetting P^-1 + (1 - forgetting) penalty I, and then inverts. From a sure belief to the prior, that is a "
    "much shorter step.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    def mixed(covariance: Tensor, forgetting: float, penalty: float) -> Tensor:
        return forgetting * covariance + (1 - forgetting) / penalty * torch.eye(len(covariance), dtype=DOUBLE)

    expect(not kalman.forgets_like(mixed, generator))


@kalman.requires(
    "the recursion",
    "With `forget` before each `update` the filter goes another way than `RecursiveLeastSquares`. Its information goes "
    "A <- forgetting A + (1 - forgetting) penalty I + F'F, and the covariance is A^-1.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    for forgetting, penalty in ((0.9, 0.5), (0.4, 2.0), (1.0, 0.3)):
        memory = RecursiveLeastSquares(normal(generator, 4, 2), penalty, forgetting)
        belief = memory.weights.clone(), torch.eye(4, dtype=DOUBLE) / penalty
        for step in range(6):
            features, targets = normal(generator, 3, 4), normal(generator, 3, 2)
            memory.update(features, targets)
            belief = kalman.update(belief[0], kalman.forget(belief[1], forgetting, penalty), features, targets)
            found = f"with forgetting {forgetting} and penalty {penalty}, after batch {step + 1}"
            expect_close(belief[1], torch.linalg.inv(memory.information), 1e-6, f"{found}, an entry of the covariance")
            expect_close(belief[0], memory.weights, 1e-6, f"{found}, an entry of the mean")


# The drift


@kalman.requires(
    "the mean goes home",
    "The drift is W <- keep W + noise, so the mean is multiplied by keep: without data it goes to the prior's, 0. Forgetting "
    "leaves it where it was, and this is the difference.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    mean, covariance, *_ = _case(generator)
    came, _ = kalman.drift(mean, covariance, 0.7, 0.5)
    expect_close(came, 0.7 * mean, 1e-7, "with keep = 0.7 an entry of the mean")


@kalman.requires(
    "the prior stays",
    "Weights drawn from the prior N(0, I/penalty) must still be drawn from it after a drift. So the noise brings just what "
    "the shrinking takes.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    prior = torch.eye(3, dtype=DOUBLE) / 0.4
    _, came = kalman.drift(torch.zeros(3, 1, dtype=DOUBLE), prior, 0.7, 0.4)
    expect_close(came, prior, 1e-7, "an entry of the prior's covariance")


@kalman.requires(
    "a factor squared",
    "Variances of keep W have keep^2, and the noise brings (1 - keep^2)/penalty. Yours is another covariance.",
)
def _(kalman: Filter, generator: torch.Generator) -> None:
    for keep in (0.7, 0.95, 0.0):
        mean, covariance, *_ = _case(generator)
        expected = keep**2 * covariance + (1 - keep**2) / 0.4 * torch.eye(4, dtype=DOUBLE)
        _, came = kalman.drift(mean, covariance, keep, 0.4)
        expect_close(came, expected, 1e-7, f"with keep = {keep} an entry of the covariance")

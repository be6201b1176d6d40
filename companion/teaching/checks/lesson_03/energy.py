"""Exercises 03.4 and 03.5: the self-consistency score, and what is learned without it."""

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

# 03.4 The self-consistency score

Score = Callable[[Tensor, Tensor, float, float], Tensor]


@exercise(
    "03.4",
    "The self-consistency score",
    difficulty=3,
    minutes=15,
    equation="eq. (19) to (22)",
    takeaway="Attraction to every noised particle, repulsion between the pushed ones: the score is least when both clouds have one law, however few particles stand for it.",
)
def score(answer: object) -> Score:
    return read_function(answer, "score(pushed, noised, beta, lam)")


def _clouds(generator: torch.Generator, n: int = 3, m: int = 5, dim: int = 2) -> tuple[Tensor, Tensor]:
    return 1.3 * normal(generator, n, m, dim) + 0.4, normal(generator, n, m, dim)


def _powers(a: Tensor, b: Tensor, beta: float) -> Tensor:
    """|a_j - b_k|^beta for all pairs of each row, (n, m, m)."""
    return (a[:, :, None] - b[:, None]).square().sum(-1) ** (beta / 2)


def _cross(pushed: Tensor, noised: Tensor, beta: float) -> Tensor:
    return _powers(pushed, noised, beta).mean()


def _repulsion(points: Tensor, beta: float) -> Tensor:
    m = points.shape[1]
    return _powers(points, points, beta).sum((1, 2)).mean() / (2 * m * (m - 1))


def _takes_for_cross(score: Score, formula: Callable[[Tensor, Tensor, float], Tensor], generator) -> bool:
    """Whether the score without repulsion is this formula."""
    cases = [(*_clouds(generator), beta) for beta in (0.6, 1.6)]
    return all(abs(score(*case, 0.0).item() - formula(*case).item()) < 1e-6 for case in cases)


def _takes_for_repulsion(score: Score, formula: Callable[[Tensor, Tensor, float], Tensor], generator) -> bool:
    """Whether what lam takes off is this formula."""
    cases = [(*_clouds(generator), beta) for beta in (0.6, 1.6)]
    taken = [(score(*case, 0.0) - score(*case, 1.0)).item() for case in cases]
    return all(abs(came - formula(*case).item()) < 1e-6 for came, case in zip(taken, cases))


@score.requires(
    "one number", "Return one number, a tensor without axes in the dtype of the particles: the mean over the n points."
)
def _(score: Score, generator: torch.Generator) -> None:
    for dtype, beta, lam in ((DOUBLE, 1.0, 1.0), (torch.float32, 1.5, 0.5)):
        pushed, noised = (cloud.to(dtype) for cloud in _clouds(generator))
        expect_tensor(score(pushed, noised, beta, lam), (), dtype, "the score")


@score.requires(
    "points apart",
    "Particles of different clean points must not be paired: the loss compares, for each clean point alone, where its "
    "own particles land. Keep the axis of the n points, and pair along the axis of the m particles.",
)
def _(score: Score, generator: torch.Generator) -> None:
    first, second, other = ([cloud for cloud in _clouds(generator, n=1)] for _ in range(3))

    def both(*points: list[Tensor]) -> float:
        return score(*(torch.cat(clouds) for clouds in zip(*points)), 1.0, 1.0).item()

    beside_first, beside_second = both(first, other) - both(first, first), both(second, other) - both(second, first)
    expect(abs(beside_first - beside_second) < 1e-6, "what one point adds to the loss depends on another point")


@score.requires(
    "mean over points", "With every clean point twice in the batch, the loss must stay the same: a mean, not a sum."
)
def _(score: Score, generator: torch.Generator) -> None:
    pushed, noised = _clouds(generator)
    twice = score(pushed.repeat(2, 1, 1), noised.repeat(2, 1, 1), 1.0, 1.0)
    expect_close(twice, score(pushed, noised, 1.0, 1.0), 1e-6, "with every point twice the score")


@score.requires(
    "every pair",
    "You pair pushed particle j with noised particle j only. They have nothing to do with each other, their noises "
    "are independent: so all m^2 pairs say the same in the mean, and together they say it with less noise.",
)
def _(score: Score, generator: torch.Generator) -> None:
    def alone(pushed: Tensor, noised: Tensor, beta: float) -> Tensor:
        return (pushed - noised).square().sum(-1).pow(beta / 2).mean()

    expect(not _takes_for_cross(score, alone, generator))


@score.requires(
    "j = k in the cross term",
    "You leave out the pairs j = k of the cross term. A pushed and a noised particle are never the same particle, "
    "whatever their numbers: there the sum runs over all m^2 pairs. Only the repulsion leaves some out.",
)
def _(score: Score, generator: torch.Generator) -> None:
    def without(pushed: Tensor, noised: Tensor, beta: float) -> Tensor:
        pairs = _powers(pushed, noised, beta)
        own = pairs.diagonal(dim1=1, dim2=2).sum(1)
        return ((pairs.sum((1, 2)) - own) / (pairs.shape[1] * (pairs.shape[1] - 1))).mean()

    expect(not _takes_for_cross(score, without, generator))
    expect(not _takes_for_cross(score, lambda *case: 0.8 * without(*case), generator))


@score.requires(
    "exponent",
    "Where is beta? Every distance is raised to the power beta, those of the repulsion, too, before any mean is taken.",
)
def _(score: Score, generator: torch.Generator) -> None:
    def bare(pushed: Tensor, noised: Tensor, beta: float) -> Tensor:
        return _cross(pushed, noised, 1.0)

    expect(not _takes_for_cross(score, bare, generator))
    expect(not _takes_for_cross(score, lambda a, b, beta: _cross(a, b, 2 * beta), generator), "you raise |.|^2 to beta")
    expect(not _takes_for_cross(score, lambda a, b, beta: _cross(a, b, 1.0) ** beta, generator))
    expect(not _takes_for_repulsion(score, lambda a, _, beta: _repulsion(a, 1.0), generator), "in the repulsion")


@score.requires(
    "cross term",
    "With lam = 0 the score is the mean of |pushed_j - noised_k|^beta over all pairs, |.| the Euclidean length of a "
    "vector. Yours is another number.",
)
def _(score: Score, generator: torch.Generator) -> None:
    for beta in (0.5, 1.0, 2.0):
        case = (*_clouds(generator, dim=3), beta)
        expect_close(score(*case, 0.0), _cross(*case), 1e-6, f"for beta = {beta:g} and lam = 0 the score")


@score.requires(
    "repulsion is subtracted",
    "The repulsion has the wrong sign. The loss must fall when pushed particles move apart; added, it rewards a cloud "
    "that shrinks to a point.",
)
def _(score: Score, generator: torch.Generator) -> None:
    expect(not _takes_for_repulsion(score, lambda a, _, beta: -_repulsion(a, beta), generator))


@score.requires(
    "whose pairs",
    "The repulsion is between the *pushed* particles. Pairs of noised ones do not depend on the weight: they would "
    "add a constant, and nothing would keep the pushed cloud from shrinking.",
)
def _(score: Score, generator: torch.Generator) -> None:
    expect(not _takes_for_repulsion(score, lambda _, b, beta: _repulsion(b, beta), generator))


@score.requires(
    "the half",
    "The repulsion has the factor lam/2. Twice as strong, it drives the particles apart further than the noised ones "
    "are, and the score is no longer least for equal laws.",
)
def _(score: Score, generator: torch.Generator) -> None:
    expect(not _takes_for_repulsion(score, lambda a, _, beta: 2 * _repulsion(a, beta), generator))
    expect(not _takes_for_repulsion(score, lambda a, _, beta: 1.6 * _repulsion(a, beta), generator))


@score.requires(
    "own pairs",
    "You divide by m^2, as if a particle and itself were a pair, too: m distances that are always 0. The repulsion "
    "then shrinks by the factor (m - 1)/m, so the score wants a cloud that is too narrow, the more the fewer the "
    "particles. Sum over j != k and divide by m (m - 1).",
)
def _(score: Score, generator: torch.Generator) -> None:
    expect(not _takes_for_repulsion(score, lambda a, _, beta: 0.8 * _repulsion(a, beta), generator))


@score.requires(
    "each pair twice",
    "You count each pair once, j < k, and divide by the number of all m (m - 1) ordered ones. The sum over j != k has "
    "(1, 2) and (2, 1).",
)
def _(score: Score, generator: torch.Generator) -> None:
    expect(not _takes_for_repulsion(score, lambda a, _, beta: 0.5 * _repulsion(a, beta), generator))


@score.requires(
    "the score",
    "Another number than (1/m^2) sum_jk |pushed_j - noised_k|^beta - lam / (2 m (m - 1)) sum_{j != k} "
    "|pushed_j - pushed_k|^beta, for other numbers of particles or another lam.",
)
def _(score: Score, generator: torch.Generator) -> None:
    for m, beta, lam in ((2, 1.0, 1.0), (7, 1.5, 0.3)):
        pushed, noised = _clouds(generator, m=m)
        expected = _cross(pushed, noised, beta) - lam * _repulsion(pushed, beta)
        expect_close(score(pushed, noised, beta, lam), expected, 1e-6, f"for m = {m} and lam = {lam} the score")


@score.requires(
    "gradient",
    "The gradient is not finite, and one step with it would turn the network's weights into NaN. A root, and "
    "a power below 1, have an infinite slope at 0, the distance of a particle to itself: times 0 that is NaN. Leave those "
    "pairs out before the root and the power, or use `torch.cdist`, whose gradient is 0 there.",
)
def _(score: Score, generator: torch.Generator) -> None:
    for beta in (0.5, 1.0, 1.5):
        pushed, noised = _clouds(generator)
        pushed.requires_grad_()
        value = score(pushed, noised, beta, 1.0)
        expect(value.requires_grad, "no gradient reaches the pushed particles")
        (slope,) = torch.autograd.grad(value, pushed)
        expect(slope.isfinite().all() and slope.abs().max() > 0, f"for beta = {beta:g}")


# 03.5 Break it: one noise for both

BEST = "best_constant(x0, x_c, x_u, noise_s, noise_t, s, t)"
INDEPENDENT = "independent(s, t)"


class Broken:
    """The student's minimiser of the plain square, and their formula for an exact model."""

    def __init__(self, best: StudentFunction, independent: StudentFunction) -> None:
        self._best, self._independent = best, independent

    def best(self, *case: object) -> float:
        return read_number(self._best(*case), BEST)

    def independent(self, s: float, t: float) -> float:
        return read_number(self._independent(s, t), INDEPENDENT)

    def follows(self, formula: Callable[..., float], cases: list[tuple]) -> bool:
        return all(abs(self.best(*case) - formula(*case)) < 1e-5 for case in cases)

    def always(self, formula: Callable[[float, float], float]) -> bool:
        return all(abs(self.independent(*pair) - formula(*pair)) < 1e-4 * max(1, formula(*pair)) for pair in PAIRS)


PAIRS = ((0.4, 0.6), (0.2, 0.5), (0.55, 0.7), (0.1, 0.8), (0.6, 0.95))


@exercise(
    "03.5",
    "Break it: one noise for both",
    difficulty=4,
    minutes=20,
    equation="eq. (19) to (22) at β = 2, λ = 0",
    takeaway="A plain square asks for a weight of 0 with one noise, whatever the law does, and for s (1 - t) / (t - s) with two, even of an exact model: without limit as steps become short. Only a score of laws needs two noises and can use them.",
)
def broken(answer: object) -> Broken:
    parts = read_parts(answer, ("best_constant", "independent"))
    return Broken(read_function(parts["best_constant"], BEST), read_function(parts["independent"], INDEPENDENT))


def stein_weight(s: float, t: float) -> float:
    """The weight that the plain square with independent noises asks of an exact model."""
    return s * (1 - t) / (t - s)


def best_constant(x0: Tensor, x_c: Tensor, x_u: Tensor, noise_s: Tensor, noise_t: Tensor, s: float, t: float) -> float:
    """The minimiser of mean |pushed - noised|^2 over one weight for all rows."""
    clean = 1 - s - (1 - t) * s / t
    error = (1 - s) * x0 + s * noise_s - s / t * ((1 - t) * x0 + t * noise_t) - clean * x_c
    moved = clean * (x_c - x_u)
    return ((error * moved).sum() / moved.square().sum()).item()


def _cases(generator: torch.Generator, shared: bool) -> list[tuple]:
    """Made-up points, predictions, noises and times."""
    cases = []
    for s, t in PAIRS[:3]:
        x0, x_c, d, noise_s, noise_t = (normal(generator, 30, 2) for _ in range(5))
        noise_s = noise_s + 0.5 * d  # so that every wrong use of a noise shows
        cases.append((x0, x0 + 0.5 * x_c, x0 + 0.5 * x_c - d, noise_t if shared else noise_s, noise_t, s, t))
    return cases


def _clean(s: float, t: float) -> float:
    return 1 - s - (1 - t) * s / t


@broken.requires(
    "what a step moves",
    "A weight w moves the prediction by w d, but the pushed particle only by c w d, where c = 1 - s - (1 - t) s/t is "
    "the weight of the prediction in the step. Your minimiser is c times the right one.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    expect(not broken.follows(lambda *case: _clean(*case[5:]) * best_constant(*case), _cases(generator, True)))
    expect(not broken.follows(lambda *case: _clean(*case[5:]) * best_constant(*case), _cases(generator, False)))


@broken.requires(
    "sign",
    "The sign is turned. The residual is x_s minus the pushed particle at w = 0, and a weight adds c w (x_c - x_u) to "
    "that particle.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    expect(not broken.follows(lambda *case: -best_constant(*case), _cases(generator, True)))


@broken.requires(
    "one noise is a regression",
    "With noise_s = noise_t the old noise cancels: x_s - pushed = c (x0 - x_c - w d), and what is left is the "
    "regression of 03.1. Check the step: (s/t) x_t + c times the guided prediction.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    for case in _cases(generator, True):
        x0, x_c, x_u = case[:3]
        expected = ((x0 - x_c) * (x_c - x_u)).sum() / (x_c - x_u).square().sum()
        expect_close(broken.best(*case), expected, 1e-6, "with one noise the weight")


@broken.requires(
    "noise of its own",
    "You use one noise for both points, whatever is given: x_s = (1 - s) x0 + s noise_s and "
    "x_t = (1 - t) x0 + t noise_t. That is the bug which this exercise is about.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    cases = _cases(generator, False)
    expect(not broken.follows(lambda *case: best_constant(*case[:3], case[4], case[4], *case[5:]), cases))
    expect(not broken.follows(lambda *case: best_constant(*case[:3], case[3], case[3], *case[5:]), cases))


@broken.requires(
    "whose noise",
    "You have the noises the wrong way round: noise_t made the point x_t, from which the step starts, and noise_s the "
    "point to compare with.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    cases = _cases(generator, False)
    expect(not broken.follows(lambda *case: best_constant(*case[:3], case[4], case[3], *case[5:]), cases))


@broken.requires(
    "least square",
    "Another weight than yours makes the mean of |x_s - pushed|^2 smaller. It is a parabola in w: with the residual r "
    "at w = 0, its lowest point is sum <r, c d> / sum |c d|^2.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    for case in _cases(generator, False):
        expect_close(broken.best(*case), best_constant(*case), 1e-6, f"for s = {case[5]} and t = {case[6]} the weight")


@broken.requires(
    "not 0",
    "0 is what one shared noise asks of an exact model. With two, r holds -s noise_t, and noise_t and d are "
    "correlated, because d depends on x_t, which holds that noise.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    expect(not broken.always(lambda s, t: 0.0))


@broken.requires(
    "too much",
    "The plain square over-guides: the weight is positive. The unconditional prediction follows x_t more than the "
    "conditional one, so the divergence of d is negative, and r has a minus before s noise_t.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    signs = [broken.independent(*pair) > 0 for pair in PAIRS]
    expect(all(signs), f"for s = 0.4, t = 0.6 you say {broken.independent(0.4, 0.6):.3g}")


@broken.requires(
    "short steps",
    "As t - s becomes small a step moves less and less, but the noises differ as much as ever. So the weight that "
    "the square asks for grows without limit, like 1/(t - s). Yours does not: is there a 1/c in it?",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    near, nearer = (broken.independent(0.5, 0.5 + gap) for gap in (1e-3, 1e-4))
    expect(nearer > 5 * near, f"from t - s = 0.001 to 0.0001 it goes from {near:.3g} to {nearer:.3g}")


@broken.requires(
    "the experiment",
    "Your formula does not agree with the least square of an exact model. Stein: E<noise_t, d> = t E[div d], "
    "with div d = (1 - t)/t^2 times the trace of Cov_c - Cov_u, whose mean is -E|d|^2.",
)
def _(broken: Broken, generator: torch.Generator) -> None:
    for s, t in [*PAIRS, (uniform(generator, 0.1, 0.4), uniform(generator, 0.5, 0.9))]:
        expect_close(broken.independent(s, t), stein_weight(s, t), 5e-3, f"for s = {s:.2f}, t = {t:.2f} the weight")

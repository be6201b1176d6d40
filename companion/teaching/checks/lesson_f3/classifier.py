"""Exercise f3.2: the guided prediction from a classifier of noisy points."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.foundations.conditional import LabelledMixture
from companion.foundations.diffusion import alpha, sigma
from companion.methods.rivals.classifier_guidance import class_gradient
from companion.teaching.checks.answers import (
    DOUBLE,
    StudentFunction,
    expect,
    expect_close,
    expect_tensor,
    normal,
    read_function,
    uniform,
)
from companion.teaching.checks.framework import exercise

SIGNATURE = "guided(x0, log_probs, x, t, labels, weight)"
Case = tuple[LabelledMixture, Tensor, float, Tensor, float]


@exercise(
    "f3.2",
    "Guide by a classifier",
    difficulty=3,
    minutes=15,
    equation="Dhariwal and Nichol (2021), section 4.2",
    takeaway="One gradient of one classifier does what the difference of two predictions does: with exact models both guided predictions are equal, for every weight.",
)
def guide_by_classifier(answer: object) -> StudentFunction:
    return read_function(answer, SIGNATURE)


def _cases(generator: torch.Generator, weights: tuple[float, ...] = (0.7, 2.0)) -> list[Case]:
    """Random mixtures of three classes, noisy points, a time, labels and a weight."""
    cases = []
    for weight in weights:
        law = LabelledMixture(1.5 * normal(generator, 6, 2), torch.full((6,), 0.4, dtype=DOUBLE), torch.arange(6) % 3)
        labels = torch.randint(3, (8,), generator=generator)
        cases.append((law, normal(generator, 8, 2), uniform(generator, 0.25, 0.75), labels, weight))
    return cases


def call(guided: Callable, case: Case) -> Tensor:
    """The student's guided prediction for a case, from the prediction for all data."""
    law, x, t, labels, weight = case
    x0 = law.unconditional(x, t)
    return expect_tensor(guided(x0, law.class_log_probs, x, t, labels, weight), (8, 2), DOUBLE, "the guided prediction")


def _push(case: Case) -> Tensor:
    law, x, t, labels, _ = case
    return class_gradient(law.class_log_probs, x, t, labels)


def _always(guided: Callable, factor: Callable[[float, float], float], generator: torch.Generator) -> bool:
    """Whether the prediction moves by `factor(t, weight)` times the right gradient, in each case."""
    for case in _cases(generator):
        law, x, t, _, weight = case
        expected = law.unconditional(x, t) + factor(t, weight) * _push(case)
        if not torch.allclose(call(guided, case).detach(), expected, atol=1e-7):
            return False
    return True


def _scale(t: float) -> float:
    return sigma(t) ** 2 / alpha(t)


@guide_by_classifier.requires(
    "a prediction",
    "Return guided predictions of the clean points, a tensor of the shape and dtype of x0: the prediction for all data, "
    "moved by the classifier. The gradient alone is no point.",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    call(guided, _cases(generator)[0])
    expect(not _always(lambda *a: a[0] + guided(*a), lambda t, w: (1 + w) * _scale(t), generator), "x0 is missing")


@guide_by_classifier.requires(
    "all data at weight -1",
    "At weight -1 the classifier's gradient has the factor 1 + w = 0, and the prediction for all data must come back "
    "unchanged.",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    expect(not _always(guided, lambda t, w: w * _scale(t), generator), "the factor is w, not 1 + w")
    for case in _cases(generator, (-1.0,)):
        expect_close(call(guided, case), case[0].unconditional(case[1], case[2]), 1e-6, "the prediction")


@guide_by_classifier.requires(
    "sign",
    "The sign is turned: samples would flee from their class. The score, and so the prediction, moves *up* log p(c|x).",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    expect(not _always(guided, lambda t, w: -(1 + w) * _scale(t), generator))


@guide_by_classifier.requires(
    "from score to point",
    "The gradient belongs to the score. A clean point is (x + sigma^2 score) / alpha, so what is added to the score "
    "moves the point by sigma^2 / alpha times as much, with sigma = t and alpha = 1 - t.",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    factors = {
        "1": lambda t: 1.0,
        "sigma": sigma,
        "sigma / alpha": lambda t: sigma(t) / alpha(t),
        "sigma^2": lambda t: sigma(t) ** 2,
        "alpha sigma^2": lambda t: sigma(t) ** 2 * alpha(t),
        "sigma^2 / alpha^2": lambda t: sigma(t) ** 2 / alpha(t) ** 2,
    }
    for name, factor in factors.items():
        wrong = _always(guided, lambda t, w, factor=factor: (1 + w) * factor(t), generator)
        expect(not wrong, f"your factor is {name}")


@guide_by_classifier.requires(
    "each row alone",
    "The gradient of one row must not depend on how many rows there are. Sum the rows' log probabilities before you "
    "differentiate: a mean divides every gradient by the number of rows.",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    for law, x, t, labels, weight in _cases(generator):
        x0 = law.unconditional(x, t)
        together = guided(x0, law.class_log_probs, x, t, labels, weight)
        alone = guided(x0[:1], law.class_log_probs, x[:1], t, labels[:1], weight)
        expect_close(together[:1], alone, 1e-6, "the first row, beside others,")


@guide_by_classifier.requires(
    "its own label",
    "Each row asks for the class in `labels`. Choose that column of the log probabilities, row by row; not the likeliest "
    "class, not one class for all, and not their sum.",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    for law, x, t, labels, weight in _cases(generator):
        x0, others = law.unconditional(x, t), (labels + 1) % 3
        changed = (guided(x0, law.class_log_probs, x, t, wanted, weight) for wanted in (labels, others))
        first, second = changed
        expect((first - second).abs().amax(1).min() > 1e-6, "with other labels some row stays as it was")


@guide_by_classifier.requires(
    "of the logarithm",
    "Differentiate the *logarithm* of the class's probability, which is what `log_probs` gives. The gradient of the "
    "probability itself vanishes where the classifier is sure of another class, just where a push is needed.",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    for case in _cases(generator):
        law, x, t, labels, weight = case
        chance = law.class_log_probs(x, t).gather(1, labels[:, None]).exp()
        wrong = law.unconditional(x, t) + (1 + weight) * _scale(t) * chance * _push(case)
        expect(not torch.allclose(call(guided, case).detach(), wrong, atol=1e-7))


@guide_by_classifier.requires(
    "Bayes' rule",
    "With exact models the result must be the classifier-free one, x_c + w (x_c - x_u), for every weight; at weight 0 "
    "that is the class's own prediction x_c.",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    for case in _cases(generator, (0.0, 1.0, 3.0)):
        law, x, t, labels, weight = case
        x_c, x_u = law.conditional(x, t, labels), law.unconditional(x, t)
        expect_close(call(guided, case), x_c + weight * (x_c - x_u), 1e-6, f"for weight {weight:g} the prediction")


@guide_by_classifier.requires(
    "no graph left",
    "The result still carries the graph of the classifier's gradient. A sampler takes hundreds of steps, and memory "
    "would grow with each: differentiate with respect to `x.detach().requires_grad_()` and return plain numbers.",
)
def _(guided: StudentFunction, generator: torch.Generator) -> None:
    expect(not call(guided, _cases(generator)[0]).requires_grad)

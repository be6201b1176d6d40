"""Every check of foundation f3 lets the solution pass, and each of its properties catches a wrong answer that people give."""

from fractions import Fraction

import pytest
import torch

from companion.foundations.conditional import LabelledMixture
from companion.methods.rivals.classifier_guidance import class_gradient
from companion.teaching.checks import check
from companion.teaching.checks.lesson_f3.boxes import both_orders, fractions

# f3.1

FIRST, SECOND = both_orders()


def boxes(first=FIRST, second=SECOND):
    return fractions((first, second))


# f3.2


def moved(factor, gradient=class_gradient):
    """A guided prediction with one mistake in its factor, or in its gradient."""

    def guided(x0, log_probs, x, t, labels, weight):
        return x0 + factor(t, weight) * gradient(log_probs, x, t, labels)

    return guided


def scale(t, weight):
    return (1 + weight) * t**2 / (1 - t)


right = moved(scale)


def gradient_of(value):
    """The gradient of any number made of the log probabilities and the labels."""

    def gradient(log_probs, x, t, labels):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(value(log_probs(x, t), labels), x)[0]

    return gradient


def own(logs, labels):
    return logs.gather(1, labels[:, None])


def gradient_with_its_graph(log_probs, x, t, labels):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(own(log_probs(x, t), labels).sum(), x, create_graph=True)[0]


def gradient_alone(x0, log_probs, x, t, labels, weight):
    return scale(t, weight) * class_gradient(log_probs, x, t, labels)


def guided_in_numpy(*case):
    return right(*case).numpy()


def guided_flat(*case):
    return right(*case).flatten()


def guided_in_place(x0, log_probs, x, t, labels, weight):
    x0 += scale(t, weight) * class_gradient(log_probs, x, t, labels)
    return x0


def guided_by_finite_differences(x0, log_probs, x, t, labels, weight):
    """Right, slowly: central differences, axis by axis."""
    steps = 1e-5 * torch.eye(x.shape[1], dtype=x.dtype)
    slopes = [own(log_probs(x + e, t), labels) - own(log_probs(x - e, t), labels) for e in steps]
    return x0 + scale(t, weight) * torch.cat(slopes, dim=1) / 2e-5


def guided_row_by_row(x0, log_probs, x, t, labels, weight):
    rows = [right(x0[i : i + 1], log_probs, x[i : i + 1], t, labels[i : i + 1], weight) for i in range(len(x))]
    return torch.cat(rows)


WRONG = [
    ("f3.1", "no weight", boxes(7 / 12, 7 / 12), "they differ"),
    ("f3.1", "the order does not matter", boxes(FIRST, FIRST), "they differ"),
    ("f3.1", "swapped", boxes(SECOND, FIRST), "which is which"),
    ("f3.1", "per cent", boxes(68.3, 74.2), "a share"),
    ("f3.1", "squared over p(x), not normalised", boxes(SECOND, (7 / 12) ** 2 * 3), "a share"),
    ("f3.1", "w = 2", boxes(*both_orders(2.0)), "the power"),
    ("f3.1", "first power, then noised", boxes(first=7 / 12), "the power"),
    ("f3.1", "not normalised before the noise", boxes(first=0.75 / 3 + 0.25 * (1 / 3 + 1 / 12) / 3), "normalised"),
    ("f3.1", "not normalised after the square", boxes(second=(7 / 8) ** 2), "normalised"),
    ("f3.1", "squared class, not normalised", boxes(second=(7 / 12) ** 2), "normalised"),
    ("f3.1", "no noise", boxes(first=0.8), "noise last"),
    ("f3.1", "only those that stay", boxes(first=0.6), "noise last"),
    ("f3.1", "the classifier of clean points", boxes(second=7 / 9), "noise everywhere"),
    ("f3.1", "nothing noised", boxes(second=0.8), "noise everywhere"),
    ("f3.1", "a guess", boxes(first=0.7), "first order"),
    ("f3.1", "two digits", boxes(second=0.73), "second order"),
    ("f3.1", "a pair", (FIRST, SECOND), "type"),
    ("f3.1", "a word", boxes(second="larger"), "type"),
    ("f3.2", "the gradient alone", gradient_alone, "a prediction"),
    ("f3.2", "numpy", guided_in_numpy, "a prediction"),
    ("f3.2", "flattened", guided_flat, "a prediction"),
    ("f3.2", "w for 1 + w", moved(lambda t, w: w * t**2 / (1 - t)), "all data at weight -1"),
    ("f3.2", "2 + w for 1 + w", moved(lambda t, w: (2 + w) * t**2 / (1 - t)), "all data at weight -1"),
    ("f3.2", "the sign", moved(lambda t, w: -scale(t, w)), "sign"),
    ("f3.2", "a score for a point", moved(lambda t, w: 1 + w), "from score to point"),
    ("f3.2", "sigma for its square", moved(lambda t, w: scale(t, w) / t), "from score to point"),
    ("f3.2", "alpha forgotten", moved(lambda t, w: (1 + w) * t**2), "from score to point"),
    ("f3.2", "alpha multiplied", moved(lambda t, w: (1 + w) * t**2 * (1 - t)), "from score to point"),
    ("f3.2", "the mean over rows", moved(scale, gradient_of(lambda logs, y: own(logs, y).mean())), "each row alone"),
    ("f3.2", "the likeliest class", moved(scale, gradient_of(lambda logs, y: logs.amax(1).sum())), "its own label"),
    ("f3.2", "class 0", moved(scale, gradient_of(lambda logs, y: logs[:, 0].sum())), "its own label"),
    ("f3.2", "every class", moved(scale, gradient_of(lambda logs, y: logs.sum())), "its own label"),
    (
        "f3.2",
        "the column of every label",
        moved(scale, gradient_of(lambda logs, y: logs[:, y].sum())),
        "each row alone",
    ),
    (
        "f3.2",
        "the probability",
        moved(scale, gradient_of(lambda logs, y: own(logs, y).exp().sum())),
        "of the logarithm",
    ),
    ("f3.2", "a tenth too much", moved(lambda t, w: 1.1 * scale(t, w)), "Bayes' rule"),
    ("f3.2", "the weight clamped", moved(lambda t, w: scale(t, min(w, 2.0))), "Bayes' rule"),
    ("f3.2", "the graph", moved(scale, gradient_with_its_graph), "no graph left"),
    ("f3.2", "in place", guided_in_place, "inputs untouched"),
    ("f3.2", "a number", 0.5, "type"),
]


RIGHT = [
    ("f3.1", boxes(Fraction(41, 60), Fraction(49, 66))),
    ("f3.1", boxes(0.683, 0.742)),
    ("f3.1", boxes(torch.tensor(FIRST), torch.tensor([SECOND]))),
    ("f3.2", right),
    ("f3.2", guided_by_finite_differences),
    ("f3.2", guided_row_by_row),
]


def test_the_boxes_by_counting():
    """Every way a point can go, enumerated in fractions."""
    certainty = (Fraction(1), Fraction(1, 2), Fraction(0))
    stay, move = Fraction(3, 4), Fraction(1, 12)

    def noise(table):
        return [stay * table[box] + move * sum(table) for box in range(3)]

    squares = [value**2 for value in certainty]
    sharp = [value / sum(squares) for value in squares]
    noisy = [value**2 for value in noise(certainty)]
    assert noise(sharp)[0] == Fraction(41, 60)
    assert noisy[0] / sum(noisy) == Fraction(49, 66)
    assert both_orders() == pytest.approx((41 / 60, 49 / 66))


def test_a_prediction_right_for_one_law_alone_does_not_pass():
    one = LabelledMixture(torch.randn(4, 2).double(), torch.ones(4).double(), torch.arange(4) % 3)
    verdict = check("f3.2", lambda x0, log_probs, x, t, labels, w: right(x0, one.class_log_probs, x, t, labels, w))
    assert verdict.status == "not yet"

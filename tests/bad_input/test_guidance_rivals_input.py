"""The rivals of learned guidance refuse bad input with one sentence: argument, what came, what is allowed.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import pytest
import torch

from companion.data.labelled import four_classes
from companion.foundations.diffusion import time_grid
from companion.methods.rivals.adaptive_guidance import sample_adaptive
from companion.methods.rivals.classifier_guidance import TimeClassifier, sample_classifier_guided, train_classifier
from companion.methods.rivals.density_ratio import DensityRatio, train_density_ratio
from companion.methods.rivals.feedback_guidance import sample_feedback
from companion.methods.rivals.guidance_resampling import sample_resampled
from companion.methods.rivals.predictor_corrector import sample_predictor_corrector
from tests.bad_input.sentences import assert_refused

LAW, GRID = four_classes(), time_grid(5)
X, LABELS = torch.zeros(4, 2), torch.arange(4)
IMAGES = torch.zeros(4, 1, 8, 8)


def judge(x, t, labels):
    return x[:, 0]


def first_row(x, t, *labels):
    """An answer for one point only, whatever came."""
    return x[:1]


def by_classifier(
    weight=1.0, conditional=LAW.conditional, log_probs=LAW.class_log_probs, labels=LABELS, x=X, times=GRID, **options
):
    return sample_classifier_guided(conditional, log_probs, weight, labels, x, times, **options)


def adaptive(
    weight=1.0, conditional=LAW.conditional, unconditional=LAW.unconditional, labels=LABELS, x=X, times=GRID, **options
):
    return sample_adaptive(conditional, unconditional, weight, labels, x, times, **options)


def by_feedback(
    candidates=(0, 1),
    conditional=LAW.conditional,
    unconditional=LAW.unconditional,
    feedback=judge,
    labels=LABELS,
    x=X,
    times=GRID,
    **options,
):
    return sample_feedback(conditional, unconditional, feedback, candidates, labels, x, times, **options)


def resampled(conditional=LAW.conditional, log_ratio=judge, labels=LABELS, x=X, times=GRID, **options):
    return sample_resampled(conditional, log_ratio, labels, x, times, **options)


def corrected(
    weight=1.0, conditional=LAW.conditional, unconditional=LAW.unconditional, labels=LABELS, x=X, times=GRID, **options
):
    return sample_predictor_corrector(conditional, unconditional, weight, labels, x, times, **options)


def classifier(data=X, labels=LABELS, steps=3, **options):
    return train_classifier(data, labels, steps, **options)


def discriminator(data=X, data_labels=LABELS, samples=X, sample_labels=LABELS, steps=3, **options):
    return train_density_ratio(data, data_labels, samples, sample_labels, steps, **options)


SAMPLERS = {
    "classifier": by_classifier,
    "adaptive": adaptive,
    "feedback": by_feedback,
    "resampled": resampled,
    "corrected": corrected,
}

# what every sampler refuses: options of the call, the error, the argument that the sentence names, what came, what may
SHARED = {
    "no conditional model": ({"conditional": None}, TypeError, "conditional", "NoneType", "(x, t, labels) -> x0"),
    "whole numbers for points": ({"x": X.long()}, TypeError, "x", "int64", "floating"),
    "no points": ({"x": X[:0]}, ValueError, "x", "(0, 2)", "n >= 1"),
    "a row of points": ({"x": X[0]}, ValueError, "x", "(2,)", "(n, d)"),
    "labels that are floats": ({"labels": LABELS.float()}, TypeError, "labels", "float32", "whole numbers"),
    "a label too few": ({"labels": LABELS[:3]}, ValueError, "labels", "(3,)", "one label for each row"),
    "rising times": ({"times": GRID.flip(0)}, ValueError, "times", "0.2", "strictly falling"),
    "one time": ({"times": GRID[:1]}, ValueError, "times", "(1,)", "at least two times"),
    "churn 1.5": ({"churn": 1.5}, ValueError, "churn", "1.5", "DDPM"),
    "churn 'full'": ({"churn": "full"}, TypeError, "churn", "'full'", "DDPM"),
}  # fmt: skip

CASES = {
    # classifier guidance
    "no classifier": (lambda: by_classifier(log_probs=None), TypeError, "log_probs", "NoneType", "(x, t) -> (n, classes)"),
    "a weight without end": (lambda: by_classifier(float("inf")), ValueError, "weight", "inf", "(-inf, inf)"),
    "a weight for each row": (lambda: by_classifier(torch.ones(4)), TypeError, "weight", "tensor", "a number"),
    "data of no class": (lambda: classifier(labels=LABELS + 1), ValueError, "labels", "[1, 2, 3, 4]", "each class with a point"),
    "images and no classifier": (lambda: classifier(IMAGES), ValueError, "data", "(4, 1, 8, 8)", "come with a classifier"),
    "no data": (lambda: classifier(X[:0], LABELS[:0]), ValueError, "data", "(0, 2)", "n >= 1"),
    "an empty batch": (lambda: classifier(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "no updates": (lambda: classifier(steps=0), ValueError, "steps", "0", "at least 1"),
    "a classifier of no class": (lambda: TimeClassifier(2, 0), ValueError, "outputs", "0", "at least 1"),
    "points of three numbers": (lambda: TimeClassifier(2, 4)(torch.zeros(4, 3), 0.5), ValueError, "x", "(4, 3)", "(n, 2)"),
    # adaptive guidance
    "no unconditional model": (lambda: adaptive(unconditional=0), TypeError, "unconditional", "int", "(x, t) -> x0"),
    "an interval for a weight": (lambda: adaptive((1, 0.2, 0.8)), TypeError, "weight", "(1, 0.2, 0.8)", "a number"),
    "a threshold that is none": (lambda: adaptive(threshold=float("nan")), ValueError, "threshold", "nan", "(-inf, inf)"),
    # feedback
    "no judge": (lambda: by_feedback(feedback=None), TypeError, "feedback", "NoneType", "(x, s, labels) -> (n,)"),
    "feedback without unconditional": (lambda: by_feedback(unconditional=None), TypeError, "unconditional", "NoneType", "(x, t)"),
    "no candidates": (lambda: by_feedback(()), ValueError, "candidates", "empty", "one weight or more"),
    "one candidate, not in a row": (lambda: by_feedback(1.0), TypeError, "candidates", "float", "weights in a row"),
    "a candidate that is none": (lambda: by_feedback((0, None)), TypeError, "a candidate", "None", "a number"),
    # resampling
    "no ratio": (lambda: resampled(log_ratio=1.0), TypeError, "log_ratio", "float", "(x, t, labels) -> (n,)"),
    # the discriminator
    "samples that are images": (lambda: discriminator(samples=IMAGES), ValueError, "samples", "(4, 1, 8, 8)", "like data"),
    "samples of another precision": (lambda: discriminator(samples=X.double()), TypeError, "samples", "float64", "float32"),
    "a class without data": (lambda: discriminator(data_labels=torch.tensor([0, 0, 2, 3])), ValueError, "data_labels", "[0, 2, 3]", "each class with a point"),
    "a class without samples": (lambda: discriminator(sample_labels=LABELS // 2), ValueError, "sample_labels", "[0, 1]", "[0, 1, 2, 3]"),
    "a sample without a label": (lambda: discriminator(sample_labels=LABELS[:3]), ValueError, "sample_labels", "(3,)", "(4,)"),
    "an empty batch of both": (lambda: discriminator(batch_size=0), ValueError, "batch_size", "0", "at least 1"),
    "images and no discriminator": (lambda: discriminator(IMAGES, samples=IMAGES), ValueError, "data", "(4, 1, 8, 8)", "come with a network"),
    "a discriminator of no class": (lambda: DensityRatio(2, 0), ValueError, "num_classes", "0", "at least 1"),
    "a class that it does not know": (lambda: DensityRatio(2, 3)(X, 0.5, LABELS), ValueError, "labels", "outside", "from 0 to 2"),
    "flat images for the discriminator": (lambda: DensityRatio(2, 4)(torch.zeros(4, 3), 0.5, LABELS), ValueError, "x", "(4, 3)", "(n, 2)"),
    # predictor and corrector
    "a corrector without unconditional": (lambda: corrected(unconditional=None), TypeError, "unconditional", "NoneType", "(x, t)"),
    "a weight that is a word": (lambda: corrected("much"), TypeError, "weight", "'much'", "a number"),
    "minus one correction": (lambda: corrected(corrections=-1), ValueError, "corrections", "-1", "at least 0"),
    "half a correction": (lambda: corrected(corrections=0.5), TypeError, "corrections", "0.5", "a whole number"),
    "a step of nothing": (lambda: corrected(step=0), ValueError, "step", "0", "(0, 1], or None"),
    "a step too far": (lambda: corrected(step=1.5), ValueError, "step", "1.5", "(0, 1], or None"),
}  # fmt: skip

# what is only seen on the way
WALKS = {
    "a classifier of rows": (lambda: by_classifier(log_probs=lambda x, t: x[:, 0]), "log_probs(x, t)", "(4,)", "(4, classes)"),
    "a class that the classifier does not know": (lambda: by_classifier(labels=LABELS + 1), "labels", "outside", "from 0 to 3"),
    "a label below 0": (lambda: by_classifier(labels=LABELS - 1), "labels", "outside", "from 0 to 3"),
    "one answer for all, with a classifier": (lambda: by_classifier(conditional=first_row), "conditional(x, t, labels)", "(1, 2)", "(4, 2)"),
    "one answer for all, adaptive": (lambda: adaptive(conditional=first_row), "conditional(x, t, labels)", "(1, 2)", "(4, 2)"),
    "one unconditional answer, adaptive": (lambda: adaptive(unconditional=first_row), "unconditional(x, t)", "(1, 2)", "(4, 2)"),
    "one answer for all, with feedback": (lambda: by_feedback(conditional=first_row), "conditional(x, t, labels)", "(1, 2)", "(4, 2)"),
    "a judge of one": (lambda: by_feedback(feedback=lambda x, s, labels: x[:1, 0]), "feedback(x, s, labels)", "(1,)", "(8,)"),
    "one answer for all, resampled": (lambda: resampled(first_row), "conditional(x, t, labels)", "(1, 2)", "(4, 2)"),
    "a ratio for each number": (lambda: resampled(log_ratio=lambda x, t, labels: x), "log_ratio(x, t, labels)", "(4, 2)", "(4,)"),
    "one answer for all, corrected": (lambda: corrected(conditional=first_row), "conditional(x, t, labels)", "(1, 2)", "(4, 2)"),
    "one unconditional answer, corrected": (lambda: corrected(unconditional=first_row), "x_c", "(4, 2)", "(1, 2) like x_u"),
}  # fmt: skip


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("case", SHARED)
def test_every_sampler_refuses_it_at_the_call(sampler, case):
    options, error, *sentence = SHARED[case]
    assert_refused(lambda: SAMPLERS[sampler](**options), error, *sentence)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_at_the_call(case):
    call, error, *sentence = CASES[case]
    assert_refused(call, error, *sentence)


@pytest.mark.parametrize("case", WALKS)
def test_a_wrong_answer_is_refused_while_it_walks(case):
    call, *sentence = WALKS[case]
    states = call()
    assert_refused(lambda: list(states), ValueError, *sentence)

"""The rivals of learned guidance against answers that are known exactly."""

import math
from itertools import pairwise

import pytest
import torch
from agree import last, seeded
from hypothesis import given
from hypothesis import strategies as st

from companion.data.labelled import LONG_TAIL, four_classes
from companion.foundations.conditional import LabelledMixture
from companion.foundations.diffusion import add_noise, alpha, bridge, sample, sigma, time_grid
from companion.foundations.distances import energy_distance
from companion.methods.guidance import guide, sample_guided
from companion.methods.rivals.adaptive_guidance import agreement, sample_adaptive
from companion.methods.rivals.classifier_guidance import (
    CLOSEST,
    TimeClassifier,
    class_gradient,
    sample_classifier_guided,
    train_classifier,
)
from companion.methods.rivals.density_ratio import DensityRatio, train_density_ratio
from companion.methods.rivals.feedback_guidance import sample_feedback
from companion.methods.rivals.guidance_resampling import sample_resampled, systematic
from companion.methods.rivals.predictor_corrector import sample_predictor_corrector

LAW = four_classes(frequencies=LONG_TAIL).to(torch.float64)
MODEL = LAW.conditional, LAW.unconditional
LABELS = torch.arange(4).repeat(50)
GRID = time_grid(20)
LATE = time_grid(20, start=0.98)


def start(labels=LABELS, dtype=torch.float64, dim=2, seed=0):
    return torch.randn(len(labels), dim, generator=seeded(seed), dtype=dtype)


def no_class(x, t, labels):
    """The unconditional answers, asked as a conditional model is."""
    return LAW.unconditional(x, t)


def two_normals(mean=1.0, std=0.5, other=1.5):
    """A class N(mean, std^2) for every row and an unconditional law N(0, other^2), in one dimension, both exact."""

    def expect(x, t, mean, std):
        gain = alpha(t) * std**2 / (alpha(t) ** 2 * std**2 + sigma(t) ** 2)
        return mean + gain * (x - alpha(t) * mean)

    return lambda x, t, labels: expect(x, t, mean, std), lambda x, t: expect(x, t, 0.0, other)


class Count:
    """A callable that counts the rows it is asked about, and the calls."""

    def __init__(self, inner):
        self.inner, self.rows, self.calls, self.grad = inner, 0, 0, False

    def __call__(self, x, *more):
        self.rows, self.calls, self.grad = self.rows + len(x), self.calls + 1, self.grad or torch.is_grad_enabled()
        return self.inner(x, *more)


# Classifier guidance


@pytest.mark.parametrize("churn", [0.0, 0.6])
def test_a_perfect_classifier_of_weight_1_turns_the_unconditional_model_into_the_conditional_one(churn):
    guided = sample_classifier_guided(no_class, LAW.class_log_probs, 1.0, LABELS, start(), LATE, churn, seeded(1))
    wanted = sample(lambda x, t: LAW.conditional(x, t, LABELS), start(), LATE, churn, seeded(1))
    for state, exact in zip(guided, wanted, strict=True):
        torch.testing.assert_close(state, exact)


def test_from_pure_noise_on_it_is_the_conditional_model_nearly():
    """At t = 1 the classifier is asked at 1 - CLOSEST: 0/0 there, and leaving it out would lose the first step."""
    guided = sample_classifier_guided(no_class, LAW.class_log_probs, 1.0, LABELS, start(), GRID)
    exact = list(sample(lambda x, t: LAW.conditional(x, t, LABELS), start(), GRID))
    without = list(sample(LAW.unconditional, start(), GRID))
    _, first, *_, final = guided
    assert (first - exact[1]).abs().max() < CLOSEST < 10 * CLOSEST < (without[1] - exact[1]).norm(dim=1).min()
    assert (final - exact[-1]).abs().max() < 0.01


def test_on_a_conditional_model_a_perfect_classifier_does_what_classifier_free_guidance_does():
    by_classifier = sample_classifier_guided(LAW.conditional, LAW.class_log_probs, 0.7, LABELS, start(), LATE)
    torch.testing.assert_close(last(by_classifier), last(sample_guided(*MODEL, 0.7, LABELS, start(), LATE)))


def test_a_weight_of_0_leaves_the_model_alone():
    guided = sample_classifier_guided(LAW.conditional, LAW.class_log_probs, 0, LABELS, start(), GRID, 1.0, seeded(1))
    assert torch.equal(last(guided), last(sample_guided(*MODEL, 0, LABELS, start(), GRID, 1.0, seeded(1))))


def test_the_gradient_is_the_difference_of_the_scores():
    x = start()
    scores = torch.stack([LAW.given(label).score(x[i : i + 1], 0.4)[0] for i, label in enumerate(LABELS.tolist())])
    torch.testing.assert_close(class_gradient(LAW.class_log_probs, x, 0.4, LABELS), scores - LAW.score(x, 0.4))


def test_a_classifier_of_points_says_the_same_of_all_pure_noise_and_its_gradient_falls_with_alpha():
    torch.manual_seed(0)
    classifier = TimeClassifier(2, 4).double()
    answers = classifier(10 * start(), 1.0)
    torch.testing.assert_close(answers, answers[:1].expand_as(answers))
    torch.testing.assert_close(answers.exp().sum(1), torch.ones(len(LABELS), dtype=torch.float64))
    slopes = [
        (class_gradient(classifier, start(), t, LABELS) / (1 - t)).norm(dim=1).mean() for t in (0.99, 0.999, 0.9999)
    ]
    torch.testing.assert_close(slopes[1], slopes[2], rtol=0.05, atol=0)
    torch.testing.assert_close(slopes[0], slopes[2], rtol=0.2, atol=0)


def test_a_trained_classifier_approaches_the_exact_one():
    torch.manual_seed(0)
    law = four_classes(frequencies=LONG_TAIL)
    data, labels = law.sample_labelled(4000, seeded())
    untrained = TimeClassifier(2, 4)
    *_, state = train_classifier(data, labels, 500, generator=seeded(1))
    test, _ = law.sample_labelled(2000, seeded(2))
    for t in (0.05, 0.3, 0.6, 0.95):
        x = add_noise(test, t, torch.randn(test.shape, generator=seeded(3)))
        exact = law.class_log_probs(x, t)
        off = [(exact.exp() * (exact - net(x, t))).sum(1).mean().item() for net in (state.model, untrained)]
        assert off[0] < 0.03
        assert off[1] > 0.15


def test_training_of_a_classifier_resumes_where_it_stopped():
    data, labels = four_classes().sample_labelled(200, seeded())
    runs = []
    for stop in (None, 3):
        torch.manual_seed(0)
        generator, saved = seeded(1), None
        for state in train_classifier(data, labels, 6, generator=generator):
            if state.step == stop:
                saved = state.state_dict()
                break
        if saved:
            *_, state = train_classifier(data, labels, 6, TimeClassifier(2, 4), generator=seeded(9), resume=saved)
        runs.append(state.model(data, 0.5))
    torch.testing.assert_close(*runs)


# Adaptive guidance


def test_a_threshold_above_1_never_drops_guidance_and_one_of_minus_1_never_begins_it():
    conditional, unconditional = Count(LAW.conditional), Count(LAW.unconditional)
    for threshold, weight in ((1.01, 1.5), (-1, 0)):
        walk = LABELS, start(), GRID
        states = sample_adaptive(conditional, unconditional, 1.5, *walk, threshold, 0.5, seeded(1))
        for state, exact in zip(states, sample_guided(*MODEL, weight, *walk, 0.5, seeded(1)), strict=True):
            torch.testing.assert_close(state, exact)
    assert conditional.calls == 40
    assert unconditional.calls == 20 + 1
    assert not conditional.grad
    assert not unconditional.grad


def test_a_chain_is_guided_until_its_predictions_agree_and_never_again():
    asked = []

    def unconditional(x, t):
        asked.append(len(x))
        return LAW.unconditional(x, t)

    states = list(sample_adaptive(LAW.conditional, unconditional, 1.0, LABELS, start(), GRID, 0.98))
    guided = torch.ones(len(LABELS), dtype=torch.bool)
    counts = []
    for before, after, t, s in zip(states, states[1:], GRID, GRID[1:]):
        counts.append(int(guided.sum()))
        x_c, x_u = LAW.conditional(before, t, LABELS), LAW.unconditional(before, t)
        v_c, v_u = (before - x_c) / t, (before - x_u) / t
        guided = guided & ((v_c * v_u).sum(1) / v_c.norm(dim=1) / v_u.norm(dim=1) < 0.98)
        x0 = torch.where(guided[:, None], guide(x_c, x_u, 1.0), x_c)
        torch.testing.assert_close(after, bridge(before, x0, t, s)[0])
    assert asked == [count for count in counts if count > 0]
    assert counts[1] > counts[-1]
    assert sum(asked) < 0.8 * 20 * len(LABELS)


def test_noise_predictions_would_agree_at_the_start_whatever_the_model_says():
    """The paper's cosine, of predicted noise: in this schedule it is 1 at t = 1, and guidance would never begin."""
    x = start()
    noise = [(x - alpha(1.0) * x0) / sigma(1.0) for x0 in (LAW.conditional(x, 1.0, LABELS), LAW.unconditional(x, 1.0))]
    assert torch.cosine_similarity(*noise).min() > 1 - 1e-12
    assert agreement(x, LAW.conditional(x, 1.0, LABELS), LAW.unconditional(x, 1.0)).median() < 0.9


def test_a_higher_threshold_asks_the_unconditional_model_more_often():
    rows = []
    for threshold in (0.9, 0.99, 0.999):
        unconditional = Count(LAW.unconditional)
        last(sample_adaptive(LAW.conditional, unconditional, 1.0, LABELS, start(), GRID, threshold))
        rows.append(unconditional.rows)
    assert rows[0] < rows[1] < rows[2] < 20 * len(LABELS)


# Feedback


@pytest.mark.parametrize("churn", [0.0, 1.0])
def test_one_candidate_is_the_constant_weight(churn):
    def feedback(x, s, labels):
        return x[:, 0]

    walk = LABELS, start(), GRID, churn
    states = sample_feedback(*MODEL, feedback, (0.8,), *walk, seeded(1))
    for state, exact in zip(states, sample_guided(*MODEL, 0.8, *walk, seeded(1)), strict=True):
        torch.testing.assert_close(state, exact)


def test_every_chain_and_step_takes_the_candidate_that_lands_best():
    """A judge that wants points on a line, checked against landing each candidate by hand."""
    seen, chosen, candidates = [], [], (0, 1.0, -0.5)

    def feedback(x, s, labels):
        seen.append((len(x), s.item(), labels.tolist()))
        return -(x[:, 0] - x[:, 1]).abs()

    conditional, unconditional = Count(LAW.conditional), Count(LAW.unconditional)
    model = conditional, unconditional, feedback, candidates
    states = list(sample_feedback(*model, LABELS, start(), GRID, chosen=chosen))
    for before, after, t, s, weights in zip(states, states[1:], GRID, GRID[1:], chosen):
        x_c, x_u = LAW.conditional(before, t, LABELS), LAW.unconditional(before, t)
        landed = torch.stack([bridge(before, guide(x_c, x_u, w), t, s)[0] for w in candidates])
        best = (landed[..., 0] - landed[..., 1]).abs().argmin(0)
        assert torch.equal(weights, torch.tensor(candidates, dtype=torch.float64)[best])
        torch.testing.assert_close(after, landed[best, torch.arange(len(before))])
    assert (conditional.rows, unconditional.rows) == (20 * len(LABELS), 20 * len(LABELS))
    assert not conditional.grad
    assert seen == [(3 * len(LABELS), s, LABELS.tolist() * 3) for s in GRID[1:].tolist()]
    assert len(set(torch.cat(chosen).tolist())) == 3


# Resampling


@given(n=st.integers(1, 300), seed=st.integers(0, 99), sharpness=st.sampled_from([0.0, 0.3, 3.0, 100.0]))
def test_systematic_draws_give_each_row_its_share_rounded_down_or_up(n, seed, sharpness):
    generator = seeded(seed)
    weights = (sharpness * torch.randn(n, generator=generator, dtype=torch.float64)).softmax(0)
    drawn = systematic(weights, torch.rand((), generator=generator, dtype=torch.float64))
    copies = torch.bincount(drawn, minlength=n)
    assert (copies - n * weights).abs().max() < 1 + 1e-9
    assert len(copies) == n
    if sharpness == 0:
        assert torch.equal(drawn, torch.arange(n))


def test_systematic_draws_are_unbiased():
    weights = torch.tensor([0.05, 0.55, 0.1, 0.3], dtype=torch.float64)
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    copies = sum(torch.bincount(systematic(weights, uniform), minlength=4) for uniform in uniforms) / 1000
    torch.testing.assert_close(copies.double(), 4 * weights, rtol=0, atol=2e-3)


@pytest.mark.parametrize("churn", [0.0, 1.0])
@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_a_ratio_that_is_the_same_everywhere_leaves_the_particles_alone(churn, constant):
    """Whatever it is, and though it may differ between classes: each class is a filter of its own."""

    def log_ratio(x, t, labels):
        return constant * labels.double() * t

    conditional = Count(LAW.conditional)
    found = list(sample_resampled(conditional, log_ratio, LABELS, start(), GRID, churn, seeded(1)))
    generator, x = seeded(1), start()
    for index, (t, s) in enumerate(pairwise(GRID)):
        x, std = bridge(x, LAW.conditional(x, t, LABELS), t, s, churn)
        if churn > 0:
            x = x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        torch.rand(4, generator=generator, dtype=torch.float64)  # one number for each class
        torch.testing.assert_close(found[index + 1], x)
    assert (len(found), conditional.rows, conditional.grad) == (21, 20 * len(LABELS), False)


def lopsided(share):
    """Two classes of two Gaussians each, the first of which has this share of its class."""
    means = torch.tensor([[-1.5, 0.0], [1.5, 0.0], [0.0, -1.5], [0.0, 1.5]], dtype=torch.float64)
    weights = torch.tensor([share, 1 - share, 1 - share, share], dtype=torch.float64)
    return LabelledMixture(means, torch.full((4,), 0.3, dtype=torch.float64), torch.tensor([0, 0, 1, 1]), weights)


def shares(x, labels):
    """How much of class 0 lies to the left, and of class 1 above."""
    return [(side[labels == label] > 0).double().mean().item() for label, side in ((0, -x[:, 0]), (1, x[:, 1]))]


@pytest.mark.parametrize("churn", [0.0, 1.0])
def test_the_exact_ratio_restores_the_proportions_that_the_model_has_wrong(churn):
    data, model = lopsided(0.75), lopsided(0.4)

    def log_ratio(x, t, labels):
        each = torch.stack([data.given(c).log_prob(x, t) - model.given(c).log_prob(x, t) for c in (0, 1)])
        return each.gather(0, labels[None])[0]

    labels = torch.arange(2).repeat(2000)
    walk = labels, start(labels), time_grid(60), churn, seeded(1)
    unweighted = last(sample_guided(model.conditional, model.unconditional, 0, *walk))
    assert shares(unweighted, labels) == pytest.approx([0.4, 0.4], abs=0.03)
    resampled = last(sample_resampled(model.conditional, log_ratio, *walk))
    assert shares(resampled, labels) == pytest.approx([0.75, 0.75], abs=0.03)
    upside_down = last(sample_resampled(model.conditional, lambda *asked: -log_ratio(*asked), *walk))
    assert max(shares(upside_down, labels)) < 0.25


def test_weights_grow_by_the_ratio_of_ratios_and_go_with_their_particles():
    """Each class by itself, with plain weights instead of logarithms; copies bring along the ratio they had."""

    def log_ratio(x, t, labels):
        return (2 + labels) * (1 - t) * (3 * x[:, 0]).sin()

    churn, grid = 0.7, time_grid(8)
    found = list(sample_resampled(LAW.conditional, log_ratio, LABELS, start(), grid, churn, seeded(1)))
    generator, x = seeded(1), start()
    weights, old = torch.ones(len(x), dtype=torch.float64), torch.ones(len(x), dtype=torch.float64)
    drawn = []
    for index, (t, s) in enumerate(pairwise(grid), 1):
        x, std = bridge(x, LAW.conditional(x, t, LABELS), t, s, churn)
        x = x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        new = log_ratio(x, s, LABELS).exp()
        weights, old = weights * new / old, new
        uniforms = torch.rand(4, generator=generator, dtype=torch.float64)
        for label, uniform in enumerate(uniforms):
            rows = (label == LABELS).nonzero()[:, 0]
            share = weights[rows] / weights[rows].sum()
            if 1 / share.square().sum() < len(rows) / 2 or index == 8:
                kept = rows[systematic(share, uniform)]
                x[rows], old[rows], weights[rows] = x[kept], old[kept], 1.0
                drawn.append((index, label))
        torch.testing.assert_close(found[index], x)
    assert len({label for index, label in drawn if index < 8}) > 1
    assert len(drawn) < 8 * 4


def test_the_last_state_has_equal_weights_even_where_no_step_before_called_for_it():
    """A mild ratio, known only at the end: the effective sample size is never under half."""
    labels = torch.zeros(4000, dtype=torch.long)
    model, other = two_normals(0.0, 1.0)

    def log_ratio(x, t, labels):
        return 0.5 * x[:, 0] * (t == 0)

    walk = labels, start(labels, dim=1), GRID
    before = last(sample_guided(model, other, 0, *walk))
    weights = (0.5 * before).softmax(0)
    assert 1 / weights.square().sum() > 0.7 * len(labels)
    final = last(sample_resampled(model, log_ratio, *walk, 0.0, seeded(1)))
    assert (weights * before).sum() > 0.3
    torch.testing.assert_close(final.mean(), (weights * before).sum(), rtol=0, atol=0.01)


def test_copies_part_by_fresh_noise_alone():
    def log_ratio(x, t, labels):
        return 3 * x[:, 0]

    distinct = [
        len(last(sample_resampled(LAW.conditional, log_ratio, LABELS, start(), GRID, churn, seeded(1))).unique(dim=0))
        for churn in (0.0, 1.0)
    ]
    assert distinct[0] < distinct[1] <= len(LABELS)


# The discriminator


def test_the_discriminator_approaches_the_exact_log_ratio_of_two_gaussians():
    """Class 0: N(0, 1) against N(1, 1), so that the ratio is 1/2 - x; class 1 has it the other way round."""
    torch.manual_seed(0)
    n, generator = 8000, seeded()
    labels = torch.arange(2).repeat_interleave(n // 2)
    data = torch.randn(n, 1, generator=generator) + labels[:, None]
    samples = torch.randn(n, 1, generator=generator) + 1 - labels[:, None]
    *_, state = train_density_ratio(data, labels, samples, labels, 600, generator=seeded(1))
    x = torch.linspace(-1.0, 2.0, 31)[:, None]
    for t in (0.05, 0.5, 0.95):
        variance = (1 - t) ** 2 + t**2
        for label, sign in ((0, 1), (1, -1)):
            exact = sign * (1 - t) * ((1 - t) / 2 - x[:, 0]) / variance
            found = state.model(x, t, torch.full((31,), label))
            assert (found - exact).abs().mean() < 0.15


def test_classes_count_equally_however_rare_they_are_among_data_and_samples():
    """The same law on both sides, but class 1 rare in the data and frequent in the samples: the ratio stays 1."""
    torch.manual_seed(0)
    generator = seeded()
    data_labels = (torch.arange(4000) % 10 == 0).long()
    pairs = [(torch.randn(4000, 1, generator=generator), labels) for labels in (data_labels, 1 - data_labels)]
    *_, state = train_density_ratio(*pairs[0], *pairs[1], 300, generator=seeded(1))
    x = torch.linspace(-1.5, 1.5, 31)[:, None]
    for label in (0, 1):
        assert state.model(x, 0.3, torch.full((31,), label)).abs().mean() < 0.2


def test_the_discriminator_serves_as_judge_and_as_ratio():
    torch.manual_seed(0)
    ratio, labels = DensityRatio(2, 4).double(), LABELS
    assert last(sample_feedback(*MODEL, ratio, (0, 1), labels, start(), GRID)).shape == (200, 2)
    final = last(sample_resampled(LAW.conditional, ratio, labels, start(), GRID, generator=seeded(1)))
    assert final.shape == (200, 2)
    assert not final.requires_grad


# Predictor and corrector


def powered(weight, t, mean=1.0, std=0.5, other=1.5):
    """Mean and std of `p_t(x | c)^(1 + w) / p_t(x)^w` for the two Gaussians of `two_normals`."""
    own, wide = (alpha(t) ** 2 * value**2 + sigma(t) ** 2 for value in (std, other))
    precision = (1 + weight) / own - weight / wide
    return (1 + weight) * alpha(t) * mean / own / precision, precision**-0.5


def test_many_langevin_steps_follow_the_powered_density_where_constant_guidance_does_not():
    model, labels, weight = two_normals(), torch.zeros(8000, dtype=torch.long), 2.0
    grid = time_grid(30, end=0.1)
    x = start(labels, dim=1)
    final = last(sample_predictor_corrector(*model, weight, labels, x, grid, 60, 0.05, generator=seeded(1)))
    mean, std = powered(weight, 0.1)
    assert final.mean().item() == pytest.approx(mean, abs=0.02)
    assert final.std().item() == pytest.approx(std, rel=0.04)
    constant = last(sample_guided(*model, weight, labels, x, time_grid(1000, end=0.1)))
    assert abs(constant.std().item() - std) > 0.15 * std


def test_with_the_papers_step_it_becomes_ddpm_with_half_the_weight():
    """One correction as large as DDPM's noise, in the limit of many steps; without halving the laws differ."""
    model, labels, grid = two_normals(), torch.zeros(4000, dtype=torch.long), time_grid(600, end=0.05)
    walk = labels, start(labels, dim=1), grid
    corrected = last(sample_predictor_corrector(*model, 2.0, *walk, 1, None, generator=seeded(1)))
    half, whole = (last(sample_guided(*model, weight, *walk, 1.0, seeded(2))) for weight in (1.0, 2.0))
    assert corrected.mean().item() == pytest.approx(half.mean().item(), abs=0.03)
    assert corrected.std().item() == pytest.approx(half.std().item(), rel=0.06)
    assert abs(whole.std().item() / half.std().item() - 1) + abs(whole.mean().item() - half.mean().item()) > 0.15


@pytest.mark.parametrize("churn", [0.0, 0.7])
def test_without_corrections_it_is_the_unguided_sampler(churn):
    walk = LABELS, start(), GRID
    states = sample_predictor_corrector(*MODEL, 2.0, *walk, 0, churn=churn, generator=seeded(1))
    for state, exact in zip(states, sample_guided(*MODEL, 0, *walk, churn, seeded(1)), strict=True):
        torch.testing.assert_close(state, exact)


@pytest.mark.parametrize("end", [0.0, 0.2])
def test_corrections_cost_what_is_said_and_there_are_none_at_time_0(end):
    conditional, unconditional = Count(LAW.conditional), Count(LAW.unconditional)
    walk = LABELS, start(), time_grid(5, end=end)
    last(sample_predictor_corrector(conditional, unconditional, 1.0, *walk, 3, 0.1, generator=seeded(1)))
    corrected = 5 if end else 4
    assert (conditional.calls, unconditional.calls) == (5 + 3 * corrected, 3 * corrected)
    assert not conditional.grad
    assert not unconditional.grad


# All of them


def samplers():
    def feedback(x, s, labels):
        return -x.square().flatten(1).sum(1)

    def log_probs(x, t):
        return torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], dim=1).log_softmax(1)

    return {
        "classifier": lambda c, u, *walk: sample_classifier_guided(c, log_probs, 1.0, *walk),
        "adaptive": lambda c, u, labels, x, times, *more: sample_adaptive(c, u, 1.0, labels, x, times, 0.9, *more),
        "feedback": lambda c, u, *walk: sample_feedback(c, u, feedback, (0, 1), *walk),
        "resampled": lambda c, u, *walk: sample_resampled(c, feedback, *walk),
        "corrected": lambda c, u, labels, x, times, *more: sample_predictor_corrector(
            c, u, 1.0, labels, x, times, 2, 0.1, *more
        ),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", samplers())
def test_images_walk_as_points_do_in_either_precision(name, dtype):
    def conditional(x, t, labels):
        return (x + labels.reshape(-1, *[1] * (x.ndim - 1))).tanh()

    def unconditional(x, t):
        return (0.5 * x).tanh()

    labels = torch.arange(2).repeat(4)
    x = torch.randn(8, 3, 2, 2, generator=seeded(), dtype=dtype)
    run = samplers()[name]
    images = list(run(conditional, unconditional, labels, x, GRID, 0.5, seeded(1)))
    points = list(run(conditional, unconditional, labels, x.flatten(1), GRID, 0.5, seeded(1)))
    assert len(images) == 21
    assert images[0] is x
    for image, point in zip(images, points, strict=True):
        assert image.dtype == dtype
        torch.testing.assert_close(image.flatten(1), point)


@pytest.mark.parametrize("name", samplers())
def test_the_same_generator_gives_the_same_states_and_all_else_is_left_alone(name):
    before, x = torch.get_rng_state(), start()
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    labels = LABELS % 2
    model = lambda x, t, labels: weight * LAW.conditional(x, t, labels), LAW.unconditional
    runs = [last(samplers()[name](*model, labels, x, GRID, 1.0, seeded(seed))) for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert not runs[0].requires_grad
    assert torch.equal(x, start())
    assert torch.equal(torch.get_rng_state(), before)


def test_guidance_of_an_exact_model_only_hurts_and_resampling_by_a_right_ratio_does_not():
    labels = torch.arange(4).repeat(300)
    data = [LAW.given(label).sample(600, seeded(10 + label)) for label in range(4)]

    def off(states):
        final = last(states)
        return sum(energy_distance(final[labels == label], data[label]).item() for label in range(4)) / 4

    walk = labels, start(labels), time_grid(60)
    unguided = off(sample_guided(*MODEL, 0, *walk))
    right = off(sample_resampled(LAW.conditional, lambda x, t, labels: 0 * x[:, 0], *walk, 0.0, seeded(1)))
    assert math.isclose(unguided, right, abs_tol=1e-9)
    assert off(sample_classifier_guided(LAW.conditional, LAW.class_log_probs, 1.0, *walk)) > 5 * abs(unguided) + 0.01
    assert off(sample_adaptive(*MODEL, 1.0, *walk)) > 5 * abs(unguided) + 0.01
    corrected = sample_predictor_corrector(*MODEL, 2.0, *walk, 3, 0.1, generator=seeded(1))
    assert off(corrected) > 5 * abs(unguided) + 0.01

"""The Kalman filter over the last layer against exact answers: ridge regression, a reference filter, the gradient of the
paper written out, quadrature; and that rounding does not spoil its covariance (for 100,000 steps: `bad_input/test_kalman_steps.py`).

Seeds are fixed, numbers are compared in double precision. What is said to be learned is so for five seeds.
"""

import copy
import io
import math

import numpy as np
import pytest
import torch
from agree import close, eye, normal, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from companion.data.streams import moving_classes
from companion.foundations.linear import ridge
from companion.methods.kalman import (
    KalmanHead,
    UnitFeatures,
    average_log_softmax,
    centred_one_hot,
    run_stream,
)
from tests.hard_rows import badly_conditioned, each_hard, least

FORMS = pytest.mark.parametrize("square_root", [False, True], ids=["covariance", "root"])
each_seed = pytest.mark.parametrize("seed", range(5))
WEIGHT, NOISE = 0.7, 0.2


def head_of(m: int = 4, k: int = 2, gamma: float = 1.0, **settings) -> KalmanHead:
    return KalmanHead(m, k, WEIGHT, NOISE, gamma, **settings)


def blocks_of(sizes, m: int = 4, k: int = 2, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Features (b, m) and targets (b, k) for each size b."""
    n = sum(sizes)
    return list(zip(normal(n, m, seed=seed).split(sizes), normal(n, k, seed=seed + 1).split(sizes), strict=True))


def learned(head: KalmanHead, blocks) -> KalmanHead:
    for features, targets in blocks:
        head.update(features, targets)
    return head


# --- nothing is forgotten: ridge regression ----------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("sizes", [[1] * 12, [5, 1, 6], [12], [1, 1]], ids=str)
def test_without_forgetting_it_is_ridge_regression_of_all_rows_so_far(sizes, square_root):
    head = head_of(square_root=square_root)
    blocks = blocks_of(sizes)
    for taken, block in enumerate(blocks, 1):
        head.update(*block)
        features, targets = (torch.cat(parts) for parts in zip(*blocks[:taken], strict=True))
        close(head.mean, ridge(features, targets, NOISE / WEIGHT))
        close(head.covariance, torch.linalg.inv(features.T @ features / NOISE + eye(4) / WEIGHT))


@FORMS
@given(seed=st.integers(0, 999), power=st.floats(-2, 2), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_whatever_the_variances(square_root, seed, power, sizes):
    head = KalmanHead(3, 2, 10**power, 0.1, square_root=square_root)
    blocks = blocks_of(sizes, 3, seed=seed)
    learned(head, blocks)
    features, targets = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    close(head.mean, ridge(features, targets, 0.1 / 10**power), 1e-8)
    close(head.covariance, torch.linalg.inv(features.T @ features / 0.1 + eye(3) / 10**power), 1e-8)


# --- with forgetting: a reference filter --------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("gamma", [0, 0.3, 0.9, 0.999, 1])
@pytest.mark.parametrize("sizes", [[1] * 15, [4, 1, 7, 3]], ids=["rows", "blocks"])
def test_it_is_the_kalman_filter_of_a_library_that_knows_nothing_of_it(gamma, sizes, square_root):
    kalman = pytest.importorskip("filterpy.kalman")
    head, references = head_of(gamma=gamma, square_root=square_root), []
    for _ in range(2):  # one output each
        references.append(kalman.KalmanFilter(dim_x=4, dim_z=1))
        references[-1].x, references[-1].P = np.zeros((4, 1)), WEIGHT * np.eye(4)
        references[-1].F, references[-1].Q = gamma * np.eye(4), (1 - gamma**2) * WEIGHT * np.eye(4)
    for features, targets in blocks_of(sizes):
        mean, variance = head.predict(features)
        head.update(features, targets)
        rows = features.numpy()
        for output, reference in enumerate(references):
            reference.predict()
            close(mean[:, output], torch.from_numpy(rows @ reference.x)[:, 0])
            close(variance, torch.from_numpy(rows @ reference.P @ rows.T).diagonal())
            reference.update(targets[:, output : output + 1].numpy(), R=NOISE * np.eye(len(rows)), H=rows)
            close(head.mean[:, output], torch.from_numpy(reference.x[:, 0]))
            close(head.covariance, torch.from_numpy(reference.P))


def one_step_by_hand(head: KalmanHead, features, targets, gamma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The equations of the paper for one block, with plain inverses."""
    mean, drifted = gamma * head.mean, gamma**2 * head.covariance + (1 - gamma**2) * WEIGHT * eye(len(head.mean))
    innovation = features @ drifted @ features.T + NOISE * eye(len(features))
    gain = drifted @ features.T @ torch.linalg.inv(innovation)
    return mean + gain @ (targets - features @ mean), drifted - gain @ features @ drifted


@FORMS
@pytest.mark.parametrize("gamma", [0, 0.6, 0.99, 1])
def test_each_update_by_hand(gamma, square_root):
    head = head_of(gamma=gamma, square_root=square_root)
    for features, targets in blocks_of([3, 1, 6, 2]):
        mean, covariance = one_step_by_hand(head, features, targets, gamma)
        head.update(features, targets)
        close(head.mean, mean)
        close(head.covariance, covariance)


@FORMS
@pytest.mark.parametrize("gamma", [0, 0.5, 0.97])
def test_a_block_is_its_rows_one_by_one_after_one_drift(gamma, square_root):
    blocks = blocks_of([6, 5])
    whole, rows = (head_of(gamma=gamma, square_root=square_root) for _ in range(2))
    for features, targets in blocks:
        whole.update(features, targets)
        for row, (x, y) in enumerate(zip(features.split(1), targets.split(1), strict=True)):
            still = head_of(square_root=square_root)  # gamma = 1: no more drift inside the block
            still.load_state_dict(rows.state_dict() | {"delta": still.delta})
            absorbing = rows if row == 0 else still
            absorbing.update(x, y)
            rows.load_state_dict(absorbing.state_dict() | {"delta": rows.delta})
    close(whole.mean, rows.mean)
    close(whole.covariance, rows.covariance)
    drifting = head_of(gamma=gamma, square_root=square_root)
    for features, targets in blocks:
        learned(drifting, zip(features.split(1), targets.split(1), strict=True))
    assert (drifting.mean - whole.mean).abs().max() > 1e-3


@FORMS
def test_the_order_of_rows_in_a_block_does_not_matter(square_root):
    (first, last) = blocks_of([4, 7])
    order = torch.randperm(7, generator=seeded(2))
    ours, other = (learned(head_of(gamma=0.9, square_root=square_root), [first]) for _ in range(2))
    ours.update(*last)
    other.update(last[0][order], last[1][order])
    close(ours.mean, other.mean)
    close(ours.covariance, other.covariance)


@FORMS
def test_gamma_0_forgets_everything(square_root):
    first, last = blocks_of([9, 3])
    head = learned(head_of(gamma=0, square_root=square_root), [first])
    mean, variance = head.predict(last[0])
    assert not mean.any()
    close(variance, WEIGHT * last[0].square().sum(1))
    head.update(*last)
    fresh = learned(head_of(square_root=square_root), [last])
    close(head.mean, fresh.mean)
    close(head.covariance, fresh.covariance)


@FORMS
@pytest.mark.parametrize("gamma", [0, 0.3, 0.95, 0.99999])
def test_the_prior_is_what_drifts_lead_to_and_they_do_not_leave_it(gamma, square_root):
    """Rows of zeros tell nothing, so that only drifts are left."""
    nothing = torch.zeros(2, 4, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    head = head_of(gamma=gamma, square_root=square_root)
    for _ in range(500):
        head.update(*nothing)
    close(head.covariance, WEIGHT * eye(4))
    assert not head.mean.any()
    told = learned(head_of(gamma=gamma, square_root=square_root), blocks_of([8]))
    start = told.mean.clone(), told.covariance.clone()
    for _ in range(50):
        told.update(*nothing)
    kept = gamma**50
    close(told.mean, kept * start[0])
    close(told.covariance, kept**2 * start[1] + (1 - kept**2) * WEIGHT * eye(4))


# --- prediction ---------------------------------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("gamma", [0, 0.8, 1])
def test_a_prediction_is_by_the_belief_as_the_next_update_finds_it_and_changes_nothing(gamma, square_root):
    head = learned(head_of(gamma=gamma, square_root=square_root), blocks_of([5, 2]))
    before = copy.deepcopy(head.state_dict())
    features = normal(6, 4, seed=9)
    mean, variance = head.predict(features)
    assert (mean.shape, variance.shape) == ((6, 2), (6,))
    head.log_prob(features, torch.zeros(6, dtype=torch.long), seeded())
    head.log_density(features, normal(6, 2))
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    head.update(torch.zeros_like(features), torch.zeros_like(mean))  # a drift, and nothing learned
    close(mean, features @ head.mean)
    close(variance, (features @ head.covariance @ features.T).diagonal())


@FORMS
def test_the_variance_is_that_of_the_outputs_without_the_noise_of_the_targets(square_root):
    features = normal(3, 4)
    head = head_of(square_root=square_root)
    close(head.predict(features)[1], WEIGHT * features.square().sum(1))
    learned(head, [(features, normal(3, 2))] * 500)
    assert head.predict(features)[1].max() < NOISE / 400
    assert head.predict(features)[1].min() > 0


def test_the_variance_is_how_far_the_truth_is():
    """Weights from the prior, a walk as the model says: standardised errors have variance 1."""
    draws, gamma, k = seeded(3), 0.97, 400
    head = head_of(k=k, gamma=gamma)
    truth = WEIGHT**0.5 * torch.randn(4, k, generator=draws, dtype=torch.float64)
    for features in normal(30, 4).split(1):
        step = torch.randn(4, k, generator=draws, dtype=torch.float64)
        truth = gamma * truth + ((1 - gamma**2) * WEIGHT) ** 0.5 * step
        mean, variance = head.predict(features)
        error = (features @ truth - mean) / variance.sqrt()
        assert error.square().mean().item() == pytest.approx(1, abs=5 * (2 / k) ** 0.5)
        noise = NOISE**0.5 * torch.randn(1, k, generator=draws, dtype=torch.float64)
        head.update(features, features @ truth + noise)


class Predicting(nn.Module):
    """A module whose call is a prediction."""

    def __init__(self, head: KalmanHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features):
        return self.head.predict(features)


@FORMS
@pytest.mark.parametrize("delta", [0.0, 0.3])
def test_predictions_have_the_right_slopes(delta, square_root):
    head = learned(head_of(learn_gamma=True, square_root=square_root), blocks_of([5]))

    def outputs(features, delta):
        return torch.func.functional_call(Predicting(head), {"head.delta": delta}, (features,))

    features = normal(2, 4, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(outputs, (features, torch.tensor(delta, dtype=torch.float64, requires_grad=True)))


# --- the average softmax ------------------------------------------------------------------------------------------


def test_without_variance_it_is_log_softmax():
    mean, noise = normal(5, 3), normal(7, 5, 3, seed=1)
    found = average_log_softmax(mean, torch.zeros(5).double(), torch.tensor(2.5).double(), noise)
    close(found, torch.log_softmax(2.5 * mean, -1))


@given(seed=st.integers(0, 999), samples=st.integers(1, 6), spread=st.floats(0, 30), scale=st.floats(0.01, 30))
def test_it_is_a_probability(seed, samples, spread, scale):
    mean, noise = normal(4, 5, seed=seed), normal(samples, 4, 5, seed=seed + 1)
    variance = torch.full((4,), spread, dtype=torch.float64)
    found = average_log_softmax(mean, variance, torch.tensor(scale, dtype=torch.float64), noise)
    close(found.exp().sum(1), torch.ones(4).double())
    drawn = [torch.softmax(scale * (mean + spread**0.5 * each), -1) for each in noise]
    close(found.exp(), torch.stack(drawn).mean(0))


def test_it_stays_finite_where_softmax_underflows():
    mean = torch.tensor([[0.0, 1000.0]])
    found = average_log_softmax(mean, torch.ones(1), torch.tensor(10.0), torch.zeros(3, 1, 2))
    assert found[0, 0].item() == pytest.approx(-10_000, rel=1e-4)
    assert found[0, 1].item() == pytest.approx(0, abs=1e-5)


def test_its_most_probable_class_is_that_of_the_mean_and_uncertainty_flattens_it():
    mean, noise, scale = normal(6, 4), normal(20_000, 6, 4, seed=1), torch.tensor(3.0).double()
    tables = [
        average_log_softmax(mean, torch.full((6,), spread, dtype=torch.float64), scale, noise) for spread in (0, 0.3, 3)
    ]
    for table in tables:
        assert torch.equal(table.argmax(1), mean.argmax(1))
    entropies = [-(table.exp() * table).sum(1) for table in tables]
    assert bool((entropies[0] < entropies[1]).all())
    assert bool((entropies[1] < entropies[2]).all())


@pytest.mark.parametrize("spread", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_two_classes_against_quadrature(spread, scale):
    """The difference of two outputs is N(m1 - m0, 2 v): an integral over one number."""
    mean, samples = torch.tensor([[0.3, -0.2]]).double(), 200_000
    variance = torch.tensor([spread]).double()
    noise = normal(samples, 1, 2)
    found = average_log_softmax(mean, variance, torch.tensor(scale).double(), noise).exp()[0]
    line = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    weight = torch.exp(-line.square() / 2) / math.sqrt(2 * math.pi)
    curve = torch.sigmoid(scale * (0.5 + math.sqrt(2 * spread) * line))
    exact = torch.trapezoid(weight * curve, line)
    error = (torch.trapezoid(weight * curve.square(), line) - exact.square()).sqrt() / samples**0.5
    assert (found[0] - exact).abs() < 5 * error
    assert (found[1] - (1 - exact)).abs() < 5 * error
    wrong = torch.trapezoid(
        weight * torch.sigmoid(scale * (0.5 + math.sqrt(spread) * line)), line
    )  # one noise for both
    assert (found[0] - wrong).abs() > 5 * error


def test_log_prob_is_the_average_softmax_of_the_prediction_at_the_label():
    head = learned(head_of(k=3, gamma=0.9, alpha=4.0, samples=9), blocks_of([5], k=3))
    features, labels = normal(6, 4, seed=3), torch.tensor([0, 2, 1, 1, 0, 2])
    for samples, drawn in ((None, 9), (1, 1), (50, 50)):
        table = head.log_probabilities(features, seeded(8), samples)
        noise = torch.randn(drawn, 6, 3, generator=seeded(8), dtype=torch.float64)
        close(table.detach(), average_log_softmax(*head.predict(features), torch.tensor(4.0).double(), noise))
        close(head.log_prob(features, labels, seeded(8), samples), table[torch.arange(6), labels])
    assert not torch.equal(head.log_prob(features, labels, seeded(7)), head.log_prob(features, labels, seeded(8)))


def test_draws_come_from_the_generator_or_else_from_torch():
    head, features = head_of(k=3), normal(2, 4)
    before = torch.random.get_rng_state()
    head.log_probabilities(features, seeded())
    assert torch.equal(torch.random.get_rng_state(), before)
    head.log_probabilities(features)
    assert not torch.equal(torch.random.get_rng_state(), before)


@FORMS
def test_log_density_is_that_of_a_normal_law_with_the_noise_of_the_targets(square_root):
    head = learned(head_of(k=3, gamma=0.8, square_root=square_root), blocks_of([5], k=3))
    features, targets = normal(6, 4, seed=3), normal(6, 3, seed=4)
    mean, variance = head.predict(features)
    spread = (variance + NOISE).sqrt()[:, None]
    exact = torch.distributions.Normal(mean, spread).log_prob(targets).sum(1)
    close(head.log_density(features, targets), exact)
    whole = torch.distributions.MultivariateNormal(mean, spread[..., None].square() * eye(3)).log_prob(targets)
    close(head.log_density(features, targets), whole)


# --- learning how fast to forget ----------------------------------------------------------------------------------


def slopes_of_the_paper(head: KalmanHead, features, labels, noise) -> tuple[torch.Tensor, torch.Tensor]:
    """d log p / d delta and d log p / d log alpha, summed over rows, with the mean and covariance held as constants.

    f = gamma mu0 + sqrt(v) eps,  v = gamma^2 v0 + (1 - gamma^2) c,  d log p / d f = alpha w (e_y - p),
    w = p_y / sum p_y over the draws,  d gamma / d delta = -gamma / 2.
    """
    gamma, alpha = head.gamma, head.alpha
    of_delta, of_alpha = 0.0, 0.0
    for row, label in enumerate(labels):
        mu0, phi = features[row] @ head.mean, features[row]
        v0, c = phi @ head.covariance @ phi, WEIGHT * phi @ phi
        v = gamma**2 * v0 + (1 - gamma**2) * c
        draws = gamma * mu0 + v.sqrt() * noise[:, row]
        p = torch.softmax(alpha * draws, -1)
        w = p[:, label] / p[:, label].sum()
        slope = alpha * w[:, None] * (torch.eye(p.shape[1]).double()[label] - p)
        along = mu0 + gamma * (v0 - c) / v.sqrt() * noise[:, row]
        of_delta += (slope * along).sum() * -gamma / 2
        of_alpha += (slope * draws).sum()
    return of_delta, of_alpha


@FORMS
@pytest.mark.parametrize("gamma", [1, 0.999, 0.7])
def test_the_slopes_are_those_of_the_paper(gamma, square_root):
    settings = {"learn_gamma": True, "samples": 11, "alpha": 3.0, "square_root": square_root}
    head = learned(head_of(k=3, gamma=gamma, **settings), blocks_of([6, 4], k=3))
    features, labels = normal(5, 4, seed=3), torch.tensor([0, 2, 1, 1, 0])
    noise = torch.randn(11, 5, 3, generator=seeded(8), dtype=torch.float64)
    score = head.log_prob(features, labels, seeded(8)).sum()
    slopes = torch.autograd.grad(score, (head.delta, head.log_alpha))
    wanted = slopes_of_the_paper(head, features, labels, noise)
    close(slopes[0], wanted[0])
    close(slopes[1], wanted[1])
    assert min(wanted).abs() > 1e-3


@FORMS
def test_the_slopes_are_finite_differences_of_the_same_draws(square_root):
    head = learned(head_of(k=3, gamma=0.9, learn_gamma=True, square_root=square_root), blocks_of([6], k=3))
    features, labels = normal(5, 4, seed=3).requires_grad_(), torch.tensor([0, 2, 1, 1, 0])
    parameters = (head.delta, head.log_alpha, features)
    slopes = torch.autograd.grad(head.log_prob(features, labels, seeded(8)).sum(), parameters)
    for parameter, slope in zip(parameters, slopes, strict=True):
        differences = torch.zeros_like(parameter).flatten()
        for place in range(parameter.numel()):
            values = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    parameter.view(-1)[place] += step
                    values.append(head.log_prob(features, labels, seeded(8)).sum())
                    parameter.view(-1)[place] -= step
            differences[place] = (values[0] - values[1]) / 2e-6
        close(slope.flatten(), differences.detach(), 1e-7)


def test_a_step_moves_delta_and_log_alpha_uphill_on_the_mean_score_at_their_own_rates():
    settings = {"learn_gamma": True, "gamma_rate": 0.01, "alpha_rate": 0.3}
    head = learned(head_of(k=3, gamma=0.8, **settings), blocks_of([6], k=3))
    features, labels = normal(5, 4, seed=3), torch.tensor([0, 2, 1, 1, 0])
    score = head.log_prob(features, labels, seeded(8))
    delta, log_alpha = head.delta.item(), head.log_alpha.item()
    slopes = torch.autograd.grad(score.mean(), (head.delta, head.log_alpha), retain_graph=True)
    head.adapt(score)
    assert head.delta.item() == pytest.approx(delta + 0.01 * slopes[0].item(), rel=1e-12)
    assert head.log_alpha.item() == pytest.approx(log_alpha + 0.3 * slopes[1].item(), rel=1e-12)
    assert head.delta.item() != delta
    assert head.gamma.item() == pytest.approx(math.exp(-head.delta.item() / 2))
    assert head.alpha.item() == pytest.approx(math.exp(head.log_alpha.item()))


@pytest.mark.parametrize("gamma", [1, 0.999])
def test_gamma_does_not_exceed_1(gamma):
    """Where all rows say the same, nothing should be forgotten: the slope would lead beyond."""
    head = head_of(1, 2, gamma=gamma, learn_gamma=True, gamma_rate=10.0)
    features, labels = torch.ones(1, 1).double(), torch.zeros(1, dtype=torch.long)
    for _ in range(30):
        head.adapt(head.log_prob(features, labels, seeded()))
        assert head.delta.item() >= 0
        assert head.gamma.item() <= 1
        head.update(features, centred_one_hot(labels, 2, torch.float64))
    assert head.gamma.item() == 1


def test_what_is_not_learned_stays():
    features, labels = normal(6, 4), torch.tensor([0, 1, 1, 0, 1, 0])
    for settings, moves in (
        ({"learn_gamma": False}, (False, True)),
        ({"learn_gamma": True, "gamma_rate": 0.01, "alpha_rate": 0}, (True, False)),
        ({"learn_gamma": True, "gamma_rate": 0.01}, (True, True)),
        ({"learn_gamma": False, "alpha_rate": 0}, (False, False)),
    ):
        head = learned(head_of(gamma=0.9, **settings), blocks_of([3]))
        start = head.delta.item(), head.log_alpha.item()
        score = head.log_prob(features, labels, seeded())
        assert score.requires_grad == any(moves)
        head.adapt(score)
        assert (head.delta.item() != start[0], head.log_alpha.item() != start[1]) == moves


def test_the_next_update_drifts_by_the_gamma_that_was_just_learned():
    head = learned(head_of(k=3, gamma=0.9, learn_gamma=True, gamma_rate=0.1), blocks_of([6], k=3))
    features, labels = normal(5, 4, seed=3), torch.tensor([0, 2, 1, 1, 0])
    targets = centred_one_hot(labels, 3, torch.float64)
    head.adapt(head.log_prob(features, labels, seeded()))
    assert abs(head.gamma.item() - 0.9) > 1e-3
    mean, covariance = one_step_by_hand(head, features, targets, head.gamma.item())
    head.update(features, targets)
    close(head.mean, mean)
    close(head.covariance, covariance)


@pytest.mark.slow
@each_seed
def test_gamma_falls_when_classes_change_places_and_recovers(seed):
    generator = seeded(seed)
    stream = moving_classes(800, "abrupt", segment=400, generator=generator)
    features = UnitFeatures()(stream.features)
    head, scores, gammas = KalmanHead(3, 3, learn_gamma=True, gamma_rate=1e-4), [], []
    for state in run_stream(head, features, stream.labels, generator=generator):
        gammas.append(head.gamma.item())
        scores.append(state.log_prob)
    *_, state = run_stream(KalmanHead(3, 3), features, stream.labels, every=800, generator=generator)
    calm, late, lowest = sum(gammas[300:400]) / 100, sum(gammas[-50:]) / 50, min(gammas[400:420])
    assert lowest < 0.9965
    assert 1 - calm < 0.3 * (1 - lowest)
    assert 1 - late < 0.3 * (1 - lowest)
    static, learning = state.log_prob, torch.cat(scores)
    assert learning[400:].mean() > static[400:].mean() + 0.5
    assert learning[:400].mean() > static[:400].mean() - 0.03


@each_seed
def test_in_regression_gamma_falls_when_the_level_jumps(seed):
    jump = (torch.arange(300) >= 150).double() * 2 - 1 + 0.3 * normal(300, seed=seed)
    head = KalmanHead(1, 1, 1.0, 0.09, learn_gamma=True, gamma_rate=1e-4)
    static, feature, gammas = KalmanHead(1, 1, 1.0, 0.09), torch.ones(1, 1).double(), []
    for level in jump.view(-1, 1, 1):
        head.adapt(head.log_density(feature, level))
        gammas.append(head.gamma.item())
        for each in (head, static):
            each.update(feature, level)
    assert min(gammas[150:170]) < min(gammas[50:150]) - 0.005
    assert head.mean.item() == pytest.approx(1, abs=0.5)
    assert abs(static.mean.item()) < 0.2
    assert head.alpha.item() == pytest.approx(5)


# --- two forms of one covariance ----------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0, 0.9, 0.9999, 1])
def test_the_root_is_the_covariance(gamma):
    root, plain = (head_of(6, 3, gamma=gamma, square_root=square_root) for square_root in (True, False))
    probe, labels = normal(5, 6, seed=7), torch.tensor([0, 1, 2, 1, 0])
    for features, targets in blocks_of([1, 3, 1, 9, 2, 1, 1, 4], 6, 3):
        for head in (root, plain):
            head.update(features, targets)
        close(root.covariance, plain.covariance)
        close(root.mean, plain.mean)
        for ours, theirs in zip(root.predict(probe), plain.predict(probe), strict=True):
            close(ours, theirs)
        close(root.log_prob(probe, labels, seeded(2)), plain.log_prob(probe, labels, seeded(2)))


def test_the_root_is_kept_where_the_dtype_is_single_unless_it_is_said():
    kinds = [(torch.float32, None), (torch.float64, None), (torch.float32, False), (torch.float64, True)]
    assert [head_of(dtype=dtype, square_root=kept).square_root for dtype, kept in kinds] == [True, False, False, True]
    assert KalmanHead(2, 2).mean.dtype == torch.float64


@each_hard
@each_seed
def test_in_single_precision_the_covariance_by_itself_is_soon_none_where_its_root_is(gamma, noise, seed):
    m, b, found = 16, 4, {}
    plane = normal(3, m, dtype=torch.float32, seed=seed)
    blocks = badly_conditioned(1000 * b, m, torch.float32, seed + 10, plane).split(b)
    for square_root in (False, True):
        head = KalmanHead(m, 1, 1.0, noise, gamma, square_root=square_root, dtype=torch.float32)
        found[square_root] = math.inf
        for step, features in enumerate(blocks):
            head.update(features, torch.zeros(b, 1))
            if step % 10 == 0:
                found[square_root] = min(found[square_root], least(head))
    assert found[False] <= 0
    assert found[True] > 0


@each_hard
def test_the_root_in_single_precision_is_near_what_double_precision_finds(gamma, noise):
    m, plane = 16, normal(3, 16)
    blocks = badly_conditioned(2000, m, torch.float64, 4, plane).split(4)
    single, double = (KalmanHead(m, 2, 1.0, noise, gamma, dtype=dtype) for dtype in (torch.float32, torch.float64))
    weights = normal(m, 2, seed=3)
    for features in blocks:
        for head in (single, double):
            head.update(features, features @ weights)
    probe = badly_conditioned(50, m, torch.float64, 5, plane)
    spread = single.predict(probe)[1].double() / double.predict(probe)[1]
    assert (spread - 1).abs().max() < 0.02
    assert (single.predict(probe)[0].double() - double.predict(probe)[0]).abs().max() < 1e-3


# --- what it is made of -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_features_of_any_floating_dtype_are_taken_and_the_belief_keeps_its_own(given, kept):
    features, targets = normal(6, 4).to(given), normal(6, 2, seed=1).to(given)
    head, reference = head_of(gamma=0.9, dtype=kept), head_of(gamma=0.9)
    head.update(features, targets)
    reference.update(features.double(), targets.double())
    mean, variance = head.predict(features)
    assert {mean.dtype, variance.dtype, head.mean.dtype, head.covariance.dtype, head.gamma.dtype} == {kept}
    assert head.log_prob(features, torch.zeros(6, dtype=torch.long)).dtype == kept
    assert head.log_density(features, targets).dtype == kept
    torch.testing.assert_close(head.mean.double(), reference.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.covariance.double(), reference.covariance, rtol=1e-4, atol=1e-5)


def test_slopes_reach_features_of_another_dtype():
    features = normal(6, 4, dtype=torch.float32).requires_grad_()
    learned(head := head_of(), blocks_of([4]))
    head.log_prob(features, torch.zeros(6, dtype=torch.long), seeded()).sum().backward()
    assert features.grad.dtype == torch.float32
    assert bool(features.grad.any())


@FORMS
def test_an_update_changes_no_block_and_has_no_graph(square_root):
    features, targets = (value.requires_grad_() for value in blocks_of([5])[0])
    copies = features.detach().clone(), targets.detach().clone()
    head = head_of(gamma=0.9, learn_gamma=True, square_root=square_root)
    head.update(features, targets)
    assert torch.equal(features, copies[0])
    assert torch.equal(targets, copies[1])
    assert not head.mean.requires_grad
    assert not head.covariance.requires_grad


@FORMS
def test_a_reset_is_the_prior_and_keeps_what_was_learned_of_gamma_and_alpha(square_root):
    head = head_of(gamma=0.9, learn_gamma=True, gamma_rate=0.1, square_root=square_root)
    (features, targets), labels = blocks_of([5])[0], torch.tensor([0, 1, 1, 0, 0])
    close(head.covariance, WEIGHT * eye(4))
    head.update(features, targets)
    head.adapt(head.log_prob(features, labels, seeded()))
    gamma, alpha = head.gamma, head.alpha
    head.reset()
    close(head.covariance, WEIGHT * eye(4))
    assert not head.mean.any()
    assert (head.gamma, head.alpha) == (gamma, alpha)
    assert gamma.item() != pytest.approx(0.9, abs=1e-6)


@FORMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_head_goes_on_bit_for_bit(dtype, square_root):
    settings = {"gamma": 0.95, "learn_gamma": True, "gamma_rate": 0.01, "square_root": square_root, "dtype": dtype}
    head, labels = head_of(**settings), torch.tensor([0, 1, 1])

    def go(each):
        for features, targets in blocks_of([3, 3], seed=5):
            each.adapt(each.log_prob(features, labels, seeded(2)))
            each.update(features, targets)

    go(head)
    file = io.BytesIO()
    torch.save(head.state_dict(), file)
    file.seek(0)
    other = head_of(**settings | {"gamma": 0.5})
    other.load_state_dict(torch.load(file, weights_only=True))
    copied = copy.deepcopy(head)
    for each in (head, other, copied):
        go(each)
    for each in (other, copied):
        assert all(torch.equal(value, each.state_dict()[name]) for name, value in head.state_dict().items())
    assert set(head.state_dict()) == {"delta", "log_alpha", "mean", "belief", "status"}


@FORMS
def test_features_that_are_not_finite_have_a_status_that_stays(square_root):
    head = head_of(square_root=square_root)
    blocks = blocks_of([3, 3, 3])
    head.update(*blocks[0])
    assert head.status == 0
    head.update(blocks[1][0] * math.nan, blocks[1][1])
    assert head.status > 0
    head.reset()
    head.update(*blocks[2])
    assert head.status > 0


def test_the_lessons_settings():
    head = KalmanHead(3, 2)
    assert (head.weight_variance, head.noise_variance, head.gamma_rate, head.alpha_rate) == (1.0, 0.1, 1e-5, 1e-2)
    assert (head.gamma.item(), head.samples) == (1, 32)
    assert head.alpha.item() == pytest.approx(5)
    assert not head.delta.requires_grad


# --- features of unit norm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_rows_have_unit_norm_and_a_constant(shape, dtype):
    features = normal(*shape).to(dtype)
    scaled = UnitFeatures(0.5)(features)
    assert scaled.shape == (*shape[:-1], 4)
    assert scaled.dtype == dtype
    assert bool((scaled[..., -1] == 0.5).all())
    norms = scaled[..., :-1].double().norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=4 * torch.finfo(dtype).eps)
    bigger = UnitFeatures(0.5)(16 * features)
    torch.testing.assert_close(bigger, scaled)
    assert UnitFeatures()(features)[..., -1].flatten()[0].item() == pytest.approx(0.3, rel=1e-3)


def test_small_rows_are_scaled_and_rows_of_zeros_stay():
    features = torch.tensor([[0.0, 0.0], [3e-5, 4e-5]], requires_grad=True)
    units = UnitFeatures()(features)
    close(units.detach(), torch.tensor([[0.0, 0.0, 0.3], [0.6, 0.8, 0.3]]), 1e-6)
    (slope,) = torch.autograd.grad((1e10 * units).sum(), features)
    assert slope.isfinite().all()


def test_slopes_pass_through():
    assert torch.autograd.gradcheck(UnitFeatures(), normal(3, 4).requires_grad_())

"""What the Kalman filter is compared with, against loops written out, least squares and Jacobians by autograd.

Seeds are fixed, numbers are compared in double precision.
"""

import copy
import math

import pytest
import torch
from agree import close, eye, normal, seeded
from torch import nn

from companion.data.streams import moving_classes
from companion.foundations.linear import RecursiveLeastSquares, ridge
from companion.foundations.online import centred_one_hot, run_stream
from companion.methods.kalman import KalmanHead, UnitFeatures
from companion.methods.rivals.online import ExtendedKalman, ForgetfulRidge, ResetOnDrift, SoftmaxFTRL, SoftmaxSGD

DOUBLE = {"dtype": torch.float64}
WEIGHT = 0.3
each_seed = pytest.mark.parametrize("seed", range(5))


def rows_of(n: int = 24, m: int = 3, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    features = normal(n, m, seed=seed)
    return features, (features @ normal(m, classes, seed=seed + 1)).argmax(1)


def taught(learner, features, labels, batch_size: int = 1):
    """The learner after a stream, and the score of every row."""
    scores = [
        state.log_prob for state in run_stream(learner, features, labels, batch_size=batch_size, generator=seeded())
    ]
    return learner, torch.cat(scores)


def slope_of(weights, features, labels) -> torch.Tensor:
    """Of the mean loss of softmax regression, by the textbook: F'(p - e) / b."""
    return features.T @ (torch.softmax(features @ weights, 1) - eye(weights.shape[1])[labels]) / len(features)


# --- gradient steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 24])
def test_gradient_steps_by_hand(batch_size):
    features, labels = rows_of()
    learner, scores = taught(SoftmaxSGD(3, 3, 0.7, **DOUBLE), features, labels, batch_size)
    weights, wanted = torch.zeros(3, 3, **DOUBLE), []
    for x, y in zip(features.split(batch_size), labels.split(batch_size), strict=True):
        wanted.append(torch.log_softmax(x @ weights, 1)[torch.arange(len(y)), y])
        weights = weights - 0.7 * slope_of(weights, x, y)
    close(scores, torch.cat(wanted))
    close(learner.weights.detach(), weights)


@pytest.mark.parametrize(("batch_size", "memory"), [(1, 5), (3, 5), (3, 300), (8, 5), (5, 5)])
def test_replay_by_hand(batch_size, memory):
    """A list of the latest rows; what is replayed is drawn from it before the block is added."""
    features, labels = rows_of()
    learner = SoftmaxSGD(3, 3, 0.7, replay=4, memory=memory, generator=seeded(6), **DOUBLE)
    learner, scores = taught(learner, features, labels, batch_size)
    weights, wanted, draws = torch.zeros(3, 3, **DOUBLE), [], seeded(6)
    slots, seen = [None] * memory, 0
    for x, y in zip(features.split(batch_size), labels.split(batch_size), strict=True):
        wanted.append(torch.log_softmax(x @ weights, 1)[torch.arange(len(y)), y])
        filled = [slot for slot in slots if slot is not None]
        if filled:
            again = [filled[place] for place in torch.randint(len(filled), (4,), generator=draws)]
            x = torch.cat([x, features[again]])
            y = torch.cat([y, labels[again]])
        weights = weights - 0.7 * slope_of(weights, x, y)
        for row in range(seen, min(seen + batch_size, 24)):
            slots[row % memory] = row
        seen += batch_size
    close(scores, torch.cat(wanted))
    close(learner.weights.detach(), weights)
    plain, _ = taught(SoftmaxSGD(3, 3, 0.7, **DOUBLE), features, labels, batch_size)
    assert (plain.weights - learner.weights).abs().max() > 1e-3


def test_a_memory_of_one_row_replays_the_row_before():
    features, labels = rows_of()
    learner, _ = taught(SoftmaxSGD(3, 3, 0.7, replay=1, memory=1, **DOUBLE), features, labels)
    weights = torch.zeros(3, 3, **DOUBLE)
    for row in range(24):
        rows = [row] if row == 0 else [row, row - 1]
        weights = weights - 0.7 * slope_of(weights, features[rows], labels[rows])
    close(learner.weights.detach(), weights)


@pytest.mark.parametrize(("batch_size", "memory"), [(1, 5), (3, 5), (4, 24), (3, 100), (24, 5), (7, 6)])
def test_the_memory_holds_the_latest_rows_with_their_labels(batch_size, memory):
    features, labels = rows_of()
    learner = SoftmaxSGD(3, 3, 0.1, replay=1, memory=memory, **DOUBLE)
    taught(learner, features, labels, batch_size)
    latest, kept = slice(max(0, 24 - memory), 24), min(memory, 24)
    order = learner.kept[:kept, 0].sort().indices
    wanted = features[latest, 0].sort().indices
    assert torch.equal(learner.kept[:kept][order], features[latest][wanted])
    assert torch.equal(learner.labels[:kept][order], labels[latest][wanted])
    assert not learner.kept[kept:].any()
    assert SoftmaxSGD(3, 3, 0.1, memory=memory).kept.shape == (0, 3)


# --- follow the regularised leader ----------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [0, 0.3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_ftrl_by_the_loop_that_was_published(batch_size, l2):
    """McMahan and others 2013, algorithm 1, with beta = 1 and no L1, in plain Python."""
    features, labels = rows_of()
    learner, scores = taught(SoftmaxFTRL(3, 3, 0.7, l2, **DOUBLE), features, labels, batch_size)
    z, n = ([[0.0] * 3 for _ in range(3)] for _ in range(2))
    wanted = []

    def weight(i, k):
        return -z[i][k] / ((1 + math.sqrt(n[i][k])) / 0.7 + l2)

    for x, y in zip(features.split(batch_size), labels.split(batch_size), strict=True):
        w = [[weight(i, k) for k in range(3)] for i in range(3)]
        slope = [[0.0] * 3 for _ in range(3)]
        for row, label in zip(x.tolist(), y.tolist(), strict=True):
            logits = [sum(row[i] * w[i][k] for i in range(3)) for k in range(3)]
            total = sum(map(math.exp, logits))
            wanted.append(logits[label] - math.log(total))
            for i in range(3):
                for k in range(3):
                    slope[i][k] += row[i] * (math.exp(logits[k]) / total - (k == label)) / len(y)
        for i in range(3):
            for k in range(3):
                g = slope[i][k]
                sigma = (math.sqrt(n[i][k] + g * g) - math.sqrt(n[i][k])) / 0.7
                z[i][k] += g - sigma * w[i][k]
                n[i][k] += g * g
    close(scores, torch.tensor(wanted, **DOUBLE))
    close(learner.weights.detach(), torch.tensor([[weight(i, k) for k in range(3)] for i in range(3)], **DOUBLE))


# --- ridge regression that forgets ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5])
def test_where_nothing_fades_it_is_ridge_regression(batch_size):
    features, labels = rows_of()
    learner = ForgetfulRidge(3, 3, 0.4, 1)
    for state in run_stream(learner, features, labels, batch_size=batch_size):
        rows = slice(0, state.rows)
        close(learner.memory.weights, ridge(features[rows], centred_one_hot(labels[rows], 3, torch.float64), 0.4))


def test_where_rows_fade_it_is_recursive_least_squares():
    features, labels = rows_of()
    learner, _ = taught(ForgetfulRidge(3, 3, 0.4, 0.8), features, labels, 3)
    memory = RecursiveLeastSquares(torch.zeros(3, 3, **DOUBLE), 0.4, 0.8)
    for x, y in zip(features.split(3), centred_one_hot(labels, 3, torch.float64).split(3), strict=True):
        memory.update(x, y)
    close(learner.memory.weights, memory.weights)


@pytest.mark.parametrize("alpha_rate", [0, 0.2])
def test_its_softmax_learns_its_scale(alpha_rate):
    features, labels = rows_of()
    learner = ForgetfulRidge(3, 3, 0.4, 0.9, alpha=2.0, alpha_rate=alpha_rate)
    log_alpha = torch.tensor(math.log(2.0), **DOUBLE)
    for x, y in zip(features.split(4), labels.split(4), strict=True):
        log_alpha.requires_grad_()
        wanted = torch.log_softmax(log_alpha.exp() * (x @ learner.memory.weights), 1)
        table = learner.log_probabilities(x)
        close(table.detach(), wanted.detach())
        (slope,) = torch.autograd.grad(-wanted[torch.arange(4), y].mean(), log_alpha)
        learner.adapt(table.gather(1, y[:, None])[:, 0])
        log_alpha = log_alpha.detach() - alpha_rate * slope
        close(learner.log_alpha.detach(), log_alpha)
        learner.update(x, centred_one_hot(y, 3, torch.float64))
    assert (learner.log_alpha.item() != pytest.approx(math.log(2.0))) == (alpha_rate > 0)


# --- a Kalman filter over all weights -------------------------------------------------------------------------


def network(m: int = 3, classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(m, 4), nn.Tanh(), nn.Linear(4, classes)).double()


def extended_by_hand(start, mean, covariance, features, labels, gamma: float, jitter: float = 0.02):
    """One step of the textbook's extended filter, with dense matrices and a Jacobian by autograd."""
    example, k, d = network(), 3, len(mean)

    def probabilities(weights):
        nn.utils.vector_to_parameters(weights, example.parameters())
        sizes = [value.numel() for value in example.parameters()]
        first, bias, last, other = (
            part.view_as(value) for part, value in zip(weights.split(sizes), example.parameters(), strict=True)
        )
        return torch.softmax(torch.tanh(features @ first.T + bias) @ last.T + other, 1).flatten()

    mean = start + gamma * (mean - start)
    covariance = gamma**2 * covariance + (1 - gamma**2) * WEIGHT * eye(d)
    expected = probabilities(mean)
    slope = torch.autograd.functional.jacobian(probabilities, mean)
    noise = jitter * eye(len(features) * k)
    for row, p in enumerate(expected.view(-1, k)):
        block = slice(k * row, k * row + k)
        noise[block, block] += torch.diag(p) - p[:, None] * p[None]
    gain = covariance @ slope.T @ torch.linalg.inv(slope @ covariance @ slope.T + noise)
    moved = mean + gain @ (eye(k)[labels].flatten() - expected)
    return moved, covariance - gain @ slope @ covariance, mean


@pytest.mark.parametrize("gamma", [1, 0.9, 0])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_each_step_is_the_textbooks_extended_filter(batch_size, gamma):
    features, labels = rows_of(12)
    learner = ExtendedKalman(network(), 3, WEIGHT, gamma, jitter=0.02)
    start = nn.utils.parameters_to_vector(network().parameters()).detach()
    mean, covariance = start, WEIGHT * eye(len(start))
    example = network()
    for x, y in zip(features.split(batch_size), labels.split(batch_size), strict=True):
        table = learner.log_probabilities(x)
        mean, covariance, drifted = extended_by_hand(start, mean, covariance, x, y, gamma)
        nn.utils.vector_to_parameters(drifted, example.parameters())
        close(table, torch.log_softmax(example(x), 1).detach())
        learner.update(x, centred_one_hot(y, 3, torch.float64))
        close(learner.mean, mean, 1e-8)
        close(learner.covariance, covariance, 1e-8)
    assert (mean - start).abs().max() > 0.05
    assert learner.status == 0


def test_with_rows_that_tell_nothing_it_drifts_back_to_its_start_and_its_prior():
    torch.manual_seed(0)
    linear = nn.Linear(3, 3, bias=False).double()
    learner, start = ExtendedKalman(linear, 3, WEIGHT, 0.8), linear.weight.detach().flatten().clone()
    features, labels = rows_of(9)
    learner.update(features, centred_one_hot(labels, 3, torch.float64))
    mean, covariance = learner.mean.clone(), learner.covariance.clone()
    assert (mean - start).abs().max() > 0.1
    nothing = torch.zeros(2, 3, **DOUBLE), torch.zeros(2, 3, **DOUBLE)
    for step in range(1, 101):
        learner.update(*nothing)
        close(learner.mean, start + 0.8**step * (mean - start))
        close(learner.covariance, 0.8 ** (2 * step) * covariance + (1 - 0.8 ** (2 * step)) * WEIGHT * eye(9))
    close(learner.mean, start, 1e-8)


def test_asking_or_teaching_it_leaves_its_network_alone():
    example = network()
    before = copy.deepcopy(example.state_dict())
    learner = ExtendedKalman(example, 3, WEIGHT)
    kept = copy.deepcopy(learner.state_dict())
    features, labels = rows_of(6)
    table = learner.log_probabilities(features)
    assert not table.requires_grad
    assert all(torch.equal(value, kept[name]) for name, value in learner.state_dict().items())
    learner.update(features, centred_one_hot(labels, 3, torch.float64))
    assert all(torch.equal(value, before[name]) for name, value in example.state_dict().items())
    assert all(parameter.requires_grad for parameter in example.parameters())
    assert torch.equal(learner.start, kept["start"])
    assert not torch.equal(learner.mean, learner.start)
    close(learner.log_probabilities(features.float()), learner.log_probabilities(features), 1e-5)


@each_seed
def test_it_learns_what_no_line_can_tell(seed):
    """Two classes in four quarters of the plane."""
    features = normal(400, 2, seed=seed)
    labels = (features.prod(1) > 0).long()
    torch.manual_seed(seed)
    mlp = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    *_, extended = run_stream(ExtendedKalman(mlp, 2), features, labels, every=200)
    *_, linear = run_stream(KalmanHead(2, 2), features, labels, every=200)
    assert extended.correct.double().mean() > 0.85
    assert linear.correct.double().mean() < 0.7


# --- starting anew at an alarm --------------------------------------------------------------------------------


class Script:
    """A detector that is alarmed by the rows it is told to, counted over all detectors of a run."""

    def __init__(self, alarms: set[int], told: list[float], made: list["Script"]) -> None:
        self.alarms, self.told, self.drift_detected = alarms, told, False
        made.append(self)

    def update(self, x: float) -> None:
        self.drift_detected = len(self.told) in self.alarms
        self.told.append(x)


def scripted(alarms: set[int], **settings) -> tuple[ResetOnDrift, list[float], list[Script]]:
    told, made = [], []
    return ResetOnDrift(KalmanHead(3, 3, **settings), lambda: Script(alarms, told, made)), told, made


@pytest.mark.parametrize(("batch_size", "blocks"), [(1, {4, 10, 11}), (4, {1, 2})])
def test_it_starts_anew_exactly_when_the_detector_says_so(batch_size, blocks):
    features, labels = rows_of()
    learner, told, made = scripted({4, 10, 11})
    reference, errors = KalmanHead(3, 3), []
    for state in run_stream(learner, features, labels, batch_size=batch_size, generator=seeded()):
        rows = slice(state.rows - batch_size, state.rows)
        errors += (reference.predict(features[rows])[0].argmax(1) != labels[rows]).double().tolist()
        if state.step - 1 in blocks:
            reference = KalmanHead(3, 3)
        reference.update(features[rows], centred_one_hot(labels[rows], 3, torch.float64))
        assert torch.equal(learner.head.mean, reference.mean)
        assert torch.equal(learner.head.covariance, reference.covariance)
    assert learner.alarms == sorted(blocks)
    assert told == errors
    assert len(made) == 1 + len(blocks)
    assert learner.detector is made[-1]
    assert 0 < sum(told) < 24


def test_without_alarms_it_is_its_head():
    features, labels = rows_of()
    settings = {"gamma": 0.9, "learn_gamma": True, "gamma_rate": 0.01}
    learner, scores = taught(scripted(set(), **settings)[0], features, labels, 4)
    head, wanted = taught(KalmanHead(3, 3, **settings), features, labels, 4)
    assert torch.equal(scores, wanted)
    assert all(torch.equal(value, learner.head.state_dict()[name]) for name, value in head.state_dict().items())
    assert learner.alarms == []
    assert learner.num_classes == 3


def test_a_reset_keeps_gamma_and_alpha():
    features, labels = rows_of()
    settings = {"gamma": 0.9, "learn_gamma": True, "gamma_rate": 0.01}
    alarmed, _ = taught(scripted({23}, **settings)[0], features, labels)
    calm, _ = taught(scripted(set(), **settings)[0], features, labels)
    assert torch.equal(alarmed.head.gamma, calm.head.gamma)
    assert torch.equal(alarmed.head.alpha, calm.head.alpha)
    assert not torch.equal(alarmed.head.mean, calm.head.mean)


@pytest.mark.slow
@each_seed
def test_a_detector_of_river_is_alarmed_soon_after_a_change_and_not_before(seed):
    drift = pytest.importorskip("river.drift")
    stream = moving_classes(600, "abrupt", segment=300, generator=seeded(seed))
    features = UnitFeatures()(stream.features)
    learner, scores = taught(ResetOnDrift(KalmanHead(3, 3), drift.ADWIN), features, stream.labels)
    _, static = taught(KalmanHead(3, 3), features, stream.labels)
    assert learner.alarms
    assert 300 <= learner.alarms[0] < 400
    assert scores[400:].mean() > static[400:].mean() + 0.3

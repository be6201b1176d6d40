"""Streams are honest: a row is scored before its label is seen, by every learner, and a run that was cut goes on bit by bit.

Seeds are fixed. What is said of every learner holds for the Kalman filter and for each of its rivals.
"""

import copy
import io
import math

import pytest
import torch
from agree import close, last, normal, seeded, weights_of
from torch import nn

from companion.foundations.linear import SINGULAR
from companion.foundations.online import OnlineLearner, centred_one_hot, run_stream
from companion.methods.kalman import KalmanHead, UnitFeatures
from companion.methods.rivals.online import ExtendedKalman, ForgetfulRidge, ResetOnDrift, SoftmaxFTRL, SoftmaxSGD


def rows_of(n: int = 40, m: int = 3, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels that have to do with each other."""
    features = normal(n, m, seed=seed)
    return features, (features @ normal(m, classes, seed=seed + 1)).argmax(1)


class EveryTenth:
    """A drift detector that is alarmed at every tenth row."""

    def __init__(self) -> None:
        self.rows, self.drift_detected = 0, False

    def update(self, x: float) -> None:
        self.rows += 1
        self.drift_detected = self.rows % 10 == 0


def network(m: int = 3, classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(m, 4), nn.Tanh(), nn.Linear(4, classes)).double()


LEARNERS = {
    "kalman": lambda m, k, seed: KalmanHead(m, k, gamma=0.99),
    "kalman, learned": lambda m, k, seed: KalmanHead(m, k, gamma=0.99, learn_gamma=True, gamma_rate=1e-3),
    "kalman, by its root": lambda m, k, seed: KalmanHead(m, k, learn_gamma=True, dtype=torch.float32),
    "sgd": lambda m, k, seed: SoftmaxSGD(m, k, 0.5),
    "sgd with replay": lambda m, k, seed: SoftmaxSGD(m, k, 0.5, replay=2, memory=7, generator=seeded(seed)),
    "ftrl": lambda m, k, seed: SoftmaxFTRL(m, k, 0.5, 0.01),
    "ridge": lambda m, k, seed: ForgetfulRidge(m, k, 0.5, 0.95),
    "extended kalman": lambda m, k, seed: ExtendedKalman(network(m, k), k, gamma=0.99),
    "reset": lambda m, k, seed: ResetOnDrift(KalmanHead(m, k), EveryTenth),
}
each_learner = pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)


def tables_of(make, features, labels, batch_size: int = 1) -> torch.Tensor:
    """What a learner says of every row before it learns it (n, K): its first answer in each block."""
    learner, tables = make(features.shape[1], 3, 0), []
    ask, answers = learner.log_probabilities, []

    def answer(*asked):
        answers.append(ask(*asked))
        return answers[-1]

    learner.log_probabilities = answer
    for _ in run_stream(learner, features, labels, batch_size=batch_size, generator=seeded(5)):
        tables.append(answers[0].detach().clone())
        answers.clear()  # replayed rows are asked for, too
    return torch.cat(tables)


# --- test, then train -----------------------------------------------------------------------------------------


@each_learner
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_label_changes_no_prediction_of_its_own_block_or_of_an_earlier_one(make, batch_size):
    features, labels = rows_of(24)
    before = tables_of(make, features, labels, batch_size)
    for row in (0, 9, 14):
        others = labels.clone()
        others[row] = (labels[row] + 1) % 3
        after = tables_of(make, features, others, batch_size)
        start = row // batch_size * batch_size + batch_size  # of the next block
        assert torch.equal(after[:start], before[:start])
        assert not torch.allclose(after[start], before[start], rtol=1e-6, atol=1e-9)


@each_learner
def test_no_later_row_changes_a_prediction(make):
    features, labels = rows_of(24)
    before = tables_of(make, features, labels)
    spoiled = features.clone()
    spoiled[15:] *= -3
    assert torch.equal(tables_of(make, spoiled, labels)[:15], before[:15])


def chance(hits: torch.Tensor, classes: int) -> float:
    """How many standard errors the share of hits lies above chance."""
    return (hits.double().mean().item() - 1 / classes) / math.sqrt((1 / classes) * (1 - 1 / classes) / len(hits))


def train_then_test(learner, features, labels) -> torch.Tensor:
    """The wrong order: what everyone would score who had seen the label."""
    hits = []
    for x, y in zip(features.split(1), labels.split(1), strict=True):
        learner.adapt(learner.log_probabilities(x).gather(1, y[:, None])[:, 0])
        learner.update(x, centred_one_hot(y, 3, x.dtype))
        hits.append(learner.log_probabilities(x).argmax(1) == y)
    return torch.cat(hits)


@each_learner
@pytest.mark.parametrize("batch_size", [1, 5])
def test_labels_that_are_noise_are_not_predicted_above_chance(make, batch_size):
    """With 20 features every learner fits the row that it has just seen, so that a peek would be seen, too."""
    features, labels = normal(400, 20), torch.randint(3, (400,), generator=seeded(1))
    state = last(run_stream(make(20, 3, 0), features, labels, batch_size=batch_size, every=400, generator=seeded()))
    assert abs(chance(state.correct, 3)) < 4
    assert state.log_prob.mean() < -math.log(3)
    if batch_size == 1:
        assert chance(train_then_test(make(20, 3, 0), features[:200], labels[:200]), 3) > 7


@each_learner
def test_a_block_is_scored_by_the_learner_before_the_block(make):
    features, labels = rows_of(20)
    learner, scores = make(3, 3, 0), []
    reference, draws = copy.deepcopy(learner), seeded(3)
    for state in run_stream(learner, features, labels, batch_size=8, generator=seeded(3)):
        scores.append(state.log_prob)
        rows = slice(8 * (state.step - 1), 8 * state.step)
        table = reference.log_probabilities(features[rows], draws).detach()
        assert torch.equal(state.log_prob, table.gather(1, labels[rows, None])[:, 0])
        assert torch.equal(state.correct, table.argmax(1) == labels[rows])
        reference = copy.deepcopy(learner)
    assert [len(score) for score in scores] == [8, 8, 4]
    row_by_row = last(run_stream(make(3, 3, 0), features, labels, every=20, generator=seeded(3))).log_prob
    assert not torch.allclose(torch.cat(scores), row_by_row, rtol=1e-3)


class Diary(OnlineLearner):
    """It learns one number and writes down what it is asked."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.num_classes, self.written = classes, []
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def log_probabilities(self, features, generator=None):
        self.written.append(("test", features, generator))
        return torch.log_softmax(self.scale * features[:, :1] * torch.arange(self.num_classes), -1)

    def descend(self):
        self.written.append(("descend", self.scale.grad.clone(), torch.is_grad_enabled()))

    def update(self, features, targets):
        self.written.append(("absorb", features, targets))


def test_each_block_is_tested_descended_on_and_absorbed_in_this_order():
    features, labels = rows_of(5)
    learner, draws = Diary(), seeded()
    for _ in run_stream(learner, features, labels, batch_size=2, generator=draws):
        pass
    assert [what for what, *_ in learner.written] == ["test", "descend", "absorb"] * 3
    tests, descents, absorbed = learner.written[::3], learner.written[1::3], learner.written[2::3]
    for block, (x, y) in enumerate(zip(features.split(2), labels.split(2), strict=True)):
        assert torch.equal(tests[block][1], x)
        assert tests[block][2] is draws
        assert not descents[block][2]
        assert torch.equal(absorbed[block][1], x)
        assert torch.equal(absorbed[block][2], centred_one_hot(y, 3, torch.float64))


def test_what_is_absorbed_has_no_graph():
    features, labels = rows_of(5)
    backbone = nn.Linear(3, 3).double()
    for parts in ({}, {"backbone": backbone, "optimizer": torch.optim.SGD(backbone.parameters(), lr=0.1)}):
        learner = Diary()
        last(run_stream(learner, features.requires_grad_(), labels, **parts))
        assert all(entry[1].requires_grad == (entry[0] == "test") for entry in learner.written)


def test_learning_descends_on_the_mean_of_a_block_and_leaves_no_gradient_behind():
    features, labels = rows_of(7)
    learner = Diary()
    for _ in range(2):
        score = learner.log_probabilities(features).gather(1, labels[:, None])[:, 0]
        (slope,) = torch.autograd.grad(-score.mean(), learner.scale, retain_graph=True)
        learner.adapt(score)
        close(learner.written[-1][1], slope)
        assert learner.scale.grad is None


def test_what_has_no_slope_is_not_descended_on():
    learner = Diary()
    learner.adapt(torch.zeros(3))
    assert learner.written == []
    learner.scale.requires_grad_(False)
    learner.adapt(learner.log_probabilities(normal(2, 3))[:, 0])
    assert [what for what, *_ in learner.written] == ["test"]


def test_a_learner_need_not_override_either_way_of_learning():
    class Even(OnlineLearner):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def log_probabilities(self, features, generator=None):
            return torch.log_softmax(self.scale * torch.zeros(len(features), 4), -1)

    state = last(run_stream(Even(), torch.ones(6, 1), torch.arange(6) % 4, num_classes=4, every=6))
    close(state.log_prob, torch.full((6,), -math.log(4.0)), 1e-6)
    with pytest.raises(TypeError, match="log_probabilities"):
        OnlineLearner()


# --- what a linear model is taught ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8])
def test_targets_are_one_hot_rows_whose_sum_is_0(dtype):
    labels = torch.tensor([2, 0, 3, 2])
    targets = centred_one_hot(labels.to(dtype), 4, torch.float64)
    assert torch.equal(targets.argmax(1), labels)
    close(targets, torch.eye(4, dtype=torch.float64)[labels] - 0.25)
    assert targets.sum(1).abs().max() == 0
    assert centred_one_hot(labels, 4).dtype == torch.float32
    assert centred_one_hot(labels, 6).shape == (4, 6)


# --- states ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize(("rows", "batch_size", "steps"), [(20, 1, 20), (20, 3, 7), (21, 3, 7), (2, 5, 1)])
def test_states_come_every_so_many_blocks_and_at_the_last(rows, batch_size, steps, every):
    features, labels = rows_of(rows)
    taken, scores, hits = [], [], []
    for state in run_stream(SoftmaxSGD(3, 3, 0.5), features, labels, batch_size=batch_size, every=every):
        taken.append(state.step)
        assert state.rows == min(state.step * batch_size, rows)
        scores.append(state.log_prob)
        hits.append(state.correct)
        assert sum(map(len, scores)) == state.rows
        assert len(state.correct) == len(state.log_prob)
    assert taken == sorted({*range(every, steps + 1, every), steps})
    whole = last(run_stream(SoftmaxSGD(3, 3, 0.5), features, labels, batch_size=batch_size, every=steps))
    assert torch.equal(torch.cat(scores), whole.log_prob)
    assert torch.equal(torch.cat(hits), whole.correct)
    assert not whole.log_prob.requires_grad


def test_a_state_holds_what_learns():
    features, labels = rows_of(4)
    learner, backbone = KalmanHead(3, 3), nn.Linear(3, 3).double()
    assert last(run_stream(learner, features, labels)).backbone is None
    state = last(
        run_stream(learner, features, labels, backbone=backbone, optimizer=torch.optim.SGD(backbone.parameters()))
    )
    assert state.learner is learner
    assert state.backbone is backbone


def test_nothing_is_learned_before_a_state_is_asked_for():
    features, labels = rows_of(6)
    learner = KalmanHead(3, 3)
    states = run_stream(learner, features, labels, every=2)
    assert not learner.mean.any()
    next(states)
    reference = KalmanHead(3, 3)
    for _ in run_stream(reference, features[:2], labels[:2], generator=seeded()):
        pass
    assert torch.equal(learner.mean, reference.mean)


def test_a_system_that_could_not_be_solved_is_told_when_a_state_is_due():
    features, labels = rows_of(6)
    features[1, 2] = math.nan
    for learner in (KalmanHead(3, 3), KalmanHead(3, 3, dtype=torch.float32), ForgetfulRidge(3, 3, 1, 1)):
        states = run_stream(copy.deepcopy(learner), features, labels)
        assert next(states).step == 1
        with pytest.raises(torch.linalg.LinAlgError) as refusal:
            next(states)
        assert str(refusal.value) == SINGULAR
        states = run_stream(learner, features, labels, every=4)
        with pytest.raises(torch.linalg.LinAlgError):
            next(states)


# --- how many classes -----------------------------------------------------------------------------------------


def test_the_number_of_classes_is_the_learners_unless_it_is_given():
    features, labels = rows_of(6)
    for given, wanted in ((None, 3), (5, 5)):
        learner = Diary()
        for _ in run_stream(learner, features, labels, num_classes=given):
            pass
        assert learner.written[-1][2].shape == (1, wanted)
    learner = Diary()
    del learner.num_classes
    with pytest.raises(
        ValueError, match=r"^num_classes is None, but must be given for a learner that has no num_classes"
    ):
        run_stream(learner, features, labels)


# --- draws ----------------------------------------------------------------------------------------------------


def test_the_generator_draws_everything():
    features, labels = rows_of(12)
    before = torch.random.get_rng_state()
    runs = [
        last(run_stream(KalmanHead(3, 3, samples=4), features, labels, every=12, generator=seeded(seed))).log_prob
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(before, torch.random.get_rng_state())


# --- the backbone ---------------------------------------------------------------------------------------------


def unit_backbone(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), UnitFeatures()).double()


def momentum(backbone: nn.Module, rate: float = 0.2) -> torch.optim.Optimizer:
    return torch.optim.SGD(backbone.parameters(), lr=rate, momentum=0.9)


def head(m: int = 6) -> KalmanHead:
    return KalmanHead(m, 3, gamma=0.98, learn_gamma=True, gamma_rate=1e-2, alpha_rate=0.1)


def fine_tuned_by_hand(features, labels, batch_size: int, fresh: bool = True):
    """The loop written out: one loss for gamma, alpha and the backbone, then the block by the new backbone."""
    learner, backbone, generator = head(), unit_backbone(), seeded(3)
    descent, scores = momentum(backbone), []
    for x, y in zip(features.split(batch_size), labels.split(batch_size), strict=True):
        descent.zero_grad()
        rows = backbone(x)
        score = learner.log_prob(rows, y, generator)
        scores.append(score.detach())
        parameters = [learner.delta, learner.log_alpha, *backbone.parameters()]
        slopes = torch.autograd.grad(-score.mean(), parameters)
        with torch.no_grad():
            learner.delta.sub_(1e-2 * slopes[0]).clamp_(min=0)
            learner.log_alpha.sub_(0.1 * slopes[1])
        for parameter, slope in zip(backbone.parameters(), slopes[2:], strict=True):
            parameter.grad = slope
        descent.step()
        with torch.no_grad():
            rows = backbone(x) if fresh else rows
        learner.update(rows.detach(), torch.eye(3, dtype=torch.float64)[y] - 1 / 3)
    return torch.cat(scores), learner, backbone


@pytest.mark.parametrize("batch_size", [1, 4])
def test_fine_tuning_by_hand(batch_size):
    features, labels = rows_of(20)
    learner, backbone = head(), unit_backbone()
    stream = run_stream(
        learner,
        features,
        labels,
        batch_size=batch_size,
        backbone=backbone,
        optimizer=momentum(backbone),
        every=20,
        generator=seeded(3),
    )
    state = last(stream)
    scores, other, other_backbone = fine_tuned_by_hand(features, labels, batch_size)
    close(state.log_prob, scores)
    close(weights_of(backbone), weights_of(other_backbone))
    close(weights_of(learner), weights_of(other))
    assert (weights_of(backbone) - weights_of(unit_backbone())).abs().max() > 0.01
    stale, *_ = fine_tuned_by_hand(features, labels, batch_size, fresh=False)
    assert (stale - scores).abs().max() > 1e-3
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert not learner.mean.requires_grad


def test_only_what_the_optimizer_holds_is_fine_tuned():
    features, labels = rows_of(12)
    learner, backbone = head(), unit_backbone()
    before = copy.deepcopy(backbone)
    optimizer = torch.optim.SGD([backbone[0].bias], lr=0.1)
    last(run_stream(learner, features, labels, backbone=backbone, optimizer=optimizer, generator=seeded()))
    assert torch.equal(backbone[0].weight, before[0].weight)
    assert not torch.equal(backbone[0].bias, before[0].bias)


def test_a_backbone_with_a_rate_of_0_is_frozen_features():
    features, labels = rows_of(12)
    backbone = unit_backbone()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.0)
    tuned = last(
        run_stream(head(), features, labels, backbone=backbone, optimizer=optimizer, every=12, generator=seeded())
    )
    fixed = last(run_stream(head(), unit_backbone()(features).detach(), labels, every=12, generator=seeded()))
    close(tuned.log_prob, fixed.log_prob)
    close(tuned.learner.mean, fixed.learner.mean)
    assert torch.equal(weights_of(backbone), weights_of(unit_backbone()))


@each_learner
def test_every_learner_tunes_a_backbone(make):
    features, labels = rows_of(20)
    backbone = unit_backbone()
    stream = run_stream(
        make(6, 3, 0), features, labels, backbone=backbone, optimizer=momentum(backbone), generator=seeded()
    )
    last(stream)
    moved = weights_of(backbone) - weights_of(unit_backbone())
    assert moved.isfinite().all()
    assert moved.abs().max() > 1e-3


def test_a_backbone_may_take_images():
    images, labels = normal(6, 1, 4, 4), torch.arange(6) % 2
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    state = last(
        run_stream(KalmanHead(3, 2), images, labels, batch_size=4, backbone=backbone, optimizer=momentum(backbone))
    )
    assert state.rows == 6


# --- resuming -------------------------------------------------------------------------------------------------


def reloaded(saved):
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # a detector is an object of Python


def shown(state) -> tuple:
    """What a state holds when it comes: its learner moves on."""
    weights = [value.clone() for value in state.learner.state_dict().values() if isinstance(value, torch.Tensor)]
    if state.backbone is not None:
        weights += [value.clone() for value in state.backbone.state_dict().values()]
    return state.step, state.rows, state.log_prob, state.correct, *weights


def assert_identical(ours, theirs) -> None:
    assert len(ours) == len(theirs) > 0
    for (step, rows, *values), (other, others_rows, *others) in zip(ours, theirs, strict=True):
        assert (step, rows) == (other, others_rows)
        assert all(torch.equal(a, b) for a, b in zip(values, others, strict=True))


@each_learner
@pytest.mark.parametrize("tuned", [False, True], ids=["features", "backbone"])
def test_a_stream_resumes_bit_for_bit_at_every_state(make, tuned):
    features, labels = rows_of(29)

    def run(seed: int, **resume):
        parts = {}
        if tuned:
            backbone = unit_backbone(seed)
            parts = {"backbone": backbone, "optimizer": torch.optim.Adam(backbone.parameters(), lr=0.01)}
        learner = make(6 if tuned else 3, 3, seed)
        return run_stream(learner, features, labels, batch_size=2, every=2, generator=seeded(seed), **parts, **resume)

    through, saved = [], []
    for state in run(0):
        through.append(shown(state))
        saved.append(reloaded(state.state_dict()))
    for place in range(len(saved) - 1):
        assert_identical([shown(state) for state in run(7 + place, resume=saved[place])], through[place + 1 :])


def test_a_learner_that_has_gone_on_resumes_from_where_the_state_was():
    """Saving copies: what is learned later changes nothing that was saved."""
    features, labels = rows_of(12)
    learner, generator = KalmanHead(3, 3), seeded()
    through, saved = [], None
    for state in run_stream(learner, features, labels, generator=generator):
        through.append(shown(state))
        saved = state.state_dict() if state.step == 5 else saved
    assert saved["step"] == 5
    rest = run_stream(learner, features, labels, generator=generator, resume=saved)
    assert_identical([shown(state) for state in rest], through[5:])
    again = run_stream(learner, features, labels, generator=generator, resume=saved)
    assert_identical([shown(state) for state in again], through[5:])


def test_a_stream_without_a_generator_resumes_too():
    features, labels = rows_of(9)
    through, saved = [], None
    for state in run_stream(SoftmaxSGD(3, 3, 0.5), features, labels):
        through.append(shown(state))
        saved = reloaded(state.state_dict()) if state.step == 3 else saved
    assert saved["generator"] is None
    rest = run_stream(SoftmaxSGD(3, 3, 0.5), features, labels, resume=saved)
    assert_identical([shown(state) for state in rest], through[3:])


@pytest.mark.slow
def test_a_resumed_detector_of_river_goes_on():
    drift = pytest.importorskip("river.drift")
    features = normal(400, 3)
    labels = (features[:, 0] > 0).long()
    labels[200:] = 1 - labels[200:]

    def run(**resume):
        return run_stream(ResetOnDrift(KalmanHead(3, 2), drift.ADWIN), features, labels, generator=seeded(), **resume)

    through, saved = [], {}
    for state in run():
        through.append(shown(state))
        if state.step in (150, 220):
            saved[state.step] = reloaded(state.state_dict())
    alarms = state.learner.alarms
    assert alarms
    for step, place in saved.items():
        rest = run(resume=place)
        states = [(shown(state), state) for state in rest]
        assert_identical([values for values, _ in states], through[step:])
        assert states[-1][1].learner.alarms == alarms

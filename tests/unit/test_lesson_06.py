"""The streams, learners and comparisons of lesson 06."""

import math
from statistics import mean

import pytest
import torch

from companion.foundations.online import centred_one_hot
from companion.methods.kalman import KalmanHead, average_log_softmax
from companion.methods.rivals.online import ResetOnDrift
from companion.teaching import results
from companion.teaching.lessons import kalman_bench as bench
from companion.teaching.lessons import kalman_streams as lesson
from companion.teaching.lessons import kalman_views as views

DRIFTS = bench.STREAMS
SHORT = 60  # rows


def make(kind, setting=None):
    if kind == "reset by a detector":
        pytest.importorskip("river")
    return lesson.KINDS[kind].make(setting or lesson.KINDS[kind].settings[0], 100, 10, 0)


# --- streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_stream_of_digits_is_a_hundred_features_of_one_scale(drift):
    stream = lesson.digit_rows(drift, 3, rows=SHORT, segment=20)
    assert stream.features.shape == (SHORT, 100)
    torch.testing.assert_close(stream.features[:, :-1].norm(dim=1), torch.ones(SHORT))
    assert bool((stream.features[:, -1] == 0.3).all())
    assert stream.changes == ((20, 40) if drift == "abrupt" else ())


def test_its_seed_draws_images_and_backbone():
    one, again, other = (lesson.digit_rows.__wrapped__("none", seed, rows=SHORT) for seed in (0, 0, 1))
    assert torch.equal(one.features, again.features)
    assert not torch.equal(one.features, other.features)
    assert not torch.equal(lesson.random_features(0)[1].weight, lesson.random_features(1)[1].weight)


def test_flights_are_features_of_one_scale_too():
    stream = lesson.flight_rows()
    torch.testing.assert_close(stream.features[:, :-1].norm(dim=1), torch.ones(len(stream.labels)))


# --- learners -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", lesson.KINDS)
def test_every_kind_learns_the_digits_from_nothing(kind):
    make(kind)
    trace = lesson.run(kind, lesson.KINDS[kind].settings[-1], lesson.digit_rows("none", 0, rows=400), 0)
    late = trace.correct[-200:].double().mean()
    assert late > 0.5
    assert trace.accuracy == pytest.approx(trace.correct.double().mean().item())
    assert len(trace.log_prob) == len(trace.correct) == 400
    assert len(trace.gamma) == (400 if isinstance(trace.learner, KalmanHead) else 0)


@pytest.mark.parametrize("kind", lesson.KINDS)
def test_every_setting_makes_a_learner(kind):
    sort = lesson.KINDS[kind]
    assert len(set(sort.settings)) == len(sort.settings)
    for setting in sort.settings:
        assert make(kind, setting).num_classes == 10


def test_runs_of_one_seed_are_the_same_and_of_others_are_not():
    stream = lesson.digit_rows("none", 0, rows=SHORT)
    one, again, other = (lesson.run("gamma learned", (1e-5, 0.001), stream, seed) for seed in (0, 0, 1))
    assert torch.equal(one.log_prob, again.log_prob)
    assert not torch.equal(one.log_prob, other.log_prob)


def test_only_a_detector_that_saw_errors_rise_is_heeded():
    class Alarm:
        estimation = 0.5
        drift_detected = False

        def update(self, x):
            self.estimation, self.drift_detected = x, True

    rising, falling = lesson.Rising(Alarm()), lesson.Rising(Alarm())
    rising.update(1.0)
    falling.update(0.0)
    assert rising.drift_detected
    assert not falling.drift_detected


@pytest.mark.parametrize(("name", "sensitivity"), [("ADWIN", 0.3), ("Page-Hinkley", 5)])
def test_rivers_detectors_see_a_change_of_names_and_nothing_else(name, sensitivity):
    pytest.importorskip("river")
    stream = lesson.digit_rows("abrupt", 0, rows=900)
    trace = lesson.run("reset by a detector", (name, sensitivity, 0.001), stream, 0)
    assert isinstance(trace.learner, ResetOnDrift)
    late = [alarm for alarm in trace.learner.alarms if alarm >= 300]
    assert [alarm // 300 for alarm in late] == [1, 2]


# --- comparisons --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_comparison_tunes_on_its_own_seeds_and_reports_others(monkeypatch):
    seen, kept = [], {}
    kinds = {kind: lesson.Kind(sort.make, sort.settings[:2]) for kind, sort in lesson.KINDS.items()}
    kinds.pop("reset by a detector")
    monkeypatch.setattr(bench, "KINDS", kinds)
    monkeypatch.setattr(bench, "SEGMENT", 30)
    monkeypatch.setattr(
        bench, "digit_rows", lambda drift, seed: seen.append(seed) or lesson.digit_rows(drift, seed, SHORT, 30)
    )
    monkeypatch.setattr(results, "store", lambda name, data, sources, command: kept.update({name: data}))
    bench.compare_abrupt(seeds=(7,))
    rows = kept["06_abrupt"]["rows"]
    assert set(seen) == {*lesson.TUNING_SEEDS, 7}
    assert set(rows) == {*kinds, bench.HINDSIGHT}
    for kind, sort in kinds.items():
        tried = {setting: mean(losses) for setting, losses in rows[kind]["tried"]}
        assert set(tried) == set(sort.settings)
        assert tried[rows[kind]["chosen"]] == min(tried.values())
    assert rows[bench.HINDSIGHT]["loss"][0] <= rows["gamma fixed"]["loss"][0]


def test_losses_by_age_are_means_over_segments_but_the_first():
    values = torch.arange(2 * 900).double().view(2, 900)
    by_age = bench.by_age(values)
    assert len(by_age) == 60
    assert by_age[0] == pytest.approx(values.unflatten(1, (3, 300))[:, 1:, :5].mean().item())


def test_the_mean_of_a_day_is_of_its_rows():
    days = torch.tensor([5, 5, 7, 7, 7])
    found = bench.by_day(torch.tensor([1.0, 3.0, 1.0, 1.0, 4.0]), days)
    assert found.tolist() == [2.0, 2.0]


def test_a_pretrained_backbone_knows_upright_digits():
    stream = bench.digit_stream(600, "none", generator=torch.Generator().manual_seed(1))
    features = bench.pretrained(0)(stream.features).detach()
    head = KalmanHead(65, 10, 0.1, 0.001, alpha_rate=0)
    head.update(features[:400], centred_one_hot(stream.labels[:400], 10))
    right = head.predict(features[400:])[0].argmax(1) == stream.labels[400:]
    assert right.double().mean() > 0.9


def test_a_rate_of_zero_leaves_the_backbone_frozen_and_another_does_not():
    frozen, moved = (bench.on_moving_features("SGD", (3.0, 0, 1), rate, 0) for rate in (0.0, 0.03))
    assert frozen.loss != moved.loss


@pytest.mark.parametrize("drift", DRIFTS)
def test_stored_comparisons_hold_every_kind_and_seed(drift):
    stored = results.load(f"06_{drift}")
    assert set(stored["rows"]) == {*lesson.KINDS, bench.HINDSIGHT}
    for kind, row in stored["rows"].items():
        assert len(row["loss"]) == len(row["accuracy"]) == len(lesson.SEEDS)
        if kind != bench.HINDSIGHT:
            assert tuple(row["chosen"]) in lesson.KINDS[kind].settings


def test_a_stored_run_can_be_had_again():
    setting = views.chosen("online SGD", "none")
    trace = lesson.run("online SGD", setting, lesson.digit_rows("none", 0), 0)
    assert trace.loss == pytest.approx(views.values("none", "online SGD")[0], rel=1e-3)


# --- views --------------------------------------------------------------------------------------------------------


def test_running_means_are_of_the_last_rows():
    found = views.running(torch.tensor([1.0, 2.0, 3.0, 4.0, 8.0]), 2)
    assert math.isnan(found[0])
    assert found[1:].tolist() == [1.5, 2.5, 3.5, 6.0]


def test_reliability_by_hand():
    confidence, right = torch.tensor([0.1, 0.2, 0.9, 1.0]), torch.tensor([False, True, True, True])
    places, shares, sizes = views.reliability(confidence, right, bins=2)
    assert places == pytest.approx([0.15, 0.95])
    assert shares == [0.5, 1.0]
    assert sizes == [0.5, 0.5]


def test_even_draws_average_a_softmax_better_than_as_many_others():
    mean_, variance = torch.tensor([[0.3, -0.1, -0.2]]).double(), torch.tensor([0.5]).double()
    scale = torch.tensor(5.0).double()
    many = torch.randn(200_000, 1, 3, generator=torch.Generator().manual_seed(0)).double()
    exact = average_log_softmax(mean_, variance, scale, many)
    even = average_log_softmax(mean_, variance, scale, views.even_draws(3)[:, None])
    off = [
        (average_log_softmax(mean_, variance, scale, many[32 * k : 32 * k + 32]) - exact).abs().max()
        for k in range(100)
    ]
    assert (even - exact).abs().max() < torch.stack(off).median()


def test_the_curve_of_the_first_widget_drifts_and_jumps():
    x, y, truth = views.wandering_curve(torch.Generator().manual_seed(0))
    assert x.shape == y.shape == (240,)
    moves = (truth[1:] - truth[:-1]).abs().amax(1)
    assert moves.argmax() == 143
    assert moves[150:].max() == 0
    assert moves[10:100].min() > 0


def test_tables_have_a_row_for_every_learner():
    assert views.streams_table().data.count("\n") == len(lesson.KINDS) + 2
    assert views.together_table().data.count("\n") == len(lesson.KINDS) + 1
    assert views.flights_table().data.count("\n") == len(bench.FLIGHT_SETTINGS) + 3
    assert views.backbone_table().data.count("\n") == 5


@pytest.mark.slow
def test_the_large_stream_of_the_full_profile_runs_small():
    rows, loss = views.large_stream("cpu", 0, rows=200, features=63)
    assert rows > 0
    assert 0 < loss < 3

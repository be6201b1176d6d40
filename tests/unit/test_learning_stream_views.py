"""The streams, networks and figures of foundation f5."""

import pytest
import torch
from agree import seeded

from companion.foundations.tracking import regret, track
from companion.teaching.lessons import learning_stream_views as views

WAYS = {"nothing": lambda theta, start, fresh: theta, "hard reset": lambda theta, start, fresh: fresh}


def test_only_the_drift_of_the_inputs_leaves_the_rule_alone():
    stream = views.drifting_rule("inputs, gradual", 600, seeded())
    points = 2 * stream.features
    assert torch.equal(stream.labels, (points[:, 1] > -points[:, 0].square() / 2).long())
    assert points[:100, 0].mean() < -1.5 < 1.5 < points[-100:, 0].mean()
    for kind in ("labels, sudden", "labels, gradual"):
        changed = views.drifting_rule(kind, 600, seeded())
        still = views.drifting_rule("no drift", 600, seeded())
        assert torch.equal(changed.features, still.features)
        assert (changed.labels == still.labels)[:60].float().mean() > 0.8
        assert (changed.labels == still.labels)[-60:].float().mean() < 0.5


def test_a_learner_that_stops_is_the_same_until_it_stops():
    stream = views.drifting_rule("labels, sudden", 300, seeded())
    going, stopped = views.follow_drift(stream), views.follow_drift(stream, taught=100)
    assert going.shape == stopped.shape == (300,)
    assert torch.equal(going[:100], stopped[:100])
    assert going[200:].float().mean() > stopped[200:].float().mean() + 0.2


def test_window_means_are_means():
    places, means = views.window_means(torch.tensor([True, False, True, True]), 2)
    assert (places, means) == ([2, 3, 4], [0.5, 0.5, 1.0])


def test_the_mean_switches_where_it_says():
    y, changes = views.switching_mean(400, 100, 50, jump=6.0, generator=seeded())
    assert changes == (100, 200, 300)
    sides = y.mean(0).unflatten(0, (4, 100)).mean(1)
    torch.testing.assert_close(sides, torch.tensor([3.0, -3.0, 3.0, -3.0]), atol=0.1, rtol=0)


def test_the_regret_of_the_running_mean_is_the_exact_one():
    y = torch.randn(4000, 30, generator=seeded(), dtype=torch.float64)
    predictions = track(y, 1 / torch.arange(1, 31, dtype=torch.float64))
    measured = torch.stack([regret(y[:, :n], predictions[:, :n]).mean() for n in (1, 2, 10, 30)])
    torch.testing.assert_close(measured, views.leader_regret(30)[[0, 1, 9, 29]], atol=0.15, rtol=0)


def test_tasks_change_as_many_labels_as_asked():
    _, still = views.relabelled(3, 0.0, seeded())
    assert bool((still == still[0]).all())
    _, labels = views.relabelled(200, 0.25, seeded())
    assert (labels[1:] != labels[:-1]).float().mean().item() == pytest.approx(0.25 * 3 / 4, abs=0.02)


def test_the_first_task_is_the_same_for_every_way_and_a_reset_is_a_fresh_network():
    runs = views.task_after_task(WAYS, 1.0, seeded(), tasks=3)
    assert runs.accuracy.shape == (3, 2, views.NETWORKS)
    assert runs.silent.shape == (3, 2)
    torch.testing.assert_close(runs.accuracy[0, 0], runs.accuracy[0, 1])
    assert runs.late("hard reset").shape == (views.NETWORKS,)
    first = views.task_after_task({"zero": lambda theta, start, fresh: 0 * theta}, 1.0, seeded(), tasks=2, lr=0.0)
    assert torch.equal(first.silent[1], torch.ones(1))


def test_figures_say_what_to_look_for():
    runs = views.task_after_task(WAYS, 1.0, seeded(), tasks=2)
    drawn = [
        views.drift_figure(0, 300, 150),
        views.regret_figure([0.1, 0.5], [-0.1, 0.2], [0.1, 0.3], 20, seeded(), runs=10),
        views.rates_figure([0.1, 0.5], {0.1: views.measured_errors([0.1, 0.5], 0.1, seeded(), 20, 4)}),
        views.tracker_figure(1.0, 0.0, runs=5, n=10),
        views.tasks_figure({"all labels change": runs}),
    ]
    assert all(len(figure.alt) > 60 for figure in drawn)

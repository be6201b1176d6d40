"""What lesson 05 trains on, by which ways, and how it compares them."""

import math
from statistics import median

import pytest
import torch

from companion.methods.last_layer import solve_last_layer, with_bias
from companion.teaching import results
from companion.teaching.lessons import closed_form as lesson
from companion.teaching.lessons import closed_form_bench as bench
from companion.teaching.lessons import closed_form_views as views
from companion.teaching.lessons.closed_form_costs import STUDIES

NAMES = ("sines", "digits", "diabetes", "darcy")
RESULTS = ("05_full", "05_128", "05_16", "05_real", "05_darcy")
SETTINGS = {
    "recursive, Adam": (0.1, 0.9),
    "moving average, Adam": (0.1, 0.9),
    "Adam, W at its own rate": (1.0, 0.1),
    "Adam, gradient step on W": (3.0, 0.1),
}
ROWS = {"sines": (1000, 1000), "digits": (1200, 597), "diabetes": (300, 142), "darcy": (500, 100)}


# --- tasks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_task_has_rows_to_learn_from_rows_to_judge_by_and_a_backbone_that_takes_them(name):
    task = lesson.task(name, 3)
    assert (len(task.train[0]), len(task.test[0])) == ROWS[name]
    features = task.fresh(0)(task.train[0][:2])
    assert features.shape[:-1] == task.train[1][:2].shape[:-1]
    assert task.error_of(lambda x: task.test[1]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_its_seed_decides_what_there_is(name):
    other, again = lesson.task(name, 4), lesson.TASKS[name](3)
    assert torch.equal(again.train[1], lesson.task(name, 3).train[1])
    assert not torch.equal(other.train[1], again.train[1])


def test_the_operator_of_the_full_profile_learns_on_a_finer_grid():
    task = lesson._darcy(0, size=24, fields=8, width=8, modes=12)
    steps, _, errors = lesson.follow(lesson.train_by("proximal, Adam", task, 0, 4, 4, 1e-2, 1e-3, every=2), task)
    assert steps == [2, 4]
    assert errors[-1] < 1


def test_a_task_may_be_moved_to_another_device():
    there = lesson.task("sines", 0).to("meta")
    assert there.device.type == "meta"
    assert next(there.fresh(0).parameters()).device.type == "meta"


def test_no_row_to_judge_by_is_among_those_to_learn_from():
    for name in ("digits", "diabetes"):
        task = lesson.task(name, 0)
        assert torch.cdist(task.test[0].double(), task.train[0].double()).min() > 1e-6


def test_an_unknown_task_and_an_unknown_method_are_refused():
    with pytest.raises(ValueError, match="name is 'cats'"):
        lesson.task("cats")
    with pytest.raises(ValueError, match="method is 'hope'"):
        lesson.train_by("hope", lesson.task("sines", 0), 0, 1, 16, 0.1)


def test_errors_by_hand():
    ones = torch.ones(5, 4, 4, 1)
    assert lesson.relative(1.5 * ones, ones) == pytest.approx(0.5)
    assert lesson.half_squared(torch.zeros(5, 3), torch.ones(5, 3)) == pytest.approx(1.5)


def test_backbones_come_from_the_seed_and_leave_the_global_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    task = lesson.task("sines", 0)
    weights = [next(task.fresh(seed).parameters()) for seed in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# --- ways to train ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", lesson.METHODS)
def test_every_method_learns_something_from_batches(method):
    task = lesson.task("sines", 0)
    rate = 1.0 if method == "Gauss-Newton" else 0.1 if "SGD" in method else 1e-2
    setting = SETTINGS.get(method, 0.1)
    steps, seconds, errors = lesson.follow(lesson.train_by(method, task, 0, 60, 32, rate, setting, every=20), task)
    assert steps == [20, 40, 60]
    assert seconds == sorted(seconds)
    assert errors[-1] < 0.8 * task.error_of(lambda x: torch.zeros_like(task.test[1]))


def test_methods_see_the_same_batches_and_start_from_the_same_backbone():
    task = lesson.task("sines", 0)
    first = [next(lesson.train_by(name, task, 0, 1, 16, 1e-9, 1.0)) for name in ("proximal, Adam", "full solve, Adam")]
    for one, other in zip(*(state.backbone.parameters() for state in first), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_a_training_that_breaks_down_ends_in_an_infinite_error():
    task = lesson.task("sines", 0)
    _, _, errors = lesson.follow(lesson.train_by("SGD", task, 0, 400, 16, 50.0, every=20), task)
    assert errors[-1] == math.inf
    assert len(errors) < 20


# --- comparisons --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_tunes_on_its_own_seed_and_reports_others(monkeypatch):
    seen = []
    plain = bench.followed

    def watched(method, name, batch_size, steps, cosine, every, seed, rate, setting, score=None):
        seen.append((method, seed, rate))
        return plain(method, name, batch_size, steps, cosine, every, seed, rate, setting, score)

    monkeypatch.setattr(bench, "followed", watched)
    grids = {"Adam": bench.grid((1e-4, 1e-2)), "proximal, Adam": bench.grid((1e-2,), (0.1, 1e3))}
    found = bench.study("digits", 64, 60, grids, every=10, seeds=(0, 1), score=bench.wrong)
    assert [entry[1:] for entry in seen[:6]] == [
        *((seed, rate) for rate in (1e-4, 1e-2) for seed in (100, 101)),
        (0, 1e-2),
        (1, 1e-2),
    ]
    row = found["rows"]["proximal, Adam"]
    assert (row["chosen"], row["tried"]) == ([(1e-2, 0.1)] * 2, 2)
    assert len(row["final"]) == len(row["score"]) == 2
    assert all(share < 0.2 for share in row["score"])
    assert row["path"][0][0] == 10
    assert row["path"][-1][0] == 60


def test_plain_descent_has_the_best_setting_of_each_seed(monkeypatch):
    finals = {(0, 0.1): 3.0, (0, 1.0): 2.0, (1, 0.1): 3.0, (1, 1.0): math.inf}

    def followed(method, name, batch_size, steps, cosine, every, seed, rate, setting, score=None):
        return {"step": [1], "seconds": [0.1], "error": [finals[seed, rate]], "final": finals[seed, rate]}

    monkeypatch.setattr(bench, "followed", followed)
    row = bench.study("sines", 16, 1, {"SGD": bench.grid((0.1, 1.0))}, seeds=(0, 1))["rows"]["SGD"]
    assert (row["chosen"], row["final"], row["edge"]) == ([(1.0, None), (0.1, None)], [2.0, 3.0], True)


def test_a_setting_that_fails_on_one_seed_is_not_chosen():
    assert bench.geometric_mean([1e-9, math.inf]) == math.inf
    assert bench.geometric_mean([1.0, 4.0]) == pytest.approx(2)


def test_how_soon_a_level_is_reached():
    run = {"step": [10, 20, 30], "seconds": [1.0, 2.0, 3.0], "error": [0.5, 0.2, 0.3]}
    assert bench.first_below(run, 0.25) == (20, 2.0)
    assert bench.first_below(run, 0.2) == (20, 2.0)
    assert bench.first_below(run, 0.1) is None


def test_a_summary_has_the_first_and_the_last_place_and_leaves_out_what_is_infinite():
    runs = [
        {"step": [1, 2, 3], "seconds": [0.1, 0.2, 0.3], "error": errors}
        for errors in ([3.0, 2.0, 1.0], [5.0, math.inf, 2.0])
    ]
    assert bench.summary(runs) == [[1, 0.1, 4.0, 3.0, 5.0], [3, 0.3, 1.5, 1.0, 2.0]]


def test_two_stages_of_a_linear_problem_find_its_slope_where_regression_does_not():
    generator = torch.Generator().manual_seed(0)
    z, hidden, noise = torch.randn(3, 20_000, 1, generator=generator, dtype=torch.float64)
    x = z + hidden
    y = 2 * x - 3 * hidden + 0.1 * noise
    u = bench.two_stages(with_bias(z), with_bias(z), x, y, 1e-9)
    assert u[0].item() == pytest.approx(2, abs=0.1)
    assert solve_last_layer(with_bias(x), y, 1e-9)[0].item() == pytest.approx(0.5, abs=0.1)


def test_wide_networks_descend_alike_and_the_narrow_ones_do_not():
    wide = [bench.width_path(128, seed, steps=200)["loss"] for seed in (0, 1)]
    narrow = [bench.width_path(2, seed, steps=200)["loss"] for seed in (0, 1)]
    assert max(losses[-1] for losses in wide) < 0.5 * min(losses[-1] for losses in narrow)
    assert all(losses[-1] < losses[0] for losses in (*wide, *narrow))


def test_where_all_features_are_zero_nothing_moves():
    x, y = bench.width_data()
    neurons = [
        torch.zeros(1, 8, dtype=torch.float64, requires_grad=True),
        torch.zeros(8, dtype=torch.float64, requires_grad=True),
    ]
    loss = bench.closed_form_loss(bench.tanh_features(*neurons, x), y, bench.WIDTH_RIDGE)
    assert all(slope.abs().max() == 0 for slope in torch.autograd.grad(loss, neurons))


# --- what is stored -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESULTS)
def test_stored_studies_hold_five_seeds_and_what_was_tried(name):
    for study in results.load(name).values():
        assert study["seeds"] == list(bench.SEEDS)
        for method, row in study["rows"].items():
            assert len(row["final"]) == 5
            if method != "linear ridge":
                assert row["tried"] >= 2
                assert len(row["chosen"]) == 5


def test_every_method_of_every_study_has_a_cost():
    costs = results.load("05_costs")
    for result, part, _ in STUDIES:
        methods = {method for method, row in views.rows_of(result, part).items() if "chosen" in row}
        assert costs[f"{result}, {part}"].keys() == methods
        assert all(value > 0 for value in costs[f"{result}, {part}"].values())


def test_the_rates_of_those_who_are_beaten_are_not_at_the_edge_of_what_was_tried():
    assert not views.rows_of("05_full", "constant")["SGD"]["edge"]
    parts = [("05_real", f"digits {size}{schedule}") for size in (128, 16) for schedule in ("", ", cosine")]
    parts += [(f"05_{size}", schedule) for size in ("full", "128", "16") for schedule in ("constant", "cosine")]
    assert [part for part in parts if views.rows_of(*part)["Adam"]["edge"]] == []


def test_the_stored_comparison_is_what_the_lesson_finds_again():
    rate, setting = views.settings("05_full", "constant", "full solve, Adam", 1)
    task = lesson.task("sines", 1)
    _, _, errors = lesson.follow(lesson.train_by("full solve, Adam", task, 1, 600, None, rate, setting), task)
    assert median(errors[-4:]) == pytest.approx(views.finals("05_full", "constant", "full solve, Adam")[1], rel=0.5)


def test_numbers_that_are_missing_count_as_infinite():
    assert views.middle([1.0, None, 3.0]) == 3.0
    assert views.loss([1e-4, 2e-4, 3e-4]) == "2"
    assert views.loss([None, None, 1.0]) == "diverges"
    assert views.soon({"steps to Adam": [100, None, None]}, 2.0) == ["never", "never"]
    assert views.soon({"steps to Adam": [100, 200, None]}, 2.0) == ["200", "0.40"]
    assert views.soon({}, 2.0) == ["never", "never"]
    assert views.ratios([2.0, 3.0], [1.0, 2.0]) == [2.0, 1.5]


def test_pictures_are_described():
    digits, flow = lesson.task("digits", 0), lesson.task("darcy", 0)
    missed = views.missed_figure(lambda x: torch.zeros(len(x), 10), 0)
    zeros = (digits.test[1].argmax(1) != 0).sum()
    assert f"{zeros} of 597" in missed.axes[0].get_title()
    pictures = [missed, views.flow_figure(lambda x: x, flow), views.descent_figure("full", ("SGD", "full solve, Adam"))]
    pictures.append(views.structure_figure({"regression": torch.sin}, lesson.confounded(0, 50)[0]))
    assert all(len(picture.alt) > 40 for picture in pictures)


def test_views_show_what_is_stored():
    assert (
        views.instrument_errors("deep, proximal") == results.load("05_instruments")["rows"]["deep, proximal"]["error"]
    )
    for size in ("128", "16"):
        table = views.sines_table(size).data
        assert "| **proximal, Adam** |" in table
        assert "ridge of each batch, Adam" in table
    assert "**proximal, Adam**" in views.digits_table().data
    assert "**deep, proximal**" in views.instruments_table().data
    assert "| Adam |" in views.darcy_table().data

"""What lesson 04 loads, starts from, judges by and compares."""

import warnings
from statistics import median

import pytest
import torch
from agree import seeded

from companion.foundations.distances import energy_distance
from companion.methods.mmd_flow import adaptive_flow
from companion.teaching import checkpoints, results
from companion.teaching.lessons import deep_mmd as lesson
from companion.teaching.lessons import mmd_bench as bench
from companion.teaching.lessons import mmd_views as views
from companion.teaching.session import Session

CPU = torch.device("cpu")
SESSION = Session("lesson", 3, CPU)
NAMES = ("plane", "hidden", "digits")


# --- witnesses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_shipped_witnesses_load_frozen_remember_their_data_and_are_not_trained(name, monkeypatch):
    def refuse(*_arguments, **_settings):
        raise AssertionError("a shipped checkpoint was trained again")

    monkeypatch.setattr(checkpoints, "run", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = lesson.witness(name, SESSION)
    assert not any(weights.requires_grad for weights in model.parameters())
    level, data = model.noising.levels(5)[2].float(), lesson.training_set(name, 3)
    torch.testing.assert_close(model.remembered(level)[0], model.mean_features(data, level), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("call", [lesson.training_set, lesson.judge])
def test_an_unknown_name_is_refused(call):
    with pytest.raises(ValueError, match="name is 'cats'"):
        call("cats")


def test_a_witness_that_does_not_ship_is_trained_like_those_that_do():
    recipe, model = lesson.RECIPES["plane"], lesson.fresh("plane", 1)
    states = lesson.training_of(model, "plane", 1)
    first = next(states)
    assert (first.step, recipe["steps"]) == (1, 3000)
    again = lesson.fresh("plane", 1)
    same = next(lesson.training_of(again, "plane", 1))
    assert torch.equal(first.loss, same.loss)
    other = next(lesson.training_of(lesson.fresh("plane", 2), "plane", 2))
    assert not torch.equal(first.loss, other.loss)


def test_fresh_witnesses_leave_the_global_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    lesson.fresh("plane", 5)
    bench.seeded(lambda: torch.nn.Linear(2, 2), 3)
    assert torch.equal(before, torch.get_rng_state())


def test_smoke_takes_a_shipped_witness_for_any_seed():
    smoke, own = Session("smoke", 8, CPU), Session("lesson", 3, CPU)
    x, level = torch.zeros(1, 2), torch.tensor(0.5)
    assert torch.equal(*(lesson.witness("plane", session)(x, level) for session in (smoke, own)))


def test_the_fashion_witness_trains_and_flows_at_smoke_size(tmp_path, monkeypatch):
    few = lesson.training_set("fashion")[:64]
    monkeypatch.setattr(lesson, "RUNS", tmp_path)
    monkeypatch.setattr(lesson, "training_set", lambda *given: few)
    model = lesson.witness("fashion", Session("smoke", 0, CPU))
    start = lesson.start("fashion", 0, 3)
    *_, clothes = adaptive_flow(model, start, model.noising.levels(2), step=0.1, inner_steps=1)
    assert clothes.shape == (3, 1, 32, 32)
    assert clothes.isfinite().all()


def test_levels_change_the_features_of_images():
    network = lesson.ImageFeatures(num_features=4, width=8)
    x = torch.randn(2, 1, 32, 32, generator=seeded())
    low, high = (network(x, torch.tensor(place)) for place in (0.1, 0.9))
    assert low.shape == (2, 4)
    assert not torch.allclose(low, high)
    torch.testing.assert_close(network(x, torch.tensor([0.1, 0.9]))[0], low[0])


# --- starts and judges ----------------------------------------------------------------------------------------


def test_starts_are_as_far_as_they_say_and_levels_begin_there():
    for distance in (1.0, 5.0):
        start = lesson.start("digits", 0, 2000, distance)
        spread = (start - lesson.training_set("digits").mean(0)).std().item()
        assert spread == pytest.approx(distance, rel=0.02)
        levels = lesson.levels_from("digits", distance, 7)
        assert (levels[0].item(), levels[-1].item()) == pytest.approx((distance, 0.1))
        assert (levels.diff() < 0).all()
    assert lesson.levels_from("digits")[0].item() == pytest.approx(lesson.NOISINGS["digits"].high)


def test_distance_in_the_hidden_plane_sees_the_plane_and_nothing_else():
    judge, law = lesson.judge("hidden", 1), lesson.law("hidden", 1)
    points = law.sample(500, seeded(1))
    turned = points @ law.rotation.T
    turned[:, 2:] *= 3  # what is not in the plane
    assert judge.distance(turned @ law.rotation) == pytest.approx(judge.distance(points), abs=1e-5)
    turned[:, :2] *= 3
    assert judge.distance(turned @ law.rotation) > 0.1
    by_hand = energy_distance(law.plane(points), law.plane(judge.fresh)).item()
    assert judge.distance(points) == pytest.approx(by_hand)


@pytest.mark.parametrize("name", NAMES)
def test_copies_have_ratio_zero_and_fresh_points_one(name):
    judge = lesson.judge(name, 2)
    assert judge.ratio(judge.train[:200]) == pytest.approx(0, abs=2e-2)
    assert judge.ratio(judge.fresh) == pytest.approx(1)
    near = judge.train[:200] + 1e-3 * torch.randn(judge.train[:200].shape, generator=seeded())
    assert 0 < judge.ratio(near) < 0.2


def test_coverage_counts_the_held_out_digits_that_have_a_sample_near():
    judge = lesson.judge("digits")
    assert judge.coverage(judge.fresh) == 1
    assert judge.coverage(judge.fresh[:1].repeat(50, 1)) < 0.05
    assert judge.coverage(judge.fresh + 100) == 0
    assert judge.coverage(judge.train) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_real_points_lie_within_the_noise_floor(name):
    judge = lesson.judge(name, 0)
    floor = judge.floor(300, 10)
    assert 0 < floor < 0.02
    assert abs(judge.distance(judge.train[:300])) < 6 * floor
    assert judge.distance(lesson.start(name, 0, 300)) > 20 * floor


def test_a_gaussian_fit_has_the_mean_and_the_covariance_of_the_points():
    points = torch.randn(4000, 3, generator=seeded()) @ torch.tensor([[1.0, 0.5, 0], [0, 2, 0], [0, 0, 0.1]]) + 3
    drawn = lesson.gaussian_fit(points, 20_000, seeded(1))
    torch.testing.assert_close(drawn.mean(0), points.mean(0), atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(points.T), atol=0.15, rtol=0)


# --- comparisons ----------------------------------------------------------------------------------------------


def test_the_nearest_row_is_the_best_setting_and_drops_what_is_not_finite():
    judge = lesson.judge("plane")
    data = judge.fresh[:100]
    flows = {"far": [data, data + 3], "near": [data + 3, data], "lost": [data, data * float("nan")]}
    row = bench.nearest_row(judge, flows)
    assert row["setting"] == "near"
    assert row["distance"] == pytest.approx(judge.distance(data))


def test_a_path_has_the_start_and_every_so_many_steps():
    judge = lesson.judge("plane")
    clouds = [judge.fresh[:50] + 3 - step / 20 for step in range(41)]
    path = bench.path_of(judge, clouds)
    assert [step for step, _, _ in path] == [0, 20, 40]
    assert path[0][1] == pytest.approx(judge.distance(clouds[0]))
    assert path[2][2] == pytest.approx(judge.ratio(clouds[40]))


def test_every_fixed_bandwidth_of_the_table_has_a_worst_start():
    fixed = views.fixed_bandwidths()
    assert {f"{h:g}" for h in bench.BANDWIDTHS} <= set(fixed)
    assert "annealed" not in fixed
    assert "energy" not in fixed
    row = results.load("04_starts")["rows"]["0.5"]
    assert views.worst_start("0.5")[0] == max(values[0] for values in row.values())


def test_what_is_stored_has_all_seeds_and_costs():
    for name, ours in (("04_hidden", "adaptive"), ("04_digits", "adaptive")):
        stored = results.load(name)
        assert stored["seeds"] == list(bench.SEEDS)
        assert all(len(rows) == len(bench.SEEDS) for rows in stored["rows"].values())
        assert stored["training"] > 1
        assert all(row["sampling"] > 0 for row in stored["rows"][ours])
        diffusion = median(row["training"] for row in stored["rows"]["diffusion"])
        assert 0.4 < diffusion / stored["training"] < 1.5, "a diffusion model that is trained about as long"


def test_ratios_are_the_single_levels_distance_over_the_adaptive_ones():
    rows = results.load("04_digits")["from"]
    first = rows["single level"]["5"][0]["distance"] / rows["adaptive"]["5"][0]["distance"]
    assert views.over_adaptive(5)[0] == pytest.approx(first)

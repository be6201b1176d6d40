"""What lesson 03 loads, examines, tilts and compares."""

import warnings

import pytest
import torch
from agree import seeded

from companion.foundations.distances import energy_distance
from companion.methods.guidance import learn_guidance, sample_guided
from companion.teaching import checkpoints, results
from companion.teaching.lessons import guidance_bases as bases
from companion.teaching.lessons import guidance_bench as bench
from companion.teaching.lessons import guidance_views as views
from companion.teaching.lessons import learned_guidance as lesson
from companion.teaching.session import Session

CPU = torch.device("cpu")
SESSION = Session("lesson", 3, CPU)


# --- bases ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "stage"), [("points", "short"), ("points", "long"), ("digits", "short")])
def test_shipped_bases_load_frozen_and_without_training(name, stage, monkeypatch):
    def refuse(*_arguments, **_settings):
        raise AssertionError("a shipped checkpoint was trained again")

    monkeypatch.setattr(checkpoints, "run", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = bases.base(name, stage, SESSION)
    assert not any(weights.requires_grad for weights in model.parameters())


@pytest.mark.parametrize(("name", "stage"), [("cats", "short"), ("points", "middling")])
def test_an_unknown_base_is_refused_by_name(name, stage):
    with pytest.raises(ValueError, match="(name|stage) is '(cats|middling)'"):
        bases.base(name, stage, SESSION)


def test_a_base_that_does_not_ship_is_trained_like_those_that_do():
    model = bases.fresh("points", bases.POINTS["network"], seed=1)
    losses = list(bases.training_of(model, "points", "short", seed=1))
    shipped = bases.base("points", "short", Session("lesson", 1, CPU))
    x, labels = torch.randn(50, 2, generator=seeded()), torch.arange(50) % 4
    assert len(losses) == bases.POINTS["pretraining"]["steps"] + bases.POINTS["fine_tuning"]["short"]
    torch.testing.assert_close(
        model.conditional(x, 0.5, labels), shipped.conditional(x, 0.5, labels), atol=2e-2, rtol=0
    )


def test_the_last_class_is_rare_in_what_a_base_sees():
    for name, rarest in (("points", 0.11), ("digits", 0.03)):
        _, labels = bases.training_set(name, 0)
        shares = labels.bincount() / len(labels)
        assert shares[-1] < rarest
        assert shares.argmax() == 0


def test_smoke_takes_a_shipped_base_for_any_seed_with_the_points_it_was_tuned_on():
    smoke, own = Session("smoke", 8, CPU), Session("lesson", 3, CPU)
    assert torch.equal(bases.data_of("points", smoke)[0], bases.data_of("points", own)[0])
    x = torch.zeros(1, 2)
    assert torch.equal(*(bases.base("points", "short", s).unconditional(x, 0.5) for s in (smoke, own)))


def test_the_fashion_base_trains_and_resumes_at_smoke_size(tmp_path, monkeypatch):
    monkeypatch.setattr(bases, "RUNS", tmp_path)
    session = Session("smoke", 0, CPU)
    model, (pictures, labels) = bases.base("fashion", "short", session), bases.data_of("fashion", session)
    *_, state = learn_guidance(model.conditional, model.unconditional, pictures, labels, 1, batch_size=10)
    noise = torch.randn(3, 1, 32, 32, generator=seeded())
    *_, clothes = sample_guided(
        model.conditional, model.unconditional, state.model, torch.arange(3), noise, torch.tensor([1.0, 0.5, 0.0])
    )
    assert clothes.shape == noise.shape
    assert clothes.isfinite().all()


# --- the exam and its models ----------------------------------------------------------------------------------


def test_the_exam_starts_all_samplers_from_the_same_noise_and_judges_class_by_class():
    law = bases.long_tailed_law()
    first, second = lesson.exam(law, 1, 100), lesson.exam(law, 1, 100)
    assert torch.equal(first.start, second.start)
    points = first.sample(law, 0.0)
    by_hand = [energy_distance(points[first.labels == c], first.references[c]) for c in range(4)]
    assert first(points) == pytest.approx(torch.stack(by_hand).mean().item())
    assert first.of(law, 1.0) > 10 * first.of(law, 0.0)


def test_the_floor_is_what_samples_of_the_law_itself_differ_by():
    law = bases.long_tailed_law()
    judge, floor = lesson.exam(law, 2, 300), lesson.floor(law, 300, 10)
    own = law.sample_given(judge.labels, seeded(3))
    assert 0 < floor < 0.01
    assert abs(judge(own)) < 6 * floor


@pytest.mark.parametrize("blur", [0.0, 0.3, 0.6])
def test_the_weight_that_repairs_a_blurred_model_gives_back_the_exact_answers(blur):
    law = bases.long_tailed_law()
    x, labels = law.sample_labelled(30, seeded())
    blurred, weight = lesson.Blurred(law, blur), blur / (1 - blur)
    x_c, x_u = blurred.conditional(x, 0.4, labels), blurred.unconditional(x, 0.4)
    torch.testing.assert_close(x_c + weight * (x_c - x_u), law.conditional(x, 0.4, labels), atol=1e-4, rtol=0)


def test_learned_weights_follow_the_session_and_leave_the_global_state_alone():
    model, data = bases.base("points", "short", SESSION), bases.data_of("points", SESSION)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = (lesson.learned_weights(model, data, SESSION, steps=5) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_shared_noise_loss_is_a_regression_on_the_clean_point():
    """(a_s - a_t s_s / s_t)^2 |xh(w) - x0|^2, and least at weight 0 for the exact model."""
    law = bases.long_tailed_law()
    x0, labels = law.sample_labelled(4000, seeded())
    s, t = torch.full((4000,), 0.3), torch.full((4000,), 0.6)

    def loss(w):
        weight = lambda labels, s, t: torch.full_like(s, w)  # noqa: E731
        return lesson.shared_noise_loss(
            law.conditional, law.unconditional, weight, x0, labels, s, t, generator=seeded(1)
        )

    noise = torch.randn(x0.shape, generator=seeded(1))
    x_t = 0.4 * x0 + 0.6 * noise
    error = (law.conditional(x_t, t, labels) - x0).square().sum(1).mean()
    torch.testing.assert_close(loss(0.0), (0.7 - 0.4 * 0.3 / 0.6) ** 2 * error, rtol=1e-4, atol=1e-6)
    assert loss(0.0) < loss(0.1)
    assert loss(0.0) < loss(-0.1)


# --- rewards --------------------------------------------------------------------------------------------------


def test_for_alignment_the_tilted_law_is_the_powered_density():
    law = lesson.overlapping_law()
    tilt = lesson.TiltedLaw(law, 2, lesson.alignment(law), cells=80)
    powered = 2.5 * law.given(2).log_prob(tilt.grid.float()) - 1.5 * law.log_prob(tilt.grid.float())
    torch.testing.assert_close(tilt.probabilities(1.5), powered.double().softmax(0), atol=1e-6, rtol=1e-3)


def test_the_tilt_is_found_from_its_reward_and_sampled():
    law = lesson.overlapping_law()
    tilt = lesson.TiltedLaw(law, 1, lesson.far_out)
    assert tilt.strength_for(tilt.mean_reward(7.0)) == pytest.approx(7.0, rel=1e-4)
    points = tilt.sample(20_000, 7.0, seeded())
    earned = lesson.far_out(points, torch.ones(20_000, dtype=torch.long)).mean().item()
    assert earned == pytest.approx(tilt.mean_reward(7.0), abs=2e-3)
    assert abs(energy_distance(tilt.sample(2000, 0.0, seeded(1)), law.given(1).sample(2000, seeded(2)))) < 0.01


def test_points_of_a_tilted_law_are_at_no_distance_from_it():
    law = lesson.overlapping_law()
    tilts = [lesson.TiltedLaw(law, label, lesson.right_half) for label in range(4)]
    labels = torch.arange(4).repeat_interleave(1000)
    points = torch.cat([tilt.sample(1000, 3.0, seeded(5)) for tilt in tilts])
    rows = lesson.against_tilt(tilts, points, labels)
    assert max(rows["from_tilted"]) < 0.01
    assert rows["from_class"][3] > 0.05
    assert rows["strength"] == pytest.approx([3.0] * 4, rel=0.35)


# --- comparisons ----------------------------------------------------------------------------------------------


def test_a_counted_model_counts_the_rows_of_both_questions():
    law, judge = bases.long_tailed_law(), lesson.exam(bases.long_tailed_law(), 0, 10)
    for weight, evaluations in ((0.0, 20), (0.5, 40), ((0.5, 0.7, 1.0), 27)):
        counted = bench.Counted(law)
        judge.sample(counted, weight)
        assert counted.rows / len(judge.labels) == evaluations


def test_every_rival_is_in_the_stored_bench_at_its_best_setting():
    stored = results.load("03_bench")
    methods = {
        "unguided", "constant weight", "limited interval", "classifier guidance", "adaptive guidance", "feedback",
        "resampling", "predictor-corrector", "constant for each class", "learned weight", "the base itself, trained on",
    }  # fmt: skip
    assert set(stored["rows"]["short"]) == methods
    assert len(stored["constants"]) >= 9
    assert len(stored["intervals"]) >= 9
    for seed, curve in enumerate(stored["curves"]["short"]):
        assert stored["rows"]["short"]["constant weight"][seed]["distance"] == min(curve)


def test_the_stored_bench_is_what_the_lesson_finds_again():
    stored = results.load("03_bench")
    judge, model = lesson.exam(bases.long_tailed_law(), 3), bases.base("points", "short", SESSION)
    place = stored["constants"].index(0.3)
    assert judge.of(model, 0.3) == pytest.approx(stored["curves"]["short"][3][place], rel=0.05)
    weights = lesson.learned_weights(model, bases.data_of("points", SESSION), SESSION)
    assert judge.of(model, weights) == pytest.approx(stored["rows"]["short"]["learned weight"][3]["distance"], rel=0.2)


@pytest.mark.parametrize("name", ["03_losses", "03_rewards", "03_digits"])
def test_the_other_stored_results_are_current_and_hold_five_seeds(name):
    assert results.load(name)["seeds"] == [0, 1, 2, 3, 4]


def test_a_constant_of_equal_reward_is_read_between_its_neighbours(monkeypatch):
    unit = lambda reward, distance: {"reward": reward, "from_tilted": distance}  # noqa: E731
    kinds = {"learned weight": [[unit(0.5, 1.0)]], "constant weight": [[unit(0.0, 0.0), unit(1.0, 4.0)]]}
    stored = {"strengths": {"a reward": [0.1]}, "rows": {"a reward": kinds}}
    monkeypatch.setattr(views.results, "load", lambda _name: stored)
    assert views.over_constant("a reward", 0.1) == [0.5]


def test_the_reward_of_digits_prefers_the_right_class():
    points, labels = bases.data_of("digits", SESSION)
    reward = bench.digit_reward((points, labels), SESSION)
    assert reward(points, labels).mean() > reward(points, (labels + 1) % 10).mean() + 2

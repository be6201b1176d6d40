"""What lesson 01 loads, trains and compares."""

import warnings

import pytest
import torch
from agree import last

from companion.foundations.diffusion import sample, time_grid
from companion.foundations.distances import energy_distance
from companion.methods.distributional import sample_distributional
from companion.teaching import checkpoints, results
from companion.teaching.lessons import distributional_diffusion as lesson
from companion.teaching.lessons import few_steps
from companion.teaching.session import Session

CPU = torch.device("cpu")


@pytest.fixture
def no_training(monkeypatch):
    """Fails the test if anything is trained."""

    def refuse(*_arguments, **_settings):
        raise AssertionError("a shipped checkpoint was trained again")

    monkeypatch.setattr(checkpoints, "run", refuse)
    monkeypatch.setattr(lesson, "run", refuse)


@pytest.mark.parametrize("name", lesson.LAWS)
def test_shipped_denoisers_load_and_draw_far_better_at_one_step(name, no_training):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair = lesson.models(name, Session("lesson", 0, CPU))
    generator = torch.Generator().manual_seed(3)
    noise, data = torch.randn(2000, 2, generator=generator), lesson.law(name).sample(2000, generator)
    with torch.no_grad():
        standard = last(sample(pair.standard, noise, time_grid(1)))
    drawn = last(sample_distributional(pair.distributional, noise, time_grid(1), generator=generator))
    assert energy_distance(drawn, data) < energy_distance(standard, data) / 5


def test_digits_load_whatever_the_seed_and_the_judge_tells_them_apart(no_training):
    session = Session("lesson", 3, CPU)
    pair, judge = lesson.digits_models(session), lesson.judge("digits", session)
    generator = session.generator()
    noise = torch.randn(597, 64, generator=generator)
    with torch.no_grad():
        standard = judge(last(sample(pair.standard, noise, time_grid(1))))
    drawn = judge(last(sample_distributional(pair.distributional, noise, time_grid(1), generator=generator)))
    assert drawn < standard / 5
    assert 0 < judge.floor < drawn


def test_the_judge_finds_no_distance_between_training_and_held_out_digits():
    session = Session("lesson", 0, CPU)
    judge = lesson.judge("digits", session)
    images = lesson.images.digits("train").images
    assert abs(judge(images)) < 4 * judge.floor
    assert judge(-images) > 50 * judge.floor


@pytest.mark.parametrize("name", lesson.LAWS)
def test_smoke_takes_shipped_weights_whatever_the_seed(name, no_training):
    first, sixth, other = (lesson.models(name, Session("smoke", seed, CPU)) for seed in (0, 5, 1))
    x, noise = torch.zeros(5, 2), torch.ones(5, lesson.POINTS["noise"][0])
    draw = lambda pair: pair.distributional(x, 0.5, noise=noise)  # noqa: E731
    assert torch.equal(draw(first), draw(sixth))
    assert not torch.equal(draw(first), draw(other))


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    session = Session("smoke", 0, CPU)
    for _ in lesson.denoising("checkerboard", "distributional", lesson.law("checkerboard"), session, 0).start(None):
        pass
    assert torch.equal(torch.randn(3), expected)


def test_full_trains_the_image_networks_resumably(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "RUNS", tmp_path)
    pair = lesson.fashion_models(Session("smoke", 0, CPU))
    noise = torch.randn(2, 1, 32, 32)
    assert last(sample_distributional(pair.distributional, noise, time_grid(2))).shape == (2, 1, 32, 32)
    assert pair.standard.noise_shape is None
    assert pair.distributional.noise_shape == (1, 32, 32)


def test_an_unknown_law_is_refused_by_name():
    with pytest.raises(ValueError, match="law is 'spiral', but must be 'eight_gaussians' or 'checkerboard'"):
        lesson.law("spiral")
    with pytest.raises(ValueError, match="name is 'cats', but must be 'digits' or 'fashion'"):
        lesson.judge("cats", Session("smoke", 0, CPU))


def test_a_unit_of_the_comparison_has_every_method_at_every_step():
    row = few_steps.compare_unit("eight_gaussians", seed=7, smoke=True)
    assert all(len(distances) == len(few_steps.STEPS) for distances in row["energy_distance"].values())
    gan = row["energy_distance"]["denoising diffusion GAN"]
    assert [value is None for value in gan] == [step not in few_steps.GAN["grids"] for step in few_steps.STEPS]
    smoke = lesson.SMOKE["steps"] * lesson.SMOKE["batch_size"]
    assert row["evaluations"]["standard"] == smoke
    assert row["evaluations"]["distributional"] == lesson.LOSSES["distributional"]["population"] * smoke


def test_a_unit_that_is_done_is_not_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "RUNS", tmp_path)
    calls = []

    def compute(name, seed):
        calls.append((name, seed))
        return {"answer": 42}

    for _ in range(2):
        assert few_steps._kept("test", ("law", 1), compute, "0123") == {"answer": 42}
    assert calls == [("law", 1)]


def test_tables_sum_up_the_stored_seeds():
    stored, table = results.load("01_few_steps"), few_steps.few_steps_table()
    for name in lesson.LAWS:
        rows = stored["laws"][name]["energy_distance"]["distributional"]
        columns = list(zip(*rows, strict=True))
        assert table["laws"][name]["min"]["distributional"] == [min(column) for column in columns]
        assert table["laws"][name]["median"]["distributional"] == [sorted(column)[2] for column in columns]
        assert len(rows) == len(stored["seeds"]) == 5


@pytest.mark.parametrize("name", lesson.LAWS)
def test_at_one_and_two_steps_every_seed_is_at_most_a_fifth_of_the_standard(name):
    rows = results.load("01_few_steps")["laws"][name]["energy_distance"]
    for drawn, ddim, ddpm in zip(rows["distributional"], rows["standard DDIM"], rows["standard DDPM"], strict=True):
        for step in (0, 1):
            assert drawn[step] <= min(ddim[step], ddpm[step]) / 5

"""What lesson 02 loads, tests, counts and compares."""

import warnings
from statistics import median

import pytest
import torch
from agree import seeded
from scipy.stats import ks_2samp

from companion.data import toy
from companion.foundations.diffusion import sample, time_grid
from companion.foundations.mixtures import GaussianMixture
from companion.methods.speculative import reflection_coupling, speculate, speculative_sample
from companion.teaching import checkpoints, results
from companion.teaching.lessons import distributional_diffusion as denoisers
from companion.teaching.lessons import speculative_sampling as lesson
from companion.teaching.lessons import speculative_views as views
from companion.teaching.lessons.wrong_couplings import wrong_couplings
from companion.teaching.session import Session

CPU = torch.device("cpu")
GRID = time_grid(50)


@pytest.mark.parametrize("name", lesson.DRAFTS)
def test_shipped_drafts_load_without_training_and_are_far_smaller_than_their_targets(name, monkeypatch):
    def refuse(*_arguments, **_settings):
        raise AssertionError("a shipped checkpoint was trained again")

    monkeypatch.setattr(checkpoints, "run", refuse)
    session = Session("lesson", 3, CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draft = lesson.draft_model(name, session)
    target = (denoisers.digits_models(session) if name == "digits" else denoisers.models(name, session)).standard
    sizes = [sum(weights.numel() for weights in model.parameters()) for model in (draft, target)]
    assert sizes[0] < sizes[1] / 10


def test_a_small_draft_is_worth_having():
    session = Session("lesson", 0, CPU)
    target, draft = (
        denoisers.models("eight_gaussians", session).standard,
        lesson.draft_model("eight_gaussians", session),
    )
    start = torch.randn(300, 2, generator=seeded())
    drafted = speculative_sample(target, start, time_grid(100), draft=draft, generator=seeded(1))
    frozen = speculative_sample(target, start, time_grid(100), generator=seeded(1))
    assert drafted.rounds.double().mean() < frozen.rounds.double().mean() < 25


def test_an_unknown_draft_is_refused_by_name():
    with pytest.raises(ValueError, match="name is 'cats', but must be 'eight_gaussians' or 'digits'"):
        lesson.draft_model("cats", Session("smoke", 0, CPU))


@pytest.mark.parametrize("name", ["accept everything", "redraw after a rejection", "wrong sign"])
def test_a_test_of_the_steps_rejects_each_wrong_sampler_and_not_the_right_one(name):
    law, start = toy.eight_gaussians(), torch.randn(1500, 2, generator=seeded())
    right = speculative_sample(law.denoise, start, GRID, generator=seeded(1))
    wrong = speculative_sample(law.denoise, start, GRID, generator=seeded(1), coupling=wrong_couplings(seeded(2))[name])
    assert lesson.step_p_value(law.denoise, right.path, GRID) > 0.01
    assert lesson.step_p_value(law.denoise, wrong.path, GRID) < 1e-6


def test_the_width_of_the_modes_gives_away_the_sampler_that_accepts_everything_if_one_looks_there():
    """The lesson says so: the energy distance is blind, the samples are not quite."""
    law, start, grid = toy.eight_gaussians(), torch.randn(1000, 2, generator=seeded()), time_grid(100)

    def distances(coupling):
        run = speculative_sample(law.denoise, start, grid, generator=seeded(1), coupling=coupling)
        return torch.cdist(run.sample, law.means).amin(1).numpy()

    slow = distances(reflection_coupling)
    assert ks_2samp(slow, distances(wrong_couplings(seeded(2))["accept everything"])).pvalue < 1e-4


def test_wrong_couplings_agree_with_the_right_one_where_there_is_nothing_to_couple():
    draft, mean = torch.randn(2, 5, 3, generator=seeded())
    uniform = torch.rand(5, generator=seeded(1))
    for coupling in (reflection_coupling, *wrong_couplings(seeded(2)).values()):
        value, accepted = coupling(draft, draft, mean, torch.zeros(5), uniform)
        assert accepted.all()
        assert torch.equal(value, mean)


def test_the_permutation_test_is_fair_and_finds_a_shift():
    p_values = [
        lesson.sample_p_value(*torch.randn(2, 100, 2, generator=seeded(seed)), seeded(1000 + seed), permutations=99)
        for seed in range(200)
    ]
    below = sum(p <= 0.1 for p in p_values)
    assert 8 <= below <= 34  # 20 expected, 4.2 the standard deviation
    x, y = torch.randn(2, 100, 2, generator=seeded())
    assert lesson.sample_p_value(x, y + 1, seeded()) == 1 / 500


def test_wall_clock_counts_calls_points_and_drafts():
    assert lesson.wall_clock(20, 115, 0, point_cost=0, draft_cost=0.5) == 20
    assert lesson.wall_clock(20, 115, 0, point_cost=1, draft_cost=0.5) == 115
    assert lesson.wall_clock(10, 120, 90, point_cost=0.1, draft_cost=0.2) == pytest.approx(10 + 11 + 18)


def test_speed_ups_are_one_for_a_window_of_one_and_fall_when_points_cost():
    stored = results.load("02_rounds")
    free, dear = (
        lesson.speed_ups(stored["drafts"]["digits"], stored["draft_windows"], 100, cost, 0.1) for cost in (0, 0.3)
    )
    assert free["frozen prediction"][0] == dear["frozen prediction"][0] == 1
    assert max(dear["frozen prediction"]) < max(free["frozen prediction"])
    assert max(dear["small model"]) < max(dear["frozen prediction"])


def test_mode_width_is_one_for_the_law_itself_and_sees_a_blur():
    law = GaussianMixture(torch.tensor([[-3.0, 0.0, 0.0], [3.0, 0.0, 0.0]]), torch.tensor([0.1, 0.3]))
    points = law.sample(20_000, seeded())
    assert lesson.mode_width(law, points) == pytest.approx(1, abs=0.01)
    centres = law.means[torch.cdist(points, law.means).argmin(1)]
    assert lesson.mode_width(law, centres + 0.5 * (points - centres)) == pytest.approx(0.5, abs=0.01)


def test_every_seed_keeps_the_promised_rounds():
    """K = 100 in the plane with window 8: at most half the rounds, a fifth on the median, and never more than K."""
    stored = results.load("02_rounds")
    rounds = dict(zip(stored["windows"], stored["exact"]["100"]["rounds"], strict=True))
    assert len(rounds[8]) == len(stored["seeds"]) == 5
    assert max(rounds[8]) <= 50
    assert median(rounds[8]) <= 20.5
    for steps, counts in stored["exact"].items():
        assert max(max(seeds) for seeds in counts["most_rounds"]) <= int(steps)
        assert min(min(seeds) for seeds in counts["evaluations"]) > int(steps)


def test_speculation_ends_where_the_slow_sampler_ends_and_few_even_steps_do_not():
    rows = results.load("02_rivals")["rows"]["points"]
    slow = rows["the slow sampler, 100 steps"]["width"][0]
    apart = {
        name: [abs(a - b) for a, b in zip(counts["width"][0], slow)] for name, counts in rows.items() if name != "floor"
    }
    assert max(apart["speculative, window 8"]) < 0.03
    assert min(apart["DDIM, 20 steps"]) > 0.05
    assert min(apart["DDPM, 20 steps"]) > 0.1


def test_a_broad_law_in_many_dimensions_and_a_small_churn_leave_little_to_gain():
    stored = results.load("02_limits")
    broad = [median(seeds) for seeds in stored["by_dimension"]["one broad Gaussian"]["rounds"]]
    assert broad == sorted(broad)
    assert broad[-1] > 80
    for counts in stored["by_churn"].values():
        smallest, *_, largest = (median(seeds) for seeds in counts["rounds"])
        assert smallest > 1.5 * largest


def test_tuning_finds_the_better_of_two_settings():
    law = toy.eight_gaussians(std=lesson.NARROW)
    _, judge, target, start = lesson._narrow_points(300)
    settings = lesson._tuned(judge, target, start)
    power, churn = settings[20]
    tuned, even = (
        judge(list(sample(law.denoise, start(seeded(5)), grid, c, seeded(6)))[-1], seeded(7))["error"]
        for grid, c in ((time_grid(20) ** power, churn), (time_grid(20), 1.0))
    )
    assert tuned < even


def test_each_sampler_of_the_comparison_reports_its_cost():
    _, judge, target, start = lesson._narrow_points(100)
    methods = lesson._rivals(target, 20, dict.fromkeys(lesson.FEW_STEPS, (2.0, 0.5)))
    for name, sampler in methods.items():
        points, cost = sampler(start(seeded()), seeded(1))
        assert points.shape == (100, 2), name
        assert cost["rounds"] <= max(20, *lesson.FEW_STEPS), name
        assert cost["evaluations"] >= cost["rounds"], name
        assert judge(points, seeded(2))["width"] > 0, name


def test_views_show_what_is_stored():
    kept = views.kept_along_the_path({20: torch.linspace(1, 0.5, 20), 50: torch.linspace(1, 0.6, 50)})
    for figure in (kept, views.rounds_figure(), views.drafts_figure(), views.limits_figure()):
        assert len(figure.alt) > 30
    assert views.speed_up_figure("digits", 0.03, 0.02).axes
    table = views.rivals_table("points").data.splitlines()
    rows = results.load("02_rivals")["rows"]["points"]
    assert len(table) == len(rows) + 2
    assert all(line.count("|") == table[0].count("|") for line in table)
    expected = median(rows["speculative, window 8"]["rounds"][0])
    assert f"| speculative, window 8 | {expected:.0f} |" in "\n".join(table)


def test_the_window_figure_shows_a_window_with_kept_drafts_and_a_reflection():
    law, start = toy.eight_gaussians(), torch.randn(60, 2, generator=seeded())
    figure = views.window_figure(speculate(law.denoise, start, time_grid(60), churn=0.4, generator=seeded(1)))
    assert [axis.get_title()[:2] for axis in figure.axes] == ["1.", "2.", "3."]


def test_token_tables_are_distributions_that_agree_when_nothing_is_moved():
    target, draft = views.token_tables(0, 1)
    assert torch.equal(target, draft)
    target, draft = views.token_tables(2, 0.3)
    assert target.sum().item() == draft.sum().item() == pytest.approx(1)
    assert not torch.allclose(target, draft)

"""The streams, trainers and comparisons of lesson 07."""

import math

import pytest
import torch

from companion.foundations.stacks import StackedMLP, StreamTrainer, cross_entropy
from companion.methods.rivals.plasticity import OnlineSGD
from companion.methods.soft_reset import SoftReset
from companion.teaching import results
from companion.teaching.lessons import plasticity as lesson
from companion.teaching.lessons import plasticity_bench as bench
from companion.teaching.lessons import plasticity_costs as costs
from companion.teaching.lessons import plasticity_views as views
from companion.teaching.lessons.plasticity import KINDS, SEEDS

TABLED = ("labels", "permuted")
STEPS = {"labels": 150, "permuted": 100, "still": 100, "returning": 100}


def middle(kind: str) -> dict[str, float]:
    """In the middle of each range of a kind."""
    return {name: math.sqrt(low * high) for name, (low, high) in KINDS[kind].ranges.items()}


# --- streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPS)
def test_tasks_of_digits_are_whole_batches(name):
    stream = lesson.stream(name, 3, 2)
    assert stream.features.shape == (2 * STEPS[name] * lesson.BATCH, 64)
    assert stream.changes == (STEPS[name] * lesson.BATCH,)
    assert stream.features.abs().max() <= 1.5
    if name == "labels":  # minus the mean digit of others, so about
        assert stream.features.mean(0).abs().max() < 0.2


def test_one_permutation_stays_and_two_take_turns():
    """By the pixels that are black in nearly every digit."""

    def dark(name, tasks):
        parts = lesson.stream(name, 0, tasks).features.unflatten(0, (tasks, -1))
        return (parts < parts.min() + 0.05).float().mean(1) > 0.99

    still, returning, permuted = (dark(name, 4) for name in ("still", "returning", "permuted"))
    assert bool((still == still[0]).all())
    assert bool((returning[2:] == returning[:2]).all())
    assert not torch.equal(returning[0], returning[1])
    assert not torch.equal(permuted[0], permuted[2])


def test_its_seed_draws_a_stream_and_flights_have_none():
    one, again, other = (lesson.stream.__wrapped__("labels", seed, 2) for seed in (0, 0, 1))
    assert torch.equal(one.labels, again.labels)
    assert not torch.equal(one.labels, other.labels)
    assert lesson.stream("flights", 0) is lesson.stream.__wrapped__("flights", 1)


# --- runs ---------------------------------------------------------------------------------------------------------


def test_networks_of_a_seed_start_alike_whatever_else_is_in_the_stack():
    alone = lesson.networks((4,), 1, 5, 3, layer_norm=False)
    among = lesson.networks((3, 4), 2, 5, 3, layer_norm=False)
    for own, each in zip(alone.parameters(), among.parameters(), strict=True):
        for place in (1, 3):
            assert torch.equal(each[place], own[0])
    assert not torch.equal(among.layers[0].weight[0], among.layers[0].weight[1])


def test_settings_and_seeds_of_a_stack_are_in_their_order():
    settings = [{"lr": 0.1, "strength": 0.01}, {"lr": 0.2, "strength": 0.03}]
    trainer = lesson.trainer_of("L2-init", settings, (5, 6), 4, 3)
    assert trainer.runs == 4
    torch.testing.assert_close(trainer.lr[:, 0], torch.tensor([0.1, 0.1, 0.2, 0.2]))
    torch.testing.assert_close(trainer.strength[:, 0], torch.tensor([0.01, 0.01, 0.03, 0.03]))
    shrinking = lesson.trainer_of("shrink & perturb", [{"lr": 0.1, "decay": 0.25, "perturb": 0.1}], (5,), 4, 3)
    assert shrinking.shrink.item() == 0.75


@pytest.mark.parametrize("kind", ["online SGD", "L2-init", "soft reset, no noise"])
def test_a_run_of_a_stack_is_that_run_alone(kind):
    settings = [middle(kind), {**middle(kind), "lr": 0.1}]
    together = lesson.run(kind, settings, "labels", (0, 1), tasks=2, rows=slice(480))
    alone = lesson.run(kind, settings[1:], "labels", (1,), tasks=2, rows=slice(480))
    torch.testing.assert_close(together.loss[:, 3], alone.loss[:, 0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_what_stays(kind):
    setting = {**middle(kind), "lr": 0.2}
    trace = lesson.run(kind, [setting], "still", (0,), tasks=2)
    late, guess = trace.accuracy[-50:].mean(), 0.1
    assert late > 5 * guess
    assert trace.accuracy.shape == trace.loss.shape == (200, 1)
    assert bool(trace.trainer.model.layer_norm) == KINDS[kind].layer_norm
    has_gamma = isinstance(trace.trainer, SoftReset) and trace.trainer.per != "parameter"
    assert bool(trace.gamma) == has_gamma
    for gamma in trace.gamma.values():
        assert gamma.shape == (200, 1)
        assert 0 <= gamma.min() <= gamma.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_counted_as_they_are_taken(kind, monkeypatch):
    """One for each loss of a batch that is asked for."""
    trainer = lesson.trainer_of(kind, [middle(kind)], (0,), 64, 10)
    found = lesson.stream("labels", 0, 1)
    calls = []
    monkeypatch.setattr(
        StreamTrainer,
        "losses",
        lambda self, loss_fn, batch, losses=StreamTrainer.losses: calls.append(1) or losses(self, loss_fn, batch),
    )
    trainer.learn(cross_entropy, (found.features[None, :16], found.labels[None, :16]))
    assert len(calls) == KINDS[kind].gradients


def test_only_the_hard_reset_is_told_of_changes_and_of_each(monkeypatch):
    told = []
    monkeypatch.setattr(lesson.HardReset, "boundary", lambda self: told.append(1))
    for kind, count in (("hard reset", 2), ("soft reset", 0)):
        told.clear()
        lesson.run(kind, [middle(kind)], "permuted", (0,), tasks=3)
        assert len(told) == count


def test_a_batch_is_scored_before_it_is_learned():
    model = StackedMLP(1, 3, 2, 8, generator=torch.Generator().manual_seed(0))
    x, labels = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([[0, 1, 0, 1]])
    before = cross_entropy(model, (x, labels)).mean().item()
    states = list(lesson.follow(OnlineSGD(model, 0.5, runs=1), iter([(x, labels)] * 5), 5, every=2))
    assert [len(state.loss) for state in states] == [2, 4, 5]
    assert states[0].loss[0].item() == pytest.approx(before)
    assert bool((states[-1].loss.diff(dim=0) < 0).all())


def test_rows_that_fill_no_batch_are_left_out():
    features, labels = torch.arange(11.0).view(1, 11, 1), torch.arange(11)[None]
    found = list(lesson.batches(features, labels, 4, copies=2))
    assert [each[1].tolist() for each in found] == [[[0, 1, 2, 3]] * 2, [[4, 5, 6, 7]] * 2]


# --- comparisons --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_draws_lie_in_their_ranges_and_near_the_best_so_far(kind):
    near = middle(kind)
    wide, narrow = (bench.draws(kind, torch.Generator().manual_seed(0), *way) for way in ((None, 1.0), (near, 1 / 16)))
    for name, (low, high) in KINDS[kind].ranges.items():
        room = math.log(high / low)
        assert all(low * 0.999 <= each[name] <= high * 1.001 for each in wide)
        assert all(abs(math.log(each[name] / near[name])) <= room / 16 + 1e-3 for each in narrow)
        assert max(each[name] for each in wide) > math.exp(room / 2) * low > min(each[name] for each in wide)


@pytest.mark.parametrize("what", ["accuracy", "loss"])
def test_tuning_puts_the_best_first_and_drops_what_diverged(what, monkeypatch):
    """Accuracy is best where lr is largest, loss where it is smallest, and above 1 nothing is left."""

    def run(kind, settings, name, seeds, **options):
        lr = torch.tensor([each["lr"] for each in settings]).repeat_interleave(len(seeds))
        return lesson.Trace(*[torch.where(lr > 1, torch.nan, lr).expand(3, -1)] * 2)

    monkeypatch.setattr(bench, "run", run)
    tried = bench.tune("online SGD", "labels", what)
    rates = [setting["lr"] for setting, _ in tried]
    assert rates == sorted(rates, reverse=what == "accuracy")
    assert max(rates) <= 1
    assert len(rates) > bench.DRAWS


def test_changes_are_found_where_the_first_gamma_is_below_all_late_ones():
    gamma = torch.ones(2, 6, 2)
    gamma[:, 0, 0] = 0.8
    gamma[0, 0, 1], gamma[0, 5, 1] = 0.8, 0.7  # a reset within the task
    assert bench.found_changes(gamma).tolist() == [1.0, 0.0]


def test_a_summary_by_hand():
    accuracy = torch.arange(24.0).view(12, 2)
    gamma = torch.ones(12, 2)
    gamma[4::4] = 0.5
    found = bench.summary(lesson.Trace(accuracy, accuracy, {"a": gamma, "b": torch.ones(12, 2)}), tasks=3)
    assert found["accuracy"] == [11.0, 12.0]
    assert found["curve"] == [3.5, 11.5, 19.5]
    assert found["gamma by age"] == {"a": [0.5, 1, 1, 1], "b": [1, 1, 1, 1]}
    assert found["gamma at a change"] == [0.75, 0.75]
    assert found["gamma inside"] == [1, 1]
    assert found["changes found"] == [1, 1]


@pytest.mark.slow
def test_a_comparison_tunes_on_its_own_seeds_and_reports_others(monkeypatch):
    seen, kept = [], {}
    kinds = {kind: KINDS[kind] for kind in ("online SGD", "soft reset")}
    monkeypatch.setattr(bench, "KINDS", kinds)
    monkeypatch.setattr(bench, "DRAWS", 2)
    monkeypatch.setattr(bench, "TUNING_TASKS", 2)
    monkeypatch.setitem(bench.TASKS, "permuted", 2)

    def run(kind, settings, name, seeds, **options):
        seen.append(tuple(seeds))
        return lesson.run(kind, settings, name, seeds, **options)

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(results, "store", lambda name, data, sources, command: kept.update({name: data}))
    bench.compare_permuted(seeds=(7,))
    assert seen == [*[bench.TUNING_SEEDS] * 3, (7,)] * 2
    assert not set(bench.TUNING_SEEDS) & set(SEEDS)
    for row in kept["07_permuted"]["rows"].values():
        assert len(row["tried"]) == 6
        assert row["chosen"] == row["tried"][0][0]
        assert len(row["accuracy"]) == 1


@pytest.mark.parametrize("name", TABLED)
def test_stored_comparisons_hold_every_kind_and_seed_at_equal_budgets(name):
    stored = results.load(f"07_{name}")
    assert stored["seeds"] == list(SEEDS)
    assert set(stored["rows"]) == set(KINDS)
    for kind, row in stored["rows"].items():
        assert len(row["accuracy"]) == len(row["late"]) == len(SEEDS)
        assert len(row["curve"]) == bench.TASKS[name]
        assert stored["draws"] - 8 <= len(row["tried"]) <= stored["draws"]  # all but those that diverged
        scores = [score for _, score in row["tried"]]
        assert [row["chosen"], max(scores)] == row["tried"][0]
        for setting, (low, high) in KINDS[kind].ranges.items():
            assert low * 0.999 <= row["chosen"][setting] <= high * 1.001


def test_the_other_stored_results_hold_every_kind_and_seed():
    for rows in results.load("07_elsewhere")["rows"].values():
        assert {kind: len(row) for kind, row in rows.items()} == dict.fromkeys(KINDS, len(SEEDS))
    rates = results.load("07_rates")
    assert all(len(each) == len(SEEDS) for row in rates["rows"].values() for each in row)
    assert all(len(row) == len(rates["factors"]) for row in rates["rows"].values())
    assert set(results.load("07_flights")["rows"]) == set(bench.FLIGHTS)
    assert set(results.load("07_costs")) == set(KINDS)


def test_a_stored_run_can_be_had_again():
    """Up to what seeds differ by: another processor rounds otherwise, and rounding grows while a network learns."""
    trace = lesson.run("hard reset", [views.chosen("hard reset", "permuted")], "permuted", (0,), tasks=40)
    stored = views.values("permuted", "hard reset")
    spread = max(stored) - min(stored)
    assert trace.accuracy.mean().item() == pytest.approx(stored[0], abs=spread)
    others = [views.values("permuted", kind)[0] for kind in KINDS if kind != "hard reset"]
    assert min(abs(other - stored[0]) for other in others) > 2 * spread


def test_costs_are_of_every_kind(monkeypatch):
    kept = {}
    monkeypatch.setattr(costs, "STEPS", 1)
    monkeypatch.setattr(results, "store", lambda name, data, sources, command: kept.update({name: data}))
    costs.compare_costs(repeats=1)
    assert set(kept["07_costs"]) == set(KINDS)
    assert all(value > 0 for value in kept["07_costs"].values())


# --- views --------------------------------------------------------------------------------------------------------


def test_an_effective_rank_counts_directions_of_like_size():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(20, 5, generator=generator)).Q
    assert views.effective_rank(basis) == pytest.approx(5, abs=1e-4)
    assert views.effective_rank(basis[:, :1].expand(-1, 7)) == pytest.approx(1, abs=1e-3)
    assert views.effective_rank(torch.zeros(4, 3)) == 0


def test_silent_neurons_are_those_that_no_row_moves():
    layer = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    assert views.silent_share([layer]) == pytest.approx(1 / 3)
    assert views.silent_share([layer, torch.zeros(2, 3)]) == pytest.approx(4 / 6)


def test_tables_have_a_row_for_every_kind():
    cheap = [kind for kind in KINDS if KINDS[kind].gradients < 4]
    assert views.rivals_table().data.count("\n") == len(KINDS) + 1
    assert views.elsewhere_table().data.count("\n") == len(cheap) + 1
    assert views.flights_table().data.count("\n") == len(bench.FLIGHTS) + 1


def test_figures_say_what_to_look_for():
    for figure in (views.curves_figure(), views.rates_figure(), views.by_age_figure(), views.flights_figure()):
        assert len(figure.alt) > 20


def test_the_lessons_own_figures_take_short_runs():
    traces = {kind: lesson.run(kind, [middle(kind)], "labels", (0,), tasks=3) for kind in ("online SGD", "soft reset")}
    assert len(views.tasks_figure(traces, 3).axes[0].lines) == 3  # and one for guessing
    assert len(views.gamma_figure(traces["soft reset"], 150, tasks=2).axes) == 2
    rows = lesson.stream("labels", 0, 3).features[-160:]
    table = views.inside_table({kind: trace.trainer for kind, trace in traces.items()}, rows)
    assert table.data.count("\n") == 3


@pytest.mark.slow
def test_the_large_run_of_the_full_profile_runs_small():
    table = views.large_run("cpu", 0, tasks=2, images=32, epochs=1)
    assert "soft reset" in table
    assert table.count("\n") == 3

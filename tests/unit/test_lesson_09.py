"""The networks, tasks and comparisons of lesson 09."""

import pytest
import torch
from torch import nn

from companion.data.pictures import LabelledImages
from companion.methods.pruning import CurvePoint, count_flops, prune_filters
from companion.teaching import results
from companion.teaching.lessons import compute_optimal_transfer as lesson
from companion.teaching.lessons import lite, pretrained, transfer_costs
from companion.teaching.lessons import transfer_bench as bench
from companion.teaching.lessons import transfer_views as views
from companion.teaching.lessons.compute_optimal_transfer import EXAMPLE, KINDS, TARGETS, UPSTREAM

SESSION = bench.session_of(0)


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    return pretrained.pretrained("strong", SESSION)


@pytest.fixture(scope="module")
def task():
    """A small one, with its classes in order."""
    found = lesson.tasks_of(0, ["symbols"])[0]
    images, labels = found.test
    return found._replace(test=LabelledImages(images[::8], labels[::8]))


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(lesson, "UPSTREAM_STEPS", 2)
    monkeypatch.setattr(lesson, "SMALL_STEPS", 2)


def first(kind: str) -> dict[str, float]:
    how = KINDS[kind].cut
    return UPSTREAM[how][0] if how in UPSTREAM else None


# --- networks and tasks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", lesson.SEEDS)
def test_networks_know_their_classes(seed):
    model = pretrained.pretrained("strong", bench.session_of(seed))
    images, labels = pretrained.mixed_batch(600, "test", torch.Generator().manual_seed(3))
    assert bench.accuracy(model, images, labels) > 0.9
    assert not model.training


def test_a_short_training_learns_something():
    model = pretrained.fresh("strong", 0)
    states = pretrained.training_of(model, "strong", 0, steps=60, penalty=0.0, batch=32)
    losses = [state.loss.item() for state in states]
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


def test_batches_hold_every_family_in_its_share():
    images, labels = pretrained.mixed_batch(200, generator=torch.Generator().manual_seed(0))
    assert images.shape == (200, 1, 16, 16)
    ends = [*pretrained.FIRST.values(), pretrained.CLASSES]
    for family, low, high in zip(pretrained.SHARES, ends, ends[1:]):
        inside = ((labels >= low) & (labels < high)).sum().item()
        assert inside == round(200 * pretrained.SHARES[family])
    assert len(views.class_names()) == pretrained.CLASSES == 68


def test_seeds_and_tuning_have_tasks_of_their_own():
    one, again, other = lesson.tasks_of(0), lesson.tasks_of(0), lesson.tasks_of(1)
    tuning = lesson.tasks_of(bench.TUNING_SEED, lesson.TUNING_TARGETS)
    assert [task.name for task in one] == list(TARGETS)
    for left, right, apart in zip(one, again, other):
        assert torch.equal(left.train.images, right.train.images)
        assert not torch.equal(left.train.images, apart.train.images)
        assert len(left.train.labels) == lesson.LABELS * left.num_classes
        assert len(left.test.labels) == lesson.HELD_OUT * left.num_classes
    assert {"digits", "other_clothes"}.isdisjoint(task.name for task in tuning), "their pictures would come again"
    assert bench.TUNING_SEED not in lesson.SEEDS


# --- ways ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_starts_and_stays_within_each_budget(kind, task, few_steps):
    model = lesson.start(kind, SESSION, first(kind))
    setting = lesson.settings_of(kind)[0]
    budgets = (0.3e9, 1.2e9)
    points = list(lesson.curve(kind, setting, model, [task], SESSION, budgets))
    assert [point.budget for point in points] == pytest.approx(list(budgets))
    assert all(0 <= point.spent <= point.budget and 0 <= point.accuracy <= 1 for point in points)
    assert points[-1].spent > 0


def test_the_small_network_is_as_large_as_what_a_cut_leaves(few_steps):
    small, cut = lesson.start("small", SESSION), lesson.start("L2 0.75", SESSION)
    shapes = [[tuple(value.shape) for value in model.state_dict().values()] for model in (small, cut)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("ratio", lesson.RATIOS)
def test_sizes_are_equal_where_they_are_compared(ratio):
    sizes = [count_flops(lesson.start(f"{name} {ratio}", SESSION), EXAMPLE) for name in ("L2", "random")]
    small = count_flops(prune_filters(pretrained.fresh("strong", 7), ratio, example=EXAMPLE), EXAMPLE)
    assert sizes == [small, small]


@pytest.mark.parametrize("kind", [kind for kind, way in KINDS.items() if way.cut in UPSTREAM])
def test_going_on_with_pretraining_is_counted_and_changes_the_network(kind, whole, few_steps):
    model = lesson.start(kind, SESSION, first(kind))
    plain = lesson.start("random 0.75" if "random" in kind else "L2 0.75", SESSION)
    images = torch.randn(3, 1, 16, 16)
    assert count_flops(model, EXAMPLE) == count_flops(plain, EXAMPLE)
    assert not torch.allclose(model.eval()(images), plain.eval()(images), atol=1e-3)
    own = count_flops(whole if kind.startswith("shrunk") else model, EXAMPLE, training=True)
    asked = count_flops(whole, EXAMPLE) if kind.startswith("distilled") else 0
    assert lesson.upstream_flops(kind, model) == 2 * lesson.UPSTREAM_BATCH * (own + asked)
    assert lesson.upstream_flops("dense", whole) == 0
    assert lesson.upstream_flops("small", plain) == 2 * 64 * count_flops(plain, EXAMPLE, training=True)


def test_a_fitted_head_is_better_than_chance_and_tuning_goes_on_from_it(task):
    model = lesson.start("probe", SESSION)
    (point,) = lesson.curve("probe", {"penalty": 1e-2}, model, [task], SESSION, (1e9,))
    assert point.accuracy > 0.5
    assert point.steps == 0
    setting = {"rate": 1e-6, "batch": 16}
    early, late = lesson.curve("probe, dense", setting, model, [task], SESSION, (0.5e9, 2e9))
    assert early.accuracy == 1 / task.num_classes, "what cannot pay for the head has none"
    assert late.steps > 0
    assert late.accuracy > 0.5, "steps of no size leave the head as it was"


def test_an_unknown_way_is_said():
    with pytest.raises(ValueError, match=r"kind is 'none', but must be one of dense, L2 0\.5"):
        lesson.start("none", SESSION)


# --- comparisons --------------------------------------------------------------------------------------------------


def point(accuracy: float, budget: float = 1.0) -> CurvePoint:
    return CurvePoint("a", 0, budget, 1, 1, accuracy, 0.0)


def test_every_way_has_as_many_settings_and_each_budget_its_best(monkeypatch):
    def told(kind, setting, model, tasks, session, budgets):
        """Large rates are best at the first budget, small ones later."""
        for _ in tasks:
            yield from (point(setting["rate"] if place == 0 else 1 - setting["rate"]) for place in range(len(budgets)))

    monkeypatch.setattr(bench, "curve", told)
    assert {len(lesson.settings_of(kind)) for kind, way in KINDS.items() if way.tuned} == {20}
    tried = bench.tune("dense", nn.Identity())
    assert [setting for setting, _ in tried] == lesson.settings_of("dense")
    chosen = bench.choose(tried)
    assert len(chosen) == len(lesson.BUDGETS)
    rates = [setting["rate"] for setting in chosen]
    assert rates == [0.04] + [0.0025] * (len(rates) - 1)


def test_each_budget_is_run_with_its_own_setting(monkeypatch):
    def told(kind, setting, model, tasks, session, budgets):
        for number, _ in enumerate(tasks):
            yield from (point(setting["rate"] + number, budget) for budget in budgets)

    monkeypatch.setattr(lesson, "curve", told)
    chosen = [{"rate": rate} for rate in (0.1, 0.2, 0.1)]
    table = lesson.best_curve("dense", chosen, nn.Identity(), lesson.tasks_of(0, TARGETS[:2]), SESSION, (1.0, 2.0, 3.0))
    assert [[each.accuracy for each in row] for row in table] == [[0.1, 0.2, 0.1], [1.1, 1.2, 1.1]]
    assert [[each.budget for each in row] for row in table] == [[1.0, 2.0, 3.0]] * 2


def test_a_row_holds_every_seed_task_and_budget(monkeypatch):
    monkeypatch.setattr(bench, "settings_of", lambda kind: [{"rate": 0.02, "batch": 16}])
    monkeypatch.setattr(bench, "TUNING_BUDGETS", (1e8,))
    monkeypatch.setattr(bench, "BUDGETS", (0.2e9, 0.4e9))
    monkeypatch.setattr(bench, "tasks_of", lambda seed, targets=(): lesson.tasks_of(seed, ["symbols"]))
    short = lambda *arguments: lesson.best_curve(*arguments, (0.2e9, 0.4e9))  # noqa: E731
    monkeypatch.setattr(bench, "best_curve", short)
    row = bench.row_of("L2 0.9", {}, (0, 1))
    assert torch.tensor(row["accuracy"]).shape == torch.tensor(row["loss"]).shape == (2, 1, 2)
    assert row["steps"] == sorted(row["steps"])
    assert all(spent <= budget for spent, budget in zip(row["spent"], (0.2e9, 0.4e9)))
    assert row["flops"]["upstream"] == 0


def test_half_of_the_weaker_filters_go_for_nothing_and_a_random_half_does_not():
    judged = pretrained.mixed_batch(600, "test", torch.Generator().manual_seed(4))
    _, whole = bench.left_of("strong", 0, "l2", 0.0, judged)
    _, weaker = bench.left_of("strong", 0, "l2", 0.5, judged)
    _, random = bench.left_of("strong", 0, "random", 0.5, judged)
    assert weaker > whole - 0.05
    assert random < whole - 0.2


def test_costs_are_measured_beside_what_is_counted(monkeypatch):
    kept = {}
    monkeypatch.setattr(transfer_costs, "STEPS", 1)
    monkeypatch.setattr(results, "store", lambda name, data, sources, command: kept.update(data))
    transfer_costs.compare_costs(repeats=1)
    assert list(kept) == list(transfer_costs.RATIOS)
    assert kept[0.9]["flops"] < 0.12 * kept[0.0]["flops"]
    assert all(row["milliseconds"] > 0 for row in kept.values())


# --- EfficientNet-lite0 -------------------------------------------------------------------------------------------


def test_clothes_to_learn_from_are_not_those_of_the_tuning():
    tasks = [lite.clothes_of(seed) for seed in (*lite.SEEDS, lite.TUNING_SEED)]
    for one in tasks:
        assert one.train.labels.bincount().tolist() == [lite.LABELS] * 10
        assert one.test.labels.bincount().tolist() == [lite.HELD_OUT] * 10
    kept = torch.cat([task.train.images[:, 0].flatten(1) for task in tasks])
    assert len(kept.unique(dim=0)) == len(kept)


@pytest.mark.skipif(not lite.is_installed(), reason="the extra `transfer` is not installed")
def test_a_network_of_photographs_is_cut_and_its_stored_features_are_its_own():
    whole, small = lite.lite(), lite.cut_lite(0.5)
    picture = torch.zeros(1, 3, 32, 32)
    assert count_flops(small, picture) < 0.6 * count_flops(whole, picture)
    assert small._fc.in_features == whole._fc.in_features == 1280
    stored = lite.stored_features()
    assert stored["whole_train"].shape == stored["cut_train"].shape == (80, 1280)
    assert stored["labels_test"].tolist() == lite.clothes_of(0).test.labels.tolist()


def test_files_of_foreign_origin_are_licensed():
    licences = (lite.FILES / "LICENSES.md").read_text()
    foreign = [file.name for file in lite.FILES.iterdir() if file.suffix not in (".json", ".md", ".safetensors")]
    assert foreign == [lite.FEATURES.name]
    assert f"## {lite.FEATURES.name}" in licences


def test_without_the_extra_the_comparison_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(lite, "is_installed", lambda: False)
    lite.compare_lite()
    assert "left out" in capsys.readouterr().out


# --- stored results -----------------------------------------------------------------------------------------------


def test_stored_rows_are_whole():
    stored = views.curves()
    assert list(stored["rows"]) == list(KINDS)
    for kind, row in stored["rows"].items():
        assert torch.tensor(row["accuracy"]).shape == (5, len(TARGETS), len(stored["budgets"])), kind
        assert len(row["chosen"]) == len(stored["budgets"])
        assert len(row["tried"]) == len(lesson.settings_of(kind))


def test_a_way_that_buys_nothing_is_not_drawn():
    assert views.affordable("probe, dense") == views.budgets()[1:], (
        "half a GFLOP does not pay for a head on 80 pictures"
    )
    assert views.affordable("dense") == views.budgets()
    assert views.affordable("probe") == views.budgets()

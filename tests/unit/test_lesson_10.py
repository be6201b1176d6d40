"""The learners and stored comparison of lesson 10, and what its views make of it."""

from collections import Counter
from statistics import median

import pytest
import torch

from companion.data.streams.mini import FAMILIES, MiniStream
from companion.methods.nevis import body_of, run
from companion.methods.pruning import count_flops
from companion.teaching import results
from companion.teaching.lessons import task_stream as lesson
from companion.teaching.lessons import task_stream_bench as bench
from companion.teaching.lessons import task_stream_views as views
from companion.teaching.lessons.transfer_bench import session_of

PARTS = ("whole stream", "first half", "second half")


def test_what_is_cut_is_exactly_as_large_as_what_starts_untrained():
    small, untrained = lesson.trained(0, cut=True), lesson.untrained(68)
    assert [tuple(each.shape) for each in small.state_dict().values()] == [
        tuple(each.shape) for each in untrained.state_dict().values()
    ]
    whole = lesson.trained(0, cut=False)
    assert 3 < count_flops(whole, lesson.EXAMPLE) / count_flops(untrained, lesson.EXAMPLE) < 4.5


def test_a_run_of_the_comparison_can_be_made_again():
    """The first tasks of a stored run, live: the same errors to the digits that are stored."""
    stored = views.runs_of("dynamic", "15")[0]
    stream = MiniStream(5, stored["seed"])
    rows = run(lesson.learner_of("dynamic", stream, "15", stored["rate"], stored["seed"]), stream)
    assert [row.error for row in rows] == pytest.approx(stored["errors"][:5], abs=0.011)


# --- stored results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", bench.PLAN)
def test_stored_runs_are_whole(budget):
    found = Counter((each["kind"], each["seed"]) for each in views.runs()[budget])
    assert found == {(kind, seed): 1 for kind in bench.PLAN[budget] for seed in lesson.SEEDS}
    for each in views.runs()[budget]:
        rows = [each[name] for name in ("errors", "sources", "trained", "searched")]
        assert [len(row) for row in rows] == [lesson.TASKS] * 4
        assert all(0 <= error <= 1 for error in each["errors"])
        assert all(-1 <= source < place for place, source in enumerate(each["sources"]))
        assert sum(each["trained"]) * 1e9 == pytest.approx(each["training"], rel=1e-3)
        assert sum(each["searched"]) * 1e9 == pytest.approx(each["search"], rel=1e-3)
        assert (each["search"] > 0) == each["kind"].startswith("dynamic")


@pytest.mark.parametrize("steps", sorted({bench.steps_of(budget) for budget in bench.PLAN}))
def test_no_rate_was_chosen_at_the_edge_of_what_was_tried(steps):
    stored = results.load(f"10_rates_{steps}")
    assert set(stored["seeds"]).isdisjoint(lesson.SEEDS)
    for kind, errors in stored["tried"].items():
        rates = sorted(map(float, errors))
        best = min(errors, key=errors.get)
        assert float(best) == stored["chosen"][kind]
        assert rates[0] < float(best) < rates[-1], kind


def test_training_costs_the_same_wherever_a_network_starts():
    costs = {
        kind: views.operations(kind, "15")[0] for kind in ("independent", "previous", "dynamic", "soup", "pretrained")
    }
    assert max(costs.values()) == pytest.approx(min(costs.values()), rel=1e-5)
    assert views.operations("multitask", "15")[0] > 1.8 * costs["independent"]


@pytest.mark.parametrize("kind", bench.PLAN["4 x 15"])
def test_four_trials_cost_more_than_sixty_steps_and_bring_far_less(kind):
    assert views.operations(kind, "4 x 15")[0] > views.operations(kind, "60")[0]
    assert abs(median(views.ahead(kind, kind, ("4 x 15", "15")))) < 0.15
    assert min(views.ahead(kind, kind, ("60", "4 x 15"))) > 0.2


# --- views ---------------------------------------------------------------------------------------------------------


def test_halves_make_the_whole_and_families_the_mean():
    for whole, first, second in zip(*(views.errors("previous", "15", part) for part in PARTS)):
        assert whole == pytest.approx((first + second) / 2)
    for place, seed in enumerate(lesson.SEEDS):
        counts = Counter(views.families_of(seed))
        parts = [counts[family] * views.errors("previous", "15", family=family)[place] for family in counts]
        assert sum(parts) / lesson.TASKS == pytest.approx(views.errors("previous", "15")[place])


def test_ahead_is_the_share_of_errors_that_is_saved(monkeypatch):
    told = {"one": [0.3, 0.5], "other": [0.4, 0.4]}
    monkeypatch.setattr(views, "errors", lambda kind, budget, part: told[kind])
    assert views.ahead("one", "other", "15") == pytest.approx([0.25, -0.25])


def test_shares_of_the_own_family_by_the_vote_and_by_chance(monkeypatch):
    monkeypatch.setattr(views, "families_of", lambda seed: ("a", "b", "a", "a"))
    monkeypatch.setattr(views, "runs_of", lambda kind, budget: [{"seed": 0, "sources": [-1, 0, 0, 1]}])
    assert views.same_family("dynamic", "15") == pytest.approx([1 / 3])
    assert views.by_chance("dynamic", "15") == pytest.approx([(0 + 1 / 2 + 2 / 3) / 3])
    assert views.by_chance("dynamic", "15", last=1) == pytest.approx([(0 + 0 + 1) / 3])


def test_pictures_of_the_wall_are_the_tasks_own():
    tasks = views.wall_tasks(0, 3)
    stream = views.stream_of(0)
    assert [task["family"] for task in tasks] == list(stream.families)
    assert {task["pictures"].shape for task in tasks} == {(3, 16, 16)}
    batch = stream.get_dataset_by_key(f"{tasks[2]['name']}/test").builder_fn().whole
    grey = (batch.image[:3, 0].clamp(-2.5, 2.5) + 2.5) * 51
    assert (tasks[2]["pictures"].float() - grey).abs().max() <= 0.51
    assert tasks[2]["captions"] == [f"class {label}" for label in batch.label[:3].tolist()]
    several = next(task for task in tasks if task["labels"])
    target = stream.get_dataset_by_key(f"{several['name']}/test").builder_fn().whole.multi_label_one_hot[0]
    told = [] if several["captions"][0] == "none" else several["captions"][0].split()
    assert [int(label) for label in told] == target.nonzero()[:, 0].tolist()


def test_points_and_transfers_are_those_of_the_runs():
    points = views.points()
    assert list(points) == [way.label for way in lesson.KINDS.values()]
    (dynamic, *_) = points["dynamic"]
    assert dynamic["errors"]["whole stream"] == views.errors("dynamic", "15")
    assert dynamic["search"] > dynamic["training"] > 1e9
    (found,) = views.transfers(("dynamic",), "15", 3).values()
    assert found["sources"] == views.runs_of("dynamic", "15")[3]["sources"]
    assert found["reference"] == views.runs_of("independent", "15")[3]["errors"]
    assert len(views.transfer_tasks(3)) == lesson.TASKS
    assert views.learners(("previous",), "15", 8) == {"previous": views.runs_of("previous", "15")[3]["errors"]}


def test_tables_have_a_line_for_each_learner_or_family():
    assert len(views.budget_table(tuple(lesson.KINDS), ["15"]).data.split("\n")) == 2 + len(lesson.KINDS)
    assert len(views.family_table(("independent", "dynamic"), "15").data.split("\n")) == 2 + len(FAMILIES)
    assert "| independent | 0.2 |" in views.rates_table().data
    assert "nan" not in views.budget_table(tuple(lesson.KINDS)).data


def test_figures_say_what_they_show():
    for figure in (views.wall_figure(0), views.along_figure(tuple(views.STYLES), "15")):
        assert len(figure.alt) > 60


def test_the_live_slice_tells_now_from_then():
    lines = views.live_table(("independent", "dynamic"), session_of(0), tasks=2).data.split("\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert [row[0] for row in cells] == ["independent", "dynamic"]
    for row, kind in zip(cells, ("independent", "dynamic")):
        stored = views.runs_of(kind, "15")[0]
        assert float(row[2]) == pytest.approx(100 * sum(stored["errors"][:2]) / 2, abs=0.051)
        assert float(row[3]) == pytest.approx(sum(stored["trained"][:2]), abs=0.06)
        assert float(row[4]) == pytest.approx(sum(stored["searched"][:2]), abs=0.06)


def test_networks_of_the_lesson_are_the_same_for_a_seed():
    one, again = (lesson.trained(1, cut=True) for _ in range(2))
    assert torch.equal(body_of(one), body_of(again))

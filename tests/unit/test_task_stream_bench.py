"""Lesson 10's learners and its comparison: what is counted, how rates are found, and runs that survive a kill."""

import itertools
import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch

from companion.__main__ import main
from companion.data.streams.mini import MiniStream
from companion.methods.nevis import body_of, run
from companion.teaching.lessons import task_stream as lesson
from companion.teaching.lessons import task_stream_bench as bench
from companion.teaching.lessons.task_stream import KINDS, Budget, rates_of
from companion.teaching.lessons.task_stream_bench import Job

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def two_budgets(monkeypatch):
    """Whatever is planned: all learners at 15 steps, some of them at 60, too."""
    some = ("independent", "previous", "dynamic", "soup", "pretrained")
    monkeypatch.setattr(bench, "PLAN", {"15": tuple(KINDS), "60": some})


@pytest.fixture
def two_steps(monkeypatch):
    monkeypatch.setattr(lesson, "BUDGETS", {"15": Budget(2), "4 x 15": Budget(1, 4)})


@pytest.fixture
def stored(monkeypatch):
    """What the comparison stores, by name, instead of files."""
    found = {}

    def store(name, data, sources, command):
        assert command == "python -m companion nevis"
        assert sources == lesson.SOURCES
        found[name] = json.loads(json.dumps(data))

    def load(name):
        if name not in found:
            raise FileNotFoundError(name)
        return found[name]

    monkeypatch.setattr(bench.results, "store", store)
    monkeypatch.setattr(bench.results, "load", load)
    return found


@pytest.fixture
def makings(monkeypatch):
    """The calls that are made rather than read."""
    found = []

    def make(*call):
        found.append(Job(*call))
        return made_up(*call)

    monkeypatch.setattr(bench, "make_run", partial(bench.make_run, make=make))
    return found


def made_up(kind: str, budget: str, rate: float, seed: int, tasks: int) -> dict[str, list]:
    """A run that nobody made: its numbers say of which call it is."""
    return {"errors": [rate, float(seed)], "training": [2e9, 3e9], "search": [0.0, 1e9], "sources": [-1, 0]}


def valley(best: dict[str, float]):
    """Runs whose error is the distance of the rate from the best, in doublings."""

    def all_runs(calls, folder, jobs, label):
        for call in dict.fromkeys(calls):
            away = abs(math.log2(call.rate / best[call.kind]))
            yield call, {"errors": [away, away + call.seed / 1000]}

    return all_runs


# --- learners -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trials", "rates"), [(1, (0.1,)), (2, (0.2, 0.1)), (3, (0.2, 0.1, 0.05)), (4, (0.2, 0.1, 0.05, 0.025))]
)
def test_trials_are_around_one_rate(trials, rates):
    assert rates_of(0.1, trials) == pytest.approx(rates)


@each_kind
def test_every_learner_goes_through_two_tasks(kind, two_steps):
    stream = MiniStream(2, seed=1)
    made = run(lesson.learner_of(kind, stream, "15", 0.05, seed=1), stream)
    rows = list(made)
    assert [row.task for row in rows] == [key.name for key in stream.tasks]
    assert all(0 <= row.error <= 1 for row in rows)
    kept = lesson.kept_of(made)
    assert kept.keys() == {"training", "search", "sources"}
    assert all(len(values) == 2 for values in kept.values())
    assert min(kept["training"]) > 0
    assert sum(kept["training"]) + sum(kept["search"]) == pytest.approx(made.usage.floating_point_operations)
    assert rows[0].floating_point_operations == pytest.approx(kept["training"][0] + kept["search"][0])


@pytest.mark.parametrize("kind", ["independent", "multitask", "dynamic"])
def test_four_trials_are_four_trainings(kind, two_steps, monkeypatch):
    """And what they are judged by: more than four times the operations of one."""
    stream, spent = MiniStream(1, seed=1), {}
    monkeypatch.setitem(lesson.BUDGETS, "1", Budget(1))
    for budget in ("1", "4 x 15"):
        made = run(lesson.learner_of(kind, stream, budget), stream)
        list(made)
        spent[budget] = made.usage.floating_point_operations
    assert 4 * spent["1"] < spent["4 x 15"] < 8 * spent["1"]


@pytest.mark.parametrize("kind", ["dynamic", "previous", "multitask"])
def test_a_run_is_kept_by_task(kind, two_steps):
    kept = lesson.run_of(kind, "15", 0.05, seed=0, tasks=3)
    assert kept.keys() == {"errors", "training", "search", "sources"}
    assert all(len(values) == 3 for values in kept.values())
    assert json.loads(json.dumps(kept)) == kept
    assert kept["sources"][0] == -1
    assert all(-1 <= source < place for place, source in enumerate(kept["sources"]))
    if kind == "previous":
        assert kept["sources"] == [-1, 0, 1]
    if kind == "multitask":
        assert kept["sources"] == [-1, -1, -1]
    searched = [each > 0 for each in kept["search"]]
    assert searched == ([False, True, True] if kind == "dynamic" else [False] * 3)
    assert kept == lesson.run_of(kind, "15", 0.05, seed=0, tasks=3)


def test_the_seed_is_of_the_stream_and_of_the_networks(two_steps):
    first, second = (lesson.run_of("independent", "15", 0.05, seed, tasks=2) for seed in (0, 1))
    assert first["errors"] != second["errors"]
    networks = [body_of(lesson.trained(seed, cut=False)) for seed in (0, 1)]
    assert not torch.equal(*networks)


def test_what_is_left_of_the_pretrained_network_is_as_large_as_one_from_nothing():
    cut, fresh, whole = (
        body_of(model).numel()
        for model in (lesson.trained(0, cut=True), lesson.untrained(5), lesson.trained(0, cut=False))
    )
    assert cut == fresh
    assert whole > 3 * cut


def test_a_smaller_search_costs_less(two_steps):
    spent = [sum(lesson.run_of(kind, "15", 0.05, 0, tasks=3)["search"]) for kind in ("dynamic_few", "dynamic")]
    assert 0 < spent[0] < spent[1]


# --- rates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "wanted"),
    [
        ({0.05: 3, 0.1: 2, 0.2: 3}, []),
        ({0.05: 1, 0.1: 2, 0.2: 3}, [0.025]),
        ({0.05: 3, 0.1: 2, 0.2: 1}, [0.4]),
        ({0.2: 1, 0.1: 2, 0.05: 3}, [0.4]),
        ({0.1: 1}, [0.05, 0.2]),
    ],
)
def test_the_search_goes_on_beyond_an_edge_that_is_best(errors, wanted):
    assert bench.beyond({rate: float(error) for rate, error in errors.items()}) == pytest.approx(wanted)


@pytest.mark.parametrize("powers", [0, 1, -1, 4, -6])
def test_rates_are_tried_until_the_best_has_worse_neighbours(powers, monkeypatch, tmp_path):
    best = {kind: bench.FIRST_RATES.get(kind, bench.FIRST_RATE) * 2.0**powers for kind in bench.TUNED}
    monkeypatch.setattr(bench, "all_runs", valley(best))
    tried = bench.tuned("15", {}, tmp_path, 1)
    assert set(tried) == set(bench.TUNED)
    for kind, errors in tried.items():
        rates = list(errors)
        assert rates == sorted(rates)
        assert [later / earlier for earlier, later in itertools.pairwise(rates)] == pytest.approx(
            [2.0] * (len(rates) - 1)
        )
        place = rates.index(min(errors, key=errors.get))
        assert rates[place] == pytest.approx(best[kind])
        assert 0 < place < len(rates) - 1
        assert len(rates) == 3 + abs(powers)


def test_a_rate_is_the_mean_over_both_streams_and_their_tasks(monkeypatch, tmp_path):
    best = dict.fromkeys(bench.TUNED, 0.1)
    monkeypatch.setattr(bench, "all_runs", valley(best))
    errors = bench.tuned("15", {}, tmp_path, 1)["independent"]
    assert errors[0.2] == pytest.approx(1 + sum(bench.TUNING_SEEDS) / len(bench.TUNING_SEEDS) / 2000)


def test_rates_of_more_steps_are_sought_around_those_of_fewer(monkeypatch, tmp_path):
    first, best = {}, dict.fromkeys(bench.TUNED, 0.4)

    def noted(calls, folder, jobs, label):
        for call in calls:
            first.setdefault(call.kind, []).append(call.rate)
            assert call.budget == "60"
            assert call.tasks == bench.TUNING_TASKS
            assert call.seed in bench.TUNING_SEEDS
        yield from valley(best)(calls, folder, jobs, label)

    monkeypatch.setattr(bench, "all_runs", noted)
    tried = bench.tuned("60", best, tmp_path, 1)
    assert set(tried) == {kind for kind in bench.PLAN["60"] if kind in bench.TUNED}
    assert all(sorted(set(rates)) == pytest.approx([0.2, 0.4, 0.8]) for rates in first.values())


def test_streams_that_tune_are_reported_nowhere():
    assert not set(bench.TUNING_SEEDS) & set(lesson.SEEDS)
    assert len(set(bench.TUNING_SEEDS)) == 2
    assert 3 * bench.TUNING_TASKS == lesson.TASKS


def test_every_planned_run_has_a_rate():
    """A kind that takes another's rate meets no number of steps that the other does not."""
    for budget, kinds in bench.PLAN.items():
        steps = bench.steps_of(budget)
        assert steps == str(lesson.BUDGETS[budget].steps)
        assert lesson.BUDGETS[steps] == Budget(int(steps)), "rates are chosen by single trials of so many steps"
        met = {kind for name, planned in bench.PLAN.items() if bench.steps_of(name) == steps for kind in planned}
        assert all(KINDS[kind].tuned_as in met for kind in kinds if KINDS[kind].tuned_as is not None)


def test_trials_share_the_rate_of_their_number_of_steps():
    assert [bench.steps_of(budget) for budget in ("15", "60", "4 x 15", "4 x 60")] == ["15", "60", "15", "60"]
    assert bench.name_of("4 x 15") == "10_streams_4x15"
    assert len({bench.name_of(budget) for budget in lesson.BUDGETS}) == len(lesson.BUDGETS)


def test_chosen_rates_are_the_best_that_were_tried(stored, monkeypatch, tmp_path):
    best = {kind: 0.1 * 2.0 ** (place % 5 - 2) for place, kind in enumerate(bench.TUNED)}
    monkeypatch.setattr(bench, "all_runs", valley(best))
    bench.compare_rates(tmp_path, 1, ("15", "60"))
    assert list(stored) == ["10_rates_15", "10_rates_60"]
    assert stored["10_rates_15"]["chosen"] == pytest.approx(best)
    for found in stored.values():
        assert found["seeds"] == list(bench.TUNING_SEEDS)
        assert found["tasks"] == bench.TUNING_TASKS
        for kind, rate in found["chosen"].items():
            tried = {float(each): error for each, error in found["tried"][kind].items()}
            assert rate == min(tried, key=tried.get)


def test_rates_that_are_stored_are_not_sought_again(stored, monkeypatch, tmp_path):
    """And those of more steps are sought around them."""
    first = {kind: 0.8 for kind in bench.TUNED}
    stored["10_rates_15"] = {"chosen": first}
    asked = []

    def tuned(steps, before, folder, jobs):
        asked.append((steps, before))
        return {"independent": {0.1: 2.0, 0.2: 1.0}}

    monkeypatch.setattr(bench, "tuned", tuned)
    bench.compare_rates(tmp_path, 1, ["60"])
    assert asked == [("60", first)]
    assert stored["10_rates_60"]["chosen"] == {"independent": 0.2}
    assert stored["10_rates_15"] == {"chosen": first}
    bench.compare_rates(tmp_path, 1)
    assert len(asked) == 1


def test_rates_of_fewer_steps_are_not_sought_unasked(stored, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "all_runs", valley(dict.fromkeys(bench.TUNED, 0.1)))
    bench.compare_rates(tmp_path, 1, ["60"])
    assert list(stored) == ["10_rates_60"]


@pytest.mark.parametrize("error", [FileNotFoundError, bench.results.StaleResult])
def test_a_result_that_is_missing_or_stale_is_not_there(error, monkeypatch):
    def load(name):
        raise error(name)

    monkeypatch.setattr(bench.results, "load", load)
    assert not bench.is_stored("10_rates_15")
    monkeypatch.setattr(bench.results, "load", lambda name: {})
    assert bench.is_stored("10_rates_15")


# --- streams ------------------------------------------------------------------------------------------------------


def test_a_summary_is_small():
    run = {
        "errors": [0.123456, 0.5],
        "training": [2.0004e9, 3e9],
        "search": [0.0, 1.23456e9],
        "sources": [-1, 0],
    }
    assert bench.summary(run) == {
        "errors": [0.1235, 0.5],
        "sources": [-1, 0],
        "training": 5.0004e9,
        "search": 1.23456e9,
        "searched": [0.0, 1.235],
        "trained": [2.0, 3.0],
    }


@pytest.fixture
def rates(stored):
    """A rate of its own for each kind that is tuned."""
    found = {kind: round(0.01 * (place + 1), 2) for place, kind in enumerate(bench.TUNED)}
    stored |= {f"10_rates_{steps}": {"chosen": found} for steps in ("15", "60")}
    return found


def test_every_learner_meets_every_stream_at_its_rate(stored, rates, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "PLAN", {"15": tuple(KINDS), "60": ("independent",)})
    monkeypatch.setattr(bench, "make_run", partial(bench.make_run, make=made_up))
    bench.compare_streams(tmp_path, 1, ["15", "60"])
    found = stored["10_streams_15"]
    assert {(each["kind"], each["seed"]) for each in found} == {(kind, seed) for kind in KINDS for seed in lesson.SEEDS}
    assert len(found) == 5 * len(KINDS)
    assert [(each["kind"], each["seed"]) for each in stored["10_streams_60"]] == [
        ("independent", seed) for seed in lesson.SEEDS
    ]
    for each in found:
        tuned_as = KINDS[each["kind"]].tuned_as
        assert tuned_as is None or each["rate"] == rates[tuned_as]
        assert (each["budget"], each["tasks"]) == ("15", lesson.TASKS)
        assert each["errors"] == [round(each["rate"], 4), float(each["seed"])]
        assert (each["training"], each["search"]) == (5e9, 1e9)


def test_every_planned_run_can_begin(stored, rates, monkeypatch, tmp_path):
    """One that is not tuned, too, gets a rate that a recipe takes."""
    asked = []

    def begun(kind, budget, rate, seed, tasks):
        lesson.learner_of(kind, MiniStream(1), budget, rate, seed)
        asked.append(kind)
        return made_up(kind, budget, rate, seed, tasks)

    monkeypatch.setattr(bench, "SEEDS", (0,))
    monkeypatch.setattr(bench, "make_run", partial(bench.make_run, make=begun))
    bench.compare_streams(tmp_path, 1, ["15"])
    assert asked == list(bench.PLAN["15"])


def test_streams_that_are_stored_are_not_run_again(stored, rates, makings, tmp_path):
    stored["10_streams_15"] = []
    bench.compare_streams(tmp_path, 1, ["15"])
    assert makings == []
    assert stored["10_streams_15"] == []


# --- runs that survive --------------------------------------------------------------------------------------------

CALLS = [Job("independent", "15", rate, seed, 2) for rate in (0.1, 0.2) for seed in (0, 1)]


def test_what_is_finished_is_read_and_not_made_again(makings, tmp_path):
    first = dict(bench.all_runs(CALLS[:2], tmp_path, 1, "test"))
    assert makings == CALLS[:2]
    again = dict(bench.all_runs(CALLS, tmp_path, 1, "test"))
    assert makings == CALLS
    assert again == {call: made_up(*call) for call in CALLS}
    assert all(again[call] == first[call] for call in CALLS[:2])
    (own,) = tmp_path.iterdir()
    bench.path_of(CALLS[0], own).write_text('{"errors": [0.75]}', encoding="utf-8")
    assert dict(bench.all_runs(CALLS, tmp_path, 1, "test"))[CALLS[0]] == {"errors": [0.75]}
    assert makings == CALLS


def test_a_call_that_comes_twice_is_made_once(makings, tmp_path):
    found = list(bench.all_runs([CALLS[0], CALLS[1], CALLS[0]], tmp_path, 1, "test"))
    assert [call for call, _ in found] == makings == CALLS[:2]


def test_runs_of_other_code_are_not_read(makings, monkeypatch, tmp_path):
    list(bench.all_runs(CALLS, tmp_path, 1, "test"))
    monkeypatch.setattr(bench, "source_hash", lambda *sources: "f" * 64)
    list(bench.all_runs(CALLS, tmp_path, 1, "test"))
    assert makings == CALLS + CALLS
    assert len(list(tmp_path.iterdir())) == 2


def test_a_kill_loses_only_what_was_not_finished(monkeypatch, tmp_path):
    done = []

    def make(*call):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(Job(*call))
        return made_up(*call)

    original = bench.make_run
    monkeypatch.setattr(bench, "make_run", partial(original, make=make))
    with pytest.raises(KeyboardInterrupt):
        list(bench.all_runs(CALLS, tmp_path, 1, "test"))
    assert done == CALLS[:2]
    (own,) = tmp_path.iterdir()
    bench.path_of(CALLS[2], own).with_suffix(".row.7.partial").write_text("{", encoding="utf-8")
    monkeypatch.setattr(
        bench, "make_run", partial(original, make=lambda *call: done.append(Job(*call)) or made_up(*call))
    )
    found = dict(bench.all_runs(CALLS, tmp_path, 1, "test"))
    assert done == CALLS
    assert found == {call: made_up(*call) for call in CALLS}


def test_a_run_is_there_whole_or_not_at_all(monkeypatch, tmp_path):
    path = bench.path_of(CALLS[0], tmp_path)

    def replaced(unfinished, final):
        assert json.loads(Path(unfinished).read_text(encoding="utf-8")) == made_up(*CALLS[0])
        assert final == path
        assert not path.exists()
        raise OSError("the machine went off")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", replaced)
        with pytest.raises(OSError, match="went off"):
            bench.make_run(CALLS[0], tmp_path, make=made_up)
    assert not path.exists()
    bench.make_run(CALLS[0], tmp_path, make=made_up)
    assert json.loads(path.read_text(encoding="utf-8")) == made_up(*CALLS[0])
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_every_call_has_a_file_of_its_own():
    call = CALLS[0]
    others = [
        call,
        call._replace(kind="previous"),
        call._replace(budget="60"),
        call._replace(rate=0.11),
        call._replace(seed=5),
        call._replace(tasks=3),
    ]
    assert len({bench.path_of(each, Path("folder")) for each in others}) == 6


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path):
    calls = [Job("independent", "15", 0.1, seed, 1) for seed in (0, 1)]
    apart = dict(bench.all_runs(calls, tmp_path / "two", 2, "test"))
    alone = dict(bench.all_runs(calls[:1], tmp_path / "one", 1, "test"))
    assert list(apart) == calls
    assert apart[calls[0]] == alone[calls[0]]


# --- the command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["0", "-3"])
def test_the_command_refuses_no_process_with_one_sentence(jobs, monkeypatch, capsys):
    monkeypatch.setattr(bench, "compare_rates", None)
    assert main(["nevis", "--jobs", jobs]) == 2
    said = capsys.readouterr()
    assert said.err == f"--jobs is {jobs}, but must be at least 1.\n"
    assert said.out == ""


def test_the_command_refuses_a_number_that_is_none(capsys):
    with pytest.raises(SystemExit) as refusal:
        main(["nevis", "--jobs", "many"])
    assert refusal.value.code == 2
    assert "--jobs" in capsys.readouterr().err


def test_the_command_stores_the_smaller_budgets_first(monkeypatch, tmp_path):
    called = []
    for name in ("compare_rates", "compare_streams"):
        monkeypatch.setattr(bench, name, lambda *call, name=name: called.append((name, *call)))
    assert main(["nevis", "--jobs", "2", "--folder", str(tmp_path)]) == 0
    assert called == [
        (name, tmp_path, 2, [budget]) for budget in bench.PLAN for name in ("compare_rates", "compare_streams")
    ]
    assert list(bench.PLAN) == sorted(bench.PLAN, key=lambda budget: lesson.BUDGETS[budget].steps)
    called.clear()
    assert main(["nevis"]) == 0
    assert called[0] == ("compare_rates", bench.FOLDER, 1, ["15"])

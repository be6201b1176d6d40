"""The live widget of accuracy against compute: what it carries, what it refuses, and that the browser counts as torch does."""

import math

import pytest
import torch
from agree import assert_agree, doubles, seeded

from companion.teaching.widgets import live_curves
from companion.teaching.widgets.curves import MOST_WAYS

BUDGETS = [0.5e9, 1e9, 2e9, 4e9]
TASKS = ["greek", "digits", "shapes"]
SHAPE = (5, len(TASKS), len(BUDGETS))
SHARES = torch.rand(4, *SHAPE, generator=seeded(3), dtype=torch.float64)
STEPS = [[0, 1, 3, 6], [1, 2, 5, 11], None, [0, 0, 0, 2]]
NAMES = ["whole", "weakest half cut", "head alone", "from scratch"]
GROUPS = ["whole", "pruned", "frozen", "scratch"]
WAYS = {
    name: {"accuracy": shares, "steps": steps, "group": group}
    for name, shares, steps, group in zip(NAMES, SHARES, STEPS, GROUPS)
}
FIRSTS = [1, 0, 0, 3]


def curves(ways=WAYS, budgets=BUDGETS, **words):
    return live_curves(ways, budgets, **{"title": "t", "alt": "a", "reference": "whole", **words})


def changed(name="whole", **entries):
    return {**WAYS, name: {**WAYS[name], **entries}}


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_ways_and_its_settings():
    words = {"shown": ["head alone"], "task": "digits", "budget": 1e9, "shown_as": "error (log)", "across": "linear"}
    widget = curves(note="n", tasks=TASKS, reference="weakest half cut", **words)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("curves", "t", "a", "n")
    assert (widget.names, widget.tasks, widget.budgets, widget.seeds) == (NAMES, TASKS, BUDGETS, 5)
    assert doubles(widget.accuracy).equal(SHARES.flatten())
    assert widget.steps == [[0, 1, 3, 6], [1, 2, 5, 11], [0, 0, 0, 0], [0, 0, 0, 2]]
    assert (widget.firsts, widget.groups) == (FIRSTS, [0, 1, 2, 3])
    assert (widget.reference_index, widget.shown) == (1, [1, 2]), "the reference is always on show"
    assert (widget.task_index, widget.budget_index) == (2, 1)
    assert (widget.shown_as_index, widget.across_index) == (2, 1)


def test_it_starts_with_all_ways_the_mean_of_all_tasks_and_the_budget_in_the_middle():
    widget = curves()
    assert (widget.shown, widget.tasks, widget.task_index, widget.budget_index) == ([0, 1, 2, 3], [], 0, 2)
    assert (widget.shown_as_index, widget.across_index, widget.reference_index) == (0, 0, 0)
    assert curves(shown=[]).shown == [0]
    assert curves(shown=NAMES[::-1]).shown == [0, 1, 2, 3], "in the order of the ways"
    assert curves(shown_as="error").shown_as_index == 1


def test_ways_of_one_group_share_its_hue():
    assert curves(changed("head alone", group="whole")).groups == [0, 1, 0, 2]


def test_tables_of_any_kind_travel_alike():
    exact = {name: {**way, "accuracy": way["accuracy"].float()} for name, way in WAYS.items()}
    nested = {name: {**way, "accuracy": way["accuracy"].tolist()} for name, way in exact.items()}
    learned = {name: {**way, "accuracy": way["accuracy"].clone().requires_grad_()} for name, way in exact.items()}
    assert curves(exact).accuracy == curves(learned).accuracy
    torch.testing.assert_close(doubles(curves(nested).accuracy), doubles(curves(exact).accuracy), rtol=0, atol=1e-7)


def test_nested_lists_keep_double_precision():
    nested = {name: {**way, "accuracy": way["accuracy"].tolist()} for name, way in WAYS.items()}
    assert doubles(curves(nested).accuracy).equal(SHARES.flatten())


def test_a_way_begins_where_it_spends_something():
    """A row of a stored result says so itself: a fitted head makes no update, but costs something."""
    assert curves(changed("head alone", steps=[0, 0, 0, 0], spent=[0, 4, 3, 3])).firsts == [1, 0, 1, 3]
    assert curves(changed("head alone", steps=[0, 0, 1, 2], spent=[3, 3, 4, 5.5])).firsts == FIRSTS
    assert curves(changed("head alone", spent=None, loss=[1], chosen={"rate": 0.1})).firsts == FIRSTS
    assert curves(changed("head alone", steps=[0] * 4)).firsts == [1, 0, 4, 3], "it never learns anything"


def test_a_list_of_the_size_of_the_lesson_is_small():
    shares = torch.rand(5, 8, 8, generator=seeded())
    ways = {f"way {k}": {"accuracy": shares, "steps": None, "group": "g"} for k in range(MOST_WAYS)}
    widget = live_curves(ways, [2.0**k for k in range(8)], title="t", alt="a", reference="way 0")
    assert len(widget.accuracy) == MOST_WAYS * 5 * 8 * 8 * 8 < 40_000


# --- the browser counts as torch does -----------------------------------------------------------------------------------

SUMMARY = """
const size = { firsts: given.firsts, seeds: 5, tasks: 3, budgets: 4 };
const all = (task) => f.summariseWays(floats(given.shares), size, task);
return [all(), ...[0, 1, 2].map(all)].map((ways) => ways.map((way) => way.map((each) => each && [each.mean, each.low, each.high, ...each.values])));
"""


def test_means_and_ranges_over_the_seeds_agree_for_each_task_and_for_all(front):
    got = front(SUMMARY, firsts=FIRSTS, shares=SHARES.flatten())
    for task, ways in zip([None, 0, 1, 2], got):
        seeds = SHARES.mean(2) if task is None else SHARES[:, :, task]
        for way, first in enumerate(FIRSTS):
            assert ways[way][:first] == [None] * first, "what it cannot afford is no result"
            own = seeds[way, :, first:]
            wanted = torch.stack([own.mean(0), own.amin(0), own.amax(0), *own], 1)
            assert_agree(ways[way][first:], wanted, 1e-12)


def ranked(front, *cases):
    """Order, leaders, seeds won and the sentence at one budget, for each case: a list of seeds, or None, for each way, and words."""
    body = """
    return given.cases.map(({ values, shown, reference, tuned }) => {
      const summaries = values.map((seeds) => [seeds && { values: seeds, mean: seeds.reduce((a, b) => a + b, 0) / seeds.length }]);
      const ways = values.map((_, k) => ({ name: "abcdef"[k], isTuned: tuned[k] })), order = f.rankWays(summaries, shown, 0);
      const text = f.winnerText(ways, summaries, order, reference, 0, 2e9).replaceAll("\\u202f", "").replaceAll("\\u00a0", " ");
      return { order, leaders: f.leadersOf(summaries, order, 0), won: f.seedsWon(summaries, order, 0), text };
    });
    """
    usual = [{"shown": list(range(len(values))), "reference": 0, "tuned": [True] * len(values)} for values, _ in cases]
    return front(body, cases=[own | {"values": values} | words for own, (values, words) in zip(usual, cases)])


def test_the_best_comes_first_and_what_cannot_learn_last(front):
    values = [[0.4, 0.6], None, [0.7, 0.8], [0.0, 0.0]]
    first, fewer, none = ranked(front, (values, {}), (values, {"shown": [0, 1, 3]}), ([None, None], {}))
    assert (first["order"], first["leaders"], first["won"]) == ([2, 0, 3, 1], [2], 2)
    assert fewer["order"] == [0, 3, 1]
    assert (none["order"], none["leaders"], none["won"]) == ([0, 1], [], None), "equal ones keep their order"


def test_seeds_are_won_against_all_others_at_once(front):
    values = [[0.5, 0.5, 0.9, 0.2], [0.4, 0.7, 0.6, 0.2], [0.5, 0.8, 0.7, 0.6]]
    three, one_seed, alone = ranked(front, (values, {}), ([[0.5], [0.4]], {}), ([[0.5, 0.6], None], {}))
    assert (three["order"][0], three["won"]) == (2, 2), "not where it is equal"
    assert one_seed["won"] is None, "one seed says nothing of the others"
    assert alone["won"] is None


def test_ways_are_level_however_their_means_were_added_up(front):
    (got,) = ranked(front, ([[0.3, 0.2, 0.1], [0.1, 0.2, 0.3], [0.1, 0.1, 0.1]], {}))
    assert 0.3 + 0.2 + 0.1 < 0.1 + 0.2 + 0.3, "as floating numbers are added"
    assert (got["order"], got["leaders"], got["won"]) == ([0, 1, 2], [0, 1], 1)


SENTENCES = [
    ([[0.4, 0.35], [0.8, 0.85]], {}, "‘b’ wins (best in 2 of 2 seeds): 82.5% right, +120% over ‘a’."),
    ([[0.6, 0.4], [0.1, 0.5]], {}, "‘a’, the reference, wins (best in 1 of 2 seeds): 50.0% right, +66.7% over ‘b’."),
    ([[0.8], [0.4]], {}, "‘a’, the reference, wins: 80.0% right, +100% over ‘b’."),
    ([[0.8], [0.7]], {"reference": 1}, "‘a’ wins: 80.0% right, +14.3% over ‘b’."),
    ([None, [0.7, 0.6]], {}, "‘b’ wins: 65.0% right; ‘a’ cannot afford one update."),
    ([None, [0.7]], {"tuned": [False, True]}, "‘b’ wins: 70.0% right; ‘a’ cannot afford its head."),
    ([[0.7], None], {}, "‘a’, the reference, wins: 70.0% right; no other way shown can afford to learn anything."),
    ([None, None], {}, "none of the ways shown can afford to learn anything."),
    ([[0.7], [0.9]], {"shown": [0]}, "‘a’ has 70.0% right."),
    ([[0.0], [0.5]], {}, "‘b’ wins: 50.0% right, and ‘a’ nothing."),
    ([[0.5], [0.5]], {}, "‘a’ and ‘b’ are level: 50.0% right."),
    ([[0.4], [0.5], [0.5]], {}, "‘b’ and ‘c’ are level: 50.0% right, +25.0% over ‘a’."),
    ([None, [0.5], [0.5], [0.5], [0.5]], {}, "‘b’, ‘c’ and 2 more are level: 50.0% right; ‘a’ cannot afford one update."),
    ([[0.5], [0.5], [0.5]], {}, "‘a’, ‘b’ and 1 more are level: 50.0% right."),
]  # fmt: skip


def test_a_sentence_names_who_wins(front):
    got = ranked(front, *(case[:2] for case in SENTENCES))
    assert [each["text"] for each in got] == [f"At 2 GFLOP, {sentence}" for *_, sentence in SENTENCES]


def test_a_gain_is_a_share_of_what_the_reference_has_right(front):
    pairs = [[0.8, 0.4], [0.3, 0.4], [0.5, 0.5], [0.5, 0.0]]
    got = front("return given.pairs.map(([one, other]) => f.gainOver(one, other));", pairs=pairs)
    assert got[:3] == pytest.approx([1, -0.25, 0])
    assert got[3] is None
    gains = [1.0, -0.25, 0.0, None, 0.034, 0.0004, -0.0004, -0.0006, 0.9994, 0.9996, 12.3456, 99.98, 100.0]
    texts = front("return given.gains.map((gain) => f.gainText(gain));", gains=gains)
    wanted = ["+100", "−25.0", "±0", "–", "+3.4", "±0", "±0", "−0.1", "+99.9", "+100", "+1235", "+9998", ">9999"]
    assert [text.replace("\u202f%", "") for text in texts] == wanted


# --- axes ---------------------------------------------------------------------------------------------------------------


TICKS = [
    (0.5, 64, 12, [0.5, 1, 2, 5, 10, 20, 50]),
    (0.5, 64, 6, [1, 3, 10, 30]),
    (0.5, 64, 2, [1, 10]),
    (1, 1e6, 4, [1, 100, 1e4, 1e6]),
    (0.01, 1, 9, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]),
    (2.1, 2.9, 5, [2.5]),
    (3, 4, 5, [3, 3.5, 4]),
]


def test_a_logarithmic_axis_has_round_numbers_between_its_ends(front):
    got = front("return given.ends.map((each) => f.logTicks(...each));", ends=[ends for *ends, _ in TICKS])
    for (*_, wanted), ticks in zip(TICKS, got):
        assert ticks == pytest.approx(wanted)


LOWEST = [
    ([0.3, 0.11], 0.1),
    ([0.3, 0.049], 0.02),
    ([0.2, 0.05, 0.0], 0.05),
    ([0.6, 1.0], 0.5),
    ([0.0, 0.0], 0.5),
    ([0.5, 0.0071], 0.005),
    ([0.5, 1e-5], 0.001),
]


def test_a_logarithmic_axis_of_errors_ends_below_each_error_but_none(front):
    body = "return given.all.map((errors) => f.lowestError([[null, ...errors.map((error) => ({ high: 1 - error }))]]));"
    got = front(body, all=[errors for errors, _ in LOWEST])
    assert got == pytest.approx([wanted for _, wanted in LOWEST])


# --- what it refuses --------------------------------------------------------------------------------------------------


def with_shares(value):
    shares = SHARES[0].clone()
    shares[1, 2, 3] = value
    return {"ways": changed(accuracy=shares)}


def named(names):
    return {"ways": dict(zip(names, list(WAYS.values()) * 4)), "reference": names[0]}


def grouped(count):
    return {"ways": {f"way {k}": WAYS["whole"] | {"group": str(k)} for k in range(count)}, "reference": "way 0"}


def large():
    shares = torch.zeros(400, 20, 12)
    ways = {name: {"accuracy": shares, "steps": None, "group": "g"} for name in "ab"}
    return {"ways": ways, "budgets": [2**k for k in range(12)], "reference": "a"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (named(["whole"]), "ways is 1 ways, but must be 2 to 14 ways"),
        (named([f"way {k}" for k in range(15)]), "ways is 15 ways, but must be 2 to 14 ways"),
        (named(["", "b"]), "each name of ways is '', but must be a text of 1 to 40 characters"),
        (named(["n" * 41, "b"]), "each name of ways is 'n+', but must be a text of 1 to 40 characters"),
        ({"ways": WAYS | {"whole": {"steps": None}}}, r"ways\['whole'\] is without accuracy and group, but must be a mapping with"),
        ({"ways": changed(group=" ")}, r"ways\['whole'\]\['group'\] is ' ', but must be a text of 1 to 40"),
        (grouped(8), "ways is of 7 groups, but must be of at most 6 groups, the reference aside"),
        ({"ways": changed(accuracy=SHARES[0, 0])}, r"ways\['whole'\]\['accuracy'\] is of shape \(3, 4\), but must be of shape \(seeds, tasks, 4\)"),
        ({"ways": changed(accuracy=SHARES[0, ..., 1:])}, r"is of shape \(5, 3, 3\), but must be of shape \(seeds, tasks, 4\)"),
        ({"ways": changed(accuracy=SHARES[0, :0])}, r"is of shape \(0, 3, 4\), but must be of shape"),
        ({"ways": changed("head alone", accuracy=SHARES[0, 1:])}, r"ways\['head alone'\]\['accuracy'\] is of shape \(4, 3, 4\), but must be of shape \(5, 3, 4\), as the first"),
        (with_shares(1.01), r"ways\['whole'\]\['accuracy'\] is outside \[0, 1\] or not finite in some place, but must be shares"),
        (with_shares(-0.01), r"\['accuracy'\] is outside \[0, 1\]"),
        (with_shares(math.nan), r"\['accuracy'\] is outside \[0, 1\]"),
        (large(), r"ways is 2048000 bytes, but must be at most 700000 bytes: fewer seeds or tasks"),
        ({"ways": changed(steps=[0, 1, 2])}, r"ways\['whole'\]\['steps'\] is 3 numbers, but must be 4 numbers, one for each budget"),
        ({"ways": changed(steps=[-1, 1, 3, 4])}, r"each of ways\['whole'\]\['steps'\] is -1, but must be at least 0"),
        ({"ways": changed(spent=[0, 1, 3])}, r"ways\['whole'\]\['spent'\] is 3 numbers, but must be 4 numbers"),
        ({"ways": changed(spent=[0, 1, 0, 2])}, r"ways\['whole'\]\['spent'\] is 0 after a budget where it is not, but must be 0 at the first"),
        ({"ways": changed(spent=[-0.5, 1, 3, 4])}, r"each of ways\['whole'\]\['spent'\] is -0.5, but must be a number in \[0, inf\)"),
        ({"budgets": [1e9]}, "budgets is 1 numbers, but must be 2 to 24 numbers"),
        ({"budgets": list(range(1, 26))}, "budgets is 25 numbers, but must be 2 to 24 numbers"),
        ({"budgets": [1e9, 2e9, 2e9, 4e9]}, "budgets is .*, but must be numbers that rise"),
        ({"budgets": [0, 1e9, 2e9, 4e9]}, r"each of budgets is 0, but must be a number in \(0, inf\)"),
        ({"budgets": [1e9, 2e9, 4e9, math.inf]}, r"each of budgets is inf, but must be"),
        ({"budgets": [1e9, 2e9, 4e9]}, r"is of shape \(5, 3, 4\), but must be of shape \(seeds, tasks, 3\)"),
        ({"tasks": TASKS[1:]}, "tasks is 2 names, but must be 3 names, one for each task, or none"),
        ({"tasks": ["greek"] * 3}, "tasks is .*, but must be names that differ"),
        ({"tasks": ["greek", "digits", ""]}, "each of tasks is '', but must be a text of 1 to 40 characters"),
        ({"reference": "Whole"}, "reference is 'Whole', but must be one of the 4 names"),
        ({"shown": ["whole", "half"]}, "each of shown is 'half', but must be one of the 4 names"),
        ({"tasks": TASKS, "task": "cyrillic"}, "task is 'cyrillic', but must be 'greek' or 'digits' or 'shapes'"),
        ({"task": "greek"}, "task is 'greek', but must be None, as there are no tasks"),
        ({"budget": 3e9}, "budget is 3000000000.0, but must be one of budgets"),
        ({"budget": -1}, r"budget is -1, but must be a number in \(0, inf\)"),
        ({"shown_as": "loss"}, r"shown_as is 'loss', but must be 'accuracy' or 'error' or 'error \(log\)'"),
        ({"across": "log"}, "across is 'log', but must be 'logarithmic' or 'linear'"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)  # fmt: skip
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        curves(**words)


def test_the_most_that_it_takes_is_taken():
    assert len(curves(**grouped(7)).names) == 7, "the reference needs no hue"
    names = ["n" * 40, *(f"way {k}" for k in range(13))]
    assert curves(**named(names)).names == names
    ways = {name: {"accuracy": torch.zeros(1, 1, 24), "steps": None, "group": "g"} for name in "ab"}
    assert len(live_curves(ways, list(range(1, 25)), title="t", alt="a", reference="a").budgets) == 24

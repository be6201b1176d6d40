"""The live widget of error against compute on a stream: what it carries, what it refuses, and that the browser counts as torch does."""

import math

import pytest
import torch
from agree import assert_agree, doubles, seeded

from companion.teaching.widgets import live_frontier
from companion.teaching.widgets.base import MOST_BYTES

PARTS = ["all", "first half", "second half"]
NAMES = ["independent", "previous", "dynamic"]
BUDGETS = [["15", "60"], ["60"], ["15", "60", "4 x 15"]]
TRAINING = [[1e10, 4e10], [3.5e10], [0.9e10, 3.6e10, 3.6e10]]
SEARCH = [[0.0, 0.0], [0.0], [2e10, 2e10, 2.5e10]]
ERRORS = torch.rand(6, len(PARTS), 5, generator=seeded(3), dtype=torch.float64)
OF = [0, 0, 1, 2, 2, 2]  # the learner of each point
POINTS: dict[str, list] = {name: [] for name in NAMES}
for learner, errors in zip(OF, ERRORS):
    place = len(POINTS[NAMES[learner]])
    POINTS[NAMES[learner]].append(
        {
            "budget": BUDGETS[learner][place],
            "training": TRAINING[learner][place],
            "search": SEARCH[learner][place],
            "errors": dict(zip(PARTS, errors)),
        }
    )


def frontier(points=POINTS, **words):
    return live_frontier(points, **{"title": "t", "alt": "a", **words})


def changed(name="dynamic", place=1, **entries):
    own = [point | entries if k == place else point for k, point in enumerate(POINTS[name])]
    return {"points": {**POINTS, name: own}}


def without(key):
    return {"points": {**POINTS, "previous": [{k: v for k, v in POINTS["previous"][0].items() if k != key}]}}


def erring(errors, part="first half"):
    return changed(errors=POINTS["dynamic"][1]["errors"] | {part: errors})


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_points_and_its_settings():
    widget = frontier(note="n", shown=["dynamic", "independent"], reference="previous", counted=True)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("frontier", "t", "a", "n")
    assert (widget.names, widget.parts, widget.budgets, widget.seeds) == (NAMES, PARTS, BUDGETS, 5)
    assert (widget.training, widget.search) == (TRAINING, SEARCH)
    assert doubles(widget.errors).equal(ERRORS.flatten())
    assert (widget.reference_index, widget.shown, widget.counted) == (1, [0, 2], True)
    assert repr(widget) == "LiveFrontier('t')"


def test_it_starts_with_all_learners_the_first_as_reference_and_the_search_left_out():
    widget = frontier()
    assert (widget.shown, widget.reference_index, widget.counted, widget.note) == ([0, 1, 2], 0, False, "")
    assert frontier(shown=[]).shown == []
    assert frontier(shown=NAMES[::-1]).shown == [0, 1, 2], "in the order of the learners"


def test_parts_are_told_apart_by_their_names_not_their_places():
    errors = POINTS["dynamic"][1]["errors"]
    assert frontier(**changed(errors=dict(reversed(errors.items())))).errors == frontier().errors


def test_rows_of_any_kind_travel_alike():
    widget = frontier(**erring(ERRORS[4, 1].tolist()))
    assert widget.errors == frontier().errors, "in double precision"
    learned = frontier(**erring(ERRORS[4, 1].clone().requires_grad_()))
    assert learned.errors == frontier().errors
    exact = erring([0.5, 0.25, 0, 1, 0.125])
    assert frontier(**exact).errors == frontier(**erring(torch.tensor([0.5, 0.25, 0, 1, 0.125]))).errors


def test_other_entries_of_a_point_are_not_looked_at():
    assert frontier(**changed(rate=0.1, sources=[-1, 0])).budgets == BUDGETS


def largest(learners=14, points=8, parts=4, seeds=10):
    errors = {f"{part} part".ljust(40, "x"): [0.5] * seeds for part in range(parts)}
    own = [
        {"budget": f"{k}".ljust(12, "0"), "training": 1e9, "search": 0, "errors": errors} for k in range(1, 1 + points)
    ]
    return {f"{k} ".ljust(40, "n"): own for k in range(learners)}


def test_the_most_that_it_takes_is_taken_and_small():
    widget = frontier(largest())
    assert (len(widget.names), len(widget.budgets[0]), len(widget.parts), widget.seeds) == (14, 8, 4, 10)
    assert len(widget.errors) == 14 * 8 * 4 * 10 * 8
    assert len(widget.errors) < MOST_BYTES / 10


# --- the browser counts as torch does -----------------------------------------------------------------------------------

DATA = "const data = { ...given.data, errors: floats(given.errors) };"


def data():
    return {"budgets": BUDGETS, "training": TRAINING, "search": SEARCH, "parts": PARTS, "seeds": 5}


def test_points_are_the_mean_and_the_range_of_the_seeds_at_their_operations(front):
    body = f"""{DATA}
    return data.parts.map((_, part) => f.frontierPoints(data, part, given.share).map((point) =>
      [point.learner, point.operations, point.training, point.search, point.mean, point.low, point.high, ...point.values]));
    """
    training, search = (
        torch.tensor([value for own in each for value in own], dtype=torch.float64) for each in (TRAINING, SEARCH)
    )
    for share in (0, 0.25, 1):
        got = front(body, data=data(), errors=ERRORS.flatten(), share=share)
        for part in range(3):
            seeds = ERRORS[:, part]
            columns = [torch.tensor(OF, dtype=torch.float64), training + share * search, training, search]
            columns += [seeds.mean(1), seeds.amin(1), seeds.amax(1)]
            assert_agree(got[part], torch.cat([torch.stack(columns, 1), seeds], 1), 1e-12)


def points_at(pairs):
    return [{"operations": cost, "mean": error, "at": k} for k, (cost, error) in enumerate(pairs)]


def beaten(pairs):
    """Of each pair, whether another one is as low in both and lower in one, by looking at all of them."""
    return [
        any(c <= cost and e <= error and (c < cost or e < error) for c, e in pairs if (c, e) != (cost, error))
        for cost, error in pairs
    ]


def test_the_frontier_is_what_no_other_point_beats(front):
    draw = torch.rand(40, 60, 2, generator=seeded(5), dtype=torch.float64)
    clouds = [*draw.tolist(), *(draw[:20] * 6).floor().tolist()]  # with many ties
    got = front(
        "return given.clouds.map((points) => f.frontierOf(points).map(({ at }) => at));",
        clouds=list(map(points_at, clouds)),
    )
    for pairs, found in zip(clouds, got):
        pairs = [tuple(pair) for pair in pairs]
        assert sorted(found) == [k for k, lost in enumerate(beaten(pairs)) if not lost]
        assert [pairs[k][0] for k in found] == sorted(pairs[k][0] for k in found), "by operations"
        assert 0 < len(found) < len(pairs)


def test_the_frontier_takes_errors_for_equal_however_they_were_added_up(front):
    pairs = [(1, (0.1 + 0.2 + 0.3) / 3), (2, (0.3 + 0.2 + 0.1) / 3)]
    assert pairs[1][1] < pairs[0][1], "as floating numbers are added"
    got = front("return f.frontierOf(given.points).map(({ at }) => at);", points=points_at(pairs))
    assert got == [0], "the second costs more and is not better"
    assert front("return f.frontierOf([]);") == []


def test_a_limit_leaves_what_does_not_cost_more(front):
    points = points_at([(1e9, 0.3), (2e9, 0.2), (3e9, 0.1)])
    body = "return given.limits.map((limit) => f.frontierWithin(given.points, limit ?? Infinity).map(({ at }) => at));"
    got = front(body, points=points, limits=[0.5e9, 1e9, 2e9 * (1 - 1e-12), 2.5e9, None])
    assert got == [[], [0], [0, 1], [0, 1], [0, 1, 2]]


def test_a_limit_goes_in_equal_ratios_and_is_none_at_the_end(front):
    got = front("return [0, 25, 50, 99, 100].map((place) => f.frontierLimit([1e9, 16e9], place, 100));")
    assert got[:4] == pytest.approx([1e9, 2e9, 4e9, 16e9 * 16**-0.01])
    assert got[4] is None, "JSON has no infinity"


def test_each_learner_stands_where_its_error_is_lowest(front):
    points = [
        {"learner": learner, "operations": cost, "mean": mean, "at": k}
        for k, (learner, cost, mean) in enumerate([(0, 2, 0.3), (0, 1, 0.3), (0, 3, 0.4), (2, 5, 0.2), (2, 1, 0.25)])
    ]
    body = """
    const best = f.frontierBest(given.points, 4);
    return [best.map((point) => point && point.at), f.frontierRanked(best, [0, 1, 2, 3]), f.frontierRanked(best, [3, 1, 0])];
    """
    best, ranked, fewer = front(body, points=points)
    assert best == [1, None, 3, None], "the cheaper of two that are level"
    assert ranked == [2, 0, 1, 3]
    assert fewer == [0, 3, 1], "those without a point come last, in their order"


HEIGHTS = [
    ([(0.23, 0.61)], [0.2, 0.7]),
    ([(0.2, 0.4)], [0.2, 0.4]),
    ([(0.0, 1.0)], [0, 1]),
    ([(0.5, 0.5)], [0.49, 0.51]),
    ([(0.0, 0.0)], [0, 0.01]),
    ([(1.0, 1.0)], [0.99, 1]),
    ([(0.31, 0.33), (0.28, 0.3)], [0.28, 0.33]),
    ([], [0, 1]),
]


def test_an_axis_of_errors_is_round_and_holds_all_seeds(front):
    cases = [[{"low": low, "high": high} for low, high in pairs] for pairs, _ in HEIGHTS]
    got = front("return given.cases.map((points) => f.frontierHeights(points));", cases=cases)
    assert got == [pytest.approx(wanted) for _, wanted in HEIGHTS]


# --- words --------------------------------------------------------------------------------------------------------------


def test_operations_are_written_in_gflop_with_three_digits(front):
    values = [0, 5e5, 1e6, 85.32e9, 999.6e9, 1.174e12, 12_345e9, 4e14, 1e15, 2.5e16]
    got = front("return given.values.map((value) => f.gflopText(value));", values=values)
    assert got == ["0", "5·10⁻⁴", "0.001", "85.3", "1,000", "1,170", "12,300", "400,000", "10⁶", "2.5·10⁷"]


def test_what_a_learner_is_ahead_has_a_sign(front):
    pairs = [(0.2, 0.25), (0.25, 0.2), (0.3, 0.3), (0.3004, 0.3), (0.3, 0.3004), (0.0, 1.0)]
    got = front("return given.pairs.map(([own, other]) => f.aheadText(own, other));", pairs=pairs)
    assert got == ["+5.0", "−5.0", "±0", "±0", "±0", "+100.0"]


def told(front, *cases):
    """The first sentence of each case: the seeds of each learner's best point, or None, and words."""
    body = """
    return given.cases.map(({ values, shown, reference, limit }) => {
      const best = values.map((seeds, learner) => seeds && { learner, values: seeds, mean: seeds.reduce((a, b) => a + b, 0) / seeds.length });
      const ranked = f.frontierRanked(best, shown), text = f.lowestText(values.map((_, k) => "abcdef"[k]), best, ranked, reference, limit ?? Infinity);
      return text.replaceAll("\\u202f", "").replaceAll("\\u00a0", " ");
    });
    """
    usual = [{"shown": list(range(len(values))), "reference": 0, "limit": 5e11} for values, _ in cases]
    return front(body, cases=[own | {"values": values} | words for own, (values, words) in zip(usual, cases)])


SENTENCES = [
    ([[0.4, 0.35], [0.3, 0.31]], {}, "Within 500 GFLOP, ‘b’ has the lowest error, 30.5%: 7.0 points below ‘a’, lower in 2 of 2 seeds."),
    ([[0.4, 0.35], [0.3, 0.36]], {"limit": None}, "Without a limit, ‘b’ has the lowest error, 33.0%: 4.5 points below ‘a’, lower in 1 of 2 seeds."),
    ([[0.4], [0.3]], {}, "Within 500 GFLOP, ‘b’ has the lowest error, 30.0%: 10.0 points below ‘a’."),
    ([[0.2, 0.3], [0.6, 0.1], [0.9, 0.9]], {}, "Within 500 GFLOP, ‘a’, the reference, has the lowest error, 25.0%: 10.0 points below ‘b’, lower in 1 of 2 seeds."),
    ([[0.3], [0.2996]], {}, "Within 500 GFLOP, ‘b’ has the lowest error, 30.0%: less than 0.1 points below ‘a’."),
    ([[0.3], [0.4]], {"shown": [1]}, "Within 500 GFLOP, ‘b’ has the lowest error, 40.0%: 10.0 points above ‘a’."),
    ([[0.3], [0.3]], {"shown": [1]}, "Within 500 GFLOP, ‘b’ has the lowest error, 30.0%: level with ‘a’."),
    ([[0.3], [0.3]], {}, "Within 500 GFLOP, ‘a’ and ‘b’ share the lowest error, 30.0%."),
    ([[0.3], [0.3], [0.3], [0.3]], {}, "Within 500 GFLOP, ‘a’, ‘b’ and 2 more share the lowest error, 30.0%."),
    ([[0.3], [0.4]], {"shown": [0]}, "Within 500 GFLOP, ‘a’ has an error of 30.0%."),
    ([None, [0.4]], {}, "Within 500 GFLOP, ‘b’ has the lowest error, 40.0%; ‘a’ is not affordable."),
    ([[0.4], None], {}, "Within 500 GFLOP, ‘a’, the reference, has the lowest error, 40.0%; no other learner shown is affordable."),
    ([None, None], {}, "Within 500 GFLOP, none of the learners shown is affordable."),
    ([[0.4], None], {"shown": [1]}, "Within 500 GFLOP, none of the learners shown is affordable."),
    ([[0.4], [0.3]], {"shown": []}, "No learner is shown."),
]  # fmt: skip


def test_a_sentence_names_who_has_the_lowest_error(front):
    got = told(front, *(case[:2] for case in SENTENCES))
    assert got == [sentence for *_, sentence in SENTENCES]


def searched(front, *cases):
    """The second sentence of each case: (learner, training, search, error) of each point in GFLOP, and words."""
    body = """
    return given.cases.map(({ rows, limit, counted }) => {
      const [without, all] = [0, 1].map((share) => rows.map(([learner, training, search, mean]) =>
        ({ learner, budget: "15", training: 1e9 * training, search: 1e9 * search, operations: 1e9 * (training + share * search), mean })));
      return f.searchText(["a", "b", "c", "d"], without, all, limit === undefined ? Infinity : 1e9 * limit, counted).replaceAll("\\u00a0", " ");
    });
    """
    return front(body, cases=[{"counted": True, "rows": rows} | words for rows, words in cases])


LEAVES = [(0, 100, 0, 0.4), (0, 400, 0, 0.3), (1, 90, 900, 0.35), (1, 360, 900, 0.29), (0, 1000, 0, 0.2)]
STAYS = [(0, 100, 0, 0.4), (1, 90, 5, 0.35)]
CHANGES = [
    (LEAVES, {}, "Counting the search moves ‘b’ (budget 15) from 360 to 1,260 GFLOP: it leaves the frontier."),
    (LEAVES, {"counted": False}, "If the search is counted, ‘b’ (budget 15) moves from 360 to 1,260 GFLOP: it leaves the frontier."),
    (LEAVES, {"limit": 200}, "Counting the search moves ‘b’ (budget 15) from 90 to 990 GFLOP, beyond the limit: it leaves the frontier."),
    (STAYS, {}, "Counting the search moves ‘b’ (budget 15) from 90 to 95 GFLOP: it stays on the frontier."),
    ([(0, 10, 0, 0.1), (1, 90, 5, 0.35)], {}, "Counting the search moves ‘b’ (budget 15) from 90 to 95 GFLOP: it stays off the frontier."),
    ([(0, 10, 0, 0.4), (0, 100, 0, 0.2), (1, 90, 50, 0.3), (1, 5, 2, 0.5)], {}, "Counting the search moves ‘b’ (budget 15) from 90 to 140 GFLOP: it keeps 1 of 2 places on the frontier."),
    ([*LEAVES, (2, 50, 900, 0.41)], {}, "Counting the search moves ‘b’ (budget 15) from 360 to 1,260 GFLOP: it leaves the frontier. So does ‘c’."),
    ([*LEAVES, (2, 50, 900, 0.41), (3, 45, 900, 0.42)], {}, "Counting the search moves ‘b’ (budget 15) from 360 to 1,260 GFLOP: it leaves the frontier. So do 2 more."),
    ([(0, 100, 0, 0.4)], {}, "None of the learners shown searches."),
    ([], {}, ""),
    ([(0, 10, 0, 0.4), (1, 90, 5, 0.35)], {"limit": 20}, "With the search left out, too, none of the learners shown that search is affordable."),
    ([(1, 90, 900, 0.3), (2, 100, 5, 0.32)], {}, "Counting the search moves ‘b’ (budget 15) from 90 to 990 GFLOP: it stays on the frontier."),
]  # fmt: skip


def test_a_sentence_says_what_counting_the_search_changes(front):
    got = searched(front, *(case[:2] for case in CHANGES))
    assert got == [sentence for *_, sentence in CHANGES]


def test_who_leaves_the_frontier_is_named_before_who_only_moves(front):
    leaves, moves = (1, 90, 900, 0.3), (2, 100, 5000, 0.25)
    got = searched(front, ([moves, leaves], {}), ([moves, leaves, (0, 800, 0, 0.28)], {}))
    assert got == [
        "Counting the search moves ‘c’ (budget 15) from 100 to 5,100 GFLOP: it stays on the frontier.",
        "Counting the search moves ‘b’ (budget 15) from 90 to 990 GFLOP: it leaves the frontier.",
    ]


def test_the_point_that_leaves_is_the_one_with_the_lowest_error(front):
    """Not the learner's best point, which stays: the reader sees the other one become hollow."""
    rows = [(0, 100, 0, 0.4), (1, 10, 900, 0.5), (1, 20, 900, 0.45), (1, 2000, 900, 0.1)]
    (got,) = searched(front, (rows, {}))
    assert (
        got == "Counting the search moves ‘b’ (budget 15) from 20 to 920 GFLOP: it keeps 1 of 3 places on the frontier."
    )


# --- what it refuses --------------------------------------------------------------------------------------------------


def with_error(value):
    row = ERRORS[4, 1].clone()
    row[2] = value
    return erring(row)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"points": {}}, "points is of 0 learners, but must be of 1 to 14 learners"),
        ({"points": largest(learners=15)}, "points is of 15 learners, but must be of 1 to 14 learners"),
        ({"points": {"": POINTS["previous"]}}, "each name of points is '', but must be a text of 1 to 40 characters"),
        ({"points": {"n" * 41: POINTS["previous"]}}, "each name of points is 'n+', but must be a text of 1 to 40"),
        ({"points": POINTS | {"previous": []}}, r"points\['previous'\] is 0 mappings, but must be 1 to 8 mappings"),
        ({"points": largest(points=9)}, r"is 9 mappings, but must be 1 to 8 mappings"),
        (without("search"), r"points\['previous'\]\[0\] is without search, but must be a mapping with budget, errors, training, search"),
        (without("errors"), r"points\['previous'\]\[0\] is without errors"),
        (changed(budget=" "), r"points\['dynamic'\]\[1\]\['budget'\] is ' ', but must be a text of 1 to 12 characters"),
        (changed(budget="1" * 13), r"points\['dynamic'\]\[1\]\['budget'\] is '1+', but must be a text of 1 to 12 characters"),
        (changed(budget="15"), r"points\['dynamic'\] is of budgets \['15', '15', '4 x 15'\], but must be of budgets that differ"),
        (changed(training=0), r"points\['dynamic'\]\[1\]\['training'\] is 0, but must be a number in \(0, inf\)"),
        (changed(training=math.inf), r"\['training'\] is inf, but must be a number in \(0, inf\)"),
        (changed(search=-1.0), r"points\['dynamic'\]\[1\]\['search'\] is -1.0, but must be a number in \[0, inf\)"),
        (changed(search=math.nan), r"\['search'\] is nan, but must be a number in \[0, inf\)"),
        ({"points": largest(parts=5)}, r"\['errors'\] is of 5 parts, but must be of 1 to 4 parts"),
        ({"points": largest(parts=0)}, r"\['errors'\] is of 0 parts, but must be of 1 to 4 parts"),
        (changed("independent", 0, errors={"p" * 41: [0.5]}), r"each part of points\['independent'\]\[0\]\['errors'\] is 'p+', but must be a text of 1 to 40"),
        (changed(errors={"all": ERRORS[0, 0]}), r"points\['dynamic'\]\[1\]\['errors'\] is of the parts \['all'\], but must be of the parts \['all', 'first half', 'second half'\], as the first"),
        (erring(ERRORS[0, 0, :4]), r"\['errors'\]\['first half'\] is of 4 seeds, but must be of 5 seeds, as the first"),
        (erring(ERRORS[0]), r"\['first half'\] is of shape \(3, 5\), but must be of shape \(seeds,\), 1 to 10 seeds"),
        (erring([]), r"\['first half'\] is of shape \(0,\), but must be of shape \(seeds,\)"),
        (erring([0.5] * 11), r"\['first half'\] is of shape \(11,\), but must be of shape \(seeds,\), 1 to 10 seeds"),
        (with_error(1.01), r"\['first half'\] is outside \[0, 1\] or not finite in some place, but must be errors from 0 to 1"),
        (with_error(-0.01), r"\['first half'\] is outside \[0, 1\]"),
        (with_error(math.nan), r"\['first half'\] is outside \[0, 1\]"),
        ({"reference": "Dynamic"}, "reference is 'Dynamic', but must be 'independent' or 'previous' or 'dynamic'"),
        ({"shown": ["dynamic", "soup"]}, "each of shown is 'soup', but must be 'independent' or"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)  # fmt: skip
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        frontier(**words)


def test_one_learner_one_budget_one_part_and_one_seed_are_enough():
    widget = frontier({"a": ({"budget": "15", "training": 1, "search": 0, "errors": {"all": (0.5,)}},)})
    assert (widget.names, widget.parts, widget.seeds, widget.training) == (["a"], ["all"], 1, [[1.0]])

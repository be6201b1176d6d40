"""The live widget of a stream of tasks: what it carries, what it refuses, and that the browser counts as torch does."""

import math

import numpy as np
import pytest
import torch
from agree import assert_agree, doubles, seeded

from companion.teaching.widgets import live_wall
from companion.teaching.widgets.base import MOST_BYTES

FAMILIES = ["digits", "faces", "digits", "several labels", "faces", "digits"]
PICTURES = torch.randint(0, 256, (6, 3, 4, 5), generator=seeded(1), dtype=torch.uint8)
TASKS = [
    {
        "name": f"{place:03d}-{family}",
        "family": family,
        "classes": 2 + place,
        "train": 50 * (1 + place),
        "labels": family == "several labels",
        "pictures": PICTURES[place],
        "captions": [f"class {place}", "", "a, b"],
    }
    for place, family in enumerate(FAMILIES)
]
ERRORS = torch.rand(3, 6, generator=seeded(2), dtype=torch.float64)
LEARNERS = dict(zip(["independent", "previous", "dynamic"], ERRORS))


def wall(tasks=TASKS, learners=LEARNERS, **words):
    return live_wall(tasks, learners, **{"title": "t", "alt": "a", **words})


def changed(place=1, **entries):
    return {"tasks": [task | entries if k == place else task for k, task in enumerate(TASKS)]}


def many(count, side=4, pictures=1, **entries):
    blank = torch.zeros(pictures, side, side, dtype=torch.uint8)
    task = TASKS[0] | {"pictures": blank, "captions": [""] * pictures} | entries
    return {"tasks": [task] * count, "learners": {"a": [0.5] * count}}


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_tasks_and_its_learners():
    widget = wall(note="n", shown=["dynamic", "independent"], place=4)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("wall", "t", "a", "n")
    assert widget.tasks == [task["name"] for task in TASKS]
    assert widget.families == ["digits", "faces", "several labels"], "as they enter"
    assert widget.family_of == [0, 1, 0, 2, 1, 0]
    assert widget.classes == [2, 3, 4, 5, 6, 7]
    assert widget.train == [50, 100, 150, 200, 250, 300]
    assert widget.several == [0, 0, 0, 1, 0, 0]
    assert widget.captions == [task["captions"] for task in TASKS]
    assert widget.shape == [3, 4, 5]
    assert torch.frombuffer(bytearray(widget.pictures), dtype=torch.uint8).view(6, 3, 4, 5).equal(PICTURES)
    assert widget.learners == list(LEARNERS)
    assert doubles(widget.errors).equal(ERRORS.flatten())
    assert (widget.shown, widget.reference_index, widget.place) == ([0, 2], 2, 4), "the first shown is the reference"
    assert repr(widget) == "LiveWall('t')"


def test_it_starts_with_all_learners_and_the_first_task():
    widget = wall()
    assert (widget.shown, widget.reference_index, widget.place) == ([0, 1, 2], 0, 0)


def test_tables_of_any_kind_travel_alike():
    arrays = [task | {"pictures": task["pictures"].numpy()} for task in TASKS]
    turned = [task | {"pictures": task["pictures"].mT.contiguous().numpy().transpose(0, 2, 1)} for task in TASKS]
    assert wall(arrays).pictures == wall(turned).pictures == wall().pictures
    for table in (torch.Tensor.tolist, torch.Tensor.numpy, lambda row: row.clone().requires_grad_()):
        assert wall(learners={name: table(row) for name, row in LEARNERS.items()}).errors == wall().errors


def test_tasks_may_share_a_name_and_have_more_entries():
    tasks = [task | {"name": "task", "test": 200, "labels": np.bool_(task["labels"])} for task in TASKS]
    assert wall(tuple(tasks)).tasks == ["task"] * 6


def test_a_stream_of_the_size_of_the_lesson_fits():
    tasks, captions = many(108, 16, 10)["tasks"], ["class 11"] * 10
    tasks = [task | {"captions": captions} for task in tasks]
    widget = live_wall(tasks, {f"learner {k}": [0.5] * 108 for k in range(10)}, title="t", alt="a")
    assert len(widget.pictures) == 108 * 10 * 16 * 16
    carried = 4 * (len(widget.pictures) + len(widget.errors)) // 3 + sum(len(str(each)) for each in widget.captions)
    assert carried < 400_000 < MOST_BYTES


# --- the browser counts as torch does -----------------------------------------------------------------------------------


def test_means_and_families_so_far_agree(front):
    body = """
    const means = f.wallMeans(floats(given.errors), 6);
    return [means.map((row) => Array.from(row)), given.family.map((_, place) => f.wallFamilies(given.family, 3, place))];
    """
    means, counts = front(body, errors=ERRORS.flatten(), family=[0, 1, 0, 2, 1, 0])
    wanted = torch.stack([ERRORS[:, : place + 1].mean(1) for place in range(6)], 1)
    assert_agree(means, wanted, 1e-12)
    assert counts == [[1, 0, 0], [1, 1, 0], [2, 1, 0], [2, 1, 1], [2, 2, 1], [3, 2, 1]]


def test_the_lowest_are_level_however_their_means_were_added_up(front):
    body = "return given.shown.map((each) => f.wallLowest(f.wallMeans(floats(given.errors), 3), each, 2));"
    errors = [0.3, 0.2, 0.1, 0.1, 0.2, 0.3, 0.9, 0.9, 0.9]
    assert 0.3 + 0.2 + 0.1 != 0.1 + 0.2 + 0.3, "as floating numbers are added"
    assert front(body, errors=errors, shown=[[0, 1, 2], [1, 2], [2]]) == [[0, 1], [1], [2]]


def test_the_range_of_heights_leaves_out_the_first_few_tasks_alone(front):
    body = "return f.wallRange([floats(given.means), floats(given.other)], given.shown, given.means.length);"
    means = [0.99, 0.98] + [0.3] * 18 + [0.5] * 20
    flat = [0.4] * 40
    got = front(body, means=means, other=flat, shown=[0, 1])
    assert got == pytest.approx([0.3 - 0.024, 0.5 + 0.024])
    assert front(body, means=means, other=flat, shown=[1]) == pytest.approx([0.38, 0.42]), "a flat line has room"
    low, high = front(body, means=[0.0, 0.0], other=[1.0, 1.0], shown=[0, 1])
    assert (low, high) == (0, 1), "errors are shares"


def test_ordinals_and_what_is_ahead_are_said_in_words(front):
    counts = [1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 101, 111, 112]
    texts = front("return given.counts.map(f.wallOrdinal);", counts=counts)
    assert " ".join(texts) == "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 101st 111th 112th"
    pairs = [(0.3, 0.321), (0.4, 0.3), (0.3, 0.3), (0.3, 0.30049), (0.3, 0.2994)]
    texts = front("return given.pairs.map((pair) => f.wallAhead(...pair));", pairs=pairs)
    wanted = ["2.1 ahead", "10.0 behind", "level", "level", "0.1 behind"]
    assert [text.replace("\xa0", " ") for text in texts] == wanted


def test_what_a_task_asks_is_said_in_words(front):
    cases = [(5, 1840, 0), (4, 1, 0), (3, 50, 1)]
    assert front("return given.cases.map((each) => f.wallTaskText(...each));", cases=cases) == [
        "5 classes, one label each; 1,840 training pictures",
        "4 classes, one label each; 1 training picture",
        "3 labels, several at once; 50 training pictures",
    ]


BEGIN = "Task 2 of 9, faces: the 11th of its family. So far "
SENTENCES = [
    ([0.4, 0.35, 0.2], {}, "‘c’ has the lowest mean error, 20.0%, 20.0 points below ‘a’."),
    ([0.4, 0.35, 0.2], {"reference": 1}, "‘c’ has the lowest mean error, 20.0%, 15.0 points below ‘b’."),
    ([0.4, 0.35, 0.2], {"shown": [0, 1]}, "‘b’ has the lowest mean error, 35.0%, 5.0 points below ‘a’."),
    ([0.1, 0.35, 0.2], {}, "‘a’, the reference, has the lowest mean error, 10.0%, 10.0 points below ‘c’."),
    ([0.1, 0.35, 0.2], {"shown": [0]}, "‘a’ has a mean error of 10.0%."),
    ([0.2, 0.2], {}, "all learners shown are level: mean error 20.0%."),
    ([0.2, 0.2, 0.21], {}, "‘a’ and ‘b’ share the lowest mean error, 20.0%, 1.0 point below ‘c’."),
    ([0.2, 0.1, 0.1], {}, "‘b’ and ‘c’ share the lowest mean error, 10.0%, 10.0 points below ‘a’."),
    ([0.4, 0.1, 0.1, 0.1, 0.1], {}, "‘b’, ‘c’ and 2 more share the lowest mean error, 10.0%, 30.0 points below ‘a’."),
    ([0.3, 0.2998], {}, "‘b’ has the lowest mean error, 30.0%, less than 0.1 points below ‘a’."),
]


def test_a_sentence_says_where_the_stream_is_and_who_is_ahead(front):
    body = """
    return given.cases.map(([errors, words]) => {
      const means = errors.map((error) => floats([0.9, error])), shown = errors.map((_, k) => k);
      const text = f.wallSentence({ place: 1, tasks: 9, family: "faces", count: 11, names: [..."abcde"], means, shown, reference: 0, ...words });
      return text.replaceAll("\\u202f", "");
    });
    """
    cases = [case[:2] for case in SENTENCES]
    assert front(body, cases=cases) == [BEGIN + sentence for *_, sentence in SENTENCES]
    (first,) = front(body, cases=[([0.1], {"count": 1})])
    assert first.startswith("Task 2 of 9, faces: a family met for the first time. So far ")


@pytest.mark.parametrize("width", [272, 352, 600, 828])
@pytest.mark.parametrize("count", [2, 17, 108, 160])
def test_a_wall_fits_its_width_and_each_picture_is_found_where_it_lies(front, width, count):
    body = """
    const grid = f.wallGrid(given.width, given.count), corners = [], found = [];
    for (let place = 0; place < given.count; place++) {
      const [x, y] = f.wallCorner(grid, place);
      corners.push([x, y]);
      found.push([[1, 1], [grid.pitch - 1, grid.down - 1]].map(([dx, dy]) => f.wallPlaceAt(grid, given.count, x + dx, y + dy)));
    }
    const beyond = [[5, 5], [given.width + 1, 5], [40, -3], [40, grid.height + 9]].map(([x, y]) => f.wallPlaceAt(grid, given.count, x, y));
    return { grid, corners, found, beyond };
    """
    got = front(body, width=width, count=count)
    grid = got["grid"]
    assert got["found"] == [[place, place] for place in range(count)]
    assert got["beyond"] == [None] * 4
    assert 26 <= grid["pitch"] <= 60
    assert grid["rows"] == math.ceil(count / grid["columns"])
    for place, (x, y) in enumerate(got["corners"]):
        row, column = divmod(place, grid["columns"])
        assert (x, y) == pytest.approx((34 + column * grid["pitch"], 1 + row * grid["down"]))
        assert x + grid["pitch"] <= width + 1e-9
        assert y + grid["down"] <= grid["height"]
    if grid["height"] > 352:
        assert (width - 34) / (grid["columns"] + 1) < 26, "no higher than a screen, but for a finger"


# --- what it refuses --------------------------------------------------------------------------------------------------


def with_error(value):
    return {"learners": LEARNERS | {"dynamic": [0.5] * 5 + [value]}}


def families(count):
    return {"tasks": [TASKS[0] | {"family": str(k)} for k in range(count)], "learners": {"a": [0.5] * count}}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (many(1), "tasks is 1 tasks, but must be 2 to 160 tasks"),
        (many(161), "tasks is 161 tasks, but must be 2 to 160 tasks"),
        (families(11), "tasks is of 11 families, but must be of at most 10 families"),
        ({"tasks": [{"name": "a", "family": "b"}] * 6}, r"tasks\[0\] is without classes and train and labels and pictures and captions, but must be a mapping with"),
        (changed(name=" "), r"tasks\[1\]\['name'\] is ' ', but must be a text of 1 to 40 characters"),
        (changed(name="n" * 41), r"tasks\[1\]\['name'\] is 'n+', but must be a text of 1 to 40 characters"),
        (changed(family="f" * 25), r"tasks\[1\]\['family'\] is 'f+', but must be a text of 1 to 24 characters"),
        (changed(classes=1), r"tasks\[1\]\['classes'\] is 1, but must be at least 2"),
        (changed(train=0), r"tasks\[1\]\['train'\] is 0, but must be at least 1"),
        (changed(pictures=PICTURES[0, 0]), r"tasks\[1\]\['pictures'\] is of shape \(4, 5\), but must be of shape \(m, h, w\), m from 1 to 16, h and w from 1 to 32"),
        (changed(pictures=PICTURES[0, :0]), r"is of shape \(0, 4, 5\), but must be of shape \(m, h, w\)"),
        (many(2, pictures=17), r"tasks\[0\]\['pictures'\] is of shape \(17, 4, 4\), but must be of shape \(m, h, w\)"),
        (many(2, side=33), r"tasks\[0\]\['pictures'\] is of shape \(1, 33, 33\), but must be of shape \(m, h, w\)"),
        (changed(pictures=PICTURES[0, :, :3]), r"tasks\[1\]\['pictures'\] is of shape \(3, 3, 5\), but must be of shape \(3, 4, 5\), as the first task's"),
        (changed(captions=["a", "b"]), r"tasks\[1\]\['captions'\] is 2 texts, but must be 3 texts, one for each picture"),
        (changed(captions=["a", "b", "c" * 13]), r"each of tasks\[1\]\['captions'\] is 'c+', but must be a text of at most 12 characters"),
        (many(160, 32, 16), r"tasks is 3507520 bytes, but must be at most 700000 bytes: fewer or smaller pictures"),
        ({"learners": {}}, "learners is 0 learners, but must be 1 to 12 learners"),
        ({"learners": {f"learner {k}": ERRORS[0] for k in range(13)}}, "learners is 13 learners, but must be 1 to 12 learners"),
        ({"learners": {"": ERRORS[0]}}, "each name of learners is '', but must be a text of 1 to 40 characters"),
        ({"learners": {"a": ERRORS[0, 1:]}}, r"learners\['a'\] is of shape \(5,\), but must be of shape \(6,\), one error for each task"),
        ({"learners": {"a": ERRORS}}, r"learners\['a'\] is of shape \(3, 6\), but must be of shape \(6,\)"),
        (with_error(1.01), r"learners\['dynamic'\] is outside \[0, 1\] or not finite in some place, but must be errors from 0 to 1"),
        (with_error(-0.01), r"learners\['dynamic'\] is outside \[0, 1\]"),
        (with_error(math.nan), r"learners\['dynamic'\] is outside \[0, 1\]"),
        ({"shown": []}, "shown is empty, but must be at least one name: the first is the reference"),
        ({"shown": ["soup"]}, "each of shown is 'soup', but must be 'independent' or 'previous' or 'dynamic'"),
        ({"place": 6}, "place is 6, but must be at most 5, the last task"),
        ({"place": -1}, "place is -1, but must be at least 0"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)  # fmt: skip
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        wall(**words)


def test_the_most_that_it_takes_is_taken():
    assert len(wall(**many(160)).tasks) == 160
    assert len(wall(**many(2)).tasks) == 2
    assert len(wall(**families(10)).families) == 10
    assert wall(**many(2, 32, 16)).shape == [16, 32, 32]
    assert len(wall(learners={f"{k}".ljust(40, "x"): ERRORS[0] for k in range(12)}).learners) == 12
    assert wall(**changed(name="n" * 40, captions=["c" * 12, "", "c"])).captions[1][0] == "c" * 12
    assert wall(place=5).place == 5

"""The live widget of transfers: what it carries, what it refuses, and that the browser follows chains and counts as Python does."""

import math
import re

import numpy as np
import pytest
import torch
from agree import doubles, seeded

from companion.teaching.widgets import live_transfers
from companion.teaching.widgets.base import MOST_BYTES
from companion.teaching.widgets.transfers import LARGEST, MOST_FAMILIES, MOST_LEARNERS, MOST_TASKS

FAMILIES = ["digits", "shapes", "digits", "glyphs", "shapes", "digits", "glyphs", "digits"]
SOURCES = [-1, 0, 0, -1, 1, 2, 5, -1]
ERRORS = torch.rand(8, generator=seeded(3), dtype=torch.float64)
REFERENCE = torch.rand(8, generator=seeded(4), dtype=torch.float64)
TASKS = [{"name": f"{place:03d}-{family}", "family": family} for place, family in enumerate(FAMILIES)]
LEARNERS = {
    "dynamic": {"sources": SOURCES, "errors": ERRORS, "reference": REFERENCE},
    "independent": {"sources": [-1] * 8, "errors": REFERENCE, "start": "pretrained"},
}


def transfers(tasks=TASKS, learners=LEARNERS, **words):
    return live_transfers(tasks, learners, **{"title": "t", "alt": "a", **words})


def changed(name="dynamic", **entries):
    return {"learners": {**LEARNERS, name: {**LEARNERS[name], **entries}}}


def pictured(*shapes, dtype=torch.uint8):
    """The tasks with a picture each, of shapes that take turns."""
    made = [torch.randint(256, shapes[place % len(shapes)], generator=seeded(place)).to(dtype) for place in range(8)]
    return [{**task, "thumbnail": picture} for task, picture in zip(TASKS, made)]


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_tasks_and_its_learners():
    widget = transfers(note="n", learner="independent", place=3)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("transfers", "t", "a", "n")
    assert widget.names == [task["name"] for task in TASKS]
    assert widget.families == ["digits", "shapes", "glyphs"], "in the order in which they enter"
    assert [widget.families[k] for k in widget.family_of] == FAMILIES
    assert (widget.learners, widget.starts) == (["dynamic", "independent"], ["untrained", "pretrained"])
    assert widget.sources == [SOURCES, [-1] * 8]
    assert doubles(widget.errors).equal(torch.cat([ERRORS, REFERENCE]))
    references = doubles(widget.references)
    assert references[:8].equal(REFERENCE)
    assert references[8:].isnan().all(), "none was given"
    assert (widget.learner_index, widget.place) == (1, 3)
    assert (widget.thumbnails, widget.shapes) == (b"", [])
    assert repr(widget) == "LiveTransfers('t')"


def test_it_starts_with_the_first_learner_and_the_last_task():
    assert (transfers().learner_index, transfers().place) == (0, 7)
    assert transfers(place=0).place == 0


def test_pictures_travel_row_by_row_each_in_its_own_shape():
    tasks = pictured((2, 3), (5, 1))
    widget = transfers(tasks)
    assert widget.shapes == [[2, 3], [5, 1]] * 4
    assert widget.thumbnails == b"".join(bytes(task["thumbnail"].flatten().tolist()) for task in tasks)
    arrays = [{**task, "thumbnail": task["thumbnail"].numpy()} for task in tasks]
    assert transfers(arrays).thumbnails == widget.thumbnails
    turned = [{**task, "thumbnail": task["thumbnail"].T.contiguous().T} for task in tasks]
    assert transfers(turned).thumbnails == widget.thumbnails, "not as they lie in memory"
    assert transfers([{**task, "thumbnail": None} for task in TASKS]).shapes == []


def test_a_row_of_a_stored_result_is_a_learner():
    row = {"sources": SOURCES, "errors": ERRORS.tolist(), "training": [1.0] * 8, "search": None, "reference": None}
    widget = transfers(learners={"dynamic": row})
    assert doubles(widget.errors).equal(ERRORS)
    assert doubles(widget.references).isnan().all()


def test_the_most_that_it_takes_is_taken_and_is_small():
    pictures = torch.full((LARGEST, LARGEST), 9, dtype=torch.uint8)
    tasks = [{"name": f"{k:040d}", "family": f"{k % MOST_FAMILIES:024d}", "thumbnail": pictures} for k in range(MOST_TASKS)]  # fmt: skip
    learner = {"sources": list(range(-1, MOST_TASKS - 1)), "errors": [0.5] * MOST_TASKS, "start": "s" * 16}
    widget = transfers(tasks, {f"{k:040d}": {**learner, "reference": [1.0] * MOST_TASKS} for k in range(MOST_LEARNERS)})
    carried = sum(len(part) for part in (widget.thumbnails, widget.errors, widget.references))
    texts = len(repr([widget.names, widget.family_of, widget.shapes, widget.sources, widget.learners]))
    assert 4 * carried // 3 + texts < MOST_BYTES, "so no state needs refusing"


def test_two_tasks_and_a_learner_are_enough():
    tasks = [{"name": "a", "family": "f"}, {"name": "a", "family": "f"}]
    assert transfers(tasks, {"l": {"sources": [-1, 0], "errors": [0, 1]}}).sources == [[-1, 0]]


# --- the browser counts as Python does -----------------------------------------------------------------------------------


def chain_of(sources, place):
    return [place] + (chain_of(sources, sources[place]) if sources[place] >= 0 else [])


def drawn(count, families, seed):
    """Sources and families at random: a third starts from none."""
    generator = seeded(seed)
    family_of = torch.randint(families, (count,), generator=generator).tolist()
    below = [int(torch.randint(-1 - place // 2, place, (), generator=generator)) if place else -1 for place in range(count)]  # fmt: skip
    return [max(-1, source) for source in below], family_of


STREAMS = [
    drawn(60, 5, 0),
    drawn(25, 2, 1),
    ([-1] * 12, [k % 3 for k in range(12)]),
    (list(range(-1, 11)), [0, 1] * 6),
    ([-1, 0], [0, 0]),
]
ALL = """
return given.streams.map(([sources, families]) => sources.map((_, place) => (FOUND)));
"""


def found(front, expression):
    """What JavaScript finds of each stream at each place."""
    return front(ALL.replace("FOUND", expression), streams=STREAMS)


def test_a_chain_leads_back_to_a_task_without_a_source(front):
    for (sources, _), chains in zip(STREAMS, found(front, "f.transferChain(sources, place)")):
        assert chains == [chain_of(sources, place) for place in range(len(sources))]
    assert found(front, "f.transferChain(sources, place)")[3][-1] == list(range(11, -1, -1))


def test_descendants_are_the_tasks_so_far_whose_chain_goes_through_one(front):
    for (sources, _), all_found in zip(STREAMS, found(front, "sources.map((_, now) => f.transferDescendants(sources, place, now))")):  # fmt: skip
        for place, by_time in enumerate(all_found):
            for now, got in enumerate(by_time):
                wanted = [task for task in range(place + 1, now + 1) if place in chain_of(sources, task)]
                assert got == wanted


def test_starts_are_counted_by_the_family_of_their_source(front):
    shares = found(front, "f.transferShares(sources, families, place)")
    matrices = found(front, "f.transferMatrix(sources, families, Math.max(...families) + 1, place)")
    for (sources, families), each, tables in zip(STREAMS, shares, matrices):
        size = max(families) + 1
        for now, (got, table) in enumerate(zip(each, tables)):
            wanted = torch.zeros(size + 1, size, dtype=torch.long)
            for task in range(now + 1):
                wanted[families[sources[task]] if sources[task] >= 0 else size, families[task]] += 1
            assert table == wanted.tolist()
            own, none = wanted[:size].diagonal().sum().item(), wanted[size].sum().item()
            counts = {"own": own, "other": now + 1 - own - none, "none": none}
            assert (got["total"], got["counts"]) == (now + 1, counts)
            assert got["shares"] == pytest.approx({kind: count / (now + 1) for kind, count in counts.items()})


def test_each_tree_has_a_root_and_all_that_goes_back_to_it(front):
    for (sources, _), each in zip(STREAMS, found(front, "f.transferRoots(sources, place)")):
        for now, got in enumerate(each):
            ends = [chain_of(sources, task)[-1] for task in range(now + 1)]
            assert got == [{"root": root, "tasks": ends.count(root)} for root in sorted(set(ends))]


def test_the_favourite_is_the_one_that_most_others_started_from(front):
    for (sources, _), each in zip(STREAMS, found(front, "f.transferFavourite(sources, place)")):
        for now, got in enumerate(each):
            past = sources[: now + 1]
            children = [past.count(task) for task in range(now + 1)]
            if max(children) == 0:
                assert got is None
                continue
            best = children.index(max(children)), max(children)
            descendants = sum(best[0] in chain_of(sources, task)[1:] for task in range(now + 1))
            assert got == {"place": best[0], "children": best[1], "descendants": descendants}


def test_a_long_chain_is_shortened_before_its_last(front):
    got = front("return given.cases.map(([chain, most]) => f.transferParts(chain, most));",
                cases=[[[9, 5, 2], 3], [[9, 5, 2], 8], [[9, 7, 5, 2], 3], [list(range(30, -1, -1)), 5]])  # fmt: skip
    places = [[part.get("place", -part.get("skipped", 0)) for part in parts] for parts in got]
    assert places == [[9, 5, 2], [9, 5, 2], [9, -2, 2], [30, 29, 28, -27, 0]]
    assert sum(part.get("skipped", 1) for part in got[3]) == 31, "no task is lost"


SENTENCES = [
    (0, 0, "‘000-digits’ started untrained. Its error is 50.0%, without transfer 12.5%."),
    (0, 5, "‘000-digits’ started untrained. Its error is 50.0%, without transfer 12.5%. So far 4 later tasks descend from it, 2 directly."),
    (1, 4, "‘001-shapes’ started from ‘000-digits’, of another family (digits); that one started untrained. Its error is 50.0%, without transfer 12.5%. So far 1 later task descends from it, 1 directly."),
    (2, 2, "‘002-digits’ started from ‘000-digits’, of its own family; that one started untrained. Its error is 50.0%, without transfer 12.5%."),
    (6, 7, "‘006-glyphs’ started from ‘005-digits’, of another family (digits); its chain goes 3 steps back to ‘000-digits’, which started untrained. Its error is 50.0%, without transfer 12.5%. So far no later tasks descend from it."),
]  # fmt: skip
SAY = """
const set = { names: given.names, familyNames: ["digits", "shapes", "glyphs"], families: given.families, sources: given.sources, start: given.start,
  errors: given.names.map(() => 0.5), references: given.names.map(() => given.reference ?? NaN) };
const plain = (text) => text.replaceAll("\\u202f", "").replaceAll("\\u00a0", " ");
return given.at.map(([place, now]) => [plain(f.transferTaskText(set, place, now)), plain(f.transferCountText(set, now))]);
"""


def said(front, at, **words):
    families = [["digits", "shapes", "glyphs"].index(family) for family in FAMILIES]
    usual = {"sources": SOURCES, "start": "untrained", "reference": 0.125}
    return front(SAY, at=at, names=[task["name"] for task in TASKS], families=families, **(usual | words))


def test_a_sentence_says_where_a_task_came_from_and_what_came_of_it(front):
    got = said(front, [case[:2] for case in SENTENCES])
    assert [task for task, _ in got] == [sentence for *_, sentence in SENTENCES]
    assert got[0][1] == "Of 1 task so far, 0 started from their own family, 0 from another, 1 untrained."
    assert got[-1][1] == "Of 8 tasks so far, 3 started from their own family, 2 from another, 3 untrained."


def test_a_sentence_leaves_out_what_is_not_known_and_names_another_start(front):
    ((task, counts),) = said(front, [(0, 0)], start="pretrained", reference=None)
    assert task == "‘000-digits’ started pretrained. Its error is 50.0%."
    assert counts.endswith("0 from another, 1 pretrained.")


# --- what it refuses --------------------------------------------------------------------------------------------------


def longer(count, families=1):
    tasks = [{"name": str(k), "family": f"f{k % families}"} for k in range(count)]
    return {"tasks": tasks, "learners": {"l": {"sources": [-1] * count, "errors": [0.5] * count}}}


def renamed(place, **entries):
    return {"tasks": [{**task, **(entries if k == place else {})} for k, task in enumerate(TASKS)]}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (longer(1), "tasks is 1 tasks, but must be 2 to 160 tasks."),
        (longer(161), "tasks is 161 tasks, but must be 2 to 160 tasks."),
        (longer(30, 11), "tasks is of 11 families, but must be of at most 10 families."),
        ({"tasks": [{"name": "a"}, *TASKS[1:]]}, "tasks[0] is without family, but must be a mapping with name and family."),
        ({"tasks": [*TASKS[:7], {}]}, "tasks[7] is without name and family, but must be a mapping with name and family."),
        (renamed(2, name=" "), "tasks[2]['name'] is ' ', but must be a text of 1 to 40 characters."),
        (renamed(2, name="n" * 41), f"tasks[2]['name'] is '{'n' * 41}', but must be a text of 1 to 40 characters."),
        (renamed(3, family="f" * 25), f"tasks[3]['family'] is '{'f' * 25}', but must be a text of 1 to 24 characters."),
        (renamed(1, thumbnail=torch.zeros(2, 2, dtype=torch.uint8)), "tasks is with 1 thumbnails of 8, but must be with a thumbnail for each task, or none."),
        ({"tasks": pictured((33, 2))}, "tasks[0]['thumbnail'] is of shape (33, 2), but must be of shape (h, w), each from 1 to 32."),
        ({"tasks": pictured((2, 2), (1, 2, 2))}, "tasks[1]['thumbnail'] is of shape (1, 2, 2), but must be of shape (h, w), each from 1 to 32."),
        ({"tasks": pictured((0, 2))}, "tasks[0]['thumbnail'] is of shape (0, 2), but must be of shape (h, w), each from 1 to 32."),
        ({"learners": {}}, "learners is 0 learners, but must be 1 to 6 learners."),
        ({"learners": {str(k): LEARNERS["dynamic"] for k in range(7)}}, "learners is 7 learners, but must be 1 to 6 learners."),
        ({"learners": {"": LEARNERS["dynamic"]}}, "each name of learners is '', but must be a text of 1 to 40 characters."),
        ({"learners": {"l": {"sources": SOURCES}}}, "learners['l'] is without errors, but must be a mapping with sources and errors."),
        (changed(start="s" * 17), "learners['dynamic']['start'] is 'sssssssssssssssss', but must be a text of 1 to 16 characters."),
        (changed(sources=SOURCES[1:]), "learners['dynamic']['sources'] is 7 numbers, but must be 8 numbers, one for each task."),
        (changed(sources=[0, *SOURCES[1:]]), "learners['dynamic']['sources'][0] is 0, but must be -1: no task is earlier."),
        (changed(sources=[-1, 0, 0, 3, *SOURCES[4:]]), "learners['dynamic']['sources'][3] is 3, but must be -1, or the place of an earlier task, at most 2."),
        (changed(sources=[-1, -2, *SOURCES[2:]]), "learners['dynamic']['sources'][1] is -2, but must be -1, or the place of an earlier task, at most 0."),
        (changed(errors=ERRORS[1:]), "learners['dynamic']['errors'] is of shape (7,), but must be of shape (8,), one error for each task."),
        (changed(errors=ERRORS[None]), "learners['dynamic']['errors'] is of shape (1, 8), but must be of shape (8,), one error for each task."),
        (changed(errors=[1.01] * 8), "learners['dynamic']['errors'] is outside [0, 1] or not finite in some place, but must be errors from 0 to 1."),
        (changed(errors=[*ERRORS[1:], -0.01]), "learners['dynamic']['errors'] is outside [0, 1] or not finite in some place, but must be errors from 0 to 1."),
        (changed(reference=[math.nan] * 8), "learners['dynamic']['reference'] is outside [0, 1] or not finite in some place, but must be errors from 0 to 1."),
        (changed(reference=[0.5]), "learners['dynamic']['reference'] is of shape (1,), but must be of shape (8,), one error for each task."),
        ({"learner": "Dynamic"}, "learner is 'Dynamic', but must be 'dynamic' or 'independent'."),
        ({"place": 8}, "place is 8, but must be at most 7, that of the last task."),
        ({"place": -1}, "place is -1, but must be at least 0."),
        ({"title": ""}, "title is empty, but must be a text: not every reader sees the picture."),
        ({"alt": " "}, "alt is empty, but must be a text: not every reader sees the picture."),
    ],
)  # fmt: skip
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        transfers(**words)


def test_arrays_are_errors_and_pictures_too():
    tasks = [{**task, "thumbnail": np.full((3, 2), k, np.uint8)} for k, task in enumerate(TASKS)]
    widget = transfers(tasks, {"l": {"sources": tuple(SOURCES), "errors": ERRORS.numpy()}})
    assert widget.thumbnails == bytes(k for k in range(8) for _ in range(6))
    assert doubles(widget.errors).equal(ERRORS)

"""The live widget of transfers says in one sentence which argument has the wrong type."""

import numpy as np
import pytest
import torch

from companion.teaching.widgets import live_transfers

TASKS = [{"name": "a", "family": "f"}, {"name": "b", "family": "f"}]
LEARNER = {"sources": [-1, 0], "errors": [0.5, 0.25]}
MAPPING = "a mapping from names to mappings"


def call(**words):
    usual = {"tasks": TASKS, "learners": {"dynamic": LEARNER}, "title": "t", "alt": "a"} | words
    tasks, learners = usual.pop("tasks"), usual.pop("learners")
    return live_transfers(tasks, learners, **usual)


def changed(**entries):
    return {"learners": {"dynamic": {**LEARNER, **entries}}}


def pictured(picture):
    return {"tasks": [{**task, "thumbnail": picture} for task in TASKS]}


NO_ROW, NO_PICTURE = "errors, a tensor or list", "a tensor or array of uint8"
OF = "learners['dynamic']"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"tasks": None}, "tasks is a NoneType, but must be a tuple or list of mappings."),
        ({"tasks": "ab"}, "tasks is a str, but must be a tuple or list of mappings."),
        ({"tasks": iter(TASKS)}, "tasks is a list_iterator, but must be a tuple or list of mappings."),
        ({"tasks": ["a", "b"]}, "tasks[0] is a str, but must be a mapping."),
        ({"tasks": [TASKS[0], {"name": 1, "family": "f"}]}, "tasks[1]['name'] is 1, but must be a text."),
        ({"tasks": [{"name": "a", "family": None}, TASKS[1]]}, "tasks[0]['family'] is None, but must be a text."),
        (pictured([[1, 2]]), f"tasks[0]['thumbnail'] is a list, but must be {NO_PICTURE}."),
        (pictured(torch.zeros(2, 2)), f"tasks[0]['thumbnail'] is a Tensor of torch.float32, but must be {NO_PICTURE}."),
        (pictured(np.zeros((2, 2))), f"tasks[0]['thumbnail'] is a ndarray of float64, but must be {NO_PICTURE}."),
        ({"learners": [LEARNER]}, f"learners is a list, but must be {MAPPING}."),
        ({"learners": None}, f"learners is a NoneType, but must be {MAPPING}."),
        ({"learners": {0: LEARNER}}, "each name of learners is 0, but must be a text."),
        ({"learners": {"dynamic": [-1, 0]}}, f"{OF} is a list, but must be a mapping."),
        (changed(start=None), f"{OF}['start'] is None, but must be a text."),
        (changed(sources=-1), f"{OF}['sources'] is a int, but must be a tuple or list of whole numbers."),
        (
            changed(sources=torch.tensor([-1, 0])),
            f"{OF}['sources'] is a Tensor, but must be a tuple or list of whole numbers.",
        ),
        (changed(sources=[None, 0]), f"{OF}['sources'][0] is None, but must be a whole number."),
        (changed(sources=[-1, 0.0]), f"{OF}['sources'][1] is 0.0, but must be a whole number."),
        (changed(sources=[-1, False]), f"{OF}['sources'][1] is False, but must be a whole number."),
        (changed(errors=None), f"{OF}['errors'] is a NoneType that is no row of numbers, but must be {NO_ROW}."),
        (changed(errors="0.5"), f"{OF}['errors'] is a str that is no row of numbers, but must be {NO_ROW}."),
        (changed(errors=[[0.5], 1]), f"{OF}['errors'] is a list that is no row of numbers, but must be {NO_ROW}."),
        (
            changed(errors=torch.zeros(2) + 0j),
            f"{OF}['errors'] is a complex tensor, but must be a row of real numbers.",
        ),
        (changed(reference="ab"), f"{OF}['reference'] is a str that is no row of numbers, but must be {NO_ROW}."),
        ({"learner": 0}, "learner is 0, but must be a text."),
        ({"place": 0.5}, "place is 0.5, but must be a whole number."),
        ({"place": True}, "place is True, but must be a whole number."),
        ({"title": None}, "title is a NoneType, but must be a text."),
        ({"alt": 3}, "alt is a int, but must be a text."),
        ({"note": None}, "note is None, but must be a text."),
    ],
)
def test_it_refuses_wrong_types(words, sentence):
    with pytest.raises(TypeError) as refusal:
        call(**words)
    assert str(refusal.value) == sentence


def test_tuples_arrays_and_whole_numbers_of_any_kind_are_taken():
    words = changed(sources=(np.int64(-1), np.int32(0)), errors=np.array([0.5, 0.25]), reference=None)
    widget = call(**words, tasks=tuple(TASKS), place=np.int64(1))
    assert (widget.sources, widget.place) == ([[-1, 0]], 1)
    assert widget.errors == call().errors

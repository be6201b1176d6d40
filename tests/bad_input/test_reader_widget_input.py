"""The live widget of a model that learns what it reads says in one sentence which argument has the wrong type."""

import pytest
import torch

from companion.foundations.language import Transformer, WindowMLP
from companion.teaching.widgets import live_reader

MODEL = WindowMLP(97, order=2, embedding=2, width=3)
TEXTS = {name: name * 1000 for name in "abc"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"model": Transformer(97, 8, 1, 1)}, "model is a Transformer, but must be a WindowMLP"),
        ({"model": None}, "model is a NoneType, but must be a WindowMLP"),
        ({"model": dict(MODEL.named_parameters())}, "model is a dict, but must be a WindowMLP"),
        ({"texts": list(TEXTS.values())}, "texts is a list, but must be a dictionary of texts by name"),
        ({"texts": "a" * 1000}, "texts is a str, but must be a dictionary of texts by name"),
        ({"texts": TEXTS | {"d": None}}, r"texts\['d'\] is a NoneType, but must be a text"),
        ({"texts": TEXTS | {"d": torch.zeros(1000)}}, r"texts\['d'\] is a Tensor, but must be a text"),
        ({"texts": TEXTS | {"d": b"a" * 1000}}, r"texts\['d'\] is a bytes, but must be a text"),
        ({"texts": TEXTS | {4: "a" * 1000}}, "each name of texts is a int, but must be a text"),
        ({"lr": "fast"}, r"lr is fast, but must be one of \(0.0003, "),
        ({"lrs": 0.003}, "lrs is 0.003, but must be a tuple of numbers"),
        ({"lrs": (0.003, "0.1")}, "each of lrs is '0.1', but must be a number"),
        ({"lrs": (0.003, True)}, "each of lrs is True, but must be a number"),
        ({"strides": 16}, "strides is 16, but must be a tuple of numbers"),
        ({"strides": (4.5, 16)}, "each of strides is 4.5, but must be a whole number"),
        ({"strides": (16, None)}, "each of strides is None, but must be a number"),
        ({"context": 8.0}, "context is 8.0, but must be a whole number"),
        ({"context": "8"}, "context is '8', but must be a whole number"),
        ({"own": None}, "own is a NoneType, but must be a text"),
        ({"own": ["a"]}, "own is a list, but must be a text"),
        ({"title": None}, "title is a NoneType, but must be a text"),
        ({"alt": 3}, "alt is a int, but must be a text"),
    ],
)  # fmt: skip
def test_it_refuses_wrong_types(words, sentence):
    usual = {"model": MODEL, "texts": TEXTS, "title": "t", "alt": "a"} | words
    error = ValueError if "one of" in sentence else TypeError
    with pytest.raises(error, match=sentence):
        live_reader(usual.pop("model"), usual.pop("texts"), **usual)


@pytest.mark.parametrize("optimizer", ["RMSprop", None, torch.optim.Adam])
def test_it_refuses_another_optimiser(optimizer):
    with pytest.raises(ValueError, match="optimizer is .*, but must be 'Adam' or 'SGD'"):
        live_reader(MODEL, TEXTS, title="t", alt="a", optimizer=optimizer)

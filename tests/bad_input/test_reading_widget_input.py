"""The live widget of a coloured text says in one sentence which argument has the wrong type."""

import pytest
import torch
from sentences import assert_refused

from companion.teaching.widgets import live_reading
from companion.teaching.widgets.reading import mean_bits, quantise

TEXT = "to be or not to be\n"
LOSS = torch.ones(len(TEXT))
LOSSES = {"static": LOSS, "learning": LOSS / 2}
LEVELS = quantise(LOSS)


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"text": None}, "text", "a NoneType", "a string"),
        ({"text": TEXT.encode()}, "text", "a bytes", "a string"),
        ({"text": torch.arange(19)}, "text", "a Tensor", "a string"),
        ({"log_losses": torch.ones(2, len(TEXT))}, "log_losses", "a Tensor", "a mapping from names to tensors"),
        ({"log_losses": [LOSS, LOSS]}, "log_losses", "a list", "a mapping from names to tensors"),
        ({"log_losses": {0: LOSS, 1: LOSS}}, "each name of log_losses", "0", "a text"),
        ({"log_losses": LOSSES | {"static": LOSS.tolist()}}, "log_losses['static']", "a list", "a torch.Tensor"),
        ({"log_losses": LOSSES | {"static": LOSS.numpy()}}, "log_losses['static']", "a ndarray", "a torch.Tensor"),
        ({"log_losses": LOSSES | {"learning": LOSS.long()}}, "log_losses['learning']", "torch.int64", "floating"),
        ({"log_losses": LOSSES | {"learning": LEVELS}}, "log_losses['learning']", "torch.uint8", "floating"),
        ({"marks": ["plays"]}, "marks", "a list", "None or a mapping from places to names"),
        ({"marks": {"plays": 0}}, "each place of marks", "'plays'", "a whole number"),
        ({"marks": {1.0: "plays"}}, "each place of marks", "1.0", "a whole number"),
        ({"marks": {True: "plays"}}, "each place of marks", "True", "a whole number"),
        ({"marks": {0: None}}, "each name of marks", "None", "a text"),
        ({"place": 2.0}, "place", "2.0", "a whole number"),
        ({"place": "2"}, "place", "'2'", "a whole number"),
        ({"title": None}, "title", "a NoneType", "a text"),
        ({"alt": 3}, "alt", "a int", "a text"),
    ],
)
def test_it_refuses_wrong_types(words, argument, came, allowed):
    usual = {"text": TEXT, "log_losses": LOSSES, "title": "t", "alt": "a"} | words
    text, log_losses = usual.pop("text"), usual.pop("log_losses")
    assert_refused(lambda: live_reading(text, log_losses, **usual), TypeError, argument, came, allowed)


@pytest.mark.parametrize(
    ("words", "argument", "came", "allowed"),
    [
        ({"static": 0}, "static", "0", "'static' or 'learning'"),
        ({"shown": 1}, "shown", "1", "another reader than static"),
        (
            {"text": "to be or n\N{LATIN SMALL LETTER O WITH DIAERESIS}t to be\n"},
            "text",
            "'\\xf6' at place 10",
            "ASCII",
        ),
        ({"text": TEXT.replace("\n", "\r")}, "text", "'\\r' at place 18", "printable ASCII and line breaks"),
    ],
)
def test_it_refuses_unknown_readers_and_characters(words, argument, came, allowed):
    usual = {"text": TEXT, "log_losses": LOSSES, "title": "t", "alt": "a"} | words
    text, log_losses = usual.pop("text"), usual.pop("log_losses")
    assert_refused(lambda: live_reading(text, log_losses, **usual), ValueError, argument, came, allowed)


def test_the_scale_and_the_means_refuse_wrong_types():
    assert_refused(lambda: quantise([1.0]), TypeError, "log_loss", "a list", "a torch.Tensor")
    assert_refused(lambda: quantise(LEVELS), TypeError, "log_loss", "torch.uint8", "floating")
    assert_refused(lambda: mean_bits(LOSS), TypeError, "levels", "torch.float32", "torch.uint8")
    assert_refused(lambda: mean_bits([1, 2]), TypeError, "levels", "a list", "torch.uint8")
    assert_refused(lambda: mean_bits(LEVELS, 2.5), TypeError, "span", "2.5", "a whole number")

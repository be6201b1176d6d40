"""Dynamic evaluation, its models and its text refuse bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from companion.data.text import SYMBOLS, decode, encode, passages
from companion.foundations.language import Transformer, WindowMLP
from companion.methods.dynamic_evaluation import LowRank, add_adapters, evaluate_stream, learned_part, log_losses
from tests.bad_input.sentences import assert_refused

NAN = float("nan")
TEXT = torch.arange(40) % 7
sgd = partial(torch.optim.SGD, lr=0.1)
MAKER = "None or a callable (parameters) -> torch.optim.Optimizer"
WORDS = '"all", "mlp", "lora" or a callable (name) -> bool'
WHOLE = "a tensor of whole numbers"


def model(symbols: int = 7) -> nn.Module:
    return Transformer(symbols, 8, 1, 2, torch.Generator().manual_seed(0))


def window() -> nn.Module:
    return WindowMLP(7, 3, 2, 4, torch.Generator().manual_seed(0))


def call(given=None, tokens=TEXT, context=5, stride=3, optimizer=sgd, **options):
    return evaluate_stream(model() if given is None else given, tokens, context, stride, optimizer, **options)


def static(given=None, tokens=TEXT, context=5, stride=3):
    return call(given, tokens, context, stride, optimizer=None)


def read(*given, **options):
    return call(*given, **options).log_loss


class Saying(nn.Module):
    """A model with any output."""

    def __init__(self, output) -> None:
        super().__init__()
        self.output, self.weight = output, nn.Parameter(torch.ones(1))

    def forward(self, tokens):
        return self.output(tokens)


class Places(nn.Module):
    """Knows no places from the sixth on."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(7, 7), nn.Embedding(6, 7)

    def forward(self, tokens):
        return self.embed(tokens) + self.places(torch.arange(tokens.shape[1]))


def changed(place: int, value: int) -> torch.Tensor:
    tokens = TEXT.clone()
    tokens[place] = value
    return tokens


def state(blocks: int = 2, **options) -> dict:
    found = call(**options)
    for _, _ in zip(range(blocks), found):
        pass
    return found.state_dict()


def in_inference_mode():
    with torch.inference_mode():
        call()


def of_logits(shape, dtype=torch.float32):
    return lambda: log_losses(torch.ones(shape, dtype=dtype), torch.zeros(1, 4, dtype=torch.long))


# name: (what is called, the error, the argument, what came, what is allowed; the last two in part)
CASES = {
    "model None": (lambda: evaluate_stream(None, TEXT, 5, 3), TypeError, "model", "a NoneType", "a torch.nn.Module"),
    "model a function": (lambda: evaluate_stream(len, TEXT, 5, 3), TypeError, "model", "a builtin", "a torch.nn.Module"),
    # text
    "tokens a list": (lambda: call(tokens=[1, 2, 3]), TypeError, "tokens", "a list", WHOLE),
    "tokens a string": (lambda: call(tokens="to be or not to be"), TypeError, "tokens", "a str", WHOLE),
    "tokens floating": (lambda: call(tokens=TEXT.float()), TypeError, "tokens", "torch.float32", WHOLE),
    "tokens bool": (lambda: call(tokens=TEXT > 3), TypeError, "tokens", "torch.bool", WHOLE),
    "tokens a batch": (lambda: call(tokens=TEXT[None]), ValueError, "tokens", "of shape (1, 40)", "one row"),
    "tokens a number": (lambda: call(tokens=TEXT[0]), ValueError, "tokens", "of shape ()", "one row"),
    "no tokens": (lambda: call(tokens=TEXT[:0]), ValueError, "tokens", "0 of them", "more than the 5 of the context"),
    "a text of the context alone": (lambda: call(context=40), ValueError, "tokens", "40 of them", "more than the 40"),
    "a text below the context": (lambda: call(context=100), ValueError, "tokens", "40 of them", "more than the 100"),
    "a negative token": (lambda: call(tokens=changed(20, -1)), ValueError, "tokens", "negative", "from 0"),
    "a negative last token": (lambda: static(tokens=changed(-1, -100)), ValueError, "tokens", "negative", "from 0"),
    "a token too many": (lambda: read(tokens=changed(3, 7)), ValueError, "tokens", "up to 7", "that the model has an embedding for"),
    "a last token too many": (lambda: read(tokens=changed(-1, 7)), ValueError, "tokens", "up to 7", "below 7"),
    "a last token too many, unlearned": (lambda: static(tokens=changed(-1, 9)).log_loss, ValueError, "tokens", "up to 9", "below 7"),
    "a token too many for a window": (lambda: read(window(), tokens=changed(3, 9)), ValueError, "tokens", "up to 9", "an embedding for"),
    "windows too long": (lambda: read(Places()), ValueError, "tokens", "in windows of 7", "in windows that it can take"),
    # blocks
    "context 0": (lambda: call(context=0), ValueError, "context", "0", "at least 1"),
    "context half": (lambda: call(context=2.5), TypeError, "context", "2.5", "a whole number"),
    "context None": (lambda: call(context=None), TypeError, "context", "None", "a whole number"),
    "stride 0": (lambda: call(stride=0), ValueError, "stride", "0", "at least 1"),
    "stride -3": (lambda: call(stride=-3), ValueError, "stride", "-3", "at least 1"),
    "stride True": (lambda: call(stride=True), TypeError, "stride", "True", "a whole number"),
    # what learns, and how
    "optimizer made already": (lambda: call(optimizer=sgd([torch.ones(1)])), TypeError, "optimizer", "a SGD", MAKER),
    "optimizer a rate": (lambda: call(optimizer=0.1), TypeError, "optimizer", "a float", MAKER),
    "optimizer a word": (lambda: call(optimizer="adam"), TypeError, "optimizer", "a str", MAKER),
    "optimizer gives None": (lambda: call(optimizer=lambda parameters: None), TypeError, "optimizer(parameters)", "a NoneType", "a torch.optim.Optimizer"),
    "optimizer in inference mode": (in_inference_mode, ValueError, "optimizer", "inside torch.inference_mode()", "None there"),
    "parameters a word": (lambda: call(parameters="attention"), ValueError, "parameters", "'attention'", WORDS),
    "parameters None": (lambda: call(parameters=None), ValueError, "parameters", "None", WORDS),
    "parameters names": (lambda: call(parameters=["mlp"]), ValueError, "parameters", "['mlp']", WORDS),
    "parameters nothing": (lambda: call(parameters=lambda name: False), ValueError, "parameters", "a callable", "something that this model has"),
    "mlp of a model without": (lambda: call(window(), parameters="mlp"), ValueError, "parameters", "'mlp'", "something that this model has"),
    "lora of a model without": (lambda: call(window(), parameters="lora"), ValueError, "model", "without a linear layer", "a model that has one"),
    "all of a model without": (lambda: call(nn.Tanh()), ValueError, "parameters", "'all'", "something that this model has"),
    "rank 0": (lambda: call(parameters="lora", rank=0), ValueError, "rank", "0", "at least 1"),
    "rank 1.5": (lambda: call(parameters="lora", rank=1.5), TypeError, "rank", "1.5", "a whole number"),
    # back to the start
    "reset_every 0": (lambda: call(reset_every=0), ValueError, "reset_every", "0", "at least 1"),
    "reset_every half": (lambda: call(reset_every=0.5), TypeError, "reset_every", "0.5", "a whole number"),
    "reset_at -1": (lambda: call(reset_at=[3, -1]), ValueError, "each of reset_at", "-1", "at least 0"),
    "reset_at one number": (lambda: call(reset_at=5), TypeError, "reset_at", "5", "a sequence"),
    "reset_at half": (lambda: call(reset_at=[2.5]), TypeError, "each of reset_at", "2.5", "a whole number"),
    "decay -0.1": (lambda: call(decay=-0.1), ValueError, "decay", "-0.1", "a number in [0, 1]"),
    "decay 1.5": (lambda: call(decay=1.5), ValueError, "decay", "1.5", "a number in [0, 1]"),
    "decay nan": (lambda: call(decay=NAN), ValueError, "decay", "nan", "a number in [0, 1]"),
    "decay None": (lambda: call(decay=None), TypeError, "decay", "None", "a number in [0, 1]"),
    # what the model says
    "a tuple": (lambda: read(Saying(lambda x: (x, x))), TypeError, "model(tokens)", "a tuple", "a torch.Tensor"),
    "an output object": (lambda: static(Saying(lambda x: type("Output", (), {})())).log_loss, TypeError, "model(tokens)", "a Output", "a torch.Tensor"),
    "whole numbers": (lambda: read(Saying(lambda x: x[..., None])), TypeError, "model(tokens)", "torch.int64", "a floating dtype"),
    "logits of the last alone": (lambda: read(Saying(lambda x: torch.ones(1, 7))), ValueError, "model(tokens)", "(1, 7)", "(1, 7, vocab)"),
    "logits of fewer places": (lambda: read(Saying(lambda x: torch.ones(1, 6, 7))), ValueError, "model(tokens)", "(1, 6, 7)", "(1, 7, vocab)"),
    "logits of another row": (lambda: static(Saying(lambda x: torch.ones(2, 7, 7))).log_loss, ValueError, "model(tokens)", "(2, 7, 7)", "(1, 7, vocab)"),
    "logits as torch wants them": (lambda: read(Saying(lambda x: torch.ones(1, 9, 7))), ValueError, "model(tokens)", "(1, 9, 7)", "(1, 7, vocab)"),
    "log-losses of whole numbers": (of_logits((1, 4, 7), torch.long), TypeError, "model(tokens)", "torch.int64", "a floating dtype"),
    "log-losses without a row": (of_logits((4, 7)), ValueError, "model(tokens)", "(4, 7)", "(1, 4, vocab)"),
    "log-losses of other places": (of_logits((1, 3, 7)), ValueError, "model(tokens)", "(1, 3, 7)", "(1, 4, vocab)"),
    # going on
    "resume a path": (lambda: call(resume="saved.pt"), ValueError, "resume", "a str", "a StreamResult.state_dict()"),
    "resume nothing": (lambda: call(resume={}), ValueError, "resume", "a dict without all it needs", "a StreamResult.state_dict()"),
    "resume a model": (lambda: call(resume=model().state_dict()), ValueError, "resume", "without all it needs", "a StreamResult.state_dict()"),
    "resume another text": (lambda: call(tokens=TEXT[:-1], resume=state()), ValueError, "resume", "other tokens", "of the same call"),
    "resume another context": (lambda: call(context=8, resume=state()), ValueError, "resume", "other context", "of the same call"),
    "resume another stride": (lambda: call(stride=4, resume=state()), ValueError, "resume", "other stride", "of the same call"),
    "resume other parameters": (lambda: call(parameters="mlp", resume=state()), ValueError, "resume", "other parameters", "of the same call"),
    "resume another rank": (lambda: call(parameters="lora", rank=2, resume=state(parameters="lora")), ValueError, "resume", "other parameters", "of the same call"),
    "resume another optimiser": (lambda: call(optimizer=torch.optim.Adam, resume=state()), ValueError, "resume", "other optimizer", "of the same call"),
    "resume without learning": (lambda: call(optimizer=None, resume=state()), ValueError, "resume", "other optimizer", "of the same call"),
    "resume with learning": (lambda: call(resume=state(optimizer=None)), ValueError, "resume", "other optimizer", "of the same call"),
    "resume with resets": (lambda: call(reset_every=3, resume=state()), ValueError, "resume", "other reset_every", "of the same call"),
    "resume without resets": (lambda: call(resume=state(reset_every=3)), ValueError, "resume", "other reset_every", "of the same call"),
    "resume with documents": (lambda: call(reset_at=[9], resume=state(reset_at=[8])), ValueError, "resume", "other reset_at", "of the same call"),
    "resume another decay": (lambda: call(decay=0.1, resume=state(decay=0.2)), ValueError, "resume", "other decay", "of the same call"),
    # parts
    "learned part of a word": (lambda: learned_part(model(), "attention"), ValueError, "parameters", "'attention'", WORDS),
    "learned part of nothing": (lambda: learned_part(model(), lambda name: name == "mlp"), ValueError, "parameters", "a callable", "something"),
    "adapters of rank 0": (lambda: add_adapters(model(), 0), ValueError, "rank", "0", "at least 1"),
    "adapters of no layer": (lambda: add_adapters(model(), where=lambda name: name == "norm"), ValueError, "model", "without a linear layer", "a model that has one"),
    "adapters of a layer alone": (lambda: add_adapters(nn.Linear(2, 2), where=lambda name: True), ValueError, "model", "without a linear layer of a wanted name inside it", "a model that has one"),
    # models
    "no symbols": (lambda: Transformer(0), ValueError, "symbols", "0", "at least 1"),
    "width 0": (lambda: Transformer(7, 0), ValueError, "width", "0", "at least 1"),
    "width for the heads": (lambda: Transformer(7, 12, heads=4), ValueError, "width", "12", "a multiple of 2 x 4 heads"),
    "depth half": (lambda: Transformer(7, depth=0.5), TypeError, "depth", "0.5", "a whole number"),
    "heads 0": (lambda: Transformer(7, heads=0), ValueError, "heads", "0", "at least 1"),
    "window without symbols": (lambda: WindowMLP(0), ValueError, "symbols", "0", "at least 1"),
    "window of order 0": (lambda: WindowMLP(7, 0), ValueError, "order", "0", "at least 1"),
    "window of half an embedding": (lambda: WindowMLP(7, embedding=0.5), TypeError, "embedding", "0.5", "a whole number"),
    "window of no width": (lambda: WindowMLP(7, width=-1), ValueError, "width", "-1", "at least 1"),
    "a row without batch": (lambda: model()(TEXT), ValueError, "tokens", "torch.int64 of shape (40,)", "whole numbers of shape (n, t)"),
    "floating symbols": (lambda: model()(TEXT[None].float()), ValueError, "tokens", "torch.float32 of shape (1, 40)", "whole numbers of shape (n, t)"),
    "a list of symbols": (lambda: window()([[1, 2]]), ValueError, "tokens", "a list", "whole numbers of shape (n, t)"),
    "embeddings for a window": (lambda: window()(torch.ones(1, 4, 2)), ValueError, "tokens", "of shape (1, 4, 2)", "whole numbers of shape (n, t)"),
    # text
    "encode bytes": (lambda: encode(b"to be"), TypeError, "text", "a bytes", "a string"),
    "encode None": (lambda: encode(None), TypeError, "text", "a NoneType", "a string"),
    "decode a list": (lambda: decode([1, 2]), TypeError, "tokens", "a list", WHOLE),
    "decode logits": (lambda: decode(torch.ones(3)), TypeError, "tokens", "torch.float32", WHOLE),
    "decode a batch": (lambda: decode(TEXT[None]), ValueError, "tokens", "of shape (1, 40)", "one row"),
    "decode a number too many": (lambda: decode(torch.tensor([3, SYMBOLS])), ValueError, "tokens", "outside in some row", "from 0 to 96"),
    "decode a negative number": (lambda: decode(torch.tensor([-1])), ValueError, "tokens", "outside in some row", "from 0 to 96"),
    "a style of nobody": (lambda: passages("novels"), ValueError, "style", "'novels'", "one of plays, folio, bible, docs, code"),
    "what was learned is no style": (lambda: passages("learned"), ValueError, "style", "'learned'", "one of plays"),
    "an eighth passage": (lambda: passages("plays", [0, 7]), ValueError, "numbers", "7", "from 0 to 6"),
    "a passage from the end": (lambda: passages("plays", [-1]), ValueError, "numbers", "-1", "at least 0"),
    "half a passage": (lambda: passages("plays", [0.5]), TypeError, "numbers", "0.5", "a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, argument, came, allowed", CASES.values(), ids=CASES.keys())  # noqa: PT006
def test_refused_with_one_sentence_that_names_argument_what_came_and_what_is_allowed(
    call, error, argument, came, allowed
):
    assert_refused(call, error, argument, came, allowed)


@pytest.mark.parametrize("options", [{"rank": 0}, {"parameters": "attention"}, {"decay": 2}, {"resume": {}}])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_model_of_a_refused_call_is_as_it_was(options, in_place):
    given = model().train()
    before, names = copy.deepcopy(given.state_dict()), [name for name, _ in given.named_modules()]
    with pytest.raises((TypeError, ValueError), match="but must be"):
        call(given, **{"parameters": "lora"} | options, in_place=in_place)
    assert given.training
    assert all(each.requires_grad for each in given.parameters())
    assert [name for name, _ in given.named_modules()] == names
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


def test_a_block_that_is_refused_was_not_learned():
    given = model()
    found = call(given, tokens=changed(30, 7), in_place=True)
    weights = copy.deepcopy(given.state_dict())
    with pytest.raises(ValueError, match="tokens is up to 7"):
        found.log_loss  # noqa: B018
    assert all(torch.equal(value, weights[name]) for name, value in given.state_dict().items())


def test_ends_of_what_is_allowed_are_allowed():
    """Whole numbers for numbers, counts of numpy, a block of one token, a block longer than the text."""
    one = call(context=np.int64(39), stride=np.int64(1), decay=1, reset_every=np.int64(1), reset_at=[0, np.int64(50)])
    assert len(one) == 1
    assert one.log_loss.shape == (1,)
    assert call(context=1, stride=1000, decay=0, rank=np.int64(1)).log_loss.shape == (39,)
    assert static(window(), tokens=TEXT[:2], context=1).log_loss.shape == (1,)
    assert torch.equal(call(tokens=TEXT.to(torch.uint8)).log_loss, call().log_loss)
    assert isinstance(learned_part(model(), "lora", np.int64(1))[0], nn.Parameter)
    assert LowRank(nn.Linear(2, 2), 5).down.shape == (5, 2)
    assert passages("plays", np.arange(2)) == passages("plays", (0, 1))
    assert encode("").shape == (0,)

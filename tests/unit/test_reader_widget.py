"""The live widget of a small language model that learns what it reads: what it carries, what it refuses, and that the browser
reads, learns and writes as torch does."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from agree import assert_agree

from companion.data.text import decode, encode, passages
from companion.foundations.language import WindowMLP
from companion.methods.dynamic_evaluation import evaluate_stream
from companion.teaching.widgets import live_reader
from companion.teaching.widgets.reader import LEARNING_RATES, STRIDES


def model_of(seed=0, symbols=97, **sizes):
    sizes = {"order": 8, "embedding": 6, "width": 20} | sizes
    return WindowMLP(symbols, **sizes, generator=torch.Generator().manual_seed(seed))


def text_of(style="code", length=1000):
    return passages(style, [0])[0][:length]


MODEL = model_of()
TEXTS = {"a play": text_of("plays"), "a manual": text_of("docs", 1500), "a program": text_of("code", 4000)}
ADAM, SGD = partial(torch.optim.Adam, lr=0.01), partial(torch.optim.SGD, lr=0.3)


def reader(model=MODEL, texts=TEXTS, **words):
    return live_reader(model, texts, **{"title": "t", "alt": "a", **words})


def in_doubles(model):
    """What the browser makes of the numbers that travel: float32, computed with in float64."""
    return copy.deepcopy(model).double()


def numbers_of(model):
    return torch.cat([each.detach().flatten() for each in model.parameters()]).double()


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_model_its_texts_and_its_settings():
    widget = reader(note="n", optimizer="SGD", lr=0.1, stride=4, own="my words")
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("reader", "t", "a", "n")
    assert torch.equal(torch.from_numpy(np.frombuffer(widget.weights, "<f4").copy()).double(), numbers_of(MODEL))
    assert widget.sizes == {"symbols": 97, "order": 8, "embedding": 6, "width": 20, "context": 8}
    assert (widget.names, widget.texts, widget.own) == (list(TEXTS), list(TEXTS.values()), "my words")
    assert widget.longest == 4000
    assert widget.optimizers[widget.optimizers_index] == "SGD"
    assert widget.lrs == list(LEARNING_RATES)
    assert widget.lrs[widget.lrs_index] == 0.1
    assert widget.strides == list(STRIDES)
    assert widget.strides[widget.strides_index] == 4


def test_it_begins_with_adam_and_strides_of_sixteen():
    widget = reader()
    chosen = (
        widget.optimizers[widget.optimizers_index],
        widget.lrs[widget.lrs_index],
        widget.strides[widget.strides_index],
    )
    assert chosen == ("Adam", 0.003, 16)
    assert widget.own == ""


def test_the_order_of_texts_is_kept_whatever_their_names_are():
    names = ["10", "9", "b", "a"]
    widget = reader(texts={name: text_of(length=1000 + place) for place, name in enumerate(names)})
    assert widget.names == names
    assert [len(text) for text in widget.texts] == [1000, 1001, 1002, 1003]


def test_the_context_may_be_another_than_the_model_looks_back():
    assert reader(context=3).sizes["context"] == 3
    assert reader(model_of(order=5)).sizes["context"] == 5


def test_a_model_in_double_precision_travels_in_single():
    widget = reader(in_doubles(MODEL))
    assert widget.weights == reader().weights


def test_the_widget_of_the_lesson_is_small():
    widget = reader(WindowMLP(97))
    assert len(widget.weights) < 81_000


# --- the alphabet -----------------------------------------------------------------------------------------------------


def test_the_browser_numbers_characters_as_torch_does(front):
    text = "".join(map(chr, range(300))) + "\u2028\n\t\r ~\x7f\N{GRINNING FACE}e\u0301\N{REPLACEMENT CHARACTER}z"
    got = front("return f.readerTokens(given.text);", text=text)
    assert got == encode(text).tolist()


def test_the_browser_writes_numbers_as_torch_does(front):
    assert front("return f.readerText(given.tokens);", tokens=list(range(97))) == decode(torch.arange(97))


# --- the browser reads and learns as torch does -----------------------------------------------------------------------

WORLD = """
const reader = f.makeReader(given.sizes, Float32Array.from(given.weights));
const text = f.startText(reader, f.readerTokens(given.text));
"""
READ = (
    WORLD
    + """
const run = f.startReading(text, given.settings), places = [];
while (run.done < text.count) {
  f.readToken(run);
  if (places.at(-1) !== run.done) places.push(run.done);
}
return { loss: run.loss, base: text.base, theta: run.theta, steps: run.steps, places, cost: f.readerCost(run) };
"""
)


def world(model, text, context=None):
    widget = reader(model, context=context)
    return {"sizes": widget.sizes, "weights": np.frombuffer(widget.weights, "<f4").tolist(), "text": text}


def optimizer_of(name, lr):
    return partial({"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}[name], lr=lr)


def assert_reads_alike(front, text, name, lr, stride, model=MODEL, context=None, tolerance=1e-8):
    settings = {"optimizer": name, "lr": lr, "stride": stride}
    got = front(READ, **world(model, text, context), settings=settings)
    tokens, exact = encode(text), in_doubles(model)
    context = model.order if context is None else context
    static = evaluate_stream(exact, tokens, context, stride)
    online = evaluate_stream(exact, tokens, context, stride, optimizer_of(name, lr))
    assert_agree(got["base"], static.log_loss, tolerance)
    assert_agree(got["loss"], online.log_loss, tolerance)
    assert_agree(got["theta"], numbers_of(online.model), tolerance)
    assert got["steps"] == len(online)
    ends = [min(len(tokens) - context, (block + 1) * stride) for block in range(len(online))]
    assert [place for place in got["places"] if place] == ends
    return got, static, online


@pytest.mark.parametrize("stride", [1, 4, 16, 64])
@pytest.mark.parametrize(("name", "lr"), [("Adam", 0.003), ("SGD", 0.1)])
def test_each_optimiser_learns_alike_at_each_stride(front, name, lr, stride):
    _, static, online = assert_reads_alike(front, text_of(length=700 if stride == 1 else 1000), name, lr, stride)
    assert online.log_loss[-300:].mean() < static.log_loss[-300:].mean() - 0.1, "something is learned"


@pytest.mark.parametrize(("name", "lr"), [("Adam", 0.03), ("SGD", 1.0)])
def test_a_harmful_rate_harms_alike(front, name, lr):
    """Rounding errors grow with the rate; over a few hundred characters they stay small."""
    got, *_ = assert_reads_alike(front, text_of(length=400), name, lr, 16, tolerance=1e-7)
    assert max(got["loss"]) > max(got["base"]) + 2


def test_a_text_with_unknown_characters_is_read_alike(front):
    text = "Caf\u00e9 \N{GRINNING FACE}\t\u4f60\u597d, na\u00efve. \x07" * 20
    assert (encode(text) == 0).any()
    assert_reads_alike(front, text, "Adam", 0.01, 16)


@pytest.mark.parametrize("length", [9, 10, 24, 25, 8 + 3 * 16 + 1])
def test_a_short_text_and_a_short_last_block_are_read_alike(front, length):
    got, *_ = assert_reads_alike(front, text_of(length=length), "Adam", 0.01, 16)
    assert got["steps"] == -(-(length - 8) // 16)


@pytest.mark.parametrize("context", [1, 3, 8, 20])
def test_before_the_context_there_are_zeros(front, context):
    """A context shorter than the model looks back leaves some of its inputs empty at the beginning of each block."""
    _, static, _ = assert_reads_alike(front, text_of(length=300), "SGD", 0.3, 5, context=context)
    usual = evaluate_stream(in_doubles(MODEL), encode(text_of(length=300)), 8, 5).log_loss
    same = torch.allclose(static.log_loss[-280:], usual[-280:], rtol=0, atol=1e-9)
    assert same == (context >= 8)


@pytest.mark.parametrize(("order", "embedding", "width"), [(1, 1, 1), (3, 5, 7), (10, 3, 33)])
def test_models_of_other_sizes_read_alike(front, order, embedding, width):
    model = model_of(2, order=order, embedding=embedding, width=width)
    assert_reads_alike(front, text_of(length=250), "Adam", 0.01, 8, model)


def test_a_trained_model_reads_alike(front):
    """Its chances are sharp and its neurons saturated, unlike those of a new one."""
    model, text = model_of(3), text_of("plays", 4000)
    stream = evaluate_stream(model, encode(text), 8, 32, partial(torch.optim.Adam, lr=0.01), in_place=True)
    assert stream.log_loss[-500:].mean() < 3
    model.requires_grad_(True)
    with torch.no_grad():
        model.hidden.weight *= 3
    for name, lr in (("Adam", 0.003), ("SGD", 0.1)):
        assert_reads_alike(front, text_of("folio", 600), name, lr, 16, model)


BEFORE = (
    WORLD
    + """
const [one, other] = given.texts.map((words) => {
  const own = f.startText(reader, f.readerTokens(words)), run = f.startReading(own, given.settings);
  while (run.done < own.count) f.readToken(run);
  return run.loss;
});
return { one, other };
"""
)


def test_a_block_is_scored_before_it_is_learned(front):
    """What stands in a block changes no loss up to its beginning, nor those of its own earlier characters."""
    text = text_of(length=200)
    changed = text[:120] + "@" * 10 + text[130:]
    given = world(MODEL, text)
    got = front(BEFORE, **given, texts=[text, changed], settings={"optimizer": "Adam", "lr": 0.01, "stride": 16})
    assert got["one"][: 120 - 8] == got["other"][: 120 - 8]
    assert got["one"][120 - 8] != got["other"][120 - 8]


SHARED = (
    WORLD
    + """
const first = f.startReading(text, { optimizer: "SGD", lr: 1, stride: 4 });
for (let k = 0; k < 50; k++) f.readToken(first);
const known = text.known, run = f.startReading(text, given.settings);
while (run.done < text.count) f.readToken(run);
return { known, base: text.base, loss: run.loss };
"""
)


def test_the_losses_without_learning_are_kept_while_a_text_is_learned_again_in_another_way(front):
    text = text_of(length=300)
    got = front(SHARED, **world(MODEL, text), settings={"optimizer": "Adam", "lr": 0.01, "stride": 16})
    assert got["known"] == 50
    tokens = encode(text)
    assert_agree(got["base"], evaluate_stream(in_doubles(MODEL), tokens, 8, 16).log_loss)
    assert_agree(got["loss"], evaluate_stream(in_doubles(MODEL), tokens, 8, 16, ADAM).log_loss)


@pytest.mark.parametrize("text", ["", "a", "12345678"])
def test_a_text_no_longer_than_the_context_has_nothing_to_score(front, text):
    assert front(WORLD + "return text.count;", **world(MODEL, text)) == 0


# --- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 7, 16, 64, 500])
@pytest.mark.parametrize("context", [8, 16])
def test_flops_are_counted_as_the_stream_counts_them(front, stride, context):
    text = text_of(length=300)
    settings = {"optimizer": "SGD", "lr": 0.1, "stride": stride}
    cost = front(READ, **world(MODEL, text, context), settings=settings)["cost"]
    tokens = encode(text)
    whole = evaluate_stream(MODEL, tokens, context, len(tokens) - context)
    static, online = (evaluate_stream(MODEL, tokens, context, stride, how) for how in (None, SGD))
    assert cost["all"] == pytest.approx(online.flops / whole.flops, rel=1e-12)
    assert cost["again"] == pytest.approx(static.flops / whole.flops, rel=1e-12)
    assert torch.equal(whole.log_loss, static.log_loss) or torch.allclose(whole.log_loss, static.log_loss, atol=1e-5)


# --- what it writes ---------------------------------------------------------------------------------------------------

WRITE = (
    WORLD + "return f.writeOn(reader, Float64Array.from(given.theta), text.tokens, given.count, f.normals(given.seed));"
)


def uniforms(seed):
    """Numbers of mulberry32."""
    state, most = seed, 2**32
    while True:
        state = (state + 0x6D2B79F5) % most
        z = (state ^ (state >> 15)) * (state | 1) % most
        z = ((z + (z ^ (z >> 7)) * (z | 61)) ^ z) % most
        yield (z ^ (z >> 14)) / most


def written(model, text, count, seed, context=8):
    tokens, draws = encode(text)[-context:], uniforms(seed)
    while len(tokens) < count + min(context, len(text)):
        with torch.no_grad():
            chances = model(tokens[None, -context:])[0, -1].softmax(0)
        above = (chances.cumsum(0) > next(draws)).nonzero()
        tokens = torch.cat([tokens, above[0]])
    return tokens[min(context, len(text)) :].tolist()


def adapted(model, text, stride, lr):
    """The model after it has learned a text."""
    stream = evaluate_stream(model, encode(text), 8, stride, partial(torch.optim.Adam, lr=lr))
    assert stream.log_loss.isfinite().all()
    assert not torch.equal(numbers_of(stream.model), numbers_of(model))
    return stream.model


@pytest.mark.parametrize(("text", "context"), [("To be, or not to be", 8), ("abc", 8), ("def f(x):\n", 4)])
def test_it_goes_on_by_its_own_chances(front, text, context):
    model = model_of(4)
    for each in (model, adapted(model, text_of(length=1000), 4, 0.03)):
        exact = in_doubles(each)
        got = front(WRITE, **world(model, text, context), theta=numbers_of(each), count=60, seed=3)
        assert got == written(exact, text, 60, 3, context)


def test_what_it_writes_follows_what_it_has_learned(front):
    text = "the cat sat on the mat. " * 30
    taught = adapted(MODEL, text, 4, 0.03)
    got = front(WRITE, **world(MODEL, text), theta=numbers_of(taught), count=48, seed=3)
    assert decode(torch.tensor(got)) == text[:48]
    untaught = front(WRITE, **world(MODEL, text), theta=numbers_of(MODEL), count=48, seed=3)
    assert len(set(untaught)) > 20


# --- what it refuses --------------------------------------------------------------------------------------------------


def with_nan():
    model = model_of()
    model.hidden.bias.data[3] = torch.nan
    return model


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"model": model_of(symbols=96)}, "model is of 96 symbols, but must be of 97, the alphabet of companion.data.text"),
        ({"model": model_of(width=300)}, "model is of .* numbers, but must be of at most 40000: a reader would wait"),
        ({"model": with_nan()}, "model is not finite in some place, but must be made of finite numbers"),
        ({"texts": dict(list(TEXTS.items())[:2])}, "texts is 2 of them, but must be 3 to 6"),
        ({"texts": {str(k): text_of() for k in range(7)}}, "texts is 7 of them, but must be 3 to 6"),
        ({"texts": TEXTS | {"b": text_of(length=999)}}, r"texts\['b'\] is 999 characters, but must be 1000 to 4000 characters"),
        ({"texts": TEXTS | {"b": text_of(length=4001)}}, r"texts\['b'\] is 4001 characters, but must be 1000 to 4000"),
        ({"texts": TEXTS | {"b": text_of() + "\t"}}, r"texts\['b'\] is with \['\\t'\], but must be printable ASCII and line"),
        ({"texts": TEXTS | {"b": "\N{REPLACEMENT CHARACTER}" * 1000}}, r"texts\['b'\] is with \['.'\], but must be printable"),
        ({"texts": TEXTS | {" ": text_of()}}, "each name of texts is ' ', but must be a text that says something"),
        ({"lr": 0.5}, r"lr is 0.5, but must be one of \(0.0003, "),
        ({"lrs": (0, 0.003)}, r"each of lrs is 0, but must be a number in \(0, 10\]"),
        ({"lrs": (0.003,)}, "lrs is 1 numbers, but must be 2 to 12 numbers"),
        ({"lrs": (0.01, 0.003)}, r"lrs is \(0.01, 0.003\), but must be numbers that rise"),
        ({"stride": 8}, r"stride is 8, but must be one of \(1, 4, 16, 64\)"),
        ({"strides": (0, 16)}, r"each of strides is 0, but must be a number in \[1, 256\]"),
        ({"strides": (16, 257)}, r"each of strides is 257, but must be a number in \[1, 256\]"),
        ({"strides": (16, 4)}, r"strides is \(16, 4\), but must be numbers that rise"),
        ({"context": 0}, "context is 0, but must be at least 1"),
        ({"context": 257}, "context is 257, but must be at most 256"),
        ({"own": "a" * 4001}, "own is 4001 characters, but must be at most 4000"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)  # fmt: skip
def test_it_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        reader(**words)


def test_anything_may_stand_where_a_reader_types():
    assert reader(own="\u4f60\u597d \N{GRINNING FACE}" + "a" * 3900).own.startswith("\u4f60")

"""The live widget of a coloured text: what it carries, what it refuses, and that the browser counts as torch does."""

import math
import re
from itertools import pairwise

import pytest
import torch
from agree import assert_agree, normal

from companion.teaching.widgets import live_reading
from companion.teaching.widgets.base import FRONT
from companion.teaching.widgets.reading import HIGHEST, SPAN, STEPS, mean_bits, quantise

TEXT = "To be, or not to be:\nthat is the question.\n\n    def be(self, other=None):\n        return not self\n" * 8
SIZE = len(TEXT)
LOSSES = {
    "static": normal(SIZE, seed=1).abs() * 3,
    "Adam 0.001": normal(SIZE, seed=2).abs() * 2,
    "Adam 0.0003": normal(SIZE, seed=3).abs() * 2.5,
}
LEVELS = quantise(torch.stack(list(LOSSES.values())))


def reading(text=TEXT, log_losses=LOSSES, **words):
    return live_reading(text, log_losses, **{"title": "t", "alt": "a", **words})


# --- what it carries --------------------------------------------------------------------------------------------------


def test_it_carries_its_text_its_losses_and_its_settings():
    marks = {300: "code", 0: "a play"}
    widget = reading(note="n", marks=marks, static="Adam 0.001", shown="Adam 0.0003", place=17)
    assert (widget.kind, widget.title, widget.alt, widget.note) == ("reading", "t", "a", "n")
    assert widget.text == TEXT
    assert widget.names == list(LOSSES)
    assert list(widget.losses) == LEVELS.flatten().tolist()
    assert (widget.static_index, widget.shown_index, widget.place) == (1, 2, 17)
    assert (widget.mark_places, widget.mark_names) == ([0, 300], ["a play", "code"]), "in their order"
    assert (widget.steps, widget.span) == (STEPS, SPAN) == (16, 400)


def test_above_is_the_first_reader_and_below_the_first_of_the_others_unless_they_are_named():
    widget = reading()
    assert (widget.static_index, widget.shown_index, widget.place) == (0, 1, 0)
    assert (widget.mark_places, widget.mark_names) == ([], [])
    assert reading(static="Adam 0.001").shown_index == 0


def test_the_largest_text_with_the_most_readers_stays_small():
    text = (TEXT * 25)[:16_000]
    losses = {f"reader {k}": torch.full((16_000,), 2.0) for k in range(8)}
    widget = reading(text, losses)
    assert len(widget.losses) + len(widget.text) == 9 * 16_000
    assert 4 * len(widget.losses) / 3 + len(widget.text) < 200_000, "in base64, as a page stores it"


def test_losses_on_any_dtype_travel_alike():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        losses = {name: each.bfloat16().to(dtype).requires_grad_() for name, each in LOSSES.items()}
        assert (
            reading(log_losses=losses).losses == reading(log_losses={n: e.bfloat16() for n, e in LOSSES.items()}).losses
        )


# --- the scale --------------------------------------------------------------------------------------------------------


def test_a_loss_is_off_by_at_most_half_a_step_up_to_the_end_of_the_scale():
    bits = torch.linspace(0, HIGHEST / STEPS, 4001, dtype=torch.float64)
    levels = quantise(bits * math.log(2))
    assert levels.dtype == torch.uint8
    assert ((levels.double() / STEPS - bits).abs() <= 0.5 / STEPS + 1e-12).all()
    assert levels[0] == 0
    assert levels[-1] == HIGHEST
    assert quantise(torch.tensor([16.0, 17.0, 1e6]) * math.log(2)).tolist() == [HIGHEST] * 3


def test_a_bit_is_a_halving_of_the_probability():
    log_loss = -torch.tensor([1.0, 0.5, 0.25, 1 / 256], dtype=torch.float64).log()
    assert quantise(log_loss).tolist() == [0, 16, 32, 128]


def test_the_mean_that_is_shown_is_that_of_the_losses_up_to_the_steps():
    losses = LOSSES["static"].clamp(max=11)  # none beyond the scale
    exact = losses.cumsum(0) / torch.arange(1, SIZE + 1) / math.log(2)
    torch.testing.assert_close(mean_bits(quantise(losses)), exact, rtol=0, atol=0.5 / STEPS)


@pytest.mark.parametrize("span", [None, 1, 7, 400, 10**6])
def test_a_mean_reaches_back_over_its_span_and_no_farther_than_the_text(span):
    found = mean_bits(LEVELS, span)
    for place in (0, 1, 6, 7, 8, 399, 400, 401, SIZE - 1):
        first = 0 if span is None else max(0, place + 1 - span)
        torch.testing.assert_close(found[:, place], LEVELS[:, first : place + 1].double().mean(1) / STEPS)


# --- the browser counts as torch does -----------------------------------------------------------------------------------

MEANS = """
const sums = f.sumLosses(Uint8Array.from(given.losses));
return given.spans.map((span) => given.losses.map((_, place) => f.meanBits(sums, given.steps, place, span ?? undefined)));
"""


def test_means_agree_at_every_place(front):
    spans = [None, 1, 7, 400]
    for levels in LEVELS:
        for span, got in zip(spans, front(MEANS, losses=levels, steps=STEPS, spans=spans)):
            assert_agree(got, mean_bits(levels, span))


def test_what_is_saved_is_a_share_of_what_the_static_reader_needs(front):
    got = front(
        "return given.pairs.map(([one, other]) => f.savedShare(one, other));", pairs=[[4, 3], [2, 3], [1, 1], [0, 1]]
    )
    assert got == [0.25, -0.5, 0, None]


def test_a_probability_is_told_from_the_bits_and_beyond_the_scale_as_a_bound(front):
    body = "return given.losses.map((loss) => f.chanceText(loss, given.steps));"
    losses = list(range(256))
    texts = [text.replace("\u202f", "") for text in front(body, losses=losses, steps=STEPS)]
    assert texts[0] == ">97%"
    assert texts[255] == "<0.002%"
    assert [texts[at] for at in (1, 16, 32, 128)] == ["96%", "50%", "25%", "0.39%"]
    for loss, text in zip(losses[1:-1], texts[1:-1]):
        assert float(text.removesuffix("%")) == pytest.approx(100 * 2 ** (-loss / STEPS), rel=0.05)
    assert quantise(-torch.tensor([0.975]).log()).item() > 0, "more than that is at the end of the scale"
    assert quantise(-torch.tensor([2.1e-5]).log()).item() < HIGHEST


# --- lines and pages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [8, 19, 20, 21, 22, 40, 200])
def test_every_character_stands_in_one_line_that_is_short_enough(front, columns):
    text = TEXT + "x" * 95 + " " + "y" * 30 + "\n" + " " * 50 + "z"
    starts = front("return f.wrapLines(given.text, given.columns);", text=text, columns=columns)
    lines = [text[start:end] for start, end in pairwise(starts)]
    assert "".join(lines) == text
    assert all(0 < len(line) <= columns for line in lines)
    assert all("\n" not in line.rstrip("\n") for line in lines), "a line break ends its line"


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("to be or not", 8, ["to be ", "or not"]),
        ("to be or not", 6, ["to be ", "or not"]),
        ("to be or", 5, ["to ", "be or"]),
        ("be or\nnot", 6, ["be or\n", "not"]),
        ("be or\nnot", 5, ["be ", "or\n", "not"]),
        ("\n\na", 5, ["\n\n", "a"]),
        ("a\n\n\nb\n\n", 3, ["a\n\n", "\n", "b\n\n"]),
        ("a\n \nb", 5, ["a\n", " \n", "b"]),
        ("    indented", 8, ["    inde", "nted"]),
        ("  two words", 8, ["  two ", "words"]),
        ("incomprehensible", 8, ["incompre", "hensible"]),
        ("a b\n", 9, ["a b\n"]),
    ],
)
def test_a_line_ends_after_a_space_or_where_it_is_full(front, text, columns, lines):
    starts = front("return f.wrapLines(given.text, given.columns);", text=text, columns=columns)
    assert [text[start:end] for start, end in pairwise(starts)] == lines


def test_the_line_of_a_place_is_the_one_that_holds_it(front):
    body = """
    const starts = f.wrapLines(given.text, 30);
    return { starts, lines: Array.from(given.text, (_, place) => f.lineOf(starts, place)) };
    """
    got = front(body, text=TEXT)
    starts = got["starts"]
    assert got["lines"] == [max(k for k, start in enumerate(starts) if start <= place) for place in range(SIZE)]


@pytest.mark.parametrize(("lines", "rows", "kept"), [(100, 7, 2), (9, 7, 2), (7, 7, 2), (3, 7, 2), (50, 8, 3)])
def test_a_page_holds_its_line_and_begins_with_the_end_of_the_page_before(front, lines, rows, kept):
    body = (
        "return Array.from({ length: given.lines }, (_, line) => f.pageTop(line, given.lines, given.rows, given.kept));"
    )
    tops = front(body, lines=lines, rows=rows, kept=kept)
    assert tops == sorted(tops)
    for line, top in enumerate(tops):
        assert top <= line < top + rows
        assert 0 <= top <= max(0, lines - rows)
        assert line - top >= kept or top == 0, "something of before can be seen"
    turns = [after - before for before, after in pairwise(tops) if after != before]
    assert all(turn == rows - kept for turn in turns[:-1])
    assert len(turns) == math.ceil(max(0, lines - rows) / (rows - kept))


# --- colours --------------------------------------------------------------------------------------------------------------


def theme(name):
    """The ink, and the colours of losses, of a theme."""
    style = (FRONT / "style.css").read_text()
    own = (FRONT / "dynamic_evaluation.css").read_text()
    dark = name == "dark"
    inks = re.findall(r"--lim-ink: (#\w{6})", style)
    stops = re.findall(r"--lim-surprise-\d: (#\w{6})", own)
    assert len(inks) == 2
    assert len(stops) == 10
    return inks[dark], stops[5 * dark : 5 * dark + 5]


def luminance(colour):
    linear = torch.tensor(colour, dtype=torch.float64) / 255
    linear = torch.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    return (linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)).item()


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def rgb(text):
    hexes = [int(text[at : at + 2], 16) for at in (1, 3, 5)] if text.startswith("#") else []
    return hexes or [int(part) for part in re.findall(r"\d+", text)]


PALETTE = "return f.surpriseColours(given.stops, given.ink, given.last);"


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_can_be_read_on_the_colour_of_every_loss(front, name):
    ink, stops = theme(name)
    got = front(PALETTE, stops=stops, ink=ink, last=128)
    assert len(got["fills"]) == len(got["texts"]) == 129
    for fill, text in zip(got["fills"], got["texts"]):
        assert contrast(rgb(fill), rgb(text)) >= 4.5
    assert got["texts"][0] == ink
    soft = re.findall(r"--lim-soft: (#\w{6})", (FRONT / "style.css").read_text())[name == "dark"]
    assert contrast(rgb(got["fills"][0]), rgb(soft)) >= 4.5, "what has not been read yet"


@pytest.mark.parametrize("name", ["light", "dark"])
def test_colours_go_from_one_end_to_the_other_and_never_back(front, name):
    ink, stops = theme(name)
    fills = [rgb(fill) for fill in front(PALETTE, stops=stops, ink=ink, last=128)["fills"]]
    assert [fills[at] for at in (0, 32, 64, 96, 128)] == [rgb(stop) for stop in stops]
    steps = torch.tensor([luminance(fill) for fill in fills], dtype=torch.float64).diff()
    assert ((steps < 0) if name == "light" else (steps > 0)).double().mean() > 0.95
    assert ((steps <= 1e-3) if name == "light" else (steps >= -1e-3)).all()


def test_any_colour_has_an_ink(front):
    greys = [f"#{level:02x}{level:02x}{level:02x}" for level in range(256)]
    body = "return given.greys.map((grey) => f.surpriseColours([grey, grey], '#262626', 1).texts[0]);"
    for grey, text in zip(greys, front(body, greys=greys)):
        assert contrast(rgb(grey), rgb(text)) >= 4.5
    body = "return given.pairs.map(([one, other]) => f.contrastOf(one, other));"
    pairs = [[[0, 0, 0], [255, 255, 255]], [[118, 118, 118], [255, 255, 255]], [[9, 10, 11], [12, 200, 40]]]
    assert front(body, pairs=pairs) == pytest.approx([contrast(*pair) for pair in pairs], abs=1e-9)


# --- what it refuses --------------------------------------------------------------------------------------------------


def changed(name, loss):
    return {"log_losses": LOSSES | {name: loss}}


def somewhere(value):
    loss = LOSSES["static"].clone()
    loss[5] = value
    return loss


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"text": "a"}, "text is 1 characters, but must be 2 to 16000 characters"),
        ({"text": "a" * 16_001}, "text is 16001 characters, but must be 2 to 16000 characters"),
        ({"text": "naïve " + TEXT}, r"text is with '\\xef' at place 2, but must be of printable ASCII and line breaks"),
        ({"text": "a\tb" + TEXT}, r"text is with '\\t' at place 1, but must be"),
        ({"text": TEXT + "\x7f"}, r"text is with '\\x7f' at place"),
        ({"text": TEXT[:-1]}, rf"log_losses\['static'\] is of shape \({SIZE},\), but must be of shape \({SIZE - 1},\), one"),
        ({"log_losses": {"a": LOSSES["static"]}}, "log_losses is 1 readers, but must be 2 to 8 readers"),
        ({"log_losses": {str(k): LOSSES["static"] for k in range(9)}}, "log_losses is 9 readers, but must be 2 to 8 readers"),
        (changed("", LOSSES["static"]), "each name of log_losses is '', but must be a text of 1 to 28 characters"),
        (changed("n" * 29, LOSSES["static"]), "each name of log_losses is 'n+', but must be a text of 1 to 28"),
        (changed("static", LOSSES["static"][None]), rf"log_losses\['static'\] is of shape \(1, {SIZE}\), but must be"),
        (changed("static", somewhere(-0.1)), r"log_losses\['static'\] is negative or not finite in some place, but must be"),
        (changed("static", somewhere(math.nan)), r"log_losses\['static'\] is negative or not finite in some place"),
        (changed("static", somewhere(math.inf)), r"log_losses\['static'\] is negative or not finite in some place"),
        ({"static": "Static"}, "static is 'Static', but must be 'static' or 'Adam 0.001' or 'Adam 0.0003'"),
        ({"shown": "static"}, "shown is 'static', but must be another reader than static: 'Adam 0.001' or 'Adam 0.0003'"),
        ({"shown": "SGD"}, "shown is 'SGD', but must be another reader than static"),
        ({"place": -1}, "place is -1, but must be at least 0"),
        ({"place": SIZE}, f"place is {SIZE}, but must be at most {SIZE - 1}, the last of the text"),
        ({"marks": {-1: "a"}}, "each place of marks is -1, but must be at least 0"),
        ({"marks": {SIZE: "a"}}, f"each place of marks is {SIZE}, but must be at most {SIZE - 1}"),
        ({"marks": {0: " "}}, "each name of marks is ' ', but must be a text of 1 to 28 characters"),
        ({"marks": dict.fromkeys(range(9), "a")}, "marks is 9 places, but must be at most 8 places"),
        ({"title": ""}, "title is empty"),
        ({"alt": " "}, "alt is empty"),
    ],
)  # fmt: skip
def test_the_widget_refuses_what_it_cannot_show(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        reading(**words)


def test_means_need_a_span_and_the_scale_refuses_what_is_no_loss():
    with pytest.raises(ValueError, match="span is 0, but must be at least 1"):
        mean_bits(LEVELS, 0)
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="log_loss is negative or not finite in some place, but must be nats"):
            quantise(torch.tensor([1.0, value]))

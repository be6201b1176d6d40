"""The live widget of a text that is coloured by how well two readers predicted it, one that learns and one that does not."""

import math
from collections.abc import Mapping

import torch
import traitlets
from jaxtyping import Float, UInt8
from torch import Tensor

from companion.foundations.validation import require, require_count, require_floating
from companion.teaching.widgets.base import Widget, require_label, require_words

MOST_CHARACTERS, MOST_READERS, MOST_MARKS, LONGEST_NAME = 16_000, 8, 8, 28  # beyond, there is no room
STEPS = 16  # of the scale in which losses travel, to a bit
HIGHEST = 255  # step of that scale
SPAN = 400  # characters that the curve averages over
PRINTABLE = {"\n", *map(chr, range(32, 127))}


class LiveReading(Widget):
    """The widget that `live_reading` makes."""

    text = traitlets.Unicode().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    losses = traitlets.Bytes().tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    span = traitlets.Int().tag(sync=True)
    static_index = traitlets.Int().tag(sync=True)
    shown_index = traitlets.Int().tag(sync=True)
    mark_places = traitlets.List(traitlets.Int()).tag(sync=True)
    mark_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    place = traitlets.Int().tag(sync=True)


def live_reading(
    text: str,
    log_losses: Mapping[str, Tensor],
    *,
    title: str,
    alt: str,
    note: str = "",
    marks: Mapping[int, str] | None = None,
    static: str | None = None,
    shown: str | None = None,
    place: int = 0,
) -> LiveReading:
    """A text as two readers saw it, each character on a colour that says how many bits it cost: scrub through it, or let it be read.

    Above is the static reader, below one that can be chosen. A curve over the whole text shows the mean of the last 400
    characters, and below it stand the bits per character so far and the probability of the character at the place on show.
    Losses travel in steps of 1/16 bit, to the nearest and up to 255/16 = 15.9 bits, and every number on show is computed from
    what travels: a character is off by 1/32 bit at most, if it cost no more than that. `quantise` and `mean_bits` are what the
    browser shows.

    Args:
        text: 2 to 16,000 characters, printable ASCII and line breaks.
        log_losses: nats of each character by 2 to 8 readers, (characters,) each, by their names of at most 28 characters.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        marks: places where the text changes its author, counted from 0, with a name for what begins there; at most 8.
        static: the reader of the upper panel; the first when None.
        shown: the reader of the lower panel at the start; the first of the others when None.
        place: last character that has been read, at the start, counted from 0.

    Raises:
        TypeError: a text, mapping, name or place that is none, a loss that is no floating tensor, or a title or alt that is no
            text.
        ValueError: other characters, shapes that do not fit, losses that are negative or not finite, too many or too few of
            something, an unknown name, a place outside the text, or an empty title or alt.
    """
    require_words(title, alt)
    _require_text(text)
    names, levels = _require_readers(log_losses, len(text))
    static = names[0] if static is None else static
    known = " or ".join(map(repr, names))
    require(static in names, "static", repr(static), known)
    others = [name for name in names if name != static]
    shown = others[0] if shown is None else shown
    require(shown in others, "shown", repr(shown), f"another reader than static: {' or '.join(map(repr, others))}")
    require_count("place", place, 0)
    require(place < len(text), "place", place, f"at most {len(text) - 1}, the last of the text")
    marks = _require_marks(marks, len(text))
    return LiveReading(
        kind="reading", title=title, alt=alt, note=note, text=text, names=names, losses=levels.numpy().tobytes(), steps=STEPS, span=SPAN,
        static_index=names.index(static), shown_index=names.index(shown), mark_places=list(marks),
        mark_names=list(marks.values()), place=int(place),
    )  # fmt: skip


def quantise(log_loss: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Nats in steps of 1/16 bit, to the nearest, from 0 to 255.

    Raises:
        TypeError, ValueError: no floating tensor, or losses that are negative or not finite.
    """
    _require_nats("log_loss", log_loss)
    bits = log_loss.detach().to("cpu", torch.float64) / math.log(2)
    return (STEPS * bits).round().clamp(max=HIGHEST).to(torch.uint8)


def mean_bits(levels: UInt8[Tensor, "*rows s"], span: int | None = None) -> Float[Tensor, "*rows s"]:
    """Mean bits over the characters up to each one, itself included: over all of them, or the last `span`.

    Args:
        levels: losses as `quantise` gives them.
        span: characters of the mean, fewer where the text begins; None for all so far.

    Raises:
        TypeError, ValueError: levels of another type, or a span below 1.
    """
    came = f"a tensor of {levels.dtype}" if isinstance(levels, Tensor) else f"a {type(levels).__name__}"
    require(isinstance(levels, Tensor) and levels.dtype == torch.uint8, "levels", came, "of torch.uint8", TypeError)
    span = levels.shape[-1] if span is None else span
    require_count("span", span, 1)
    return running_mean(levels.double(), span) / STEPS


def running_mean(values: Float[Tensor, "*rows s"], window: int) -> Float[Tensor, "*rows s"]:
    """The mean of the last `window` values up to each one, itself included; of fewer at the beginning."""
    sums = torch.nn.functional.pad(values.cumsum(-1), (1, 0))
    ends = torch.arange(1, values.shape[-1] + 1, device=values.device)
    starts = (ends - window).clamp(min=0)
    return (sums[..., ends] - sums[..., starts]) / (ends - starts)


def _require_nats(argument: str, log_loss: object) -> None:
    require_floating(argument, log_loss)
    fine = bool(log_loss.isfinite().all()) and bool((log_loss >= 0).all())
    require(fine, argument, "negative or not finite in some place", "nats, finite numbers of at least 0")


def _require_text(text: object) -> None:
    require(isinstance(text, str), "text", f"a {type(text).__name__}", "a string", TypeError)
    length = f"{len(text)} characters"
    require(2 <= len(text) <= MOST_CHARACTERS, "text", length, f"2 to {MOST_CHARACTERS} characters")
    other = next(((each, at) for at, each in enumerate(text) if each not in PRINTABLE), None)
    if other:
        came = f"with {other[0]!a} at place {other[1]}"
        require(False, "text", came, "of printable ASCII and line breaks")


def _require_readers(log_losses: object, length: int) -> tuple[list[str], UInt8[Tensor, "readers s"]]:
    """Their names, and what they lost; raise unless both can be shown."""
    came = f"a {type(log_losses).__name__}"
    require(isinstance(log_losses, Mapping), "log_losses", came, "a mapping from names to tensors", TypeError)
    readers = f"{len(log_losses)} readers"
    require(2 <= len(log_losses) <= MOST_READERS, "log_losses", readers, f"2 to {MOST_READERS} readers")
    levels = []
    for name, log_loss in log_losses.items():
        require_label("each name of log_losses", name, LONGEST_NAME)
        argument = f"log_losses[{name!r}]"
        _require_nats(argument, log_loss)
        wanted = f"of shape ({length},), one for each character"
        require(log_loss.shape == (length,), argument, f"of shape {tuple(log_loss.shape)}", wanted)
        levels.append(quantise(log_loss))
    return list(log_losses), torch.stack(levels)


def _require_marks(marks: object, length: int) -> dict[int, str]:
    """Those places in their order; raise unless all lie in the text."""
    if marks is None:
        return {}
    came = f"a {type(marks).__name__}"
    require(isinstance(marks, Mapping), "marks", came, "None or a mapping from places to names", TypeError)
    require(len(marks) <= MOST_MARKS, "marks", f"{len(marks)} places", f"at most {MOST_MARKS} places")
    for at, name in marks.items():
        require_count("each place of marks", at, 0)
        require(at < length, "each place of marks", at, f"at most {length - 1}, the last of the text")
        require_label("each name of marks", name, LONGEST_NAME)
    return {int(at): marks[at] for at in sorted(marks)}

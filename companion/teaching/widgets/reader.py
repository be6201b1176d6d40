"""The live widget of a small language model that reads a text, and learns it as it reads, in the browser."""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.data.text import ALPHABET, SYMBOLS
from companion.foundations.language import WindowMLP
from companion.foundations.validation import Number, require, require_count
from companion.teaching.widgets.base import Widget, float_bytes, require_choices, require_rising, require_words

Optimizer: TypeAlias = Literal["Adam", "SGD"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
LEARNING_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # up to harmful for either optimiser
STRIDES = (1, 4, 16, 64)
FEWEST_TEXTS, MOST_TEXTS = 3, 6
SHORTEST, LONGEST = 1_000, 4_000  # characters of a text
MOST_NUMBERS, MOST_CHOICES, MOST_STRIDE = 40_000, 12, 256  # beyond, a reader would wait, or could not tell them apart


class LiveReader(Widget):
    """The widget that `live_reader` makes."""

    weights = traitlets.Bytes().tag(sync=True)
    sizes = traitlets.Dict().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    own = traitlets.Unicode().tag(sync=True)
    longest = traitlets.Int().tag(sync=True)
    optimizers = traitlets.List(traitlets.Unicode()).tag(sync=True)
    optimizers_index = traitlets.Int().tag(sync=True)
    lrs = traitlets.List(traitlets.Float()).tag(sync=True)
    lrs_index = traitlets.Int().tag(sync=True)
    strides = traitlets.List(traitlets.Int()).tag(sync=True)
    strides_index = traitlets.Int().tag(sync=True)


def live_reader(
    model: WindowMLP,
    texts: Mapping[str, str],
    *,
    title: str,
    alt: str,
    note: str = "",
    optimizer: Optimizer = "Adam",
    lr: Number = 0.003,
    lrs: tuple[Number, ...] = LEARNING_RATES,
    stride: int = 16,
    strides: tuple[int, ...] = STRIDES,
    context: int | None = None,
    own: str = "",
) -> LiveReader:
    """A small language model reads a text that the reader chooses or types, once as it is and once learning, in the browser.

    What is computed is `evaluate_stream`, in double precision: each block is scored, then learned in one step. Shown are the
    log-loss of both in bits per character along the text, coloured between them by who is ahead, their means so far, the
    gain, gradient steps and FLOPs, and how each of the two would go on writing.

    Args:
        model: of the alphabet of `companion.data.text`. Its numbers are taken in single precision.
        texts: three to six by name, of 1,000 to 4,000 characters in that alphabet. The first is read at the start.
        title, alt, note: above the picture; what to look for, for who cannot see it; below the picture.
        optimizer: at the start, "Adam" or "SGD", with torch's settings.
        lr: learning rate at the start, one of `lrs`.
        lrs: of the slider, for both optimisers.
        stride: characters of a block at the start, one of `strides`.
        strides: of the slider.
        context: characters before a block that are read with it; None for as many as the model looks back.
        own: what stands at first where a reader may type a text, at most 4,000 characters; any will do, and those outside
            the alphabet are one symbol.

    Raises:
        TypeError: a model of another type, texts that are none, a number that is none, or a title or alt that is no text.
        ValueError: too many or too few of something, a text that is too short, too long or outside the alphabet, a choice
            that is not offered, numbers that are not finite, or an empty title or alt.
    """
    require_words(title, alt)
    weights = _require_model(model)
    _require_texts(texts)
    require(optimizer in OPTIMIZERS, "optimizer", repr(optimizer), " or ".join(map(repr, OPTIMIZERS)))
    require_choices("lr", lr, lrs, "(0, 10]", MOST_CHOICES)
    require_rising("lrs", lrs)
    require_choices("stride", stride, strides, f"[1, {MOST_STRIDE}]", MOST_CHOICES)
    for each in strides:
        require_count("each of strides", each, 1)
    require_rising("strides", strides)
    if context is not None:
        require_count("context", context, 1)
        require(context <= MOST_STRIDE, "context", context, f"at most {MOST_STRIDE}")
    require(isinstance(own, str), "own", f"a {type(own).__name__}", "a text", TypeError)
    require(len(own) <= LONGEST, "own", f"{len(own)} characters", f"at most {LONGEST}")
    symbols, embedding = model.embed.weight.shape
    sizes = {
        "symbols": symbols, "order": model.order, "embedding": embedding, "width": model.hidden.out_features,
        "context": model.order if context is None else context,
    }  # fmt: skip
    return LiveReader(
        kind="reader", title=title, alt=alt, note=note, weights=float_bytes(weights), sizes=sizes,
        names=list(texts), texts=list(texts.values()), own=own, longest=LONGEST,
        optimizers=list(OPTIMIZERS), optimizers_index=OPTIMIZERS.index(optimizer),
        lrs=[float(choice) for choice in lrs], lrs_index=lrs.index(lr),
        strides=list(strides), strides_index=strides.index(stride),
    )  # fmt: skip


def _require_model(model: object) -> Float[Tensor, " P"]:
    """The model's numbers in one row; raise unless it is a small reader of the alphabet."""
    require(isinstance(model, WindowMLP), "model", f"a {type(model).__name__}", "a WindowMLP", TypeError)
    symbols = model.head.out_features
    require(symbols == SYMBOLS, "model", f"of {symbols} symbols", f"of {SYMBOLS}, the alphabet of companion.data.text")
    numbers = torch.cat([each.detach().flatten() for each in model.parameters()]).float()
    allowed = f"of at most {MOST_NUMBERS}: a reader would wait"
    require(len(numbers) <= MOST_NUMBERS, "model", f"of {len(numbers)} numbers", allowed)
    require(bool(numbers.isfinite().all()), "model", "not finite in some place", "made of finite numbers")
    return numbers


def _require_texts(texts: object) -> None:
    """Raise unless these are a few named texts of the alphabet, neither short nor long."""
    came = f"a {type(texts).__name__}"
    require(isinstance(texts, Mapping), "texts", came, "a dictionary of texts by name", TypeError)
    few = FEWEST_TEXTS <= len(texts) <= MOST_TEXTS
    require(few, "texts", f"{len(texts)} of them", f"{FEWEST_TEXTS} to {MOST_TEXTS}")
    for name, text in texts.items():
        require(isinstance(name, str), "each name of texts", f"a {type(name).__name__}", "a text", TypeError)
        require(bool(name.strip()), "each name of texts", repr(name), "a text that says something")
        argument = f"texts[{name!r}]"
        require(isinstance(text, str), argument, f"a {type(text).__name__}", "a text", TypeError)
        fits = SHORTEST <= len(text) <= LONGEST
        require(fits, argument, f"{len(text)} characters", f"{SHORTEST} to {LONGEST} characters")
        strange = sorted(set(text) - set(ALPHABET[1:]))
        require(not strange, argument, f"with {strange[:1]}", "printable ASCII and line breaks")

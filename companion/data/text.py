"""Text in five styles, character by character, from files that came with the package.

>>> [piece] = passages("folio", [0])
>>> print(piece.splitlines()[1].strip())
Ham. I am very glad to see you: good euen Sir.
>>> tokens = encode(piece)
>>> tokens.shape, decode(tokens) == piece
(torch.Size([16000]), True)
"""

import lzma
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from companion.foundations.validation import require, require_count, require_labels

__all__ = ["SYMBOLS", "Style", "decode", "encode", "learned", "passages"]

FILES = Path(__file__).parent / "files"
Style = Literal["plays", "folio", "bible", "docs", "code"]
STYLES: tuple[Style, ...] = get_args(Style)
PASSAGES = 7

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
ALPHABET = UNKNOWN + "\n" + "".join(map(chr, range(32, 127)))
SYMBOLS = len(ALPHABET)  # 97: printable ASCII, the line break, and one for everything else
NUMBERS = {letter: number for number, letter in enumerate(ALPHABET)}


def encode(text: str) -> Int[Tensor, " t"]:
    """The number of each character, from 0 to 96; what is outside printable ASCII and line breaks is 0.

    Raises:
        TypeError: `text` is no string.
    """
    require(isinstance(text, str), "text", f"a {type(text).__name__}", "a string", TypeError)
    return torch.tensor([NUMBERS.get(letter, 0) for letter in text], dtype=torch.long)


def decode(tokens: Int[Tensor, " t"]) -> str:
    """The text of a row of numbers.

    Raises:
        TypeError, ValueError: not one row of whole numbers from 0 to 96.
    """
    require_labels("tokens", tokens, classes=SYMBOLS)
    return "".join(ALPHABET[number] for number in tokens.tolist())


def learned() -> str:
    """24 plays by Shakespeare in modern spelling, 3.1 million characters: what the lesson's models were trained on."""
    return "\n\n".join(_pieces("learned"))


def passages(style: Style, numbers: Sequence[int] = range(PASSAGES)) -> list[str]:
    """Passages of 16,000 characters in one style, none of them from what was learned.

    Args:
        style: "plays": seven other plays by Shakespeare, in modern spelling. "folio": the same seven plays as the First
            Folio of 1623 spells them. "bible": seven books of the King James Bible. "docs": Python's documentation, which
            repeats itself: passages 2 and 3 share two fifths of their text, 0 and 4 three tenths.
            "code": seven modules of Python's standard library.
        numbers: which of the seven.

    Raises:
        TypeError, ValueError: another style, or a number outside 0 to 6.
    """
    require(style in STYLES, "style", repr(style), f"one of {', '.join(STYLES)}")
    for number in numbers:
        require_count("numbers", number, 0)
        require(number < PASSAGES, "numbers", number, f"from 0 to {PASSAGES - 1}")
    pieces = _pieces(style)
    return [pieces[number] for number in numbers]


@cache
def _pieces(name: str) -> list[str]:
    return lzma.decompress((FILES / f"text_{name}.txt.xz").read_bytes()).decode("ascii").split("\f")

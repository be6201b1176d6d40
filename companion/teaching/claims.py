"""A claim is a sentence that a cell can fail on.

>>> claim("one and one make two", 1 + 1 == 2, 2)
✓ one and one make two [2]
"""

from collections.abc import Mapping
from numbers import Real

from companion.foundations.validation import require


class ClaimFailed(AssertionError):
    """A claim that is not true in this run."""


def claim(text: str, ok: object, value: object = None) -> None:
    """Print one line; raise when it is false.

    Args:
        text: the sentence, the same in every run.
        ok: its verdict; a tensor of one element will do.
        value: a number, or a mapping of names to numbers, printed to three digits.

    Raises:
        ClaimFailed: `ok` is false.
        ValueError: an empty text.
    """
    require(bool(text.strip()), "text", repr(text), "a sentence")
    shown = "" if value is None else f" [{_digits(value)}]"
    if not bool(ok):
        raise ClaimFailed(f"✗ {text}{shown}")
    print(f"✓ {text}{shown}")


def _digits(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_digits(part)}" for name, part in value.items())
    if hasattr(value, "item"):
        value = value.item()
    return f"{value:.3g}" if isinstance(value, Real) else str(value)

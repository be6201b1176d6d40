"""Results that take too long for a lesson, stored small beside the hash of the code that made them.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> path = store("squares", {"squares": [1, 4, 9]}, ["companion.teaching.results"], "python squares.py", folder)
>>> load("squares", folder)
{'squares': [1, 4, 9]}
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from companion.foundations.validation import Number, require
from companion.teaching.provenance import module_name, source_hash
from companion.teaching.writing import write_whole

FILES = Path(__file__).parent / "files"


class StaleResult(Exception):
    """A stored result whose code has changed since."""


def store(name: str, data: Any, sources: Iterable[ModuleType | str], command: str, folder: Path = FILES) -> Path:
    """Write `data` as `name`.json: no date in it, so the same data give the same file.

    Args:
        name: of the result.
        data: of JSON types; floats keep six significant digits.
        sources: the modules whose code shapes the data.
        command: what makes the file again.
        folder: where results lie.

    Raises:
        ValueError: a number is not finite.
    """
    modules = sorted(module_name(source) for source in sources)
    content = {
        "command": command,
        "sources": modules,
        "source_hash": source_hash(*modules),
        "data": _rounded(data, name),
    }
    path = folder / f"{name}.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")
    return path


def load(name: str, folder: Path = FILES) -> Any:
    """The data of a stored result.

    Raises:
        FileNotFoundError: there is no such result.
        StaleResult: the code that made it has changed; the message names the command that makes it again.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"There is no stored result {name!r}.")
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["source_hash"] != source_hash(*content["sources"]):
        raise StaleResult(f"The stored result {name!r} is stale: its code has changed, so run `{content['command']}`.")
    return content["data"]


def _rounded(data: Any, name: str) -> Any:
    if isinstance(data, dict):
        return {str(key): _rounded(value, f"{name}.{key}") for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_rounded(value, name) for value in data]
    if isinstance(data, float):
        require(math.isfinite(data), name, data, "a finite number")
        return float(f"{data:.6g}")
    return data


def spread(numbers: Sequence[Number], digits: int = 2, scale: Number = 1) -> str:
    """What tables show of several seeds: their median and half of their range, times `scale`; no line ends in between.

    >>> spread([0.5, 0.25, 0.75], 0, scale=100)
    '50\xa0±\xa025'
    """
    middle, half = scale * median(numbers), scale * (max(numbers) - min(numbers)) / 2
    return f"{middle:.{digits}f}\u00a0±\u00a0{half:.{digits}f}"


def percent(shares: Sequence[Number], digits: int = 1) -> str:
    """`spread` of shares from 0 to 1, in per cent."""
    return spread(shares, digits, scale=100)

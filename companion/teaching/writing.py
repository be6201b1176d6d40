"""Files that are there whole or not at all: whoever is stopped while writing one leaves the old one, or none.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "results" / "squares.txt"
>>> write_whole(path, "1, 4, 9")
>>> path.read_text(), [each.name for each in path.parent.iterdir()]
('1, 4, 9', ['squares.txt'])
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file: it takes the place of `path` in one step, once the block has ended well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.partial")  # two processes may be at it
    yield unfinished
    os.replace(unfinished, path)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or a text in UTF-8."""
    with whole(path) as unfinished:
        unfinished.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)

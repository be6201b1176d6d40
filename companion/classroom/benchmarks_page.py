"""The benchmarks as a page of the book: the tables that `make bench` stored, with a word where we are behind."""

import re
from pathlib import Path

from companion.classroom.sync import ROOT

RESULTS = Path("tests") / "benchmarks" / "results.md"
GPU = Path("tests") / "benchmarks" / "gpu.md"
COLUMNS = ["what", "ours", "peer", "peer's", "ratio", "wanted", "repeat with"]
SHOWN = ["what, KEY", "ratio", "ours", "peer's", "peer", "wanted"]  # on a phone the first two are in sight
BEHIND, ABOVE, UNKNOWN = "behind", "above what is wanted", "not measured"

INTRODUCTION = """How fast and how small our code is, beside packages that do the same, and beside the limits that this project sets
itself. A row of ours that loses stays in the table: a ratio above 1 has the word *behind* next to it, and one that misses what we
wanted of it the words *above what is wanted*. Not all that is behind is a fault: some rows say what more work costs, such as a
step that learns over one that does not. What could not be measured says so.

{counts}

On another machine the times differ, and the ratios differ less. In the repository `make bench` installs the packages that we
are compared with and measures all rows, which takes long. After that `.venv/bin/python tests/benchmarks/run.py KEY` measures one
row and stores nothing; its KEY ends the first cell."""


def page(root: Path = ROOT) -> str:
    """The page: what the tables mean, then the tables, then those of a GPU if there are any.

    Raises:
        ValueError: a row of `results.md` has another number of cells.
    """
    lines, verdicts = [], []
    for line in (root / RESULTS).read_text(encoding="utf-8").splitlines()[1:]:
        cells = split(line) if line.startswith("| ") else []
        if line.startswith("## "):  # a short heading, and what its section is about
            heading, _, about = line.partition(": ")
            lines += [heading, "", f"{about[:1].upper()}{about[1:]}."] if about else [heading]
        elif not cells:
            lines.append(line)
        elif set(cells) == {"---"}:
            lines.append(joined(["---"] * len(SHOWN)))
        elif len(cells) != len(COLUMNS):
            raise ValueError(f"A row of {RESULTS} has {len(cells)} cells, but must have {', '.join(COLUMNS)}: {line}")
        elif cells == COLUMNS:
            lines.append(joined(SHOWN))
        else:
            what, ours, peer, theirs, ratio, wanted, command = cells
            verdicts.append(verdict(ours, ratio.strip("*"), wanted))
            key = command.strip("`").split()[-1]
            lines.append(joined([f"{what} `{key}`", f"{ratio} {verdicts[-1]}".strip(), ours, theirs, peer, wanted]))
    text = "\n".join(["# Benchmarks", "", INTRODUCTION.format(counts=counted(verdicts)), *lines, ""])
    if (root / GPU).exists():
        text += "\n## On a GPU\n\n" + below((root / GPU).read_text(encoding="utf-8")) + "\n"
    return text


def split(row: str) -> list[str]:
    """The cells of a row of a table.

    >>> split("| a |  | b \\\\| c |")
    ['a', '', 'b \\\\| c']
    """
    return re.split(r"(?<!\\) \| ", row.strip()[2:-2])


def joined(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def verdict(ours: str, ratio: str, wanted: str) -> str:
    """A word for a ratio that is above 1, and for one that misses what was wanted of it, or of our number.

    >>> verdict("1.2 s", "0.8", "ratio at most 1"), verdict("1.2 s", "1.2", "ratio at most 1.5")
    ('', 'behind')
    >>> verdict("1.2 s", "0.8", "ratio at most 0.5, no chain above 1"), verdict("1.2 GB", "0.8", "ours under 200 MB")
    ('above what is wanted', 'above what is wanted')
    """
    try:
        value = float(ratio)
    except ValueError:
        return UNKNOWN
    most = re.match(r"(?:ratio )?at most (\d[\d.]*)", wanted)
    less = re.match(r"(?:ratio )?below (\d[\d.]*)", wanted)
    own = re.search(r"ours under (.+)$", wanted)
    misses = (
        (most is not None and value > float(most[1]))
        or (less is not None and value >= float(less[1]))
        or (own is not None and size(ours) >= size(own[1]))
    )
    return ", ".join([BEHIND] * (value > 1) + [ABOVE] * misses)


def size(words: str) -> float:
    """A time in seconds or a memory in bytes, from the number and the unit at its beginning."""
    number, unit = words.split()[:2]
    return float(number.replace(",", "")) * {"ms": 1e-3, "s": 1, "MB": 1e6, "GB": 1e9}[unit]


def counted(verdicts: list[str]) -> str:
    """How many rows there are, and how many have which words."""
    words = [(sum(word in each for each in verdicts), word) for word in (BEHIND, ABOVE, UNKNOWN)]
    said = [f"{count} {word}" for count, word in words if count] or ["none behind"]
    return f"There are {len(verdicts)} rows, {', '.join(said)}."


def below(text: str) -> str:
    """Markdown as a section of another page: without its title, its headings one level down; code is left alone."""
    parts = re.split(r"(^```.*?^```)", text.strip(), flags=re.M | re.S)
    parts[::2] = [re.sub(r"^(#+ )", r"#\1", part, flags=re.M) for part in parts[::2]]
    return re.sub(r"\A## .*\n*", "", "".join(parts))

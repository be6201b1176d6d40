"""The claims of all lessons, over seeds: `python -m companion seeds` runs the lessons, and the book shows the table.

It is a sweep over seeds. What was found lies in `book/claims.json`, for each lesson beside a hash of the cells that make its
claims (a test refuses rows of claims that have changed since) and one of all the code that ran.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from tqdm.auto import tqdm

from companion.classroom.light import code_cells, read_source, tags
from companion.classroom.runs import claims_of
from companion.classroom.sweep import outcomes, tasks_of
from companion.classroom.sync import ROOT, key_of
from companion.foundations.validation import require, require_count
from companion.teaching.curriculum import LESSONS
from companion.teaching.writing import write_whole

FILE = Path("book") / "claims.json"
SEEDS = range(5)


def make(lessons: Sequence[str] = (), jobs: int = 1, root: Path = ROOT) -> dict[str, Any]:
    """Run lessons with every seed and keep what they claim; what is kept of the same code is not run again.

    Args:
        lessons: ids, such as "05"; all if there are none.
        jobs: notebooks at a time.
        root: the repository.

    Raises:
        TypeError: `jobs` is no whole number.
        ValueError: an id that no lesson has, or `jobs` below 1.
        RuntimeError: a run did not come to its end, such as by a cell that makes no claim. The others are kept.
    """
    require_count("jobs", jobs, 1)
    require(set(lessons) <= set(LESSONS), "lessons", ", ".join(lessons), "among " + ", ".join(LESSONS))
    found = stored(root)
    wanted = {name: read_source(root / "notebooks" / f"{LESSONS[name].stem}.py") for name in lessons or LESSONS}
    for name, source in wanted.items():
        hashes = {"cells": claims_hash(source), "code": key_of(source)}
        if not hashes.items() <= found.get(name, {}).items():
            found[name] = hashes | {"seeds": {}}
    missing = [(name, seed) for name in wanted for seed in map(str, SEEDS) if seed not in found[name]["seeds"]]
    tasks = [tasks_of(wanted[name], root / "notebooks", [{"SEED": int(seed)}])[0] for name, seed in missing]
    failed = []
    with closing(outcomes(tasks, jobs)) as ended:
        for place, outcome in tqdm(ended, total=len(tasks), unit="notebook"):
            name, seed = missing[place]
            if outcome["failure"]:
                failed.append(f"lesson {name}, seed {seed}: {outcome['failure']['error']}")
                continue
            claims = claims_in(nbformat.reads(outcome["notebook"], as_version=4))
            found[name]["seeds"] = dict(sorted({**found[name]["seeds"], seed: claims}.items()))
            ordered = {each: found[each] for each in LESSONS if each in found}
            write_whole(root / FILE, json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    if failed:
        raise RuntimeError("\n".join(sorted(failed)))
    return found


def stored(root: Path = ROOT) -> dict[str, Any]:
    """What is kept, by lesson: `cells` and `code`, hashes, and `seeds`, for each the claims in their order."""
    path = root / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def makes_claims(cell: NotebookNode) -> bool:
    return "claim" in tags(cell)


def claim_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in code_cells(notebook) if makes_claims(cell)]


def claims_hash(source: NotebookNode) -> str:
    """SHA-256 of the cells that make claims."""
    return hashlib.sha256("\n# %%\n".join(cell.source for cell in claim_cells(source)).encode()).hexdigest()


def claims_in(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What an executed notebook claims: for each claim its words, whether it held, by which value, and in which of the cells
    that make claims."""
    return [claim | {"cell": place} for place, cell in enumerate(claim_cells(notebook)) for claim in claims_of(cell)]


def page(root: Path = ROOT) -> str:
    """The table as a page of the book."""
    lines = ["# Claims", "", INTRODUCTION, ""]
    for name, kept in stored(root).items():
        lesson = LESSONS[name]
        cells = claim_cells(read_source(root / "notebooks" / f"{lesson.stem}.py"))
        lines += [f"## {name} · {lesson.title}", "", f"From [the lesson](../../notebooks/{lesson.stem}.ipynb).", ""]
        lines += ["| claim | in the paper | value, seed 0 | held |", "| --- | --- | --- | --- |"]
        for claim in by_claim(kept["seeds"]):
            first = claim["seeds"].get("0", {}).get("value")
            paper = cells[claim["cell"]].metadata.get("equation", "–")
            row = (claim["claim"], paper, first or "–", verdict(claim["seeds"], len(kept["seeds"])))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        lines.append("")
    return "\n".join(lines)


def by_claim(seeds: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Each claim that a run with any seed came to, in the order of the lesson, with what was found for it by seed.

    A claim that falls ends its cell: with that seed, those below it in the cell are missing.
    """
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for seed, claims in seeds.items():
        for one in claims:
            found.setdefault((one["cell"], one["claim"]), {})[seed] = one
    for cell, words in sorted(found, key=lambda place: place[0]):
        yield {"cell": cell, "claim": words, "seeds": found[cell, words]}


def verdict(found: dict[str, dict[str, Any]], runs: int) -> str:
    """With how many of the seeds a claim held; one that was not reached did not.

    >>> verdict({"0": {"held": True, "value": "1"}, "1": {"held": True, "value": "2"}}, 3)
    '2 of 3'
    >>> verdict({"0": {"held": True, "value": "1"}, "1": {"held": True, "value": "1"}}, 2)
    'same for all'
    """
    held, values = sum(one["held"] for one in found.values()), {one["value"] for one in found.values()}
    alike = held == runs > 1 and len(values) == 1 and values != {""}
    return "same for all" if alike else f"{held} of {runs}"


INTRODUCTION = """Every sentence here stands in a line of code of a lesson, and that line fails if the sentence is false. Each lesson was run with
the seeds 0 to 4. The value is the one that the sentence was judged by with seed 0, which is the seed that the book shows.

In the last column, *5 of 5* says that the sentence held with each of the seeds. *Same for all* says that it did, by one and the
same value: as a rule the sentence then judges a stored comparison, made before with seeds of its own, or something without
randomness, and the other four runs of the lesson prove no more than the first. Where a sentence speaks of *five seeds* or *five
streams*, it judges that many stored runs of the methods.

*In the paper* names the equations, algorithms or results that the claim is about. [Equations and code](equations.md) leads from
them to the lines that work them out. A dash stands where we know of none, or the claim is ours."""

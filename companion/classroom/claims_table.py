"""The claims of all lessons, over seeds: `python -m companion seeds` runs the lessons, and the book shows the table.

What was found lies in `book/claims.json`, for each lesson beside a hash of the cells that make its claims: a test refuses
rows of claims that have changed since.
"""

import copy
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbformat import NotebookNode
from tqdm.auto import tqdm

from companion.classroom.execution import tags
from companion.classroom.grading import write_whole
from companion.classroom.light import code_cells, read_source
from companion.classroom.sync import ROOT
from companion.foundations.validation import require, require_count
from companion.teaching.curriculum import LESSONS

FILE = Path("book") / "claims.json"
SEEDS = range(5)


def make(lessons: Sequence[str] = (), jobs: int = 1, root: Path = ROOT) -> dict[str, Any]:
    """Run lessons with every seed and keep what they claim; what is kept for the same claims is not run again.

    Args:
        lessons: ids, such as "05"; all if there are none.
        jobs: notebooks at a time.
        root: the repository.

    Raises:
        TypeError: `jobs` is no whole number.
        ValueError: an id that no lesson has, or `jobs` below 1.
        RuntimeError: a run did not come to its end, such as by a cell that makes no claim. What waited is not run; what was
            running by then is, and is kept.
    """
    require_count("jobs", jobs, 1)
    require(set(lessons) <= set(LESSONS), "lessons", ", ".join(lessons), "among " + ", ".join(LESSONS))
    found = stored(root)
    wanted = {name: read_source(root / "notebooks" / f"{LESSONS[name].stem}.py") for name in lessons or LESSONS}
    for name, source in wanted.items():
        if found.get(name, {}).get("cells") != claims_hash(source):
            found[name] = {"cells": claims_hash(source), "seeds": {}}
    missing = [(name, seed) for name in wanted for seed in map(str, SEEDS) if seed not in found[name]["seeds"]]

    def keep(name: str, seed: str, claims: list[dict[str, Any]]) -> None:
        found[name]["seeds"] = dict(sorted({**found[name]["seeds"], seed: claims}.items()))
        ordered = {each: found[each] for each in LESSONS if each in found}
        text = json.dumps(ordered, indent=1, ensure_ascii=False)
        write_whole(root / FILE, text + "\n")

    pool = ThreadPoolExecutor(jobs)
    waiting = {pool.submit(run, wanted[name], int(seed), root / "notebooks"): (name, seed) for name, seed in missing}
    try:
        for done in tqdm(as_completed(waiting), total=len(missing), unit="notebook"):
            if done.exception() is not None:
                break
            keep(*waiting.pop(done), done.result())
    finally:
        pool.shutdown(cancel_futures=True)
    ended = {done: place for done, place in waiting.items() if not done.cancelled()}  # none, unless one failed
    for done in sorted(ended, key=lambda done: done.exception() is not None):  # what is to be kept comes first
        name, seed = ended[done]
        if done.exception() is not None:
            raise RuntimeError(f"lesson {name}, seed {seed}: {done.exception()}") from done.exception()
        keep(name, seed, done.result())
    return found


def stored(root: Path = ROOT) -> dict[str, Any]:
    """What is kept, by lesson: `cells`, the hash, and `seeds`, for each the claims in their order."""
    path = root / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def makes_claims(cell: NotebookNode) -> bool:
    return "claim" in tags(cell)


def claim_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in code_cells(notebook) if makes_claims(cell)]


def claims_hash(source: NotebookNode) -> str:
    """SHA-256 of the cells that make claims."""
    return hashlib.sha256("\n# %%\n".join(cell.source for cell in claim_cells(source)).encode()).hexdigest()


def run(source: NotebookNode, seed: int, folder: Path) -> list[dict[str, Any]]:
    """What a notebook claims, run with a seed: for each claim its words, whether it held, by which value, and in which of
    the cells that make claims.

    Raises:
        RuntimeError: a cell failed that makes no claim.
    """
    notebook = copy.deepcopy(source)
    for cell in notebook.cells:
        if "parameters" in tags(cell):
            cell.source = re.sub(r"^SEED = .*$", f"SEED = {seed}", cell.source, flags=re.M)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=os.environ | {"OMP_NUM_THREADS": "1"})
    for cell in code_cells(notebook):
        if not makes_claims(cell):
            refuse_errors(cell)
    cells = enumerate(claim_cells(notebook))
    return [claim | {"cell": place} for place, cell in cells for claim in claims_of(cell)]


def refuse_errors(cell: NotebookNode, but: str = "") -> list[str]:
    """What errors of one kind say; a `RuntimeError` where there is another."""
    errors = [output for output in cell.outputs if output.output_type == "error"]
    for error in errors:
        if error.ename != but:
            raise RuntimeError(f"a cell failed: {error.ename}: {error.evalue}")
    return [error.evalue for error in errors]


def claims_of(cell: NotebookNode) -> list[dict[str, Any]]:
    """What an executed cell claims, those that fell last."""
    fallen = refuse_errors(cell, but="ClaimFailed")
    printed = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    return [read_claim(line) for line in [*printed.splitlines(), *fallen] if line[:2] in ("✓ ", "✗ ")]


def read_claim(line: str) -> dict[str, Any]:
    """The parts of a line that `claim` printed.

    >>> read_claim("✓ one and one make two [2]")
    {'claim': 'one and one make two', 'held': True, 'value': '2'}
    """
    words, _, value = line[2:].partition(" [")
    return {"claim": words, "held": line[0] == "✓", "value": value.removesuffix("]")}


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

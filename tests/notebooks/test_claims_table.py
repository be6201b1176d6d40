"""The table of claims over seeds: of the claims as they are, whole, and all true."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from subjects import FOUNDATIONS, METHODS, read

from companion.classroom import claims_table
from companion.classroom.light import notebook_text, read_source
from companion.classroom.sync import key_of

KEPT = claims_table.stored()


def cell(source, *outputs, tags=("claim",)):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


@pytest.mark.parametrize("path", [*FOUNDATIONS, *METHODS], ids=lambda path: path.stem)
def test_it_is_of_the_claims_as_they_are_and_all_held(path):
    kept = KEPT[path.stem.split("_")[0]]
    assert kept["cells"] == claims_table.claims_hash(read(path)), "Run `python -m companion seeds`."
    assert list(kept["seeds"]) == [str(seed) for seed in claims_table.SEEDS]
    first, *others = ([(one["claim"], one["held"]) for one in claims] for claims in kept["seeds"].values())
    assert first
    assert all(held for _, held in first)
    assert all(other == first for other in others)


@pytest.mark.parametrize("path", [*FOUNDATIONS, *METHODS], ids=lambda path: path.stem)
def test_its_values_are_those_that_the_lesson_shows(path):
    cells = claims_table.claim_cells(nbformat.read(path.with_suffix(".ipynb"), as_version=4))
    shown = [claim | {"cell": place} for place, cell in enumerate(cells) for claim in claims_table.claims_of(cell)]
    assert KEPT[path.stem.split("_")[0]]["seeds"]["0"] == shown, "Run `python -m companion seeds`."


def test_claims_are_read_with_their_values():
    printed = new_output("stream", name="stdout", text="✓ it holds [0.5]\nnot a claim\n✓ and so does this\n")
    fell = new_output("error", ename="ClaimFailed", evalue="✗ no [a: 1, b: 2]", traceback=[])
    assert claims_table.claims_of(cell("", printed, fell)) == [
        {"claim": "it holds", "held": True, "value": "0.5"},
        {"claim": "and so does this", "held": True, "value": ""},
        {"claim": "no", "held": False, "value": "a: 1, b: 2"},
    ]


def test_other_claims_have_another_hash_and_other_prose_does_not():
    one, other = (new_notebook(cells=[new_code_cell("x"), cell("claim('a', True)")]) for _ in range(2))
    assert claims_table.claims_hash(one) == claims_table.claims_hash(other)
    other.cells[0].source = "y"
    assert claims_table.claims_hash(one) == claims_table.claims_hash(other)
    other.cells[1].source = "claim('b', True)"
    assert claims_table.claims_hash(one) != claims_table.claims_hash(other)


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "notebooks").mkdir()
    source = """# %% tags=["parameters"]
SEED = 0

# %% tags=["claim"] equation="eq. (1)"
print("✓ a seed | is a number [" + str(SEED) + "]")
"""
    for lesson in claims_table.LESSONS.values():
        (tmp_path / "notebooks" / f"{lesson.stem}.py").write_text(source)
    return tmp_path


def noted(monkeypatch):
    """How many runs are asked for, each time; none is made."""
    asked = []

    def outcomes(tasks, jobs):
        asked.append(len(tasks))
        yield from ()

    monkeypatch.setattr(claims_table, "outcomes", outcomes)
    return asked


@pytest.mark.slow
def test_lessons_run_with_every_seed_once(repository, monkeypatch):
    found = claims_table.make(["f1"], 1, repository)
    assert [claims[0]["value"] for claims in found["f1"]["seeds"].values()] == ["0", "1", "2", "3", "4"]
    assert json.loads((repository / claims_table.FILE).read_text(encoding="utf-8")) == found
    assert "| a seed \\| is a number | eq. (1) | 0 | 5 of 5 |" in claims_table.page(repository)
    assert found["f1"]["code"] == key_of(
        read_source(repository / "notebooks" / f"{claims_table.LESSONS['f1'].stem}.py")
    )
    ran = noted(monkeypatch)
    assert claims_table.make(["f1"], 1, repository) == found
    assert ran == [0]


def test_other_code_is_run_with_every_seed_again(repository, monkeypatch):
    ran = noted(monkeypatch)
    path = repository / "notebooks" / f"{claims_table.LESSONS['f1'].stem}.py"
    hashes = {"cells": claims_table.claims_hash(read_source(path)), "code": key_of(read_source(path))}
    (repository / "book").mkdir()
    kept = {"f1": hashes | {"seeds": {str(seed): [] for seed in claims_table.SEEDS}}}
    (repository / claims_table.FILE).write_text(json.dumps(kept), encoding="utf-8")
    claims_table.make(["f1"], 1, repository)
    path.write_text(path.read_text(encoding="utf-8").replace("SEED = 0", "SEED = 1"), encoding="utf-8")
    claims_table.make(["f1"], 1, repository)
    assert ran == [0, 5]


def keep(repository, **seeds):
    """Write what runs of f1 with each seed are to have found: for each claim its words, and its value if it held."""
    kept = {
        seed.removeprefix("seed_"): [
            {"claim": words, "held": value != "fell", "value": value, "cell": place} for words, value, place in claims
        ]
        for seed, claims in seeds.items()
    }
    (repository / "book").mkdir()
    (repository / claims_table.FILE).write_text(json.dumps({"f1": {"cells": "", "seeds": kept}}), encoding="utf-8")


def rows(repository):
    lines = claims_table.page(repository).splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith(("| claim", "| ---"))]


def test_a_value_that_no_seed_changes_counts_once(repository):
    seeds = {f"seed_{seed}": [("stored", "3", 0), ("drawn", str(seed), 0), ("mute", "", 0)] for seed in range(5)}
    keep(repository, **seeds)
    assert rows(repository) == [
        "| stored | eq. (1) | 3 | same for all |",
        "| drawn | eq. (1) | 0 | 5 of 5 |",
        "| mute | eq. (1) | – | 5 of 5 |",
    ]


def test_a_claim_that_fell_hides_those_below_it_with_its_seed_only(repository):
    source = (repository / "notebooks" / f"{claims_table.LESSONS['f1'].stem}.py").read_text()
    (repository / "notebooks" / f"{claims_table.LESSONS['f1'].stem}.py").write_text(
        source + '\n# %% tags=["claim"] equation="eq. (2)"\n'
    )
    keep(
        repository,
        seed_0=[("a", "1", 0), ("b", "fell", 0), ("d", "5", 1)],
        seed_1=[("a", "2", 0), ("b", "3", 0), ("c", "4", 0), ("d", "6", 1)],
        seed_2=[("a", "fell", 0), ("d", "7", 1)],
    )
    assert rows(repository) == [
        "| a | eq. (1) | 1 | 2 of 3 |",
        "| b | eq. (1) | fell | 1 of 3 |",
        "| c | eq. (1) | – | 1 of 3 |",
        "| d | eq. (2) | 5 | 3 of 3 |",
    ]


def test_a_run_that_fails_is_named_and_costs_no_other(repository, monkeypatch):
    def outcomes(tasks, jobs):
        for place, task in enumerate(tasks):
            printed = new_output("stream", name="stdout", text=f"✓ a [{task.parameters['SEED']}]\n")
            notebook = notebook_text(new_notebook(cells=[cell("", printed)]))
            failure = {"cell": 2, "error": "ZeroDivisionError: division by zero", "traceback": []}
            yield place, {"notebook": notebook, "failure": failure if task.parameters["SEED"] == 1 else None}

    monkeypatch.setattr(claims_table, "outcomes", outcomes)
    with pytest.raises(RuntimeError, match=r"^lesson f1, seed 1: ZeroDivisionError: division by zero$"):
        claims_table.make(["f1"], 1, repository)
    kept = claims_table.stored(repository)["f1"]["seeds"]
    assert list(kept) == ["0", "2", "3", "4"]
    assert kept["4"] == [{"claim": "a", "held": True, "value": "4", "cell": 0}]


@pytest.mark.parametrize(("jobs", "error"), [(0, ValueError), (1.5, TypeError)])
def test_jobs_are_counted(repository, jobs, error):
    with pytest.raises(error, match=r"^jobs is "):
        claims_table.make(["f1"], jobs, repository)


def test_an_unknown_lesson_is_refused_in_one_sentence(repository):
    with pytest.raises(ValueError, match=r"^lessons is 99, but must be among f1, "):
        claims_table.make(["99"], 1, repository)

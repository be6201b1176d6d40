"""The pages to look things up in: each equation leads to its line; words are explained once."""

import dataclasses
import re
import unicodedata
from functools import cache

import pytest
from subjects import FOUNDATIONS, LESSONS, METHODS, NOTEBOOKS, ROOT, assert_links_lead_to_notebooks, read

from companion.classroom import equations
from companion.classroom.claims_table import claim_cells
from companion.classroom.equations import Entry, entries, locate
from companion.classroom.reference import modules

BOOK = ROOT / "book"
ENTRIES = entries()
PAGES = modules()  # that the book has a page of source for
MODULES = sorted(path for path in (ROOT / "companion" / "methods").glob("*.py") if path.stem != "__init__")
GLOSSARY = (BOOK / "glossary.md").read_text(encoding="utf-8")
CITED = set(re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(encoding="utf-8"), flags=re.M))

SCORE = Entry(
    "01",
    "debortoli2025distributional",
    "eq. (12) and (15)",
    "the score",
    "companion.methods.distributional.energy_score_loss",
    "score = score - lam / 2 * pairs",
)


# --- equations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.lesson}-{entry.code.rpartition('.')[2]}")
def test_an_equation_leads_to_its_line(entry):
    place = locate(entry)
    assert entry.line in (ROOT / place.path).read_text(encoding="utf-8").splitlines()[place.number - 1]
    assert entry.paper in CITED
    assert place.path.removesuffix(".py").replace("/", ".") in PAGES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_method_has_an_equation(path):
    assert any(entry.code.startswith(f"companion.methods.{path.stem}.") for entry in ENTRIES)


def test_lessons_come_in_the_books_order_each_once():
    order = [path.stem.split("_")[0] for path in LESSONS]
    met = list(dict.fromkeys(entry.lesson for entry in ENTRIES))
    assert met == order
    assert [entry.lesson for entry in ENTRIES] == sorted((entry.lesson for entry in ENTRIES), key=met.index)


def test_no_two_entries_are_the_same():
    assert len({(locate(entry), entry.result) for entry in ENTRIES}) == len(ENTRIES)


def named_in(equation):
    """The results that the metadata of a claim's cell name, with the beginning of the paper's key where a paper is named."""
    found = []
    for part in equation.split("; "):
        authors, year, result = re.fullmatch(r"(?:(\S+)(?: .+)? (\d{4}), )?(.+)", part).groups(default="")
        plain = unicodedata.normalize("NFKD", authors).encode("ascii", "ignore").decode()
        found.append((plain.replace("-", "").lower() + year, result))
    return found


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_claims_name_results_that_lead_to_a_line(path):
    lesson = path.stem.split("_")[0]
    own = [entry for entry in ENTRIES if entry.lesson == lesson]
    equations_named = [cell.metadata["equation"] for cell in claim_cells(read(path)) if "equation" in cell.metadata]
    for paper, result in (each for equation in equations_named for each in named_in(equation)):
        assert paper or lesson.isdigit(), f"{result} names no paper, and a foundation has none of its own"
        assert result in {entry.result for entry in own if entry.paper.startswith(paper or own[0].paper)}


def test_a_paper_in_metadata_is_told_by_its_first_author_and_year():
    assert named_in(
        "eq. (3); Székely and Rizzo 2013, energy distance; Cesa-Bianchi et al. 2006, regret; Muth 1960, 4"
    ) == [
        ("", "eq. (3)"),
        ("szekely2013", "energy distance"),
        ("cesabianchi2006", "regret"),
        ("muth1960", "4"),
    ]


def test_a_line_is_not_looked_for_in_a_docstring():
    with pytest.raises(ValueError, match="once, not 0 times"):
        locate(dataclasses.replace(SCORE, line="The first term pulls every draw to the data"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"line": "score = score - lam / 3"},
            "line is 'score = score - lam / 3', but must be in the code of .* not 0 t",
        ),
        ({"line": "exact=True"}, "line is 'exact=True', but must be in the code of .* once, not 2 times."),
        ({"code": "companion.methods.distributional.score"}, "'score' must be defined there once, not 0 times."),
        ({"code": "companion.method.distributional.score"}, "but must begin with a module that exists."),
    ],
    ids=["a line that is gone", "a line that is there twice", "a name that is gone", "no such module"],
)
def test_what_cannot_be_found_is_refused_in_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        locate(dataclasses.replace(SCORE, **changes))
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(".")


def test_an_entry_without_a_field_is_refused(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / equations.FILE).write_text("- lesson: '01'\n  paper: somebody\n")
    with pytest.raises(ValueError, match=r"Entry 1 of book/equations.yml is .* must have the texts lesson, paper, "):
        entries(tmp_path)


def test_the_page_has_a_table_for_each_lesson_and_a_row_for_each_entry():
    text = equations.page()
    assert re.findall(r"^## Lesson (\w+)$", text, flags=re.M) == list(dict.fromkeys(each.lesson for each in ENTRIES))
    rows = re.findall(r"^\| (?!result|---).*\|$", text, flags=re.M)
    assert len(rows) == len(ENTRIES)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
    assert_links_lead_to_notebooks(text)
    for entry in ENTRIES:
        place = locate(entry)
        module = place.path.removesuffix(".py").replace("/", ".")
        assert f'/source/{module}.html#L-{place.number}">line {place.number}</a>, in `' in text


# --- glossary -----------------------------------------------------------------------------------------------------


def definitions() -> dict[str, str]:
    """Each term of the glossary with the text below it; a term that is there twice is an error."""
    (body,) = re.findall(r"^```\{glossary\}\n(.*?)^```$", GLOSSARY, flags=re.M | re.S)
    found = re.findall(r"^(\S.*)\n((?:  \S.*\n)+)", body, flags=re.M)
    assert len({term.casefold() for term, _ in found}) == len(found)
    return dict(found)


def test_terms_are_unique_and_sorted():
    terms = list(definitions())
    assert terms == sorted(terms, key=str.casefold)
    assert 60 <= len(terms) <= 7 * len(LESSONS)


def test_a_term_has_one_or_two_sentences_and_a_lesson():
    for term, text in definitions().items():
        words, _, lessons = " ".join(text.split()).partition(" Met in ")
        assert 1 <= len(re.findall(r"[.](?= |$)", re.sub(r"\d\.\d", "", words))) <= 2, term
        assert re.fullmatch(r"(?:(?:\[[\w ]+\]\(\S+\.ipynb\)|all \w+)(?:, | and |\.))+", lessons), term
    assert_links_lead_to_notebooks(GLOSSARY)


# What a lesson may say in place of the term.
ALIASES = {
    "Common random numbers": "common noise",
    "Dormant neuron": "neurons are silent",
    "Filter of a convolution": "hidden filter",
    "FLOP": "GFLOP",
    "Forward transfer": "transferred",
    "Nearest-neighbour vote": "vote",
    "Ornstein–Uhlenbeck drift": "Ornstein–Uhlenbeck",
    "Powered density": "sharpened density",
    "Proper score": "proper scoring rule",
    "Slice": "sliced",
    "Test, then train": "before it was learned",
    "Zero-shot pruning": "zero-shot",
}


@cache
def words_of(path):
    """The text of a lesson and its exercises, in small letters, each hyphen a space."""
    notebooks = [path, NOTEBOOKS / "exercises" / path.name]
    return plain(" ".join(cell.source for each in notebooks if each.exists() for cell in read(each).cells))


def plain(text):
    return " ".join(re.sub("[-–*]", " ", text.casefold()).split())


def is_said(term, text):
    """Whether a plain text has a term, in the singular or the plural."""
    return re.search(rf"\b{re.escape(plain(term).removesuffix('s'))}(?:s|es)?\b", text) is not None


def cited(text):
    """The sources of the notebooks that an entry names."""
    named = [NOTEBOOKS / f"{stem}.py" for stem in re.findall(r"\(\.\./notebooks/(\w+)\.ipynb\)", text)]
    return named + FOUNDATIONS * ("all foundations" in text) + METHODS * ("all lessons" in text)


def test_a_term_is_met_where_its_entry_says():
    found = definitions()
    assert set(ALIASES) <= set(found)
    missed = [
        (term, path.stem)
        for term, text in found.items()
        for path in cited(text)
        if not any(is_said(each, words_of(path)) for each in (term, ALIASES.get(term, term)))
    ]
    assert missed == []


@pytest.mark.parametrize(
    ("term", "text", "answer"),
    [("U-statistic", "Two U-statistics", True), ("Features", "one feature", True), ("Gain", "against", False)],
)
def test_a_plural_and_a_hyphen_make_no_difference_and_a_part_of_a_word_is_no_term(term, text, answer):
    assert is_said(term, plain(text)) == answer


@pytest.mark.parametrize("term", ALIASES)
def test_an_alias_is_needed(term):
    assert not all(is_said(term, words_of(path)) for path in cited(definitions()[term]))

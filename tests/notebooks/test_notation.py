"""The page of letters: each letter has a row that names the lesson, and no row names a lesson without it."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from subjects import LESSONS, NOTEBOOKS, ROOT, assert_links_lead_to_notebooks, formulas

NOTATION = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")

GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|upsilon"
    "|phi|varphi|chi|psi|omega|ell|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega"
)
SIGNS = "nabla|partial|propto|varnothing|Pr"
# These stand at a letter or around it. On the page it may be any letter, and the row is that of the mark.
MARKS = "hat|tilde|dot|star|top|langle"
# What is upright is a word; e with an exponent is the number; a length and a positive part have no letter of their own.
NO_LETTERS = (
    r"\\(?:text|mathrm|operatorname|begin|end)\*?\{[^{}]*\}|(?<![a-zA-Z])e(?=\^)|\\l[vV]ert x\\r[vV]ert|\(x\)_\+"
)
KNOWN = rf"\\(?:{GREEK}|{SIGNS}|{MARKS}|mathbb[A-Z]|mathcal[A-Z])|[a-zA-Z]"


def letters(formula: str) -> set[str]:
    r"""The letters, signs and marks of a formula; ``\mathcal L`` is another letter than ``L``."""
    plain = re.sub(r"\\math(bb|cal)\s*\{?([A-Z])\}?", r" \\math\1\2 ", re.sub(NO_LETTERS, " ", formula))
    return {each for each in re.findall(r"\\[a-zA-Z]+|[a-zA-Z]", plain) if re.fullmatch(KNOWN, each)}


@dataclass(frozen=True)
class Row:
    symbols: list[str]
    lessons: list[str]
    most: bool  # the row says "most" and names no lesson

    @property
    def letters(self) -> set[str]:
        """Those of its symbols with their indices, but without arguments; of a symbol with a mark, the mark."""
        found = set()
        for symbol in self.symbols:
            every = letters(re.sub(r"(?<=.)\(.*\)$", "", symbol))
            found |= {each for each in every if re.fullmatch(rf"\\(?:{MARKS})", each)} or every
        return found


def rows(text: str = NOTATION) -> list[Row]:
    found = []
    for symbols, rest in re.findall(r"^\| (\$.*?) \| (.*) \|$", text, flags=re.M):
        lessons = re.findall(r"\[\w+\]\(\.\./notebooks/(\w+)\.ipynb\)", rest)
        found.append(Row(re.findall(r"\$([^$]+)\$", symbols), lessons, most=rest.endswith(" | most")))
    return found


def used(path: Path, exercises: bool = False) -> set[str]:
    """The letters in the text of a lesson, and of its exercises if they are wanted."""
    notebooks = [path, *([NOTEBOOKS / "exercises" / path.name] if exercises else [])]
    return {letter for notebook in notebooks for formula in formulas(notebook) for letter in letters(formula)}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_letters_of_a_lesson_have_a_row_that_names_it(path):
    explained = {letter for row in rows() if row.most or path.stem in row.lessons for letter in row.letters}
    assert sorted(used(path) - explained) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_that_a_row_names_uses_its_letters(path):
    met = used(path, exercises=True)
    named = [row for row in rows() if path.stem in row.lessons]
    assert [(row.symbols, sorted(row.letters - met)) for row in named if not row.letters <= met] == []


def test_what_most_lessons_use_is_used_by_more_than_half():
    for row in rows():
        assert row.most or row.lessons, row.symbols
        if row.most:
            assert sum(row.letters <= used(path, exercises=True) for path in LESSONS) > len(LESSONS) / 2, row.symbols


def test_symbols_are_unique():
    found = [symbol for row in rows() for symbol in row.symbols]
    assert len(found) > 50
    assert [symbol for symbol in found if found.count(symbol) > 1] == []
    assert_links_lead_to_notebooks(NOTATION)


def test_a_letter_with_several_meanings_has_several():
    *_, several = NOTATION.split("## Letters with several meanings")
    for row in re.findall(r"^\| \$.*$", several, flags=re.M):
        assert "; " in row, row


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        (r"\tfrac12 D(p, q)", {"D", "p", "q"}),
        (r"\mathcal{L} + \mathbb E_t\,x", {r"\mathcalL", r"\mathbbE", "t", "x"}),
        (r"\text{shift} = \gamma^\star e^{-\delta/2}", {r"\gamma", r"\star", r"\delta"}),
        (r"z - 2\,\langle z, e\rangle\, e", {"z", "e", r"\langle"}),
        (r"\operatorname{Var}(e) \lVert W_j\rVert", {"e", "W", "j"}),
    ],
)
def test_letters_are_told_from_words_and_commands(formula, found):
    assert letters(formula) == found


def test_a_row_has_the_indices_of_its_symbols_and_no_arguments():
    (row,) = rows(
        "| $p_t(x)$, $\\mathcal N(\\mu, \\sigma^2)$, $\\hat x$ | what | [f3](../notebooks/f3_guidance.ipynb) |"
    )
    assert row == Row(["p_t(x)", "\\mathcal N(\\mu, \\sigma^2)", "\\hat x"], ["f3_guidance"], most=False)
    assert row.letters == {"p", "t", "\\mathcalN", "\\hat"}

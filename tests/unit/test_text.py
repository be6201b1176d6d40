"""The text of lesson 08: its alphabet, its passages, that they are what they are said to be, and that none was learned."""

import re
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from companion.data import text
from companion.data.text import ALPHABET, FILES, PASSAGES, STYLES, SYMBOLS, UNKNOWN, decode, encode, learned, passages

each_style = pytest.mark.parametrize("style", STYLES)
# who speaks in each of the seven, by the beginning of the name that both spellings print
SPEAKERS = [
    ("Hamlet", {"ham", "hor", "oph", "pol"}),
    ("Macbeth", {"mac", "ban"}),
    ("The Tempest", {"pro", "ari", "mir", "cal", "fer"}),
    ("Othello", {"duk", "bra", "oth", "rod", "iag", "des"}),
    ("Twelfth Night", {"oli", "vio", "clo", "mar", "mal"}),
    ("King Lear", {"lea", "glo", "ken", "gon", "edg"}),
    ("Romeo and Juliet", {"rom", "mer", "ben", "nur"}),
]


# --- alphabet -----------------------------------------------------------------------------------------------------


def test_the_alphabet_is_printable_ascii_the_line_break_and_one_for_the_rest():
    assert SYMBOLS == len(ALPHABET) == len(set(ALPHABET)) == 97
    assert {letter for letter in ALPHABET if letter != UNKNOWN} == {chr(code) for code in (10, *range(32, 127))}
    assert ALPHABET[0] == UNKNOWN


@given(st.text(alphabet=ALPHABET[1:]))
def test_what_it_can_write_comes_back(piece):
    tokens = encode(piece)
    assert tokens.dtype == torch.long
    assert tokens.shape == (len(piece),)
    assert decode(tokens) == piece


@given(st.text())
def test_every_other_character_is_one_unknown(piece):
    tokens = encode(piece)
    assert len(tokens) == len(piece)
    assert ((tokens >= 0) & (tokens < SYMBOLS)).all()
    known = set(ALPHABET[1:])
    assert decode(tokens) == "".join(letter if letter in known else UNKNOWN for letter in piece)
    assert (tokens == 0).tolist() == [letter not in known for letter in piece]


def test_each_number_is_one_character():
    numbers = torch.arange(SYMBOLS)
    assert torch.equal(encode(decode(numbers)), numbers)
    assert encode("\n ~é\t\r").tolist() == [1, 2, 96, 0, 0, 0]
    assert decode(torch.tensor([], dtype=torch.long)) == ""


# --- files --------------------------------------------------------------------------------------------------------


@each_style
def test_passages_are_seven_of_16_000_characters_that_all_can_be_written(style):
    found = passages(style)
    assert len(found) == PASSAGES == 7
    assert [len(piece) for piece in found] == [16_000] * 7
    assert len(set(found)) == 7
    for piece in found:
        assert (encode(piece) > 0).all()
        assert not re.search(r"[ ]\n", piece)  # no blanks at the ends of lines


@each_style
def test_passages_can_be_chosen(style):
    every = passages(style)
    assert passages(style, [5, 0, 5]) == [every[5], every[0], every[5]]
    assert passages(style, []) == []
    every.clear()  # a list of the caller's own
    assert len(passages(style)) == 7


def test_what_was_learned_is_24_plays_in_modern_spelling():
    whole = learned()
    assert 3.0e6 < len(whole) < 3.3e6
    assert (encode(whole) > 0).all()
    assert len(re.findall(r"^(?:by William Shakespeare|by Shakespeare)$", whole, re.M | re.I)) >= 20
    for word in ("Falstaff", "Rosalind", "Shylock", "Brutus", "Cleopatra", "Hermia", "Petruchio"):
        assert whole.lower().count(word.lower()) > 20


def test_the_files_are_small_and_their_licences_are_beside_them():
    stored = {path.name for path in FILES.glob("*.xz")}
    assert stored == {f"text_{name}.txt.xz" for name in (*STYLES, "learned")}
    assert sum((FILES / name).stat().st_size for name in stored) < 1.5e6
    lines = (FILES / "LICENSES.md").read_text().splitlines()
    headings = {name for line in lines if line.startswith("## ") for name in re.findall(r"text_\w+", line)}
    assert {f"{name}.txt.xz" for name in headings} == stored


def test_a_file_is_opened_once():
    passages("code")
    before = text._pieces.cache_info().misses
    passages("code")
    assert text._pieces.cache_info().misses == before


# --- what they are ------------------------------------------------------------------------------------------------


def speakers(piece: str) -> Counter:
    """Names before a full stop at the beginnings of lines, by their first three letters."""
    return Counter(name[:3].lower() for name in re.findall(r"^ *([A-Z][A-Za-z]{2,})[a-z]*\.", piece, re.M))


@pytest.mark.parametrize("number", range(7), ids=[play for play, _ in SPEAKERS])
def test_plays_and_folio_are_the_same_seven_plays(number):
    """By who speaks in them: those of this play, and hardly anyone of another."""
    modern, old = passages("plays", [number])[0], passages("folio", [number])[0]
    for found in (speakers(modern), speakers(old)):
        own = [sum(found[name] for name in names) for _, names in SPEAKERS]
        assert own[number] == max(own) >= 10
        assert sorted(own)[-2] < own[number] / 2
    both = SPEAKERS[number][1]
    shared = {name for name in both if speakers(modern)[name] and speakers(old)[name]}
    assert len(shared) >= min(len(both), 2)


def sounds(piece: str) -> set[str]:
    """Its longer words in a rough spelling that forgets u and v, i and j and y, doubled letters and silent e."""
    words = re.findall(r"[a-z]{6,}", piece.lower())
    plain = (word.translate(str.maketrans("vjy", "uii")).replace("ie", "i").rstrip("e") for word in words)
    return {re.sub(r"(.)\1", r"\1", word) for word in plain}


def test_each_folio_passage_is_nearest_to_the_modern_passage_of_its_number():
    modern = [sounds(piece) for piece in passages("plays")]
    for number, piece in enumerate(passages("folio")):
        words = sounds(piece)
        shared = [len(words & other) / len(words | other) for other in modern]
        assert max(range(7), key=shared.__getitem__) == number
        assert shared[number] > 2 * sorted(shared)[-2]


def test_the_two_spellings_differ():
    for modern, old in zip(passages("plays"), passages("folio")):
        common = set(re.findall(r"\w+", old)) - set(re.findall(r"\w+", modern))
        assert len(common) > 200
        for word in ("haue", "loue", "vpon", "vs", "giue"):
            assert not re.search(rf"\b{word}\b", modern)
        assert len(re.findall(r"\b(?:haue|loue|vpon|vs|giue|euer|ouer|selfe|doe|bee)\b", old)) > 20


@pytest.mark.parametrize(
    ("style", "signs"),
    [
        ("bible", r"\b(?:unto|thou|LORD|shall|God)\b"),
        ("docs", r"\"\w+\"|[a-z]\(\)"),
        ("code", r"[\w\]]\(| = |#|self\.|=="),
    ],
)
def test_the_others_have_the_signs_of_their_style(style, signs):
    most = max(len(re.findall(signs, piece)) for piece in passages("plays") + passages("folio"))
    for piece in passages(style):
        assert len(re.findall(signs, piece)) > max(most, 40)


# --- held out -----------------------------------------------------------------------------------------------------


def shingles(piece: str, size: int) -> set[str]:
    """Runs of words, whatever their case and marks."""
    words = re.findall(r"[a-z']+", piece.lower())
    return {" ".join(words[place : place + size]) for place in range(len(words) - size + 1)}


def test_no_passage_was_learned():
    """Hardly any eight words in a row of any passage occur in what was learned; all do in a passage that was."""
    known = shingles(learned(), 8)
    for style in STYLES:
        for piece in passages(style):
            own = shingles(piece, 8)
            assert len(own & known) < 0.002 * len(own)
    taken = shingles("\n".join(learned().split("\n")[20_000:20_400]), 8)
    assert len(taken & known) == len(taken)


@each_style
def test_no_passage_overlaps_another_of_its_style(style):
    """But for Python's documentation, which repeats itself."""
    allowed = 0.5 if style == "docs" else 0.005
    pieces = [shingles(piece, 12) for piece in passages(style)]
    for number, own in enumerate(pieces):
        for other in pieces[:number]:
            assert len(own & other) < allowed * len(own)

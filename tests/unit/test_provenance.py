"""The source hash changes when the code does, and only then."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import companion
from companion.teaching.provenance import source_hash

CODE = '''
"""What it does."""
def area(radius):
    """Of a disc."""
    require(radius > 0, "radius", radius, "positive")
    return 3 * radius**2
class Disc:
    """Round."""
    side = None
'''


@pytest.fixture
def hash_of(tmp_path, monkeypatch):
    """A function from source text to its hash, as a module of one fixed name."""
    monkeypatch.syspath_prepend(tmp_path)

    def compute(text: str) -> str:
        (tmp_path / "hashed_example.py").write_text(text)
        sys.modules.pop("hashed_example", None)
        importlib.invalidate_caches()
        return source_hash("hashed_example")

    yield compute
    sys.modules.pop("hashed_example", None)


@pytest.mark.parametrize(
    "edit",
    [
        ("What it does.", "What it does, better said."),
        ('    """Of a disc."""\n', ""),
        ('    """Round."""', '    """Very round."""'),
        ("    return", "    # pi is 3 here\n\n    return"),
        ("3 * radius**2", "(3*radius ** 2)"),
        ("area(radius)", "area(radius: float) -> float"),
        ("radius > 0", "radius >= 0"),
        ('    require(radius > 0, "radius", radius, "positive")\n', ""),
    ],
)
def test_words_layout_and_input_checks_do_not_change_the_hash(hash_of, edit):
    assert edit[0] in CODE
    assert hash_of(CODE.replace(*edit)) == hash_of(CODE)


@pytest.mark.parametrize(
    "edit",
    [
        ("radius**2", "radius**3"),
        ("3 * radius", "3.0 * radius"),
        ("side = None", "side = 0"),
        ("side", "edge"),
        ("return 3", "assert 3"),
    ],
)
def test_another_computation_changes_the_hash(hash_of, edit):
    assert edit[0] in CODE
    assert hash_of(CODE.replace(*edit)) != hash_of(CODE)


def test_order_of_modules_does_not_matter_but_their_number_does():
    first, second = "companion.foundations.diffusion", "companion.foundations.training"
    assert source_hash(first, second) == source_hash(second, first)
    assert source_hash(first, second) != source_hash(first)


def test_a_module_and_its_name_are_the_same():
    from companion.foundations import diffusion

    assert source_hash(diffusion) == source_hash("companion.foundations.diffusion")


def test_no_module_has_a_format_that_versions_of_python_read_differently():
    """Of f"{value:{form}}" early releases of Python 3.12 make another tree; `format(value, form)` says the same."""
    folder = Path(companion.__file__).parent
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")}
    formats = [
        (path.name, node.lineno)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue) and node.format_spec and not _words(node.format_spec)
    ]
    assert formats == []


def _words(spec: ast.JoinedStr) -> str:
    """What of a format is written out."""
    return "".join(part.value for part in spec.values if isinstance(part, ast.Constant))

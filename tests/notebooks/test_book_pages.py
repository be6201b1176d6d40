"""The pages of the book that are made: the reference holds what is public, and nothing is written twice."""

import ast
import html
import re
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from companion.classroom import book, book_pages, reference


@pytest.fixture(scope="module")
def pages():
    return reference.pages()


each_module = pytest.mark.parametrize("name", reference.modules(), ids=lambda name: name.removeprefix("companion."))


def source(name):
    return ast.parse(reference.file_of(name).read_text(encoding="utf-8"))


def without_code(text):
    """A page without its fences and its words in backticks."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def words(text):
    """Without the escapes of Markdown and with single spaces."""
    return " ".join(html.unescape(re.sub(r"\\([*_])", r"\1", text)).split())


def part(text, heading):
    """What stands under a heading, which must be there once."""
    assert text.count(f"\n{heading}\n") == 1, heading
    return re.split(r"^##", text.partition(f"\n{heading}\n")[2], flags=re.M)[0]


def check(text, heading, node):
    """A page has a function, class, method or property with its arguments and the first paragraph of its docstring."""
    own = part(text, heading)
    first, _, _ = (ast.get_docstring(node) or "").partition("\n\n")
    assert words(first) in words(own)
    if isinstance(node, ast.FunctionDef):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for argument in arguments:
            assert argument.annotation is None or f"{argument.arg}: {ast.unparse(argument.annotation)}" in own
        is_property = any(ast.unparse(each) in ("property", "cached_property") for each in node.decorator_list)
        assert (f"\n{node.name}(" in own) is not is_property
        assert (f"\n{node.name}: " in own) is is_property


@each_module
def test_each_public_name_is_there_with_its_arguments_and_its_words(pages, name):
    shown = []
    for node in source(name).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            shown.append(f"## `{node.name}`")
            check(pages[name], shown[-1], node)
            assert f'#L-{node.lineno}"' in part(pages[name], shown[-1])
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    shown.append(f"### `{node.name}.{inner.name}`")
                    check(pages[name], shown[-1], inner)
    assert re.findall(r"^##.*$", pages[name], flags=re.M) == shown


def test_what_is_made_from_its_fields_shows_them(pages):
    drawn = part(pages["companion.data.regression"], "## `Rows`")
    assert "    instrument: Float[Tensor, 'n 2'],\n" in drawn
    assert "Darcy(size: int = 16, low: Number = 3.0, high: Number = 12.0)" in pages["companion.data.darcy"]


def test_shapes_are_as_in_the_source(pages):
    assert '"*#event"' in reference.file_of("companion.methods.soft_reset").read_text(encoding="utf-8")
    assert "mean: Float[Tensor, '*#event']," in pages["companion.methods.soft_reset"]


DOCSTRING = """Add.

Attributes:
    low, high: of a range,
        in metres.

Returns:
    The sum, which is in
    metres: not in feet.

Yields:
    A row: each
    with a name.

Raises:
    TypeError, ValueError: no numbers.
"""


def test_what_comes_back_is_one_paragraph_and_names_in_a_line_stay_together():
    node = ast.parse(f"def add():\n    {DOCSTRING!r}").body[0]
    assert "\n".join(reference.described(node)).splitlines() == [
        "Add.",
        "",
        "**Attributes**",
        "",
        "- `low, high`: of a range, in metres.",
        "",
        "**Returns**",
        "",
        "The sum, which is in metres: not in feet.",
        "",
        "**Yields**",
        "",
        "A row: each with a name.",
        "",
        "**Raises**",
        "",
        "- `TypeError, ValueError`: no numbers.",
    ]


def test_sections_become_lists_and_examples_fences(pages):
    for name, text in pages.items():
        assert not re.search(r"^\s*(Args|Returns|Raises|Yields|Attributes):\s*$", text, flags=re.M), name
        assert not re.search(r"^\*\*(Returns|Yields)\*\*\n\n- ", text, flags=re.M), name
        assert ">>> " not in without_code(text), name
        assert text.count("\n```") % 2 == 0, name


def test_the_overview_leads_to_each_module_once():
    links = re.findall(r"\(reference/([\w.]+)\.md\)", reference.overview())
    assert links == reference.modules()


@pytest.mark.parametrize(
    ("given", "address"),
    [({}, "../../../source/companion.a.html"), ({"line": 3, "up": "../"}, "../source/companion.a.html#L-3")],
)
def test_link_to_source_leads_to_a_line_or_to_the_page(given, address):
    link = reference.source_link("companion.a", "here", **given)
    assert link == f'<a class="reference internal" href="{address}">here</a>'


def test_what_is_the_same_is_left_alone_and_what_is_gone_is_removed(tmp_path, monkeypatch):
    pages = [getattr(book_pages, name) for name in ("claims_table", "benchmarks_page", "equations")]
    for module, name in [*((each, "page") for each in pages), (reference, "overview")]:
        monkeypatch.setattr(module, name, lambda root, name=name: name)
    monkeypatch.setattr(reference, "pages", lambda root: {"companion.a": "a", "companion.b": "b"})
    first = book_pages.write(tmp_path)
    assert {path.name.removesuffix(".md") for path in first} == {
        "claims",
        "benchmarks",
        "equations",
        "reference",
        "companion.a",
        "companion.b",
    }
    times = {path: path.stat().st_mtime_ns for path in first}
    monkeypatch.setattr(reference, "pages", lambda root: {"companion.a": "a"})
    second = book_pages.write(tmp_path)
    assert all(path.stat().st_mtime_ns == times[path] for path in second)
    assert set(tmp_path.rglob("*.md")) == set(second)


def test_each_lesson_has_one_thread_while_the_book_is_built(tmp_path, monkeypatch):
    """There are as many at a time as there are cores: with more threads each, cells take until their time is out."""
    asked = []

    def note(command, env, **options):
        asked.append(env)
        return SimpleNamespace(returncode=1)

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(book_pages, "write", lambda root: [])
    monkeypatch.setattr(book.subprocess, "Popen", lambda *args, **named: nullcontext(note(*args, **named)))
    monkeypatch.setattr(book.subprocess, "run", note)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_config.yml").touch()
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(book.BookFailed):
        book.build(root=tmp_path)
    assert [env["OMP_NUM_THREADS"] for env in asked] == ["1", "1"]

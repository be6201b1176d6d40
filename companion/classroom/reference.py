"""The reference of the package, from its docstrings: a page for each module of the methods and what they stand on.

The sources are read, and griffe takes their docstrings apart; nothing of them is imported. Docstrings are Markdown already,
so what is left is to fence their examples and to keep what only looks like Markdown.

>>> [module for module in modules() if "methods" in module][:2]
['companion.methods.distributional', 'companion.methods.dynamic_evaluation']
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import griffe

from companion.classroom.sync import ROOT

FOLDER = "source"  # of the book's pages of source
PACKAGES = {
    "methods": "The ten methods",
    "methods/rivals": "What they are compared with",
    "foundations": "What several methods stand on",
    "data": "Laws, pictures, text and regressions",
    "data/streams": "Streams of data and of tasks",
}
DOCSTRINGS = {"returns_multiple_items": False, "warnings": False}  # what comes back is one text, however many its lines


# -- modules and what is public in them ----------------------------------------------------------------


def modules(root: Path = ROOT) -> list[str]:
    """The dotted names of the modules that have a page."""
    return [
        f"companion.{package.replace('/', '.')}.{path.stem}"
        for package in PACKAGES
        for path in sorted((root / "companion" / package).glob("[a-z]*.py"))
    ]


def file_of(module: str, root: Path = ROOT) -> Path:
    return root.joinpath(*module.split(".")).with_suffix(".py")


def public(owner: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.ClassDef]:
    """A module's own functions and classes, or a class's methods and properties, that have no leading underscore."""
    kinds = ast.FunctionDef | ast.ClassDef if isinstance(owner, ast.Module) else ast.FunctionDef
    return [node for node in owner.body if isinstance(node, kinds) and not node.name.startswith("_")]


def source_link(module: str, words: str, line: int | None = None, up: str = "../../../") -> str:
    """To a module's page of source, in HTML: Sphinx knows no document of that name.

    Args:
        module: its dotted name.
        words: of the link.
        line: of the module; the page's top if there is none.
        up: the way from the page to the book's top; that of a page of the reference.
    """
    anchor = "" if line is None else f"#L-{line}"
    return f'<a class="reference internal" href="{up}{FOLDER}/{module}.html{anchor}">{words}</a>'


# -- pages ---------------------------------------------------------------------------------------------


def pages(root: Path = ROOT) -> dict[str, str]:
    """The text of each page, by the module's name."""
    return {name: "\n".join(module_lines(name, root)) + "\n" for name in modules(root)}


def overview(root: Path = ROOT) -> str:
    """The page that leads to the others."""
    lines = ["# Reference", "", INTRODUCTION, ""]
    for package, title in PACKAGES.items():
        lines += [f"## {title}", ""]
        for name in modules(root):
            if name.rpartition(".")[0] == f"companion.{package.replace('/', '.')}":
                says = ast.get_docstring(read(name, root)).partition("\n\n")[0]
                lines.append(
                    f"- [`{name.removeprefix('companion.')}`](reference/{name}.md): {markdown(' '.join(says.split()))}"
                )
        lines.append("")
    return "\n".join(lines)


INTRODUCTION = """What each public function and class takes, returns and refuses, from its docstring. Modules are imported by their full name,
such as `companion.methods.speculative`; the methods need PyTorch, NumPy and jaxtyping, and nothing of Jupyter. Shapes stand
in the annotations: `Float[Tensor, "n 2"]` is a floating tensor of shape (n, 2). Whatever is random takes a
`torch.Generator`."""


def read(module: str, root: Path) -> ast.Module:
    return ast.parse(file_of(module, root).read_text(encoding="utf-8"))


def module_lines(module: str, root: Path) -> Iterator[str]:
    """A page: what the module says of itself, then its public functions and classes in their order."""
    tree, path = read(module, root), file_of(module, root).relative_to(root).as_posix()
    yield from [f"# `{module.removeprefix('companion.')}`", ""]
    yield from [f"{source_link(module, path)}, in the [reference](../reference.md)", ""]
    yield from described(tree)
    for node in public(tree):
        yield from [f"## `{node.name}`", "", *signature(node), source_link(module, "source", node.lineno), ""]
        yield from described(node)
        for inner in public(node) if isinstance(node, ast.ClassDef) else ():
            yield from [f"### `{node.name}.{inner.name}`", "", *signature(inner)]
            yield from described(inner)


# -- signatures ----------------------------------------------------------------------------------------


def signature(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """How it is called, as Python; a property as a name and its type; nothing for a class that takes nothing."""
    if isinstance(node, ast.ClassDef):
        made = next((each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
        shown, back = arguments(made) if made else fields(node), ""
        if not made and not shown:
            return []
    else:
        shown, back = arguments(node), f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({', '.join(shown)}){back}"
    if is_property(node):
        line = node.name + back.replace(" -> ", ": ", 1)
    elif len(line) > 100:
        line = f"{node.name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){back}"
    return ["```python", line, "```", ""]


def is_property(node: ast.AST) -> bool:
    decorators = [ast.unparse(each) for each in getattr(node, "decorator_list", ())]
    return not {"property", "cached_property"}.isdisjoint(decorators)


def arguments(function: ast.FunctionDef) -> list[str]:
    """Each argument with its annotation and default, and the stars between them."""
    own = function.args
    by_place = [*own.posonlyargs, *own.args]
    defaults = [None] * (len(by_place) - len(own.defaults)) + own.defaults
    shown = [argument(each, default) for each, default in zip(by_place, defaults) if each.arg != "self"]
    if own.vararg or own.kwonlyargs:
        shown.append(f"*{argument(own.vararg)}" if own.vararg else "*")
    shown += [argument(each, default) for each, default in zip(own.kwonlyargs, own.kw_defaults)]
    return shown + ([f"**{argument(own.kwarg)}"] if own.kwarg else [])


def argument(own: ast.arg, default: ast.expr | None = None) -> str:
    hint = f": {ast.unparse(own.annotation)}" if own.annotation else ""
    return f"{own.arg}{hint}" + (f" = {ast.unparse(default)}" if default else "")


def fields(node: ast.ClassDef) -> list[str]:
    """Those of a dataclass or a named tuple, which are what it is made from; none of another class."""
    words = {ast.unparse(each).partition("(")[0] for each in (*node.decorator_list, *node.bases)}
    own = [each for each in node.body if isinstance(each, ast.AnnAssign)] if words & {"dataclass", "NamedTuple"} else []
    return [
        f"{each.target.id}: {ast.unparse(each.annotation)}" + (f" = {ast.unparse(each.value)}" if each.value else "")
        for each in own
    ]


# -- docstrings ----------------------------------------------------------------------------------------


def described(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """A docstring as Markdown: its text, then its lists of arguments and so on."""
    for section in griffe.Docstring(ast.get_docstring(node) or "", parser="google", parser_options=DOCSTRINGS).parsed:
        kind = section.kind.value
        if kind == "text":
            yield from [markdown(section.value), ""]
        elif kind in ("returns", "yields"):
            yield from [f"**{kind.capitalize()}**", "", *(whole(each) for each in section.value), ""]
        elif kind in ("parameters", "attributes", "raises"):
            yield from [f"**{kind.capitalize()}**", "", *(item(each, kind) for each in section.value), ""]


def whole(part: griffe.DocstringElement) -> str:
    """What comes back, in one paragraph."""
    text = markdown(" ".join(part.description.split()))
    return f"`{part.name}`: {text}" if part.name else text


def item(part: griffe.DocstringElement, kind: str) -> str:
    """A line of a list. For griffe the second of two attributes in one line is the type of the first."""
    name = part.annotation if kind == "raises" else part.name
    name += f" {part.annotation}" if name.endswith(",") else ""
    return f"- `{name}`: {markdown(' '.join(part.description.split()))}"


def markdown(text: str) -> str:
    """Text of a docstring with its examples fenced, and without what Markdown would take for more than it is.

    >>> markdown("of shape (m, n, *event), for |x|<1")
    'of shape (m, n, \\\\*event), for |x|&lt;1'
    """
    parts = re.split(r"((?:^>>> .*(?:\n.+)*))", text, flags=re.M)
    return "".join(f"```pycon\n{part}\n```" if part.startswith(">>> ") else _plain(part) for part in parts)


def _plain(text: str) -> str:
    """Outside code, stars of shapes and angle brackets are themselves."""
    parts = re.split(r"(`[^`]*`|^ {4}.*$)", text, flags=re.M)
    return "".join(
        part if place % 2 else re.sub(r"(?<=[ (])\*(?=#?\w+[,)])", r"\\*", part).replace("<", "&lt;")
        for place, part in enumerate(parts)
    )

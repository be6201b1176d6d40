"""Pages of the book that hold the source of the package's modules, so that the links to it need no network.

sphinx.ext.viewcode makes such pages only for objects that a page describes (`py:function` and the like), and links them to
these descriptions. The lessons describe none, so the pages are made here, at the same event.
"""

import ast
import html
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jupytext

from companion.classroom.execution import FORMAT
from companion.classroom.light import tags
from companion.classroom.reference import FOLDER, file_of, modules, public
from companion.teaching.curriculum import FOUNDATIONS, LESSONS, Lesson


@cache  # a lesson's page, its exercises and the pages of source ask
def modules_of(lesson: Lesson, root: Path) -> list[str]:
    """The modules of `companion.methods` that a lesson's setup cell imports, for a foundation those of
    `companion.foundations`, too. What these import in turn is not followed.
    """
    packages = ("companion.methods.", *(["companion.foundations."] if lesson.part == FOUNDATIONS else []))
    cells = jupytext.read(root / "notebooks" / f"{lesson.stem}.py", fmt=FORMAT).cells
    setup = next(cell.source for cell in cells if "setup" in tags(cell))
    names = []
    for node in ast.parse(setup).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in dict.fromkeys(names) if name.startswith(packages) and file_of(name, root).exists()]


def collect_source_pages(app) -> Iterator[tuple[str, dict, str]]:
    """A page for each module of the reference: its name, what its template shows, and the template."""
    root, readers = Path(app.srcdir), {}
    for lesson in LESSONS.values():
        for module in modules_of(lesson, root):
            readers.setdefault(module, []).append(lesson)
    for module in modules(root):
        page, path, title = f"{FOLDER}/{module}", file_of(module, root), f"Source of {module}"
        used = ", ".join(
            f'<a class="reference internal" href="{app.builder.get_relative_uri(page, f"notebooks/{one.stem}")}">'
            f"{html.escape(f'{one.id} · {one.title}')}</a>"
            for one in readers.get(module, ())
        )
        head = f"<h1>Source of <code>{module}</code></h1>\n"
        head += (
            f"<p>The file <code>{path.relative_to(root).as_posix()}</code>{f', used in {used}' if used else ''}.</p>\n"
        )
        reference = app.builder.get_relative_uri(page, f"book/generated/reference/{module}")
        head += f'<p><a class="reference internal" href="{reference}">What it offers, in the reference</a></p>\n'
        code = source_block(path.read_text(encoding="utf-8"), app.builder.highlighter)
        yield page, {"title": title, "pagetitle": title, "body": head + code}, "page.html"


def source_block(code: str, highlighter) -> str:
    """A module's text, highlighted, each line an anchor `L-NUMBER`, with links to the public functions and classes."""
    block = highlighter.highlight_block(code, "python", linenos="inline", linespans="L")
    block = block.replace('<span class="linenos">', '<span class="linenos" aria-hidden="true">')
    nodes = public(ast.parse(code))
    for node in nodes:
        line = f'<span id="L-{node.lineno}">'
        block = block.replace(line, f'<span id="{node.name}"></span>{line}', 1)
    items = "".join(f'<li><a href="#{node.name}"><code>{node.name}</code></a></li>' for node in nodes)
    contents = f'<nav aria-label="In this module"><ul class="lim-names">{items}</ul></nav>\n' if items else ""
    return f'{contents}<div class="highlight-python notranslate lim-source">{block}</div>'

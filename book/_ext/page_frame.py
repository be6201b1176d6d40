"""What the book puts around the text of a page: for a lesson links under its title and its place on the routes; for every
page how to cite it.

All of it is Markdown that is added before a page is parsed; the notebooks do not hold it.
"""

import re
from functools import cache
from pathlib import Path

import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from pybtex.database import parse_string
from pybtex.plugin import find_plugin
from source_pages import modules_of

from companion.classroom.reference import source_link
from companion.teaching.curriculum import FOUNDATIONS, LESSONS, ROUTES, Lesson

LESSON_OF = {one.stem: one for one in LESSONS.values()}


def add_frame(cells: list[NotebookNode], path: Path, root: Path, year: str, style: str) -> None:
    """Links under the title of a lesson or of its exercises; at the end its routes and its citation.

    Args:
        cells: of the page, changed in place.
        path: of its source.
        root: the repository.
        year: of the book.
        style: pybtex's name for how references look.
    """
    first = cells[0] if cells and cells[0].cell_type == "markdown" else None
    if first is None or not first.source.startswith("# "):
        return
    title, _, rest = first.source.partition("\n")
    if links := links_of(path, root):
        first.source = f"{title}\n\n:::{{div}} lim-downloads\n{' '.join(links)}\n:::\n{rest}"
    end = citation(title.removeprefix("# "), path, root, year, style)
    if path.stem in LESSON_OF:
        end = routes(LESSON_OF[path.stem], exercises=path.parent.name == "exercises") + end
    cells.append(new_markdown_cell(end))


def add_citation(text: str, path: Path, root: Path, year: str, style: str) -> str:
    """The text of a Markdown page with its citation at the end. The first page has its own; a module's page of the
    reference is cited as the reference.
    """
    if not text.startswith("# ") or path.stem == "index" or path.parent.name == "reference":
        return text
    title = text.partition("\n")[0].removeprefix("# ")
    return f"{text.rstrip()}\n\n{citation(title, path, root, year, style)}\n"


# -- under the title -----------------------------------------------------------------------------------


def links_of(path: Path, root: Path) -> list[str]:
    """Notebooks to take away, the source of the method, and the pages that go with this one."""
    up = "../" if path.parent.name == "exercises" else ""
    offered = {"Lesson notebook": f"{up}{path.stem}.ipynb", "Student notebook": f"{up}student/{path.stem}.ipynb"}
    links = [f"{{download}}`{name} <{target}>`" for name, target in offered.items() if (path.parent / target).exists()]
    if path.stem not in LESSON_OF:
        return links
    lesson = LESSON_OF[path.stem]
    links.append(source_links(lesson, modules_of(lesson, root), f"../{up}"))
    if up:
        return [*links, f"[Back to the lesson](../{path.name})"]
    return [*links, f"[Exercises](exercises/{path.name})", f"[For instructors](../book/teach/{path.stem}.md)"]


def source_links(lesson: Lesson, modules: list[str], up: str) -> str:
    """To the pages of a lesson's modules; `up` leads to the book's top.

    One module of a method needs no name; several are named, without their package.
    """
    label = "Source" if lesson.part == FOUNDATIONS else "Source of the method"
    if len(modules) == 1 and lesson.part != FOUNDATIONS:
        return source_link(modules[0], label, up=up)
    links = ", ".join(source_link(module, module.split(".", 2)[2], up=up) for module in modules)
    return f'<span class="lim-sources">{label}: {links}</span>'


# -- at the end ----------------------------------------------------------------------------------------


def routes(lesson: Lesson, exercises: bool) -> str:
    """For each route that holds a lesson, the lessons before and after it, or their exercises; nothing where none does."""
    lines = []
    for name, route in ROUTES.items():
        if lesson.id in route.lessons:
            place = route.lessons.index(lesson.id)
            before, after = route.lessons[:place][-1:], route.lessons[place + 1 :][:1]
            steps = [f"previous {page_link(one)}" for one in before] or ["starts here"]
            steps += [f"next {page_link(one)}" for one in after] or ["ends here"]
            lines.append(f"- **{name}**: {', '.join(steps)}")
    if not lines:
        return ""
    what, up = ("exercises of the lessons", "../") if exercises else ("lessons", "")
    head = f"## On the routes\n\nWays through the {what}; their plans are in [Start here]({up}00_start_here.py)."
    return "\n".join([head, "", *lines, "", ""])


def page_link(name: str) -> str:
    """To a lesson from a lesson, and to exercises from exercises: the files of both are beside each other."""
    one = LESSONS[name]
    return f"[{one.id} · {one.title}]({one.stem}.py)"


def citation(title: str, path: Path, root: Path, year: str, style: str) -> str:
    """A fold with the citation of a page and of its lesson's paper, as text and for BibTeX."""
    about = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    folder = [path.parent.name] if path.parent.name in ("exercises", "teach") else []
    key = "-".join(["learninginmotion", *folder, path.stem.partition("_")[0]])
    blocks = ["This page:", fence("text", plain(title, about, year)), fence("bibtex", entry(key, title, about, year))]
    if paper := paper_of(root / "notebooks" / f"{path.stem}.py", root):
        blocks += ["The paper:", fence("text", formatted(paper, style)), fence("bibtex", paper)]
    return "\n\n".join(['<details class="lim-cite">\n<summary>Cite this page</summary>', *blocks, "</details>"])


def fence(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def plain(title: str, about: dict, year: str) -> str:
    """A page's citation as text, from what CITATION.cff says about the book."""
    names = [one.get("name") or f"{one['given-names']} {one['family-names']}" for one in about["authors"]]
    stop = "" if title.endswith("?") else "."
    return f"{', '.join(names)} ({year}). {title}{stop} In {about['title']}, version {about['version']}."


def entry(key: str, title: str, about: dict, year: str) -> str:
    """A page's entry for BibTeX. Names of groups and titles are in braces, which keep them as they are."""
    names = [
        f"{{{one['name']}}}" if "name" in one else f"{one['family-names']}, {one['given-names']}"
        for one in about["authors"]
    ]
    fields = {
        "author": " and ".join(names),
        "title": f"{{{title}}}",
        "booktitle": f"{{{about['title']}}}",
        "year": year,
        "note": f"Version {about['version']}",
    }
    escaped = {name: re.sub(r"([&%$#_])", r"\\\1", value) for name, value in fields.items()}
    lines = [f"  {name:9} = {{{value}}}" for name, value in escaped.items()]
    return f"@incollection{{{key},\n" + ",\n".join(lines) + "\n}"


def paper_of(lesson: Path, root: Path) -> str | None:
    """The entry in the book's references of the paper whose arXiv number a lesson's opening gives; of no lesson none."""
    text = lesson.read_text(encoding="utf-8") if lesson.exists() else ""
    number = re.search(r"\*\*Paper\*\*.*?arXiv (\d+\.\d+)", text)
    if number is None:
        return None
    references = (root / "book" / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{.*?^\}", references, flags=re.M | re.S)
    return {match[1]: one for one in entries if (match := re.search(r"arXiv:(\d+\.\d+)", one))}[number[1]]


@cache
def formatted(bibtex: str, style: str) -> str:
    """An entry of BibTeX as the list of references shows it."""
    entries = parse_string(bibtex, "bibtex").entries.values()
    (found,) = find_plugin("pybtex.style.formatting", style)().format_entries(entries)
    return found.text.render_as("text")

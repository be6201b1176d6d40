"""`python -m companion new-lesson`: a new lesson in every place that a lesson needs.

What it writes is a small real lesson on an average that forgets. It passes the tests, and whoever writes the lesson replaces it
piece by piece. New files come from `lesson_template/`, a folder like the repository's own in which names hold NN, STEM and
SLUG; what goes into files that exist is in its folder `pieces`. In all of them <<name>> stands for a value.

>>> plan = plan_of(next_number(), "placeholder", "Placeholder", "2403.00001", "A Paper", "Doe, Jane and Roe, Jon")
>>> plan.values["key"], plan.values["names"], plan.values["year"]
('doe2024paper', 'Doe and Roe', '2024')
"""

import json
import keyword
import re
import types
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from companion.foundations.validation import require
from companion.teaching import curriculum
from companion.teaching.curriculum import Lesson

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("lesson_template")
PIECES = TEMPLATE / "pieces"
PARTS = {"samples": curriculum.SAMPLES, "data": curriculum.DATA, "tasks": curriculum.TASKS}
COURSE = "Course, twelve weeks"
READ = EXERCISES = 30  # minutes, as the template says
SIGHT = "an average that forgets, until the method is here"
COUNTS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen")
NEXT = """Next:

    make sync                                     # runs what changed: all lessons once, for they know the new checks
    .venv/bin/python -m companion seeds {number}        # the claims of the new lesson with five seeds
    make test

Then replace the template piece by piece, as CONTRIBUTING says under "To add a lesson in an afternoon". The last
week of the course, in companion/teaching/curriculum.py, now has this lesson: see whether it belongs there."""


@dataclass(frozen=True)
class Plan:
    """A lesson that is to be written: its entry in the curriculum, and the values of the template."""

    lesson: Lesson
    values: dict[str, str]


def next_number() -> str:
    """The first number that no lesson has."""
    return f"{max(int(name) for name in curriculum.LESSONS if name.isdecimal()) + 1:02}"


def plan_of(
    number: str, slug: str, title: str, arxiv: str, paper: str, authors: str, part: str = "tasks", sight: str = SIGHT
) -> Plan:
    """Check what the command was given.

    Args:
        number: of the lesson, the next that is free.
        slug: of its files and of its module in companion/methods.
        title: short.
        arxiv: the paper's number, from which its year is read.
        paper: its title.
        authors: as BibTeX has them, "Last, First and Last, First".
        part: of the suite: "samples", "data" or "tasks" move.
        sight: what one will see, in words that end a line.

    Raises:
        ValueError: what cannot be used, in one sentence.
    """
    here = curriculum.LESSONS.get(number)
    require(here is None or here.stem != f"{number}_{slug}", "lesson", f"{number}_{slug}", "new: it is here already")
    require(number == next_number(), "number", repr(number), f"{next_number()!r}, the next that is free")
    plain = bool(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", slug)) and not keyword.iskeyword(slug)
    plain = plain and slug != "rivals"  # a folder beside it
    allowed = "small letters, digits and single underscores, at most 30, a letter first, and no word of Python's"
    require(plain and len(slug) <= 30, "slug", repr(slug), allowed)
    allowed = "a capital letter and then letters, digits, spaces and hyphens, at most 40"
    require(bool(re.fullmatch(r"[A-Z][\w’ -]{1,38}\w", title)), "title", repr(title), allowed)
    taken = {one.title.casefold() for one in curriculum.LESSONS.values()}
    require(title.casefold() not in taken, "title", repr(title), "another than those of the lessons")
    dated = re.fullmatch(r"(\d\d)(?:0[1-9]|1[0-2])\.\d{4,5}", arxiv)
    require(dated is not None, "arxiv", repr(arxiv), "a number like 2502.02483")
    for argument, text in (("paper", paper), ("authors", authors), ("sight", sight)):
        clean = bool(text.strip()) and not re.search(r"[\\{}$%#&_*|`\[\]\"<>\n]", text)
        require(clean, argument, repr(text), "one line of plain text, without marks of BibTeX or Markdown")
    people = [name.strip().split(", ") for name in authors.split(" and ")]
    named = all(len(name) == 2 and all(name) for name in people)
    require(named, "authors", repr(authors), "'Last, First and Last, First'")
    require(part in PARTS, "part", repr(part), "one of " + ", ".join(PARTS))

    lesson = Lesson(number, f"{number}_{slug}", title, PARTS[part], sight.rstrip("."), READ, EXERCISES)
    year, last = f"20{dated[1]}", [name[0] for name in people]
    values = {"number": number, "slug": slug, "stem": lesson.stem, "title": title, "arxiv": arxiv, "paper": paper}
    values |= {"authors": authors, "names": _listed(last), "year": year, "key": _key(last[0], year, paper)}
    values |= {"Sight": lesson.sight[0].upper() + lesson.sight[1:]}
    return Plan(lesson, values)


def write(plan: Plan, root: Path = ROOT) -> list[Path]:
    """Write the lesson into a repository, and return the files that are new or changed. Nothing is written if anything fails.

    Raises:
        ValueError: a file that is there already, or a place that is not found in a file.
    """
    texts = new_files(plan, root) | changed_files(plan, root)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)


def new_files(plan: Plan, root: Path) -> dict[Path, str]:
    """The files of the template, each with its text."""
    texts = {}
    for source in sorted(TEMPLATE.rglob("*.txt")):
        if source.parent == PIECES:
            continue
        name = source.relative_to(TEMPLATE).as_posix().removesuffix(".txt")
        for mark, value in (("NN", "number"), ("STEM", "stem"), ("SLUG", "slug")):
            name = name.replace(mark, plan.values[value])
        require(not (root / name).exists(), name, "there already", "free: take another slug")
        texts[root / name] = _filled(source, plan)
    return texts


def changed_files(plan: Plan, root: Path) -> dict[Path, str]:
    """The files that list the lessons, each with the new one in it."""
    changes = {
        "companion/teaching/curriculum.py": in_curriculum,
        "companion/teaching/checks/__init__.py": in_checks,
        "notebooks/00_start_here.py": in_first_notebook,
        "README.md": in_readme,
        "book/_toc.yml": in_contents,
        "book/index.md": in_front_page,
        "book/_static/landing.js": in_sketches,
        "book/equations.yml": lambda text, plan: text.rstrip("\n") + "\n" + _piece("equations.yml", plan),
        "book/references.bib": in_references,
        "book/glossary.md": in_glossary,
        "book/notation.md": in_notation,
        "book/how-to-teach.md": in_plans,
    }
    texts = {}
    for name, change in changes.items():
        text = (root / name).read_text(encoding="utf-8")
        try:
            texts[root / name] = change(text, plan)
        except LookupError as error:
            raise ValueError(
                f"{name} is without {error.args[0]!r}, but must have it: the new lesson goes there."
            ) from None
    return texts


# --- the files that list the lessons --------------------------------------------------------------------------------


def in_curriculum(text: str, plan: Plan) -> str:
    """An entry after the last one, a place in the last week of the course, and a place on the map."""
    one, count = plan.lesson, int(plan.lesson.id)
    part = next(name for name in ("SAMPLES", "DATA", "TASKS") if getattr(curriculum, name) == one.part)
    words = [json.dumps(each, ensure_ascii=False) for each in (one.id, one.stem, one.title, one.sight)]
    entry = f"        Lesson({', '.join(words[:3])}, {part}, {words[3]}, {one.read}, {one.exercises}),\n"
    text = _after_last(text, r"        Lesson\(.*\),\n", entry)
    last = curriculum.ROUTES[COURSE].meetings[-1]
    before = f'Meeting("{last.when}", {_tuple(last.lessons)}, '
    text = _replaced(text, before, f'Meeting("{last.when}", {_tuple((*last.lessons, one.id))}, ')
    text = _replaced(text, f"ylim=({count - 1.4:.1f}, ", f"ylim=({count - 0.4:.1f}, ")
    if count - 10 < len(COUNTS):
        text = text.replace(f"{COUNTS[count - 11]} methods on the right", f"{COUNTS[count - 10]} methods on the right")
    return text


def with_lesson(plan: Plan) -> types.ModuleType:
    """The curriculum as it will be."""
    text = in_curriculum(Path(curriculum.__file__).read_text(encoding="utf-8"), plan)
    module = types.ModuleType("curriculum_with_lesson")
    exec(compile(text, curriculum.__file__, "exec"), module.__dict__)
    return module


def in_checks(text: str, plan: Plan) -> str:
    return _after_last(text, r"    lesson_\d\d,\n", f"    lesson_{plan.lesson.id},\n")


def in_first_notebook(text: str, plan: Plan) -> str:
    """Its tables, which are the curriculum's."""
    new = with_lesson(plan)
    pairs = [(curriculum.lesson_table(), new.lesson_table())]
    pairs += [(curriculum.route_table(name), new.route_table(name)) for name in curriculum.ROUTES]
    for old, table in pairs:
        old, table = ("\n".join(f"# {line}" for line in each.splitlines()) for each in (old, table))
        text = _replaced(text, old, table)
    return text


def in_readme(text: str, plan: Plan) -> str:
    """A row below the last of its part, with the same columns."""
    old = _last_of(plan.lesson.part)
    line = _line(text, rf"\|.*\bnotebooks/{old.stem}\.ipynb.*\|\n")
    cells = [_readme_cell(cell.strip(), old, plan) for cell in line.strip().strip("|").split("|")]
    return _replaced(text, line, f"{line}| {' | '.join(cells)} |\n".replace("|  |", "| |"))


def _readme_cell(cell: str, old: Lesson, plan: Plan) -> str:
    """What the new lesson has where another has this: its number, its link, its paper, its minutes; of a picture nothing."""
    one = plan.lesson
    if "![" in cell or "<img" in cell:
        return ""
    if "arxiv.org" in cell:
        return f"[{plan.values['arxiv']}](https://arxiv.org/abs/{plan.values['arxiv']})"
    if f"{old.stem}.ipynb" in cell:
        sight = f": {one.sight}" if cell.partition(")")[2] else ""
        number = f"{one.id} " if cell.startswith(old.id) else ""
        return f"{number}[{one.title}](notebooks/{one.stem}.ipynb){sight}"
    if cell.strip("* ") == old.id:
        return cell.replace(old.id, one.id)
    minutes = {str(old.read): str(one.read), str(old.exercises): str(one.exercises)}
    return (
        re.sub(r"\d+", lambda found: minutes.get(found[0], found[0]), cell)
        if set(re.findall(r"\d+", cell)) & minutes.keys()
        else ""
    )


def in_contents(text: str, plan: Plan) -> str:
    """Its pages after those of the last lesson of its part, and its instructor's page after the last."""
    text = _after(
        text,
        f"          - file: notebooks/exercises/{_last_of(plan.lesson.part).stem}.py\n",
        _piece("contents.yml", plan),
    )
    return _after_last(text, r"      - file: book/teach/\w+\n", f"      - file: book/teach/{plan.lesson.stem}\n")


def in_front_page(text: str, plan: Plan) -> str:
    """A card after the last of its part, and its place on the course, with the minutes in all."""
    old, one = _last_of(plan.lesson.part), plan.lesson
    card = _line(text, rf"```{{grid-item-card}} {old.id} · .*\n(?:.*\n)*?```\n")
    text = _after(text, card, _piece("card.md", plan))
    text = _after_last(text, r"1\. \[\w\w\]\(\S+\)\n", f"1. [{one.id}](../notebooks/{one.stem}.ipynb)\n")
    new = with_lesson(plan)
    return _replaced(text, _minutes(curriculum), _minutes(new))


def _minutes(plan: types.ModuleType) -> str:
    """Those of the course, as the front page says them."""
    lessons = [plan.LESSONS[name] for name in plan.ROUTES[COURSE].lessons]
    read, exercises = (divmod(sum(getattr(one, kind) for one in lessons), 60) for kind in ("read", "exercises"))
    return "{} hours {} minutes to read, {} hours {} minutes for all exercises".format(*read, *exercises)


def in_sketches(text: str, plan: Plan) -> str:
    end = "    };\n\n    // -- what moves them --\n"
    return _replaced(text, end, _piece("landing.js", plan) + end)


def in_references(text: str, plan: Plan) -> str:
    arxiv, key = plan.values["arxiv"], plan.values["key"]
    require(f"arXiv:{arxiv}" not in text, "arxiv", repr(arxiv), "that of a paper which book/references.bib lacks")
    require(f"{{{key}," not in text, "key", repr(key), "new in book/references.bib: give the paper another title")
    return text.rstrip("\n") + "\n" + _piece("references.bib", plan)


def in_glossary(text: str, plan: Plan) -> str:
    """The lesson's title as a term, among the others in the order of the alphabet."""
    title = plan.lesson.title.casefold()
    terms = re.findall(r"^(\w.*)\n  \S", text, flags=re.M)
    require(title not in map(str.casefold, terms), "title", repr(plan.lesson.title), "no term of the glossary")
    later = [term for term in terms if term.casefold() > title]
    entry = _piece("glossary.md", plan)
    return (
        _replaced(text, f"\n{later[0]}\n  ", f"\n{entry}\n{later[0]}\n  ")
        if later
        else _replaced(text, "\n```\n", f"\n\n{entry}```\n")
    )


LETTERS = {
    "a": "the rate",
    "k": "how many rows ago",
    "m": "the average",
    "\\mu": "the mean that wanders",
    "q": "the variance of its steps",
    "r": "the variance of the noise",
    "t": "how many rows were seen",
    "V": "the variance of the average’s error",
    "y": "a row",
}  # fmt: skip


def in_notation(text: str, plan: Plan) -> str:
    """What the template's letters mean, in the rows of letters with several meanings."""
    for letter, meaning in LETTERS.items():
        row = _line(text, rf"\| \${re.escape(letter)}\$ \| .*; .* \|\n")
        mine = f"; [{plan.lesson.id}](../notebooks/{plan.lesson.stem}.ipynb): {meaning} |\n"
        text = _replaced(text, row, row.removesuffix(" |\n") + mine)
    return text


def in_plans(text: str, plan: Plan) -> str:
    return _after_last(text, r"\| \[\w\w · .*\|\n", _piece("how-to-teach.md", plan))


# --- words ----------------------------------------------------------------------------------------------------------


def _listed(names: list[str]) -> str:
    """ "Doe", "Doe and Roe", "Doe, Roe and Poe"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _key(last: str, year: str, paper: str) -> str:
    """Of BibTeX: the first author's last name, the year, and the title's first word of four letters or more."""
    words = [re.sub(r"\W", "", word) for word in paper.split()]
    word = next((word for word in words if len(word) > 3), words[0])
    plain = unicodedata.normalize("NFKD", last + year + word).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", plain.lower())


def _tuple(names: tuple[str, ...]) -> str:
    """As the curriculum writes it."""
    return f"({', '.join(json.dumps(name) for name in names)}{',' if len(names) == 1 else ''})"


def _last_of(part: str) -> Lesson:
    return [one for one in curriculum.LESSONS.values() if one.part == part][-1]


def _piece(name: str, plan: Plan) -> str:
    return _filled(PIECES / f"{name}.txt", plan)


def _filled(path: Path, plan: Plan) -> str:
    """A text of the template with the values in it."""
    return re.sub(r"<<(\w+)>>", lambda found: plan.values[found[1]], path.read_text(encoding="utf-8"))


# --- places ---------------------------------------------------------------------------------------------------------


def _replaced(text: str, old: str, new: str) -> str:
    """`text` with its first `old` replaced; a LookupError if there is none."""
    if old not in text:
        raise LookupError(old.strip().splitlines()[0][:80])
    return text.replace(old, new, 1)


def _after(text: str, mark: str, piece: str) -> str:
    return _replaced(text, mark, mark + piece)


def _line(text: str, pattern: str) -> str:
    """The first piece of `text` that begins a line and fits."""
    found = re.search(f"^{pattern}", text, flags=re.M)
    if found is None:
        raise LookupError(pattern)
    return found[0]


def _after_last(text: str, pattern: str, piece: str) -> str:
    """`text` with a piece below the last line that fits."""
    found = list(re.finditer(f"^{pattern}", text, flags=re.M))
    if not found:
        raise LookupError(pattern)
    end = found[-1].end()
    return text[:end] + piece + text[end:]

"""Feedback pages: what a student is told, in HTML that needs nothing else."""

import hashlib
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from companion.teaching.checks import exercises
from companion.teaching.checks.framework import MARKS

if TYPE_CHECKING:
    from companion.classroom.grading import Grade

LONGEST = 60  # letters of a file's name
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ margin-top: 2.5rem; font-size: 1.2rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: 0.5rem 0.75rem 0.5rem 0; border-top: 1px solid #8886; overflow-wrap: anywhere; }}
th {{ width: 35%; font-weight: normal; }}
</style>
</head>
<body>
<h1>{title}</h1>
{sections}
</body>
</html>
"""


def write_feedback(student: str, grades: Sequence["Grade"], folder: Path) -> Path:
    """Write a student's page: for each notebook each exercise with its verdict, in the words of the check.

    Args:
        student: as in the table.
        grades: of the student's notebooks.
        folder: where the page goes, under the student's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_name(student)}.html"
    sections = "\n".join(section(one) for one in grades)
    page = PAGE.format(title=html.escape(student), sections=sections)
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def file_name(student: str) -> str:
    """A name that every file system takes, another one for every student.

    >>> file_name("ada"), file_name("../ada")
    ('ada', '__ada-600882')
    """
    safe = re.sub(r"[^\w.-]+|^\.+", "_", student)[:LONGEST]
    if safe == student:
        return safe
    return f"{safe}-{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def section(grade: "Grade") -> str:
    """What is said of one notebook."""
    head = f"<h2>{html.escape(grade.file)}</h2>\n"
    if not grade.verdicts:
        return f"{head}<p>{html.escape(sentence(f'{grade.status}: {grade.message}'))}</p>"
    said = f"{grade.right} of {len(grade.verdicts)} right. {sentence(grade.message)}".rstrip()
    titles = {one.id: one.title for one in exercises(grade.lesson)}
    rows = []
    for name, one in grade.verdicts.items():
        status = f"{one['status']} ({one['failed']})" if one["failed"] else one["status"]
        verdict = (
            f"<strong>{MARKS.get(one['status'], '–')} {html.escape(status)}</strong><br>{html.escape(one['message'])}"
        )
        rows.append(f'<tr><th scope="row">{name} · {html.escape(titles[name])}</th><td>{verdict}</td></tr>')
    return f"{head}<p>{html.escape(said)}</p>\n<table>\n" + "\n".join(rows) + "\n</table>"


def sentence(text: str) -> str:
    """With a capital letter and a full stop; nothing stays nothing.

    >>> sentence("it ran")
    'It ran.'
    """
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""

"""Rows of the book: how long its builds take, what it weighs, and how soon its lessons can be used.

There is no peer: beside our numbers stand the limits that the project sets itself, and ratios are ours divided by the
limit. A cold build runs every lesson and draws every frame, in a copy of the repository; a warm one follows a change of
one lesson's prose. A page is usable when its text and its mathematics stand and its first widget has drawn itself.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Browser

from companion.classroom.book import ROOT, build
from companion.teaching.curriculum import LESSONS
from tests.benchmarks.measure import Result, Row, seconds
from tests.book.visits import MEGABYTE, transferred
from tests.browser import open_browser

REPEATS = 5

# As a reader does: scroll to the first widget, and wait until it is there.
FIRST_WIDGET = """() => new Promise((resolve) => {
  const place = document.querySelector(".lim-host");
  place.scrollIntoView();
  const look = () => (place.dataset.state === "shown" ? resolve() : requestAnimationFrame(look));
  look();
})"""


@cache
def builds() -> tuple[float, float, float]:
    """Seconds of a cold build and of a warm one, in a copy, and the site's megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "book"
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in listed.rstrip("\0").split("\0"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        cold = seconds(lambda: build_in(copy))
        lesson = copy / "notebooks" / f"{LESSONS['05'].stem}.py"
        text = lesson.read_text(encoding="utf-8")
        lesson.write_text(text.replace("\n# %% [markdown]\n", "\n# %% [markdown]\n# New.\n#\n", 2), encoding="utf-8")
        warm = seconds(lambda: build_in(copy))
        files = (path for path in (copy / "book" / "_build" / "html").rglob("*") if path.is_file())
        return cold, warm, sum(path.stat().st_size for path in files) / MEGABYTE


def build_in(copy: Path) -> None:
    code = "from pathlib import Path; from companion.classroom.book import build; build(root=Path.cwd())"
    environment = os.environ | {"PYTHONPATH": str(copy)}
    subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, stdout=subprocess.DEVNULL, check=True)


@cache
def openings() -> tuple[list[float], list[float]]:
    """For each lesson the median of its seconds until it is usable, and its megabytes."""
    site, times, weights = build().parent, [], []
    with open_browser() as browser:
        for lesson in LESSONS.values():
            took, weighed = zip(
                *[open_page(browser, site / "notebooks" / f"{lesson.stem}.html") for _ in range(REPEATS)]
            )
            times.append(statistics.median(took))
            weights.append(max(weighed))
    return times, weights


def open_page(browser: Browser, path: Path) -> tuple[float, float]:
    page, asked = browser.new_page(viewport={"width": 1280, "height": 900}), set()
    page.on("request", lambda request: asked.add(unquote(urlsplit(request.url).path)))

    def use() -> None:
        page.goto(path.as_uri(), wait_until="domcontentloaded")  # pictures far below may still be on their way
        page.wait_for_function("() => window.MathJax?.startup?.promise?.then(() => true)")
        page.evaluate(FIRST_WIDGET)

    took = seconds(use)
    page.wait_for_load_state("load")
    page.close()
    return took, sum(transferred(Path(name)) for name in asked if Path(name).is_file()) / MEGABYTE


def against(limit: float, unit: str, *found: float) -> Result:
    """The largest of what was found, against its limit."""
    middle = f"median {statistics.median(found):.2f}, largest " if len(found) > 1 else ""
    return Result(f"{middle}{max(found):.3g} {unit}", f"{limit} {unit}", f"{max(found) / limit:.2f}")


def rows() -> list[Row]:
    limit, wanted = "the project's limit", "ratio at most 1"
    return [
        Row(
            "book-cold",
            "build of the book, every lesson run and every frame drawn, time",
            limit,
            lambda: against(600, "s", builds()[0]),
            wanted,
        ),
        Row(
            "book-warm",
            "build of the book after a change of one lesson's prose, time",
            limit,
            lambda: against(90, "s", builds()[1]),
            wanted,
        ),
        Row("book-site", "all files of the book", limit, lambda: against(60, "MB", builds()[2]), wanted),
        Row(
            "book-open",
            f"a lesson's page from the disk until its first widget is there, {len(LESSONS)} lessons, time",
            limit,
            lambda: against(2, "s", *openings()[0]),
            wanted,
        ),
        Row(
            "book-weight",
            f"files that a lesson's page asks for, texts compressed as servers send them, {len(LESSONS)} lessons",
            limit,
            lambda: against(3, "MB", *openings()[1]),
            wanted,
        ),
    ]

"""The book as a reader has it: a folder of files, a browser, no network and no kernel."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser
from visits import WIDE, Visit

from companion.classroom.book import ROOT, build
from tests.browser import open_browser


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built book; built first where it is not fresh."""
    folder = ROOT / "book" / "_build"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "test.lock"):  # two workers must not build at once
        return build(strict=True).parent


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def visit(site: Path, browser: Browser) -> Iterator:
    """`visit(name, size, theme)` opens a page over file:// and takes note of every complaint and request."""
    contexts = []

    def open_page(
        name: str, size: tuple[int, int] = WIDE, theme: str = "light", still: bool = True, query: str = ""
    ) -> Visit:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=theme,
            reduced_motion="reduce" if still else "no-preference",
            offline=True,
        )
        contexts.append(context)
        context.route(re.compile("^(https?|wss?):"), lambda route: route.abort())
        seen = Visit(context.new_page())
        note = seen.problems.append
        seen.page.on("console", lambda message: note(message.text) if message.type in ("error", "warning") else None)
        seen.page.on("pageerror", lambda error: note(f"uncaught: {error}"))
        seen.page.on("requestfailed", lambda request: note(f"failed: {request.url[:200]}"))
        seen.page.on(
            "request",
            lambda request: (
                None if re.match("(file|data|blob):", request.url) else note(f"left the folder: {request.url}")
            ),
        )
        seen.page.goto((site / f"{name}.html").as_uri() + query, wait_until="load")
        seen.page.evaluate("() => window.MathJax?.startup?.promise.then(() => null)")
        return seen

    yield open_page
    for context in contexts:
        context.close()

"""The book as a reader has it: a folder of files, a browser, no network and no kernel."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Request
from visits import WIDE, Visit

from companion.classroom.book import ROOT, build
from companion.teaching.widgets.base import front_end
from tests.browser import open_browser

pytest.register_assert_rewrite("hands")

SHOW = """async ([text, packed]) => {
  const unpack = (value) => {
    if (Array.isArray(value)) return value.map(unpack);
    if (value === null || typeof value !== "object") return value;
    if ("bytes" in value) return new DataView(Uint8Array.from(atob(value.bytes), (letter) => letter.charCodeAt(0)).buffer);
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, unpack(inner)]));
  };
  const state = unpack(packed);
  const front = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  window.stop = front.default.render({ model: { get: (name) => state[name] }, el: document.body });
}"""


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
        seen.page.on("requestfailed", lambda request: note_failure(request, seen))
        seen.page.on("request", lambda request: note_request(request.url, seen))
        seen.page.goto((site / f"{name}.html").as_uri() + query, wait_until="load")
        seen.page.evaluate("() => window.MathJax?.startup?.promise.then(() => null)")
        return seen

    yield open_page
    for context in contexts:
        context.close()


def note_request(address: str, seen: Visit) -> None:
    """A file's place is kept for its weight; what is neither a file nor within the page is a problem."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        seen.files.add(Path(unquote(parts.path)))
    elif parts.scheme not in ("data", "blob"):
        seen.problems.append(f"left the folder: {address}")


def note_failure(request: Request, seen: Visit) -> None:
    """A file that did not come; not the icon that was still on its way when the page was left for another."""
    if request.failure != "net::ERR_ABORTED":
        seen.problems.append(f"failed: {request.url[:200]}")


def pack(value):
    """A trait with its bytes as text, wherever they are."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [pack(inner) for inner in value]
    return {name: pack(inner) for name, inner in value.items()} if isinstance(value, dict) else value


@pytest.fixture
def show(browser):
    """Render a widget in an empty page; returns its element and what went wrong."""
    contexts = []

    def render(widget, still=True):
        contexts.append(browser.new_context(reduced_motion="reduce" if still else "no-preference"))
        page, problems = contexts[-1].new_page(), []
        page.on("pageerror", lambda error: problems.append(str(error)))
        names = widget.trait_names(sync=True)
        state = {name: pack(getattr(widget, name)) for name in names if not name.startswith("_")}
        state = {name: value for name, value in state.items() if isinstance(value, str | int | float | list | dict)}
        page.evaluate(SHOW, [front_end(), state])
        return page.locator(".lim-widget"), problems

    yield render
    for context in contexts:
        context.close()

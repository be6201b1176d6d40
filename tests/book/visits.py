"""An open page of the book, with everything that went wrong on it."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml
from playwright.sync_api import Page

from companion.classroom.book import ROOT

WIDE, PHONE = (1280, 900), (390, 844)
MEGABYTE = 1_000_000


def page_names() -> list[str]:
    """Every page of the table of contents, the search page, and of the reference's many pages one."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())

    def walk(entry: dict) -> Iterator[str]:
        if "file" in entry:
            yield entry["file"].removesuffix(".py")
        for inner in (*entry.get("parts", ()), *entry.get("chapters", ()), *entry.get("sections", ())):
            yield from walk(inner)

    return [toc["root"], *walk(toc), "search", "book/generated/reference/companion.methods.soft_reset"]


def has_widgets(name: str) -> bool:
    """Whether a page's notebook makes a widget."""
    source = ROOT / f"{name}.py"
    return source.exists() and bool(re.search(r"^[^#\n]*\b(?:explore|live_\w+)\(", source.read_text(), flags=re.M))


@cache
def transferred(path: Path) -> int:
    """A file's bytes as they travel: pictures as they are, texts by gzip."""
    whole = path.read_bytes()
    return len(whole if path.suffix in (".png", ".woff", ".woff2") else gzip.compress(whole, compresslevel=6))


@dataclass
class Visit:
    """An open page, with everything that went wrong on it."""

    page: Page
    problems: list[str] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)

    def weight(self) -> int:
        """The bytes of all files that the page has asked for, texts as servers send them, compressed."""
        return sum(transferred(path) for path in self.files)

    def show_widgets(self) -> int:
        """Scroll to each widget in turn, as a reader does, until all of them have started."""
        places = self.page.locator(".lim-host")
        for place in places.all():
            place.scroll_into_view_if_needed()
            self.page.wait_for_function(
                "place => ['shown', 'failed'].includes(place.dataset.state)", arg=place.element_handle()
            )
        return places.count()

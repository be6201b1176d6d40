"""An open page of the book, with everything that went wrong on it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from playwright.sync_api import Page

from companion.classroom.book import ROOT

WIDE, PHONE = (1280, 900), (390, 844)


def page_names() -> list[str]:
    """Every page of the table of contents, and the search page."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())

    def walk(entry: dict) -> Iterator[str]:
        if "file" in entry:
            yield entry["file"].removesuffix(".py")
        for inner in (*entry.get("parts", ()), *entry.get("chapters", ()), *entry.get("sections", ())):
            yield from walk(inner)

    return [toc["root"], *walk(toc), "search"]


@dataclass
class Visit:
    """An open page, with everything that went wrong on it."""

    page: Page
    problems: list[str] = field(default_factory=list)

    def show_widgets(self) -> int:
        """Scroll to each widget in turn, as a reader does, until all of them have started."""
        places = self.page.locator(".lim-host")
        for place in places.all():
            place.scroll_into_view_if_needed()
            self.page.wait_for_function(
                "place => ['shown', 'failed'].includes(place.dataset.state)", arg=place.element_handle()
            )
        return places.count()

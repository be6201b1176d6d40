"""The folder itself: what it weighs, where its links lead, what it must not hold."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from jupyter_cache import get_cache
from visits import MEGABYTE, has_widgets, page_names

from companion.classroom.book import ROOT
from companion.classroom.execution import read
from companion.classroom.light import code_cells, light_outputs, tags

STATE = re.compile(r'<script type="application/vnd.jupyter.widget-state\+json">(.*?)</script>', re.S)


class References(HTMLParser):
    """What a page points to, the places that it offers, and how it describes its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.loads, self.descriptions, self.places = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif found.get("src") or (tag == "link" and found.get("rel") != "canonical"):
            self.loads.append(found.get("src") or found.get("href"))
        if tag == "img" and "_images/" in found.get("src", ""):
            self.descriptions.append(found.get("alt") or "")


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}


def test_every_page_of_the_contents_is_there(site, pages):
    assert {site / f"{name}.html" for name in page_names()} <= set(pages)


def test_folder_index_leads_to_the_first_page(pages, site):
    assert "url=book/index.html" in pages[site / "index.html"]


def test_weights(site, pages):
    heavy = {path.name: len(text.encode()) for path, text in pages.items() if len(text.encode()) > 3 * MEGABYTE}
    assert heavy == {}
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) <= 60 * MEGABYTE
    states = {path.name: len(state) for path, text in pages.items() for state in STATE.findall(text)}
    assert states, "no page carries a widget"
    assert {name: size for name, size in states.items() if size > 2 * MEGABYTE} == {}


def test_widgets_are_where_they_are_looked_for(site, pages):
    """`test_widgets_move` opens these pages and no others."""
    found = {path.relative_to(site).with_suffix("").as_posix() for path, text in pages.items() if STATE.search(text)}
    assert found == {name for name in page_names() if has_widgets(name)}


def test_widget_modules_are_stored_once(site, pages):
    modules = json.loads(
        (site / "_static" / "widget-modules.js").read_text(encoding="utf-8").partition(" = ")[2].rstrip(";\n")
    )
    used = set()
    for text in pages.values():
        for state in STATE.findall(text):
            stored = json.loads(state)["state"].values()
            used |= {widget["module"] for widget in stored}
            assert all("_esm" not in widget["state"] for widget in stored)
    assert used == set(modules)


def test_every_picture_is_described(pages):
    undescribed = {
        f"{path.name}: {alt or '(nothing)'}"
        for path, text in pages.items()
        for alt in References(text).descriptions
        if len(alt) < 15 or alt.startswith(("<Figure", "../"))
    }
    assert undescribed == set()


def test_links_within_the_book_lead_somewhere(site, pages):
    places = {path: References(text).places for path, text in pages.items()}
    broken = []
    for path, text in pages.items():
        for link in References(text).links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in places and anchor not in places[target]):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages):
    outside = {
        f"{path.name}: {load}"
        for path, text in pages.items()
        for load in References(text).loads
        if urlsplit(load).scheme not in ("", "data")
    }
    assert outside == set()


def test_style_sheets_ask_for_files_that_are_there(site):
    missing = []
    for sheet in site.rglob("*.css"):
        for address in re.findall(r"url\(\s*['\"]?([^'\")]+)", sheet.read_text(encoding="utf-8")):
            parts = urlsplit(address)
            if parts.scheme == "data" or address.startswith("#"):
                continue
            if parts.scheme or not (sheet.parent / unquote(parts.path)).exists():
                missing.append(f"{sheet.name}: {address}")
    assert missing == []


def test_every_icon_of_the_theme_is_drawn(site, pages):
    """The theme's own icons, thousands in a script and in fonts, are left out."""
    drawn = set(re.findall(r"\.(fa-[\w-]+)", (site / "_static" / "icons.css").read_text(encoding="utf-8")))
    named = {name for text in pages.values() for name in re.findall(r'class="[^"]*?(fa-(?!solid|lg)[\w-]+)', text)}
    assert named
    assert named <= drawn
    assert not any("fontawesome" in load for text in pages.values() for load in References(text).loads)


def test_only_the_page_of_the_search_loads_its_index(pages):
    heavy = {path.name for path, text in pages.items() if any("searchindex" in load for load in References(text).loads)}
    assert heavy == {"search.html"}


def test_solutions_are_folded(pages):
    folded = 0
    for path, text in pages.items():
        if path.parent.name == "exercises":
            assert "BEGIN SOLUTION" not in text
            folded += text.count("Show a solution")
    assert folded >= 4


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb")), ids=lambda path: path.stem)
def test_exercises_show_what_the_committed_notebooks_show(site, path):
    """nbval runs the lessons again; the solutions of the exercises run once, for the book."""
    cache = get_cache(site.parent / ".jupyter_cache")
    ran = cache.get_cache_bundle(cache.match_cache_notebook(read(str(path.with_suffix(".py")))).pk).nb
    kept = nbformat.read(path, as_version=4)
    cells = list(zip(code_cells(kept), code_cells(ran), strict=True))
    assert any("check" in tags(cell) and cell.outputs for cell, _ in cells)
    for cell, again in cells:
        if "nbval-ignore-output" not in tags(cell):
            assert shown(light_outputs(again.outputs)) == shown(cell.outputs), cell.source


def shown(outputs):
    """The text of outputs."""
    return [dict(output.get("data", {})) or output.get("text", output.get("evalue")) for output in outputs]

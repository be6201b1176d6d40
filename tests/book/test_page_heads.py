"""What stands around a page: for a lesson the links under its title and its place on the routes, how to cite it; and pages of
source."""

import ast
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, SoupStrainer
from playwright.sync_api import expect
from test_pages import serious_barriers, too_wide
from visits import PHONE, WIDE, page_names

from companion.classroom.book import ROOT
from companion.classroom.reference import file_of, modules
from companion.teaching.curriculum import FOUNDATIONS, LESSONS, ROUTES

NOTEBOOKS = ROOT / "notebooks"
NARROW = (360, 740)
LIT = """() => [...document.querySelectorAll('.lim-source span[id^="L-"]')]
    .filter((line) => getComputedStyle(line).backgroundColor !== "rgba(0, 0, 0, 0)").map((line) => line.id)"""
each_lesson = pytest.mark.parametrize("lesson", LESSONS.values(), ids=lambda lesson: lesson.id)
lesson_or_exercises = pytest.mark.parametrize("folder", ["notebooks", "notebooks/exercises"])


@pytest.fixture(scope="module")
def article(site):
    """`article(name)` is the text of a page, parsed, and knows its place."""

    @cache
    def read(name: str) -> BeautifulSoup:
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        return BeautifulSoup(text, "html.parser", parse_only=SoupStrainer("article"))

    return read


@pytest.fixture(scope="module")
def target(site):
    """`target(name, link)` is the file to which a link of a page leads, and must be there."""

    def resolve(name: str, link) -> Path:
        found = (site / name).parent.joinpath(unquote(urlsplit(link["href"]).path)).resolve()
        assert found.is_file(), f"{name}: {link['href']}"
        return found

    return resolve


def row(article, name: str) -> dict:
    """The links of the row under the title, by their words."""
    found = article(name).select_one(".lim-downloads")
    assert found.find_previous_sibling().name == "h1"
    return {" ".join(link.get_text().split()): link for link in found.select("a")}


def imported(lesson) -> set[str]:
    """The modules that a lesson's page must link, read from its source as text."""
    packages = "methods|foundations" if lesson.part == FOUNDATIONS else "methods"
    text = (NOTEBOOKS / f"{lesson.stem}.py").read_text(encoding="utf-8")
    return set(re.findall(rf"^from (companion\.(?:{packages})\.[\w.]+) import ", text, flags=re.M))


# -- under the title -----------------------------------------------------------------------------------


@each_lesson
def test_lesson_offers_its_notebooks_and_leads_to_its_other_pages(site, article, target, lesson):
    name = f"notebooks/{lesson.stem}"
    links = row(article, name)
    pairs = {"Lesson notebook": f"{lesson.stem}.ipynb", "Student notebook": f"student/{lesson.stem}.ipynb"}
    for words, file in pairs.items():
        assert target(name, links[words]).read_bytes() == (NOTEBOOKS / file).read_bytes()
    assert target(name, links["Exercises"]) == site / "notebooks" / "exercises" / f"{lesson.stem}.html"
    assert target(name, links["For instructors"]) == site / "book" / "teach" / f"{lesson.stem}.html"


@each_lesson
def test_exercises_offer_the_notebooks_and_lead_back(site, article, target, lesson):
    name = f"notebooks/exercises/{lesson.stem}"
    links = row(article, name)
    assert target(name, links["Lesson notebook"]).read_bytes() == (NOTEBOOKS / f"{lesson.stem}.ipynb").read_bytes()
    student = NOTEBOOKS / "student" / f"{lesson.stem}.ipynb"
    assert target(name, links["Student notebook"]).read_bytes() == student.read_bytes()
    assert target(name, links["Back to the lesson"]) == site / "notebooks" / f"{lesson.stem}.html"


@each_lesson
@lesson_or_exercises
def test_page_leads_to_the_source_of_what_its_lesson_imports(site, article, target, folder, lesson):
    name = f"{folder}/{lesson.stem}"
    files = [target(name, link) for link in row(article, name).values()]
    shown = {file.stem for file in files if file.parent == site / "source"}
    assert shown == imported(lesson) != set()


def test_method_of_one_module_needs_no_name_and_several_are_named(article):
    assert "Source of the method" in row(article, "notebooks/04_mmd_gradient_flow")
    assert {"nevis", "pruning"} <= set(row(article, "notebooks/10_nevis"))


# -- pages of source -----------------------------------------------------------------------------------


def test_source_pages_hold_the_modules_text_with_anchors(site, article, target):
    assert {path.stem for path in (site / "source").glob("*.html")} == set(modules())
    for module in modules():
        code = file_of(module).read_text(encoding="utf-8")
        page = BeautifulSoup(str(article(f"source/{module}")), "html.parser")  # a copy, to be cut
        block = page.select_one(".lim-source pre")
        numbers = [number.extract() for number in block.select(".linenos")]
        assert block.get_text() == code
        assert [int(number.get_text()) for number in numbers] == list(range(1, len(code.splitlines()) + 1))
        assert all(number["aria-hidden"] == "true" for number in numbers)
        assert block.select("span.k, span.kn"), "nothing is highlighted"
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert block.select_one(f"#{node.name}").find_next_sibling()["id"] == f"L-{node.lineno}"
                assert page.select_one(f'nav a[href="#{node.name}"]')
        readers = {target(f"source/{module}", link).stem for link in page.select("h1 + p a")}
        assert readers == {lesson.stem for lesson in LESSONS.values() if module in imported(lesson)}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_source_page_is_quiet_accessible_and_fits(visit, theme):
    seen = visit("source/companion.methods.rivals.sliced_energy", NARROW, theme)
    assert too_wide(seen.page) == []
    block = seen.page.locator(".lim-source pre")
    seen.page.wait_for_function("block => block.tabIndex === 0", arg=block.element_handle())  # it scrolls by keys
    seen.page.set_viewport_size(dict(zip(("width", "height"), WIDE)))
    assert too_wide(seen.page) == []
    barriers = serious_barriers(seen.page, inside=True, rules=None)
    assert not barriers, "\n".join(barriers)
    assert seen.problems == []


def test_name_of_a_function_leads_to_its_line(visit):
    seen = visit("source/companion.methods.distributional")
    assert seen.page.evaluate(LIT) == []
    seen.page.locator(".lim-names a", has_text="sample_distributional").click()
    line = seen.page.locator("#sample_distributional + span")
    expect(line).to_be_in_viewport()
    assert seen.page.evaluate(LIT) == [line.get_attribute("id")]
    assert seen.problems == []


def test_link_to_a_line_lights_this_line_only(visit):
    seen = visit("source/companion.methods.distributional", query="#L-40")
    expect(seen.page.locator("#L-40")).to_be_in_viewport()
    assert seen.page.evaluate(LIT) == ["L-40"]
    assert seen.problems == []


@pytest.mark.parametrize("folder", ["book/generated/reference", "source"])
def test_each_modules_page_opens_quietly_and_fits(visit, site, folder):
    first, *others = modules()
    seen = visit(f"{folder}/{first}", NARROW)
    for module in (first, *others):
        if module != first:
            seen.page.goto((site / folder / f"{module}.html").as_uri(), wait_until="load")
            seen.page.evaluate("() => window.MathJax?.startup?.promise.then(() => null)")
        assert seen.page.locator("article h1").count() == 1, module
        assert too_wide(seen.page) == [], module
        assert seen.problems == [], module


# -- routes --------------------------------------------------------------------------------------------


@each_lesson
@lesson_or_exercises
def test_routes_lead_to_the_pages_of_their_kind_before_and_after(site, article, target, folder, lesson):
    name, shown = f"{folder}/{lesson.stem}", {}
    for item in article(name).select("#on-the-routes li"):
        links = item.select("a")
        words = item.get_text()
        shown[item.strong.get_text()] = (
            next((target(name, link) for link in links if f"previous {link.get_text()}" in words), None),
            next((target(name, link) for link in links if f"next {link.get_text()}" in words), None),
        )
    expected = {}
    for route, plan in ROUTES.items():
        pages = [None, *(site / folder / f"{LESSONS[one].stem}.html" for one in plan.lessons), None]
        if lesson.id in plan.lessons:
            place = plan.lessons.index(lesson.id) + 1
            expected[route] = (pages[place - 1], pages[place + 1])
    assert shown == expected
    plans = article(name).select("#on-the-routes > p a")
    assert {target(name, link) for link in plans} == (
        {site / "notebooks" / "00_start_here.html"} if expected else set()
    )


def test_themes_own_way_through_the_book_stays(site):
    text = (site / "notebooks" / "01_distributional_diffusion.html").read_text(encoding="utf-8")
    footer = BeautifulSoup(text, "html.parser", parse_only=SoupStrainer(class_="prev-next-area"))
    assert footer.select_one("a.left-prev")
    assert footer.select_one("a.right-next")


# -- how to cite ---------------------------------------------------------------------------------------


def blocks(article, name: str) -> list[str]:
    """The texts to copy in the fold at a page's end."""
    fold = article(name).select_one("details.lim-cite")
    assert fold.summary.get_text() == "Cite this page"
    assert not fold.has_attr("open")
    return [block.get_text().rstrip("\n") for block in fold.select("pre")]


def cited_pages() -> list[str]:
    """All pages but the first, which has a citation of its own, the search, and a module's page of the reference."""
    return [name for name in page_names() if name not in ("book/index", "search") and "/reference/" not in name]


@pytest.mark.parametrize("name", cited_pages())
def test_citation_says_what_the_book_says_of_itself(article, name):
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    year = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))["copyright"]
    heading = article(name).h1
    heading = heading.get_text().removesuffix(heading.select_one("a.headerlink").get_text())
    text, bibtex, *_ = blocks(article, name)
    for said in (heading, about["title"], about["version"], year, *(one["name"] for one in about["authors"])):
        assert said in text
        assert said in bibtex
    assert "?." not in text


def test_each_page_has_a_key_of_its_own(article):
    names = cited_pages()
    keys = [re.match(r"@incollection\{([\w-]+),", blocks(article, name)[1])[1] for name in names]
    assert len(set(keys)) == len(keys) > 3 * len(LESSONS)


@pytest.mark.parametrize("name", ["book/index", "book/generated/reference/companion.methods.soft_reset"])
def test_some_pages_need_no_fold(article, name):
    assert article(name).select_one("details.lim-cite") is None


@each_lesson
def test_paper_is_cited_as_in_the_references(article, lesson):
    cited = blocks(article, f"notebooks/{lesson.stem}")
    assert blocks(article, f"notebooks/exercises/{lesson.stem}")[2:] == cited[2:]
    assert blocks(article, f"book/teach/{lesson.stem}")[2:] == cited[2:]
    if lesson.part == FOUNDATIONS:
        assert len(cited) == 2
        return
    _, _, text, bibtex = cited
    assert bibtex in (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    paper = re.search(r"\*\*Paper\*\*.*", (NOTEBOOKS / f"{lesson.stem}.py").read_text(encoding="utf-8"))[0]
    number = re.search(r"arXiv (\d+\.\d+)", paper)[1]
    assert f"arXiv:{number}" in bibtex
    assert f"arXiv:{number}" in text
    assert re.search(r"\*(.+?)\*,", paper.split("**: ")[1])[1].lower() in text.lower()
    assert not re.search(r"[{}\\]", text), "braces or accents of BibTeX are left"


def test_keyboard_reaches_the_fold_and_copies(visit):
    seen = visit("notebooks/01_distributional_diffusion", PHONE)
    fold, keyboard = seen.page.locator("details.lim-cite"), seen.page.keyboard
    expect(fold.locator("button.copybtn")).to_have_count(4)
    seen.page.locator("#on-the-routes li a").last.focus()
    keyboard.press("Tab")
    assert fold.evaluate("fold => fold.querySelector('summary') === document.activeElement")
    keyboard.press("Enter")
    assert fold.evaluate("fold => fold.open")
    assert too_wide(seen.page) == []
    wide = "fold => [...fold.querySelectorAll('pre')].filter((block) => block.scrollWidth > block.clientWidth).length"
    assert fold.evaluate(wide) == 0
    for button in fold.locator("button.copybtn").all():
        keyboard.press("Tab")
        assert button.evaluate("button => button === document.activeElement")
        keyboard.press("Enter")
        expect(button).to_have_attribute("data-tooltip", "Copied!")
    assert seen.problems == []

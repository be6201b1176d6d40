"""Every page opens from the folder: quiet, whole, accessible, within the screen, in light and dark, on a desk and on a
phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from visits import PHONE, WIDE, page_names

THOROUGH = "notebooks/exercises/03_learned_guidance"  # much code, much mathematics, folds
CONTRAST = "color-contrast"  # the one rule that depends on the theme
OPEN_FOLDS = "() => document.querySelectorAll('article details').forEach((fold) => { fold.open = true; })"


@pytest.mark.parametrize(("theme", "sizes"), [("light", (WIDE, PHONE)), ("dark", (PHONE, WIDE))], ids=["light", "dark"])
@pytest.mark.parametrize("name", page_names())
def test_page_is_quiet_whole_and_accessible_and_fits(visit, name, theme, sizes):
    """Light pages are opened on a desk and narrowed to a phone, dark ones the other way."""
    seen = visit(name, sizes[0], theme)
    number = seen.show_widgets()
    assert seen.page.locator("html").get_attribute("data-theme") == theme
    assert_whole(seen.page, number, fewest_widgets(name))
    for size in (sizes[0], sizes[1], sizes[0]):
        seen.page.set_viewport_size(dict(zip(("width", "height"), size)))
        assert too_wide(seen.page) == []
    assert seen.problems == []
    seen.page.evaluate(OPEN_FOLDS)
    barriers = serious_barriers(seen.page, inside=name == THOROUGH, rules=None if theme == "light" else [CONTRAST])
    assert not barriers, "\n".join(barriers)
    assert seen.problems == []


def fewest_widgets(name):
    """How many a page must have: three in the lesson of a method, one in that of a foundation."""
    folder, _, stem = name.rpartition("/")
    lesson = folder == "notebooks" and stem != "00_start_here"
    return (1 if stem.startswith("f") else 3) if lesson else 0


def assert_whole(page, number, fewest):
    """Mathematics is set, and so many widgets are alive."""
    assert page.locator(".math:not(:has(mjx-container)), [data-mml-node=merror]").count() == 0
    assert page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count() == 0
    assert page.locator(".lim-host[data-state=shown] .lim-widget").count() == number
    assert page.locator(".jupyter-widgets, .widget-subarea").count() == 0
    if fewest:
        assert number >= fewest
        assert page.locator("mjx-container").count() > 0


def too_wide(page):
    """What reaches beyond the right edge of the window, the first few."""
    return page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll("main *")].filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
            .slice(0, 5).map((node) => `${node.tagName} ${node.className}`)"""
    )


def serious_barriers(page, inside, rules):
    """What axe-core finds serious or critical, in words: by some rules or all, inside code and mathematics or not.

    The colours of code and of mathematics are the same on all pages, and half of the time goes into them.
    """
    context = None if inside else {"exclude": [[".highlight pre"], ["mjx-container"]]}
    options = {"resultTypes": ["violations"], "preload": False}  # it would fetch style sheets, which no folder allows
    options |= {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}\n    "
        + "\n    ".join(node["html"][:200] for node in rule["nodes"][:4])
        for rule in Axe().run(page, context, options).response["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


def test_search_finds_without_a_server(visit):
    seen = visit("search", query="?q=energy")
    seen.page.locator("#search-results li").first.wait_for()
    assert seen.problems == []


def test_theme_button_switches_the_page_and_its_widgets(visit):
    seen = visit("notebooks/00_start_here")
    assert seen.show_widgets() > 0
    widget = seen.page.locator(".lim-widget").first
    backgrounds = set()
    for _ in range(3):
        seen.page.locator(".theme-switch-button:visible").first.click()
        backgrounds.add(widget.evaluate("node => getComputedStyle(node).backgroundColor"))
    assert len(backgrounds) == 2

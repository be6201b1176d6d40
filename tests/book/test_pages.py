"""Every page opens from the folder: quiet, whole, accessible, within the screen, in light and dark, on a desk and on a
phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from visits import MEGABYTE, PHONE, WIDE, page_names

THOROUGH = "notebooks/exercises/03_learned_guidance"  # much code, much mathematics, folds
CONTRAST = "color-contrast"  # the one rule that depends on the theme
# The theme lets keys reach the tables that scroll, some time after a change of the window.
TABLES_ARE_REACHED = """() => [...document.querySelectorAll(".pst-scrollable-table-container")]
  .every((table) => table.scrollWidth <= table.clientWidth || table.tabIndex === 0)"""
OPEN_FOLDS = "() => document.querySelectorAll('article details').forEach((fold) => { fold.open = true; })"


@pytest.mark.parametrize("name", page_names())
def test_page_is_quiet_whole_and_accessible_and_fits(visit, name):
    """Every second page is opened in light on a desk, then narrowed and darkened; the others the other way round."""
    order = 1 if page_names().index(name) % 2 else -1
    (size, other_size), (theme, other_theme) = (WIDE, PHONE)[::order], ("light", "dark")[::order]
    seen = visit(name, size, theme)
    number = seen.show_widgets()
    assert_theme(seen.page, theme)
    assert_whole(seen.page, number, fewest_widgets(name))
    assert seen.weight() <= 3 * MEGABYTE
    for each in (size, other_size, size):
        seen.page.set_viewport_size(dict(zip(("width", "height"), each)))
        assert too_wide(seen.page) == []
    assert seen.problems == []
    seen.page.evaluate(OPEN_FOLDS)
    seen.page.wait_for_function(TABLES_ARE_REACHED)
    barriers = serious_barriers(seen.page, inside=name == THOROUGH, rules=None)
    seen.page.emulate_media(color_scheme=other_theme)
    assert_theme(seen.page, other_theme)
    barriers += serious_barriers(seen.page, inside=name == THOROUGH, rules=[CONTRAST])
    assert not barriers, "\n".join(barriers)
    assert seen.problems == []


def assert_theme(page, theme):
    """The page has a theme, and no colour is on its way to another."""
    expect(page.locator("html")).to_have_attribute("data-theme", theme)
    page.wait_for_function("() => document.getAnimations().every((one) => one.playState !== 'running')")


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
    """A word of one lesson's text leads to this lesson and to no other."""
    seen = visit("search", query="?q=grope")
    found = seen.page.locator("#search-results li a")
    expect(found).to_have_count(1)
    assert "05_closed_form_last_layer.html" in found.get_attribute("href")
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

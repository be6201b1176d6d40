"""Every page opens from the folder: quiet, whole, within the screen, in light and dark, on a desk and on a phone."""

import pytest
from visits import PHONE, WIDE, page_names

PAGES = page_names()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_page_opens_quietly_and_fits(visit, name, size, theme):
    seen = visit(name, size, theme)
    seen.show_widgets()
    assert seen.problems == []
    assert seen.page.locator("html").get_attribute("data-theme") == theme
    too_wide = seen.page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll("main *")].filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
            .slice(0, 5).map((node) => `${node.tagName} ${node.className}`)"""
    )
    assert too_wide == []


@pytest.mark.parametrize("name", PAGES)
def test_mathematics_is_set_and_every_widget_is_alive(visit, name):
    seen = visit(name)
    number = seen.show_widgets()
    assert seen.page.locator(".math:not(:has(mjx-container)), [data-mml-node=merror]").count() == 0
    assert seen.page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count() == 0
    assert seen.page.locator(".lim-host[data-state=shown] .lim-widget").count() == number
    assert seen.page.locator(".jupyter-widgets, .widget-subarea").count() == 0
    if name.startswith("notebooks/0") and not name.endswith("00_start_here"):
        assert number >= 3
        assert seen.page.locator("mjx-container").count() > 0


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

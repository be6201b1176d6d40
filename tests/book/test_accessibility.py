"""axe-core finds nothing serious on any page, with every widget started and every fold open."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from visits import PHONE, WIDE, page_names


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
@pytest.mark.parametrize("name", page_names())
def test_page_is_accessible(visit, name, theme, size):
    seen = visit(name, size, theme)
    seen.show_widgets()
    seen.page.evaluate("() => document.querySelectorAll('article details').forEach((fold) => { fold.open = true; })")
    found = Axe().run(seen.page).response["violations"]
    serious = [
        f"{rule['id']} ({rule['impact']}): {rule['help']}\n    "
        + "\n    ".join(node["html"][:200] for node in rule["nodes"][:4])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
    assert not serious, "\n".join(serious)

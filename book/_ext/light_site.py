"""What makes the pages lighter: no file is loaded that a page does not use.

The theme loads thousands of icons, as a script and as fonts, and the tools of the search on every page; MathJax comes with
a menu and much else. Here icons come from `_static/icons.css`, the search's tools stay on its own page, and of MathJax the
parts are copied that set formulas.
"""

import re
import shutil
from importlib import metadata
from pathlib import Path

LANDING = "book/index"
# In order: what loads the others, formulas from TeX to SVG, and MathML for screen readers.
MATHJAX = (
    "startup.js",
    "core.js",
    "input/tex.js",
    "output/svg.js",
    "output/svg/fonts/tex.js",
    "a11y/assistive-mml.js",
)
ICONS = re.compile(r"<(?:script|link)\b[^>]*/fontawesome\.js[^>]*>(?:</script>)?\n?")
GLYPHS = re.compile(r'@font-face\{[^}]*/fontawesome/[^}]*\}|(?:\.fa-[\w-]+:before,?)+\{content:"[^"]*"\}')
SEARCH = re.compile(r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>\n?')


def load_landing(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """The widget and the thumbnails of the front page are loaded there only."""
    if pagename == LANDING:
        app.add_js_file("landing.js", defer="defer")
        app.add_css_file("landing.css")


def copy_mathjax(site: Path) -> None:
    files = {str(file).partition("/mathjax/")[2]: file for file in metadata.files("sphinx-mathjax-offline")}
    for name in MATHJAX:
        target = site / "_static" / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[name].locate(), target)


def lighten(site: Path) -> None:
    """Take out of each page and of the theme's styles what is not used, and the files that nothing asks for then."""
    for path in site.rglob("*.html"):
        light = ICONS.sub("", path.read_text(encoding="utf-8"))
        path.write_text(light if path == site / "search.html" else SEARCH.sub("", light), encoding="utf-8")
    for path in (site / "_static" / "styles").glob("*.css"):
        path.write_text(GLYPHS.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.rmtree(site / "_static" / "vendor" / "fontawesome")
    for path in (site / "_static" / "scripts").glob("fontawesome*"):
        path.unlink()

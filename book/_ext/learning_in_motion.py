"""What the book adds to Jupyter Book: lessons with links, routes and citations around them (`page_frame`), folded
solutions, claims as callouts, pages of source (`source_pages`), widgets without a widget manager, and mathematics from a
package.

Each step is one function, connected to one of Sphinx's events in `setup`.
"""

import hashlib
import json
import os
import re
from pathlib import Path

import jupytext
from docutils import nodes
from light_site import copy_mathjax, lighten, load_landing
from myst_nb.sphinx_ import NbMetadataCollector
from page_frame import add_citation, add_frame
from source_pages import collect_source_pages
from sphinx.util import logging

from companion.classroom.execution import FORMAT, fold_solutions
from companion.classroom.runs import read_claim

logger = logging.getLogger(__name__)

WIDGET_STATE = "ipywidgets_state"
VIEW = re.compile(r'"model_id": "(\w+)"')
STOCK_TRAITS = re.compile(r"_(esm|css|anywidget_id|model_\w+|view_\w+)|layout|tabbable|tooltip")
MODULES = "widget-modules.js"


# -- pages, before they are parsed ---------------------------------------------------------------------


def prepare_page(app, docname: str, source: list[str]) -> None:
    """Links between pages and the frame around their text; the solutions of exercises folded."""
    path, root = Path(app.env.doc2path(docname)), Path(app.srcdir)
    if path.suffix == ".md":
        cards = re.sub(r"^:link: (\S+)\.(ipynb|md)$", r":link: \1\n:link-type: doc", source[0], flags=re.M)
        linked = link_pages(cards, path, app.env.found_docs, root)
        source[0] = add_citation(linked, path, root, app.config.copyright, app.config.bibtex_default_style)
        return
    notebook = jupytext.reads(source[0], fmt=FORMAT)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = link_pages(cell.source, path, app.env.found_docs, root)
    notebook.cells = fold_solutions(notebook.cells)
    add_frame(notebook.cells, path, root, app.config.copyright, app.config.bibtex_default_style)
    source[0] = jupytext.writes(notebook, fmt=FORMAT)


def link_pages(text: str, path: Path, pages: set[str], root: Path) -> str:
    """Links to a notebook, which are right in Lab and in a list of files, lead to its page in the book.

    A link to `student/NN.ipynb` leads to the page of `exercises/NN.py`, where the solutions are folded.
    """

    def page(match: re.Match) -> str:
        target = (path.parent / match["path"]).resolve()
        if target.parent.name == "student":
            target = target.parent.parent / "exercises" / target.name
        if not target.is_relative_to(root) or target.relative_to(root).with_suffix("").as_posix() not in pages:
            return match[0]
        steps = len(path.parent.relative_to(root).parts)
        return f"]({'../' * steps}{target.relative_to(root).with_suffix('.py').as_posix()}{match['anchor'] or ''})"

    return re.sub(r"\]\((?P<path>[\w./-]+)\.ipynb(?P<anchor>#[\w-]+)?\)", page, text)


# -- pages, after they are parsed ----------------------------------------------------------------------


def style_claims(app, doctree: nodes.document) -> None:
    """Printed lines that begin with a tick become callouts, with the measured value set apart."""
    for output in list(doctree.findall(nodes.literal_block)):
        lines = output.astext().splitlines()
        if "output" not in output["classes"] or not lines or not all(line.startswith("✓ ") for line in lines):
            continue
        callout = nodes.container(classes=["lim-claims"])
        for line in lines:
            said = read_claim(line)
            claim = nodes.paragraph("", said["claim"], classes=["lim-claim"])
            if said["value"]:
                claim += [nodes.Text(" "), nodes.inline("", said["value"], classes=["lim-value"])]
            callout += claim
        output.replace_self(callout)


def describe_pictures(app, doctree: nodes.document) -> None:
    """A figure's text, which stands beside its picture in the notebook, becomes the picture's description."""
    for bundle in doctree.findall(
        lambda node: isinstance(node, nodes.container) and node.get("nb_element") == "mime_bundle"
    ):
        forms = {form.get("mime_type"): form for form in bundle.children}
        if {"image/png", "text/plain"} <= set(forms):
            for picture in forms["image/png"].findall(nodes.image):
                picture["alt"] = forms["text/plain"].astext()
                if float(picture.get("width", "0").removesuffix("px")) > 800:  # many panels: scrolls on a phone
                    picture["classes"].append("lim-many-panels")


def share_modules(app, doctree: nodes.document) -> None:
    """Keep of each widget's state only what its host reads, and the module's text once for the whole book."""
    env, docname = app.env, app.env.docname
    files = NbMetadataCollector.get_js_files(env, docname)
    if WIDGET_STATE not in files:
        return
    uri, attributes = files[WIDGET_STATE]
    models = json.loads(attributes["body"])["state"]
    kept = {}
    for view in [node for node in doctree.findall(nodes.raw) if VIEW.search(node.astext())]:
        name = VIEW.search(view.astext())[1]
        model = models.get(name, {"model_name": "widget without a state", "state": {}})
        module = model["state"].get("_esm")
        if module is None and is_progress_bar(model, models):
            bundle = view.parent.parent
            bundle.parent.remove(bundle)
            continue
        if module is None:
            logger.warning(f"a {model['model_name']} needs a kernel and would be dead in the book", location=docname)
            continue
        identity = hashlib.sha256(module.encode()).hexdigest()[:12]
        widget_modules(env)[identity] = module
        state = {trait: value for trait, value in model["state"].items() if not STOCK_TRAITS.fullmatch(trait)}
        buffers = [{"path": buffer["path"], "data": buffer["data"]} for buffer in model.get("buffers", [])]
        kept[name] = {"module": identity, "state": state, "buffers": buffers}
    if not kept:
        files.clear()
        return
    body = json.dumps({"state": kept}, separators=(",", ":")).replace("</", "<\\/")
    NbMetadataCollector.add_js_file(env, docname, WIDGET_STATE, uri, {**attributes, "body": body})
    NbMetadataCollector.add_js_file(env, docname, "lim_modules", MODULES, {"defer": "defer"})
    NbMetadataCollector.add_js_file(env, docname, "lim_host", "widgets.js", {"defer": "defer"})


def is_progress_bar(model: dict, models: dict) -> bool:
    """Whether this is a bar of tqdm's, which a finished page does not need."""
    children = [child.removeprefix("IPY_MODEL_") for child in model["state"].get("children", [])]
    return any(models.get(child, {}).get("model_name") == "FloatProgressModel" for child in children)


def widget_modules(env) -> dict[str, str]:
    """The text of each widget module in the book, by a short hash."""
    if not hasattr(env, "lim_modules"):
        env.lim_modules = {}
    return env.lim_modules


# -- the site, when it is written ----------------------------------------------------------------------


def write_on_all_cores(app, env) -> None:
    """Pages are written by several processes; some extensions must read in one, and Jupyter Book has no option for it."""
    app.parallel = os.cpu_count()


def finish(app, exception) -> None:
    """Write the widgets' modules, copy MathJax, and take out of all pages what they do not use."""
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    modules = json.dumps(widget_modules(app.env), ensure_ascii=False)
    (site / "_static" / MODULES).write_text(f"globalThis.limModules = {modules};\n", encoding="utf-8")
    copy_mathjax(site)
    lighten(site)


def setup(app) -> dict:
    app.add_config_value("comments_config", {}, "env")  # Jupyter Book sets it for sphinx_comments, which is left out
    app.connect("source-read", prepare_page)
    app.connect("doctree-read", style_claims)
    app.connect("doctree-read", describe_pictures)
    app.connect("doctree-read", share_modules)
    app.connect("env-updated", write_on_all_cores)
    app.connect("html-collect-pages", collect_source_pages)
    app.connect("html-page-context", load_landing)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}

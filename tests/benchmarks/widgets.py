"""Rows of the widgets: how soon a figure follows its slider, in JupyterLab and in a page without a kernel.

One picture on every side: a cloud of points whose mean a slider moves. Ours is `explore`; the peers are `interact` with a
new matplotlib figure for each value, shown inline, and `interact` with ipympl, whose one figure has its points moved. In
Lab an arrow key moves a slider to a value that was not shown before, so all sides ask the kernel. In a page of the book
there is none: `explore` shows the frames that it carries, and the peers do not answer, so the page stands beside Lab.

Times are from the key press to the first animation frame with the last change of the picture, as the browser reports
them. What has changed is seen in the pixels, which are the same for images and canvases; it is the last change if no other
comes within `QUIET` milliseconds. Sides take turns in one notebook.
"""

import json
import os
import statistics
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import nbformat
from playwright.sync_api import Locator

from companion.classroom.light import KERNEL
from tests.benchmarks.measure import ROOT, Row, side_by_side
from tests.browser import open_browser
from tests.lab.server import open_and_run, page_of, serve

MOVES, WARM = 21, 3
QUIET = 500
POINTS = 1000

# In every notebook. `picture` draws on axes, so that all sides show the same.
PICTURE = f"""
import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import FloatSlider, interact
from matplotlib.figure import Figure

from companion.teaching.widgets import Slider, explore
from companion.teaching.widgets.frames import DOTS_PER_INCH

SIZE = (5, 4)
cloud = np.random.default_rng(0).standard_normal(({POINTS}, 2))


def picture(axes, mean):
    axes.set(xlim=(-6, 6), ylim=(-4, 4), xlabel="first coordinate", ylabel="second coordinate")
    return axes.scatter(*(cloud + [mean, 0]).T, s=8)


def scatter(mean):
    "A cloud of points that moves with its mean."
    figure = Figure(figsize=SIZE)
    picture(figure.subplots(), mean)
    return figure
"""

# With its frames drawn, as it has them some seconds after it was shown. A key moves it by a tenth of the way from a frame to
# the next: between them the nearest is shown until the kernel has sent the exact picture, and only that counts.
OURS = """
import os

os.environ["COMPANION_FRAMES"] = "all"
widget = explore(scatter, mean=Slider(-2, 2, steps=21))
widget
"""

PEERS = {
    "interact": """
@interact(mean=FloatSlider(0, min=-2, max=2, step=0.02))
def peer(mean):
    figure, axes = plt.subplots(figsize=SIZE, dpi=DOTS_PER_INCH)
    picture(axes, mean)
    plt.show()
""",
    "ipympl": """
%matplotlib widget
figure, axes = plt.subplots(figsize=SIZE, dpi=DOTS_PER_INCH)
points = picture(axes, 0)

@interact(mean=FloatSlider(0, min=-2, max=2, step=0.02))
def peer(mean):
    points.set_offsets(cloud + [mean, 0])
    figure.canvas.draw_idle()
""",
}

# Makes `limMove`, a promise of the milliseconds from the next key press to the last change of the pictures in a place. Read
# is a strip of each, in the middle of the cloud, so that looking takes no time from the sides that it measures.
WATCH = """([place, quiet]) => {
  const height = 32, copy = document.createElement("canvas"), pen = copy.getContext("2d", { willReadFrequently: true });
  const hash = () => {
    const shown = [...place.querySelectorAll("img, canvas")]
      .map((node) => [node, node.naturalWidth ?? node.width, node.naturalHeight ?? node.height])
      .filter(([node, wide, high]) => node.complete !== false && wide > 0 && high > height);
    let sum = 2166136261;
    for (const [node, wide, high] of shown) {
      [copy.width, copy.height] = [wide, height];
      pen.drawImage(node, 0, (high - height) / 2, wide, height, 0, 0, wide, height);
      for (const pixel of new Uint32Array(pen.getImageData(0, 0, wide, height).data.buffer)) sum = Math.imul(sum ^ pixel, 16777619);
    }
    return shown.length ? sum : null; // between two pictures there may be none
  };
  let began = null, changed = null, last = hash();
  window.addEventListener("keydown", (event) => { began = event.timeStamp; }, { capture: true, once: true });
  window.limMove = new Promise((resolve, reject) => {
    const look = () => {
      const now = performance.now(), seen = hash();
      if (seen !== null && seen !== last) [last, changed] = [seen, now];
      if (changed !== null && now - changed > quiet) resolve(changed - began);
      else if (began !== null && now - began > 10_000) reject(new Error("the picture did not change in 10 seconds"));
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
}"""


def move(place: Locator, slider: Locator, key: str) -> float:
    """Milliseconds from a key press on a slider until the picture in its place has changed."""
    slider.focus()
    place.page.evaluate(WATCH, [place.element_handle(), QUIET])
    place.page.keyboard.press(key)
    return place.page.evaluate("() => limMove")


@cache
def in_lab(name: str) -> tuple[float, float]:
    """Median milliseconds of a move, ours and of a peer, in one notebook."""
    if name == "ipympl":
        import_module(name)
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in (PICTURE, OURS, PEERS[name])]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "notebooks").mkdir()
        nbformat.write(notebook, home / "notebooks" / "moves.ipynb")
        with serve(home, PYTHONPATH=str(ROOT), JUPYTER_PREFER_ENV_PATH="1") as lab, open_browser() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 1600})
            open_and_run(page, page_of(lab, "moves.ipynb"))
            places = page.locator(".jp-CodeCell").nth(1), page.locator(".jp-CodeCell").nth(2)
            sliders = places[0].locator("input[type=range]"), places[1].locator(".noUi-handle")
            times = [[move(*side, "ArrowRight") for side in zip(places, sliders)] for _ in range(WARM + MOVES)]
    # Each tenth place is a frame that ours has, so it would not ask the kernel.
    ours, peer = zip(*(pair for k, pair in enumerate(times, start=1) if k > WARM and k % 10))
    return statistics.median(ours), statistics.median(peer)


@cache
def in_page() -> float:
    """Median milliseconds of a move in a page with the book's host of widgets, from a file, without a kernel."""
    names: dict = {}
    with patch.dict(os.environ):
        exec(PICTURE + OURS, names)
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        file = Path(folder) / "page.html"
        file.write_text(page_with(names["widget"]), encoding="utf-8")
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())
        place = page.locator(".lim-host[data-state=shown]")
        keys = [("ArrowRight", "ArrowLeft")[(k // 8) % 2] for k in range(WARM + MOVES)]
        times = [move(place, place.locator("input[type=range]"), key) for key in keys]
    return statistics.median(times[WARM:])


def page_with(widget) -> str:
    """A page that holds a widget as the book's pages do."""
    model = type(widget).get_manager_state(widgets=[widget])["state"][widget.model_id]
    kept = {"module": "ours", "state": model["state"], "buffers": model.get("buffers", [])}
    state, modules = (
        json.dumps(value).replace("</", "<\\/")
        for value in ({"state": {widget.model_id: kept}}, {"ours": model["state"]["_esm"]})
    )
    view = json.dumps({"model_id": widget.model_id})
    host = (ROOT / "book" / "_static" / "widgets.js").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html><meta charset="utf-8"><title>A widget</title><body>
<script type="application/vnd.jupyter.widget-view+json">{view}</script>
<script type="application/vnd.jupyter.widget-state+json">{state}</script>
<script>globalThis.limModules = {modules};</script>
<script>{host}</script>"""


def rows() -> list[Row]:
    figure = f"a scatter of {POINTS:,} points from a key press on its slider to its new picture"
    return [
        Row(
            "widgets-lab-interact",
            f"{figure}, in JupyterLab, time",
            "ipywidgets interact, a matplotlib figure inline",
            lambda: side_by_side(*in_lab("interact"), "ms"),
            "ratio at most 1, ours under 150 ms",
        ),
        Row(
            "widgets-lab-ipympl",
            f"{figure}, in JupyterLab, time",
            "ipywidgets interact, ipympl, points moved in one figure",
            lambda: side_by_side(*in_lab("ipympl"), "ms"),
            "ours under 150 ms",
        ),
        Row(
            "widgets-page",
            f"{figure}, in a page without a kernel, from stored frames, time",
            "needs a kernel, does not answer here; its time in JupyterLab, ipywidgets interact",
            lambda: side_by_side(in_page(), in_lab("interact")[1], "ms"),
            "ratio at most 1, ours under 100 ms",
        ),
    ]

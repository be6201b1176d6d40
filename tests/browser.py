"""The browser of the tests and the benchmarks: Debian's Chromium, told to talk to nobody."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]

# Puts a control back to a value that it had, as a hand would.
PUT_BACK = """(input, value) => {
  if (input.type === "checkbox") { input.click(); return; }
  if (input.type === "radio") { document.getElementsByName(input.name)[value].click(); return; }
  input.value = value;
  input.dispatchEvent(new Event(input.tagName === "SELECT" ? "change" : "input", { bubbles: true }));
}"""

# A hash of what a widget shows: its frame or its canvases, pixel by pixel; "blank" if one of them shows nothing.
# An image that is given its next frame while it decodes rejects; it is asked again, and a broken one rejects each time.
PICTURE = """async (widget) => {
  const decode = (image, tries = 5) =>
    image.decode().catch((error) => { if (tries === 1) throw error; return decode(image, tries - 1); });
  const shown = [...widget.querySelectorAll("img.lim-frame, canvas.lim-canvas")];
  await Promise.all(shown.filter((node) => node.decode).map((node) => decode(node)));
  let sum = 2166136261;
  for (const node of shown) {
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [node.naturalWidth ?? node.width, node.naturalHeight ?? node.height];
    const pen = copy.getContext("2d", { willReadFrequently: true });
    pen.drawImage(node, 0, 0);
    const pixels = new Uint32Array(pen.getImageData(0, 0, copy.width, copy.height).data.buffer);
    if (!pixels.some(Boolean)) return "blank";
    for (const pixel of pixels) sum = Math.imul(sum ^ pixel, 16777619) >>> 0;
  }
  return `${shown.length} pictures, ${sum}`;
}"""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium from the variable CHROMIUM or the path, closed at the end."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert executable, "The browser tests need Chromium: install it, or name it in the variable CHROMIUM."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        yield browser
        browser.close()

"""JupyterLab for a browser: serve a folder of notebooks, open one, run all of it."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from companion.classroom.lab_server import LabServer, serving

RUN_ALL_SECONDS = 240
# Every cell stays in the page.
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "doNotDisturbMode": True,
    },
}


@contextmanager
def serve(home: Path, **variables: str) -> Iterator[LabServer]:
    """Lab on the notebooks in `home/notebooks`, with settings and logs beside them and further variables of the environment."""
    for name, setting in SETTINGS.items():
        file = home / "settings" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    options = {
        "LabApp.user_settings_dir": home / "settings",
        "LabApp.workspaces_dir": home / "workspaces",
    }
    with serving(home, options, variables, seconds=60) as lab:
        yield lab


def page_of(lab: LabServer, notebook: str) -> str:
    """The address of an open notebook."""
    return f"{lab.address}/lab/tree/{notebook}?reset&token={lab.token}"


def open_and_run(page: Page, address: str) -> None:
    """Open a notebook, wait for its kernel, run every cell and wait for the last."""
    page.goto(address, wait_until="load")
    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    notebook.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    wait_until_idle(page, notebook)
    started = notebook.locator(".jp-CodeCell .jp-InputPrompt", has_text=re.compile(r"[*\d]"))
    question = page.locator("dialog.jp-Dialog")
    for _ in range(5):  # while Lab settles, a menu may close before its entry is reached, or Lab ask which kernel
        page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
        try:
            started.or_(question).first.wait_for(timeout=5_000)
        except PlaywrightTimeoutError:
            page.keyboard.press("Escape")
            continue
        if not question.count():
            break
        question.locator(".jp-mod-accept").click()
        wait_until_idle(page, notebook)
    prompts = notebook.locator(".jp-CodeCell .jp-InputPrompt")
    errors = notebook.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
    deadline = time.monotonic() + RUN_ALL_SECONDS
    while not all(re.fullmatch(r"\[\d+\]:", text.strip()) for text in prompts.all_inner_texts()):
        assert errors.count() == 0, errors.first.inner_text()[-2000:]
        assert time.monotonic() < deadline, f"not all cells ran in {RUN_ALL_SECONDS} s: {prompts.all_inner_texts()}"
        page.wait_for_timeout(250)
    assert errors.count() == 0, errors.first.inner_text()[-2000:]
    wait_until_idle(page, notebook)


def wait_until_idle(page: Page, notebook: Locator, seconds: float = 60) -> None:
    """Until the kernel has been idle for two seconds; Lab says so for a moment before it has connected, too."""
    kernel = notebook.locator(".jp-Notebook-ExecutionIndicator")
    deadline, since = time.monotonic() + seconds, None
    while since is None or time.monotonic() - since < 2:
        idle = kernel.count() > 0 and kernel.first.get_attribute("data-status") == "idle"
        since = (since or time.monotonic()) if idle else None
        assert time.monotonic() < deadline, f"the kernel is not idle after {seconds} s"
        page.wait_for_timeout(100)

"""JupyterLab on a copy of the notebooks at their smallest, and a browser in front of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from companion.classroom.lab_server import LabServer
from tests.browser import open_browser
from tests.lab.server import serve

ROOT = Path(__file__).resolve().parents[2]
PROFILES = r"PROFILE = \"lesson\"", r"PROFILE = \"smoke\""  # as a cell of a notebook's file


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    for notebook in (home / "notebooks").glob("[0-9]*.ipynb"):  # nbval has run them at lesson size
        text = notebook.read_text(encoding="utf-8")
        notebook.write_text(text.replace(*PROFILES), encoding="utf-8")
    with serve(home) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser

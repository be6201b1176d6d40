"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"^\s*>>> ", re.M)
FILES = [
    path for path in sorted((ROOT / "companion").rglob("*.py")) if EXAMPLE.search(path.read_text(encoding="utf-8"))
]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_print_what_they_say(name, monkeypatch):
    monkeypatch.setenv("COMPANION_FRAMES", "all")
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize("name", ["diffusion", "distances", "mixtures", "networks", "training", "validation"])
def test_every_foundation_has_an_example(name):
    assert f"companion.foundations.{name}" in MODULES

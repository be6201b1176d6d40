"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import companion.data
import companion.foundations
import companion.methods

PACKAGES = (companion.foundations, companion.data, companion.methods)
MODULES = [
    module.name for package in PACKAGES for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
]


@pytest.mark.parametrize("name", ["companion", *sorted(MODULES)])
def test_examples_in_docstrings_print_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    "name", ["diffusion", "distances", "mixtures", "networks", "training", "validation"], ids="foundations.{}".format
)
def test_every_foundation_has_an_example(name):
    module = importlib.import_module(f"companion.foundations.{name}")
    assert doctest.testmod(module).attempted > 0

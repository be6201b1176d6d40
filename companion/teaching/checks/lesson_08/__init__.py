"""Checks of lesson 08, dynamic evaluation. The paper is arXiv 2403.01518."""

from companion.teaching.checks.lesson_08 import compute, leaks, loop, price, rates, windows  # noqa: F401  (reading them registers the exercises)

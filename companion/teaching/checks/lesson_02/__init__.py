"""Checks of lesson 02, speculative sampling. Numbers of equations and algorithms are those of arXiv 2501.05370."""

from companion.teaching.checks.lesson_02 import coupling, evidence, overlap, windows  # noqa: F401  (reading them registers the exercises)

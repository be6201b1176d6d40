"""Checks of lesson 07, soft parameter reset. The paper is arXiv 2411.04034."""

from companion.teaching.checks.lesson_07 import harm, order, silence, slope, step, widths  # noqa: F401  (reading them registers the exercises)

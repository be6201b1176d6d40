"""Checks of lesson 03, learned guidance. Numbers of equations are those of arXiv 2510.00815."""

from companion.teaching.checks.lesson_03 import energy, powered, prediction, rewards  # noqa: F401  (reading them registers the exercises)

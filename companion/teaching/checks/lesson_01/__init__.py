"""Checks of lesson 01, distributional diffusion. Equation numbers are those of arXiv 2502.02483."""

from companion.teaching.checks.lesson_01 import sampling, score, spread  # noqa: F401  (reading them registers the exercises)

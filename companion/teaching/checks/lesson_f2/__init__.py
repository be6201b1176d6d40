"""Checks of foundation lesson f2, diffusion in two dimensions."""

from companion.teaching.checks.lesson_f2 import leak, posterior  # noqa: F401  (reading them registers the exercises)

"""Checks of foundation f3, guidance of an exact model."""

from companion.teaching.checks.lesson_f3 import boxes, classifier  # noqa: F401  (reading them registers the exercises)

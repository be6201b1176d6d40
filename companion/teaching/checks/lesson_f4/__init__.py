"""Checks of foundation f4, least squares with a memory."""

from companion.teaching.checks.lesson_f4 import release, silence  # noqa: F401  (reading them registers the exercises)

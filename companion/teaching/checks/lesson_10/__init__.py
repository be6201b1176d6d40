"""Checks of lesson 10, NEVIS: a stream of a hundred tasks. The paper is arXiv 2211.11747."""

from companion.teaching.checks.lesson_10 import (  # noqa: F401  (reading them registers the exercises)
    bills,
    leaks,
    precision,
    searches,
    starts,
    votes,
)

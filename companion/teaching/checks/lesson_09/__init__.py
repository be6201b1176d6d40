"""Checks of lesson 09, compute-optimal transfer. The paper is arXiv 2304.13164."""

from companion.teaching.checks.lesson_09 import (  # noqa: F401  (reading them registers the exercises)
    budgets,
    cutting,
    disguise,
    masks,
    norms,
    operations,
)

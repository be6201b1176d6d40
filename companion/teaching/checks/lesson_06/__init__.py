"""Checks of lesson 06, a Kalman filter for online classification. The paper is arXiv 2306.08448."""

from companion.teaching.checks.lesson_06 import block, delta, drift, leak, memory, overconfident  # noqa: F401  (reading them registers the exercises)

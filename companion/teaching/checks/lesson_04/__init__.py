"""Checks of lesson 04, deep MMD gradient flow. The paper is arXiv 2405.06780."""

from companion.teaching.checks.lesson_04 import bandwidth, copies, starts, units, witness  # noqa: F401  (reading them registers the exercises)

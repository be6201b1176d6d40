"""Checks of lesson 05, closed-form last layer. The paper is arXiv 2510.04606."""

from companion.teaching.checks.lesson_05 import ablation, envelope, instruments, kalman, solves, strengths  # noqa: F401  (reading them registers the exercises)

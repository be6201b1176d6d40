"""What a lesson needs beside the method: a session, figures, widgets, claims, checks."""

from companion.teaching.checks import check
from companion.teaching.claims import claim
from companion.teaching.session import begin
from companion.teaching.widgets import (
    Choice,
    Slider,
    explore,
    live_coupling,
    live_posterior,
    live_sampler,
    live_speculation,
    particles,
)

__all__ = [
    "Choice",
    "Slider",
    "begin",
    "check",
    "claim",
    "explore",
    "live_coupling",
    "live_posterior",
    "live_sampler",
    "live_speculation",
    "particles",
]

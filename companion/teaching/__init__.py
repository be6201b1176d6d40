"""What a lesson needs beside the method: a session, figures, widgets, claims, checks."""

from companion.teaching.claims import claim
from companion.teaching.session import begin
from companion.teaching.widgets import Choice, Slider, explore, live_posterior, live_sampler, particles

__all__ = [
    "Choice",
    "Slider",
    "begin",
    "check",
    "claim",
    "explore",
    "live_posterior",
    "live_sampler",
    "particles",
]


def __getattr__(name: str):
    """`check` on demand: a lesson without exercises need not read their checks."""
    if name == "check":
        from companion.teaching.checks import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

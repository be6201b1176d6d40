"""The live widget of the Ornstein-Uhlenbeck drift of a belief about two weights, towards the law of their start."""

from companion.teaching.widgets.base import Widget


class LiveDrift(Widget):
    """The widget that `live_drift` makes."""


def live_drift(*, title: str, alt: str, note: str = "") -> LiveDrift:
    """Stub."""
    return LiveDrift(kind="drift", title=title, alt=alt, note=note)

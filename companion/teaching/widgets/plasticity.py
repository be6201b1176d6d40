"""The live widget of small networks that learn one task after the other by several methods, trained in the browser."""

from companion.teaching.widgets.base import Widget


class LivePlasticity(Widget):
    """The widget that `live_plasticity` makes."""


def live_plasticity(*, title: str, alt: str, note: str = "") -> LivePlasticity:
    """Stub."""
    return LivePlasticity(kind="plasticity", title=title, alt=alt, note=note)

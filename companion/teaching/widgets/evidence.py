"""The live widget of how probable a batch is after a drift, for a classifier with two weights."""

from companion.teaching.widgets.base import Widget


class LiveEvidence(Widget):
    """The widget that `live_evidence` makes."""


def live_evidence(*, title: str, alt: str, note: str = "") -> LiveEvidence:
    """Stub."""
    return LiveEvidence(kind="evidence", title=title, alt=alt, note=note)

"""`particles`: clouds of points in motion, played, paused and scrubbed."""

from collections.abc import Iterable, Mapping, Sequence

import torch
import traitlets
from torch import Tensor

from companion.foundations.validation import Number, require
from companion.teaching.widgets.base import MOST_BYTES, Widget, as_points

COLOURS = ("learned", "rival", "third", "soft")


class Particles(Widget):
    """The widget that `particles` makes; positions are 16-bit, over [-limit, limit]."""

    clouds = traitlets.List().tag(sync=True)
    reference = traitlets.Bytes().tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    axis = traitlets.Unicode().tag(sync=True)
    limit = traitlets.Float().tag(sync=True)
    start = traitlets.Float().tag(sync=True)
    seconds = traitlets.Float().tag(sync=True)
    autoplay = traitlets.Bool().tag(sync=True)


def particles(
    paths: Mapping[str, Tensor | Iterable[Tensor]],
    *,
    title: str,
    alt: str,
    note: str = "",
    labels: Sequence[str] | None = None,
    axis: str = "Step",
    reference: Tensor | None = None,
    limit: Number = 3.0,
    seconds: Number = 3.0,
    start: Number = 0.0,
    autoplay: bool = False,
) -> Particles:
    """Clouds that move together, one panel each.

    Args:
        paths: for each panel's name its states, (frames, n, 2) or an iterable of (n, 2): what a sampler yields.
        title, alt, note: above the panels; what to look for, for who cannot see it; below the panels.
        labels: words for each frame; numbers from 0 when None.
        axis: the slider's label.
        reference: points (m, 2) drawn behind in grey.
        limit: half-width of the window; points outside sit on its edge.
        seconds: of one play.
        start: frame shown first.
        autoplay: start by itself, unless the reader's system asks for stillness.

    Raises:
        TypeError: a path or the reference is not made of tensors.
        ValueError: no path, panels with different numbers of frames, fewer than two frames, labels that do
            not match, or more than 0.7 MB.
    """
    require(len(paths) > 0, "paths", "empty", "at least one cloud")
    stacked = {}
    for name, path in paths.items():
        path = path if torch.is_tensor(path) else torch.stack(list(path))
        require(path.ndim == 3, f"paths[{name!r}]", f"of shape {tuple(path.shape)}", "of shape (frames, n, 2)")
        stacked[name] = as_points(path, f"paths[{name!r}]")
    frames = {len(path) for path in stacked.values()}
    require(
        len(frames) == 1 and min(frames) >= 2,
        "paths",
        f"of {sorted(frames)} frames",
        "of one number of frames, at least 2",
    )
    labels = [str(place) for place in range(min(frames))] if labels is None else list(labels)
    require(len(labels) == min(frames), "labels", f"{len(labels)} words", f"{min(frames)}, one for each frame")
    clouds = [
        {"name": name, "colour": colour, "count": path.shape[1], "paths": _pack(path, limit)}
        for (name, path), colour in zip(stacked.items(), COLOURS)
    ]
    weight = sum(len(cloud["paths"]) for cloud in clouds)
    require(weight <= MOST_BYTES, "paths", f"{weight} bytes", f"at most {MOST_BYTES}: fewer points or frames")
    behind = b"" if reference is None else _pack(as_points(reference, "reference"), limit)
    return Particles(
        kind="particles", title=title, alt=alt, note=note, clouds=clouds, reference=behind, labels=labels,
        axis=axis, limit=float(limit), seconds=float(seconds), start=float(start), autoplay=autoplay,
    )  # fmt: skip


def _pack(points: Tensor, limit: Number) -> bytes:
    """Positions as little-endian 16-bit whole numbers over [-limit, limit]."""
    unit = (points.clamp(-limit, limit) / limit + 1) / 2
    return (unit * 65535).round().to(torch.int32).numpy().astype("<u2").tobytes()

"""Widgets that keep moving without a kernel: their frames, paths or weights travel with them.

- `explore`: any matplotlib figure, over a grid of slider values.
- `particles`: clouds of points in motion.
- `live_sampler`, `live_posterior`: small trained networks that run in the browser.

All share one front end (`front/`, plain JavaScript), which runs in JupyterLab through anywidget and in a
page of the book through a host of a few lines.
"""

from companion.teaching.widgets.base import Choice, Slider
from companion.teaching.widgets.clouds import Particles, particles
from companion.teaching.widgets.frames import Explore, explore
from companion.teaching.widgets.live import LivePosterior, LiveSampler, live_posterior, live_sampler

__all__ = [
    "Choice",
    "Explore",
    "LivePosterior",
    "LiveSampler",
    "Particles",
    "Slider",
    "explore",
    "live_posterior",
    "live_sampler",
    "particles",
]

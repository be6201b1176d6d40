"""Widgets that keep moving without a kernel: their frames, paths or weights travel with them.

- `explore`: any matplotlib figure, over a grid of slider values.
- `particles`: clouds of points in motion.
- `live_sampler`, `live_posterior`: small trained networks that run in the browser.
- `live_coupling`, `live_speculation`: speculative sampling on exact laws, in the browser.
- `live_guidance`: guided sampling by three ways to choose the weight, in the browser.
- `live_witness`: a learned witness at any noise level, and the particles that flow down it, in the browser.
- `live_valley`, `live_recursive`: a last layer that is solved, for one backbone parameter and batch by batch, in the
  browser.
- `live_forgetting`: a Kalman filter on a function that drifts, with forgetting set by hand, in the browser.
- `live_stream`: a labelled stream in the plane, classified by a Kalman filter that learns how fast to forget, in the browser.
- `live_drift`, `live_evidence`: the drift of soft reset in the plane of two weights, and how probable a batch is after
  it, in the browser.
- `live_plasticity`: networks that learn task after task by several methods, trained in the browser.
- `live_attention`: a layer of linear attention and a step of gradient descent, on points that can be moved, in the browser.
- `live_reader`: a small language model that reads the text that you give it, and learns it or not, in the browser.
- `live_reading`: a text coloured by how well it was predicted, by a model that learns and by one that does not.
- `live_curves`: accuracy against compute for several ways to move a network to a task, and who wins at a budget.
- `live_filters`: the filters of a network, kept and dropped, and what is left of its operations.
- `live_pruned`: a network of pictures, pruned and asked in the browser, about a picture that the reader draws.
- `live_wall`: a stream of tasks as a wall of pictures in time, with every learner's errors so far.
- `live_frontier`: error against compute for several learners, with the search counted or not, and the frontier.
- `live_transfers`: which task's network each task of a stream started from, as a graph in time.

All share one front end (`front/`, plain JavaScript), which runs in JupyterLab through anywidget and in a
page of the book through a host of a few lines.
"""

from companion.teaching.widgets.attention import LiveAttention, live_attention
from companion.teaching.widgets.base import Choice, Slider
from companion.teaching.widgets.clouds import Particles, particles
from companion.teaching.widgets.curves import LiveCurves, live_curves
from companion.teaching.widgets.drift import LiveDrift, live_drift
from companion.teaching.widgets.evidence import LiveEvidence, live_evidence
from companion.teaching.widgets.filters import LiveFilters, live_filters
from companion.teaching.widgets.forgetting import LiveForgetting, live_forgetting
from companion.teaching.widgets.frames import Explore, explore
from companion.teaching.widgets.frontier import LiveFrontier, live_frontier
from companion.teaching.widgets.guidance import LiveGuidance, live_guidance
from companion.teaching.widgets.live import LivePosterior, LiveSampler, live_posterior, live_sampler
from companion.teaching.widgets.plasticity import LivePlasticity, live_plasticity
from companion.teaching.widgets.pruned import LivePruned, live_pruned
from companion.teaching.widgets.reader import LiveReader, live_reader
from companion.teaching.widgets.reading import LiveReading, live_reading
from companion.teaching.widgets.recursive import LiveRecursive, live_recursive
from companion.teaching.widgets.speculation import LiveCoupling, LiveSpeculation, live_coupling, live_speculation
from companion.teaching.widgets.stream import LiveStream, live_stream
from companion.teaching.widgets.transfers import LiveTransfers, live_transfers
from companion.teaching.widgets.valley import LiveValley, live_valley
from companion.teaching.widgets.wall import LiveWall, live_wall
from companion.teaching.widgets.witness import LiveWitness, live_witness

__all__ = [
    "Choice",
    "Explore",
    "LiveAttention",
    "LiveCoupling",
    "LiveCurves",
    "LiveDrift",
    "LiveEvidence",
    "LiveFilters",
    "LiveForgetting",
    "LiveFrontier",
    "LiveGuidance",
    "LivePlasticity",
    "LivePosterior",
    "LivePruned",
    "LiveReader",
    "LiveReading",
    "LiveRecursive",
    "LiveSampler",
    "LiveSpeculation",
    "LiveStream",
    "LiveTransfers",
    "LiveValley",
    "LiveWall",
    "LiveWitness",
    "Particles",
    "Slider",
    "explore",
    "live_attention",
    "live_coupling",
    "live_curves",
    "live_drift",
    "live_evidence",
    "live_filters",
    "live_forgetting",
    "live_frontier",
    "live_guidance",
    "live_plasticity",
    "live_posterior",
    "live_pruned",
    "live_reader",
    "live_reading",
    "live_recursive",
    "live_sampler",
    "live_speculation",
    "live_stream",
    "live_transfers",
    "live_valley",
    "live_wall",
    "live_witness",
    "particles",
]

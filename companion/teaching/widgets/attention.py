"""The live widget of a layer of linear self-attention that is a step of gradient descent.

The context is a regression: tokens e_j = (x_j, 1, y_j), j = 1..N, the 1 beside x so that a matrix W of one row is a line,
slope and intercept. Gradient descent on the squared loss, from W_0 = 0, is

    L(W) = 1/(2N) sum_i (W (x_i, 1) - y_i)^2,    W <- W + D,    D = eta/N sum_i (y_i - W (x_i, 1)) (x_i, 1)^T.

A layer of linear self-attention, that is without the softmax, adds to every token what the context's tokens hold for it:

    e_j <- e_j + P sum_i (W_V e_i) (W_K e_i)^T (W_Q e_j)                                         i = 1..N

With W_Q = W_K = diag(1, 1, 0), which look at (x, 1) alone, W_V = diag(0, 0, -1), which takes minus y, and P = eta/N I it leaves
x and 1 as they are, and

    y_j <- y_j - eta/N sum_i y_i (x_i, 1)^T (x_j, 1) = y_j - D (x_j, 1),    D the step of gradient descent from W = 0.

So a token of the context comes out with its residual, y_j - W_1 (x_j, 1), and a query token, which went in with y = -W_0 (x, 1)
= 0, with -W_1 (x, 1): minus the prediction. The next layer, of the same weights, finds residuals where the first found y, and
the step of gradient descent from 0 on residuals is the step from W_1 on y. After L layers a query token holds -W_L (x, 1).
Queries look at the context and are not looked at: from the second layer on their y would count as a residual.

With the softmax, weights that are positive and add up to 1, a layer is a weighted mean of the context's y and no step of gradient
descent on a line.

Source: J. von Oswald and others, "Transformers learn in-context by gradient descent" (arXiv 2212.07677), Proposition 1.

>>> x, y = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 1.0])
>>> slope, intercept = gradient_line(x, y, step=0.5, layers=3)
>>> queries = torch.tensor([-2.0, 3.0])
>>> torch.allclose(attention_predictions(x, y, queries, step=0.5, layers=3), slope * queries + intercept)
True
"""

import math
from typing import Literal

import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from companion.foundations.validation import Number, require, require_count, require_floating, require_in
from companion.teaching.widgets.base import Widget, double_bytes, require_words

FEWEST_POINTS, MOST_POINTS = 8, 16
QUERIES = 13  # places along x
MOST_LAYERS = 20
FARTHEST = 10.0  # of a point from 0, along either axis
NARROWEST = 0.1  # spread of x, and largest |y|: below, there is no line to learn
MARGIN = 0.12  # of the plane beyond the points, over their spread
MOVES = 100  # places of a point along each axis, at least
BEYOND = 1.15  # the longest step of the slider, over the longest that converges
TEMPERATURES = (*(float(f"{digit}e{power}") for power in (-2, -1, 0, 1) for digit in (1, 2, 3, 5, 7)), 100.0)


class LiveAttention(Widget):
    """The widget that `live_attention` makes."""

    points = traitlets.Bytes().tag(sync=True)
    queries = traitlets.List(traitlets.Float()).tag(sync=True)
    across = traitlets.List(traitlets.Float()).tag(sync=True)
    up = traitlets.List(traitlets.Float()).tag(sync=True)
    moves = traitlets.List(traitlets.Float()).tag(sync=True)
    layers = traitlets.Int().tag(sync=True)
    most_layers = traitlets.Int().tag(sync=True)
    step_unit = traitlets.Float().tag(sync=True)
    step_places = traitlets.Int().tag(sync=True)
    step_index = traitlets.Int().tag(sync=True)
    attention = traitlets.Unicode().tag(sync=True)
    temperatures = traitlets.List(traitlets.Float()).tag(sync=True)
    temperatures_index = traitlets.Int().tag(sync=True)


def live_attention(
    points: Tensor,
    *,
    title: str,
    alt: str,
    note: str = "",
    step: Number | None = None,
    layers: int = 1,
    attention: Literal["linear", "softmax"] = "linear",
    temperature: Number = 1.0,
) -> LiveAttention:
    """Points that can be moved, the line of gradient descent after some steps, and what layers of attention predict.

    To the left the line after L steps from 0 and, as open circles, the predictions of L layers of linear attention at 13 places;
    a short line from each point to what is predicted there is what the point's token still holds. To the right the loss
    after each step, of gradient descent and of the residuals in attention's tokens, and the least loss of any line. The reader
    moves the points, sets step and layers, or puts one layer with the softmax in their place. `gradient_line`,
    `attention_tokens` and `softmax_tokens` are what the browser computes.

    Args:
        points: the context (n, 2), 8 to 16 pairs (x, y) between -10 and 10.
        title, alt, note: above the pictures; what to look for, for who cannot see them; below the pictures.
        step: eta at the start of its slider, which goes somewhat beyond the step at which gradient descent on these points
            diverges; moved to the nearest place. None for a quarter of that step.
        layers: 0 to 20, also the steps of gradient descent.
        attention: "linear", or "softmax" for one layer with the softmax.
        temperature: of the softmax, 0.01 to 100, moved to the nearest place of its slider, whose places are at about equal
            ratios.

    Raises:
        TypeError: points that are no floating tensor, a number that is none, or a title or alt that is no text.
        ValueError: a shape that does not fit, points that are not finite, too far out or at one x, numbers out of range, an
            attention that is neither, or an empty title or alt.
    """
    require_words(title, alt)
    require_floating("points", points)
    fits = points.ndim == 2 and FEWEST_POINTS <= len(points) <= MOST_POINTS and points.shape[1] == 2
    wanted = f"of shape (n, 2) with {FEWEST_POINTS} to {MOST_POINTS} rows"
    require(fits, "points", f"of shape {tuple(points.shape)}", wanted)
    inside = bool((points.abs() <= FARTHEST).all())
    require(inside, "points", "outside in some place", f"from {-FARTHEST:g} to {FARTHEST:g}")
    x, y = points.detach().to("cpu", torch.float64).T
    spread = (x.max() - x.min()).item()
    require(spread >= NARROWEST, "points", f"of a spread {spread:.3g} in x", f"of a spread of at least {NARROWEST:g}")
    tallest = y.abs().max().item()
    require(
        tallest >= NARROWEST, "points", f"of |y| up to {tallest:.3g}", f"of a |y| of at least {NARROWEST:g} somewhere"
    )
    longest = longest_step(x)
    unit = _round_unit(longest / 50)
    places = math.ceil(BEYOND * longest / unit)
    step = 0.25 * longest if step is None else step
    require_in("step", step, "[0, inf)")
    require(round(step / unit) <= places, "step", step, f"at most {places * unit:.6g} for these points")
    require_count("layers", layers, 0)
    require(layers <= MOST_LAYERS, "layers", layers, f"at most {MOST_LAYERS}")
    require(attention in ("linear", "softmax"), "attention", repr(attention), "'linear' or 'softmax'")
    require_in("temperature", temperature, f"[{TEMPERATURES[0]:g}, {TEMPERATURES[-1]:g}]")
    across, horizontal = _axis(x.min().item(), x.max().item())
    up, vertical = _axis(min(0.0, y.min().item()), max(0.0, y.max().item()))
    queries = [across[0] + (across[1] - across[0]) * (k + 0.5) / QUERIES for k in range(QUERIES)]
    nearest = min(range(len(TEMPERATURES)), key=lambda place: abs(math.log(TEMPERATURES[place] / temperature)))
    return LiveAttention(
        kind="attention", title=title, alt=alt, note=note, points=double_bytes(points), queries=queries, across=across,
        up=up, moves=[horizontal, vertical], layers=layers, most_layers=MOST_LAYERS, step_unit=unit,
        step_places=places, step_index=round(step / unit), attention=attention, temperatures=list(TEMPERATURES),
        temperatures_index=nearest,
    )  # fmt: skip


def gradient_line(x: Float[Tensor, " n"], y: Float[Tensor, " n"], step: Number, layers: int) -> Float[Tensor, "2"]:
    """Slope and intercept after `layers` steps of gradient descent on the squared loss, from 0; see above.

    Raises:
        TypeError, ValueError: x and y that are no floating rows of one length, at least 1, or a step or layers below 0.
    """
    _require_regression(x, y)
    _require_steps(step, layers)
    inputs = torch.stack([x, torch.ones_like(x)], dim=1)
    weights = torch.zeros_like(inputs[0])
    for _ in range(layers):
        weights = weights + step / len(x) * (y - inputs @ weights) @ inputs
    return weights


def attention_predictions(
    x: Float[Tensor, " n"], y: Float[Tensor, " n"], queries: Float[Tensor, " m"], step: Number, layers: int
) -> Float[Tensor, " m"]:
    """What layers of linear self-attention predict at the queries: minus the y that their tokens end with.

    Raises:
        TypeError, ValueError: as `attention_tokens`.
    """
    return -attention_tokens(x, y, queries, step, layers)[-1, len(x) :, 2]


def attention_tokens(
    x: Float[Tensor, " n"], y: Float[Tensor, " n"], queries: Float[Tensor, " m"], step: Number, layers: int
) -> Float[Tensor, "states tokens 3"]:
    """The tokens (x, 1, y), the context's and then the queries', before the first layer of linear attention and after each.

    Raises:
        TypeError, ValueError: x and y that are no floating rows of one length, at least 1, queries that are no floating row, or
            a step or layers below 0.
    """
    states = [_first_tokens(x, y, queries)]
    _require_steps(step, layers)
    for _ in range(layers):
        states.append(_attend(states[-1], len(x), step / len(x)))
    return torch.stack(states)


def softmax_tokens(
    x: Float[Tensor, " n"], y: Float[Tensor, " n"], queries: Float[Tensor, " m"], temperature: Number
) -> Float[Tensor, "2 tokens 3"]:
    """The tokens before and after one layer with the softmax; queries, keys and values are those of the linear layer.

        p(x) = sum_i a_i(x) y_i,    a(x) = softmax over i of (x_i, 1) . (x, 1) / temperature,    y_j <- y_j - p(x_j)

    a kernel smoother with the kernel exp(x_i x / temperature). With P = I a query token, which went in with y = 0, holds -p(x).

    Raises:
        TypeError, ValueError: as `attention_tokens`, or a temperature that is not above 0.
    """
    tokens = _first_tokens(x, y, queries)
    require_in("temperature", temperature, "(0, inf)")
    return torch.stack([tokens, _attend(tokens, len(x), 1.0, temperature)])


def longest_step(x: Float[Tensor, " n"]) -> float:
    """The step at which gradient descent stops to converge: 2 over the largest eigenvalue of mean (x, 1)(x, 1)^T.

    Raises:
        TypeError, ValueError: x that is no floating row with at least one number.
    """
    _require_row("x", x)
    inputs = torch.stack([x, torch.ones_like(x)], dim=1)
    return 2 / torch.linalg.eigvalsh(inputs.T @ inputs / len(x))[-1].item()


def _first_tokens(x: Tensor, y: Tensor, queries: Tensor) -> Tensor:
    """Tokens (x, 1, y): the context's, then the queries' with y = 0."""
    _require_regression(x, y)
    require_floating("queries", queries)
    require(queries.ndim == 1, "queries", f"of shape {tuple(queries.shape)}", "one row")
    places = torch.cat([x, queries])
    return torch.stack([places, torch.ones_like(places), torch.cat([y, torch.zeros_like(queries)])], dim=1)


def _attend(tokens: Tensor, context: int, scale: Number, temperature: Number | None = None) -> Tensor:
    """One layer of self-attention to the first `context` tokens, P = scale I; with the softmax if there is a temperature."""
    look = tokens.new_tensor([1, 1, 0]).diag()
    W_Q, W_K, W_V = look, look, tokens.new_tensor([0, 0, -1]).diag()
    P = scale * torch.eye(3, dtype=tokens.dtype, device=tokens.device)
    seen = tokens[:context]
    queries, keys, values = tokens @ W_Q.T, seen @ W_K.T, seen @ W_V.T
    products = queries @ keys.T
    shares = products if temperature is None else (products / temperature).softmax(-1)
    return tokens + shares @ values @ P.T


def _axis(low: float, high: float) -> tuple[list[float], float]:
    """The ends of an axis with some room around what it shows, and the distance of its places, of which the ends are two."""
    room = MARGIN * (high - low)
    unit = _round_unit((high - low + 2 * room) / MOVES)
    places = [math.floor((low - room) / unit), math.ceil((high + room) / unit)]
    return [float(f"{place * unit:.12g}") for place in places], unit


def _round_unit(most: float) -> float:
    """The largest of the numbers 1, 2 and 5 times a power of ten that is at most `most`."""
    power = math.floor(math.log10(most))
    digit = max(digit for digit in (1, 2, 5) if digit * 10.0**power <= most * (1 + 1e-9))
    return float(f"{digit}e{power}")


def _require_row(name: str, values: object) -> None:
    require_floating(name, values)
    fits = values.ndim == 1 and len(values) > 0
    require(fits, name, f"of shape {tuple(values.shape)}", "one row with at least one number")


def _require_regression(x: object, y: object) -> None:
    _require_row("x", x)
    require_floating("y", y)
    require(y.shape == x.shape, "y", f"of shape {tuple(y.shape)}", f"of shape {tuple(x.shape)} like x")


def _require_steps(step: object, layers: object) -> None:
    require_in("step", step, "[0, inf)")
    require_count("layers", layers, 0)

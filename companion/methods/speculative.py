"""Speculative sampling: draft several steps cheaply, verify them in one batch, keep the exact law.

A sampler's steps wait for each other: each needs the model's answer at the point where the last one ended.
Here a cheap draft walks ahead, the model answers at all drafted points in *one* batched call, and a coupling
decides step by step what to keep. A kept draft, and the reflected point that replaces a rejected one, are both
exact draws of the model's own step. So the samples are those of the slow sampler, in law, after fewer calls
that wait for each other. The total number of evaluations goes up: it is time that is bought, not work.

Source: De Bortoli, Galashov, Gretton and Doucet, "Accelerated Diffusion Models via Speculative Sampling",
ICML 2025 (arXiv 2501.05370). Numbers of equations and algorithms below are that paper's. The ancestor for
discrete tokens is Leviathan, Kalman and Matias (2023) and Chen et al. (2023).

>>> from companion.data.toy import eight_gaussians
>>> from companion.foundations.diffusion import time_grid
>>> law, generator = eight_gaussians(), torch.Generator().manual_seed(0)
>>> noise = torch.randn(1000, 2, generator=generator)
>>> run = speculative_sample(law.denoise, noise, time_grid(100), window=8, generator=generator)
>>> run.sample.shape, bool(run.rounds.max() <= 100), bool(run.rounds.double().mean() < 50)
(torch.Size([1000, 2]), True, True)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from companion.foundations.diffusion import Denoiser, as_times, bridge_weights, expand_time
from companion.foundations.validation import (
    Number,
    require,
    require_batch,
    require_callable,
    require_count,
    require_floating,
    require_in,
    require_like,
)

Coupling: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Freeze: TypeAlias = Literal["prediction", "drift"]


def acceptance_probability(distance: Float[Tensor, " *n"]) -> Float[Tensor, " *n"]:
    """Chance that a draft is kept, `2 Phi(-|D| / 2)`, when the means lie `distance` = |D| standard deviations apart.

    It is the overlap of the two Gaussians, 1 minus their total variation distance: no coupling keeps more.

    Raises:
        TypeError: `distance` is not a floating tensor.
    """
    require_floating("distance", distance)
    return torch.special.erfc(distance.abs() / 8**0.5)


def reflection_coupling(
    draft: Float[Tensor, "n *event"],
    draft_mean: Float[Tensor, "n *event"],
    target_mean: Float[Tensor, "n *event"],
    std: Number | Float[Tensor, ""] | Float[Tensor, " n"],
    uniform: Float[Tensor, " n"],
) -> tuple[Float[Tensor, "n *event"], Bool[Tensor, " n"]]:
    """Turn a draft from one Gaussian into an exact draw of another, keeping it as often as possible (Algorithm 4).

    With `z = (draft - draft_mean) / std` and `D = (draft_mean - target_mean) / std`, the draft is kept when

        log uniform <= -<z, D> - |D|^2 / 2          (the log of N(z + D; 0, I) / N(z; 0, I))

    and otherwise z is reflected in the plane half way between the means, with e = D / |D|:

        value = target_mean + std (I - 2 e e^T) z

    If `draft ~ N(draft_mean, std^2 I)` then `value ~ N(target_mean, std^2 I)` exactly, and a draft is kept
    with probability `acceptance_probability(|D|)` (Proposition 3.1). The inner products run over all of a
    row's dimensions, in float64 (which rules out devices that have none).

    Args:
        draft, draft_mean, target_mean: (n, *event).
        std: a number, or one for each row. Where it is 0 there is nothing to couple: the value is the
            target's mean and counts as kept.
        uniform: one draw from [0, 1) for each row.

    Returns:
        The values (n, *event), and which rows kept their draft (n,).

    Raises:
        TypeError: not floating tensors.
        ValueError: shapes disagree, or `std` is a negative number. (The values of tensors are not read.)
    """
    require_floating("draft", draft)
    require(draft.ndim >= 2, "draft", f"of shape {tuple(draft.shape)}", "of shape (n, d) or (n, *event)")
    require_like("draft_mean", draft_mean, "draft", draft)
    require_like("target_mean", target_mean, "draft", draft)
    require_floating("uniform", uniform)
    one_each = draft.shape[:1]
    require(uniform.shape == one_each, "uniform", f"of shape {tuple(uniform.shape)}", f"of shape {tuple(one_each)}")
    if not torch.is_tensor(std):
        require_in("std", std, "[0, inf)")
    std = torch.as_tensor(std, dtype=torch.float64, device=draft.device)
    fits = std.ndim == 0 or std.shape == one_each
    require(fits, "std", f"of shape {tuple(std.shape)}", f"a number or of shape {tuple(one_each)}")

    fixed = std == 0
    scale = expand_time(torch.where(fixed, 1.0, std), draft)
    noise = (draft - draft_mean).double() / scale
    gap = (draft_mean - target_mean).double() / scale
    along = (noise * gap).flatten(1).sum(1)
    square = gap.square().flatten(1).sum(1)
    accepted = (uniform.double().log() <= -along - square / 2) | fixed

    twice = expand_time(2 * along / torch.where(square == 0, 1.0, square), draft)
    reflected = target_mean + (scale * (noise - twice * gap)).to(draft.dtype)
    value = torch.where(expand_time(accepted, draft), draft, reflected)
    return torch.where(expand_time(fixed, draft), target_mean, value), accepted


def speculative_tokens(
    target_probs: Float[Tensor, "*n v"],
    draft_probs: Float[Tensor, "*n v"],
    draft: Int[Tensor, " *n"] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, " *n"], Bool[Tensor, " *n"]]:
    """The discrete ancestor: turn a drafted token into an exact draw from the target's probabilities.

    A token x is kept with probability `min(1, target(x) / draft(x))`; a rejected one is replaced by a draw
    from what the draft left out, `(target - draft)_+`, normalised (Leviathan et al. 2023, Algorithm 1). The
    share kept is the overlap, `sum_x min(target(x), draft(x))`.

    A window of a language model is a batch of such rows: its tokens count up to and including the first one
    that was not kept, `tokens[: accepted.long().cumprod(0).sum() + 1]`.

    Args:
        target_probs, draft_probs: probabilities over v tokens for each row, (*n, v).
        draft: the drafted tokens (*n,), drawn from `draft_probs` when None.
        generator: for the draft, the acceptance and the replacement.

    Returns:
        The tokens (*n,), and which rows kept their draft (*n,).

    Raises:
        TypeError: probabilities are not floating tensors, or `draft` is no tensor of whole numbers.
        ValueError: shapes disagree, a row is not a distribution (logits, perhaps), or a token is out of range.
    """
    require_like("draft_probs", draft_probs, "target_probs", target_probs)
    require(target_probs.ndim >= 1, "target_probs", "a number", "of shape (*n, v)")
    for name, probs in {"target_probs": target_probs, "draft_probs": draft_probs}.items():
        total = probs.double().sum(-1)
        proper = bool(
            (probs >= 0).all() and ((total - 1).abs() < 1e-2).all()
        )  # a softmax in half precision is this far
        require(proper, name, "no distribution in some row", "non-negative and sum to 1 over the last axis")
    shape = target_probs.shape[:-1]
    flat = (probs.double().reshape(-1, probs.shape[-1]) for probs in (target_probs, draft_probs))
    target, drafted = (probs / probs.sum(1, keepdim=True) for probs in flat)
    if draft is None:
        tokens = torch.multinomial(drafted, 1, generator=generator)
    else:
        whole = torch.is_tensor(draft) and not (draft.is_floating_point() or draft.dtype == torch.bool)
        require(whole, "draft", getattr(draft, "dtype", type(draft).__name__), "a tensor of whole numbers", TypeError)
        require(draft.shape == shape, "draft", f"of shape {tuple(draft.shape)}", f"of shape {tuple(shape)}")
        inside = bool(((draft >= 0) & (draft < drafted.shape[1])).all())
        require(inside, "draft", "outside in some row", f"tokens from 0 to {drafted.shape[1] - 1}")
        tokens = draft.reshape(-1, 1).long()
    uniform = torch.rand(tokens.shape, generator=generator, dtype=torch.float64, device=tokens.device)
    accepted = uniform * drafted.gather(1, tokens) < target.gather(1, tokens)
    left_out = (target - drafted).clamp_min(0)
    left_out = torch.where(left_out.sum(1, keepdim=True) > 0, left_out, target)  # equal rows reject nothing
    tokens = torch.where(accepted, tokens, torch.multinomial(left_out, 1, generator=generator))
    return tokens.reshape(shape), accepted.reshape(shape)


@dataclass(frozen=True)
class Window:
    """What one round drafted and what became of it, for the m chains that drafted.

    Attributes:
        chains: (m,) which chains.
        start: (m,) steps that each had done before.
        states: (L + 1, m, *event) where the window starts, then the drafted states.
        lengths: (m,) drafts of each chain, at most L and never past its end.
        moved: (m,) steps gained: up to and including the first draft that was not kept.
        rejected: (m,) whether one was not kept; the chain then stands at its reflected point.
    """

    chains: Int[Tensor, " m"]
    start: Int[Tensor, " m"]
    states: Float[Tensor, "L1 m *event"]
    lengths: Int[Tensor, " m"]
    moved: Int[Tensor, " m"]
    rejected: Bool[Tensor, " m"]


@dataclass
class SpeculativeState:
    """A batch of chains on their way, as `speculate` yields it: one object, changed in place by every round.

    Attributes:
        x: (n, *event) where the chains stand, on the device of the start. The counts below are on the CPU.
        position: (n,) steps done.
        rounds: (n,) calls of the target so far that waited for each other, for each chain.
        draft_rounds: (n,) calls of the draft model, likewise; 0 for a frozen draft.
        evaluations: points at which the target was evaluated, over all chains.
        accepted: (K, n) which steps kept their draft; False where not reached.
        path: (K + 1, n, *event) all states, 0 where not reached; None if it is not kept.
        window: what the last round drafted; None when it only asked the target.
    """

    x: Float[Tensor, "n *event"]
    position: Int[Tensor, " n"]
    rounds: Int[Tensor, " n"]
    draft_rounds: Int[Tensor, " n"]
    evaluations: int
    accepted: Bool[Tensor, "K n"]
    path: Float[Tensor, "K1 n *event"] | None
    window: Window | None = None


@dataclass(frozen=True)
class SpeculativeRun:
    """What `speculative_sample` returns.

    Attributes:
        sample: (n, *event) the last states.
        path: (K + 1, n, *event) all states, the start first; None if it was not kept.
        rounds: (n,) calls of the target that waited for each other, for each chain: at most K.
        draft_rounds: (n,) calls of the draft model, likewise; 0 for a frozen draft.
        evaluations: points at which the target was evaluated, over all chains.
        accepted: (K, n) which steps kept their draft.
    """

    sample: Float[Tensor, "n *event"]
    path: Float[Tensor, "K1 n *event"] | None
    rounds: Int[Tensor, " n"]
    draft_rounds: Int[Tensor, " n"]
    evaluations: int
    accepted: Bool[Tensor, "K n"]

    @property
    def acceptance(self) -> float:
        """Share of the steps that kept their draft, those whose means were equal anyway included."""
        return self.accepted.double().mean().item()


def speculative_sample(
    denoiser: Denoiser,
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " K1"],
    window: int = 8,
    churn: Number = 1.0,
    draft: Denoiser | None = None,
    generator: torch.Generator | None = None,
    *,
    freeze: Freeze = "prediction",
    coupling: Coupling = reflection_coupling,
    keep_path: bool = True,
) -> SpeculativeRun:
    """Walk `x` down `times` as `diffusion.sample` would, in law, with fewer target calls in a row (Algorithm 3).

    Every chain of the batch drafts up to `window` steps, asks the target about all of them in one call, and
    goes on from the first draft that was not kept. Chains move at their own pace, and finish at different times.

    - *Frozen draft* (`draft=None`; eq. (7)): the target's answer at the start of the window stands in for its
      answers along it, so no second model is needed. It costs a call of its own, unless the last window was
      kept to its end: the batch asks about the end, too. With a window of two or more, two calls gain at least two
      steps; so a chain never needs more than the K calls of the slow sampler.
    - *A draft model*: another denoiser, cheaper than the target, called once for each drafted step.

    Args:
        denoiser: the target, a callable (x (m, *event), t (m,)) -> (m, *event): the clean point expected for each
            row at its own time. Called without gradients.
        x: the start (n, *event), noise at `times[0]`. The chain keeps its dtype; a model in half precision
            should be wrapped so that the chain stays in float32.
        times: K + 1 of them, strictly falling within [0, 1]; see `time_grid`.
        window: most steps drafted at a time, at least 1.
        churn: in (0, 1], fresh noise of each step; see `diffusion.bridge`. At 0 there is nothing to couple.
        draft: None, or a denoiser.
        generator: draws noise and acceptances, on the device of `x`.
        freeze: what a frozen draft holds on to: the "prediction" of the clean point, or the "drift", the
            direction of the last exact step.
        coupling: what to verify with; called as `reflection_coupling`.
        keep_path: whether to keep all K + 1 states; their memory may matter for images.

    Raises:
        TypeError: `x` is not a floating tensor, `times` is no row, `denoiser` or `draft` cannot be called.
        ValueError: churn is 0 or outside (0, 1], window below 1, times do not fall or leave [0, 1], another
            `freeze`, or an answer of denoiser or draft has not the shape of its points.
    """
    *_, state = speculate(
        denoiser, x, times, window, churn, draft, generator, freeze=freeze, coupling=coupling, keep_path=keep_path
    )
    rounds, draft_rounds, accepted = (
        value.to(state.x.device) for value in (state.rounds, state.draft_rounds, state.accepted)
    )
    return SpeculativeRun(state.x, state.path, rounds, draft_rounds, state.evaluations, accepted)


def speculate(
    denoiser: Denoiser,
    x: Float[Tensor, "n *event"],
    times: Float[Tensor, " K1"],
    window: int = 8,
    churn: Number = 1.0,
    draft: Denoiser | None = None,
    generator: torch.Generator | None = None,
    *,
    freeze: Freeze = "prediction",
    coupling: Coupling = reflection_coupling,
    keep_path: bool = True,
) -> Iterator[SpeculativeState]:
    """`speculative_sample`, one target call at a time: yields the state before the first call and after each.

    A chain whose answer at its last step is known already takes that step without a call; so there may be one state
    more than rounds. The host waits for the device once for each state, to learn how far the chains came. Arguments
    and errors as `speculative_sample`; bad input is refused at the call.
    """
    require_callable("denoiser", denoiser, "a callable (x, t) -> x0")
    usable = draft is None or callable(draft)
    require(usable, "draft", f"a {type(draft).__name__}", "None or a callable (x, t) -> x0", TypeError)
    require_batch("x", x)
    require_count("window", window, 1)
    meaning = ": without fresh noise (0) a step is a point, and two points that differ cannot be coupled"
    require_in("churn", churn, "(0, 1]", meaning)
    require(freeze in ("prediction", "drift"), "freeze", repr(freeze), "'prediction' or 'drift'")
    require_callable("coupling", coupling, "called as reflection_coupling")
    sampler = _Sampler(denoiser, as_times(times).double(), x, window, churn, draft, generator, freeze, coupling)
    return sampler.walk(x, keep_path)


class _Sampler:
    """The chains' common settings, and one method for each part of a round.

    Where chains stand is known to the host, which works out all indices; they travel to the device in packed
    copies that nobody waits for. States are (ahead, chain, *event), flattened to rows where indices pick them.
    """

    def __init__(self, denoiser, times, x, window, churn, draft, generator, freeze, coupling) -> None:
        self.denoiser, self.draft, self.window, self.freeze = denoiser, draft, window, freeze
        self.coupling, self.generator, self.steps = coupling, generator, len(times) - 1
        self.times = times.to(x)
        self.weights = torch.stack(bridge_weights(times.cpu()[:-1], times.cpu()[1:], churn)).to(x)  # noisy, clean, std

    def walk(self, x: Tensor, keep_path: bool) -> Iterator[SpeculativeState]:
        n, x = len(x), x.detach()
        state = SpeculativeState(
            x=x.clone(),
            position=torch.zeros(n, dtype=torch.long),
            rounds=torch.zeros(n, dtype=torch.long),
            draft_rounds=torch.zeros(n, dtype=torch.long),
            evaluations=0,
            accepted=torch.zeros(self.steps, n, dtype=torch.bool),
            path=x.new_zeros(self.steps + 1, *x.shape) if keep_path else None,
        )
        if keep_path:
            state.path[0] = x
        answer, known = torch.zeros_like(x), torch.zeros(n, dtype=torch.bool)  # the target's, where a chain stands
        yield state
        while bool((state.position < self.steps).any()):
            self._round(state, answer, known)
            yield state

    @torch.no_grad()
    def _round(self, state: SpeculativeState, answer: Tensor, known: Tensor) -> None:
        """One target call: chains with a frozen draft and no answer to freeze ask for it, the others verify a window."""
        active = state.position < self.steps
        asks = active & ~known if self.draft is None else torch.zeros_like(active)
        asking, drafting = asks.nonzero()[:, 0], (active & ~asks).nonzero()[:, 0]
        start, known_here = state.position[drafting], known[drafting]
        lengths = (self.steps - start).clamp(max=self.window)
        longest = int(lengths.max()) if len(drafting) else 0

        ahead = torch.arange(longest + 1)[:, None]
        # the end of the window is wanted, too: it may be where the chain goes on
        wanted = (ahead <= lengths) & (start + ahead < self.steps)
        wanted[0] = ~known_here
        rows = wanted.flatten().nonzero()[:, 0]
        steps = (start + ahead[:-1]).clamp(max=self.steps - 1)
        asked_steps = torch.cat([state.position[asking], (start + ahead)[wanted]])
        to_ask, to_draft, on_rows, on_steps, on_asked, exact = self._send(
            asking, drafting, rows, steps, asked_steps, known_here.long()
        )

        anchor = answer[to_draft]
        states, predictions = self._draft(state.x[to_draft], anchor, on_steps, exact.bool(), bool(known_here.all()))
        points = torch.cat([state.x[to_ask], states.flatten(0, 1)[on_rows]])
        answers = self._ask(self.denoiser, "denoiser(x, t)", points, on_asked) if len(points) else points

        state.evaluations += len(points)
        state.rounds[asking] += 1
        state.rounds[drafting] += wanted.any(0)
        if self.draft is not None:
            state.draft_rounds[drafting] += lengths - known_here.long()
        answer[to_ask], known[asking] = answers[: len(asking)], True
        state.window = None
        if len(drafting):
            targets = torch.cat([anchor[None], predictions[1:], anchor[None]])  # where none was asked for, any will do
            targets.flatten(0, 1)[on_rows] = answers[len(asking) :]
            window = self._verify(state, to_draft, drafting, start, lengths, on_steps, states, predictions, targets)
            last = torch.arange(len(drafting))
            known[drafting] = ~window.rejected & wanted[window.moved, last]
            (ends,) = self._send(window.moved * len(drafting) + last)
            answer[to_draft] = targets.flatten(0, 1)[ends]
            state.window = window

    def _draft(self, x: Tensor, answer: Tensor, steps: Tensor, exact: Tensor, all_exact: bool) -> tuple[Tensor, Tensor]:
        """Where the draft goes (L + 1, m, *event), and which clean points it believed in (L, m, *event).

        Where the target's answer at the start is known (`exact`) the first step uses it: that draft is exact.
        """
        states, predictions = [x], []
        for ahead, step in enumerate(steps):
            y = states[-1]
            if self.draft is None:
                prediction = answer if self.freeze == "prediction" else self._keep_drift(x, answer, steps[0], y, step)
            elif ahead == 0 and all_exact:
                prediction = answer
            else:
                prediction = self._ask(self.draft, "draft(x, t)", y, step)
            if ahead == 0:
                prediction = torch.where(expand_time(exact, x), answer, prediction)
            noise = torch.randn(y.shape, generator=self.generator, dtype=y.dtype, device=y.device)
            states.append(self._mean(y, prediction, step) + expand_time(self.weights[2, step], y) * noise)
            predictions.append(prediction)
        return torch.stack(states), torch.stack(predictions) if predictions else x.new_empty(0, *x.shape)

    def _keep_drift(self, x: Tensor, answer: Tensor, first: Tensor, y: Tensor, step: Tensor) -> Tensor:
        """The clean point with which the step from `y` goes in the direction of the exact step from `x`."""
        ratio = (self.times[step + 1] - self.times[step]) / (self.times[first + 1] - self.times[first])
        drift = (self._mean(x, answer, first) - x) * expand_time(ratio, x)
        noisy, clean, _ = (expand_time(weight, y) for weight in self.weights[:, step])
        return (y + drift - noisy * y) / clean

    def _verify(
        self,
        state: SpeculativeState,
        to_draft: Tensor,
        chains: Tensor,
        start: Tensor,
        lengths: Tensor,
        steps: Tensor,
        states: Tensor,
        predictions: Tensor,
        targets: Tensor,
    ) -> Window:
        """Couple every drafted step with the target's, move each chain to its first miss, and write down its way."""
        longest, count = steps.shape
        froms, flat = states[:-1].flatten(0, 1), steps.flatten()
        uniform = torch.rand(len(flat), generator=self.generator, dtype=torch.float64, device=states.device)
        values, kept = self.coupling(
            states[1:].flatten(0, 1),
            self._mean(froms, predictions.flatten(0, 1), flat),
            self._mean(froms, targets[:-1].flatten(0, 1), flat),
            self.weights[2, flat],
            uniform,
        )
        kept = kept.cpu().unflatten(0, (longest, count))  # the one time in a round that the host waits

        ahead = torch.arange(longest)[:, None]
        misses = ~kept & (ahead < lengths)
        rejected = misses.any(0)
        moved = torch.where(rejected, misses.long().argmax(0) + 1, lengths)
        row, column = (ahead < moved).nonzero().unbind(1)
        state.accepted[start[column] + row, chains[column]] = kept[row, column]
        places = (start[column] + row + 1) * len(state.position) + chains[column]
        ends, sources, places = self._send((moved - 1) * count + torch.arange(count), row * count + column, places)
        state.x[to_draft] = values[ends]
        if state.path is not None:
            state.path.flatten(0, 1)[places] = values[sources]
        state.position[chains] += moved
        return Window(chains, start, states, lengths, moved, rejected)

    def _send(self, *indices: Tensor) -> list[Tensor]:
        """Indices from the host on the device of the chains, in one copy that neither side waits for."""
        if self.times.device.type == "cpu":
            return list(indices)
        packed = torch.cat([index.flatten() for index in indices])
        if self.times.device.type == "cuda":
            packed = packed.pin_memory()
        parts = packed.to(self.times.device, non_blocking=True).split([index.numel() for index in indices])
        return [part.reshape(index.shape) for part, index in zip(parts, indices)]

    def _ask(self, model: Denoiser, name: str, points: Tensor, steps: Tensor) -> Tensor:
        answers = model(points, self.times[steps])
        require_like(name, answers, "x", points)
        return answers.to(points.dtype)  # the model may work in another

    def _mean(self, x: Tensor, x0: Tensor, steps: Tensor) -> Tensor:
        noisy, clean, _ = (expand_time(weight, x) for weight in self.weights[:, steps])
        return noisy * x + clean * x0


def transition_residuals(
    denoiser: Denoiser, path: Float[Tensor, "K1 n *event"], times: Float[Tensor, " K1"], churn: Number = 1.0
) -> Float[Tensor, "steps n *event"]:
    """The noise of every step, `(x_{k+1} - mean(x_k)) / std_k`: standard normal if the sampler is exact.

    A test of the *path*. Its last states alone carry what is left of an error after all later steps, in a place that
    one would have to guess. Steps without noise, such as the last one down to t = 0, are left out.

    Args:
        denoiser: the target, a callable (x (n, *event), t (n,)) -> (n, *event).
        path, times, churn: of the sampler's run.

    Raises:
        TypeError: `path` is not a floating tensor, `times` is no row.
        ValueError: path and times differ in length, times do not fall, no step has noise, or churn is outside (0, 1].
    """
    return torch.stack([residual for residual, _ in _residuals(denoiser, path, times, churn, least=1)])


def aimed_residuals(
    denoiser: Denoiser, path: Float[Tensor, "K1 n *event"], times: Float[Tensor, " K1"], churn: Number = 1.0
) -> Float[Tensor, "steps n"]:
    """The part of every step's noise that points where the target's answer has just moved.

    That direction is known before the step is taken, so for an exact sampler this is standard normal, too (and 0
    where the answer has not moved at all). It is also where a sampler that leans on an older answer goes wrong: one
    number for each step in place of d, and a test that finds a small error with far fewer chains than
    `transition_residuals`.

    Returns (steps - 1, n): the first step has no older answer. Args and errors as `transition_residuals`.
    """
    aimed, before = [], None
    for residual, answer in _residuals(denoiser, path, times, churn, least=2):
        if before is not None:
            moved = (answer - before).flatten(1)
            length = torch.linalg.vector_norm(moved, dim=1)
            aimed.append((residual.flatten(1) * moved).sum(1) / torch.where(length == 0, 1.0, length))
        before = answer
    return torch.stack(aimed)


def _residuals(
    denoiser: Denoiser, path: Tensor, times: Tensor, churn: Number, least: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each step with noise, of which there must be `least`, its residual and the target's answer where it began."""
    require_floating("path", path)
    times = as_times(times).double()
    fits = path.ndim >= 3 and len(path) == len(times)
    require(fits, "path", f"of shape {tuple(path.shape)}", f"of shape ({len(times)}, n, *event), a state for each time")
    require_in("churn", churn, "(0, 1]")
    weights = torch.stack(bridge_weights(times[:-1], times[1:], churn)).to(path)
    noisy_steps = len(times) - 1 - int(times[-1] == 0)
    require(noisy_steps >= least, "times", f"with {noisy_steps} steps above t = 0", f"with at least {least}")
    path = path.detach()
    for x, after, t, (noisy, clean, std) in list(zip(path, path[1:], times.to(path), weights.T))[:noisy_steps]:
        with torch.no_grad():
            answer = denoiser(x, t.expand(len(x)))
        require_like("denoiser(x, t)", answer, "x", x)
        answer = answer.to(x.dtype)
        yield (after - noisy * x - clean * answer) / std, answer

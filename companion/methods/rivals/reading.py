"""Rivals of dynamic evaluation: other ways for a language model to remember what it has read.

- `KrauseRule`: dynamic evaluation as it first was, with rates from the gradients' sizes on the training text and a decay
  that is stronger where those are large.
- `neural_cache`: nothing is learned; the model's own hidden states are kept with the tokens that followed them, and those
  that resemble the present one vote.

Sources: B. Krause, E. Kahembwe, I. Murray, S. Renals, "Dynamic Evaluation of Neural Sequence Models", ICML 2018
(arXiv 1709.07432); E. Grave, A. Joulin, N. Usunier, "Improving Neural Language Models with a Continuous Cache", ICLR 2017
(arXiv 1612.04426). Written from the methods' published descriptions.

>>> hidden, targets = torch.eye(2)[torch.arange(400) % 2], torch.arange(400) % 2
>>> chance = torch.full((400,), 0.693)
>>> print(f"{neural_cache(chance, hidden, targets, sharpness=10, mix=0.9)[100:].mean():.2f} nats")
0.06 nats
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.validation import (
    Number,
    require,
    require_count,
    require_floating,
    require_in,
    require_labels,
)
from companion.methods.dynamic_evaluation import StreamResult, log_losses

__all__ = ["HiddenStates", "KrauseRule", "gradient_squares", "hidden_states", "neural_cache"]


# --- the first rule of dynamic evaluation -------------------------------------------------------------------------


def gradient_squares(
    model: nn.Module,
    tokens: Int[Tensor, " t"],
    window: int,
    count: int,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """For each parameter the mean square of the gradients on `count` windows of a text, drawn at random.

    Args:
        model: (1, l) whole numbers -> logits (1, l, vocab).
        tokens: what the model was trained on.
        window: tokens that are predicted in each window; one more is read.
        count: windows.
        generator: the windows are drawn from, on the device of the tokens.

    Returns:
        By name, tensors of the parameters' shapes.

    Raises:
        TypeError, ValueError: no module, no tokens, counts below 1, or a text that is shorter than a window.
    """
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    require_labels("tokens", tokens)
    require_count("window", window, 1)
    require_count("count", count, 1)
    require(len(tokens) > window, "tokens", f"{len(tokens)} of them", f"more than the {window} of a window")
    learned = {name: each for name, each in model.named_parameters() if each.requires_grad}
    squares = {name: torch.zeros_like(each) for name, each in learned.items()}
    device = next(model.parameters()).device
    starts = torch.randint(len(tokens) - window, (count,), generator=generator, device=tokens.device)
    for start in starts.tolist():
        text = tokens[None, start : start + window + 1].to(device)
        loss = log_losses(model(text[:, :-1]), text[:, 1:]).mean()
        gradients = torch.autograd.grad(loss, learned.values())
        for square, gradient in zip(squares.values(), gradients):
            square.addcmul_(gradient, gradient, value=1 / count)
    return squares


class KrauseRule(torch.optim.Optimizer):
    """The update of Krause and others: steps divided by the gradients' usual size, and a decay to where learning began.

        theta <- theta - lr g / (sqrt(MS) + eps) + min(decay r, 1) (theta_0 - theta),    r = sqrt(MS) / mean(sqrt(MS)),

    MS is the mean square of the gradients on the training text, the mean over all parameters; theta_0 are the parameters as
    they are when the rule is made.

    Source: arXiv 1709.07432, section 4.

    Args:
        params: to learn, a sequence of tensors.
        squares: MS of each, in the same order.
        lr: at least 0.
        decay: at least 0.
        eps: above 0.

    Raises:
        TypeError, ValueError: a square that does not fit its parameter, or a number outside its range.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        squares: Sequence[Tensor],
        lr: Number,
        decay: Number = 0.0,
        eps: Number = 1e-4,
    ) -> None:
        params, squares = list(params), list(squares)
        require_in("lr", lr, "[0, inf)")
        require_in("decay", decay, "[0, inf)")
        require_in("eps", eps, "(0, inf)")
        fits = [value.shape for value in squares] == [value.shape for value in params]
        require(fits, "squares", "of other shapes", "one for each parameter, of its shape")
        super().__init__(params, {"lr": lr, "decay": decay, "eps": eps})
        roots = [square.to(param).sqrt() for square, param in zip(squares, params)]
        mean = sum(root.sum() for root in roots) / sum(root.numel() for root in roots)
        for param, root in zip(params, roots):
            self.state[param] = {"root": root, "norm": root / mean, "start": param.detach().clone()}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Tensor | None:
        """One update from the gradients that lie in the parameters."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                pull = (group["decay"] * state["norm"]).clamp(max=1) * (state["start"] - param)
                param += pull - group["lr"] * param.grad / (state["root"] + group["eps"])
        return loss


# --- memory of hidden states --------------------------------------------------------------------------------------


class HiddenStates(NamedTuple):
    """Of each token after the context: `log_loss` (s,) in nats, the hidden state before it (s, d), itself (s,)."""

    log_loss: Float[Tensor, " s"]
    hidden: Float[Tensor, "s d"]
    targets: Int[Tensor, " s"]


def hidden_states(reading: StreamResult, layer: str) -> HiddenStates:
    """Read a text to its end, and keep what a layer of the model puts out, (1, l, d), before each block is learned.

    Args:
        reading: what `evaluate_stream` gave, not yet begun.
        layer: the name of one of the model's modules.

    Raises:
        TypeError, ValueError: no such reading, one that has begun, or no module of that name.
    """
    require(isinstance(reading, StreamResult), "reading", f"a {type(reading).__name__}", "a StreamResult", TypeError)
    require(layer in dict(reading.model.named_modules()), "layer", repr(layer), "the name of a module of the model")
    outputs: list[Tensor] = []
    hook = reading.model.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: outputs.append(output.detach())
    )
    try:
        kept = [outputs.pop()[0, start - stop :] for start, stop, _ in reading]
    finally:
        hook.remove()
    hidden = torch.cat(kept) if kept else torch.empty(0)
    require(len(hidden) == len(reading.log_loss), "reading", "partly done", "one that has not begun")
    return HiddenStates(reading.log_loss, hidden, reading.targets)


def neural_cache(
    log_loss: Float[Tensor, " s"],
    hidden: Float[Tensor, "s d"],
    targets: Int[Tensor, " s"],
    sharpness: Number,
    mix: Number,
    size: int | None = None,
) -> Float[Tensor, " s"]:
    """Log-loss of a model mixed with a cache of its own hidden states.

        p(x_t) = (1 - mix) p_model(x_t) + mix p_cache(x_t),   p_cache(w) ~ sum_{i < t} 1(x_i = w) exp(sharpness h_t . h_i / d)

    The first token has an empty cache, and the model alone. It needs no gradient: per token, 2 d operations for each kept
    state.

    Source: arXiv 1612.04426, eq. 2 to 4.

    Args:
        log_loss: of the model alone.
        hidden: the state from which each token was predicted.
        targets: the tokens themselves.
        sharpness: how much more a similar state counts; 0: all alike.
        mix: from 0 to below 1.
        size: how many states are kept, the latest; None all.

    Raises:
        TypeError, ValueError: shapes that do not go together, or numbers outside their range.
    """
    require_floating("log_loss", log_loss)
    require_floating("hidden", hidden)
    fits = log_loss.ndim == 1 and hidden.ndim == 2 and len(hidden) == len(log_loss)
    require(fits, "hidden", f"of shape {tuple(hidden.shape)}", f"({len(log_loss)}, d), one row for each log-loss")
    require_labels("targets", targets, len(log_loss))
    require_in("sharpness", sharpness, "[0, inf)")
    require_in("mix", mix, "[0, 1)")
    if size is not None:
        require_count("size", size, 1)
    mixed, chunk = log_loss.clone(), 512
    for start in range(1, len(log_loss), chunk):
        stop = min(start + chunk, len(log_loss))
        rows = torch.arange(start, stop, device=hidden.device)
        first = 0 if size is None else max(0, start - size)
        kept = torch.arange(first, stop - 1, device=hidden.device)
        score = sharpness * hidden[rows] @ hidden[kept].T / hidden.shape[1]
        age = rows[:, None] - kept
        seen = age > 0 if size is None else (age > 0) & (age <= size)
        weight = score.masked_fill(~seen, -torch.inf).softmax(1)
        voted = (weight * (targets[kept] == targets[rows, None])).sum(1)
        mixed[rows] = -((1 - mix) * (-log_loss[rows]).exp() + mix * voted).log()
    return mixed

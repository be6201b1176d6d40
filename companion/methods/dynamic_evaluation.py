"""Dynamic evaluation: a language model that keeps learning from the text that it is asked to predict.

The text comes in blocks of `stride` tokens. Each block is predicted from the `context` tokens before it, its log-loss is
noted, and only then does the model take a gradient step on that loss. So the model remembers in two ways: in its context,
exactly and briefly, and in its weights, vaguely and for long.

Source: A. Rannen-Triki, J. Bornschein, R. Pascanu, M. Hutter, A. Gyorgy, A. Galashov, Y. W. Teh, M. K. Titsias, "Revisiting
Dynamic Evaluation: Online Adaptation for Large Language Models" (arXiv 2403.01518). The decay is the plain one of B. Krause, E.
Kahembwe, I. Murray, S. Renals, "Dynamic Evaluation of Neural Sequence Models", ICML 2018 (arXiv 1709.07432), section 4 (their
whole rule is `rivals.reading.KrauseRule`); the low-rank adapters are those of E. J. Hu and others, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685), eq. 3.

>>> from functools import partial
>>> from companion.foundations.language import WindowMLP
>>> model = WindowMLP(symbols=5, generator=torch.Generator().manual_seed(0))
>>> tokens = torch.arange(600) % 5
>>> static = evaluate_stream(model, tokens, context=8, stride=8)
>>> online = evaluate_stream(model, tokens, context=8, stride=8, optimizer=partial(torch.optim.Adam, lr=0.01))
>>> print(f"{static.log_loss[-100:].mean():.2f} {online.log_loss[-100:].mean():.2f} nats, {online.flops / static.flops:.1f} x")
1.65 0.00 nats, 3.0 x
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from companion.foundations.validation import (
    Number,
    require,
    require_callable,
    require_count,
    require_floating,
    require_in,
    require_labels,
)

__all__ = [
    "Block",
    "HuggingFaceReader",
    "LowRank",
    "StreamResult",
    "add_adapters",
    "evaluate_stream",
    "learned_part",
    "log_losses",
]

Parameters: TypeAlias = Literal["all", "mlp", "lora"] | Callable[[str], bool]
MakeOptimizer: TypeAlias = Callable[[Sequence[Tensor]], torch.optim.Optimizer]
MLP_NAMES = {"mlp", "ffn", "feed_forward"}
SAVED = {"call", "done", "log_loss", "flops", "start", "learned", "optimizer"}
# torch's counter knows attention on a GPU; on a CPU it has another name.
ATTENTION = {
    "_scaled_dot_product_flash_attention_for_cpu": lambda *shapes, **others: sdpa_flop_count(*shapes[:3]),
    "_scaled_dot_product_flash_attention_for_cpu_backward": (
        lambda *shapes, **others: sdpa_backward_flop_count(*shapes[:4])
    ),
}
COUNTED = {getattr(torch.ops.aten, name): count for name, count in ATTENTION.items() if hasattr(torch.ops.aten, name)}


class Block(NamedTuple):
    """One block of a stream: its tokens are `start` to `stop`; `log_loss` (stop - start,) in nats, from before learning."""

    start: int
    stop: int
    log_loss: Float[Tensor, " b"]


def evaluate_stream(
    model: nn.Module,
    tokens: Int[Tensor, " t"],
    context: int,
    stride: int,
    optimizer: MakeOptimizer | None = None,
    parameters: Parameters = "all",
    reset_every: int | None = None,
    reset_at: Sequence[int] = (),
    decay: Number = 0.0,
    rank: int = 4,
    generator: torch.Generator | None = None,
    in_place: bool = False,
    resume: dict[str, Any] | None = None,
) -> "StreamResult":
    """Predict a text block by block, and learn each block after it has been scored.

    A block that ends before token e is predicted from the inputs tokens[e - stride - context : e - 1]; its `stride` tokens,
    tokens[e - stride : e], are its targets. Their mean log-loss is what is learned, in one step of the optimiser. The first
    `context` tokens are context only; every later token is scored once. The last block may be shorter, with the same context.
    In half precision small steps are lost in rounding, and a small decay does nothing: keep what is learned in float32.

    Args:
        model: (1, l) whole numbers -> logits of each next token (1, l, vocab). It is put in evaluation mode.
        tokens: the text.
        context: tokens before a block that its first token is predicted from, at least 1.
        stride: tokens in a block.
        optimizer: (parameters) -> torch.optim.Optimizer, functools.partial(torch.optim.Adam, lr=1e-3) say; None learns nothing.
        parameters: what is learned. "all"; "mlp": what lies in modules called mlp, ffn or feed_forward; "lora": adapters of
            low rank beside the linear layers of those (adapters that are there already are kept); or a callable
            (name) -> bool. This and all that follows has a meaning only with an optimizer.
        reset_every: blocks after which the weights are again those of the start, and the optimiser is new; None never.
        reset_at: tokens, where documents begin say: the same before the first block that begins there or later.
        decay: part of the way back to the start after each step, theta <- theta + decay (theta_0 - theta); from 0 to 1.
        rank: of the adapters.
        generator: the adapters are drawn from.
        in_place: adapt `model` itself, and save the memory of a copy. What is not learned stops asking for gradients.
        resume: a `StreamResult.state_dict()` of the same call.

    Returns:
        A `StreamResult`. It works when it is asked: iterate it for progress, or read `.log_loss`. If nothing is learned it
        reads with the given model as that is then.

    Raises:
        TypeError, ValueError: at the call, for an argument outside what is said here; at the first block, for a model whose
            output is not (1, l, vocab).
    """
    require(isinstance(model, nn.Module), "model", f"a {type(model).__name__}", "a torch.nn.Module", TypeError)
    require_labels("tokens", tokens)
    require_count("context", context, 1)
    require_count("stride", stride, 1)
    require(len(tokens) > context, "tokens", f"{len(tokens)} of them", f"more than the {context} of the context")
    if tokens.device.type == "cpu":
        require(bool(tokens.min() >= 0), "tokens", "negative somewhere", "numbers from 0")
    if optimizer is not None:
        require_callable("optimizer", optimizer, "None or a callable (parameters) -> torch.optim.Optimizer")
        inference = torch.is_inference_mode_enabled()
        require(not inference, "optimizer", "given inside torch.inference_mode()", "None there: nothing can be learned")
    _require_parameters(parameters)
    if reset_every is not None:
        require_count("reset_every", reset_every, 1)
    require(hasattr(reset_at, "__len__"), "reset_at", repr(reset_at), "a sequence of tokens' numbers", TypeError)
    for place in reset_at:
        require_count("each of reset_at", place, 0)
    require_in("decay", decay, "[0, 1]")
    require_count("rank", rank, 1)
    require(
        resume is None or (isinstance(resume, dict) and resume.keys() >= SAVED),
        "resume",
        f"a {type(resume).__name__} without all it needs",
        "a StreamResult.state_dict()",
    )
    learner = None
    if optimizer is not None:
        model = model if in_place else copy.deepcopy(model)
        learned = learned_part(model, parameters, rank, generator)
        learner = _Learner(learned, optimizer, reset_every, sorted(reset_at), float(decay))
    return StreamResult(model.eval(), tokens, context, stride, learner, resume)


class StreamResult:
    """A text being evaluated. Iterate it to see it move; reading a result finishes it first.

    Until then nothing has been read, and `model` has learned nothing.

    Attributes:
        model: as it is now. The one that was given if nothing is learned or it is adapted in place, else a copy.
    """

    def __init__(
        self,
        model: nn.Module,
        tokens: Int[Tensor, " t"],
        context: int,
        stride: int,
        learner: "_Learner | None" = None,
        resume: dict[str, Any] | None = None,
    ) -> None:
        self.model, self._context, self._stride, self._learner = model, context, stride, learner
        self._largest = int(tokens.max()) if tokens.device.type == "cpu" else None
        first = next(model.parameters(), tokens)
        self._tokens = tokens.to(first.device, torch.long)
        self._done, self._flops, self._flops_of = 0, 0, {}
        self._log_loss: Tensor | None = None
        if resume is not None:
            self._restore(resume)

    def __len__(self) -> int:
        """The number of blocks."""
        return -(-(len(self._tokens) - self._context) // self._stride)

    def __iter__(self) -> Iterator[Block]:
        """The blocks that are still to come, each when it has been scored and learned."""
        while self._done < len(self):
            yield self._next()

    @property
    def log_loss(self) -> Float[Tensor, " s"]:
        """Nats of each token after the first `context`, scored before it was learned, on the model's device."""
        self._finish()
        return self._log_loss

    @property
    def targets(self) -> Int[Tensor, " s"]:
        """The tokens that `log_loss` is of."""
        return self._tokens[self._context :]

    @property
    def flops(self) -> int:
        """Floating point operations of the whole stream, forward and backward (2 for each multiplication with its sum).

        As `torch.utils.flop_counter` counts them: products of matrices and attention, neither elementwise work nor the
        optimiser's. Attention is counted without its causal half being left out.
        """
        self._finish()
        return self._flops

    def state_dict(self) -> dict[str, Any]:
        """Everything that `evaluate_stream(..., resume=...)` needs to go on as if it had never stopped."""
        learner = self._learner
        return {
            "call": self._call(),
            "done": self._done,
            "log_loss": None if self._log_loss is None else self._log_loss.clone(),
            "flops": (self._flops, dict(self._flops_of)),
            "start": None if learner is None else [value.clone() for value in learner.start],
            "learned": None if learner is None else [value.detach().clone() for value in learner.parameters],
            "optimizer": None if learner is None else copy.deepcopy(learner.optimizer.state_dict()),
        }

    def _call(self) -> dict[str, Any]:
        """What must be the same when a reading goes on."""
        call = {"tokens": len(self._tokens), "context": self._context, "stride": self._stride}
        return call | ({} if self._learner is None else self._learner.call())

    def _restore(self, saved: dict[str, Any]) -> None:
        now, learner = self._call(), self._learner
        other = [name for name in now | saved["call"] if now.get(name) != saved["call"].get(name)]
        require(not other, "resume", f"of a call with other {', '.join(other)}", "of the same call")
        self._done, (self._flops, flops_of) = saved["done"], saved["flops"]
        self._flops_of = dict(flops_of)
        if saved["log_loss"] is not None:
            self._log_loss = saved["log_loss"].to(self._tokens.device, copy=True)
        if learner is not None:
            with torch.no_grad():
                for own, value in zip(
                    learner.start + learner.parameters, saved["start"] + saved["learned"], strict=True
                ):
                    own.copy_(value)
            learner.optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))

    def _finish(self) -> None:
        for _ in self:
            pass

    def _next(self) -> Block:
        start = self._context + self._done * self._stride
        stop = min(start + self._stride, len(self._tokens))
        text = self._tokens[None, start - self._context : stop]
        if self._learner is not None:
            self._learner.begin(self._done, start, self._stride)
        size = text.shape[1]
        if size in self._flops_of:
            loss = self._score_and_learn(text, start, stop)
        else:
            with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
                loss = self._score_and_learn(text, start, stop)
            self._flops_of[size] = counter.get_total_flops()
        self._flops += self._flops_of[size]
        return Block(start, stop, loss)

    def _score_and_learn(self, text: Int[Tensor, "1 l"], start: int, stop: int) -> Float[Tensor, " b"]:
        with torch.set_grad_enabled(self._learner is not None):
            loss = self._losses(text, stop - start)
            # Noted before it is learned: whoever stops here and goes on never scores a block that was learned.
            scored = loss.detach().clone()
            if self._log_loss is None:
                self._log_loss = scored.new_zeros(len(self._tokens) - self._context)
            self._log_loss[start - self._context : stop - self._context] = scored
            self._done += 1
            if self._learner is not None:
                self._learner.step(loss.mean())
        return scored

    def _losses(self, text: Int[Tensor, "1 l"], new: int) -> Float[Tensor, " new"]:
        try:
            logits = self.model(text[:, :-1])
        except IndexError as error:
            came = f"up to {self._largest}, in windows of {text.shape[1] - 1}"
            allowed = "numbers that the model has an embedding for, in windows that it can take"
            raise ValueError(f"tokens is {came}, but must be {allowed}.") from error
        require_floating("model(tokens)", logits)
        fits = logits.ndim == 3 and logits.shape[:2] == (1, text.shape[1] - 1)
        wanted = f"logits of shape (1, {text.shape[1] - 1}, vocab)"
        require(fits, "model(tokens)", f"of shape {tuple(logits.shape)}", wanted)
        known = self._largest is None or self._largest < logits.shape[2]
        require(known, "tokens", f"up to {self._largest}", f"below {logits.shape[2]}, for which the model has logits")
        return log_losses(logits[:, -new:], text[:, -new:])[0]


class _Learner:
    """What is learned, how, and where it began."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        optimizer: MakeOptimizer,
        reset_every: int | None,
        reset_at: list[int],
        decay: float,
    ) -> None:
        self.parameters, self.make = parameters, optimizer
        self.reset_every, self.reset_at, self.decay = reset_every, reset_at, decay
        returns = reset_every or reset_at or decay
        self.start = [each.detach().clone() for each in parameters] if returns else []
        self.optimizer = self._new_optimizer()

    def call(self) -> dict[str, Any]:
        """What must be the same when a reading goes on."""
        return {
            "optimizer": type(self.optimizer).__name__,
            "parameters": [list(each.shape) for each in self.parameters],
            "reset_every": self.reset_every,
            "reset_at": self.reset_at,
            "decay": self.decay,
        }

    def _new_optimizer(self) -> torch.optim.Optimizer:
        made = self.make(self.parameters)
        right = isinstance(made, torch.optim.Optimizer)
        require(right, "optimizer(parameters)", f"a {type(made).__name__}", "a torch.optim.Optimizer", TypeError)
        return made

    def begin(self, number: int, start: int, stride: int) -> None:
        """Before block `number`, which begins at token `start`: back to where learning began, if it is time."""
        due = bool(self.reset_every and number and number % self.reset_every == 0)
        if due or (number and any(start - stride < place <= start for place in self.reset_at)):
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, self.start)
            self.optimizer = self._new_optimizer()

    def step(self, loss: Tensor) -> None:
        """Learn a block."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.decay:
            with torch.no_grad():
                torch._foreach_lerp_(self.parameters, self.start, self.decay)


def log_losses(logits: Float[Tensor, "n t vocab"], targets: Int[Tensor, "n t"]) -> Float[Tensor, "n t"]:
    """-log p of each target in nats, worked out in float32 at least.

    Raises:
        TypeError, ValueError: logits that are not (n, t, vocab), or targets of another shape.
    """
    require_floating("model(tokens)", logits)
    fits = logits.ndim == 3 and logits.shape[:2] == targets.shape
    wanted = f"({targets.shape[0]}, {targets.shape[1]}, vocab)"
    require(fits, "model(tokens)", f"of shape {tuple(logits.shape)}", f"logits of shape {wanted}")
    precise = logits if logits.dtype == torch.float64 else logits.float()
    return cross_entropy(precise.transpose(1, 2), targets, reduction="none")


# --- what is learned ----------------------------------------------------------------------------------------------


def learned_part(
    model: nn.Module, parameters: Parameters, rank: int = 4, generator: torch.Generator | None = None
) -> list[nn.Parameter]:
    """The parameters that are to be learned; all others of the model stop asking for gradients.

    "lora" adds its adapters to the model. See `evaluate_stream` for the arguments.

    Raises:
        ValueError: an unknown word, or nothing is left to learn.
    """
    _require_parameters(parameters)
    if parameters == "lora":
        chosen = add_adapters(model, rank, generator=generator)
    else:
        wanted = parameters if callable(parameters) else {"all": lambda name: True, "mlp": _in_mlp}[parameters]
        named = model.named_parameters(remove_duplicate=False)  # a tied weight has two names
        chosen = list({id(each): each for name, each in named if wanted(name)}.values())
    came = "a callable" if callable(parameters) else repr(parameters)
    require(len(chosen) > 0, "parameters", came, "something that this model has")
    model.requires_grad_(False)
    for each in chosen:
        each.requires_grad_(True)
    return chosen


def _require_parameters(parameters: object) -> None:
    if not callable(parameters):
        named = parameters in ("all", "mlp", "lora")
        require(named, "parameters", repr(parameters), '"all", "mlp", "lora" or a callable (name) -> bool')


def _in_mlp(name: str) -> bool:
    return not MLP_NAMES.isdisjoint(name.split("."))


class LowRank(nn.Module):
    """A linear layer with an adapter beside it: W x + b + up (down x), where `up` starts at 0.

    Source: Hu and others (arXiv 2106.09685), eq. 3, with a scale of 1.

    Attributes:
        down, up: the adapter, (rank, inputs) and (outputs, rank); `down` starts at N(0, 1 / inputs).
    """

    def __init__(self, layer: nn.Module, rank: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        weight = layer.weight
        linear = isinstance(layer, nn.Linear)
        inputs, outputs = (layer.in_features, layer.out_features) if linear else (layer.nx, layer.nf)
        device = weight.device if generator is None else generator.device
        down = torch.randn(rank, inputs, generator=generator, device=device) / inputs**0.5
        self.layer = layer
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))

    def forward(self, x: Float[Tensor, "*n inputs"]) -> Float[Tensor, "*n outputs"]:
        return self.layer(x) + x @ self.down.T @ self.up.T

    @property
    def weight(self) -> Tensor:
        """That of the layer, without the adapter; some models ask for its dtype."""
        return self.layer.weight

    @property
    def bias(self) -> Tensor | None:
        """That of the layer."""
        return self.layer.bias


def add_adapters(
    model: nn.Module,
    rank: int = 4,
    where: Callable[[str], bool] = _in_mlp,
    generator: torch.Generator | None = None,
) -> list[nn.Parameter]:
    """Put an adapter beside each linear layer whose name `where` wants, and return the adapters' parameters.

    Linear layers are `nn.Linear`, and Hugging Face's `Conv1D`. By default those in modules called mlp, ffn or feed_forward.
    The model computes the same as before, until the adapters learn. An adapter that is there already is kept as it is.

    Raises:
        ValueError: a rank below 1, or no such layer.
    """
    require_count("rank", rank, 1)
    layers = dict(model.named_modules())
    inside = {id(layer.layer) for layer in layers.values() if isinstance(layer, LowRank)}
    adapters = []
    for name, layer in layers.items():
        if not name or not where(name) or id(layer) in inside:
            continue
        if _is_linear(layer):
            parent, _, own = name.rpartition(".")
            layer = LowRank(layer, rank, generator)
            setattr(layers[parent], own, layer)
        if isinstance(layer, LowRank):
            adapters += [layer.down, layer.up]
    require(len(adapters) > 0, "model", "without a linear layer of a wanted name inside it", "a model that has one")
    return adapters


def _is_linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (type(layer).__name__ == "Conv1D" and hasattr(layer, "nf"))


class HuggingFaceReader(nn.Module):
    """A Hugging Face causal model as `evaluate_stream` wants it: tokens (n, t) -> logits (n, t, vocab)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n t vocab"]:
        return self.model(input_ids=tokens, use_cache=False).logits

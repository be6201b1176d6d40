"""Exercise 08.3: a reader that learns by gradient descent, and what goes wrong between scoring and learning."""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from companion.foundations.language import WindowMLP
from companion.methods.dynamic_evaluation import log_losses
from companion.teaching.checks.answers import (
    DOUBLE,
    NotYet,
    StudentFunction,
    describe,
    expect,
    expect_close,
    read_function,
    read_number,
)
from companion.teaching.checks.framework import exercise

READ = "read(model, tokens, context, stride, lr)"
SYMBOLS = 6
SIZES = ((61, 7, 6, 0.3), (40, 5, 1, 0.1), (33, 4, 9, 0.5))  # tokens, context, stride and learning rate


def fresh_model(generator: torch.Generator, symbols: int = SYMBOLS) -> WindowMLP:
    """A small untrained model in double precision."""
    return WindowMLP(symbols, order=4, embedding=4, width=16, generator=generator).to(DOUBLE)


def follow(
    model: nn.Module,
    tokens: Int[Tensor, " t"],
    context: int,
    stride: int,
    lr: float,
    *,
    score: Literal["before", "after", "both"] = "before",
    over: Literal["new", "all"] = "new",
    clear: bool = True,
    summed: bool = False,
    steps: int = 1,
    uphill: bool = False,
) -> list[Float[Tensor, " l"]]:
    """The log-losses of each block's window, of the old tokens first and the new ones last; the model learns as it reads.

    Args:
        score: before the step, after it, or the mean of both.
        over: what the step's loss is taken over, the new tokens or all of the window.
        clear: whether gradients of former blocks are forgotten.
        summed: whether the loss is a sum over the tokens.
        steps: on each block.
        uphill: climb instead.
    """
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=lr), []
    optimizer.zero_grad()
    for start in range(context, len(tokens), stride):
        text = tokens[None, start - context : start + stride]
        new = min(stride, len(tokens) - start)
        before = log_losses(model(text[:, :-1]), text[:, 1:])[0]
        scored = before.detach()
        for _ in range(steps):
            found = log_losses(model(text[:, :-1]), text[:, 1:])[0]
            learned = found if over == "all" else found[-new:]
            if clear:
                optimizer.zero_grad()
            aim = learned.sum() if summed else learned.mean()
            (-aim if uphill else aim).backward()
            optimizer.step()
        if score != "before":
            with torch.no_grad():
                after = log_losses(model(text[:, :-1]), text[:, 1:])[0]
            scored = after if score == "after" else (scored + after) / 2
        losses.append(scored)
    return losses


def of_new_tokens(losses: list[Float[Tensor, " l"]], count: int, context: int, stride: int) -> Float[Tensor, " s"]:
    """Of each window's losses those of the new tokens, in a row."""
    sizes = [min(stride, count - start) for start in range(context, count, stride)]
    return torch.cat([loss[-size:] for loss, size in zip(losses, sizes)])


class Reading:
    """The student's loop."""

    def __init__(self, loop: StudentFunction) -> None:
        self._loop = loop

    def __call__(
        self, tokens: Int[Tensor, " t"], context: int, stride: int, lr: float
    ) -> tuple[Float[Tensor, " s"], Float[Tensor, " P"]]:
        """Losses, and the weights that it leaves; always from the same start."""
        model = fresh_model(torch.Generator().manual_seed(80_003))
        value = self._loop(model, tokens, context, stride, lr)
        if isinstance(value, list | tuple | np.ndarray):
            rows = [part.detach().flatten() for part in value if isinstance(part, Tensor) and part.ndim > 0]
            single = len(rows) != len(value) or len(rows) == 0
            numbers = [read_number(part, "each loss") for part in value] if single else []
            value = torch.tensor(numbers, dtype=DOUBLE) if single else torch.cat(rows)
        wanted = len(tokens) - context
        fits = isinstance(value, Tensor) and value.is_floating_point() and tuple(value.shape) == (wanted,)
        if not fits:
            words = f"for {len(tokens)} tokens, context {context} and stride {stride}, expected shape ({wanted},)"
            raise NotYet(
                f"Return the log-loss of each token after the first context; {words}, got {describe(value)}.",
                "a loss a token",
            )
        weights = torch.cat([each.detach().flatten() for each in model.parameters()])
        return value.detach().to(DOUBLE), weights


def reference(
    tokens: Int[Tensor, " t"], context: int, stride: int, lr: float, **mistake: object
) -> tuple[Float[Tensor, " s"], Float[Tensor, " P"]]:
    """What `follow` gives from the same start: losses of new tokens, weights."""
    model = fresh_model(torch.Generator().manual_seed(80_003))
    losses = follow(model, tokens, context, stride, lr, **mistake)
    weights = torch.cat([each.detach().flatten() for each in model.parameters()])
    return of_new_tokens(losses, len(tokens), context, stride), weights


def noise(generator: torch.Generator, count: int, symbols: int = SYMBOLS) -> Int[Tensor, " t"]:
    """Symbols drawn evenly, without regard to anything."""
    return torch.randint(symbols, (count,), generator=generator)


def text(generator: torch.Generator, count: int) -> Int[Tensor, " t"]:
    """Something to learn: each symbol is the one before it plus one, but for one time in five."""
    jumps = torch.where(torch.rand(count, generator=generator) < 0.8, 1, noise(generator, count))
    return jumps.cumsum(0) % SYMBOLS


@exercise(
    "08.3",
    "Score, then learn",
    difficulty=3,
    minutes=15,
    equation="the loop of dynamic evaluation",
    takeaway="Score the new tokens, take one step on their mean loss, go on. Nothing that is reported has been learned from, which is why the loss on noise is never below log K, and why the loss of a text can be trusted although the model has changed all along.",
)
def reading(answer: object) -> Reading:
    return Reading(read_function(answer, READ))


@reading.requires(
    "a loss a token",
    "Return one row with the log-loss of each token after the first context, in nats, -log p: no mean, none for context tokens.",
)
def _(reading: Reading, generator: torch.Generator) -> None:
    for count, context, stride, _ in SIZES:
        came, _ = reading(noise(generator, count), context, stride, 0.0)
        expect(bool((came > 0).all()), f"one of them is {came.min():.3g}, but a probability is below 1")


@reading.requires(
    "the loss of the model",
    "With lr = 0 nothing is learned, and each loss must be that of the model at its start: -log of the probability that it gives the "
    "token, which is a target of its own block, after the tokens before it.",
)
def _(reading: Reading, generator: torch.Generator) -> None:
    for count, context, stride, _ in SIZES:
        tokens = text(generator, count)
        came, expected = (loop(tokens, context, stride, 0.0)[0] for loop in (reading, reference))
        expect(not torch.allclose(came * math.log(2), expected), "yours is in bits: leave the natural logarithm")
        blocks = [part.mean().expand(len(part)) for part in expected.split(stride)]
        expect(stride == 1 or not torch.allclose(came, torch.cat(blocks)), "yours is each block's mean")
        expect_close(came, expected, 1e-6, f"with context {context} and stride {stride} a loss")


@reading.requires(
    "it learns",
    "After its score each block is learned, with one step of `model` itself, so its weights move: against the gradient, lr times it.",
)
def _(reading: Reading, generator: torch.Generator) -> None:
    case = text(generator, 60), 8, 4
    _, came = reading(*case, 0.3)
    expect(not torch.allclose(came, reference(*case, 0.0)[1]), "your weights stay where they were")
    expect(not torch.allclose(came, reading(*case, 0.1)[1]), "lr makes no difference to yours")
    expect(not torch.allclose(came, reference(*case, 0.3, uphill=True)[1]), "yours climbs")


@reading.requires(
    "no luck on noise",
    "Nobody foresees even noise of K symbols: the mean loss cannot be below log K, but by chance. Yours is, so the step came before "
    "the score, or in part.",
)
def _(reading: Reading, generator: torch.Generator) -> None:
    tokens = noise(generator, 400)
    case = tokens, 8, 4, 0.5
    came, _ = reading(*case)
    expect(not torch.allclose(came, reference(*case, score="after")[0]), "you learn each block before you score it")
    expect(
        not torch.allclose(came, reference(*case, score="both")[0]), "yours is the mean of before and after the step"
    )
    mean = came.mean().item()
    expect(mean > math.log(SYMBOLS) - 0.03, f"with 6 symbols yours is {mean:.3f}, and log 6 is {math.log(SYMBOLS):.3f}")


@reading.requires(
    "nothing from later",
    "Another end of the text must leave the losses before it as they are. A model that has been through the whole text has seen what "
    "was yet to come.",
)
def _(reading: Reading, generator: torch.Generator) -> None:
    tokens, others = text(generator, 80), noise(generator, 80)
    at = 8 + 4 * 9
    changed = torch.cat([tokens[:at], others[at:]])
    first, second = (reading(each, 8, 4, 0.3)[0][: at - 8] for each in (tokens, changed))
    moved = (first - second).abs().max().item()
    expect(moved < 1e-9, f"with another text from token {at} on, an earlier loss changes by {moved:.3g}")


@reading.requires(
    "the new tokens, once",
    "The step goes down the mean loss of the block's *new* tokens. The old ones of the window have been learned already; with them "
    "each token would be learned several times, and the newest least of all.",
)
def _(reading: Reading, generator: torch.Generator) -> None:
    case = text(generator, 60), 8, 4, 0.2
    _, came = reading(*case)
    for mistake, words in (
        ({"over": "all"}, "yours is the mean over the whole window"),
        ({"over": "all", "summed": True}, "yours is the sum over the whole window"),
        ({"steps": 2}, "you take two steps on each block"),
    ):
        expect(not torch.allclose(came, reference(*case, **mistake)[1]), words)


@reading.requires(
    "one clean step",
    "One step of plain gradient descent for each block, on the mean loss. `backward` *adds* to the gradients that are there, so set them "
    "to zero first; a sum instead of the mean makes the step as many times longer as the block has tokens.",
)
def _(reading: Reading, generator: torch.Generator) -> None:
    for count, context, stride, lr in SIZES:
        case = text(generator, count), context, stride, lr
        _, came = reading(*case)
        for mistake, words in (
            ({"clear": False}, "gradients of former blocks are still in yours"),
            ({"summed": True}, "yours is the sum over the block"),
        ):
            same = stride == 1 and "summed" in mistake
            expect(same or not torch.allclose(came, reference(*case, **mistake)[1]), words)
        expect_close(
            came, reference(*case)[1], 1e-6, f"with context {context}, stride {stride} and lr {lr}, a weight at the end"
        )


@reading.requires(
    "the model as it is",
    "Each block is scored by the model that has learned all blocks before it, the last of them included, and by nothing older.",
)
def _(reading: Reading, generator: torch.Generator) -> None:
    for count, context, stride, lr in SIZES:
        case = text(generator, count), context, stride, lr
        came, _ = reading(*case)
        expect(
            not torch.allclose(came, reference(*case[:3], 0.0)[0]), "yours is the model at its start, for all blocks"
        )
        expect_close(came, reference(*case)[0], 1e-6, f"with context {context}, stride {stride} and lr {lr}, a loss")

"""Rows of lesson 08: what reading and learning costs over the bare model, over a hand-written loop, and with adapters."""

import copy
import functools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.foundations.language import Transformer
from companion.methods.dynamic_evaluation import evaluate_stream
from tests.benchmarks.measure import Result, Row, compare_times

SYMBOLS, CONTEXT, STRIDE, BLOCKS = 97, 64, 16, 100
make_adam = functools.partial(torch.optim.Adam, lr=1e-4, fused=True)


def reader() -> nn.Module:
    """The lesson's transformer, untrained."""
    return Transformer(SYMBOLS, generator=torch.Generator().manual_seed(0)).eval()


def text(blocks: int = BLOCKS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(SYMBOLS, (CONTEXT + STRIDE * blocks,), generator=generator)


def reading(model: nn.Module, **options) -> Callable:
    """Our reading of the text to its end."""
    return lambda: evaluate_stream(model, text(), CONTEXT, STRIDE, **options).log_loss


def bare(model: nn.Module, make: Callable | None = None) -> Callable:
    """The same windows through the model, and nothing else; with an optimiser, a step on each."""
    tokens = text()

    def run():
        learner = model if make is None else copy.deepcopy(model)
        optimizer = None if make is None else make(learner.parameters())
        with torch.set_grad_enabled(make is not None):
            for stop in range(CONTEXT + STRIDE, len(tokens) + 1, STRIDE):
                window = tokens[None, stop - STRIDE - CONTEXT : stop]
                logits = learner(window[:, :-1])[0, -STRIDE:]
                loss = cross_entropy(logits, window[0, -STRIDE:])
                if optimizer is not None:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()

    return run


def compare_static() -> Result:
    model = reader()
    return compare_times(reading(model), bare(model))


def compare_learning() -> Result:
    model = reader()
    return compare_times(reading(model, optimizer=make_adam), bare(model, make_adam))


def compare_learning_with_static() -> Result:
    model = reader()
    return compare_times(reading(model, optimizer=make_adam), reading(model))


def compare_parts(parameters: str) -> Result:
    """A part of the weights against all of them."""
    model = reader()
    return compare_times(
        reading(model, optimizer=make_adam, parameters=parameters), reading(model, optimizer=make_adam)
    )


def compare_with_peft() -> Result:
    """Our adapters against those of peft, on the same layers of the same model, at the same rank."""
    from peft import LoraConfig, inject_adapter_in_model

    model, other = reader(), reader()
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["mlp.0", "mlp.2"])
    inject_adapter_in_model(config, other)
    adapters = lambda name: "lora_" in name  # noqa: E731
    return compare_times(
        reading(model, optimizer=make_adam, parameters="lora"),
        reading(other, optimizer=make_adam, parameters=adapters),
    )


def rows() -> list[Row]:
    size = f"transformer of 112,609 weights, windows of {CONTEXT + STRIDE - 1}, {BLOCKS} blocks of {STRIDE}"
    part = functools.partial
    return [
        Row("dynamic-static", f"reading without learning, {size}, time", "the same windows through the model",
            compare_static, "about 1"),
        Row("dynamic-adam", f"reading and learning by Adam, {size}, time", "a loop by hand", compare_learning,
            "about 1"),
        Row("dynamic-cost", f"reading and learning by Adam, {size}, time", "reading without learning",
            compare_learning_with_static, "more work: a backward pass and a step of Adam"),
        Row("dynamic-mlp", f"learning the perceptrons only, {size}, time", "learning all weights",
            part(compare_parts, "mlp"), "ratio below 1"),
        Row("dynamic-lora", f"learning adapters of rank 4, {size}, time", "learning all weights",
            part(compare_parts, "lora"), "ratio below 1"),
        Row("dynamic-peft", f"learning adapters of rank 4, {size}, time", "the adapters of peft", compare_with_peft,
            "ratio below 1"),
    ]  # fmt: skip

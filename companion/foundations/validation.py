"""Refuse bad input at the door, with one sentence that names the argument, what came and what is allowed."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TypeAlias

import torch

Number: TypeAlias = float | int  # Python takes one for the other; strict type checkers do not


def require(condition: bool, argument: str, came: object, allowed: str, error: type[Exception] = ValueError) -> None:
    """Raise `error` with one sentence unless `condition` holds.

    >>> require(False, "beta", 3.0, "a number in (0, 2]")
    Traceback (most recent call last):
    ...
    ValueError: beta is 3.0, but must be a number in (0, 2].
    """
    if not condition:
        raise error(f"{argument} is {came}, but must be {allowed}.")


def require_in(argument: str, value: object, interval: str, meaning: str = "") -> None:
    """Raise unless `value` is a number in `interval`, such as "(0, 2]": a round bracket leaves its end out.

    >>> require_in("beta", 0.0, "(0, 2]")
    Traceback (most recent call last):
    ...
    ValueError: beta is 0.0, but must be a number in (0, 2].
    """
    allowed = f"a number in {interval}{meaning}"
    require(isinstance(value, Real) and not isinstance(value, bool), argument, repr(value), allowed, TypeError)
    low, high = map(float, interval[1:-1].split(","))
    closed = (interval[0] == "[" and value == low) or (interval[-1] == "]" and value == high)
    require(bool(low < value < high or closed), argument, value, allowed)


def require_floating(argument: str, value: object) -> None:
    """Raise TypeError unless `value` is a tensor of a floating dtype."""
    require(isinstance(value, torch.Tensor), argument, f"a {type(value).__name__}", "a torch.Tensor", TypeError)
    require(
        value.is_floating_point(), argument, f"a tensor of {value.dtype}", "a tensor of a floating dtype", TypeError
    )


def require_callable(argument: str, value: object, allowed: str) -> None:
    """Raise TypeError unless `value` can be called; `allowed` says how, "a callable (x, t) -> x0"."""
    require(callable(value), argument, f"a {type(value).__name__}", allowed, TypeError)


def require_batch(argument: str, value: object) -> None:
    """Raise unless `value` is a floating tensor (n, d) or (n, *event) with at least one row."""
    require_floating(argument, value)
    batch = value.ndim >= 2 and len(value) > 0
    require(batch, argument, f"of shape {tuple(value.shape)}", "of shape (n, d) or (n, *event), n >= 1")


def require_same_event(first: str, x: torch.Tensor, second: str, y: torch.Tensor) -> None:
    """Raise unless `x` (n, *event) and `y` (m, *event) are floating and agree in everything but the batch axis."""
    require_floating(first, x)
    require_floating(second, y)
    require(x.ndim >= 2, first, f"of shape {tuple(x.shape)}", "of shape (n, d) or (n, *event)")
    require(
        y.ndim == x.ndim and y.shape[1:] == x.shape[1:],
        second,
        f"of shape {tuple(y.shape)}",
        f"of shape (m, {', '.join(map(str, x.shape[1:]))}) like {first}",
    )
    require(y.dtype == x.dtype, second, f"of {y.dtype}", f"of {x.dtype} like {first}", TypeError)
    require(y.device == x.device, second, f"on {y.device}", f"on {x.device} like {first}")


def require_like(first: str, x: object, second: str, y: object) -> None:
    """Raise unless both are floating tensors and `x` has the shape and device of `y`."""
    require_floating(second, y)
    require_floating(first, x)
    require(x.shape == y.shape, first, f"of shape {tuple(x.shape)}", f"of shape {tuple(y.shape)} like {second}")
    require(x.device == y.device, first, f"on {x.device}", f"on {y.device} like {second}")


def require_count(argument: str, value: object, least: int) -> None:
    """Raise unless `value` is a whole number of at least `least`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    require(whole, argument, repr(value), "a whole number", TypeError)
    require(bool(value >= least), argument, value, f"at least {least}")


def require_labels(argument: str, value: object, n: int | None = None, classes: int | None = None) -> None:
    """Raise unless `value` is a tensor of whole numbers, (n,) or one row of any length, each below `classes`.

    The values are read on a CPU only: on a GPU that would wait for the queue.
    """
    whole = isinstance(value, torch.Tensor) and not (value.is_floating_point() or value.dtype == torch.bool)
    came = f"a tensor of {value.dtype}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
    require(whole, argument, came, "a tensor of whole numbers", TypeError)
    fits = value.ndim == 1 if n is None else value.shape == (n,)
    wanted = "one row" if n is None else f"({n},), one label for each row"
    require(fits, argument, f"of shape {tuple(value.shape)}", wanted if n is None else f"of shape {wanted}")
    if classes is not None and value.device.type == "cpu":
        inside = bool(((value >= 0) & (value < classes)).all())
        require(inside, argument, "outside in some row", f"from 0 to {classes - 1}")


def require_resume(resume: object, needed: set[str], steps: int, generator: torch.Generator | None) -> None:
    """Raise unless `resume` is None, or a saved state with what is `needed`, from before the last of `steps`.

    It must hold a generator's state exactly when a generator is given.
    """
    if resume is None:
        return
    whole = isinstance(resume, dict) and resume.keys() >= needed
    require(whole, "resume", f"a {type(resume).__name__} without all it needs", "a state's state_dict()")
    both = (resume["generator"] is None) == (generator is None)
    require(both, "generator", repr(generator), "given exactly when it was given before the resume")
    require(resume["step"] < steps, "resume", f"at step {resume['step']}", f"before the last step, {steps}")


def require_broadcast(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless the shapes of all tensors go together by broadcasting."""
    try:
        torch.broadcast_shapes(*(value.shape for value in tensors.values()))
    except RuntimeError:
        (first, value), *others = tensors.items()
        beside = ", ".join(f"{name} {tuple(other.shape)}" for name, other in others)
        require(False, first, f"of shape {tuple(value.shape)} beside {beside}", "of shapes that broadcast")


def require_runs(model: torch.nn.Module, runs: int | None) -> None:
    """Raise ValueError unless `runs` is None, or each parameter of the model has a leading axis of so many runs."""
    if runs is None:
        return
    require_count("runs", runs, 1)
    for name, each in model.named_parameters():
        stacked = each.ndim > 0 and len(each) == runs
        require(stacked, "model", f"with {name} of shape {tuple(each.shape)}", f"a stack of {runs} runs")


def require_stds(stds: Mapping[str, torch.Tensor], names: Sequence[str], parameters: Sequence[torch.Tensor]) -> None:
    """Raise unless there is a positive tensor for each parameter, by its name, that broadcasts to it."""
    missing = [name for name in names if name not in stds]
    require(not missing, "init_std", f"without {', '.join(missing)}", "given for each parameter")
    for name, parameter in zip(names, parameters):
        require_floating(f"init_std[{name!r}]", stds[name])
        require_broadcast(**{f"init_std[{name!r}]": stds[name], name: parameter})
        if stds[name].device.type == "cpu":
            positive = bool((stds[name] > 0).all()) and bool(stds[name].isfinite().all())
            require(positive, f"init_std[{name!r}]", "not above 0 somewhere", "finite numbers above 0")

"""Reading a student's answer, calling it with care, and saying what does not hold.

>>> read_number(torch.tensor([0.5]))
0.5
>>> expect_close(0.5, 0.378, 1e-3, "the spread")
Traceback (most recent call last):
...
companion.teaching.checks.answers.NotYet: the spread came out as 0.5, expected 0.378
"""

import math
import sysconfig
import traceback
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import BuiltinFunctionType, FunctionType

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

DOUBLE = torch.float64
Belief = tuple[torch.Tensor, torch.Tensor]  # a mean and a covariance


class NotAttempted(Exception):
    """There is no answer yet."""


class NotYet(Exception):
    """A property does not hold; the text says what came out. `failed` replaces the property's own name."""

    def __init__(self, found: str = "", failed: str | None = None) -> None:
        super().__init__(found)
        self.failed = failed


class Crashed(Exception):
    """The student's code raised; the text says what and where."""


def require_attempt(answer: object, part: str = "") -> None:
    """Raise `NotAttempted` for None, dots, or a collection with such a part."""
    if answer is None or answer is ...:
        place = f"for {part} " if part else ""
        raise NotAttempted(f"Put your answer {place}in place of the dots, run its cell, then this one.")
    if isinstance(answer, dict):
        for name, value in answer.items():
            require_attempt(value, str(name))
    elif isinstance(answer, list | tuple | set):
        for value in answer:
            require_attempt(value)


def read_number(answer: object, name: str = "the answer") -> float:
    """One finite number, from Python, numpy or a tensor with one element."""
    if isinstance(answer, torch.Tensor | np.ndarray | np.generic) and np.prod(answer.shape) == 1:
        answer = answer.item()
    if not isinstance(answer, Real) or isinstance(answer, bool):
        raise NotYet(f"Expected {name} to be one number; got {describe(answer)}.", "type")
    if not math.isfinite(answer):
        raise NotYet(f"Expected {name} to be a finite number; got {answer}.", "type")
    return float(answer)


def read_function(answer: object, signature: str) -> "StudentFunction":
    """A function of the student's; `signature` is how it is called, "step(x_t, x0, t)"."""
    if not callable(answer):
        raise NotYet(f"Expected a function {signature}; got {describe(answer)}.", "type")
    return StudentFunction(answer, signature)


def read_parts(answer: object, names: tuple[str, ...]) -> dict[str, object]:
    """A dictionary with exactly these names."""
    if not isinstance(answer, dict) or set(answer) != set(names):
        raise NotYet(f"Expected a dictionary with {', '.join(names)}; got {describe(answer)}.", "type")
    return answer


def read_words(answer: object, count: int, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """`count` words, each one of `allowed`."""
    words = tuple(answer) if isinstance(answer, list | tuple) else (answer,)
    if len(words) != count or not all(isinstance(word, str) and word.strip().lower() in allowed for word in words):
        choices = ", ".join(repr(word) for word in allowed)
        raise NotYet(f"Expected {count} words, each one of {choices}; got {describe(answer)}.", "type")
    return tuple(word.strip().lower() for word in words)


class StudentFunction:
    """A function to be called with care: it gets copies, and what goes wrong inside it is reported as its own.

    It may return nothing (`NotAttempted`), raise (`Crashed`) or change its inputs (`NotYet`).
    """

    def __init__(self, function: Callable, signature: str) -> None:
        self.function, self.signature = function, signature
        self.name, _, names = signature.rstrip(")").partition("(")
        self.arguments = [name.strip() for name in names.split(",")]
        self.has_answered = False

    def __call__(self, *values: object) -> object:
        copies = [_copy(value) for value in values]
        try:
            result = self.function(*copies)
        except NotImplementedError:
            raise NotAttempted(f"Write {self.signature}, run its cell, then this one.") from None
        except (Exception, SystemExit) as error:
            raise Crashed(self._explain(error, values)) from None
        if result is None or result is ...:
            if self.has_answered:
                raise NotYet(f"{self.name} returned nothing, called with {self._inputs(values)}.", "returns")
            raise NotAttempted(
                f"{self.name} returns nothing yet: write it, run its cell, then this one. (Written? Then its return is missing.)"
            )
        self.has_answered = True
        for name, before, after in zip(self.arguments, values, copies):
            if isinstance(before, torch.Tensor) and not torch.equal(before, after):
                raise NotYet(
                    f"{self.name} changes {name}, which belongs to its caller, who may need it again (a loop over "
                    "steps does). Make a new tensor instead of writing into it: no +=, no methods that end in _.",
                    "inputs untouched",
                )
        return result

    def _inputs(self, values: tuple[object, ...]) -> str:
        return ", ".join(f"{name} {_brief(value)}" for name, value in zip(self.arguments, values))

    def _explain(self, error: BaseException, values: tuple[object, ...]) -> str:
        words = " ".join(str(error).split())  # torch's messages may run over several lines
        what = f"{type(error).__name__}: {words}" if words else type(error).__name__
        where = _line_of_student(error)
        if where is None:
            return f"{what}. The check calls {self.signature}."
        return f"{what.rstrip('.')}, at {where}: it was called with {self._inputs(values)}."


class TorchCalls(TorchFunctionMode):
    """Counts the calls of torch made inside it, so that a Python loop shows; sees a tensor leave for a Python list."""

    count, listed = 0, False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += 1
        self.listed |= function is torch.Tensor.tolist
        return function(*args, **(kwargs or {}))


class FunctionalGradients(TorchFunctionMode):
    """Sees whether torch.func differentiates inside it, which works even where graphs are forbidden."""

    used = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        values = (*args, *(kwargs or {}).values())
        tensors = (value for value in values if isinstance(value, torch.Tensor))
        self.used |= any(torch._C._functorch.is_gradtrackingtensor(tensor) for tensor in tensors)
        return function(*args, **(kwargs or {}))


def expect_no_autograd(function: "StudentFunction", *values: object) -> None:
    """The function must run where graphs are forbidden, and without torch.func."""
    with torch.inference_mode(), FunctionalGradients() as watched:
        try:
            function(*(_copy(value) for value in values))
        except Crashed as error:
            expect(False, f"where graphs are forbidden it stops with {str(error).split(',')[0].rstrip('.')}")
    expect(not watched.used, "it uses torch.func")


def read_belief(value: object, mean: torch.Tensor, name: str) -> Belief:
    """The mean (m, K) and the covariance (m, m) that `name` gave, in the shape and dtype of the mean that went in."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise NotYet(f"Expected {name} to give a mean and a covariance; got {describe(value)}.", "two things")
    m = len(mean)
    return (
        expect_tensor(value[0], tuple(mean.shape), mean.dtype, f"the mean of {name}"),
        expect_tensor(value[1], (m, m), mean.dtype, f"the covariance of {name}"),
    )


def _copy(value: object) -> object:
    """A copy to scribble on; gradients still flow through it."""
    return value.clone() if isinstance(value, torch.Tensor) else value


def _brief(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"of shape {tuple(value.shape)}"
    if isinstance(value, torch.Generator):
        return "given"
    return f"= {value:.3g}" if isinstance(value, float) else f"= {value!r}"


def describe(value: object) -> str:
    """What came, in a few words on one line, the same in every run."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape}"
    if isinstance(value, float):
        return f"the number {value:.4g}"
    if isinstance(value, str | int | complex):
        shown = repr(value)
        return f"the {type(value).__name__} {shown if len(shown) <= 60 else shown[:57] + '...'}"
    if isinstance(value, list | tuple) and 0 < len(value) <= 4:
        return f"a {type(value).__name__} of {', '.join(describe(part) for part in value)}"
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return f"a dict with {', '.join(value) or 'nothing'}"
    return (
        "a function"
        if isinstance(value, FunctionType | BuiltinFunctionType)
        else f"an object of type {type(value).__name__}"
    )


LIBRARIES = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    sysconfig.get_path("platlib"),
    str(Path(torch.__file__).parent),
    str(Path(__file__).parents[2]),
    "<frozen",
)


def _line_of_student(error: BaseException) -> str | None:
    """The innermost line outside libraries: in a notebook, counted from the top of its cell."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(LIBRARIES):
            source = f" (`{frame.line}`)" if frame.line else ""
            return f"line {frame.lineno} of your code{source}"
    return None


# Saying what does not hold


def expect(ok: object, found: str = "") -> None:
    """Raise `NotYet` with what was found, unless `ok`."""
    if not bool(ok):
        raise NotYet(found)


def expect_tensor(value: object, shape: tuple[int, ...], dtype: torch.dtype | None, what: str) -> torch.Tensor:
    """The value, when it is a floating tensor of this shape (and dtype)."""
    wanted = f"a tensor of shape {tuple(shape)}" + (f" and {dtype}" if dtype else "")
    fits = isinstance(value, torch.Tensor) and tuple(value.shape) == tuple(shape)
    fits = fits and (value.dtype == dtype if dtype else value.is_floating_point())
    expect(fits, f"Expected {what} to be {wanted}; got {describe(value)}")
    return value


def expect_close(value: object, expected: object, tolerance: float, what: str) -> None:
    """Equal up to `tolerance` times the size of what is expected (at least 1); NaN equals nothing."""
    value, expected = (torch.as_tensor(v, dtype=torch.float64).detach() for v in (value, expected))
    expect(value.shape == expected.shape, f"{what} has shape {tuple(value.shape)}, expected {tuple(expected.shape)}")
    error = (value - expected).abs().flatten()
    allowed = tolerance * expected.abs().clamp_min(1).flatten()
    ratio = (error / allowed).nan_to_num(nan=math.inf)
    if bool((ratio > 1).any()):
        worst = int(ratio.argmax())
        came, wanted = value.flatten()[worst].item(), expected.flatten()[worst].item()
        digits = next((d for d in range(3, 12) if f"{came:.{d}g}" != f"{wanted:.{d}g}"), 12)
        raise NotYet(f"{what} came out as {came:.{digits}g}, expected {wanted:.{digits}g}")


# Random inputs


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """One number between `low` and `high`."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=DOUBLE).item()


def normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Standard normal numbers, in double precision."""
    return torch.randn(shape, generator=generator, dtype=DOUBLE)

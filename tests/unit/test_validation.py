"""Refusals are one sentence: the argument, what came, what is allowed."""

import numpy as np
import pytest
import torch

from companion.foundations.validation import (
    require,
    require_count,
    require_floating,
    require_in,
    require_labels,
    require_like,
)


def test_a_refusal_names_the_argument_what_came_and_what_is_allowed():
    with pytest.raises(ValueError, match=r"^steps is 0, but must be at least 1\.$"):
        require(False, "steps", 0, "at least 1")
    with pytest.raises(TypeError, match=r"^x is a list, but must be a tensor\.$"):
        require(False, "x", "a list", "a tensor", TypeError)
    require(True, "steps", 1, "at least 1")


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("(0, 2]", [1e-9, 1, 2.0, np.float32(0.5)], [0, 2.1, -1, float("nan")]),
        ("[0, 1)", [0, 0.0, 0.999], [1, 1.0, -1e-9]),
        ("(0, inf)", [1e-300, 1e300], [0.0, float("inf")]),
    ],
)
def test_intervals_are_read_as_in_mathematics(interval, inside, outside):
    for value in inside:
        require_in("beta", value, interval)
    for value in outside:
        with pytest.raises(ValueError, match=r"^beta is .*, but must be a number in "):
            require_in("beta", value, interval)
    for value in ("1", None, True, [1.0]):
        with pytest.raises(TypeError, match=r"^beta is .*, but must be a number in "):
            require_in("beta", value, interval)


def test_counts_are_whole_numbers_of_any_kind():
    for value in (1, 7, np.int64(3)):
        require_count("n", value, 1)
    for value in (1.0, "1", True, None):
        with pytest.raises(TypeError, match="n is .*, but must be a whole number"):
            require_count("n", value, 1)


def test_tensors_are_compared_in_kind_and_shape():
    x = torch.zeros(2, 3)
    require_floating("x", x)
    require_like("x", x, "y", torch.ones(2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"^x is of shape \(2, 3\), but must be of shape \(3, 2\) like y\.$"):
        require_like("x", x, "y", torch.ones(3, 2))


def test_labels_are_a_row_of_whole_numbers_of_any_kind():
    for dtype in (torch.int64, torch.int32, torch.int8, torch.uint8):
        require_labels("labels", torch.zeros(3, dtype=dtype), 3)
    require_labels("labels", torch.tensor([-5, 10**9]), 2)  # their values are not read
    for value, came in (
        (torch.zeros(3), "a tensor of torch.float32"),
        (torch.zeros(3).bool(), "a tensor of torch.bool"),
        ([0, 1, 2], "a list"),
        (np.zeros(3, dtype=int), "a ndarray"),
        (None, "a NoneType"),
    ):
        with pytest.raises(TypeError, match=f"^labels is {came}, but must be a tensor of whole numbers\\.$"):
            require_labels("labels", value, 3)
    for shape in ((2,), (4,), (3, 1), ()):
        with pytest.raises(
            ValueError, match=r"^labels is of shape .*, but must be of shape \(3,\), one label for each"
        ):
            require_labels("labels", torch.zeros(shape, dtype=torch.long), 3)

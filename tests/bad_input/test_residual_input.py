"""The wide residual network refuses bad input with one sentence: argument, what came, what may come.

Runs without the type-checking hook, as a user would meet it: `pytest tests/bad_input`.
"""

import pytest
import torch

from companion.foundations.residual import ExpandedResidualNet
from tests.bad_input.sentences import assert_refused

# each row: a call, the error, the argument that the sentence names, what came, and a word of what is allowed
CASES = {
    "no expansion": (lambda: ExpandedResidualNet(expansion=0), ValueError, "expansion", "0", "at least 1"),
    "half an expansion": (lambda: ExpandedResidualNet(expansion=1.5), TypeError, "expansion", "1.5", "a whole number"),
    "no width": (lambda: ExpandedResidualNet(width=0), ValueError, "width", "0", "at least 1"),
    "no stages": (lambda: ExpandedResidualNet(stages=0), ValueError, "stages", "0", "at least 1"),
    "no blocks": (lambda: ExpandedResidualNet(blocks=0), ValueError, "blocks", "0", "at least 1"),
    "no channels": (lambda: ExpandedResidualNet(in_channels=0), ValueError, "in_channels", "0", "at least 1"),
    "no classes": (lambda: ExpandedResidualNet(num_classes="all"), TypeError, "num_classes", "'all'", "a whole number"),
    "pictures in colour": (lambda: ExpandedResidualNet()(torch.zeros(2, 3, 8, 8)), ValueError, "x", "(2, 3, 8, 8)", "(n, 1, height, width)"),
    "one picture": (lambda: ExpandedResidualNet()(torch.zeros(1, 8, 8)), ValueError, "x", "(1, 8, 8)", "(n, 1, height, width)"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "argument", "came", "allowed"), CASES.values(), ids=CASES)
def test_one_sentence_says_what_is_wrong(call, error, argument, came, allowed):
    assert_refused(call, error, argument, came, allowed)

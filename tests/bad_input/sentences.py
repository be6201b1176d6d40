"""How bad input is refused: one short sentence that names the argument, what came and what is allowed."""

import re
from collections.abc import Callable

import pytest


def assert_refused(call: Callable[[], object], error: type[Exception], argument: str, came: str, allowed: str) -> None:
    """`call` raises `error` with "ARGUMENT is CAME, but must be ALLOWED.", the last two among other words."""
    with pytest.raises(error) as refusal:
        call()
    message = str(refusal.value)
    sentence = re.fullmatch(r"(?P<argument>.+?) is (?P<came>.+?), but must be (?P<allowed>.+)\.", message)
    assert sentence, message
    assert sentence["argument"] == argument
    assert came in sentence["came"]
    assert allowed in sentence["allowed"]
    assert "\n" not in message
    assert len(message) < 160

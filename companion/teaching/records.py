"""A record is a number or a word that a run of a notebook leaves, under a name, for whoever compares many runs.

`python -m companion sweep` collects what a notebook records beside what it claims. A record shows nothing: it travels in the
metadata of an output that is empty, and a light notebook does not keep it.

>>> record("loss", 0.25)
"""

import math
from numbers import Real

from IPython import get_ipython

from companion.foundations.validation import require

KIND = "application/vnd.learning-in-motion.record+json"
ALLOWED = "a number, a truth value, a text or a tensor of one element"


def record(name: str, value: object) -> None:
    """Leave `value` under `name` in the notebook that runs; outside of a notebook nothing happens.

    Args:
        name: the same in every run.
        value: a number (infinite or not a number, too), a truth value or a text; a tensor of one element will do.

    Raises:
        ValueError: an empty name.
        TypeError: a name that is no text, or a value that is none of these.
    """
    require(isinstance(name, str), "name", f"a {type(name).__name__}", "a text", TypeError)
    require(bool(name.strip()), "name", repr(name), "a text that is not empty")
    if hasattr(value, "item"):
        require(math.prod(value.shape) == 1, "value", f"of shape {tuple(value.shape)}", ALLOWED, TypeError)
        value = value.item()
    require(isinstance(value, Real | str), "value", f"a {type(value).__name__}", ALLOWED, TypeError)
    shell = get_ipython()
    if shell is not None:  # as text: JSON has no infinity
        shell.display_pub.publish({}, metadata={KIND: {"name": name, "value": str(value)}})

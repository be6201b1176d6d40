"""Is this machine ready for the lessons? Needs nothing but Python itself, so it can say what is missing.

>>> missing()
[]
"""

import os
import platform
import sys
from importlib import metadata, util

OLDEST = (3, 11)
NEEDED = {  # what a lesson imports, and the distribution that brings it
    "torch": "torch", "numpy": "numpy", "jaxtyping": "jaxtyping", "matplotlib": "matplotlib", "anywidget": "anywidget",
    "ipykernel": "ipykernel", "jupyterlab": "jupyterlab", "jupytext": "jupytext", "safetensors": "safetensors",
    "scipy": "scipy", "skimage": "scikit-image", "sklearn": "scikit-learn", "filterpy": "filterpy",
}  # fmt: skip


def missing() -> list[str]:
    """What the lessons need and this Python cannot find, in words."""
    found = []
    if sys.version_info < OLDEST:
        found.append(f"Python {platform.python_version()} is here, but {'.'.join(map(str, OLDEST))} or newer is needed")
    return found + [f"{brought} is not installed" for name, brought in NEEDED.items() if util.find_spec(name) is None]


def report() -> str:
    """What is here, what is missing, and the command that mends it."""
    lacking = missing()
    lines = [f"Python {platform.python_version()} on {platform.system()}, {os.cpu_count()} cores"]
    lines += [f"  {brought} {metadata.version(brought)}" for name, brought in NEEDED.items() if util.find_spec(name)]
    lines += [f"  {problem}" for problem in lacking]
    lines.append(
        "Run `make lab` to install what is missing." if lacking else "Ready: `make lab` opens the first notebook."
    )
    return "\n".join(lines)

"""Is this machine ready for the lessons? Needs nothing but Python itself, so it can say what is missing.

>>> missing()
[]
"""

import importlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST = (3, 11)
NEEDED = {  # what a lesson imports, and the distribution that brings it
    "torch": "torch", "numpy": "numpy", "jaxtyping": "jaxtyping", "matplotlib": "matplotlib", "anywidget": "anywidget",
    "ipykernel": "ipykernel", "jupyterlab": "jupyterlab", "jupytext": "jupytext", "safetensors": "safetensors",
    "scipy": "scipy", "skimage": "scikit-image", "sklearn": "scikit-learn", "filterpy": "filterpy",
}  # fmt: skip

WITH_MAKE = "`make lab` opens the first notebook", "Run `make lab` to install what is missing"
IN_A_PACK = (  # what students get has no Makefile
    "`python -m jupyterlab notebooks/00_start_here.ipynb` opens the first notebook",
    'Run `python -m pip install -c constraints.txt -e ".[lab]"` to install what is missing',
)


def findings() -> Iterator[tuple[bool, str]]:
    """Whether it is all right, and what it is, in words: of Python, then of each thing that a lesson imports."""
    wanted = ".".join(map(str, OLDEST))
    found = f"Python {platform.python_version()}"
    new = sys.version_info >= OLDEST
    yield new, found if new else f"{found} is here, but {wanted} or newer is needed"
    for name, brought in NEEDED.items():
        try:
            yield True, f"{brought} {getattr(importlib.import_module(name), '__version__', 'found')}"
        except ModuleNotFoundError as error:
            absent = error.name == name
            yield False, f"{brought} is not installed" if absent else f"{brought} does not import: {error}"
        except (ImportError, OSError) as error:  # there, but broken: a library of another build, say
            yield False, f"{brought} does not import: {error}"


def missing() -> list[str]:
    """What the lessons need and this Python lacks, in words."""
    return [told for fine, told in findings() if not fine]


def report() -> tuple[bool, str]:
    """Whether all is there; and what is, what is not, and the command that mends it."""
    found = list(findings())
    ready = all(fine for fine, _ in found)
    (_, python), *others = found
    lines = [f"{python} on {platform.system()}, {os.cpu_count()} cores", *(f"  {told}" for _, told in others)]
    opening, mending = WITH_MAKE if (Path(__file__).parents[1] / "Makefile").exists() else IN_A_PACK
    lines.append(f"Ready: {opening}." if ready else f"{mending}.")
    return ready, "\n".join(lines)

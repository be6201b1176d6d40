"""Does this Python have what the lessons import? Needs nothing but Python itself, so it can say what is missing.

>>> missing()
[]
"""

from __future__ import annotations  # an old Python, too, reads this file and says that it is old

import importlib
import platform
import sys
from collections.abc import Iterator

OLDEST, NEWEST = (3, 11), (3, 13)  # the first Python that the lessons run on, and the last that they are tested on
NEEDED = {  # what a lesson imports, and the distribution that brings it
    "torch": "torch", "numpy": "numpy", "jaxtyping": "jaxtyping", "matplotlib": "matplotlib", "anywidget": "anywidget",
    "ipykernel": "ipykernel", "jupyterlab": "jupyterlab", "jupytext": "jupytext", "safetensors": "safetensors",
    "scipy": "scipy", "skimage": "scikit-image", "sklearn": "scikit-learn", "filterpy": "filterpy",
}  # fmt: skip


def too_old() -> str | None:
    """A sentence, if this Python is older than the lessons need."""
    wanted = ".".join(map(str, OLDEST))
    found = f"Python {platform.python_version()} is here, but {wanted} or newer is needed"
    return found if sys.version_info < OLDEST else None


def findings() -> Iterator[tuple[bool, str]]:
    """For each thing that a lesson imports: whether it is all right, and what it is, in words."""
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
    old = too_old()
    return [old] if old else [told for fine, told in findings() if not fine]

"""Execute the lessons for the book, several at once: `python -m companion.classroom.execution CACHE PATH ...`.

What ran goes into the cache that the book is built from; a notebook that is there already does not run again. One that fails
is left to the build, which runs it once more and says what was wrong.
"""

import sys
from pathlib import Path

SECONDS = 300  # that a cell may take


def execute(cache: Path, paths: list[Path]) -> None:
    """Run py:percent notebooks, one process on each core, in their own folders.

    Args:
        cache: the folder of executed notebooks, made if need be.
        paths: of the notebooks.
    """
    from jupyter_cache import get_cache
    from jupyter_cache.executors import load_executor

    executed = get_cache(cache)
    for path in paths:
        executed.add_nb_to_project(str(path), read_data={"name": "jupytext", "type": "plugin"})
    load_executor("local-parallel", executed).run_and_cache(timeout=SECONDS)


if __name__ == "__main__":
    cache, *paths = map(Path, sys.argv[1:])
    execute(cache, paths)

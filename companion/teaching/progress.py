"""What a long run has done so far, in a file under `runs/`, so that it goes on there after it was stopped.

Trainings have `checkpoints.resumable`; this is for runs of another form. The file is deleted when its run has ended.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "some.pt"
>>> load(path) is None
True
>>> save({"step": 3}, path)
>>> load(path)
{'step': 3}
"""

from pathlib import Path
from typing import Any

import torch

from companion.teaching.writing import whole

RUNS = Path("runs")  # in the reader's folder


def save(done: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values in one atomic step."""
    with whole(path) as unfinished:
        torch.save(done, unfinished)


def load(path: Path) -> dict[str, Any] | None:
    """What was written last, its tensors on the CPU; None if nothing was."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

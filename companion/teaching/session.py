"""What the parameters cell of a lesson means: a profile, a seed and a device.

>>> session = begin("lesson", seed=0, device="cpu")
>>> session.pick(smoke=10, lesson=1500), session.device.type
(1500, 'cpu')
"""

from dataclasses import dataclass
from typing import TypeVar

import torch

from companion.foundations.validation import require, require_count
from companion.teaching import figures

Value = TypeVar("Value")
PROFILES = ("smoke", "lesson", "full")


@dataclass(frozen=True)
class Session:
    """One run of a lesson.

    Attributes:
        profile: "smoke" (seconds, for checks), "lesson" (the default) or "full" (GPU size, real images).
        seed: from which every random stream of the lesson starts.
        device: where tensors live.
    """

    profile: str
    seed: int
    device: torch.device

    def generator(self, offset: int = 0, device: torch.device | str | None = None) -> torch.Generator:
        """A fresh stream; another `offset` gives an independent one."""
        return torch.Generator(device or self.device).manual_seed(1000 * self.seed + offset)

    def pick(self, *, smoke: Value, lesson: Value, full: Value | None = None) -> Value:
        """The setting of this profile; `full` falls back to `lesson`."""
        choice = {"smoke": smoke, "lesson": lesson, "full": lesson if full is None else full}
        return choice[self.profile]


def begin(profile: str = "lesson", seed: int = 0, device: str = "auto") -> Session:
    """Check the parameters cell, switch the figures to the book's style and return the session.

    `device="auto"` means the GPU at `full` where there is one, else the CPU: the small networks of a
    lesson run faster there.

    Raises:
        ValueError: an unknown profile, a negative seed, or a device that this machine lacks.
        TypeError: a seed that is not a whole number.
    """
    require(profile in PROFILES, "PROFILE", repr(profile), "one of " + ", ".join(PROFILES))
    require_count("SEED", seed, 0)
    if device == "auto":
        device = "cuda" if profile == "full" and torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"DEVICE is {device!r}, but must be 'auto' or a device of this machine.") from error
    figures.use_style()
    return Session(profile, seed, torch.device(device))

"""Streams of tasks that follow each other without a word: the same digits under new random labels, or seen through new
permutations of their pixels.

>>> stream = random_label_digits(tasks=3, size=32, epochs=2, generator=torch.Generator().manual_seed(0))
>>> stream.features.shape, stream.changes
(torch.Size([192, 1, 8, 8]), (64, 128))
>>> permuted_digits(tasks=2, size=100, generator=torch.Generator().manual_seed(0)).changes
(100,)
"""

import torch

from companion.data.images import _all_digits
from companion.data.streams.drifting import Stream
from companion.foundations.validation import require, require_count


def random_label_digits(
    tasks: int = 60, *, size: int = 160, epochs: int = 15, generator: torch.Generator | None = None
) -> Stream:
    """Digits (n, 1, 8, 8) in [-1, 1] to be learned by heart: each task gives the same `size` digits new labels, drawn
    evenly from ten, and shows them `epochs` times, each time in another order; n = tasks * epochs * size.

    Args:
        tasks: labellings that follow each other.
        size: digits, chosen once, at most 1,797.
        epochs: passes of each task.
        generator: of all draws; the rows lie on its device.

    Raises:
        TypeError, ValueError: a number out of range.
    """
    images, _ = _digits_of(tasks, size, generator)
    require_count("epochs", epochs, 1)
    device = images.device
    chosen = images[torch.randperm(len(images), generator=generator, device=device)[:size]]
    features, labels = [], []
    for _ in range(tasks):
        names = torch.randint(10, (size,), generator=generator, device=device)
        for _ in range(epochs):
            order = torch.randperm(size, generator=generator, device=device)
            features.append(chosen[order])
            labels.append(names[order])
    return Stream(torch.cat(features), torch.cat(labels), _starts(tasks, epochs * size))


def permuted_digits(
    tasks: int = 40, *, size: int = 1600, cycle: int | None = None, generator: torch.Generator | None = None
) -> Stream:
    """Digits (n, 1, 8, 8) in [-1, 1] with their own labels: each task permutes the pixels in another way and shows `size`
    digits once; n = tasks * size.

    Args:
        tasks: permutations that follow each other.
        size: digits of a task, drawn anew without replacement, at most 1,797.
        cycle: after so many tasks the first permutation comes back, then the second, and so on; None: none comes back.
        generator: of all draws; the rows lie on its device.

    Raises:
        TypeError, ValueError: a number out of range.
    """
    images, names = _digits_of(tasks, size, generator)
    if cycle is not None:
        require_count("cycle", cycle, 1)
    device = images.device
    known: list[torch.Tensor] = []
    features, labels = [], []
    for task in range(tasks):
        if cycle is None or task < cycle:
            known.append(torch.randperm(64, generator=generator, device=device))
        order = torch.randperm(len(images), generator=generator, device=device)[:size]
        pixels = images[order].flatten(1)[:, known[task % len(known)]]
        features.append(pixels.view(-1, 1, 8, 8))
        labels.append(names[order])
    return Stream(torch.cat(features), torch.cat(labels), _starts(tasks, size))


def _digits_of(tasks: int, size: int, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
    require_count("tasks", tasks, 1)
    require_count("size", size, 1)
    images, labels = _all_digits()
    require(size <= len(images), "size", size, f"at most {len(images)}, the number of digits")
    device = "cpu" if generator is None else generator.device
    return images.to(device), labels.to(device)


def _starts(tasks: int, rows: int) -> tuple[int, ...]:
    """Where each task but the first begins."""
    return tuple(range(rows, tasks * rows, rows))

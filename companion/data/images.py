"""Small grey images in [-1, 1], from files that came with the package or with scikit-learn.

>>> images, labels = digits("test")
>>> images.shape, float(images.min()), float(images.max())
(torch.Size([597, 1, 8, 8]), -1.0, 1.0)
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from companion.foundations.validation import require, require_count

FILES = Path(__file__).parent / "files"


class LabelledImages(NamedTuple):
    """images (n, 1, h, w) in [-1, 1], float32, and their labels (n,)."""

    images: Float[Tensor, "n 1 h w"]
    labels: Int[Tensor, " n"]


def digits(split: str = "train", seed: int = 0) -> LabelledImages:
    """Handwritten digits, 8x8: 1,200 for training and 597 held out (scikit-learn's `load_digits`).

    `seed` chooses which are held out.

    Raises:
        TypeError or ValueError: split is not "train" or "test", or seed is not a whole number from 0.
    """
    require_count("seed", seed, 0)
    images, labels = _all_digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return _split(LabelledImages(images, labels), order, split, 1200)


def fashion(split: str = "train") -> LabelledImages:
    """Fashion-MNIST, 28x28, zero-padded to 32x32: 5,000 for training and 1,000 held out, balanced over ten classes.

    Raises:
        ValueError: split is not "train" or "test".
    """
    with np.load(FILES / "fashion_mnist_6000.npz") as stored:
        images, labels = torch.from_numpy(stored["images"]), torch.from_numpy(stored["labels"]).long()
    images = torch.nn.functional.pad(images[:, None].float() / 127.5 - 1, (2, 2, 2, 2), value=-1.0)
    return _split(LabelledImages(images, labels), torch.arange(len(images)), split, 5000)


def _split(data: LabelledImages, order: Tensor, split: str, training: int) -> LabelledImages:
    require(split in ("train", "test"), "split", repr(split), '"train" or "test"')
    kept = order[:training] if split == "train" else order[training:]
    return LabelledImages(data.images[kept], data.labels[kept])


@cache
def _all_digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    raw = load_digits()
    return torch.from_numpy(raw.images).float()[:, None] / 8 - 1, torch.from_numpy(raw.target).long()

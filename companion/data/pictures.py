"""Small grey pictures of many kinds, for learning one kind of task after another: printed glyphs, shapes, textures,
handwritten digits and clothes.

Each *family* is a set of classes from which pictures can be drawn; `few_labels` makes a task of some of its classes.

>>> task = few_labels("greek", classes=5, labels=3, held_out=10, seed=0)
>>> task.train.images.shape, task.test.images.shape, task.num_classes
(torch.Size([15, 1, 16, 16]), torch.Size([50, 1, 16, 16]), 5)
"""

import math
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate, pad

from companion.data.images import LabelledImages, digits, fashion
from companion.foundations.validation import Number, require, require_count, require_labels

SIZE = 16
DRAWN = 32  # pixels of a side before the last halving
PRINT = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono", "STIXGeneral", "cmr10")
UNSEEN_PRINT = ("cmtt10", "DejaVuSans-BoldOblique", "STIXGeneralBolIta")
GREEK_PRINT = ("DejaVuSans", "DejaVuSerif", "DejaVuSerif-Bold", "STIXGeneral")
GLYPHS = {
    "letters": ("ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt", PRINT),
    "print": ("0123456789", PRINT),
    "other_letters": ("ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt", UNSEEN_PRINT),
    "greek": ("αβγδεζηθλμξπρσφψωΓΔΘΛΞΠΣΦΨΩ", GREEK_PRINT),
    "cyrillic": ("БГДЖЗИЛПУФЦЧШЩЫЭЮЯ", GREEK_PRINT),
    "symbols": ("∀∂∃∇∈∑√∞∧∨∩∪∫≈≠≤≥⊂⊕⊗", ("DejaVuSans", "DejaVuSans-Bold", "STIXGeneral")),
}
SHAPES = ("disc", "ring", "triangle", "square", "pentagon", "star", "cross", "half")
OTHER_SHAPES = ("ellipse", "hexagon", "six-pointed star", "crescent", "frame", "ell", "tee", "two discs")
TEXTURES, OTHER_TEXTURES = 8, 8
CLOTHES, OTHER_CLOTHES = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)


class Task(NamedTuple):
    """A classification task.

    Attributes:
        name: of its family.
        train: the labelled pictures to learn from.
        test: those it is judged by.
        num_classes: labels are 0 to num_classes - 1 in both.
    """

    name: str
    train: LabelledImages
    test: LabelledImages
    num_classes: int


def classes_of(family: str) -> int:
    """How many classes a family has.

    Raises:
        ValueError: an unknown family.
    """
    require(family in FAMILIES, "family", repr(family), "one of " + ", ".join(FAMILIES))
    return FAMILIES[family][0]


def pictures(
    family: str, labels: Int[Tensor, " n"], split: str = "train", generator: torch.Generator | None = None
) -> Float[Tensor, "n 1 16 16"]:
    """A picture of each label's class, each with its own place, size, slant, contrast and noise.

    Those of drawn families are new each time; those of digits and clothes come, with repeats, from that split of their
    files.

    Args:
        family: one of `FAMILIES`.
        labels: from 0 to `classes_of(family) - 1`.
        split: "train" or "test".
        generator: on the CPU.

    Returns:
        float32, each of mean 0 and a standard deviation of about 1.

    Raises:
        ValueError: an unknown family or split, or a label outside its range.
    """
    count = classes_of(family)
    require(split in ("train", "test"), "split", repr(split), '"train" or "test"')
    require_labels("labels", labels)
    require(labels.dtype == torch.long, "labels", f"of {labels.dtype}", "of torch.int64", TypeError)
    inside = len(labels) > 0 and bool(((labels >= 0) & (labels < count)).all())
    require(inside, "labels", "empty or outside in some place", f"whole numbers from 0 to {count - 1}")
    drawn = FAMILIES[family][1](labels, split, generator)
    noise = torch.empty(len(labels), 1, 1, 1).uniform_(0.02, 0.2, generator=generator)
    noisy = drawn + noise * torch.randn(drawn.shape, generator=generator)
    return (noisy - noisy.mean((1, 2, 3), keepdim=True)) / (noisy.std((1, 2, 3), keepdim=True) + 1e-3)


def few_labels(family: str, classes: int = 10, labels: int = 8, held_out: int = 40, seed: int = 0) -> Task:
    """A task of some classes of a family, with few labelled pictures of each.

    Args:
        family: one of `FAMILIES`.
        classes: drawn from the family's; all, if it has fewer.
        labels: pictures of each class to learn from.
        held_out: pictures of each class to be judged by.
        seed: of the classes and the pictures.

    Raises:
        ValueError: an unknown family, or a number below 1 (below 2 for classes).
    """
    require_count("classes", classes, 2)
    require_count("labels", labels, 1)
    require_count("held_out", held_out, 1)
    require_count("seed", seed, 0)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(classes_of(family), generator=generator)[:classes]

    def drawn(each: int, split: str) -> LabelledImages:
        targets = torch.arange(len(chosen)).repeat_interleave(each)
        return LabelledImages(pictures(family, chosen[targets], split, generator), targets)

    return Task(family, drawn(labels, "train"), drawn(held_out, "test"), len(chosen))


# --- printed glyphs -----------------------------------------------------------------------------------------------


def _printed(family: str, labels: Tensor, split: str, generator: torch.Generator | None) -> Tensor:
    bank = _glyphs(family)
    fonts = torch.randint(len(bank), (len(labels),), generator=generator)
    return _moved(bank[fonts, labels][:, None], generator)


@cache
def _glyphs(family: str) -> Float[Tensor, "fonts glyphs 32 32"]:
    """Every glyph in every font, in [0, 1], in a box with the font's own margins whose longer side is 20 pixels."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    characters, fonts = GLYPHS[family]
    bank = torch.zeros(len(fonts), len(characters), DRAWN, DRAWN)
    for row, name in enumerate(fonts):
        font = ImageFont.truetype(folder / f"{name}.ttf", 80)
        for place, character in enumerate(characters):
            left, top, right, bottom = font.getbbox(character)
            glyph = Image.new("L", (right - left, bottom - top))
            ImageDraw.Draw(glyph).text((-left, -top), character, fill=255, font=font)
            scale = 20 / max(glyph.size)
            width, height = (max(1, round(side * scale)) for side in glyph.size)
            small = torch.from_numpy(np.array(glyph.resize((width, height), Image.Resampling.BOX))).float() / 255
            y, x = (DRAWN - height) // 2, (DRAWN - width) // 2
            bank[row, place, y : y + height, x : x + width] = small
    return bank


def _moved(images: Tensor, generator: torch.Generator | None, turn: float = 0.25, shift: float = 0.15) -> Tensor:
    """Each turned (up to `turn` radians), slanted, scaled and shifted, then halved in size."""

    def between(low: Number, high: Number) -> Tensor:
        return torch.empty(len(images)).uniform_(low, high, generator=generator)

    angle, slant, scale = between(-turn, turn), between(-0.25, 0.25), between(0.75, 1.25)
    stretch, across, down = between(0.85, 1.18), between(-shift, shift), between(-shift, shift)
    rows = [
        torch.stack([angle.cos() * scale * stretch, (slant - angle.sin()) * scale, across], dim=1),
        torch.stack([angle.sin() * scale * stretch, angle.cos() * scale, down], dim=1),
    ]
    grid = affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return avg_pool2d(grid_sample(images, grid, align_corners=False), 2)


# --- shapes and textures ------------------------------------------------------------------------------------------


@cache
def _plane() -> tuple[Tensor, Tensor]:
    """x and y of every pixel of a drawing, from -1 to 1."""
    line = (torch.arange(DRAWN) + 0.5) / DRAWN * 2 - 1
    return line.expand(DRAWN, DRAWN), line[:, None].expand(DRAWN, DRAWN)


def _polygon(sides: int, x: Tensor, y: Tensor) -> Tensor:
    """How far a point is outside a regular polygon of radius .6; negative inside."""
    angle = torch.atan2(y, x).remainder(2 * math.pi / sides) - math.pi / sides
    return torch.hypot(x, y) * angle.cos() - 0.6 * math.cos(math.pi / sides)


def _star(points: int, x: Tensor, y: Tensor) -> Tensor:
    angle = (torch.atan2(y, x).remainder(2 * math.pi / points) - math.pi / points).abs() * points / math.pi
    return torch.hypot(x, y) - (0.28 + 0.37 * angle)


def _box(width: float, height: float, x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs() - width, y.abs() - height)


def _drawing(name: str) -> Tensor:
    """A shape in the middle of its picture, in [0, 1]."""
    x, y = _plane()
    radius = torch.hypot(x, y)
    outside = {
        "disc": radius - 0.5,
        "ring": (radius - 0.45).abs() - 0.13,
        "triangle": _polygon(3, x, y),
        "square": _polygon(4, x, y),
        "pentagon": _polygon(5, x, y),
        "star": _star(5, x, y),
        "cross": torch.minimum(_box(0.6, 0.17, x, y), _box(0.17, 0.6, x, y)),
        "half": torch.maximum(radius - 0.6, x),
        "ellipse": torch.hypot(x, 2 * y) - 0.65,
        "hexagon": _polygon(6, x, y),
        "six-pointed star": _star(6, x, y),
        "crescent": torch.maximum(radius - 0.6, 0.5 - torch.hypot(x - 0.3, y)),
        "frame": _box(0.5, 0.5, x, y).abs() - 0.1,
        "ell": torch.minimum(_box(0.15, 0.55, x + 0.35, y), _box(0.5, 0.15, x, y - 0.4)),
        "tee": torch.minimum(_box(0.15, 0.55, x, y), _box(0.5, 0.15, x, y + 0.4)),
        "two discs": torch.minimum(torch.hypot(x - 0.35, y), torch.hypot(x + 0.35, y)) - 0.26,
    }
    return (0.5 - outside[name] * DRAWN / 4).clamp(0, 1)


@cache
def _drawings(names: tuple[str, ...]) -> Float[Tensor, "shapes 32 32"]:
    return torch.stack([_drawing(name) for name in names])


def _shaped(names: tuple[str, ...], labels: Tensor, split: str, generator: torch.Generator | None) -> Tensor:
    return _moved(_drawings(names)[labels][:, None], generator, turn=math.pi, shift=0.25)


def _woven(first: int, labels: Tensor, split: str, generator: torch.Generator | None) -> Tensor:
    """Textures: two waves, whose directions, lengths and sharpness the class fixes, with their own phases and noise."""
    law = torch.Generator().manual_seed(first)
    angles = torch.rand(8, 2, generator=law) * math.pi
    waves = 3 + 7 * torch.rand(8, 2, generator=law)
    share, sharpness = torch.rand(8, generator=law), 0.5 + 3 * torch.rand(8, generator=law)
    x, y = _plane()

    def each(low: Number, high: Number) -> Tensor:
        return torch.empty(len(labels), 1, 1).uniform_(low, high, generator=generator)

    picture = torch.zeros(len(labels), DRAWN, DRAWN)
    for wave in range(2):
        angle = angles[labels, wave, None, None] + each(-0.12, 0.12)
        along = x * angle.cos() + y * angle.sin()
        height = torch.sin(waves[labels, wave, None, None] * each(0.9, 1.1) * along + each(0, 2 * math.pi))
        part = share[labels, None, None]
        picture += (part if wave == 0 else 1 - part) * height
    picture = torch.tanh(sharpness[labels, None, None] * picture)
    return avg_pool2d(picture[:, None] + 0.4 * torch.randn(len(labels), 1, DRAWN, DRAWN, generator=generator), 2)


# --- photographs and handwriting ----------------------------------------------------------------------------------


def _written(labels: Tensor, split: str, generator: torch.Generator | None) -> Tensor:
    images, found = _upsampled(split)
    return _moved(_chosen(images, found, labels, generator), generator, turn=0.15, shift=0.1)


def _worn(kinds: tuple[int, ...], labels: Tensor, split: str, generator: torch.Generator | None) -> Tensor:
    images, found = _clothes(split)
    return _moved(_chosen(images, found, torch.tensor(kinds)[labels], generator), generator, turn=0.1, shift=0.1)


def _chosen(images: Tensor, found: Tensor, labels: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random image of each label; within a call none twice, as long as there are enough."""
    rows = torch.empty(len(labels), dtype=torch.long)
    for label in labels.unique():
        wanted = (labels == label).nonzero()[:, 0]
        of_label = (found == label).nonzero()[:, 0]
        order = torch.randperm(len(of_label), generator=generator)
        rows[wanted] = of_label[order.repeat(math.ceil(len(wanted) / len(order)))[: len(wanted)]]
    return images[rows]


@cache
def _upsampled(split: str) -> LabelledImages:
    images, labels = digits(split)
    larger = interpolate(images, size=(24, 24), mode="bilinear", align_corners=False) / 2 + 0.5
    return LabelledImages(pad(larger, (4, 4, 4, 4)), labels)


@cache
def _clothes(split: str) -> LabelledImages:
    images, labels = fashion(split)
    return LabelledImages(images / 2 + 0.5, labels)


FAMILIES = {name: (len(characters), partial(_printed, name)) for name, (characters, _) in GLYPHS.items()} | {
    "shapes": (len(SHAPES), partial(_shaped, SHAPES)),
    "other_shapes": (len(OTHER_SHAPES), partial(_shaped, OTHER_SHAPES)),
    "textures": (TEXTURES, partial(_woven, 1)),
    "other_textures": (OTHER_TEXTURES, partial(_woven, 2)),
    "digits": (10, _written),
    "clothes": (len(CLOTHES), partial(_worn, CLOTHES)),
    "other_clothes": (len(OTHER_CLOTHES), partial(_worn, OTHER_CLOTHES)),
}

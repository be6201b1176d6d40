"""The pictures of lesson 09: every glyph is in its font, tasks are what they say, and no picture is on both sides."""

from pathlib import Path

import matplotlib
import pytest
import torch
from agree import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.ft2font import FT2Font

from companion.data import pictures as module
from companion.data.images import digits, fashion
from companion.data.pictures import (
    CLOTHES,
    DRAWN,
    FAMILIES,
    GLYPHS,
    OTHER_CLOTHES,
    SIZE,
    UNSEEN_PRINT,
    classes_of,
    few_labels,
    pictures,
)
from companion.methods import pruning

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
COUNTS = {
    "letters": 37, "print": 10, "other_letters": 37, "greek": 27, "cyrillic": 18, "symbols": 20, "shapes": 8, "other_shapes": 8,
    "textures": 8, "other_textures": 8, "digits": 10, "clothes": 5, "other_clothes": 5,
}  # fmt: skip
each_family = pytest.mark.parametrize("family", FAMILIES)
each_drawn = pytest.mark.parametrize("family", [each for each in FAMILIES if each not in ("digits", "clothes", "other_clothes")])  # fmt: skip


def all_classes(family: str, each: int = 1) -> torch.Tensor:
    return torch.arange(classes_of(family)).repeat_interleave(each)


# --- families -----------------------------------------------------------------------------------------------------


def test_there_are_thirteen_families():
    assert {family: classes_of(family) for family in FAMILIES} == COUNTS


@each_family
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_picture_is_standardised(family, split):
    found = pictures(family, all_classes(family, 3), split, seeded())
    assert found.shape == (3 * COUNTS[family], 1, SIZE, SIZE)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert found.mean((1, 2, 3)).abs().max() < 1e-5
    assert (found.std((1, 2, 3)) - 1).abs().max() < 0.02


@each_family
def test_the_generator_decides_which_pictures(family):
    labels = all_classes(family, 2)
    state = torch.get_rng_state()
    first, again, other = (pictures(family, labels, "train", seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert (first != other).flatten(1).any(1).all()


@each_family
def test_no_two_pictures_of_a_class_are_the_same(family):
    found = pictures(family, torch.zeros(12, dtype=torch.long), "test", seeded()).flatten(1)
    assert (torch.cdist(found, found) + 100 * torch.eye(12)).min() > 0.5


@each_family
def test_classes_can_be_told_apart(family):
    """The nearest of forty training pictures of each class has the right label, two and a half times as often as by chance."""
    train, test = (
        pictures(family, all_classes(family, each), split, seeded(each))
        for each, split in ((40, "train"), (10, "test"))
    )
    if "textures" in family:  # their phases differ, their spectra do not
        train, test = (torch.fft.rfft2(each).abs() for each in (train, test))
    nearest = torch.cdist(test.flatten(1), train.flatten(1)).argmin(1)
    right = all_classes(family, 40)[nearest] == all_classes(family, 10)
    assert right.double().mean() > 2.5 / classes_of(family)


@settings(max_examples=10)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=9))
def test_each_label_is_drawn_in_its_place(labels):
    """A mean picture of the class, in turn with others."""
    found = pictures("shapes", torch.tensor(labels), "train", seeded())
    assert found.shape == (len(labels), 1, SIZE, SIZE)
    assert torch.equal(found, pictures("shapes", torch.tensor(labels), "test", seeded()))


# --- glyphs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", GLYPHS)
def test_every_glyph_is_in_each_of_its_fonts(family):
    characters, fonts = GLYPHS[family]
    assert len(set(characters)) == len(characters)
    for font in fonts:
        missing = set(map(ord, characters)) - set(FT2Font(str(FONTS / f"{font}.ttf")).get_charmap())
        assert not missing, (font, "".join(map(chr, missing)))


def test_other_letters_are_the_letters_in_fonts_that_were_not_seen():
    letters, seen = GLYPHS["letters"]
    others, unseen = GLYPHS["other_letters"]
    assert letters == others
    assert unseen is UNSEEN_PRINT
    assert not set(seen) & set(unseen)


@pytest.mark.parametrize("family", GLYPHS)
def test_glyphs_fill_their_place_and_no_two_of_a_font_are_the_same(family):
    bank = module._glyphs(family)
    characters, fonts = GLYPHS[family]
    assert bank.shape == (len(fonts), len(characters), DRAWN, DRAWN)
    assert bank.min() == 0
    assert bank.max() <= 1
    across, down = ((bank > 0).any(axis).sum(-1) for axis in (2, 3))
    longer = torch.maximum(across, down)
    assert (longer <= 20).all()
    assert (longer >= 12).all()
    for font in bank.flatten(2):
        apart = torch.cdist(font, font) + 100 * torch.eye(len(characters))
        assert apart.min() > 1


def test_glyphs_lie_in_the_middle():
    places = (torch.arange(DRAWN) + 0.5 - DRAWN / 2).double()
    filled = module._glyphs("print").double() > 0
    for axis in (2, 3):
        used = filled.any(axis)
        first, last = (torch.where(used, places, end).aminmax(dim=-1) for end in (DRAWN, -DRAWN))
        assert (first.min + last.max).abs().max() / 2 <= 3


@pytest.mark.parametrize("names", [module.SHAPES, module.OTHER_SHAPES])
def test_shapes_are_ink_on_white_and_all_different(names):
    drawn = module._drawings(names)
    assert drawn.shape == (len(names), DRAWN, DRAWN)
    assert (drawn.amin((1, 2)) == 0).all()
    assert (drawn.amax((1, 2)) == 1).all()
    share = drawn.mean((1, 2))
    assert ((share > 0.08) & (share < 0.4)).all()
    apart = torch.cdist(drawn.flatten(1), drawn.flatten(1)) + 100 * torch.eye(len(names))
    assert apart.min() > 2
    assert not set(module.SHAPES) & set(module.OTHER_SHAPES)


def test_shapes_have_the_area_of_their_formulas():
    area = dict(zip(module.SHAPES, module._drawings(module.SHAPES).mean((1, 2)).tolist(), strict=True))
    radius = 0.6 / 2  # of a side of two
    wanted = {
        "disc": torch.pi * 0.25**2,
        "triangle": 3 * 3**0.5 / 4 * radius**2,
        "square": 2 * radius**2,
        "half": torch.pi * radius**2 / 2,
        "cross": (2 * 1.2 * 0.34 - 0.34**2) / 4,
    }
    for name, exact in wanted.items():
        assert abs(area[name] - exact) < 0.012, name


# --- digits and clothes -------------------------------------------------------------------------------------------


def test_the_digits_of_the_splits_are_others():
    """As the files' are: no image of the training split is in the test split, but for what was drawn twice."""
    for split in ("train", "test"):
        images, labels = module._upsampled(split)
        assert images.shape == (len(labels), 1, DRAWN, DRAWN)
        assert torch.equal(labels, digits(split).labels)
        assert not images[..., :4, :].any()
        assert not images[..., -4:].any()
        inner = torch.nn.functional.interpolate(digits(split).images / 2 + 0.5, size=(24, 24), mode="bilinear")
        torch.testing.assert_close(images[..., 4:-4, 4:-4], inner)
    train, test = (set(map(tuple, digits(split).images.flatten(1).tolist())) for split in ("train", "test"))
    assert not train & test


def test_the_clothes_of_the_splits_are_others():
    train, test = (set(map(tuple, fashion(split).images.flatten(1).tolist())) for split in ("train", "test"))
    assert not train & test
    assert not set(CLOTHES) & set(OTHER_CLOTHES)
    images, labels = module._clothes("test")
    torch.testing.assert_close(images, (fashion("test").images + 1) / 2)
    assert torch.equal(labels, fashion("test").labels)


FILES = {
    "digits": (range(10), lambda split: module._upsampled(split)),
    "clothes": (CLOTHES, lambda split: module._clothes(split)),
    "other_clothes": (OTHER_CLOTHES, lambda split: module._clothes(split)),
}


@pytest.mark.parametrize("family", FILES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_each_picture_shows_an_image_of_its_class_and_its_split(family, split, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "_moved", lambda images, *_, **__: seen.append(images) or images[..., ::2, ::2])
    kinds, files = FILES[family]
    labels = torch.randint(len(kinds), (40,), generator=seeded(1))
    pictures(family, labels, split, seeded())
    images, found = files(split)
    for shown, label in zip(seen[0], labels, strict=True):
        same = found[(images == shown).flatten(1).all(1)]
        assert len(same) > 0
        assert (same == kinds[label]).all()


def test_images_are_used_once_before_any_is_used_twice():
    """Two of one class, three of another."""
    images, found = torch.arange(7.0).view(7, 1, 1, 1), torch.tensor([0, 1, 0, 1, 1, 2, 2])
    for seed in range(5):
        chosen = module._chosen(images, found, torch.tensor([1, 0, 1, 0, 1, 0, 0, 0]), seeded(seed)).flatten()
        assert sorted(chosen[[0, 2, 4]].tolist()) == [1, 3, 4]
        assert sorted(chosen[[1, 3]].tolist()) == sorted(chosen[[5, 6]].tolist()) == [0, 2]


# --- tasks --------------------------------------------------------------------------------------------------------


@each_family
def test_a_task_has_as_many_pictures_of_each_class_as_it_says(family):
    task, count = few_labels(family, 6, 3, 4, seed=2), min(6, COUNTS[family])
    assert isinstance(task, pruning.Task)
    assert (task.name, task.num_classes) == (family, count)
    for part, each in ((task.train, 3), (task.test, 4)):
        assert part.images.shape == (each * count, 1, SIZE, SIZE)
        assert part.labels.dtype == torch.long
        assert part.labels.bincount().tolist() == [each] * count


@each_family
def test_the_seed_decides_the_task(family):
    first, again, other = (few_labels(family, 4, 2, 2, seed) for seed in (0, 0, 1))
    for one, two in ((first.train, again.train), (first.test, again.test)):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)
    assert not torch.equal(first.train.images, other.train.images)


def asked(monkeypatch, family: str, **options) -> list[tuple[list[int], str]]:
    """The classes and the split of each call for pictures."""
    calls, real = [], module.pictures

    def noted(family, labels, split, generator):
        calls.append((labels.tolist(), split))
        return real(family, labels, split, generator)

    monkeypatch.setattr(module, "pictures", noted)
    few_labels(family, **options)
    return calls


def test_training_and_test_pictures_are_of_the_same_classes_and_of_their_splits(monkeypatch):
    (train, first), (test, second) = asked(monkeypatch, "digits", classes=4, labels=2, held_out=3, seed=5)
    assert (first, second) == ("train", "test")
    assert train[::2] == train[1::2] == test[::3] == test[1::3] == test[2::3]
    assert len(set(train)) == 4


@each_drawn
def test_drawn_pictures_are_new_on_each_side(family):
    task = few_labels(family, 3, 4, 4)
    assert torch.cdist(task.train.images.flatten(1), task.test.images.flatten(1)).min() > 0.5


def test_other_seeds_choose_other_classes(monkeypatch):
    chosen = {
        tuple(asked(monkeypatch, "letters", classes=3, labels=1, held_out=1, seed=seed)[0][0]) for seed in range(5)
    }
    assert len(chosen) == 5

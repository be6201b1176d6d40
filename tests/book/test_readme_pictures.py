"""The README's pictures are what its script makes of the book today."""

import pytest
from PIL import Image, ImageChops, ImageStat

from companion.teaching.curriculum import LESSONS
from scripts import readme_pictures
from scripts.readme_pictures import MOVING, PICTURES, SIZE, THUMBNAILS, record, thumbnail


def difference(one, other):
    """The mean over pixels and colours, from 0 to 255, of what is left once points and letters are blurred."""
    small = [picture.convert("RGB").resize((45, 30), Image.Resampling.BOX) for picture in (one, other)]
    return sum(ImageStat.Stat(ImageChops.difference(*small)).mean) / 3


def stored(lesson):
    with Image.open(PICTURES / f"{lesson}.webp") as picture:
        return picture.convert("RGB")


def test_thumbnails_are_of_lessons_in_their_order():
    """A new lesson has none until its first widget is its own."""
    assert list(THUMBNAILS) == list(LESSONS)[: len(THUMBNAILS)]


@pytest.mark.parametrize("lesson", THUMBNAILS)
def test_a_thumbnail_is_of_the_book_as_it_is(site, browser, lesson):
    """Fonts and the last digits of a training differ between machines, so alike is enough: closer than to any other's."""
    made = thumbnail(browser, lesson)
    assert made.size == SIZE
    distances = {name: difference(made, stored(name)) for name in THUMBNAILS}
    assert min(distances, key=distances.get) == lesson


def test_what_moves_is_a_widget_that_is_moved(site, browser):
    scene = MOVING[0]
    (name, places, milliseconds), *_ = scene.moves
    short = readme_pictures.Scene(scene.lesson, scene.title, ((name, places[:2], milliseconds),), scene.last)
    (first, _), (second, _) = record(browser, short)
    assert difference(first, second) > 0.5

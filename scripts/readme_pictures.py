"""Make the README's pictures from the widgets of the built book: `make book`, then `python scripts/readme_pictures.py`.

Writes `book/readme/`: a thumbnail for each lesson, and a picture that moves, with a still for readers who want no motion.
Needs Chromium, as the browser tests do. Names make less: `python scripts/readme_pictures.py 04 f1 moving`.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Locator

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from companion.teaching.curriculum import LESSONS  # noqa: E402
from tests.book.hands import at_rest, press, put, redrawn  # noqa: E402
from tests.browser import open_browser  # noqa: E402

SITE = ROOT / "book" / "_build" / "html"
PICTURES = ROOT / "book" / "readme"
SIZE = (360, 240)  # of a thumbnail, in pixels; the README shows it at half of that
# A widget's own colours in light, so that pictures stand on white pages and on dark ones.
GROUND, EDGE = "#f7f8fa", "#d0d7de"
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Thumbnail:
    """A part of a widget, as it looks once its controls were moved.

    Attributes:
        title: the widget's.
        moves: a slider's name and place; or a button's name and None.
        panels: which of the widget's pictures, side by side.
        crop: left, top, right and bottom, as shares of each.
        window: the page's width in CSS pixels: in a narrow one letters are large beside what is drawn.
    """

    title: str
    moves: tuple[tuple[str, float | None], ...] = ()
    panels: tuple[int, ...] = (0,)
    crop: Box = (0, 0, 1, 1)
    window: int = 300


@dataclass(frozen=True)
class Scene:
    """A widget whose controls are moved, one place after another.

    Attributes:
        lesson, title: of the widget.
        moves: a slider's name, its places, and milliseconds for each.
        last: a selector of the lowest part that is shown, the first such.
    """

    lesson: str
    title: str
    moves: tuple[tuple[str, range, int], ...]
    last: str


THUMBNAILS = {
    "f1": Thumbnail("What a kernel sees", crop=(0.02, 0.14, 0.4, 0.8), window=900),
    "f2": Thumbnail("Few steps", (("Steps", 2),), crop=(0, 0.12, 0.5, 1), window=900),
    "f3": Thumbnail("Sharpened or guided?", (("Weight", 3),), crop=(0.5, 0.2, 1, 1), window=900),
    "f4": Thumbnail("What does a filter believe while it hears nothing?", crop=(0.438, 0, 1, 1), window=900),
    "f5": Thumbnail("Lag or noise?", crop=(0, 0.05, 1, 0.49), window=900),
    "01": Thumbnail("Sample in the page", panels=(0, 1), crop=(0.1, 0.1, 0.9, 0.9)),
    "02": Thumbnail("Drag the two means"),
    "03": Thumbnail("Three schedules from the same noise", panels=(2,), crop=(0.08, 0.08, 0.92, 0.96), window=900),
    "04": Thumbnail("A witness for every noise level", (("Noise level", 60),), crop=(0, 0.17, 1, 0.83)),
    "05": Thumbnail("Solve for w, and only θ is left to walk", (("Play", None),)),
    "06": Thumbnail("How fast should it forget? It finds out while it is tested", crop=(0, 0.17, 1, 0.83)),
    "07": Thumbnail("Who can still learn?"),
    "08": Thumbnail("The same text, read twice", panels=(1,), crop=(0, 0, 1, 0.93)),
    "09": Thumbnail("Which way wins at this budget?"),
    "10": Thumbnail("A hundred tasks in time", (("Task", 55),), crop=(0.06, 0, 0.532, 0.56), window=600),
}
MOVING = (
    Scene("01", "Sample in the page", (("Steps", range(11), 350),), ".lim-note"),
    Scene(
        "06",
        "How much of the past should the filter keep?",
        (("Step", range(60, 181, 6), 100), ("Memory", range(12, 5, -1), 250), ("Step", range(186, 241, 6), 100)),
        ".lim-key",
    ),
    Scene("10", "A hundred tasks in time", (("Task", range(4, 109, 4), 120),), ".lim-families"),
)
MOVING_WINDOW, MOVING_SHARPNESS, PAUSE = 600, 1.5, 1200  # a narrow page; pixels for each of CSS; milliseconds at an end


@contextmanager
def widget(browser: Browser, lesson: str, title: str, window: int, sharpness: float = 2) -> Iterator[Locator]:
    """A widget of a lesson's page, by its title."""
    context = browser.new_context(
        viewport={"width": window, "height": 2400}, device_scale_factor=sharpness, reduced_motion="reduce", offline=True
    )
    try:
        page = context.new_page()
        page.goto((SITE / "notebooks" / f"{LESSONS[lesson].stem}.html").as_uri(), wait_until="load")
        for place in page.locator(".lim-host").all():
            place.scroll_into_view_if_needed()
            page.wait_for_function("(place) => place.dataset.state === 'shown'", arg=place.element_handle())
            shown = place.locator(".lim-widget")
            if shown.locator(".lim-title").inner_text() == title:
                at_rest(shown)  # some learn first
                yield shown
                return
        raise SystemExit(f"Lesson {lesson} has no widget {title!r}.")
    finally:
        context.close()


def photograph(part: Locator) -> Image.Image:
    redrawn(part)
    return Image.open(io.BytesIO(part.screenshot(animations="disabled"))).convert("RGB")


def move(shown: Locator, name: str, place: float | None) -> None:
    """A slider to a place, or a press of a button; then wait until nothing runs in the widget."""
    if place is None:
        press(shown, name)
    else:
        put(shown, name, place)
    at_rest(shown)


def thumbnail(browser: Browser, lesson: str) -> Image.Image:
    """The picture of a lesson: panels side by side on a card of the size that all have."""
    wanted = THUMBNAILS[lesson]
    with widget(browser, lesson, wanted.title, wanted.window) as shown:
        for name, place in wanted.moves:
            move(shown, name, place)
        panels = shown.locator("img.lim-frame, canvas.lim-canvas")
        pictures = [cropped(photograph(panels.nth(number)), wanted.crop) for number in wanted.panels]
    card = Image.new("RGB", SIZE, GROUND)
    room = SIZE[0] // len(pictures) - 16, SIZE[1] - 16
    for number, picture in enumerate(pictures):
        scale = min(room[0] / picture.width, room[1] / picture.height)
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        middle = (2 * number + 1) * SIZE[0] // (2 * len(pictures))
        card.paste(picture, (middle - picture.width // 2, (SIZE[1] - picture.height) // 2))
    return framed(card)


def cropped(picture: Image.Image, crop: Box) -> Image.Image:
    left, top, right, bottom = crop
    return picture.crop(
        (
            round(left * picture.width),
            round(top * picture.height),
            round(right * picture.width),
            round(bottom * picture.height),
        )
    )


def framed(picture: Image.Image) -> Image.Image:
    ImageDraw.Draw(picture).rectangle((0, 0, picture.width - 1, picture.height - 1), outline=EDGE, width=2)
    return picture


def record(browser: Browser, scene: Scene) -> Iterator[tuple[Image.Image, int]]:
    """Pictures of a widget from its top to the scene's lowest part, and how long each is shown."""
    with widget(browser, scene.lesson, scene.title, MOVING_WINDOW, MOVING_SHARPNESS) as shown:
        for number, (name, places, milliseconds) in enumerate(scene.moves):
            for place in places:
                move(shown, name, place)
                low, top = shown.locator(scene.last).first.bounding_box(), shown.bounding_box()["y"]
                whole = photograph(shown)
                height = min(whole.height, round((low["y"] + low["height"] - top + 14) * MOVING_SHARPNESS))
                at_end = place == places[-1] or (number == 0 and place == places[0])
                yield whole.crop((0, 0, whole.width, height)), PAUSE if at_end else milliseconds


def moving(browser: Browser) -> tuple[list[Image.Image], list[int]]:
    """The pictures of all scenes, on cards of one size, and their milliseconds."""
    frames = [frame for scene in MOVING for frame in record(browser, scene)]
    size = max(picture.width for picture, _ in frames), max(picture.height for picture, _ in frames)
    cards = [Image.new("RGB", size, GROUND) for _ in frames]
    for card, (picture, _) in zip(cards, frames):
        inner = picture.crop((3, 3, picture.width - 3, picture.height))  # its own border goes, with its round corners
        card.paste(inner, (3, 3))
        framed(card)
    return cards, [milliseconds for _, milliseconds in frames]


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with open_browser() as browser:
        for name in sys.argv[1:] or (*THUMBNAILS, "moving"):
            if name == "moving":
                cards, milliseconds = moving(browser)
                cards[0].save(
                    PICTURES / "moving.webp", save_all=True, append_images=cards[1:], duration=milliseconds,
                    loop=0, quality=55, method=4, minimize_size=True,
                )  # fmt: skip
                cards[1].save(PICTURES / "still.webp", quality=80, method=6)
            else:
                thumbnail(browser, name).save(PICTURES / f"{name}.webp", quality=85, method=6)


if __name__ == "__main__":
    main()

"""The README does what it says: examples and commands run, the table is the curriculum's, the pictures are there."""

import re

import pytest
import torch
from PIL import Image
from readme_commands import COMMANDS
from subjects import NOTEBOOKS, ROOT, read

from companion.teaching.curriculum import LESSONS
from scripts.readme_pictures import THUMBNAILS

README = (ROOT / "README.md").read_text(encoding="utf-8")
USE_IT = (ROOT / "book" / "use-it.md").read_text(encoding="utf-8")
PICTURES = ROOT / "book" / "readme"
FENCE = r"^```(\w+)\n(.*?)^```"
NUMBER = r"(?<![\w.])-?\d+(?:\.\d*)?(?:e[+-]\d+)?"


def fences(text, language):
    return [code for name, code in re.findall(FENCE, text, flags=re.M | re.S) if name == language]


# -- on your own model --

# What the text says of the numbers that an example prints.
PROMISES = {
    "Distributional diffusion": lambda n: all(0.8 * b < a < 1.2 * b for a, b in zip(n[:3], n[3:])),
    "Speculative sampling": lambda n: n[0] < 70 and 200 < n[1] < 300,
    "Learned guidance": lambda n: max(map(abs, n[:3])) < 0.1 and 0.5 < n[3] < 1,
    "Deep MMD gradient flow": lambda n: n[1] < n[0] / 10,
    "Closed-form last layer": lambda n: n[1] < n[0] / 50,
    "Kalman filter for online classification": lambda n: 0.85 < n[2] < min(n[1], n[3]),
    "Soft parameter reset": lambda n: min(n[::2]) > 1 and max(n[1::2]) < 0.3,
    "Dynamic evaluation": lambda n: n[0] > 1 and n[1] < 0.1,
    "Compute-optimal transfer": lambda n: 0.2 < n[1] / n[0] < 0.3,
    "NEVIS, a stream of tasks": lambda n: len(n) >= 6 * 3,
    "Several GPUs": lambda n: all(abs(weight - 1) < 0.02 for weight in n),
}
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n.*?^```python\n(.*?)^```", USE_IT, flags=re.M | re.S))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMISES)
def test_an_example_runs_as_it_stands_and_comes_out_as_it_says(name, capsys):
    torch.manual_seed(0)
    exec(compile(EXAMPLES[name], name, "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert PROMISES[name]([float(number) for number in re.findall(NUMBER, printed)]), printed


def test_every_example_is_run_and_the_readmes_is_one_of_them():
    assert list(EXAMPLES) == list(PROMISES)
    assert fences(USE_IT, "python") == list(EXAMPLES.values())
    (example,) = fences(README, "python")
    assert example in EXAMPLES.values()
    assert len(example.splitlines()) < 15


# -- commands --


def commands(text):
    """What a reader would type: each line of a shell's block, and what stands in backticks and is a program with arguments."""
    lines = [line.partition("#")[0].strip() for block in fences(text, "sh") for line in block.splitlines()]
    plain = re.sub(FENCE, "", text, flags=re.M | re.S)
    inline = [words for words in re.findall(r"`([^`]+)`", plain) if re.match(r"[\w./-]+ ", words)]
    return [*filter(None, lines), *inline]


FOUND = dict.fromkeys([*commands(README), *commands(USE_IT)])


def test_every_command_is_run_and_no_other():
    assert sorted(FOUND) == sorted(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:50])
def test_a_command_does_what_it_says(command, tmp_path):
    COMMANDS[command](command, tmp_path)


# -- the table --


def test_the_table_is_the_curriculums():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if line[:2] == "| "]
    expected, part = [], None
    for one in LESSONS.values():
        if one.part != part:
            expected.append(["", f"**{one.part}**", "", ""])
            part = one.part
        opening = read(NOTEBOOKS / f"{one.stem}.py").cells[0].source
        number = re.search(r"\*\*Paper\*\*:.*\[arXiv (\d{4}\.\d{5})\]", opening)
        paper = f"[{number[1]}](https://arxiv.org/abs/{number[1]})" if number else ""
        picture, words = rows[1 + len(expected)][:2]
        image = rf'<img src="book/readme/{one.id}\.webp" width="180" alt="[^"]{{20,}}">'
        assert re.fullmatch(image if one.id in THUMBNAILS else "", picture)
        assert words.startswith(f"{one.id} [{one.title}](notebooks/{one.stem}.ipynb): ")
        expected.append([picture, words, paper, f"{one.read}&nbsp;+&nbsp;{one.exercises}"])
    head = "a&nbsp;widget&nbsp;of&nbsp;the&nbsp;lesson"  # in one piece, or a narrow page shrinks the pictures below it
    assert rows == [[head, "lesson", "paper", "minutes"], *expected]


# -- pictures and words --


def test_what_it_is_takes_three_sentences_and_a_picture():
    title, opening, picture, *_ = README.split("\n\n")
    assert title == "# Learning in Motion"
    assert len(re.findall(r"[.?!](?=\s|$)", opening)) == 3
    assert picture.startswith("<picture>")
    assert re.search(r'<img src="book/readme/moving\.webp" width="\d+" alt="[^"]{50,}">', picture)
    assert '<source media="(prefers-reduced-motion: reduce)" srcset="book/readme/still.webp">' in picture


def test_every_picture_is_there_and_none_without_use():
    used = re.findall(r'(?:src|srcset)="book/readme/([\w.]+)"', README)
    assert sorted(used) == sorted(path.name for path in PICTURES.iterdir())
    assert set(used) == {f"{name}.webp" for name in THUMBNAILS} | {"moving.webp", "still.webp"}


def test_pictures_are_small_sharp_and_have_a_ground_of_their_own():
    thumbnails = [PICTURES / f"{name}.webp" for name in THUMBNAILS]
    for path in thumbnails:
        with Image.open(path) as picture:
            assert picture.mode == "RGB"  # nothing of the page shines through
            assert picture.width == 2 * 180
            assert len(picture.getcolors(picture.width * picture.height)) > 100
    assert sum(path.stat().st_size for path in thumbnails) < 400_000
    with Image.open(PICTURES / "moving.webp") as moving, Image.open(PICTURES / "still.webp") as still:
        assert moving.n_frames > 50
        assert still.n_frames == 1
        assert moving.size == still.size
        assert still.mode == "RGB"
        assert moving.convert("RGBA").getextrema()[3] == (255, 255)
    assert (PICTURES / "moving.webp").stat().st_size < 1_000_000

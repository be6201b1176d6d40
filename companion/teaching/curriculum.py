"""The lessons, what each stands on, how long it takes, and three routes through them.

>>> [one.id for one in stands_on("03")]
['f1', 'f2', 'f3', '01', '03']
>>> sum(LESSONS[name].read for name in ROUTES["Seminar, 90 minutes"].lessons)
55
"""

import textwrap
from dataclasses import dataclass

from matplotlib.patches import FancyBboxPatch

from companion.foundations.validation import require
from companion.teaching import figures


@dataclass(frozen=True)
class Lesson:
    """A lesson of the suite.

    Attributes:
        id: "f1" of a foundation, "01" of a method.
        stem: of its files: notebooks/STEM.ipynb and so on.
        title: short.
        part: of the suite.
        sight: what one will see.
        read, exercises: minutes.
        needs: lessons to do first.
        helped_by: lessons that make it easier.
    """

    id: str
    stem: str
    title: str
    part: str
    sight: str
    read: int
    exercises: int
    needs: tuple[str, ...] = ()
    helped_by: tuple[str, ...] = ()

    @property
    def link(self) -> str:
        return f"[{self.title}]({self.stem}.ipynb)"


FOUNDATIONS, SAMPLES, DATA, TASKS = "Foundations", "When samples move", "When data move", "When tasks move"
LESSONS = {
    one.id: one
    for one in (
        Lesson("f1", "f1_distances", "Distances", FOUNDATIONS, "how far apart two clouds are, and when that is chance", 15, 30),
        Lesson("f2", "f2_diffusion_in_two_dimensions", "Diffusion in two dimensions", FOUNDATIONS, "noise that becomes data, with nothing learned", 20, 25, (), ("f1",)),
        Lesson("f3", "f3_guidance", "Guidance", FOUNDATIONS, "a sharper class, and what it is not", 15, 25, ("f1", "f2")),
        Lesson("f4", "f4_least_squares_with_a_memory", "Least squares with a memory", FOUNDATIONS, "ridge, recursive least squares and Kalman, as one", 20, 25),
        Lesson("f5", "f5_learning_on_a_stream", "Learning on a stream", FOUNDATIONS, "what to test when the data never stop", 20, 25),
        Lesson("01", "01_distributional_diffusion", "Distributional diffusion", SAMPLES, "a denoiser that draws, and so can take big steps", 35, 70, ("f1", "f2")),
        Lesson("02", "02_speculative_sampling", "Speculative sampling", SAMPLES, "cheap drafts, checked together, that leave every probability as it was", 35, 70, ("f2",), ("01",)),
        Lesson("03", "03_learned_guidance", "Learned guidance", SAMPLES, "a guidance knob that turns itself, for each class and each step", 35, 80, ("f3", "01")),
        Lesson("04", "04_mmd_gradient_flow", "Deep MMD gradient flow", SAMPLES, "particles that go downhill to the data, on a slope learned from noise", 35, 90, ("f1", "f2"), ("01",)),
        Lesson("05", "05_closed_form_last_layer", "Closed-form last layer", DATA, "a network whose last layer is never walked to, but solved", 35, 105, ("f4",)),
        Lesson("06", "06_kalman_online", "Kalman filter for online classification", DATA, "a classifier that finds out how fast to forget", 35, 90, ("f4", "f5"), ("05",)),
        Lesson("07", "07_soft_reset", "Soft parameter reset", DATA, "a network that goes back towards its start, as far as the next batch asks", 35, 85, ("f5",), ("06",)),
        Lesson("08", "08_dynamic_evaluation", "Dynamic evaluation", DATA, "a language model that learns the text it is tested on, without cheating", 35, 95, ("f5",)),
        Lesson("09", "09_compute_optimal_transfer", "Compute-optimal transfer", TASKS, "a network that throws most of itself away, and is ahead for it", 35, 105),
        Lesson("10", "10_nevis", "NEVIS", TASKS, "a hundred tasks, one after another, and the bill for each", 40, 105, (), ("f5", "09")),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Meeting:
    """A part of a route: when, which lessons, and what is done."""

    when: str
    lessons: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Route:
    """A way through the suite, meeting by meeting."""

    meetings: tuple[Meeting, ...]

    @property
    def lessons(self) -> tuple[str, ...]:
        """Its lessons, each once, in order."""
        return tuple(dict.fromkeys(name for meeting in self.meetings for name in meeting.lessons))


ROUTES = {
    "Seminar, 90 minutes": Route(
        (
            Meeting("0–20", ("f2",), "the question: noise becomes data; why few steps fail (f1 at home, before)"),
            Meeting("20–70", ("01",), "the answer of one paper, widget by widget: predict first, then move"),
            Meeting("70–90", ("01",), "exercise 01.1 in pairs, and where the method fails"),
        )
    ),
    "Reading group, one week": Route(
        (
            Meeting("Monday", ("f1", "f2"), "both foundations, at home; bring one question each"),
            Meeting("Tuesday", ("01",), "the lesson, then exercises 01.1 and 01.3"),
            Meeting("Wednesday", ("02",), "the lesson; what would a wrong verifier change?"),
            Meeting("Thursday", ("f3", "03"), "what guidance samples, and who turns the knob"),
            Meeting("Friday", ("04",), "a fourth way to the same data: particles that go downhill; which of the four would you use, and for what?"),
        )
    ),
    "Course, twelve weeks": Route(
        (
            Meeting("Week 1", ("f1", "f2"), "distances and diffusion; the machine is ready"),
            Meeting("Week 2", ("01",), "draws in place of means"),
            Meeting("Week 3", ("02",), "drafts and a verifier"),
            Meeting("Week 4", ("f3", "03"), "guidance, exact and learned"),
            Meeting("Week 5", ("04",), "flows down a distance"),
            Meeting("Week 6", ("f4", "05"), "what can be solved need not be learned"),
            Meeting("Week 7", ("f5", "06"), "streams, and a filter that forgets"),
            Meeting("Week 8", ("07",), "networks that lose and regain the ability to learn"),
            Meeting("Week 9", ("08",), "language models that go on learning"),
            Meeting("Week 10", ("09",), "smaller networks from larger ones"),
            Meeting("Week 11", ("10",), "a hundred tasks, and the bill"),
            Meeting("Week 12", (), "projects: one claim of a lesson, on data of your own"),
        )
    ),
}  # fmt: skip
EVERYTHING = "everything"


def stands_on(name: str) -> list[Lesson]:
    """A lesson with all that it needs, in an order in which they can be done.

    Raises:
        ValueError: a lesson that does not exist.
    """
    require(name in LESSONS, "name", repr(name), "one of " + ", ".join(LESSONS))
    found: dict[str, Lesson] = {}

    def visit(one: str) -> None:
        for needed in LESSONS[one].needs:
            visit(needed)
        found.setdefault(one, LESSONS[one])

    visit(name)
    return list(found.values())


def _names(ids: tuple[str, ...]) -> str:
    return ", ".join(ids) or "–"


def lesson_table() -> str:
    """All lessons, in Markdown: what one will see, what to do first (in brackets: what helps), minutes to read and for
    the exercises."""
    lines = ["| lesson | you will see | first | minutes |", "|---|---|---|---|"]
    for part in (FOUNDATIONS, SAMPLES, DATA, TASKS):
        lines.append(f"| **{part}** | | | |")
        for one in (lesson for lesson in LESSONS.values() if lesson.part == part):
            helped = f" ({_names(one.helped_by)})" if one.helped_by else ""
            first = f"{_names(one.needs)}{helped}".removeprefix("– ")
            lines.append(f"| {one.id} {one.link} | {one.sight} | {first} | {one.read} + {one.exercises} |")
    return "\n".join(lines)


def route_table(name: str) -> str:
    """A route, meeting by meeting, in Markdown."""
    lines = ["| when | lessons | what |", "|---|---|---|"]
    for meeting in ROUTES[name].meetings:
        links = ", ".join(f"[{one}]({LESSONS[one].stem}.ipynb)" for one in meeting.lessons) or "–"
        lines.append(f"| {meeting.when} | {links} | {meeting.what} |")
    return "\n".join(lines)


# --- the map ------------------------------------------------------------------------------------------------------

PLACES = {"f1": 0.5, "f2": 2.0, "f3": 3.5, "f4": 5.4, "f5": 7.4}
_METHODS = [one.id for part in (SAMPLES, DATA, TASKS) for one in LESSONS.values() if one.part == part]
PLACES |= {name: float(place) for place, name in enumerate(_METHODS)}
LEFT, RIGHT, WIDTH, HEIGHT = 0.0, 4.4, 3.3, 0.8


def map_figure(route: str = EVERYTHING) -> figures.Picture:
    """The map: foundations on the left, methods on the right, a line from what is needed; a route stands out.

    Raises:
        ValueError: a route that does not exist.
    """
    require(route in (EVERYTHING, *ROUTES), "route", repr(route), "one of " + ", ".join((EVERYTHING, *ROUTES)))
    chosen = tuple(LESSONS) if route == EVERYTHING else ROUTES[route].lessons
    figure, (axes,) = figures.panels(1, size=(4.8, 7.0))  # narrow: legible on a phone
    for one in LESSONS.values():
        for needed in one.needs:
            inside = needed in chosen and one.id in chosen
            colour, width, opacity = (figures.LEARNED, 1.6, 0.8) if inside else (figures.EXACT, 0.8, 0.45)
            axes.plot(*_curve(needed, one.id), color=colour, linewidth=width, alpha=opacity)
    for one in LESSONS.values():
        _draw_box(axes, one, one.id in chosen)
    for part, place in ((SAMPLES, "01"), (DATA, "05"), (TASKS, "09")):
        axes.text(RIGHT + WIDTH + 0.15, PLACES[place] - 0.4, part, rotation=-90, va="top", color="#6b6b6b")
    axes.set(xlim=(LEFT - 0.5, RIGHT + WIDTH + 0.6), ylim=(9.6, -0.6))
    axes.axis("off")
    names = ", ".join(chosen)
    alt = f"Five foundations on the left, ten methods on the right, joined where one needs the other. {route.capitalize()}: {names}."
    return figures.describe(figure, alt)


def _left(name: str) -> float:
    return LEFT if LESSONS[name].part == FOUNDATIONS else RIGHT


def _curve(needed: str, one: str, points: int = 30) -> tuple[list[float], list[float]]:
    """From the right end of one box to the left end of the other, level at both; within a column round its left side."""
    start, end = (_left(needed), PLACES[needed]), (_left(one), PLACES[one])
    steps = [k / (points - 1) for k in range(points)]
    level = [3 * s**2 - 2 * s**3 for s in steps]
    heights = [start[1] + (end[1] - start[1]) * each for each in level]
    if start[0] == end[0]:
        return [start[0] - 0.35 * 4 * s * (1 - s) for s in steps], heights
    return [start[0] + WIDTH + (end[0] - start[0] - WIDTH) * s for s in steps], heights


def _draw_box(axes, one: Lesson, chosen: bool) -> None:
    left, place = _left(one.id), PLACES[one.id]
    face, edge = (figures.LEARNED, figures.LEARNED) if chosen else ("none", figures.EXACT)
    box = FancyBboxPatch(
        (left, place - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.16",
        facecolor=face, edgecolor=edge, alpha=0.9 if chosen else 1.0, zorder=3,
    )  # fmt: skip
    axes.add_patch(box)
    label = textwrap.fill(f"{one.id} · {one.title}", 19, break_on_hyphens=False)
    axes.text(
        left + 0.14, place, label, va="center", fontsize=10.5, linespacing=1.0, zorder=4,
        color="white" if chosen else figures.INK,
    )  # fmt: skip

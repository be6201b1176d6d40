"""The map says what the lessons say: minutes, what is needed, and the routes of `00_start_here`."""

import re

import pytest
from subjects import FOUNDATIONS, LESSONS, NOTEBOOKS, START, read

from companion.teaching import curriculum
from companion.teaching.curriculum import EVERYTHING, ROUTES, stands_on

each_lesson = pytest.mark.parametrize("one", curriculum.LESSONS.values(), ids=lambda one: one.id)
each_route = pytest.mark.parametrize("name", ROUTES)


def opening(one):
    return read(NOTEBOOKS / f"{one.stem}.py").cells[0].source


def text_of_start():
    return "\n\n".join(cell.source for cell in read(START).cells if cell.cell_type == "markdown")


def test_it_knows_every_lesson():
    assert [one.stem for one in curriculum.LESSONS.values()] == [path.stem for path in LESSONS]
    assert all(one.stem.startswith(f"{name}_") for name, one in curriculum.LESSONS.items())


@each_lesson
def test_its_minutes_are_those_that_the_lesson_announces(one):
    read_, exercises = re.search(r"\*\*Minutes\*\*: (\d+) to read, .*?(\d+) for the exercises", opening(one)).groups()
    assert (int(read_), int(exercises)) == (one.read, one.exercises)


@each_lesson
def test_what_it_needs_comes_first_and_is_needed_for_something(one):
    order = [each.id for each in stands_on(one.id)]
    assert order[-1] == one.id
    for place, name in enumerate(order):
        assert set(curriculum.LESSONS[name].needs) <= set(order[:place])
    assert not set(one.needs) & set(one.helped_by)


@pytest.mark.parametrize("path", FOUNDATIONS, ids=lambda path: path.stem)
def test_a_foundation_names_the_lessons_that_need_it(path):
    (needed_by,) = re.findall(r"\*\*Needed by\*\*.*", read(path).cells[0].source)
    named = set(re.findall(r"\(([f\d]\d)_\w+\.ipynb\)", needed_by))
    own = path.stem[:2]
    assert named >= {one.id for one in curriculum.LESSONS.values() if own in one.needs and one.id.isdigit()}
    for name in named:
        assert own in [each.id for each in stands_on(name)] + list(curriculum.LESSONS[name].helped_by)


@each_route
def test_a_route_brings_what_its_lessons_need_before_them_or_at_once(name):
    met = []
    for meeting in ROUTES[name].meetings:
        for lesson in meeting.lessons:
            met.append(lesson)
            if name != "Seminar, 90 minutes":  # there is no time for all of it
                assert set(curriculum.LESSONS[lesson].needs) <= set(met)


def test_the_course_takes_everything():
    assert set(ROUTES["Course, twelve weeks"].lessons) == set(curriculum.LESSONS)
    assert len(ROUTES["Course, twelve weeks"].meetings) == 12


def test_the_first_notebook_has_the_tables():
    text = text_of_start()
    for table in (curriculum.lesson_table(), *map(curriculum.route_table, ROUTES)):
        assert table in text


@pytest.mark.parametrize("route", [EVERYTHING, *ROUTES])
def test_the_map_has_a_box_for_each_lesson_and_fills_those_of_the_route(route):
    figure = curriculum.map_figure(route)
    (axes,) = figure.axes
    filled = [patch.get_facecolor()[3] > 0 for patch in axes.patches]
    chosen = curriculum.LESSONS if route == EVERYTHING else ROUTES[route].lessons
    assert len(filled) == len(curriculum.LESSONS)
    assert sum(filled) == len(chosen)
    assert route.split(",")[0].lower() in figure.alt.lower()


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="name is '99', but must be one of f1, f2"):
        stands_on("99")
    with pytest.raises(ValueError, match="route is 'home', but must be one of everything, Seminar"):
        curriculum.map_figure("home")

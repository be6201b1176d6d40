"""What makes the notebooks: light pairs, stubs for solutions, and nbval's eyes. On a tiny lesson, made here."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from subjects import ROOT

from companion.__main__ import lesson_functions
from companion.classroom import light, sync
from companion.classroom.students import stub, write_students

LESSON = """# %% [markdown]
# # Tiny

# %% tags=["parameters"]
PROFILE = "lesson"

# %%
import sys
print("one", end=" ")
print("bar", file=sys.stderr)
print("two")

# %% tags=["claim"]
from companion.teaching.claims import claim
claim("it holds", True, 0.5)

# %%
import ipywidgets
ipywidgets.IntSlider()

# %%
import matplotlib.pyplot as plt
figure = plt.figure()

# %%
print(object())
object.__new__(type("Thing", (), {"__repr__": object.__repr__}))
"""

EXERCISE = '''# %% [markdown]
# # Exercises

# %% tags=["exercise"]
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    y = 2 * x
    return y
    ### END SOLUTION

# %% [markdown] tags=["solution"]
# Twice is two times.

# %% tags=["check"]
print(double(2))
'''


@pytest.fixture
def repository(tmp_path) -> Path:
    exercises = tmp_path / "notebooks" / "exercises"
    exercises.mkdir(parents=True)
    (tmp_path / "notebooks" / "01_tiny.py").write_text(LESSON)
    (exercises / "01_tiny.py").write_text(EXERCISE)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.ipynb"))}


def test_a_stub_stands_where_the_solution_was():
    code = "def f(x):\n    y = 1\n    ### BEGIN SOLUTION\n    y = 2\n\n    z = 3\n    ### END SOLUTION\n    return y"
    assert stub(code) == "def f(x):\n    y = 1\n    ...  # your code here\n    return y"
    assert stub("x = 1") == "x = 1"


def test_a_stub_keeps_two_solutions_apart():
    one = "### BEGIN SOLUTION\nx = 1\n### END SOLUTION"
    assert stub(f"{one}\ny = 0\n{one}") == "...  # your code here\ny = 0\n...  # your code here"


@pytest.mark.parametrize(
    "code",
    [
        "### BEGIN SOLUTION\nx = 1",
        "x = 1\n### END SOLUTION",
        "### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION",
    ],
)
def test_a_solution_that_is_not_marked_at_both_ends_is_refused(code):
    with pytest.raises(ValueError, match="must"):
        stub(code)


def test_a_student_notebook_has_no_solution_and_is_the_same_twice(repository, tmp_path):
    first, second = (write_students(repository / "notebooks" / "exercises", tmp_path / name)[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    notebook = nbformat.read(first, as_version=4)
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells] == [
        "# Exercises",
        'def double(x):\n    """Twice x."""\n    ...  # your code here',
        "print(double(2))",
    ]
    assert all(cell.execution_count is None and cell.outputs == [] for cell in light.code_cells(notebook))


@pytest.mark.slow
def test_sync_writes_light_notebooks_and_then_nothing(repository):
    said = []
    written = sync.sync(repository, say=said.append)
    assert {path.relative_to(repository).as_posix() for path in written} == {
        "notebooks/01_tiny.ipynb",
        "notebooks/exercises/01_tiny.ipynb",
        "notebooks/student/01_tiny.ipynb",
    }
    notebook = nbformat.read(repository / "notebooks" / "01_tiny.ipynb", as_version=4)
    nbformat.validate(notebook)
    outputs = [cell.outputs for cell in light.code_cells(notebook)]
    assert [cell.execution_count for cell in light.code_cells(notebook)] == [1, 2, 3, 4, 5, 6]
    assert outputs[1] == [{"output_type": "stream", "name": "stdout", "text": "one two\n"}]
    assert outputs[2][0].text == "✓ it holds [0.5]\n"
    assert outputs[3] == []
    assert set(outputs[4][0].data) == {"text/plain"}
    assert outputs[5][0].text == "<object object at 0x>\n"
    assert outputs[5][1].data["text/plain"] == "<__main__.Thing object at 0x>"
    assert set(notebook.metadata) == {"kernelspec", "language_info", "companion"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)

    assert sync.drift(repository) == []
    assert sync.sync(repository, say=said.append) == []
    before = contents(repository)
    assert sync.sync(repository, force=True, say=said.append) == []
    assert contents(repository) == before


@pytest.mark.slow
def test_sync_of_one_lesson_leaves_the_others_alone(repository):
    (repository / "notebooks" / "02_other.py").write_text(LESSON)
    written = sync.sync(repository, say=lambda line: None, lessons=["02"])
    assert [path.name for path in written if path.parent.name != "student"] == ["02_other.ipynb"]
    assert sync.drift(repository) == [
        "notebooks/01_tiny.py has no pair.",
        "notebooks/exercises/01_tiny.py has no pair.",
    ]


def test_sync_of_an_unknown_lesson_is_refused_in_one_sentence(repository):
    with pytest.raises(ValueError, match=r"^lessons is 99, but must be among 01\.$"):
        sync.sync(repository, lessons=["99"])


@pytest.mark.slow
def test_drift_is_found_and_only_code_runs_again(repository):
    sync.sync(repository, say=lambda line: None)
    lesson, said = repository / "notebooks" / "01_tiny.py", []

    lesson.write_text(LESSON.replace("# # Tiny", "# # Small"))
    assert sync.drift(repository) == ["notebooks/01_tiny.py has other cells than its pair."]
    sync.sync(repository, say=said.append)
    assert said == ["wrote notebooks/01_tiny.ipynb"]

    lesson.write_text(LESSON.replace('"two"', '"three"'))
    assert "other code" in sync.drift(repository)[0]
    sync.sync(repository, say=said.append)
    assert said[1:] == ["executing notebooks/01_tiny.py", "wrote notebooks/01_tiny.ipynb"]

    student = repository / "notebooks" / "student" / "01_tiny.ipynb"
    student.write_text(student.read_text().replace("Twice x", "Thrice x"))
    (repository / "notebooks" / "02_gone.ipynb").write_text(student.read_text())
    assert sync.drift(repository) == [
        "notebooks/student/01_tiny.ipynb is not what its exercises give.",
        "notebooks/02_gone.ipynb has no source.",
    ]
    sync.sync(repository, say=said.append)
    assert sync.drift(repository) == []


@pytest.mark.slow
def test_what_jupyterlab_saves_is_no_drift_in_use(repository):
    sync.sync(repository, say=lambda line: None)
    pair, student = (repository / "notebooks" / name for name in ("01_tiny.ipynb", "student/01_tiny.ipynb"))
    saved = nbformat.read(pair, 4)
    saved.metadata["language_info"] = {"name": "python", "version": "3"}
    light.code_cells(saved)[0].outputs = [nbformat.v4.new_output("stream", text="once more")]
    nbformat.write(saved, pair)
    student.write_text(student.read_text().replace("Twice x", "Thrice x"))
    assert len(sync.drift(repository)) == 2
    assert sync.drift(repository, in_use=True) == []
    saved.cells[0].source += " And more."
    nbformat.write(saved, pair)
    assert sync.drift(repository, in_use=True) == ["notebooks/01_tiny.py has other cells than its pair."]


@pytest.mark.slow
def test_a_notebook_that_fails_does_not_stop_the_others(repository):
    lesson, said = repository / "notebooks" / "01_tiny.py", []
    lesson.write_text(LESSON.replace("True", "False"))
    with pytest.raises(sync.SyncFailed, match=r"notebooks/01_tiny\.py"):
        sync.sync(repository, say=said.append)
    assert any("ClaimFailed" in line for line in said)
    assert [path for path in contents(repository) if "01_tiny" in path] == [
        "notebooks/exercises/01_tiny.ipynb",
        "notebooks/student/01_tiny.ipynb",
    ]


@pytest.mark.slow
def test_an_error_in_a_widgets_callback_is_found(repository):
    hidden = "# %%\nimport ipywidgets\nipywidgets.interact(lambda x: 1 / x, x=(0, 1), continuous_update=False);\n"
    lesson = repository / "notebooks" / "01_tiny.py"
    lesson.write_text(hidden)
    with pytest.raises(light.NotebookError, match="ZeroDivisionError"):
        light.execute(light.read_source(lesson), lesson.parent)


def test_a_change_in_a_module_that_a_notebook_uses_counts():
    used = sync.used_modules("from companion.methods import distributional")
    assert {"companion.methods.distributional", "companion.foundations.diffusion"} <= used
    assert not any(name.startswith("companion.teaching") for name in used)
    source = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")])
    assert light.code_key(source, "one hash") != light.code_key(source, "another")


def nbval(notebook: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", str(notebook), "--nbval", "-p", "tests.notebooks.nbval_light", "-q"]
    command += ["-p", "no:cacheprovider", "--nbval-sanitize-with", "tests/notebooks/sanitize.cfg"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_nbval_passes_other_digits_and_refuses_other_words(repository):
    sync.sync(repository, say=lambda line: None)
    lesson = repository / "notebooks" / "01_tiny.ipynb"
    text = lesson.read_text()
    other_digits = text.replace("it holds [0.5]", "it holds [0.7]")
    assert other_digits != text
    for name, changed, code in [("digits", other_digits, 0), ("words", text.replace("✓ it holds", "✓ it fell"), 1)]:
        copy = repository / f"{name}.ipynb"
        copy.write_text(changed)
        result = nbval(copy)
        assert result.returncode == code, result.stdout
    shutil.rmtree(repository)


def test_claims_and_checkpoints_are_found_in_the_lessons():
    assert "distributional_diffusion.rebuild_checkpoints" in dict(lesson_functions("rebuild_checkpoints"))
    compared = dict(lesson_functions("compare"))
    assert compared
    assert not any("unit" in name for name in compared)
    with pytest.raises(SystemExit, match="must be among"):
        dict(lesson_functions("compare", ["no_such_lesson"]))

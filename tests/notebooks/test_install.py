"""The book's page on installing says what works, and what make makes needs neither this folder nor a home that can be written."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from subjects import ROOT

from companion import readiness

PAGE = (ROOT / "book" / "install.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.S))


def make(*arguments, more="", **variables):
    """Call make, with rules beside the Makefile's."""
    command = ["make", "--no-print-directory", "-f", "Makefile", "-f", "-", *map(str, arguments)]
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    return subprocess.run(command, cwd=ROOT, env=environment, input=more, capture_output=True, text=True, check=False)


def value_of(name):
    """A variable of the Makefile, as its recipes see it."""
    return make("value", more=f"value:\n\t@printf '%s' '$({name})'\n").stdout


@pytest.fixture
def homeless(tmp_path):
    """Variables of a user whose home folder cannot be written: a file is in its place."""
    (tmp_path / "home").touch()
    kept = {name: value for name, value in os.environ.items() if not re.match("JUPYTER|IPYTHON|MPL|XDG|HOME", name)}
    return kept | {"HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}


# -- the page ------------------------------------------------------------------------------------------


def test_commands_of_make_exist_with_their_variables():
    for target, variables in re.findall(r"^make ([a-z-]+)(.*)$", COMMANDS, flags=re.M):
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.M), target
        for name in re.findall(r"\b([A-Z_]+)=", variables):
            assert re.search(rf"^{name} [?:]?=", MAKEFILE, flags=re.M), name


def test_pip_and_conda_install_what_make_installs():
    lab, everything = re.findall(r'\$\(INSTALL\) -e "(\.\[lab[^"]*\])"', MAKEFILE)[:2]
    assert f'pip install -c constraints.txt -e "{lab}"' in COMMANDS
    assert "pip install --disable-pip-version-check -c constraints.txt" in MAKEFILE
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert conda["dependencies"][-1]["pip"] == ["-c constraints.txt", f"-e {everything}"]
    assert f"conda activate {conda['name']}" in COMMANDS


def test_versions_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (oldest, newest) = (".".join(map(str, version)) for version in (readiness.OLDEST, readiness.NEWEST))
    assert project["project"]["requires-python"] == f">={oldest}"
    assert re.search(rf"need Python {oldest}, \S+ or {newest},", PAGE)
    (torch,) = re.findall(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.M)
    assert f"install torch {torch} into it" in PAGE
    assert f"(3, {oldest.partition('.')[2]})" in MAKEFILE


# -- what cannot be written ----------------------------------------------------------------------------


def test_make_empties_no_folder(tmp_path):
    (tmp_path / "mine").touch()
    done = make("lab", f"VENV={tmp_path}")
    assert done.returncode != 0
    assert "must be new, empty or an environment" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_make_says_what_to_do_where_it_cannot_write(tmp_path):
    (tmp_path / "file").touch()
    done = make("lab", f"VENV={tmp_path}/file/venv")
    assert done.returncode != 0
    assert "make lab VENV=/a/folder/of/yours" in done.stdout


def test_a_read_only_folder_gets_its_requirements_and_a_way_to_the_package(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    run = [sys.executable, "-c"]
    required = subprocess.run([*run, value_of("REQUIRED")], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert required.splitlines() == project["dependencies"] + project["optional-dependencies"]["lab"]
    elsewhere = f"import sysconfig; sysconfig.get_path = lambda name: {str(tmp_path)!r}; "
    subprocess.run([*run, elsewhere + value_of("LEAD_HERE")], cwd=ROOT, check=True)
    assert [path.read_text(encoding="utf-8").strip() for path in tmp_path.glob("*.pth")] == [str(ROOT)]


@pytest.mark.slow
def test_jupyterlab_starts_by_make_without_a_home(homeless, tmp_path):
    names = "JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR IPYTHONDIR MPLCONFIGDIR"
    shown = make("show", f"VENV={tmp_path}/venv", more=f"show:\n\t@for n in {names}; do printenv $$n; done\n").stdout
    folders = dict(zip(names.split(), shown.splitlines(), strict=True))
    assert all(folder.startswith(f"{tmp_path}/venv/") for folder in folders.values())
    command = [sys.executable, "-m", "companion", "lab", "--", "--no-browser", "--ServerApp.port=0"]
    with subprocess.Popen(command, cwd=ROOT, env=homeless | folders, stderr=subprocess.PIPE, text=True) as lab:
        said = []
        for line in lab.stderr:
            said.append(line)
            if "is running at" in line:
                break
        lab.terminate()
    assert "is running at" in said[-1], "".join(said)


@pytest.mark.slow
def test_a_notebook_runs_and_a_pack_is_written_without_a_home(homeless, tmp_path):
    code = (
        "import sys, nbformat; from pathlib import Path; from companion.__main__ import main; "
        "from companion.classroom.light import execute; "
        "cell = nbformat.v4.new_code_cell('from companion.teaching import begin; print(begin().profile)'); "
        "ran = execute(nbformat.v4.new_notebook(cells=[cell]), Path(sys.argv[1])); print(*[each.text for each in ran.cells[0].outputs]); "
        "sys.exit(main(['students', '--out', sys.argv[1] + '/pack']))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=homeless, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "lesson\n" in done.stdout
    assert (tmp_path / "pack" / "README.md").exists()

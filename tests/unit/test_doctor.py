"""The doctor names what is wrong and the command that mends it. Each state is made, not told, where a test can make it."""

import ast
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from companion import doctor, readiness
from companion.__main__ import main
from companion.doctor import FINE, NOTE, ROOT, WRONG
from companion.teaching import checkpoints, results

pytestmark = pytest.mark.enable_socket  # a port is free if it can be opened


@pytest.fixture
def by_make(tmp_path, monkeypatch):
    """A folder whose environment, this one, make has made."""
    monkeypatch.setattr(doctor, "in_environment", lambda: True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "made" / ".venv"))
    (tmp_path / "made" / ".venv").mkdir(parents=True)
    for name in ("Makefile", ".venv/.created"):
        (tmp_path / "made" / name).touch()
    return tmp_path / "made"


def only(check, *arguments):
    """The one finding of a check."""
    (finding,) = check(*arguments)
    return finding


@pytest.fixture
def checkout(tmp_path):
    """A folder with the first notebook and its source, and a Makefile."""
    (tmp_path / "notebooks").mkdir()
    for ending in ("py", "ipynb"):
        shutil.copy(ROOT / "notebooks" / f"00_start_here.{ending}", tmp_path / "notebooks")
    (tmp_path / "Makefile").touch()
    return tmp_path


# -- the whole -----------------------------------------------------------------------------------------


def test_this_machine_is_ready(capsys):
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Python 3.")
    assert "\n  torch " in told
    assert "\n  the kernel python3 is this Python, and finds companion\n" in told
    assert "stored results and trained models are of the code that is here\n" in told
    assert "\nwrong:" not in told
    assert told.splitlines()[-1].startswith("Ready: `")


def test_a_bare_python_is_told_what_to_do():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-m", "companion", "doctor"]  # -S leaves out all that is installed
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"wrong:  Not installed: {', '.join(readiness.NEEDED.values())}.\n" in done.stdout
    assert "in this folder.\n" in done.stdout
    assert "Not ready: 1 to mend. Then ask again: `" in done.stdout


@pytest.mark.parametrize("name", ["__init__", "__main__", "doctor", "readiness"])
def test_an_old_python_can_read_what_it_needs_to_say_that_it_is_old(name):
    text = (ROOT / "companion" / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    annotated = any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree))
    assert "from __future__ import annotations" in text or not annotated


def test_one_mending_stands_below_all_that_it_mends(monkeypatch):
    found = [doctor.Finding(WRONG, "One", "Run `it`"), doctor.Finding(WRONG, "Two", "Run `it`")]
    monkeypatch.setattr(doctor, "checkup", lambda root: [*found, doctor.Finding(FINE, "three")])
    told = []
    assert not doctor.report(say=told.append)
    assert told[1:-1] == ["wrong:  One.", "wrong:  Two.", "        Run `it`.", "  three"]


def test_a_check_that_stops_is_a_finding(checkout):
    source = checkout / "notebooks" / "00_start_here.py"
    source.write_text(source.read_text() + "\n# %%\nif this is not Python\n")
    found = [finding for finding in doctor.checkup(checkout) if "stopped" in finding.told]
    assert [finding.level for finding in found] == [WRONG]
    assert found[0].told.startswith("The check of notebooks stopped with SyntaxError: ")
    assert found[0].mend == "Run `git status companion notebooks` to see what was edited"


# -- Python and its environment ------------------------------------------------------------------------


def test_an_old_python_ends_the_visit(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    finding = only(doctor.checkup)
    assert finding.level == WRONG
    assert "but 3.11 or newer is needed" in finding.told
    assert finding.mend == "Install Python 3.11 to 3.13, then run `make lab PYTHON=/path/to/python3.13`"
    assert main(["sync", "--check"]) == 1
    assert "but 3.11 or newer is needed." in capsys.readouterr().err


def test_a_python_that_is_newer_than_tested_is_no_obstacle(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    finding = next(doctor.python(tmp_path))
    assert finding.level == NOTE
    assert "is newer than what is tested, which ends with 3.13" in finding.told
    assert "install Python 3.13" in finding.mend


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_another_active_environment_is_named(variable, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, "/some/where else")
    finding = only(doctor.python, tmp_path)
    assert finding.level == NOTE
    assert f"({variable}) is /some/where else, but this Python is that of " in finding.told
    assert finding.mend == "For that one run `'/some/where else'/bin/python -m companion doctor`"


def test_an_environment_in_the_folder_that_this_is_not_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    finding = only(doctor.python, tmp_path)
    assert finding.told.startswith("This folder has an environment of its own, .venv, but")
    assert finding.mend == "For that one run `.venv/bin/python -m companion doctor`"


def test_make_opens_the_environment_that_it_made(by_make, tmp_path):
    assert doctor.by_make(by_make)
    assert doctor.make_lab(by_make) == "make lab"
    assert doctor.make_lab(tmp_path) == f"make lab VENV={by_make}/.venv"
    (by_make / ".venv" / ".created").unlink()
    assert not doctor.by_make(by_make)  # somebody's own, made without make


# -- packages ------------------------------------------------------------------------------------------


def test_what_is_not_installed_is_named_and_what_needs_it_waits(monkeypatch, tmp_path):
    monkeypatch.setitem(readiness.NEEDED, "no_such_module", "no-such-package")
    (tmp_path / "constraints.txt").touch()
    told = []
    assert not doctor.report(tmp_path, told.append)
    at = told.index("wrong:  Not installed: no-such-package.")
    assert told[at + 1].startswith("        Run `")
    assert told[at + 1].endswith('-m pip install -c constraints.txt -e ".[lab]"` in this folder.')
    assert not any("kernel python3" in line for line in told)


def test_what_mends_depends_on_the_folder_and_the_environment(monkeypatch, tmp_path):
    pip = '-m pip install -c constraints.txt -e ".[lab]"'
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    assert (
        doctor.install(tmp_path) == f'{doctor.this_python()} -m pip install "learning-in-motion[lab]"'
    )  # from a wheel
    (tmp_path / "constraints.txt").touch()
    assert doctor.install(tmp_path) == f"{doctor.this_python()} {pip}"
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert doctor.install(tmp_path) == f"{doctor.this_python()} -m venv .venv && .venv/bin/python {pip}"
    assert doctor.install(ROOT) == "make lab"
    monkeypatch.setenv("CONDA_PREFIX", sys.prefix)
    assert doctor.install(ROOT) == f"{doctor.this_python()} {pip}"


def test_other_versions_than_the_tested_are_one_line(tmp_path):
    pins = ["numpy==1.0", "torch==1.0", "jaxtyping==0.1", "scipy==0.5", "no-such-package==1"]
    (tmp_path / "constraints.txt").write_text("\n".join(pins))
    finding = only(doctor.versions, tmp_path)
    assert finding.level == NOTE
    assert "constraints.txt: numpy " in finding.told
    assert " (1.0), " in finding.told
    assert finding.told.endswith(" and 1 more")
    assert '-m pip install -c constraints.txt -e ".[lab]"`' in finding.mend


def fake_torch(available=False, cuda=None, ones=None):
    """What the doctor asks of torch: no test can change the build, or the machine's GPU."""
    fake = ModuleType("torch")
    fake.ones = ones or (lambda number: torch.tensor([1.0] * number))
    fake.version = SimpleNamespace(cuda=cuda)
    fake.cuda = SimpleNamespace(is_available=lambda: available, get_device_name=lambda: "a GPU")
    return fake


def broken(number):
    raise RuntimeError("an instruction that this processor lacks")


@pytest.mark.parametrize(
    ("fake", "gpu", "level", "told", "mend"),
    [
        (fake_torch(), False, FINE, "its build is for the CPU", ""),
        (fake_torch(cuda="13.0"), False, FINE, "its build for CUDA runs on the CPU", ""),
        (fake_torch(True, "13.0"), True, FINE, "torch uses a GPU", ""),
        (fake_torch(), True, NOTE, "but torch's build is for the CPU", "--force-reinstall -c constraints.txt torch`"),
        (fake_torch(cuda="13.0"), True, NOTE, "CUDA 13.0 cannot use: its driver may be too old", "`nvidia-smi`"),
        (fake_torch(ones=broken), False, WRONG, "torch does not compute: an instruction", "--force-reinstall"),
    ],
)
def test_the_build_of_torch(fake, gpu, level, told, mend, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", fake)
    monkeypatch.setattr(doctor, "has_gpu", lambda: gpu)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    finding = only(doctor.torch_build)
    assert finding.level == level
    assert told in finding.told
    assert mend in finding.mend


def test_a_hidden_gpu_is_said_to_be_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", fake_torch(cuda="13.0"))
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert only(doctor.torch_build).told.endswith("cannot use: CUDA_VISIBLE_DEVICES is ''")


# -- kernel --------------------------------------------------------------------------------------------


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """A function that puts a kernel python3 where Jupyter looks first, by JUPYTER_PATH or as the user's own."""

    def write(program, users=False, **variables):
        folder = tmp_path / "jupyter" / "kernels" / "python3"
        folder.mkdir(parents=True)
        spec = {"argv": [str(program)], "display_name": "mine", "language": "python", "env": variables}
        (folder / "kernel.json").write_text(json.dumps(spec))
        monkeypatch.setenv("JUPYTER_DATA_DIR" if users else "JUPYTER_PATH", str(tmp_path / "jupyter"))
        monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
        return folder

    return write


def test_a_users_kernel_that_runs_another_python_is_named(kernels, tmp_path):
    other = tmp_path / "other-python"
    other.write_text("#!/bin/sh\necho /elsewhere\n")
    other.chmod(0o755)
    folder = kernels(other, users=True)
    finding = only(doctor.kernel)
    assert finding.level == WRONG
    assert finding.told == f"The kernel python3 of {folder} runs {other}, not this Python"
    command = "Run `export JUPYTER_PREFER_ENV_PATH=1` before you start Jupyter"
    assert finding.mend.startswith(command)
    assert doctor.mended_kernel(tmp_path, folder) == command


def test_make_needs_no_mended_kernel(by_make, tmp_path):
    assert doctor.mended_kernel(by_make, tmp_path).endswith(", or run `make lab`, which does so")


def test_a_kernel_that_does_not_start_is_named(kernels):
    folder = kernels("/no/such/python")
    finding = only(doctor.kernel)
    assert finding.level == WRONG
    assert finding.told.startswith(f"The kernel python3 of {folder} does not start /no/such/python: ")
    assert finding.mend.startswith("Run `unset JUPYTER_PATH` before you start Jupyter")


def test_our_own_kernel_that_leads_elsewhere_is_made_again():
    own = Path(sys.prefix) / "share" / "jupyter" / "kernels" / "python3"
    assert doctor.mended_kernel(ROOT, own) == f"Run `{doctor.this_python()} -m ipykernel install --sys-prefix`"


@pytest.mark.parametrize(
    ("text", "level", "told"),
    [
        ("raise ImportError('half a package')", WRONG, "does not find companion: ImportError: half a package"),
        ("", NOTE, "Notebooks import companion from "),
    ],
)
def test_a_kernel_with_another_companion_is_named(text, level, told, kernels, tmp_path):
    (tmp_path / "companion").mkdir()
    (tmp_path / "companion" / "__init__.py").write_text(text)
    kernels("python3", PYTHONPATH=str(tmp_path))
    finding = only(doctor.kernel)
    assert finding.level == level
    assert told in finding.told
    assert '-m pip install -c constraints.txt -e ".[lab]"` in this folder' in finding.mend


# -- ports and folders ---------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_named_and_is_no_obstacle(tmp_path, by_make):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = only(doctor.ports, by_make, port)
        assert finding.level == NOTE
        assert finding.told.startswith(f"Port {port} is taken")
        assert "will take the next that is free" in finding.told
        assert "`make lab LAB_ARGS=--port=9000`" in finding.mend
        assert "-m companion lab -- --port=9000`" in only(doctor.ports, tmp_path, port).mend
    assert only(doctor.ports, ROOT, port) == (FINE, f"port {port} is free", "")


def test_a_machine_without_ports_is_named(monkeypatch):
    def refuse(port):  # no test can take the machine's own interface away
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(doctor, "bind", refuse)
    finding = only(doctor.ports)
    assert finding.level == WRONG
    assert "a browser cannot reach JupyterLab: not in this sandbox" in finding.told
    assert "`ip link set lo up`" in finding.mend


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "notebooks").touch()  # a file for a folder: permissions would not keep an administrator out
    finding = next(doctor.folders(tmp_path))
    assert finding.level == NOTE
    assert finding.told.startswith(f"{tmp_path} cannot be written: lessons run")
    assert f"`cp -r {tmp_path} COPY`" in finding.mend


def test_a_home_that_cannot_be_written_is_named(tmp_path, monkeypatch, by_make):
    (tmp_path / "home").touch()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "home" / "jupyter" / "runtime"))
    in_repository, in_pack = only(doctor.folders, by_make), only(doctor.folders, tmp_path)
    assert (in_repository.level, in_pack.level) == (NOTE, WRONG)
    assert "runtime, where Jupyter keeps the files of running kernels, cannot be written" in in_pack.told
    assert in_pack.mend == 'Run `export HOME="$(mktemp -d)"` before you start Jupyter'
    assert in_repository.mend == f"{in_pack.mend}, or run `make lab`, which keeps them elsewhere"


def test_no_folder_for_temporary_files_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "file")])  # /tmp is among them
    finding = only(doctor.folders)
    assert finding.level == WRONG
    assert "export TMPDIR=" in finding.mend


# -- notebooks and what is stored ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("steps = 2", "steps = 3", "00_start_here.py, or a module it uses, has other code than its pair ran with"),
        ("# # Start here", "# # Begin here", "00_start_here.py has other cells than its pair"),
    ],
)
def test_a_source_that_was_edited_is_named(before, after, told, checkout):
    assert only(doctor.notebooks, checkout).level == FINE
    source = checkout / "notebooks" / "00_start_here.py"
    assert before in source.read_text()
    source.write_text(source.read_text().replace(before, after))
    finding = only(doctor.notebooks, checkout)
    assert finding.level == NOTE
    assert finding.told == f"notebooks/{told}"
    assert finding.mend.startswith("Run `make sync` if you edited code")
    assert "What you ran or answered in an .ipynb would be lost" in finding.mend


def test_a_long_list_is_cut(checkout):
    for number in range(5):
        (checkout / "notebooks" / f"0{number}_none.ipynb").touch()
    found = list(doctor.notebooks(checkout))
    assert len(found) == doctor.SHOWN
    assert found[-1].told == "notebooks/02_none.ipynb has no source (and 2 more such)"


def test_a_folder_without_lessons_is_named(tmp_path):
    assert only(doctor.notebooks, tmp_path).told == f"There are no lessons in {tmp_path / 'notebooks'}"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with a result and a checkpoint, and the module that is said to have made them."""
    module = tmp_path / "made_by.py"
    module.write_text("rate = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "files"
    results.store("numbers", [1, 2], ["made_by"], "python made_by.py", folder)
    checkpoints.save_checkpoint(folder / "net-seed0.safetensors", nn.Linear(2, 1), {}, ["made_by"])
    yield SimpleNamespace(folder=folder, module=module)
    sys.modules.pop("made_by", None)


def test_what_is_stored_and_current_is_counted(files):
    finding = only(doctor.stored, ROOT, files.folder)
    assert finding == (FINE, "2 stored results and trained models are of the code that is here", "")


def test_what_other_code_made_is_named(files):
    files.module.write_text("rate = 1000\n")
    sys.modules.pop("made_by", None)
    importlib.invalidate_caches()
    result, model = doctor.stored(ROOT, files.folder)
    assert result.level == WRONG
    assert result.told == "The stored result 'numbers' is stale: its code has changed"
    assert result.mend == "Run `python made_by.py`, or undo the edit"
    assert model.level == NOTE
    assert model.told.startswith("The trained model net-seed0.safetensors is stale")
    assert model.mend == "Run `make checkpoints`, or undo the edit"


def test_what_is_torn_is_named(files):
    for path in files.folder.iterdir():
        path.write_bytes(path.read_bytes()[:40])
    result, model = doctor.stored(ROOT, files.folder)
    assert result.told.startswith("The stored result numbers.json cannot be used: JSONDecodeError: ")
    assert result.mend == "Run `git status companion notebooks` to see what was edited"
    assert "truncated or corrupt" in model.told

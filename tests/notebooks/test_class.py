"""A class on one server: the image, the settings and the load test."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib

import nbformat
import pytest
from subjects import ROOT
from traitlets.config import Config

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SETTINGS = ROOT / "scripts" / "hub" / "jupyter_server_config.py"
HUB = (ROOT / "book" / "hub.md").read_text(encoding="utf-8")


def steps() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with what follows each, continued lines joined."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#")))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def all_of(instruction: str) -> list[str]:
    return [rest for name, rest in steps() if name == instruction]


def settings(monkeypatch, **environment: str) -> tuple[Config, dict[str, str]]:
    """What a server reads from the settings in an environment, and what it makes of the environment."""
    monkeypatch.setattr(os, "environ", environment)
    config = Config()
    runpy.run_path(str(SETTINGS), {"get_config": lambda: config})
    return config, environment


def test_the_image_copies_what_exists_and_no_solutions():
    copied = [shlex.split(rest) for rest in all_of("COPY")]
    sources = [source for line in copied for source in line[:-1] if not source.startswith("--")]
    assert all(any(ROOT.glob(source)) for source in sources)
    held = {
        path.relative_to(ROOT).parts
        for source in sources
        for path in [*ROOT.glob(source), *ROOT.glob(f"{source}/**/*")]
    }
    assert {("notebooks", "01_distributional_diffusion.ipynb"), ("notebooks", "student")} <= held
    assert not any(parts[:2] == ("notebooks", "exercises") or parts[0] in ("tests", ".git") for parts in held)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {(needed["readme"],), *((name,) for name in needed["license-files"] if "/" not in name)} <= held


def test_the_image_installs_the_lock_without_the_tests_and_runs_as_an_ordinary_user():
    (install,) = [rest for rest in all_of("RUN") if "pip install" in rest]
    assert "-c constraints.txt" in install
    assert install.count('-e ".[lab,hub]"') == 1
    order = [name for name, rest in steps() if name in ("RUN", "USER", "CMD")]
    assert order.index("USER") > order.index("RUN")
    assert order[-1] == "CMD"
    assert "RUN" not in order[order.index("USER") :]  # nothing is fetched by the user, or at run time
    assert all_of("USER") == ["${NB_UID}"]
    assert {"NB_USER=student", "NB_UID=1000"} <= set(all_of("ARG"))
    assert all_of("FROM") == ["python:3.11-slim"]
    (command,) = all_of("CMD")
    assert command.startswith('["jupyter", "lab", "--ip=0.0.0.0"')


def test_settings_stop_idle_kernels_and_fetch_nothing(monkeypatch):
    config, environment = settings(monkeypatch)
    kernels = config.MappingKernelManager
    assert 0 < kernels.cull_interval < kernels.cull_idle_timeout <= 3600
    assert kernels.cull_connected
    assert not kernels.cull_busy
    assert config.LabApp.news_url is None
    assert config.LabApp.check_for_updates_class == "jupyterlab.NeverCheckForUpdate"
    assert environment == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(("cores", "threads"), [("0.5", "1"), ("2.0", "2"), ("", "1")])
def test_a_kernel_has_threads_for_its_cores(cores, threads, monkeypatch):
    _, environment = settings(monkeypatch, CPU_LIMIT=cores)
    assert environment["OMP_NUM_THREADS"] == threads


@pytest.mark.slow
def test_a_cell_that_asks_for_more_than_the_container_has_gets_an_error(tmp_path):
    """In a process of its own: limits cannot be lifted."""
    code = f"import runpy; runpy.run_path({str(SETTINGS)!r}, {{'get_config': __import__('traitlets.config').config.Config}})\n"
    code += "import torch\ntry:\n    torch.ones(2**28)\nexcept RuntimeError as error:\n    print('refused')\nelse:\n    print('served')\n"
    for limit, said in {"1073741824": "refused", "8589934592": "served"}.items():
        environment = os.environ | {"MEM_LIMIT": limit}
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert result.stdout == f"{said}\n", result.stderr


@pytest.mark.slow
def test_two_kernels_at_once_are_measured_and_stopped_when_idle(tmp_path):
    cells = [
        'PROFILE = "lesson"',
        "filled = bytearray(150 * 2**20)",
        "import IPython.display; IPython.display.display(PROFILE)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    code, text = load_test(tmp_path, "--notebook", str(tmp_path / "tiny.ipynb"))
    assert code == 0, text
    assert "Students at once: 2, each running `tiny` at `smoke`." in text
    for row in ("PSS", "peak RSS"):
        middle, largest = map(int, re.search(rf"\({row}\) \| (\d+) MiB \| (\d+) MiB", text).groups())
        assert 150 < middle <= largest < 400
    assert "0 failed" in text
    assert "with their notebooks still open: 2 of 2" in text


@pytest.mark.slow
def test_a_cell_that_fails_is_reported(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("pass"), nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    code, text = load_test(tmp_path, "--notebook", str(tmp_path / "broken.ipynb"))
    assert code == 1
    assert "2 failed" in text
    assert "- student 2: cell 1: ZeroDivisionError: division by zero" in text


def load_test(folder, *arguments: str) -> tuple[int, str]:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "load_test.py"),
        "--students=2",
        "--profile=smoke",
        "--idle-seconds=10",
    ]
    result = subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    return result.returncode, result.stdout + result.stderr


def test_the_hubs_settings_in_the_book_are_python_that_a_hub_can_read():
    blocks = re.findall(r"```python\n(.*?)```", HUB, flags=re.DOTALL)
    assert len(blocks) == 1
    config = Config()
    exec(compile(blocks[0], "hub.md", "exec"), {"c": config})
    assert config.DockerSpawner.image == "learning-in-motion"
    assert config.DockerSpawner.mem_limit.endswith("G")
    assert config.DockerSpawner.cmd == ["jupyterhub-singleuser"]
    (lessons,) = config.DockerSpawner.volumes.values()
    assert lessons in all_of("WORKDIR")

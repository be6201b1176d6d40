"""Imports point one way, and the methods need nothing of Jupyter."""

import pkgutil
import subprocess
import sys

import pytest
from subjects import ROOT

import companion.methods

METHODS = [module.name for module in pkgutil.walk_packages(companion.methods.__path__, "companion.methods.")]
NOT_FOR_METHODS = (
    "matplotlib",
    "ipywidgets",
    "anywidget",
    "sklearn",
    "IPython",
    "safetensors",
    "tqdm",
    "PIL",
    "companion.teaching",
)


def lint(folder) -> subprocess.CompletedProcess:
    run = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", run, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_imports_point_one_way():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.slow
def test_a_method_that_imports_teaching_is_refused(tmp_path):
    import shutil

    shutil.copytree(ROOT / "companion", tmp_path / "companion", ignore=shutil.ignore_patterns("files", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "companion" / "methods" / "distributional.py").open("a") as method:
        method.write("\nfrom companion.teaching import claim\n")
    result = lint(tmp_path)
    assert result.returncode != 0
    assert "companion.methods.distributional -> companion.teaching" in result.stdout


def test_methods_need_only_torch_numpy_and_jaxtyping():
    loaded = loaded_by(*METHODS) - loaded_by("torch", "numpy", "jaxtyping")
    assert set(METHODS) <= loaded
    assert {name for name in loaded if name.startswith(NOT_FOR_METHODS)} == set()


def loaded_by(*names: str) -> set[str]:
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())

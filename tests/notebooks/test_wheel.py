"""The wheel holds the package and its data, and the methods in it run where only torch, numpy and jaxtyping are."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from subjects import ROOT

from companion import __version__

NAME = f"learning_in_motion-{__version__}"
SOURCES = ("pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
BARRIER = '''
import sys

folder, allowed = sys.argv[1], set(sys.argv[2].split()) | sys.stdlib_module_names | {"companion"}


class Barrier:
    """A finder of modules that knows of the allowed ones only, as if nothing else were installed."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return self.finder.find_spec(name, path, target) if name.partition(".")[0] in allowed else None


sys.meta_path[:] = map(Barrier, sys.meta_path)
sys.path.insert(0, folder)
'''
ALL_METHODS = """
import importlib
import pkgutil

import companion

loaded = [importlib.import_module(f"companion.{part}") for part in ("foundations", "data", "methods")]
loaded += [importlib.import_module(found.name) for part in loaded
           for found in pkgutil.walk_packages(part.__path__, f"{part.__name__}.")]
assert all(module.__file__.startswith(folder) for module in loaded)

import torch
from companion.foundations.diffusion import time_grid
from companion.methods.speculative import speculative_sample


def denoiser(x, t):
    clean, noise = 1 - t[:, None], t[:, None]
    return clean * x / (clean**2 + noise**2)


run = speculative_sample(denoiser, torch.randn(100, 3), time_grid(20), window=4)
print(len(loaded), run.sample.shape[0])
"""
DOCTOR = """
import runpy

sys.argv = ["companion", "doctor"]
runpy.run_module("companion", run_name="__main__", alter_sys=True)
"""


def build(what: str, source: Path, out: Path) -> Path:
    """Let setuptools make a "wheel" or an "sdist" of `source`, without the network."""
    command = [sys.executable, "-c", BUILD, f"build_{what}", str(out)]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return out / result.stdout.split()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory, tracked) -> Path:
    """What a wheel is made of; a build writes beside it."""
    folder = tmp_path_factory.mktemp("source") / "with a space"
    for path in tracked:
        name = path.relative_to(ROOT)
        if name.parts[0] == "companion" or str(name) in SOURCES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel's files, as pip lays them."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def package_files(tracked) -> set[str]:
    names = {path.relative_to(ROOT).as_posix() for path in tracked}
    return {name for name in names if name.startswith("companion/")}


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(wheel, tracked):
    assert wheel.name == f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if not name.startswith(f"{NAME}.dist-info/")} == package_files(tracked)


def test_the_source_archive_holds_it_too(source, tmp_path, tracked):
    with tarfile.open(build("sdist", source, tmp_path)) as archive:
        names = {member.name.removeprefix(f"{NAME}/") for member in archive if member.isfile()}
    assert package_files(tracked) | set(SOURCES) <= names
    assert not any(name.startswith(("tests/", "notebooks/")) for name in names)


def test_the_wheel_carries_its_version_and_licences(installed, tracked):
    about = metadata.PathDistribution(installed / f"{NAME}.dist-info")
    assert about.version == __version__
    assert about.metadata["License-Expression"] == "MIT AND CC-BY-4.0"
    licences = {path.relative_to(ROOT).as_posix() for path in tracked if path.name in ("LICENSE", "LICENSES.md")}
    assert set(about.metadata.get_all("License-File")) == licences
    for name in licences:
        assert (installed / f"{NAME}.dist-info" / "licenses" / name).read_text() == (ROOT / name).read_text()
    core = {Requirement(line).name for line in about.requires if "extra ==" not in line}
    assert core == {"torch", "numpy", "jaxtyping"}


def run_alone(installed: Path, code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run code with the wheel's package, elsewhere, where only what the package requires can be imported."""
    command = [sys.executable, "-I", "-c", BARRIER + code, str(installed), " ".join(required_modules())]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def required_modules() -> set[str]:
    """The top-level modules of torch, numpy, jaxtyping and all that they require here."""
    found, waiting = set(), ["torch", "numpy", "jaxtyping"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            lines = map(Requirement, metadata.requires(name) or [])
            waiting += [line.name for line in lines if line.marker is None or line.marker.evaluate({"extra": ""})]
    modules = metadata.packages_distributions().items()
    return {module for module, owners in modules if found & set(map(canonicalize_name, owners))}


def test_methods_and_data_import_and_run_beside_torch_numpy_and_jaxtyping_alone(installed, tmp_path):
    assert "scipy" not in required_modules()
    result = run_alone(installed, ALL_METHODS, tmp_path)
    assert result.returncode == 0, result.stderr
    modules, samples = map(int, result.stdout.split())
    assert modules > 50
    assert samples == 100


def test_the_barrier_refuses_everything_else(installed, tmp_path):
    for name in ("scipy", "matplotlib.pyplot", "sklearn", "IPython"):
        result = run_alone(installed, f"import {name}", tmp_path)
        assert f"No module named '{name.partition('.')[0]}" in result.stderr


def test_the_doctor_says_what_is_missing(installed, tmp_path):
    result = run_alone(installed, DOCTOR, tmp_path)
    assert result.returncode == 1, result.stderr
    assert "torch 2" in result.stdout
    assert re.search(r"Not installed: matplotlib, .*scikit-learn", result.stdout)
    assert '-m pip install "learning-in-motion[lab]"`' in result.stdout
    assert "Traceback" not in result.stderr

"""The notebooks that the tests of this folder are about."""

import re
import subprocess
from pathlib import Path

import pytest

from companion.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {"__pycache__", "build", "_build", "runs"}


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that is, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # a copy without its history
        paths = [path for path in ROOT.rglob("*") if not SKIPPED & set(path.relative_to(ROOT).parts)]
        hidden = [
            path
            for path in paths
            if re.search(r"/\.(?!ci/|gitignore)|\.egg-info/", f"/{path.relative_to(ROOT).as_posix()}")
        ]
        paths = sorted(set(paths) - set(hidden))
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="session")
def pack(tmp_path_factory) -> Path:
    """A student's pack, as the command line writes it."""
    out = tmp_path_factory.mktemp("packs") / "a pack"
    assert main(["students", "--out", str(out)]) == 0
    return out

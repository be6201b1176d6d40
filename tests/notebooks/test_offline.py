"""The tests' barrier holds, and what `companion` loads stays behind it."""

import os
import pkgutil
import subprocess
import sys

import pytest
from subjects import ROOT

import companion

BARRIER = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "notebooks" / "offline")}


def run_offline(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], env=BARRIER, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import socket; socket.socket().connect(('192.0.2.1', 80))",
        "import socket; socket.getaddrinfo('example.org', 443)",
        "import urllib.request; urllib.request.urlopen('http://example.org', timeout=1)",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
    ],
)
def test_the_barrier_refuses_other_machines(code):
    result = run_offline(code)
    assert result.returncode != 0
    assert "No network access here" in result.stderr


def test_the_barrier_lets_this_machine_through():
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 1); print('through')"
    assert run_offline(code).stdout == "through\n"


def test_every_module_loads_behind_the_barrier():
    names = [module.name for module in pkgutil.walk_packages(companion.__path__, "companion.")]
    code = f"import importlib\nfor name in {[name for name in names if not name.endswith('__main__')]}: importlib.import_module(name)"
    result = run_offline(code)
    assert result.returncode == 0, result.stderr


def test_data_load_behind_the_barrier():
    code = "from companion.data import images; print(*(len(load(split).labels) > 0 for load in (images.digits, images.fashion) for split in ('train', 'test')))"
    result = run_offline(code)
    assert result.stdout.split() == ["True"] * 4, result.stderr

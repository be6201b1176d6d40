"""A JupyterLab that only this machine reaches, for tests that talk to it as a browser does."""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LabServer:
    """A running JupyterLab.

    Attributes:
        address: without a slash at its end.
        token: that a request needs.
        process: its number.
    """

    address: str
    token: str
    process: int


@contextmanager
def serving(
    home: Path, options: Mapping[str, object], variables: Mapping[str, str], seconds: float = 120
) -> Iterator[LabServer]:
    """JupyterLab on the notebooks in `home/notebooks`; what it says goes to `home/server.log`.

    Args:
        home: a folder, which holds the server's own settings and connection files, too.
        options: of its command line, beside those that keep it to this machine.
        variables: of its environment, beside ours.
        seconds: that it may take until it answers; and half of them to end.

    Raises:
        RuntimeError: it stopped, or did not answer in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    own = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": home / "notebooks",
        "IdentityProvider.token": token,
    }
    given = [f"--{name}={value}" for name, value in (own | dict(options)).items()]
    folders = {"JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "companion", "lab", "--", "--no-browser", *given],
            env=os.environ | folders | dict(variables),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/api/kernelspecs?token={token}", process, home / "server.log", seconds)
            yield LabServer(address, token, process.pid)
        finally:
            process.terminate()
            process.wait(timeout=seconds / 2)


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab stopped:\n{log.read_text()[-3000:]}")
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
        else:
            return
    raise RuntimeError(f"JupyterLab did not answer in {seconds} s:\n{log.read_text()[-3000:]}")

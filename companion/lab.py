"""JupyterLab on the first notebook: `python -m companion lab`. It asks nobody for news, updates or extensions."""

import os
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FIRST = "notebooks/00_start_here.ipynb"
OPTIONS = {
    "--LabApp.app_settings_dir": HERE / "lab_settings",  # no news, no look for updates, and no question about them
    "--LabApp.extension_manager": "readonly",
    "--KernelManager.transport_encryption": "auto",  # or each kernel warns that others on this machine could listen
}


def options(more: Sequence[str] = ()) -> list[str]:
    """The options of JupyterLab's command line: those of `more`, and ours that `more` does not set.

    >>> options(["--LabApp.extension_manager=pypi"])[-1]
    '--LabApp.extension_manager=pypi'
    """
    given = {each.partition("=")[0] for each in more}
    ours = OPTIONS | ({"--LabApp.default_url": f"/lab/tree/{FIRST}"} if (ROOT / FIRST).exists() else {})
    found = [f"{name}={value}" for name, value in ours.items() if name not in given]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # as in a container
        found.append("--allow-root")
    return [*found, *more]


def start(more: Sequence[str] = ()) -> None:
    """Start JupyterLab, on this folder if the notebooks are here, and return when it has stopped.

    Raises:
        ModuleNotFoundError: JupyterLab is not installed.
    """
    from jupyterlab.labapp import main

    if (ROOT / FIRST).exists():  # not where only the package is installed
        os.chdir(ROOT)
    main(options(more))

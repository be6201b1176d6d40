"""The audit of the lock finds nothing wrong here, and finds what is wrong elsewhere."""

import importlib.util
from email.message import Message
from types import SimpleNamespace

import pytest
from subjects import ROOT

spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)


def package(version: str = "1.0", **fields: str) -> SimpleNamespace:
    about = Message()
    for name, value in fields.items():
        about[name.replace("_", "-")] = value
    return SimpleNamespace(version=version, metadata=about)


def test_what_is_installed_here_is_what_the_lock_has_and_licensed():
    pins = audit.read_lock(audit.LOCK.read_text())
    here = audit.installed(pins)
    assert {"torch", "jupyterlab", "sphinx", "nbgrader", "pytest"} <= set(here)
    assert audit.wrong_versions(pins, here) == []
    assert audit.wrong_licences(here) == []


def test_another_version_is_found_and_another_build_is_not_one():
    pins = {"torch": "2.13.0", "numpy": "2.4.6"}
    assert audit.wrong_versions(pins, {"torch": package("2.13.0+cpu"), "numpy": package("2.4.6")}) == []
    (found,) = audit.wrong_versions(pins, {"torch": package("2.13.0+cpu"), "numpy": package("2.4.5")})
    assert found == "numpy is 2.4.5, but the lock has 2.4.6."


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"License": "UNKNOWN"},
        {"License": "see the website"},
        {"License_Expression": "AGPL-3.0-or-later"},
        {"License_Expression": "MIT AND GPL-2.0-only"},
        {"Classifier": "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"},
        {"License": "MIT, for non-commercial use (CC BY-NC)"},
        {"License": "Submitted to no one"},  # "MIT" inside a word
    ],
)
def test_licences_that_are_unknown_or_for_a_person_to_read_are_found(fields):
    (found,) = audit.wrong_licences({"some-package": package(**fields)})
    assert found.startswith("some-package has the licence ")


@pytest.mark.parametrize("licence", ["MIT", "BSD-3-Clause AND 0BSD", "Apache 2.0", "MIT-CMU", "ISC license", "PSF-2.0"])
def test_licences_that_let_everyone_use_a_package_pass(licence):
    assert audit.wrong_licences({"a": package(License_Expression=licence), "b": package(License=licence)}) == []


def test_vulnerabilities_are_told_and_silence_is_not_taken_for_safety():
    safe = {"name": "torch", "version": "2.13.0", "vulns": []}
    flaw = {"id": "CVE-2024-0001", "fix_versions": ["1.1"]}
    weak = {"name": "some-package", "version": "1.0", "vulns": [flaw]}
    assert audit.read_audit([safe]) == []
    assert audit.read_audit([safe, weak]) == ["some-package 1.0: CVE-2024-0001, mended in 1.1."]
    with pytest.raises(audit.LookupFailed, match="1 of 3 packages were not looked up") as refused:
        audit.read_audit([safe, weak, {"name": "other", "skip_reason": "not found"}])
    assert "CVE-2024-0001" in str(refused.value)

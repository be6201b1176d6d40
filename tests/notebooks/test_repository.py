"""What documents name exists, versions are locked, and the repository holds nothing of the machine it was made on."""

import fnmatch
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from subjects import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
# In pieces, so that this file does not hold what it looks for.
HOSTS = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "ana" + "conda.org",
    "download.py" + "torch.org",
]
MACHINE = [
    r"(?<![\w.~])/" + folder + "/" for folder in ("ro" + "ot", "wo" + "rk", "ho" + r"me/[a-z]\w+", "Us" + r"ers/\w+")
]
UNFINISHED = [r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bTEMP" + r"ORARY\b", r"NOTE_FROM_" + "LEAD"]
FORBIDDEN = [*map(re.escape, HOSTS), *MACHINE, *UNFINISHED]
BINARY = {".npz", ".xz", ".safetensors", ".png", ".webp", ".gz", ".woff2"}


def test_no_file_names_a_registry_a_machine_or_unfinished_work(tracked):
    found = []
    for path in tracked:
        if path.suffix not in BINARY:
            text = path.read_text(encoding="utf-8")
            found += [
                f"{path.relative_to(ROOT)}: {match[0]}" for what in FORBIDDEN for match in re.finditer(what, text)
            ]
    assert found == []
    assert len(tracked) > 50


def test_no_file_is_large(tracked):
    assert [path for path in tracked if path.stat().st_size > 5_000_000] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_commands_that_are_named_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`?\bmake ([a-z-]+)(?=[`\s]*(?:$|[`#A-Z]))", text, flags=re.MULTILINE)) <= targets
    usage = subprocess.run([sys.executable, "-m", "companion", "-h"], capture_output=True, text=True, check=True).stdout
    for command in re.findall(r"python -m companion ([a-z]+)", text):
        assert re.search(rf"^ +{command}\b", usage, flags=re.MULTILINE), command


def test_files_that_are_linked_exist():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)\)", text):
            assert "://" in target or (ROOT / target).exists(), target


def test_the_lock_pins_everything_exactly():
    names = [canonicalize_name(pin.name) for pin in PINS]
    assert len(set(names)) == len(names)
    for pin in PINS:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
        assert pin.url is None
    assert str(next(pin.specifier for pin in PINS if pin.name == "torch")) == "==2.13.0"


def test_every_requirement_is_locked_within_its_bounds():
    versions = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in PINS}
    extras = PROJECT["optional-dependencies"].values()
    for requirement in map(Requirement, [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_the_conda_environment_installs_the_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    *plain, pip = conda["dependencies"]
    assert plain == ["python=3.11", "pip"]
    assert pip["pip"] == ["-c constraints.txt", "-e .[lab,book,test,hf,transfer,classroom,sweep,several]"]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    from companion import __version__

    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert citation["authors"] == [{"name": "The Learning in Motion authors"}]
    assert {"message", "title", "type"} <= set(citation)
    assert citation["license"] == "MIT"  # more than one would mean a choice


def test_the_changelog_begins_with_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    versions = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert versions[0] == f"{citation['version']} – {citation['date-released']}"


@pytest.mark.parametrize("part", ["data", "teaching"])
def test_every_stored_file_has_a_licence_beside_it(part, tracked):
    folder = ROOT / "companion" / part / "files"
    text = (folder / "LICENSES.md").read_text(encoding="utf-8")
    named = [name for line in re.findall(r"^## (.*)$", text, flags=re.MULTILINE) for name in line.split(", ")]
    for cell in re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE):
        named += re.findall(r"`([^`]+)`", cell)
    stored = {path.name for path in tracked if path.parent == folder} - {"LICENSES.md"}
    found = {name: fnmatch.filter(stored, name) for name in named}
    assert stored - {each for names in found.values() for each in names} == set()
    assert [name for name, names in found.items() if not names] == []


def test_the_makefile_explains_each_of_its_commands():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split()
    assert re.findall(r"^  make ([a-z-]+)", listed, flags=re.MULTILINE) == phony

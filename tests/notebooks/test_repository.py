"""What documents name exists, versions are locked, and the repository holds nothing of the machine it was made on."""

import ast
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
SECRETS = [
    "-----BEGIN [A-Z ]*PRIVATE " + "KEY",
    r"\b(AKIA|ASIA)[A-Z0-9]{16}\b",  # Amazon
    r"\bgh[opsur]_[A-Za-z0-9]{36}|\bgithub_pat_\w{22}",
    r"\bglpat-[\w-]{20}",  # GitLab
    r"\bxox[abprs]-[\w-]{10}",  # Slack
    r"\bAIza[\w-]{35}",  # Google
    r"\b(sk|hf|pypi|npm)[-_](?=\w*\d)[A-Za-z0-9_]{30}",  # OpenAI, Hugging Face, registries
    r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}",  # a JSON web token
    r"(?i)\b(password|passwd|secret|api_?key|access_?token)\b[\"']?\s*[:=]\s*[\"'][\w/+.-]{12,}[\"']",
]
NETWORK = re.compile(r"(socket|ssl|http|urllib|ftplib|smtplib|requests|httpx|aiohttp|huggingface_hub)\b")
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


def secrets_in(text: str) -> list[str]:
    return [match[0] for what in SECRETS for match in re.finditer(what, text)]


def test_no_file_holds_a_secret(tracked):
    texts = {path: path.read_text(encoding="utf-8") for path in tracked if path.suffix not in BINARY}
    assert {path.relative_to(ROOT): secrets_in(text) for path, text in texts.items() if secrets_in(text)} == {}


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN OPENSSH PRIVATE" + " KEY-----",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_" + 9 * "a1B2",
        "hf_" + 9 * "a1B2",
        "eyJ" + 4 * "hbGc" + ".eyJ" + 4 * "zdWI",
        "api_key" + ' = "' + 4 * "a1B2" + '"',
    ],
)
def test_a_secret_would_be_found(secret):
    assert secrets_in(f"x = {secret}\n")


def test_nothing_that_is_installed_opens_a_connection_elsewhere(tracked):
    """Two modules import one of the network: JupyterLab here is asked whether it has started, and ports whether they
    are free."""
    found = set()
    for path in tracked:
        if path.suffix == ".py" and path.is_relative_to(ROOT / "companion"):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
            names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
            found |= {path.relative_to(ROOT).as_posix() for name in names if NETWORK.match(name)}
    assert "companion/classroom/lab_server.py" in found
    assert found <= {"companion/classroom/lab_server.py", "companion/doctor.py"}


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

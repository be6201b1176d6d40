"""What is missing is named, with what mends it."""

import sys

from companion import readiness
from companion.__main__ import main


def test_this_machine_is_ready(capsys):
    assert readiness.missing() == []
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Python 3.")
    assert any(line.startswith("  torch ") for line in told)
    assert told[-1] == "Ready: `make lab` opens the first notebook."


def test_what_is_missing_is_named(capsys, monkeypatch):
    monkeypatch.setitem(readiness.NEEDED, "no_such_module", "no-such-package")
    assert readiness.missing() == ["no-such-package is not installed"]
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "  no-such-package is not installed",
        "Run `make lab` to install what is missing.",
    ]


def test_an_old_python_is_named(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert "or newer is needed" in readiness.missing()[0]


def test_what_is_there_but_broken_is_named_with_its_reason(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text('raise OSError("a library of another build")')
    (tmp_path / "needy_module.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("broken_module", "needy_module"):
        monkeypatch.setitem(readiness.NEEDED, name, name)
    assert readiness.missing() == [
        "broken_module does not import: a library of another build",
        "needy_module does not import: No module named 'no_such_module'",
    ]

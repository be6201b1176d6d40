"""What is missing is named."""

import sys

from companion import readiness


def test_this_machine_is_ready():
    assert readiness.missing() == []


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(readiness.NEEDED, "no_such_module", "no-such-package")
    assert readiness.missing() == ["no-such-package is not installed"]


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

"""The benchmarks: each row is in the stored table once, one that fails stops no other, and the book's page hides no loss."""

import doctest
import re
from collections import Counter

import pytest
from subjects import ROOT

from companion.classroom import benchmarks_page
from companion.classroom.book import TEXT
from tests.benchmarks import run
from tests.benchmarks.measure import Result, Row

ROWS = run.all_rows()
STORED = (ROOT / benchmarks_page.RESULTS).read_text(encoding="utf-8")


def keys_in(text):
    return re.findall(r"^\| .*`python tests/benchmarks/run\.py ([\w-]+)` \|$", text, flags=re.M)


def fails():
    raise ValueError("one line\nand `another` | of <words>")


def lacks():
    raise ModuleNotFoundError("No module named 'fast'", name="fast")


def stops():
    raise KeyboardInterrupt


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    """`bench(measure, ...)(KEY, ...)` runs rows of two modules; its exit code, what it printed, and the stored table."""
    out = tmp_path / "results.md"
    out.write_text("as it was")

    def make(*measures):
        rows = [Row(f"row-{place}", "a task", "a peer", each, "ratio at most 1") for place, each in enumerate(measures)]
        monkeypatch.setattr(run, "sections", lambda: {"First": rows[:1], "Second": rows[1:]})

        def go(*keys):
            code = run.main([*keys, "--out", str(out)])
            return code, capsys.readouterr().out, out.read_text(encoding="utf-8")

        return go

    make.out = out
    return make


def wins():
    return Result("1 ms", "2 ms", "0.50")


def loses():
    return Result("3 ms", "2 ms", "1.50")


# --- rows and the stored table ------------------------------------------------------------------------------------


def test_stored_table_has_each_row_once_and_no_other():
    assert sorted(keys_in(STORED)) == sorted(row.key for row in ROWS), "Run `make bench`."


def test_keys_are_unique_and_no_two_rows_say_the_same():
    assert max(Counter(row.key for row in ROWS).values()) == 1
    assert max(Counter((row.what, row.peer) for row in ROWS).values()) == 1
    assert all(re.fullmatch(r"[a-z\d]+(-[a-z\d]+)*", row.key) and row.what and row.peer for row in ROWS)


def test_each_module_with_rows_is_a_section():
    modules = [path.stem for path in run.HERE.glob("*.py") if "def rows()" in path.read_text(encoding="utf-8")]
    assert len(run.sections()) == len(modules)
    assert {"widgets", "suite", "book"} < set(modules)


# --- a run ----------------------------------------------------------------------------------------------------------


def test_whole_run_stores_a_table_for_each_module_and_the_versions(bench):
    code, printed, stored = bench(wins, loses, lacks)()
    assert (code, printed) == (0, stored)
    assert re.findall(r"^## .*", stored, flags=re.M) == ["## First", "## Second"]
    assert stored.count(run.TABLE[0]) == 2
    assert keys_in(stored) == ["row-0", "row-1", "row-2"]
    assert "| peer not installed | **(fast)** |" in stored
    assert re.search(r"^Versions: .*scikit-learn \d", stored.splitlines()[-1])


def test_row_that_fails_says_so_in_one_line_and_the_others_go_on(bench):
    code, _, stored = bench(fails, wins)()
    assert code == 1
    assert keys_in(stored) == ["row-0", "row-1"]
    assert r"failed: `ValueError: one line and 'another' \| of <words>`" in stored


def test_single_row_leaves_the_stored_table_alone(bench):
    code, printed, stored = bench(fails, wins)("row-1")
    assert (code, keys_in(printed), stored) == (0, ["row-1"], "as it was")
    assert "## First" not in printed


def test_run_that_is_stopped_leaves_the_stored_table_alone(bench, capsys):
    with pytest.raises(KeyboardInterrupt):
        bench(wins, stops)()
    assert keys_in(capsys.readouterr().out) == ["row-0"]
    assert bench.out.read_text() == "as it was"


def test_unknown_key_is_refused_in_a_sentence(bench, capsys):
    with pytest.raises(SystemExit) as refusal:
        bench(wins)("no-row")
    assert refusal.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: unknown row 'no-row'; the rows are row-0")


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path):
    """The page that is made of a stored table, and perhaps of one of a GPU."""

    def make(stored, gpu=None):
        (tmp_path / benchmarks_page.RESULTS).parent.mkdir(parents=True)
        (tmp_path / benchmarks_page.RESULTS).write_text(stored, encoding="utf-8")
        if gpu:
            (tmp_path / benchmarks_page.GPU).write_text(gpu, encoding="utf-8")
        return benchmarks_page.page(tmp_path)

    return make


def test_page_marks_what_is_behind_and_what_was_not_measured(bench, page):
    _, _, stored = bench(wins, loses, fails, lacks)()
    text = page(stored)
    assert dict(re.findall(r"^\| a task `([\w-]+)` \| ([^|]*) \| .* \| ratio at most 1 \|$", text, flags=re.M)) == {
        "row-0": "**0.50**",
        "row-1": "**1.50** behind, above what is wanted",
        "row-2": "not measured",
        "row-3": "**(fast)** not measured",
    }
    assert "There are 4 rows, 1 behind, 1 above what is wanted, 2 not measured." in text
    assert re.findall(r"^#+ .*", text, flags=re.M) == ["# Benchmarks", "## First", "## Second"]
    assert stored.splitlines()[2] in text
    assert stored.splitlines()[-1] in text


def test_gpus_tables_are_a_section_whatever_they_hold(bench, page):
    _, _, stored = bench(wins)()
    gpu = "# Benchmarks of a GPU\n\nWords.\n\n## Part\n\n| a |\n| --- |\n| 1 |\n\n```\n# a comment\n```\n"
    text = page(stored, gpu)
    assert text.endswith("## On a GPU\n\nWords.\n\n### Part\n\n| a |\n| --- |\n| 1 |\n\n```\n# a comment\n```\n")


def test_row_that_has_lost_a_cell_is_refused(bench, page):
    _, _, stored = bench(wins)()
    with pytest.raises(ValueError, match="has 6 cells, but must have what, ours"):
        page(stored.replace("| 2 ms ", ""))


def test_stored_table_makes_a_page_with_all_its_rows():
    text = benchmarks_page.page()
    assert [key for key in keys_in(STORED) if f" `{key}` | " in text] == keys_in(STORED)


def test_new_table_makes_the_book_stale():
    found = {path for pattern in TEXT for path in ROOT.glob(pattern)}
    assert ROOT / benchmarks_page.RESULTS in found


def test_examples_run():
    outcome = doctest.testmod(run)
    assert outcome.attempted > 0
    assert outcome.failed == 0

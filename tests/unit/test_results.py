"""Stored results are small, deterministic, and refused when their code has changed."""

import json

import pytest

from companion.teaching import results

SOURCES = ["companion.foundations.diffusion", "companion.foundations.training"]


def test_what_was_stored_is_loaded(tmp_path):
    data = {"steps": [1, 2], "distance": {"a": 0.25, "b": None}, "note": "measured"}
    results.store("example", data, SOURCES, "make example", tmp_path)
    assert results.load("example", tmp_path) == data


def test_the_same_data_give_the_same_bytes(tmp_path):
    first = results.store("example", {"x": 1 / 3}, SOURCES, "make example", tmp_path).read_bytes()
    second = results.store("example", {"x": 1 / 3}, SOURCES[::-1], "make example", tmp_path).read_bytes()
    assert first == second
    assert results.load("example", tmp_path) == {"x": 0.333333}


def test_a_stale_result_is_refused_with_the_command_that_makes_it_again(tmp_path):
    path = results.store("example", [1], SOURCES, "make example", tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"source_hash": "0" * 64}))
    with pytest.raises(results.StaleResult, match=r"'example' is stale.*`make example`"):
        results.load("example", tmp_path)


def test_a_missing_result_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no stored result 'nothing'"):
        results.load("nothing", tmp_path)


def test_a_number_that_is_not_finite_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"example\.x is nan, but must be a finite number"):
        results.store("example", {"x": float("nan")}, SOURCES, "make example", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted(results.FILES.glob("*.json")), ids=lambda path: path.stem)
def test_every_shipped_result_is_current(path):
    assert results.load(path.stem)

"""What is generated is what its source gives. Nothing is executed here: `make sync` does that."""

from companion.classroom import sync


def test_every_generated_notebook_is_in_step_with_its_source():
    assert sync.drift() == [], "Run `make sync`."

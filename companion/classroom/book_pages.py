"""The pages of the book that are made of data and code. They are written before each build and are not in the repository."""

from pathlib import Path

from companion.classroom import benchmarks_page, claims_table, equations, reference

FOLDER = Path("book") / "generated"
ORPHAN = "---\norphan: true\n---\n\n"  # in no contents: the overview leads there


def write(root: Path) -> list[Path]:
    """Write them, remove those that are none any more, and return their paths; a page that is the same is left alone."""
    texts = {
        "claims": claims_table.page(root),
        "benchmarks": benchmarks_page.page(root),
        "equations": equations.page(root),
        "reference": reference.overview(root),
    }
    texts |= {f"reference/{name}": ORPHAN + text for name, text in reference.pages(root).items()}
    wanted = {root / FOLDER / f"{name}.md": text for name, text in texts.items()}
    for path in (root / FOLDER).rglob("*.md"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return list(wanted)

"""Every Python example of the README and the guides runs as it stands, page by page, and every page is in the navigation."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("tutorial.md", "errors.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]


def examples(page):
    """The Python code of a page, each example at the line where it stands, so that a traceback names the line."""
    text = page.read_text("utf-8")
    return [
        "\n" * (text[: found.start(1)].count("\n")) + found.group(1)
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "example"}
    for code in examples(page):
        exec(compile(code, str(page), "exec"), names)


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page():
    named = set(re.findall(r":\s*([\w/-]+\.md)\s*$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert named == there


def test_links_between_pages_lead_to_pages():
    for page in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

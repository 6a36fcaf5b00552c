"""The site is built without a warning, and its home page fits its window; skipped where MkDocs, or Chromium, is not there."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from reference.chromium import FOUND, Chromium

ROOT = Path(__file__).parents[2]


def pages(entries):
    """All pages of a navigation."""
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else pages(value)


def test_the_navigation_can_be_read_and_leads_to_pages():
    # Tags such as !!python/name are MkDocs' own; there are none here.
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    assert all((ROOT / "docs" / page).exists() for page in pages(navigation))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if any(find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")):
        pytest.skip('needs the extra "docs"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_of_the_site_is_built_without_a_warning(site):
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        assert (site / ("index.html" if str(name) == "index" else f"{name}/index.html")).exists()


@pytest.mark.skipif(FOUND is None, reason="needs Chromium")
@pytest.mark.parametrize("page", ["index.html", "reference/index.html", "how-to/view/index.html", "models/index.html"])
def test_a_page_of_the_site_fits_its_window(site, page):
    browser = Chromium()
    try:
        for width in (1280, 400):
            for dark in (False, True):
                browser.open(f"file://{site / page}", width, dark)
                assert browser.overflow() == 0
                assert browser.run("document.body.dataset.mdColorScheme") == ("slate" if dark else "default")
    finally:
        browser.close()

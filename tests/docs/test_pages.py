"""Every Python example of the README and the documents runs as it stands, page by page, and every page is in the navigation."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import assay
from reference.nets import plain

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("tutorial.md", "errors.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]
IN_DEPTH = [page for page in sorted((ROOT / "docs").glob("*.md")) if page not in PAGES]
"""Pages whose examples take up what their readers have: a network, images, a data set."""


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


class Forest:
    """A classifier of another library."""

    def predict_proba(self, rows):
        bright = rows.mean(1, keepdims=True)
        return np.concatenate([bright, 1 - bright], 1)


def what_readers_have(page, folder):
    """The names that a page in depth takes as given, as small as they come, and the files."""
    pixels = torch.rand(4 if page.stem == "frontier" else 8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = plain()
    model = assay.Classifier(net, classes=["cat", "dog", "fox", "owl"])
    maps = assay.Gradient()(model, pixels)
    np.savez(folder / "maps.npz", maps.numpy())
    made = {
        "assay": lambda: assay,
        "torch": lambda: torch,
        "captum": lambda: importlib.import_module("captum.attr") and importlib.import_module("captum"),
        "net": lambda: net,
        "model": lambda: assay.load("hard-digits") if page.stem == "data" else model,
        "images": lambda: pixels,
        "new_images": lambda: pixels.flip(0),
        "labels": lambda: model.predict(pixels),
        "segmenter": lambda: assay.Classifier(nn.Conv2d(3, 4, 3, padding=1)),
        "mask": lambda: torch.ones(8, 8, dtype=torch.bool),
        "embedder": lambda: assay.Classifier(plain(classes=6)),
        "reference": lambda: torch.ones(1, 6),
        "forest": lambda: Forest(),
        "my_function": lambda: lambda model, images, targets: images * model(images).gather(1, targets[:, None])[:, :, None, None],
        "other": lambda: assay.frontier(model, pixels, explainer=assay.Gradient(), sigmas=[0, 0.1], seed=1),
        "weights": lambda: torch.ones(3),
    }
    text = "\n".join(examples(page))
    return {name: make() for name, make in made.items() if re.search(rf"\b{name}\b", text)}


@pytest.mark.parametrize("page", [page for page in IN_DEPTH if examples(page)], ids=lambda page: page.stem)
def test_the_examples_of_a_page_in_depth_run_among_what_readers_have(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "example"} | what_readers_have(page, tmp_path)
    for code in examples(page):
        if "s3://" not in code:  # A cluster's storage; tests/test_ray.py runs the same on files.
            exec(compile(code, str(page), "exec"), names)


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page():
    named = set(re.findall(r":\s*([\w/-]+\.md)\s*$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert named == there


def test_links_between_pages_lead_to_pages():
    for page in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

"""`--mosaic`."""

import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

LOCAL = """

COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9, 0.9, 0.1]])

class Local(nn.Module):
    def forward(self, x):
        far = (x[:, None] - COLOURS[None, :, :, None, None]).square().sum(2)
        return torch.exp(-60 * far).mean((2, 3)) * 60

def local():
    return assay.Classifier(Local(), classes=["a", "b", "c", "d"])
"""
COLOURS = np.array([[230, 26, 26], [26, 230, 26], [26, 26, 230], [230, 230, 26]])
BASE = ("audit", "--model", "python:mynets:local", "--images", "colours", "--explainer", "Occlusion(segments=Grid(rows=4, columns=4))")
TRUTH = ("--measure", "PointingGame", "--measure", "MaskIoU(order='signed')", "--out", "out")


@pytest.fixture
def colours(place):
    """Three pictures of each of four colours, and a network that looks at each place alone."""
    for kind, name in enumerate("abcd"):
        for number in range(3):
            path = place / "colours" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.broadcast_to(COLOURS[kind] + number, (8, 8, 3)).astype(np.uint8)).save(path)
    with (place / "mynets.py").open("a") as file:
        file.write(LOCAL)
    return place


def test_occlusion_of_mosaics_points_at_the_targets_cell_from_the_command_line(colours, run):
    found = run(*BASE, "--mosaic", "2x2", *TRUTH)
    assert found.code == 0, found.err
    scores = pl.read_parquet(colours / "out" / "scores.parquet").filter(pl.col("explainer") != "RandomMap")
    for measure in scores["measure"].unique():
        own = scores.filter(pl.col("measure") == measure)["value"]
        assert len(own) == 12
        assert own.to_list() == pytest.approx([1.0] * 12, abs=0.05)
    told = "\n".join(one["text"] for one in json.loads((colours / "out" / "verdict.json").read_text()))
    assert "right on" not in told  # A mosaic shows four classes: which one is predicted is no mistake,
    assert "hardly prefers" not in told  # and to be unsure of one is none either.


def test_so_many_mosaics_are_made_as_are_asked_for_and_another_command_explains_them_too(colours, run):
    found = run("explain", *BASE[1:], "--mosaic", "1x2@0.9", "--count", "5", "--no-overlays", "--out", "out")
    assert found.code == 0, found.err
    with np.load(colours / "out" / "maps.npz") as kept:
        (maps,) = (kept[name] for name in kept.files if name.startswith("Occlusion"))
    assert maps.shape == (5, 1, 8, 16)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("2",), "rows and columns, such as 2x2"),
        (("2x2@1.5",), "rows and columns, such as 2x2"),
        (("2x2", "--target", "a"), "leave --target out"),
        (("2x2", "--masks", "colours"), "leave --masks out"),
        (("3x2",), "3 x 2 needs images of as many classes"),
        (("2x2", "--count", "13"), "more mosaics than the 12"),
    ],
)
def test_what_makes_no_mosaics_is_refused(colours, run, given, message):
    found = run(*BASE, "--mosaic", *given, *TRUTH)
    assert found.code == 2
    assert message in " ".join(found.err.split())

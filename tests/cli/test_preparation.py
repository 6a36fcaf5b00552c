"""What the command line says of preparation reaches the model and the pictures, and what is unknown is told."""

import numpy as np
import pytest
import torch
from PIL import Image

from assay.cli.tasks.images import Task
from assay.core.ranks import Ranks
from assay.data.files.reading import Reading
from assay.errors import DataError, SpecError

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.classes = classes
    def forward(self, x):
        return (self.w * x.mean((1, 2, 3)))[:, None].expand(-1, self.classes)

def make():
    return Net()

def twelve():
    return Net(12)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "netdoor.py").write_text(NET)
    (tmp_path / "images").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 3000, (20, 30)).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def task(folder, **options):
    return Task(model=options.pop("model", "python:netdoor:make"), images="images", out=folder / "out", **options)


def test_options_prepare_pictures_and_model(folder, capsys):
    told = task(folder, mean="0.5", std="0.25", resize="16", crop="12,14", interpolation="bilinear", channels=1, range=(0.0, 3000.0))
    batch = next(told.selection().batches())
    assert batch.images.shape == (3, 1, 12, 14)
    assert batch.images.max() > 0.6
    model = told.network()
    torch.testing.assert_close(model.logits(batch.images)[:, 0], (batch.images.mean((1, 2, 3)) - 0.5) / 0.25)
    assert told.settings(told.asked(Ranks()))["resize"] == "16"
    assert "note: left out of images, being no images: 1 .txt" in capsys.readouterr().err


def test_an_unknown_normalisation_is_told_and_kept(folder, capsys):
    told = task(folder, size=8)
    assert "does not say" in told.settings(told.asked(Ranks()))["network"]["notes"][0]
    assert "note: python:netdoor:make does not say its normalisation (--mean, --std)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_published_weights_bring_their_own_preparation(folder, name):
    found = task(folder, model=name, pretrained=True).reading()
    assert found.crop in (224, (224, 224))
    assert task(folder, model=name, pretrained=True, channels=1).reading().channels == 1
    assert task(folder, model=name, pretrained=True, size=64).reading() is None
    assert task(folder, model=name, pretrained=True, crop="64").reading() == Reading(crop=64)
    assert task(folder, model=name, random_weights=True).reading() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": "a,b"}, "--mean takes a number"),
        ({"std": "1,1,1,1,1"}, "up to 4 numbers, not 5"),
        ({"resize": "1,2,3"}, "up to 2 numbers"),
        ({"crop": "2.5"}, "whole pixels"),
        ({"channels": 2}, "--channels is 1"),
        ({"interpolation": "bilinear"}, "--interpolation says how --resize"),
        ({"size": 8, "resize": "8"}, "give one of them"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, options, message):
    told = task(folder, **options)
    step = told.network if {"mean", "std"} & set(options) else told.selection
    with pytest.raises(SpecError, match=message):
        step()


def test_labels_that_are_no_class_of_the_model_are_told(folder, capsys):
    for name in ("cat", "dog"):
        (folder / "animals" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 9).save(folder / "animals" / name / "a.png")
    told = Task(model="python:netdoor:make", images="animals", out=folder / "out")
    told.settings(told.asked(Ranks()))
    assert "note: the model has no class cat, dog (it has 0, 1, 2), so that nothing is known" in capsys.readouterr().err


def test_ambiguous_numbers_of_classes_are_refused_before_any_work(folder):
    for number in (1, 2, 3):
        (folder / "grades" / str(number)).mkdir(parents=True)
        Image.new("L", (8, 8), number).save(folder / "grades" / str(number) / "a.png")
    told = Task(model="python:netdoor:twelve", images="grades", out=folder / "out")
    with pytest.raises(DataError, match="may be class numbers of the model, which has 12 classes without names"):
        told.asked(Ranks())

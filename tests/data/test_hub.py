"""Data sets of Hugging Face's `datasets`: saved ones, local ones, and in memory."""

import sys

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import assay
from assay.data import HubImages, load, read
from assay.data.files.reading import Reading
from assay.errors import DataError, SpecError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 9, 8, 3), dtype=np.uint8)
LABELS = [1, 0, 1, 2]


def made(names=("cat", "dog", "emu")):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    return datasets.Dataset.from_dict({"image": [Image.fromarray(one) for one in PIXELS], "label": LABELS}, features=features)


def expected():
    return torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255


@pytest.fixture
def saved(tmp_path):
    datasets.DatasetDict({"train": made(), "test": made().select(range(2))}).save_to_disk(tmp_path / "two")
    made().save_to_disk(tmp_path / "one")
    return tmp_path


def test_a_saved_data_set_is_read_by_its_split(saved):
    batch = read(load(f"hf:{saved / 'two'}@train"), range(4))
    torch.testing.assert_close(batch.images, expected())
    assert batch.labels.tolist() == LABELS
    assert load(f"hf:{saved / 'two'}@train").classes == ("cat", "dog", "emu")
    assert len(load(f"hf:{saved / 'two'}@test")) == 2


def test_a_folder_that_datasets_wrote_is_told_by_its_files(saved):
    found = load(str(saved / "one"), size=6)
    assert isinstance(found, HubImages)
    assert found[0].image.shape == (3, 6, 6)
    assert assay.build(repr(found)) == found
    assert found.content_hash() != load(str(saved / "one")).content_hash()


def test_a_folder_of_class_folders_goes_through_datasets_own_builder(tmp_path):
    for number, name in enumerate(["cat", "dog", "cat", "emu"]):
        (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number]).save(tmp_path / "pictures" / name / f"{number}.png")
    found = load(f"hf:{tmp_path / 'pictures'}@train", reading=Reading(channels=1))
    assert found.classes == ("cat", "dog", "emu")
    assert len(found) == 4
    assert found[0].image.shape == (1, 9, 8)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("two", DataError, "has the splits train, test; say which: hf:.*@test"),
        ("two@tets", DataError, r"has no split 'tets'; did you mean test"),
        ("one@train", DataError, "has no splits; leave @train out"),
        ("gone", DataError, "datasets cannot load"),
    ],
)
def test_what_is_not_there_is_named(saved, name, error, message):
    with pytest.raises(error, match=message):
        load(f"hf:{saved / name}")


def test_the_library_is_asked_for_where_it_is_missing(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SpecError, match=r'pip install "assay\[hf\]"'):
        load(f"hf:{saved / 'one'}")


def test_in_memory_pictures_are_prepared_as_the_model_says_and_labels_matched_by_name(tmp_path):
    class Bright(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3)), x[:, 0].mean((1, 2))], 1)

    model = assay.Classifier(Bright(), classes=["emu", "cat", "dog"])
    model.reading = Reading(resize=(6, 6), interpolation="bilinear")
    assert assay.Gradient()(model, made()).shape == (4, 3, 6, 6)
    audit = assay.audit(model, made(), explainers=["Gradient"], measures=["Deletion"])
    assert audit.status["label"].to_list() == LABELS
    right = sum(int(guess) == [1, 2, 0][label] for guess, label in zip(audit.status["predicted"], LABELS, strict=True))
    audit.to_html(tmp_path / "report.html")
    assert f"{right / 4:.1%} of 4" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", ["text", "imagefolder"])
def test_the_name_of_a_kind_of_files_is_refused_and_not_read_from_the_working_folder(name, tmp_path, monkeypatch):
    Image.fromarray(PIXELS[0]).save(tmp_path / "mine.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"{name} is a kind of files to datasets, no data set"):
        load(f"hf:{name}")

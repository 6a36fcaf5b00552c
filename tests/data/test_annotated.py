"""Labels from tables, masks from folders and boxes from COCO files find their images by name."""

import io
import json

import datasets
import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from assay.core.registry import build
from assay.data import ImageFolder, load, read
from assay.data.files.convert import as_batch
from assay.data.files.reading import Reading
from assay.data.truth.annotated import Annotated
from assay.errors import DataError, SpecError


@pytest.fixture
def scans(tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(4):
        Image.new("L", (12, 8), 50 * number).save(tmp_path / "scans" / f"case{number}.png")
    return tmp_path


def table(path, rows):
    frame = pl.DataFrame(rows)
    {".csv": frame.write_csv, ".tsv": lambda p: frame.write_csv(p, separator="\t"), ".parquet": frame.write_parquet}[path.suffix](path)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("naming", ["case{}.png", "old/place/case{}.png", "case{}", "case{}.dcm"])
def test_labels_of_a_table_find_their_images(scans, ending, naming):
    path = scans / f"labels{ending}"
    table(path, {"file": [naming.format(n) for n in (2, 0, 3)], "finding": ["ill", "well", "ill"]})
    data = load(scans / "scans", labels=f"{path}:file:finding")
    assert data.classes == ("ill", "well")
    assert [data[n].label for n in range(4)] == [1, None, 0, 0]
    assert build(repr(data)) == data


def test_numbers_of_a_table_are_class_numbers(scans):
    table(scans / "l.csv", {"path": [f"case{n}" for n in range(4)], "y": [10, 2, 0, 2]})
    data = load(scans / "scans", labels=f"{scans / 'l.csv'}:path:y")
    assert data.classes == tuple(map(str, range(11)))
    assert read(data, range(4)).labels.tolist() == [10, 2, 0, 2]


def test_masks_are_prepared_as_the_images_are_and_images_without_one_have_no_truth(scans):
    (scans / "masks").mkdir()
    drawn = np.zeros((8, 12), np.uint8)
    drawn[2:6, 6:10] = 255
    Image.fromarray(drawn).save(scans / "masks" / "case1.tif")
    data = load(scans / "scans", masks=scans / "masks")
    assert data.has_truth
    truth = read(data, range(3)).truth
    assert truth.shape == (3, 1, 8, 12)
    assert torch.equal(truth[1, 0], torch.from_numpy(drawn > 0))
    assert not truth[[0, 2]].any()
    half = load(scans / "scans", reading=Reading(resize=4, crop=(4, 6)), masks=scans / "masks")[1]
    assert torch.equal(half.truth[0], torch.from_numpy(drawn[::2, ::2] > 0))
    before = data.content_hash()
    Image.fromarray(255 - drawn).save(scans / "masks" / "case1.tif")
    assert load(scans / "scans", masks=scans / "masks").content_hash() != before


def test_boxes_of_a_coco_file_are_the_truth(scans):
    told = {
        "images": [{"id": 7, "file_name": "case2.png", "height": 8, "width": 12}],
        "annotations": [{"image_id": 7, "bbox": [1, 2, 3, 4]}, {"image_id": 7, "bbox": [10, 0, 5, 1]}],
    }
    (scans / "coco.json").write_text(json.dumps(told))
    data = load(scans / "scans", boxes=scans / "coco.json")
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[2:6, 1:4] = True
    expected[0, 10:] = True
    assert torch.equal(data[2].truth[0], expected)
    assert not data[0].truth.any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": "l.csv"}, "say where labels are as file.csv:path:label"),
        ({"labels": "gone.csv:path:y"}, "cannot read the labels"),
        ({"labels": "l.xlsx:path:y"}, "come from a .csv, .tsv or .parquet"),
        ({"labels": "l.csv:path:label"}, "has no column 'label'"),
        ({"labels": "other.csv:path:y"}, "names none of the images: it has a, the images are case0.png"),
        ({"labels": "twice.csv:path:y"}, "more than once"),
        ({"masks": "gone"}, "no folder of masks"),
        ({"boxes": "l.csv"}, "is no COCO file"),
        ({"boxes": "gone.json"}, "cannot read the boxes"),
    ],
)
def test_what_does_not_fit_is_refused(scans, given, message, monkeypatch):
    monkeypatch.chdir(scans)
    table(scans / "l.csv", {"path": ["case0"], "y": [1]})
    table(scans / "other.csv", {"path": ["a"], "y": [1]})
    table(scans / "twice.csv", {"path": ["case0", "case0"], "y": [1, 2]})
    with pytest.raises(DataError, match=message):
        load("scans", **given)


def test_names_that_stand_for_several_images_are_refused(tmp_path):
    for label in "ab":
        (tmp_path / "im" / label).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "im" / label / "x.png")
    table(tmp_path / "l.csv", {"path": ["x.png"], "y": [1]})
    with pytest.raises(DataError, match="write whole paths"):
        load(tmp_path / "im", labels=f"{tmp_path / 'l.csv'}:path:y")


def test_annotations_need_files_and_one_truth(scans):
    with pytest.raises(SpecError, match="annotate a folder"):
        load("hard-digits", masks=scans)
    with pytest.raises(SpecError, match="give labels="):
        Annotated(ImageFolder(str(scans / "scans")))
    with pytest.raises(SpecError, match="both say"):
        Annotated(ImageFolder(str(scans / "scans")), masks="a", boxes="b")


def test_a_letterbox_keeps_the_proportions_of_image_and_mask_with_black_around(tmp_path):
    for folder, value in (("scans", 128), ("masks", 255)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((20, 40), value, np.uint8)).save(tmp_path / folder / "a.png")
    found = read(load(str(tmp_path / "scans"), reading=Reading(resize=(32, 32), letterbox=True), masks=str(tmp_path / "masks")), [0])
    bright = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    bright[:, :, 8:24] = True
    assert torch.equal(found.images > 0, bright.expand(1, 3, 32, 32))
    assert torch.equal(found.truth, bright)
    with pytest.raises(SpecError, match="letterbox fits pictures into a height and width"):
        Reading(resize=32, letterbox=True)


def masked_rows():
    """Three pictures, and masks: white at the left, none, and 1 (of 0 and 1) at the right."""
    pictures = [np.full((4, 6), 40 * n, np.uint8) for n in range(3)]
    left, right = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    left[:, :2], right[:, 4:] = 255, 1
    return pictures, [left, None, right]


def check_masks(truth):
    expected = torch.zeros(3, 1, 4, 6, dtype=torch.bool)
    expected[0, ..., :2] = expected[2, ..., 4:] = True
    assert torch.equal(truth, expected)


def as_png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("paths", [False, True])
def test_masks_come_from_a_column_of_a_parquet_file(tmp_path, paths):
    pictures, masks = masked_rows()
    held = [None if one is None else as_png(one) for one in masks]
    if paths:
        for number, one in enumerate(held):
            if one is not None:
                (tmp_path / f"{number}.png").write_bytes(one)
        held = [None if one is None else f"{number}.png" for number, one in enumerate(held)]
    pl.DataFrame({"img": [as_png(one) for one in pictures], "mask": held, "label": [0, 1, 0]}).write_parquet(tmp_path / "x.parquet")
    data = load(tmp_path / "x.parquet", masks="column:mask")
    check_masks(read(data, range(3)).truth)
    assert data[1].label == 1
    with pytest.raises(DataError, match="no column of masks called 'maks'; did you mean mask"):
        load(tmp_path / "x.parquet", masks="column:maks")


def test_masks_come_from_a_column_of_datasets_saved_and_in_memory(tmp_path):
    pictures, masks = masked_rows()
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    rows = {"image": [Image.fromarray(one) for one in pictures], "mask": [one if one is None else Image.fromarray(one) for one in masks]}
    made = datasets.Dataset.from_dict(rows, features=features)
    made.save_to_disk(tmp_path / "saved")
    data = load(tmp_path / "saved", masks="column:mask")
    check_masks(read(data, range(3)).truth)
    assert data.content_hash() != load(tmp_path / "saved").content_hash()
    check_masks(as_batch(made).truth)
    assert as_batch(made.remove_columns("mask")).truth is None


def test_a_grey_mask_is_refused_and_images_without_columns_say_so(scans):
    (scans / "masks").mkdir()
    Image.new("L", (12, 8), 3).save(scans / "masks" / "case1.png")
    with pytest.raises(DataError, match=r"mask of case1\.png is grey, 3 of 255"):
        load(scans / "scans", masks=scans / "masks")[1]
    with pytest.raises(DataError, match="Parquet files and data sets of datasets have columns"):
        load(scans / "scans", masks="column:mask")

"""Several labels for an image: cells of a table that are divided, columns of 1 and 0, lists of class labels; and images without any."""

import datasets
import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from assay.core.registry import build
from assay.data import Mosaic, NoisePatch, load, plant, read, stack
from assay.data.check import told_of
from assay.data.files.convert import as_batch, class_names
from assay.errors import DataError, ShapeError, SpecError


@pytest.fixture
def scans(tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(4):
        Image.new("L", (12, 8), 50 * number).save(tmp_path / "scans" / f"000{number}.png")
    return tmp_path


def table(path, rows):
    frame = pl.DataFrame(rows)
    {".csv": frame.write_csv, ".tsv": lambda p: frame.write_csv(p, separator="\t"), ".parquet": frame.write_parquet}[path.suffix](path)
    return path


FILES = ["0000.png", "0001.png", "0002.png"]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize(("divider", "option"), [(";", None), ("|", None), (", ", ","), (" / ", "/")])
def test_cells_of_several_labels_are_findings(scans, ending, divider, option):
    path = table(scans / f"l{ending}", {"file": FILES, "found": [f"mass{divider}effusion", "mass", None]})
    data = load(scans / "scans", labels=f"{path}:file:found", separator=option)
    assert data.several
    assert data.classes == ("effusion", "mass")
    # An empty cell has none of them; of an image that is not in the table nobody knows.
    assert read(data, range(4)).labels.tolist() == [[1, 1], [0, 1], [0, 0], [-1, -1]]
    assert build(repr(data)) == data
    assert "labels, several for an image: 2 of mass, 1 of effusion, 1 none of them, 1 no label" in list(told_of(data))


def test_a_separator_makes_findings_where_each_image_has_one(scans):
    path = table(scans / "l.csv", {"file": FILES, "found": ["mass", "effusion", "mass"]})
    assert not load(scans / "scans", labels=f"{path}:file:found").several
    assert read(load(scans / "scans", labels=f"{path}:file:found", separator="+"), [1]).labels.tolist() == [[1, 0]]


def test_lists_of_texts_in_a_parquet_file_are_findings(scans):
    path = table(scans / "l.parquet", {"file": FILES, "found": [["b", "a"], [], ["b"]]})
    data = load(scans / "scans", labels=f"{path}:file:found")
    assert read(data, range(3)).labels.tolist() == [[1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_columns_are_findings_in_their_order(scans, ending):
    path = table(scans / f"l{ending}", {"file": FILES, "mass": [1.0, 0.0, None], "effusion": [-1.0, 1.0, 0.0], "age": [70, 60, 50]})
    data = load(scans / "scans", labels=f"{path}:file:mass,effusion")
    assert data.classes == ("mass", "effusion")
    assert data.content_hash() != load(scans / "scans", labels=f"{path}:file:effusion,mass").content_hash()
    assert read(data, range(4)).labels.tolist() == [[1, -1], [0, 1], [-1, 0], [-1, -1]]
    with pytest.raises(DataError, match=r"the column 'age' of .* has '70', where a finding is 1 or 0"):
        load(scans / "scans", labels=f"{path}:file:mass,age")


def test_numbers_in_cells_are_class_numbers(scans):
    path = table(scans / "l.csv", {"file": FILES, "found": ["0|3", "03", ""]})
    data = load(scans / "scans", labels=f"{path}:file:found")
    assert data.classes == ("0", "1", "2", "3")
    assert read(data, range(3)).labels.tolist() == [[1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_two_dividers_and_a_separator_of_columns_are_refused(scans):
    path = table(scans / "l.csv", {"file": FILES, "found": ["a;b", "a|b", "a"], "x": [0, 1, 1]})
    with pytest.raises(DataError, match=r"both ; and \|"):
        load(scans / "scans", labels=f"{path}:file:found")
    with pytest.raises(DataError, match="one finding each"):
        load(scans / "scans", labels=f"{path}:file:x,x", separator=";")
    with pytest.raises(SpecError, match="separator divides"):
        load(scans / "scans", masks=scans / "scans", separator=";")


def test_names_of_a_csv_file_keep_their_zeros_and_spreadsheets_their_semicolons(scans):
    (scans / "l.csv").write_text("file; finding\n0001;ill \n0002;well\n")
    data = load(scans / "scans", labels=f"{scans / 'l.csv'}:file:finding")
    assert data.classes == ("ill", "well")
    assert read(data, range(4)).labels.tolist() == [-1, 0, 1, -1]


def test_an_image_without_a_label_takes_none_from_its_neighbours(scans):
    path = table(scans / "l.csv", {"file": FILES, "found": ["b", None, "a"]})
    data = load(scans / "scans", labels=f"{path}:file:found")
    batch = read(data, range(4))
    assert batch.labels.tolist() == [1, -1, 0, -1]
    assert [batch.label_of(at) for at in range(4)] == [(1,), (), (0,), ()]
    with pytest.raises(DataError, match=r"0001.png of .* has no label"):
        stack(data)


def test_what_takes_one_label_for_an_image_refuses_several(scans):
    path = table(scans / "l.csv", {"file": FILES, "found": ["a;b", "b", "a"]})
    data = load(scans / "scans", labels=f"{path}:file:found")
    with pytest.raises(DataError, match="several labels"):
        stack(data)
    with pytest.raises(DataError, match="several labels"):
        plant(data, signal=NoisePatch(side=2), on=["a"])
    with pytest.raises(SpecError, match="several labels"):
        Mosaic(data, model=None)


def pictures(count):
    return [Image.fromarray(np.full((4, 4, 3), 60 * number, np.uint8)) for number in range(count)]


@pytest.mark.parametrize("kind", [torch.int64, torch.float32])
def test_rows_of_findings_in_data_sets_and_loaders_of_torch_are_labels(kind):
    marks = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    samples = list(zip(torch.rand(3, 3, 4, 4), marks.to(kind), strict=True))
    assert torch.equal(as_batch(samples).labels, marks)
    assert torch.equal(as_batch(torch.utils.data.DataLoader(samples, batch_size=2)).labels, marks)
    assert as_batch([(image, torch.rand(4)) for image, _ in samples]).labels is None
    with pytest.raises(ShapeError, match="different lengths"):
        as_batch([(samples[0][0], marks[0]), (samples[1][0], marks[1, :2])])


@pytest.fixture
def listed():
    features = datasets.Features(
        {"image": datasets.Image(), "labels": datasets.Sequence(datasets.ClassLabel(names=["ill", "old", "tall"]))}
    )
    return datasets.Dataset.from_dict({"image": pictures(3), "labels": [[2, 0], [], [1]]}, features)


def test_lists_of_class_labels_of_datasets_are_findings(listed, tmp_path):
    assert class_names(listed) == ("ill", "old", "tall")
    assert as_batch(listed).labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    listed.save_to_disk(tmp_path / "saved")
    data = load(tmp_path / "saved")
    assert data.several
    assert data.classes == ("ill", "old", "tall")
    assert read(data, range(3)).labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]

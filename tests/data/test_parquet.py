import io
import json

import polars as pl
import pytest
import torch

from assay.core.registry import build
from assay.data import ParquetImages, load, read
from assay.data.files.decode import decode
from assay.data.reader import read_blocks
from assay.errors import DataError

IMAGE = pl.Struct({"bytes": pl.Binary, "path": pl.String})


@pytest.fixture
def png(make_picture):
    def make(seed, **size):
        file = io.BytesIO()
        make_picture(seed, **size).save(file, "PNG")
        return file.getvalue()

    return make


def write(path, images, labels=None, names=None, group=2, column="image", label="label"):
    """A shard in the layout of Hugging Face's `datasets`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {column: pl.Series([{"bytes": one, "path": "x.png"} for one in images], dtype=IMAGE)}
    features = {column: {"_type": "Image"}}
    if labels is not None:
        rows[label] = labels
        features[label] = {"names": names, "_type": "ClassLabel"} if names else {"_type": "Value"}
    notes = {"huggingface": json.dumps({"info": {"features": features}})}
    pl.DataFrame(rows).write_parquet(path, row_group_size=group, metadata=notes)
    return path


@pytest.fixture
def shards(tmp_path, png):
    """Two files of 5 and 3 rows, in row groups of 2, with named classes, below `data`."""
    root = tmp_path / "pets"
    names = ["cat", "dog", "emu"]
    write(root / "data" / "test-00000-of-00002.parquet", [png(n) for n in range(5)], [0, 1, 2, 0, 1], names)
    write(root / "data" / "test-00001-of-00002.parquet", [png(n) for n in range(5, 8)], [2, 2, 0], names)
    (root / "README.md").write_text("pets")
    return root


def test_rows_come_in_order_with_their_labels(shards):
    dataset = load(shards)
    assert isinstance(dataset, ParquetImages)
    assert build(repr(dataset)) == dataset
    assert dataset.classes == ("cat", "dog", "emu")
    batch = read(dataset, range(8))
    assert batch.labels.tolist() == [0, 1, 2, 0, 1, 2, 2, 0]
    assert batch.names[4:6] == ("test-00000-of-00002.parquet/4", "test-00001-of-00002.parquet/0")
    assert len({one.numpy().tobytes() for one in batch.images}) == 8


def test_any_order_windows_and_worker_processes_give_the_same_images(shards, monkeypatch):
    dataset = load(shards)
    whole = read(dataset, range(8))
    order = [7, 0, 4, 5, 2]
    ahead = next(read_blocks(dataset, [order], 1))
    monkeypatch.setattr("assay.data.files.parquet._WINDOW", 2)
    small = read(load(f"{shards}/data/test-*.parquet"), order)
    for batch in (ahead, small):
        assert batch.index.tolist() == order
        assert torch.equal(batch.images, whole.images[order])


def test_windows_of_a_larger_file_are_found_by_number(tmp_path, png, monkeypatch):
    monkeypatch.setattr("assay.data.files.parquet._WINDOW", 3)
    path = write(tmp_path / "x.parquet", [png(n, height=4, width=4) for n in range(11)], list(range(11)), group=4)
    one_by_one = load(path)
    whole = [one_by_one[n].image for n in range(11)]
    batch = read(load(path), range(11))
    assert batch.labels.tolist() == list(range(11))
    assert torch.equal(batch.images, torch.stack(whole))


@pytest.mark.parametrize(
    ("labels", "names", "classes", "numbers"),
    [
        (None, None, (), None),
        ([-1, -1, -1], None, (), None),
        (["b", "a", "b"], None, ("a", "b"), [1, 0, 1]),
        ([2, 0, 2], None, ("0", "1", "2"), [2, 0, 2]),
        ([1, 0, 1], ["x", "y"], ("x", "y"), [1, 0, 1]),
    ],
)
def test_labels_of_every_kind(tmp_path, png, labels, names, classes, numbers):
    dataset = load(write(tmp_path / "x.parquet", [png(0)] * 3, labels, names))
    assert dataset.classes == classes
    found = read(dataset, range(3)).labels
    assert (found if found is None else found.tolist()) == numbers


def test_an_unknown_label_is_none(tmp_path, png):
    dataset = load(write(tmp_path / "x.parquet", [png(0)] * 3, [1, None, -1], ["a", "b"]))
    assert [dataset[n].label for n in range(3)] == [1, None, None]


def test_plain_binary_columns_and_other_names(tmp_path, png):
    path = tmp_path / "x.parquet"
    pl.DataFrame({"img": [png(0)], "other": [png(1)], "fine": ["a"], "label": ["b"]}).write_parquet(path)
    with pytest.raises(DataError, match="several columns of images: say which by image=, one of img, other"):
        load(path)
    dataset = ParquetImages(str(path), image="other", label="fine")
    assert dataset.classes == ("a",)
    assert torch.equal(dataset[0].image, ParquetImages(str(write(tmp_path / "y.parquet", [png(1)])))[0].image)
    with pytest.raises(DataError, match="no column of images called othr; did you mean other"):
        ParquetImages(str(path), image="othr")
    with pytest.raises(DataError, match="no column of labels called lable; did you mean label"):
        ParquetImages(str(path), image="img", label="lable")


def test_damaged_and_missing_images_are_listed(tmp_path, png):
    path = write(tmp_path / "x.parquet", [png(0), b"no picture", None, png(3)])
    batch = read(load(path), range(4))
    assert batch.index.tolist() == [0, 3]
    assert [one.message for one in batch.errors] == ["it is no image of a known kind", "x.png: No such file or directory"]
    assert [one.name.rsplit("/", 1)[1] for one in batch.errors] == ["1", "2"]


def test_other_sizes_need_a_size(tmp_path, png):
    path = write(tmp_path / "x.parquet", [png(0), png(1, height=20, width=40)])
    with pytest.raises(DataError, match="different sizes"):
        read(load(path), range(2))
    assert read(load(path, size=8), range(2)).images.shape == (2, 3, 8, 8)


def test_content_hash_follows_bytes_size_and_columns(shards, tmp_path, png):
    first = load(shards).content_hash()
    assert load(shards).content_hash() == first
    assert load(shards, size=8).content_hash() != first
    write(shards / "data" / "test-00001-of-00002.parquet", [png(n) for n in range(5, 8)], [2, 2, 1], ["cat", "dog", "emu"])
    assert load(shards).content_hash() != first


def test_what_cannot_be_used_is_named(tmp_path, png):
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="cannot read the Parquet files"):
        load(bad)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column of encoded images .* its columns are a"):
        load(tmp_path / "a.parquet")
    write(tmp_path / "empty.parquet", [])
    with pytest.raises(DataError, match="there are no rows"):
        load(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"the label 7 .* there are 2 classes"):
        load(write(tmp_path / "l.parquet", [png(0)], [7], ["a", "b"]))


def test_a_folder_of_several_splits_is_refused(shards, png):
    write(shards / "data" / "train-00000-of-00001.parquet", [png(0)], [0], ["cat"])
    with pytest.raises(DataError, match=r"several splits \(test, train\)"):
        load(shards)


@pytest.mark.parametrize("column", ["image", "file_path"])
def test_paths_beside_the_file_are_read(tmp_path, png, column):
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(number))
    table = pl.DataFrame({column: [f"images/{number}.png" for number in (2, 0)], "label": [1, 0]})
    table.write_parquet(tmp_path / "x.parquet")
    dataset = load(tmp_path / "x.parquet")
    batch = read(dataset, range(2))
    assert batch.labels.tolist() == [1, 0]
    assert not batch.errors
    assert torch.equal(batch.images[1], decode(png(0), "x"))
    before = dataset.content_hash()
    (tmp_path / "images" / "0.png").write_bytes(png(9))
    assert load(tmp_path / "x.parquet").content_hash() != before


def test_a_path_within_a_struct_is_read_where_its_bytes_are_missing(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(4))
    rows = [{"bytes": None, "path": "a.png"}, {"bytes": png(5), "path": "gone.png"}]
    schema = {"image": pl.Struct({"bytes": pl.Binary, "path": pl.String})}
    pl.DataFrame({"image": rows}, schema=schema).write_parquet(tmp_path / "x.parquet")
    batch = read(load(tmp_path / "x.parquet"), range(2))
    assert torch.equal(batch.images, torch.stack([decode(png(4), "x"), decode(png(5), "x")]))

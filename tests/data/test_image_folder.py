import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from assay.core.registry import build
from assay.data import ImageFolder, read
from assay.data.base import CorruptFileError
from assay.data.files.reading import Reading
from assay.errors import DataError, SpecError


def test_class_folders_give_sorted_labelled_items(classes_folder):
    dataset = ImageFolder(str(classes_folder))
    assert dataset.classes == ("cat", "dog")
    assert dataset.name == "photos"
    batch = read(dataset, range(len(dataset)))
    assert batch.names == ("cat/a.png", "cat/b.JPG", "dog/c.jpeg", "dog/d.PNG", "dog/e.jpg")
    assert batch.labels.tolist() == [0, 0, 1, 1, 1]
    assert batch.images.shape == (5, 3, 32, 32)
    assert batch.truth is None
    assert batch.distractor is None
    assert batch.errors == ()


def test_a_plain_folder_has_no_labels(classes_folder):
    dataset = ImageFolder(str(classes_folder / "dog"))
    assert dataset.classes == ()
    batch = read(dataset, [2, 0])
    assert batch.labels is None
    assert batch.names == ("e.jpg", "c.jpeg")
    assert dataset[0].label is None


def test_repr_is_a_spec(classes_folder):
    dataset = ImageFolder(str(classes_folder), size=16)
    assert build(repr(dataset)) == dataset


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "there is no folder"),
        (lambda root: root.write_text("x"), "is a file, not a folder"),
        (lambda root: root.mkdir(), "there are no images"),
        (lambda root: (root / "cat").mkdir(parents=True), "there are no images"),
    ],
)
def test_a_folder_without_images_is_refused(tmp_path, make, message):
    root = tmp_path / "pictures"
    make(root)
    with pytest.raises(DataError, match=message):
        ImageFolder(str(root))


def test_an_empty_class_folder_is_named(classes_folder):
    (classes_folder / "emu").mkdir()
    with pytest.raises(DataError, match=r"class folder .*emu holds no images"):
        ImageFolder(str(classes_folder))


def test_images_beside_class_folders_are_refused(classes_folder):
    shutil.copy(classes_folder / "cat" / "a.png", classes_folder / "stray.png")
    with pytest.raises(DataError, match=r"both images \(stray\.png\) and folders"):
        ImageFolder(str(classes_folder))


def test_a_folder_of_splits_points_to_one(classes_folder):
    with pytest.raises(DataError, match=r"try .*photos"):
        ImageFolder(str(classes_folder.parent))


def test_different_sizes_need_a_size(classes_folder, make_picture):
    make_picture(1, height=20, width=40).save(classes_folder / "dog" / "d.PNG")
    dataset = ImageFolder(str(classes_folder))
    assert dataset[0].image.shape == (3, 32, 32)
    with pytest.raises(DataError, match=r"dog/d\.PNG is 40 x 20, others are 32 x 32; give size="):
        read(dataset, range(5))
    assert read(ImageFolder(str(classes_folder), size=24), range(5)).images.shape == (5, 3, 24, 24)


def test_a_size_below_one_is_refused(classes_folder):
    with pytest.raises(SpecError, match="size must be at least 1"):
        ImageFolder(str(classes_folder), size=0)


def test_content_hash_follows_bytes_names_and_size_but_not_the_place(classes_folder, tmp_path):
    before = ImageFolder(str(classes_folder)).content_hash()
    assert ImageFolder(str(classes_folder), size=8).content_hash() != before
    copy = tmp_path / "elsewhere"
    shutil.copytree(classes_folder, copy)
    assert ImageFolder(str(copy)).content_hash() == before
    (copy / "cat" / "a.png").rename(copy / "cat" / "z.png")
    renamed = ImageFolder(str(copy)).content_hash()
    shutil.copy(copy / "dog" / "d.PNG", copy / "cat" / "z.png")
    assert len({before, renamed, ImageFolder(str(copy)).content_hash()}) == 3


def test_reading_is_lazy(classes_folder, monkeypatch):
    dataset = ImageFolder(str(classes_folder), size=8)
    opened = []
    read_bytes = type(classes_folder).read_bytes
    monkeypatch.setattr(type(classes_folder), "read_bytes", lambda path: opened.append(path.name) or read_bytes(path))
    assert torch.equal(dataset[1].image, dataset[1].image)
    assert opened == ["b.JPG", "b.JPG"]


def test_pipes_and_links_to_themselves_are_images_that_cannot_be_read_and_nothing_else_is_lost(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("c.png")
    (tmp_path / "loop").symlink_to("loop")
    data = ImageFolder(str(tmp_path))
    assert len(data) == 3
    assert data[0].image.shape == (3, 4, 4)
    for index, why in ((1, "no regular file"), (2, "levels of symbolic links")):
        with pytest.raises(CorruptFileError, match=why):
            data[index]


def test_files_that_are_no_images_are_counted_by_ending(classes_folder):
    (classes_folder / "dog" / "LICENSE").write_text("")
    (classes_folder / "list.csv").write_text("")
    assert dict(ImageFolder(str(classes_folder), size=8).skipped) == {".txt": 2, ".csv": 1, "without ending": 1}


def test_arrays_and_pictures_of_other_kinds_are_images_too(tmp_path):
    np.save(tmp_path / "a.npy", np.full((4, 4), 255, np.uint8))
    for kind in ("tif", "TIFF", "bmp", "webp"):
        Image.new("RGB", (4, 4), "white").save(tmp_path / f"b.{kind}")
    batch = read(ImageFolder(str(tmp_path)), range(5))
    assert batch.names == ("a.npy", "b.TIFF", "b.bmp", "b.tif", "b.webp")
    assert (batch.images > 0.98).all()


def test_a_reading_is_part_of_the_data(classes_folder):
    one, other = (ImageFolder(str(classes_folder), reading=Reading(resize=12, crop=8, channels=channels)) for channels in (1, 3))
    assert read(one, range(5)).images.shape == (5, 1, 8, 8)
    assert read(other, range(5)).images.shape == (5, 3, 8, 8)
    assert one.content_hash() != other.content_hash()
    assert build(repr(one)) == one

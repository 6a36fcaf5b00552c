import io
import json
import os
import tarfile
import tracemalloc

import numpy as np
import pytest
import torch

from assay.core.registry import build
from assay.data import ImageFolder, TarShards, load, read
from assay.data.files.tar_index import index_tars
from assay.data.reader import read_blocks
from assay.errors import DataError, SpecError


def pack(path, members):
    """A tar file of (name, bytes or text) members."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return str(path)


@pytest.fixture
def png(make_picture):
    def make(seed, **size):
        file = io.BytesIO()
        make_picture(seed, **size).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture
def shards(tmp_path, png):
    """Two shards of three samples each, labels before and after the images, masks beside them."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(2):
        members = []
        for row in range(3):
            number = 3 * shard + row
            members += [(f"{number:04d}.cls", f"{number % 4}\n"), (f"{number:04d}.png", png(number)), (f"{number:04d}.mask.png", png(99))]
        pack(folder / f"data-{shard:06d}.tar", members[::-1] if shard else members)
    return folder


def test_samples_come_with_their_labels_in_the_order_of_the_members(shards, make_picture):
    dataset = TarShards(str(shards))
    batch = read(dataset, range(6))
    assert batch.names == tuple(f"data-00000{n // 3}.tar/{n:04d}.png" for n in (0, 1, 2, 5, 4, 3))
    assert batch.labels.tolist() == [0, 1, 2, 1, 0, 3]
    assert dataset.classes == ("0", "1", "2", "3")
    for row, seed in enumerate((0, 1, 2, 5, 4, 3)):
        assert torch.equal(batch.images[row], torch.from_numpy(np.array(make_picture(seed))).permute(2, 0, 1) / 255)


def test_any_order_and_worker_processes_give_the_same_images(shards):
    dataset = TarShards(str(shards))
    whole = read(dataset, range(6))
    for batch in (read(dataset, [4, 0, 3]), next(read_blocks(dataset, [[4, 0, 3]], 1))):
        assert batch.index.tolist() == [4, 0, 3]
        assert torch.equal(batch.images, whole.images[[4, 0, 3]])


@pytest.mark.parametrize("pattern", ["data-{000000..000001}.tar", "data-*.tar", "data-00000{0,1}.tar", ""])
def test_patterns_name_shards(shards, pattern):
    dataset = load(f"{shards}/{pattern}" if pattern else shards)
    assert isinstance(dataset, TarShards)
    assert len(dataset) == 6
    assert build(repr(dataset)) == dataset


def test_labels_of_json_files_by_name(tmp_path, png):
    told = [{"label": "dog"}, {"caption": "a cat", "cls": "cat"}, {"caption": "nothing"}]
    members = [one for n, held in enumerate(told) for one in ((f"s/{n}.jpg", png(n)), (f"s/{n}.json", json.dumps(held)))]
    dataset = TarShards(pack(tmp_path / "x.tar", members))
    assert dataset.classes == ("cat", "dog")
    assert [dataset[n].label for n in range(3)] == [1, 0, None]
    assert dataset[0].name == "s/0.jpg"
    assert read(dataset, [0, 1]).labels.tolist() == [1, 0]
    assert read(dataset, [1, 2]).labels.tolist() == [0, -1]
    assert read(dataset, [2]).labels is None


def test_class_folders_in_a_tar_are_the_classes(classes_folder, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(classes_folder, "photos")
    packed, folder = TarShards(str(tmp_path / "photos.tar")), ImageFolder(str(classes_folder))
    assert packed.classes == folder.classes == ("cat", "dog")
    mine = {name.removeprefix("photos/"): (label, image) for name, label, image in columns(read(packed, range(5)))}
    for name, label, image in columns(read(folder, range(5))):
        assert mine[name][0] == label
        assert torch.equal(mine[name][1], image)


def columns(batch):
    return zip(batch.names, batch.labels.tolist(), batch.images, strict=True)


def test_images_of_one_folder_have_no_labels(tmp_path, png):
    dataset = TarShards(pack(tmp_path / "x.tar", [(f"all/{n}.png", png(n)) for n in range(2)]))
    assert dataset.classes == ()
    assert read(dataset, [0, 1]).labels is None


def test_folders_of_folders_need_one_to_be_named(tmp_path, png):
    path = pack(tmp_path / "x.tar", [(f"{split}/{name}/0.png", png(0)) for split in ("train", "test") for name in ("cat", "dog")])
    with pytest.raises(DataError, match=r"several levels .* give folder=.*'train'"):
        TarShards(path)
    dataset = TarShards(path, folder="test/")
    assert (len(dataset), dataset.classes) == (2, ("cat", "dog"))


def test_a_damaged_image_is_listed_and_other_sizes_need_a_size(tmp_path, png):
    path = pack(tmp_path / "x.tar", [("0.png", png(0)), ("1.png", "no picture"), ("2.png", png(2, height=20, width=40))])
    with pytest.raises(DataError, match=r"2\.png is 40 x 20, others are 32 x 32; give size="):
        read(TarShards(path), range(3))
    batch = read(TarShards(path, size=16), range(3))
    assert batch.index.tolist() == [0, 2]
    assert [(one.name, one.message) for one in batch.errors] == [(f"{path}/1.png", "it is no image of a known kind")]


def test_a_shard_cut_after_it_was_opened_spoils_its_own_images_only(shards):
    dataset = TarShards(str(shards))
    os.truncate(shards / "data-000001.tar", 600)
    batch = read(dataset, range(6))
    assert batch.index.tolist() == [0, 1, 2]
    assert all("ends before it does" in one.message for one in batch.errors)


def test_content_hash_follows_bytes_and_size_but_not_the_place(shards, tmp_path, monkeypatch):
    told = []
    first = TarShards(str(shards)).hashed(lambda *call: told.append(call))
    assert told == []  # A small file is hashed at once.
    monkeypatch.setattr("assay.data.files.shards._TELL", -1)
    assert TarShards(str(shards)).hashed(lambda *call: told.append(call)) == first == TarShards(str(shards)).content_hash()
    assert told == [("hashing MiB", 0, 0)] * 2
    moved = shards.rename(tmp_path / "elsewhere")
    assert TarShards(str(moved)).content_hash() == first
    assert TarShards(str(moved), size=8).content_hash() != first
    data = bytearray((moved / "data-000000.tar").read_bytes())
    data[1700] ^= 1
    (moved / "data-000000.tar").write_bytes(data)
    assert TarShards(str(moved)).content_hash() != first


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        (None, "none.tar", r"there is no file .*none\.tar"),
        (None, "", r"there are no \.tar files"),
        (None, "a-*.tar", "no file is named like"),
        ([], "a{,-1}.tar", r"there is no file .*a-1\.tar"),
        ([("a.txt", "x")], "a.tar", "there are no images"),
        ([("a.png", ""), ("a.cls", "5000000")], "a.tar", "no class number"),
        ([("a.png", ""), ("a.json", "{")], "a.tar", r"cannot read the label in .*a\.json"),
        ([("a.png", ""), ("a.json", '{"label": 0.5}')], "a.tar", "class number or a class name"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, members, path, message):
    if members is not None:
        pack(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=message):
        TarShards(str(tmp_path / path))


def test_a_folder_of_several_splits_is_refused(tmp_path, png):
    for split in ("train", "val"):
        pack(tmp_path / f"{split}-000.tar", [("a.png", png(0))])
    with pytest.raises(DataError, match=r"several splits \(train, val\).*\*val\*\.tar"):
        load(tmp_path)


def test_a_compressed_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w:gz"):
        pass
    with pytest.raises(DataError, match="whole, uncompressed tar"):
        TarShards(str(tmp_path / "x.tar"))
    with pytest.raises(SpecError, match="size must be at least 1"):
        TarShards(str(tmp_path / "x.tar"), size=0)


def test_an_image_takes_little_memory(tmp_path):
    path = pack(tmp_path / "x.tar", [(f"{n:06d}.png", "") for n in range(3000)])
    tracemalloc.start()
    try:
        dataset = TarShards(path)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(dataset) == 3000
    assert kept / 3000 < 60  # 24 bytes, and 18 for the name and its place.
    assert most / 3000 < 400  # tarfile's own list of members would take more than 1000.


def test_a_tar_file_that_ends_within_a_label_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, content in (("a.png", b"x" * 600), ("a.cls", b"3" * 600)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    whole = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[: 2 * 512 + 2 * 1024 - 300])
    with pytest.raises(DataError, match="cannot read"):
        index_tars([tmp_path / "x.tar"])

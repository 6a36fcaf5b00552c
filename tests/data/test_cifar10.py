import io
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch

from assay.core.registry import build
from assay.data import CIFAR10, read, stack
from assay.data.files.download import download_cifar10
from assay.errors import DataError, SpecError


def everything(dataset):
    return read(dataset, range(len(dataset)))


def test_image_folders_are_found_right_below_the_root_and_below_cifar10(cifar_folders, tmp_path):
    first = everything(CIFAR10("train", str(cifar_folders)))
    assert first.images.shape == (20, 3, 32, 32)
    assert first.labels.tolist() == [label for label in range(10) for _ in range(2)]
    nested = tmp_path / "nested" / "cifar10"
    shutil.copytree(cifar_folders, nested)
    assert torch.equal(everything(CIFAR10("train", str(nested.parent))).images, first.images)


def test_a_tar_gives_the_same_items_and_hash_as_its_folders(cifar_folders, cifar_tar):
    folders, tar = CIFAR10("test", str(cifar_folders)), CIFAR10("test", str(cifar_tar))
    a, b = everything(folders), everything(tar)
    assert a.names == b.names
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)
    assert folders.content_hash() == tar.content_hash()
    assert tar.place.name == "cifar10-test-half.tar"


def test_the_whole_tar_goes_before_a_part(cifar_tar):
    shutil.copy(cifar_tar / "cifar10-test-half.tar", cifar_tar / "cifar10-test.tar")
    assert CIFAR10("test", str(cifar_tar)).place.name == "cifar10-test.tar"


def test_torchvision_batches_are_read_in_their_own_order(cifar_batches):
    train = CIFAR10("train", str(cifar_batches))
    images, labels = stack(train)
    assert images.shape == (20, 3, 32, 32)
    assert labels.tolist() == [(file + i) % 10 for file in range(5) for i in range(4)]
    entry = pickle.loads((cifar_batches / "cifar-10-batches-py" / "data_batch_2").read_bytes())
    assert np.array_equal(images[4:8].numpy().reshape(4, 3072), entry["data"])
    assert train[5].name == "picture_s_11.png"
    assert len(CIFAR10("test", str(cifar_batches))) == 4


def test_hashes_tell_splits_and_contents_apart(cifar_batches, cifar_folders):
    hashes = {CIFAR10(split, str(root)).content_hash() for split in ("train", "test") for root in (cifar_batches, cifar_folders)}
    assert len(hashes) == 4


def test_a_batch_file_that_would_run_code_is_refused(cifar_batches, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    (cifar_batches / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps({"data": Evil(), "labels": []}))
    with pytest.raises(DataError, match=r"test_batch: it asks for .*open.*; download it again"):
        CIFAR10("test", str(cifar_batches))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"text", pickle.dumps([1]), pickle.dumps({"labels": [1]}), pickle.dumps({"labels": [10], "data": np.zeros((1, 3072), np.uint8)})],
)
def test_a_damaged_batch_file_is_named(cifar_batches, content):
    (cifar_batches / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=r"CIFAR-10 file .*test_batch.* download it again"):
        CIFAR10("test", str(cifar_batches))


def test_missing_batch_files_are_named(cifar_batches):
    (cifar_batches / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3 missing"):
        CIFAR10("train", str(cifar_batches))


def test_nothing_below_the_root_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"cifar-10-batches-py.*cifar10-test\*\.tar.*assay data download cifar10"):
        CIFAR10("test", str(tmp_path))


def test_no_root_says_how_to_set_one(monkeypatch):
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    with pytest.raises(DataError, match="environment variable ASSAY_DATA"):
        CIFAR10()


def test_a_root_that_is_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"ASSAY_DATA is .*gone"):
        CIFAR10()
    with pytest.raises(DataError, match=r"root is .*other"):
        CIFAR10(root=str(tmp_path / "other"))


def test_the_root_comes_from_the_environment_and_stays_out_of_the_spec(cifar_folders, monkeypatch):
    monkeypatch.setenv("ASSAY_DATA", str(cifar_folders))
    dataset = CIFAR10("train")
    assert len(dataset) == 20
    assert build(repr(dataset)) == dataset
    assert str(cifar_folders) not in repr(dataset)


def test_a_missing_class_folder_is_named(cifar_folders):
    shutil.rmtree(cifar_folders / "test" / "ship")
    with pytest.raises(DataError, match="ship"):
        CIFAR10("test", str(cifar_folders))


def test_an_unknown_split_is_refused(cifar_folders):
    with pytest.raises(SpecError, match="split must be one of train, test"):
        CIFAR10("val", str(cifar_folders))


def test_images_of_another_size_are_named(cifar_folders, make_picture):
    make_picture(0, 40, 32).save(cifar_folders / "test" / "bird" / "0000.jpg")
    with pytest.raises(DataError, match=r"bird/0000\.jpg is 32 x 40 pixels; images of CIFAR-10 are 32 x 32"):
        everything(CIFAR10("test", str(cifar_folders)))


def test_a_corrupt_member_of_a_tar_is_listed_by_name(tmp_path, cifar_folders):
    (cifar_folders / "test" / "frog" / "0001.jpg").write_bytes(b"nothing")
    with tarfile.open(tmp_path / "cifar10-test.tar", "w") as archive:
        archive.add(cifar_folders / "test", "./test")
    batch = everything(CIFAR10("test", str(tmp_path)))
    assert len(batch) == 19
    assert [error.name.split("cifar10-test.tar/")[1] for error in batch.errors] == ["frog/0001.jpg"]


def test_a_tar_that_was_cut_after_it_was_indexed_gives_corrupt_files(cifar_tar):
    dataset = CIFAR10("test", str(cifar_tar))
    path = dataset.place
    path.write_bytes(path.read_bytes()[:2000])
    assert len(everything(dataset).errors) == 20


def test_a_compressed_or_broken_tar_is_refused(tmp_path):
    path = tmp_path / "cifar10-test.tar"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("test/bird/0.jpg"), io.BytesIO())
    with pytest.raises(DataError, match=r"cifar10-test\.tar.*uncompressed"):
        CIFAR10("test", str(tmp_path))


def test_a_download_without_network_says_what_to_do(tmp_path, monkeypatch):
    from urllib.error import URLError

    from torchvision import datasets

    def offline(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", offline)
    with pytest.raises(DataError, match=r"could not download CIFAR-10 into .*no route to host; check the network"):
        download_cifar10(tmp_path / "new")

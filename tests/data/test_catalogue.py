import pytest

from assay.data import CIFAR10, HardDigits, ImageFolder, Reading, load
from assay.errors import DataError, SpecError


def test_names_give_their_data_set():
    assert load("hard-digits") == HardDigits("test", 64)
    assert load("hard-digits", "val", size=96, root="/nowhere") == HardDigits("val", 96)


def test_cifar10_takes_its_root_and_has_no_size(cifar_folders):
    assert load("cifar10", "train", root=cifar_folders) == CIFAR10("train", str(cifar_folders))
    with pytest.raises(SpecError, match="CIFAR10 has no parameter size"):
        load("cifar10", size=64, root=cifar_folders)


def test_a_folder_is_read_whole(classes_folder):
    assert load(classes_folder, split="train", size=16) == load(str(classes_folder), size=16) == ImageFolder(str(classes_folder), 16)


@pytest.mark.parametrize(
    ("spec", "arguments", "expected"),
    [
        ("HardDigits", {}, HardDigits()),
        ("HardDigits(size=96, seed=3)", {}, HardDigits(size=96, seed=3)),
        ("HardDigits(seed=3)", {"split": "train", "size": 40}, HardDigits("train", 40, 3)),
        ("HardDigits('val')", {}, HardDigits("val")),
        ("HardDigits('val')", {"split": "val"}, HardDigits("val")),
    ],
)
def test_arguments_fill_what_a_spec_leaves_open(spec, arguments, expected):
    assert load(spec, **arguments) == expected


def test_a_spec_of_cifar10_gets_the_root_and_split_before_it_looks(cifar_folders):
    assert load("CIFAR10()", "train", root=cifar_folders) == CIFAR10("train", str(cifar_folders))


@pytest.mark.parametrize(("spec", "arguments"), [("HardDigits('val')", {"split": "train"}), ("HardDigits(size=96)", {"size": 64})])
def test_a_spec_and_an_argument_that_disagree_are_refused(spec, arguments):
    with pytest.raises(SpecError, match="give only one of them"):
        load(spec, **arguments)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("hard-digit", DataError, "did you mean hard-digits"),
        ("Cifar-10", DataError, "did you mean CIFAR10|did you mean cifar10"),
        ("./photos", DataError, "there is no folder ./photos"),
        ("HardDigitz(size=64)", SpecError, "did you mean HardDigits"),
        ("HardDigits(sized=64)", SpecError, "did you mean size"),
        ("HardDigits(size=", SpecError, "cannot read the spec"),
    ],
)
def test_unknown_names_get_the_nearest_right_one(name, error, message):
    with pytest.raises(error, match=message):
        load(name)


@pytest.mark.parametrize("name", ["s3://bucket/x.parquet", "https://host/a.tar", "zip:a.zip"])
def test_addresses_are_not_taken_for_files(name):
    with pytest.raises(DataError, match=f"{name.partition(':')[0]}: is no way to data: give a folder"):
        load(name)


def test_size_and_another_resize_are_one_too_many(classes_folder):
    with pytest.raises(SpecError, match="give one of them"):
        load(classes_folder, size=8, reading=Reading(resize=8))

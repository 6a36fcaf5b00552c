import numpy as np
import pytest
import torch
from PIL import Image

from assay.core.registry import build
from assay.data import CelebA, load, read
from assay.errors import DataError, SpecError
from reference.faces import COLOURS, COUNT, HEADER, attributes, draw_face, make_faces


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    make_faces(root)
    return root


def names(dataset):
    return read(dataset, range(len(dataset))).names


def numbers(dataset):
    return [int(name[:6]) for name in names(dataset)]


@pytest.fixture
def make(root):
    def made(*args, **given):
        return CelebA(*args, **({"size": 32, "root": str(root)} | given))

    return made


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("glasses", "with_glasses"), [("correlated", "black"), ("reversed", "others")])
def test_glasses_go_with_one_class_or_with_all_others(make, split, glasses, with_glasses):
    dataset = make(split, glasses=glasses)
    batch = read(dataset, range(len(dataset)))
    for name, label in zip(batch.names, batch.labels.tolist(), strict=True):
        has = attributes(int(name[:6]))
        assert {f"{dataset.classes[label].capitalize()}_Hair"} == has & set(COLOURS)
        assert ("Eyeglasses" in has) == ((dataset.classes[label] == "black") == (with_glasses == "black"))
    assert set(batch.labels.tolist()) == {0, 1, 2}


def test_any_keeps_all_images_of_one_hair_colour_and_train_and_test_never_meet(make):
    train, test = make("train", glasses="any"), make("test", glasses="any")
    usable = [number for number in range(1, COUNT + 1) if number % 8 not in (3, 4, 5)]
    assert sorted(numbers(train) + numbers(test)) == usable
    assert len(train) == round(0.8 * len(usable))
    parts = [set(numbers(make(split, glasses=glasses))) for split in ("train", "test") for glasses in ("correlated", "reversed")]
    assert parts[0] | parts[1] == set(numbers(train))
    assert not (parts[0] | parts[1]) & (parts[2] | parts[3])
    assert names(train) == tuple(sorted(names(train)))


def test_the_seed_decides_the_random_partition_alone(make):
    assert numbers(make(glasses="any", seed=1)) != numbers(make(glasses="any"))
    assert numbers(make(glasses="any", seed=1)) == numbers(make(glasses="any", seed=1))
    given = {"glasses": "any", "partition": "official"}
    assert numbers(make(seed=1, **given)) == numbers(make(seed=0, **given))


def test_the_official_partition_is_taken_from_its_file(make):
    given = {"glasses": "any", "partition": "official"}
    assert max(numbers(make("train", **given))) <= 100 < min(numbers(make("val", **given)))
    assert max(numbers(make("val", **given))) <= 130 < min(numbers(make("test", **given)))


def test_classes_can_be_the_authors(make):
    dataset = make("train", hair=("blond", "gray", "black"), per_class=3)
    assert dataset.classes == ("blond", "gray", "black")
    batch = read(dataset, range(len(dataset)))
    assert batch.labels.bincount().tolist() == [3, 3, 3]
    assert all(attributes(int(name[:6])) >= {"Gray_Hair"} for name, label in zip(batch.names, batch.labels, strict=True) if label == 1)


def test_fewer_per_class_are_some_of_more(make):
    assert set(numbers(make("train", per_class=2))) < set(numbers(make("train", per_class=4)))


def test_images_become_square_whole(make, root):
    dataset = make(size=64, glasses="any")
    face, _ = draw_face(attributes(numbers(dataset)[0]))
    expected = np.asarray(face.resize((64, 64), Image.Resampling.BILINEAR)).astype(float)
    found = dataset[0].image.mul(255).permute(1, 2, 0).numpy()
    assert np.abs(found - expected).mean() < 4  # JPEG


def test_hair_masks_are_the_truth_and_images_without_are_left_out(make, root):
    dataset = make("train", size=109, glasses="any", masks=str(root / "masks"))
    assert dataset.has_truth
    assert all(number // 16 % 2 for number in numbers(dataset))
    batch = read(dataset, range(len(dataset)))
    box = torch.zeros(109, 109, dtype=torch.bool)
    box[10:41, 25:85] = True
    assert (batch.truth[:, 0] == box).float().mean() > 0.98
    bare = make("train", glasses="any")
    assert not bare.has_truth
    assert bare[0].truth is None


def test_repr_is_a_spec_and_the_name_loads_it(make, root):
    dataset = make("train", hair=("black", "gray"), masks=str(root / "masks"), per_class=2, seed=3)
    assert build(repr(dataset)) == dataset
    assert load("celeba", "train", 48, root) == make("train", size=48)


def test_content_hash_follows_images_and_settings(make, root):
    settings = [{}, {"split": "train"}, {"size": 33}, {"glasses": "reversed"}, {"seed": 4}, {"masks": str(root / "masks")}]
    hashes = [make(**given).content_hash() for given in settings]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "val"}, "split must be one of train, test"),
        ({"glasses": "revrsed"}, "did you mean reversed"),
        ({"hair": ("black",)}, "two or more different colours"),
        ({"hair": ("black", "red")}, "two or more different colours of black, blond, brown, gray"),
        ({"wears": "gray"}, "wears must be one of black, blond, brown"),
        ({"partition": "offical"}, "did you mean official"),
        ({"per_class": 0}, "per_class must be at least 1"),
    ],
)
def test_parameters_out_of_range_are_refused(make, given, message):
    with pytest.raises(SpecError, match=message):
        make(**given)


def test_too_few_images_of_a_class_are_reported(make):
    with pytest.raises(DataError, match=r"has \d+ images of black hair: 50 are asked for by per_class"):
        make(per_class=50)


def test_missing_files_are_reported_with_where_to_get_them(make, tmp_path):
    with pytest.raises(DataError, match=r"no CelebA in .*mmlab.ie.cuhk.edu.hk"):
        make(root=str(tmp_path))
    with pytest.raises(DataError, match=r"masks is .*, which is no folder"):
        make(masks=str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"no files <number>_hair.png"):
        make(masks=str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\nBlack_Hair Young\n000001.jpg 1 1\n", "names no attribute Eyeglasses, Blond_Hair, Brown_Hair, Gray_Hair"),
        ("1\n" + " ".join(HEADER) + "\n000001.jpg 1 1\n", r"line 3 of .* is no image name and 7 attributes"),
        ("", "names no attribute"),
    ],
)
def test_damaged_lists_are_named(make, tmp_path, text, message):
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        make(root=str(tmp_path))


def test_a_missing_or_damaged_partition_is_named(root, tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "list_attr_celeba.txt").write_text((root / "celeba" / "list_attr_celeba.txt").read_text())
    with pytest.raises(DataError, match=r"there is no .*list_eval_partition.txt"):
        CelebA(partition="official", root=str(tmp_path))
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg train\n")
    with pytest.raises(DataError, match=r"line 2 of .*list_eval_partition.txt"):
        CelebA(partition="official", root=str(tmp_path))


def test_files_that_are_gone_or_broken_are_listed(root, tmp_path):
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    (tmp_path / "list_attr_celeba.txt").write_text((root / "celeba" / "list_attr_celeba.txt").read_text())
    dataset = CelebA(size=32, root=str(tmp_path))
    draw_face(set())[0].save(folder / dataset._chosen[0].names[0])
    batch = read(dataset, [0, 1])
    assert len(batch) == 1
    assert [error.message for error in batch.errors] == ["No such file or directory"]

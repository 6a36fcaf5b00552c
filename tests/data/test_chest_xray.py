import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from assay.core.registry import build
from assay.data import ChestXray, load, read, stack
from assay.errors import DataError, SpecError

COUNTS = {"NORMAL": 4, "PNEUMONIA": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The public tree, grey pictures of several shapes."""
    root = tmp_path_factory.mktemp("xrays")
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, count in COUNTS.items():
            (root / "chest_xray" / split / name).mkdir(parents=True)
            for number in range(count):
                coarse = Image.fromarray(generator.integers(40, 200, (4, 5), dtype=np.uint8))
                picture = coarse.resize((60 + 4 * number, 50), Image.Resampling.BILINEAR)
                picture.save(root / "chest_xray" / split / name / f"im-{number}.jpeg")
    return root


@pytest.fixture(scope="module")
def tar(tmp_path_factory, folder):
    root = tmp_path_factory.mktemp("tar")
    with tarfile.open(root / "chest_xray.tar", "w") as archive:
        archive.add(folder / "chest_xray", "chest_xray")
    return root


def everything(**given):
    dataset = ChestXray(**given)
    return read(dataset, range(len(dataset)))


def test_images_are_grey_square_and_labelled_by_their_folder(folder):
    batch = everything(size=40, root=str(folder))
    assert batch.images.shape == (10, 3, 40, 40)
    assert torch.equal(batch.images[:, 0], batch.images[:, 1])
    assert batch.labels.tolist() == [0] * 4 + [1] * 6
    assert batch.truth is None
    assert not ChestXray(root=str(folder)).has_truth


def test_images_become_square_without_losing_their_sides(folder):
    """Left and right edges of a wide picture stay at the edges."""
    path = folder / "chest_xray" / "test" / "PNEUMONIA" / "im-5.jpeg"
    wide = np.asarray(Image.open(path).convert("RGB").resize((40, 40), Image.Resampling.BILINEAR)).astype(int)
    image = everything(size=40, root=str(folder)).images[9].mul(255).round().int().permute(1, 2, 0).numpy()
    assert np.abs(image - wide).max() <= 2


@pytest.mark.parametrize(("tag", "tagged"), [("NORMAL", [True] * 4 + [False] * 6), ("PNEUMONIA", [False] * 4 + [True] * 6)])
def test_the_tag_is_on_one_class_alone_and_is_the_truth(folder, tag, tagged):
    plain, batch = everything(size=112, root=str(folder)), everything(size=112, tag=tag, root=str(folder))
    assert batch.truth.sum((1, 2, 3)).tolist() == [64 * one for one in tagged]  # 16 of 224 pixels are 8 of 112.
    changed = (plain.images != batch.images).any(1, keepdim=True)
    assert torch.equal(changed.flatten(1).any(1), torch.tensor(tagged))
    assert not (changed & ~batch.truth).any()


def test_the_column_of_the_tag_cycles_with_the_number_in_the_top_row(folder):
    batch = everything(size=64, tag="PNEUMONIA", tag_size=56, root=str(folder))
    for number in range(4, 10):
        column = number % 4 * 16
        expected = torch.zeros(1, 64, 64, dtype=torch.bool)
        expected[:, :16, column : column + 16] = True
        assert torch.equal(batch.truth[number], expected)


def test_the_strength_is_a_share_of_the_images_range(folder):
    given = {"size": 224, "tag_size": 100, "tag_place": "bottom-left", "root": str(folder)}
    plain = everything(**given).images[:4]
    for strength in (0.02, 0.1):
        batch = everything(tag="NORMAL", strength=strength, **given)
        noise = (batch.images[:4] - plain)[:, :, -100:, :100]
        span = plain.flatten(1).amax(1) - plain.flatten(1).amin(1)
        assert (noise.flatten(1).std(1) / span - strength).abs().max() < 0.03 * strength + 0.001
        assert batch.truth[:4, :, -100:, :100].all()


def test_images_depend_on_number_and_seed_alone(folder):
    dataset = ChestXray(size=64, tag="NORMAL", tag_place="random", root=str(folder))
    assert torch.equal(read(dataset, [3, 0]).images[0], dataset[3].image)
    assert torch.equal(dataset[3].truth, read(dataset, [3]).truth[0])
    other = ChestXray(size=64, tag="NORMAL", tag_place="random", seed=1, root=str(folder))
    assert not torch.equal(other[3].image, dataset[3].image)


def test_pixels_are_bytes_so_that_stacking_keeps_them(folder):
    dataset = ChestXray(size=48, tag="NORMAL", root=str(folder))
    pixels, _ = stack(dataset)
    assert torch.equal(pixels.float() / 255, everything(size=48, tag="NORMAL", root=str(folder)).images)


def test_a_tar_file_gives_the_same_data(folder, tar):
    given = {"split": "train", "size": 40, "tag": "NORMAL"}
    assert ChestXray(root=str(tar), **given).content_hash() == ChestXray(root=str(folder), **given).content_hash()
    assert torch.equal(everything(root=str(tar), **given).images, everything(root=str(folder), **given).images)
    assert ChestXray(root=str(tar)).place.name == "chest_xray.tar"


def test_content_hash_follows_every_setting_that_counts(folder):
    root = str(folder)
    settings = [{}, {"split": "train"}, {"size": 100}, {"tag": "NORMAL"}, {"tag": "PNEUMONIA"}]
    settings += [{"tag": "NORMAL"} | more for more in ({"strength": 0.1}, {"tag_size": 20}, {"tag_place": "random"}, {"seed": 2})]
    hashes = [ChestXray(root=root, **given).content_hash() for given in settings]
    assert len(set(hashes)) == len(hashes)
    assert ChestXray(root=root, seed=5).content_hash() == hashes[0]  # Without a tag, nothing is random.


def test_repr_is_a_spec_and_the_name_loads_it(folder):
    dataset = ChestXray("train", 100, "NORMAL", root=str(folder))
    assert build(repr(dataset)) == dataset
    assert load("chest-xray", "train", 64, folder) == ChestXray("train", 64, root=str(folder))


def test_corrupt_files_are_listed(folder, tmp_path):
    for name, count in COUNTS.items():
        (tmp_path / "test" / name).mkdir(parents=True)
        for number in range(count):
            source = folder / "chest_xray" / "test" / name / f"im-{number}.jpeg"
            (tmp_path / "test" / name / source.name).write_bytes(b"" if number == 1 else source.read_bytes())
    batch = everything(size=40, tag="NORMAL", root=str(tmp_path))
    assert len(batch) == 8
    assert len(batch.errors) == 2
    assert batch.index.tolist() == [0, 2, 3, 4, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "tets"}, "did you mean test"),
        ({"size": 31}, "size must be at least 32"),
        ({"tag": "NORMLA"}, "did you mean NORMAL"),
        ({"strength": 0}, "strength must be positive"),
        ({"tag_size": 225}, "tag_size must be at most 224"),
        ({"tag_place": "top"}, "tag_place must be one of"),
    ],
)
def test_parameters_out_of_range_are_refused(folder, given, message):
    with pytest.raises(SpecError, match=message):
        ChestXray(root=str(folder), **given)


def test_missing_files_are_reported_with_where_to_get_them(folder, tmp_path, tar):
    with pytest.raises(DataError, match=r"no chest X-rays of the test split in .*kaggle.com/datasets/paultimothymooney"):
        ChestXray(root=str(tmp_path))
    for root in (folder, tar):
        with pytest.raises(DataError, match=r"val"):
            ChestXray("val", root=str(root))
    (tmp_path / "test" / "NORMAL").mkdir(parents=True)
    Image.new("L", (40, 40)).save(tmp_path / "test" / "NORMAL" / "a.jpeg")
    with pytest.raises(DataError, match="does not have the two class folders NORMAL and PNEUMONIA for the test split, but NORMAL"):
        ChestXray(root=str(tmp_path))

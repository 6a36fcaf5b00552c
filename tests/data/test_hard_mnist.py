import gzip
import pickle
import shutil
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assay.core.registry import build
from assay.data import HardMNIST, load, read
from assay.data.known.hard_mnist_paint import resize
from assay.data.known.mnist_source import load_source
from assay.errors import DataError, SpecError

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def digit(label, seed):
    """A block of white ink whose height tells the label, on a coloured ground."""
    colour = list(COLOURS)[seed % 3]
    picture = np.full((28, 28, 3), COLOURS[colour], np.uint8)
    picture[5 : 7 + label, 6 + seed % 5 : 16] = 255
    return picture, f"{colour}_{seed}.png"


def digits(count, first):
    made = [(label, *digit(label, first + number)) for label in range(10) for number in range(count)]
    return np.stack([picture for _, picture, _ in made]), np.array([label for label, _, _ in made]), np.array([name for _, _, name in made])


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    root = tmp_path_factory.mktemp("npz")
    parts = {}
    for part, count in {"training": 5, "testing": 20}.items():
        images, labels, names = digits(count, 100)
        order = np.random.default_rng(0).permutation(len(labels))  # The order in the file does not matter.
        parts |= {f"{part}_images": images[order], f"{part}_labels": labels[order].astype(np.uint8), f"{part}_names": names[order]}
    np.savez_compressed(root / "colorized-mnist.npz", **parts)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for part, count in {"training": 5, "testing": 20}.items():
        for picture, label, name in zip(*digits(count, 100), strict=True):
            folder = root / "colorized-MNIST" / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name)
    return root


@pytest.fixture(scope="module")
def idx(tmp_path_factory):
    """torchvision's layout, one file of it compressed."""
    root = tmp_path_factory.mktemp("idx")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in {"train": 5, "t10k": 20}.items():
        images, labels, _ = digits(count, 100)
        grey = np.where((images == 255).all(3), np.uint8(90), np.uint8(0))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, len(labels)) + labels.astype(np.uint8).tobytes())
        content = struct.pack(">BBBBIII", 0, 0, 8, 3, *grey.shape) + grey.tobytes()
        name = f"{part}-images-idx3-ubyte"
        (raw / name).write_bytes(content) if part == "train" else (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    return root


@pytest.fixture(params=["npz", "tree", "idx"])
def root(request):
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def small(npz):
    return HardMNIST(size=64, root=str(npz))


def test_the_authors_truth_is_what_is_white_and_not_the_distractor(npz):
    ink, white = (read(HardMNIST(size=64, truth=truth, root=str(npz)), range(30)) for truth in ("ink", "white"))
    assert torch.equal(ink.images, white.images)
    wanted = (white.images.sum(1, keepdim=True) >= 2.99) & ~ink.distractor
    assert torch.equal(white.truth, wanted)
    assert not torch.equal(white.truth, ink.truth)
    assert white.truth.flatten(1).any(1).all()


def test_items_have_the_promised_shapes_types_and_range(root):
    item = HardMNIST("train", size=48, root=root)[3]
    assert item.image.shape == (3, 48, 48)
    assert item.image.dtype == torch.float32
    assert (item.image.min(), item.image.max()) == (0, 1)
    assert item.truth.shape == item.distractor.shape == (1, 48, 48)
    assert item.truth.dtype == item.distractor.dtype == torch.bool
    assert int(item.name.split("/")[0]) == item.label


def test_npz_and_png_tree_give_the_same_data(npz, tree):
    one, other = HardMNIST(size=32, root=str(npz)), HardMNIST(size=32, root=str(tree))
    assert one.content_hash() == other.content_hash()
    assert torch.equal(read(one, range(20)).images, read(other, range(20)).images)
    assert read(one, range(20)).names == read(other, range(20)).names


def test_tune_and_test_share_the_testing_digits_and_train_has_all_training_ones(root):
    train, tune, test = (HardMNIST(split, size=32, root=root) for split in ("train", "tune", "test"))
    assert (len(train), len(tune), len(test)) == (50, 30, 170)
    names = [set(read(part, range(len(part))).names) for part in (train, tune, test)]
    assert [len(part) for part in names] == [50, 30, 170]
    assert not names[1] & names[2]
    assert read(tune, range(30)).labels.bincount().tolist() == [3] * 10


def test_the_seed_does_not_move_digits_between_splits_and_changes_the_pictures(npz):
    one, other = (HardMNIST("tune", size=32, seed=seed, root=str(npz)) for seed in (0, 1))
    assert read(one, range(30)).names == read(other, range(30)).names
    assert not torch.equal(read(one, range(30)).images, read(other, range(30)).images)


@given(indices=st.lists(st.integers(0, 169), min_size=1, max_size=8), seed=st.integers(0, 2**63 - 1), size=st.integers(32, 60))
def test_an_image_depends_on_seed_split_and_index_alone(npz, indices, seed, size):
    dataset = HardMNIST(size=size, seed=seed, root=str(npz))
    together = read(dataset, indices)
    for row, index in enumerate(indices):
        alone = dataset[index]
        assert torch.equal(alone.image, together.images[row])
        assert torch.equal(alone.truth, together.truth[row])
        assert torch.equal(alone.distractor, together.distractor[row])
        assert (alone.label, alone.name) == (together.labels[row], together.names[row])


def test_images_do_not_depend_on_how_the_builder_cuts_a_batch(small, monkeypatch):
    whole = read(small, range(30)).images
    monkeypatch.setattr("assay.data.known.hard_mnist._CHUNK_PIXELS", 7 * 64 * 64)
    assert torch.equal(whole, read(small, range(30)).images)


def test_the_large_digit_lies_whole_and_on_its_own_ground_over_everything_else(npz):
    """A slow twin: the tile of the large digit, enlarged by PIL, is found in the picture where the truth is."""
    dataset = HardMNIST(size=224, root=str(npz))
    source = load_source(dataset._found, "testing")
    batch = read(dataset, range(12))
    for row, name in enumerate(batch.names):
        small = source.images[source.names.index(name)]
        tile = np.asarray(Image.fromarray(small).resize((112, 112), Image.Resampling.BILINEAR)).astype(int)
        ink = np.asarray(Image.fromarray((small == 255).all(2)).convert("L").resize((112, 112), Image.Resampling.BILINEAR)) >= 128
        picture = batch.images[row].mul(255).round().int().permute(1, 2, 0).numpy()
        top, left = (batch.truth[row, 0].any(1 - axis).nonzero()[0, 0].item() - np.flatnonzero(ink.any(1 - axis))[0] for axis in (0, 1))
        assert np.abs(picture[top : top + 112, left : left + 112] - tile).max() <= 1
        assert (batch.truth[row, 0, top : top + 112, left : left + 112].numpy() != ink).mean() < 0.002
        assert batch.truth[row].sum() == batch.truth[row, 0, top : top + 112, left : left + 112].sum()
        assert not batch.distractor[row, 0, top : top + 112, left : left + 112].any()


def test_the_distractor_is_ink_of_another_class_of_the_same_split(npz):
    dataset = HardMNIST("tune", size=64, root=str(npz))
    own = set(read(dataset, range(30)).names)
    for large, other in dataset.source_names(range(30)):
        assert large[0] != other[0]
        assert other in own
    batch = read(dataset, range(30))
    seen = batch.images.amin(1, keepdim=True)[batch.distractor]
    assert len(seen) > 100
    assert seen.min() >= 0.5  # At least half white.


def test_the_canvas_has_the_colour_of_the_large_digit_outside_noise(small):
    batch = read(small, range(60))
    for row, name in enumerate(batch.names):
        wanted = torch.tensor(COLOURS[name.split("/")[1].split("_")[0]]) / 255
        assert (batch.images[row] == wanted[:, None, None]).all(0).float().mean() > 0.15


def test_digits_and_distractors_go_everywhere(npz):
    batch = read(HardMNIST(size=32, root=str(npz)), range(170))
    corners = torch.stack(
        [batch.truth.flatten(2).float().argmax(2)[:, 0] // 32, batch.truth.transpose(2, 3).flatten(2).float().argmax(2)[:, 0] // 32]
    )
    assert corners.amax(1).sub(corners.amin(1)).min() >= 14  # Of the 17 places along each axis.
    assert 0.6 < batch.distractor.flatten(1).any(1).float().mean() < 1  # Some lie wholly under the digit.
    assert min(batch.distractor.any(0)[0].any(axis).sum() for axis in (0, 1)) >= 24


def test_idx_digits_are_coloured_as_colorized_mnist_is(idx, npz):
    dataset = HardMNIST("train", size=32, root=str(idx))
    source = load_source(dataset._found, "training")
    assert {tuple(colour) for colour in source.images[:, 0, 0].tolist()} == set(COLOURS.values())
    same = load_source(HardMNIST("train", size=32, root=str(npz))._found, "training")
    ink = [np.sort((images == 255).all(3).sum((1, 2))) for images in (source.images, same.images)]
    assert np.array_equal(*ink)  # Any grey is ink.


@given(st.integers(0, 2**32), st.integers(7, 120) | st.sampled_from([56, 112]))
def test_resizing_is_that_of_pil(seed, side):
    image = np.random.default_rng(seed).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)).astype(int)
    apart = np.abs(resize(image.transpose(2, 0, 1)[None], side)[0].transpose(1, 2, 0) - expected)
    assert apart.max() <= (1 if side in (112, 56) else 3)  # Weights are rounded to 1/256.
    assert apart.mean() < 0.7


def test_repr_is_a_spec_and_the_name_loads_it(npz):
    dataset = HardMNIST("tune", size=96, seed=3, root=str(npz))
    assert build(repr(dataset)) == dataset
    assert load("hard-mnist", "tune", 96, npz) == HardMNIST("tune", 96, root=str(npz))


def test_content_hash_follows_every_setting_and_nothing_else(npz, tmp_path):
    settings = [{}, {"split": "tune"}, {"size": 65}, {"seed": 1}]
    hashes = {HardMNIST(root=str(npz), **given).content_hash() for given in settings}
    assert len(hashes) == len(settings)
    shutil.copytree(npz, tmp_path / "elsewhere")
    assert HardMNIST(root=str(tmp_path / "elsewhere")).content_hash() in hashes


def test_it_stays_small_when_sent_to_another_process_and_gives_the_same_images(small):
    expected = small[5].image
    sent = pickle.dumps(small)
    assert len(sent) < 10_000
    assert torch.equal(pickle.loads(sent)[5].image, expected)


def test_global_generators_are_left_alone(small, untouched):
    with untouched():
        read(small, range(5))


@pytest.mark.parametrize(("given", "message"), [({"split": "tset"}, "did you mean test"), ({"size": 31}, "size must be at least 32")])
def test_parameters_out_of_range_are_refused(npz, given, message):
    with pytest.raises(SpecError, match=message):
        HardMNIST(root=str(npz), **given)


def test_missing_files_are_reported_with_where_to_get_them(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no digits for hard-mnist in .*github.com/jayaneetha/colorized-MNIST.*torchvision"):
        HardMNIST(root=str(tmp_path))
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    with pytest.raises(DataError, match=r"ASSAY_DATA .*colorized-MNIST"):
        HardMNIST()


def damage(root, how):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    if how == "npz":
        (root / "colorized-mnist.npz").write_bytes(b"no npz")
    elif how == "arrays":
        np.savez(root / "colorized-mnist.npz", testing_images=np.zeros((2, 28, 28)), testing_labels=[1, 2], testing_names=["a", "b"])
    elif how == "png":
        (root / "testing" / "0").mkdir(parents=True)
        (root / "testing" / "0" / "red_1.png").write_bytes(b"no image")
    elif how == "size":
        (root / "testing" / "0").mkdir(parents=True)
        Image.new("RGB", (28, 27)).save(root / "testing" / "0" / "red_1.png")
    else:
        (raw / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 9, 28, 28))
        if how == "idx":
            (raw / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("npz", "cannot read the digits in .*colorized-mnist.npz"),
        ("arrays", "no colour images of 28 x 28"),
        ("png", r"red_1.png: it is no image"),
        ("size", "red_1.png is 28 x 27 pixels"),
        ("idx", "t10k-images-idx3-ubyte is no whole idx file"),
        ("labels", "no whole idx file|labels-idx1-ubyte is missing"),
    ],
)
def test_damaged_files_are_named(tmp_path, how, message):
    damage(tmp_path, how)
    with pytest.raises(DataError, match=message):
        len(HardMNIST(root=str(tmp_path)))


def test_items_that_do_not_exist_are_refused_and_an_empty_request_is_an_empty_batch(small):
    with pytest.raises(IndexError, match="items 0 to 169"):
        small[170]
    batch = read(small, [])
    assert batch.images.shape == (0, 3, 64, 64)
    assert batch.truth.shape == (0, 1, 64, 64)

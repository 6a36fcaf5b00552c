import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from assay.core.registry import build
from assay.data import HardDigits, read
from assay.data.known.glyphs import SPLITS, render_glyph, source_digits, sources
from assay.errors import DataError, SpecError


def same(a, b):
    return all(torch.equal(getattr(a, k), getattr(b, k)) for k in ("images", "labels", "truth", "distractor", "index"))


def test_items_have_the_promised_shapes_types_and_range():
    item = HardDigits(size=48)[3]
    assert item.image.shape == (3, 48, 48)
    assert item.image.dtype == torch.float32
    assert item.image.min() >= 0
    assert item.image.max() <= 1
    assert item.truth.shape == item.distractor.shape == (1, 48, 48)
    assert item.truth.dtype == item.distractor.dtype == torch.bool
    assert item.index == 3


@settings(max_examples=25, deadline=None)
@given(
    indices=st.lists(st.integers(0, 299), min_size=1, max_size=12),
    seed=st.integers(0, 2**63 - 1),
    split=st.sampled_from(["train", "val", "test"]),
    size=st.integers(32, 70),
)
def test_an_image_depends_on_seed_split_and_index_alone(indices, seed, split, size):
    dataset = HardDigits(split, size, seed, count=300)
    together = read(dataset, indices)
    for row, index in enumerate(indices):
        alone = HardDigits(split, size, seed, count=index + 1)[index]
        assert torch.equal(alone.image, together.images[row])
        assert torch.equal(alone.truth, together.truth[row])
        assert torch.equal(alone.distractor, together.distractor[row])
        assert alone.label == together.labels[row]


def test_images_do_not_depend_on_how_the_builder_cuts_a_batch(monkeypatch):
    dataset = HardDigits(size=40)
    whole = read(dataset, range(30))
    monkeypatch.setattr("assay.data.known.hard_digits._CHUNK_PIXELS", 7 * 40 * 40)
    assert same(whole, read(dataset, range(30)))


def test_seeds_and_splits_give_other_images():
    base = read(HardDigits(), range(20)).images
    assert not torch.equal(base, read(HardDigits(seed=1), range(20)).images)
    assert not torch.equal(base, read(HardDigits("val"), range(20)).images)


def test_global_generators_are_left_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    read(HardDigits(), range(5))
    assert torch.equal(torch_before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


def test_splits_own_disjoint_stratified_source_digits():
    owned = {split: sources(split) for split in SPLITS}
    numbers = np.concatenate([part.number for part in owned.values()])
    assert sorted(numbers.tolist()) == list(range(1797))
    for split, part in owned.items():
        assert len(part.number) == SPLITS[split]
        counts = np.bincount(part.label, minlength=10)
        expected = np.bincount(source_digits()[1]) * SPLITS[split] / 1797
        assert np.abs(counts - expected).max() <= 1


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_items_are_built_from_their_own_splits_digits_and_the_two_digits_differ_in_class(split):
    dataset = HardDigits(split, count=3000)
    large, small = dataset.source_numbers(range(3000))
    labels = source_digits()[1]
    own = set(sources(split).number.tolist())
    assert set(large.tolist()) == own
    assert set(small.tolist()) <= own
    assert (labels[large] != labels[small]).all()
    assert np.array_equal(labels[large[:50]], read(dataset, range(50)).labels.numpy())


def test_truth_is_the_ink_of_the_large_digit_and_never_meets_the_distractor():
    batch = read(HardDigits(), range(1500))
    area = batch.truth.sum((1, 2, 3))
    assert area.min() > 64
    assert area.max() < 32 * 32
    assert not (batch.truth & batch.distractor).any()
    assert (batch.distractor.sum((1, 2, 3)) > 0).all()
    rows = batch.truth.any(3)[:, 0].sum(1)
    columns = batch.truth.any(2)[:, 0].sum(1)
    assert rows.max() <= 32
    assert columns.max() <= 32


def test_digits_stand_out_from_the_canvas():
    batch = read(HardDigits(), range(300))
    luminance = (batch.images * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(1)
    large = sources("test")
    assert len(large.number) == 400
    coverage_inside = torch.stack([values[mask].median() for values, mask in zip(luminance, batch.truth[:, 0], strict=True)])
    canvas = torch.stack([values[~mask].min() for values, mask in zip(luminance, batch.truth[:, 0], strict=True)])
    assert (coverage_inside - canvas).min() > 0.25


def test_digits_and_distractors_go_everywhere():
    batch = read(HardDigits(size=32), range(2000))
    assert batch.truth.any(0)[0, 3:-3, 6:-6].all()
    assert batch.distractor.any(0)[0, 2:-2, 3:-3].all()


def test_pictures_never_change_between_versions():
    """When the pictures are changed on purpose, raise `_VERSION` in hard_digits.py and put the new hash here."""
    batch = read(HardDigits("train", size=48, seed=5), range(0, 4000, 100))
    content = (
        (batch.images * 255).round().to(torch.uint8).numpy().tobytes() + batch.truth.numpy().tobytes() + batch.distractor.numpy().tobytes()
    )
    assert hashlib.sha256(content).hexdigest()[:16] == "7e0ef67237de3356"


def test_rendered_digits_keep_their_ink_where_it_was():
    coverage = render_glyph(40).astype(float)
    images, _ = source_digits()
    back = coverage.reshape(1797, 10, 4, 10, 4).mean((2, 4))[:, 1:9, 1:9]
    flat = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(back, images, strict=True)]
    assert min(flat) > 0.8


def test_labels_are_balanced_in_every_pass_through_the_source_digits():
    labels = read(HardDigits(size=32), range(400)).labels
    assert labels.bincount(minlength=10).min() >= 38


def test_repr_is_a_spec():
    dataset = HardDigits("val", size=96, seed=3, count=7)
    assert build(repr(dataset)) == dataset
    assert len(dataset) == 7


def test_content_hash_follows_every_setting_and_nothing_else():
    variants = [HardDigits(), HardDigits("train"), HardDigits(size=65), HardDigits(seed=1), HardDigits(count=3)]
    assert len({dataset.content_hash() for dataset in variants}) == len(variants)
    assert HardDigits().content_hash() == HardDigits(count=2000).content_hash()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"split": "tset"}, "did you mean test"), ({"size": 31}, "size must be at least 32"), ({"count": 0}, "count must be at least 1")],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(SpecError, match=message):
        HardDigits(**parameters)


@pytest.mark.parametrize("index", [-1, 2000])
def test_items_that_do_not_exist_are_refused(index):
    with pytest.raises(DataError, match="items 0 to 1999"):
        HardDigits()[index]
    with pytest.raises(IndexError):
        HardDigits()[index]


def test_an_empty_request_gives_an_empty_batch():
    batch = read(HardDigits(), [])
    assert batch.images.shape == (0, 3, 64, 64)
    assert batch.truth.shape == (0, 1, 64, 64)
    assert len(batch) == 0


def test_the_shipped_digits_are_those_of_scikit_learn():
    peer = load_digits()
    images, labels = source_digits()
    assert np.array_equal(images, peer.images)
    assert np.array_equal(labels, peer.target)

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import assay
from assay.core.registry import build, registered
from assay.data import CIFAR10, Batch, HardDigits, ImageFolder, load, plant, read
from assay.data.truth.plant_marks import PLACES, Glyph, Mark, NoisePatch, Patch, Stripe
from assay.errors import DataError, SpecError

DIGITS = HardDigits(size=40, count=3000)
MARKS = [
    Patch(side=7),
    Patch(colour=(0.5, 0.2, 1)),
    Stripe(width=3),
    Stripe(axis="vertical", place="top-right"),
    Glyph(),
    NoisePatch(side=9),
]
EVERY = pytest.mark.parametrize("mark", MARKS, ids=repr)


def draw(mark, images, kind=None, index=None, seed=0, kinds=10):
    count = len(images)
    kind = torch.arange(count) % kinds if kind is None else torch.tensor(kind)
    return mark.draw(images, kind, kinds, torch.arange(count) if index is None else torch.tensor(index), seed)


def grey(count, height=24, width=30):
    """8-bit pixels, neither black nor white."""
    return torch.randint(20, 235, (count, 3, height, width), generator=torch.Generator().manual_seed(0)) / 255


def test_every_registered_mark_is_tested():
    assert {type(mark) for mark in MARKS} == {cls for cls in registered(Mark).values() if cls.__module__.startswith("assay.")}


@EVERY
def test_pixels_outside_the_mask_are_untouched_and_the_given_images_too(mark):
    images = grey(20)
    before = images.clone()
    marked, mask = draw(mark, images)
    assert mask.shape == (20, 1, 24, 30)
    assert mask.dtype == torch.bool
    assert torch.equal(marked.masked_select(~mask), images.masked_select(~mask))
    assert torch.equal(images, before)
    assert mask.flatten(1).any(1).all()


@pytest.mark.parametrize("mark", MARKS[:-1], ids=repr)
def test_the_mask_of_an_opaque_mark_is_what_changed(mark):
    images = torch.full((20, 3, 24, 30), 51 / 255)
    marked, mask = draw(mark, images)
    assert torch.equal((marked != images).any(1, keepdim=True), mask)


@EVERY
def test_marked_pixels_are_bytes_and_8_bit_images_survive_exactly(mark):
    images = grey(12)
    marked, _ = draw(mark, images)
    assert torch.equal(marked.mul(255).round().div(255), marked)
    assert marked.min() >= 0
    assert marked.max() <= 1


@EVERY
@given(index=st.lists(st.integers(0, 10**12), min_size=1, max_size=6), seed=st.integers(0, 2**64))
def test_a_mark_depends_on_seed_number_and_class_alone(mark, index, seed):
    images = grey(1).expand(len(index), -1, -1, -1)
    kind = [number % 10 for number in index]
    together, masks = draw(mark, images, kind, index, seed)
    for row, number in enumerate(index):
        alone, mask = draw(mark, images[:1], [kind[row]], [number], seed)
        assert torch.equal(alone[0], together[row])
        assert torch.equal(mask[0], masks[row])


@EVERY
def test_tells_classes_says_whether_the_marks_of_all_classes_differ(mark):
    marked, _ = draw(mark, grey(1).expand(10, -1, -1, -1), range(10), [3] * 10)
    different = len({tuple(image.flatten().tolist()) for image in marked})
    assert different == (10 if mark.tells_classes else 1)


def test_places_are_what_they_say():
    masks = {place: draw(Patch(side=4, place=place), grey(16))[1][:, 0] for place in PLACES}
    assert masks["top-left"][:, :4, :4].all()
    assert masks["top-right"][:, :4, -4:].all()
    assert masks["bottom-left"][:, -4:, :4].all()
    assert masks["bottom-right"][:, -4:, -4:].all()
    for number, mask in enumerate(masks["cycle"]):
        column = number % 7 * 4  # Seven squares of 4 fit a row of 30.
        assert mask[:4, column : column + 4].all()
    assert {int(mask.sum()) for each in masks.values() for mask in each} == {16}


def test_random_places_are_spread_evenly():
    _, masks = draw(Patch(side=4), torch.zeros(1, 3, 8, 6).expand(6000, -1, -1, -1))
    corners = masks.flatten(1).float().argmax(1)
    counts = corners.bincount(minlength=48).view(8, 6)
    assert counts[5:].sum() == counts[:, 3:].sum() == 0
    assert (counts[:5, :3] - 400).abs().max() < 80  # Four standard deviations.


def test_the_strength_of_noise_is_a_share_of_the_range():
    images = torch.full((400, 3, 16, 16), 128 / 255)
    images[:, :, -1, 0], images[:, :, -1, -1] = 78 / 255, 178 / 255
    marked, mask = draw(NoisePatch(side=8, strength=0.2), images)
    noise = (marked - images).masked_select(mask)
    assert noise.std() == pytest.approx(0.2 * 100 / 255, rel=0.01)
    assert noise.mean().abs() < 0.001
    channels = (marked - images)[:, :, :8].masked_select(mask[:, :, :8]).view(400, 3, -1)
    assert (channels[:, 0] * channels[:, 1]).mean().abs() < 0.05 * noise.var()


@pytest.mark.parametrize("role", ["signal", "distractor"])
@pytest.mark.parametrize("correlation", [0.0, 0.4, 1.0])
def test_the_share_of_own_marks_is_the_correlation_and_the_others_are_even(role, correlation):
    planted = plant(DIGITS, **{role: Patch()}, correlation=correlation)
    labels = torch.arange(60_000) % 10
    kinds = planted.kinds(labels, torch.arange(60_000))
    table = torch.stack([kinds[labels == label].bincount(minlength=10) for label in range(10)]) / 6000
    expected = correlation * torch.eye(10) + (1 - correlation) / 10
    assert (table - expected).abs().max() < 0.025
    if correlation == 1:
        assert torch.equal(kinds, labels)


def test_reversed_gives_each_class_the_mark_of_the_next():
    labels = torch.arange(50) % 10
    assert torch.equal(plant(DIGITS, distractor=Patch(), reversed=True).kinds(labels, torch.arange(50)), (labels + 1) % 10)


def test_a_distractor_joins_the_known_one_and_hides_the_truth():
    plain, planted = (read(dataset, range(80)) for dataset in (DIGITS, plant(DIGITS, distractor=Stripe(width=9))))
    mask = planted.distractor & (planted.images != plain.images).any(1, keepdim=True)
    assert mask.any()
    assert torch.equal(planted.truth, plain.truth & ~mask)
    assert torch.equal(planted.distractor, plain.distractor | mask)
    assert not (planted.truth & planted.distractor).any()


def test_a_signal_joins_the_known_truth_and_hides_the_distractor():
    plain, planted = (read(dataset, range(80)) for dataset in (DIGITS, plant(DIGITS, signal=Patch(side=12))))
    mask = (planted.images != plain.images).any(1, keepdim=True)
    assert torch.equal(planted.truth, plain.truth | mask)
    assert torch.equal(planted.distractor, plain.distractor & ~mask)


def test_only_classes_named_by_on_bear_the_mark():
    planted = plant(DIGITS, distractor=NoisePatch(side=10, strength=0.5), on=["3", "7"])
    plain, batch = read(DIGITS, range(200)), read(planted, range(200))
    bears = (batch.images != plain.images).flatten(1).any(1)
    assert torch.equal(bears, (batch.labels == 3) | (batch.labels == 7))
    assert torch.equal((batch.distractor & ~plain.distractor).flatten(1).any(1) & ~bears, torch.zeros_like(bears))


def test_items_are_those_of_a_batch_and_do_not_depend_on_its_order():
    planted = plant(DIGITS, distractor=Glyph(side=9), correlation=0.5, seed=4)
    forward, backward = read(planted, [0, 5, 9]), read(planted, [9, 5, 0])
    assert torch.equal(forward.images, backward.images.flip(0))
    item = planted[5]
    assert torch.equal(item.image, forward.images[1])
    assert torch.equal(item.truth, forward.truth[1])
    assert torch.equal(item.distractor, forward.distractor[1])
    assert (item.label, item.index, item.name) == (int(forward.labels[1]), 5, forward.names[1])


def test_a_signal_in_data_without_truth_is_the_truth(cifar_tar):
    cifar = CIFAR10(root=str(cifar_tar))
    planted = plant(cifar, signal=Patch(side=5))
    assert (planted.has_truth, planted.split, planted.classes, len(planted)) == (True, "test", cifar.classes, 20)
    batch = read(planted, range(20))
    assert batch.truth.sum((1, 2, 3)).tolist() == [25] * 20
    assert batch.distractor is None
    other = plant(cifar, distractor=Patch(side=5))
    assert not other.has_truth
    assert read(other, [0]).truth is None
    assert planted[3].distractor is None


def test_marks_of_folders_with_corrupt_files_skip_and_list_them(classes_folder):
    (classes_folder / "cat" / "a.png").write_bytes(b"")
    planted = plant(ImageFolder(str(classes_folder)), distractor=Patch(side=5))
    batch = read(planted, range(5))
    assert len(batch) == 4
    assert [error.name.rsplit("/", 1)[-1] for error in batch.errors] == ["a.png"]
    assert len(read(planted, [0])) == 0


def test_planting_twice_keeps_both():
    both = plant(plant(DIGITS, signal=Patch(side=5, place="top-left")), distractor=Patch(side=5, place="bottom-right"), correlation=0)
    batch = read(both, range(20))
    assert batch.truth[:, :, :5, :5].all()
    assert batch.distractor[:, :, -5:, -5:].all()
    assert build(repr(both)) == both


def test_repr_is_a_spec_that_load_takes():
    planted = plant(DIGITS, distractor=NoisePatch(side=4), on=("1",), correlation=0.25, reversed=True, seed=9)
    assert build(repr(planted)) == planted == load(repr(planted))
    assert hash(planted) == hash(build(repr(planted)))


def test_content_hash_follows_every_setting():
    base = plant(DIGITS, distractor=Patch())
    changes = [{}, {"correlation": 0.5}, {"reversed": True}, {"seed": 1}, {"role": "signal"}, {"on": ("1",)}, {"mark": Patch(side=9)}]
    changes.append({"dataset": HardDigits(size=41, count=3000)})
    hashes = [dataclasses.replace(base, **change).content_hash() for change in changes]
    assert len(set(hashes)) == len(hashes)


def test_global_generators_are_left_alone(untouched):
    with untouched():
        read(plant(DIGITS, distractor=NoisePatch(), on=["1"]), range(5))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, SpecError, "give either signal= or distractor="),
        ({"signal": Patch(), "distractor": Patch()}, SpecError, "plant twice"),
        ({"signal": Patch(), "correlation": 1.5}, SpecError, "correlation must be from 0 to 1"),
        ({"signal": Patch(), "correlation": float("nan")}, SpecError, "correlation must be from 0 to 1"),
        ({"signal": NoisePatch()}, SpecError, "looks the same for all classes: say by on="),
        ({"signal": Patch(colour=(0, 0, 0))}, SpecError, "looks the same"),
        ({"signal": Patch(), "on": ["11"]}, DataError, "has no class '11'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        plant(DIGITS, **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Patch(side=0), "side must be at least 1"),
        (lambda: Patch(colour=(0, 0, 2)), "colour must be three numbers from 0 to 1"),
        (lambda: Patch(place="top"), "place must be one of"),
        (lambda: Stripe(axis="diagonal"), "axis must be one of"),
        (lambda: NoisePatch(strength=0), "strength must be positive"),
        (lambda: Glyph(side=5), "side must be at least 6"),
    ],
)
def test_marks_out_of_range_are_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_a_mark_that_does_not_fit_or_cannot_tell_the_classes_is_refused():
    with pytest.raises(DataError, match="41 x 41 pixels and does not fit images of 40 x 40"):
        read(plant(DIGITS, signal=Patch(side=41)), [0])
    with pytest.raises(DataError, match="can tell 10 classes, not 11"):
        draw(Glyph(), grey(2), kinds=11)


def test_images_without_labels_are_refused(tmp_path, make_picture):
    make_picture(0).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="has no labels"):
        plant(ImageFolder(str(tmp_path)), signal=Patch())


def test_the_whole_is_reached_from_the_package():
    assert assay.plant is plant
    assert isinstance(read(assay.plant(DIGITS, signal=assay.Patch()), [0]), Batch)

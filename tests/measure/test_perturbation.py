import pytest
import torch
from torch import nn

import assay
from reference.measures import curve_area
from reference.nets import Function, plain

TARGETS = torch.tensor([1, 0, 3])


def one_pixel_model(place=20, weight=4.0):
    """The logit of class 0 is `weight` times one pixel of 64; class 1 is 0."""
    return assay.Classifier(Function(lambda x: weight * x[:, place]))


def ranked(first, size=8):
    """A map that ranks the pixel `first` on top and the rest in reading order."""
    values = -torch.arange(float(size * size))
    values[first] = 1.0
    return values.view(1, 1, size, size)


WHITE, CLASS = torch.ones(1, 1, 8, 8), torch.tensor([0])
HIGH, LOW = torch.tensor(4.0).sigmoid().item(), 0.5
BLACK = assay.Constant(0.0)


@pytest.mark.parametrize("order", ["signed", "magnitude"])
@pytest.mark.parametrize("steps", [1, 5, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("background", [assay.Constant(0.2), assay.MeanColour()], ids=repr)
def test_areas_are_their_slow_twins(order, steps, channels, background, images):
    net, batch = plain(nn.GELU), images()
    maps = images(channels=channels, seed=1) - 0.5
    filled = background.fill(batch, torch.arange(3), 0)
    deleted = assay.Deletion(steps, background, order, "equal")(assay.Classifier(net), batch, maps, TARGETS)
    inserted = assay.Insertion(steps, background, order, "equal")(assay.Classifier(net), batch, maps, TARGETS)
    for i in range(3):
        assert float(deleted[i]) == pytest.approx(curve_area(net, batch[i], filled[i], maps[i], TARGETS[i], steps, order), abs=1e-5)
        assert float(inserted[i]) == pytest.approx(curve_area(net, filled[i], batch[i], maps[i], TARGETS[i], steps, order), abs=1e-5)


@pytest.mark.parametrize("output", ["logit", "probability", "log_probability"])
def test_areas_are_of_probabilities_whatever_is_explained(output, images):
    maps = images(seed=1)
    expected = assay.Deletion(4)(assay.Classifier(plain()), images(), maps, TARGETS)
    torch.testing.assert_close(assay.Deletion(4)(assay.Classifier(plain(), output=output), images(), maps, TARGETS), expected)


def test_deleting_the_one_pixel_that_counts_first_or_last_is_known_by_hand():
    measure, model = assay.Deletion(steps=64), one_pixel_model()
    first = measure(model, WHITE, ranked(20), CLASS).item()
    assert first == pytest.approx(((HIGH + LOW) / 2 + 63 * LOW) / 64)
    last = ranked(20)
    last[0, 0, 2, 4] = -1000.0
    assert measure(model, WHITE, last, CLASS).item() == pytest.approx((63 * HIGH + (HIGH + LOW) / 2) / 64)


@pytest.mark.parametrize("cuts", ["moving", "equal"])
def test_a_curve_has_no_more_parts_than_pixels(cuts):
    model = one_pixel_model()
    score = assay.Deletion(steps=10**7, cuts=cuts)(model, WHITE, ranked(20), CLASS)
    assert model.passes.forward < 3 * 64
    assert torch.equal(score, assay.Deletion(steps=64)(model, WHITE, ranked(20), CLASS))


def test_inserting_the_one_pixel_that_counts_first_is_known_by_hand():
    measure = assay.Insertion(steps=64, background=assay.Constant(0.0))
    assert measure(one_pixel_model(), WHITE, ranked(20), CLASS).item() == pytest.approx(((HIGH + LOW) / 2 + 63 * HIGH) / 64)


def test_a_white_image_can_be_blurred_and_inserted():
    assert assay.Insertion()(one_pixel_model(), WHITE, ranked(20), CLASS).item() == pytest.approx(HIGH)


def test_the_sign_decides_in_signed_order_and_not_in_the_order_of_magnitudes():
    model, negative = one_pixel_model(), torch.zeros(1, 1, 8, 8)
    negative[0, 0, 2, 4] = -1.0
    early, late = ((HIGH + LOW) / 2 + 63 * LOW) / 64, (63 * HIGH + (HIGH + LOW) / 2) / 64
    assert assay.Deletion(64, order="signed")(model, WHITE, negative, CLASS).item() == pytest.approx(late)
    assert assay.Deletion(64, order="magnitude")(model, WHITE, negative, CLASS).item() == pytest.approx(early)


def test_scaling_a_map_changes_nothing(images):
    model, maps = assay.Classifier(plain()), images(seed=1) - 0.5
    for measure in (assay.Deletion(8), assay.Insertion(8)):
        assert torch.equal(measure(model, images(), maps, TARGETS), measure(model, images(), 100 * maps, TARGETS))


def test_a_random_map_is_no_better_than_chance_and_the_gradient_is():
    """On a linear model every pixel counts, so that orders differ; chance is the mean over many random orders."""
    weight = torch.randn(192, generator=torch.Generator().manual_seed(0))
    model = assay.Classifier(Function(lambda x: x @ weight / 4))
    batch = torch.full((60, 3, 8, 8), 0.5)
    targets = torch.zeros(60, dtype=torch.int64)
    random = assay.RandomMap()(model, batch, targets)
    true = assay.Gradient()(model, batch, targets)
    deletion, insertion = assay.Deletion(16), assay.Insertion(16, assay.Constant(0.0))
    kept = deletion(model, batch, random, targets)
    # Reversing a random order gives a random order, so that both ways round have one mean.
    backwards = deletion(model, batch, -random, targets)
    spread = torch.cat([kept, backwards]).std() / 60**0.5
    assert (kept.mean() - backwards.mean()).abs() < 4.5 * spread * 2**0.5
    assert deletion(model, batch, true, targets).max() < kept.mean() - 4 * spread
    assert insertion(model, batch, true, targets).min() > insertion(model, batch, random, targets).mean()


def test_a_curve_begins_at_what_is_there_before_a_pixel_turns():
    """The ends weigh alike in an area of equal steps, which does not tell them apart."""
    for measure, ends in ((assay.Deletion(4, BLACK), (HIGH, LOW)), (assay.Insertion(4, BLACK), (LOW, HIGH))):
        curve = measure.curve(one_pixel_model(), WHITE, ranked(20), CLASS)
        assert curve.heights[0, [0, -1]].tolist() == pytest.approx(ends)

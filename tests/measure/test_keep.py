import pytest
import torch
from torch import nn

import assay
from assay.errors import SpecError
from reference.measures import keep_top
from reference.nets import Function, plain

TARGETS = torch.tensor([1, 0, 3])


def sees(place, size=8):
    """Class 0 where the pixel `place` is bright, class 1 else."""
    return assay.Classifier(Function(lambda x: x[:, place] - 0.5, other=0.0))


def ranked(first, size=8):
    """A map that ranks the pixel `first` on top and the rest in reading order."""
    values = -torch.arange(float(size * size))
    values[first] = 1.0
    return values.view(1, 1, size, size)


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("order", ["signed", "magnitude"])
@pytest.mark.parametrize("background", [assay.MeanColour(), assay.Constant(0.2), assay.Blur(2.0)], ids=repr)
def test_scores_are_their_slow_twins(fraction, order, background, images):
    net, batch = plain(nn.GELU), images(12)
    maps, filled = images(12, seed=1) - 0.5, background.fill(batch, torch.arange(12), 0)
    predicted = net(batch).argmax(1)
    found = assay.KeepTop(fraction, background, order)(assay.Classifier(net), batch, maps, predicted)
    expected = [keep_top(net, batch[i], filled[i], maps[i], predicted[i], fraction, order) for i in range(12)]
    assert found.tolist() == expected
    if fraction == 1.0:
        assert expected == [1.0] * 12


def test_labels_as_targets_give_the_accuracy_on_what_is_kept(images):
    batch, maps = images(20), images(20, seed=1)
    model, labels = assay.Classifier(plain()), torch.arange(20) % 4
    assert assay.KeepTop(1.0)(model, batch, maps, labels).mean() == (model.predict(batch) == labels).float().mean()


@pytest.mark.parametrize(("first", "score"), [(20, 1.0), (21, 0.0)])
def test_keeping_the_one_pixel_that_counts_is_known_by_hand(first, score):
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 2, 4:6] = 1.0
    measure = assay.KeepTop(1 / 64, order="signed")
    assert measure(sees(20), image, ranked(first), torch.tensor([0])).item() == score


def test_at_least_one_pixel_is_kept():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 2, 4] = 1.0
    assert assay.KeepTop(1e-9, order="signed")(sees(20), image, ranked(20), torch.tensor([0])).item() == 1.0


def test_one_forward_pass_per_image_and_map(images):
    model = assay.Classifier(plain())
    assay.KeepTop()(model, images(), images(seed=1), TARGETS)
    assert model.passes.forward == 3


def test_a_model_that_gives_nan_on_what_is_kept_has_no_score():
    model = assay.Classifier(Function(lambda x: torch.where(x.sum(1) < 30, torch.nan, x.sum(1))))
    image = torch.zeros(2, 1, 8, 8)
    image[:, :, :4] = 1.0
    found = assay.KeepTop(0.25, assay.Constant(0.0))(model, image, image, torch.tensor([0, 0]))
    assert found.isnan().all()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_is_above_0_and_at_most_1(fraction):
    with pytest.raises(SpecError, match="KeepTop: fraction must be above 0 and at most 1"):
        assay.KeepTop(fraction)

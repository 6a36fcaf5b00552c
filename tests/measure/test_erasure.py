import pytest
import torch

import assay
from assay.core import noise
from assay.errors import ImageTypeError, PixelRangeError, ShapeError, SpecError, TargetError
from reference.nets import Function, plain

BACKGROUNDS = [assay.MeanColour(), assay.Constant(1.0), assay.Blur(2.0)]


def snow(images, index, seed):
    return noise.uniform(seed, "snow", index, torch.zeros_like(index), tuple(images.shape[1:]))


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_its_slow_twin_for_soft_masks_and_any_background(channels, images):
    net, batch = plain(), images(10)
    masks = images(10, channels, seed=5) ** 2
    index = torch.arange(10) + 4
    found = assay.erasure_agreement(assay.Classifier(net, chunk=3), batch, masks, [*BACKGROUNDS, snow], seed=7, index=index)
    assert found.shape == (4, 10)
    expected = torch.zeros(4, 10)
    for row, background in enumerate([*(one.fill for one in BACKGROUNDS), snow]):
        for i in range(10):
            behind = background(batch[i : i + 1], index[i : i + 1], 7)
            left = masks[i] * batch[i] + (1 - masks[i]) * behind[0]
            expected[row, i] = float(net(left[None]).argmax() == net(batch[i][None]).argmax())
    assert torch.equal(found, expected)
    assert 0 < expected.mean() < 1


def test_all_of_the_image_agrees_and_none_of_it_only_by_chance(images):
    model, batch = assay.Classifier(plain()), images(30)
    whole = torch.ones(30, 1, 8, 8, dtype=torch.bool)
    assert torch.equal(assay.erasure_agreement(model, batch, whole, BACKGROUNDS), torch.ones(3, 30))
    blind = assay.erasure_agreement(model, batch, ~whole, [assay.Constant(1.0)])
    same = model.predict(batch) == model.predict(torch.ones(1, 3, 8, 8))
    assert torch.equal(blind[0], same.float())
    assert not same.all()


def test_it_agrees_with_the_classes_given(images):
    model, batch = assay.Classifier(plain()), images(8)
    whole, others = torch.ones(8, 1, 8, 8), (model.predict(batch) + torch.arange(8) % 2) % 4
    found = assay.erasure_agreement(model, batch, whole, [assay.MeanColour()], others)
    assert found[0].tolist() == [1.0, 0.0] * 4
    assert model.passes.forward == 16


def test_a_model_that_gives_nan_behind_the_mask_has_no_score():
    model = assay.Classifier(Function(lambda x: torch.where(x.sum(1) < 30, torch.nan, x.sum(1))))
    masks = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    found = assay.erasure_agreement(model, torch.ones(2, 1, 8, 8), masks, [assay.Constant(0.0)])
    assert found[0, 0].isnan()
    assert found[0, 1] == 1.0


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        (torch.ones(2, 1, 4, 4), ShapeError, r"masks must have shape \(2, 1, 8, 8\)"),
        (torch.ones(2, 1, 8, 8, dtype=torch.int64), ImageTypeError, "not int64"),
        ("mask", ImageTypeError, "not str"),
        (torch.full((2, 1, 8, 8), 1.5), PixelRangeError, "run from 1.5 to 1.5"),
        (torch.full((2, 1, 8, 8), torch.nan), PixelRangeError, "must lie in"),
    ],
)
def test_masks_that_cannot_be_are_refused(masks, error, message, images):
    with pytest.raises(error, match=message):
        assay.erasure_agreement(assay.Classifier(plain()), images(2), masks, [assay.MeanColour()])


def test_other_mistakes_are_named(images):
    model, masks = assay.Classifier(plain()), torch.ones(2, 1, 8, 8)
    with pytest.raises(SpecError, match="at least one background"):
        assay.erasure_agreement(model, images(2), masks, [])
    with pytest.raises(ShapeError, match=r"a background must give \(2, 3, 8, 8\), the images' shape, not float"):
        assay.erasure_agreement(model, images(2), masks, [lambda *_: 0.5])
    with pytest.raises(TargetError, match="target 4 of image 1"):
        assay.erasure_agreement(model, images(2), masks, [assay.MeanColour()], torch.tensor([0, 4]))

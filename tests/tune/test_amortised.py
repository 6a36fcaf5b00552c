import pytest
import torch

import assay
from assay.errors import ShapeError, SpecError
from assay.tune.amortised import MaskNet, MaskTraining
from assay.tune.diet import DiET
from assay.tune.schedules import Epochs
from reference.guards import snapshot
from reference.nets import plain

QUICK = MaskTraining(epochs=2, batch_size=4, widths=(8, 8))


def squares(count, seed):
    """Images of noise with a bright square somewhere, and its mask on a grid of cells of 2 pixels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 16, 16, generator=generator) * 0.4
    masks = torch.zeros(count, 1, 8, 8)
    for number, (row, column) in enumerate(torch.randint(0, 6, (count, 2), generator=generator).tolist()):
        images[number, :, 2 * row : 2 * row + 6, 2 * column : 2 * column + 6] += 0.6
        masks[number, :, row : row + 3, column : column + 3] = 1
    return images, masks


def test_it_learns_masks_that_can_be_seen_in_the_image():
    training = MaskTraining(epochs=25, batch_size=8, lr=3e-3, widths=(8, 16))
    predicted = training(*squares(64, seed=0), upsample=2)
    images, masks = squares(8, seed=1)
    found = predicted(assay.Classifier(plain(size=16)), images)
    assert found.shape == (8, 1, 16, 16)
    kept, right = found > 0.5, torch.nn.functional.interpolate(masks, (16, 16)) > 0.5
    assert (kept & right).sum() / (kept | right).sum() > 0.8


def test_a_seed_gives_the_same_bits_and_the_global_generators_stay(untouched):
    images, masks = squares(8, seed=0)
    with untouched():
        first, second, other = (QUICK(images, masks, 2, seed=seed) for seed in (0, 0, 1))
    model = assay.Classifier(plain(size=16))
    assert torch.equal(first(model, images), second(model, images))
    assert not torch.equal(first(model, images), other(model, images))


def test_bytes_and_floats_are_the_same_images():
    images, masks = squares(8, seed=0)
    levels = (images * 255).round().to(torch.uint8)
    model = assay.Classifier(plain(size=16))
    assert torch.equal(QUICK(levels, masks, 2)(model, images), QUICK(levels.float() / 255, masks, 2)(model, images))


@pytest.mark.parametrize(("height", "width", "upsample"), [(16, 16, 2), (9, 14, 4), (5, 5, 1), (7, 13, 3)])
def test_any_size_gives_one_cell_for_each_of_the_grid(height, width, upsample):
    net = MaskNet(3, upsample, (4, 8, 8))
    assert net(torch.zeros(2, 3, height, width)).shape == (2, 1, -(-height // upsample), -(-width // upsample))


def test_a_tuned_model_offers_it_for_its_own_masks():
    images, _ = squares(6, seed=0)
    tuned = DiET(rounds=1, mask_stop=Epochs(1), model_stop=Epochs(1))(plain(size=16), images)
    before = snapshot(tuned.model)
    predicted = tuned.amortised(images, QUICK)
    found = predicted(tuned.classifier(), images)
    assert found.shape == tuned.masks.shape
    assert snapshot(tuned.model) == before
    with pytest.raises(ShapeError, match=r"masks of 5 images"):
        tuned.amortised(images[:5], QUICK)
    with pytest.raises(ShapeError, match="3 channels, not 1"):
        predicted(assay.Classifier(plain(size=16, channels=1)), images[:, :1])
    assert "parameters" in repr(predicted)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SpecError, match="MaskTraining: epochs"):
        MaskTraining(epochs=0)

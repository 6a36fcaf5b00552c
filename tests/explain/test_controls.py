import pytest
import torch
from scipy import ndimage

import assay
from reference.nets import plain

ANY_SIZE = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

CONTROLS = pytest.mark.parametrize("control", [assay.Edges(), assay.ColourContrast(), assay.Centre(), assay.RandomMap()], ids=repr)


@CONTROLS
def test_no_control_runs_the_model(control, images):
    model = assay.Classifier(plain())
    control(model, images())
    assert (model.passes.forward, model.passes.backward) == (0, 0)
    assert type(control).category == "control"


@CONTROLS
def test_no_control_knows_the_model_or_the_class(control, images):
    one, other = assay.Classifier(plain(seed=0)), assay.Classifier(plain(seed=1))
    assert torch.equal(control(one, images(), torch.tensor([0, 1, 2])), control(other, images(), torch.tensor([3, 2, 1])))


def test_edges_are_the_size_of_sobels_gradient(images):
    found = assay.Edges()(assay.Classifier(plain()), images())
    for one, image in zip(found, images(), strict=True):
        grey = image.mean(0).numpy()
        expected = sum(ndimage.sobel(grey, axis, mode="nearest") ** 2 for axis in (0, 1)) ** 0.5
        torch.testing.assert_close(one[0], torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_a_step_in_brightness_is_an_edge_of_four_times_its_height():
    image = torch.zeros(1, 3, 8, 8)
    image[:, :, :, 4:] = 0.5
    found = assay.Edges()(assay.Classifier(plain()), image)[0, 0]
    assert torch.equal(found, torch.tensor([0.0, 0, 0, 2, 2, 0, 0, 0]).expand(8, 8))


def test_contrast_is_the_mean_distance_from_the_median_colour():
    image = torch.full((1, 3, 12, 12), 0.25)
    image[0, :, 6, 6] = torch.tensor([0.25 + 0.3, 0.25 + 0.4, 0.25])
    found = assay.ColourContrast()(assay.Classifier(ANY_SIZE), image)[0, 0]
    expected = torch.zeros(12, 12)
    expected[4:9, 4:9] = 0.5 / 25
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (8, 9), (5, 8)])
def test_the_centre_is_highest_in_the_middle_and_the_same_from_all_sides(shape):
    found = assay.Centre()(assay.Classifier(ANY_SIZE), torch.rand(2, 3, *shape))
    assert torch.equal(found[0], found[1])
    for flipped in (found.flip(2), found.flip(3)):
        assert torch.equal(flipped, found)
    assert (found[0, 0].diff(dim=1)[:, : (shape[1] - 1) // 2] > 0).all()

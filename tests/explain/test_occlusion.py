import pytest
import torch
from torch import nn

import assay
from reference.nets import linear, plain

TARGETS = torch.tensor([1, 0, 3])


@pytest.mark.parametrize("segments", [assay.Grid(3, 2), assay.Slic(6)], ids=repr)
@pytest.mark.parametrize("background", [assay.Constant(0.5), assay.MeanColour(), assay.Blur(2.0)], ids=repr)
def test_each_pixel_has_the_score_that_is_lost_with_its_cell(segments, background, images):
    net = plain(nn.GELU)
    found = assay.Occlusion(segments, background)(assay.Classifier(net), images(), TARGETS)
    labels, filled = segments.labels(images()), background.fill(images(), torch.arange(3), 0)
    for place, (image, target) in enumerate(zip(images(), TARGETS, strict=True)):
        for cell in range(int(labels[place].max()) + 1):
            gone = labels[place] == cell
            with torch.no_grad():
                whole, left = net(torch.stack([image, torch.where(gone, filled[place], image)]))[:, target]
            torch.testing.assert_close(found[place, 0][gone], (whole - left).expand(int(gone.sum())), rtol=1e-4, atol=1e-4)


def test_on_a_linear_model_it_is_the_sum_of_weight_times_pixel():
    weight = torch.randn(3 * 8 * 8, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = assay.Occlusion(assay.Grid(4, 4))(assay.Classifier(linear(weight)), image, torch.tensor([0]))
    lost = (weight.view(3, 8, 8) * image[0]).sum(0).view(4, 2, 4, 2).sum((1, 3))
    torch.testing.assert_close(found[0, 0, ::2, ::2], lost, rtol=1e-4, atol=1e-4)


def test_it_takes_one_forward_pass_per_cell_and_one_for_the_image(images):
    model = assay.Classifier(plain())
    assay.Occlusion(assay.Grid(3, 4))(model, images(), TARGETS)
    assert (model.passes.forward, model.passes.backward) == (3 * (12 + 1), 0)

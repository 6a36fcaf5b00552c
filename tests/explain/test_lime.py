import pytest
import torch
from torch import nn

import assay
from assay.explain.superpixels import coalitions
from reference.nets import linear, plain
from reference.surrogates import lime, outputs

TARGETS = torch.tensor([1, 0, 3])


def per_segment(maps, labels, count):
    """The coefficient of each segment (count,), after checking that its pixels all have it."""
    values = []
    for segment in range(count):
        inside = maps[0][labels == segment]
        assert (inside == inside[0]).all()
        values.append(inside[0])
    return torch.stack(values)


@pytest.mark.parametrize("segments", [assay.Grid(3, 4), assay.Quickshift(kernel_size=1, max_dist=3), assay.Slic(count=8)], ids=repr)
@pytest.mark.parametrize(("alpha", "width"), [(1.0, 1.0), (0.01, 0.1)])
@pytest.mark.parametrize("background", [assay.Constant(0.0), assay.MeanColour()], ids=repr)
def test_coefficients_are_those_of_scikit_learns_ridge(segments, alpha, width, background, images):
    net, seed, index = plain(nn.GELU), 5, torch.tensor([0, 7, 9])
    explainer = assay.Lime(40, segments, alpha, width, background)
    maps = explainer(assay.Classifier(net), images(), TARGETS, seed=seed, index=index)
    labels, filled = segments.labels(images()), background.fill(images(), index, seed)
    counts = labels.flatten(1).amax(1) + 1
    assert counts.max() > 3
    drawn = coalitions.bernoulli(seed, index, counts, 40).members
    for image in range(3):
        count = int(counts[image])
        members = drawn[image, :, :count].tolist()
        values = outputs(net, images()[image], labels[image], filled[image], members, TARGETS[image])
        expected = lime(images()[image], labels[image], filled[image], members, values, alpha, width)
        found = per_segment(maps[image], labels[image], count)
        torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)


def test_equal_coalitions_are_run_once(images):
    model = assay.Classifier(plain())
    assay.Lime(500, assay.Grid(1, 3))(model, images(2), TARGETS[:2])
    assert model.passes.forward <= 2 * 8


def test_a_model_that_adds_up_superpixels_is_explained_by_its_terms(images):
    weight = torch.linspace(-1, 1, 192)
    batch = images()
    maps = assay.Lime(200, assay.Grid(2, 2), alpha=1e-6)(assay.Classifier(linear(weight)), batch, torch.zeros(3, dtype=torch.int64))
    terms = (weight.view(3, 8, 8) * batch).sum(1).unfold(1, 4, 4).unfold(2, 4, 4).sum((3, 4))
    torch.testing.assert_close(maps[:, 0, ::4, ::4], terms, rtol=1e-3, atol=1e-3)


def test_an_image_of_one_superpixel_has_a_finite_map(images):
    assert assay.Lime(4, assay.Grid(1, 1))(assay.Classifier(plain()), images()).isfinite().all()


def test_more_penalty_shrinks_the_coefficients(images):
    model = assay.Classifier(plain())
    norms = [assay.Lime(50, assay.Grid(3, 3), alpha)(model, images(), TARGETS).norm() for alpha in (0.01, 1.0, 100.0)]
    assert norms[0] > norms[1] > norms[2]

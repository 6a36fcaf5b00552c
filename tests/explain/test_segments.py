import numpy as np
import pytest
import torch
from skimage.segmentation import quickshift, slic

import assay
from assay.errors import SpecError
from assay.explain.superpixels.segments import segment_sums

CUTS = pytest.mark.parametrize("segments", [assay.Quickshift(), assay.Quickshift(1, 3, 0.5), assay.Slic(8), assay.Grid(3, 4)], ids=repr)


def pictures(count=3, channels=3, height=16, width=20):
    coarse = torch.rand(count, channels, 4, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="nearest")


@CUTS
def test_labels_count_from_zero_without_gaps(segments):
    labels = segments.labels(pictures())
    assert labels.shape == (3, 16, 20)
    assert labels.dtype == torch.int64
    for one in labels:
        assert one.unique().tolist() == list(range(int(one.max()) + 1))


@CUTS
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_images_labels_depend_on_itself_alone(segments, channels):
    batch = pictures(4, channels)
    whole = segments.labels(batch)
    assert torch.equal(segments.labels(batch[[3, 1]]), whole[[3, 1]])


@CUTS
def test_the_global_generators_are_untouched(segments, untouched):
    with untouched():
        segments.labels(pictures())


def same_partition(one, other):
    pairs = {(int(a), int(b)) for a, b in zip(one.flatten(), other.flatten(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_quickshift_is_scikit_images_with_the_papers_parameters():
    batch = pictures()
    for image, labels in zip(batch, assay.Quickshift().labels(batch), strict=True):
        expected = quickshift(image.permute(1, 2, 0).double().numpy(), kernel_size=1, max_dist=200, ratio=0.1, rng=0)
        assert same_partition(labels.numpy(), expected)


def test_slic_is_scikit_images():
    batch = pictures()
    for image, labels in zip(batch, assay.Slic(8, 5.0).labels(batch), strict=True):
        assert same_partition(labels.numpy(), slic(image.permute(1, 2, 0).double().numpy(), n_segments=8, compactness=5.0))


def test_a_grid_cuts_even_rectangles():
    labels = assay.Grid(2, 3).labels(torch.zeros(1, 1, 4, 6))
    assert labels[0].tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2
    sizes = np.bincount(assay.Grid(3, 4).labels(torch.zeros(1, 1, 16, 21)).flatten().numpy())
    assert len(sizes) == 12
    assert sizes.max() - sizes.min() <= 12


def test_a_grid_finer_than_the_image_is_refused():
    with pytest.raises(SpecError, match="Grid: 9 x 7 cells do not fit an image of 8 x 8 pixels"):
        assay.Grid(9, 7).labels(torch.zeros(1, 3, 8, 8))


def test_segment_sums_add_up_each_segment():
    labels = assay.Grid(2, 2).labels(torch.zeros(2, 1, 4, 4))
    values = torch.arange(32.0).view(2, 4, 4)
    expected = [[float(one[label == k].sum()) for k in range(4)] for one, label in zip(values, labels, strict=True)]
    assert segment_sums(values, labels, 4).tolist() == expected


def test_superpixels_are_quickshifts_on_small_images_and_few_on_large_ones():
    generator = torch.Generator().manual_seed(0)
    small, large = (torch.rand(1, 3, side, side, generator=generator) for side in (64, 96))
    assert torch.equal(assay.Superpixels().labels(small), assay.Quickshift().labels(small))
    assert torch.equal(assay.Superpixels().labels(large), assay.Slic(count=50).labels(large))
    assert int(assay.Superpixels(count=20).labels(large).max()) < 40


def test_explainers_of_the_same_images_cut_them_once(monkeypatch):
    cuts = []
    one = assay.Slic.one
    monkeypatch.setattr(assay.Slic, "one", lambda self, pixels: cuts.append(1) or one(self, pixels))
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    first = assay.Slic(count=7).labels(images)
    first[:] = -1
    again = assay.Slic(count=7).labels(images.clone())
    assert len(cuts) == 3
    assert int(again.min()) == 0
    changed = images.clone()
    changed[0, 0, 0, 0] = 1 - changed[0, 0, 0, 0]
    assay.Slic(count=7).labels(changed)
    assay.Slic(count=8).labels(changed)
    assert len(cuts) == 9

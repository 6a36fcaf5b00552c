"""The guided filter against its own least squares, and what it keeps and changes of maps."""

import pytest
import torch

import assay
from assay.errors import SpecError
from assay.explain.refine import guided


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def slow(value, image, radius, edge):
    """The filter of one map (H, W) by one image (K, H, W): a ridge fit in each window, then the mean of the fits at each pixel."""
    channels, height, width = image.shape
    fits = {}
    for row in range(height):
        for column in range(width):
            rows = slice(max(0, row - radius), row + radius + 1)
            columns = slice(max(0, column - radius), column + radius + 1)
            colours, wanted = image[:, rows, columns].flatten(1).T.double(), value[rows, columns].flatten().double()
            centred = colours - colours.mean(0)
            square = centred.T @ centred / len(colours) + edge * torch.eye(channels, dtype=torch.float64)
            slope = torch.linalg.solve(square, centred.T @ (wanted - wanted.mean()) / len(colours))
            fits[row, column] = slope, wanted.mean() - slope @ colours.mean(0)
    out = torch.empty(height, width)
    for row in range(height):
        for column in range(width):
            near = [fits[i, j] for (i, j) in fits if abs(i - row) <= radius and abs(j - column) <= radius]
            slope, level = (torch.stack(part).mean(0) for part in zip(*near, strict=True))
            out[row, column] = slope @ image[:, row, column].double() + level
    return out


@pytest.mark.parametrize(("channels", "radius"), [(1, 1), (3, 2)])
def test_it_is_the_mean_of_the_windows_ridge_fits(channels, radius):
    images, maps = drawn(1, channels, 7, 9), drawn(1, 2, 7, 9, seed=1) - 0.5
    found = guided(maps, images, radius, 0.01)
    for channel in range(2):
        torch.testing.assert_close(found[0, channel], slow(maps[0, channel], images[0], radius, 0.01), rtol=1e-3, atol=1e-4)


def test_a_map_that_is_a_colour_of_the_image_stays_and_a_flat_map_too():
    images = drawn(2, 3, 12, 12)
    torch.testing.assert_close(guided(images[:, :1], images, 3, 1e-6), images[:, :1], rtol=0, atol=1e-3)
    flat = torch.full((2, 1, 12, 12), 0.7)
    assert torch.equal(guided(flat, images, 3, 1e-3), flat)


def test_a_coarse_mask_ends_where_the_thing_does():
    images = torch.zeros(1, 3, 16, 16)
    images[..., 5:11] = 0.8
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 3:13] = 0.6
    mask[..., 5:11] += 0.1
    found = guided(mask, images, 4, 1e-3)
    assert found[..., 5:11].min() > 2 * found[..., 3:5].max()


def test_magnitudes_are_refined_by_default_and_signed_maps_where_asked():
    model, images = assay.load("hard-digits"), drawn(2, 3, 64, 64)
    raw = assay.Gradient()(model, images)
    whole, signed = (assay.Refined(assay.Gradient(), radius=4, of=of)(model, images) for of in ("magnitude", "signed"))
    torch.testing.assert_close(whole, guided(raw.abs().sum(1, keepdim=True), images, 4, 1e-3).clamp(min=0))
    torch.testing.assert_close(signed, guided(raw, images, 4, 1e-3))
    torch.testing.assert_close(assay.Refined(assay.Gradient())(model, images), whole)  # a sixteenth of 64


@pytest.mark.parametrize("wrong", ["radius=0", "edge=0.0"])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(SpecError, match=wrong.partition("=")[0]):
        assay.build(f"Refined(Gradient(), {wrong})")

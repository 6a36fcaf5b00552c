"""What a gallery refuses when it is put together."""

import pytest
import torch

from assay.errors import EmptyBatchError, ImageTypeError, PixelRangeError, ShapeError


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"names": ("first.png",)}, "1 names for 2 images"),
        ({"why": ("the worst",)}, "1 reasons for 2 images"),
        ({"maps": {"Lime": torch.zeros(2, 1, 8, 4)}}, "maps of Lime"),
        ({"truth": torch.zeros(2, 1, 8, 8)}, "truth is torch.float32"),
        ({"doubt": {"Lime": torch.zeros(2, 8, 8, dtype=torch.bool)}}, "doubt of Lime"),
        ({"scores": {"Gradient": {"Insertion": (0.25,)}}}, "1 scores of Gradient by Insertion"),
        ({"images": torch.zeros(2, 2, 8, 8)}, r"\(G, 3, H, W\)"),
    ],
)
def test_parts_that_do_not_fit_the_images_are_refused_by_name(gallery, change, parts, message):
    with pytest.raises(ShapeError, match=message):
        change(gallery, **parts)


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), ImageTypeError),
        (torch.zeros(0, 3, 8, 8), EmptyBatchError),
        (torch.full((2, 3, 8, 8), 1.5), PixelRangeError),
        (torch.full((2, 3, 8, 8), float("nan")), PixelRangeError),
    ],
)
def test_images_without_pixels_in_their_range_are_refused(gallery, change, images, error):
    with pytest.raises(error, match="gallery"):
        change(gallery, images=images)

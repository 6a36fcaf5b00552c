import numpy as np
import pytest
import torch

import assay
from assay.errors import AssayError, EmptyBatchError, ImageTypeError, PixelRangeError, ShapeError
from assay.report.figures.colour import robust_limit, signed_palette
from assay.report.figures.show import signed_colours


@pytest.fixture
def images():
    return torch.rand(3, 3, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def maps():
    return torch.randn(3, 3, 6, 8, generator=torch.Generator().manual_seed(1))


def pictures(figure):
    """What each panel with a picture draws, in reading order."""
    return [axes.get_images()[0] for axes in figure.axes if axes.get_images()]


def test_each_image_stands_beside_its_map_and_the_names_before_them(images, maps):
    figure = assay.show(images, maps, names=["a.png", "b.png", "c.png"])
    drawn = pictures(figure)
    assert len(drawn) == 6
    assert np.array_equal(drawn[0].get_array(), (images[0] * 255).round().byte().permute(1, 2, 0).numpy())
    assert np.allclose(drawn[3].get_array(), maps[1].sum(0).double().numpy(), atol=1e-6)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["a.png", "b.png", "c.png"]


def test_maps_of_a_kind_share_one_scale_around_zero_which_single_pixels_do_not_set(images, maps):
    loud = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    loud[0, 0, 0, 0] = 1e6
    figure = assay.show(torch.rand(3, 3, 64, 64), {"loud": loud, "quiet": loud / 10})
    scales = [one.norm for one in pictures(figure) if one.norm.vmin != 0 and one.get_array().ndim == 2]
    assert {scale.vmax for scale in scales} == {robust_limit(loud), robust_limit(loud / 10)}
    assert all(scale.vmin == -scale.vmax for scale in scales)
    assert max(scale.vmax for scale in scales) < 10


def test_colours_are_those_of_the_reports_and_zero_is_the_middle_one():
    colours = signed_colours()
    palette = signed_palette() / 255
    assert np.allclose(colours(0.5)[:3], palette[127])
    assert np.allclose([colours(0.0)[:3], colours(1.0)[:3]], palette[[0, 254]])
    assert np.allclose(colours(np.ma.masked_invalid([np.nan]))[0, :3], palette[255])


def test_maps_of_zeros_and_maps_that_are_not_finite_are_drawn(images, maps):
    maps[0, 0, 0, 0] = torch.inf
    figure = assay.show(images, {"zero": torch.zeros_like(maps), "broken": maps})
    assert figure.canvas.print_to_buffer()[0]
    assert pictures(figure)[2].get_array().mask.sum() == 1


def test_images_of_many_channels_are_shown_as_their_mean(maps):
    many = torch.rand(3, 5, 6, 8)
    assert np.array_equal(pictures(assay.show(many, maps))[0].get_array()[..., 0], (many[0].mean(0).double() * 255).round().byte().numpy())


def test_a_notebook_gets_a_picture_without_pyplot(images, maps):
    assert assay.show(images, maps)._repr_png_()[:4] == b"\x89PNG"


def test_figures_are_written_for_papers(images, maps, tmp_path):
    for form in ("svg", "pdf", "png"):
        assay.show(images, maps).savefig(tmp_path / f"maps.{form}")
    assert b"<svg" in (tmp_path / "maps.svg").read_bytes()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"maps": torch.zeros(2, 3, 6, 8)}, ShapeError, r"map has shape \(2, 3, 6, 8\), but the images need \(3, C, 6, 8\)"),
        ({"maps": {"Lime": torch.zeros(3, 1, 8, 8)}}, ShapeError, "Lime has shape"),
        ({"maps": {}}, ShapeError, "no maps"),
        ({"maps": 3}, ImageTypeError, "by name"),
        ({"maps": {"Lime": "heat.npy"}}, ImageTypeError, "Lime must be a tensor"),
        ({"maps": [], "names": []}, ShapeError, "no maps"),
        ({"maps": [torch.zeros(3, 1, 6, 8)], "names": ["a.png", "b.png", "c.png"]}, ShapeError, "1 different names, one for each"),
        ({"maps": [torch.zeros(3, 1, 6, 8)] * 2, "names": ["Lime", "Lime"]}, ShapeError, "2 different names"),
        ({"names": ["one"]}, ShapeError, "1 names for 3 images"),
        ({"names": "abc"}, ShapeError, "names is a text"),
        ({"images": torch.full((3, 3, 6, 8), 2.0)}, PixelRangeError, "0, 1"),
        ({"images": torch.zeros(0, 3, 6, 8)}, EmptyBatchError, "image"),
    ],
)
def test_a_mistake_is_named(images, maps, change, error, message):
    with pytest.raises(error, match=message) as caught:
        assay.show(**({"images": images, "maps": maps} | change))
    assert isinstance(caught.value, AssayError)


def test_a_list_of_maps_has_its_own_names_and_arrays_and_maps_without_channels_do(images, maps):
    figure = assay.show(images, [maps, maps.mean(1).numpy()], names=["Gradient", "Lime"])
    by_name = assay.show(images, {"Gradient": maps, "Lime": maps.mean(1, keepdim=True)})
    assert [axes.get_title() for axes in figure.axes] == [axes.get_title() for axes in by_name.axes]
    for one, other in zip(pictures(figure), pictures(by_name), strict=True):
        assert np.array_equal(one.get_array(), other.get_array())
    assert [axes.get_title() for axes in assay.show(images, [maps, maps]).axes if axes.get_title()] == ["image", "map 1", "map 2"]

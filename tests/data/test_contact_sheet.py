import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assay.data import HardDigits, ImageFolder, read
from assay.data.files.reading import Reading
from assay.data.preview import _outline, contact_sheet, save_contact_sheet
from assay.errors import DataError


@given(st.integers(0, 2**25 - 1))
def test_the_outline_is_every_edge_between_inside_and_outside(bits):
    mask = torch.tensor([bool(bits >> i & 1) for i in range(25)]).view(5, 5)
    edges = 0
    for row in range(5):
        for column in range(5):
            for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                y, x = row + down, column + right
                outside = not (0 <= y < 5 and 0 <= x < 5) or not mask[y, x]
                edges += bool(mask[row, column]) and outside
    segments = _outline(mask)
    assert len(segments) == edges
    assert np.array_equal(np.abs(segments[:, 0] - segments[:, 1]).sum(1), np.ones(edges))


def test_the_sheet_shows_labels_and_a_legend_of_both_masks():
    dataset = HardDigits(size=32)
    figure = contact_sheet(dataset, read(dataset, range(5)))
    assert len(figure.axes) == 5
    assert [axes.get_title("left") for axes in figure.axes] == [dataset.classes[dataset[i].label] for i in range(5)]
    assert [text.get_text().split(":")[0] for text in figure.legends[0].get_texts()] == ["truth", "distractor"]
    assert all(len(axes.collections) == 2 for axes in figure.axes)


def test_images_without_truth_have_no_legend_and_show_their_names(classes_folder):
    dataset = ImageFolder(str(classes_folder / "dog"))
    figure = contact_sheet(dataset, read(dataset, range(3)))
    assert figure.legends == []
    assert [axes.get_title("left") for axes in figure.axes] == ["c.jpeg", "d.PNG", "e.jpg"]


def test_grey_pictures_are_drawn_grey_and_as_dark_as_they_are(tmp_path):
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(tmp_path / "a.png")
    dataset = ImageFolder(str(tmp_path), reading=Reading(channels=1))
    (drawn,) = contact_sheet(dataset, read(dataset, [0])).axes[0].images
    colours = drawn.make_image(None, unsampled=True)[0][..., :3]
    assert np.array_equal(colours, np.repeat(np.arange(16).reshape(4, 4, 1), 3, axis=2))


def test_the_file_is_a_png_and_nothing_else_is_left(tmp_path):
    dataset = HardDigits(size=32)
    save_contact_sheet(dataset, read(dataset, range(2)), tmp_path / "new" / "sheet.png")
    with Image.open(tmp_path / "new" / "sheet.png") as picture:
        assert picture.format == "PNG"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]


def test_nothing_to_show_and_nowhere_to_write_are_refused(tmp_path):
    dataset = HardDigits(size=32)
    with pytest.raises(DataError, match="nothing to show"):
        contact_sheet(dataset, read(dataset, []))
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot write"):
        save_contact_sheet(dataset, read(dataset, [0]), tmp_path / "file" / "sheet.png")

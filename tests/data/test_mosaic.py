from dataclasses import dataclass

import pytest
import torch
from torch import nn

import assay
from assay.data import Item, Mosaic
from assay.data.base import Dataset
from assay.errors import DataError, SpecError

COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9, 0.9, 0.1], [0.2, 0.2, 0.2]])


class Colours(nn.Module):
    """The nearest of five colours, by the mean over the image; sure of pure ones only."""

    def forward(self, x):
        return -400 * (x.mean((2, 3))[:, None] - COLOURS).square().sum(2)


@dataclass(frozen=True)
class Plain(Dataset):
    """Images of one colour, item i of class i % 5; every fourth is between two classes, item 7 has a wrong label."""

    labelled: bool = True
    number: int = 24
    split, name = "test", "plain"

    @property
    def classes(self):
        return tuple("abcde") if self.labelled else ()

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        kind = index % 5
        colour = COLOURS[kind] + 1e-3 * index
        if index % 4 == 3:
            colour = (COLOURS[kind] + COLOURS[(kind + 1) % 5]) / 2
        label = (kind + (index == 6)) % 5 if self.labelled else None
        return Item(colour[:, None, None].expand(3, 4, 6).clone(), label, index, f"item {index}")

    def content_hash(self):
        return "plain"


MODEL = assay.Classifier(Colours())
SURE = [index for index in range(24) if index % 4 != 3]


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 2), (1, 5), (2, 1)])
def test_cells_are_images_of_different_classes_and_truth_is_the_targets(rows, columns):
    mosaic = Mosaic(Plain(), rows, columns, model=MODEL)
    for item in mosaic:
        assert item.image.shape == (3, 4 * rows, 6 * columns)
        cells = item.image.view(3, rows, 4, columns, 6).permute(1, 3, 0, 2, 4).reshape(rows * columns, 3, 4, 6)
        kinds = MODEL.predict(cells).tolist()
        assert len(set(kinds)) == rows * columns
        inside = item.truth.view(rows, 4, columns, 6).permute(0, 2, 1, 3).reshape(rows * columns, -1)
        assert inside.all(1).sum() == 1
        assert inside.any(1).sum() == 1
        assert kinds[int(inside.all(1).nonzero())] == item.label


def test_every_image_that_the_model_is_sure_of_and_right_about_is_the_target_of_one():
    mosaic = Mosaic(Plain(), model=MODEL)
    targets = [places[cell] for places, cell in (mosaic.tiles(index) for index in range(len(mosaic)))]
    assert targets == [index for index in SURE if index != 6]
    assert {place for index in range(len(mosaic)) for place in mosaic.tiles(index)[0]} <= set(targets)


def test_without_labels_the_models_word_is_taken():
    mosaic = Mosaic(Plain(labelled=False), model=MODEL)
    images = assay.data.read(Plain(), range(24)).images
    assert len(mosaic) == int((MODEL.logits(images).softmax(1).amax(1) >= 0.99).sum()) > len(SURE)
    assert mosaic.classes == ("0", "1", "2", "3", "4")


def test_the_targets_cell_is_drawn_evenly_and_depends_on_seed_and_number_alone():
    many = [Mosaic(Plain(), model=MODEL, seed=seed) for seed in range(20)]
    cells = torch.tensor([mosaic.tiles(index)[1] for mosaic in many for index in range(len(mosaic))])
    assert ((cells.bincount(minlength=4) / len(cells) - 0.25).abs() < 4.5 * (0.1875 / len(cells)) ** 0.5).all()
    assert torch.equal(Mosaic(Plain(), model=MODEL, seed=3, count=2)[1].image, many[3][1].image)
    assert len(Mosaic(Plain(), model=MODEL, count=2)) == 2


def test_the_hash_tells_settings_and_what_the_model_is_sure_of():
    hashes = [
        Mosaic(data, 1, 2, model=MODEL, **more).content_hash()
        for data, more in [(Plain(), {}), (Plain(), {"seed": 1}), (Plain(), {"count": 3}), (Plain(), {"confidence": 0.0})]
    ]
    assert len(set(hashes)) == 4
    assert Mosaic(Plain(), 1, 2, model=MODEL).content_hash() == hashes[0]


def test_occlusion_of_a_mosaic_points_at_the_targets_cell():
    class Local(nn.Module):
        """The mean over places of how near each pixel is to each colour."""

        def forward(self, x):
            far = (x[:, None] - COLOURS[None, :, :, None, None]).square().sum(2)
            return torch.exp(-60 * far).mean((2, 3)) * 60

    model = assay.Classifier(Local())
    batch = assay.data.read(Mosaic(Plain(), model=model), range(8))
    maps = assay.Occlusion(assay.Grid(4, 4))(model, batch.images, batch.labels)
    for measure in (assay.PointingGame(), assay.MaskIoU("signed"), assay.TruthShare("positive")):
        found = measure(model, batch.images, maps, batch.labels, truth=batch.truth)
        assert found.tolist() == pytest.approx([1.0] * 8, abs=0.05)


def test_too_few_classes_are_named():
    with pytest.raises(DataError, match=r"2 x 3 needs .* 17 images of 5 classes .* lower confidence="):
        Mosaic(Plain(), 2, 3, model=MODEL)


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"rows": 1, "columns": 1}, {"confidence": 1.5}, {"count": 0}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(SpecError, match="Mosaic"):
        Mosaic(Plain(), model=MODEL, **wrong)

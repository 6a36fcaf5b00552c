"""Images as people hold them become one batch."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import assay
from assay.data import as_batch, load
from assay.errors import AssayWarning, EmptyBatchError, ImageTypeError, ShapeError
from reference.nets import plain

BYTES = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
EXPECTED = torch.from_numpy(BYTES).permute(0, 3, 1, 2) / 255
LABELS = torch.tensor([2, 0, 1, 1])


class Rows:
    """A data set by rows, as Hugging Face's are."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


PICTURES = [Image.fromarray(one) for one in BYTES]
HELD = {
    "PIL": (PICTURES, None),
    "arrays": (list(BYTES), None),
    "one array": (BYTES, None),
    "channels first": (np.moveaxis(BYTES, 3, 1), None),
    "floats": (EXPECTED.numpy(), None),
    "tensor": (EXPECTED, None),
    "tensors": (list(EXPECTED), None),
    "pairs": (list(zip(PICTURES, LABELS.tolist(), strict=True)), LABELS),
    "rows": (Rows([{"image": one, "label": int(label)} for one, label in zip(PICTURES, LABELS, strict=True)]), LABELS),
    "odd column": (Rows([{"scan": one} for one in PICTURES]), None),
    "torch": (TensorDataset(EXPECTED, LABELS), LABELS),
    "loader": (DataLoader(TensorDataset(EXPECTED, LABELS), batch_size=3), LABELS),
    "loader without labels": (DataLoader(TensorDataset(EXPECTED), batch_size=3), None),
}


@pytest.mark.parametrize("kind", HELD)
def test_images_and_labels_come_out_whatever_holds_them(kind):
    held, labels = HELD[kind]
    batch = as_batch(held)
    torch.testing.assert_close(batch.images, EXPECTED)
    assert (batch.labels is None) == (labels is None)
    assert labels is None or torch.equal(batch.labels, labels)
    assert batch.index.tolist() == [0, 1, 2, 3]


def test_depth_of_grey_is_kept():
    deep = np.random.default_rng(0).integers(0, 65536, (2, 4, 4)).astype(np.uint16)
    for held in (deep, [Image.fromarray(one) for one in deep]):
        torch.testing.assert_close(as_batch(held).images[:, 0], torch.from_numpy((deep / 65535).astype(np.float32)))


@pytest.mark.parametrize("kind", ["PIL", "pairs", "loader", "rows"])
def test_an_audit_takes_them(kind):
    def audit(images, **more):
        return assay.audit(assay.Classifier(plain(size=6)), images, explainers=["Gradient"], measures=["Deletion(steps=3)"], **more)

    wide = EXPECTED[:, :, :6, :6].contiguous()
    held = {
        "PIL": [Image.fromarray((one.permute(1, 2, 0) * 255).round().byte().numpy()) for one in wide],
        "pairs": [(one, int(label)) for one, label in zip(wide, LABELS, strict=True)],
        "loader": DataLoader(TensorDataset(wide, LABELS), batch_size=2),
        "rows": Rows([{"image": one, "label": int(label)} for one, label in zip(wide, LABELS, strict=True)]),
    }[kind]
    found, expected = audit(held), audit(wide, labels=None if kind == "PIL" else LABELS)
    assert found.scores.equals(expected.scores)
    assert found.status["label"].equals(expected.status["label"])


def test_a_data_set_brings_its_masks():
    batch = as_batch(load("HardDigits(size=32, count=3)"))
    assert batch.truth is not None
    assert len(batch) == 3


def test_files_of_a_data_set_that_cannot_be_read_are_told(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    pages = [Image.new("L", (4, 4), one) for one in range(2)]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(AssayWarning, match=r"1 of 2 images, which cannot be read; .*b\.tif: it holds 2 pages"):
        assert as_batch(load(str(tmp_path))).index.tolist() == [0]


@pytest.mark.parametrize(
    ("held", "error", "message"),
    [
        (3, ImageTypeError, "not int"),
        ("folder", ImageTypeError, r"assay\.data\.load"),
        ([], EmptyBatchError, "no images"),
        ([np.zeros((2, 2)), np.zeros((3, 2))], ShapeError, "different shapes"),
        (np.zeros((2, 2)), ShapeError, "must have shape"),
        (np.zeros((1, 2, 2), np.int64), ImageTypeError, "which value is white"),
        ([{"text": "a"}], ImageTypeError, "no image: its keys are text"),
        (["a.png"], ImageTypeError, "not str"),
    ],
)
def test_what_holds_no_images_is_refused(held, error, message):
    with pytest.raises(error, match=message):
        as_batch(held)


def test_arrays_that_cannot_be_written_are_copied():
    held = np.full((2, 4, 4, 3), 51, np.uint8)
    held.flags.writeable = False
    assert as_batch(held).images.unique().tolist() == [pytest.approx(0.2)]

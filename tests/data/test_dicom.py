"""DICOM files: Hounsfield units, the file's own window, dark-is-large pictures, and one frame only."""

from io import BytesIO

import numpy as np
import pytest

from assay.data import CorruptFileError, load
from assay.data.files.decode import decode
from assay.data.files.reading import Reading

pydicom = pytest.importorskip("pydicom")


def dicom(pixels, **tags):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    made.Rows, made.Columns = pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelRepresentation = 0
    made.PixelData = pixels.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(made, name, value)
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


PIXELS = np.array([[0, 924], [1064, 4095]], dtype=np.uint16)


def test_without_a_window_all_that_the_bits_can_hold_is_the_range():
    np.testing.assert_allclose(decode(dicom(PIXELS), "x.dcm")[0].numpy(), PIXELS / 4095, atol=1e-6)


def test_the_files_window_is_in_the_units_of_its_scale_and_another_may_be_given():
    data = dicom(PIXELS, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=[40, 500], WindowWidth=[400, 2000])
    units = PIXELS.astype(float) - 1024
    np.testing.assert_allclose(decode(data, "x.dcm")[0].numpy(), ((units + 160) / 400).clip(0, 1), atol=1e-6)
    other = decode(data, "x.dcm", reading=Reading(window=(0.0, 2000.0)))
    np.testing.assert_allclose(other[0].numpy(), ((units + 1000) / 2000).clip(0, 1), atol=1e-6)


def test_large_values_that_stand_for_dark_are_turned_around():
    data = dicom(PIXELS, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(decode(data, "x.dcm")[0].numpy(), 1 - PIXELS / 4095, atol=1e-6)


def test_several_frames_are_refused():
    with pytest.raises(CorruptFileError, match="it holds 2 frames"):
        decode(dicom(np.zeros((2, 4, 4)), NumberOfFrames=2), "x.dcm")


def test_files_named_by_scanners_are_read_and_find_their_labels(tmp_path):
    (tmp_path / "scans").mkdir()
    for name in ("IM0001", "1.2.840.7", "1.2.840.8.dcm"):
        (tmp_path / "scans" / name).write_bytes(dicom(PIXELS))
    (tmp_path / "scans" / "README").write_text("no image")
    (tmp_path / "scans" / "1.2.9").write_text("no image")
    (tmp_path / "labels.csv").write_text("uid,found\n1.2.840.8,ill\n1.2.840.9,well\n")
    data = load(tmp_path / "scans", labels=f"{tmp_path / 'labels.csv'}:uid:found")
    assert [data.dataset.title(at) for at in range(len(data))] == ["1.2.840.7", "1.2.840.8.dcm", "IM0001"]
    assert data.dataset.skipped == {"without ending": 1, ".9": 1}
    assert [data[at].label for at in range(3)] == [None, 0, None]

import struct
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.data import CorruptFileError
from assay.data.files.decode import decode
from assay.data.files.reading import Reading
from assay.errors import SpecError


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_png_bytes_come_back_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = decode(encoded(Image.fromarray(pixels)), "x.png")
    assert image.shape == (3, 5, 7)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1) / 255)


def test_grey_is_repeated_in_the_three_channels():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    image = decode(encoded(Image.fromarray(pixels)), "x.png")
    assert torch.equal(image, torch.from_numpy(pixels).expand(3, 8, 8) / 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_depth(kind):
    pixels = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(np.uint16)
    image = decode(encoded(Image.fromarray(pixels), kind), "x")
    np.testing.assert_allclose(image.numpy(), np.broadcast_to(pixels / 65535, (3, 16, 16)), atol=1e-7)
    assert len(image.unique()) == len(np.unique(pixels))
    resized = decode(encoded(Image.fromarray(pixels), kind), "x", size=8)
    assert len(resized[0].unique()) == 64


@pytest.mark.parametrize("reading", [Reading(range=(100.0, 3100.0)), Reading(window=(1600.0, 3000.0))])
def test_a_range_or_window_says_which_values_are_black_and_white(reading):
    pixels = np.array([[0, 100], [1600, 4095]], dtype=np.uint16)
    image = decode(encoded(Image.fromarray(pixels)), "x.png", reading=reading)
    np.testing.assert_allclose(image[0].numpy(), [[0, 0], [0.5, 1]], atol=1e-7)


def test_floats_outside_of_zero_to_one_need_a_range():
    pixels = np.array([[-2.0, 0.0], [3.0, 8.0]], dtype=np.float32)
    for data in (encoded(Image.fromarray(pixels), "TIFF"), npy(pixels), encoded(Image.fromarray(pixels.astype(np.int32)), "TIFF")):
        with pytest.raises(CorruptFileError, match=r"run from -2 to 8, .* give range= \(--range\)"):
            decode(data, "x")
        image = decode(data, "x", reading=Reading(range=(-2.0, 8.0)))
        np.testing.assert_allclose(image[0].numpy(), (pixels + 2) / 10, atol=1e-7)
    inside = np.random.default_rng(0).random((4, 4), dtype=np.float32)
    assert torch.equal(decode(encoded(Image.fromarray(inside), "TIFF"), "x")[0], torch.from_numpy(inside))


def npy(array):
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


class Opens:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_code_of_a_pickled_array_is_run(tmp_path):
    held = BytesIO()
    np.save(held, np.array([[Opens(tmp_path / "opened")]], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptFileError, match=r"x\.npy"):
        decode(held.getvalue(), "x.npy")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("shape", [(6, 5), (1, 6, 5), (3, 6, 5), (6, 5, 3), (6, 5, 1)])
@pytest.mark.parametrize(("kind", "top"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_arrays_are_images_whatever_the_place_of_their_channels(shape, kind, top):
    array = (np.random.default_rng(0).random(shape) * top).astype(kind)
    channels_first = array[None] if array.ndim == 2 else array if shape[0] in (1, 3) else array.transpose(2, 0, 1)
    expected = np.broadcast_to(channels_first / top, (3, 6, 5))
    np.testing.assert_allclose(decode(npy(array), "x.npy").numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 6, 5)), np.array([["a"]]), np.zeros((0, 3))])
def test_arrays_that_are_no_images_are_refused(array):
    with pytest.raises(CorruptFileError, match="an array of shape"):
        decode(npy(array), "x.npy")


def test_several_pages_are_refused_by_their_number():
    pages = [Image.new("L", (4, 4), value) for value in (0, 9, 200)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(CorruptFileError, match="it holds 3 pages where one image is needed"):
        decode(data, "x.tif")


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "WEBP"])
def test_other_common_formats_are_read(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = decode(encoded(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {})), "x")
    assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_resize_and_crop_are_those_of_torchvision(interpolation):
    from torchvision.transforms import v2

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 60, 3), dtype=np.uint8))
    preset = v2.Compose([v2.Resize(32, v2.InterpolationMode(interpolation)), v2.CenterCrop(28), v2.PILToTensor()])
    image = decode(encoded(picture), "x.png", reading=Reading(resize=32, crop=28, interpolation=interpolation))
    torch.testing.assert_close(image, preset(picture) / 255)


def test_a_pair_of_sides_squashes_and_a_crop_larger_than_the_picture_is_padded():
    picture = Image.new("RGB", (10, 4), "white")
    assert decode(encoded(picture), "x", reading=Reading(resize=(6, 8))).shape == (3, 6, 8)
    image = decode(encoded(picture), "x", reading=Reading(crop=(8, 8)))
    assert image.shape == (3, 8, 8)
    assert image[0, 2:6].eq(1).all()
    assert image.sum() == 3 * 4 * 8


def test_a_grey_network_gets_one_channel():
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    image = decode(encoded(colours), "x", reading=Reading(channels=1))
    np.testing.assert_allclose(image[0].numpy() * 255, np.asarray(colours.convert("L")), atol=1)
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert torch.equal(decode(encoded(Image.fromarray(grey)), "x", reading=Reading(channels=1)), torch.from_numpy(grey)[None] / 255)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range": (3.0, 3.0)}, "no range"),
        ({"window": (3.0, -1.0)}, "no range"),
        ({"range": (0.0, 1.0), "window": (1.0, 1.0)}, "one of them"),
        ({"resize": 0}, "resize must be at least 1"),
        ({"crop": (3, 0)}, "crop must be at least 1"),
        ({"channels": 2}, "channels must be"),
        ({"interpolation": "cubic"}, "interpolation must be"),
    ],
)
def test_a_reading_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(SpecError, match=message):
        Reading(**options)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_laid_over_white(mode):
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    decoded = decode(encoded(image.convert(mode)), "x.png") * 255
    assert torch.equal(decoded, torch.tensor([0.0, 255.0, 127.0]).expand(3, 1, 3))


def test_transparent_palette_entries_are_laid_over_white():
    image = Image.frombytes("P", (2, 1), b"\0\1")
    image.putpalette([0, 0, 0, 9, 9, 9])
    decoded = decode(encoded(image, transparency=1), "x.png")
    assert torch.equal(decoded, torch.tensor([0.0, 1.0]).expand(3, 1, 2))


def test_cmyk_jpeg_becomes_rgb():
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red, green, blue = decode(data, "x.jpg").mean((1, 2)).tolist()
    assert red > 0.9
    assert green < 0.1
    assert blue < 0.1


def test_the_turn_that_exif_asks_for_is_made():
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    assert decode(encoded(image, "JPEG", exif=exif), "x.jpg").shape == (3, 6, 4)


def test_size_cuts_the_centre_square():
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = 255
    image = decode(encoded(Image.fromarray(pixels)), "x.png", size=4)
    assert torch.equal(image, torch.ones(3, 4, 4))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30))
def test_size_always_gives_that_size_and_pixels_in_range(width, height, size):
    image = decode(encoded(Image.effect_noise((width, height), 200)), "x.png", size)
    assert image.shape == (3, size, size)
    assert image.min() >= 0
    assert image.max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"]))
def test_bytes_that_are_no_image_always_raise_one_error_with_the_name(data, start):
    with pytest.raises(CorruptFileError, match=r"folder/x\.png"):
        decode(start + data, "folder/x.png")


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 600), kind=st.sampled_from(["PNG", "JPEG"]))
def test_a_cut_file_is_never_taken_for_a_whole_one(cut, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(pixels), kind)
    with pytest.raises(CorruptFileError):
        decode(data[: min(cut, len(data) // 2)], "x")


def test_other_formats_are_refused():
    with pytest.raises(CorruptFileError, match="it is no image of a known kind"):
        decode(encoded(Image.new("RGB", (4, 4)), "GIF"), "x.png")


@pytest.mark.parametrize(
    ("damage", "by"),
    [(b"(2, 2)", b"(2, 2 "), (b"(2, 2)", b"(9**99"), (b"(2, 2), }", b"(90000000000000, 9), }")],
    ids=["open", "huge", "larger"],
)
def test_an_array_whose_head_is_damaged_is_an_image_that_cannot_be_read(damage, by):
    held = BytesIO()
    np.save(held, np.zeros((2, 2), np.float32))
    content = held.getvalue()
    assert content.count(damage) == 1
    with pytest.raises(CorruptFileError):
        decode(content.replace(damage.ljust(max(len(by), len(damage))), by), "x.npy")


def test_a_picture_some_of_whose_strips_are_missing_is_damaged():
    held = BytesIO()
    Image.new("RGB", (7, 9), (200, 100, 50)).save(held, "TIFF")
    whole = held.getvalue()
    assert decode(whole, "a.tif").shape == (3, 9, 7)
    # The tag of the height (257, a short or long) says 8 million rows, of which the strips hold 9.
    at = next(at for at in range(0, len(whole) - 12) if struct.unpack_from("<HHL", whole, at)[:1] == (257,) and whole[at + 2] in (3, 4))
    tall = bytearray(whole)
    struct.pack_into("<HHLL", tall, at, 257, 4, 1, 8_000_000)
    with pytest.raises(CorruptFileError, match="it holds 63 of its 56000000 pixels"):
        decode(bytes(tall), "a.tif")

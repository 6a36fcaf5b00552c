from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.data import CorruptFileError
from assay.data.decode import decode


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


def test_sixteen_bit_grey_is_scaled_to_eight_bits():
    pixels = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16)
    image = decode(encoded(Image.fromarray(pixels)), "x.png")
    assert torch.equal(image[0] * 255, torch.tensor([[0.0, 100.0], [200.0, 255.0]]))


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
    with pytest.raises(CorruptFileError, match="no JPEG or PNG"):
        decode(encoded(Image.new("RGB", (4, 4)), "GIF"), "x.png")

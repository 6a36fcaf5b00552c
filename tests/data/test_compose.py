import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.known import compose
from assay.data.known.glyphs import render_glyph

words = np.random.default_rng(0).integers(0, 2**64, (400, compose.HEADER), dtype=np.uint64)


def slow_picture(size, large, small, header, noise):
    """One picture, pixel by pixel: noise stripes on the canvas, the small digit over them, the large digit's tile over all."""
    (ground,), (ink,) = compose._colours(header[None, 1:7])
    rows, columns = (stripe_lines(size, header, axis) for axis in range(2))
    digit, tile = size // 2, size // 4
    at = compose.below(header[20:22], size - digit + 1)
    corner = compose._distractor_places(size, digit, tile, at[None], header[None])[0]
    image, truth, distractor = np.zeros((3, size, size), np.uint8), np.zeros((size, size), bool), np.zeros((size, size), bool)
    for y in range(size):
        for x in range(size):
            pixel = noise.reshape(3, size, size)[:, y, x] if y in rows or x in columns else ground
            v, u = y - corner[0], x - corner[1]
            if 0 <= v < tile and 0 <= u < tile:
                cover = int(render_glyph(tile)[small, v, u])
                pixel = [(int(p) * (255 - cover) + int(i) * cover + 127) // 255 for p, i in zip(pixel, ink, strict=True)]
                distractor[y, x] = cover >= 128
            v, u = y - at[0], x - at[1]
            if 0 <= v < digit and 0 <= u < digit:
                cover = int(render_glyph(digit)[large, v, u])
                pixel = [(int(p) * (255 - cover) + int(i) * cover + 127) // 255 for p, i in zip(ground, ink, strict=True)]
                distractor[y, x] = False
                truth[y, x] = cover >= 128
            image[:, y, x] = pixel
    return image, truth, distractor


def stripe_lines(size, header, axis):
    """Numbers of the rows (axis 0) or columns (axis 1) that lie in a stripe."""
    number, *rest = header[8 + 5 * axis : 13 + 5 * axis]
    lines = set()
    for stripe in range(int(compose.below(np.array([number]), 3)[0])):
        width = 1 + int(compose.below(rest[stripe : stripe + 1], round(size * 50 / 224))[0])
        start = int(compose.below(rest[2 + stripe : 3 + stripe], size - width + 1)[0])
        lines |= set(range(start, start + width))
    return lines


@pytest.mark.parametrize("size", [32, 45])
def test_the_painter_agrees_with_a_slow_twin(size):
    count = 6
    generator = np.random.default_rng(size)
    noise = generator.integers(0, 256, (count, 3 * size * size), dtype=np.uint8)
    large, small = generator.integers(0, 1797, (2, count))
    painted = compose.paint_digits(size, large, small, words[:count], noise)
    for i in range(count):
        slow = slow_picture(size, large[i], small[i], words[i], noise[i])
        assert all(np.array_equal(fast[i], wanted) for fast, wanted in zip(painted, slow, strict=True))


def test_stripes_come_in_all_numbers_and_widths_up_to_50_of_224():
    stripes = compose.stripes(224, words)
    bare_rows, bare_columns = ~stripes.all(2), ~stripes.all(1)
    assert 0.05 < (bare_rows.all(1) & bare_columns.all(1)).mean() < 0.2  # 1/9 of the images have no stripe.
    covered = 224 - bare_rows.sum(1)
    assert covered.max() > 60
    assert covered.max() <= 100
    starts = (np.diff(np.pad(~bare_rows, ((0, 0), (1, 0))).astype(int), axis=1) == 1).sum(1)
    assert set(starts.tolist()) == {0, 1, 2}


@settings(max_examples=50, deadline=None)
@given(st.integers(32, 230), st.integers(0, 2**32 - 1))
def test_at_least_half_of_the_distractors_tile_stays_free(size, seed):
    header = np.random.default_rng(seed).integers(0, 2**64, (50, compose.HEADER), dtype=np.uint64)
    # With all tries on the digit's own corner only the last resort is left.
    header[25:, 24:56:2], header[25:, 25:56:2] = header[25:, 20:21], header[25:, 21:22]
    digit, small = size // 2, size // 4
    places = compose.below(header[:, 20:22], size - digit + 1)
    corners = compose._distractor_places(size, digit, small, places, header)
    assert (corners >= 0).all()
    assert (corners <= size - small).all()
    overlap = np.maximum(np.minimum(corners + small, places + digit) - np.maximum(corners, places), 0).prod(1)
    assert (2 * overlap <= small * small).all()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), st.integers(1, 2**40))
def test_below_stays_below(numbers, limit):
    drawn = compose.below(np.array(numbers, np.uint64), limit)
    assert (drawn >= 0).all()
    assert (drawn < limit).all()

"""How gradients become steps: momentum, decay and Adam against their formulae, and what the ascent loop does with them."""

import math

import pytest
import torch

import assay
from assay.attack.ascent import ascend
from assay.attack.ball import ball

SLOPES = torch.randn(3, 2, 1, 2, 2, generator=torch.Generator().manual_seed(0)).unbind()
AREA = ball("linf", 0.5)


def unit(gradient):
    return gradient / gradient.flatten(1).abs().mean(1).view(-1, 1, 1, 1)


def test_momentum_adds_what_is_left_of_the_directions_before():
    way, memory, kept = assay.SteepestAscent(step=0.2, momentum=0.5, decay="constant"), {}, torch.zeros_like(SLOPES[0])
    for slope in SLOPES:
        kept = unit(slope) + 0.5 * kept
        torch.testing.assert_close(
            way.change(ball("l2", 0.5), slope, memory, 0.0), 0.1 * kept / kept.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        )


LEFT = {"constant": (1, 1, 1), "linear": (1, 0.5, 0.25), "cosine": (1, 0.5, (1 + math.cos(0.75 * math.pi)) / 2)}


@pytest.mark.parametrize(("decay", "left"), LEFT.items())
def test_steps_shrink_as_the_decay_says(decay, left):
    way = assay.SteepestAscent(step=1.0, momentum=0.0, decay=decay)
    for done, share in zip((0.0, 0.5, 0.75), left, strict=True):
        assert way.change(AREA, SLOPES[0], {}, done).abs().max().item() == pytest.approx(0.5 * share)


def test_adam_is_the_textbooks():
    way, memory = assay.AdamAscent(rate=0.1, first=0.9, second=0.99, decay="constant"), {}
    mean = square = torch.zeros_like(SLOPES[0])
    for number, slope in enumerate(SLOPES, 1):
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        due = 0.5 * 0.1 * (mean / (1 - 0.9**number)) / (square / (1 - 0.99**number)).sqrt()
        torch.testing.assert_close(way.change(AREA, slope, memory, 0.0), due)


def test_a_pixel_at_its_end_takes_no_part_and_images_that_stop_take_their_memory_along():
    images = torch.tensor([[1.0, 0.5], [0.5, 0.5], [0.5, 0.5]]).view(3, 1, 1, 2)
    wanted = torch.tensor([[1.0, 1.0], [1.0, -3.0], [-2.0, 1.0]]).view(3, 1, 1, 2)
    seen = {}

    def look(rows, pixels, done):
        seen[done] = (rows.clone(), pixels.clone())
        return rows != 0 if done == 1 else None

    way = assay.SteepestAscent(step=0.5, momentum=0.9, decay="constant")
    ascend(images, torch.zeros_like(images), ball("l2", 0.2), way, 3, lambda _pixels, rows, _step: wanted[rows], look)
    # Along the free pixel alone, by half of the radius.
    torch.testing.assert_close(seen[1][1][0], torch.tensor([1.0, 0.6]).view(1, 1, 2))
    assert seen[2][0].tolist() == [1, 2]
    for row, place in ((1, 0), (2, 1)):
        torch.testing.assert_close(seen[3][1][place], images[row] + 0.2 * wanted[row] / wanted[row].norm())

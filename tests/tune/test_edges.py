"""Masks that are drawn along the images' edges: what the model meets, what is shown, and what new images get are one and the same."""

from dataclasses import replace

import pytest
import torch

import assay
from assay.explain.refine import guided
from assay.measure.localisation import overlaps
from assay.tune.amortised import MaskTraining
from assay.tune.diet import DiET
from assay.tune.schedules import Carried, Epochs, Falling
from assay.tune.simplify import drawn_masks, enlarge_masks
from reference.nets import plain

QUICK = DiET(
    rounds=2, upsample=2, mask_lr=0.25, mask_stop=Epochs(3), model_stop=Epochs(1), batch_size=4, sparsity=Falling(), precision="float32"
)


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(12, 3, 8, 8, generator=generator) * torch.rand(12, 3, 1, 1, generator=generator)


def test_a_coarse_mask_ends_where_the_thing_in_the_image_does():
    image = torch.full((1, 3, 64, 64), 0.2)
    image[..., 22:42, 22:42] = 0.8
    coarse = torch.zeros(1, 1, 32, 32)
    coarse[..., 12:20, 12:20] = 1.0
    thing = image[:, :1] > 0.5
    by_edges, alone = (float(overlaps([drawn_masks(coarse, image, edges)], thing)[0]) for edges in (True, False))
    assert alone < 0.9 < 0.99 < by_edges


@pytest.mark.parametrize("bytes_", [False, True])
def test_drawn_is_the_filter_after_the_enlargement_within_0_and_1(images, bytes_):
    masks = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    given = (images * 255).round().to(torch.uint8) if bytes_ else images
    wanted = guided(enlarge_masks(masks, 8, 8), given.float() / 255 if bytes_ else images, 1, 1e-3).clamp(0, 1)
    torch.testing.assert_close(drawn_masks(masks, given, True), wanted)
    assert torch.equal(drawn_masks(masks, given, False), enlarge_masks(masks, 8, 8))


def test_the_model_meets_the_mask_that_is_shown(images, monkeypatch):
    met = []
    rounded = Carried.rounded

    def noted(self, masks, number, rounds):
        met.append(masks)
        return rounded(self, masks, number, rounds)

    monkeypatch.setattr(Carried, "rounded", noted)
    tuned = replace(QUICK, edges=True)(plain(), images)
    assert {tuple(one.shape) for one in met} == {(12, 1, 8, 8)}
    torch.testing.assert_close(met[-1], drawn_masks(tuned.rounds[-1].masks, images, True))
    torch.testing.assert_close(tuned.masks, drawn_masks(tuned.grid, images, True))
    assert torch.equal(tuned.rounded, (drawn_masks(tuned.rounds[tuned.chosen].masks, images, True) >= 0.5).float())
    met.clear()
    QUICK(plain(), images)
    assert {tuple(one.shape) for one in met} == {(12, 1, 4, 4)}


def test_new_images_get_masks_drawn_in_the_same_way_and_so_does_the_mask_network(images):
    tuned = replace(QUICK, edges=True)(plain(), images)
    explainer = tuned.explainer()
    assert explainer.edges
    model = tuned.classifier()
    whole = explainer(model, images, seed=3)
    torch.testing.assert_close(whole, assay.Refined(replace(explainer, edges=False))(model, images, seed=3).clamp(max=1))
    fast = tuned.amortised(images, MaskTraining(epochs=1, widths=(4, 4), batch_size=3))
    assert fast.edges
    torch.testing.assert_close(fast(model, images), drawn_masks(fast.net(images).sigmoid(), images, True))


def test_the_authors_recipe_draws_no_edges():
    from assay.tune.diet import PAPER

    assert not PAPER.edges
    assert not PAPER.explainer().edges

"""The mask step alone: a model whose right mask is known, step sizes, sizes of grids."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import assay
from assay.errors import ModelError, ShapeError
from assay.tune.masks import Learned, MaskImages, MaskRule, learn
from assay.tune.predictions import probabilities
from assay.tune.schedules import Epochs, Falling
from assay.tune.simplify import enlarge_masks, gap, grid_cells, roughness, simplify, upsampling
from reference.nets import linear, plain

SIZE = 4
GRID = SIZE * SIZE


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def planted(weights):
    """Class 0 has logit `weights . x` of one-channel images, class 1 has logit 0."""
    return assay.Classifier(linear(torch.tensor(weights, dtype=torch.float32)))


@pytest.mark.parametrize(("optimiser", "lr", "epochs"), [("adam", 0.02, 100), ("sgd", 0.02, 150)])
def test_the_right_mask_of_a_linear_model_is_found(optimiser, lr, epochs):
    # On white over black, keeping a cell of weight a gains 2 p (1 - p) a near the whole image's prediction and costs 1 / cells.
    weights = [0.0] * GRID
    for place in (0, 5, 6, 11):
        weights[place] = 0.5
    weights[3] = 0.1
    p = torch.tensor(2.1).sigmoid()
    assert 2 * p * (1 - p) * 0.1 < 1 / GRID < 2 * p * (1 - p) * 0.5
    images = torch.ones(2, 1, SIZE, SIZE)
    explainer = assay.LearnedMask(
        upsample=1, rounds=1, stop=Epochs(epochs), lr=lr, optimiser=optimiser, background=assay.Constant(0.0), sparsity=Falling()
    )
    found = explainer(planted(weights), images)
    right = torch.tensor(weights).view(SIZE, SIZE) == 0.5
    assert (found[:, 0, right] > 1 - 5 * lr).all()
    assert (found[:, 0, ~right] == 0).all()


def test_evidence_of_which_there_is_none_leaves_an_empty_mask():
    found = assay.LearnedMask(rounds=1, stop=Epochs(60))(planted([0.0] * GRID), noise(2, 1, SIZE, SIZE))
    assert (found == 0).all()


@pytest.mark.parametrize("size", [8, 16, 32])
def test_scaled_steps_move_a_cell_alike_at_every_size(size):
    model = assay.Classifier(linear(torch.zeros(size * size)))
    images = noise(1, 1, size, size)
    known = (probabilities(model, images),) * 2
    for optimiser in ("adam", "sgd"):
        rule = MaskRule(0.01, optimiser, 1.0, 0.0, assay.Constant(0.0))
        learned = Learned.whole(1, (size // 2, size // 2), rule, model.device)
        learn(model, MaskImages(images, *known, torch.arange(1)), learned, rule, 1.0, 0)
        torch.testing.assert_close(learned.masks, torch.full_like(learned.masks, 0.99))


def test_the_papers_step_is_of_the_mean_loss_of_the_actual_batch():
    model = planted([0.0] * GRID)
    images = noise(3, 1, SIZE, SIZE)
    rule = MaskRule(4.0, "paper", 1.0, 0.0, assay.Constant(0.0))
    learned, batches = Learned.whole(3, (SIZE, SIZE), rule, model.device), torch.tensor([2.0, 1.0, 2.0])
    sums = learn(model, MaskImages(images, *(probabilities(model, images),) * 2, torch.arange(3), batches), learned, rule, 0.5, 0)
    wanted = 1 - 4.0 * 0.5 / GRID / batches
    torch.testing.assert_close(learned.masks, wanted.view(-1, 1, 1, 1).expand_as(learned.masks))
    assert sums.values["loss"] == pytest.approx(3 * 0.5)


def test_in_the_papers_step_the_size_has_no_slope_where_the_enlarged_mask_is_0():
    model, images = planted([0.0] * GRID), noise(1, 1, SIZE, SIZE)
    rule = MaskRule(1.0, "paper", 1.0, 0.0, assay.Constant(0.0))
    learned = Learned.whole(1, (SIZE, SIZE), rule, model.device)
    learned.masks[0, 0, 0] = 0
    before = learned.masks.clone()
    learn(model, MaskImages(images, *(probabilities(model, images),) * 2, torch.arange(1), torch.ones(1)), learned, rule, 1.0, 0)
    assert ((before - learned.masks > 0) == (before > 0)).all()


def test_masks_do_not_depend_on_the_chunk_size():
    images = noise(7, 3, 8, 8)
    explainer = assay.LearnedMask(rounds=2, stop=Epochs(4), lr=0.1, lambda_data=10.0, sparsity=Falling())
    whole = explainer(assay.Classifier(plain()), images)
    assert whole.unique().numel() > 50
    for chunk in (1, 2, 5):
        torch.testing.assert_close(explainer(assay.Classifier(plain(), chunk=chunk), images), whole, rtol=1e-4, atol=1e-4)


def test_changed_copies_of_one_image_have_masks_of_their_own_before_a_steady_background():
    images, model = noise(2, 3, 8, 8), assay.Classifier(plain())
    explainer = assay.LearnedMask(rounds=1, stop=Epochs(4), lr=0.1, lambda_data=10.0, background=assay.Blur(1.0), sparsity=Falling())
    together = explainer(model, images, index=torch.tensor([5, 5]))
    assert not torch.equal(together[0], together[1])
    for place in (0, 1):
        torch.testing.assert_close(explainer(model, images[[place]], index=torch.tensor([5])), together[[place]], rtol=1e-4, atol=1e-4)


def test_smoothness_makes_masks_smoother():
    rough, smooth = (
        assay.LearnedMask(rounds=1, stop=Epochs(10), lr=0.05, lambda_data=10.0, smoothness=weight, sparsity=Falling())
        for weight in (0.0, 1.0)
    )
    images, model = noise(4, 3, 8, 8), assay.Classifier(plain())
    assert roughness(smooth(model, images)).mean() < 0.75 * roughness(rough(model, images)).mean()


def test_a_model_without_a_gradient_is_refused():
    class Steps(torch.nn.Module):
        def forward(self, x):
            return (x.flatten(1)[:, :2] > 0.5).float()

    with pytest.raises(ModelError, match="no gradient at its pixels"):
        assay.LearnedMask()(assay.Classifier(Steps()), noise(2, 1, SIZE, SIZE))


@pytest.mark.parametrize(("size", "cell"), [(28, 1), (64, 2), (96, 3), (112, 4), (224, 7), (13, 1)])
def test_the_default_grid_has_about_thirty_cells_a_side(size, cell):
    assert upsampling(size, 2 * size, None) == cell
    assert size < 26 or 26 <= grid_cells(size, size, cell)[0] <= 34


def test_a_cell_must_not_be_larger_than_the_image():
    assert upsampling(8, 9, 8) == 8
    with pytest.raises(ShapeError, match="upsample=9"):
        upsampling(8, 9, 9)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_cells_cover_the_image(height, width, upsample):
    rows, columns = grid_cells(height, width, upsample)
    assert (rows - 1) * upsample < height <= rows * upsample
    assert (columns - 1) * upsample < width <= columns * upsample


def test_whole_and_empty_masks_leave_the_image_and_the_background():
    images, backgrounds = noise(2, 2, 3, 6, 6).unbind()
    assert torch.equal(simplify(images, torch.ones(2, 1, 3, 3), backgrounds), images)
    assert torch.equal(simplify(images, torch.zeros(2, 1, 3, 3), backgrounds), backgrounds)
    masks = noise(2, 1, 3, 3)
    large = enlarge_masks(masks, 6, 6)
    torch.testing.assert_close(simplify(images, masks, backgrounds), large * images + (1 - large) * backgrounds)
    torch.testing.assert_close(large.mean((1, 2, 3)), masks.mean((1, 2, 3)))


def test_the_gap_is_the_sum_of_absolute_differences_above_rounding_noise():
    one, other = torch.tensor([[0.2, 0.8], [0.5, 0.5]]), torch.tensor([[0.3, 0.7], [0.5 + 1e-6, 0.5 - 1e-6]])
    torch.testing.assert_close(gap(one, other), torch.tensor([0.2 - 2e-5, 0.0]))

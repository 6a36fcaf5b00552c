import pytest
import torch
from torch import nn

import assay
from assay.attack.forms.softened import Softened
from assay.explain.kernels import draw
from assay.models.randomised import randomised
from reference.nets import Function, plain

TARGETS = torch.tensor([1, 0, 3])
KERNEL = assay.Gaussian(0.2)


def copies(image, samples, seed=0, antithetic=True):
    number = torch.arange(samples)
    return image + draw(KERNEL, seed, "Smoothed", torch.zeros_like(number), number, tuple(image.shape), antithetic)


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("output", ["logit", "probability", "log_probability"])
def test_the_smoothed_model_is_the_mean_of_what_is_explained(output, antithetic, images):
    """A slow twin, written from f * mu."""
    model = assay.Classifier(plain(), output=output)
    smoothed = assay.SmoothedModel(model, KERNEL, samples=5, seed=3, antithetic=antithetic)
    for image, row in zip(images(), smoothed.logits(images()), strict=True):
        logits = plain()(copies(image, 5, 3, antithetic))
        if output == "logit":
            torch.testing.assert_close(row, logits.mean(0))
        else:
            torch.testing.assert_close(row.softmax(0), logits.softmax(1).mean(0))


def test_each_findings_probability_is_averaged_by_itself(images):
    smoothed = assay.SmoothedModel(assay.Classifier(plain(), head="sigmoid", output="probability"), KERNEL, samples=4)
    expected = torch.stack([plain()(copies(image, 4)).sigmoid().mean(0) for image in images()])
    torch.testing.assert_close(smoothed.probabilities(images()), expected)


def test_its_gradient_is_the_mean_of_the_gradients(images):
    """The one explainer for which the map of the mean is the mean of the maps; the noise is that of image 0."""
    model = assay.Classifier(plain(nn.GELU), output="probability")
    one = assay.Gradient()(assay.SmoothedModel(model, KERNEL, samples=6, seed=2), images(1), TARGETS[:1])
    other = assay.Smoothed(assay.Gradient(), KERNEL, samples=6)(model, images(1), TARGETS[:1], seed=2)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "explainer",
    [assay.GradientXInput(), assay.IntegratedGradients(steps=8), assay.KernelShap(40, assay.Grid(2, 2)), assay.Lime(40)],
    ids=repr,
)
def test_the_map_of_the_mean_is_not_the_mean_of_the_maps(explainer, images):
    model = assay.Classifier(plain(), output="probability")
    one = explainer(assay.SmoothedModel(model, KERNEL, samples=6, seed=2), images(1), TARGETS[:1])
    other = assay.Smoothed(explainer, KERNEL, samples=6)(model, images(1), TARGETS[:1], seed=2)
    assert (one - other).abs().max() > 0.01 * other.abs().max()


def test_integrated_gradients_of_the_smoothed_model_are_complete_for_it(images):
    """They sum to the smoothed model's own rise from black, since all points of a path meet the same noise."""
    smoothed = assay.SmoothedModel(assay.Classifier(plain(nn.GELU)), KERNEL, samples=4)
    maps = assay.IntegratedGradients(steps=200)(smoothed, images(), TARGETS)
    at, black = smoothed.logits(images()), smoothed.logits(torch.zeros_like(images()))
    expected = (at - black).gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(maps.sum((1, 2, 3)), expected, rtol=2e-3, atol=1e-3)


def test_passes_are_counted_on_the_network(images):
    model = assay.Classifier(plain())
    smoothed = assay.SmoothedModel(model, KERNEL, samples=5)
    smoothed.logits(images())
    assert (model.passes.forward, model.passes.backward) == (15, 0)
    assay.Gradient()(smoothed, images(), TARGETS)
    assert (model.passes.forward, model.passes.backward) == (30, 15)


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_what_does_not_fit_at_once_gives_the_same(chunk, images):
    whole = assay.SmoothedModel(assay.Classifier(plain(), output="probability"), KERNEL, samples=5)
    parts = assay.SmoothedModel(assay.Classifier(plain(), output="probability", chunk=chunk), KERNEL, samples=5)
    torch.testing.assert_close(parts.logits(images()), whole.logits(images()))
    maps = [assay.Gradient()(one, images(), TARGETS) for one in (parts, whole)]
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-7)


def test_an_image_has_the_same_output_in_any_company(images):
    smoothed = assay.SmoothedModel(assay.Classifier(plain()), KERNEL, samples=5)
    torch.testing.assert_close(smoothed.logits(images())[1:2], smoothed.logits(images()[1:2]))


def test_softened_and_permuted_forms_are_smoothed_too(images):
    model = assay.Classifier(plain())
    smoothed = assay.SmoothedModel(model, KERNEL, samples=5)
    sharp = Softened(smoothed, beta=1e4)
    torch.testing.assert_close(sharp.logits(images()), smoothed.logits(images()), rtol=1e-2, atol=1e-2)
    other = randomised(smoothed, "all", 0)
    expected = assay.SmoothedModel(randomised(model, "all", 0), KERNEL, samples=5).logits(images())
    torch.testing.assert_close(other.logits(images()), expected)


def test_its_maps_can_be_attacked(images):
    smoothed = assay.SmoothedModel(assay.Classifier(plain(), chunk=4), KERNEL, samples=3)
    hit = assay.MapAttack(eps=0.05, steps=3)(smoothed, assay.Gradient(), images(), TARGETS)
    assert (hit.distance > 0).all()


@pytest.mark.parametrize("explainer", [assay.GradCAM(), assay.FullGrad()], ids=repr)
def test_explainers_of_layers_are_refused_by_name(explainer, images):
    smoothed = assay.SmoothedModel(assay.Classifier(plain()), KERNEL, samples=3)
    with pytest.raises(assay.AssayError, match=rf"{type(explainer).__name__} hooks into one pass.*Smoothed\(explainer, kernel\)"):
        explainer(smoothed, images())


def test_a_step_becomes_as_steep_as_the_sharp_constant_says():
    """R sign, with R = 1: slope 2 phi(0) / sigma = 0.798 / sigma, above the R / (2 sigma) that is printed for |f| <= R."""
    step = assay.Classifier(Function(lambda x: torch.sign(x[:, 0] - 0.5)))
    smoothed = assay.SmoothedModel(step, assay.Gaussian(0.3), samples=40_000)
    low, high = (smoothed.logits(torch.full((1, 1, 1, 1), 0.5 + at))[0, 0] for at in (-0.02, 0.02))
    slope = float(high - low) / 0.04
    assert slope == pytest.approx(2 * assay.Gaussian(0.3).gamma(1), rel=0.05)
    assert slope > 1 / (2 * 0.3)


def test_the_record_says_what_was_smoothed(images):
    model = assay.Classifier(plain())
    one, other = (assay.SmoothedModel(model, KERNEL, samples=3, seed=seed) for seed in (0, 1))
    assert one.identity() != other.identity() != model.identity()
    assert "Gaussian(sigma=0.2)" in repr(one)
    assert not torch.equal(one.logits(images()), other.logits(images()))


def test_what_cannot_be_smoothed_is_refused():
    model = assay.Classifier(plain())
    with pytest.raises(assay.AssayError, match="not Sequential; wrap the network"):
        assay.SmoothedModel(plain(), KERNEL)
    with pytest.raises(assay.AssayError, match="smoothed already"):
        assay.SmoothedModel(assay.SmoothedModel(model, KERNEL), KERNEL)
    with pytest.raises(assay.AssayError, match="kernel must be one such as"):
        assay.SmoothedModel(model, 0.1)
    with pytest.raises(assay.AssayError, match="samples must be at least 1"):
        assay.SmoothedModel(model, KERNEL, samples=0)

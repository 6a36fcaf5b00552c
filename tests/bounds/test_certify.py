import pytest
import torch

import assay
from assay.errors import ModelError, NotFiniteError, SpecError
from reference.nets import plain

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def model(**more):
    return assay.Classifier(plain(), **{"output": "probability", **more})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"smoothing": assay.Gradient()}, "no certificate for Gradient"),
        ({"smoothing": "Lime"}, "no certificate for Lime"),
        ({"smoothing": assay.Smoothed(assay.GradientXInput(), assay.Gaussian(0.1))}, "no certificate for Smoothed"),
        ({"smoothing": assay.Smoothed(assay.Gradient(), assay.Uniform(0.1))}, r"must be Gaussian\(sigma\).* not Uniform"),
        ({"smoothing": assay.SmoothGrad(0.0)}, "sigma above 0"),
        ({"smoothing": assay.SmoothGrad(0.1, 5)}, "samples=6"),
        ({"smoothing": assay.Smoothed(assay.Sparsified(assay.Gradient()), assay.Gaussian(0.1), 1, False)}, "samples=2"),
        ({"smoothing": assay.Smoothed(assay.Sparsified(assay.Gradient()), assay.Gaussian(0.1), 4), "samples": 4}, "the map's own copies"),
        ({"eps": -0.1}, "eps must be"),
        ({"eps": []}, "eps must be"),
        ({"eps": [0.1, float("nan")]}, "eps must be"),
        ({"confidence": 1.0}, "confidence must be"),
        ({"samples": 7}, "even number"),
        ({"samples": 0}, "even number"),
    ],
)
def test_what_cannot_be_certified_is_refused_by_name_before_any_pass(wrong, message):
    one = model()
    with pytest.raises(SpecError, match=message):
        assay.certify(one, IMAGES, **{"smoothing": assay.SmoothGrad(0.1, 4), "eps": 0.1, **wrong})
    assert one.passes.forward == 0


@pytest.mark.parametrize("output", ["logit", "log_probability"])
def test_gradients_of_unbounded_scores_are_refused_and_top_pixels_are_not(output):
    other = model(output=output)
    with pytest.raises(ModelError, match='output="probability"'):
        assay.certify(other, IMAGES, assay.SmoothGrad(0.1, 4), 0.1)
    votes = assay.Smoothed(assay.Sparsified(assay.Gradient()), assay.Gaussian(0.1), 4)
    assert assay.certify(other, IMAGES, votes, 0.1).cosine.shape == (2,)


def test_a_network_that_gives_nan_for_some_copies_is_reported_with_the_image():
    class Poisoned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain()

        def forward(self, x):
            return self.net(x) * torch.where(x[:, :, 0, 0].sum(1, keepdim=True) > 5, torch.nan, 1.0)

    images = IMAGES.clone()
    images[:, :, 0, 0] = torch.tensor([0.0, 1.0])[:, None]
    poisoned = assay.Classifier(Poisoned(), output="probability")
    with pytest.raises(NotFiniteError, match=r"of image 1 \(1 of 2\)"):
        assay.certify(poisoned, images, assay.SmoothGrad(1.0, 200), 0.1, targets=torch.zeros(2, dtype=torch.int64))


def test_the_global_generators_and_the_images_are_untouched(untouched):
    pixels = IMAGES.clone()
    with untouched():
        assay.certify(model(), pixels, assay.SmoothGrad(0.1, 4), 0.1, samples=4)
    assert torch.equal(pixels, IMAGES)


@pytest.mark.parametrize(("head", "outputs"), [("sigmoid", 3), ("binary", 1), ("scalar", 1)])
def test_top_pixels_are_certified_for_every_head_and_gradients_where_there_is_a_probability(head, outputs):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, outputs))
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    votes = "Smoothed(Sparsified(Gradient()), kernel=Gaussian(0.25), samples=20)"
    assert assay.certify(assay.Classifier(net, head=head), images, votes, eps=0.02).pixels.shape == (2, 4, 4)
    if head == "scalar":
        with pytest.raises(assay.AssayError, match=r"values without bound; certify its top pixels"):
            assay.certify(assay.Classifier(net, head=head), images, "SmoothGrad(sigma=0.25, samples=20)", eps=0.02)
    else:
        model = assay.Classifier(net, head=head, output="probability")
        assert assay.certify(model, images, "SmoothGrad(sigma=0.25, samples=20)", eps=0.02).pixels.shape == (2, 4, 4)

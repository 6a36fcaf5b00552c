"""Every method of another library that is listed runs, in silence; what a library has and is not taken is refused with a reason."""

import re

import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

import assay
from assay.errors import SpecError
from reference.guards import generators_untouched, snapshot
from reference.nets import seeded

GRID = "feature_mask=Grid(rows=2, columns=2)"
NEEDED = {
    "captum:FeatureAblation": GRID,
    "captum:GuidedGradCam": "layer='net.2'",
    "captum:InternalInfluence": "layer='net.2'",
    "captum:KernelShap": f"n_samples=12, {GRID}",
    "captum:Lime": f"n_samples=12, {GRID}",
    "captum:LayerFeatureAblation": "layer='net.2', perturbations_per_eval=512",
    "captum:NoiseTunnel": "captum:LayerGradCam(layer='net.2'), nt_samples=2",
    "captum:Occlusion": "sliding_window_shapes=(3, 4, 4), strides=(3, 4, 4)",
    "captum:ShapleyValueSampling": f"n_samples=2, {GRID}",
    "captum:ShapleyValues": GRID,
}
"""Parameters that a method needs, or that make it quick."""


def known(library):
    with pytest.raises(SpecError, match=f"there is no {library}:Nothing") as refused:
        assay.build(f"{library}:Nothing()")
    return re.search(r"known: (.*)\)", str(refused.value))[1].split(", ")


def options(spec):
    return NEEDED.get(spec, "layer='net.2'" if spec.startswith("captum:Layer") else "")


LISTED = [f"{library}:{name}" for library in ("captum", "zennit", "gradcam") for name in known(library)]


class Pooled(nn.Module):
    """A network whose every layer has a rule in Captum's LRP, and whose features, of more than 200 places, lie over the image."""

    def __init__(self):
        super().__init__()
        self.net = seeded(self._made)

    def _made(self):
        body = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        return nn.Sequential(*body, nn.Conv2d(6, 4, 1))

    def forward(self, x):
        return 40 * self.net(x).flatten(1)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("spec", LISTED)
def test_what_is_listed_runs_in_silence_and_leaves_all_as_it_was(spec, images, capfd):
    model = assay.Classifier(Pooled().eval(), chunk=1)
    before = snapshot(model.module)
    explainer = assay.build(f"{spec}({options(spec)})")
    with generators_untouched():
        maps = explainer(model, images)
    assert maps.shape in ((2, 1, 16, 16), (2, 3, 16, 16))
    assert maps.flatten(1).std(1).max() > 0
    assert capfd.readouterr() == ("", "")
    assert snapshot(model.module) == before
    torch.testing.assert_close(explainer(model, images[1:], index=torch.tensor([1])), maps[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("captum:NeuronGradient()", "gives no map of an image's score"),
        ("captum:FeaturePermutation()", "depends on this image alone"),
        ("zennit:MixedComposite()", "give it to assay.wrap"),
        ("gradcam:FinerCAM()", "none of its methods that weigh a layer's channels"),
    ],
)
def test_what_a_library_has_and_is_not_taken_is_refused_with_a_reason(spec, reason):
    with pytest.raises(SpecError, match=f"{spec[:-2]} .*{reason}"):
        assay.build(spec)


def test_a_librarys_progress_bars_stay_its_own(images, capfd):
    assay.build("gradcam:ScoreCAM()")(assay.Classifier(Pooled().eval()), images)
    assert not capfd.readouterr().err
    net = Pooled().eval()
    pytorch_grad_cam.ScoreCAM(net, [net.net[2]])(images.clone(), [ClassifierOutputTarget(0)] * 2)
    assert "it/s" in capfd.readouterr().err


@pytest.mark.parametrize(("method", "own"), [("FEM", {"k": 0.5}), ("KPCA_CAM", {"kernel": "rbf", "gamma": 3.0}), ("ShapleyCAM", {})])
def test_an_object_of_pytorch_grad_cam_keeps_its_parameters(method, own, images):
    net = Pooled().eval()
    made = getattr(pytorch_grad_cam, method)(net, [net.net[2]], **own)
    expected = torch.as_tensor(made(images.clone(), [ClassifierOutputTarget(1)] * 2))
    found = assay.wrap(made)(assay.Classifier(net), images, torch.tensor([1, 1]))
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-3, atol=1e-4)
    if own:
        usual = assay.build(f"gradcam:{method}(layer='net.2')")(assay.Classifier(net), images, torch.tensor([1, 1]))
        assert not torch.allclose(usual, found, atol=1e-2)


def test_a_class_of_ones_own_over_pytorch_grad_cams_is_taken_as_it_is(images):
    class Even(pytorch_grad_cam.GradCAM):
        def get_cam_weights(self, *given):
            return 0 * super().get_cam_weights(*given) + 1

    net = Pooled().eval()
    model, explainer = assay.Classifier(net), assay.wrap(Even, layer="net.2")
    features = net.net[2](net.net[1](net.net[0](images))).sum(1, keepdim=True).clamp_min(0).detach()
    low, high = features.amin((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)
    torch.testing.assert_close(explainer(model, images), (features - low) / (high - low), rtol=1e-3, atol=1e-4)
    assert explainer.short_name == "gradcam:Even(layer='net.2')"
    assert explainer != assay.build("gradcam:GradCAM(layer='net.2')")

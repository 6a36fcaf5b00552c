"""Explainers of other libraries give what the library gives by hand, whatever the chunks, and leave the model as it was."""

import captum.attr
import numpy as np
import pytest
import pytorch_grad_cam
import torch
import zennit.composites
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from zennit.attribution import Gradient as ZennitGradient
from zennit.canonizers import SequentialMergeBatchNorm

import assay
from assay.errors import AssayError, ImageTypeError, ModelError, ShapeError, SpecError
from reference.guards import generators_untouched, snapshot
from reference.nets import normed, plain

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:captum")  # By hand, Captum warns of the hooks that it sets.
TARGETS = torch.tensor([1, 0, 3])
MEAN, STD = 0.4, 0.25


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(5))


class Normalise(nn.Module):
    def forward(self, x):
        return (x - MEAN) / STD


class Pooled(nn.Module):
    """A network whose every layer has a rule in Captum's LRP."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(*plain()[:4], nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1))

    def forward(self, x):
        return self.net(x).flatten(1)


def classifier(net, chunk=2):
    return assay.Classifier(net, mean=MEAN, std=STD, chunk=chunk)


def by_hand(net):
    return nn.Sequential(Normalise(), net).eval()


GRID = torch.arange(64).view(1, 1, 8, 8) // 32

CAPTUM = {
    "captum:Saliency()": lambda net, x: captum.attr.Saliency(net).attribute(x, TARGETS),
    "captum:InputXGradient": lambda net, x: captum.attr.InputXGradient(net).attribute(x, TARGETS),
    "captum:IntegratedGradients(n_steps=7, baselines=0.5)": lambda net, x: captum.attr.IntegratedGradients(net).attribute(
        x, 0.5, TARGETS, n_steps=7
    ),
    "captum:DeepLift()": lambda net, x: captum.attr.DeepLift(net).attribute(x, target=TARGETS),
    "captum:GuidedBackprop()": lambda net, x: captum.attr.GuidedBackprop(net).attribute(x, TARGETS),
    "captum:Occlusion(sliding_window_shapes=(3, 4, 4), strides=(3, 2, 2))": lambda net, x: captum.attr.Occlusion(net).attribute(
        x, (3, 4, 4), (3, 2, 2), target=TARGETS
    ),
    "captum:FeatureAblation(feature_mask=Grid(rows=2, columns=1))": lambda net, x: captum.attr.FeatureAblation(net).attribute(
        x, target=TARGETS, feature_mask=GRID
    ),
    "captum:ShapleyValues(feature_mask=Grid(rows=2, columns=1))": lambda net, x: captum.attr.ShapleyValues(net).attribute(
        x, target=TARGETS, feature_mask=GRID
    ),
    "captum:LayerGradCam(layer='2')": lambda net, x: captum.attr.LayerAttribution.interpolate(
        captum.attr.LayerGradCam(net, net[1][2]).attribute(x, TARGETS), (8, 8), "bilinear"
    ),
}


@pytest.mark.parametrize("spec", CAPTUM)
def test_a_captum_spec_gives_what_captum_gives_by_hand(spec, images):
    expected = CAPTUM[spec](by_hand(plain()), images.clone().requires_grad_()).detach().float()
    for chunk in (1, 2, 3):
        torch.testing.assert_close(assay.build(spec)(classifier(plain(), chunk), images, TARGETS), expected, rtol=1e-4, atol=1e-5)


def test_captums_lrp_is_that_of_the_normalised_input(images):
    net = Pooled().eval()
    expected = captum.attr.LRP(net).attribute(((images - MEAN) / STD).requires_grad_(), TARGETS).detach()
    torch.testing.assert_close(assay.build("captum:LRP()")(classifier(net), images, TARGETS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        "captum:GradientShap(n_samples=3)",
        "captum:NoiseTunnel(captum:Saliency(abs=False), nt_samples=3, stdevs=0.1)",
        "captum:KernelShap(n_samples=12, feature_mask=Grid(rows=2, columns=2))",
        "captum:ShapleyValueSampling(n_samples=2, feature_mask=Grid(rows=2, columns=2))",
        "gradcam:RandomCAM(layer='2')",
    ],
)
def test_random_methods_depend_on_seed_and_image_number_alone(spec, images):
    explainer, index = assay.build(spec), torch.tensor([7, 3, 90])
    with generators_untouched():
        whole = explainer(classifier(plain(), 3), images, TARGETS, seed=4, index=index)
    torch.manual_seed(1)
    part = explainer(classifier(plain(), 1), images[[2, 0]], TARGETS[[2, 0]], seed=4, index=index[[2, 0]])
    torch.testing.assert_close(part, whole[[2, 0]], rtol=1e-5, atol=1e-6)
    assert not torch.equal(explainer(classifier(plain()), images, TARGETS, seed=5, index=index), whole)


def test_a_zennit_spec_gives_what_zennit_gives_by_hand_with_and_without_merged_batch_norms(images):
    net = normed().eval()
    expected = {}
    for merge in (True, False):
        composite = zennit.composites.EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()] if merge else None)
        with ZennitGradient(model=net, composite=composite) as attributor:
            expected[merge] = attributor((images - MEAN) / STD, torch.eye(4)[TARGETS])[1].detach()
    assert not torch.allclose(expected[True], expected[False], rtol=1e-2)
    model = classifier(net)
    model.predict(images)
    assert model.folded
    for merge, explainer in (
        (False, assay.build("zennit:EpsilonPlusFlat()")),
        (True, assay.build("zennit:EpsilonPlusFlat(canonizers=('SequentialMergeBatchNorm',))")),
        (True, assay.wrap(zennit.composites.EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()]))),
        (False, assay.wrap(ZennitGradient(model=net, composite=zennit.composites.EpsilonPlusFlat()))),
    ):
        torch.testing.assert_close(explainer(model, images, TARGETS), expected[merge], rtol=1e-3, atol=1e-6)


def test_zennits_box_is_bounded_by_black_and_white(images):
    net = plain()
    composite = zennit.composites.EpsilonGammaBox(low=-MEAN / STD, high=(1 - MEAN) / STD)
    with ZennitGradient(model=net, composite=composite) as attributor:
        expected = attributor((images - MEAN) / STD, torch.eye(4)[TARGETS])[1].detach()
    torch.testing.assert_close(assay.build("zennit:EpsilonGammaBox()")(classifier(net), images, TARGETS), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "method", ["GradCAM", "GradCAMPlusPlus", "LayerCAM", "XGradCAM", "HiResCAM", "EigenCAM", "ScoreCAM", "AblationCAM"]
)
def test_a_gradcam_spec_gives_what_pytorch_grad_cam_gives_by_hand(method, images):
    net = by_hand(plain())
    cam = getattr(pytorch_grad_cam, method)(net, [net[1][2]])
    expected = torch.as_tensor(cam(images.clone().requires_grad_(), [ClassifierOutputTarget(int(t)) for t in TARGETS]))
    for explainer in (assay.build(f"gradcam:{method}(layer='2')"), assay.wrap(getattr(pytorch_grad_cam, method), layer="2")):
        maps = explainer(classifier(plain()), images, TARGETS)
        assert maps.shape == (3, 1, 8, 8)
        torch.testing.assert_close(maps[:, 0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spec", ["captum:LRP()", "captum:DeepLift()", "zennit:EpsilonPlus()", "gradcam:AblationCAM(layer='net.2')"])
def test_the_model_is_left_as_it_was(spec, images):
    model = classifier(Pooled().eval())
    before, logits = snapshot(model.module), model.logits(images)
    assay.build(spec)(model, images, TARGETS)
    assert snapshot(model.module) == before
    assert torch.equal(model.logits(images), logits)


def test_the_model_is_left_as_it_was_after_an_error(images):
    model = classifier(plain())
    before = snapshot(model.module)
    with pytest.raises(ModelError, match=r"captum:LRP fails on Sequential: .*Flatten"):
        assay.build("captum:LRP()")(model, images, TARGETS)
    assert snapshot(model.module) == before


def test_a_captum_object_keeps_its_constructors_parameters_and_explains_the_classifier(images):
    net, other = plain(), plain(seed=1)
    made = captum.attr.IntegratedGradients(other, multiply_by_inputs=False)
    expected = captum.attr.IntegratedGradients(by_hand(net), False).attribute(images, target=TARGETS, n_steps=5).float()
    explainer = assay.wrap(made, n_steps=5)
    torch.testing.assert_close(explainer(classifier(net), images, TARGETS), expected, rtol=1e-4, atol=1e-5)
    assert made.forward_func is other


def test_a_layer_of_a_wrapped_object_is_found_by_its_name(images):
    net = plain()
    explainer = assay.wrap(captum.attr.LayerGradCam(net, net[2]))
    torch.testing.assert_close(
        explainer(classifier(net), images, TARGETS), assay.build("captum:LayerGradCam(layer='2')")(classifier(net), images, TARGETS)
    )
    cam = assay.wrap(pytorch_grad_cam.GradCAM(net, [net[2]]))
    torch.testing.assert_close(
        cam(classifier(net), images, TARGETS), assay.build("gradcam:GradCAM(layer='2')")(classifier(net), images, TARGETS)
    )
    with pytest.raises(ModelError, match="its layer Conv2d is not in its network"):
        assay.wrap(pytorch_grad_cam.GradCAM(net, [plain()[2]]))


def test_passes_of_a_library_are_counted(images):
    model = classifier(plain())
    model.count_classes(images.shape[1:])
    before = model.passes.copy()
    assay.build("captum:IntegratedGradients(n_steps=5)")(model, images, TARGETS)
    assert (model.passes - before).forward >= 5 * len(images)


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_what_is_explained_is_the_classifiers_output(output, images):
    model = assay.Classifier(plain(), mean=MEAN, std=STD, output=output)
    expected = assay.Gradient()(model, images, TARGETS)
    torch.testing.assert_close(assay.build("captum:Saliency(abs=False)")(model, images, TARGETS), expected)


def test_a_spec_round_trips_also_inside_others():
    for spec in (
        "captum:Occlusion(sliding_window_shapes=(3, 16, 16), strides=(3, 8, 8))",
        "zennit:EpsilonPlusFlat(epsilon=0.01)",
        "gradcam:ScoreCAM(layer='a:b')",
        "captum:NoiseTunnel(attribution_method=captum:Saliency(abs=False), nt_samples=3)",
    ):
        assert repr(assay.build(spec)) == spec
        assert assay.build(spec) == assay.build(repr(assay.build(spec)))
    inside = assay.build("Smoothed(captum:Saliency(abs=False), Gaussian(0.1), samples=2)")
    assert assay.build(repr(inside)) == inside


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("captum:Salience()", "there is no captum:Salience; did you mean Saliency"),
        ("captum:NeuronGradient()", "captum:NeuronGradient gives no map"),
        ("captum:FeaturePermutation()", "captum:FeaturePermutation gives no map"),
        ("captum:Saliency(absolute=True)", "captum:Saliency has no option absolute"),
        ("captum:Occlusion()", "captum:Occlusion needs sliding_window_shapes"),
        ("captum:NoiseTunnel()", "needs the method to smooth"),
        ("captum:Saliency(3)", "by name"),
        ("zennit:EpsilonPlus(eps=1)", "zennit:EpsilonPlus has no option eps; did you mean epsilon"),
        ("zennit:EpsilonPlus(canonizers=('ResnetCanonizer',))", "did you mean ResNetCanonizer"),
        ("zennit:Epsilonplus()", "did you mean EpsilonPlus"),
        ("gradcam:GradCam()", "did you mean GradCAM"),
        ("gradcam:FullGrad()", "take FullGrad"),
        ("gradcam:GradCAM(layers='2')", "no option layers; did you mean layer"),
        ("capum:Saliency()", "unknown library capum; did you mean captum"),
    ],
)
def test_a_wrong_spec_is_refused_by_name(spec, message):
    with pytest.raises(SpecError, match=message):
        assay.build(spec)


def test_a_wrong_layer_is_answered_with_names_that_are_near(images):
    for spec in ("captum:LayerGradCam(layer='22')", "gradcam:GradCAM(layer='22')"):
        with pytest.raises(ModelError, match="no layer '22'"):
            assay.build(spec)(classifier(plain()), images, TARGETS)


def test_a_function_is_an_explainer(images):
    def grey(model, pixels, targets):
        assert isinstance(model, assay.Classifier)
        pixels.requires_grad_()
        model(pixels).gather(1, targets[:, None]).sum().backward()
        return pixels.grad.sum(1)

    maps = assay.wrap(grey)(classifier(plain()), images, TARGETS)
    torch.testing.assert_close(maps, assay.Gradient()(classifier(plain()), images, TARGETS).sum(1, keepdim=True))
    assert assay.wrap(grey) == assay.wrap(grey)
    assert assay.wrap(grey, name="mine").short_name == "mine"
    assert assay.wrap(assay.Gradient()) == assay.Gradient()


def test_a_function_gets_seed_and_numbers_where_it_takes_them_and_may_draw_as_it_likes(images):
    seen = []

    def noisy(model, pixels, targets, index, seed):
        seen.append((index.tolist(), seed))
        return np.random.default_rng(seed).random(pixels.shape[:1] + pixels.shape[2:])

    def drawn(model, pixels, targets):
        return torch.rand(pixels.shape)

    assay.wrap(noisy)(classifier(plain()), images, TARGETS, seed=3, index=torch.tensor([5, 6, 9]))
    assert seen == [([5, 6], 3), ([9], 3)]
    with generators_untouched():
        first = assay.wrap(drawn)(classifier(plain()), images, TARGETS, seed=1)
    assert torch.equal(assay.wrap(drawn)(classifier(plain()), images, TARGETS, seed=1), first)
    assert not torch.equal(assay.wrap(drawn)(classifier(plain()), images, TARGETS, seed=2), first)


def test_what_makes_no_maps_is_refused(images):
    with pytest.raises(ShapeError, match=r"small must give maps \(2, 3, 8, 8\), .* not \(2, 4, 4\)"):
        assay.wrap(lambda _, pixels, __: torch.zeros(len(pixels), 4, 4), name="small")(classifier(plain()), images, TARGETS)
    with pytest.raises(ImageTypeError, match="cannot make an explainer of 3"):
        assay.wrap(3)
    with pytest.raises(SpecError, match="wrap takes strides only with an object of Captum"):
        assay.wrap(lambda *_: None, strides=3)
    with pytest.raises(AssayError, match="captum:Saliency has no option strides"):
        assay.wrap(captum.attr.Saliency(plain()), strides=3)


@pytest.mark.parametrize("call", [lambda a: a, lambda a, _: a, lambda a, _, __, ___: a])
def test_a_function_of_other_parameters_is_refused_before_it_is_called(call):
    with pytest.raises(SpecError, match=r"must take \(model, images, targets\)"):
        assay.wrap(call)


def test_explainers_of_other_libraries_are_audited_and_attacked_like_any(images):
    model = classifier(plain())
    audit = assay.audit(
        model, images, explainers=["captum:Saliency()", assay.wrap(captum.attr.InputXGradient(plain()))], measures=["Deletion(steps=3)"]
    )
    assert set(audit.scores["explainer"]) >= {"captum:Saliency()", "InputXGradient"}
    hit = assay.BlackBoxMapAttack(eps=0.1, steps=2, pairs=1)(model, assay.build("captum:Saliency()"), images)
    assert hit.kept.all()

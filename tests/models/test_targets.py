"""Targets other than one class: logits, probabilities, contrasts, regions and callables."""

import numpy as np
import pytest
import torch
from torch import nn

import assay
from assay.errors import DataError, ModelError, ShapeError, SpecError, TargetError
from assay.models.targets import Aims, aim
from reference.nets import plain, seeded


class Segmenter(nn.Module):
    """Three classes at half the image's resolution."""

    def __init__(self):
        super().__init__()
        self.net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, stride=2), nn.Tanh(), nn.Conv2d(5, 3, 3, padding=1)))

    def forward(self, x):
        return self.net(x)


def slope(value, images):
    pixels = images.clone().requires_grad_()
    return torch.autograd.grad(value(pixels).sum(), pixels)[0]


@pytest.mark.parametrize("output", ["logit", "probability", "log_probability"])
def test_a_contrast_is_the_difference_of_two_classes(output, images):
    model, batch = assay.Classifier(plain(), output=output), images(4)
    a, b = (assay.Gradient()(model, batch, one) for one in (2, 0))
    torch.testing.assert_close(assay.Gradient()(model, batch, assay.Contrast(2, 0)), a - b)


def test_logits_and_probabilities_are_explained_whatever_the_model_explains(images):
    net, batch = plain(), images(3)
    for output in ("logit", "probability"):
        model = assay.Classifier(net, output=output)
        torch.testing.assert_close(assay.Gradient()(model, batch, assay.Logit(1)), slope(lambda x: net(x)[:, 1], batch))
        torch.testing.assert_close(assay.Gradient()(model, batch, assay.Probability(1)), slope(lambda x: net(x).softmax(1)[:, 1], batch))


def test_targets_may_differ_from_image_to_image_and_follow_their_images(images):
    net, batch = plain(nn.Tanh), images(5)
    model = assay.Classifier(net, chunk=2)
    contrast = assay.Contrast(0, 3)
    targets = [1, contrast, lambda z: z.square().sum(1), contrast, assay.Probability(2)]
    values = [lambda z: z[:, 1], lambda z: z[:, 0] - z[:, 3], lambda z: z.square().sum(1), lambda z: z[:, 0] - z[:, 3]]
    values.append(lambda z: z.softmax(1)[:, 2])
    expected = torch.cat([slope(lambda x, value=value: value(net(x)), batch[i : i + 1]) for i, value in enumerate(values)])
    torch.testing.assert_close(assay.Gradient()(model, batch, targets), expected)
    smooth = assay.SmoothGrad(0.1, samples=4)(model, batch, targets)
    alone = [smooth_one(model, batch, targets, i) for i in range(5)]
    torch.testing.assert_close(smooth, torch.cat(alone))


def smooth_one(model, batch, targets, i):
    return assay.SmoothGrad(0.1, samples=4)(model, batch[i : i + 1], [targets[i]], index=torch.tensor([i]))


def test_the_mean_over_a_region_is_known_by_autograd(images):
    net, batch = Segmenter(), images(3)
    model, mask = assay.Classifier(net), torch.zeros(4, 4, dtype=torch.bool)
    mask[1:3, :2] = True
    expected = slope(lambda x: net(x)[:, 2][:, mask].mean(1), batch)
    torch.testing.assert_close(assay.Gradient()(model, batch, assay.Mean(mask, 2)), expected)
    likely = assay.Classifier(net, output="probability")
    expected = slope(lambda x: net(x).softmax(1)[:, 2][:, mask].mean(1), batch)
    torch.testing.assert_close(assay.Gradient()(likely, batch, assay.Mean(mask, 2)), expected)
    torch.testing.assert_close(
        assay.Gradient()(model, batch, lambda z: z[:, 0].amax((1, 2))), slope(lambda x: net(x)[:, 0].amax((1, 2)), batch)
    )


def test_an_attack_on_a_segmentation_keeps_the_regions_class(images):
    net, batch = Segmenter(), images(3)
    mask = torch.ones(4, 4)
    found = assay.MapAttack(eps=0.2, steps=4)(assay.Classifier(net), assay.Gradient(), batch, assay.Mean(mask, 1))
    before, after = (net(one).mean((2, 3)).argmax(1) for one in (batch, found.images))
    assert torch.equal(before, after)
    assert (found.distance > 0).any()
    with pytest.raises(SpecError, match="tolerance="):
        assay.MapAttack(steps=1)(assay.Classifier(net), assay.Gradient(), batch, lambda z: z.mean((1, 2, 3)))


def test_an_audit_and_a_frontier_take_any_target(images):
    batch, target = images(3), assay.Mean(torch.ones(4, 4), 1)
    model = assay.Classifier(Segmenter())
    found = assay.audit(model, batch, target, ["Gradient", "GradCAM"], ["Deletion(steps=3)", "KeepTop(0.5)"], gallery=1)
    maps = assay.Gradient()(model, batch, target)
    value = assay.Deletion(steps=3)(model, batch, maps, target)
    rows = found.scores.filter((found.scores["explainer"] == "Gradient") & (found.scores["measure"] == "Deletion"))["value"]
    assert rows.to_list() == pytest.approx(value.tolist())
    swept = assay.frontier(
        assay.Classifier(plain()),
        batch,
        assay.Contrast(0, 1),
        sigmas=[0.1],
        samples=2,
        faithfulness=["Deletion(steps=2)"],
        attack=None,
        draws=1,
    )
    assert len(swept.status) == 3


def test_probabilities_are_certified_and_other_targets_are_not(images):
    model, smooth = assay.Classifier(plain()), assay.SmoothGrad(0.3, samples=4)
    bare = assay.certify(assay.Classifier(plain(), output="probability"), images(2), smooth, 0.01, targets=torch.tensor([1, 1]), samples=20)
    found = assay.certify(model, images(2), smooth, 0.01, targets=assay.Probability(1), samples=20)
    torch.testing.assert_close(found.norm, bare.norm)
    for target in (assay.Logit(1), assay.Contrast(0, 1), lambda z: z[:, 0], None):
        with pytest.raises(ModelError, match="certified of a class probability"):
            assay.certify(model, images(2), smooth, 0.01, targets=target)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (assay.Logit(4), TargetError, "class 4 of a model with 4 classes"),
        ([assay.Contrast(0, 9)] * 2, TargetError, "class 9"),
        (assay.Contrast(1, 1), TargetError, "against itself"),
        ([assay.Logit(1)], TargetError, "1 targets for 2 images"),
        (lambda z: z, TargetError, r"one number per image, \(2,\)"),
        (lambda _: 3.0, TargetError, "not to float"),
        (assay.Mean(torch.ones(2, 2), 0), ShapeError, "must lie over the outputs"),
        (assay.Mean("missing.npy", 0), DataError, "missing.npy"),
        (True, TargetError, "class ids"),
        (4, TargetError, "no class"),
    ],
)
def test_wrong_targets_are_named(targets, error, message, images):
    with pytest.raises(error, match=message):
        assay.Gradient()(assay.Classifier(plain()), images(2), targets)


def test_outputs_at_positions_need_a_target(images):
    for targets in (None, torch.tensor([0, 1, 2])):
        with pytest.raises(ModelError, match=r"say what is explained, such as targets=assay.Mean"):
            assay.Gradient()(assay.Classifier(Segmenter()), images(3), targets)


def test_masks_are_not_empty_compare_as_wholes_and_come_from_files(tmp_path, images):
    with pytest.raises(ShapeError, match="not empty"):
        assay.Mean(torch.zeros(3, 3), 0)
    mask = torch.eye(4)
    assert assay.Mean(mask, 1) == assay.Mean(mask.clone(), 1) != assay.Mean(mask, 2)
    np.save(tmp_path / "mask.npy", mask.numpy())
    model = assay.Classifier(Segmenter())
    from_file = assay.build(f"Mean(mask={str(tmp_path / 'mask.npy')!r}, k=1)")
    torch.testing.assert_close(assay.Gradient()(model, images(2), from_file), assay.Gradient()(model, images(2), assay.Mean(mask, 1)))


def test_picked_aims_keep_their_objects_and_objects_are_no_classes():
    aims = aim([3, assay.Logit(1), assay.Probability(0)], 3, 4, torch.device("cpu"))
    assert isinstance(aims, Aims)
    picked = aims[torch.tensor([2, 0])]
    assert [(one, here.tolist()) for one, here in picked.parts()] == [(assay.Probability(0), [0]), (None, [1])]
    assert (aims < 0).tolist() == [False, True, True]

"""Heads: one logit, findings that do not exclude each other, and values."""

import math

import pytest
import torch
from torch import nn

import assay
from assay.errors import ModelError, SpecError, TargetError
from assay.models.heads import HEADS
from assay.report import Gallery
from reference.nets import plain


class Halves(nn.Module):
    """Two findings, each read from its own half of the image."""

    def __init__(self, gain=20.0, offset=0.0):
        super().__init__()
        self.gain, self.offset = gain, offset

    def forward(self, x):
        half = x.shape[-1] // 2
        return self.gain * torch.stack([x[..., :half].mean((1, 2, 3)), x[..., half:].mean((1, 2, 3))], 1) - self.offset


class Flat(nn.Module):
    """The class's logit alone, (N,)."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)[:, 0]


class Beside(Flat):
    """A constant 0 beside the logit."""

    def forward(self, x):
        z = self.net(x)
        return torch.cat([torch.zeros_like(z), z], 1)


def tanh(outputs, seed=0):
    return plain(nn.Tanh, classes=outputs, gain=1.0, seed=seed)


def test_a_lead_is_by_how_much_what_was_decided_holds():
    outputs, ids = torch.tensor([[3.0, 1.0, -2.0], [3.0, 1.0, -2.0], [0.5, 0.5, 0.0]]), torch.tensor([0, 2, 1])
    clean = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 4.0], [0.0, -1.0, 0.0]])
    assert HEADS["softmax"].lead(outputs, ids, clean).tolist() == [2.0, -5.0, 0.0]
    assert HEADS["sigmoid"].lead(outputs, ids, clean).tolist() == [3.0, -2.0, -0.5]
    assert HEADS["scalar"].lead(outputs[:, :1], ids * 0, clean).tolist() == [math.inf] * 3


PAIRS = [
    assay.Gradient(),
    assay.IntegratedGradients(steps=3),
    assay.KernelShap(samples=30, segments=assay.Grid(2, 2)),
    assay.SmoothGrad(0.1, samples=2),
]


@pytest.mark.parametrize("output", ["logit", "probability", "log_probability"])
@pytest.mark.parametrize("explainer", PAIRS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("flat", [True, False])
def test_one_logit_is_two_classes_with_logits_zero_and_z(output, explainer, flat, images):
    net = tanh(1)
    one = assay.Classifier(Flat(net) if flat else net, output=output)
    two = assay.Classifier(Beside(net), output=output)
    ones = torch.ones(4, dtype=torch.long)
    torch.testing.assert_close(explainer(one, images(4), ones), explainer(two, images(4), ones))
    if output != "logit":
        torch.testing.assert_close(explainer(one, images(4)), explainer(two, images(4)))
    assert one.head == "binary"
    assert torch.equal(one.predict(images(4)), (net(images(4))[:, 0] > 0).long())
    torch.testing.assert_close(one.probabilities(images(4))[:, 1], net(images(4))[:, 0].sigmoid())


@pytest.mark.parametrize("explainer", PAIRS, ids=lambda one: type(one).__name__)
def test_what_speaks_for_class_0_of_one_logit_is_what_speaks_against_class_1(explainer, images):
    model = assay.Classifier(tanh(1))
    against = explainer(model, images(4), 0)
    torch.testing.assert_close(against, -explainer(model, images(4), 1))
    torch.testing.assert_close(against, explainer(model, images(4), assay.Logit(0)))
    torch.testing.assert_close(against, explainer(model, images(4), assay.Contrast(0, 1)))
    assert against.abs().amax((1, 2, 3)).min() > 0
    assert torch.equal(model.logits(images(4))[:, 0], torch.zeros(4))


def test_measures_and_attacks_of_one_logit_are_those_of_two(images):
    net, batch = tanh(1), images(3)
    one, two = assay.Classifier(net, head="binary"), assay.Classifier(Beside(net))
    ones = torch.ones(3, dtype=torch.long)
    maps = assay.Gradient()(two, batch, ones)
    for measure in (assay.Deletion(steps=4), assay.Insertion(steps=4), assay.KeepTop(0.3), assay.Infidelity(samples=5)):
        torch.testing.assert_close(measure(one, batch, maps, ones), measure(two, batch, maps, ones), equal_nan=True)
    attack = assay.MapAttack(eps=0.1, steps=3, tolerance=0.05)
    results = [attack(model, assay.Gradient(), batch, ones) for model in (one, two)]
    torch.testing.assert_close(results[0].images, results[1].images)
    labels = (net(batch)[:, 0] > 0).long()
    attacked = [assay.PGD(eps=0.3, steps=4)(model, batch, labels) for model in (one, two)]
    torch.testing.assert_close(*attacked)
    certificates = [
        assay.certify(assay.Classifier(inner, output="probability"), batch, assay.SmoothGrad(0.3, samples=4), 0.01, samples=20)
        for inner in (net, Beside(net))
    ]
    torch.testing.assert_close(certificates[0].norm, certificates[1].norm)


def test_settings_say_which_head_was_inferred_and_which_was_given(images):
    inferred, given = assay.Classifier(tanh(1)), assay.Classifier(tanh(3), head="sigmoid")
    assert inferred.settings()["head"] == "softmax; binary for one logit"
    inferred.logits(images(1))
    assert inferred.settings()["head"].startswith("binary, as")
    assert given.settings()["head"] == given.head == "sigmoid"
    assert assay.Classifier(tanh(3)).head == "softmax"


@pytest.mark.parametrize(
    ("outputs", "head", "message"),
    [
        (1, "softmax", r"head='binary'.*'scalar'"),
        (3, "binary", r"\(1, 3\).*'sigmoid'"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_with_those_that_may(outputs, head, message, images):
    with pytest.raises(ModelError, match=f"(?s){message}"):
        assay.Classifier(tanh(outputs), head=head).logits(images())
    with pytest.raises(ModelError, match="head='binary'"):
        assay.Classifier(Flat(tanh(2)), head="softmax").logits(images())


def test_unknown_heads_and_probabilities_of_values_are_refused():
    with pytest.raises(SpecError, match=r"head must be one of softmax, sigmoid.*did you mean sigmoid"):
        assay.Classifier(plain(), head="sigmod")
    with pytest.raises(SpecError, match=r"scalar.*not their log probability"):
        assay.Classifier(plain(), head="scalar", output="log_probability")


def test_a_finding_does_not_depend_on_the_others():
    model, x = assay.Classifier(Halves(), output="probability", head="sigmoid"), torch.full((1, 3, 16, 16), 0.5)
    dark, first = x.clone(), torch.zeros(1, dtype=torch.long)
    dark[..., 8:] = 0
    for image in (x, dark):
        assert model.score(model.logits(image), first).item() == pytest.approx(1 / (1 + math.exp(-10)))
    assert assay.Gradient()(model, x, first)[..., 8:].abs().max() == 0


def test_deletion_of_a_finding_is_known_in_closed_form():
    """The first half of the pixels leaves the finding as it is; in the second its logit falls from 10 to 0 in a straight line."""
    model, x = assay.Classifier(Halves(), head="sigmoid"), torch.full((1, 3, 16, 16), 0.5)
    other = torch.zeros(1, 1, 16, 16)
    other[..., 8:] = 1
    other += torch.linspace(0, 0.5, 256).view(1, 1, 16, 16)  # No ties, between whose ends a curve runs straight.
    expected = 0.5 / (1 + math.exp(-10)) + 0.5 * (math.log1p(math.exp(10)) - math.log(2)) / 10
    assert assay.Deletion(steps=256)(model, x, other, torch.zeros(1, dtype=torch.long)).item() == pytest.approx(expected, abs=1e-4)


def test_deletion_of_a_map_with_ties_follows_the_outcome_within_a_group():
    """The same finding, by a map of two values: its second half is one group, within which the outcome is no straight line."""
    model, x = assay.Classifier(Halves(), head="sigmoid"), torch.full((1, 3, 16, 16), 0.5)
    other = torch.zeros(1, 1, 16, 16)
    other[..., 8:] = 1
    expected = 0.5 / (1 + math.exp(-10)) + 0.5 * (math.log1p(math.exp(10)) - math.log(2)) / 10
    assert assay.Deletion(steps=256)(model, x, other, torch.zeros(1, dtype=torch.long)).item() == pytest.approx(expected, abs=1e-4)


def test_log_probabilities_of_findings_do_not_overflow():
    outputs = torch.tensor([[-200.0, 200.0]])
    assert HEADS["sigmoid"].transform(outputs, "log_probability").tolist() == [[-200.0, 0.0]]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_attack_keeps_the_finding_and_not_the_strongest_class(sign, images):
    """The other finding may change side, and does; the explained one stays where it is, present or absent."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tanh(2, seed=3)

        def forward(self, x):
            z = self.inner(x)
            return torch.stack([z[:, 0] + sign * 1.0, z[:, 0] + sign * 1.0 + 5 * torch.sin(60 * x[:, 0, 0, 0])], 1)

    net, batch = Net(), images(6)
    model = assay.Classifier(net, head="sigmoid")
    first = torch.zeros(6, dtype=torch.long)
    attack = assay.MapAttack(eps=0.2, steps=8, goal=assay.MaximiseDistance(assay.Cosine()), judge_every=2)
    found = attack(model, assay.Gradient(), batch, first)
    before, after = net(batch), net(found.images)
    assert (found.distance > 0).any()
    assert torch.equal(before[:, 0] > 0, after[:, 0] > 0)
    assert not torch.equal(before.argmax(1), after.argmax(1))
    assert found.kept.all()
    black = assay.BlackBoxMapAttack(eps=0.2, steps=8)(model, assay.Gradient(), batch, first)
    assert torch.equal(before[:, 0] > 0, net(black.images)[:, 0] > 0)


def test_the_tolerance_is_in_the_findings_own_probability(images):
    net = tanh(3, seed=1)
    model, targets = assay.Classifier(net, head="sigmoid"), torch.tensor([2, 0, 1, 1])
    found = assay.MapAttack(eps=0.3, steps=6, tolerance=0.02)(model, assay.Gradient(), images(4), targets)
    moved = (net(found.images).sigmoid() - net(images(4)).sigmoid()).gather(1, targets[:, None]).abs()
    assert moved.max() <= 0.02 + 1e-6
    assert (found.distance > 0).any()


def test_keeping_pixels_keeps_a_finding_on_its_side(images):
    """Class 0 is absent in a dark left half; whatever happens on the right, it stays so."""
    net = Halves(offset=5.0)
    model, batch = assay.Classifier(net, head="sigmoid"), images(5)
    batch[..., :4] *= 0.2
    first, ones = torch.zeros(5, dtype=torch.long), torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert (net(batch)[:, 0] < 0).all()
    black = assay.KeepTop(0.1, assay.Constant(0.0))(model, batch, ones, first)
    white = assay.KeepTop(0.1, assay.Constant(1.0))(model, batch, ones, first)
    assert black.tolist() == [1.0] * 5
    assert white.tolist() == [0.0] * 5
    nothing = torch.zeros(5, 1, 8, 8)
    found = assay.erasure_agreement(model, batch, nothing, [assay.Constant(0.0), assay.Constant(1.0)], first)
    assert found.tolist() == [[1.0] * 5, [0.0] * 5]


def test_pgd_turns_the_labelled_finding_or_any_of_several(images):
    net = Halves(offset=9.0)
    model, batch = assay.Classifier(net, head="sigmoid"), images(6)
    attack = assay.PGD(eps=0.2, steps=5, random_start=False)
    first = torch.zeros(6, dtype=torch.long)
    found = attack(model, batch, first)
    there = net(batch)[:, 0] > 0
    assert there.any()
    assert (net(found)[there, 0] < 0).all()
    assert torch.equal(found[~there], batch[~there])
    assert torch.equal(found[there][..., 4:], batch[there][..., 4:])
    assert assay.robust_accuracy(model, batch, first, assay.PGD(eps=0.0)) == pytest.approx(there.float().mean().item())
    every = (net(batch) > 0).long()
    for loss in ("cross_entropy", "margin"):
        found = assay.PGD(eps=0.2, steps=5, loss=loss)(model, batch, every)
        assert ((net(found) > 0) != every.bool()).any(1).all()
    assert assay.robust_accuracy(model, batch, every, assay.PGD(eps=0.0)) == 1.0


def test_multi_hot_labels_need_findings(images):
    batch, labels = images(3), torch.eye(4, dtype=torch.long)[:3]
    softmax, sigmoid = assay.Classifier(plain()), assay.Classifier(plain(), head="sigmoid")
    with pytest.raises(TargetError, match=r"several findings per image.*head='sigmoid'"):
        assay.PGD()(softmax, batch, labels)
    with pytest.raises(TargetError, match="several findings"):
        assay.audit(softmax, batch, explainers=["Gradient"], labels=labels)
    with pytest.raises(TargetError, match=r"0 or 1 in shape \(3, 4\)"):
        assay.PGD()(sigmoid, batch, labels[:, :2])
    with pytest.raises(TargetError, match="0 or 1"):
        assay.PGD()(sigmoid, batch, 2 * labels)
    assert assay.PGD(eps=0.0)(sigmoid, batch, labels).shape == batch.shape


def test_an_audit_counts_the_findings_that_multi_hot_labels_name(images):
    net, batch = plain(), images(4)
    labels = (net(batch) > 0).long()
    labels[0, 1] = 1 - labels[0, 1]
    found = assay.audit(
        assay.Classifier(net, head="sigmoid"), batch, explainers=["Gradient"], measures=["Deletion(steps=2)"], labels=labels
    )
    assert found.page.settings["accuracy"] == "75.0% of 4 labelled images in all their findings, 93.8% of the findings"


def test_models_agree_where_all_their_findings_do(images):
    one, other = (assay.Classifier(tanh(3, seed), head="sigmoid") for seed in (0, 1))
    same = ((tanh(3, 0)(images(20)) > 0) == (tanh(3, 1)(images(20)) > 0)).all(1)
    assert assay.model_agreement(one, other, images(20)).correct == int(same.sum())
    assert assay.model_agreement(one, one, images(20)).value == 1.0


def test_the_gradient_of_a_findings_probability_is_certified(images):
    """A plane: the smoothed gradient's direction is the plane's, and the certificate cannot say more than that."""
    model = assay.Classifier(Halves(gain=4.0, offset=2.0), output="probability", head="sigmoid")
    found = assay.certify(model, images(2), assay.SmoothGrad(0.5, samples=40), (0.0, 0.05), samples=400, targets=torch.tensor([0, 1]))
    assert ((found.norm > 0) & (found.cosine[0] > 0.5)).all()
    exact = assay.SmoothGrad(0.5, samples=4000)(model, images(2), torch.tensor([0, 1])).flatten(1).norm(dim=1)
    assert (found.norm <= exact * 1.02).all()


def test_values_are_explained_themselves(images):
    net, batch = tanh(1), images(4)
    for one in (net, Flat(net)):
        model = assay.Classifier(one, head="scalar")
        pixels = batch.clone().requires_grad_()
        torch.testing.assert_close(assay.Gradient()(model, batch), torch.autograd.grad(net(pixels).sum(), pixels)[0])
        torch.testing.assert_close(model.predict(batch), net(batch)[:, 0])
    ends = net(torch.cat([batch, torch.zeros_like(batch)]))[:, 0]
    torch.testing.assert_close(assay.Deletion(steps=1)(model, batch, torch.arange(256.0).view(4, 1, 8, 8)), (ends[:4] + ends[4:]) / 2)


def test_one_of_several_values_must_be_named(images):
    model, batch = assay.Classifier(tanh(3), head="scalar"), images(2)
    with pytest.raises(ModelError, match="3 values per image: say which"):
        assay.Gradient()(model, batch)
    pixels = batch.clone().requires_grad_()
    expected = torch.autograd.grad(tanh(3)(pixels)[:, 2].sum(), pixels)[0]
    torch.testing.assert_close(assay.Gradient()(model, batch, 2), expected)
    torch.testing.assert_close(model.predict(batch), tanh(3)(batch))


def test_a_value_is_kept_within_a_tolerance_only(images):
    net, batch = tanh(1), images(4)
    model = assay.Classifier(net, head="scalar")
    with pytest.raises(SpecError, match="no class to keep; give it tolerance="):
        assay.MapAttack(steps=1)(model, assay.Gradient(), batch)
    found = assay.MapAttack(eps=0.2, steps=6, tolerance=0.05)(model, assay.Gradient(), batch)
    assert (net(found.images) - net(batch)).abs().max() <= 0.05 + 1e-6
    assert (found.distance > 0).any()
    assert assay.MapAttack(eps=0.2, steps=2, keep_class=False)(model, assay.Gradient(), batch).images.shape == batch.shape
    for refused in (
        lambda: assay.KeepTop()(model, batch, batch),
        lambda: assay.PGD(steps=1)(model, batch, torch.zeros(4, dtype=torch.long)),
        lambda: assay.model_agreement(model, model, batch),
        lambda: assay.certify(model, batch, assay.SmoothGrad(0.3, samples=4), 0.1),
    ):
        with pytest.raises(ModelError):
            refused()


def test_audits_tell_values_without_probabilities_and_findings_by_their_own(images):
    batch = images(3)
    values = assay.audit(assay.Classifier(tanh(1), head="scalar"), batch, explainers=["Gradient"], measures=["Deletion(steps=2)"])
    assert values.page.part(Gallery).predictions == tuple(f"{value:.4g}" for value in tanh(1)(batch)[:, 0].tolist())
    assert all(math.isnan(one) for one in values.page.part(Gallery).probabilities)
    assert values.page.settings["explained"] == "the value of the predicted class"
    found = assay.audit(assay.Classifier(plain(), head="sigmoid"), batch, explainers=["Gradient"], measures=["Deletion(steps=2)"])
    assert found.page.part(Gallery).probabilities == pytest.approx(plain()(batch).sigmoid().amax(1).tolist())


def test_diet_refuses_what_is_no_softmax_network(images):
    with pytest.raises(ModelError, match="DiET tunes networks with a logit for each"):
        assay.DiET(rounds=1)(tanh(1), images(4))


def test_a_learned_mask_keeps_findings(images):
    mask = assay.LearnedMask(rounds=1, stop=assay.tune.schedules.Epochs(2))
    maps = mask(assay.Classifier(Halves(), head="sigmoid"), images(2))
    assert maps.shape == (2, 1, 8, 8)

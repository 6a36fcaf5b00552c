"""Functions of which only scores are known."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import assay
from assay.errors import ModelError, SpecError
from reference.guards import snapshot
from reference.nets import plain

TARGETS = torch.tensor([0, 1, 2])
GRID = assay.Grid(2, 2)


def scores(images):
    return plain()(images).detach().numpy()


@pytest.mark.parametrize("pack", [lambda y: y, torch.as_tensor, lambda y: y.tolist(), lambda y: y.astype(np.float64)])
def test_any_function_from_images_to_scores_is_explained_as_the_network_is(pack, images):
    model, net = assay.Classifier(lambda batch: pack(scores(batch))), assay.Classifier(plain())
    torch.testing.assert_close(model.logits(images()), net.logits(images()))
    assert model.logits(images()).dtype == torch.float32
    for explainer in (assay.KernelShap(12, GRID), assay.Lime(12, GRID)):
        torch.testing.assert_close(explainer(model, images(), TARGETS), explainer(net, images(), TARGETS), rtol=1e-3, atol=1e-4)
    for measure in (assay.Deletion(steps=3), assay.Infidelity(samples=3)):
        torch.testing.assert_close(
            measure(model, images(), images(), TARGETS), measure(net, images(), images(), TARGETS), rtol=1e-3, atol=1e-4
        )
    assert assay.BlackBoxMapAttack(steps=2)(model, assay.KernelShap(12, GRID), images()).kept.all()


@pytest.mark.parametrize(
    "explainer",
    [assay.Gradient(), assay.SmoothGrad(samples=2), assay.IntegratedGradients(steps=2), assay.GradCAM(), assay.FullGrad()],
    ids=repr,
)
def test_explainers_that_need_more_refuse_by_name(explainer, images):
    model = assay.Classifier(scores)
    told = f"{type(explainer).__name__} needs gradients or layers, but scores is a function of which only scores are known"
    with pytest.raises(ModelError, match=told):
        explainer(model, images())
    assert model.passes.forward == 0


def test_attacks_that_need_gradients_refuse_too(images):
    model = assay.Classifier(scores)
    for use in (
        lambda: assay.MapAttack(steps=2)(model, assay.KernelShap(12, GRID), images()),
        lambda: assay.PGD(steps=2)(model, images(), model.predict(images())),
    ):
        with pytest.raises(ModelError, match="scores has no gradient"):
            use()


def test_a_model_of_another_library_brings_its_probabilities(images):
    generator = np.random.default_rng(0)
    forest = LogisticRegression().fit(generator.random((30, 192)), np.arange(30) % 3)
    model = assay.Classifier(lambda batch: forest.predict_proba(batch.flatten(1).numpy()), classes=["a", "b", "c"])
    expected = torch.as_tensor(forest.predict_proba(images().flatten(1).numpy())).float()
    torch.testing.assert_close(model.logits(images()), expected)
    torch.testing.assert_close(model.score(expected, TARGETS, "probability"), expected[range(3), TARGETS])
    assert [finding.partition(" ")[0] for finding in model.findings] == ["lambda", "The"]


def test_the_function_is_not_copied_and_cannot_change_the_callers_images(images):
    net, batch = plain(), images()
    before, kept = snapshot(net), batch.clone()

    def careless(given):
        return net(given.mul_(0.5)).detach()

    assay.KernelShap(12, GRID)(assay.Classifier(careless), batch)
    assert snapshot(net) == before
    assert torch.equal(batch, kept)


def test_a_function_that_fails_is_told_by_its_name_and_first_line(images):
    def service(_batch):
        raise ConnectionError("no answer from port 80\nlong story")

    with pytest.raises(
        ModelError, match=r"service fails on images of shape \(3, 8, 8\), in its own code: ConnectionError: no answer from port 80$"
    ):
        assay.Classifier(service).predict(images())


@pytest.mark.parametrize("setting", [{"precision": "bfloat16"}, {"compile": True}])
def test_what_is_for_modules_is_refused(setting):
    with pytest.raises(SpecError, match="a function runs as it is"):
        assay.Classifier(scores, **setting)


def test_an_estimator_is_told_what_to_give():
    with pytest.raises(ModelError, match=r"not LogisticRegression: give a function, such as lambda images: model\.predict_proba"):
        assay.Classifier(LogisticRegression())


class Session:
    """As an inference session of another language: any copy of it, or of a part of it, breaks."""

    def __init__(self):
        self.copies = []

    def __deepcopy__(self, memo):
        self.copies.append("copied")
        raise MemoryError

    def run(self, pixels):
        return scores(torch.from_numpy(pixels))


class Served(nn.Module):
    def __init__(self, session):
        super().__init__()
        self.parts = {"session": session}

    def forward(self, x):
        return torch.from_numpy(self.parts["session"].run(x.detach().numpy()))


def test_a_module_around_a_session_shares_it(images):
    session = Session()
    model = assay.Classifier(Served(session))
    torch.testing.assert_close(model.logits(images()), torch.from_numpy(scores(images())))
    assert not session.copies
    assert assay.KernelShap(12, GRID)(model, images()).isfinite().all()
    with pytest.raises(ModelError, match="Served has no gradient at its pixels"):
        assay.Gradient()(model, images())

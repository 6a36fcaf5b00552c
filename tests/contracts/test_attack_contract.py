from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import assay
from assay.attack.forms.form import form
from assay.errors import AssayError, SpecError
from reference.guards import snapshot
from reference.nets import normed, plain
from reference.specs import cheap, own

COUNT, SIZE = 4, 9
TARGETS = torch.tensor([1, 0, 3, 2])
ATTACKS = pytest.mark.parametrize("attack", [cheap(cls) for cls in own(assay.Attack)], ids=repr)


def differentiable():
    found = []
    for cls in own(assay.Explainer):
        try:
            form(cheap(cls))
        except SpecError:
            continue
        found.append(cheap(cls))
    return found


EXPLAINERS = pytest.mark.parametrize("explainer", differentiable(), ids=repr)


@pytest.fixture(scope="module")
def batch():
    return torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def classifier(chunk=None, net=None):
    return assay.Classifier(net or plain(size=SIZE + 1), mean=0.5, std=0.25, chunk=chunk)


def same(one, other):
    for name in ("images", "attacked_maps", "distance", "kept"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-4)


def test_every_explainer_with_a_gradient_or_a_surrogate_can_be_attacked_through():
    attacked = {type(explainer).__name__ for explainer in differentiable()}
    wanted = {cls.__name__ for cls in own(assay.Explainer) if {"gradient", "segments"} & getattr(cheap(cls), "needs", set())}
    # These are attacked black-box: marks that jump, edges of the image, backward passes that are no gradient, sums not over single passes.
    assert attacked == wanted - {"LearnedMask", "Sparsified", "GuidedBackprop", "AttentionRelevance", "VarGrad", "Refined"}


@EXPLAINERS
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.03), ("l2", 0.4), ("l1", 4.0)])
def test_every_differentiable_explainer_is_attacked_better_than_by_noise_and_better_by_more_steps(explainer, norm, eps, batch):
    model, goal = classifier(), assay.MaximiseDistance(assay.Cosine())
    attack = assay.MapAttack(eps=eps, norm=norm, steps=8, goal=goal, samples=4, restarts=1)
    found = attack(model, explainer, batch)
    noise = assay.NoiseMapAttack(eps=eps, norm=norm, goal=goal)(model, explainer, batch)
    assert found.kept.all()
    assert found.distance.mean() > 1.2 * noise.distance.mean() > 0
    # The start alone is better than noise; only an ascent that climbs leaves it behind.
    assert found.distance.mean() > 1.1 * replace(attack, steps=1)(model, explainer, batch).distance.mean()


@ATTACKS
def test_the_result_is_what_model_and_explainer_say_of_it(attack, batch):
    model, explainer = classifier(), assay.SmoothGrad(0.1, samples=4)
    index = torch.tensor([7, 0, 3, 99])
    found = attack(model, explainer, batch, TARGETS, seed=5, index=index)
    torch.testing.assert_close(found.maps, explainer(model, batch, TARGETS, seed=5, index=index))
    torch.testing.assert_close(found.attacked_maps, explainer(model, found.images, TARGETS, seed=5, index=index), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.distance, attack.goal.reached(found.maps, found.attacked_maps))
    assert torch.equal(found.kept, model.predict(found.images) == model.predict(batch))
    assert found.kept.all()
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert ((found.images - batch).flatten(1).norm(dim=1) <= attack.eps + 1e-5).all()
    moved = (found.images != batch).flatten(1).any(1)
    assert torch.equal(moved, found.distance > 0)


@ATTACKS
def test_a_seed_gives_the_same_bits_again_and_another_other_images(attack, batch):
    first, again = (attack(classifier(), assay.Gradient(), batch, seed=3) for _ in range(2))
    assert torch.equal(first.images, again.images)
    other = attack(classifier(), assay.Gradient(), batch, seed=4)
    assert not torch.equal(first.images, other.images)


@ATTACKS
def test_results_do_not_depend_on_chunk_order_or_company(attack, batch):
    index = torch.tensor([10, 0, 77, 3])
    explainer = assay.IntegratedGradients(2)
    whole = attack(classifier(64), explainer, batch, TARGETS, index=index)
    same(attack(classifier(1), explainer, batch, TARGETS, index=index), whole)
    chosen = [2, 0]
    part = attack(classifier(), explainer, batch[chosen], TARGETS[chosen], index=index[chosen])
    torch.testing.assert_close(part.images, whole.images[chosen], rtol=1e-3, atol=1e-4)


@ATTACKS
def test_nothing_of_the_callers_is_changed(attack, batch, untouched):
    net, pixels = normed(), batch.clone()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    model, before = assay.Classifier(net), snapshot(net)
    model.predict(pixels)
    inside = snapshot(model.module)
    with untouched():
        attack(model, assay.GradCAM(), pixels)
    assert snapshot(net) == before
    assert snapshot(model.module) == inside
    assert torch.equal(pixels, batch)


@ATTACKS
def test_the_global_generators_are_not_used(attack, batch):
    model = classifier()
    first = attack(model, assay.Gradient(), batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        state = np.random.get_state()
        np.random.seed(99)
        assert torch.equal(attack(model, assay.Gradient(), batch).images, first.images)
        np.random.set_state(state)


@ATTACKS
def test_no_room_gives_the_clean_image_at_distance_zero(attack, batch):
    found = replace(attack, eps=0)(classifier(), assay.Gradient(), batch)
    assert torch.equal(found.images, batch)
    assert torch.equal(found.attacked_maps, found.maps)
    assert torch.equal(found.distance, torch.zeros(COUNT))
    assert found.kept.all()


@ATTACKS
def test_bad_input_is_refused_before_work(attack, batch):
    model = classifier()
    for images, targets in ((batch + 1, None), (batch[0], None), (batch[:0], None), (batch, TARGETS + 9), (batch, TARGETS[:2])):
        with pytest.raises(AssayError):
            attack(model, assay.Gradient(), images, targets)
    with pytest.raises(AssayError, match=r"assay\.Classifier"):
        attack(nn.Identity(), assay.Gradient(), batch)
    with pytest.raises(AssayError, match="callable"):
        attack(model, 3, batch)
    with pytest.raises(SpecError, match="did you mean Gradient"):
        attack(model, "Gradiant()", batch)


@ATTACKS
def test_a_network_with_other_activations_and_sizes_works(attack):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    pixels = torch.rand(2, 1, 7, 12, generator=torch.Generator().manual_seed(0))
    assert attack(assay.Classifier(net), "Gradient()", pixels).images.shape == pixels.shape

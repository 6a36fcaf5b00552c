"""What a caller has switched on changes nothing, and stays as it is."""

import contextlib
import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.utils import checkpoint

import assay
from assay.core.surroundings import Alone, undisturbed
from reference.nets import normed, seeded

TARGETS = torch.tensor([0, 1, 2])
GRID = assay.Grid(2, 2)
EXPLAINERS = [
    assay.Gradient(), assay.SmoothGrad(samples=2), assay.IntegratedGradients(steps=2), assay.GradCAM(), assay.FullGrad(),
    assay.KernelShap(8, GRID), assay.Lime(8, GRID),
]  # fmt: skip
MEASURES = [assay.Deletion(steps=2), assay.Infidelity(samples=2), assay.LocalLinearError(samples=2), assay.MaxSensitivity(samples=2)]
ATTACKS = [assay.MapAttack(steps=2), assay.BlackBoxMapAttack(steps=2), assay.NoiseMapAttack(draws=2)]


@contextlib.contextmanager
def default(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AROUND = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "double": lambda: default(torch.float64),
    "half": lambda: default(torch.bfloat16),
}


def state():
    return torch.get_default_dtype(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled(), torch.is_grad_enabled()


def results(model, images, targets):
    """Something of every kind of call."""
    maps = [explainer(model, images, targets) for explainer in EXPLAINERS]
    scores = [measure(model, images, maps[0], targets, explainer=EXPLAINERS[0]) for measure in MEASURES]
    attacked = [attack(model, EXPLAINERS[0], images, targets) for attack in ATTACKS]
    return [model.logits(images), *maps, *scores, *(part for one in attacked for part in (one.images, one.distance))]


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert not one.is_inference()
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def expected():
    return results(assay.Classifier(normed()), batch(), TARGETS)


def batch():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_calls_are_undisturbed(around, expected):
    model = assay.Classifier(normed())
    with around():
        before = state()
        found = results(model, batch(), TARGETS)
        assert state() == before
    same(found, expected)


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_so_are_networks_and_images_made_there_and_first_calls(around, expected):
    images, pixels = batch(), batch()
    net = normed()
    with around():
        model = assay.Classifier(net)
        model.logits(images)
        pixels, targets = pixels.clone(), TARGETS.clone()
    same(results(model, pixels, targets), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_in_the_callers_default_format_is_explained_in_float32(dtype, images):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.place = nn.Conv2d(3, 4, 3), torch.linspace(0, 1, 6)

        def forward(self, x):
            return (self.conv(x) + self.place + torch.ones(1)).mean((2, 3))

    with default(dtype):
        net = seeded(Net)
        model = assay.Classifier(net)
        found, maps = model.logits(batch()), assay.Gradient()(model, batch())
        truth = net(batch().to(dtype)).float().detach()
    assert found.dtype == maps.dtype == torch.float32
    torch.testing.assert_close(found, truth, rtol=0.02, atol=0.02)
    assert net.place.dtype == dtype


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_is_off_within_and_on_again_outside(reentrant, expected):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = normed()

        def forward(self, x):
            return self.net[3:](checkpoint.checkpoint(self.net[:3], x, use_reentrant=reentrant))

    usual = checkpoint.CheckpointFunction
    same(results(assay.Classifier(Checkpointed()), batch(), TARGETS), expected)
    assert checkpoint.CheckpointFunction is usual
    with undisturbed(), undisturbed():
        assert checkpoint.CheckpointFunction is not usual
    assert checkpoint.CheckpointFunction is usual


@undisturbed()
def breaks():
    assert state() == (torch.float32, False, False, False)
    raise ValueError("broke")


def test_all_is_put_back_after_an_exception_too():
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode(), default(torch.float64):
        before = state()
        with pytest.raises(ValueError, match="broke"):
            breaks()
        assert state() == before


def test_the_default_format_comes_back_when_the_last_thread_is_out():
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with undisturbed():
            entered.set()
            leave.wait(10)

    with default(torch.float64):
        other = threading.Thread(target=stay)
        with undisturbed():
            other.start()
            entered.wait(10)
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        other.join()
        assert torch.get_default_dtype() == torch.float64


@pytest.mark.parametrize("explainer", [assay.Gradient(), assay.GradCAM(), assay.FullGrad(), assay.SmoothGrad(samples=2)], ids=repr)
def test_threads_that_share_a_model_get_the_maps_and_counts_of_one(explainer):
    model = assay.Classifier(normed())
    pictures = [batch(), 1 - batch()]
    wanted = [explainer(model, one, TARGETS) for one in pictures]
    before = model.passes.copy()
    explainer(model, pictures[0], TARGETS)
    due = 12 * (model.passes - before).forward
    before, wrong = model.passes.copy(), []

    def work(number):
        try:
            found = [explainer(model, pictures[number], TARGETS) for _ in range(6)]
            wrong.extend(number for one in found if not torch.equal(one, wanted[number]))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert (model.passes - before).forward == due


def test_a_model_with_its_lock_can_be_copied_and_pickled():
    model = assay.Classifier(normed())
    logits = model.logits(batch())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.logits(batch()), logits)
        assert other.alone is not model.alone
    with Alone() as _, model.alone, model.alone:
        pass

"""Copies of networks with functions, hooks and wrappers on them are the same function, and the caller's stays alone."""

import functools
import types
import warnings

import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.nn.utils import prune

import assay
from assay.errors import ModelError
from reference.guards import snapshot
from reference.nets import normed, plain

TARGETS = torch.tensor([0, 1, 2])


def patched_by_closure():
    net = normed()
    usual = net.forward
    net.forward = lambda x: 2 * usual(x)
    return net


def patched_by_method():
    net = normed()
    net.forward = types.MethodType(lambda self, x: 2 * type(self).forward(self, x), net)
    return net


def patched_by_default():
    net = normed()

    def forward(x, own=net):
        return 2 * nn.Sequential.forward(own, x)

    net.forward = forward
    return net


def patched_by_partial():
    net = normed()
    net[0].forward = functools.partial(lambda conv, x: 2 * conv._conv_forward(x, conv.weight, conv.bias), net[0])
    return net


GLOBAL = normed()
USUAL = GLOBAL.forward


def patched_by_global():
    GLOBAL.forward = lambda x: 2 * USUAL(x)
    return GLOBAL


def compiled_forward():
    net = normed()
    net.forward = torch.compile(net.forward, backend="eager")
    return net


def compiled_in_place():
    net = normed()
    net.compile(backend="eager")
    return net


def hook_that_changes():
    net = normed()
    net[2].register_forward_hook(lambda _layer, _given, out: out * 2)
    net[3].register_forward_pre_hook(lambda _, given: (given[0] + 1,))
    return net


class KeepsByHook(nn.Module):
    """What its own hook keeps is part of its function."""

    def __init__(self, closure):
        super().__init__()
        self.net, self.kept = normed(), None
        hook = (lambda _layer, _given, out: setattr(self, "kept", out)) if closure else self.keep
        self.net[0].register_forward_hook(hook)

    def keep(self, _layer, _given, out):
        self.kept = out

    def forward(self, x):
        return self.net(x) + self.kept.mean((1, 2, 3))[:, None]


def pruned():
    net = normed()
    prune.l1_unstructured(net[0], "weight", 0.5)
    return net


def half_scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(torch.jit.script(normed().eval()), nn.Identity())


PATCHED = {
    "closure": patched_by_closure,
    "method": patched_by_method,
    "default": patched_by_default,
    "partial": patched_by_partial,
    "global": patched_by_global,
    "compiled forward": compiled_forward,
    "compiled in place": compiled_in_place,
    "compiled": lambda: torch.compile(normed(), backend="eager"),
    "hook that changes": hook_that_changes,
    "own hook": lambda: KeepsByHook(False),
    "own closure": lambda: KeepsByHook(True),
    "pruned": pruned,
    "data parallel": lambda: nn.DataParallel(normed()),
    "scripted inside": half_scripted,
}


@pytest.mark.parametrize("make", PATCHED.values(), ids=PATCHED)
def test_the_function_is_the_callers_and_the_caller_is_left_alone(make, images):
    net = make()
    before = snapshot(net)
    model = assay.Classifier(net)
    logits, maps = model.logits(images()), assay.Gradient()(model, images(), TARGETS)
    assert snapshot(net) == before
    pixels = images().requires_grad_()
    expected = net.eval()(pixels)
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-4, atol=1e-4)
    truth = torch.autograd.grad(expected.gather(1, TARGETS[:, None]).sum(), pixels)[0]
    torch.testing.assert_close(maps, truth, rtol=1e-3, atol=1e-3 * truth.abs().max().item())
    with torch.no_grad():
        next(net.parameters()).mul_(3)
    assert torch.equal(model.logits(images()), logits)


def test_a_copy_that_would_run_the_callers_own_layers_is_refused_before_it_does(images):
    holder = types.SimpleNamespace(net=normed())
    net = holder.net
    net.forward = lambda x: nn.Sequential.forward(holder.net, x)
    before = snapshot(net)
    with pytest.raises(ModelError, match=r"a copy of Sequential is not independent of your own: .* reads your network's 0\.weight"):
        assay.Classifier(net).logits(images())
    assert snapshot(net) == before


def test_hooks_that_only_look_on_do_not_run_on_the_copy(images):
    seen, held = [], {}

    class Recorder:
        def note(self, _layer, _given, out):
            held["method"] = out

        def __call__(self, _layer, _given, out):
            held["object"] = out

    def silent(_layer, _given, out):
        if len(out):
            seen.append(out)

    net = normed()
    hooks = [
        lambda _layer, _given, out: seen.append(out.detach()), silent, Recorder().note, Recorder(), lambda *_: None,
        functools.partial(lambda name, _layer, _given, out: held.__setitem__(name, out), "partial"),
        lambda _layer, _given, out: held.update(out=out),
    ]  # fmt: skip
    for hook in hooks:
        net[0].register_forward_hook(hook)
    net.register_forward_pre_hook(lambda _, given: seen.append(given))
    net[3].register_full_backward_hook(lambda *_: seen.append("backward"))
    model = assay.Classifier(net)
    for explainer in (assay.Gradient(), assay.GradCAM(), assay.FullGrad()):
        explainer(model, images())
    assert not seen
    assert not held
    assert model.folded == 2
    assert len(net[0]._forward_hooks) == len(hooks)


def test_what_hooks_that_only_look_on_have_kept_of_a_graph_is_no_matter(images):
    """As those of pytorch-grad-cam, whose object a user has made and called before."""

    class Keeper:
        def keep(self, _layer, _given, out):
            self.kept = out

    net, keeper = normed().eval(), Keeper()
    expected = assay.Classifier(net).logits(images())
    net[0].register_forward_hook(keeper.keep)
    net(images())
    assert keeper.kept.grad_fn is not None
    torch.testing.assert_close(assay.Classifier(net).logits(images()), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [lambda net, _: torch.jit.script(net), torch.jit.trace], ids=["script", "trace"])
def test_torchscript_has_gradients_and_no_layers(make, images):
    net = normed().eval()
    model = assay.Classifier(make(net, images()))
    torch.testing.assert_close(model.logits(images()), net(images()).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        assay.Gradient()(model, images(), TARGETS), assay.Gradient()(assay.Classifier(net), images(), TARGETS), rtol=1e-3, atol=1e-5
    )
    for explainer in (assay.GradCAM(), assay.FullGrad()):
        with pytest.raises(ModelError, match="the layers of Sequential cannot be looked at, since it is TorchScript"):
            explainer(model, images())


def takes_any_batch(program):
    """Whether this torch lets a program that was exported for one size of batch run with another: older ones only look on, in a hook."""
    return not hasattr(program.module(), "_guards_fn")


def test_an_exported_program_runs_for_any_batch_or_says_that_it_cannot(images):
    net = plain()
    free = torch.export.export(net, (images(),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.testing.assert_close(assay.Classifier(free).logits(images(4)), net(images(4)).detach())
    fixed = torch.export.export(net, (images(),))
    if takes_any_batch(fixed):
        torch.testing.assert_close(assay.Classifier(fixed).logits(images(4)), net(images(4)).detach())
        return
    with pytest.raises(ModelError, match=r"fails.* in its own code: .*== 3"):
        assay.Classifier(fixed).logits(images(3))


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_is_explained_by_its_scores(images):
    model = assay.Classifier(quantization.quantize_dynamic(plain(), {nn.Linear}))
    assert assay.KernelShap(8, assay.Grid(2, 2))(model, images()).isfinite().all()
    assert model.identity()["weights"]
    for use in (lambda: assay.Gradient()(model, images()), lambda: assay.PGD(steps=1)(model, images(), model.predict(images()))):
        with pytest.raises(ModelError, match=r"Sequential has no gradient at its pixels|fails when it is differentiated"):
            use()


@pytest.mark.filterwarnings("ignore")
def test_lazy_layers_without_weights_are_named():
    with pytest.raises(ModelError, match=r"Sequential has no weights yet in 0\.weight, 0\.bias .*send a batch through it first"):
        assay.Classifier(nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten()))


def test_an_error_when_differentiating_is_told_as_such(images):
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x.clone()

        @staticmethod
        def backward(_ctx, _slope):
            raise NotImplementedError("no derivative was written")

    class Net(nn.Module):
        def forward(self, x):
            return Broken.apply(x).mean((2, 3))

    with pytest.raises(ModelError, match="Net fails when it is differentiated: NotImplementedError: no derivative was written"):
        assay.Gradient()(assay.Classifier(Net()), images())


def test_a_network_that_runs_for_one_size_of_batch_or_one_type_alone_is_refused_with_what_helps():
    program = torch.export.export(plain(), (torch.rand(2, 3, 8, 8),))
    if not takes_any_batch(program):
        with pytest.raises(ModelError, match=r"it was exported for batches of one size: torch.export.export\(..., dynamic_shapes="):
            assay.Classifier(program).logits(torch.rand(3, 3, 8, 8))

    class Double(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain().double()

        def forward(self, x):
            return self.net(x.double())

    with pytest.raises(ModelError, match=r"let forward cast to the type of its weights"):
        assay.Classifier(Double()).logits(torch.rand(3, 3, 8, 8))

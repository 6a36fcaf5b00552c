import collections
import types

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import assay
from assay.errors import ModelError, NotFiniteError, SpecError
from reference.guards import snapshot
from reference.nets import Function, Relus, linear, normed, plain, seeded

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


class Wrapped(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.net, self.pack = plain(), pack

    def forward(self, x):
        return self.pack(self.net(x))


def gradient_by_autograd(net, batch, targets, mean=None, std=None):
    net = net.eval()
    pixels = batch.clone().requires_grad_()
    x = pixels if mean is None else (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    out = net(x.clone())
    return torch.autograd.grad(out.gather(1, targets[:, None]).sum(), pixels)[0]


PACKS = {
    "tensor": (lambda out: out, None),
    "dict": (lambda out: {"logits": out, "loss": None}, None),
    "ordered dict": (lambda out: collections.OrderedDict(features=out * 2, logits=out), None),
    "object": (lambda out: types.SimpleNamespace(logits=out), None),
    "named tuple": (lambda out: collections.namedtuple("Out", "loss logits")(None, out), None),
    "key": (lambda out: {"head": out}, "head"),
    "attribute": (lambda out: types.SimpleNamespace(scores=out), "scores"),
    "position": (lambda out: (out, out * 2), 0),
    "last position": (lambda out: [out * 2, out], -1),
    "callable": (lambda out: {"deep": [out]}, lambda out: out["deep"][0]),
    "callable on a tensor": (lambda out: out[:, :, None], lambda out: out[:, :, 0]),
}


@pytest.mark.parametrize(("pack", "select"), PACKS.values(), ids=PACKS)
def test_logits_are_found_in_what_networks_return(pack, select, images):
    model = assay.Classifier(Wrapped(pack), select=select)
    torch.testing.assert_close(model.logits(images()), plain()(images()))


WRONG = {
    "a tuple": (lambda out: (out, out), None, "returns a tuple, not logits; .*select="),
    "another dict": (lambda out: {"head": out}, None, "returns a .* with keys head, not logits"),
    "a missing key": (lambda out: {"head": out}, "tail", "select='tail' matches nothing.* with keys head"),
    "a missing attribute": (
        lambda out: types.SimpleNamespace(scores=out),
        "tail",
        "select='tail' matches nothing.* returns a SimpleNamespace",
    ),
    "a position too far": (lambda out: (out, out), 2, "select=2 matches nothing.* returns a tuple of 2"),
    "a key of a tensor": (lambda out: out, "logits", "select='logits' matches nothing.* returns a Tensor"),
    "an attribute of every tensor": (lambda out: out, "T", "select='T' matches nothing"),
    "a row of a tensor": (lambda out: out[None], 0, "select=0 matches nothing"),
    "a callable that fails": (lambda out: {"head": out}, lambda out: out["tail"], "tail"),
    "an attribute that is missing": (lambda out: types.SimpleNamespace(scores=out), lambda out: out.tail, "tail"),
    "None": (lambda _: None, None, "returns a NoneType"),
    "a map": (lambda out: out[:, :, None, None], None, r"shape \(1, 4, 1, 1\) .* logits \(1, K\)"),
    "a number": (lambda out: out.sum(), None, r"shape \(\)"),
    "no column": (lambda out: out[:, :0], None, r"shape \(1, 0\).*K >= 2"),
    "class ids": (lambda out: out.round().long(), None, r"\(1, K\)"),
    "too many rows": (lambda out: out.repeat(2, 1), None, r"shape \(2, 4\) for 1 images"),
}


@pytest.mark.parametrize(("pack", "select", "message"), WRONG.values(), ids=WRONG)
def test_wrong_outputs_are_model_errors(pack, select, message, images):
    with pytest.raises(ModelError, match=f"(?s){message}"):
        assay.Classifier(Wrapped(pack), select=select).logits(images())


def test_outputs_that_are_wrong_for_full_batches_only_are_model_errors(images):
    class Pooled(nn.Module):
        def forward(self, x):
            return x.mean((0, 2, 3))[None]

    with pytest.raises(ModelError, match=r"shape \(1, 3\) for 2 images"):
        assay.Classifier(Pooled()).logits(images(4))


def test_an_error_in_a_network_is_told_with_its_layer_and_its_cause(images):
    with pytest.raises(
        ModelError, match=r"Sequential fails in its layer 5 \(Linear\) on images of shape \(3, 12, 12\), in its own code: RuntimeError: "
    ):
        assay.Classifier(plain(size=8)).logits(images(size=12))


@pytest.mark.parametrize("channels", [1, 2])
def test_images_with_other_channels_than_the_normalisation_are_refused(channels, images):
    with pytest.raises(assay.errors.AssayError, match="3 channels"):
        assay.Classifier(plain(), MEAN, STD).logits(images(channels=channels))


def test_the_image_whose_output_is_not_finite_is_named(images):
    batch = images(4)
    batch[2] = 0.0
    model = assay.Classifier(Function(lambda x: x.sum(1).log()))
    with pytest.raises(NotFiniteError, match=r"output of image 2 \(1 of 4\)"):
        model.logits(batch)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"precision": "float16"}, SpecError, "precision must be one of float32, bfloat16, not 'float16'"),
        ({"precision": "auto"}, SpecError, "commands explain, audit, attack and frontier.*give a Classifier 'float32' or 'bfloat16'"),
        ({"output": "logits"}, SpecError, "output must be one of .*did you mean logit?"),
        ({"chunk": 0}, SpecError, "chunk must be at least 1"),
        ({"memory": 0}, SpecError, "memory must be at least 1"),
        ({"std": (0.5, 0.0, 0.5)}, ModelError, "std positive"),
        ({"mean": (0.5, torch.nan, 0.5)}, ModelError, "mean must be finite"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        assay.Classifier(plain(), **settings)


def test_wrong_class_names_are_counted(images):
    with pytest.raises(ModelError, match=r"has 2 classes \(head binary\), but 3 were named"):
        assay.Classifier(plain(classes=1), classes=["a", "b", "c"]).logits(torch.rand(1, 3, 8, 8))
    with pytest.raises(ModelError, match=r"has 4 classes \(head softmax\), but 3 were named"):
        assay.Classifier(plain(), classes=["a", "b", "c"]).logits(images())


@pytest.mark.parametrize("net", [None, {"weight": torch.ones(1)}, type("Net", (nn.Module,), {}), "resnet18"])
def test_only_modules_and_functions_are_wrapped(net):
    with pytest.raises(ModelError, match=r"not (NoneType|dict|type Net: make one, Net\(\.\.\.\)|str)"):
        assay.Classifier(net)


def test_classes_are_named_or_numbered(images):
    model = assay.Classifier(plain())
    with pytest.raises(ModelError, match="after the first pass"):
        _ = model.classes
    model.predict(images())
    assert model.classes == ("0", "1", "2", "3")
    assert assay.Classifier(plain(), classes=list("abcd")).classes == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "make",
    [
        lambda: timm.create_model("resnet10t", num_classes=5),
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=5, depth=2),
        lambda: timm.create_model("mobilenetv3_small_050", num_classes=5),
        lambda: torchvision.models.resnet18(num_classes=5),
        lambda: torchvision.models.squeezenet1_1(num_classes=5),
        lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5),
    ],
    ids=["timm resnet", "timm vit", "timm mobilenet", "torchvision resnet", "torchvision squeezenet", "torchvision shufflenet"],
)
def test_networks_of_timm_and_torchvision_keep_their_logits_and_gradients(make, images):
    net = scramble_mildly(seeded(make))
    before = snapshot(net)
    batch, targets = images(2, size=32), torch.tensor([1, 4])
    model = assay.Classifier(net, MEAN, STD)
    maps = assay.Gradient()(model, batch, targets)
    logits = model.logits(batch)
    assert snapshot(net) == before
    normalised = (batch - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
    expected = net.eval()(normalised).detach()
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    truth = gradient_by_autograd(net, batch, targets, MEAN, STD)
    torch.testing.assert_close(maps, truth, rtol=1e-3, atol=1e-3 * truth.abs().max().item())


def scramble_mildly(net):
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return net


@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), (0.5, 0.25), (None, STD), (MEAN, None), (torch.tensor(MEAN), torch.tensor(STD))])
def test_normalisation_is_part_of_the_function_that_is_explained(mean, std, images):
    batch, targets = images(), torch.tensor([0, 1, 2])
    model = assay.Classifier(plain(nn.GELU), mean, std)
    centre = torch.as_tensor(0.0 if mean is None else mean).reshape(-1, 1, 1).expand(3, 1, 1)
    spread = torch.as_tensor(1.0 if std is None else std).reshape(-1, 1, 1).expand(3, 1, 1)
    torch.testing.assert_close(model.logits(batch), plain(nn.GELU)((batch - centre) / spread))
    expected = gradient_by_autograd(plain(nn.GELU), batch, targets, centre.flatten().tolist(), spread.flatten().tolist())
    torch.testing.assert_close(assay.Gradient()(model, batch, targets), expected)


def test_the_output_decides_what_is_explained(images):
    batch, targets = images(), torch.tensor([3, 0, 1])
    pixels = batch.clone().requires_grad_()
    logits = plain(nn.GELU)(pixels)
    for output, values in {"logit": logits, "probability": logits.softmax(1), "log_probability": logits.log_softmax(1)}.items():
        model = assay.Classifier(plain(nn.GELU), output=output)
        expected = torch.autograd.grad(values.gather(1, targets[:, None]).sum(), pixels, retain_graph=True)[0]
        torch.testing.assert_close(assay.Gradient()(model, batch, targets), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(model.logits(batch), logits.detach())


def test_bfloat16_stays_near_float32_and_returns_float32(images):
    batch, targets = images(), torch.tensor([0, 1, 2])
    exact, short = assay.Classifier(plain(nn.GELU)), assay.Classifier(plain(nn.GELU), precision="bfloat16")
    assert short.logits(batch).dtype == torch.float32
    torch.testing.assert_close(short.logits(batch), exact.logits(batch), rtol=0.05, atol=0.05 * exact.logits(batch).abs().max().item())
    for explainer in (assay.Gradient(), assay.SmoothGrad(samples=4), assay.IntegratedGradients(steps=4)):
        one, other = explainer(short, batch, targets), explainer(exact, batch, targets)
        assert one.dtype == torch.float32
        assert F.cosine_similarity(one.flatten(1), other.flatten(1)).min() > 0.99
    assert {parameter.dtype for parameter in short.module.parameters()} == {torch.bfloat16}


def test_compiled_networks_are_the_same_function(images, monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda module, **_: seen.append(module) or module)
    model = assay.Classifier(plain(), compile=True)
    torch.testing.assert_close(model.logits(images()), plain()(images()))
    assert seen == [model.module]


# -- the caller's module ---------------------------------------------------------------------------------------------


def used(net):
    """A network as a user has it in the middle of other work: train mode, a hook, a frozen layer, gradients."""
    net.train()
    net[3].eval()
    net[0].weight.requires_grad_(False)
    net[3].bias.grad = torch.ones_like(net[3].bias)
    net[0].register_forward_hook(lambda *_: None)
    net[6].register_full_backward_hook(lambda *_: None)
    return net


USES = {
    "logits": lambda model, batch: model.logits(batch),
    "gradient": lambda model, batch: assay.SmoothGrad(samples=2)(model, batch),
    "coalitions": lambda model, batch: assay.KernelShap(8, assay.Grid(2, 2))(model, batch),
    "measure": lambda model, batch: assay.MaxSensitivity(samples=2)(model, batch, batch, explainer=assay.Gradient()),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_callers_module_is_left_as_it_was(use, images):
    net = used(normed())
    before = snapshot(net)
    use(assay.Classifier(net, MEAN, STD), images())
    assert snapshot(net) == before


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_callers_module_is_left_as_it_was_after_an_exception(use, images):
    class Failing(nn.Sequential):
        calls = 0

        def forward(self, x):
            type(self).calls += 1
            if self.calls > 1:
                raise RuntimeError("the network broke")
            return super().forward(x)

    net = used(Failing(*normed()))
    before = snapshot(net)
    model = assay.Classifier(net)
    Failing.calls = 0
    with pytest.raises((RuntimeError, ModelError), match="the network broke"):
        use(model, images())
    assert snapshot(net) == before


def test_a_network_in_train_mode_is_explained_in_eval_mode(images):
    net = nn.Sequential(normed(), nn.Dropout(0.5))
    logits = assay.Classifier(net).logits(images())
    assert net.training
    torch.testing.assert_close(logits, net.eval()(images()), rtol=1e-4, atol=1e-4)


def test_later_changes_of_the_callers_module_are_not_seen(images):
    net = plain()
    model = assay.Classifier(net)
    before = model.logits(images())
    with torch.no_grad():
        net[0].weight.zero_()
    assert torch.equal(model.logits(images()), before)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("convolution", [True, False])
def test_networks_that_work_in_place_on_their_input_change_no_image(channels, layout, convolution, images):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = plain(channels=channels) if convolution else linear(torch.linspace(-1, 1, channels * 64))

        def forward(self, x):
            return self.net(x.sub_(0.5).mul_(2.0).relu_())

    batch = images(channels=channels).to(memory_format=layout)
    kept, targets = batch.clone(), torch.tensor([0, 1, 0])
    model = assay.Classifier(InPlace())
    expected = InPlace()(batch.clone()).detach()
    torch.testing.assert_close(model.logits(batch), expected)
    torch.testing.assert_close(assay.Gradient()(model, batch, targets), gradient_by_autograd(InPlace(), batch, targets))
    assay.Infidelity(samples=2)(model, batch, batch, targets)
    assay.Deletion(steps=3)(model, batch, batch, targets)
    assay.KernelShap(8, assay.Grid(2, 2))(model, batch, targets)
    assert torch.equal(batch, kept)


@pytest.mark.parametrize("kind", ["separate", "in-place", "functional", "functional in-place", "shared", "reused"])
def test_relus_of_every_kind_give_the_maps_of_autograd(kind, images):
    net, targets = seeded(lambda: Relus(kind)), torch.tensor([0, 1, 2])
    expected = gradient_by_autograd(seeded(lambda: Relus("separate")), images(), targets)
    model = assay.Classifier(net)
    torch.testing.assert_close(assay.Gradient()(model, images(), targets), expected)
    torch.testing.assert_close(assay.GradientXInput()(model, images(), targets), expected * images())


def test_modules_that_cannot_be_copied_are_refused_by_name():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.lines = (line for line in "ab")

    with pytest.raises(ModelError, match="Holder cannot be copied"):
        assay.Classifier(Holder())


def test_weight_norm_of_both_kinds_is_explained(images):
    for norm in (torch.nn.utils.parametrizations.weight_norm, spectral):
        net = plain(nn.GELU)
        norm(net[0])
        net(images())
        before = snapshot(net)
        logits = assay.Classifier(net).logits(images())
        assert snapshot(net) == before
        torch.testing.assert_close(logits, net.eval()(images()).detach())


def spectral(module):
    return torch.nn.utils.parametrizations.spectral_norm(module)


# -- counting passes -------------------------------------------------------------------------------------------------

N = 3
GIVEN = torch.tensor([0, 1, 2])
GRID = assay.Grid(2, 3)  # 6 superpixels: 62 coalitions besides none and all
PASSES = {
    assay.Gradient(): (N, N),
    assay.GradientXInput(): (N, N),
    assay.IntegratedGradients(steps=7): (N * 7 + N + 1, N * 7),
    assay.IntegratedGradients(steps=7, complete=False): (N * 7, N * 7),
    assay.IntegratedGradients(steps=7, baseline=assay.MeanColour()): (N * 7 + 2 * N, N * 7),
    assay.SmoothGrad(sigma=0.03): (N * 30, N * 30),
    assay.SmoothGrad(sigma=0.1, samples=5): (N * 5, N * 5),
    assay.Smoothed(assay.IntegratedGradients(steps=2, complete=False), samples=3): (N * 6, N * 6),
    assay.KernelShap(40, assay.Grid(3, 4)): (N * 39 + 1, 0),
    assay.KernelShap(64, GRID): (N * 63 + 1, 0),
    assay.KernelShap(1000, GRID): (N * 63 + 1, 0),
    assay.Lime(50, assay.Grid(7, 7)): (N * 50, 0),
    assay.RandomMap(): (0, 0),
}
FINDING = {assay.Gradient(): (N, N), assay.GradientXInput(): (N, N), assay.IntegratedGradients(3, complete=False): (N * 4, N * 3)}
MEASURES = {
    assay.Deletion(steps=10): N * 9 + N + 1,
    assay.Deletion(steps=10, background=assay.MeanColour()): N * 9 + 2 * N,
    assay.Insertion(steps=10): N * 9 + 2 * N,
    assay.Insertion(steps=10, background=assay.Constant(0.0)): N * 9 + N + 1,
    assay.Infidelity(samples=12): N * 12 + N,
    assay.LocalLinearError(samples=12): N * 12 + N,
    assay.MaskIoU(): 0,
}


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize(("explainer", "passes"), PASSES.items(), ids=map(repr, PASSES))
def test_explainers_use_the_passes_that_their_formula_needs(explainer, passes, chunk, images):
    model = assay.Classifier(plain(), chunk=chunk)
    explainer(model, images(N), GIVEN)
    assert (model.passes.forward, model.passes.backward) == passes


@pytest.mark.parametrize(("explainer", "passes"), FINDING.items(), ids=map(repr, FINDING))
def test_finding_the_targets_costs_no_pass_where_the_explainer_makes_it_anyway(explainer, passes, images):
    model = assay.Classifier(plain())
    explainer(model, images(N))
    assert (model.passes.forward, model.passes.backward) == passes


@pytest.mark.parametrize(("measure", "forward"), MEASURES.items(), ids=map(repr, MEASURES))
def test_measures_use_the_passes_that_their_formula_needs(measure, forward, images):
    model = assay.Classifier(plain())
    measure(model, images(N), images(N, seed=1), GIVEN, truth=images(N)[:, :1] > 0.5)
    assert (model.passes.forward, model.passes.backward) == (forward, 0)


def test_finding_the_targets_shares_the_clean_pass_of_a_measure(images):
    model = assay.Classifier(plain())
    assay.Infidelity(samples=12)(model, images(N), images(N))
    assert model.passes.forward == N * 12 + N


def test_max_sensitivity_explains_every_nearby_image_once(images):
    model = assay.Classifier(plain())
    maps = assay.Gradient()(model, images(N), GIVEN)
    start = model.passes.copy()
    assay.MaxSensitivity(samples=6)(model, images(N), maps, GIVEN, explainer=assay.Gradient())
    used = model.passes - start
    assert (used.forward, used.backward) == (N * 6, N * 6)


def test_a_mean_and_deviation_of_pixels_up_to_255_are_refused():
    with pytest.raises(ModelError, match=r"pixels from 0 to 255.*divide both by 255"):
        assay.Classifier(plain(), mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
    assay.Classifier(plain(), mean=0.0, std=1 / 255)


def test_a_network_without_weights_yet_is_refused_by_the_names_of_what_is_empty():
    with pytest.raises(ModelError, match=r"no weights in 0\.weight.*meta device"):
        assay.Classifier(plain().to("meta"))


class Sixteen(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.fixed, self.last = fixed, nn.Linear(3, 4, dtype=torch.float16)

    def forward(self, x):
        return self.last(x.mean((2, 3)).to(torch.float16 if self.fixed else self.last.weight.dtype))


def test_code_that_stands_on_the_number_format_of_its_weights_is_told_so(images):
    assert assay.Classifier(Sixteen(fixed=False)).logits(images(2)).dtype == torch.float32
    with pytest.raises(ModelError, match=r"weights were float16 and are float32 here.*weight\.dtype"):
        assay.Classifier(Sixteen(fixed=True)).logits(images(2))

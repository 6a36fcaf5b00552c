import pytest
import torch
from torch import nn
from torch.nn import functional as F

import assay
from assay.attack.forms.softened import Softened, faithful
from assay.errors import DerivativeError
from reference.guards import snapshot
from reference.nets import Relus, plain, seeded

BETA = 7.0


def pixels(count=3, size=8):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def soft(x):
    return F.softplus(x, BETA)


@pytest.mark.parametrize("kind", ["module", "functional", "functional in-place", "reused", "in-place", "shared"])
def test_every_way_of_writing_a_relu_becomes_the_same_softplus(kind):
    net = seeded(lambda: Relus(kind)).eval()
    expected = net.last(soft(net.second(soft(net.first(pixels())))).mean((2, 3)) * 10)
    model = assay.Classifier(net)
    model.predict(pixels())
    before = snapshot(model.module)
    torch.testing.assert_close(Softened(model, BETA).forward(pixels()), expected)
    assert snapshot(model.module) == before
    torch.testing.assert_close(model.logits(pixels()), net(pixels()).detach())


@pytest.mark.parametrize(
    ("function", "softened"),
    [
        (nn.LeakyReLU(0.2), lambda x: 0.2 * x + 0.8 * soft(x)),
        (nn.LeakyReLU(0.2, inplace=True), lambda x: 0.2 * x + 0.8 * soft(x)),
        (nn.PReLU(6, 0.3), lambda x: 0.3 * x + 0.7 * soft(x)),
        (nn.ReLU6(), lambda x: soft(x) - soft(x - 6)),
        (nn.ReLU6(inplace=True), lambda x: soft(x) - soft(x - 6)),
        (F.relu6, lambda x: soft(x) - soft(x - 6)),
        (nn.Hardtanh(-0.5, 2.0), lambda x: -0.5 + soft(x + 0.5) - soft(x - 2)),
        (nn.GELU(), F.gelu),
        (lambda x: x.clamp(min=0), soft),
        (lambda x: torch.clamp_min(x, 0), soft),
        (lambda x: x.clamp(-1, 1), lambda x: x.clamp(-1, 1)),
        (lambda x: x.relu_(), soft),
        (nn.Hardsigmoid(), lambda x: (soft(x + 3) - soft(x - 3)) / 6),
        (nn.Hardsigmoid(inplace=True), lambda x: (soft(x + 3) - soft(x - 3)) / 6),
        (nn.Hardswish(), lambda x: x * (soft(x + 3) - soft(x - 3)) / 6),
        (nn.Hardswish(inplace=True), lambda x: x * (soft(x + 3) - soft(x - 3)) / 6),
        (lambda x: F.relu6(x + 3) / 6, lambda x: (soft(x + 3) - soft(x - 3)) / 6),
        (lambda x: x.clamp(0, 6), lambda x: soft(x) - soft(x - 6)),
        (nn.Softshrink(0.2), lambda x: soft(x - 0.2) - soft(-x - 0.2)),
        (nn.Threshold(0.3, 0.3), lambda x: 0.3 + soft(x - 0.3)),
        (nn.Threshold(0.0, 0.0, inplace=True), soft),
        (nn.Threshold(0.3, 0.0), nn.Threshold(0.3, 0.0)),
        (lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 2)),
    ],
)
def test_relatives_of_the_relu_are_softened_and_the_rest_is_left(function, softened):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = seeded(lambda: nn.Conv2d(3, 6, 3))
            self.function = function

        def forward(self, x):
            return self.function(self.conv(4 * x)).mean((2, 3))

    net = Net()
    torch.testing.assert_close(Softened(assay.Classifier(net), BETA).forward(pixels()), softened(net.conv(4 * pixels())).mean((2, 3)))


def test_a_large_beta_gives_the_model_itself():
    model = assay.Classifier(plain(), mean=0.5, std=0.2)
    torch.testing.assert_close(Softened(model, 1e4).forward(pixels()), model.logits(pixels()), rtol=1e-3, atol=1e-3)


def test_passes_are_the_models_and_so_are_the_sixteen_bits_of_weights_while_slopes_at_pixels_have_thirty_two():
    model = assay.Classifier(plain(), precision="bfloat16")
    model.count_classes((3, 8, 8))
    copy = Softened(model, BETA)
    logits, slopes = copy.slopes(pixels().requires_grad_(), torch.zeros(3, dtype=torch.int64))
    assert logits.dtype == slopes.dtype == torch.float32
    assert copy.module is model.module
    assert next(model.module.parameters()).dtype == torch.bfloat16
    assert (model.passes.forward, model.passes.backward) == (3, 3)


def test_a_relu_network_has_a_slope_of_its_gradient_only_when_softened():
    model = assay.Classifier(plain())

    def curvature(one):
        x = pixels().requires_grad_()
        slope = torch.autograd.grad(one.forward(x)[:, 0].sum(), x, create_graph=True)[0]
        total = slope.square().sum()
        return torch.autograd.grad(total, x, allow_unused=True)[0] if total.requires_grad else None

    hard = curvature(model)
    assert hard is None or hard.abs().max() == 0
    assert curvature(Softened(model, BETA)).abs().max() > 0


def bent():
    """A network of kinks that every form of a program keeps."""
    layers = (nn.Hardswish(), nn.LeakyReLU(0.2), nn.Hardtanh(-0.5, 2.0), nn.ReLU6(), nn.Softshrink(0.1), nn.PReLU(6), nn.ReLU(inplace=True))
    return seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3))).eval()


def test_the_operations_of_an_exported_program_are_softened_as_those_of_the_network_are():
    free = ({0: torch.export.Dim("n", min=1, max=16)},)
    program = torch.export.export(bent(), (pixels(2),), dynamic_shapes=free)
    hard, softened = (assay.Classifier(bent()), Softened(assay.Classifier(bent()), BETA))
    found = Softened(assay.Classifier(program), BETA).forward(pixels())
    torch.testing.assert_close(found, softened.forward(pixels()))
    assert (found - hard.logits(pixels())).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, pixels())], ids=["scripted", "traced"])
def test_torchscript_that_cannot_be_softened_is_refused_by_name_and_never_attacked_unsoftened(make):
    whole, part = make(bent()), nn.Sequential(make(bent()), nn.Linear(3, 4))
    smooth = make(nn.Sequential(nn.Conv2d(3, 6, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval())
    for net in (whole, part):
        with pytest.raises(DerivativeError, match=r"holds TorchScript, in which hardswish and .* cannot be softened"):
            assay.MapAttack(steps=2)(assay.Classifier(net), assay.Gradient(), pixels())
        # What needs no second derivative is attacked as ever.
        assert assay.MapAttack(steps=2)(assay.Classifier(net), assay.KernelShap(12, assay.Grid(2, 2)), pixels()).climbed.any()
    assert assay.MapAttack(steps=2)(assay.Classifier(smooth), assay.Gradient(), pixels()).climbed.all()


class Pooled(nn.Module):
    """Pooling over segments of any lengths has no second derivative in torch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(*plain()[:4])
        self.head = seeded(lambda: nn.Linear(24, 4))

    def forward(self, x):
        places = self.net(x).flatten(2).permute(2, 0, 1).contiguous()
        pooled = torch.segment_reduce(places, "max", lengths=torch.tensor([5, 7, 4]))
        return self.head(pooled.permute(1, 0, 2).flatten(1))


class Once(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        return self.net(Rounded.apply(x))


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return (255 * x).round() / 255

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(_ctx, slope):
        return slope


@pytest.mark.parametrize(("kind", "culprit"), [(Pooled, "the operation segment_reduce"), (Once, "an operation")])
def test_what_has_no_second_derivative_is_named_and_an_audit_goes_on_without_that_attack(kind, culprit):
    model = assay.Classifier(kind())
    with pytest.raises(DerivativeError, match=f"{kind.__name__} holds {culprit}, which has no second derivative.*BlackBoxMapAttack"):
        assay.MapAttack(steps=2)(model, assay.Gradient(), pixels())
    assert assay.AttackedSimilarity()(model, pixels(), assay.Gradient()(model, pixels()), explainer=assay.Gradient()).isnan().all()
    shap = assay.KernelShap(12, assay.Grid(2, 2))
    found = assay.audit(
        model, pixels(), explainers=[assay.Gradient(), shap], measures=[assay.Deletion(steps=2)], attacks=[assay.MapAttack(steps=2)]
    )
    rows = [row for row in found.scores.to_dicts() if row["measure"] == "AttackedSimilarity(attack=MapAttack(steps=2))"]
    scored = {name: [row["value"] for row in rows if row["explainer"].startswith(name)] for name in ("Gradient", "KernelShap")}
    assert all(value != value for value in scored["Gradient"])
    assert all(0 <= value <= 1 for value in scored["KernelShap"])
    assert len(scored["Gradient"]) == len(scored["KernelShap"]) == 3
    assert any(sentence.startswith("Not attacked: ") and "through Gradient on all images" in sentence for sentence in found.verdict)


def shrunk(by):
    """The same function for every `by`, with activations `by` times as large."""
    net = plain()
    with torch.no_grad():
        for one in (net[0].weight, net[0].bias, net[2].bias):
            one.mul_(by)
        net[-1].weight.div_(by)
    return net


def test_a_copy_is_sharpened_where_its_outputs_are_far_from_the_networks():
    model, images = assay.Classifier(shrunk(1.0)), pixels()
    assert [copy.beta for copy, _ in faithful(Softened(model, 10.0), images, model.logits(images))] == [10.0]
    model = assay.Classifier(shrunk(0.03))
    outputs = model.logits(images)
    for copy, mine in faithful(Softened(model, 10.0), images, outputs):
        assert copy.beta > 10.0
        apart = (copy.logits(images) - outputs)[mine].abs().amax(1)
        assert bool((apart <= outputs[mine].square().mean(1).sqrt()).all())


def test_which_copy_an_image_gets_does_not_depend_on_those_beside_it():
    model = assay.Classifier(shrunk(1.0))
    images = torch.cat([pixels(4) * scale for scale in (0.05, 0.3, 1.0)])
    together = {
        row: copy.beta
        for copy, mine in faithful(Softened(model, 10.0), images, model.logits(images))
        for row in mine.nonzero()[:, 0].tolist()
    }
    alone = [faithful(Softened(model, 10.0), one[None], model.logits(one[None]))[0][0].beta for one in images]
    assert len(set(alone)) > 1
    assert alone == [together[row] for row in range(len(images))]


def test_an_attack_that_had_no_gradient_says_so_on_its_line():
    class Rounded(nn.Module):
        def forward(self, x):
            return (x * 255).round().flatten(1)[:, :4]

    found = assay.MapAttack(steps=2)(assay.Classifier(Rounded()), assay.Gradient(), pixels())
    assert not found.climbed.any()
    assert repr(found).endswith(f", no gradient to climb on {len(found.images)})")

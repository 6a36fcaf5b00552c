import pytest
import torch
from torch import nn

from assay.errors import ModelError
from assay.models.classifier import Classifier
from assay.models.preparation.fold import find_folds
from assay.models.preparation.prepare import frozen_copy
from reference.guards import snapshot
from reference.nets import normed, scramble_norms, seeded


class Net(nn.Module):
    """A stem, and a part that a test puts in the way of folding."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.second, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def head(self, x):
        return x.mean((2, 3))


class SharedConv(Net):
    def forward(self, x):
        return self.head(self.norm(self.conv(self.other(self.conv(x)).relu())))


class ReusedNorm(Net):
    def forward(self, x):
        return self.head(self.norm(self.second(self.norm(self.conv(x)).relu())))


class BranchedConv(Net):
    def forward(self, x):
        y = self.conv(x)
        return self.head(self.norm(y).relu() + y)


class ReadWeight(Net):
    def forward(self, x):
        return self.head(self.norm(self.conv(x)) * self.conv.weight.sum())


class ReadNorm(Net):
    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu()) + self.norm.running_mean


class Branching(Net):
    def forward(self, x):
        if x.mean() > 0.5:
            return self.head(self.norm(self.conv(x)))
        return self.head(self.other(self.conv(x)))


class Looping(Net):
    def forward(self, x):
        return torch.stack([self.head(self.norm(self.conv(one[None])))[0] for one in x])


class OptionalArgument(Net):
    """What is traced must be the way that a call with the images alone takes."""

    def forward(self, x, skip=None):
        if skip is not None:
            return self.head(self.norm(self.conv(x)))
        return self.head(self.other(self.conv(x).relu()))


class OptionalFlag(Net):
    def forward(self, x, normalise=False):
        x = self.conv(x)
        if normalise:
            x = self.norm(x)
        return self.head(x)


class NormFirst(Net):
    def forward(self, x):
        return self.head(self.conv(self.norm(x)))


class HookedConv(Net):
    def __init__(self):
        super().__init__()
        self.conv.register_forward_hook(lambda _module, _args, out: out * 2)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)))


class HookedNorm(HookedConv):
    def __init__(self):
        Net.__init__(self)
        self.norm.register_forward_pre_hook(lambda _, args: (args[0] + 1,))


class Parametrized(HookedConv):
    def __init__(self):
        Net.__init__(self)
        nn.utils.parametrizations.weight_norm(self.conv)


class NoStatistics(HookedConv):
    def __init__(self):
        Net.__init__(self)
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)


class AliasedConv(Net):
    """One convolution under two names."""

    def __init__(self):
        super().__init__()
        self.second = self.conv

    def forward(self, x):
        return self.head(self.other(self.second(self.norm(self.conv(x)).relu())))


class TiedWeights(Net):
    """Two convolutions with one weight; only one of them has a norm behind it."""

    def __init__(self):
        super().__init__()
        self.second.weight = self.conv.weight

    def forward(self, x):
        return self.head(self.second(self.norm(self.conv(x)).relu()))


class KnowsItsNorm(Net):
    """Reads a plain setting of the norm beside calling it."""

    def forward(self, x):
        return self.head(self.norm(self.conv(x))) + self.norm.num_features


class Simple(Net):
    def forward(self, x):
        return self.head(self.other(self.second(self.norm(self.conv(x)).relu())))


class Affineless(HookedConv):
    def __init__(self):
        Net.__init__(self)
        self.norm = nn.BatchNorm2d(3, affine=False)


class Grouped(Net):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, groups=3, bias=False, stride=2, padding_mode="reflect", padding=1)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)))


FOLDED = {Simple: 2, Affineless: 1, Grouped: 1, TiedWeights: 1}
REFUSED = [
    SharedConv, ReusedNorm, BranchedConv, ReadWeight, ReadNorm, Branching, Looping, OptionalArgument, OptionalFlag, NormFirst, HookedConv,
    HookedNorm, Parametrized, AliasedConv,
]  # fmt: skip


def made(kind):
    return scramble_norms(seeded(kind))


def same_function(net, images):
    """The classifier's logits and gradients are those of the network in eval mode."""
    model = Classifier(net)
    batch = images(4, size=9)
    batch[0] *= 0.3
    truth = frozen_copy(net)
    pixels = batch.clone().requires_grad_()
    expected = truth(pixels)
    torch.testing.assert_close(model.logits(batch), expected.detach(), rtol=1e-4, atol=1e-4)
    mine = batch.clone().requires_grad_()
    found = torch.autograd.grad(model.forward(mine).sum(), mine)[0]
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), pixels)[0], rtol=1e-4, atol=1e-5)
    return model


@pytest.mark.parametrize(("kind", "count"), FOLDED.items(), ids=lambda value: getattr(value, "__name__", value))
def test_batch_norms_are_folded_where_that_is_exact(kind, count, images):
    model = same_function(made(kind), images)
    assert model.folded == count


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_batch_norms_are_kept_where_folding_would_be_wrong(kind, images):
    assert same_function(made(kind), images).folded == 0


def test_batch_statistics_are_refused_by_the_layers_name(images):
    with pytest.raises(ModelError, match=r"NoStatistics is no function of one image.*norm: batch norm without running statistics"):
        Classifier(made(NoStatistics)).logits(images())


def test_a_network_that_reads_its_norms_settings_still_runs(images):
    same_function(made(KnowsItsNorm), images)


def folded(net, batch):
    """The network in eval mode, with every batch norm folded that can be; and how many."""
    net = frozen_copy(net)
    folds, _ = find_folds(net, lambda: net(batch))
    for fold in folds:
        fold.apply()
    return net, len(folds)


def test_folding_is_exact_in_double_precision():
    batch = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net, count = folded(normed().double(), batch)
    assert count == 2
    torch.testing.assert_close(net(batch), normed().double().eval()(batch).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_other_dimensions_fold_too(dimensions):
    conv, norm = {1: (nn.Conv1d, nn.BatchNorm1d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dimensions]
    net = scramble_norms(seeded(lambda: nn.Sequential(conv(2, 4, 3), norm(4), nn.ReLU()))).eval()
    batch = torch.rand(2, 2, *[6] * dimensions, generator=torch.Generator().manual_seed(0))
    prepared, count = folded(net, batch)
    assert count == 1
    torch.testing.assert_close(prepared(batch), net(batch).detach(), rtol=1e-4, atol=1e-4)


class ReadTwice(nn.Module):
    """The first convolution's output goes past its norm too; the second's does not."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])

    def forward(self, x):
        y = self.first(x)
        return self.norms[1](self.second(self.norms[0](y) + y.relu())).mean((2, 3))


def test_only_the_norm_that_alone_reads_its_convolution_is_found():
    net = ReadTwice().eval()
    batch = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found, _ = find_folds(net, lambda: net(batch))
    assert [(fold.conv, fold.norm) for fold in found] == [(net.second, net.norms[1])]


def test_folds_are_undone_to_the_bit():
    batch = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = frozen_copy(normed())
    before = net(batch)
    folds, seen = find_folds(net, lambda: net(batch))
    assert torch.equal(seen, before)
    for fold in folds:
        fold.apply()
    assert not torch.equal(net(batch), before)
    for fold in folds:
        fold.undo()
    assert torch.equal(net(batch), before)


def test_a_copy_shares_nothing_with_the_original(images):
    net = normed()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = snapshot(net)
    copied = frozen_copy(net)
    assert snapshot(net) == before
    assert not copied.training
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in copied.parameters())
    theirs = {tensor.data_ptr() for tensor in net.state_dict().values()}
    assert not theirs & {tensor.data_ptr() for tensor in copied.state_dict().values()}
    copied(images())


def test_a_network_that_keeps_results_of_a_graph_can_be_copied():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.kept = self.weight * 2

    net = Keeping()
    copied = frozen_copy(net)
    assert torch.equal(copied.kept, torch.full((3,), 2.0))
    assert not copied.kept.requires_grad
    assert net.kept.grad_fn is not None

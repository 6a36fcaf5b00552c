"""Whether a network is a function of the image alone, and whether its faster form is the same function."""

import collections

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import assay
from assay.errors import ModelError, NotFiniteError
from assay.models.preparation.proof import pair_of
from reference.nets import Function, normed, plain, scramble_norms, seeded

TARGETS = torch.tensor([0, 1, 2])


class Net(nn.Module):
    """A normalised convolution and a head, for tests to go around."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def features(self, x):
        return self.norm(self.conv(x)).relu()

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class OtherWayForTensors(Net):
    def forward(self, x):
        y = self.conv(x)
        return self.head((y if isinstance(x, torch.Tensor) else self.norm(y)).mean((2, 3)))


class OtherWayForSizes(Net):
    def forward(self, x):
        return super().forward(x) if x.shape[-1] < 10 else self.head(self.conv(x).mean((2, 3)))


class LazyMask(Net):
    mask = None

    def features(self, x):
        y = super().features(x)
        if self.mask is None:
            self.mask = torch.full_like(y[:1], 0.5)
        return y * self.mask


class LazyBias(Net):
    bias = None

    def features(self, x):
        if self.bias is None:
            self.bias = self.head.weight.sum(0)[:, None, None]
        return super().features(x) + self.bias


class Keeps(Net):
    last = None

    def features(self, x):
        self.last = super().features(x)
        return self.last


class Views(Net):
    """`view` after a convolution, as in every tutorial, which no channels-last tensor allows."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).view(-1, 4 * 36))


class FiveAxes(Net):
    def __init__(self):
        super().__init__()
        self.volume = nn.Parameter(torch.ones(1, 1, 1, 2, 2))
        self.deep = nn.Conv3d(1, 1, 1)

    def forward(self, x):
        return super().forward(self.deep(x[:, None])[:, 0] + self.volume.sum())


class Complex(Net):
    def __init__(self):
        super().__init__()
        self.turn = nn.Parameter(torch.randn(3, 8, 5, dtype=torch.complex64))

    def forward(self, x):
        return super().forward(torch.fft.irfft2(torch.fft.rfft2(x) * self.turn, s=(8, 8)))


FORMS = [Net, OtherWayForTensors, OtherWayForSizes, LazyMask, LazyBias, Keeps, Views, FiveAxes, Complex]


def made(kind):
    return scramble_norms(seeded(kind)).eval()


@pytest.mark.parametrize("kind", FORMS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "run before"])
def test_logits_and_gradients_are_those_of_the_users_own_function(kind, used, images):
    net, batch = made(kind), images()
    if used:
        net(batch)
    model = assay.Classifier(net)
    pixels = batch.clone().requires_grad_()
    expected = made(kind)(pixels)
    torch.testing.assert_close(model.logits(batch), expected.detach(), rtol=1e-4, atol=1e-5)
    truth = torch.autograd.grad(expected.gather(1, TARGETS[:, None]).sum(), pixels)[0]
    torch.testing.assert_close(assay.Gradient()(model, batch, TARGETS), truth, rtol=1e-3, atol=1e-5)
    assert assay.GradCAM()(model, batch).isfinite().all()


def test_the_faster_form_and_the_proof_are_told(images):
    model = assay.Classifier(made(Net))
    assert model.settings()["form"] == "not tried on an image yet"
    model.logits(images())
    assert model.settings()["form"] == "1 batch norms folded, channels last; its outputs equal the plain network's"


def test_a_form_that_cannot_run_gives_way_to_one_that_can_and_is_as_fast(images):
    model = assay.Classifier(made(Views))
    model.logits(images())
    assert model.settings()["form"].startswith("1 batch norms folded; ")


def test_a_form_that_is_another_function_on_another_size_is_given_up_and_told(images):
    net, model = made(OtherWayForSizes), assay.Classifier(made(OtherWayForSizes))
    small, large = images(size=8), images(size=12)
    for batch in (small, large, small):
        torch.testing.assert_close(model.logits(batch), net(batch).detach(), rtol=1e-4, atol=1e-5)
    assert "as it is, since a faster form has other outputs" in model.settings()["form"]
    assert model.folded == 0


def test_identity_is_the_same_before_and_after_the_first_images_in_both_precisions(images):
    for precision in ("float32", "bfloat16"):
        model = assay.Classifier(normed(), precision=precision)
        fresh = assay.Classifier(normed(), precision=precision)
        before = model.identity()
        model.logits(images())
        fresh.logits(images())
        assert model.identity() == before == fresh.identity()


def test_within_plain_the_layers_are_the_users_and_afterwards_the_form_is_back(images):
    net = normed().eval()
    model = assay.Classifier(net)
    folded = model.logits(images())
    with model.plain():
        seen = model.module[0](images())
        torch.testing.assert_close(model.module(images()), net(images()).detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen, net[0](images()).detach(), rtol=1e-5, atol=1e-6)
    assert torch.equal(model.logits(images()), folded)


def test_trying_costs_at_most_six_passes_of_two_images_once_and_counts_none(images):
    sizes = collections.Counter()

    class Counting(Net):
        def forward(self, x):
            sizes[len(x)] += 1
            return super().forward(x)

    model = assay.Classifier(made(Counting))
    model.logits(images(5))
    assert sum(sizes.values()) - sizes[5] <= 7  # Six, and one that measures memory.
    assert max(sizes - collections.Counter({5: 1})) <= 5
    assert sizes[5] == 1
    assert model.passes.forward == 5
    tried = sum(sizes.values())
    model.logits(images(5))
    assert sum(sizes.values()) == tried + 1


# -- is it a function of the image alone? ------------------------------------------------------------------------------


class LiveDropout(Net):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5)


class AlwaysDrop(nn.Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, True)


class DropsInALayer(Net):
    def __init__(self):
        super().__init__()
        self.drop = AlwaysDrop(0.5)

    def features(self, x):
        return self.drop(super().features(x))


class Noisy(Net):
    def forward(self, x):
        return super().forward(x + 0.3 * torch.randn_like(x))


class Counts(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class BatchMean(Net):
    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(0)


class BatchStatistics(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


class StuckInTraining(Net):
    def train(self, mode=True):
        return super().train(True)


NO_FUNCTIONS = {
    LiveDropout: "LiveDropout is no function of the image.*dropout in its forward",
    DropsInALayer: "DropsInALayer is no function of the image.*dropout in drop",
    Noisy: "Noisy is no function of the image.*randn_like in its forward",
    Counts: "Counts is no function of the image.*keeps something between calls",
    BatchMean: "BatchMean is no function of one image.*mixes images",
    BatchStatistics: r"BatchStatistics is no function of one image.*\(norm: batch norm without running statistics\)",
    StuckInTraining: r"StuckInTraining is no function of one image.*\(norm: ",
}


@pytest.mark.parametrize(("kind", "message"), NO_FUNCTIONS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_no_function_of_the_image_is_refused_by_every_entrance_and_every_time(kind, message, images, untouched):
    model, batch = assay.Classifier(seeded(kind)), images()
    torch.manual_seed(0)  # Of six logits two dropouts may keep the same ones by chance.
    with untouched():
        for use in (
            lambda: model.logits(batch),
            lambda: assay.Gradient()(model, batch),
            lambda: assay.Deletion(steps=2)(model, batch, batch, TARGETS),
            lambda: assay.audit(model, batch),
        ):
            with pytest.raises(ModelError, match=message):
                use()


def test_one_image_alone_is_enough_to_see_batch_statistics(images):
    with pytest.raises(ModelError, match="no function of one image"):
        assay.Classifier(seeded(BatchStatistics)).logits(images(1))


@pytest.mark.parametrize("broken", [[0], [1], [0, 1, 2]])
def test_images_without_numbers_are_not_what_a_network_is_tried_on(broken, images):
    batch = images()
    batch[broken] = torch.nan
    found = assay.Classifier(made(Net)).unchecked_logits(batch)
    assert found.isnan().any(1).nonzero().flatten().tolist() == broken


def test_a_network_whose_output_is_nan_for_one_image_is_no_less_a_function(images):
    batch = images()
    batch[1] = 0.0
    with pytest.raises(NotFiniteError, match=r"image 1 \(1 of 3\)"):
        assay.Classifier(Function(lambda x: x.sum(1).log())).logits(batch)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_pair_is_two_different_images_also_where_one_stands_twice(count, images):
    pair = pair_of(images(1).expand(count, -1, -1, -1))
    assert len(pair) == 2
    assert not torch.equal(pair[0], pair[1])
    assert pair.min() >= 0
    assert pair.max() <= 1


class Rounds(Net):
    """An image alone goes through large numbers, which leave only some of its digits in 32 bits."""

    mixes = 0.0

    def forward(self, x):
        y = super().forward(x)
        return ((y + 2.0**16) - 2.0**16 if len(x) == 1 else y) + self.mixes * x.mean()


class MixesBesides(Rounds):
    mixes = 0.1


def test_rounding_is_not_taken_for_other_images_but_told_and_a_mixture_beside_it_is_still_seen(images):
    net, batch = made(Rounds), images()
    model = assay.Classifier(net)
    alone, together = net(batch[:1])[0], net(batch[:2])
    assert (alone - together[0]).abs().max() > 1e-4 * (together.max() - together.min())
    torch.testing.assert_close(model.logits(batch), net(batch).detach(), rtol=1e-4, atol=1e-5)
    assert model.findings[0].startswith("Rounding alone changes the outputs of Rounds by up to ")
    with pytest.raises(ModelError, match="no function of one image"):
        assay.Classifier(made(MixesBesides)).logits(batch)


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4, 1e8])
@pytest.mark.parametrize("kind", [OtherWayForTensors, OtherWayForSizes, Net])
def test_outputs_of_any_scale_are_compared_by_their_own(kind, scale, images):
    class Scaled(kind):
        def forward(self, x):
            return super().forward(x) * scale

    model = assay.Classifier(made(Scaled))
    for size in (8, 12):
        expected = made(Scaled)(images(size=size)).detach() / scale
        torch.testing.assert_close(model.logits(images(size=size)) / scale, expected, rtol=1e-4, atol=1e-5)


# -- outputs that are probabilities ------------------------------------------------------------------------------------


class Softmax(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).softmax(1)


def test_probabilities_are_not_put_through_softmax_again_and_that_is_told(images):
    batch, targets = images(), torch.tensor([0, 3, 1])
    model, soft = assay.Classifier(plain()), assay.Classifier(Softmax(plain()))
    torch.testing.assert_close(soft.logits(batch), model.logits(batch).softmax(1))
    for output in ("probability", "log_probability"):
        one, other = (each.score(each.logits(batch), targets, output) for each in (soft, model))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        one, other = (assay.Gradient()(assay.Classifier(net, output=output), batch, targets) for net in (Softmax(plain()), plain()))
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    for measure in (assay.Deletion(steps=4), assay.Insertion(steps=4)):
        torch.testing.assert_close(measure(soft, batch, batch, targets), measure(model, batch, batch, targets), rtol=1e-4, atol=1e-5)
    assert soft.findings == ("The outputs of Softmax are probabilities already, so no softmax is put on them.",)
    assert soft.settings()["findings"] == list(soft.findings)
    assert model.findings == ()


def test_probabilities_stay_what_they_are_wherever_they_are_asked_for(images):
    batch, targets = images(), torch.tensor([0, 3, 1])
    model, soft = assay.Classifier(plain()), assay.Classifier(Softmax(plain()))
    torch.testing.assert_close(soft.probabilities(batch), model.probabilities(batch))
    one, other = (each.decide(each.logits(batch), targets).probability(targets) for each in (soft, model))
    torch.testing.assert_close(one, other)
    seen = []
    soft.score(
        soft.logits(batch),
        assay.models.targets.aim(lambda outputs: seen.append(outputs) or outputs[:, 0], 3, 4, batch.device),
        "probability",
    )
    torch.testing.assert_close(seen[0], soft.logits(batch))  # A caller's own function reads the outputs themselves.


class Places(nn.Module):
    """Logits (N, 4, 8, 8)."""

    def __init__(self, last=None):
        super().__init__()
        self.net, self.last = seeded(lambda: nn.Conv2d(3, 4, 3, padding=1)), last or nn.Identity()

    def forward(self, x):
        return self.last(5 * self.net(x))


def test_probabilities_at_every_place_of_a_segmentation_are_known_too(images):
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 1:6] = True
    target = assay.Mean(mask, 2)
    soft, model = assay.Classifier(Places(nn.Softmax(1)), output="probability"), assay.Classifier(Places(), output="probability")
    maps, expected = (assay.Gradient()(each, images(), target) for each in (soft, model))
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-6)
    assert soft.findings == ("The outputs of Places are probabilities already, so no softmax is put on them.",)
    assert model.findings == ()


def test_what_is_told_of_outputs_goes_by_the_head(images):
    shares = assay.Classifier(Softmax(plain()), head="scalar")
    shares.logits(images())
    assert shares.findings == ()
    squashed = nn.Sequential(plain(), nn.Sigmoid())
    found = assay.Classifier(squashed, head="sigmoid")
    found.logits(images())
    assert "lie between 0 and 1" in found.findings[0]
    mended = assay.Classifier(squashed, head="sigmoid", select=torch.logit)
    torch.testing.assert_close(mended.probabilities(images()), squashed(images()).detach(), rtol=1e-4, atol=1e-5)
    assert mended.findings == ()
    one = assay.Classifier(nn.Sequential(plain(classes=1), nn.Sigmoid()))
    one.logits(images())
    assert "lie between 0 and 1" in one.findings[0]


def test_a_probability_of_nought_has_a_finite_logarithm(images):
    net = Softmax(plain(gain=300.0))
    model = assay.Classifier(net, output="log_probability")
    logits = model.logits(images())
    assert (logits == 0).any()
    assert model.score(logits, logits.argmin(1)).isfinite().all()


@pytest.mark.parametrize("function", [lambda y: y, lambda y: y.log_softmax(1), lambda y: y.sigmoid(), lambda y: 2 * y.softmax(1)])
def test_other_outputs_count_as_logits(function, images):
    model = assay.Classifier(plain(), select=function)
    batch, targets = images(), torch.tensor([0, 3, 1])
    logits = function(plain()(batch)).detach()
    torch.testing.assert_close(model.score(model.logits(batch), targets, "probability"), logits.softmax(1)[range(3), targets])


SEEN = []
"""How many images each pass of a `Counted`, or of a copy of it, had."""


class Counted(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        SEEN.append(len(x))
        return self.net(x)


@pytest.mark.parametrize("make", [plain, normed], ids=["plain", "with batch norms to fold"])
def test_what_is_checked_costs_at_most_six_passes_of_two_images_and_once(make, images):
    SEEN.clear()
    model = assay.Classifier(Counted(make()))
    model.logits(images(5))
    *checks, own = SEEN
    assert own == 5
    assert 0 < len(checks) <= 6
    assert max(checks) <= 2
    SEEN.clear()
    model.logits(images(5, seed=1))
    assert SEEN == [5]

import pytest
import torch
from torch import nn

import assay
from assay.core.order import correlation, mean_ranks
from assay.explain.base import check_case
from assay.models.formats import exact, in_precision
from assay.study import precision_choice
from assay.study.asked import Asked
from assay.study.explain import ExplainStudy
from assay.study.frontier.study import FrontierStudy
from assay.study.precision_choice import ALIKE, LEAST, Chosen, choose_precision, with_precision
from reference.nets import normed, plain

EXPLAINERS = (assay.Gradient(), assay.KernelShap(samples=20, segments=assay.Grid(rows=2, columns=2)))


@pytest.fixture
def ready(monkeypatch):
    """A device on which 16 bits are twice as fast."""
    monkeypatch.setattr(precision_choice, "settled", lambda *_: "bfloat16")
    monkeypatch.setattr(precision_choice, "_faster", lambda *_: 2.0)


def asked(net=None, count=LEAST):
    batch = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return Asked.given(assay.Classifier(net or normed(), mean=0.5, std=0.25), batch)


def test_sixteen_bits_are_taken_where_they_are_faster_and_change_nothing_and_no_pass_counts(ready):
    before = asked()
    found = choose_precision(before, EXPLAINERS)
    assert found.precision == "bfloat16"
    assert (before.model.passes.forward, before.model.passes.backward) == (0, 0)
    after = with_precision(before, found)
    assert (after.model.precision, before.model.precision) == ("bfloat16", "float32")
    assert found.why in after.model.settings()["findings"]
    assert after.chosen == found.why
    record = ExplainStudy((assay.Gradient(),)).record(after)
    assert found.why in str(record["setup"]["model"])


def test_nothing_is_said_of_maps_where_none_was_compared(ready):
    assert "rank pixels as in float32" in choose_precision(asked(), EXPLAINERS).why
    assert "maps" not in choose_precision(asked(), (assay.RandomMap(), assay.Edges())).why


def test_few_images_are_not_worth_a_try(ready):
    assert choose_precision(asked(count=LEAST - 1), EXPLAINERS) == Chosen("float32")


def test_a_device_without_sixteen_bits_is_not_tried(monkeypatch):
    monkeypatch.setattr(precision_choice, "settled", lambda *_: "float32")
    assert choose_precision(asked(), EXPLAINERS) == Chosen("float32")


def test_a_function_that_is_known_by_its_scores_stays_as_it_is(ready):
    given = Asked.given(assay.Classifier(lambda x: x.flatten(1)[:, :3]), torch.rand(LEAST, 3, 8, 8))
    assert choose_precision(given, EXPLAINERS) == Chosen("float32")


def test_what_is_hardly_faster_stays_in_thirty_two_bits_and_says_so(ready, monkeypatch):
    monkeypatch.setattr(precision_choice, "_faster", lambda *_: 1.1)
    found = choose_precision(asked(), EXPLAINERS)
    assert found.precision == "float32"
    assert "hardly faster" in found.why


class Drowning(nn.Module):
    """Outputs that come through a large number, which 16 bits cannot hold beside them."""

    def __init__(self):
        super().__init__()
        self.inner = plain()

    def forward(self, x):
        return (self.inner(x) + 500) - 500


class Rough(nn.Module):
    """A score that is steady in 16 bits, with a gradient that is not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        waves = torch.sin(3000 * x * self.weight).flatten(1)
        return torch.stack([1e-5 * waves[:, :96].sum(1), 1e-5 * waves[:, 96:].sum(1)], 1)


def test_a_network_whose_probabilities_move_stays_in_thirty_two_bits_and_says_why(ready):
    found = choose_precision(asked(Drowning()), EXPLAINERS)
    assert found.precision == "float32"
    assert "outputs move" in found.why


def test_a_network_whose_maps_change_stays_in_thirty_two_bits_and_names_the_explainer(ready):
    found = choose_precision(asked(Rough()), (assay.Gradient(),))
    assert found.precision == "float32"
    assert "maps of Gradient rank pixels otherwise" in found.why


def test_superpixels_that_cannot_be_told_from_0_do_not_count_as_another_order(ready):
    """Few of 49 superpixels count; the others' order is that of rounding, their rank correlation in both precisions 0.9."""
    data = assay.data.load("hard-digits")
    images = assay.data.read(data, assay.data.choose(data, LEAST, 0)).images
    model, explainer = assay.load("hard-digits"), assay.KernelShap()
    half, targets, index = in_precision(model, "bfloat16"), model.predict(images[:4]), torch.arange(4)
    whole = [mean_ranks(explainer.attribute(one, images[:4], targets, index, 0).flatten(1)).double() for one in (model, half)]
    assert float(correlation(*whole).mean()) < ALIKE
    assert choose_precision(Asked.given(model, images), (explainer,)).precision == "bfloat16"


def test_the_two_precisions_share_passes_and_compute_what_a_model_of_that_precision_does():
    batch = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    model = assay.Classifier(normed(), mean=0.5, std=0.25)
    half, own = in_precision(model, "bfloat16"), assay.Classifier(normed(), mean=0.5, std=0.25, precision="bfloat16")
    assert torch.equal(half.logits(batch), own.logits(batch))
    assert half.identity() == own.identity()
    assert model.passes.forward == 3
    assert exact(half) is model
    assert in_precision(model, "float32") is model
    assert torch.equal(model.logits(batch), assay.Classifier(normed(), mean=0.5, std=0.25).logits(batch))


def test_small_differences_are_measured_in_thirty_two_bits():
    batch = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    model = assay.Classifier(normed(), mean=0.5, std=0.25)
    half, targets = in_precision(model, "bfloat16"), torch.tensor([0, 1, 2, 0])
    maps = assay.Gradient()(model, batch, targets)
    measure = assay.LocalLinearError(radius=0.001, samples=50, scaled=True, relative=True)
    whole = measure(model, batch, maps, targets)
    assert torch.equal(measure(half, batch, maps, targets), whole)
    rounded = assay.LocalLinearError(radius=0.001, samples=50, scaled=True, relative=True)
    assert float(whole.max()) < 0.1
    # A model that never had more than 16 bits is widened.
    own = assay.Classifier(normed(), mean=0.5, std=0.25, precision="bfloat16")
    assert float(rounded(own, batch, maps, targets).max()) < 0.2
    assert check_case(model, batch, targets).exact.model is model


def test_certificates_keep_a_frontier_in_thirty_two_bits():
    given = Asked.given(assay.Classifier(plain(), output="probability"), torch.rand(2, 3, 8, 8))
    assert FrontierStudy((assay.Gradient(),), certified=0.1, attack="none").tried(given) is None
    assert FrontierStudy((assay.Gradient(),), attack="none").tried(given)

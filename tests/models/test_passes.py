import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import ModelError
from assay.models.classifier import Classifier
from assay.models.passes import gradients, scores, segment_sum
from reference.nets import Function, plain

ROWS = torch.tensor([0, 0, 0, 1, 2, 2])
TARGETS = torch.tensor([3, 0, 1])


def pairs(seed=0):
    return torch.rand(len(ROWS), 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("chunk", [1, 2, 4, 64])
def test_scores_are_those_of_each_pairs_image_and_target(chunk):
    inputs = pairs()
    model = Classifier(plain(), chunk=chunk)
    found = scores(model, TARGETS, ROWS, inputs.shape[1:], lambda start, stop: inputs[start:stop])
    expected = plain()(inputs)[torch.arange(len(ROWS)), TARGETS[ROWS]]
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    assert model.passes.forward == len(ROWS)
    assert model.passes.backward == 0
    assert not found.requires_grad


@pytest.mark.parametrize("chunk", [1, 2, 4, 64])
def test_gradients_come_once_per_pair_in_order(chunk):
    inputs = pairs()
    model = Classifier(plain(), chunk=chunk)
    found, values, places = [], [], []

    def take(start, stop, score, gradient):
        places.extend(range(start, stop))
        values.append(score)
        found.append(gradient)

    gradients(model, TARGETS, ROWS, inputs.shape[1:], lambda start, stop: inputs[start:stop], take)
    pixels = inputs.clone().requires_grad_()
    expected = plain()(pixels)[torch.arange(len(ROWS)), TARGETS[ROWS]]
    torch.testing.assert_close(torch.cat(values), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat(found), torch.autograd.grad(expected.sum(), pixels)[0], rtol=1e-5, atol=1e-5)
    assert places == list(range(len(ROWS)))
    assert (model.passes.forward, model.passes.backward) == (len(ROWS), len(ROWS))


def test_without_targets_each_pair_has_its_own_predicted_class():
    inputs = pairs(3)
    predicted = plain()(inputs).argmax(1)
    assert predicted.unique().numel() > 1
    one, other = [], []
    model = Classifier(plain())
    gradients(model, None, ROWS, inputs.shape[1:], lambda start, stop: inputs[start:stop], lambda *found: one.append(found[3]))
    rows = torch.arange(len(ROWS))
    gradients(model, predicted, rows, inputs.shape[1:], lambda start, stop: inputs[start:stop], lambda *found: other.append(found[3]))
    assert torch.equal(torch.cat(one), torch.cat(other))


@pytest.mark.parametrize("function", [lambda x: x.detach().sum(1), lambda x: (x > 0.5).float().sum(1), lambda x: torch.zeros(len(x))])
def test_a_network_without_gradients_is_refused_by_name(function):
    inputs = pairs()
    with pytest.raises(ModelError, match="Function has no gradient at its pixels; use an explainer that needs none"):
        gradients(Classifier(Function(function)), TARGETS % 2, ROWS, inputs.shape[1:], lambda a, b: inputs[a:b], lambda *_: None)


def test_gradients_are_made_also_where_the_caller_has_switched_them_off():
    inputs, found = pairs(), []
    with torch.no_grad():
        gradients(Classifier(plain()), TARGETS, ROWS, inputs.shape[1:], lambda a, b: inputs[a:b], lambda *given: found.append(given[3]))
    assert torch.cat(found).abs().sum() > 0


def test_inference_mode_is_no_obstacle():
    inputs, model, found = pairs(), Classifier(plain()), []
    with torch.inference_mode():
        scored = scores(model, TARGETS, ROWS, inputs.shape[1:], lambda start, stop: inputs[start:stop])
        gradients(model, TARGETS, ROWS, inputs.shape[1:], lambda a, b: inputs[a:b].clone(), lambda *given: found.append(given[3]))
    assert scored.isfinite().all()
    assert torch.cat(found).abs().sum() > 0


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12).map(sorted), st.integers(0, 99))
def test_segment_sums_are_index_add(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.tensor(rows)
    weights, values = torch.randn(len(rows), generator=generator), torch.randn(len(rows), 2, 3, generator=generator)
    sums = torch.randn(5, 2, 3, generator=generator)
    expected = sums.clone().index_add_(0, rows, weights.view(-1, 1, 1) * values)
    segment_sum(sums, rows, weights, values)
    torch.testing.assert_close(sums, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_not_finite_spoils_its_own_image_only(bad):
    values = torch.ones(4, 2)
    values[2, 1] = bad
    sums = torch.zeros(3, 2)
    segment_sum(sums, torch.tensor([0, 0, 1, 2]), torch.ones(4), values)
    assert sums[[0, 2]].tolist() == [[2, 2], [1, 1]]
    assert sums[1].isnan().all()

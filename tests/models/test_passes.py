import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import assay
from assay.errors import ModelError
from assay.explain import kernels
from assay.models import passes
from assay.models.classifier import Classifier
from assay.models.passes import each_image, gradients, mixed, scores, segment_sum
from reference.nets import Function, plain

ROWS = torch.tensor([0, 0, 0, 1, 2, 2])
TARGETS = torch.tensor([3, 0, 1])
PARTS = {
    "many of each": [0, 0, 0, 2, 2, 2, 2],
    "one of each": [0, 1, 2, 3],
    "some alone": [0, 1, 1, 1, 1, 3],
    "one": [2],
    "none": [],
}


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


def test_groups_of_rows_give_the_same_sums_as_their_span(monkeypatch):
    """Devices other than a CPU number groups, so as not to wait; here they are made to on the CPU."""
    rows = torch.tensor([1, 1, 3, 3, 3, 6])
    values, weights = torch.randn(6, 2, 3), torch.randn(6)
    values[2, 0, 0] = torch.nan
    group, target = passes._groups(rows)
    assert group.tolist() == [0, 0, 1, 1, 1, 2]
    assert target.tolist() == [1, 3, 6, 1, 1, 1]
    plain_sums, grouped = torch.ones(8, 2, 3), torch.ones(8, 2, 3)
    segment_sum(plain_sums, rows, weights, values)
    monkeypatch.setattr(passes, "_on_cpu", lambda _: False)
    segment_sum(grouped, rows, weights, values)
    torch.testing.assert_close(grouped, plain_sums, equal_nan=True)
    assert grouped[3].isnan().all()
    assert grouped[[0, 1, 2, 4, 5, 6, 7]].isfinite().all()


class Waiting(TorchDispatchMode):
    """Counts what a GPU would have to be waited for: numbers that are read back, and sizes that depend on values."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().partition("::")[2].partition(".")[0]
        if name.startswith(self.waits):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_the_counter_of_waits_counts_them():
    with Waiting() as waiting:
        int(torch.ones(1)[0])
        torch.ones(3)[torch.ones(3) > 0]
    assert waiting.found


@pytest.mark.parametrize(
    "explainer",
    [
        assay.Gradient(),
        assay.IntegratedGradients(steps=8),
        assay.SmoothGrad(samples=6, antithetic=False),
        assay.SmoothGrad(samples=6),
        assay.Occlusion(segments=assay.Grid(rows=2, columns=2)),
        assay.Rise(samples=8),
    ],
    ids=repr,
)
def test_a_call_waits_for_the_device_as_often_for_many_chunks_as_for_one(explainer, monkeypatch):
    monkeypatch.setattr(passes, "_on_cpu", lambda _: False)
    monkeypatch.setattr(kernels, "_on_cpu", lambda _: False)
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def waits(chunk):
        model = Classifier(plain(), chunk=chunk)
        explainer(model, images, torch.tensor([0, 1, 2, 0]))  # Which tries the network.
        with Waiting() as waiting:
            explainer(model, images, torch.tensor([0, 1, 2, 0]))
        return waiting.found

    assert waits(2) == waits(64)


@pytest.mark.parametrize("measure", [assay.Deletion(8), assay.Infidelity(samples=8), assay.LocalLinearError(samples=8)], ids=repr)
def test_a_measure_waits_for_the_device_as_often_for_many_chunks_as_for_one(measure, monkeypatch):
    monkeypatch.setattr(passes, "_on_cpu", lambda _: False)
    images, targets = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    maps = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)).round(decimals=1)

    def waits(chunk):
        model = Classifier(plain(), chunk=chunk)
        measure(model, images, maps, targets)
        with Waiting() as waiting:
            measure(model, images, maps, targets)
        return waiting.found

    assert waits(2) == waits(64)


@pytest.mark.parametrize("rows", PARTS.values(), ids=PARTS)
def test_parts_cover_all_pairs_in_order_and_find_their_images(rows):
    rows = torch.tensor(rows, dtype=torch.int64)
    own = torch.arange(4)[:, None]
    parts = [(torch.arange(len(rows))[pairs], own[at].expand(pairs.stop - pairs.start, 1)[:, 0]) for at, pairs in each_image(rows)]
    assert torch.equal(torch.cat([pairs for pairs, _ in parts] or [rows]), torch.arange(len(rows)))
    assert torch.equal(torch.cat([found for _, found in parts] or [rows]), rows)


def test_an_image_of_many_pairs_is_taken_once_and_not_copied():
    images = torch.rand(3, 1, 2, 2)
    parts = list(each_image(torch.tensor([0, 0, 0, 1, 1, 1])))
    assert len(parts) == 2
    assert all(images[at].data_ptr() == images[image].data_ptr() for image, (at, _) in enumerate(parts))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rows", PARTS.values(), ids=PARTS)
def test_a_mixture_by_a_mask_is_torch_where_to_the_bit(rows, channels):
    rows = torch.tensor(rows, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.rand(4, 3, 5, 7, generator=generator) for _ in range(2))
    mask = torch.rand(len(rows), channels, 5, 7, generator=generator) < 0.5
    assert torch.equal(mixed(rows, mask, one, other), torch.where(mask, one[rows], other[rows]))


def test_a_mixture_of_other_number_formats_or_of_what_is_learned_is_float32_and_has_no_graph():
    rows, one = torch.tensor([0, 0, 1]), torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = mixed(rows, torch.ones(3, 1, 4, 4), one.double().requires_grad_(), torch.zeros(2, 3, 4, 4))
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert torch.equal(found, one[rows])


def test_between_0_and_1_a_mixture_lies_between_its_images():
    rows = torch.tensor([0, 0, 0])
    one, other = torch.full((1, 1, 2, 2), 0.8), torch.full((1, 1, 2, 2), 0.4)
    shares = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert torch.allclose(mixed(rows, shares, one, other)[:, 0, 0, 0], torch.tensor([0.4, 0.5, 0.8]))

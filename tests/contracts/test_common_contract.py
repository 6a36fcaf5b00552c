"""What holds of everything that is called with a model and images, whatever it computes."""

import contextlib
import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn

from reference.calls import COUNT, TARGETS, batch, calls
from reference.guards import snapshot, surroundings_untouched

EVERY = pytest.mark.parametrize("call", calls(), ids=repr)


@pytest.fixture(scope="module")
def known():
    """`known(call)`: its model, and what it gives for the usual images and seed."""
    kept = {}

    def of(call):
        if repr(call) not in kept:
            model = call.model(call.net())
            kept[repr(call)] = model, call(model, batch())
        return kept[repr(call)]

    return of


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, half-way."""


@contextlib.contextmanager
def layers(at=0):
    """Lists the calls of layers with weights, of which it interrupts the `at`-th."""
    calls = []

    def counted(forward):
        def call(self, x, *more):
            calls.append(self)
            if len(calls) == at:
                raise Interrupted
            return forward(self, x, *more)

        return call

    usual = {kind: kind.forward for kind in (nn.Conv2d, nn.Linear)}
    try:
        for kind, forward in usual.items():
            kind.forward = counted(forward)
        yield calls
    finally:
        for kind, forward in usual.items():
            kind.forward = forward


def same(found, expected):
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert not one.is_inference()
        assert not one.requires_grad
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)


@EVERY
def test_nothing_of_the_callers_is_changed_also_when_it_is_interrupted_half_way(call, known):
    net, pixels, targets = call.net(), batch(), TARGETS.clone()
    first = next(net.parameters())
    first.grad = torch.ones_like(first)
    before, expected = snapshot(net), known(call)[1]
    with surroundings_untouched():
        model = call.model(net)
        same(call(model, pixels, targets=targets), expected)
        with layers() as calls:  # The first time, what is found once for each network takes calls of its own.
            call(model, pixels, targets=targets)
        inside, whole = snapshot(model.module), len(calls)
        for at in {min(1, whole), whole // 2, whole} - {0}:
            with layers(at) as calls, pytest.raises(Interrupted):
                call(model, pixels, targets=targets)
            assert len(calls) == at
            assert snapshot(model.module) == inside
    assert snapshot(net) == before
    assert torch.equal(pixels, batch())
    assert torch.equal(targets, TARGETS)
    same(call(model, pixels), expected)


@contextlib.contextmanager
def default(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


AROUND = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "float64 by default": lambda: default(torch.float64),
}
FORMS = {
    "not contiguous": lambda images: torch.nn.functional.pad(images, (1, 2, 3, 1))[:, :, 3:-1, 1:-2],
    "channels last": lambda images: images.contiguous(memory_format=torch.channels_last),
    "float64": torch.Tensor.double,
    "with a gradient": lambda images: images.clone().requires_grad_(),
}


@EVERY
@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_what_the_caller_has_switched_on_changes_nothing(call, around, known):
    model, expected = known(call)
    with around(), surroundings_untouched():
        found = call(model, batch())
    close(found, expected)


@EVERY
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_how_images_lie_in_memory_changes_nothing(call, form, known):
    model, expected = known(call)
    images = form(batch())
    close(call(model, images), expected)
    assert images.grad is None


@EVERY
@pytest.mark.parametrize("seed", [np.uint8(3), torch.tensor(3)], ids=["numpy", "tensor"])
def test_a_seed_may_be_anyones_whole_number(call, seed, known):
    model, expected = known(call)
    same(call(model, batch(), seed=seed), expected)


@EVERY
def test_two_threads_with_one_model_get_what_one_gets(call, known):
    model, expected = known(call)
    found, failed = {}, []

    def work(number):
        try:
            found[number] = call(model, batch())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for one in found.values():
        same(one, expected)


@EVERY
@pytest.mark.parametrize(("channels", "size"), [(1, (9, 9)), (3, (9, 15)), (1, (12, 9))], ids=str)
def test_one_channel_and_images_that_are_no_squares_are_taken(call, channels, size):
    images = batch(channels, size)
    for one in call(call.model(call.net(channels, size)), images, targets=None):
        assert COUNT in one.shape[:2]
        assert not one.isnan().any()
    assert torch.equal(images, batch(channels, size))


@EVERY
def test_copies_and_pickles_do_the_same(call, known):
    model, expected = known(call)
    other = pickle.loads(pickle.dumps(call))
    assert other == call
    assert hash(other) == hash(call)
    assert copy.deepcopy(call) == call
    same(other(pickle.loads(pickle.dumps(model)), batch()), expected)

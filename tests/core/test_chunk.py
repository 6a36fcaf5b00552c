import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import assay
from assay.core.chunk import Chunks, free_memory, most_useful, out_of_memory
from reference.nets import plain

CPU = torch.device("cpu")
CPU_ERROR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."


def ranges(chunks, total, bytes_per_image=1):
    seen = []
    chunks.run(total, bytes_per_image, CPU, lambda start, stop: seen.append((start, stop)))
    return seen


@given(st.integers(0, 500), st.integers(1, 600))
def test_chunks_cover_everything_once_in_order_and_evenly(total, limit):
    seen = ranges(Chunks(fixed=limit), total)
    assert [place for start, stop in seen for place in range(start, stop)] == list(range(total))
    sizes = [stop - start for start, stop in seen]
    assert len(sizes) == -(-total // limit)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert max(sizes, default=0) <= limit


def test_a_fixed_size_is_kept_whatever_the_memory():
    assert Chunks(fixed=7, memory=1).size(70, 10**12, CPU) == 7


@given(st.integers(1, 10**9), st.integers(1, 10**7), st.integers(1, 1000))
def test_the_budget_is_kept_down_to_single_images(memory, each, total):
    size = Chunks(memory=memory).size(total, each, CPU)
    assert 1 <= size <= total
    assert size == 1 or size * each <= memory


def test_the_default_budget_is_a_quarter_of_what_is_free(monkeypatch):
    monkeypatch.setattr("assay.core.chunk.free_memory", lambda _: 4 * 1600)
    assert Chunks().size(1000, 100, CPU) == 16
    assert free_memory(CPU) > 0


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU_ERROR)], ids=["torch", "allocator"])
@given(total=st.integers(1, 100), fits=st.integers(1, 50))
def test_running_out_of_memory_shrinks_the_chunks_and_loses_nothing(error, total, fits):
    done = []

    def step(start, stop):
        if stop - start > fits:
            raise error
        done.extend(range(start, stop))

    Chunks(fixed=64).run(total, 1, CPU, step)
    assert done == list(range(total))


def test_the_smaller_size_is_remembered_by_the_next_run():
    chunks, failed = Chunks(fixed=32), []

    def step(start, stop):
        if stop - start > 8:
            failed.append(stop - start)
            raise torch.OutOfMemoryError("out")

    chunks.run(64, 1, CPU, step)
    assert failed == [32, 16]
    chunks.run(64, 1, CPU, step)
    assert failed == [32, 16]


def test_out_of_memory_for_a_single_image_is_raised():
    def step(start, stop):
        raise torch.OutOfMemoryError("out")

    with pytest.raises(torch.OutOfMemoryError):
        Chunks(fixed=8).run(20, 1, CPU, step)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"), KeyboardInterrupt()])
def test_other_errors_pass_through_at_once(error):
    calls = []

    def step(start, stop):
        calls.append(start)
        raise error

    with pytest.raises(type(error)):
        Chunks(fixed=8).run(20, 1, CPU, step)
    assert calls == [0]


def test_only_memory_errors_count_as_such():
    assert out_of_memory(torch.OutOfMemoryError("x"))
    assert out_of_memory(RuntimeError(CPU_ERROR))
    assert not out_of_memory(RuntimeError("size mismatch"))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out"), RuntimeError(CPU_ERROR)], ids=["torch", "allocator"])
@pytest.mark.parametrize(
    "explainer",
    [
        assay.Gradient(),
        assay.SmoothGrad(samples=6),
        assay.IntegratedGradients(steps=5),
        assay.KernelShap(samples=20, segments=assay.Grid(3, 3)),
    ],
    ids=lambda explainer: type(explainer).__name__,
)
def test_maps_are_whole_after_memory_ran_out_in_the_middle(explainer, error, images):
    class Small(torch.nn.Module):
        """A device that holds two images."""

        def __init__(self):
            super().__init__()
            self.net = plain()

        def forward(self, x):
            if len(x) > 2:
                raise error
            return self.net(x)

    batch = images(5)
    expected = explainer(assay.Classifier(plain(), chunk=1), batch)
    model = assay.Classifier(Small(), chunk=64)
    torch.testing.assert_close(explainer(model, batch), expected, rtol=1e-5, atol=1e-5)
    assert model.chunks.ceiling == 2


@pytest.mark.parametrize(
    ("device", "each", "most"),
    [
        ("cpu", 1 << 20, 64),
        ("cpu", (1 << 20) + 1, 32),
        ("cpu", 1 << 18, 256),
        ("cpu", 16, 512),
        ("cpu", 1 << 30, 16),
        ("cpu", None, 64),
        ("cuda", 1 << 20, 1024),
        ("mps", 1 << 20, 256),
    ],
)
def test_small_layers_take_many_images_at_once_and_large_ones_sixteen(device, each, most):
    assert most_useful(torch.device(device), each) == most

import pytest
import torch

import assay
from assay.core.environment import machine
from assay.core.precision import full_products, product_settings, set_products, settled
from reference.guards import product_switches
from reference.nets import plain


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_what_is_asked_for_is_taken_on_any_device(precision, device):
    assert settled(precision, device) == precision


@pytest.mark.parametrize(("has", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_on_processors_with_instructions_for_it(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has}, raising=False)
    assert settled("auto", "cpu") == expected


@pytest.mark.parametrize(("capability", "expected"), [("AVX512", "bfloat16"), ("AVX2", "float32"), ("DEFAULT", "float32")])
def test_auto_goes_by_the_vectors_where_torch_cannot_tell(monkeypatch, capability, expected):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert settled("auto", "cpu") == expected


@pytest.mark.parametrize(("has", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_asks_the_gpu_without_emulation(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has and not including_emulation)
    assert settled("auto", "cuda") == expected


def test_auto_is_float32_on_other_devices():
    assert settled("auto", "mps") == "float32"


FULL = {"float32 products": "highest", "float32 convolutions": "float32"}
SHORT = {"float32 products": "high", "float32 convolutions": "TF32"}
by_part = pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="this torch keeps one for all parts")


@pytest.fixture
def gpu(monkeypatch):
    """Convolutions are multiplied in full only where there is a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize(("asked", "told"), [("highest", FULL), ("high", SHORT)])
def test_matrices_and_convolutions_are_set_together(products, asked, told):
    set_products(asked)
    assert products() == told


def test_of_a_cpu_that_convolves_in_float32_anyway_only_matrices_are_told():
    assert set(product_settings(torch.device("cpu"))) == {"float32 products"}


def test_full_products_hold_within_and_what_was_set_is_put_back_also_after_an_error(products, gpu):
    @full_products()
    def failing():
        assert products() == FULL
        raise KeyError

    set_products("high")
    before = product_switches()
    with pytest.raises(KeyError):
        failing()
    assert products() == SHORT
    assert product_switches() == before


def test_the_last_of_those_within_puts_back_what_was_set(products, gpu):
    set_products("high")
    first, second = full_products(), full_products()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert products() == FULL
    second.__exit__(None, None, None)
    assert products() == SHORT


@by_part
@pytest.mark.parametrize("wide", [True, False])
def test_what_was_set_part_by_part_is_told_put_back_and_stops_nothing(products, gpu, wide):
    """The older getters raise an error where one part is set alone, of matrices by the first case, of all by the second."""
    backends = torch.backends
    backends.cuda.matmul.fp32_precision = "tf32"
    if not wide:
        backends.cudnn.conv.fp32_precision = "ieee"
    before = product_switches()
    with full_products():
        assert backends.cuda.matmul.fp32_precision == "ieee"
        assert backends.cudnn.conv.fp32_precision in ("ieee", "none")
    assert product_switches() == before
    assert products()["float32 products"] == "tf32"
    model, images = assay.Classifier(plain()), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert assay.LocalLinearError(samples=2)(model, images, assay.Gradient()(model, images)).isfinite().all()
    assert product_switches() == before
    assert "float32 products" in machine(torch.device("cpu"))


@by_part
def test_what_is_set_for_all_parts_still_reaches_each_afterwards(products, gpu):
    torch.backends.fp32_precision = "tf32"
    with full_products():
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    torch.backends.fp32_precision = "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    torch.backends.fp32_precision = "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


@by_part
def test_a_network_that_asks_in_the_older_way_runs_where_one_part_was_set(products):
    class Asking(torch.nn.Module):
        def forward(self, x):
            with torch.backends.cudnn.flags(enabled=False):
                return x.flatten(1)[:, :3]

    torch.backends.cuda.matmul.fp32_precision = "tf32"
    model, images = assay.Classifier(Asking()), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert assay.LocalLinearError(samples=2)(model, images, assay.Gradient()(model, images)).isfinite().all()


def test_a_classifier_leaves_torchs_switches_as_they_are(products):
    before = product_switches()
    model, images = assay.Classifier(plain()), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assay.LocalLinearError(samples=2)(model, images, assay.Gradient()(model, images))
    assert product_switches() == before

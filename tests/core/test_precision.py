import pytest
import torch

import assay
from assay.core import precision
from assay.core.environment import machine
from assay.core.precision import full_products, product_formats, set_products, settled
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


FULL = {"float32 products": "float32", "float32 convolutions": "float32"}
SHORT = {"float32 products": "TF32", "float32 convolutions": "TF32"}


@pytest.fixture(params=["by part", "of all"])
def either_torch(request, products, monkeypatch):
    """Both ways in which torch keeps how float32 is multiplied: part by part since 2.9, for all matrices before."""
    if request.param == "of all":
        monkeypatch.setattr(precision, "_parts", dict)
    elif not precision._parts():
        pytest.skip("this torch keeps it for all matrices")
    return products


@pytest.mark.parametrize(("asked", "formats"), [("highest", FULL), ("high", SHORT)])
def test_matrices_and_convolutions_are_set_together(either_torch, asked, formats):
    set_products(asked)
    assert either_torch() == formats


def test_full_products_hold_within_and_what_was_set_is_put_back_also_after_an_error(either_torch):
    @full_products()
    def failing():
        assert either_torch() == FULL
        raise KeyError

    set_products("high")
    with pytest.raises(KeyError):
        failing()
    assert either_torch() == SHORT


def test_what_was_set_part_by_part_is_told_and_put_back_where_the_older_names_raise(products):
    parts = precision._parts()
    if not parts:
        pytest.skip("this torch keeps it for all matrices")
    parts["cuda products"].fp32_precision, parts["cuda convolutions"].fp32_precision = "tf32", "ieee"
    mixed = FULL | {"float32 products": "TF32"}
    assert products() == mixed
    with full_products():
        assert products() == FULL
    assert products() == mixed
    model, images = assay.Classifier(plain()), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert assay.LocalLinearError(samples=2)(model, images, assay.Gradient()(model, images)).isfinite().all()
    assert set(product_formats(torch.device("cpu"))) <= set(machine(torch.device("cpu")))


def test_torchs_own_code_can_ask_in_the_older_way_within_and_afterwards(products):
    before = precision._products()
    assert before.all is not None
    with full_products():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    assert precision._products().all == before.all
    assert {kind: precision._word(one) for kind, one in precision._products().parts.items()} == {
        kind: precision._word(one) for kind, one in before.parts.items()
    }


def test_of_other_devices_nothing_is_said():
    assert product_formats(torch.device("mps")) == {}

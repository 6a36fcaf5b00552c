import pytest
import torch

from assay.core.precision import settled


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

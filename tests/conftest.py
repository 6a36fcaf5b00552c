"""Shared by all tests: one thread, since tiny networks only lose by more, and inputs made without the global generators."""

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


@pytest.fixture
def images():
    """`images(count, channels, size, seed)`: random pixels, one generator per call."""

    def make(count=3, channels=3, size=8, seed=0):
        return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture
def untouched():
    """A context manager that asserts that the global generators of torch, numpy and Python stay as they were."""
    from reference.guards import generators_untouched

    return generators_untouched


@pytest.fixture
def products():
    """How float32 matrices and images of a GPU are multiplied; torch starts each such test, and is left, as it comes."""
    from assay.core.precision import product_settings
    from reference.guards import usual_products

    usual_products()
    yield lambda: product_settings(torch.device("cuda"))
    usual_products()

import pytest
import torch

import assay
from reference.nets import plain


class Fragile(torch.nn.Module):
    """A network that gives NaN for images whose very first pixel is brighter than `limit`."""

    def __init__(self, net, limit=0.99):
        super().__init__()
        self.net, self.limit = net, limit

    def forward(self, x):
        bad = (x[:, 0, 0, 0] > self.limit)[:, None]
        return self.net(x).masked_fill(bad, torch.nan)


@pytest.fixture(scope="session")
def model():
    return assay.Classifier(plain())


@pytest.fixture(scope="session")
def fragile():
    return assay.Classifier(Fragile(plain()))


@pytest.fixture
def truth():
    """`truth(count, size)`: masks of the upper left quarter."""

    def make(count=3, size=8):
        masks = torch.zeros(count, 1, size, size, dtype=torch.bool)
        masks[:, :, : size // 2, : size // 2] = True
        return masks

    return make

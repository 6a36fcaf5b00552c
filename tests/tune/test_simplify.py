import torch

from assay.tune.simplify import gap, roughness


def test_differences_within_rounding_count_for_nothing_and_have_no_slope():
    one = torch.tensor([[0.2, 0.8]], requires_grad=True)
    near = gap(one, torch.tensor([[0.2 + 5e-6, 0.8 - 5e-6]]))
    assert near.item() == 0.0
    assert torch.autograd.grad(near.sum(), one)[0].abs().max() == 0
    torch.testing.assert_close(gap(one, torch.tensor([[0.5, 0.5]])), torch.tensor([0.6 - 2e-5]), atol=1e-7, rtol=0)


def test_roughness_counts_neighbours_down_and_across():
    masks = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]).view(1, 1, 2, 3)
    assert roughness(masks).item() == (1 + 2) / 6

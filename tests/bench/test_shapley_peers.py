"""Peers' Shapley values of a network that is linear in its segments, where they are known."""

import pytest
import torch
from torch import nn

from assay import Classifier, Grid
from assay.bench.shapley_peers import by_segment, captum_shapley, relative_error, shapiq_shapley

GRID = Grid(rows=2, columns=3)


@pytest.fixture(scope="module")
def game():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(2, 72, generator=torch.Generator().manual_seed(0)))
    images = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    targets, labels = torch.tensor([1, 0]), GRID.labels(images)
    shares = (net[1].weight[targets].view(2, 3, 4, 6) * images).sum(1).detach()
    truth = torch.stack([(shares * (labels == segment)).sum((1, 2)) for segment in range(6)], 1)
    return (Classifier(net), images, targets, labels), truth


@pytest.mark.filterwarnings("ignore")  # What peers warn of is theirs.
@pytest.mark.parametrize("peers", [captum_shapley, shapiq_shapley])
def test_peers_find_the_values_of_a_linear_game(peers, game):
    given, truth = game
    ways = peers(*given)
    if not ways:
        pytest.skip("not installed")
    for name, way in ways.items():
        if name != "ProxySPEX":  # Trees need more than six segments' coalitions.
            assert relative_error(way(62, 0), truth) < 0.02, name
        assert way(62, 0).shape == truth.shape


@pytest.mark.filterwarnings("ignore")
def test_a_peers_draw_leaves_the_global_generator_alone(game, untouched):
    with untouched():
        for way in captum_shapley(*game[0]).values():
            way(10, 0)


def test_an_error_is_relative_to_the_true_values_image_by_image():
    truth = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert relative_error(truth + torch.tensor([[0.0, 1.0], [0.5, 0.0]]), truth) == pytest.approx((0.2 + 0.5) / 2)


def test_a_segments_value_is_that_of_its_pixels():
    labels = torch.tensor([[[0, 0], [2, 1]]])
    assert by_segment(torch.tensor([[[[5.0, 5.0], [7.0, 6.0]]]]), labels).tolist() == [[5.0, 6.0, 7.0]]

"""What the shipped cards say of the worst of several attacks."""

import pytest

import assay
from assay.core.registry import build
from assay.models.sources import checkpoint

MEASURED = [name for name in checkpoint.shipped() if checkpoint.read_checkpoint(name)[1].worst is not None]


@pytest.mark.parametrize("name", MEASURED)
def test_it_is_no_better_than_under_one_attack_and_nothing_was_without_a_gradient(name):
    card = checkpoint.read_checkpoint(name)[1]
    ball = build(card.robust.attack)
    assert build(card.worst.attack) == assay.AttackEnsemble(eps=ball.eps, norm=ball.norm)
    assert (card.worst.accuracy.count, card.worst.blind) == (500, 0)
    assert card.worst.accuracy.low <= card.robust.accuracy.high


def test_every_network_whose_robustness_is_told_was_measured():
    told = {name for name in checkpoint.shipped() if checkpoint.read_checkpoint(name)[1].robust is not None}
    assert told == set(MEASURED)

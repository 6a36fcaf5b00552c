import pytest
import torch

import assay
from assay.errors import SpecError
from assay.tune.choice import LastRound, LastSound
from assay.tune.schedules import Carried, Converged, Epochs, Falling, Rounded


def test_the_papers_weights_fall_by_nine_tenths_over_the_rounds():
    assert [Falling().weight(k, 5) for k in range(5)] == pytest.approx([1.0, 0.82, 0.64, 0.46, 0.28])


def test_the_papers_rounding_keeps_faint_cells_in_the_first_round_alone():
    masks = torch.tensor([0.0, 0.09, 0.11, 0.4, 0.49, 0.51, 1.0])
    assert Rounded().rounded(masks, 0, 5).tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert Rounded().rounded(masks, 4, 5).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert not Rounded().carried
    assert Carried(0.4).rounded(masks, 0, 5).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert Carried().carried


def test_a_fixed_number_of_epochs_is_counted():
    assert [Epochs(2).reached([1.0] * n) for n in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    ("losses", "over"),
    [([1.0], False), ([1.0, 1.0], False), ([1.0, 5.0, 1.004], True), ([1.0, 1.0, 1.006], False), ([1.0, 1.0, 0.994], False)],
)
def test_masks_have_converged_when_the_loss_is_that_of_two_epochs_before(losses, over):
    assert Converged().reached(losses) == over


def test_the_model_has_converged_also_when_its_loss_is_small_and_a_limit_can_be_set():
    rule = Converged(low=0.97, below=0.025)
    assert rule.reached([0.0249])
    assert not rule.reached([0.03])
    assert Converged(most=2).reached([1.0, 9.0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Converged(low=1.1)", "low must not be above high"),
        ("Converged(below=0)", "below must be positive"),
        ("Carried(threshold=0)", "threshold"),
        ("Rounded(lift=0.5)", "lift"),
        ("Falling(fall=1.1)", "fall"),
        ("Epochs(count=0)", "count"),
        ("LastSound(drop=-1)", "drop"),
        ("LastSound(most=-1)", "most"),
    ],
)
def test_rules_out_of_range_are_refused_by_name(spec, message):
    with pytest.raises(SpecError, match=message):
        assay.build(spec)


def test_the_last_round_that_holds_under_other_backgrounds_is_chosen():
    rounds = [{"kept": 0.1, "elsewhere": value} for value in (0.90, 0.97, 0.99, 0.985, 0.95)]
    assert LastSound(drop=0.01).pick(rounds) == 3
    assert LastSound(drop=0.0).pick(rounds) == 2
    assert LastRound().pick(rounds) == 4


def test_agreement_on_validation_images_counts_too():
    pairs = [(0.99, 0.90), (0.985, 0.97), (0.99, 0.95)]
    rounds = [{"kept": 0.1, "elsewhere": one, "validation": other} for one, other in pairs]
    assert LastSound(drop=0.01).pick(rounds) == 1
    assert LastSound(drop=0.02).pick(rounds) == 2


def test_where_no_round_is_sound_the_nearest_is_taken():
    pairs = [(0.9, 0.99), (0.99, 0.95), (0.95, 0.9)]
    rounds = [{"kept": 0.1, "elsewhere": one, "validation": other} for one, other in pairs]
    assert LastSound(drop=0.01).pick(rounds) == 1


def test_rounds_that_erase_nothing_are_passed_over_while_there_are_others():
    rounds = [{"kept": kept, "elsewhere": value} for kept, value in ((1.0, 1.0), (0.95, 0.99), (0.1, 0.93), (0.05, 0.8))]
    assert LastSound().pick(rounds) == 2
    assert LastSound().pick(rounds[:2]) == 1

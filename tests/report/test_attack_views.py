import pytest
import torch

from assay.errors import ShapeError
from assay.report.attack_views import AttackView, shots


def view(**more):
    image = torch.full((3, 4, 4), 0.5)
    given = {
        "name": "<b>one</b>",
        "explainer": "Gradient",
        "attack": "MapAttack",
        "image": image,
        "attacked": image + 0.02,
        "map": torch.ones(1, 4, 4),
        "attacked_map": -torch.ones(1, 4, 4),
        "classes": ("cat", "cat"),
        "probabilities": (0.9, 0.8),
        "distance": ("similarity by TopK", 0.25),
        "kept": True,
    }
    return AttackView(**(given | more))


def test_the_difference_is_enlarged_to_the_whole_range_and_says_by_how_much():
    shot = shots([view()])[0]
    assert shot.times == "25.0"
    assert shot.largest == "5.1"
    assert shot.probabilities == ("90%", "80%")
    assert shot.distance == "similarity by TopK 0.250"
    assert shot.before != shot.after


def test_an_image_that_was_not_changed_has_a_grey_difference():
    shot = shots([view(attacked=torch.full((3, 4, 4), 0.5))])[0]
    assert (shot.times, shot.largest) == ("1.0", "0.0")


def test_parts_that_do_not_fit_are_refused():
    for wrong in ({"attacked": torch.zeros(3, 4, 5)}, {"attacked_map": torch.zeros(3, 4, 4)}, {"map": torch.zeros(1, 2, 2)}):
        with pytest.raises(ShapeError, match="an attack to show"):
            view(**wrong)

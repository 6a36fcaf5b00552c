import math

import numpy as np
import pytest
import torch

import assay
from assay.measure.curves import Curve, placed
from reference.measures import moving_area
from reference.nets import Function, plain

TARGETS = torch.tensor([1, 0, 3])
PIXELS = 256


def curve_of(function, steps, cuts, pixels=PIXELS):
    """The curve of a function of the share of pixels, and how many cuts were asked for."""
    asked = []

    def heights(at):
        asked.append(at.numel())
        return function(at.expand(2, -1).double() / pixels if at.ndim == 1 else at.double() / pixels)

    return placed(pixels, steps, cuts, heights, torch.zeros(2)), asked


def jump(at):
    return lambda share: (share < at).double()


def walk(seed):
    steps = np.random.default_rng(seed).normal(size=PIXELS)
    values = torch.from_numpy(np.concatenate([[0.0], steps.cumsum()]) / PIXELS**0.5)
    return lambda share: values[(share * PIXELS).round().long()]


def area(function):
    share = torch.linspace(0, 1, PIXELS + 1, dtype=torch.float64)
    return float(torch.trapezoid(function(share), share))


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 13, 32])
def test_a_curve_takes_as_many_parts_as_it_is_given(steps):
    for cuts in ("equal", "moving"):
        curve, asked = curve_of(walk(0), steps, cuts)
        assert sum(asked) == steps + 1 if cuts == "equal" else sum(asked[1:]) == 2 * (steps - asked[0] + 1)
        assert curve.shares.shape == (2, steps + 1)
        assert bool((curve.shares.diff(dim=-1) > 0).all())
        assert float(curve.shares[0, 0]) == 0
        assert float(curve.shares[0, -1]) == 1


def test_a_jump_is_found_to_within_one_pixel_of_256_by_sixteen_parts_where_equal_ones_are_off_by_their_width():
    at = 0.3
    moving, equal = (curve_of(jump(at), 16, cuts)[0] for cuts in ("moving", "equal"))
    exact = area(jump(at))
    assert abs(float(moving.area[0]) - exact) <= 1 / PIXELS
    assert abs(float(equal.area[0]) - exact) > 3 / PIXELS


def test_a_curve_that_moves_everywhere_gets_equal_parts():
    curve, _ = curve_of(lambda share: 1 - share, 32, "moving")
    assert torch.equal(curve.shares[0], torch.linspace(0, 1, 33))


@pytest.mark.parametrize("steps", [8, 16, 32, 64])
def test_on_random_walks_moving_cuts_are_as_good_as_equal_ones(steps):
    errors = {
        cuts: np.mean([(float(curve_of(walk(seed), steps, cuts)[0].area[0]) - area(walk(seed))) ** 2 for seed in range(100)]) ** 0.5
        for cuts in ("moving", "equal")
    }
    assert errors["moving"] < 1.1 * errors["equal"]


def test_the_standard_error_holds_the_area_of_jumps_and_of_walks():
    functions = [jump(at) for at in np.linspace(0.05, 0.95, 40)] + [walk(seed) for seed in range(40)]
    for part in (functions[:40], functions[40:]):
        far = []
        for function in part:
            curve, _ = curve_of(function, 12, "moving")
            far.append(abs(float(curve.area[0]) - area(function)) / float(curve.error[0]))
        assert np.mean(np.array(far) < 1.96) >= 0.95


def test_a_part_that_jumps_is_off_by_its_width_over_root_twelve():
    """Closed form of two parts: widths 1/2, moves 1 and 0, and half the mean square of both beside each."""
    curve = Curve(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.0, 0.0]))
    assert float(curve.error) == pytest.approx(math.sqrt((1 + 0.5 + 0.5) / 4 / 12))
    assert float(curve.area) == pytest.approx(0.25)


@pytest.mark.parametrize("steps", [2, 6, 16])
def test_moving_areas_are_their_slow_twin(steps, images):
    net, batch = plain(torch.nn.GELU), images()
    maps = images(seed=1) - 0.5
    found = assay.Deletion(steps, assay.Constant(0.2))(assay.Classifier(net), batch, maps, TARGETS)
    for i in range(3):
        expected = moving_area(net, batch[i], torch.full_like(batch[i], 0.2), maps[i], TARGETS[i], steps)
        assert float(found[i]) == pytest.approx(expected, abs=1e-6)


def test_both_placings_agree_at_as_many_parts_as_pixels(images):
    model, maps = assay.Classifier(plain()), images(seed=1) - 0.5
    for measure in (assay.Deletion, assay.Insertion):
        moving, equal = (measure(64, cuts=cuts)(model, images(), maps, TARGETS) for cuts in ("moving", "equal"))
        torch.testing.assert_close(moving, equal)


def test_equal_and_moving_cuts_come_to_the_same_with_many_parts(images):
    model, maps = assay.Classifier(plain()), images(seed=1) - 0.5
    whole = assay.Deletion(64)(model, images(), maps, TARGETS)
    far = [(assay.Deletion(steps)(model, images(), maps, TARGETS) - whole).abs().max() for steps in (4, 16, 60)]
    assert far[2] < far[0] / 4
    assert far[1] < far[0] / 2


def test_moving_cuts_take_no_more_passes_than_equal_ones(images):
    maps, model = images(seed=1) - 0.5, assay.Classifier(plain())
    spent = []
    for cuts in ("equal", "moving"):
        before = model.passes.copy()
        assay.Deletion(16, cuts=cuts)(model, images(), maps, TARGETS)
        spent.append((model.passes - before).forward)
    assert spent[1] == spent[0]


def test_tied_pixels_share_the_mean_outcome_with_moving_cuts():
    """On an additive score the mean over orders of tied pixels is a straight line, whatever the cuts."""
    weight = torch.randn(64, generator=torch.Generator().manual_seed(0))
    model = assay.Classifier(Function(lambda x: x @ weight / 50))
    image, maps = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    maps[0, 0, :4] = 1.0
    target = torch.tensor([0])
    moving, equal = (assay.Deletion(16, cuts=cuts)(model, image, maps, target) for cuts in ("moving", "equal"))
    assert float(moving) == pytest.approx(float(equal), abs=1e-4)


def test_the_curve_of_a_map_holds_its_score_and_a_map_that_ranks_nothing_has_none(images):
    model, maps = assay.Classifier(plain()), images(seed=1) - 0.5
    maps[2] = 1.0
    for measure in (assay.Deletion(), assay.Insertion()):
        curve = measure.curve(model, images(), maps, TARGETS)
        assert torch.equal(curve.area.float().nan_to_num(7.0), measure(model, images(), maps, TARGETS).nan_to_num(7.0))
        assert curve.error[:2].isfinite().all()
        assert curve.area[2].isnan()

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize

from assay.attack.ball import L1Ball, L2Ball, LinfBall, ball
from assay.core import noise
from assay.errors import SpecError

BALLS = [LinfBall(0.1), L2Ball(0.7), L1Ball(2.0)]
EVERY = pytest.mark.parametrize("area", BALLS, ids=repr)


def pixels(count=4, seed=0, shape=(3, 5, 5)):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def normal(count=4, seed=0, shape=(3, 5, 5)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def slow_projection(area, delta, image):
    """The nearest point by a general solver, over positive lengths along the signs of `delta`."""
    sign, lengths = np.sign(delta), np.abs(delta)
    room = np.where(delta > 0, 1 - image, image)
    sizes = {
        LinfBall: lambda z: area.eps - z.max(),
        L2Ball: lambda z: area.eps**2 - (z * z).sum(),
        L1Ball: lambda z: area.eps - z.sum(),
    }
    if isinstance(area, LinfBall):
        room = np.minimum(room, area.eps)
        constraints = []
    else:
        constraints = [{"type": "ineq", "fun": sizes[type(area)]}]
    solved = minimize(
        lambda z: ((z - lengths) ** 2).sum(),
        np.minimum(lengths, room) * 0.01,
        jac=lambda z: 2 * (z - lengths),
        bounds=[(0, one) for one in room],
        constraints=constraints,
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    return sign * solved.x


@EVERY
def test_projection_is_the_nearest_point(area):
    images, delta = pixels(3, shape=(1, 3, 3)), normal(3, shape=(1, 3, 3))
    found = area.project(delta, images)
    for i in range(3):
        expected = slow_projection(area, delta[i].double().flatten().numpy(), images[i].double().flatten().numpy())
        np.testing.assert_allclose(found[i].flatten().numpy(), expected, atol=2e-4)


@given(seed=st.integers(0, 999), scale=st.floats(1e-6, 1e3), eps=st.floats(0, 20), norm=st.sampled_from(["linf", "l2", "l1"]))
def test_a_projection_is_inside_and_projects_to_itself(seed, scale, eps, norm):
    area, images = ball(norm, eps), pixels(seed=seed).round(decimals=1)
    found = area.project(scale * normal(seed=seed), images)
    moved = images + found
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert area.contains(found).all()
    torch.testing.assert_close(area.project(found, images), found, rtol=1e-4, atol=1e-6)


@EVERY
def test_a_perturbation_inside_stays_as_it_is(area):
    images = pixels() * 0.5 + 0.25
    delta = 0.01 * normal()
    assert area.contains(delta).all()
    assert torch.equal(area.project(delta, images), delta)


@EVERY
def test_images_do_not_disturb_each_other(area):
    images, delta = pixels(6), normal(6)
    together = area.project(delta, images)
    for i in range(6):
        assert torch.equal(area.project(delta[i : i + 1], images[i : i + 1])[0], together[i])


@EVERY
def test_the_steepest_direction_has_size_one_and_climbs_most(area):
    gradient = normal()
    direction = area.steepest(gradient)
    torch.testing.assert_close(area.size(direction), torch.ones(4, dtype=torch.float64), rtol=1e-5, atol=0)
    slope = (direction * gradient).flatten(1).sum(1)
    others = [area.steepest(normal(seed=seed)) for seed in range(1, 20)]
    assert all((slope >= (other * gradient).flatten(1).sum(1)).all() for other in others)


@EVERY
def test_no_gradient_gives_no_step_and_a_tiny_one_a_full_step(area):
    assert torch.equal(area.steepest(torch.zeros(2, 1, 3, 3)), torch.zeros(2, 1, 3, 3))
    torch.testing.assert_close(area.steepest(1e-30 * normal()), area.steepest(normal()), rtol=1e-4, atol=1e-6)


def test_the_steepest_l1_step_moves_its_share_of_the_components():
    direction = L1Ball(1.0, share=0.04).steepest(normal())
    assert ((direction != 0).flatten(1).sum(1) == 3).all()


def test_random_points_fill_the_balls_evenly():
    """In the middle of the pixel range the radius to the power of the dimension is uniform, and Linf components are."""
    count, shape = 4000, (1, 2, 3)
    rows = torch.arange(count)
    drawn = noise.normal(3, "test", rows, torch.zeros_like(rows), shape)
    images = torch.full((count, *shape), 0.5)
    for area in (L2Ball(0.4), L1Ball(0.4)):
        start = area.start(images, drawn)
        assert area.contains(start).all()
        assert stats.kstest(((area.size(start) / area.eps) ** 6).numpy(), "uniform").pvalue > 0.01
    inside = LinfBall(0.4).start(images, drawn).flatten().numpy()
    assert stats.kstest(inside / 0.8 + 0.5, "uniform").pvalue > 0.01


@EVERY
def test_random_points_and_stretched_ones_are_inside_with_the_pixels_in_range(area):
    images = pixels().round(decimals=1)
    start = area.start(images, normal())
    for delta in (start, area.stretch(start, images)):
        assert area.contains(delta).all()
        assert ((images + delta >= 0) & (images + delta <= 1)).all()


@EVERY
def test_a_stretched_perturbation_reaches_the_surface(area):
    images = torch.full((4, 3, 5, 5), 0.5)
    torch.testing.assert_close(area.size(area.stretch(0.01 * normal(), images)), torch.full((4,), area.eps).double(), rtol=1e-5, atol=0)


def test_a_wrong_radius_or_share_is_refused():
    for make in (LinfBall, L2Ball, L1Ball):
        with pytest.raises(SpecError, match="eps must be at least 0"):
            make(-0.1)
    with pytest.raises(SpecError, match="share must be in"):
        L1Ball(1.0, share=0.0)


@EVERY
def test_what_is_out_of_the_ball_by_more_than_rounding_is_not_in_it(area):
    on_border = torch.zeros(1, 1, 1, 4)
    on_border[..., 0] = area.eps
    assert area.contains(on_border * (1 + 1e-7)).all()
    assert not area.contains(on_border * (1 + 1e-4)).any()


@pytest.mark.parametrize("eps", [0.0, 0.5, 3.0, 40.0])
def test_the_l1_projection_by_newtons_steps_is_that_by_halving(eps):
    images, delta = pixels(6, shape=(3, 6, 6)), 0.5 * normal(6, shape=(3, 6, 6))
    delta[1, :, 2:] = 0.25  # Equal components.
    delta[2] = 0.0
    found = L1Ball(eps).project(delta, images)
    for i in range(6):
        flat = delta[i].abs().double().flatten()
        room = torch.where(delta[i] > 0, 1 - images[i], images[i]).double().flatten()

        def size(off, flat=flat, room=room):
            return float(torch.minimum((flat - off).clamp_min(0), room).sum())

        low, high = 0.0, float(flat.max())
        for _ in range(60 if size(0.0) > eps else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if size(middle) > eps else (low, middle)
        expected = torch.minimum((flat - (high if size(0.0) > eps else 0.0)).clamp_min(0), room)
        torch.testing.assert_close(found[i].abs().double().flatten(), expected, atol=2e-6, rtol=1e-5)
        assert float(found[i].abs().sum(dtype=torch.float64)) <= eps

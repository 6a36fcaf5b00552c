import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import assay
from assay.attack.ball import ball
from assay.errors import DataError, ShapeError, SpecError
from reference.nets import Function, normed, plain

PIXELS = 3 * 8 * 8
ZEROS = torch.zeros(8, dtype=torch.int64)


def pixels(count=4, seed=0, size=8):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def furthest(weights, images, norm, eps):
    """Largest w.d and -w.d (2, N) over the ball and the pixel range."""
    found = []
    for sign in (1, -1):
        slope = sign * weights
        room = torch.where(slope > 0, 1 - images, images)
        if norm == "linf":
            found.append((room.clamp_max(eps) * weights.abs()).sum(1))
        elif norm == "l2":
            found.append(torch.full((len(images),), eps) * weights.norm())
        else:
            order = weights.abs().argsort(descending=True)
            spent = room[:, order].cumsum(1)
            most = torch.minimum(room[:, order], (eps - spent + room[:, order]).clamp_min(0))
            found.append((most * weights.abs()[order]).sum(1))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("norm", "eps", "restarts", "scale"),
    [
        *((norm, eps, 1, scale) for norm, eps in (("linf", 0.03), ("l2", 0.25)) for scale in (0.5, 2.0, 6.0)),
        ("linf", 0.03, 2, 20.0),
        ("l2", 0.25, 2, 20.0),
        ("l1", 2.0, 4, 0.5),
    ],
)
def test_on_a_sine_the_worst_case_is_reached(norm, eps, restarts, scale):
    """f = sin(w'x): the gradient is cos(w'x) w, so that the worst change of the map is known for every image."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(PIXELS, generator=generator)
    weights *= scale / weights.norm()
    images = 0.3 + 0.4 * torch.rand(8, 3, 8, 8, generator=generator)
    model = assay.Classifier(Function(lambda x: torch.sin(x @ weights), other=-5.0))
    attack = assay.MapAttack(eps=eps, norm=norm, restarts=restarts, goal=assay.MaximiseDistance(assay.L2()))
    found = attack(model, assay.Gradient(), images, ZEROS)
    up, down = furthest(weights, images.flatten(1), norm, eps)
    level = images.flatten(1) @ weights
    ways = torch.linspace(0, 1, 20001)
    moves = torch.cat([up[:, None] * ways, -down[:, None] * ways], 1)
    worst = ((level[:, None] + moves).cos() - level[:, None].cos()).abs().amax(1) * scale
    assert (found.distance / worst).min() >= 0.99
    assert (found.distance / worst).max() <= 1.001


def test_a_smoothed_gradient_is_attacked_as_its_closed_form_says():
    """Smoothing multiplies the gradient of a sine, and what can be done to it, by exp(-sigma^2 |w|^2 / 2)."""
    weights = torch.randn(PIXELS, generator=torch.Generator().manual_seed(1))
    weights *= 4.0 / weights.norm()
    model = assay.Classifier(Function(lambda x: torch.sin(x @ weights), other=-5.0))
    attack = assay.MapAttack(eps=0.3, norm="l2", steps=20, goal=assay.MaximiseDistance(assay.L2()))
    images = 0.3 + 0.4 * pixels(8)
    plain_one = attack(model, assay.Gradient(), images, ZEROS).distance
    smoothed = attack(model, assay.SmoothGrad(0.25, samples=200), images, ZEROS).distance
    assert float((smoothed / plain_one).median()) == pytest.approx(0.6065, rel=0.05)


@given(
    seed=st.integers(0, 99),
    eps=st.floats(0, 2),
    norm=st.sampled_from(["linf", "l2", "l1"]),
    keep=st.booleans(),
    kind=st.sampled_from(["map", "squares", "differences", "noise"]),
)
@settings(max_examples=25)
def test_no_result_is_outside_its_ball_or_the_pixel_range(seed, eps, norm, keep, kind):
    model = assay.Classifier(plain(), mean=0.5, std=0.1)
    images = pixels(3, seed).round(decimals=1)
    shared = {"eps": eps, "norm": norm, "keep_class": keep}
    attack = {
        "map": lambda: assay.MapAttack(**shared, steps=3),
        "squares": lambda: assay.BlackBoxMapAttack(**shared, steps=3),
        "differences": lambda: assay.BlackBoxMapAttack(**shared, steps=2, method="differences", pairs=1),
        "noise": lambda: assay.NoiseMapAttack(**shared),
    }[kind]()
    found = attack(model, assay.Gradient(), images, seed=seed)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert ball(norm, eps).contains(found.images - images).all()
    held = model.predict(found.images) == model.predict(images)
    assert torch.equal(found.kept, held)
    assert held.all() or not keep
    assert (found.distance >= 0).all()


@pytest.mark.parametrize(
    "goal",
    [
        assay.PushOutTopK(0.2),
        assay.MoveCentre(),
        assay.ReachMap(),
        assay.ReachMap(assay.Rectangle(0.5, 0.5, 0.25, 0.25)),
        *(assay.MaximiseDistance(one) for one in (assay.L2(), assay.Cosine(), assay.Spearman(), assay.SSIM(), assay.TopK(0.2))),
    ],
    ids=repr,
)
def test_every_goal_is_reached_better_than_by_noise(goal):
    model = assay.Classifier(plain(), mean=0.5, std=0.25)
    found = assay.MapAttack(eps=0.04, steps=15, goal=goal)(model, assay.Gradient(), pixels(8))
    noise = assay.NoiseMapAttack(eps=0.04, goal=goal)(model, assay.Gradient(), pixels(8))
    assert found.distance.mean() > 1.3 * noise.distance.mean()
    torch.testing.assert_close(found.distance, goal.reached(found.maps, found.attacked_maps))


@pytest.mark.parametrize(
    "optimiser", [assay.SteepestAscent(momentum=0.0), assay.SteepestAscent(decay="linear"), assay.AdamAscent()], ids=repr
)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.04), ("l2", 0.4), ("l1", 4.0)])
def test_every_optimiser_climbs_in_every_ball(optimiser, norm, eps):
    model, goal = assay.Classifier(plain(), mean=0.5, std=0.25), assay.MaximiseDistance(assay.Cosine())
    attack = assay.MapAttack(eps=eps, norm=norm, steps=15, goal=goal, optimiser=optimiser)
    noise = assay.NoiseMapAttack(eps=eps, norm=norm, goal=goal)
    assert attack(model, assay.Gradient(), pixels()).distance.mean() > 1.5 * noise(model, assay.Gradient(), pixels()).distance.mean()


def test_a_relu_network_can_only_be_attacked_through_its_softened_copy():
    model = assay.Classifier(plain(), mean=0.5, std=0.25)
    goal = assay.MaximiseDistance(assay.Cosine())
    soft, hard = (assay.MapAttack(eps=0.04, steps=15, goal=goal, beta=beta)(model, assay.Gradient(), pixels(8)) for beta in (10.0, 1e6))
    assert soft.distance.mean() > 1.5 * hard.distance.mean()


def test_the_probability_stays_within_its_tolerance():
    model = assay.Classifier(plain(), mean=0.5, std=0.25)
    free, tied = (assay.MapAttack(eps=0.05, steps=15, tolerance=one)(model, assay.Gradient(), pixels(8)) for one in (None, 0.02))

    def moved(found):
        classes = found.logits.argmax(1)[:, None]
        before, after = (logits.softmax(1).gather(1, classes)[:, 0] for logits in (found.logits, model.logits(found.images)))
        return (after - before).abs()

    assert moved(tied).max() <= 0.02 + 1e-6
    assert moved(free).max() > 0.1
    assert (tied.distance > 0).any()


def test_without_the_constraint_the_class_may_go_and_kept_says_so():
    model = assay.Classifier(plain(), mean=0.5, std=0.1)
    free = assay.MapAttack(eps=0.2, steps=10, keep_class=False)(model, assay.Gradient(), pixels(8))
    assert torch.equal(free.kept, model.predict(free.images) == model.predict(pixels(8)))
    assert not free.kept.all()


def test_given_targets_are_explained_and_the_predicted_class_is_kept():
    model = assay.Classifier(plain(), mean=0.5, std=0.25)
    wanted = (model.predict(pixels()) + 1) % 4
    found = assay.MapAttack(eps=0.05, steps=8)(model, assay.Gradient(), pixels(), wanted)
    torch.testing.assert_close(found.maps, assay.Gradient()(model, pixels(), wanted))
    torch.testing.assert_close(found.attacked_maps, assay.Gradient()(model, found.images, wanted), rtol=1e-3, atol=1e-4)
    assert torch.equal(model.predict(found.images), model.predict(pixels()))


def test_passes_are_those_of_the_steps_and_the_judgements():
    """Each step one forward and two backward; each of 2 + 5 judgements a forward and a map; the beginning slope, map and the copy once."""
    model = assay.Classifier(plain(), mean=0.5, std=0.25)
    count, steps = 4, 50
    assay.MapAttack(steps=steps, restarts=1)(model, assay.Gradient(), pixels(count))
    assert model.passes.forward == count * (steps + 1 + 2 * 7 + 3)
    assert model.passes.backward == count * (2 * (steps + 1) + 7 + 1)


@pytest.mark.parametrize("explainer", [assay.GradCAM(), assay.FullGrad()], ids=repr)
def test_passes_through_layers_are_counted_as_those_of_gradients(explainer):
    counted = []
    for one in (assay.Gradient(), explainer):
        model = assay.Classifier(plain(), mean=0.5, std=0.25)
        one(model, pixels(4))
        model.passes.forward = model.passes.backward = 0
        assay.MapAttack(steps=50, restarts=1)(model, one, pixels(4))
        counted.append((model.passes.forward, model.passes.backward))
    assert counted[0] == counted[1]


def test_a_map_to_reach_is_come_nearer_to_by_the_cosine_gained():
    goal, wanted = assay.ReachMap(), assay.Rectangle().draw(8, 8).view(1, 1, 8, 8)
    away = 1 - wanted + 0.1
    cosine = torch.cosine_similarity(wanted.flatten(1), away.flatten(1))
    torch.testing.assert_close(goal.reached(away, wanted), 1 - cosine)
    torch.testing.assert_close(goal.climb(wanted, away), cosine - 1)


def test_an_attack_is_as_strong_on_a_network_whose_activations_are_small():
    """The same function, by weights of other sizes, of which a softplus of fixed sharpness makes another function."""
    found = []
    for by in (1.0, 0.01):
        net = plain()
        with torch.no_grad():
            for one in (net[0].weight, net[0].bias, net[2].bias):
                one.mul_(by)
            net[-1].weight.div_(by)
        found.append(assay.MapAttack(eps=0.05, steps=20)(assay.Classifier(net), assay.Gradient(), pixels(8)).distance.mean())
    assert found[1] > 0.8 * found[0] > 0.1


def test_an_image_that_has_reached_the_stop_is_left_alone():
    model, goal = assay.Classifier(plain(), mean=0.5, std=0.25), assay.MaximiseDistance(assay.Cosine())
    whole = assay.MapAttack(eps=0.05, steps=40, judge_every=2, goal=goal)
    model.passes.forward = 0
    most = whole(model, assay.Gradient(), pixels(8)).distance
    full, model.passes.forward = model.passes.forward, 0
    stop = float(most.min()) * 0.5
    early = assay.MapAttack(eps=0.05, steps=40, judge_every=2, goal=goal, stop=stop)(model, assay.Gradient(), pixels(8))
    assert (early.distance >= stop).all()
    assert model.passes.forward < 0.7 * full


def test_restarts_only_help():
    model = assay.Classifier(plain(), mean=0.5, std=0.25)
    one, four = (assay.MapAttack(eps=0.03, steps=6, restarts=many)(model, assay.Gradient(), pixels(8)).distance for many in (1, 4))
    assert (four >= one).all()
    assert (four > one).any()


def test_a_linear_models_gradient_cannot_be_attacked():
    weights = torch.linspace(-1, 1, PIXELS)
    model = assay.Classifier(Function(lambda x: x @ weights))
    found = assay.MapAttack(eps=0.1, steps=4)(model, assay.Gradient(), pixels())
    assert torch.equal(found.distance, torch.zeros(4))
    assert torch.equal(found.images, pixels())


def test_sixteen_bit_maps_are_attacked_through_sixteen_bits():
    goal = assay.MaximiseDistance(assay.Cosine())
    model = assay.Classifier(plain(), mean=0.5, std=0.25, precision="bfloat16")
    found = assay.MapAttack(eps=0.04, steps=10, goal=goal)(model, assay.Gradient(), pixels(8))
    noise = assay.NoiseMapAttack(eps=0.04, goal=goal)(model, assay.Gradient(), pixels(8))
    assert found.kept.all()
    assert found.distance.mean() > 1.3 * noise.distance.mean()


def test_a_map_is_reached_that_stands_in_a_file(tmp_path):
    import numpy as np

    wanted = np.zeros((3, 8, 8), np.float32)
    wanted[1, :3, :3] = -1.0
    np.save(tmp_path / "map.npy", wanted)
    goal = assay.ReachMap(assay.MapFile(str(tmp_path / "map.npy")))
    assert torch.equal(goal.target.draw(8, 8), torch.from_numpy(-wanted[1]))
    found = assay.MapAttack(eps=0.05, steps=10, goal=goal)(assay.Classifier(plain()), assay.Gradient(), pixels())
    assert (found.distance > 0).all()
    with pytest.raises(ShapeError, match=r"must be finite, \(9, 8\)"):
        goal.target.draw(9, 8)
    with pytest.raises(DataError, match="cannot read the map"):
        assay.MapFile(str(tmp_path / "none.npy")).draw(8, 8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm": "l3"}, "norm"),
        ({"eps": -1.0}, "eps must be at least 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"beta": 0.0}, "beta must be positive"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"goal": assay.L2()}, "goal must be a Goal"),
        ({"tolerance": -0.1}, "tolerance must be at least 0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(wrong, message):
    with pytest.raises(SpecError, match=message):
        assay.MapAttack(**wrong)


def test_a_batch_norm_network_in_train_mode_is_attacked_in_eval_mode():
    net = normed()
    attack = assay.MapAttack(eps=0.5, steps=5, goal=assay.MaximiseDistance(), keep_class=False)
    found = attack(assay.Classifier(net), assay.Gradient(), pixels())
    assert net.training
    assert torch.equal(found.images, attack(assay.Classifier(normed().eval()), assay.Gradient(), pixels()).images)
    assert (found.distance > 0).any()

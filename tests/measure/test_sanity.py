import pytest
import torch
from scipy import stats
from torch import nn

import assay
from assay.errors import ModelError, SpecError
from assay.models.randomised import layers, permuted, randomised
from reference.nets import linear, plain, seeded

TARGETS = torch.tensor([1, 0, 3])


def score(measure, explainer, batch, model=None, targets=TARGETS, **more):
    model = model or assay.Classifier(plain(nn.GELU))
    return measure(model, batch, explainer(model, batch, targets, **more), targets, explainer=explainer, **more)


def rank_correlation(one, other, signed):
    one, other = (part.sum(1) if signed else part.abs().sum(1) for part in (one, other))
    return torch.tensor([stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one, other, strict=True)]).float()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("order", ["cascading", "independent"])
@pytest.mark.parametrize("stages", [None, 2])
def test_it_is_the_mean_rank_correlation_over_the_stages(signed, order, stages, images):
    model, explainer = assay.Classifier(plain(nn.GELU)), assay.SmoothGrad(0.1, samples=4)
    measure = assay.ParameterRandomisation(order, assay.Spearman(signed=signed), stages)
    found = score(measure, explainer, images(), model, seed=3)
    down = layers(model, (3, 8, 8))
    assert [names[0].split(".")[0] for names in down] == ["5", "2", "0"]
    expected = []
    for stage in range(3) if stages is None else (0, 2):
        names = [name for at, layer in enumerate(down) if (at <= stage if order == "cascading" else at == stage) for name in layer]
        twin = permuted(model, names, 3)
        one, other = (explainer(each, images(), TARGETS, seed=3) for each in (model, twin))
        expected.append(rank_correlation(one, other, signed))
    torch.testing.assert_close(found, torch.stack(expected).mean(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "measure", [assay.ParameterRandomisation(), assay.ParameterRandomisation(distance=assay.TopK()), assay.RandomTarget()]
)
@pytest.mark.parametrize("control", [assay.Edges(), assay.ColourContrast(), assay.RandomMap()], ids=repr)
def test_a_map_that_never_asks_the_model_stays_altogether(measure, control, images):
    torch.testing.assert_close(score(measure, control, images()), torch.ones(3))


def test_the_entropy_of_a_map_that_never_asks_the_model_does_not_rise(images):
    assert torch.equal(score(assay.EfficientParameterRandomisation(), assay.Edges(), images()), torch.zeros(3))


def test_the_rise_of_entropy_is_that_of_histograms(images):
    model, explainer = assay.Classifier(plain(nn.GELU)), assay.Gradient()
    found = score(assay.EfficientParameterRandomisation(), explainer, images(), model, seed=5)
    twin = randomised(model, "all", 5)
    for place in range(3):
        sizes = []
        for each in (model, twin):
            values = explainer(each, images(), TARGETS)[place].sum(0).flatten()
            counts = torch.histc(values, 100, float(values.min()), float(values.max()))
            sizes.append(stats.entropy(counts.numpy()))
        assert found[place].item() == pytest.approx((sizes[1] - sizes[0]) / sizes[0], abs=0.02)


def test_the_smooth_variant_compares_means_over_noisy_copies(images):
    model, kernel = assay.Classifier(plain(nn.GELU)), assay.Gaussian(0.2)
    found = score(assay.ParameterRandomisation(samples=6, kernel=kernel), assay.Gradient(), images(), model)
    smooth = assay.Smoothed(assay.Gradient(), kernel, 6)
    torch.testing.assert_close(found, score(assay.ParameterRandomisation(), smooth, images(), model))


def test_a_linear_models_gradient_keeps_only_chance():
    """The gradient is the weights: their random order has no correlation with them, 0 +- 1 / sqrt(n)."""
    net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16 * 16, 2, bias=False)))
    found = torch.stack(
        [
            score(
                assay.ParameterRandomisation(),
                assay.Gradient(),
                torch.full((1, 1, 16, 16), 0.5),
                assay.Classifier(net),
                torch.tensor([0]),
                seed=seed,
            )
            for seed in range(30)
        ]
    )
    assert found.abs().max() < 4.5 / 16
    assert abs(found.mean()) < 4.5 / 16 / 30**0.5


def test_of_two_classes_whose_scores_are_opposite_the_map_turns_round():
    weight = torch.linspace(-1, 1, 64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    net[1].weight.data = torch.stack([weight, -weight])
    batch = torch.full((2, 1, 8, 8), 0.5)
    model, targets = assay.Classifier(net), torch.tensor([0, 1])
    assert score(assay.RandomTarget(), assay.Gradient(), batch, model, targets).tolist() == pytest.approx([-1, -1])
    assert score(assay.RandomTarget(assay.Spearman()), assay.Gradient(), batch, model, targets).tolist() == pytest.approx([1, 1])


def test_the_other_class_is_never_the_target_and_every_other_one_is_drawn():
    """Class k's map is 1 at pixel k: two classes have nothing at the top in common."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4, bias=False))
    net[1].weight.data = torch.eye(64)[:4]
    model, batch, targets = assay.Classifier(net), torch.full((60, 1, 8, 8), 0.5), torch.arange(60) % 4
    seen = set()

    @assay.register
    class Recorded(assay.Explainer):
        """The gradient, which keeps the targets it is asked for."""

        category, reference = "gradient", "none"

        def attribute(self, model, images, targets, index, seed):
            seen.update(enumerate(targets.tolist()))
            return assay.Gradient().attribute(model, images, targets, index, seed)

    found = score(assay.RandomTarget(assay.TopK(1 / 64)), Recorded(), batch, model, targets)
    assert torch.equal(found, torch.zeros(60))
    assert {(at % 4, target) for at, target in seen} == {(a, b) for a in range(4) for b in range(4)}


def test_passes_are_those_of_the_explainer_at_each_stage(images):
    model, explainer = assay.Classifier(plain(nn.GELU)), assay.Occlusion(assay.Grid(2, 2))
    maps = explainer(model, images(), TARGETS)
    model.passes.forward = 0
    assay.ParameterRandomisation()(model, images(), maps, TARGETS, explainer=explainer)
    assert model.passes.forward == 3 * 3 * 5


def test_distances_without_an_end_and_models_without_weights_are_refused(images):
    for cls in (assay.ParameterRandomisation, assay.RandomTarget):
        with pytest.raises(SpecError, match="no similarity"):
            cls(distance=assay.L2())
    with pytest.raises(ModelError, match="no parameters"):
        score(assay.ParameterRandomisation(), assay.Gradient(), images(), assay.Classifier(linear(torch.ones(192))), torch.zeros(3).long())

import pytest
import torch
from scipy import stats
from torch import nn

import assay
from assay.explain.superpixels.segments import segment_sums
from reference.nets import linear, plain

TARGETS, ZERO = torch.tensor([1, 0, 3]), torch.tensor([0])


def by_hand(net, image, target, cells, fill, output):
    """Scores lost when each cell of labels (H, W) goes."""

    def score(x):
        with torch.no_grad():
            out = net(x[None])
        return float((out.softmax(1) if output == "probability" else out)[0, target])

    count = int(cells.max()) + 1
    return torch.tensor([score(image) - score(torch.where(cells == cell, fill, image)) for cell in range(count)])


@pytest.mark.parametrize("segments", [assay.Grid(3, 3), assay.Slic(7)], ids=repr)
def test_single_deletion_is_scipys_rank_correlation_of_sums_and_losses(segments, images):
    net, maps = plain(nn.GELU), (images(seed=1) - 0.5).round(decimals=1)
    background = assay.MeanColour()
    found = assay.SingleDeletion(segments, background)(assay.Classifier(net), images(), maps, TARGETS)
    labels, filled = segments.labels(images()), background.fill(images(), torch.arange(3), 0)
    for at in range(3):
        lost = by_hand(net, images()[at], TARGETS[at], labels[at], filled[at], "logit")
        sums = segment_sums(maps[at : at + 1].sum(1), labels[at : at + 1], len(lost))[0]
        assert found[at].item() == pytest.approx(stats.spearmanr(sums, lost).statistic, abs=1e-5)


def test_occlusion_on_the_measures_own_cells_is_perfect_and_its_negative_perfectly_wrong(images):
    model, cells = assay.Classifier(plain(nn.GELU)), assay.Grid(4, 4)
    maps = assay.Occlusion(cells)(model, images(), TARGETS)
    assert assay.SingleDeletion(cells)(model, images(), maps, TARGETS).tolist() == pytest.approx([1, 1, 1])
    assert assay.SingleDeletion(cells)(model, images(), -maps, TARGETS).tolist() == pytest.approx([-1, -1, -1])


def test_on_a_linear_model_gradient_times_input_is_perfect(images):
    model = assay.Classifier(linear(torch.linspace(-1, 1, 192)))
    maps = assay.GradientXInput()(model, images(1), ZERO)
    assert assay.SingleDeletion()(model, images(1), maps, ZERO).item() == pytest.approx(1)


def test_a_model_that_loses_nothing_gives_no_score(images):
    model = assay.Classifier(linear(torch.zeros(192)))
    for measure in (assay.SingleDeletion(), assay.MarginalContribution(16, "pearson"), assay.MarginalContribution(16, "spearman")):
        assert measure(model, images(1), images(1, seed=1), ZERO).isnan().all()


@pytest.mark.parametrize("similarity", ["inverse_l2", "pearson", "spearman"])
@pytest.mark.parametrize("score", ["probability", "output"])
@pytest.mark.parametrize("channels", [1, 3])
def test_marginal_contributions_are_compared_as_the_definition_reads(similarity, score, channels, images):
    net, maps = plain(nn.GELU), images(channels=channels, seed=1) - 0.5
    found = assay.MarginalContribution(16, similarity, score)(assay.Classifier(net), images(), maps, TARGETS)
    cells = assay.Grid(4, 4).labels(images())
    for at in range(3):
        lost = by_hand(
            net, images()[at], TARGETS[at], cells[at], torch.zeros(3, 8, 8), "probability" if score == "probability" else "logit"
        )
        slopes = torch.stack([lost[cell] / images()[at][:, cells[at] == cell].sum() for cell in range(16)])
        values = torch.stack([maps[at][:, cells[at] == cell].mean() for cell in range(16)])
        expected = {
            "inverse_l2": lambda phi, p: 1 / (phi - p).norm().item(),
            "pearson": lambda phi, p: stats.pearsonr(phi, p).statistic,
            "spearman": lambda phi, p: stats.spearmanr(phi, p).statistic,
        }[similarity](values, slopes)
        assert found[at].item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_gradient_of_a_model_that_is_linear_with_one_weight_per_group_is_perfect(images):
    weight = torch.randn(16, generator=torch.Generator().manual_seed(0))
    cells = assay.Grid(4, 4).labels(images(1))[0].flatten()
    model = assay.Classifier(linear(weight[cells].repeat(3)))
    maps = assay.Gradient()(model, images(1), ZERO)
    for similarity in ("pearson", "spearman"):
        assert assay.MarginalContribution(16, similarity, "output")(model, images(1), maps, ZERO).item() == pytest.approx(1, abs=1e-5)
    assert assay.MarginalContribution(16, score="output")(model, images(1), maps, ZERO).item() > 1e4


def test_groups_that_are_black_already_are_left_out(images):
    model, batch = assay.Classifier(linear(torch.linspace(-1, 1, 192))), images(1)
    batch[:, :, :4] = 0.0
    maps = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    other = maps.clone()
    other[:, :, :4] = 9.0
    for similarity in ("inverse_l2", "pearson", "spearman"):
        one, two = (assay.MarginalContribution(16, similarity)(model, batch, each, ZERO) for each in (maps, other))
        assert one.isfinite().all()
        assert torch.equal(one, two)
        assert assay.MarginalContribution(16, similarity)(model, 0 * batch, maps, ZERO).isnan().all()


@pytest.mark.parametrize(("shape", "passes"), [((32, 32), 100), ((16, 64), 100), ((3, 3), 9), ((1, 40), 40)])
def test_there_are_about_as_many_groups_as_asked_for_and_a_pass_for_each(shape, passes):
    model = assay.Classifier(linear(torch.ones(shape[0] * shape[1])))
    batch = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    assay.MarginalContribution()(model, batch, batch, torch.tensor([0, 0]))
    assert model.passes.forward == 2 * (passes + 1)

import json
import math

import numpy as np
import polars as pl
import pytest
import torch

import assay
from assay.errors import ModelError, NotFiniteError, ShapeError, SpecError
from assay.report.figures.plots import to_bytes
from assay.study.frontier.study import FrontierStudy
from assay.study.frontier.sweep import ATTACKED, CERTIFIED, CHANGE, LARGEST, LIPSCHITZ, NOISE
from assay.study.study import Asked
from reference.nets import Function

SIGMAS = (0.0, 0.05, 0.1, 0.2, 0.4)
RADIUS = 0.1
FEW = (assay.LocalLinearError(radius=0.1, samples=8), assay.Deletion(steps=3))
QUICK = {"samples": 4, "draws": 2, "faithfulness": FEW}
ATTACK = assay.MapAttack(eps=0.1, norm="l2", steps=3, judge_every=3)


def sine(seed=0, length=4.0, size=4):
    """`sin(w . x)` and w, of the given length; class 1 is far below."""
    weight = torch.randn(3 * size * size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()
    weight *= length / weight.norm()
    return assay.Classifier(Function(lambda x: torch.sin(x @ weight), other=-9.0)), weight


def values(found, quantity, width=None):
    rows = found.table.filter(pl.col("quantity") == quantity)
    return (rows if width is None else rows.filter(pl.col("width") == width))["value"].to_numpy()


@pytest.fixture(scope="module")
def wave():
    """The frontier of the sine by its gradient, its images and w."""
    model, weight = sine()
    images = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    measures = [assay.LocalLinearError(radius=RADIUS, samples=1500), assay.Deletion(steps=3)]
    found = assay.frontier(model, images, sigmas=SIGMAS, samples=64, faithfulness=measures, attack=None, draws=4)
    return found, images, weight


@pytest.fixture(scope="module")
def small(model):
    """A frontier of a small network with all quantities, and its images."""
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return assay.frontier(model, images, sigmas=(0.0, 0.05, 0.2), attack=ATTACK, **QUICK), images


def test_the_sines_robustness_is_the_exact_factor_at_every_width(wave):
    found, _, weight = wave
    plain = values(found, LIPSCHITZ, 0.0)
    for sigma in SIGMAS[1:]:
        ratio = values(found, LIPSCHITZ, sigma) / plain
        factor = math.exp(-(sigma**2) * float(weight @ weight) / 2)
        assert ratio.mean() == pytest.approx(factor, abs=0.03)
        # A change of unit changes nothing relative: the sine's map keeps its shape.
        np.testing.assert_allclose(values(found, CHANGE, sigma), values(found, CHANGE, 0.0), rtol=1e-3)


def test_the_sines_faithfulness_is_the_closed_form_at_every_width(wave):
    found, images, weight = wave
    at = (images.flatten(1) @ weight).double().numpy()
    spread = RADIUS**2 * float(weight @ weight)
    damped = math.exp(-spread / 2)
    # E(sin(a + s) - sin a)^2, and its product with s, for s ~ N(0, spread).
    change = (1 - np.cos(2 * at) * math.exp(-2 * spread)) / 2 - 2 * np.sin(at) ** 2 * damped + np.sin(at) ** 2
    for sigma in SIGMAS:
        factor = math.exp(-(sigma**2) * float(weight @ weight) / 2)
        exact = change - 2 * factor * np.cos(at) ** 2 * spread * damped + factor**2 * np.cos(at) ** 2 * spread
        assert values(found, "LocalLinearError", sigma).mean() == pytest.approx(exact.mean(), rel=0.05)


def test_the_sines_error_is_least_at_the_width_of_its_radius_and_the_verdict_says_so(wave):
    found, *_ = wave
    rows = found.summary.filter(pl.col("quantity") == "LocalLinearError")
    assert rows["width"][int(rows["mean"].arg_min())] == RADIUS
    outcomes = dict(zip(rows["width"], rows["outcome"], strict=True))
    assert outcomes[RADIUS] == "gains"
    assert outcomes[0.4] == "costs"


def test_a_quadratic_is_not_changed_by_any_width():
    matrix = torch.randn(48, 48, generator=torch.Generator().manual_seed(0)) * 0.2
    model = assay.Classifier(Function(lambda x: ((x @ (matrix + matrix.T)) * x).sum(1) / 2 + x.sum(1), other=-1e3))
    images = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    found = assay.frontier(model, images, sigmas=(0, 0.1, 0.3, 0.6), attack=ATTACK, **{**QUICK, "samples": 6})
    later = found.summary.filter(pl.col("width") > 0)
    assert set(later["outcome"]) == {"free"}
    assert set(found.trends["trend"]) == {"none"}
    assert "no gain" in found.verdict[0]
    assert all(found.knee(notion) is None for notion in found.notions)


def test_the_table_has_a_row_for_each_image_width_and_quantity(small):
    found, images = small
    table = found.table
    assert table.columns == ["image", "explainer", "kernel", "width", "quantity", "value", "kind", "higher_is_better"]
    names = [ATTACKED, NOISE, CHANGE, LARGEST, LIPSCHITZ, "LocalLinearError", "Deletion"]
    assert table["quantity"].unique(maintain_order=True).to_list() == names
    assert len(table) == len(images) * 3 * len(names)
    assert not table.select("image", "width", "quantity").is_duplicated().any()
    assert table["kernel"].unique(maintain_order=True).to_list() == ["none", "Gaussian(sigma=0.05)", "Gaussian(sigma=0.2)"]
    assert table["value"].is_finite().all()
    assert found.notions == ("LocalLinearError", "Deletion")


def test_values_are_those_of_the_smoothed_explainer_measured_alone(small, model):
    found, images = small
    for sigma in (0.0, 0.2):
        explainer = assay.Smoothed(assay.Gradient(), assay.Gaussian(sigma), 4) if sigma else assay.Gradient()
        maps = explainer(model, images)
        for name, measure in zip(found.notions, FEW, strict=True):
            np.testing.assert_allclose(values(found, name, sigma), measure(model, images, maps), rtol=1e-4, atol=1e-6)
        alone = assay.AttackedSimilarity(ATTACK)(model, images, maps, explainer=explainer)
        np.testing.assert_allclose(values(found, ATTACKED, sigma), alone, atol=1e-6)


def test_the_attack_takes_no_less_than_noise_on_the_average(small):
    found, _ = small
    assert values(found, ATTACKED).mean() <= values(found, NOISE).mean()


def test_a_width_does_not_depend_on_the_others_nor_an_image_on_its_neighbours(small, model):
    found, images = small
    alone = assay.frontier(model, images[2:4], sigmas=[0.2], attack=ATTACK, index=torch.tensor([2, 3]), **QUICK)
    for quantity in found.trends["quantity"]:
        rows = values(found, quantity, 0.2)[2:4]
        np.testing.assert_allclose(values(alone, quantity, 0.2), rows, rtol=1e-4, atol=1e-6)


def test_passes_that_no_width_changes_are_made_once(images):
    from reference.nets import plain

    def spent(sigmas):
        model = assay.Classifier(plain())
        model.logits(images(4))
        before = model.passes.forward - model.passes.backward
        assay.frontier(model, images(4), sigmas=sigmas, samples=2, draws=1, attack=None, faithfulness=[assay.LocalLinearError(samples=50)])
        return model.passes.forward - model.passes.backward - before

    assert spent([0, 0.1, 0.2, 0.3]) == spent([0.1])


def test_only_the_wanted_number_of_images_is_attacked(model, images):
    found = assay.frontier(model, images(6), sigmas=[0, 0.1], attack=ATTACK, attacked=2, **QUICK)
    assert np.isfinite(values(found, ATTACKED, 0.1)).sum() == 2
    assert np.isfinite(values(found, CHANGE, 0.1)).all()
    row = found.summary.row(by_predicate=(pl.col("quantity") == ATTACKED) & (pl.col("width") == 0.1), named=True)
    assert row["count"] == 2
    assert "2 images only" in found.verdict[-1]


def test_explainers_without_derivatives_are_attacked_blindly(model, images):
    found = assay.frontier(model, images(3), explainer="RandomMap", sigmas=[0, 0.1], attack=ATTACK, **QUICK)
    assert np.isfinite(values(found, ATTACKED)).all()


def test_no_attack_beats_the_certified_cosine_and_nothing_is_certified_without_smoothing(images):
    from reference.nets import plain

    model = assay.Classifier(plain(), output="probability")
    goal = assay.MaximiseDistance(distance=assay.Cosine())
    found = assay.frontier(
        model, images(4), sigmas=[0, 0.2], samples=64, draws=1, faithfulness=FEW, certified=0.005, distance="Cosine",
        attack=assay.MapAttack(eps=0.005, norm="l2", steps=5, goal=goal),
    )  # fmt: skip
    proved = values(found, CERTIFIED, 0.2)
    assert (values(found, CERTIFIED, 0.0) == 0).all()
    assert (proved > 0.5).any()
    assert (values(found, ATTACKED, 0.2) >= proved - 1e-3).all()


def test_what_has_no_certificate_has_none(images):
    from reference.nets import plain

    model = assay.Classifier(plain(), output="probability")
    gradient, product = assay.Gradient(), assay.GradientXInput()
    logits = assay.Classifier(plain())

    def sweep(explainer, of=model, **more):
        study = FrontierStudy(explainer, samples=2, attack="none", draws=1, measure=FEW, certified=0.01, **{"sigma": (0.3,), **more})
        return study.sweep(Asked.given(of, images(2)))

    assert CERTIFIED in [one.name for one in sweep((gradient, product)).quantities]
    with pytest.raises(SpecError, match="Gradient and Sparsified only"):
        sweep((product,))
    with pytest.raises(SpecError, match="must be Gaussian"):
        sweep((gradient,), sigma=None, kernel=(assay.Uniform(radius=0.1),))
    with pytest.raises(ModelError, match="class probability"):
        sweep((gradient,), logits)


def test_any_kernel_will_do_and_widths_are_put_in_order(model, images):
    found = assay.frontier(
        model, images(3), kernels=["Uniform(radius=0.3)", assay.Uniform(0.1)], explainer=assay.GradientXInput(), attack=None, **QUICK
    )
    assert found.summary["width"].unique(maintain_order=True).to_list() == [0, 0.1, 0.3]
    assert found.explainer == "GradientXInput"
    assert found.robustness == CHANGE


def test_measures_of_one_class_are_told_apart_by_what_differs(model, images):
    measures = [assay.LocalLinearError(samples=4), assay.LocalLinearError(radius=0.2, samples=4)]
    found = assay.frontier(model, images(2), sigmas=[0, 0.1], attack=None, samples=2, draws=1, faithfulness=measures)
    assert found.notions == ("LocalLinearError(radius=0.01)", "LocalLinearError(radius=0.2)")


def test_an_image_without_a_finite_output_is_left_out_and_told(fragile, images):
    pixels = images(4)
    pixels[:, 0, 0, 0] = 0.5
    pixels[1, 0, 0, 0] = 1.0
    found = assay.frontier(fragile, pixels, sigmas=[0, 0.001], attack=ATTACK, **QUICK)
    assert found.status["status"].to_list()[1] == "the model's output is NaN or infinite"
    assert np.isnan(values(found, "Deletion", 0.0)).tolist() == [False, True, False, False]
    assert found.summary.filter(pl.col("quantity") == "Deletion")["count"].to_list() == [3, 3]


def test_a_model_that_is_never_finite_is_an_error(fragile, images):
    pixels = images(2)
    pixels[:, 0, 0, 0] = 1.0
    with pytest.raises(NotFiniteError, match="every image"):
        assay.frontier(fragile, pixels, sigmas=[0, 0.1], attack=None, **QUICK)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sigmas": [0.1], "kernels": ["Gaussian(sigma=0.1)"]}, "not both"),
        ({"sigmas": [0.0]}, "at least one of them above 0"),
        ({"sigmas": [-0.1, 0.1]}, "sigma must be at least 0"),
        ({"sigmas": [0.1, 0.1]}, "given twice"),
        ({"kernels": ["Gaussian(sigma=0.1)", "Uniform(radius=0.2)"]}, "one kind"),
        ({"faithfulness": ["MaxSensitivity"]}, "no measure of faithfulness"),
        ({"faithfulness": []}, "at least one"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"attacked": 1}, "attacked must be at least 2"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"distance": "L2"}, "no similarity"),
        ({"explainer": "Gradiant"}, "did you mean Gradient"),
        ({"within": "Gradient"}, "is not a Ball"),
    ],
)
def test_a_mistake_is_told_before_any_work(model, images, given, message):
    before = model.passes.forward
    with pytest.raises(SpecError, match=message):
        assay.frontier(model, images(2), **given)
    assert model.passes.forward == before


def test_images_must_have_numbers_of_their_own(model, images):
    with pytest.raises(ShapeError, match="two images the same number"):
        assay.frontier(model, images(2), index=torch.tensor([3, 3]))


def test_reaching_gives_the_smallest_width_or_none(wave):
    found, *_ = wave
    rows = found.summary.filter(pl.col("quantity") == LIPSCHITZ)
    level = float(rows["mean"][2])
    assert found.reaching(level, LIPSCHITZ) == SIGMAS[2]
    assert found.reaching(level, LIPSCHITZ, surely=True) == SIGMAS[3]
    assert found.reaching(0.0, LIPSCHITZ) is None
    assert found.reaching(1e9, LIPSCHITZ) == 0
    with pytest.raises(SpecError, match="did you mean local Lipschitz"):
        found.reaching(0.5, "lipschitz")


def test_the_knee_is_one_of_the_widths_between_the_ends(wave):
    found, *_ = wave
    knee = found.knee("LocalLinearError", LIPSCHITZ)
    assert knee.width in (RADIUS, 0.2)
    assert knee.kernel == f"Gaussian(sigma={knee.width})"
    assert knee.height > 0
    assert 0.5 < knee.support <= 1


def test_the_same_sweep_gives_the_same_table_and_leaves_the_global_generators_alone(model, images, untouched):
    with untouched():
        one, two = (assay.frontier(model, images(2), sigmas=[0, 0.1], attack=ATTACK, **QUICK) for _ in range(2))
    assert one.table.equals(two.table)
    assert one.summary.equals(two.summary)
    assert to_bytes(one.plot, "svg") == to_bytes(two.plot, "svg")


def test_a_frontier_is_saved_whole(small, tmp_path):
    found, _ = small
    folder = found.save(tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "environment.json", "figure.pdf", "figure.png", "figure.svg", "frontier.parquet", "report.html",
        "status.csv", "summary.csv", "trends.csv",
    ]  # fmt: skip
    assert pl.read_parquet(folder / "frontier.parquet").equals(found.table)
    answers = json.loads((folder / "environment.json").read_text())
    assert answers["setup"]["kernels"] == ["none", "Gaussian(sigma=0.05)", "Gaussian(sigma=0.2)"]
    page = (folder / "report.html").read_text()
    for text in ("What does the robustness of these explanations cost?", "LocalLinearError", "Page&#39;s test", "data:image/svg+xml"):
        assert text in page


def test_several_frontiers_go_on_one_plot_and_must_fit(small, model, images):
    found, _ = small
    other = assay.frontier(model, images(3), explainer="GradientXInput", sigmas=[0, 0.1], attack=ATTACK, **QUICK)
    figure = assay.plot_frontiers([found, other], ["one", "two"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    assert [panel.get_title("left") for panel in figure.axes if panel.axison] == ["LocalLinearError", "Deletion"]
    twins = assay.plot_frontiers([found, found])
    labels = [text.get_text() for text in twins.legends[0].get_texts()]
    assert labels == ["Gradient, Sequential", "Gradient, Sequential (2)"]
    one, two = (line for line in twins.axes[0].get_lines() if not line.get_label().startswith("_"))
    assert (one.get_linestyle(), one.get_marker()) != (two.get_linestyle(), two.get_marker())
    with pytest.raises(ShapeError, match="one for each"):
        assay.plot_frontiers([found], ["one", "two"])
    bare = assay.frontier(model, images(2), sigmas=[0, 0.1], attack=None, **QUICK)
    with pytest.raises(SpecError, match="no quantity"):
        assay.plot_frontiers([found, bare])

import json
import math
from xml.etree import ElementTree

import polars as pl
import pytest
import torch

import assay
from assay.core.ranks import Ranks
from assay.errors import DataError, SpecError, WeightsError
from assay.papers.robustness.docs import publish
from assay.papers.robustness.plan import RobustnessPlan
from assay.papers.robustness.steps import do_steps
from assay.papers.robustness.study import study
from assay.run.sink import Memory
from assay.run.status import status, verify
from reference.robustness import DATA, NAMES, make_weights, tiny


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
    """The study of a run that nothing interrupted."""
    return study(tiny(weights), tmp_path_factory.mktemp("study") / "run")


@pytest.fixture(scope="module")
def values(finished):
    return pl.read_parquet(finished.folder / "values.parquet")


@pytest.fixture
def plain(monkeypatch):
    """Studies without figures, which take most of the time of a tiny one."""
    monkeypatch.setattr("assay.papers.robustness.study.figures", lambda *_: ())


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_study_writes_report_tables_figures_values_and_record(finished):
    folder = finished.folder
    assert not finished.over
    assert [one.text.split(",")[0] for one in finished.verdict[:5]] == ["Claim 1", "Claim 1", "Claim 2", "Claim 3", "Claim 3"]
    assert "<h1>" in finished.report.read_text()
    sides = ("free-robustness", "free-faithfulness", "kernel-robustness", "kernel-faithfulness")
    for name in ("models", "verdict", *sides, "widths", "certified", "steps"):
        for form in ("csv", "md", "tex"):
            assert (folder / "tables" / f"{name}.{form}").stat().st_size
    for name in (
        "free-robustness",
        "free-faithfulness",
        "kernel-gaussian",
        "cost-gaussian-standard",
        "cost-gaussian-robust",
        "trade-off-gaussian",
        "certified",
    ):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.parse(folder / "figures" / f"{name}.svg")
    record = json.loads((folder / "environment.json").read_text())
    assert {"algorithm", "code", "data", "splits", "machine", "packages", "setup"} <= record.keys()
    splits = record["splits"]["test"]
    assert splits["Gaussian, measured"] == splits["chosen"][:6]
    assert splits["Gaussian, attacked"] == splits["chosen"][:4]
    assert list(verify(folder)) == []


def test_every_part_has_a_value_for_each_image_width_and_quantity(values):
    counts = values.group_by("part", "model", "explainer", "kernel", "quantity").agg(pl.len(), pl.col("image").n_unique().alias("images"))
    assert (counts["len"] == counts["images"]).all()
    many = {(part, quantity.partition(" (")[0]): images for part, *_, quantity, images, _ in counts.iter_rows()}
    assert {part: many[part, "mean change"] for part in ("explainers", "Gaussian")} == {"explainers": 8, "Gaussian": 6}
    assert many["explainers", "attacked similarity"] == many["Gaussian", "attacked similarity"] == 4
    attacked = values.filter(pl.col("quantity").str.starts_with("attacked"))
    assert set(attacked.filter(pl.col("part") == "Gaussian")["model"]) == {"tiny"}
    assert set(values["kernel"]) == {"none", "Gaussian(sigma=0.05)", "Gaussian(sigma=0.2)"}
    assert values["value"].is_not_nan().all()


def test_the_values_are_those_of_the_explainer_the_measure_and_the_attack_themselves(values, weights):
    images = assay.data.read(assay.build(DATA, assay.data.Dataset), values["image"].unique().to_list())
    model = assay.load(str(weights / "tiny.safetensors"))
    own = values.filter((pl.col("model") == "tiny") & (pl.col("part") == "explainers") & (pl.col("explainer") == "GradientXInput"))

    def said(quantity):
        return own.filter(pl.col("quantity") == quantity).sort("image")

    rows = [images.index.tolist().index(one) for one in said("Deletion")["image"]]
    maps = assay.GradientXInput()(model, images.images[rows])
    scores = assay.Deletion(steps=4)(model, images.images[rows], maps)
    assert said("Deletion")["value"].to_list() == pytest.approx(scores.tolist(), abs=1e-5)
    blurred = assay.load(str(weights / "tiny.safetensors"), precision="bfloat16")
    few = said("attacked similarity (Cosine)")
    rows = [images.index.tolist().index(one) for one in few["image"]]
    hit = assay.MapAttack(steps=2)(blurred, assay.GradientXInput(), images.images[rows], index=images.index[rows])
    assert few["value"].to_list() == pytest.approx((1 - assay.Cosine()(hit.maps, hit.attacked_maps)).tolist(), abs=0.02)
    assert said("attacked similarity (TopK)")["value"].to_list() == pytest.approx((1 - hit.distance).tolist(), abs=0.1)


def test_the_tables_say_what_the_values_do(finished, values):
    table = pl.read_csv(finished.folder / "tables" / "free-faithfulness.csv")
    own = values.filter((pl.col("part") == "explainers") & (pl.col("kind") == "faithfulness"))
    wide = own.pivot(on="twin", index=["quantity", "explainer", "image"], values="value")
    lower = wide.with_columns((pl.col("standard") - pl.col("robust")).alias("gap"))  # of both notions lower is better
    means = lower.group_by("quantity", "explainer").agg(pl.col("standard", "robust", "gap").mean())
    assert table.height == means.height == 4
    for quantity, explainer, standard, robust, gap in means.iter_rows():
        line = table.row(by_predicate=(pl.col("quantity") == quantity) & (pl.col("explainer") == explainer), named=True)
        assert (line["standard"], line["robust"], line["difference"]) == pytest.approx((standard, robust, gap))
        assert line["difference low"] <= gap <= line["difference high"]
    cost = pl.read_csv(finished.folder / "tables" / "kernel-faithfulness.csv")
    ends = (
        values.filter((pl.col("part") == "Gaussian") & (pl.col("quantity") == "Deletion"))
        .group_by("model", "width")
        .agg(pl.col("value").mean())
    )
    for model, width, mean in ends.filter(pl.col("width") != 0.05).iter_rows():
        line = cost.row(by_predicate=(pl.col("quantity") == "Deletion") & (pl.col("network") == model), named=True)
        assert line["alone" if width == 0 else "smoothed"] == pytest.approx(mean)


def test_certificates_stand_beside_what_an_attack_leaves(finished, weights):
    found = pl.read_parquet(finished.folder / "certificates.parquet").filter(pl.col("model") == "tiny")
    assert found["eps"].unique().sort().to_list() == [0.01, 0.05]
    assert found.group_by("eps").len()["len"].to_list() == [4, 4]
    own = found.filter(pl.col("eps") == 0.01)
    batch = assay.data.read(assay.build(DATA, assay.data.Dataset), own["image"].to_list())
    model = assay.load(str(weights / "tiny.safetensors"), output="probability")
    wanted = assay.certify(model, batch.images, "SmoothGrad(sigma=0.5, samples=4)", [0.01, 0.05], samples=20, index=batch.index)
    assert own["cosine"].to_list() == pytest.approx(wanted.cosine[0].tolist(), abs=1e-4)
    assert any("certificates within L2 distance 0.01 of standard networks" in one.text for one in finished.verdict)


def test_a_study_without_certificates_has_none(weights, tmp_path, plain):
    found = study(tiny(weights, certified=None, models=["tiny"]), tmp_path / "run")
    assert not (found.folder / "certificates.parquet").exists()
    assert not any("ertificate" in one.text for one in found.verdict)


def test_accuracy_is_that_of_the_chosen_images(finished, weights):
    classes = pl.read_parquet(finished.folder / "classes.parquet").filter(pl.col("model") == "tiny")
    batch = assay.data.read(assay.build(DATA, assay.data.Dataset), classes["image"].to_list())
    right = (assay.load(str(weights / "tiny.safetensors")).predict(batch.images) == batch.labels).float().mean()
    table = pl.read_csv(finished.folder / "tables" / "models.csv")
    assert table.filter(pl.col("network") == "tiny")["chosen images, %"].item() == pytest.approx(float(right))


def test_the_steps_count_all_passes(finished):
    steps = pl.read_csv(finished.folder / "tables" / "steps.csv")
    accuracy = steps.row(by_predicate=pl.col("kind") == "classes", named=True)
    assert (accuracy["steps"], accuracy["images"], accuracy["forward"], accuracy["backward"]) == (2, 24, 24, 0)
    measured = steps.row(by_predicate=(pl.col("part") == "explainers") & (pl.col("kind") == "measure"), named=True)
    # Two explainers, each the map itself and two random changes.
    assert measured["backward"] == 2 * 8 * 2 * 3


def test_a_finished_study_is_not_done_again(finished, weights, monkeypatch):
    monkeypatch.setattr("assay.papers.robustness.steps._tables", None)
    again = study(tiny(weights), finished.folder)
    assert again.over
    assert again.verdict == finished.verdict


def test_a_study_that_is_killed_goes_on_to_the_same_values(finished, values, weights, tmp_path, plain):
    def kill(stage, done, total):
        if stage == "tiny" and done > total / 2:
            raise Killed

    with pytest.raises(Killed):
        study(tiny(weights), tmp_path / "run", kill)
    before = status(tmp_path / "run")
    assert 0 < before.done < len(before.blocks)
    assert before.blocks.unit == "step"
    resumed = study(tiny(weights), tmp_path / "run")
    assert pl.read_parquet(resumed.folder / "values.parquet").equals(values)
    assert resumed.verdict == finished.verdict


def test_steps_that_two_processes_share_come_to_the_same_values(values, weights):
    plan, sink = RobustnessPlan(tiny(weights), torch.device("cpu")), Memory()
    for rank in (1, 0):
        do_steps(plan, sink, Ranks(rank, 2).share(range(len(plan.steps))))
    assert pl.concat(sink.tables("values")).equals(values)


def test_other_settings_and_other_weights_are_refused_by_name(finished, weights, tmp_path):
    parts = {name: one.model_dump() for name, one in tiny(weights).parts.items()}
    with pytest.raises(DataError, match=r"part Gaussian\.images is 5, there 6"):
        study(tiny(weights, parts=parts | {"Gaussian": parts["Gaussian"] | {"images": 5}}), finished.folder)
    with pytest.raises(DataError, match=r"weights SHA-256\.tiny is"):
        study(tiny(make_weights(tmp_path, NAMES[::-1])), finished.folder)


def test_standard_networks_alone_leave_claim_1_out(weights, tmp_path, plain):
    found = study(tiny(weights, models=["tiny"]), tmp_path / "run")
    assert not any("Claim 1" in one.text for one in found.verdict)
    assert any("Claim 2" in one.text for one in found.verdict)
    assert not (found.folder / "tables" / "free-robustness.csv").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"models": ["tiny", "tiny"]}, SpecError, "named twice"),
        ({"models": ["tiny", "tinny"]}, WeightsError, "weights of tinny are not in"),
        ({"weights": "nowhere"}, WeightsError, "no folder of weights nowhere"),
        ({"images": 4}, SpecError, "the part explainers takes 8 images"),
        ({"certified": {"smoothing": "Gradient", "eps": [0.1], "images": 4}}, SpecError, "no certificate for Gradient"),
        ({"certified": {"smoothing": "SmoothGrad", "eps": [0.1], "images": 40}}, SpecError, "certificates take 40 images"),
        ({"distances": ["L2"]}, SpecError, "1 - L2 is no similarity"),
        ({"faithfulness": ["MaxSensitivity"]}, SpecError, "no measure of faithfulness"),
        ({"data": "HardDigits(size=32, count=5)"}, DataError, "cannot choose 12 of the 5"),
        ({"part": {"explainers": ["Gradiant"], "images": 4}}, SpecError, "did you mean Gradient"),
        ({"part": {"explainers": ["Gradient"], "images": 4, "attacked": 5}}, SpecError, "attacks 5 of them"),
        ({"part": {"explainers": ["Gradient"], "images": 4, "kernels": ["Gaussian(0.1)", "Uniform(0.1)"]}}, SpecError, "one kind"),
        ({"part": {"explainers": ["Gradient"], "images": 4, "attack": "Gradient"}}, SpecError, "not an Attack"),
    ],
)
def test_a_wrong_setting_is_told_before_the_work_and_leaves_nothing(changes, error, message, weights, tmp_path):
    if "part" in changes:
        changes = {"parts": {"wrong": changes["part"]}}
    with pytest.raises(error, match=message):
        study(tiny(weights, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_weights_come_with_the_commands_that_make_them(tmp_path):
    with pytest.raises(WeightsError) as caught:
        study(tiny(tmp_path, models=["vit-cifar10-paper", "vit-cifar10-paper-robust"]), tmp_path / "run")
    text = str(caught.value)
    assert "vit-cifar10-paper, vit-cifar10-paper-robust are not in" in text
    assert f"--half --out {tmp_path / 'vit-cifar10-paper.safetensors'}" in text
    assert text.count("assay train --data cifar10 --architecture vit-paper") == 2
    assert text.count("PGDTraining(") == 1


def test_the_document_has_numbers_plots_and_rules(finished, weights, tmp_path):
    page = publish(finished.folder, tmp_path / "docs", tiny(weights))
    text = page.read_text()
    assert finished.verdict[0].text in text
    assert "A cell is one backbone and one explainer" in text
    assert (finished.folder / "tables" / "verdict.md").read_text() in text
    assert "Hardware specification" in text
    names = {path.name for path in (tmp_path / "docs").iterdir()}
    assert {"robustness-small.md", "robustness-small-free-robustness.svg", "robustness-small-widths.csv"} <= names


def test_a_run_of_few_images_has_no_number_that_is_not_finite_in_its_verdict(finished):
    found = json.loads((finished.folder / "results.json").read_text())
    assert all(math.isfinite(one["support"]) and one["cells"] > 0 for one in found["claims"])

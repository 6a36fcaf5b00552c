import json
from types import SimpleNamespace
from xml.etree import ElementTree

import polars as pl
import pytest
import torch

import assay
from assay.core.ranks import Ranks
from assay.errors import DataError, SpecError, WeightsError
from assay.papers.robustness.docs import publish_robustness
from assay.papers.robustness.jobs import Jobs
from assay.papers.robustness.settings import NOTIONS
from assay.papers.robustness.study import do_steps, foreseen, run_robustness
from assay.run.blocks import ArrayPart
from assay.run.memory import Memory
from assay.run.status import status, verify
from assay.study.audit.standard import PAPER_EXPLAINERS
from reference.robustness import DATA, NAMES, make_weights, tiny


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
    """The folder of a run that nothing interrupted, and what it comes to."""
    folder = tmp_path_factory.mktemp("study") / "run"
    return SimpleNamespace(folder=folder, report=run_robustness(tiny(weights), folder))


@pytest.fixture(scope="module")
def values(finished):
    return pl.read_parquet(finished.folder / "values.parquet")


@pytest.fixture
def plain(monkeypatch):
    """Studies without figures, which take most of the time of a tiny one."""
    monkeypatch.setattr("assay.papers.robustness.study.figures", lambda *_: ())


class Killed(BaseException):
    """Stands for the end of the process."""


def of(values, **wanted):
    return values.filter(*(pl.col(name) == value for name, value in wanted.items())).sort("image")


def test_a_study_writes_report_tables_figures_values_and_record(finished):
    folder = finished.folder
    assert not finished.report.over
    assert [one.text.split(",")[0] for one in finished.report.sentences[:3]] == ["Table 1"] * 3
    assert "<h1>" in (folder / finished.report.main[1]).read_text()
    for name in ("claims", "networks", "faithfulness-pearson-probability", "ours", "nulls", "certified", "steps"):
        for form in ("csv", "md", "tex"):
            assert (folder / "tables" / f"{name}.{form}").stat().st_size
    for name in ("fig4",):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.parse(folder / "figures" / f"{name}.svg")
    ours = pl.read_csv(folder / "tables" / "ours.csv").filter(network="tiny")
    assert ours["explainer"].to_list() == ["Gradient", "SmoothGrad(samples=2)", "SmoothGrad(samples=3)", "RandomMap"]
    record = json.loads((folder / "environment.json").read_text())
    assert {"algorithm", "code", "data", "splits", "machine", "packages", "setup"} <= record.keys()
    splits = record["splits"]["test"]
    assert splits["widths"] == splits["chosen"][:6]
    assert list(verify(folder)) == []


def test_the_values_are_those_of_the_explainer_and_the_measure_themselves(values, weights):
    model = assay.load(str(weights / "tiny.safetensors"), output="probability")
    own = of(values, model="tiny", part="explainers", explainer="GradientXInput")
    batch = assay.data.read(assay.build(DATA, assay.data.Dataset), own["image"].unique().sort().to_list())
    explainer = assay.GradientXInput()
    maps = explainer(model, batch.images, index=batch.index)
    for measure in (assay.LocalLipschitz(draws=3), assay.MarginalContribution(groups=4, similarity="pearson")):
        name = (
            "LocalLipschitz(draws=3)"
            if isinstance(measure, assay.LocalLipschitz)
            else "MarginalContribution(groups=4, similarity='pearson')"
        )
        needs = {"explainer": explainer} if isinstance(measure, assay.LocalLipschitz) else {}
        wanted = measure(model, batch.images, maps, index=batch.index, **needs)
        assert of(own, measure=name)["value"].to_list() == pytest.approx(wanted.tolist(), rel=1e-3, abs=1e-5)


def test_the_models_own_constant_is_the_largest_change_of_its_score_over_the_draws(values, weights):
    own = of(values, model="tiny", explainer="score", measure="LocalLipschitz(draws=3)")
    batch = assay.data.read(assay.build(DATA, assay.data.Dataset), own["image"].to_list())
    model = assay.load(str(weights / "tiny.safetensors"), output="probability")
    targets = model.predict(batch.images)
    slopes = []
    for draw in range(3):
        number = torch.full_like(batch.index, draw)
        delta = assay.Gaussian(0.03).sample(0, "LocalLipschitz", batch.index, number, tuple(batch.images.shape[1:]))
        moved = [model.score(model.forward(one), targets) for one in (batch.images, batch.images + delta)]
        slopes.append((moved[1] - moved[0]).abs() / delta.flatten(1).norm(dim=1))
    assert own["value"].to_list() == pytest.approx(torch.stack(slopes).amax(0).tolist(), rel=1e-3)


def test_parts_of_standard_networks_and_of_logits_are_measured_as_they_say(values):
    assert set(values.filter(pl.col("output") == "logit")["model"]) == {"tiny"}
    assert set(values.filter(pl.col("part") == "widths")["model"]) == set(NAMES)


def test_a_folder_of_graded_networks_is_studied_in_its_own_part_and_no_other(weights, tmp_path):
    folder = make_weights(tmp_path, [f"tiny-eps{eps}" for eps in (0, 2, 10)])
    run_robustness(tiny(weights, graded=str(folder), audited=0), tmp_path / "run")
    rows = pl.read_parquet(tmp_path / "run" / "values.parquet")
    graded = rows.filter(pl.col("model").str.contains("-eps"))
    assert graded["model"].unique(maintain_order=True).to_list() == ["tiny-eps0", "tiny-eps2", "tiny-eps10"]
    assert set(graded["part"]) == set(rows.filter(pl.col("part") == "graded")["part"]) == {"graded"}
    assert (tmp_path / "run" / "tables" / "fig3-probability.csv").exists()
    assert (tmp_path / "run" / "figures" / "fig3.svg").exists()
    assert "-eps" not in (tmp_path / "run" / "tables" / "faithfulness-pearson-probability.csv").read_text()


def test_too_few_graded_networks_are_told_with_the_command_that_makes_them(weights, tmp_path):
    with pytest.raises(WeightsError, match=r"has 0 networks of graded robustness; make them by assay study graded --out"):
        run_robustness(tiny(weights, graded=str(tmp_path)), tmp_path / "run")


def test_the_condition_of_the_theorem_is_that_of_the_maps_and_contributions(finished, values, weights):
    model = assay.load(str(weights / "tiny.safetensors"), output="probability")
    own = of(values, model="tiny", part="condition", explainer="Gradient")
    batch = assay.data.read(assay.build(DATA, assay.data.Dataset), own["image"].unique().sort().to_list())
    maps = assay.Gradient()(model, batch.images, index=batch.index)
    nothing = assay.MarginalContribution(groups=100)(model, batch.images, 0 * maps, index=batch.index)
    close = assay.MarginalContribution(groups=100)(model, batch.images, maps, index=batch.index)
    along = of(own, measure="p . map / |map|^2")["value"]
    assert ((along > 0.5).to_numpy() == (close > nothing).numpy()).all()
    line = pl.read_csv(finished.folder / "tables" / "condition.csv").filter(pl.col("network") == "tiny")
    assert line["|p| / |grad|"].item() == pytest.approx(of(own, measure="|p| / |map|")["value"].mean())


def test_the_price_is_foreseen_in_passes(finished, weights):
    steps = pl.read_csv(finished.folder / "tables" / "steps.csv")
    spent = {part: forward + backward for part, forward, backward in steps.select("part", "forward", "backward").iter_rows()}
    price, without = (foreseen(tiny(weights, audited=images), "cpu") for images in (8, 0))
    assert price["job"].to_list() == [*NAMES, "all together"]
    # Beside the images' own predictions, which a block of several images makes once as well.
    assert without["passes"][-1] == pytest.approx(sum(spent.values()) - spent["nulls"], rel=0.05)
    # Curves and infidelities stop where they are exact enough, which depends on the network.
    assert price["passes"][-1] - without["passes"][-1] == pytest.approx(spent["nulls"], rel=0.2)
    assert (price["minutes"] > 0).all()


def test_the_paper_s_explainers_are_held_against_the_nulls_as_by_an_audit(finished, weights, values):
    model = assay.load(str(weights / "tiny.safetensors"), output="probability")
    index = of(values, model="tiny", part="explainers")["image"].unique(maintain_order=True).to_list()
    record = json.loads((finished.folder / "environment.json").read_text())
    assert record["splits"]["test"]["nulls"] == record["splits"]["test"]["chosen"][:8]
    batch = assay.data.read(assay.build(DATA, assay.data.Dataset), record["splits"]["test"]["nulls"])
    assert sorted(batch.index.tolist()) == sorted(index)
    audit = assay.audit(model, batch.images, explainers=PAPER_EXPLAINERS, measures=NOTIONS, index=batch.index, labels=batch.labels)
    kept = pl.read_parquet(finished.folder / "answers.parquet").filter(model="tiny")
    assert kept.select(audit.answers.columns).equals(audit.answers)
    table = pl.read_csv(finished.folder / "tables" / "nulls.csv")
    assert table.height == len(NAMES) * len(PAPER_EXPLAINERS)
    first = kept.filter("holds", explainer="GradientXInput", question="where")["measure"].to_list()
    told = table.filter(network="tiny", explainer="GradientXInput")["where"].item()
    assert told == (", ".join(one.partition("(")[0] for one in first) or "none")
    assert (table["trusted"] == "yes").sum() == kept.filter("trusted")["explainer"].n_unique()


def test_a_finished_study_is_not_done_again(finished, weights, monkeypatch):
    monkeypatch.setattr("assay.papers.robustness.measured.Measured.block", None)
    again = run_robustness(tiny(weights), finished.folder)
    assert again.over
    assert again.sentences == finished.report.sentences


def test_a_study_that_is_killed_goes_on_to_the_same_values(finished, values, weights, tmp_path, plain):
    def kill(stage, done, total):
        if done > total / 2:
            raise Killed

    with pytest.raises(Killed):
        run_robustness(tiny(weights), tmp_path / "run", kill)
    before = status(tmp_path / "run")
    assert 0 < before.done < len(before.blocks)
    assert before.blocks.unit == "step"
    resumed = run_robustness(tiny(weights), tmp_path / "run")
    assert pl.read_parquet(tmp_path / "run" / "values.parquet").equals(values)
    assert resumed.sentences == finished.report.sentences


def test_steps_that_two_processes_share_come_to_the_same_values(values, weights):
    jobs, sink = Jobs(tiny(weights), torch.device("cpu")), Memory()
    for rank in (1, 0):
        do_steps(jobs, sink, Ranks(rank, 2).share(range(len(jobs.steps))))
    assert pl.concat(sink.tables("values")).equals(values)


def test_parts_of_a_study_are_merged_to_the_same_values_and_not_before_all_are_done(finished, values, weights, tmp_path, plain):
    folder, said = tmp_path / "run", "part 2 of 2 is done: "
    (told,) = run_robustness(tiny(weights), folder, part=ArrayPart(2, 2)).said
    assert told.startswith(said)
    assert "blocks are missing" in told
    with pytest.raises(DataError, match=r"cannot be merged: \d of \d+ blocks are missing"):
        run_robustness(tiny(weights), folder, part="merge")
    assert "all are done; end the run by `assay run merge" in run_robustness(tiny(weights), folder, part=ArrayPart(1, 2)).said[0]
    (told,) = run_robustness(tiny(weights), folder, part=ArrayPart(2, 2)).said
    assert told == f"{said}all are done; end the run by `assay run merge {folder}`"
    merged = run_robustness(tiny(weights), folder, part="merge")
    assert pl.read_parquet(folder / "values.parquet").equals(values)
    assert merged.sentences == finished.report.sentences
    assert list(verify(folder)) == []


def test_other_settings_and_other_weights_are_refused_by_name(finished, weights, tmp_path):
    parts = {name: one.model_dump() for name, one in tiny(weights).parts.items()}
    with pytest.raises(DataError, match=r"part widths\.images is 5, there 6"):
        run_robustness(tiny(weights, parts=parts | {"widths": parts["widths"] | {"images": 5}}), finished.folder)
    with pytest.raises(DataError, match=r"weights SHA-256\.tiny is"):
        run_robustness(tiny(make_weights(tmp_path, NAMES[::-1])), finished.folder)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"models": ["tiny", "tiny"]}, SpecError, "named twice"),
        ({"models": ["tiny", "tinny"]}, WeightsError, "weights of tinny are not in"),
        ({"weights": "nowhere"}, WeightsError, "no folder of weights nowhere"),
        ({"images": 4}, SpecError, "the part explainers takes 8 images"),
        ({"data": "HardDigits(size=32, count=5)"}, DataError, "cannot choose 12 of the 5"),
        ({"part": {"explainers": ["Gradiant"]}}, SpecError, "did you mean Gradient"),
        ({"part": {"explainers": ["Gradient", "Gradient()"]}}, SpecError, "twice"),
        ({"part": {"measures": ["Gradient"]}}, SpecError, "Gradient"),
        ({"part": {"measures": ["MaskIoU"]}}, SpecError, "needs masks"),
    ],
)
def test_a_wrong_setting_is_told_before_the_work_and_leaves_nothing(changes, error, message, weights, tmp_path):
    if "part" in changes:
        part = {"explainers": ["Gradient"], "measures": ["LocalLipschitz"], "images": 4}
        changes = {"parts": {"wrong": part | changes["part"]}}
    with pytest.raises(error, match=message):
        run_robustness(tiny(weights, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_weights_come_with_the_commands_that_make_them(tmp_path):
    with pytest.raises(WeightsError) as caught:
        run_robustness(tiny(tmp_path, models=["vgg-cifar10-paper", "vgg-cifar10-paper-linf"]), tmp_path / "run")
    text = str(caught.value)
    assert "vgg-cifar10-paper, vgg-cifar10-paper-linf are not in" in text
    assert f"--half --out {tmp_path / 'vgg-cifar10-paper.safetensors'}" in text
    assert text.count("assay train --data cifar10 --architecture vgg-paper") == 2
    assert text.count("PGDTraining(") == 1


def test_the_document_has_numbers_plots_and_rules(finished, weights, tmp_path):
    page = publish_robustness(finished.folder, tmp_path / "docs", tiny(weights))
    text = page.read_text()
    assert "| Fig. 3 |" in text
    assert "must be below 0.05" in text
    assert (finished.folder / "tables" / "claims.md").read_text() in text
    assert "Hardware specification" in text
    names = {path.name for path in (tmp_path / "docs").iterdir()}
    assert {"robustness-small.md", "robustness-small-fig4.svg", "robustness-small-claims.csv"} <= names
    assert publish_robustness(finished.folder, tmp_path / "docs", tiny(weights), tmp_path / "mine.toml").name == "mine.md"

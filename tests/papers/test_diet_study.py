import json
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import assay
from assay.errors import DataError, SpecError
from assay.papers.diet.docs import publish
from assay.papers.diet.study import study
from reference.studies import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study of a run that nothing interrupted."""
    return study(tiny(), tmp_path_factory.mktemp("study") / "run")


@pytest.fixture(scope="module")
def values(finished):
    return pl.read_parquet(finished.folder / "values.parquet")


@pytest.fixture
def plain(monkeypatch):
    """Studies without figures, which take most of the time of a tiny one."""
    monkeypatch.setattr("assay.papers.diet.study.figures", lambda *_: ())


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_study_writes_report_tables_figures_values_record_and_models(finished):
    folder = finished.folder
    assert finished.verdict
    assert not finished.over
    assert "<h1>" in finished.report.read_text()
    for name in ("faithfulness", "simplified", "truth", "pixels", "backgrounds", "tuned-maps", "rounds", "steps"):
        for form in ("csv", "md", "tex"):
            assert (folder / "tables" / f"{name}.{form}").stat().st_size
    for name in ("overlap", "pixels", "rounds", "maps", "masks"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.parse(folder / "figures" / f"{name}.svg")
    record = json.loads((folder / "environment.json").read_text())
    assert {"algorithm", "code", "data", "splits", "machine", "packages", "setup"} <= record.keys()
    assert len(record["splits"]["hard-digits"]["tuning"]) == 16


def test_every_attribution_has_a_value_for_every_image_and_measure(values):
    maps = values.filter(pl.col("kind") == "maps")
    counts = maps.group_by("part", "model", "attribution", "measure").len()
    assert counts["len"].unique().to_list() == [8]
    own = {("DiET", "mask"), ("DiET", "mask network"), ("literal", "mask")}
    compared = {("f_b", name) for name in ("Gradient", "GradCAM", "RandomMap")} | {("DiET", "Gradient"), ("DiET", "GradCAM")}
    assert set(maps.select("model", "attribution").unique().iter_rows()) == own | compared
    assert set(maps["measure"]) == {"IoU", "on distractor", "keep 10 %", "keep 2 %"}


def test_the_values_are_those_of_the_explainer_and_the_measure_themselves(finished, values):
    model = assay.load(finished.folder / "models" / "baseline.safetensors", precision="bfloat16")
    wanted = values.filter(
        (pl.col("model") == "f_b") & (pl.col("attribution") == "GradCAM") & (pl.col("measure") == "IoU") & (pl.col("part") == "test")
    )
    numbers = wanted["image"].to_list()
    batch = assay.data.read(assay.data.load("HardDigits(size=32, count=40)"), numbers)
    maps = assay.GradCAM()(model, batch.images, index=batch.index)
    scores = assay.MaskIoU()(model, batch.images, maps, truth=batch.truth)
    assert scores.double().tolist() == pytest.approx(wanted["value"].to_list(), abs=0.02)


def test_the_tables_say_what_the_values_do(finished, values):
    table = pl.read_csv(finished.folder / "tables" / "truth.csv")
    overlaps = values.filter((pl.col("measure") == "IoU") & (pl.col("part") == "test"))
    means = overlaps.group_by("model", "attribution").agg(pl.col("value").mean())
    for model, attribution, mean in means.iter_rows():
        found = table.filter((pl.col("model") == model) & (pl.col("attribution") == attribution))
        if model == "f_b" or attribution.startswith("mask"):
            assert found["IoU, test images"].item() == pytest.approx(mean)
            assert found["IoU, test images low"].item() <= mean <= found["IoU, test images high"].item()
    accuracy = values.filter((pl.col("kind") == "model") & (pl.col("measure") == "accuracy") & (pl.col("model") == "f_b"))
    shown = pl.read_csv(finished.folder / "tables" / "faithfulness.csv").filter(pl.col("model") == "f_b")
    assert accuracy.height == 40
    assert shown["accuracy, test images, %"].item() == pytest.approx(accuracy["value"].mean())


def test_the_models_are_checkpoints_with_the_accuracy_that_the_table_shows(finished, values):
    batch = assay.data.read(assay.data.load("HardDigits(size=32, count=40)"), range(40))
    for name, model in (("baseline", "f_b"), ("diet", "DiET"), ("literal", "literal")):
        right = (assay.load(finished.folder / "models" / f"{name}.safetensors").predict(batch.images) == batch.labels).float().mean()
        rows = values.filter((pl.col("kind") == "model") & (pl.col("measure") == "accuracy") & (pl.col("model") == model))
        assert float(right) == pytest.approx(rows["value"].mean())


def test_a_finished_study_is_not_done_again(finished, monkeypatch):
    monkeypatch.setattr("assay.papers.diet.study.Experiment", None)
    again = study(tiny(), finished.folder)
    assert again.over
    assert (again.verdict, again.targets) == (finished.verdict, finished.targets)


@pytest.mark.parametrize("stage", ["training", "DiET: round 2 of 2, masks", "f_b, Gradient: tune"])
def test_a_study_that_is_killed_goes_on_to_the_same_values(stage, finished, values, tmp_path, monkeypatch, plain):
    monkeypatch.setattr("assay.study.tune._EVERY", 0.0)
    seen = []

    def kill(name, done, total):
        seen.append(name)
        if stage in name:
            raise Killed

    with pytest.raises(Killed):
        study(tiny(), tmp_path / "run", kill)
    first, seen[:] = list(seen), []
    resumed = study(tiny(), tmp_path / "run", lambda name, *_: seen.append(name))
    assert pl.read_parquet(resumed.folder / "values.parquet").equals(values)
    assert resumed.verdict == finished.verdict
    done = {name for name in first if "training" in name} if stage != "training" else set()
    assert not done & set(seen)
    for name in ("diet", "literal"):
        one, other = (assay.load(folder / "models" / f"{name}.safetensors") for folder in (resumed.folder, finished.folder))
        assert all(map(torch.equal, one.module.state_dict().values(), other.module.state_dict().values()))


def test_other_settings_are_refused_by_name(finished):
    with pytest.raises(DataError, match="scored_images"):
        study(tiny(scored_images=4), finished.folder)


def test_a_model_that_is_given_is_taken_instead_of_training(finished, tmp_path, plain):
    baseline = finished.folder / "models" / "baseline.safetensors"
    found = study(tiny(model=str(baseline), explainers=["Gradient"], gallery=1), tmp_path / "run")
    steps = pl.read_csv(found.folder / "tables" / "steps.csv")["step"].to_list()
    assert "baseline" not in steps
    table = pl.read_csv(found.folder / "tables" / "faithfulness.csv")
    wanted = pl.read_csv(finished.folder / "tables" / "faithfulness.csv")
    assert table["accuracy, test images, %"].to_list() == wanted["accuracy, test images, %"].to_list()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "no-such"}, SpecError, "unknown model"),
        ({"explainers": ["Gradiant"]}, SpecError, "did you mean Gradient"),
        ({"explainers": ["Gradient", "Gradient()"]}, SpecError, "given twice"),
        ({"methods": {"DiET": "Gradient"}}, SpecError, "not a DiET"),
        ({"methods": {"f b": "DiET"}}, SpecError, "other than f_b"),
        ({"methods": {"mine!": "DiET", "mine?": "DiET"}}, SpecError, "different names"),
        ({"backgrounds": ["Gradient"]}, SpecError, "not a Background"),
        ({"architecture": "SmallResNet(classes=3)"}, DataError, "has 3 classes, but hard-digits has 10"),
    ],
)
def test_a_wrong_setting_is_told_before_the_work_and_leaves_nothing(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        study(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_document_has_numbers_and_plots_and_no_image_of_the_data(finished, tmp_path):
    page = publish(finished.folder, tmp_path / "docs", tiny())
    text = page.read_text()
    assert finished.verdict[0].text in text
    assert (finished.folder / "tables" / "truth.md").read_text() in text
    assert "Hardware specification" in text
    names = {path.name for path in (tmp_path / "docs").iterdir()}
    assert {"diet-hard-digits.md", "diet-hard-digits-overlap.svg", "diet-hard-digits-truth.csv"} <= names
    assert not any("maps" in name or "masks" in name for name in names - {"diet-hard-digits-tuned-maps.csv"})


def test_data_without_known_evidence_have_every_table_but_those_of_the_overlap(tmp_path, plain):
    noise = np.random.default_rng(0)
    for name, level in (("dark", 0), ("light", 128)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = noise.integers(level, level + 127, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    folder = f"ImageFolder(path='{tmp_path / 'images'}')"
    net = "SmallResNet(classes=2, widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)"
    variants = {"folder": {"train": folder, "tune": folder, "test": folder, "reversed": folder}}
    found = study(tiny(variants=variants, architecture=net, recipe="Recipe(epochs=6, batch_size=10, lr=0.1)"), tmp_path / "run")
    names = {path.stem for path in (found.folder / "tables").glob("*.csv")}
    assert names == {"faithfulness", "simplified", "pixels", "backgrounds", "tuned-maps", "rounds", "steps"}
    assert "IoU" not in pl.read_parquet(found.folder / "values.parquet")["measure"].unique().to_list()
    assert "reversed images" in (found.folder / "tables" / "faithfulness.md").read_text()
    assert not any("overlap" in sentence.text for sentence in found.verdict)

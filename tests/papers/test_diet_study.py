import json
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import assay
from assay.core.precision import settled
from assay.errors import DataError, SpecError
from assay.explain.base import check_case
from assay.measure.base import with_masks
from assay.models.sources.model_card import from_json
from assay.papers.diet.evaluation import IOU, MASK, Attribution
from assay.papers.diet.networks import tuned_pixel_net
from assay.papers.diet.study import plan, publish_diet, run_diet
from assay.papers.diet.work import DataForm
from assay.papers.paper import Paper
from assay.run.state import read_state
from reference.studies import TINY, tiny

TABLES = {"choice", "faithfulness", "truth", "pixels", "backgrounds", "evidence", "rounds", "costs"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that nothing interrupted, and what it comes to."""
    folder = tmp_path_factory.mktemp("study") / "run"
    return SimpleNamespace(folder=folder, report=run_diet(tiny(), folder))


@pytest.fixture(scope="module")
def values(finished):
    return pl.read_parquet(finished.folder / "values.parquet")


@pytest.fixture
def plain(monkeypatch):
    """Studies without figures, which take most of the time of a tiny one."""
    monkeypatch.setattr("assay.papers.diet.study._drawings", lambda *_: ())


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_study_writes_report_tables_figures_values_and_record(finished):
    folder = finished.folder
    assert finished.report.sentences
    assert not finished.report.over
    assert "<h1>" in (folder / finished.report.main[1]).read_text()
    for name in TABLES:
        for form in ("csv", "md", "tex"):
            assert (folder / "tables" / f"{name}.{form}").stat().st_size
    assert not (folder / "tables" / "manipulated.csv").exists()
    for name in ("overlap", "maps"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        ElementTree.parse(folder / "figures" / f"{name}.svg")
    record = json.loads((folder / "environment.json").read_text())
    assert {"algorithm", "code", "data", "splits", "machine", "packages", "setup"} <= record.keys()
    assert len(record["splits"]["hard-digits"]["tune"]) == 16


def test_every_map_and_mask_has_a_value_for_every_image_seed_and_measure(values):
    maps = values.filter(pl.col("measure").is_in((IOU, "on distractor", "keep 10 %", "keep 2 %")))
    counts = maps.group_by("model", "seed", "attribution", "measure").len()
    assert counts["len"].unique().to_list() == [8]
    found = set(maps.select("model", "seed", "attribution").unique().iter_rows())
    rivals = {("f_b", 0, f"{name}{more}") for name in ("Gradient", "GradCAM") for more in ("", ", refined")}
    masks = {(name, seed, f"mask{more}") for name in ("DiET", "theirs") for seed in (0, 1) for more in ("", ", refined")}
    assert found == rivals | masks


def test_the_values_are_those_of_the_explainer_and_the_measure_themselves(finished, values):
    form = DataForm(tiny(), "hard-digits", torch.device("cpu"))
    state = read_state(finished.folder / "jobs" / "train" / "state" / "outcome.safetensors")
    net = form.training[0].make()
    net.load_state_dict(state[0])
    card = from_json(state[1]["card"], "the card")
    model = assay.Classifier(net, card.mean, card.std, precision=settled("auto", torch.device("cpu")))
    wanted = values.filter((pl.col("attribution") == "GradCAM") & (pl.col("measure") == IOU)).sort("image")
    batch = assay.data.read(form.data["test"], wanted["image"].to_list())
    maps = assay.GradCAM()(model, batch.images, index=batch.index)
    scores = assay.MaskIoU()(model, batch.images, maps, truth=batch.truth)
    assert scores.double().tolist() == pytest.approx(wanted["value"].to_list(), abs=0.02)


def test_the_tables_say_what_the_values_do(finished, values):
    table = pl.read_csv(finished.folder / "tables" / "truth.csv")
    overlaps = values.filter((pl.col("measure") == IOU) & (pl.col("part") == "test"))
    for model, attribution, mean in overlaps.group_by("model", "attribution").agg(pl.col("value").mean()).iter_rows():
        line = table.filter((pl.col("model") == model) & (pl.col("attribution") == attribution))
        assert line[IOU].item() == pytest.approx(mean)
        assert line[f"{IOU} low"].item() <= mean <= line[f"{IOU} high"].item()
    tried = pl.read_csv(finished.folder / "tables" / "choice.csv")
    assert tried.group_by("model").len()["len"].to_list() == [2, 2]
    assert tried.group_by("model").agg(pl.col("taken").sum())["taken"].to_list() == [1, 1]


def test_all_costs_are_in_a_table(finished):
    table = pl.read_csv(finished.folder / "tables" / "costs.csv")
    assert {"DiET: tuning, 3 times", "theirs: tuning, 3 times", "train"} <= set(table["what"])
    assert table.filter(pl.col("what").str.contains("tuning"))["passes"].min() > 0
    passes = dict(pl.read_csv(finished.folder / "tables" / "truth.csv").select("attribution", "passes an image").iter_rows())
    assert passes["Gradient"] == 2


def test_a_finished_study_is_not_done_again(finished, monkeypatch):
    monkeypatch.setattr("assay.papers.diet.work.DataForm.work", None)
    again = run_diet(tiny(), finished.folder)
    assert again.over
    assert again.sentences == finished.report.sentences


@pytest.mark.parametrize("stage", ["training", "tune-theirs-1-seed0", "masks-diet-seed1"])
def test_a_study_that_is_killed_goes_on_to_the_same_values(stage, values, finished, tmp_path, monkeypatch, plain):
    monkeypatch.setattr("assay.study.tune._EVERY", 0.0)
    seen = []

    def kill(name, done, total):
        seen.append(name)
        if stage in name:
            raise Killed

    with pytest.raises(Killed):
        run_diet(tiny(), tmp_path / "run", kill)
    first, seen[:] = list(seen), []
    resumed = run_diet(tiny(), tmp_path / "run", lambda name, *_: seen.append(name))
    assert pl.read_parquet(tmp_path / "run" / "values.parquet").equals(values)
    assert [one for one in resumed.sentences if "passes" not in one.text] == [
        one for one in finished.report.sentences if "passes" not in one.text
    ]
    over = {name.partition(":")[0] for name in first} - {first[-1].partition(":")[0]}
    assert not over & {name.partition(":")[0] for name in seen}


def test_other_settings_are_refused_by_name(finished):
    with pytest.raises(DataError, match="scored_images"):
        run_diet(tiny(scored_images=4), finished.folder)


@pytest.mark.parametrize(("name", "part"), [("tune_images", "val"), ("scored_images", "test"), ("counted_images", "test")])
def test_more_images_than_there_are_are_refused_before_work(name, part, tmp_path):
    with pytest.raises(SpecError, match=f"{name.replace('_', '-')} 41 is more than the 40 images of .* {part}"):
        run_diet(tiny(**{name: 41}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_price_is_told_before_the_work_for_every_job_of_the_study(finished):
    table = plan(tiny())
    done = {path.name for path in (finished.folder / "jobs").iterdir()}
    assert {name.replace("classes-test", "classes") for name in done} == set(table["job"]) - {"all together"}
    assert table["passes"].min() > 0
    assert table["minutes"].min() > 0
    assert table.row(-1)[1] == table["passes"][:-1].sum()


def test_a_tuning_that_is_over_is_taken_as_it_is(finished):
    form = DataForm(tiny(), "hard-digits", torch.device("cpu"))
    paper = Paper(finished.folder, lambda *_: pytest.fail("there is nothing to do"))
    images, _, _ = form._tune_images()
    base = form.training[0].make()
    about = {"images": form.splits["tune"], "data": repr(form.data["tune"]), "model": repr(form.training)}
    from assay.tune.network import PixelNet

    first = tuned_pixel_net(paper, "tune-diet-0-seed0", form.methods["DiET"][0], PixelNet(base, (0.0,) * 3, (1.0,) * 3), images, 0, about)
    assert len(first.masks) == 2
    assert first.grid.shape == (16, 1, 32, 32)
    assert first.passes > 0


def test_a_model_that_is_given_is_taken_instead_of_training(tmp_path, plain):
    digits = {name: f"HardDigits(split='{part}', count=20)" for name, part in (("train", "train"), ("tune", "val"), ("test", "test"))}
    few = {"model": "hard-digits", "variants": {"hard-digits": digits}, "explainers": ["Gradient"], "scored_images": 2, "seeds": 1}
    short = ["DiET(rounds=1, mask_stop=Epochs(1), model_stop=Epochs(1))"]
    run_diet(tiny(**few, methods={"DiET": short}, tune_images=8, counted_images=8), tmp_path / "run")
    assert not (tmp_path / "run" / "jobs" / "train").exists()
    table = pl.read_csv(tmp_path / "run" / "tables" / "faithfulness.csv")
    assert table.filter(pl.col("model") == "f_b")["accuracy, test, %"].item() == 1.0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "no-such"}, SpecError, "unknown model"),
        ({"explainers": ["Gradiant"]}, SpecError, "did you mean Gradient"),
        ({"explainers": ["Gradient", "Gradient()"]}, SpecError, "given twice"),
        ({"methods": {"DiET": ["Gradient"]}}, SpecError, "not a DiET"),
        ({"methods": {"DiET": ["DiET"], "more": ["DiET", "DiET(rounds=2)"]}}, SpecError, "as many settings"),
        ({"methods": {"f b": ["DiET"]}}, SpecError, "other than f_b"),
        ({"methods": {"mine!": ["DiET"], "mine?": ["DiET"]}}, SpecError, "different names"),
        ({"backgrounds": ["Gradient"]}, SpecError, "not a Background"),
        (
            {"model": "hard-digits", "variants": {"x": TINY["variants"]["hard-digits"] | {"recipe": "Recipe()"}}},
            SpecError,
            "training of its own",
        ),
        ({"architecture": "SmallResNet(classes=3)"}, DataError, "has 3 classes, but hard-digits has 10"),
    ],
)
def test_a_wrong_setting_is_told_before_the_work_and_leaves_nothing(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        run_diet(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_document_has_numbers_and_plots_and_no_image_of_the_data(finished, tmp_path):
    page = publish_diet(finished.folder, tmp_path / "docs", tiny())
    text = page.read_text()
    assert finished.report.sentences[0].text in text
    assert (finished.folder / "tables" / "truth.md").read_text() in text
    assert "Hardware specification" in text
    names = {path.name for path in (tmp_path / "docs").iterdir()}
    assert {"diet-hard-digits.md", "diet-hard-digits-overlap.svg", "diet-hard-digits-truth.csv"} <= names
    assert not any("maps" in name for name in names)


def test_data_without_known_evidence_have_every_table_but_those_of_the_evidence(tmp_path, plain):
    noise = np.random.default_rng(0)
    for name, level in (("dark", 0), ("light", 128)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = noise.integers(level, level + 127, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    folder = f"ImageFolder(path='{tmp_path / 'images'}')"
    net = "SmallResNet(classes=2, widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)"
    variants = {"folder": {"train": folder, "tune": folder, "test": folder, "reversed": folder}}
    settings = tiny(variants=variants, architecture=net, recipe="Recipe(epochs=6, batch_size=10, lr=0.1)", seeds=1, counted_images=20)
    run_diet(settings, tmp_path / "run")
    assert {path.stem for path in (tmp_path / "run" / "tables").glob("*.csv")} == TABLES - {"truth", "evidence"}
    assert IOU not in pl.read_parquet(tmp_path / "run" / "values.parquet")["measure"].unique().to_list()


def test_overlaps_with_the_white_pixels_stand_beside_those_with_the_ink():
    from assay.papers.diet.evaluation import WHITE, MapsStudy

    images = torch.zeros(1, 3, 16, 16)
    images[..., 4:8, 4:8] = 1.0
    truth = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    truth[..., 3:9, 3:9] = True
    model = assay.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 10)))
    batch = assay.data.Batch(images, torch.tensor([0]), truth, None, torch.arange(1), ("one",))
    case = with_masks(check_case(model, images), truth, None)
    study_ = MapsStudy(explainers=(assay.Gradient(),), white=True, keep=(0.1,))
    maps = torch.zeros(1, 1, 16, 16)
    maps[..., 4:8, 4:8] = 1.0
    rows = pl.concat(study_.located(SimpleNamespace(batch=batch, case=case), Attribution.of(MASK), maps, assay.Gradient()))
    found = dict(rows.select("measure", "value").iter_rows())
    assert found[WHITE] == pytest.approx(1.0)
    assert 0.3 < found[IOU] < 0.6

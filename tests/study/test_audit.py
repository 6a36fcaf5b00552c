import json
import math

import numpy as np
import polars as pl
import pytest
import torch

import assay
from assay.core.listed import built
from assay.core.progress import silent
from assay.data import Batch
from assay.errors import AssayError, EmptyBatchError, ModelError, NotFiniteError, PixelRangeError, ShapeError, SpecError, TargetError
from assay.explain.base import Explainer
from assay.measure.base import Measure
from assay.models.targeting import PREDICTED, Targeting
from assay.report import Gallery
from assay.study.audit.standard import EXPLAINERS, FLOOR, MEASURES
from assay.study.audit.study import AuditStudy
from assay.study.study import Asked, run
from reference.guards import snapshot
from reference.nets import normed, plain
from reference.sources import Broken, batch
from reference.specs import SMALL

SIX = ("Gradient()", "GradientXInput()", SMALL["IntegratedGradients"], SMALL["SmoothGrad"], SMALL["Lime"], SMALL["KernelShap"])
ALL = (
    "SingleDeletion",
    SMALL["Deletion"],
    SMALL["Insertion"],
    SMALL["Infidelity"],
    SMALL["LocalLinearError"],
    SMALL["MaxSensitivity"],
    "MaskIoU()",
)
TWO = ("Gradient()", SMALL["KernelShap"])
QUICK = (SMALL["Deletion"], SMALL["MaxSensitivity"])


def value(found, explainer, measure, image=0):
    scores = found.scores
    return scores.filter((pl.col("explainer") == explainer) & (pl.col("measure") == measure) & (pl.col("image") == image))["value"].item()


def audited(
    model, source, explainers=("Gradient",), measures=("Deletion",), block=64, classes=(), progress=silent, targets=None, gallery=8
):
    """An audit of a source of images."""
    study = AuditStudy(tuple(built("explainer", explainers, Explainer)), tuple(built("measure", measures, Measure)), gallery=gallery)
    aims = PREDICTED if targets is None else Targeting("given", targets)
    asked = Asked(model, source, 0, "model", {"name": "mine"}, classes, aims)
    study.check(asked)
    return run(study, asked, block=block, progress=progress).found()


@pytest.fixture(scope="module")
def whole(model):
    """All six explainers by all seven measures on three images with truth and labels."""
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    truth[:, :, :4, :4] = True
    steps = []
    labels = model.predict(images)
    labels[0] = (labels[0] + 1) % 4
    found = assay.audit(
        model, images, explainers=SIX, measures=ALL, truth=truth, labels=labels, progress=lambda *told: steps.append(told), gallery=2
    )
    return found, images, truth, steps


def test_scores_are_one_row_for_each_image_explainer_and_measure_with_the_floor(whole):
    scores = whole[0].scores
    assert scores.columns == ["image", "explainer", "measure", "value", "direction"]
    assert len(scores) == 3 * 7 * 7
    assert not scores.select("image", "explainer", "measure").is_duplicated().any()
    assert scores["explainer"].n_unique() == 7
    assert "RandomMap" in set(scores["explainer"])
    assert scores["value"].is_finite().all()


def test_every_measure_goes_with_its_direction(whole):
    found = {(row["measure"], row["direction"]) for row in whole[0].scores.iter_rows(named=True)}
    assert found == {(type(one).__name__, "higher" if one.higher_is_better else "lower") for one in MEASURES}


def test_scores_are_those_of_the_explainer_and_the_measure_called_alone(whole, model):
    found, images, truth, _ = whole
    for spec in ("Gradient()", SMALL["KernelShap"], "RandomMap()"):
        explainer = assay.build(spec, Explainer)
        maps = explainer(model, images)
        for measure in map(assay.build, ALL):
            alone = measure(model, images, maps, explainer=explainer, truth=truth)
            name = "RandomMap" if spec == "RandomMap()" else assay.core.registry.short(explainer)
            own = [value(found, name, type(measure).__name__, image) for image in range(3)]
            np.testing.assert_allclose(own, alone, rtol=1e-4, atol=1e-6)


def test_the_summary_has_a_row_for_each_explainer_and_measure(whole):
    found = whole[0]
    columns = "explainer measure higher_is_better mean low high floor floor_low floor_high verdict count kind statistic"
    assert found.summary.columns == [*columns.split(), "standing", "standing_low", "standing_high"]
    assert len(found.summary) == 42
    assert "RandomMap" not in set(found.summary["explainer"])
    row = found.summary.row(by_predicate=(pl.col("explainer") == "Gradient") & (pl.col("measure") == "MaskIoU"), named=True)
    assert row["mean"] == pytest.approx(np.mean([value(found, "Gradient", "MaskIoU", image) for image in range(3)]))
    assert row["floor"] == pytest.approx(np.mean([value(found, "RandomMap", "MaskIoU", image) for image in range(3)]))
    assert row["count"] == 3


def test_every_image_has_a_status_and_the_verdict_is_in_words(whole):
    found = whole[0]
    assert found.status.columns == ["image", "name", "status", "label", "predicted", "right", "read"]
    assert found.status.select("image", "name", "status").rows() == [(at, f"image {at}", "ok") for at in range(3)]
    assert (found.status["label"] == found.status["predicted"]).to_list() == [False, True, True]
    assert found.status["right"].to_list() == [False, True, True]
    assert "Only 3 images were scored" in found.verdict[-1]
    assert found.page.part(Gallery).names == ("image 0", "image 2")
    assert found.page.settings["accuracy"] == "66.7% of 3 labelled images"


def test_progress_counts_images_and_goes_forward_to_their_number(whole):
    steps = whole[3]
    assert {stage for stage, _, _ in steps} == {"audit"}
    assert len({total for _, _, total in steps}) == 1
    done = [done for _, done, _ in steps]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == steps[0][2] == 3


def test_the_record_holds_the_seven_answers_as_json(whole):
    found = whole[0]
    kept = json.loads(json.dumps(found.record, allow_nan=False))
    assert set(kept) == {"algorithm", "code", "data", "splits", "machine", "packages", "setup"}
    assert all(kept.values())
    assert kept["splits"] == {"count": 3, "images": "0-2"}
    assert {assay.build(spec) for spec in kept["setup"]["explainers"]} == {*map(assay.build, SIX), FLOOR}
    assert {assay.build(spec) for spec in kept["setup"]["measures"]} == set(map(assay.build, ALL))
    assert "sha256" in kept["setup"]["model"]["weights"]


def test_everything_is_saved_and_can_be_read_again(whole, tmp_path):
    found = whole[0]
    assert found.save(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    home = tmp_path / "a" / "b"
    files = {"report.html", "scores.parquet", "summary.csv", "answers.csv", "status.csv", "environment.json"}
    assert {one.name for one in home.iterdir()} == files
    assert pl.read_csv(home / "answers.csv")["question"].to_list() == found.answers["question"].to_list()
    assert pl.read_parquet(home / "scores.parquet").equals(found.scores)
    assert pl.read_csv(home / "summary.csv")["verdict"].to_list() == found.summary["verdict"].to_list()
    assert pl.read_csv(home / "status.csv").rows() == found.status.rows()
    assert json.loads((home / "environment.json").read_text())["splits"]["count"] == 3
    assert "<html" in (home / "report.html").read_text()


def test_saving_where_a_file_stands_is_one_clear_error(whole, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AssayError, match=r"cannot write the audit to .*file"):
        whole[0].save(tmp_path / "file")


def test_the_report_is_one_page_without_the_network(whole, tmp_path):
    path = whole[0].to_html(tmp_path / "page.html")
    text = path.read_text()
    assert 'src="http' not in text
    assert all(name in text for name in ("KernelShap", "Deletion", "image 0"))
    assert whole[0].verdict[0].split(":")[0] in text


def test_same_seed_same_bits_and_another_seed_others(model, images):
    first = assay.audit(model, images(2), explainers=TWO, measures=QUICK, seed=3)
    assert assay.audit(model, images(2), explainers=TWO, measures=QUICK, seed=3).scores.equals(first.scores)
    assert not assay.audit(model, images(2), explainers=TWO, measures=QUICK, seed=4).scores.equals(first.scores)


@pytest.mark.parametrize("block", [1, 2, 4])
def test_scores_do_not_depend_on_the_size_of_blocks(model, images, block):
    pixels = images(5)
    once = assay.audit(model, pixels, explainers=TWO, measures=QUICK)
    cut = audited(model, Broken(batch(pixels)), TWO, QUICK, block)
    assert cut.scores.drop("value").equals(once.scores.drop("value"))
    np.testing.assert_allclose(cut.scores["value"], once.scores["value"], rtol=1e-4, atol=1e-6)
    assert cut.page.part(Gallery).names == once.page.part(Gallery).names


def test_an_image_scores_by_its_number_and_not_by_its_place(model, images):
    pixels = images(4)
    once = assay.audit(model, pixels, explainers=TWO, measures=QUICK)
    late = assay.audit(model, pixels[[3, 1]], explainers=TWO, measures=QUICK, index=torch.tensor([3, 1]))
    assert late.record["splits"]["images"] == "3 1"
    for explainer in ("Gradient", "RandomMap"):
        for image in (1, 3):
            assert value(late, explainer, "Deletion", image) == pytest.approx(value(once, explainer, "Deletion", image), rel=1e-4)


def test_given_targets_are_explained(model, images):
    targets = (model.predict(images()) + 1) % 4
    found = assay.audit(model, images(), targets, explainers=["Gradient"], measures=["Deletion"])
    maps = assay.Gradient()(model, images(), targets)
    alone = assay.Deletion()(model, images(), maps, targets)
    np.testing.assert_allclose([value(found, "Gradient", "Deletion", image) for image in range(3)], alone, rtol=1e-4)
    assert found.record["setup"]["targets"] == "given"


def test_targets_keep_to_their_images_when_a_file_cannot_be_read(model, images):
    pixels, targets = images(4), torch.tensor([0, 1, 2, 3])
    found = audited(model, Broken(batch(pixels), {1: "the file is empty"}), block=2, targets=targets)
    whole = assay.audit(model, pixels, targets, explainers=["Gradient"], measures=["Deletion"])
    for image in (0, 2, 3):
        assert value(found, "Gradient", "Deletion", image) == pytest.approx(value(whole, "Gradient", "Deletion", image), rel=1e-4)
    assert found.scores["image"].unique().to_list() == [0, 2, 3]


def test_the_callers_network_and_the_global_generators_stay_as_they_were(images, untouched):
    net = normed()
    before = snapshot(net)
    with untouched():
        assay.audit(assay.Classifier(net), images(2), explainers=SIX, measures=ALL[:5])
    assert snapshot(net) == before


def test_specs_and_objects_are_the_same(model, images):
    specs = assay.audit(model, images(2), explainers=["Gradient"], measures=["Deletion(steps=5)"])
    objects = assay.audit(model, images(2), explainers=[assay.Gradient()], measures=[assay.Deletion(steps=5)])
    assert specs.scores.equals(objects.scores)


def test_two_of_a_kind_are_told_apart_by_their_parameters(model, images):
    found = assay.audit(
        model,
        images(2),
        explainers=["SmoothGrad(sigma=0.1, samples=2)", "SmoothGrad(sigma=0.2, samples=2)"],
        measures=["Deletion(steps=2)", "Deletion(steps=3)"],
    )
    assert found.summary["explainer"].n_unique() == 2
    assert found.summary["measure"].unique(maintain_order=True).to_list() == ["Deletion(steps=2)", "Deletion(steps=3)"]


def test_the_floor_named_among_the_explainers_is_no_contestant(model, images):
    found = assay.audit(model, images(2), explainers=["RandomMap", "Gradient"], measures=["Deletion"])
    assert found.summary["explainer"].to_list() == ["Gradient"]


def test_without_truth_the_default_measures_leave_localisation_out(model, images, monkeypatch):
    monkeypatch.setattr("assay.study.audit.study.MEASURES", (assay.Deletion(steps=2), assay.MaskIoU()))
    found = assay.audit(model, images(2), explainers=["Gradient"])
    assert set(found.scores["measure"]) == {"Deletion"}


def test_the_defaults_are_the_six_explainers_of_the_paper_and_seven_measures():
    names = [type(one).__name__ for one in EXPLAINERS]
    assert names == ["Gradient", "GradientXInput", "IntegratedGradients", "SmoothGrad", "Lime", "KernelShap"]
    assert len({type(one) for one in MEASURES}) == 7


def test_one_image_is_audited_without_claims(model, images):
    found = assay.audit(model, images(1), explainers=["Gradient"], measures=["Deletion"])
    assert found.summary["verdict"].to_list() == [""]
    assert "Only 1 image was scored" in found.verdict[-1]
    assert (found.trusted, found.recommended) == ((), None)


def test_images_of_other_channels_are_audited_and_shown(images, tmp_path):
    found = assay.audit(assay.Classifier(plain(channels=5)), images(2, 5), explainers=["Gradient"], measures=["Deletion"])
    assert found.page.part(Gallery).images.shape == (2, 1, 8, 8)
    found.to_html(tmp_path / "page.html")


def test_images_that_give_nan_are_listed_and_spoil_no_other(fragile, images, truth):
    pixels = images(4) * 0.9
    pixels[:, 0, 0, 0] = 0.1  # Far from the limit also for noisy copies.
    sound = assay.audit(fragile, pixels, explainers=SIX, measures=ALL, truth=truth(4))
    pixels[1, 0, 0, 0] = 1.0
    found = assay.audit(fragile, pixels, explainers=SIX, measures=ALL, truth=truth(4), names=["a", "b", "c", "d"])
    assert found.status["status"].to_list() == ["ok", "the model's output is NaN or infinite", "ok", "ok"]
    assert found.page.problems == (("b", "the model's output is NaN or infinite"),)
    assert found.scores.filter(pl.col("image") == 1)["value"].is_nan().all()
    others = pl.col("image") != 1
    np.testing.assert_allclose(found.scores.filter(others)["value"], sound.scores.filter(others)["value"], rtol=1e-4, atol=1e-6)
    assert set(found.summary["count"]) == {3}
    assert found.page.part(Gallery).names == ("a", "c", "d")


def test_images_with_pixels_that_are_nan_are_listed_and_spoil_no_other(model, images, truth):
    pixels = images(4)
    sound = assay.audit(model, pixels, explainers=SIX, measures=ALL, truth=truth(4))
    pixels[2, 1, 3, 3] = math.nan
    found = assay.audit(model, pixels, explainers=SIX, measures=ALL, truth=truth(4))
    assert found.status["status"].to_list() == ["ok", "ok", "cannot be read: a pixel is NaN or infinite", "ok"]
    others = pl.col("image") != 2
    np.testing.assert_allclose(found.scores.filter(others)["value"], sound.scores.filter(others)["value"], rtol=1e-4, atol=1e-6)
    assert (
        assay.frontier(model, pixels, explainer=assay.Gradient(), sigmas=[0, 0.1])
        .status["status"]
        .to_list()[2]
        .startswith("cannot be read")
    )


def test_what_was_found_about_the_network_is_in_report_and_record(images):
    soft = assay.Classifier(torch.nn.Sequential(plain(), torch.nn.Softmax(1)))
    found = assay.audit(soft, images(2), explainers=["Gradient"], measures=["Deletion"])
    assert "probabilities already" in found.page.settings["what to know of the network"]
    assert found.record["setup"]["model"]["findings"] == list(soft.findings)


def test_an_explainer_that_gives_nan_loses_only_its_own_scores(model, images, monkeypatch, tmp_path):
    attribute = assay.GradientXInput.attribute

    def broken(self, *arguments):
        maps = attribute(self, *arguments)
        maps[0] = math.nan
        return maps

    monkeypatch.setattr(assay.GradientXInput, "attribute", broken)
    found = assay.audit(model, images(2), explainers=["Gradient", "GradientXInput"], measures=["Deletion"])
    assert found.status["status"].to_list() == ["NaN or infinity in the map of GradientXInput", "ok"]
    assert math.isnan(value(found, "GradientXInput", "Deletion", 0))
    assert all(math.isfinite(value(found, name, "Deletion", 0)) for name in ("Gradient", "RandomMap"))
    found.save(tmp_path)


def test_a_model_that_gives_only_nan_is_one_clear_error(fragile):
    with pytest.raises(NotFiniteError, match=r"NaN or infinity for every image.*image 0"):
        assay.audit(fragile, torch.ones(2, 3, 8, 8), explainers=["Gradient"], measures=["Deletion"])


def test_unreadable_files_are_listed_in_status_report_and_progress(model, images):
    steps = []
    source = Broken(batch(images(4)), {1: "the file is empty", 3: "no image"})
    found = audited(model, source, block=1, progress=lambda *told: steps.append(told))
    assert found.status["image"].to_list() == [0, 1, 2, 3]
    states = found.status["status"].to_list()
    assert states == ["ok", "cannot be read: the file is empty", "ok", "cannot be read: no image"]
    assert found.page.problems == (("image 1", "the file is empty"), ("image 3", "no image"))
    assert found.page.settings["images"].startswith("2 of 4")
    done = [done for _, done, _ in steps]
    assert done == sorted(done)
    assert steps[-1][1] == steps[-1][2]


def test_only_unreadable_files_are_one_clear_error(model, images):
    source = Broken(batch(images(5)), dict.fromkeys(range(5), "no image"))
    with pytest.raises(EmptyBatchError, match=r"no image could be read.*image 0: no image; .*; and 2 more"):
        audited(model, source)


def test_a_report_of_many_problems_says_where_the_rest_is(model, images, monkeypatch):
    monkeypatch.setattr("assay.study.tally._LISTED", 2)
    found = audited(model, Broken(batch(images(4)), dict.fromkeys(range(3), "no image")), block=2)
    assert found.page.problems == (("image 0", "no image"), ("image 1", "no image"), ("1 more", "listed in status.csv"))


@pytest.mark.parametrize("block", [1, 2, 3, 64])
def test_the_gallery_shows_the_first_sound_image_at_or_after_each_position_of_its_block(model, images, block):
    source = Broken(batch(images(6)), {0: "no image", 3: "no image"})
    found = audited(model, source, block=block, gallery=2)
    at = {1: ("image 1",), 2: ("image 1",), 3: ("image 1", "image 4"), 64: ("image 1", "image 4")}
    # With blocks of one image nothing is left of positions 0 and 3, and the first sound image stands for all.
    assert found.page.part(Gallery).names == at[block]


def test_a_gallery_has_as_many_images_as_there_are_and_none_twice(model, images):
    found = audited(model, Broken(batch(images(4)), {1: "no image"}), gallery=9)
    assert found.page.part(Gallery).names == ("image 0", "image 2", "image 3")


def test_labels_are_matched_by_class_name(model, images):
    pixels = images(2)
    named = assay.Classifier(plain(), classes=["a", "b", "c", "d"])
    predicted = named.predict(pixels).tolist()
    order = ("d", "c", "b", "a")
    one = batch(pixels)
    labelled = Broken(Batch(**{**vars(one), "labels": torch.tensor([3 - best for best in predicted])}))
    found = audited(named, labelled, classes=order)
    assert found.page.settings["accuracy"] == "100.0% of 2 labelled images"
    assert found.page.part(Gallery).labels == found.page.part(Gallery).predictions
    foreign = audited(named, labelled, classes=["x"] * 5)
    assert "unknown" in foreign.page.settings["accuracy"]
    assert foreign.page.part(Gallery).labels == ("", "")


GOOD = {"explainers": ["Gradient"], "measures": ["Deletion"]}
WRONG = [
    ({"explainers": ["Gradent"]}, SpecError, "did you mean Gradient"),
    ({"explainers": ["SmoothGrad(sigm=1)"]}, SpecError, "did you mean sigma"),
    ({"explainers": ["Deletion"]}, SpecError, "is not an Explainer"),
    ({"explainers": [assay.Deletion()]}, SpecError, "explainers must be Explainer objects"),
    ({"explainers": [assay.Gradient]}, SpecError, "explainers must be Explainer objects"),
    ({"explainers": "Gradient"}, SpecError, "as a list"),
    ({"explainers": ["Gradient", assay.Gradient()]}, SpecError, "Gradient is given twice"),
    ({"explainers": ["SmoothGrad", "SmoothGrad(sigma=0.03)"]}, SpecError, "SmoothGrad is given twice"),
    ({"measures": ["Deletion", "Deletion"]}, SpecError, "Deletion is given twice"),
    ({"explainers": []}, SpecError, "at least one explainer"),
    ({"explainers": ["RandomMap"]}, SpecError, "beside the random map"),
    ({"measures": []}, SpecError, "one measure"),
    ({"measures": ["MaskIoU"]}, SpecError, "MaskIoU needs masks of the known evidence"),
    ({"gallery": 0}, SpecError, "gallery must be at least 1"),
    ({"targets": torch.tensor([0, 4])}, TargetError, "target 4 of image 1"),
    ({"labels": torch.tensor([0, -2])}, TargetError, "target -2 of image 1"),
    ({"truth": torch.zeros(2, 8, 8)}, ShapeError, "truth must be masks"),
    ({"names": ["a"]}, ShapeError, "names holds 1 names for 2 images"),
    ({"index": torch.tensor([1, 1])}, ShapeError, "the same number"),
    ({"images": torch.full((2, 3, 8, 8), 2.0)}, PixelRangeError, "must be in"),
    ({"images": torch.empty(0, 3, 8, 8)}, EmptyBatchError, "empty"),
    ({"model": torch.nn.Flatten()}, ModelError, "wrap the network"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRONG)
def test_a_mistake_is_named_before_any_work(model, images, change, error, message):
    before = model.passes.copy()
    with pytest.raises(error, match=message):
        assay.audit(**({"model": model, "images": images(2)} | GOOD | change))
    assert model.passes == before


def test_measures_of_the_distractor_take_its_masks_and_are_refused_without_them():
    model, images = assay.Classifier(plain()), torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    where = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    where[:, :, :4] = True
    found = assay.audit(model, images, explainers=[assay.Gradient()], measures=[assay.DistractorShare()], distractor=where)
    maps = assay.Gradient()(model, images)
    expected = assay.DistractorShare()(model, images, maps, distractor=where)
    own = found.scores.filter(found.scores["explainer"] == "Gradient")["value"].to_list()
    assert own == pytest.approx(expected.tolist())
    with pytest.raises(SpecError, match="needs masks of a known distractor"):
        assay.audit(model, images, explainers=[assay.Gradient()], measures=[assay.DistractorShare()])


def test_the_report_says_what_kind_of_thing_the_images_were(model, images):
    pixels = images(2)
    arrays = [(one.permute(1, 2, 0).numpy() * 255).round().astype("uint8") for one in pixels]
    for given, told in ((pixels, "images given as a tensor"), (arrays, "images given as list")):
        found = assay.audit(model, given, explainers=[assay.Gradient()], measures=[assay.Deletion(steps=2)])
        assert told in json.dumps(found.record)

import numpy as np
import polars as pl
import pytest
import torch

import assay
from assay.comparison.map_changes import map_changes
from assay.comparison.paired_scores import paired, predictions
from assay.errors import AssayError, DataError, ImageTypeError
from assay.stats.intervals import means
from reference.nets import plain
from reference.specs import SMALL

QUICK = {"explainers": ["Gradient", SMALL["SmoothGrad"]], "measures": [SMALL["Deletion"]]}


@pytest.fixture(scope="module")
def images():
    return torch.rand(14, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def models():
    return assay.Classifier(plain(seed=0)), assay.Classifier(plain(seed=1))


@pytest.fixture(scope="module")
def audits(models, images):
    return [assay.audit(one, images, torch.zeros(14, dtype=torch.long), **QUICK) for one in models]


def long(values, explainer="Gradient", measure="Deletion", direction="lower", images=None):
    """Scores of one explainer and of the random map, which scores 1 everywhere."""
    numbers = list(range(len(values))) if images is None else images
    rows = [
        (n, e, measure, v, direction) for n, own in zip(numbers, values, strict=True) for e, v in ((explainer, own), ("RandomMap", 1.0))
    ]
    return pl.DataFrame(rows, schema=["image", "explainer", "measure", "value", "direction"], orient="row")


def test_gains_over_the_random_map_are_paired_by_image_whatever_the_order():
    first, second = [0.5, 0.6, 0.7, 0.4], [0.3, 0.2, 0.6, 0.1]
    other = long(second).sample(fraction=1.0, shuffle=True, seed=3)
    row = paired(long(first), other, "RandomMap").row(0, named=True)
    difference = np.array(first) - np.array(second)  # Lower is better, so less is a gain.
    assert row["difference"] == pytest.approx(difference.mean())
    assert (row["first_gain"], row["second_gain"]) == pytest.approx((0.45, 0.7))
    assert (row["first"], row["second"], row["images"]) == (pytest.approx(0.55), pytest.approx(0.3), 4)
    interval = means(difference[:, None])[0]
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))


def test_a_change_is_told_by_its_direction_and_chance_is_none():
    noise = np.random.default_rng(0).normal(size=40)
    base = 0.5 + 0.01 * noise
    for shift, outcome in ((-0.2, "better"), (0.2, "worse"), (0.0, "no change shown")):
        moved = base + shift + 0.01 * np.random.default_rng(1).normal(size=40)
        assert paired(long(base), long(moved), "RandomMap")["outcome"].item() == outcome


def test_p_values_are_corrected_for_their_number():
    rng = np.random.default_rng(4)
    one = [long(rng.normal(size=30), explainer=f"E{k}") for k in range(6)]
    two = [long(rng.normal(size=30), explainer=f"E{k}") for k in range(6)]
    alone = [paired(a, b, "RandomMap")["p"].item() for a, b in zip(one, two, strict=True)]
    together = paired(pl.concat(one).unique(), pl.concat(two).unique(), "RandomMap")["p"].to_list()
    assert min(together) == pytest.approx(min(1.0, 6 * min(alone)))


def test_images_that_only_one_has_are_left_out_and_none_in_common_is_an_error():
    found = paired(long([0.1, 0.2, 0.3], images=[1, 2, 3]), long([0.4, 0.5, 0.6], images=[2, 3, 4]), "RandomMap")
    assert found["images"].item() == 2
    with pytest.raises(DataError, match="no image with a score"):
        paired(long([0.1], images=[1]), long([0.1], images=[2]), "RandomMap")


def test_predictions_are_counted_on_the_images_that_both_have():
    first = pl.DataFrame({"image": [0, 1, 2, 3], "predicted": [0, 0, 2, 1], "right": [True, False, None, True]})
    second = pl.DataFrame({"image": [3, 2, 1, 9], "predicted": [0, 2, 1, 0], "right": [False, None, True, True]})
    found = predictions(first, second)
    assert found == {"images": 3, "same": 1, "labelled": 2, "first right": 1, "second right": 1, "gained": 1, "lost": 1}


def test_a_model_beside_itself_is_unchanged(models, images):
    found = map_changes(models[0], models[0], [assay.Gradient()], images, torch.zeros(14, dtype=torch.long), torch.arange(14), 0)
    row = found.table.row(0, named=True)
    assert row["between"] == pytest.approx(0, abs=1e-6)
    assert row["seed"] == pytest.approx(0, abs=1e-6)
    assert row["changed"] is False


def test_another_model_changes_maps_by_more_than_noise(models, images):
    found = map_changes(*models, [assay.Gradient()], images, torch.zeros(14, dtype=torch.long), torch.arange(14), 0)
    row = found.table.row(0, named=True)
    assert row["between"] > 0.3 > row["noise"]
    assert row["changed"] is True


def test_an_explainer_whose_maps_are_noise_is_not_called_changed(models, images):
    found = map_changes(*models, [assay.RandomMap()], images, torch.zeros(14, dtype=torch.long), torch.arange(14), 0)
    row = found.table.row(0, named=True)
    assert row["changed"] is False


def test_two_audits_are_compared_by_their_scores(audits):
    found = assay.compare(*audits, names=("old", "new"))
    assert set(found.table["explainer"]) == set(audits[0].summary["explainer"])
    mean = audits[0].summary.filter(pl.col("explainer") == "Gradient")["mean"].item()
    assert found.table.filter(pl.col("explainer") == "Gradient")["first"].item() == pytest.approx(mean)
    assert found.maps.is_empty()
    assert repr(found).startswith("Comparison(old and new: ")
    assert "<table>" in found._repr_html_()


def test_an_audit_beside_itself_shows_no_change(audits):
    found = assay.compare(audits[0], audits[0])
    assert set(found.table["outcome"]) == {"no change shown"}
    assert found.verdict[0].startswith("No change of any score is shown on 14 images")


def test_two_models_are_explained_for_the_first_ones_classes(models, images, tmp_path):
    found = assay.compare(*models, images, labels=models[0].predict(images), names=("plain", "other"), **QUICK)
    assert found.counts["first right"] == found.counts["images"] == 14
    assert found.counts["same"] == int((models[0].predict(images) == models[1].predict(images)).sum())
    assert found.maps["explainer"].to_list() == found.table["explainer"].unique(maintain_order=True).to_list()
    page = found.to_html(tmp_path / "compare.html").read_text()
    assert all(one in page for one in ("What became of the maps", "plain", "other", "data:image/png"))
    assert "https:" not in page


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("mm", ImageTypeError, "give images="),
        ("am", ImageTypeError, "two models and images, or two audits"),
        ("aai", ImageTypeError, "two models and images, or two audits"),
        ("a3", ImageTypeError, "not int"),
        ("?a", DataError, "nowhere is no run folder"),
    ],
)
def test_what_does_not_go_together_is_named(models, audits, images, given, error, message):
    with pytest.raises(error, match=message) as caught:
        assay.compare(*({"m": models[0], "a": audits[0], "i": images, "3": 3, "?": "nowhere"}[one] for one in given))
    assert isinstance(caught.value, AssayError)


@pytest.fixture
def other_order():
    """Images of a data set whose classes are the models' in another order, and the model's class of each."""
    names = ("b", "c", "a")
    found = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    model = assay.Classifier(plain(), classes=("a", "b", "c", "d"))

    class Held(torch.utils.data.Dataset):
        classes = names

        def __len__(self):
            return len(found)

        def __getitem__(self, at):
            guess = model.classes[int(model.predict(found[at : at + 1]))]
            return found[at], names.index(guess) if guess in names else -1

    return model, Held()


def test_right_predictions_are_those_of_the_models_class_of_a_label(other_order):
    model, data = other_order
    known = sum(data[at][1] >= 0 for at in range(len(data)))
    assert known > 1
    counts = assay.compare(model, model, data, explainers=["Gradient"], measures=["Deletion(steps=2)"]).counts
    assert (counts["labelled"], counts["first right"], counts["second right"]) == (known, known, known)
    audit = assay.audit(model, data, explainers=["Gradient"], measures=["Deletion(steps=2)"])
    assert audit.status["right"].drop_nulls().to_list() == [True] * known
    assert audit.status["label"].to_list() != audit.status["predicted"].to_list()

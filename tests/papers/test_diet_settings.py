import contextlib

import pytest
import torch
from PIL import Image

import assay
from assay.errors import DataError, SpecError
from assay.papers.diet.presets import RIVALS, demo_settings, diet_preset
from assay.papers.diet.settings import DIET, PAPER_RECIPE, DietSettings
from assay.papers.diet.work import DataForm
from assay.papers.settings import from_file, merged
from assay.tune.choice import RoundK
from reference.studies import tiny

DATA = ("hard-digits", "hard-mnist", "chest-xray", "celeba")
EVERY = pytest.mark.parametrize(("dataset", "name"), [(data, name) for data in DATA for name in ("small", "paper")])
CPU = torch.device("cpu")


@EVERY
def test_every_spec_of_every_preset_builds(dataset, name):
    settings = diet_preset(dataset, name)
    form = DataForm(settings, next(iter(settings.variants)), CPU)
    architecture, recipe = form.training
    assert architecture.classes == {"chest-xray": 2, "celeba": 3}.get(dataset, 10)
    assert recipe.epochs == (10 if name == "paper" else recipe.epochs)
    assert len(form.backgrounds) >= 2
    for variant in settings.variants.values():
        for spec in filter(None, (variant.train, variant.tune, variant.test, variant.reversed)):
            with contextlib.suppress(DataError):  # The spec is right; the files are not on this machine.
                assay.build(spec, assay.data.Dataset)


@EVERY
def test_both_recipes_get_as_many_settings_and_the_authors_no_limit(dataset, name):
    methods = DataForm(diet_preset(dataset, name), next(iter(diet_preset(dataset, name).variants)), CPU).methods
    assert list(methods) == [DIET, PAPER_RECIPE]
    assert {len(tried) for tried in methods.values()} == {3}
    for one in methods[PAPER_RECIPE]:
        assert one.mask_stop.most is one.model_stop.most is None
        assert (one.choice, one.average, one.tolerance, one.mask_optimiser) == (RoundK(1), False, 0.0, "paper")
        assert (one.rounds, one.model_lr, one.batch_size, one.lambda_model, one.lambda_data) == (5, 1e-4, 128, 1, 1)


def test_a_useless_cell_can_be_erased_by_every_setting_of_the_authors_recipe():
    # Case 60: with 15 epochs a phase, no cell could fall from 1 to where it is rounded to 0.
    for dataset in DATA:
        for name in ("small", "paper"):
            settings = diet_preset(dataset, name)
            form = DataForm(settings, next(iter(settings.variants)), CPU)
            for one in form.methods[PAPER_RECIPE]:
                assert not one.mask_stop.reached([1 - 0.01 * epoch for epoch in range(90)])


def test_the_rivals_are_those_of_the_authors_and_of_the_demo_s_lesson():
    assert {"Gradient", "GradientXInput", "GradCAM", "SimpleFullGrad", "FullGrad", "IntegratedGradients", "Lime", "KernelShap"} < set(
        RIVALS
    )
    assert assay.SmoothGrad(sigma=0.15, samples=100) in [assay.build(one) for one in RIVALS]
    assert {"Lime", "KernelShap"} < set(demo_settings(0).explainers)


def test_the_paper_s_preset_has_the_paper_s_figures():
    settings = diet_preset("hard-mnist", "paper")
    recipe = assay.build(settings.recipe)
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.precision) == (10, 256, 1e-4, "float32")
    assert settings.keep == (0.1, 0.05, 0.02, 0.01)
    assert settings.tune_images == 1500
    assert "size=224" in settings.variants["hard-mnist"].test


def test_chest_x_rays_are_studied_at_the_paper_s_strength_with_the_tag_reversed_plain_and_with_pixel_dropout():
    settings = diet_preset("chest-xray", "small")
    variants = settings.variants
    assert list(variants) == ["plain baseline", "pixel dropout"]
    for variant in variants.values():
        assert variant.test == 'ChestXray(split="test", size=112, tag="NORMAL", strength=0.05, tag_size=32)'
        assert 'tag="PNEUMONIA"' in variant.reversed
    recipes = [DataForm(settings, name, CPU).training[1] for name in variants]
    assert [any(type(one).__name__ == "PixelDropout" for one in recipe.augment) for recipe in recipes] == [False, True]


def test_a_study_file_changes_what_it_says_and_nothing_else(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('seed = 3\nexplainers = ["Gradient"]\nkeep = [0.2]\n[methods]\nmine = ["DiET(rounds=2)"]\n')
    base = diet_preset("hard-digits", "small")
    found = merged(base, from_file(path))
    assert (found.seed, found.explainers, found.keep, found.methods) == (3, ("Gradient",), (0.2,), {"mine": ("DiET(rounds=2)",)})
    kept = {"dataset", "preset", "architecture", "recipe", "variants", "backgrounds", "tune_images", "scored_images", "precision"}
    assert found.model_dump(include=kept) == base.model_dump(include=kept)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"tune_imagse": 3}, "tune_imagse"),
        ({"tune_images": 0}, "tune_images"),
        ({"keep": [1.5]}, "keep.0"),
        ({"seeds": 999_999_999}, "seeds"),
        ({"explainers": []}, "explainers"),
        ({"methods": {"DiET": []}}, "methods.DiET"),
        ({"precision": "float16"}, "precision"),
        ({"variants": {"a": {"train": "HardDigits"}}}, "variants.a.tune"),
        ({"seed": "one"}, "seed"),
    ],
)
def test_a_wrong_setting_is_named(changes, where):
    with pytest.raises(SpecError, match=f"the study file is wrong at {where}"):
        tiny(**changes)


def test_a_file_that_is_no_study_is_told(tmp_path):
    (tmp_path / "broken.toml").write_text("a = ")
    with pytest.raises(SpecError, match="is no TOML"):
        from_file(tmp_path / "broken.toml")
    with pytest.raises(SpecError, match="cannot read the study file"):
        from_file(tmp_path / "missing.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="no UTF-8"):
        from_file(tmp_path / "bytes.toml")


def test_settings_survive_their_own_text():
    settings = tiny()
    assert DietSettings.model_validate_json(settings.model_dump_json()) == settings


def test_classes_that_do_not_match_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name / "one.png")
    folder = f"ImageFolder(path='{tmp_path}')"
    digits = "HardDigits(split='{}', size=32)"
    variants = {"x": {"train": digits.format("train"), "tune": folder, "test": digits.format("test")}}
    with pytest.raises(DataError, match="the tune images have classes a, b, the test images 0, 1"):
        DataForm(tiny(variants=variants), "x", CPU).check()

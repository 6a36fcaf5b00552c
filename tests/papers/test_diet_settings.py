import contextlib

import pytest
import torch
from PIL import Image

import assay
from assay.errors import DataError, SpecError
from assay.papers.diet.plan import Plan
from assay.papers.diet.presets import preset
from assay.papers.diet.settings import DietSettings
from assay.papers.settings import from_file, merged
from reference.studies import tiny

EVERY = pytest.mark.parametrize(
    ("dataset", "name"), [(data, name) for data in ("hard-digits", "hard-mnist", "chest-xray", "celeba") for name in ("small", "paper")]
)


@EVERY
def test_every_spec_of_every_preset_builds(dataset, name):
    settings = preset(dataset, name)
    plan = Plan(settings, next(iter(settings.variants)), torch.device("cpu"))
    architecture, recipe = plan.training
    assert architecture.classes == {"chest-xray": 2, "celeba": 3}.get(dataset, 10)
    assert recipe.epochs == (10 if name == "paper" else recipe.epochs)
    assert len(plan.methods) == 2
    assert {type(one).__name__ for one in plan.explainers} >= {
        "Gradient",
        "SmoothGrad",
        "GradCAM",
        "SimpleFullGrad",
        "FullGrad",
        "RandomMap",
    }
    assert len(plan.backgrounds) >= 2
    assert plan.mask_network.epochs
    for variant in settings.variants.values():
        for spec in filter(None, (variant.train, variant.tune, variant.test, variant.reversed)):
            with contextlib.suppress(DataError):  # The spec is right; the files are not on this machine.
                assay.build(spec, assay.data.Dataset)


def test_the_paper_s_preset_has_the_paper_s_figures():
    settings = preset("hard-mnist", "paper")
    recipe = assay.build(settings.recipe)
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.precision) == (10, 256, 1e-4, "float32")
    literal = assay.build(settings.methods["DiET, paper's recipe"])
    assert (literal.rounds, literal.upsample, literal.mask_optimiser, literal.model_lr, literal.batch_size) == (5, 8, "paper", 1e-4, 128)
    assert (literal.lambda_model, literal.lambda_data) == (1, 1)
    assert settings.keep == (0.1, 0.05, 0.02, 0.01)
    assert settings.tune_images == 1500
    assert "size=224" in settings.variants["hard-mnist"].test


def test_chest_x_rays_are_studied_at_both_strengths_with_the_tag_reversed():
    variants = preset("chest-xray", "small").variants
    assert [variant.test for variant in variants.values()] == [
        f'ChestXray(split="test", size=112, tag="NORMAL", strength={strength}, tag_size=32)' for strength in ("0.05", "0.2")
    ]
    assert all('tag="PNEUMONIA"' in variant.reversed for variant in variants.values())


def test_chest_x_rays_are_erased_to_what_has_no_tag_and_erasure_is_tried_with_that_too():
    for name in ("small", "paper"):
        settings = preset("chest-xray", name)
        ours = assay.build(settings.methods["DiET"])
        assert [type(one).__name__ for one in ours.background.choices] == ["Blur", "DatasetMean"]
        assert ours.background in [assay.build(one) for one in settings.backgrounds]
        assert not set(ours.judges) & set(ours.background.choices)


def test_a_study_file_changes_what_it_says_and_nothing_else(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('seed = 3\nexplainers = ["Gradient"]\nkeep = [0.2]\n[methods]\nmine = "DiET(rounds=2)"\n')
    base = preset("hard-digits", "small")
    found = merged(base, from_file(path))
    assert (found.seed, found.explainers, found.keep, found.methods) == (3, ("Gradient",), (0.2,), {"mine": "DiET(rounds=2)"})
    kept = {"dataset", "preset", "architecture", "recipe", "variants", "backgrounds", "tune_images", "scored_images", "precision"}
    assert found.model_dump(include=kept) == base.model_dump(include=kept)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"tune_imagse": 3}, "tune_imagse"),
        ({"tune_images": 0}, "tune_images"),
        ({"keep": [1.5]}, "keep.0"),
        ({"explainers": []}, "explainers"),
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
        Plan(tiny(variants=variants), "x", torch.device("cpu")).check()

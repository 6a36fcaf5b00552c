import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from assay.attack.predictions.pgd import PGD
from assay.core.ranks import Ranks
from assay.core.registry import build, short
from assay.data import Dataset
from assay.errors import DataError, SpecError, WeightsError
from assay.explain.smooth import Smoothed, samples_for
from assay.models.nets.named import NAMED
from assay.models.sources import checkpoint
from assay.papers.robustness.networks import JUDGE, ROBUST, TRAININGS, default_models, networks, training_command
from assay.papers.robustness.plan import RobustnessPlan
from assay.papers.robustness.settings import RobustnessSettings, chosen, preset
from assay.papers.robustness.study import share_steps
from assay.study.audit.standard import PAPER

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "robustness.md"
BOTH = pytest.mark.parametrize("name", ["small", "paper"])


def sweeps(settings, model):
    plan = RobustnessPlan(settings, torch.device("cpu"))
    return {name: plan.sweep(part, model) for name, part in settings.parts.items()}


@BOTH
def test_every_spec_of_every_preset_builds(name, model):
    settings = preset(name)
    plan = RobustnessPlan(settings, torch.device("cpu"))
    for part in settings.parts.values():
        sweep = plan.sweep(part, model)
        assert (sweep.attack, len(sweep.faithfulness), len(plan.distances)) == (None, 5, 2)
        assert (plan.attack(part).norm, plan.attack(part).eps) == ("l2", 0.5)
        assert len(sweep.kernels) == 1 + len(part.kernels)
    assert build(settings.certified.attack).norm == "l2"
    assert settings.images == 1000
    try:
        assert len(build(settings.data, Dataset).classes) == 10
    except DataError:  # The spec is right; the files are not on this machine.
        assert settings.data == "CIFAR10"


def test_the_paper_s_preset_has_the_paper_s_figures(model):
    settings = preset("paper")
    assert {(part.images, part.attacked) for part in settings.parts.values()} == {(1000, 1000)}
    found = sweeps(settings, model)
    assert found["explainers"].everyone == list(PAPER)
    for part in ("Gaussian", "uniform"):
        smoothed = [one for one in found[part].everyone if isinstance(one, Smoothed)]
        assert len(smoothed) == 5 * 4
        assert all(one.count == samples_for(one.kernel.spread) for one in smoothed)
    assert settings.precision == settings.attack_precision == "float32"
    assert all("-paper" in name for name in settings.models)


@BOTH
def test_each_preset_has_four_backbones_and_their_robust_twins(name):
    models = default_models(name)
    assert len(models) == 8
    for one in models:
        training = TRAININGS[one]
        assert training.architecture in NAMED
        assert (training.recipe.adversary is not None) == one.endswith(ROBUST)
        assert one.removesuffix(ROBUST) in models
        standard = TRAININGS[one.removesuffix(ROBUST)]
        assert (training.architecture, training.recipe.optimiser) == (standard.architecture, standard.recipe.optimiser)
        if one.endswith(ROBUST):
            assert training.start == (one.removesuffix(ROBUST) if name == "small" else None)
        else:
            assert training.start in (None, f"{one}-first")


def test_missing_weights_are_told_with_the_commands_of_all_that_they_go_on_from(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "shipped", lambda: ())
    with pytest.raises(WeightsError) as told:
        networks(["resnet-cifar10", "resnet-cifar10-robust"], tmp_path)
    made = [word for word in shlex.split(str(told.value).partition("make them by ")[2]) if word.endswith(".safetensors")]
    first, standard, robust = (str(tmp_path / f"resnet-cifar10{end}.safetensors") for end in ("-first", "", "-robust"))
    # What each command starts from and what it writes.
    assert made == [first, first, standard, standard, robust]


def test_a_training_s_command_is_read_by_the_command_line_as_the_table_has_it():
    from assay.models.training.adversary import Adversary
    from assay.models.training.recipe import Recipe

    words = shlex.split(training_command("swin-cifar10-robust", "some folder"))
    assert words[:2] == ["assay", "train"]
    told, training = dict(zip(words[2:-3:2], words[3:-3:2], strict=True)), TRAININGS["swin-cifar10-robust"]
    assert build(told["--adversarial"], Adversary) == training.recipe.adversary
    assert replace(build(told["--recipe"], Recipe), adversary=training.recipe.adversary) == training.recipe
    assert build(told["--robust-accuracy"], PGD) == JUDGE
    assert told["--start"] == "swin-cifar10"
    assert "--start 'some folder/resnet-cifar10-first.safetensors'" in training_command("resnet-cifar10", "some folder")
    assert "--start" not in training_command("swin-cifar10")
    assert words[-3:] == ["--half", "--out", "some folder/swin-cifar10-robust.safetensors"]


def test_the_page_has_the_small_preset_s_parts():
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines() if line.startswith("|")]
    rows = {line[0]: line[1:] for line in lines if len(line) == 7}
    for name, part in preset("small").parts.items():
        explainers, kernels, copies, images, attacked, draws = rows[name]
        assert explainers.split(", ") == [one.partition("(")[0] for one in part.explainers]
        widths = [one.partition("=")[2].rstrip(")") for one in part.kernels]
        assert kernels.replace(",", "").split()[1:] == widths
        assert [copies, images, attacked, draws] == [str(one) for one in (part.samples or "–", part.images, part.attacked, part.draws)]


def test_changes_may_name_another_preset_and_wrong_ones_are_named():
    found = chosen("small", {"preset": "paper", "seed": 3, "images": 1200})
    assert (found.preset, found.seed, found.images) == ("paper", 3, 1200)
    assert found.parts == preset("paper").parts
    for changes, where in (({"preset": "huge"}, "preset"), ({"parts": {}}, "parts"), ({"imags": 3}, "imags"), ({"images": 1}, "images")):
        with pytest.raises(SpecError, match=f"the study file is wrong at {where}"):
            chosen("small", changes)


def test_settings_survive_their_own_text():
    settings = preset("small")
    assert RobustnessSettings.model_validate_json(settings.model_dump_json()) == settings
    assert short(build(settings.parts["surrogates"].explainers[1])) == settings.parts["surrogates"].explainers[1]


def test_two_processes_take_as_many_steps_of_each_part_and_kind():
    plan = RobustnessPlan(preset("small"), torch.device("cpu"))
    steps = plan.steps
    pending = list(range(3, len(steps)))
    shares = [share_steps(plan, SimpleNamespace(pending=lambda: pending, ranks=Ranks(rank, 2))) for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == pending
    one, other = (Counter((steps[number].part, steps[number].kind) for number in share) for share in shares)
    assert all(abs(one[kind] - other[kind]) <= 1 for kind in one | other)

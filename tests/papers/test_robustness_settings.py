import shlex
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from assay.attack.predictions.pgd import PGD
from assay.core.ranks import Ranks
from assay.core.registry import build, short
from assay.data import Dataset
from assay.errors import DataError, SpecError, WeightsError
from assay.models.nets.named import NAMED
from assay.models.sources import checkpoint
from assay.models.sources.trainings import FIRST, ROBUST, TRAININGS, TWINS, backbone, is_robust, training_command
from assay.models.training.adversary import Adversary
from assay.models.training.recipe import Recipe
from assay.papers.robustness.jobs import Jobs
from assay.papers.robustness.measured import Measured
from assay.papers.robustness.networks import default_models, networks
from assay.papers.robustness.settings import RobustnessSettings, robustness_preset, robustness_settings
from assay.run.folder import Run
from assay.study.audit.standard import PAPER_EXPLAINERS

BOTH = pytest.mark.parametrize("name", ["small", "paper"])


def jobs(settings):
    return Jobs(settings, torch.device("cpu"))


def test_every_spec_of_the_small_preset_builds():
    settings = robustness_preset("small")
    table = jobs(settings).table
    graded = [name for name, part in settings.parts.items() if part.networks == "graded"]
    # Beside them the theorem's condition, nulls and certificates; graded networks are there only where a folder of them is given.
    assert len(table) == len(settings.models) * (len(settings.parts) - len(graded) + 3)
    assert all(job.images <= settings.images == 1000 for job in table)
    try:
        assert len(build(settings.data, Dataset).classes) == 10
    except DataError:  # The spec is right; the files are not on this machine.
        assert settings.data == "CIFAR10"


@BOTH
def test_the_papers_six_explainers_are_measured_as_in_the_paper_on_probability_and_logit(name):
    settings = robustness_preset(name)
    for output in ("probability", "logit"):
        parts = [settings.parts[f"{kind}, {output}"] for kind in ("gradients", "paths", "SmoothGrad", "surrogates")]
        faithful = settings.parts[f"faithfulness, {output}"]
        assert [spec for part in parts for spec in part.explainers] == list(faithful.explainers) == [short(one) for one in PAPER_EXPLAINERS]
        assert {part.outputs for part in (*parts, faithful)} == {(output,)}
        assert {part.measures for part in parts} == {("LocalLipschitz(draws=50, sigma=0.03)",)}
        assert sum(one.startswith("MarginalContribution(groups=100") for one in faithful.measures) == 3


def test_sixteen_bits_are_for_local_lipschitz_constants_of_the_small_preset_alone():
    for part in robustness_preset("small").parts.values():
        assert (part.precision == "auto") == (not part.score and all(one.startswith("LocalLipschitz") for one in part.measures))
    assert {part.precision for part in robustness_preset("paper").parts.values()} == {None}


def test_the_small_preset_takes_a_thousand_images_for_the_gradient_and_its_product_with_the_image():
    part = robustness_preset("small").parts["gradients, probability"]
    assert (part.explainers, part.images) == (("Gradient", "GradientXInput"), 1000)


def test_the_papers_preset_takes_a_thousand_images_and_the_papers_samples():
    settings = robustness_preset("paper")
    assert {part.images for name, part in settings.parts.items() if not name.startswith("ours")} == {1000}
    wide = settings.parts["widths, faithfulness"].explainers
    assert "SmoothGrad(sigma=0.4, antithetic=False)" in wide
    assert wide[0] == "Gradient"
    assert settings.precision == "float32"
    assert {backbone(one) for one in settings.models} == {
        f"{one}-cifar10-paper" for one in ("resnet", "bottleneck", "vgg", "googlenet", "swin")
    }


def test_the_small_preset_takes_the_shipped_pairs_in_the_papers_ball():
    pairs = {name for name in checkpoint.shipped() if backbone(name) + TWINS in TRAININGS}
    assert set(default_models("small")) == {name for name in pairs if not name.endswith((FIRST, ROBUST))}
    assert not {"vit-cifar10", "convmixer-cifar10", "resnet-cifar10-robust"} & set(default_models("small"))


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_builds_and_twins_differ_from_their_standard_ones_by_the_adversary(name):
    training = TRAININGS[name]
    assert training.architecture in NAMED
    assert build(training.judge, PGD).steps == 20
    assert (training.adversary is not None) == is_robust(name)
    standard = TRAININGS[backbone(name)] if is_robust(name) else training
    assert (training.architecture, training.recipe.optimiser) == (standard.architecture, standard.recipe.optimiser)
    if is_robust(name):
        made = build(training.adversary, Adversary)
        assert (made.norm, made.eps) == (("linf", 8 / 255) if name.endswith(TWINS) else ("l2", 0.5))
        assert training.start == (None if "-paper" in name else backbone(name))
        if "-paper" in name:
            assert made.step * made.eps == pytest.approx(2 / 255)
            assert training.recipe == standard.recipe
    else:
        assert training.start in (None, f"{name}{FIRST}")


def test_missing_weights_are_told_with_the_commands_of_all_that_they_go_on_from(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "shipped", lambda: ())
    with pytest.raises(WeightsError) as caught:
        networks(["resnet-cifar10", "resnet-cifar10-linf"], tmp_path)
    commands = [shlex.split(one) for one in str(caught.value).split("make them by ")[1].partition(" and give")[0].split(" ; ")]
    made = [word for command in commands for word in command if word.endswith(".safetensors")]
    first, standard, robust = (str(tmp_path / f"resnet-cifar10{end}.safetensors") for end in ("-first", "", "-linf"))
    # What each command starts from and what it writes.
    assert made == [first, first, standard, standard, robust]


def test_a_trainings_command_is_read_by_the_command_line_as_the_table_has_it():
    words = shlex.split(training_command("swin-cifar10-linf", lambda name: f"some folder/{name}"))
    assert words[:2] == ["assay", "train"]
    told, training = dict(zip(words[2:-3:2], words[3:-3:2], strict=True)), TRAININGS["swin-cifar10-linf"]
    assert build(told["--adversarial"], Adversary) == build(training.adversary, Adversary)
    assert build(told["--recipe"], Recipe) == training.recipe
    assert build(told["--robust-accuracy"], PGD) == build(training.judge, PGD)
    assert (told["--attacked"], told["--start"]) == ("2000", "some folder/swin-cifar10")
    assert words[-3:] == ["--half", "--out", "some folder/swin-cifar10-linf"]


def test_changes_may_name_another_preset_and_wrong_ones_are_named():
    found = robustness_settings("small", {"preset": "paper", "seed": 3, "images": 1200})
    assert (found.preset, found.seed, found.images) == ("paper", 3, 1200)
    assert found.parts == robustness_preset("paper").parts
    for changes, where in (({"preset": "huge"}, "preset"), ({"parts": {}}, "parts"), ({"imags": 3}, "imags"), ({"images": 1}, "images")):
        with pytest.raises(SpecError, match=f"the study file is wrong at {where}"):
            robustness_settings("small", changes)


def test_settings_survive_their_own_text():
    settings = robustness_preset("small")
    assert RobustnessSettings.model_validate_json(settings.model_dump_json()) == settings


def test_two_processes_take_as_many_steps_of_each_part():
    plan = jobs(robustness_preset("small"))
    pending = list(range(3, len(plan.steps)))
    shares = [Run.share(SimpleNamespace(pending=lambda: pending, ranks=Ranks(rank, 2), part=None), plan.kind) for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == pending
    one, other = (Counter(plan.steps[number].job.part for number in share) for share in shares)
    assert all(abs(one[part] - other[part]) <= 1 for part in one | other)
    assert all(isinstance(step.job.study, Measured) for step in plan.steps if step.job.part not in ("certificates", "condition", "nulls"))

"""The rule that takes a setting, and what a tuning is said to cost."""

import dataclasses

import torch

import assay
from assay.papers.diet.choose import agreement_low, choose_setting
from assay.papers.diet.networks import passes
from assay.papers.paper import Job, price
from assay.tune.choice import LastRound
from assay.tune.diet import DiET
from assay.tune.schedules import Epochs
from reference.nets import plain


def test_of_the_settings_that_agree_often_enough_the_one_that_keeps_least_is_taken():
    tried = [{"simplified": 1.0, "kept": 0.3}, {"simplified": 0.99, "kept": 0.1}, {"simplified": 0.9, "kept": 0.01}]
    assert choose_setting(tried, 1000) == 1


def test_agreement_is_asked_of_the_interval_s_lower_end():
    tried = [{"simplified": 1.0, "kept": 0.3}, {"simplified": 0.98, "kept": 0.1}]
    assert agreement_low(tried[1], 200) < 0.97 < tried[1]["simplified"]
    assert choose_setting(tried, 200) == 0


def test_where_none_agrees_often_enough_the_one_that_agrees_most_is_taken():
    assert choose_setting([{"simplified": 0.7, "kept": 0.3}, {"simplified": 0.8, "kept": 0.9}], 100) == 1


def test_settings_that_erase_next_to_nothing_are_passed_over_while_there_are_others():
    tried = [{"simplified": 1.0, "kept": 0.99}, {"simplified": 0.9, "kept": 0.6}]
    assert choose_setting(tried, 200) == 1
    assert choose_setting(tried[:1], 200) == 0


def test_the_passes_of_a_tuning_are_those_that_are_made(monkeypatch):
    from assay.tune import tuning as module
    from assay.tune.network import wrapped

    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 0.9] * 3).view(-1, 1, 1, 1)
    net = plain()
    with torch.no_grad():
        net[-1].bias.sub_(net(images).mean(0))
    settings = DiET(rounds=2, mask_stop=Epochs(3), model_stop=Epochs(2), batch_size=3, precision="float32", choice=LastRound())
    models = [assay.Classifier(net)]
    monkeypatch.setattr(module, "wrapped", lambda *given: models.append(wrapped(*given)) or models[-1])
    tuning = settings.begin(models[0], images)
    list(tuning.epochs())
    made = sum(one.passes.forward + one.passes.backward for one in models)
    steps = 4 * 6 * 4  # each epoch of the model: every image and its simplified form, forward and backward
    assert passes(settings, 6, {"masks": 6, "model": 4}, 2) == made + steps


def test_a_price_list_adds_up():
    table = price([Job("a", 1200, 2_000_000), Job("b", 600)], a_second=10.0)
    assert table.rows() == [("a", 1200, 2.0, 2.0), ("b", 600, 1.0, 0.0), ("all together", 1800, 3.0, 2.0)]


def test_a_setting_is_told_by_what_sets_it_apart():
    from assay.papers.diet.tables import _differs

    one, other = DiET(mask_lr=0.1), dataclasses.replace(DiET(mask_lr=0.2))
    assert _differs(other, [one, other]) == "mask_lr=0.2"

"""Weights as people have them: below prefixes, beside losses and second copies, in nests; what does not fit is told in numbers."""

import argparse
import fractions
import pathlib

import numpy as np
import pytest
import torch
from torch import nn

from assay.errors import WeightsError
from assay.models.sources import statedict
from reference.nets import normed, plain


def saved(tmp_path, content):
    torch.save(content, tmp_path / "m.ckpt")
    return statedict.read_weights(tmp_path / "m.ckpt")


def below(prefix, state):
    return {prefix + name: value for name, value in state.items()}


ASIDE = {
    "criterion.pos_weight": torch.ones(2),
    "loss_fn.weight": torch.ones(2),
    "train_acc.tp": torch.zeros(2),
    "val_metrics.auroc.confmat": torch.zeros(2, 2, 2),
    "class_weights": torch.ones(4),
    "n_averaged": torch.tensor(3),
    "ema_decay": torch.tensor(0.9),
}


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod.", "model._orig_mod.", "net.module.", "my_own_name.", "model.0."])
def test_a_network_is_found_below_any_prefix_and_what_trains_beside_it_is_left_out_by_name(prefix, tmp_path):
    right, net = normed(seed=3), normed(seed=0)
    aside = {name: value for name, value in ASIDE.items() if prefix not in ("", "_orig_mod.") or name != "ema_decay"}
    left = statedict.fit(net, saved(tmp_path, {"state_dict": below(prefix, right.state_dict()) | aside, "epoch": 3}), "m.ckpt")
    assert set(left) == set(aside)
    for name, value in right.state_dict().items():
        assert torch.equal(net.state_dict()[name], value)


@pytest.mark.parametrize("wrap", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_what_torch_puts_into_the_middle_of_names_is_taken_out(wrap):
    right, net = normed(seed=3), normed(seed=0)
    statedict.fit(net, {name.replace(".", f".{wrap}", 1): value for name, value in right.state_dict().items()}, "here")
    assert torch.equal(net[0].weight, right[0].weight)


@pytest.mark.parametrize("copy", ["ema_model.module.", "teacher.", "model_ema.", "ema."])
def test_the_network_itself_is_taken_before_its_running_mean(copy):
    right, net = plain(seed=3), plain(seed=0)
    left = statedict.fit(net, below(copy, plain(seed=5).state_dict()) | below("model.", right.state_dict()), "here")
    assert torch.equal(net[0].weight, right[0].weight)
    assert all(name.startswith(copy) for name in left)


def test_two_copies_of_equal_right_are_not_chosen_between():
    state = below("left.", plain(seed=3).state_dict()) | below("right.", plain(seed=4).state_dict())
    with pytest.raises(WeightsError, match=r"more than once, below 'left\.', 'right\.'; keep one"):
        statedict.fit(plain(), state, "here")


@pytest.mark.parametrize(
    "nest",
    [
        lambda state: {"model": state, "optimizer": {"lr": 1}},
        lambda state: {"state_dict": state, "state_dict_ema": {}},
        lambda state: {"model_ema": {"module": state, "decay": 0.9}},
        lambda state: {"ema": {"shadow": state}},
        lambda state: {**state, "epoch": 3, "arch": "resnet"},
    ],
)
def test_the_usual_nests_are_opened(nest, tmp_path):
    right, net = plain(seed=3), plain(seed=0)
    assert statedict.fit(net, saved(tmp_path, nest(right.state_dict())), "m") == ()
    assert torch.equal(net[0].weight, right[0].weight)


def test_paths_and_namespaces_among_hyperparameters_are_read(tmp_path):
    notes = {"data": pathlib.Path("/a/b"), "pure": pathlib.PurePosixPath("c"), "args": argparse.Namespace(lr=0.1, out=pathlib.Path("d"))}
    state = saved(tmp_path, {"state_dict": plain(seed=3).state_dict(), "hyper_parameters": notes})
    net = plain(seed=0)
    statedict.fit(net, state, "m")
    assert torch.equal(net[0].weight, plain(seed=3)[0].weight)


@pytest.mark.parametrize("value", [np.float64(0.5), np.int64(3), np.bool_(True), np.arange(3.0), torch.float16])
def test_numbers_of_numpy_among_hyperparameters_are_read(tmp_path, value):
    state = saved(tmp_path, {"state_dict": plain(seed=3).state_dict(), "hyper_parameters": {"smoothing": value}})
    net = plain(seed=0)
    statedict.fit(net, state, "m")
    assert torch.equal(net[0].weight, plain(seed=3)[0].weight)


def test_what_a_pickle_would_run_is_named(tmp_path):
    torch.save({"state_dict": plain().state_dict(), "hyper_parameters": {"when": fractions.Fraction(1, 2)}}, tmp_path / "m.ckpt")
    with pytest.raises(WeightsError, match=r"more than tensors \(fractions\.Fraction\)"):
        statedict.read_weights(tmp_path / "m.ckpt")


def test_running_means_beside_the_weights_are_told(tmp_path):
    state, means = plain(seed=3).state_dict(), plain(seed=4).state_dict()
    torch.save({"state_dict": state, "state_dict_ema": means}, tmp_path / "m.pt")
    torch.save({"model_ema": means}, tmp_path / "only.pt")
    taken, told = statedict.read_noted(tmp_path / "m.pt")
    assert torch.equal(taken["0.weight"], state["0.weight"])
    assert told == ("state_dict_ema",)
    assert statedict.read_noted(tmp_path / "only.pt")[1] == ()


def test_files_that_are_no_weights_say_why(tmp_path):
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("hello")
    for name, message in (
        ("empty.pt", "it is empty"),
        ("text.pt", "it is of another kind"),
        ("", f"is a folder.*such as {tmp_path}/empty.pt"),
    ):
        with pytest.raises(WeightsError, match=message):
            statedict.read_weights(tmp_path / name)


def test_counters_of_batch_norm_are_no_reason_why_weights_do_not_fit():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    state = {name.replace("2.", "head.") if name.startswith("2.") else name: value for name, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match=r"it has no 2\.weight, 2\.bias; what else it holds: head\.weight, head\.bias$"):
        statedict.fit(net, state, "m")


def test_a_larger_network_is_not_taken_for_one_that_fits():
    right = plain(seed=3)
    for prefix in ("", "model."):
        for extra in ("9.weight", "layer4.conv.weight"):
            state = below(prefix, {**right.state_dict(), extra: torch.ones(2, 2)})
            with pytest.raises(WeightsError, match=f"which has no {prefix}{extra}"):
                statedict.fit(plain(), state, "here")
    with pytest.raises(WeightsError, match=r"which has no head\.weight"):
        statedict.fit(plain(), below("model.", right.state_dict()) | {"head.weight": torch.ones(2, 4)}, "here")


def test_what_does_not_fit_is_told_in_numbers_with_the_nearest_prefix_and_examples():
    state = below("encoder.net.", plain(seed=3).state_dict())
    moved = {name.replace("net.5", "head"): value for name, value in state.items()} | {"criterion.weight": torch.ones(2)}
    message = (
        r"m\.ckpt does not fit Sequential: 4 of the network's 6 tensors are there below 'encoder\.net\.', it has no 5\.weight, 5\.bias; "
        r"what else it holds: encoder\.head\.weight, encoder\.head\.bias, criterion\.weight"
    )
    with pytest.raises(WeightsError, match=message):
        statedict.fit(plain(), moved, "m.ckpt")
    with pytest.raises(WeightsError, match=r"0 of the network's 6 tensors are there, it has no 0\.weight, 0\.bias, 2\.weight and 3 more"):
        statedict.fit(plain(), {"other": torch.ones(1)}, "m.ckpt")


def test_a_whole_module_of_the_networks_own_name_stays():
    net = nn.Sequential()
    net.add_module("model", nn.Linear(1, 1))
    statedict.fit(net, {"model.weight": torch.ones(1, 1), "model.bias": torch.ones(1)}, "here")
    assert float(net.model.bias.detach()) == 1

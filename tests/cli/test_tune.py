import json

import numpy as np
import polars as pl
import pytest
import torch
import zarr
from safetensors.torch import load_file

from assay.models.sources import checkpoint
from assay.models.sources.spec import network
from assay.study import tune as module

METHOD = "DiET(rounds=2, mask_lr=0.3, mask_stop=Epochs(2), model_stop=Epochs(1), precision='float32')"
DATA = ("--images", "HardDigits(size=32, count=14)", "--model", "hard-digits", "--device", "cpu")
LIVELY = """
def lively():
    net = plain(gain=8.0)
    with torch.no_grad():
        net[-1].bias.zero_()
        net[-1].bias.copy_(-net(torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))).mean(0))
    return net
"""
"""A network that puts noise into several classes."""
FILES = ("rounds.csv", "epochs.csv", "tuned.safetensors", "masks.zarr/masks/c/0/0/0/0")


@pytest.fixture
def tuned(place, run):
    done = run("tune", *DATA, "--method", METHOD, "--validation", "HardDigits(size=32, count=6, split='train')", "--out", "out")
    assert done.code == 0, done.err
    return done


def test_it_writes_masks_tables_and_a_checkpoint_that_loads(tuned, place):
    out = place / "out"
    masks = zarr.open_group(str(out / "masks.zarr"), mode="r")
    assert masks["masks"].shape == (14, 1, 32, 32)
    assert masks["index"][:].tolist() == list(range(14))
    assert 0 <= masks["masks"][:].min() < masks["masks"][:].max() <= 1
    rounds, epochs = pl.read_csv(out / "rounds.csv"), pl.read_csv(out / "epochs.csv")
    assert rounds["round"].to_list() == [1, 2]
    assert rounds["chosen"].sum() == 1
    assert len(epochs) == 2 * (2 + 1)
    net, card = checkpoint.read_checkpoint(out / "tuned.safetensors")
    assert card.test.count == 6
    assert card.recipe.startswith("DiET(")
    given = checkpoint.read_checkpoint("hard-digits")[0]
    assert any(not torch.equal(*pair) for pair in zip(net.parameters(), given.parameters(), strict=True))
    assert "other backgrounds" in tuned.out
    assert tuned.out.startswith("Round ")
    page = (out / "report.html").read_text()
    assert tuned.out.splitlines()[0] in page
    assert page.count("data:image/png") >= 1
    answers = json.loads((out / "environment.json").read_text())
    assert {"algorithm", "code", "data", "splits", "machine", "packages", "setup"} <= answers.keys()


def test_a_killed_tuning_goes_on_to_the_same_bits_and_a_finished_one_does_nothing(tuned, place, run, monkeypatch):
    monkeypatch.setattr(module, "_EVERY", 0.0)
    keep, kept = module.Run.save_state, []

    def killed(self, name, *state):
        keep(self, name, *state)
        kept.append(name)
        if len(kept) == 4:
            raise KeyboardInterrupt

    order = ("--method", METHOD, "--validation", "HardDigits(size=32, count=6, split='train')")
    monkeypatch.setattr(module.Run, "save_state", killed)
    assert run("tune", *DATA, *order, "--out", "other").code == 130
    assert kept == ["tuning-0-0", "tuning-0-1", "tuning-0-0", "tuning-0-1"]
    monkeypatch.setattr(module.Run, "save_state", keep)
    again = run("run", "resume", "other", "--trust")
    assert again.code == 0, again.err
    for name in FILES:
        assert (place / "other" / name).read_bytes() == (place / "out" / name).read_bytes(), name
    assert not (place / "other" / "state").exists()
    last = run("tune", *DATA, *order, "--out", "other")
    assert "nothing was left to do" in last.out
    assert [line for line in last.out.splitlines() if "│" in line or "0." in line] == [
        line for line in tuned.out.splitlines() if "│" in line or "0." in line
    ]
    assert (place / "other" / "rounds.csv").read_bytes() == (place / "out" / "rounds.csv").read_bytes()
    refused = run("tune", *DATA, "--method", METHOD, "--seed", 1, "--out", "other")
    assert refused.code == 2
    assert "seed" in refused.lines[0]


def test_a_network_without_a_card_gives_weights_that_fit_it(place, run):
    (place / "mynets.py").write_text((place / "mynets.py").read_text() + LIVELY)
    images = ("--images", "pictures", "--device", "cpu")
    done = run("tune", "--model", "python:mynets:lively", *images, "--method", METHOD, "--out", "out")
    assert done.code == 0, done.err
    assert not (place / "out" / "tuned.json").exists()
    model = network("python:mynets:lively", place / "out" / "tuned.safetensors")
    assert set(load_file(place / "out" / "tuned.safetensors")) == set(model.module.state_dict())
    assert np.isfinite(zarr.open_group(str(place / "out" / "masks.zarr"), mode="r")["masks"][:]).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "python:mynets:ready", "--images", "pictures"), "let the factory return the network"),
        ((*DATA, "--preset", "paper", "--method", METHOD), "give either it or --method"),
        ((*DATA, "--method", "DiET(round=2)"), "did you mean rounds"),
        ((*DATA, "--method", "Blur()"), "is not a DiET"),
        ((*DATA, "--method", "DiET(upsample=99)"), "larger than the images"),
        (("--model", "python:mynets:blind", "--images", "pictures"), "no parameters"),
    ],
)
def test_mistakes_are_one_line(place, run, arguments, words):
    done = run("tune", *arguments, "--out", "out")
    assert done.code == 2
    assert len(done.lines) == 1
    assert words in done.lines[0]

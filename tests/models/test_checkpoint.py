import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from assay.errors import WeightsError
from assay.models.accuracy import Accuracy
from assay.models.nets.architectures import SmallResNet
from assay.models.sources import checkpoint
from assay.models.sources.model_card import Card, DataUsed, from_json, to_json
from assay.models.training.recipe import Recipe

TINY = SmallResNet(classes=2, widths=(4,), blocks=(1,), strides=(2,), stem=4)
CARD = Card(
    architecture=repr(TINY),
    recipe=repr(Recipe()),
    seed=0,
    classes=("cat", "dog"),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
    size=(8, 8),
    train=DataUsed("squares", "train", 4, "a"),
    test=DataUsed("squares", "test", 2, "b"),
    test_accuracy=Accuracy.of(1, 2),
    stored="float32",
    parameters=1,
    seconds=0.1,
    command="assay train",
    date="2024-01-01T00:00:00+00:00",
)


@pytest.fixture
def saved(tmp_path):
    net = TINY.make(1).eval()
    checkpoint.save(tmp_path / "net.safetensors", net, CARD)
    return tmp_path / "net.safetensors", net


def edit(card, **changes):
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def rewrite(path, change):
    """Change the weights and make the card agree, as a careless edit would."""
    import hashlib

    state = load_file(path)
    change(state)
    save_file(state, path)
    edit(path.with_suffix(".json"), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_what_is_saved_is_what_is_loaded(saved):
    path, net = saved
    loaded, card = checkpoint.read_checkpoint(path)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in net.state_dict().items())
    assert dataclasses.replace(card, sha256="") == CARD
    assert not loaded.training


def test_a_loaded_classifier_normalises_and_names_classes_as_its_card_says(saved):
    path, net = saved
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CARD.mean, CARD.std))
    model = checkpoint.load(path)
    assert model.classes == ("cat", "dog")
    torch.testing.assert_close(model.logits(images), net((images - mean) / std).detach(), atol=1e-5, rtol=1e-5)


def test_a_path_without_a_folder_is_found(saved, monkeypatch):
    path, _ = saved
    monkeypatch.chdir(path.parent)
    assert checkpoint.load("net.safetensors").classes == ("cat", "dog")


def test_half_precision_keeps_vectors_and_halves_the_rest(tmp_path):
    net = TINY.make(1)
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, net, dataclasses.replace(CARD, stored="float16"))
    stored = load_file(path)
    assert stored["conv1.weight"].dtype == torch.float16
    assert stored["bn1.running_var"].dtype == torch.float32
    loaded, _ = checkpoint.read_checkpoint(path)
    assert torch.equal(loaded.conv1.weight, net.conv1.weight.half().float())


def test_saving_leaves_only_the_two_files_and_no_part(saved):
    assert sorted(item.name for item in saved[0].parent.iterdir()) == ["net.json", "net.safetensors"]


@pytest.mark.parametrize("fails", ["to_bytes", "to_json"])
def test_an_interrupted_save_leaves_the_old_checkpoint_whole(saved, monkeypatch, fails):
    path, net = saved
    before = {item.name: item.read_bytes() for item in path.parent.iterdir()}

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, fails, interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, net, CARD, overwrite=True)
    assert {item.name: item.read_bytes() for item in path.parent.iterdir()} == before


def test_a_checkpoint_is_not_overwritten_unless_asked(saved):
    path, net = saved
    with pytest.raises(WeightsError, match=r"net\.safetensors exists already"):
        checkpoint.save(path, net, CARD)
    checkpoint.save(path, TINY.make(2), CARD, overwrite=True)
    assert not torch.equal(checkpoint.read_checkpoint(path)[0].conv1.weight, net.conv1.weight)


def test_a_destination_is_checked_before_the_work(tmp_path):
    with pytest.raises(WeightsError, match=r"ends in \.safetensors"):
        checkpoint.check_checkpoint_path(tmp_path / "net.pt")
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot make the folder"):
        checkpoint.check_checkpoint_path(tmp_path / "file" / "net.safetensors")
    assert not checkpoint.check_checkpoint_path(tmp_path / "new" / "net.safetensors").parent.exists()


def test_a_missing_card_is_named(saved):
    path, _ = saved
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match=r"no card: net\.json"):
        checkpoint.load(path)


def test_weights_that_are_not_the_cards_are_refused(saved):
    path, _ = saved
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update({"fc.weight": torch.zeros(3, 4)}), r"fc\.weight is \(3, 4\) where \(2, 4\)"),
        (lambda state: state.pop("fc.bias"), r"has no fc\.bias"),
        (lambda state: state.update({"extra": torch.zeros(1)}), "extra"),
        (lambda state: state["fc.bias"].fill_(torch.nan), r"fc\.bias holds NaN"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(saved, change, message):
    rewrite(saved[0], change)
    with pytest.raises(WeightsError, match=message):
        checkpoint.load(saved[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "zero"}, "seed"),
        ({"architecture": "SmallResnet()"}, "SmallResNet"),
        ({"architecture": "Recipe()"}, "not an Architecture"),
        ({"stored": "int8"}, "stored"),
    ],
)
def test_a_bad_card_names_its_field(saved, changes, message):
    edit(saved[0].with_suffix(".json"), **changes)
    with pytest.raises(WeightsError, match=message):
        checkpoint.load(saved[0])


def test_a_card_that_is_no_json_is_refused(saved):
    saved[0].with_suffix(".json").write_text("{")
    with pytest.raises(WeightsError, match="not a card"):
        checkpoint.load(saved[0])


def test_a_card_survives_its_own_text():
    assert from_json(to_json(CARD), "here") == CARD


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no checkpoint .*gone\.safetensors"):
        checkpoint.load(tmp_path / "gone.safetensors")


def test_another_kind_of_file_is_no_checkpoint(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match="ends in"):
        checkpoint.load(tmp_path / "net.pt")


def test_an_unknown_shipped_name_suggests_the_nearest():
    with pytest.raises(WeightsError, match="did you mean hard-digits"):
        checkpoint.load("hard-digit")

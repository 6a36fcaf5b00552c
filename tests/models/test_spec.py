import dataclasses
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from assay.errors import ModelError, SpecError, WeightsError
from assay.models.nets.architectures import SmallResNet
from assay.models.sources import statedict
from assay.models.sources.spec import network
from assay.models.sources.zoo import ZOOS

SHAPE = "SmallResNet(classes=2, widths=(4,), blocks=(1,), strides=(2,), stem=4)"
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
FACTORY = """
from torch import nn
from assay.models.classifier import Classifier

class Makers:
    @staticmethod
    def inner():
        return nn.Sequential(nn.Flatten(), nn.Linear(3072, 5))

def linear():
    return Makers.inner()

def wrapped():
    return Classifier(linear(), mean=0.5, classes=list("abcde"))

def nothing():
    return None

def broken():
    raise KeyError("lost")

number = 3
"""


@pytest.fixture
def shape_weights(tmp_path):
    net = SmallResNet(classes=2, widths=(4,), blocks=(1,), strides=(2,), stem=4).make(5).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors", net


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    yield "python:own_networks"
    sys.modules.pop("own_networks", None)


def statistics(model):
    """Mean and standard deviation as the Classifier applies them."""
    std = 1 / model._scale.flatten()
    return (-model._shift.flatten() * std).tolist(), std.tolist()


def test_timm_networks_bring_their_own_normalisation():
    mean, std = statistics(network("timm:mobilenetv3_small_050", random_weights=True))
    assert mean == pytest.approx([0.485, 0.456, 0.406])
    mean, std = statistics(network("timm:vit_tiny_patch16_224", random_weights=True))
    assert (mean, std) == (pytest.approx([0.5] * 3), pytest.approx([0.5] * 3))


def test_torchvision_networks_get_imagenets_normalisation():
    mean, std = statistics(network("torchvision:squeezenet1_1", random_weights=True))
    assert (mean, std) == (pytest.approx([0.485, 0.456, 0.406]), pytest.approx([0.229, 0.224, 0.225]))


def test_a_given_normalisation_wins():
    assert statistics(network("timm:mobilenetv3_small_050", random_weights=True, mean=(0.1, 0.2, 0.3)))[0] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("spec", ["timm:mobilenetv3_small_050", "torchvision:squeezenet1_1", SHAPE])
def test_random_weights_depend_on_the_seed_alone_and_move_no_generator(spec):
    before = torch.random.get_rng_state()
    one, same, other = (network(spec, random_weights=True, seed=seed).logits(IMAGES) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_weights_get_as_many_classes_as_are_named():
    model = network("timm:mobilenetv3_small_050", random_weights=True, classes=["a", "b", "c"])
    assert model.logits(IMAGES).shape == (2, 3)
    assert model.classes == ("a", "b", "c")


@pytest.mark.parametrize("zoo", ["timm", "torchvision"])
def test_a_weights_file_decides_the_number_of_classes(zoo, tmp_path):
    net = ZOOS[zoo].untrained("mobilenet_v3_small" if zoo == "torchvision" else "mobilenetv3_small_050", 7, seed=3)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    name = "mobilenet_v3_small" if zoo == "torchvision" else "mobilenetv3_small_050"
    model = network(f"{zoo}:{name}", tmp_path / "w.safetensors", mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.testing.assert_close(model.logits(IMAGES), net.eval()(IMAGES).detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spec", ["timm:mobilenetv3_small_050", "torchvision:squeezenet1_1", SHAPE])
def test_without_a_word_of_weights_a_network_is_untrained_and_says_so(spec):
    told, model = network(spec, random_weights=True), network(spec, weights=None)
    assert "is untrained" in model.notes[0]
    assert torch.equal(model.logits(IMAGES), told.logits(IMAGES))


@pytest.mark.parametrize("spec", ["timm:mobilenetv3_small_050", "torchvision:squeezenet1_1", SHAPE])
def test_where_random_weights_are_not_allowed_weights_must_be_chosen(spec):
    with pytest.raises(SpecError, match=r"--weights FILE.*--random-weights"):
        network(spec, random_weights=False)


def test_two_ways_to_weights_are_one_too_many():
    with pytest.raises(SpecError, match="one of"):
        network("timm:mobilenetv3_small_050", pretrained=True, random_weights=True)


@pytest.mark.parametrize(
    ("spec", "choice"), [(SHAPE, "pretrained"), ("python:own_networks:linear", "random_weights"), ("hard-digits", "pretrained")]
)
def test_a_choice_that_means_nothing_is_refused(spec, choice):
    with pytest.raises(SpecError, match="cannot get its weights"):
        network(spec, **{choice: True})


def test_a_checkpoint_takes_no_other_weights(shape_weights):
    with pytest.raises(SpecError, match="has its own"):
        network("hard-digits", shape_weights[0])


def test_published_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch):
    def offline(name, classes, pretrained):
        raise OSError("no route to host\nlong tail")

    monkeypatch.setitem(ZOOS, "timm", dataclasses.replace(ZOOS["timm"], build=offline))
    with pytest.raises(WeightsError, match=r"published weights of timm:resnet18 \(no route to host\).*--weights FILE"):
        network("timm:resnet18", pretrained=True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:resnet81", "did you mean resnet"),
        ("timm:resnet18.no_such_tag", "no_such_tag"),
        ("torchvision:resnet19", "did you mean resnet"),
        ("torchvision:fasterrcnn_resnet50_fpn", "no classifier"),
        ("timm:", "no classifier ''"),
        ("tim:resnet18", "unknown model 'tim:resnet18'"),
        ("SmallResnet()", "did you mean SmallResNet"),
        ("nothing.pt", "there is no file nothing.pt"),
        ("hard-digit", "did you mean hard-digits"),
        ("SmallResNet(width=3)", "did you mean widths"),
        ("python:", "unknown model"),
        ("python:module", "python:package.module:factory"),
        ("", "unknown model"),
    ],
)
def test_a_mistyped_spec_is_explained(spec, message):
    with pytest.raises(SpecError, match=message):
        network(spec, random_weights=spec.startswith(("t", "SmallResNet")))


def test_a_missing_checkpoint_is_a_weights_error(tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint"):
        network(str(tmp_path / "gone.safetensors"))


def test_an_architecture_takes_weights(shape_weights):
    path, net = shape_weights
    torch.testing.assert_close(network(SHAPE, path).logits(IMAGES), net(IMAGES).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factory", ["linear", "Makers.inner"])
def test_a_factory_in_the_current_directory_is_found(module, factory):
    path = list(sys.path)
    assert network(f"{module}:{factory}").logits(IMAGES).shape == (2, 5)
    assert sys.path == path


def test_a_factory_may_return_a_classifier(module):
    assert network(f"{module}:wrapped").classes == tuple("abcde")
    with pytest.raises(SpecError, match="brings its own"):
        network(f"{module}:wrapped", mean=(0.0,))


def test_a_factorys_network_takes_weights(module, tmp_path):
    state = {"1.weight": torch.zeros(5, 3072), "1.bias": torch.arange(5.0)}
    torch.save(state, tmp_path / "w.pt")
    assert torch.equal(network(f"{module}:linear", tmp_path / "w.pt").logits(IMAGES), torch.arange(5.0).expand(2, 5))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nothing", "returns NoneType"),
        ("broken", "failed: KeyError: 'lost'"),
        ("number", "is a int"),
        ("gone", "has no gone"),
    ],
)
def test_a_factory_that_does_not_work_is_explained(module, factory, message):
    with pytest.raises(ModelError, match=message):
        network(f"{module}:{factory}")


def test_a_module_that_cannot_be_imported_is_named():
    with pytest.raises(ModelError, match=r"cannot import no_such_module.*ModuleNotFoundError"):
        network("python:no_such_module:make")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()}},
    ],
)
def test_the_usual_wrappers_around_weights_are_taken_off(wrap, tmp_path):
    net = nn.Linear(3, 2)
    state = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    torch.save(wrap(state), tmp_path / "w.pth")
    statedict.fit(net, statedict.read_weights(tmp_path / "w.pth"), "w.pth")
    assert torch.equal(net.weight.detach(), state["weight"])


def test_a_prefix_that_is_the_networks_own_stays():
    net = nn.Sequential()
    net.add_module("model", nn.Linear(1, 1))
    statedict.fit(net, {"model.weight": torch.ones(1, 1), "model.bias": torch.ones(1)}, "here")
    assert float(net.model.bias.detach()) == 1


class Payload:
    ran = False

    def __reduce__(self):
        return (setattr, (Payload, "ran", True))


@pytest.mark.parametrize(
    "write", [lambda content, path: torch.save(content, path), lambda content, path: path.write_bytes(pickle.dumps(content))]
)
def test_a_pickle_that_needs_more_is_refused_and_not_run(write, tmp_path):
    write({"state_dict": Payload()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"more than tensors.*refused"):
        statedict.read_weights(tmp_path / "w.pt")
    assert not Payload.ran


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="state_dict"):
        statedict.read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"garbage", "not a readable safetensors file"),
        ("w.pt", b"garbage", "w.pt"),
        ("w.pt", b"", "w.pt"),
    ],
)
def test_a_damaged_file_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        statedict.read_weights(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights file .*gone\.pt"):
        statedict.read_weights(tmp_path / "gone.pt")


@pytest.mark.parametrize(("content", "message"), [({"epoch": 3, "lr": 0.1}, "keys epoch, lr"), ([1, 2], "a list"), ({}, "a dict")])
def test_a_file_without_weights_says_what_it_holds(content, message, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=message):
        statedict.read_weights(tmp_path / "w.pt")

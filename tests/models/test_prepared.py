"""How other libraries say that pictures are prepared, and what pictures then become."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform
from torchvision import transforms
from torchvision.models import ResNet50_Weights
from transformers import ViTImageProcessor

import assay
from assay.data.files.reading import Reading
from assay.errors import SpecError, WeightsError
from assay.models.sources.preparation import preparation

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def compose(size=40, crop=(32, 32)):
    steps = [transforms.Resize(size), transforms.CenterCrop(crop), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return transforms.Compose(steps)


PROCESSOR = ViTImageProcessor(size={"height": 24, "width": 24}, image_mean=list(MEAN), image_std=list(STD), resample=3)
CONFIG = {"input_size": (3, 32, 32), "interpolation": "bicubic", "crop_pct": 0.8, "mean": MEAN, "std": STD}
SAID = {
    "reading": (Reading(resize=40), Reading(resize=40), None, None),
    "transform": (compose(), Reading(40, 32, "bilinear"), MEAN, STD),
    "squash": (compose((30, 20), (16, 20)), Reading((30, 20), (16, 20), "bilinear"), MEAN, STD),
    "preset": (ResNet50_Weights.IMAGENET1K_V1.transforms(), Reading(256, 224, "bilinear"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "timm": (CONFIG, Reading(40, (32, 32), "bicubic"), MEAN, STD),
    "processor": (PROCESSOR, Reading((24, 24), None, "bicubic"), MEAN, STD),
    "grey": (transforms.Compose([transforms.Grayscale(), transforms.ToTensor()]), Reading(channels=1), None, None),
}


@pytest.mark.parametrize("kind", SAID)
def test_it_is_read_from_what_says_so(kind):
    given, reading, mean, std = SAID[kind]
    found = preparation(given)
    assert (found.reading, found.mean, found.std) == (reading, mean, std)


@pytest.mark.parametrize("kind", ["transform", "squash", "preset", "timm"])
def test_pictures_become_what_the_transform_makes_of_them(kind, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    given = SAID[kind][0]
    transform = (
        create_transform(input_size=(3, 32, 32), interpolation="bicubic", crop_pct=0.8, mean=MEAN, std=STD) if kind == "timm" else given
    )
    expected = transform(picture)
    found = preparation(given)
    pixels = assay.data.load(str(tmp_path), reading=found.reading)[0].image
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (found.mean, found.std))
    torch.testing.assert_close((pixels - mean) / std, expected, rtol=0, atol=1e-4)


def test_a_model_keeps_its_preparation():
    model = assay.model("timm:resnet18", random_weights=True, prepared=compose())
    assert model.reading == Reading(40, 32, "bilinear")
    assert model.identity()["mean"] == pytest.approx(list(MEAN), abs=1e-6)
    told = assay.model("timm:resnet18", random_weights=True, prepared=compose(), mean=(0.1,) * 3)
    assert told.identity()["mean"] == pytest.approx([0.1] * 3)


def test_a_step_that_is_no_preparation_is_refused_by_name():
    with pytest.raises(SpecError, match="the transform's step RandomHorizontalFlip is none of Resize"):
        preparation(transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()]))
    with pytest.raises(SpecError, match="cannot read how pictures are prepared from int"):
        assay.model("timm:resnet18", random_weights=True, prepared=3)


def test_class_names_come_from_a_text_file(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n\nemu\n")
    model = assay.model("timm:resnet18", random_weights=True, classes=names)
    assert model.classes == ("cat", "dog", "emu")
    assert model.logits(torch.rand(1, 3, 32, 32)).shape == (1, 3)
    names.write_text("cat\ncat\n")
    with pytest.raises(SpecError, match="must have a class name a line, each once"):
        assay.model("timm:resnet18", random_weights=True, classes=names)
    with pytest.raises(SpecError, match="cannot read the class names of"):
        assay.model("timm:resnet18", random_weights=True, classes=tmp_path / "gone.txt")


def test_a_folder_as_timm_writes_it_is_a_network_with_its_preparation(tmp_path):
    net = timm.create_model("resnet10t", num_classes=3, pretrained_cfg_overlay=CONFIG)
    timm.models.save_for_hf(net, tmp_path, model_config={"num_classes": 3, "label_names": ["a", "b", "c"]})
    model = assay.model(f"timm:local-dir:{tmp_path}", pretrained=True)
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (MEAN, STD))
    torch.testing.assert_close(model.logits(images), net.eval()((images - mean) / std).detach(), rtol=1e-3, atol=1e-3)
    assert model.reading == Reading(40, (32, 32), "bicubic")
    assert model.classes == ("a", "b", "c")
    with pytest.raises(WeightsError):
        assay.model("timm:local-dir:/nowhere", pretrained=True)

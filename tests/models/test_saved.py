"""Networks that are saved whole: TorchScript files and image classifiers of transformers."""

import json
import sys
import types
import zipfile

import pytest
import torch

import assay
from assay.data.files.reading import Reading
from assay.errors import SpecError, WeightsError
from reference.nets import plain

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_file_is_a_network(tmp_path):
    torch.jit.trace(plain(), IMAGES).save(str(tmp_path / "net.pt"))
    model = assay.model(str(tmp_path / "net.pt"), mean=(0.5,), std=(0.25,))
    torch.testing.assert_close(model.logits(IMAGES), plain()((IMAGES - 0.5) / 0.25).detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(assay.Gradient()(model, IMAGES), assay.Gradient()(assay.Classifier(plain(), 0.5, 0.25), IMAGES))
    assert not model.notes
    assert "normalisation" in assay.model(str(tmp_path / "net.pt")).notes[0]


def test_an_exported_program_is_a_network(tmp_path):
    program = torch.export.export(plain(), (IMAGES,), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, tmp_path / "net.pt2")
    with zipfile.ZipFile(tmp_path / "net.pt2") as archive:
        if not any(name.endswith("/archive_format") for name in archive.namelist()):
            pytest.skip("this torch writes exported programs in an older format")
    model = assay.model(str(tmp_path / "net.pt2"), mean=(0.5,), std=(0.25,))
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.logits(images), plain()((images - 0.5) / 0.25).detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(assay.Gradient()(model, images), assay.Gradient()(assay.Classifier(plain(), 0.5, 0.25), images))
    with zipfile.ZipFile(tmp_path / "bad.pt2", "w") as archive:
        archive.writestr("bad/archive_format", "pt2")
    with pytest.raises(WeightsError, match=r"bad\.pt2 is not a readable exported program"):
        assay.model(str(tmp_path / "bad.pt2"))


def test_an_unknown_scheme_is_not_taken_for_a_file():
    with pytest.raises(SpecError, match="unknown model 's3:"):
        assay.model("s3://bucket/net.safetensors")


class Made(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain()
        self.config = types.SimpleNamespace(id2label={1: "dog", 0: "cat", 2: "emu", 3: "fox"})

    def forward(self, x):
        return {"logits": self.net(x)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as `save_pretrained` writes it, and what the library would make of it."""
    (tmp_path / "config.json").write_text(json.dumps({}))
    processor = types.SimpleNamespace(
        image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.2, 0.2], size={"shortest_edge": 12}, crop_size={"height": 8, "width": 8},
        do_center_crop=True, resample=3,
    )  # fmt: skip
    fake = types.ModuleType("transformers")
    fake.bars, fake.seen = True, []
    fake.utils = types.SimpleNamespace(
        logging=types.SimpleNamespace(
            is_progress_bar_enabled=lambda: fake.bars,
            disable_progress_bar=lambda: setattr(fake, "bars", False),
            enable_progress_bar=lambda: setattr(fake, "bars", True),
        )
    )

    def made(_, **_how):
        fake.seen.append(fake.bars)
        return Made()

    fake.AutoModelForImageClassification = types.SimpleNamespace(from_pretrained=made)
    fake.AutoImageProcessor = types.SimpleNamespace(from_pretrained=lambda _, **_how: processor)
    monkeypatch.setitem(sys.modules, "transformers", fake)
    return tmp_path, fake


def test_a_folder_of_transformers_brings_classes_normalisation_and_preparation(folder):
    place, fake = folder
    for spec in (str(place), "hf:org/name"):
        model = assay.model(spec)
        assert model.classes == ("cat", "dog", "emu", "fox")
        assert model.reading == Reading(12, (8, 8), "bicubic")
        mean = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
        torch.testing.assert_close(model.logits(IMAGES), plain()((IMAGES - mean) / 0.2).detach(), rtol=1e-4, atol=1e-4)
    assert fake.seen == [False, True]  # A folder is read in silence, a download shows its bar.
    assert fake.bars

    def gone(place, **how):
        raise OSError("no such name\nlong tail")

    fake.AutoImageProcessor.from_pretrained = gone
    assert "normalisation" in assay.model(str(place)).notes[0]
    fake.AutoModelForImageClassification.from_pretrained = gone
    with pytest.raises(WeightsError, match=r"no image classifier org/gone: no such name$"):
        assay.model("hf:org/gone")
    with pytest.raises(WeightsError, match="no such name"):
        assay.model(str(place))
    assert fake.bars


def test_transformers_that_are_not_there_are_asked_for(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SpecError, match=r"pip install \"assay\[hf\]\""):
        assay.model(str(folder[0]))

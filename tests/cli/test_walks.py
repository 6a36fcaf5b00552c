"""The how-to pages, walked as they stand on small drawn files: every command and every line of code of docs/walks is run."""

import re
import shlex
from pathlib import Path

import datasets
import numpy as np
import pydicom
import pytest
import torch
import torchvision
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from torch import nn
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::assay.errors.AssayWarning"),
]
WALKS = Path(__file__).parents[2] / "docs" / "walks"
RNG = np.random.default_rng(0)


def blocks(page, kind):
    """The page's code blocks of a kind; what only costs time is smaller here."""
    text = (WALKS / f"{page}.md").read_text()
    small = {"--size 224": "--size 32", "samples=500": "samples=20"}
    if page == "x-rays":
        small |= {
            "torchvision:resnet18": "torchvision:shufflenet_v2_x0_5",
            "--size 224": "--size 64",
            "--measure Insertion": "--measure 'Insertion(steps=4)'",
            "--count 32 ": "",
        }
    for one, other in small.items():
        text = text.replace(one, other)
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def walk(page, run):
    """Runs the page's commands in turn; each must succeed."""
    commands = [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]
    assert 1 <= len(commands) <= 3
    for line in commands:
        done = run(*shlex.split(line)[1:])
        assert done.code == 0, (line, done.err)
    return done


def scan(height, width, bright):
    pixels = RNG.integers(0, 60, (height, width)).astype(np.uint8)
    if bright:
        pixels[height // 4 : height // 2, width // 4 : width // 2] = 220
    return pixels


def test_x_rays_with_a_table_masks_and_a_lightning_checkpoint(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    for folder in ("scans", "masks"):
        (tmp_path / folder).mkdir()
    lines = ["file,finding"]
    for number in range(6):
        height, width, bright = 40 + 4 * number, 52 - 3 * number, number % 2 == 0
        Image.fromarray(scan(height, width, bright)).save(f"scans/{number:04d}.png")
        lines.append(f"{number:04d}.png,{'pneumonia' if bright else 'none'}")
        if bright:
            mask = np.zeros((height, width), np.uint8)
            mask[height // 4 : height // 2, width // 4 : width // 2] = 255
            Image.fromarray(mask).save(f"masks/{number:04d}.png")
    Path("labels.csv").write_text("\n".join(lines))
    torch.manual_seed(0)
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=1)
    state = {f"model.{name}": value for name, value in net.state_dict().items()}
    lightning = {"epoch": 3, "hyper_parameters": {"data": Path("/data/x-rays"), "lr": 0.1}, "pytorch-lightning_version": "2.4.0"}
    torch.save({"state_dict": state | {"criterion.pos_weight": torch.ones(1)}, **lightning}, "last.ckpt")
    done = walk("x-rays", run)
    assert "left out of last.ckpt, being no part of the network: criterion.pos_weight" in done.err
    report = Path("report/report.html").read_text()
    assert "of 6" in report
    assert "MaskIoU" in report
    assert Path("scans.png").exists()


def test_a_hugging_face_classifier_and_a_data_set(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {0: "cat", 1: "dog", 2: "emu"}
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=24, patch_size=6, id2label=names,
        label2id={name: number for number, name in names.items()}, initializer_range=0.5,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained("classifier")
    ViTImageProcessor(size={"height": 24, "width": 24}).save_pretrained("classifier")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["emu", "cat", "dog"])})
    pictures = [Image.fromarray(RNG.integers(0, 256, (30, 26 + number, 3), dtype=np.uint8)) for number in range(4)]
    datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 2, 0]}, features=features).save_to_disk("pictures")
    (code,) = blocks("hugging-face", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(compile(code, "hugging-face.md", "exec"), {})
    walk("hugging-face", run)
    for report in ("report.html", "report/report.html"):
        text = Path(report).read_text()
        assert "AttentionRelevance" in text
        assert "emu" in text


NETS = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(96, 3)).eval()

images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
"""


def test_maps_of_captum_and_zennit_beside_ours(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("mynets.py").write_text(NETS)
    Path("pictures").mkdir()
    for number in range(4):
        Image.fromarray(RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(f"pictures/{number}.png")
    monkeypatch.delitem(__import__("sys").modules, "mynets", raising=False)
    (code,) = blocks("other-libraries", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(compile(code, "other-libraries.md", "exec"), {})
    assert "our occlusion" in Path("report.html").read_text()
    walk("other-libraries", run)
    assert "captum:Occlusion" in Path("report/report.html").read_text()
    __import__("sys").modules.pop("mynets", None)


def dicom(path, pixels):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.WindowCenter, file.WindowWidth = 2048, 4096
    file.PixelData = pixels.astype(np.uint16).tobytes()
    file.save_as(path, enforce_file_format=True)


def test_an_onnx_network_and_dicom_files(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    Path("scans").mkdir()
    for number in range(4):
        dicom(Path("scans") / f"{number}.dcm", 16 * scan(70, 66 + number, number % 2))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2)).eval()
    torch.onnx.export(net, (torch.rand(2, 1, 64, 64),), "net.onnx", dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    walk("onnx-dicom", run)
    report = Path("report/report.html").read_text()
    assert "Rise" in report
    assert "scores alone" in report
    refused = run(
        "audit", "--model", "net.onnx", "--images", "scans", "--channels", 1, "--size", 64, "--explainer", "Gradient", "--out", "other"
    )
    assert refused.code == 2
    assert "Gradient needs gradients or layers, but net.onnx" in refused.err


@pytest.mark.parametrize("page", sorted(one.stem for one in WALKS.glob("*.md")))
def test_every_page_ends_in_a_report_and_is_in_the_contents(page):
    text = (WALKS / f"{page}.md").read_text()
    assert "report" in text
    assert f"walks/{page}.md" in (WALKS.parents[1] / "mkdocs.yml").read_text()
    assert f"walks/{page}.md" in (WALKS.parents[1] / "README.md").read_text()

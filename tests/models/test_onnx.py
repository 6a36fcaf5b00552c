"""ONNX files give onnxruntime's scores, whatever their batch size and layout, and are bound to their content."""

import sys

import pytest
import torch
from torch import nn

import assay
from assay.errors import ModelError, ShapeError, SpecError, WeightsError
from reference.nets import plain

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch.onnx")
IMAGES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Last(nn.Module):
    """A network that takes (N, H, W, C), as those of TensorFlow do."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        return self.net(x.permute(0, 3, 1, 2))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        logits = self.net(x)
        return logits, logits.softmax(1)


def write(path, net, example, free=True, outputs=("scores",)):
    axes = {"dynamic_axes": {"images": {0: "n"}}} if free else {}
    torch.onnx.export(net.eval(), (example,), str(path), dynamo=False, input_names=["images"], output_names=list(outputs), **axes)
    return str(path)


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_its_scores_are_the_networks(batch, tmp_path):
    path = write(tmp_path / "net.onnx", plain(), IMAGES[: batch or 2], free=batch is None)
    model = assay.model(path, mean=(0.5,), std=(0.25,))
    torch.testing.assert_close(model.logits(IMAGES), plain()((IMAGES - 0.5) / 0.25).detach(), rtol=1e-4, atol=1e-4)
    assert "normalisation" in assay.model(path).notes[0]
    assert model.name == "net.onnx"


def test_channels_may_stand_last(tmp_path):
    path = write(tmp_path / "net.onnx", Last(), IMAGES.permute(0, 2, 3, 1))
    torch.testing.assert_close(assay.model(path).logits(IMAGES), plain()(IMAGES).detach(), rtol=1e-4, atol=1e-4)


def test_it_is_explained_by_what_needs_scores_alone_and_all_else_is_refused_by_name(tmp_path):
    model = assay.model(write(tmp_path / "net.onnx", plain(), IMAGES))
    lime = assay.KernelShap(samples=20, segments=assay.Grid(rows=2, columns=2))
    torch.testing.assert_close(lime(model, IMAGES), lime(assay.Classifier(plain()), IMAGES), rtol=1e-3, atol=1e-3)
    with pytest.raises(ModelError, match=r"Gradient needs gradients or layers, but net\.onnx"):
        assay.Gradient()(model, IMAGES)


def test_of_several_outputs_logits_are_taken_or_the_one_that_is_named(tmp_path):
    path = write(tmp_path / "two.onnx", Two(), IMAGES, outputs=("logits", "chances"))
    torch.testing.assert_close(assay.model(path).logits(IMAGES), plain()(IMAGES).detach(), rtol=1e-4, atol=1e-4)
    chances = assay.model(f"{path}:chances").logits(IMAGES)
    torch.testing.assert_close(chances, plain()(IMAGES).softmax(1).detach(), rtol=1e-4, atol=1e-4)
    with pytest.raises(SpecError, match=r"has no output 'score' \(its outputs are logits, chances\)"):
        assay.model(f"{path}:score")
    unnamed = write(tmp_path / "unnamed.onnx", Two(), IMAGES, outputs=("a", "b"))
    with pytest.raises(SpecError, match="has several outputs, a, b; say which are the scores: "):
        assay.model(unnamed)


def test_results_are_bound_to_the_files_content(tmp_path):
    one, other = (assay.model(write(tmp_path / f"{seed}.onnx", plain(seed=seed), IMAGES)).identity() for seed in (0, 1))
    again = assay.model(write(tmp_path / "again.onnx", plain(seed=0), IMAGES)).identity()
    assert one["weights"] == again["weights"] != other["weights"]


def test_images_of_another_size_are_refused_with_what_to_do(tmp_path):
    model = assay.model(write(tmp_path / "net.onnx", plain(), IMAGES))
    with pytest.raises(ShapeError, match=r"net\.onnx takes images with 8 rows, not 9: prepare them so, as by --size"):
        model.logits(torch.rand(1, 3, 9, 8))


def test_what_is_no_network_of_images_is_refused(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"there is no ONNX file .*gone\.onnx"):
        assay.model(str(tmp_path / "gone.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"onnxruntime cannot run .*bad\.onnx"):
        assay.model(str(tmp_path / "bad.onnx"))
    flat = write(tmp_path / "flat.onnx", nn.Linear(4, 2), torch.rand(2, 4))
    with pytest.raises(ModelError, match=r"takes images \['n', 4\], where one batch of images"):
        assay.model(flat)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SpecError, match=r'pip install "assay\[onnx\]"'):
        assay.model(flat)

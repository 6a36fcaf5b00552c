import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

import assay
from assay.cli.commands.viewer import Viewer
from assay.data.files.convert import as_batch
from assay.explain.smooth import Smoothed
from reference.nets import plain


@pytest.fixture(scope="module")
def viewer():
    batch = as_batch(torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return Viewer(assay.Classifier(plain()), batch, ("Gradient", "Occlusion(size=4)"))


def test_a_picked_image_is_explained_and_held_against_nulls(viewer):
    image = viewer.chosen(viewer.names[1])
    found = viewer.look(image, "Gradient", 0.0)
    score = float(assay.Deletion()(viewer.model, image, assay.Gradient()(viewer.model, image)))
    assert f"{score:.3f}" in found.told
    assert viewer.model.classes[int(viewer.model.predict(image))] in found.told
    assert found.map.width >= 384


def test_sigma_smooths_the_explainer(viewer):
    assert viewer.explainer("Gradient", 0.0) == assay.Gradient()
    smoothed = viewer.explainer("Gradient", 0.1)
    assert isinstance(smoothed, Smoothed)
    assert smoothed.kernel == assay.Gaussian(0.1)


def test_an_attack_tells_how_far_the_map_moved(viewer):
    found = viewer.attack(viewer.chosen(viewer.names[0]), "Gradient", 0.0)
    assert "at most 4/255" in found.told
    assert "The maps differ by" in found.told


def test_a_dropped_picture_comes_to_the_images_size(viewer):
    from PIL import Image

    assert viewer.chosen(None, Image.new("RGB", (32, 20), "red")).shape == (1, 3, 8, 8)


def test_nothing_picked_and_unknown_explainers_are_named(viewer):
    with pytest.raises(assay.AssayError, match="pick an image"):
        viewer.chosen(None)
    with pytest.raises(assay.AssayError, match="Gradiant"):
        viewer.look(viewer.chosen(viewer.names[0]), "Gradiant", 0.0)


def test_without_gradio_the_command_says_how_to_get_it(place, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    found = run("view", "--model", "python:mynets:good", "--images", "pictures")
    assert (found.code, len(found.lines)) == (2, 1)
    assert 'pip install "assay[view]"' in found.err


BUILT = """
import json, torch, assay
from assay.cli.commands.viewer import Viewer, app
from assay.data.files.convert import as_batch
from reference.nets import plain
viewer = Viewer(assay.Classifier(plain()), as_batch(torch.rand(3, 3, 8, 8)), ("Gradient", "Occlusion(size=4)"))
blocks = app(viewer)
config = json.dumps(blocks.get_config_file(), default=str)
print(json.dumps({"analytics": blocks.analytics_enabled, "names": viewer.names, "config": config}))
"""


@pytest.mark.skipif(find_spec("gradio") is None, reason="needs assay[view]")
def test_the_app_is_built_with_its_controls_and_without_analytics():
    # In a process of its own, since Gradio leaves sockets and event loops open.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILT], capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["analytics"] is False
    for one in ("Explainer", "Smoothing (sigma)", "Explain", "Attack", "Stop", *told["names"]):
        assert one in told["config"]

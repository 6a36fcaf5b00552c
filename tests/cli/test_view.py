import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image

import assay
from assay.cli.commands.viewer import Viewer
from assay.data.files.convert import as_batch
from assay.explain.smooth import Smoothed
from assay.report.figures.colour import robust_limit
from assay.report.figures.picture import overlay
from reference.chromium import FOUND, Chromium
from reference.nets import plain

installed = pytest.mark.skipif(find_spec("gradio") is None, reason="needs assay[view]")


@pytest.fixture(scope="module")
def viewer():
    batch = as_batch(torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return Viewer(assay.Classifier(plain()), batch, ("Gradient", "Occlusion(size=4)"))


def test_a_picked_image_is_explained_and_held_against_nulls(viewer):
    image = viewer.chosen(viewer.names[1])
    *steps, found = viewer.look(image, "Gradient", 0.0)
    assert ["map" in one.pictures for one in steps] == [True] * 3
    assert [bool(one.doing) for one in (*steps, found)] == [True, True, True, False]
    assert [row[0] for row in found.rows] == ["", "where", "this image", "this model", "more than the image"]
    score = float(assay.Deletion()(viewer.model, image, assay.Gradient()(viewer.model, image)))
    assert found.rows[0][2] == f"{score:.3f}"
    assert viewer.model.classes[int(viewer.model.predict(image))] in found.told
    assert found.pictures["map"].width >= 384


def test_an_only_image_is_not_held_against_itself_as_another_image(viewer):
    alone = Viewer(viewer.model, as_batch(viewer.batch.images[:1]), viewer.specs)
    *_, found = alone.look(alone.chosen(alone.names[0]), "Gradient", 0.0)
    assert [row[0] for row in found.rows] == ["", "where", "this model", "more than the image"]


def test_sigma_smooths_the_explainer(viewer):
    assert viewer.explainer("Gradient", 0.0) == assay.Gradient()
    smoothed = viewer.explainer("Gradient", 0.1)
    assert isinstance(smoothed, Smoothed)
    assert smoothed.kernel == assay.Gaussian(0.1)


def test_an_attack_shows_the_map_before_and_after_on_one_scale_and_tells_how_far_it_moved(viewer):
    image = viewer.chosen(viewer.names[0])
    *_, found = viewer.attack(image, "Gradient", 0.0)
    assert "at most 4/255" in found.notes[0]
    assert "The maps differ by" in found.notes[1]
    hit = assay.MapAttack(eps=4 / 255, steps=10)(viewer.model, assay.Gradient(), image, seed=0)
    _, clean, _, attacked = found.pictures.values()
    limit = robust_limit(hit.maps[0])
    assert clean.tobytes() == overlay(image[0], hit.maps[0], limit, side=384).tobytes()
    assert attacked.tobytes() == overlay(hit.images[0], hit.attacked_maps[0], limit, side=384).tobytes()


def test_a_dropped_picture_keeps_its_proportions(viewer):
    wide = Image.new("RGB", (32, 16), "red")
    wide.paste("blue", (8, 0, 24, 16))  # The square in its middle.
    found = viewer.chosen(None, wide)
    assert found.shape == (1, 3, 8, 8)
    assert torch.allclose(found[0, 2, :, 1:-1], torch.ones(8, 6), atol=0.1)


def test_a_dropped_picture_is_prepared_as_the_images_were(viewer):
    told = replace(viewer, reading=assay.data.Reading(resize=(8, 8), interpolation="nearest"))
    picture = Image.new("RGB", (32, 16), "red")
    picture.paste("blue", (16, 0, 32, 16))
    assert torch.equal(told.chosen(None, picture)[0, 2], torch.tensor([0.0] * 4 + [1.0] * 4).expand(8, 8))


def test_nothing_picked_and_unknown_explainers_are_named(viewer):
    with pytest.raises(assay.AssayError, match="pick an image"):
        viewer.chosen(None)
    with pytest.raises(assay.AssayError, match="Gradiant"):
        list(viewer.look(viewer.chosen(viewer.names[0]), "Gradiant", 0.0))


def test_without_gradio_the_command_says_how_to_get_it(place, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    found = run("view", "--model", "python:mynets:good", "--images", "pictures")
    assert (found.code, len(found.lines)) == (2, 1)
    assert 'pip install "assay[view]"' in found.err


BUILT = """
import json, torch, assay
from assay.cli.commands.viewer import Viewer
from assay.cli.commands.viewer_page import viewer_page
from assay.data.files.convert import as_batch
from reference.nets import plain
viewer = Viewer(assay.Classifier(plain()), as_batch(torch.rand(3, 3, 8, 8)), ("Gradient", "Occlusion(size=4)"))
blocks = viewer_page(viewer)
config = json.dumps(blocks.get_config_file(), default=str)
print(json.dumps({"analytics": blocks.analytics_enabled, "names": viewer.names, "config": config}))
"""


@installed
def test_the_app_is_built_with_its_controls_and_without_analytics():
    # In a process of its own, since Gradio leaves sockets and event loops open.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILT], capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["analytics"] is False
    assert '"share"' not in told["config"]
    for one in ("Explainer", "Smoothing (sigma)", "Explain", "Attack", "DiET's mask", "Stop", *told["names"]):
        assert one in told["config"]


def test_a_mask_of_the_tuning_is_shown_where_there_is_one_and_learned_elsewhere(viewer):
    tuned = Viewer(viewer.model, viewer.batch, viewer.specs, {0: torch.ones(1, 8, 8)})
    *_, found = tuned.mask(tuned.chosen(tuned.names[0]), "Gradient", 0.0)
    assert "This network was tuned" in found.notes[0]
    assert found.pictures["what it keeps"].tobytes() == found.pictures["image"].tobytes()
    assert found.notes[1] == "The mask keeps 100% of the image, and 100% of the top tenth of the map's pixels."
    *_, last = tuned.mask(tuned.chosen(tuned.names[1]), "Gradient", 0.0)
    assert "it says little" in last.notes[0]


def asked(*words):
    """The viewer that the command's options make."""
    from assay.cli.commands.view import View

    return View(**dict(zip(words[::2], words[1::2], strict=True))).viewer()


def test_a_run_brings_its_model_its_images_and_its_explainers(place, run):
    audit = ("audit", "--model", "weights.pt", "--images", "pictures", "--explainer", "Gradient", "--measure", "Deletion(steps=2)")
    assert run(*audit[:2], "python:mynets:good", *audit[3:], "--out", "out").code == 0
    found = asked("folder", place / "out", "trust", True, "count", 2)
    assert found.specs == ("Gradient()",)
    assert len(found.batch) == 2
    assert set(found.batch.names) <= {"a.png", "b.png", "c.png"}
    assert torch.equal(found.model.logits(found.batch.images), assay.Classifier(plain()).logits(found.batch.images))


def test_of_a_tuning_the_tuned_network_and_its_masks_are_shown(place, run):
    method = "DiET(rounds=2, mask_lr=0.3, mask_stop=Epochs(2), model_stop=Epochs(1), precision='float32')"
    done = run("tune", "--images", "HardDigits(size=32, count=8)", "--model", "hard-digits", "--method", method, "--out", "out")
    assert done.code == 0, done.err
    found = asked("folder", place / "out")
    assert sorted(found.masks) == list(range(8))
    assert found.masks[0].shape == (1, 32, 32)
    given = assay.load("hard-digits")
    assert not torch.equal(found.model.logits(found.batch.images), given.logits(found.batch.images))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give the folder of a run, or --model and --images"),
        (("out", "--model", "hard-digits"), "leave --model out"),
        (("out",), "--trust"),
        (("pictures",), "pictures"),
    ],
)
def test_what_cannot_be_looked_at_is_said_in_a_line(words, said, place, run):
    audit = ("audit", "--images", "pictures", "--explainer", "Gradient", "--measure", "Deletion(steps=2)")
    assert run(*audit, "--model", "python:mynets:good", "--out", "out").code == 0
    found = run("view", *words)
    assert (found.code, len(found.lines)) == (2, 1)
    assert said in found.err


SERVED = """
import json, os, sys, assay
from assay.cli.commands.viewer import Viewer
from assay.cli.commands.viewer_page import serving
dataset = assay.data.load("HardDigits(size=32, count=3)")
viewer = Viewer(assay.load("hard-digits"), assay.data.read(dataset, range(3)), ("Gradient", "Occlusion(size=8)"))
with serving(viewer) as (blocks, token):
    print(json.dumps({"address": blocks.local_url, "token": token, "folder": os.environ["GRADIO_TEMP_DIR"]}), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def served():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", SERVED]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = next((one for one in process.stdout if one.startswith("{")), "{}")
        yield json.loads(line) | {"process": process}
        process.terminate()


def answer(opener, address, **more):
    """The status of a request."""
    try:
        with opener.open(urllib.request.Request(address, **more), timeout=60) as found:
            return found.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@installed
def test_nothing_is_given_to_strangers_and_no_other_file_to_anybody(served, tmp_path):
    address, signed = served["address"], urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    stranger = urllib.request.build_opener()
    assert address.startswith("http://127.0.0.1:")
    words = urllib.parse.urlencode({"username": "assay", "password": "guess"}).encode()
    assert answer(stranger, f"{address}login", data=words) == 400
    secret = tmp_path / "secret.txt"
    secret.write_text("no")
    own = os.path.realpath(__file__)
    for file in (secret, own, "/etc/passwd"):
        assert answer(stranger, f"{address}gradio_api/file={file}") == 401
    words = urllib.parse.urlencode({"username": "assay", "password": served["token"]}).encode()
    assert answer(signed, f"{address}login", data=words) == 200
    for file in (secret, own, "/etc/passwd"):
        assert answer(signed, f"{address}gradio_api/file={file}") == 403
    head = {"Content-Type": "multipart/form-data; boundary=cut"}
    large = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(11_000_000) + b"\r\n--cut--\r\n"
    assert answer(signed, f"{address}gradio_api/upload", data=large, headers=head) == 413


@installed
@pytest.mark.skipif(FOUND is None, reason="needs Chromium")
def test_an_image_is_chosen_smoothed_attacked_and_stopped_in_the_browser(served):
    browser, text = Chromium(), "document.body.innerText"
    explained = f"{text}.includes('its map of the model with random weights')"
    click = "(text => [...document.querySelectorAll('button')].find(one => one.innerText.trim() === text).click())({!r})"
    try:
        browser.open(served["address"])
        form = f"new URLSearchParams({{username: 'assay', password: {served['token']!r}}})"
        assert browser.run(f"fetch('login', {{method: 'POST', body: {form}}}).then(one => one.status)") == 200
        for width, dark in ((1280, False), (1280, True), (400, False), (400, True)):
            browser.open(served["address"], width, dark)
            browser.wait(explained)
            assert browser.overflow() == 0
            assert browser.run("[...document.querySelectorAll('.assay-look img')].every(one => one.alt && one.naturalWidth > 0)")
        browser.run(click.format("Attack"))
        browser.wait(f"{text}.includes('The maps differ by')")
        assert browser.run("document.querySelectorAll('.assay-look img').length") == 4
        slide = "document.querySelector('input[type=range]')"
        browser.run(f"{slide}.value = 0.1; {slide}.dispatchEvent(new Event('input', {{bubbles: true}}))")
        browser.run(f"{slide}.dispatchEvent(new Event('pointerup', {{bubbles: true}}))")
        browser.wait(f"{text}.includes('Gaussian(sigma=0.1)') && {explained}")
        browser.run("document.querySelector('input[aria-label=Image]').focus()")
        browser.press("ArrowDown")
        browser.press("ArrowDown")
        browser.press("Enter")
        browser.wait("document.querySelector('.assay-look img').alt.includes(document.querySelector('input[aria-label=Image]').value)")
        browser.wait(explained)
        browser.run(click.format("DiET's mask"))
        browser.wait(f"{text}.includes('The smallest mask that keeps this prediction')")
        browser.run(click.format("Attack"))  # Of a smoothed map, which takes a while.
        browser.wait(f"{text}.includes('attacking the map')")
        browser.run(click.format("Stop"))
        browser.wait(f"{text}.includes('Stopped.')")
        assert browser.errors == []
        assert [one for one in browser.asked if not one.startswith((served["address"], "data:", "blob:"))] == []
    finally:
        browser.close()


@installed
def test_what_was_dropped_is_in_a_folder_of_ours_and_removed_at_the_end(served):
    signed, folder = urllib.request.build_opener(urllib.request.HTTPCookieProcessor()), Path(served["folder"])
    words = urllib.parse.urlencode({"username": "assay", "password": served["token"]}).encode()
    assert answer(signed, f"{served['address']}login", data=words) == 200
    head = {"Content-Type": "multipart/form-data; boundary=cut"}
    small = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="dropped.png"\r\n\r\n1\r\n--cut--\r\n'
    assert answer(signed, f"{served['address']}gradio_api/upload", data=small, headers=head) == 200
    assert list(folder.rglob("dropped.png"))
    assert folder.stat().st_mode & 0o077 == 0
    served["process"].stdin.close()
    served["process"].wait(60)
    assert not folder.exists()

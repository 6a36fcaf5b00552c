"""Figure 3's networks: fine-tuned against balls of ten radii from one network, and gone on with after a kill."""

import pytest
import torch

from assay.core.registry import build
from assay.data import Dataset
from assay.models.sources import checkpoint
from assay.papers.robustness.graded import EPS, Few, Grading, make_graded
from reference.robustness import DATA, make_weights

SETS = (DATA, DATA)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return str(make_weights(tmp_path_factory.mktemp("start"), ["tiny"]) / "tiny.safetensors")


def test_ten_networks_differ_by_the_radius_alone_and_a_killed_command_goes_on_with_the_next(start, tmp_path):
    class Killed(BaseException):
        pass

    def kill(stage, done, total):
        if stage.startswith("eps 2/255"):
            raise Killed

    with pytest.raises(Killed):
        make_graded(tmp_path, Grading(SETS, start, images=8, tested=4), kill)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert {path.name for path in kept} == {"tiny-eps0.safetensors", "tiny-eps1.safetensors"}
    made = make_graded(tmp_path, Grading(SETS, start, images=8, tested=4))
    assert [path.stem for path in made] == [f"tiny-eps{eps}" for eps in EPS]
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    cards = [checkpoint.read_checkpoint(str(path))[1] for path in made]
    assert {card.start for card in cards} == {checkpoint.read_checkpoint(start)[1].sha256}
    recipes = {card.recipe.replace(f"eps={eps / 255!r}", "eps=EPS") for eps, card in zip(EPS, cards, strict=True)}
    assert len(recipes) == 2
    assert "adversary=None" in cards[0].recipe
    weights = [torch.cat([one.flatten() for one in checkpoint.read_checkpoint(str(path))[0].parameters()]) for path in made[1:3]]
    assert not torch.equal(*weights)


def test_few_images_are_those_that_the_seed_draws():
    whole = build(DATA, Dataset)
    few = Few(whole, 5, seed=1)
    assert len(few) == 5
    assert few.classes == whole.classes
    assert Few(whole, 5, seed=2).numbers != few.numbers
    assert torch.equal(few[3].image, whole[few.numbers[3]].image)

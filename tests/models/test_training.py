import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from assay.core.precision import settled
from assay.core.registry import build
from assay.data import Dataset, HardDigits, Item
from assay.errors import DataError, ModelError, SpecError
from assay.models.accuracy import Accuracy
from assay.models.classifier import Classifier
from assay.models.nets.architectures import SmallResNet
from assay.models.training.draws import Draws
from assay.models.training.recipe import Flip, PixelDropout, Recipe, Shift
from assay.models.training.training import TrainingPlan, accuracy, channel_statistics, train

TINY = SmallResNet(classes=2, widths=(8,), blocks=(1,), strides=(2,), stem=8, stem_stride=2)
QUICK = Recipe(epochs=2, batch_size=16, lr=0.05, augment=(Shift(pixels=2), Flip()), precision="bfloat16")


@dataclasses.dataclass(frozen=True)
class Squares(Dataset):
    """A bright square on a dark ground (class 1) or the other way round (class 0)."""

    split: str = "train"
    count: int = 64
    classes: tuple[str, ...] = ("dark", "bright")

    name = "squares"

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.check_index(index)
        label = index % 2
        grey = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(index)) * 0.3
        grey[:, 4:8, 4:8] += 0.6
        return Item((grey if label else 1 - grey).mul(255).round() / 255, label, index, str(index))

    def content_hash(self):
        return f"squares {self.split} {self.count}"


def draws(count, seed=0):
    return Draws(seed, "test", torch.arange(count))


def bits(net):
    return b"".join(tensor.numpy().tobytes() for tensor in net.state_dict().values())


def test_training_learns_what_can_be_learnt():
    trained = train(TrainingPlan(TINY, Squares(), Squares("test", 32), dataclasses.replace(QUICK, epochs=6)))
    assert trained.card.test_accuracy.value == 1.0
    assert trained.history[-1].loss < trained.history[0].loss


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw", "muon"])
def test_the_same_seed_gives_the_same_bits(precision, optimiser):
    recipe = dataclasses.replace(QUICK, precision=precision, optimiser=optimiser)
    first, again, other = (train(TrainingPlan(TINY, Squares(), Squares("test", 8), recipe, seed=seed)) for seed in (7, 7, 8))
    assert bits(first.net) == bits(again.net)
    assert first.history == again.history
    assert bits(first.net) != bits(other.net)


def test_the_card_tells_what_the_faster_precision_was():
    trained = train(TrainingPlan(TINY, Squares(), Squares("test", 8), dataclasses.replace(QUICK, precision="auto")))
    assert build(trained.card.recipe, Recipe).precision == settled("auto", "cpu")


def test_training_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    train(TrainingPlan(TINY, Squares(), Squares("test", 8), QUICK))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dropout_is_seeded_too(monkeypatch):
    monkeypatch.setattr(SmallResNet, "_net", lambda _: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(432, 2)))
    recipe = dataclasses.replace(QUICK, augment=())
    first = train(TrainingPlan(TINY, Squares(), Squares("test", 8), recipe))
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(12)
        assert bits(train(TrainingPlan(TINY, Squares(), Squares("test", 8), recipe)).net) == bits(first.net)


def test_the_network_comes_back_in_eval_mode_and_in_plain_layout():
    net = train(TrainingPlan(TINY, Squares(), Squares("test", 8), QUICK)).net
    assert not any(module.training for module in net.modules())
    assert all(tensor.is_contiguous() for tensor in net.state_dict().values())


def test_the_accuracy_on_the_card_is_that_of_the_network():
    trained = train(TrainingPlan(TINY, Squares(), Squares("test", 20), dataclasses.replace(QUICK, epochs=1)))
    images = torch.stack([item.image for item in (Squares("test", 20)[i] for i in range(20))])
    right = int((trained.classifier().predict(images) == torch.arange(20) % 2).sum())
    assert trained.card.test_accuracy == Accuracy.of(right, 20)


def test_the_card_says_how_to_do_it_again():
    card = train(TrainingPlan(TINY, Squares(), Squares("test", 8), QUICK, seed=4, command="assay train --seed 4")).card
    assert (build(card.architecture), build(card.recipe), card.seed) == (TINY, QUICK, 4)
    assert (card.train.content_hash, card.test.content_hash) == ("squares train 64", "squares test 8")
    assert (card.train.count, card.test.count, card.size) == (64, 8, (12, 12))
    assert card.command == "assay train --seed 4"
    assert card.packages["torch"] == torch.__version__.partition("+")[0]


def test_progress_counts_every_step_once():
    seen = []
    train(TrainingPlan(TINY, Squares(), Squares("test", 8), QUICK), progress=lambda *said: seen.append(said))
    assert [said for said in seen if said[0] == "training"] == [("training", step + 1, 8) for step in range(8)]


def test_fewer_images_than_a_batch_make_one_small_batch():
    train(TrainingPlan(TINY, Squares(count=6), Squares("test", 2), QUICK))


def test_half_weights_are_exact_in_16_bits():
    net = train(TrainingPlan(TINY, Squares(), Squares("test", 8), QUICK, half=True)).net
    assert all(torch.equal(p, p.half().float()) for p in net.parameters() if p.ndim > 1)


def test_divergence_is_an_error_that_names_the_learning_rate():
    recipe = Recipe(epochs=3, batch_size=16, lr=1e30, warmup=0.0, precision="float32")
    with pytest.raises(ModelError, match="lower the recipe's lr"):
        train(TrainingPlan(TINY, Squares(), Squares("test", 8), recipe))


@pytest.mark.parametrize(
    ("train_set", "test_set", "error", "message"),
    [
        (Squares(classes=()), Squares("test"), DataError, "no labels"),
        (Squares(), Squares("test", classes=("a", "b")), DataError, "a, b"),
        (HardDigits("train", count=20), HardDigits("test", count=20), ModelError, "10 classes"),
    ],
)
def test_data_that_do_not_fit_are_refused(train_set, test_set, error, message):
    with pytest.raises(error, match=message):
        train(TrainingPlan(TINY, train_set, test_set, QUICK))


def test_statistics_are_those_of_all_pixels():
    images = torch.randint(0, 256, (5, 3, 7, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = channel_statistics(images)
    pixels = images.double() / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_a_constant_channel_does_not_divide_by_zero():
    assert channel_statistics(torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)) == ((0.2,), (1.0,))


def test_accuracy_counts_right_answers_over_many_batches():
    class Reads(nn.Module):
        def forward(self, x):
            return -(x[:, :1, 0, 0] * 255 - torch.arange(4)).abs()

    labels = torch.arange(1100) % 4
    images = labels[:, None, None, None].expand(-1, 3, 2, 2).to(torch.uint8).contiguous()
    images[:100] = 0
    assert accuracy(Classifier(Reads()), images, labels).correct == 1000 + 25


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_its_share_and_solves_its_equation(drawn):
    correct, count = drawn
    found = Accuracy.of(correct, count)
    assert 0 <= found.low <= found.value <= found.high <= 1
    for bound in (found.low, found.high):
        distance = (found.value - bound) ** 2 * count
        assert distance == pytest.approx(1.959963984540054**2 * bound * (1 - bound), abs=1e-7 * count)


def test_wilsons_interval_of_a_known_case():
    found = Accuracy.of(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@given(st.integers(1, 200), st.floats(0, 0.9), st.floats(1e-4, 10))
def test_the_rate_rises_to_its_peak_and_falls_towards_zero(steps, warmup, lr):
    rates = [Recipe(lr=lr, warmup=warmup).rate(step, steps) for step in range(steps)]
    peak = rates.index(max(rates))
    assert all(0 < rate <= lr * (1 + 1e-12) for rate in rates)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak <= math.ceil(warmup * steps)


def test_shift_moves_whole_images_and_reflects_at_the_border():
    row = torch.arange(5, dtype=torch.uint8)
    images = (10 * row[:, None] + row).expand(64, 5, 5)[..., None].contiguous()
    moved = Shift(pixels=2)(images, draws(64))
    padded = torch.nn.functional.pad(images[:1, :, :, 0].float(), (2, 2, 2, 2), mode="reflect")[0]
    windows = {tuple(padded[i : i + 5, j : j + 5].flatten().tolist()) for i in range(5) for j in range(5)}
    seen = {tuple(image.flatten().tolist()) for image in moved.float()}
    assert seen <= windows
    assert len(seen) > 15


def test_shift_by_nothing_changes_nothing():
    images = torch.randint(0, 256, (4, 6, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Shift(pixels=0)(images, draws(4)), images)


def test_shift_by_more_than_the_image_is_refused():
    with pytest.raises(SpecError, match="6x6"):
        Shift(pixels=6)(torch.zeros(1, 6, 6, 3, dtype=torch.uint8), draws(1))


def test_pixel_dropout_greys_a_share_of_the_pixels_in_all_channels():
    images = torch.full((8, 30, 30, 3), 7, dtype=torch.uint8)
    found = PixelDropout(0.3)(images, draws(8))
    grey = found == 128
    assert found.dtype == torch.uint8
    assert torch.equal(found[~grey], images[~grey])
    assert torch.equal(grey.any(3), grey.all(3))
    assert float(grey.float().mean()) == pytest.approx(0.3, abs=0.02)
    assert len({one.numpy().tobytes() for one in found}) == 8
    assert torch.equal(PixelDropout(0.0)(images, draws(8)), images)


def test_pixel_dropout_of_everything_is_refused():
    with pytest.raises(SpecError, match="share"):
        PixelDropout(1.0)


def test_flip_mirrors_about_half_of_the_images():
    images = torch.arange(4, dtype=torch.uint8).expand(400, 2, 4)[..., None].contiguous()
    flipped = Flip()(images, draws(400))
    mirrored = (flipped == images.flip(2)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    assert 160 < int(mirrored.sum()) < 240


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"warmup": 1.0}, "warmup"),
        ({"momentum": -0.1}, "momentum"),
        ({"optimiser": "sdg"}, "optimiser"),
        ({"augment": ("Flip",)}, "augment"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_an_impossible_recipe_is_refused_by_name(parameters, named):
    with pytest.raises(SpecError, match=named):
        Recipe(**parameters)


def test_a_recipe_is_its_spec():
    assert build(repr(QUICK), Recipe) == QUICK

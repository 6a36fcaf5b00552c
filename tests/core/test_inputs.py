import numpy as np
import pytest
import torch

import assay
from assay import errors
from assay.core.inputs import check_images, sent
from reference.nets import plain

GOOD = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def broken(value, image=1):
    copy = GOOD.clone()
    copy[image, 2, 3, 4] = value
    return copy


BAD_IMAGES = {
    "a number": (3, errors.ImageTypeError, "images must be a (torch )?tensor"),
    "none": (None, errors.ImageTypeError, "not NoneType"),
    "bytes": ((GOOD * 255).byte(), errors.ImageTypeError, "floating point .* not uint8; divide 8-bit pixels by 255"),
    "whole numbers": (GOOD.round().long(), errors.ImageTypeError, "not int64"),
    "complex": (GOOD.to(torch.complex64), errors.ImageTypeError, "not complex64"),
    "rank 3": (GOOD[0], errors.ShapeError, r"shape \(N, C, H, W\), not \(3, 8, 8\); add images\[None\]"),
    "rank 5": (GOOD[None], errors.ShapeError, r"not \(1, 3, 3, 8, 8\)"),
    "empty": (GOOD[:0], errors.EmptyBatchError, "batch is empty"),
    "no pixels": (GOOD[:, :, :0], errors.ShapeError, "no pixels"),
    "NaN": (broken(torch.nan), errors.NotFiniteError, "image 1 has a pixel that is NaN or infinite"),
    "infinite": (broken(torch.inf, 2), errors.NotFiniteError, "image 2 has a pixel"),
    "above 1": (broken(1.5), errors.PixelRangeError, r"image 1 runs from .* to 1\.5"),
    "below 0": (broken(-0.25, 0), errors.PixelRangeError, r"image 0 runs from -0\.25"),
    "0 to 255": (GOOD * 255, errors.PixelRangeError, "image 0 runs"),
    "other channels": (GOOD[:, :2], errors.AssayError, r"\(2, 8, 8\)"),
    "one channel": (GOOD[:, :1], errors.AssayError, r"\(1, 8, 8\)"),
}
BAD_TARGETS = {
    "too few": (torch.tensor([0, 1]), errors.TargetError, r"shape \(3,\), one class id per image, not \(2,\)"),
    "too large": (torch.tensor([0, 4, 1]), errors.TargetError, r"target 4 of image 1 is no class of a model with 4 classes \(0 to 3\)"),
    "negative": (torch.tensor([0, 1, -1]), errors.TargetError, "target -1 of image 2"),
    "fractions": (torch.tensor([0.0, 1.0, 2.0]), errors.TargetError, "whole numbers .* not float32"),
    "one-hot": (torch.eye(4)[:3].long(), errors.TargetError, r"not \(3, 4\)"),
    "truth values": (torch.tensor([True, False, True]), errors.TargetError, "not bool"),
    "names": (["cat", "dog", "cat"], errors.TargetError, "class ids, not list"),
}
BAD_INDEX = {
    "too few": (torch.tensor([0, 1]), errors.ShapeError, r"3 whole numbers, one per image, not shape \(2,\)"),
    "fractions": (torch.tensor([0.0, 1.0, 2.0]), errors.ShapeError, "float32"),
    "truth values": (torch.tensor([True, False, True]), errors.ShapeError, "bool"),
    "names": (["a", "b", "c"], errors.ShapeError, "index must hold 3 whole numbers"),
}
BAD_MAPS = {
    "numpy": (GOOD.numpy(), errors.ImageTypeError, "maps must be a floating torch tensor"),
    "whole numbers": (GOOD.long(), errors.ImageTypeError, "maps must be"),
    "too few": (GOOD[:2], errors.ShapeError, r"maps must have shape \(3, 3, 8, 8\) or \(3, 1, 8, 8\) for these images, not \(2, 3, 8, 8\)"),
    "two channels": (GOOD[:, :2], errors.ShapeError, r"not \(3, 2, 8, 8\)"),
    "no channel axis": (GOOD[:, 0], errors.ShapeError, r"not \(3, 8, 8\)"),
    "NaN": (broken(torch.nan), errors.NotFiniteError, "map of image 1 "),
}
BAD_TRUTH = {
    "numpy": (np.ones((3, 1, 8, 8)), errors.ShapeError, "not ndarray"),
    "three channels": (torch.ones(3, 3, 8, 8), errors.ShapeError, r"shape \(3, 1, 8, 8\), not \(3, 3, 8, 8\)"),
    "no channel axis": (torch.ones(3, 8, 8), errors.ShapeError, r"not \(3, 8, 8\)"),
}


def over(cases):
    return pytest.mark.parametrize(("bad", "error", "message"), cases.values(), ids=cases)


@pytest.fixture(scope="module")
def model():
    return assay.Classifier(plain())


@over(BAD_IMAGES)
def test_bad_images_are_named_by_every_entrance(model, bad, error, message):
    for use in (
        lambda: assay.Gradient()(model, bad),
        lambda: assay.KernelShap(samples=8, segments=assay.Grid(2, 2))(model, bad, torch.zeros(3, dtype=torch.int64)),
        lambda: assay.Deletion(steps=2)(model, bad, GOOD),
        lambda: model.logits(bad),
        lambda: model.predict(bad),
    ):
        with pytest.raises(error, match=message):
            use()


@over(BAD_TARGETS)
def test_bad_targets_are_named(model, bad, error, message):
    with pytest.raises(error, match=message):
        assay.Gradient()(model, GOOD, bad)
    with pytest.raises(error, match=message):
        assay.Deletion(steps=2)(model, GOOD, GOOD, bad)


@over(BAD_INDEX)
def test_a_bad_index_is_named(model, bad, error, message):
    with pytest.raises(error, match=message):
        assay.Gradient()(model, GOOD, index=bad)
    with pytest.raises(error, match=message):
        assay.Infidelity(samples=2)(model, GOOD, GOOD, index=bad)


@over(BAD_MAPS)
def test_bad_maps_are_named(model, bad, error, message):
    with pytest.raises(error, match=message):
        assay.Deletion(steps=2)(model, GOOD, bad)


@over(BAD_TRUTH)
def test_bad_masks_are_named(model, bad, error, message):
    with pytest.raises(error, match=message):
        assay.MaskIoU()(model, GOOD, GOOD, truth=bad)


@pytest.mark.parametrize("net", [plain(), None, "resnet18"], ids=["a bare network", "None", "a name"])
def test_what_is_no_classifier_is_refused(net):
    for use in (lambda: assay.Gradient()(net, GOOD), lambda: assay.Deletion()(net, GOOD, GOOD)):
        with pytest.raises(errors.ModelError, match=r"must be an assay\.Classifier"):
            use()


def test_measures_say_what_they_miss(model):
    with pytest.raises(errors.AssayError, match=r"MaxSensitivity .* explainer="):
        assay.MaxSensitivity()(model, GOOD, GOOD)
    with pytest.raises(errors.AssayError, match=r"MaskIoU .* truth="):
        assay.MaskIoU()(model, GOOD, GOOD)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_other_floating_images_give_float32_maps(model, dtype):
    maps = assay.Gradient()(model, GOOD.to(dtype))
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, assay.Gradient()(model, GOOD.to(dtype).float()))


def test_images_that_need_gradients_are_left_alone(model):
    leaf = GOOD.clone().requires_grad_()
    maps = assay.SmoothGrad(samples=2)(model, leaf)
    assert not maps.requires_grad
    assert leaf.grad is None
    assert leaf.requires_grad


def test_targets_may_be_a_plain_list(model):
    torch.testing.assert_close(assay.Gradient()(model, GOOD, [0, 1, 2]), assay.Gradient()(model, GOOD, torch.tensor([0, 1, 2])))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_images_of_any_memory_layout_give_the_same_maps(model, layout):
    torch.testing.assert_close(assay.Gradient()(model, GOOD.to(memory_format=layout)), assay.Gradient()(model, GOOD))
    torch.testing.assert_close(assay.RandomMap()(model, GOOD.flip(3).flip(3)), assay.RandomMap()(model, GOOD))
    torch.testing.assert_close(assay.RandomMap()(model, GOOD.to(memory_format=layout)), assay.RandomMap()(model, GOOD))


@pytest.mark.parametrize("change", [2e-7, -2e-7, 1e-6])
def test_what_rounding_leaves_outside_is_put_back(model, change):
    pixels = GOOD.clone()
    pixels[0, 0, 0], pixels[1, 0, 0] = 1.0, 0.0
    moved = pixels + change
    assert not torch.equal(moved, moved.clamp(0, 1))
    torch.testing.assert_close(assay.Gradient()(model, moved), assay.Gradient()(model, moved.clamp(0, 1)), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint64, torch.tensor])
def test_a_seed_may_be_a_whole_number_of_any_library(model, kind, tmp_path):
    for explainer in (assay.SmoothGrad(samples=2), assay.RandomMap()):
        assert torch.equal(explainer(model, GOOD, seed=kind(7)), explainer(model, GOOD, seed=7))
    attack = assay.NoiseMapAttack(draws=2)
    assert torch.equal(attack(model, assay.Gradient(), GOOD, seed=kind(7)).images, attack(model, assay.Gradient(), GOOD, seed=7).images)
    assay.audit(model, GOOD, explainers=["Gradient()"], measures=["Deletion(steps=2)"], seed=kind(7)).save(tmp_path)


@pytest.mark.parametrize("seed", [1.5, None, "seven"])
def test_other_seeds_are_refused(model, seed):
    for use in (
        lambda: assay.RandomMap()(model, GOOD, seed=seed),
        lambda: assay.Deletion(steps=2)(model, GOOD, GOOD, seed=seed),
        lambda: assay.NoiseMapAttack()(model, assay.Gradient(), GOOD, seed=seed),
        lambda: assay.audit(model, GOOD, seed=seed),
        lambda: assay.frontier(model, GOOD, explainer=assay.Gradient(), sigmas=[0, 0.1], seed=seed),
    ):
        with pytest.raises(errors.SpecError, match="seed must be a whole number, not"):
            use()


@pytest.mark.parametrize("excess", [1e-3, 5e-4, 3e-5])
def test_more_than_rounding_outside_the_range_is_no_rounding(excess):
    for low, high in ((0.0, 1 + excess), (-excess, 1.0)):
        with pytest.raises(errors.PixelRangeError):
            check_images(torch.tensor([low, high]).view(1, 1, 1, 2))
    put_back = check_images(torch.tensor([-5e-6, 1 + 5e-6]).view(1, 1, 1, 2))
    assert put_back.flatten().tolist() == [0.0, 1.0]


class Copied:
    """Records how it is copied, in place of a tensor in the host's memory."""

    device = torch.device("cpu")

    def __init__(self):
        self.calls = []

    def pin_memory(self):
        self.calls.append("pinned")
        return self

    def to(self, device, non_blocking=False):
        self.calls.append((str(device), non_blocking))
        return self


def test_values_go_to_a_gpu_by_pinned_memory_without_waiting_and_nowhere_else():
    to_gpu, to_cpu = Copied(), Copied()
    sent(to_gpu, torch.device("cuda"))
    sent(to_cpu, torch.device("cpu"))
    assert to_gpu.calls == ["pinned", ("cuda", True)]
    assert to_cpu.calls == [("cpu", False)]

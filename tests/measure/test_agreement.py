import pytest
import torch

import assay
from assay.errors import ModelError, NotFiniteError, ShapeError
from reference.nets import Function, plain


def test_a_model_agrees_with_itself(images):
    model = assay.Classifier(plain())
    found = assay.model_agreement(model, model, images(50))
    assert (found.correct, found.count, found.value) == (50, 50, 1.0)
    assert 0.9 < found.low < found.high == 1.0


def test_two_thresholds_agree_outside_of_what_lies_between_them():
    """Brightness of 100 images runs from 0 to 0.99; classes differ where it is in (0.25, 0.5]."""
    low, high = (assay.Classifier(Function(lambda x, at=at: x.mean(1) - at)) for at in (0.255, 0.505))
    batch = (torch.arange(100) / 100).view(-1, 1, 1, 1).expand(100, 1, 4, 4)
    found = assay.model_agreement(low, high, batch)
    assert (found.correct, found.count) == (75, 100)
    assert found.low < 0.75 < found.high
    # Turned round, images 26 to 48 are bright to both, and none is dark to both.
    assert assay.model_agreement(low, high, batch, batch.flip(0)).correct == 23


def test_it_is_the_share_of_equal_predictions(images):
    one, other = plain(), plain(seed=1)
    batch = images(40)
    expected = float((one(batch).argmax(1) == other(batch).argmax(1)).float().mean())
    assert assay.model_agreement(assay.Classifier(one), assay.Classifier(other), batch).value == pytest.approx(expected)


def test_mistakes_are_named(images):
    model = assay.Classifier(plain())
    with pytest.raises(ShapeError, match="others holds 2 images for 3"):
        assay.model_agreement(model, model, images(), images(2))
    with pytest.raises(ModelError, match=r"wrap the network: assay\.Classifier"):
        assay.model_agreement(model, plain(), images())
    with pytest.raises(NotFiniteError, match="image 0"):
        assay.model_agreement(model, assay.Classifier(Function(lambda x: x.sum(1) / 0)), images())

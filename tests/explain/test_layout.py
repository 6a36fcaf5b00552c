"""Where a layer's features lie over the image, found by moving patches of it, whatever their shape looks like."""

import pytest
import torch
from torch import nn

import assay
from assay.errors import ModelError
from assay.explain.features.layers import layout_of
from assay.explain.features.layout import Layout
from reference.nets import seeded

SIZE = (24, 40)


class Laid(nn.Module):
    """Features of a convolution with stride 4, (n, 8, 6, 10), rearranged by a layer `out`, and read out from there."""

    def __init__(self, arrange, back):
        super().__init__()
        self.stem = seeded(lambda: nn.Conv2d(3, 8, 4, stride=4))
        self.out, self.arrange, self.back = nn.Identity(), arrange, back
        self.head = seeded(lambda: nn.Linear(8, 3))

    def forward(self, x):
        return self.head(self.back(self.out(self.arrange(self.stem(x).tanh()))))


def tokens(before, after):
    """Tokens (n, before + 60 + after, 8), the extra ones made of the mean."""

    def arrange(y):
        flat = y.flatten(2).transpose(1, 2)
        mean = flat.mean(1, keepdim=True)
        return torch.cat([mean.expand(-1, before, -1), flat, mean.expand(-1, after, -1)], 1)

    return arrange


ARRANGED = {
    "channels first": (lambda y: y, lambda y: y.mean((2, 3)), Layout((1, 2, 3), 6, 10)),
    "channels last": (lambda y: y.permute(0, 2, 3, 1), lambda y: y.mean((1, 2)), Layout((3, 1, 2), 6, 10)),
    "tokens": (tokens(0, 0), lambda y: y.mean(1), Layout((2, 1), 6, 10)),
    "a class token first": (tokens(1, 0), lambda y: y.mean(1), Layout((2, 1), 6, 10, 1)),
    "four registers first": (tokens(5, 0), lambda y: y.mean(1), Layout((2, 1), 6, 10, 5)),
    "registers last": (tokens(0, 4), lambda y: y.mean(1), Layout((2, 1), 6, 10, 0)),
    "channels before tokens": (lambda y: y.flatten(2), lambda y: y.mean(2), Layout((1, 2), 6, 10)),
}


@pytest.mark.parametrize("kind", ARRANGED)
def test_the_grid_is_found_where_it_is(kind):
    arrange, back, expected = ARRANGED[kind]
    model = assay.Classifier(Laid(arrange, back))
    assert layout_of(model, "out", torch.Size((3, *SIZE))) == expected
    first = assay.GradCAM("out")(assay.Classifier(Laid(*ARRANGED["channels first"][:2])), images(), TARGETS)
    if "registers" not in kind and "class" not in kind:  # Extra tokens take part of the mean.
        torch.testing.assert_close(assay.GradCAM("out")(model, images(), TARGETS), first, rtol=1e-4, atol=1e-6)


def images():
    return torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))


TARGETS = torch.tensor([0, 1, 2])


def test_a_grid_is_not_told_by_its_proportions_alone():
    """Features (n, 10, 6, 10) could have 10 channels on either side; only what moves says which."""

    class Both(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.stem, self.last, self.out = seeded(lambda: nn.Conv2d(3, 10, 4, stride=4)), last, nn.Identity()

        def forward(self, x):
            y = self.stem(x).tanh()
            return self.out(y.permute(0, 2, 3, 1) if self.last else y).flatten(1)[:, :3] + y.mean((2, 3))[:, :3]

    square = torch.Size((3, 40, 24))  # Rows 10, columns 6.
    assert layout_of(assay.Classifier(Both(False)), "out", square) == Layout((1, 2, 3), 10, 6)
    assert layout_of(assay.Classifier(Both(True)), "out", square) == Layout((3, 1, 2), 10, 6)


def test_four_places_that_move_almost_alike_are_told_by_their_proportions():
    """Mixed tokens of which the mirrored ones move a little more: of so few that is no evidence of another grid."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.out = seeded(lambda: nn.Conv2d(3, 2, 8, stride=8)), nn.Identity()

        def forward(self, x):
            y = self.stem(x).flatten(2).transpose(1, 2)
            return self.out(y.mean(1, keepdim=True) + 0.02 * y.flip(1)).mean(1)

    assert layout_of(assay.Classifier(Mixed()), "out", torch.Size((3, 16, 16))) == Layout((2, 1), 2, 2)


def test_it_costs_one_uncounted_pass_once_for_each_layer_and_size():
    passes = []

    class Counted(Laid):
        def forward(self, x):
            passes.append(len(x))
            return super().forward(x)

    model = assay.Classifier(Counted(*ARRANGED["tokens"][:2]))
    model.logits(images())
    passes.clear()
    before = model.passes.copy()
    for _ in range(2):
        layout_of(model, "out", torch.Size((3, *SIZE)))
    assert passes == [3]
    assert model.passes == before
    assert layout_of(model, "stem", torch.Size((3, *SIZE))).rows == 6


@pytest.mark.parametrize(("layer", "gives"), [("head", r"shape \(3, 3\)"), ("unused", "nothing: it does not run")])
def test_a_layer_that_does_not_lie_over_the_image_is_refused_by_name(layer, gives):
    net = Laid(*ARRANGED["tokens"][:2])
    net.unused = nn.Identity()
    with pytest.raises(ModelError, match=f"the layer {layer} of Laid gives {gives}"):
        layout_of(assay.Classifier(net), layer, torch.Size((3, *SIZE)))


def test_which_layer_was_taken_is_told_in_settings_in_the_record_and_in_the_verdict_of_an_audit():
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model = assay.Classifier(net)
    batch = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    assert model.findings == ()
    found = assay.audit(model, batch, explainers=[assay.GradCAM()], measures=[assay.Deletion(steps=2)])
    told = "Where no layer is named, features are those of 3 (images of 3 x 12 x 12)."
    assert model.findings == (told,)
    assert model.settings()["findings"] == [told]
    assert told in found.record["setup"]["model"]["findings"]
    assert told in found.verdict
    named = assay.Classifier(net)
    assay.GradCAM("1")(named, batch)
    assert named.findings == ()

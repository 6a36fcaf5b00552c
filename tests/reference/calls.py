"""Every registered class that is called with a model and images, as one kind of thing: a name, and a function of both to tensors."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import assay
from assay.attack.predictions.prediction import PredictionAttack
from reference.nets import normed, seeded, tokens
from reference.specs import cheap, own

SIZE, COUNT = 9, 3
TARGETS = torch.tensor([1, 0, 3])
EXPLAINER = assay.SmoothGrad(sigma=0.1, samples=2)
QUICK = {
    "PGD": "PGD(eps=0.1, steps=3)",
    "APGD": "APGD(eps=0.1, steps=4)",
    "SquareAttack": "SquareAttack(eps=0.1, queries=6)",
    "AttackEnsemble": "AttackEnsemble(eps=0.1, norm='linf', steps=3, queries=4)",
}
CERTIFIED = (
    assay.SmoothGrad(sigma=0.3, samples=8),
    assay.Smoothed(assay.Sparsified(assay.Gradient()), assay.Gaussian(0.3), samples=8, antithetic=False),
)


@dataclass(frozen=True)
class Call:
    """One of them; `of` is what is called, or None for certificates, whose `more` is the explainer."""

    of: Any
    more: Any = None

    def __repr__(self):
        return repr(self.of) if self.of is not None else f"certify({self.more!r})"

    @property
    def attention(self):
        return isinstance(self.of, assay.Explainer) and "attention" in self.of.needs

    def net(self, channels=3, size=(SIZE, SIZE)):
        """A network that it takes, in train mode where it has batch norms; a new one each time."""
        if self.attention:
            return tokens(size, 3, channels)
        if channels == 3:
            return normed()
        return seeded(lambda: nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)))

    def model(self, net):
        return assay.Classifier(net, mean=0.5, std=0.25, output="probability" if self.of is None else "logit", chunk=2)

    def __call__(self, model, images, seed=3, targets=TARGETS):
        """What comes out, as a list of tensors."""
        if isinstance(self.of, assay.Explainer):
            return [self.of(model, images, targets, seed=seed)]
        if isinstance(self.of, assay.Measure):
            maps = torch.linspace(-1, 1, images[0].numel(), dtype=torch.float32).view(1, *images.shape[1:]).repeat(len(images), 1, 1, 1)
            truth = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
            truth[:, :, 1:3, 2:5] = True
            needs = {"explainer": EXPLAINER, "truth": truth, "distractor": ~truth}
            more = {name: value for name, value in needs.items() if name in self.of.needs}
            return [self.of(model, images, maps, targets, seed=seed, **more)]
        if isinstance(self.of, assay.Attack):
            found = self.of(model, assay.Gradient(), images, targets, seed=seed)
            return [found.images, found.maps, found.attacked_maps, found.distance, found.kept]
        if isinstance(self.of, PredictionAttack):
            return [self.of(model, images, model.predict(images) if targets is None else targets, seed)]
        samples = 20 if isinstance(self.more, assay.SmoothGrad) else None
        found = assay.certify(model, images, self.more, [0.01, 0.1], samples=samples, targets=targets, seed=seed)
        return [found.cosine, found.seen, found.overlap, found.pixels, found.norm, found.radius, found.maps]


def calls():
    """All of them."""
    kinds = (assay.Explainer, assay.Measure, assay.Attack)
    found = [Call(cheap(cls)) for kind in kinds for cls in own(kind)]
    predictions = [Call(assay.build(QUICK.get(cls.__name__, f"{cls.__name__}(eps=0.1)"))) for cls in own(PredictionAttack)]
    return [*found, *predictions, *(Call(None, explainer) for explainer in CERTIFIED)]


def batch(channels=3, size=(SIZE, SIZE)):
    """Pixels (COUNT, channels, *size)."""
    return torch.rand(COUNT, channels, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float32)

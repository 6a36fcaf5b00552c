"""What `assay view` shows of one image: its map, what the model says, and whether the map holds up for this image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from assay.attack.map_attack import MapAttack
from assay.core.registry import build, short
from assay.data.base import Batch
from assay.data.files.convert import as_batch
from assay.data.files.reading import Reading
from assay.errors import AssayError, ModelError
from assay.explain.base import Explainer
from assay.explain.controls import Edges
from assay.explain.kernels import Gaussian
from assay.explain.smooth import Smoothed
from assay.measure.base import pixel_values
from assay.measure.perturbation import Deletion
from assay.models.classifier import Classifier
from assay.models.randomised import randomised
from assay.report.figures.colour import robust_limit
from assay.report.figures.picture import magnified, overlay, photo
from assay.report.text import number, percent
from assay.study.audit.nulls import agreements, elsewhere
from assay.tune.explainer import LearnedMask

__all__ = ["SPECS", "Look", "Viewer"]

SPECS = ("Gradient", "GradientXInput", "IntegratedGradients", "SmoothGrad", "Occlusion")
"""Explainers that are offered where no others are asked for."""
_SIDE = 384
_EPS, _STEPS = 4 / 255, 10
_COPIES = 16


@dataclass(frozen=True)
class Look:
    """What the viewer shows of one image so far.

    Attributes:
        told: What the model says, or what was done.
        pictures: By their captions.
        rows: Of the table of what the map is held against: question, what, its Deletion, whether the map is better.
        notes: Sentences below.
        doing: What is worked at now; nothing at the end.
        done: The share of the work.
    """

    told: str
    pictures: Mapping[str, Image.Image]
    rows: tuple[tuple[str, str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    doing: str = ""
    done: float = 1.0


@dataclass(frozen=True, eq=False)
class Viewer:
    """A model with images to look at.

    Attributes:
        model: The model.
        batch: Images that can be picked.
        specs: Explainers that can be chosen.
        masks: Masks (1, H, W) that the model was tuned with, by the images' places.
        reading: How the images' files were prepared, and dropped pictures are; None where nothing was said.
    """

    model: Classifier
    batch: Batch
    specs: tuple[str, ...] = SPECS
    masks: Mapping[int, Tensor] = field(default_factory=dict)
    reading: Reading | None = None

    @property
    def names(self) -> list[str]:
        """What the images are called, with their places, since names may be the same."""
        return [f"{place}: {name}" for place, name in enumerate(self.batch.names)]

    def chosen(self, name: str | None, dropped: Any = None) -> Tensor:
        """The dropped picture, prepared as the images are, or the one of that name, (1, C, H, W).

        A dropped picture of another size is scaled until it covers the images' size, and its centre is cut out.

        Raises:
            AssayError: There is neither, or it is no picture.
        """
        if dropped is None:
            if name not in self.names:
                raise AssayError("pick an image, or drop one")
            return self.batch.images[self.names.index(name)][None]
        channels, height, width = self.batch.images.shape[1:]
        if self.reading is not None:
            found = as_batch([dropped], self.reading).images
            if found.shape[1:] == self.batch.images.shape[1:]:
                return found
        factor = max(height / dropped.height, width / dropped.width)
        cover = max(height, round(dropped.height * factor)), max(width, round(dropped.width * factor))
        return as_batch([dropped], Reading(resize=cover, crop=(height, width), channels=1 if channels == 1 else 3)).images

    def explainer(self, spec: str, sigma: float) -> Explainer:
        """The explainer of a spec, smoothed where sigma is above 0."""
        one: Explainer = build(spec, Explainer)
        return Smoothed(one, Gaussian(sigma), _COPIES) if sigma > 0 else one

    def look(self, image: Tensor, spec: str, sigma: float, seed: int = 0) -> Iterator[Look]:
        """Explain one image, and hold its map by Deletion against nulls; each step is given as soon as it is there.

        Args:
            image: (1, C, H, W).
            spec: The explainer.
            sigma: Width of smoothing, 0 for none.
            seed: Decides all randomness.
        """
        explainer, index = self.explainer(spec, sigma), torch.zeros(1, dtype=torch.long)
        target, shown = self.model.predict(image), {"image": self._photo(image)}
        told = self._predicted(image, target, explainer)
        yield Look(told, shown, doing="explaining", done=0.1)
        own = explainer(self.model, image, target, seed=seed)
        shown["map"] = self._map(image, own)
        yield Look(told, shown, doing="holding the map against others", done=0.3)
        other = self.batch.images[(self._place(image) + 1) % len(self.batch)][None]
        nulls = {"where": ("itself, put elsewhere", elsewhere(own.cpu(), index, seed))}
        if not torch.equal(other.cpu(), image.cpu()):  # Where there is one image, the table has no such line.
            nulls["this image"] = ("its map of another image", explainer(self.model, other, target, seed=seed))
        yield Look(told, shown, doing="holding the map against that of random weights", done=0.6)
        try:
            twin = randomised(self.model, "all", seed)
            nulls["this model"] = ("its map of the model with random weights", explainer(twin, image, target, seed=seed))
        except ModelError:
            pass  # A model without weights cannot be asked; the table then has no such line.
        nulls["more than the image"] = ("the image's edges", Edges()(self.model, image, target))
        score = float(Deletion()(self.model, image, own, target))
        drops = {key: (what, float(Deletion()(self.model, image, one.to(own.device), target))) for key, (what, one) in nulls.items()}
        rows = [("", "the map itself", number(score), "")]
        rows += [(key, what, number(drop), "better" if score < drop else "no better") for key, (what, drop) in drops.items()]
        end = "One image shows nothing of whether an explainer can be trusted; an audit does."
        yield Look(told, shown, tuple(rows), (end,))

    def attack(self, image: Tensor, spec: str, sigma: float, seed: int = 0) -> Iterator[Look]:
        """Look for a change too small to see that keeps the prediction and bends the map."""
        explainer, target = self.explainer(spec, sigma), self.model.predict(image)
        told, shown = self._predicted(image, target, explainer), {"image": self._photo(image)}
        yield Look(told, shown, doing="attacking the map", done=0.1)
        hit = MapAttack(eps=_EPS, steps=_STEPS)(self.model, explainer, image, seed=seed)
        limit = robust_limit(hit.maps[0])  # One scale for both, which are to be compared.
        shown |= {"map": self._map(image, hit.maps, limit), "attacked image": self._photo(hit.images)}
        shown["map of the attacked image, on the same scale"] = self._map(hit.images, hit.attacked_maps, limit)
        (common,) = agreements(torch.zeros(1, dtype=torch.long), {"clean": hit.maps, "attacked": hit.attacked_maps})["overlap"]
        notes = (
            f"Attacked: every pixel was changed by at most {255 * _EPS:.0f}/255. "
            f"The prediction is {'kept' if bool(hit.kept[0]) else 'lost, so this change does not count'}.",
            f"The maps differ by {number(float(hit.distance[0]), 2)}, where 0 is no difference, and have {percent(common)} of their top "
            "tenth of the pixels in common; unrelated maps have 10%.",
        )
        yield Look(told, shown, notes=notes)

    def mask(self, image: Tensor, spec: str, sigma: float, seed: int = 0) -> Iterator[Look]:
        """DiET's mask of an image beside its map: the mask that the model was tuned with, or else one learned for this image now."""
        explainer, target = self.explainer(spec, sigma), self.model.predict(image)
        told, shown = self._predicted(image, target, explainer), {"image": self._photo(image)}
        yield Look(told, shown, doing="explaining", done=0.1)
        own = explainer(self.model, image, target, seed=seed)
        shown["map"] = self._map(image, own)
        found = self.masks.get(self._place(image))
        if found is not None:
            what = "This network was tuned with this mask: what is dark was taken away while its predictions stayed."
        else:
            yield Look(told, shown, doing="learning the smallest mask that keeps the prediction", done=0.3)
            found = LearnedMask(rounds=3)(self.model, image, seed=seed)[0].cpu()
            what = (
                "The smallest mask that keeps this prediction was learned for this image now. On a network that DiET has not tuned it says "
                "little: such networks read also what is left when pixels are taken away."
            )
        shown["DiET's mask"], shown["what it keeps"] = self._photo(found[None]), self._masked(image, found)
        top = pixel_values(own, "signed").flatten().topk(max(1, found[0].numel() // 10)).indices.cpu()
        whole, best = (percent(float(one.mean())) for one in (found, found.flatten()[top]))
        both = f"The mask keeps {whole} of the image, and {best} of the top tenth of the map's pixels."
        yield Look(told, shown, notes=(what, both))

    def _place(self, image: Tensor) -> int:
        same = [place for place, one in enumerate(self.batch.images) if torch.equal(one, image[0])]
        return same[0] if same else -1

    def _photo(self, image: Tensor) -> Image.Image:
        return magnified(photo(_shown(image[0])), _SIDE)

    def _map(self, image: Tensor, values: Tensor, limit: float | None = None) -> Image.Image:
        return overlay(_shown(image[0]).cpu(), values[0].cpu(), robust_limit(values[0]) if limit is None else limit, side=_SIDE)

    def _masked(self, image: Tensor, mask: Tensor) -> Image.Image:
        grey = torch.full_like(image.cpu(), 0.5)
        return self._photo(torch.lerp(grey, image.cpu(), mask.clamp(0, 1)[None]))

    def _predicted(self, image: Tensor, target: Tensor, explainer: Explainer) -> str:
        sure = float(self.model.decide(self.model.logits(image), target).probability(target)[0])
        return f"{self.model.classes[int(target[0])]}, {percent(sure)}, by {short(explainer)}"


def _shown(image: Tensor) -> Tensor:
    """An image (C, H, W) with the channels of a picture."""
    return image if image.shape[0] in (1, 3) else image.mean(0, keepdim=True)

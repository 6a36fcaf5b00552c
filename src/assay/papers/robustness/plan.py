"""What the robustness study is to do: its settings as objects, checked before any work, and its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from assay.attack.base import Attack
from assay.attack.distances import Distance
from assay.core.environment import code, machine, packages
from assay.core.listed import built
from assay.core.precision import Precision
from assay.core.registry import build, short
from assay.data import Batch, Dataset, choose, read
from assay.errors import DataError, SpecError
from assay.explain.base import Explainer
from assay.measure.base import Measure
from assay.models.classifier import Classifier, Output
from assay.papers.robustness.networks import Network, networks
from assay.papers.robustness.settings import Part, RobustnessSettings
from assay.run.blocks import Blocks
from assay.study.certify import CertifyStudy
from assay.study.frontier.plan import plan_sweep
from assay.study.frontier.sweep import Sweep
from assay.study.source import Held
from assay.study.study import Asked

__all__ = ["RobustnessPlan", "Step"]

Kind = Literal["classes", "certify", "measure", "attack"]


@dataclass(frozen=True)
class Step:
    """The unit that is done, kept and resumed.

    Attributes:
        model: Name of the network.
        kind: Its classes of all images, certificates, measured maps, or attacked maps.
        part: Name of the part; "" for classes and certificates.
        rows: Positions among the chosen images.
    """

    model: str
    kind: Kind
    part: str
    rows: range


@dataclass(frozen=True)
class RobustnessPlan:
    """The settings.

    Attributes:
        settings: The study's settings.
        device: Where it is done.
    """

    settings: RobustnessSettings
    device: torch.device

    @cached_property
    def data(self) -> Dataset:
        """The data set."""
        return build(self.settings.data, Dataset)

    @cached_property
    def chosen(self) -> list[int]:
        """Numbers of the chosen images, in the order in which parts take them."""
        return choose(self.data, self.settings.images, self.settings.seed)

    @cached_property
    def batch(self) -> Batch:
        """The chosen images.

        Raises:
            DataError: A file cannot be read, or there are no labels.
        """
        found = read(self.data, self.chosen)
        if found.errors:
            raise DataError(f"{found.errors[0].name} of {self.data.name} cannot be read: {found.errors[0].message}; replace or remove it")
        if found.labels is None:
            raise DataError(f"{self.data.name} has no labels, which the study needs")
        return found

    @cached_property
    def networks(self) -> dict[str, Network]:
        """The networks by name."""
        folder = self.settings.weights
        return {one.name: one for one in networks(self.settings.models, None if folder is None else Path(folder))}

    @cached_property
    def distances(self) -> list[Distance]:
        """By which maps before and after an attack are compared."""
        found = built("distance", self.settings.distances, Distance)
        wrong = [short(one) for one in found if not one.bounded]
        if wrong:
            raise SpecError(f"1 - {wrong[0]} is no similarity; take TopK, Cosine, Spearman or SSIM")
        return found

    def classifier(self, name: str, precision: Precision, output: Output = "logit") -> Classifier:
        """A network in pixel space."""
        one = self.networks[name]
        return Classifier(one.net, one.card.mean, one.card.std, precision, output, classes=one.card.classes, device=self.device)

    def sweep(self, part: Part, model: Classifier) -> Sweep:
        """What is measured of a model: `assay.frontier`'s sweep, without its attack.

        Raises:
            SpecError: The part makes no sweep.
        """
        hit = self.attack(part)
        sweep = plan_sweep(
            model,
            part.images,
            part.explainers,
            samples=part.samples,
            seed=self.settings.seed,
            kernels=part.kernels or None,
            faithfulness=self.settings.faithfulness,
            attack=hit,
            draws=part.draws,
        )
        # The attack is a step of its own, on other images; its ball is that of the random changes.
        return replace(sweep, attack=None, kernels=sweep.kernels if part.kernels else [None])

    def attack(self, part: Part) -> Attack:
        """The attack of a part."""
        return build(part.attack, Attack)

    @cached_property
    def certified(self) -> CertifyStudy | None:
        """What is certified of every network, where that is wanted."""
        wanted = self.settings.certified
        if wanted is None:
            return None
        attack = build(wanted.attack, Attack)
        return CertifyStudy(build(wanted.smoothing, Explainer), wanted.eps, wanted.confidence, wanted.samples, attack)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Everything that is to be done, in order."""
        return tuple(step for name in self.networks for step in self._steps(name))

    def check(self) -> None:
        """Raise, before any work, where the settings cannot be carried out.

        Raises:
            AssayError: A spec is wrong, data or weights are missing, or a model has other classes than the data.
        """
        known = self.data.classes
        for name, part in self.settings.parts.items():
            if max(part.images, part.attacked) > self.settings.images or part.attacked > part.images:
                raise SpecError(
                    f"the part {name} takes {part.images} images and attacks {part.attacked} of them; there are {self.settings.images}: "
                    "choose more by --images, or set fewer for the part in a study file"
                )
        for one in self.networks.values():
            if len(one.card.classes) != len(known):
                raise DataError(f"{one.name} has {len(one.card.classes)} classes, but {self.data.name} has {len(known)}")
        _ = self.distances, self.chosen
        certified = self.settings.certified
        if certified is not None and certified.images > self.settings.images:
            raise SpecError(f"certificates take {certified.images} images; there are {self.settings.images}")
        name = next(iter(self.networks))
        if self.certified is not None:
            self.certified.check(Asked(self.classifier(name, self.settings.precision, "probability"), Held(self.batch)))
        first = self.classifier(name, "float32")
        for part in self.settings.parts.values():
            self.sweep(part, first)
        for name in self.networks:
            self.classifier(name, "float32").count_classes(self.batch.images.shape[1:])

    def answers(self, hashed: str) -> dict[str, Any]:
        """The seven answers, as far as they are known before the work; `hashed` is the data's content hash."""
        settings = self.settings
        name = next(iter(self.networks))
        model, certifying = self.classifier(name, "float32"), self.certified
        sweeps = [self.sweep(part, model) for part in settings.parts.values()]
        explainers = {repr(one): one.reference for sweep in sweeps for one in sweep.everyone}
        measures = {repr(one): one.reference for one in built("measure", settings.faithfulness, Measure)}
        parts = {f"{name}, measured": self.chosen[: part.images] for name, part in settings.parts.items()}
        parts |= {f"{name}, attacked": self.chosen[: part.attacked] for name, part in settings.parts.items()}
        attacks = {repr(one): one.reference for one in map(self.attack, settings.parts.values())}
        if certifying is not None and settings.certified is not None:
            explainers[repr(certifying.smoothing)] = certifying.smoothing.reference
            parts["certified"] = self.chosen[: settings.certified.images]
        return {
            "algorithm": explainers | measures | attacks,
            "code": code(),
            "data": {self.data.split: {"images": {"spec": repr(self.data), "sha256": hashed}}},
            "splits": {self.data.split: {"chosen": self.chosen} | parts},
            "machine": machine(self.device),
            "packages": packages(),
            "setup": settings.model_dump(mode="json") | {"weights, SHA-256": self.weights},
        }

    @property
    def weights(self) -> dict[str, str]:
        """The hashes of the networks' files by name."""
        return {name: one.card.sha256 for name, one in self.networks.items()}

    def _steps(self, model: str) -> Iterator[Step]:
        settings = self.settings
        yield Step(model, "classes", "", range(settings.images))
        if settings.certified is not None:
            yield from _cut(model, "certify", "", settings.certified.images, settings.block)
        for name, part in settings.parts.items():
            attacked = part.attacked if part.attacks == "both" or self.networks[model].twin == "standard" else 0
            kinds: tuple[tuple[Kind, int], ...] = (("measure", part.images), ("attack", attacked))
            for kind, images in kinds:
                yield from _cut(model, kind, name, images, settings.block)


def _cut(model: str, kind: Kind, part: str, images: int, most: int) -> Iterator[Step]:
    """The steps of the first so many images."""
    blocks = Blocks.even(images, most)
    return (Step(model, kind, part, blocks.rows(block)) for block in range(len(blocks)))

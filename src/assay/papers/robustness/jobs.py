"""The robustness study as a table of jobs: one study of one network's maps each, cut into steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assay.core.environment import code, machine, packages
from assay.core.listed import built
from assay.core.precision import Precision, settled
from assay.core.registry import build
from assay.data import Batch, Dataset, choose, read
from assay.data.source import Held
from assay.errors import DataError, SpecError
from assay.explain.base import Explainer
from assay.explain.smooth import SmoothGrad
from assay.measure.base import Measure
from assay.models.classifier import Classifier
from assay.models.heads import Output
from assay.models.seeded import seeded
from assay.papers import paper as price
from assay.papers.robustness.condition import ConditionStudy
from assay.papers.robustness.measured import HeldAgainstNulls, Measured
from assay.papers.robustness.networks import PaperNetwork, graded_networks, networks
from assay.papers.robustness.settings import NOTIONS, RobustnessSettings
from assay.run.blocks import Blocks
from assay.study.asked import Asked
from assay.study.audit.standard import PAPER_EXPLAINERS
from assay.study.certify_study import CertifyStudy
from assay.study.study import Study

__all__ = ["Jobs", "NetworkStudy", "StudyStep"]


_SIGMAS = (0.03, 0.1, 0.4)
"""Widths at which the theorem's condition is looked at."""
_COUNTED = 8
"""Images on which the passes of maps and their nulls are counted: nulls are made from other images."""
_BYTES = 60
"""Of a row of values on the disk: its part's, the whole table's, and its share of the log."""


@dataclass(frozen=True)
class NetworkStudy:
    """A study of one network's explanations.

    Attributes:
        network: Name of the network.
        part: Name of the part of the settings.
        output: What is explained.
        images: How many of the chosen images.
        study: What is done with them.
        precision: What it is computed in.
    """

    network: str
    part: str
    output: Output
    images: int
    study: Study
    precision: Precision = "float32"

    @property
    def facts(self) -> dict[str, str]:
        """What every row of its tables says of it."""
        return {"model": self.network, "output": self.output, "part": self.part}

    @property
    def whole(self) -> bool:
        """Whether its images are worked on together, since nulls are made from maps of the others."""
        return isinstance(self.study, HeldAgainstNulls)

    def cut(self, block: int) -> Iterator[range]:
        """Its images in blocks of at most so many, or in one."""
        blocks = Blocks.even(self.images, self.images if self.whole else block)
        return (blocks.rows(number) for number in range(len(blocks)))


@dataclass(frozen=True)
class StudyStep:
    """The unit that is done, kept and resumed: some images of a job."""

    job: NetworkStudy
    rows: range


@dataclass(frozen=True)
class Jobs:
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
        """The images that some part takes.

        Raises:
            DataError: A file cannot be read.
        """
        found = read(self.data, self.chosen[: max(one.images for one in self.table)])
        if found.errors:
            raise DataError(f"{found.errors[0].name} of {self.data.name} cannot be read: {found.errors[0].message}; replace or remove it")
        return found

    @cached_property
    def networks(self) -> dict[str, PaperNetwork]:
        """The networks by name."""
        folder, own = self.settings.weights, self.settings.graded
        found = (
            *networks(self.settings.models, None if folder is None else Path(folder)),
            *(() if own is None else graded_networks(Path(own))),
        )
        return {one.name: one for one in found}

    @cached_property
    def table(self) -> tuple[NetworkStudy, ...]:
        """All jobs, network by network."""
        return tuple(job for name in self.networks for job in self._jobs(name))

    @cached_property
    def steps(self) -> tuple[StudyStep, ...]:
        """All steps, in order."""
        return tuple(StudyStep(job, rows) for job in self.table for rows in job.cut(self.settings.block))

    def kind(self, step: int) -> str:
        """The part of a step, by its number; steps of a part cost about the same."""
        return self.steps[step].job.part

    def asked(self, job: NetworkStudy) -> Asked:
        """What a job's study is about; the classifier is made anew."""
        one = self.networks[job.network]
        model = Classifier(one.net, one.card.mean, one.card.std, job.precision, job.output, classes=one.card.classes, device=self.device)
        return Asked(model, Held(self.batch), self.settings.seed, one.name)

    def check(self) -> None:
        """Raise, before any work, where the settings cannot be carried out.

        Raises:
            AssayError: A spec is wrong, data or weights are missing, or a model has other classes than the data.
        """
        most = max(self.table, key=lambda job: job.images)
        if most.images > self.settings.images:
            raise SpecError(
                f"the part {most.part} takes {most.images} images; there are {self.settings.images}: choose more by --images, or set "
                "fewer for the part in a study file"
            )
        for one in self.networks.values():
            if len(one.card.classes) != len(self.data.classes):
                raise DataError(f"{one.name} has {len(one.card.classes)} classes, but {self.data.name} has {len(self.data.classes)}")
        for name in self.networks:
            first = next(job for job in self.table if job.network == name)
            self.asked(first).model.count_classes(self.batch.images.shape[1:])
        for job in {job.part: job for job in reversed(self.table)}.values():
            job.study.check(self.asked(job))

    def answers(self, hashed: str) -> dict[str, Any]:
        """The seven answers, as far as they are known before the work; `hashed` is the data's content hash."""
        studies = [job.study for job in self.table if isinstance(job.study, Measured | HeldAgainstNulls)]
        used: list[Explainer | Measure] = []
        for study in studies:
            used += [*study.explainer, *study.measure]
        parts = {job.part: self.chosen[: job.images] for job in self.table}
        return {
            "algorithm": {repr(one): one.reference for one in used},
            "code": code(),
            "data": {self.data.split: {"images": {"spec": repr(self.data), "sha256": hashed}}},
            "splits": {self.data.split: {"chosen": self.chosen} | parts},
            "machine": machine(self.device),
            "packages": packages(),
            "setup": self.settings.model_dump(mode="json") | {"weights, SHA-256": self.weights},
        }

    @property
    def weights(self) -> dict[str, str]:
        """The hashes of the networks' files by name."""
        return {name: one.card.sha256 for name, one in self.networks.items()}

    def priced(self) -> dict[str, dict[Precision, price.Job]]:
        """Every network's work in each precision, and what it will leave on the disk."""
        firsts = {(job.part, job.output): job for job in reversed(self.table)}
        each = {key: self._passes(job) for key, job in firsts.items()}
        found: dict[str, dict[Precision, price.Job]] = {name: {} for name in self.networks}
        for name, parts in found.items():
            for precision in dict.fromkeys(job.precision for job in self.table if job.network == name):
                own = [job for job in self.table if (job.network, job.precision) == (name, precision)]
                rows = sum(job.images * _rows(job.study) for job in own)
                parts[precision] = price.Job(name, sum(job.images * each[job.part, job.output] for job in own), _BYTES * rows)
        return found

    def _passes(self, job: NetworkStudy) -> int:
        """Passes per image, forward or backward, that a job will take, counted on one image, or eight, and a small network."""
        with seeded(0):
            pixels, classes = self.batch.images.shape[1:], len(self.data.classes)
            net = nn.Sequential(nn.Flatten(), nn.Linear(pixels.numel(), classes), nn.ReLU(), nn.Linear(classes, classes))
        middle = (0.5,) * pixels[0]  # Around which predictions are of several classes, as nulls of other images need.
        asked = Asked(Classifier(net, middle, middle, output=job.output), Held(self.batch), self.settings.seed)
        images = min(_COUNTED, job.images) if job.whole else 1
        (some,) = asked.read([range(images)])
        job.study.block(asked, some, lambda _: None)
        return math.ceil((asked.model.passes.forward + asked.model.passes.backward) / images)

    def _jobs(self, name: str) -> Iterator[NetworkStudy]:
        settings = self.settings
        for word, part in settings.parts.items():
            if part.networks not in self._kinds(name):
                continue
            precision = settled(part.precision or settings.precision, self.device)
            explainers = built("explainer", part.explainers, Explainer) if part.explainers else ()
            measures = built("measure", part.measures, Measure)
            for output in part.outputs:
                yield NetworkStudy(name, word, output, part.images, Measured(tuple(explainers), tuple(measures), part.score), precision)
        if self.networks[name].graded:
            return
        if settings.condition:
            widths = ("Gradient", *(f"SmoothGrad(sigma={sigma}, samples=20)" for sigma in _SIGMAS))
            own = ConditionStudy(tuple(built("explainer", widths, Explainer)))
            yield NetworkStudy(name, "condition", "probability", settings.condition, own, settings.precision)
        if settings.audited:
            held = HeldAgainstNulls(tuple(PAPER_EXPLAINERS), tuple(built("measure", NOTIONS, Measure)))
            yield NetworkStudy(name, "nulls", "probability", settings.audited, held, settings.precision)
        if settings.certified:
            smoothing = SmoothGrad(sigma=0.25, samples=100)
            yield NetworkStudy(
                name,
                "certificates",
                "probability",
                settings.certified,
                CertifyStudy(smoothing, settings.radii, samples=1000, attack="none"),
                settings.precision,
            )

    def _kinds(self, name: str) -> tuple[str, ...]:
        """The kinds of networks, of `StudyPart.networks`, that a network is of."""
        one = self.networks[name]
        if one.graded:
            return ("graded",)
        return ("all",) if one.robust else ("all", "standard")


def _rows(study: Study) -> int:
    """Rows of values per image."""
    return len(study.explainer) * len(study.measure) if isinstance(study, Measured) else 1

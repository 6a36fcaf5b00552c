"""The DiET study's jobs on one form of a data set: what they cost, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from assay.core.precision import settled
from assay.core.registry import build, short
from assay.data import Dataset, batches, choose, read
from assay.data.base import Batch
from assay.data.source import Held
from assay.errors import DataError, SpecError
from assay.explain.backgrounds import Background
from assay.explain.base import Explainer
from assay.models.classifier import Classifier
from assay.models.nets.architecture import Architecture
from assay.models.training.manipulation import Manipulation
from assay.models.training.recipe import Recipe
from assay.papers.diet.choose import choose_setting as taken
from assay.papers.diet.evaluation import BASELINE, ClassesStudy, MapsStudy, MasksStudy, ScoredStudy
from assay.papers.diet.manipulated import Manipulated
from assay.papers.diet.networks import TunedPixelNet, classifier, given, manipulated, passes, trained, tuned_pixel_net
from assay.papers.diet.settings import DietSettings, Variant
from assay.papers.paper import Job, Paper
from assay.study.study import Asked, run
from assay.tune.diet import DiET
from assay.tune.drawn_backgrounds import fit_background
from assay.tune.explainer import LearnedMask
from assay.tune.network import PixelNet
from assay.tune.schedules import Converged, Stop
from assay.tune.simplify import grid_cells, upsampling

__all__ = ["DataForm", "Found"]

_READ = 256
_TWICE = 7
"""Passes of a step that learns from a slope: the given network's, those of the slope, and twice those for the slope of it all."""
_USUAL = 10
"""Model epochs that are expected where a rule on the loss ends them."""


@dataclass(frozen=True, eq=False)
class Found:
    """What one form of the data came to.

    Attributes:
        variant: Its name.
        tried: For each recipe what its settings came to, on the first seed.
        best: For each recipe the number of the one taken.
        finals: For each recipe what that one came to, seed by seed.
        long: Every value: part, model, seed, and the columns of `assay.papers.diet.evaluation.rows`.
        costs: Of maps of test images: model, seed, attribution, images, seconds, passes.
        most_frequent: Share of the scored images in the class that the baseline gives most.
        maps: Maps (G, 1, H, W) of the first scored images, by name: the recipes' masks, then the baseline's explainers.
        tune: The tune images (N, C, H, W) in bytes, and their truth, or None.
        test: The scored test images.
        data: The data sets by part.
        unread: Files that could not be read.
        trained: The job that trained the baseline, where one did.
        manipulated: What a baseline that is trained to mislead comes to, where that is asked.
    """

    variant: str
    tried: Mapping[str, tuple[TunedPixelNet, ...]]
    best: Mapping[str, int]
    finals: Mapping[str, tuple[TunedPixelNet, ...]]
    long: pl.DataFrame
    costs: pl.DataFrame
    most_frequent: float
    maps: Mapping[str, Tensor]
    tune: tuple[Tensor, Tensor | None]
    test: Batch
    data: Mapping[str, Dataset]
    unread: tuple[str, ...]
    trained: str
    manipulated: Manipulated | None = None


@dataclass(frozen=True)
class DataForm:
    """One form of the data.

    Attributes:
        settings: The study's settings.
        name: Of the form.
        device: Where the work is done.
    """

    settings: DietSettings
    name: str
    device: torch.device

    @property
    def variant(self) -> Variant:
        """Its specs."""
        return self.settings.variants[self.name]

    @cached_property
    def data(self) -> dict[str, Dataset]:
        """The data sets by part: "train", "tune", "test", and "reversed" where there is one."""
        specs = self.variant.model_dump(exclude={"recipe"}, exclude_none=True)
        return {part: build(spec, Dataset) for part, spec in specs.items()}

    @cached_property
    def splits(self) -> dict[str, list[int]]:
        """Numbers of the images that take part in what."""
        own, data = self.settings, self.data
        counts = {"tune": ("tune", own.tune_images), "scored": ("test", own.scored_images)}
        counts |= {part: (part, own.counted_images) for part in ("test", "reversed") if part in data}
        return {name: choose(data[part], min(count, len(data[part])), own.seed) for name, (part, count) in counts.items()}

    @cached_property
    def methods(self) -> dict[str, tuple[DiET, ...]]:
        """The recipes with the settings that are tried."""
        return {name: tuple(build(spec, DiET) for spec in specs) for name, specs in self.settings.methods.items()}

    @cached_property
    def explainers(self) -> tuple[Explainer, ...]:
        """What explains the baseline."""
        return tuple(build(spec, Explainer) for spec in self.settings.explainers)

    @cached_property
    def backgrounds(self) -> tuple[Background, ...]:
        """What erasure is tried with."""
        return tuple(build(spec, Background) for spec in self.settings.backgrounds)

    @cached_property
    def training(self) -> tuple[Architecture, Recipe]:
        """The baseline's architecture and recipe."""
        return build(self.settings.architecture, Architecture), build(self.variant.recipe or self.settings.recipe, Recipe)

    @cached_property
    def manipulation(self) -> Manipulation | None:
        """How the baseline is trained to mislead."""
        return None if self.settings.manipulation is None else build(self.settings.manipulation, Manipulation)

    @cached_property
    def given(self) -> PixelNet | None:
        """The baseline, where it is not trained here."""
        own = self.settings
        if own.model is None:
            return None
        return given(own.model, self.device, weights=own.weights, pretrained=own.pretrained, seed=own.seed)

    def check(self) -> None:
        """Raise, before any work, where the settings cannot be carried out.

        Raises:
            AssayError: A spec is wrong, data are missing, or the model has other classes than the data.
        """
        known = self.data["test"].classes
        if not known:
            raise DataError(f"{self.data['test'].name} has no labels, which the study needs")
        for part, one in self.data.items():
            if one.classes != known:
                raise DataError(f"the {part} images have classes {', '.join(one.classes) or '(none)'}, the test images {', '.join(known)}")
        names = [_slug(name) for name in (BASELINE, *self.methods)]
        if "" in names or len(set(names)) < len(names):
            raise SpecError(f"methods need different names of letters and digits, other than {BASELINE}, not {', '.join(self.methods)}")
        if len({len(tried) for tried in self.methods.values()}) > 1:
            raise SpecError("every method must come with as many settings, or the comparison is not fair")
        shown = [short(one) for one in self.explainers]
        if len(set(shown)) < len(shown):
            raise SpecError(f"an explainer is given twice in {', '.join(shown)}; give each once")
        if self.settings.model is not None and self.variant.recipe is not None:
            raise SpecError(f"{self.name} has a training of its own, so no model can be given; leave out --model, or that form")
        _ = self.backgrounds, self.splits
        if self.manipulation is not None and not self.data["test"].has_truth:
            raise SpecError(f"a manipulation is judged where the evidence is known, which {self.data['test'].name} does not bring")
        count, told = self.training[0].classes, self.settings.architecture
        if self.given is not None:
            count, told = Classifier(self.given).count_classes(self.shape), str(self.settings.model)
        if count != len(known):
            raise DataError(f"{told} has {count} classes, but {self.data['test'].name} has {len(known)}; give a model of these classes")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the images."""
        return tuple(self.data["test"][self.splits["scored"][0]].image.shape)

    def jobs(self) -> Iterator[Job]:
        """All jobs with their expected passes, by small trials of the explainers, and bytes."""
        own, scored = self.settings, len(self.splits["scored"])
        net = self.given or PixelNet(self.training[0].make(own.seed))
        model = Classifier(net, device=self.device)
        weights = 4 * sum(parameter.numel() for parameter in net.parameters())
        if self.given is None:
            yield Job(self._job("train"), 2 * self.training[1].epochs * len(self.data["train"]) + len(self.data["test"]), 4 * weights)
        for method, tried in self.methods.items():
            specs = [(f"{number}", 0) for number in range(len(tried))] + [("chosen", seed) for seed in range(1, own.seeds)]
            for setting, seed in specs:
                diet = tried[0 if setting == "chosen" else int(setting)]
                yield Job(self._tuning(method, setting, seed), self._expected(diet), self._bytes(diet, weights))
        counted = sum(len(self.splits[part]) for part in ("test", "reversed") if part in self.splits)
        yield Job(self._job("maps", BASELINE), scored * sum(_trial(one, model, self.shape) + len(own.keep) * 2 for one in self.explainers))
        for method, tried in self.methods.items():
            each = self._epochs(tried[0].explainer()) * 2 + 4 * len(self.backgrounds) + 2 * len(own.keep) + 8
            for seed in range(own.seeds):
                yield Job(self._job("masks", method, f"seed{seed}"), scored * each)
        yield Job(self._job("classes"), counted * (1 + len(self.methods) * own.seeds))
        if self.manipulation is not None:
            yield Job(self._job("manipulated"), _TWICE * self.manipulation.epochs * len(self.splits["tune"]), weights)
            diet = next(iter(self.methods.values()))[0]
            yield Job(self._job("manipulated", "tune"), self._expected(diet), self._bytes(diet, weights))
            yield Job(self._job("manipulated", "maps"), scored * sum(_trial(one, model, self.shape) for one in self.explainers))
            yield Job(self._job("manipulated", "masks"), scored * self._epochs(diet.explainer()) * 2)

    def work(self, paper: Paper) -> Found:
        """Do all jobs that are not done yet."""
        own = self.settings
        base = self.given
        if base is None:
            base = trained(paper, self._job("train"), self.training, (self.data["train"], self.data["test"]), own.seed, self.device)
        images, truth, unread = self._tune_images()
        about = {"images": self.splits["tune"], "data": repr(self.data["tune"]), "model": own.model or repr(self.training)}

        def tune(method: str, setting: str, diet: DiET, seed: int) -> TunedPixelNet:
            return tuned_pixel_net(paper, self._tuning(method, setting, seed), diet, base, images, own.seed + seed, about)

        tried = {
            method: tuple(tune(method, f"{number}", diet, 0) for number, diet in enumerate(diets)) for method, diets in self.methods.items()
        }
        best = {method: taken([one.facts for one in outcomes], len(images)) for method, outcomes in tried.items()}
        finals = {
            method: (outcomes[best[method]], *(tune(method, "chosen", outcomes[best[method]].diet, seed) for seed in range(1, own.seeds)))
            for method, outcomes in tried.items()
        }
        model = Classifier(base, precision=settled(own.precision, self.device), classes=self.data["test"].classes)
        test = read(self.data["test"], self.splits["scored"])
        models = {(method, seed): classifier(one.net, model) for method, outcomes in finals.items() for seed, one in enumerate(outcomes)}
        scored = [self._scored(paper, "maps", (BASELINE, 0), model, self._maps(), test)]
        for (method, seed), judge in models.items():
            scored.append(self._scored(paper, "masks", (method, seed), judge, self._masks(finals[method][seed].diet, model, images), test))
        classes = self._classes(
            paper, base, {(method, seed): classifier(finals[method][seed].net, Classifier(base)) for method, seed in models}
        )
        return Found(
            variant=self.name,
            tried=tried,
            best=best,
            finals=finals,
            long=pl.concat([*(one for one, _ in scored), *classes]),
            costs=pl.concat(cost for _, cost in scored),
            most_frequent=float(model.predict(test.images).bincount().max()) / len(test),
            maps=self._drawn(model, {name: (models[name, 0], one[0].diet.explainer()) for name, one in finals.items()}, test),
            tune=(images, truth),
            test=test,
            data=self.data,
            unread=(*unread, *(error.name for error in test.errors)),
            trained=self._job("train"),
            manipulated=self._manipulated(paper, base, images, test, about, next((name, outcomes[0]) for name, outcomes in finals.items())),
        )

    def _manipulated(
        self, paper: Paper, base: PixelNet, images: Tensor, test: Batch, about: Mapping[str, Any], final: tuple[str, TunedPixelNet]
    ) -> Manipulated | None:
        """Maps of the manipulated baseline, and masks of the first recipe's chosen setting tuned on it."""
        if self.manipulation is None:
            return None
        own, (method, first) = self.settings, final
        name = self._job("manipulated")
        net = manipulated(paper, name, self.manipulation, base, images, own.seed, about)
        about = {**about, "manipulation": repr(self.manipulation)}
        tuned = tuned_pixel_net(paper, f"{name}-tune", first.diet, net, images, own.seed, about)
        precision, classes = settled(own.precision, self.device), self.data["test"].classes
        before, after = (Classifier(one, precision=precision, classes=classes) for one in (base, net))
        judge, masks = classifier(tuned.net, after), self._masks(first.diet, after, images)
        kinds = (
            self._scored(paper, "manipulated-maps", (BASELINE, 0), after, self._maps(), test),
            self._scored(paper, "manipulated-masks", (method, 0), judge, masks, test),
        )
        same = before.predict(test.images) == after.predict(test.images)
        return Manipulated(pl.concat(scores for scores, _ in kinds), same.cpu().numpy())

    def _drawn(self, base: Classifier, masks: Mapping[str, tuple[Classifier, Explainer]], test: Batch) -> dict[str, Tensor]:
        """Maps of the gallery's images."""
        images, index = test.images[: self.settings.gallery].to(self.device), test.index[: self.settings.gallery].to(self.device)
        made = {**masks, **{short(one): (base, one) for one in self.explainers}}
        found = {name: one(model, images, index=index, seed=self.settings.seed) for name, (model, one) in made.items()}
        return {name: one.sum(1, keepdim=True).cpu() for name, one in found.items()}

    def _maps(self) -> MapsStudy:
        return MapsStudy(keep=self.settings.keep, white=self._white, explainers=self.explainers)

    def _masks(self, diet: DiET, base: Classifier, images: Tensor) -> MasksStudy:
        """What masks of new images come to, learned by the recipe's own rules after `base` was tuned on `images`."""
        behind = fit_background(diet.background, images)
        assert isinstance(behind, Background)
        return MasksStudy(
            keep=self.settings.keep,
            white=self._white,
            explainer=diet.explainer(),
            base=base,
            behind=behind,
            backgrounds={short(one): fit_background(one, images) for one in self.backgrounds},
        )

    @property
    def _white(self) -> bool:
        return self.settings.dataset == "hard-mnist"

    def _scored(
        self, paper: Paper, kind: str, whose: tuple[str, int], model: Classifier, study: ScoredStudy, test: Batch
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Long scores and costs of a study of the scored images."""
        method, seed = whose
        name = self._job(kind, method) if method == BASELINE else self._job(kind, method, f"seed{seed}")
        folder = self._run(paper, name, model, study, test, 64 if method == BASELINE else len(test))
        keys = [pl.lit(method).alias("model"), pl.lit(seed).alias("seed")]
        scores = pl.read_parquet(folder / "scores.parquet").select(pl.lit("test").alias("part"), *keys, pl.all())
        return scores, pl.read_csv(folder / "costs.csv").select(*keys, pl.all())

    def _classes(self, paper: Paper, base: PixelNet, others: Mapping[tuple[str, int], Classifier]) -> list[pl.DataFrame]:
        """Classes of many whole images, in float32."""
        found = []
        for part in [part for part in ("test", "reversed") if part in self.data]:
            images = read(self.data[part], self.splits[part])
            study = ClassesStudy(others=others)
            folder = self._run(paper, self._job("classes", part), Classifier(base), study, images, _READ)
            rows = pl.read_parquet(folder / "scores.parquet")
            found += [one.select(pl.lit(part).alias("part"), pl.all()) for one in rows.partition_by("model", "seed", maintain_order=True)]
        return found

    def _run(self, paper: Paper, name: str, model: Classifier, study: ScoredStudy, images: Batch, block: int) -> Path:
        folder = paper.place(name)
        asked = Asked(model, Held(images), self.settings.seed, name, {"name": self.data["test"].name})
        settings = {"job": name, "study": type(study).__name__}
        run(study, asked, folder, settings=settings, block=block, progress=paper.staged(name))
        return folder

    def _tune_images(self) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
        """Bytes of the tune images, their truth, and the names of files that could not be read."""
        parts = list(batches(self.data["tune"], _READ, self.splits["tune"]))
        images = [(one.images * 255).round().to(torch.uint8) for one in parts if len(one)]
        if not images:
            raise DataError(f"no image of {self.data['tune'].name} {self.data['tune'].split} can be read")
        masks = [one.truth for one in parts if len(one)]
        known = [one for one in masks if one is not None]
        unread = tuple(error.name for one in parts for error in one.errors)
        return torch.cat(images), torch.cat(known) if len(known) == len(masks) else None, unread

    def _expected(self, diet: DiET) -> int:
        """Passes of a tuning; where a rule on the loss ends a phase, by the epochs that a cell that tells nothing takes to fall to 0."""
        needed = diet.choice.needed(diet.rounds)
        epochs = {
            "masks": sum(self._fall(diet.mask_stop, diet.mask_lr, diet, number) for number in range(needed)),
            "model": (diet.model_stop.most or _USUAL) * needed,
        }
        return passes(diet, len(self.splits["tune"]), epochs, needed)

    def _epochs(self, explainer: LearnedMask) -> int:
        return sum(self._fall(explainer.stop, explainer.lr, explainer, number) for number in range(explainer.rounds))

    def _fall(self, stop: Stop, lr: float, rule: DiET | LearnedMask, number: int) -> int:
        if stop.most is not None:
            return stop.most
        assert isinstance(stop, Converged)
        height, width = self.shape[1:]
        grid = grid_cells(height, width, upsampling(height, width, rule.upsample))
        paper = "paper" in (getattr(rule, "mask_optimiser", None), getattr(rule, "optimiser", None))
        step = lr / math.prod(grid) / (rule.batch_size or 1) if paper else lr
        return math.ceil(1 / (step * rule.sparsity.weight(number, rule.rounds))) + 2

    def _bytes(self, diet: DiET, weights: int) -> int:
        """Two states of a tuning, each with its rounds."""
        height, width = self.shape[1:]
        masks = 4 * len(self.splits["tune"]) * math.prod(grid_cells(height, width, upsampling(height, width, diet.upsample)))
        return 2 * (3 * weights + (diet.choice.needed(diet.rounds) + 1) * (weights + masks))

    def _job(self, *names: str) -> str:
        whole = (self.name, *names) if len(self.settings.variants) > 1 else names
        return "-".join(_slug(name) for name in whole)

    def _tuning(self, method: str, setting: str, seed: int) -> str:
        return self._job("tune", method, setting, f"seed{seed}")


def _trial(explainer: Explainer, model: Classifier, shape: Sequence[int]) -> int:
    """Passes of one image that an explainer makes."""
    before = model.passes.forward + model.passes.backward
    images = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    explainer(model, images.to(model.device), torch.zeros(1, dtype=torch.int64))
    return model.passes.forward + model.passes.backward - before


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower()).strip("_").replace("__", "_")

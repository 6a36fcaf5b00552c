"""The DiET study on one form of a data set, step by step; every step is kept and not done again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from assay.core.precision import Precision, settled
from assay.core.progress import Progress
from assay.core.registry import short
from assay.explain.backgrounds import Background
from assay.explain.base import Explainer
from assay.measure.base import Measure
from assay.measure.keep import KeepTop
from assay.measure.localisation import DistractorShare, MaskIoU
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.papers.diet.data import Part, parts_of, read_part
from assay.papers.diet.keep import Keeper, slug, tune
from assay.papers.diet.networks import Baseline, learned_masks, trained
from assay.papers.diet.outcome import BASELINE, MASK, NETWORK, Outcome, Scored
from assay.papers.diet.plan import Plan
from assay.papers.diet.scores import classes, erasure_values, map_values, model_values, shape_alone, simplified_values
from assay.papers.diet.settings import DietSettings
from assay.run.state import State
from assay.tune.amortised import MaskNet, MaskTraining, PredictedMask
from assay.tune.backgrounds import fitted
from assay.tune.diet import Tuned
from assay.tune.simplify import enlarge, upsampling

__all__ = ["Experiment"]

_SHOWN, _EACH = "shown", "each"


@dataclass(frozen=True, eq=False)
class Scene:
    """What all steps after the tuning look at.

    Attributes:
        images: (N, C, H, W) uint8, what DiET is tuned on.
        parts: The images whose maps are scored: the first of those tuned on ("tune"), and test images ("test").
        wanted: The baseline's class of each of them.
        shown: Positions of those that are drawn.
    """

    images: Tensor
    parts: Mapping[str, Part]
    wanted: Mapping[str, Tensor]
    shown: Mapping[str, list[int]]


@dataclass(eq=False)
class Experiment:
    """The steps on one form of the data; `run` does them all.

    Attributes:
        plan: What is to be done.
        keeper: Keeps the steps.
        progress: Told how the work goes on.
    """

    plan: Plan
    keeper: Keeper
    progress: Progress
    scored: list[Scored] = field(default_factory=list)

    @property
    def settings(self) -> DietSettings:
        """The study's settings."""
        return self.plan.settings

    @property
    def precision(self) -> Precision:
        """What evaluation runs in."""
        return settled(self.settings.precision, self.plan.device)

    def run(self) -> Outcome:
        """Do all steps that are not done yet."""
        settings, precision = self.settings, self.precision
        base = self._baseline()
        whole, model = base.classifier("float32"), base.classifier(precision)
        tune_part, test_part = (read_part(self.plan.data[name], self.plan.chosen[name]) for name in ("tune", "test"))
        parts = {"tune": tune_part.rows(slice(settings.scored_images)), "test": test_part}
        scene = Scene(
            images=tune_part.images,
            parts=parts,
            wanted={name: classes(whole, part) for name, part in parts.items()},
            shown={name: _drawn(part, settings.gallery) for name, part in parts.items()},
        )
        tuned = {
            name: tune(self.keeper, self._name("tune", name), recipe, base.net, tune_part.images, settings.seed, self._staged(name))
            for name, recipe in self.plan.methods.items()
        }
        models = {BASELINE: whole} | {name: one.classifier() for name, one in tuned.items()}
        self._predictions(models)
        masks = {name: self._masks(name, one, scene) for name, one in tuned.items()}
        for name, one in tuned.items():
            self._mask_maps(name, one, masks[name], scene)
            rounded = {"tune": one.rounded[: len(parts["tune"])], "test": _halved(masks[name]["test"])}
            self._simplified(name, MASK, one, masks[name], rounded, scene)
        first, best = next(iter(tuned.items()))
        if self.plan.mask_network is not None:
            self._network(self.plan.mask_network, first, best, scene)
        self._erasures(first, models, masks[first]["test"], scene)
        for explainer in self.plan.explainers:
            self._maps(BASELINE, model, explainer, scene, ("tune", "test"))
        for explainer in self.plan.explainers[:-1]:
            self._maps(first, best.classifier(precision), explainer, scene, ("test",))
        return Outcome(
            variant=self.plan.variant,
            scored=tuple(self.scored),
            rounds={name: _rounds(one, whole, parts["tune"]) for name, one in tuned.items()},
            chosen={name: one.chosen for name, one in tuned.items()},
            baseline=base,
            tuned=tuned,
            gallery={name: part.rows(torch.tensor(scene.shown[name])) for name, part in parts.items()},
            shown={name: tuple(rows) for name, rows in scene.shown.items()},
            data=self.plan.data,
            counts={name: len(part) for name, part in (("tune", tune_part), ("test", test_part))},
            unread=(*tune_part.unread, *test_part.unread),
        )

    def _baseline(self) -> Baseline:
        if self.plan.given is not None:
            return self.plan.given
        parts = (self.plan.data["train"], self.plan.data["test"])
        plan, name = self.plan, self._name("baseline")
        return trained(self.keeper, name, plan.training, parts, plan.settings.seed, plan.device, self._staged("baseline"))

    def _predictions(self, models: Mapping[str, Classifier]) -> None:
        """Classes of all images of the test sets."""
        for part in [name for name in ("test", "reversed") if name in self.plan.data]:

            def work(part: str = part) -> State:
                found: dict[str, list[Tensor]] = {name: [] for name in (*models, "label", "index")}
                for block in parts_of(self.plan.data[part]):
                    for name, model in models.items():
                        found[name].append(classes(model, block))
                    found["label"].append(block.labels)
                    found["index"].append(block.index)
                    self._tell(f"classes of the {part} images", sum(map(len, found["label"])), len(self.plan.data[part]))
                return {name: torch.cat(rows) for name, rows in found.items()}, {}

            kept, _ = self.keeper.do(self._name("classes", part), work)
            for name in models:
                values = model_values(kept[name], kept[BASELINE], kept["label"])
                self.scored.append(Scored(part, name, "", "model", kept["index"], values))

    def _masks(self, method: str, tuned: Tuned, scene: Scene) -> dict[str, Tensor]:
        """Masks of the scored images, at the images' size: those learned while tuning, and those of new images."""

        def work() -> State:
            model = tuned.classifier(self.precision)
            stage = self._stage(f"{method}: masks of test images")
            return {"masks": learned_masks(tuned, model, scene.parts["test"], self.settings.seed, self.progress, stage)}, {}

        kept, _ = self.keeper.do(self._name("masks", method), work)
        return {"tune": tuned.masks[: len(scene.parts["tune"])], "test": kept["masks"]}

    def _mask_maps(self, method: str, tuned: Tuned, masks: Mapping[str, Tensor], scene: Scene) -> None:
        """Score the masks as maps; those of the tune images were made while tuning, so they have no time of their own."""
        model = tuned.classifier(self.precision)
        each = {"tune": 0.0, "test": self.keeper.seconds[self._name("masks", method)] / len(scene.parts["test"])}
        for name, made in masks.items():
            self._score(method, model, MASK, tuned.explainer(), name, scene, made, each[name])

    def _maps(self, method: str, model: Classifier, explainer: Explainer, scene: Scene, parts: Iterable[str]) -> None:
        """Score an explainer's maps."""
        for name in parts:
            self._score(method, model, short(explainer), explainer, name, scene)

    def _score(
        self,
        method: str,
        model: Classifier,
        attribution: str,
        explainer: Explainer,
        name: str,
        scene: Scene,
        made: Tensor | None = None,
        seconds: float | None = None,
    ) -> None:
        """Score an attribution's maps of one part: those `made`, which took `seconds` each, or the explainer's."""
        seed, part, shown = self.settings.seed, scene.parts[name], scene.shown[name]
        stage = self._stage(f"{method}, {attribution}: {name} images")
        places = {number: place for place, number in enumerate(part.index.tolist())}

        def explain(block: Part, targets: Tensor) -> Tensor:
            if made is not None:
                first = places[int(block.index[0])]
                return made[first : first + len(block)].to(model.device)
            return explainer(model, block.pixels, targets, index=block.index, seed=seed).to(model.device)

        def work() -> State:
            measures = _measures(part, self.settings.keep)
            found = map_values(model, part, explain, measures, explainer, seed, shown, lambda done: self.progress(stage, done, len(part)))
            return {**found.values, _SHOWN: found.shown}, {_EACH: found.seconds}

        kept, plain = self.keeper.do(self._name("maps", method, attribution, name), work)
        values = {measure: value for measure, value in kept.items() if measure != _SHOWN}
        each = plain[_EACH] if seconds is None else seconds
        self.scored.append(Scored(name, method, attribution, "maps", part.index, values, each, kept[_SHOWN]))

    def _network(self, training: MaskTraining, method: str, tuned: Tuned, scene: Scene) -> None:
        """The network that predicts the masks: trained on those of the tune images, scored as they are."""

        def work() -> State:
            made = tuned.amortised(scene.images, training, self.settings.seed, self._staged(method))
            return dict(made.net.state_dict()), {}

        kept, _ = self.keeper.do(self._name("network", method), work)
        net = MaskNet(scene.images.shape[1], upsampling(*tuned.size, tuned.settings.upsample), training.widths)
        net.load_state_dict(kept)
        explainer, model = PredictedMask(net.eval().requires_grad_(False)), tuned.classifier(self.precision)
        for name in scene.parts:
            self._score(method, model, NETWORK, explainer, name, scene)
        masks = {name: explainer(model, part.pixels) for name, part in scene.parts.items()}
        rounded = {name: _halved(one) for name, one in masks.items()}
        self._simplified(method, NETWORK, tuned, masks, rounded, scene)

    def _simplified(
        self, method: str, attribution: str, tuned: Tuned, masks: Mapping[str, Tensor], rounded: Mapping[str, Tensor], scene: Scene
    ) -> None:
        """The tuned model on what masks leave, before the background that it was tuned with."""
        background, model = tuned.settings.background, tuned.classifier()
        assert isinstance(background, Background)
        behind = fitted(background, scene.images)
        for name, part in scene.parts.items():
            wanted = scene.wanted[name]

            def work(part: Part = part, name: str = name, wanted: Tensor = wanted) -> State:
                kinds = {"soft": masks[name], "rounded": rounded[name]}
                whole = model_values(classes(model, part), wanted, part.labels)
                found = {f"{measure}, whole images": value for measure, value in whole.items()}
                return found | simplified_values(wanted, model, part, kinds, behind, self.settings.seed), {}

            kept, _ = self.keeper.do(self._name("simplified", method, attribution, name), work)
            self.scored.append(Scored(name, method, attribution, "simplified", part.index, kept))

    def _erasures(self, method: str, models: Mapping[str, Classifier], masks: Tensor, scene: Scene) -> None:
        """What each background does to the tuned model and to the baseline, and to the tuned model with the wrong evidence."""
        part, wanted = scene.parts["test"], scene.wanted["test"]
        backgrounds = {short(one): fitted(one, scene.images) for one in self.plan.backgrounds}
        cases = {
            (method, MASK): (part, masks),
            (BASELINE, MASK): (part, masks),
            (method, "another image's mask"): (part, masks.roll(1, 0)),
            (method, "the mask's shape alone"): (shape_alone(part), masks),
        }
        for (name, what), (images, soft) in cases.items():

            def work(name: str = name, images: Part = images, soft: Tensor = soft) -> State:
                return erasure_values(wanted, models[name], images, _halved(soft), backgrounds, self.settings.seed), {}

            kept, _ = self.keeper.do(self._name("erasure", name, what), work)
            self.scored.append(Scored("test", name, what, "erasure", part.index, kept))

    def _name(self, *names: str) -> str:
        return slug(self.plan.variant if len(self.settings.variants) > 1 else "", *names)

    def _stage(self, what: str) -> str:
        return f"{self.plan.variant}: {what}" if len(self.settings.variants) > 1 else what

    def _staged(self, what: str) -> Progress:
        return lambda stage, done, total: self.progress(self._stage(f"{what}: {stage}"), done, total)

    def _tell(self, stage: str, done: int, total: int) -> None:
        self.progress(self._stage(stage), done, total)


def _measures(part: Part, keep: tuple[float, ...]) -> dict[str, Measure]:
    found: dict[str, Measure] = {}
    if part.truth is not None:
        found["IoU"] = MaskIoU()
    if part.distractor is not None:
        found["on distractor"] = DistractorShare()
    return found | {f"keep {100 * share:g} %": KeepTop(share) for share in keep}


def _halved(masks: Tensor) -> Tensor:
    """Ones where masks are at least one half, and zeros."""
    return (masks >= 0.5).float()


def _drawn(part: Part, count: int) -> list[int]:
    """Positions of the gallery's images: where some have truth and some have none, the last one drawn has none."""
    everyone = range(len(part))
    if part.truth is None:
        return list(everyone)[:count]
    known = part.truth.flatten(1).any(1).tolist()
    with_truth, without = ([at for at in everyone if known[at] is has] for has in (True, False))
    bare = 1 if without and count > 1 else 0
    return (with_truth[: count - bare] + without)[:count]


def _rounds(tuned: Tuned, model: Classifier, part: Part) -> tuple[Mapping[str, Any], ...]:
    """What each round came to, with its masks' overlap with the truth, which played no part in the choice of the round."""
    facts = [dict(one) for one in tuned.history]
    if part.truth is not None:
        case = Case(model, part.pixels, part.labels, part.index, 0, part.truth)
        for row, one in zip(facts, tuned.rounds, strict=True):
            masks = enlarge(one.masks[: len(part)], *tuned.size)
            row["IoU"] = float(MaskIoU().evaluate(case, [masks], [])[0].nanmean())
    return tuple(facts)

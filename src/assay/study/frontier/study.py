"""What the robustness of smoothed explanations costs in faithfulness to the model: `assay.frontier`, and its study of many images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import polars as pl
from torch import Tensor

from assay.attack.ball import Ball, LinfBall, Norm, ball
from assay.attack.base import Attack
from assay.attack.distances import Distance, TopK
from assay.attack.map_attack import MapAttack
from assay.core.listed import built
from assay.core.progress import Progress, silent
from assay.core.registry import build
from assay.core.surroundings import undisturbed
from assay.errors import SpecError
from assay.explain.base import Explainer, check_serves
from assay.explain.gradient import Gradient
from assay.explain.kernels import Kernel
from assay.measure.attacked import blind_like
from assay.measure.base import Measure
from assay.models.classifier import Classifier
from assay.models.targets import Targets
from assay.report.figures.plots import FIGURE_FORMS, to_bytes
from assay.report.render import render
from assay.report.text import between, number, plural
from assay.study.attack.attack_options import STEPS, asked_attack
from assay.study.frontier.frontier import Frontier, frontiers_of, plot_frontiers
from assay.study.frontier.frontier_page import frontier_page
from assay.study.frontier.plan import FAITHFULNESS, check_sweep, ordered_kernels
from assay.study.frontier.sweep import Sweep, sweep_block
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell, TerminalTable, result

__all__ = ["FrontierStudy", "frontier"]

_REPORT = "report.html"
_SIGNS = {"gains": " +", "costs": " -", "free": " =", "undecided": " ?", "": ""}


@dataclass(frozen=True)
class FrontierStudy(Study):
    """Smooth explainers by wider and wider kernels: robustness against faithfulness, notion by notion, in a run folder with a report.

    Attributes:
        explainer: What is smoothed, such as Gradient; may be given several times.
        sigma: Width of a Gaussian kernel; may be given several times. 0, 0.01, 0.03 and 0.1 by default.
        kernel: In place of --sigma, such as "Uniform(radius=0.1)"; may be given several times.
        samples: Noisy copies at every width; by default the paper's rule, 10 per 0.01.
        measure: Spec of a measure of faithfulness; may be given several times. Five by default.
        eps: Radius of the ball, of pixels in [0, 1]; 8/255 for linf, 0.5 for l2.
        norm: Norm of the ball; linf by default.
        steps: Steps of the attack; 50 by default.
        attack: Spec of a whole attack, in place of the three options before; "none" for none: eps and norm are then the random changes'.
        otherwise: Attack where the first cannot be made, as without derivatives; black-box search in the same ball by default.
        attacked: Images that are attacked, evenly spread; all by default.
        compare: Distance that maps are compared by under attack.
        draws: Random changes of each image in the same ball.
        within: Ball of these changes; the attack's by default.
        certified: L2 radius of certificates for Gradient and Sparsified; none by default.
    """

    explainer: tuple[Explainer, ...]
    sigma: tuple[float, ...] | None = None
    kernel: tuple[Kernel, ...] | None = None
    samples: int | None = None
    measure: tuple[Measure, ...] | None = None
    eps: float | None = None
    norm: Norm | None = None
    steps: int | None = None
    attack: Attack | Literal["none"] | None = None
    otherwise: Attack | None = None
    attacked: int | None = None
    compare: Distance = TopK()
    draws: int = 10
    within: Ball | None = None
    certified: float | None = None

    command: ClassVar[str] = "frontier"

    def sweep(self, asked: Asked) -> Sweep:
        """The plan in detail.

        Raises:
            SpecError: The fields make no sweep.
            ModelError: The model's gradients can have no certificate, and one is wanted.
        """
        hit, within, otherwise = None, self.within, self.otherwise
        if self.attack == "none":
            if self.steps is not None or otherwise is not None:
                raise SpecError("--attack none makes no attack; leave --steps and --otherwise out")
            usual = asked_attack(None, self.eps, self.norm)
            within = within or ball(usual.norm, usual.eps)
        else:
            hit = asked_attack(self.attack, self.eps, self.norm, self.steps)
            otherwise = otherwise or blind_like(hit, self.steps or STEPS)
        found = Sweep(
            model=asked.model,
            explainers=self.explainer,
            kernels=ordered_kernels(self.sigma, self.kernel),
            samples=self.samples,
            faithfulness=FAITHFULNESS if self.measure is None else self.measure,
            attack=hit,
            otherwise=otherwise,
            distance=self.compare,
            draws=self.draws,
            attacked=self.attacked,
            ball=within or (LinfBall(8 / 255) if hit is None else ball(hit.norm, hit.eps)),
            images=asked.images,
            seed=asked.seed,
            targets=asked.targets,
            certified=self.certified,
        )
        check_sweep(found)
        return found

    def check(self, asked: Asked) -> None:
        """See `sweep`."""
        for one in self.sweep(asked).explainers:
            check_serves(asked.model, one)

    def tried(self, asked: Asked) -> Sequence[Explainer] | None:
        """See `Study.tried`."""
        return None if self.certified is not None else self.sweep(asked).explainers

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`."""
        return sweep_block(self.sweep(asked), block, tell)

    def conclude(self, asked: Asked, done: Done) -> Report:
        """`frontier.parquet` (a row per image, explainer, width, quantity), summary, trends, status, figures and `report.html`."""
        found = frontiers_of(self.sweep(asked), done.table("frontier"), done.table("status"), done.answers, asked.name)
        troubled = done.tally.troubled
        tables = {"summary.csv": [one.summary for one in found], "trends.csv": [one.trends for one in found]}
        files = {name: lambda parts=parts: pl.concat(parts).write_csv().encode() for name, parts in tables.items()}
        files |= {f"figure.{form}": lambda form=form: to_bytes(lambda: plot_frontiers(found), form) for form in FIGURE_FORMS}
        return Report(
            found=lambda: found,
            merged={"frontier.parquet": "frontier", "status.csv": "status"},
            files={**files, _REPORT: lambda: render(frontier_page(found, done.tally.problems)).encode()},
            grids=tuple(map(_grid, found)),
            sentences=tuple(sentence for one in found for sentence in one.sentences),
            said=(f"{plural(troubled, 'image')} had problems; the report and status.csv list them.",) if troubled else (),
            main=("report", _REPORT),
        )

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        sweep = self.sweep(asked)
        return asked.record(sweep.everyone, [*sweep.robustness, *sweep.faithfulness], sweep.settings)


@undisturbed()
def frontier(
    model: Classifier,
    images: Any,
    targets: Targets | None = None,
    explainer: Explainer | str = Gradient(),
    sigmas: Sequence[float] | None = None,
    samples: int | None = None,
    seed: int = 0,
    *,
    kernels: Sequence[Kernel | str] | None = None,
    faithfulness: Sequence[Measure | str] = FAITHFULNESS,
    attack: Attack | str | None = MapAttack(),
    otherwise: Attack | str | None = None,
    distance: Distance | str = TopK(),
    attacked: int | None = None,
    draws: int = 10,
    within: Ball | str | None = None,
    certified: float | None = None,
    index: Tensor | None = None,
    progress: Progress = silent,
) -> Frontier:
    """Smooth an explainer by wider and wider kernels, and tell what that does to its robustness and to its faithfulness to the model.

    All widths share their noise: the same draws scaled by the width, the same attack's starting points, the same random changes. Noise
    within the explainer itself (Lime's coalitions) is shared only where all widths have the same number of `samples`.

    Args:
        model: The model to explain; faithfulness is to it, not to the smoothed model.
        images: (N, C, H, W), pixels in [0, 1]; or what `assay.data.as_batch` takes.
        targets: (N,) class ids, or what else is explained (`assay.models.targets.Targets`); None for the predicted classes.
        explainer: What is smoothed, or its spec.
        sigmas: Standard deviations of Gaussian kernels; 0, 0.01, 0.03 and 0.1 when neither these nor `kernels` are given.
        samples: Noisy copies per image at every width; None for the paper's rule, more at larger widths.
        seed: Decides all randomness, together with `index`.
        kernels: Kernels of one kind and several widths, in place of `sigmas`. Width 0, the explainer alone, is always there.
        faithfulness: Measures of the maps on the model, each a curve of its own.
        attack: The attack on the smoothed explainer; None for none.
        otherwise: The attack where `attack` cannot be made, as on explainers without derivatives; black-box search in the same ball
            when None.
        distance: What is left after an attack is 1 - this distance of the maps.
        attacked: How many images are attacked, evenly spread; None for all.
        draws: Random changes per image, for the mean and the largest change of the map.
        within: The ball of these changes; the attack's by default, `LinfBall(8/255)` without an attack.
        certified: L2 radius at which smoothed gradients and `Sparsified` explainers get a certificate (`assay.certify`, 1000 forward
            passes more per image and width for gradients); None for none. A gradient needs `Classifier(net, output="probability")`.
        index: (N,) the images' global numbers, all different; 0..N-1 when None.
        progress: Called as work goes on.

    Raises:
        AssayError: A wrong input, named in the message, before work starts.
    """
    asked = Asked.given(model, images, targets, seed, index)
    hit, blind = (build(one, Attack) if isinstance(one, str) else one for one in (attack, otherwise))
    study = FrontierStudy(
        explainer=tuple(built("explainer", [explainer], Explainer)),
        sigma=None if sigmas is None else tuple(map(float, sigmas)),
        kernel=None if kernels is None else tuple(built("kernel", kernels, Kernel)),
        samples=samples,
        measure=tuple(built("measure", faithfulness, Measure)),
        attack=hit or "none",
        otherwise=blind,
        attacked=attacked,
        compare=build(distance, Distance) if isinstance(distance, str) else distance,
        draws=draws,
        within=build(within, Ball) if isinstance(within, str) else within,
        certified=certified,
    )
    found: tuple[Frontier, ...] = result(study, asked, progress)
    return found[0]


def _grid(found: Frontier) -> TerminalTable:
    """A column for each width, a line for each quantity."""
    rows = list(found.summary.iter_rows(named=True))
    lines = []
    for name in dict.fromkeys(row["quantity"] for row in rows):
        own = [row for row in rows if row["quantity"] == name]
        lines.append((f"{name} {'↑' if own[0]['higher_is_better'] else '↓'}", *map(_cell, own)))
    return TerminalTable(
        f"{found.explainer}: means; against width 0: + gains, = free, - costs, ? undecided",
        ("", *(f"{width:g}" for width in dict.fromkeys(row["width"] for row in rows))),
        tuple(lines),
    )


def _cell(row: Mapping[str, Any]) -> str:
    if math.isnan(row["mean"]):
        return "n/a"
    return f"{number(row['mean'])}{_SIGNS[row['outcome']]}{between(row['low'], row['high'])}"

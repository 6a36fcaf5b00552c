"""Writes docs/theory.md: the robustness paper's bounds beside the functions that reach them, smoothed networks and the toy example.

python benchmarks/theory.py            # CIFAR-10 below ASSAY_DATA; some minutes
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch
from matplotlib.figure import Figure

import assay
from assay.models.case import Case
from assay.papers.robustness.measured import Score
from assay.report.export import Table, markdown
from assay.report.figures.plots import DrawnCurve, curves, to_bytes

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from reference.theory import BOUNDS, Stripes, stripes_gradient  # noqa: E402

DOCS = ROOT / "docs"
NETWORKS = ("resnet-cifar10", "resnet-cifar10-linf")
SIGMAS = (0.1, 0.25)
IMAGES, DRAWS, SAMPLES = 8, 10, 64
WIDTH = 0.1

HEAD = """# Bounds of smoothing, and what reaches them

Written by `python benchmarks/theory.py`. Tan and Tian (ICML 2023) bound how fast a smoothed network, and its explanations, can change.
Each bound stands here beside the smallest constant that holds, the function that reaches it, and what was measured on networks.

`SmoothedModel(model, kernel, samples)` is the paper's object, the network averaged over noise; `kernel.gamma(values)` is the sharp
constant of Theorem 4.3 with total variation as the largest difference of probabilities: `f * mu` is `gamma`-Lipschitz for f in [0, 1]
and `2 R gamma` for `|f| <= R`. With the L1 distance of densities, twice as large, the paper's `R gamma` says the same.

| kernel | gamma | reached by |
|---|---|---|
| `Gaussian(sigma)` | `1 / (sigma sqrt(2 pi))` = 0.399 / sigma | shifts in every direction |
| `Uniform(radius)` | `sqrt(d) / (2 radius)` | small shifts along a diagonal |
| `Laplace(scale)` | `1 / (2 scale)` | small shifts of one pixel |
| `Student(scale, df)` | the density at 0 of one pixel | small shifts in every direction |

"""

ORDERS = """
Thm 4.1 gives the other explainers by order alone, so there is no constant to reach: `O(H)` for the gradient is the definition of H,
reached by every quadratic; `O(beta H + L)` for IntegratedGradients holds with the constant of Gradient x Input; `O(sqrt(d) L)` for
SHAP and `O(sqrt(d) L / lambda + ...)` for LIME have no function that was seen to reach them: of a linear network `a x` SHAP is `a_i
x_i`, with the constant `max |a_i| <= L`.
"""

TOY = """
## The toy example (Eq. 2)

`f = x1 - n D` where `floor(|x1 - x2| / D) = 2 n`, `x2 + n D` where it is `2 n - 1`. Its gradient is (1, 0) or (0, 1) on stripes. Far
from `x1 = x2`, the smoothed gradient is `(p, 1 - p)` with

`p = 1/2 + sum over odd k of 2 / (pi k) sin(pi k d / D) exp(-(pi k sigma / D)^2)`, `d = x1 - x2`

so it tends to (1/2, 1/2), as the paper says, and by the factor `exp(-(pi sigma / D)^2)`. As printed, f is continuous for `x1 > x2`
only: at `x1 - x2 = -D` it jumps by 2 D. Points below are `SmoothGrad` with 4000 samples, lines the closed form.

![The first entry of the smoothed gradient over d](theory-toy.svg)
"""


def bounds() -> Table:
    """The printed bounds and what reaches them."""
    rows = [
        {"where": one.where, "printed": one.printed, "printed constant": one.constant, "sharp": one.sharp, "reached by": one.reached_by}
        | {"its slope": one.steepest, "does the printed constant hold?": one.note}
        for one in BOUNDS
    ]
    return Table("bounds", "Constants at sigma, r, R, L, H and beta equal to 1.", "Slopes are computed by quadrature.", pl.DataFrame(rows))


def measured() -> Table:
    """The largest local Lipschitz constants seen on smoothed networks, f being the probability."""
    data = assay.data.load("cifar10", "test")
    batch = assay.data.read(data, assay.data.choose(data, IMAGES, 0))
    rows = []
    for name in NETWORKS:
        model = assay.load(name, output="probability")
        plain = _constant(model, Score(), batch)
        rows.append(_row(name, 0.0, plain, None, _constant(model, assay.Gradient(), batch), None, None))
        for sigma in SIGMAS:
            kernel = assay.Gaussian(sigma)
            smoothed = assay.SmoothedModel(model, kernel, SAMPLES)
            slope, change = _constant(smoothed, Score(), batch), _constant(smoothed, assay.Gradient(), batch)
            rows.append(_row(name, sigma, slope, kernel.gamma(1), change, np.sqrt(2 / np.pi) * plain / sigma, 0.4839 / sigma**2))
    note = (
        f"The largest over {IMAGES} CIFAR-10 images and {DRAWS} draws of noise of 0.03 each, {SAMPLES} noisy copies; f is the probability "
        "of the predicted class. A bound of all functions leaves a network much room. sqrt(2/pi) L / sigma takes L as measured here, which "
        "is no bound of the network's own. The last column is ours: f in [0, 1] alone bounds how fast the smoothed gradient changes."
    )
    return Table("measured", "Smoothed networks.", note, pl.DataFrame(rows, infer_schema_length=None), decimals=4)


def _constant(model: assay.Classifier, explainer: assay.Explainer, batch: assay.data.Batch) -> float:
    targets = model.predict(batch.images)
    maps = explainer(model, batch.images, targets, index=batch.index)
    case = Case(model, batch.images, targets, batch.index, 0)
    return float(assay.LocalLipschitz(draws=DRAWS).evaluate(case, [maps], [explainer]).max())


def _row(
    name: str, sigma: float, slope: float, gamma: float | None, change: float, thm: float | None, ours: float | None
) -> dict[str, object]:
    return {
        "network": name,
        "sigma": f"{sigma:g}",
        "of f * mu": slope,
        "0.399 / sigma": gamma,
        "of its gradient": change,
        "sqrt(2/pi) L / sigma": thm,
        "0.4839 / sigma^2": ours,
    }


def toy() -> Figure:
    """The toy example by its closed form and by SmoothGrad."""
    difference = np.linspace(0.7, 0.9, 201)
    few = torch.linspace(0.7, 0.9, 21)
    images = torch.stack([0.05 + few, torch.full_like(few, 0.05)], 1).view(-1, 1, 1, 2)
    model, zeros = assay.Classifier(Stripes(WIDTH)), torch.zeros(len(few), dtype=torch.int64)
    lines = []
    for sigma in (0.005, 0.02, 0.05):
        lines.append(DrawnCurve(f"sigma {sigma:g}, closed form", tuple(difference), tuple(stripes_gradient(difference, sigma, WIDTH)[:, 0])))
        maps = assay.SmoothGrad(sigma, 4000)(model, images, zeros).flatten(1)
        lines.append(DrawnCurve(f"sigma {sigma:g}, SmoothGrad", tuple(few.tolist()), tuple(maps[:, 0].tolist())))
    return curves({"first entry of the smoothed gradient, D = 0.1": lines}, "d = x1 - x2")


if __name__ == "__main__":
    page = HEAD + markdown(bounds()) + ORDERS + "\n## Networks\n\n" + markdown(measured()) + TOY
    (DOCS / "theory.md").write_text(page, encoding="utf-8")
    (DOCS / "theory-toy.svg").write_bytes(to_bytes(toy, "svg"))

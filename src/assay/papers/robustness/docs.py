"""A finished robustness study as a page of documents."""

from __future__ import annotations

from pathlib import Path

from assay.papers.pages import publish_study
from assay.papers.robustness.claims import CLAIM_RULES
from assay.papers.robustness.settings import RobustnessSettings, robustness_preset

__all__ = ["publish_robustness"]

_TABLES: dict[str, tuple[str, ...]] = {
    "claims": (),
    "networks": ("fig4",),
    "table1-probability": (),
    "table1-logit": (),
    "fig3-probability": ("fig3",),
    "faithfulness-inverse_l2-probability": ("fig5", "fig6"),
    "faithfulness-pearson-probability": (),
    "faithfulness-spearman-probability": (),
    **{f"faithfulness-{one}-logit": () for one in ("inverse_l2", "pearson", "spearman")},
    "condition": (),
    "ours": (),
    "nulls": (),
    "certified": (),
    "steps": (),
}
"""Tables, with the plots that follow them."""


def publish_robustness(run: Path, docs: Path, settings: RobustnessSettings, file: Path | None = None) -> Path:
    """Write `robustness-PRESET.md`, or a page of the study file's name; see `assay.papers.pages.publish_study`.

    Args:
        run: The folder of a finished study.
        docs: A folder.
        settings: The study's settings.
        file: The study file that they come from.

    Raises:
        DataError: A file cannot be read or written.
    """
    stem = f"robustness-{settings.preset}" if file is None else file.stem
    return publish_study(run, docs, stem, lambda _: _head(settings), _TABLES, ("parts",))


def _head(settings: RobustnessSettings) -> list[str]:
    usual = robustness_preset(settings.preset, settings.seed)
    changed = [name for name in RobustnessSettings.model_fields if getattr(settings, name) != getattr(usual, name)]
    besides = f", with other settings of {', '.join(changed)} (see the experiment setup)" if changed else ""
    return [
        "# Robust explanation: for free, or at the cost of faithfulness",
        "",
        f"Written by `assay study robustness --preset {settings.preset} --seed {settings.seed}`{besides}; the numbers are those of "
        'one run on the machine named below. Tables are the paper\'s (Tan and Tian, ICML 2023) unless their title says "Ours".',
        "",
        f"Rules. {CLAIM_RULES}",
    ]

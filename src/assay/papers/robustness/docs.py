"""A finished robustness study as a page of documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.papers.pages import publish_study
from assay.papers.robustness.settings import RobustnessSettings, preset
from assay.papers.robustness.verdict import RULES

__all__ = ["publish"]

_TABLES = {
    "verdict": (),
    "models": (),
    "free-robustness": ("free-robustness",),
    "free-faithfulness": ("free-faithfulness",),
    "kernel-robustness": ("kernel-gaussian", "kernel-uniform"),
    "kernel-faithfulness": ("cost-gaussian-standard", "cost-gaussian-robust", "cost-uniform-standard", "cost-uniform-robust"),
    "widths": ("trade-off-gaussian", "trade-off-uniform"),
    "certified": ("certified",),
    "steps": (),
}
"""Tables, with the plots that follow them."""


def publish(run: Path, docs: Path, settings: RobustnessSettings) -> Path:
    """Write `robustness-PRESET.md`; see `assay.papers.pages.publish_study`.

    Raises:
        DataError: A file cannot be read or written.
    """
    return publish_study(run, docs, f"robustness-{settings.preset}", lambda said: _head(said, settings), _TABLES, ("parts",))


def _head(said: Mapping[str, Any], settings: RobustnessSettings) -> list[str]:
    usual = preset(settings.preset, settings.seed)
    changed = [name for name in RobustnessSettings.model_fields if getattr(settings, name) != getattr(usual, name)]
    besides = f", with other settings of {', '.join(changed)} (see the experiment setup)" if changed else ""
    return [
        "# Robust explanation: for free, or at the cost of faithfulness",
        "",
        f"Written by `assay study robustness --preset {settings.preset} --seed {settings.seed}`{besides}; the numbers are those of "
        "one run on the machine named below.",
        "",
        "## Verdict",
        "",
        *(f"- {sentence['text']}" for sentence in said["verdict"]),
        "",
        f"Rules. {RULES}",
    ]

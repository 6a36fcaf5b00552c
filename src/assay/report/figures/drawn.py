"""The figure that everything is drawn on; a module of its own, since matplotlib takes a third of a second to load."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from assay.report.figures.plots import to_bytes

__all__ = ["Drawn"]


class Drawn(Figure):
    """An empty white figure of so many inches, drawn without a screen, that notebooks show by itself, without pyplot."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), facecolor="white", layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return to_bytes(lambda: self, "png")

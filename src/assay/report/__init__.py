"""What a run found, for people: one self-contained HTML page, and pictures of maps."""

from assay.report.figures.colour import colour_bar, colourise, robust_limit
from assay.report.figures.picture import certified, data_uri, enlarge, overlay, photo, png_bytes
from assay.report.page import VERDICTS, Gallery, MeasureNote, Page, Sentence
from assay.report.render import render, write

__all__ = [
    "VERDICTS",
    "Gallery",
    "MeasureNote",
    "Page",
    "Sentence",
    "certified",
    "colour_bar",
    "colourise",
    "data_uri",
    "enlarge",
    "overlay",
    "photo",
    "png_bytes",
    "render",
    "robust_limit",
    "write",
]

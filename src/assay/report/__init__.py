"""What a run found, for people: one self-contained HTML page, and pictures of maps."""

from assay.report.figures.colour import colour_bar, colourise, robust_limit
from assay.report.figures.picture import certified, data_uri, magnified, overlay, photo, png_bytes
from assay.report.gallery import Gallery
from assay.report.page import Page, Picture, ScreenCard, Section, Sentence, TextTable
from assay.report.render import render, write
from assay.report.summary import VERDICTS, MeasureNote

__all__ = [
    "VERDICTS",
    "Gallery",
    "MeasureNote",
    "Page",
    "Picture",
    "ScreenCard",
    "Section",
    "Sentence",
    "TextTable",
    "certified",
    "colour_bar",
    "colourise",
    "data_uri",
    "magnified",
    "overlay",
    "photo",
    "png_bytes",
    "render",
    "robust_limit",
    "write",
]

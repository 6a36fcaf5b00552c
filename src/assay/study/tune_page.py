"""The report of tuning: how the rounds went, and what the masks keep of some images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from assay.report.figures.picture import photo, visible
from assay.report.figures.plots import DrawnCurve, curves, sheet, to_bytes
from assay.report.page import Page, Picture, Section, Sentence, TextTable
from assay.report.text import plural
from assay.study.gallery_images import places
from assay.study.to_tune import ToTune
from assay.tune.diet import Tuned

__all__ = ["ROUND_HEADS", "rounds_table", "tuned_page", "tuned_sentences"]

ROUND_HEADS = {
    "kept": "pixels kept",
    "on_images": "agreement, images",
    "simplified": "simplified",
    "elsewhere": "other backgrounds",
    "validation": "validation",
}
"""What the columns of a tuning's history are called."""
_SHOWN = 8
_LEAD = (
    "The network was tuned until what it needs fits into small masks. A mask shows which pixels the tuned network was left with; whether "
    "these are the right ones only known evidence can tell."
)
_RULES = (
    "Agreement is the share of images that the tuned network puts into the class that the network given puts them into: on the images as "
    "they are, on those of which only the mask's pixels are left (simplified), on these over other backgrounds, and on images that it was "
    "not tuned on (validation). A tuned network that agrees less is another classifier, whatever its masks show."
)


def tuned_page(method: str, asked: ToTune, tuned: Tuned, record: Mapping[str, Any]) -> Page:
    """The report.

    Args:
        method: The spec of what was done.
        asked: On which network and images.
        tuned: What came of it.
        record: The seven reproducibility answers.
    """
    return Page(
        title="What does the tuned network look at?",
        kind="tuning by DiET",
        facts={"Images": str(asked.images.record["name"]), "Tuned on": plural(len(tuned.images), "image"), "Method": method},
        lead=_LEAD,
        verdict=tuned_sentences(tuned.history),
        rules=_RULES,
        sections=(
            Section("Round by round", "", (rounds_table(tuned.history), *_losses(tuned)), "rounds"),
            Section("What the masks keep", "", (_masks(tuned, asked),), "masks"),
        ),
        settings={"method": method, "seed": str(asked.seed)},
        record=record,
    )


def tuned_sentences(history: Sequence[Mapping[str, Any]]) -> tuple[Sentence, ...]:
    """What the round that was taken came to, in figures; nothing is judged.

    Args:
        history: A row for each round.
    """
    row = next(one for one in history if one["chosen"])
    told = f"Round {row['round']} of {len(history)} was taken: its masks keep {row['kept']:.0%} of the pixels on average"
    text = f"{told}, and with these alone the tuned network agrees with the network given on {row['simplified']:.0%} of the images."
    found = [Sentence("note", text), Sentence("note", f"On whole images the two agree on {row['on_images']:.0%} of them.")]
    if row.get("validation") is not None:
        found.append(Sentence("note", f"On images that it was not tuned on they agree on {row['validation']:.0%}."))
    return tuple(found)


def rounds_table(history: Sequence[Mapping[str, Any]]) -> TextTable:
    """A line for each round.

    Args:
        history: A row for each round.
    """
    shown = [name for name in ROUND_HEADS if history[0].get(name) is not None]
    lines = tuple((f"{row['round']}{'*' * row['chosen']}", *(f"{row[name]:.3f}" for name in shown)) for row in history)
    return TextTable(
        "Rounds;", "* the one that was taken.", ("round", *(ROUND_HEADS[name] for name in shown)), lines, (False, *(True,) * len(shown))
    )


def _losses(tuned: Tuned) -> tuple[Picture, ...]:
    """Mean losses, epoch by epoch, of masks and of the network."""
    phases = {
        phase: [float(row["loss"]) for row in tuned.epochs if row["phase"] == phase]
        for phase in dict.fromkeys(str(row["phase"]) for row in tuned.epochs)
    }
    panels = {f"{name}: loss": [DrawnCurve(name, tuple(map(float, range(1, len(one) + 1))), tuple(one))] for name, one in phases.items()}
    if not panels:
        return ()
    caption = (
        "Mean losses of all epochs, the rounds one after another; a loss may jump where a round begins, since what it is made of changes."
    )
    return (Picture(caption, to_bytes(lambda: curves(panels, "epoch"), "svg"), "svg"),)


def _masks(tuned: Tuned, asked: ToTune) -> Picture:
    some = places(_SHOWN, len(tuned.images))
    images, masks = asked.images.pixels[some].float() / 255, tuned.masks[some].cpu()
    shown = visible(images)
    rows = [
        [photo(one) for one in shown],
        [photo(one) for one in masks.clamp(0, 1)],
        [photo(one) for one in torch.lerp(torch.full_like(shown, 0.5), shown, masks.clamp(0, 1))],
    ]
    names = [str(asked.images.index[at]) for at in some]
    caption = (
        f"Images {', '.join(names)}: as they are, their masks (white is kept longest), and the images with grey where the mask is dark."
    )
    return Picture(caption, to_bytes(lambda: sheet(rows, names, ("image", "mask", "kept")), "png"), "png")

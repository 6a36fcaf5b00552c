"""Examples that stand below the help of each command; a test sees that their options are there."""

from __future__ import annotations

from typing import Any

import typer

__all__ = ["EXAMPLES", "add_examples"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "audit": (
        "assay audit --model hard-digits --images hard-digits --count 40 --out audit/",
        "assay audit --model timm:resnet18 --weights mine.safetensors --images photos/ --explainer GradCAM --out audit/",
        "assay audit --model resnet-cifar10 --images cifar10 --mosaic 2x2 --count 40 --measure PointingGame --out mosaics/",
    ),
    "explain": ("assay explain --model resnet-cifar10 --images photos/ --size 32 --explainer 'SmoothGrad(sigma=0.05)' --out maps/",),
    "attack": ("assay attack --model resnet-cifar10 --images cifar10 --count 20 --explainer Gradient --out attack/",),
    "certify": (
        "assay certify --model resnet-cifar10 --images cifar10 --count 20 --output probability --smoothing 'SmoothGrad(sigma=0.25)' "
        "--eps 0.02 --out certified/",
    ),
    "frontier": (
        "assay frontier --model resnet-cifar10 --images cifar10 --count 50 --explainer Gradient --sigma 0.01 --sigma 0.1 --out frontier/",
    ),
    "train": ("assay train --data photos/ --out mine.safetensors --epochs 20",),
    "tune": ("assay tune --model mine.safetensors --images photos/ --size 32 --out tuned/",),
    "bench": ("assay bench --count 4 --repeats 1 --only Gradient",),
    "bench verdict": ("assay bench verdict --scores exam/ --out exam.json", 'assay bench verdict --scores exam/ --pair "sums of pixels"'),
    "demo": ("assay demo --out assay-demo/ --count 32",),
    "doctor": ("assay doctor", "assay doctor --no-test --json"),
    "compare": ("assay compare audit-old/ audit-new/ --out compare.html",),
    "view": ("assay view audit/", "assay view --model hard-digits --images hard-digits"),
    "study diet": ("assay study diet --dataset hard-digits --out study/",),
    "study graded": ("assay study graded --out graded/",),
    "study robustness": (
        "assay study robustness --preset small --out robustness/",
        "assay study robustness --graded graded/ --out robustness/",
    ),
    "data list": ("assay data list",),
    "data check": ("assay data check photos/",),
    "data preview": ("assay data preview hard-digits --out digits.png --count 12",),
    "data download": ("assay data download cifar10 --root datasets/",),
    "list": ("assay list explainers",),
    "run status": ("assay run status audit/",),
    "run resume": ("assay run resume audit/",),
    "run merge": ("assay run merge audit/",),
    "run verify": ("assay run verify audit/",),
    "run compare": ("assay run compare audit-old/ audit-new/",),
    "run card": ("assay run card audit/ --format md",),
}
"""Examples by command, as they are typed."""


def add_examples(app: typer.Typer, before: str = "") -> None:
    """Put each command's examples below its help.

    Args:
        app: The commands.
        before: The words that stand before theirs.
    """
    for one in app.registered_commands:
        name = one.name or getattr(one.callback, "__name__", "").replace("_", "-")
        found = EXAMPLES.get(f"{before}{name}", ())
        one.epilog = "\n\n".join(["Examples:" if len(found) > 1 else "Example:", *map(_escaped, found)]) if found else None
    for group in app.registered_groups:
        inner: Any = group.typer_instance
        if inner is not None:
            add_examples(inner, f"{before}{group.name or inner.info.name} ")


def _escaped(text: str) -> str:
    """Without what the help's markup would take for its own."""
    return text.replace("[", "\\[")

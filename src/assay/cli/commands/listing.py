"""`assay list`: what there is, what each thing needs and costs, where it is from, and what it is known to get wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.tasks import options

__all__ = ["list_things"]

_ELSEWHERE = (
    "Also Given('maps.npz') or --maps NAME=FILE for maps made elsewhere, and methods of other libraries: captum:Occlusion(...), "
    "zennit:EpsilonPlusFlat(), gradcam:ScoreCAM(). --import FILE brings your own."
)


@app.command("list")
def list_things(
    kind: Annotated[Literal["explainers", "measures", "attacks", "data"], typer.Argument(help="What to list.", show_default=False)],
    imports: options.Imports = None,
) -> None:
    """List explainers, measures, attacks or data sets: what each needs and costs in passes, its source and its pitfalls."""
    from rich.console import Console

    from assay.cli.commands.data import list_data
    from assay.core.plugins import import_code

    for name in imports or ():
        import_code(name)
    if kind == "data":
        list_data()
        return
    console = Console(highlight=False)
    for line in _lines(kind):
        console.print(line, markup=False)
    if kind == "explainers":
        console.print(_ELSEWHERE, markup=False)


def _lines(kind: str) -> Iterator[str]:
    from assay.attack.base import Attack
    from assay.core.registry import registered
    from assay.explain.base import Explainer
    from assay.measure.base import Measure

    bases: dict[str, Any] = {"explainers": Explainer, "measures": Measure, "attacks": Attack}
    for name, cls in registered(bases[kind]).items():
        yield f"{name}{_parameters(cls)}"
        needs: Any = getattr(cls, "needs", None)
        if isinstance(needs, frozenset) and needs:
            yield f"    needs    {', '.join(sorted(needs))}"
        yield f"    passes   {_passes(cls)}"
        yield f"    source   {cls.reference}"
        yield f"    pitfalls {cls.pitfalls}"


def _parameters(cls: Any) -> str:
    """The parameters with their defaults, as a spec has them."""
    from assay.core.registry import short

    parts = []
    for field in dataclasses.fields(cls):
        value = field.default
        text = short(value) if dataclasses.is_dataclass(value) else f"{value:.4g}" if isinstance(value, float) else repr(value)
        parts.append(field.name if value is dataclasses.MISSING else f"{field.name}={text}")
    return f"({', '.join(parts)})" if parts else ""


def _passes(cls: Any) -> str:
    """What one takes per image, by its defaults."""
    if cls.takes:
        return str(cls.takes)
    cost = cls().cost
    return "as many as the image has superpixels, or a multiple" if cost is None else str(cost.words)

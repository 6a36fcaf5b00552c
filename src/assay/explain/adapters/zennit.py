"""Zennit's composites of relevance rules as explainers: `zennit:EpsilonPlusFlat()`."""

from __future__ import annotations

import copy
import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor

from assay.core.registry import nearest, register_library, stand_in
from assay.errors import SpecError
from assay.explain.adapters.common import Options, as_maps, by_chunks, check_options, imported, lent, network_input, spec, unknown
from assay.explain.base import Explainer
from assay.models.classifier import Classifier

__all__ = ["Zennit", "is_zennit"]

_TEXTLESS = ("layer_map", "first_map", "zero_params", "name_map")
"""Options that are no plain values; give a composite made by hand to `assay.wrap` for them."""


@stand_in
class Zennit(Explainer):
    """Relevance by the rules of a zennit composite, propagated from the score to the network's normalised input.

    It works on the network as it was given, so batch norms have rules of their own unless a canonizer merges them, as with zennit
    itself. Where a composite needs the bounds `low` and `high` of the input, they are those of black
    and white.

    Args:
        composite: The class's name in `zennit.composites`.
        options: Its parameters, by name; canonizers by their names in `zennit.canonizers` or `zennit.torchvision`, such as
            `canonizers=("ResNetCanonizer",)`.
        made: A composite made by hand.
        name: What tables call it; None for its spec.
    """

    composite: str
    options: Options = ()
    made: Any = None
    name: str | None = None
    category: ClassVar[str] = "zennit"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    reference: ClassVar[str] = "Anders, Neumann, Samek, Mueller, Lapuschkin: Software for Dataset-wide XAI, 2021, and the rules' own papers"

    def __post_init__(self) -> None:
        if self.made is None:
            known = inspect.signature(_composites()[self._known()]).parameters
            check_options(f"zennit:{self.composite}", dict(self.options), [name for name in known if name not in _TEXTLESS])
            for name in dict(self.options).get("canonizers") or ():
                _canonizer(name)

    def __repr__(self) -> str:
        return spec("zennit", self.composite, self.options) if self.made is None else f"wrap({self.composite}(...), {self.short_name!r})"

    @property
    def short_name(self) -> str:
        """What tables call it."""
        return self.name or spec("zennit", self.composite, self.options)

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ModelError: Zennit cannot explain this network; the message says why.
        """
        assert targets is not None
        chosen, who = targets, f"zennit:{self.composite}"

        def maps_of(rows: slice) -> Tensor:
            with lent(model, who, weights=True):
                composite = self._composite(model, images.shape[1:])
                pixels = images[rows].detach().clone().requires_grad_()
                with composite.context(model.module), network_input(model) as seen:
                    score = model.score(model.forward(pixels), chosen[rows])
                    found = torch.autograd.grad(score.sum(), seen[-1])[0]
                model.passes.backward += len(pixels)
            return as_maps(found, images[rows], who)

        return by_chunks(model, images, maps_of)

    def _known(self) -> str:
        if self.composite not in (known := _composites()):
            why = "is no composite whose rules a spec can say; make one and give it to assay.wrap"
            raise unknown("zennit", self.composite, known, imported("zennit.composites", "zennit"), why)
        return self.composite

    def _composite(self, model: Classifier, shape: torch.Size) -> Any:
        if self.made is not None:
            composite = copy.copy(self.made)
            # What a registered composite keeps is its own, not the user's.
            composite.handles, composite.hook_refs = type(composite.handles)(), type(composite.hook_refs)()
            composite.canonizer_instances = []
        else:
            cls = _composites()[self.composite]
            options = dict(self.options) | {"canonizers": [_canonizer(name) for name in dict(self.options).get("canonizers") or ()]}
            options |= {name: _bound(model, shape, value) for name, value in (("low", 0.0), ("high", 1.0)) if _lacks(cls, options, name)}
            composite = cls(**options)
        return composite


def is_zennit(obj: object) -> bool:
    """Whether this is a zennit composite or attributor; never imports zennit."""
    return any(cls.__module__.startswith("zennit.") and cls.__name__ in ("Composite", "Attributor") for cls in type(obj).__mro__)


def _composites() -> dict[str, Any]:
    module, core = imported("zennit.composites", "zennit"), imported("zennit.core", "zennit")
    return {
        name: one
        for name, one in vars(module).items()
        if inspect.isclass(one)
        and issubclass(one, core.Composite)
        and one.__module__ == module.__name__
        and "Map" not in name
        and "Mixed" not in name
    }


def _canonizer(name: str) -> Any:
    places = [imported(module, "zennit") for module in ("zennit.canonizers", "zennit.torchvision")]
    known = {one: cls for place in places for one, cls in vars(place).items() if one.endswith(("Canonizer", "BatchNorm"))}
    if name not in known:
        raise SpecError(f"zennit has no canonizer {name!r}{nearest(name, known)} (known: {', '.join(known)})")
    return known[name]()


def _lacks(cls: Any, options: dict[str, Any], name: str) -> bool:
    own = inspect.signature(cls).parameters
    return name in own and own[name].default is inspect.Parameter.empty and name not in options


def _bound(model: Classifier, shape: torch.Size, value: float) -> Tensor:
    """What the network is given for an image of one grey, without counting the pass."""
    with model.passes.uncounted(), network_input(model) as seen, torch.no_grad():
        model.forward(torch.full((1, *shape), value, device=model.device))
    return seen[-1].detach()


def _made(composite: str, args: tuple[Any, ...], options: dict[str, Any]) -> Zennit:
    if args:
        raise SpecError(f"give the options of zennit:{composite} by name")
    return Zennit(composite, tuple(options.items()))


register_library("zennit", _made)

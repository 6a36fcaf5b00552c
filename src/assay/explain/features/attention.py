"""Explainers of transformers by their attention: how much what is read out draws on each token over the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from assay.core import noise
from assay.core.registry import register
from assay.errors import ModelError
from assay.explain.features.layers import Layout, layout_of, uncompiled, watched
from assay.explain.features.over_image import LayerExplainer, over_image
from assay.models.classifier import Classifier

__all__ = ["AttentionRelevance", "AttentionRollout"]

_SOFTMAX = ("SoftmaxBackward0", "SafeSoftmaxBackward0")
"""What torch calls a softmax in a graph, written out or inside its attention."""


@register
class AttentionRollout(LayerExplainer):
    """The attention of all layers multiplied, at the tokens over the image: (N, 1, H, W), never negative.

    Each layer's attention is the mean over its heads and the identity, half of each, for what goes past it. The class token's row is
    taken, or, where the network reads several tokens, the mean of their rows. It asks for no class: all targets get one map.

    Source: Abnar, Zuidema 2020, section 3; deviations: several tokens that are read out, bilinear upsampling to the image.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"attention"})
    reference: ClassVar[str] = "Abnar, Zuidema: Quantifying Attention Flow in Transformers, ACL 2020"
    pitfalls: ClassVar[str] = "Knows no class, and nothing of the network but its attention."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ModelError: The network has no attention over all tokens of the image.
        """
        found = _read_out(model, images.shape[1:])

        def follow(chunk: Tensor, _aims: Tensor | None) -> Tensor:
            with _watched(model, chunk) as seen:
                pass
            reach = found.readers.expand(len(chunk), -1)
            for layer in reversed(seen.attention):
                reach = (reach + _through(reach, layer.mean(1))) / 2
            # There is nothing to say of an output that is no number.
            return found.over(reach.masked_fill(~seen.logits.detach().flatten(1).isfinite().all(1, keepdim=True), torch.nan))

        return over_image(model, images, targets, follow)


@register
class AttentionRelevance(LayerExplainer):
    """Attention weighted by its gradient, what is negative left out, followed through all layers: (N, 1, H, W), never negative.

    Each layer's attention, times the score's gradient at it, positive part, mean over heads, is added to what came before. It is read
    as that of `AttentionRollout`, but what each token says of itself is left out.

    Source: Chefer, Gur, Wolf 2021 (ICCV), equations 5 and 6; deviations: as of `AttentionRollout`; no rescaling to [0, 1].
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "attention"})
    reference: ClassVar[str] = "Chefer, Gur, Wolf: Generic Attention-model Explainability, ICCV 2021"
    pitfalls: ClassVar[str] = "No sign; values and perceptrons enter by the gradient alone."

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `AttentionRollout.attribute`."""
        found = _read_out(model, images.shape[1:])

        def follow(chunk: Tensor, aims: Tensor | None) -> Tensor:
            with _watched(model, chunk) as seen:
                slopes = seen.slopes(model.score(seen.logits, model.choose(seen.logits) if aims is None else aims).sum())
            model.passes.backward += len(chunk)
            own = reach = found.readers.expand(len(chunk), -1)
            for layer, slope in zip(reversed(seen.attention), reversed(slopes), strict=True):
                reach = reach + _through(reach, (layer * slope).clamp_min(0.0).mean(1))
            return found.over(reach - own)

        return over_image(model, images, targets, follow)


@dataclass(frozen=True, eq=False)
class _ReadOut:
    """Where the image lies among the tokens, and which of them (T,) the network reads, in shares of 1."""

    layout: Layout
    readers: Tensor

    def over(self, tokens: Tensor) -> Tensor:
        """Values of tokens (n, T) as maps (n, 1, h, w)."""
        return self.layout.grid(tokens[:, :, None])


@dataclass(frozen=True, eq=False)
class _Seen:
    """A pass with its graph, whose softmaxes over keys are the attention.

    Attributes:
        logits: (n, K).
        pixels: (n, C, H, W), where the graph begins.
        nodes: The softmaxes in the order in which they ran.
        attention: What they gave, (n, heads, T, T) each, float32.
    """

    logits: Tensor
    pixels: Tensor
    nodes: list[Any]
    attention: list[Tensor]

    def slopes(self, total: Tensor) -> list[Tensor]:
        """The gradients of `total` at each layer's attention; the graph is gone after that."""
        found = [torch.zeros_like(one) for one in self.attention]

        def keep(at: int) -> Callable[[Sequence[Tensor]], None]:
            def hook(slopes: Sequence[Tensor]) -> None:
                found[at].copy_(slopes[0].detach().view(found[at].shape))

            return hook

        handles = [node.register_prehook(keep(at)) for at, node in enumerate(self.nodes)]
        try:
            torch.autograd.grad(total, self.pixels, allow_unused=True)
        finally:
            for handle in handles:
                handle.remove()
        return found


@contextmanager
def _watched(model: Classifier, pixels: Tensor) -> Iterator[_Seen]:
    """One pass of a chunk with its graph; torch's fused attention, which keeps no weights, is computed in parts."""
    with torch.inference_mode(False), torch.enable_grad(), uncompiled(model), sdpa_kernel(SDPBackend.MATH):
        leaves = pixels.detach().clone().requires_grad_()
        logits = model.forward(leaves)
        nodes = _softmaxes(logits)
        yield _Seen(logits, leaves, nodes, [_by_heads(node._saved_result.detach(), len(pixels), model.name) for node in nodes])


def _by_heads(attention: Tensor, count: int, name: str) -> Tensor:
    """(n, heads, T, T) from (n, heads, T, T) or (n * heads, T, T), float32.

    Raises:
        ModelError: It is of another form.
    """
    shape = tuple(attention.shape)
    whole = shape[-1] == shape[-2] and (shape[0] == count if len(shape) == 4 else len(shape) == 3 and shape[0] % count == 0)
    if not whole:
        raise ModelError(
            f"{name} has an attention of shape {shape} for {count} images, not one of all tokens to all; explain it by "
            "Gradient or KernelShap, which look at no attention"
        )
    return attention.float().view(count, -1, *shape[-2:])


def _softmaxes(logits: Tensor) -> list[Any]:
    """The nodes of all softmaxes over more than the classes that the logits are made of, in the order in which they ran."""
    done: set[Any] = {None}
    todo, found = [logits.grad_fn], []
    while todo:
        node: Any = todo.pop()
        if node in done:
            continue
        done.add(node)
        if node.name() in _SOFTMAX and node._saved_result.ndim > 2:
            found.append(node)
        todo += [after for after, _ in node.next_functions]
    return sorted(found, key=lambda node: int(node._sequence_nr()))


def _read_out(model: Classifier, shape: torch.Size) -> _ReadOut:
    """Which tokens lie where, and which are read: those whose row in the last attention the logits depend on; an uncounted pass.

    Raises:
        ModelError: The network has no attention over all tokens of the image, or its logits do not depend on it.
    """
    known = _FOUND.setdefault(model.module, {})
    if shape not in known:
        tokens = dict[str, int]()
        one = torch.zeros(1, dtype=torch.int64, device=model.device)
        pixels = noise.uniform(0, "attention", one, one, tuple(shape))

        def note(name: str) -> Callable[[Any], None]:
            def hook(output: Any) -> None:
                if isinstance(output, Tensor) and output.ndim == 3 and len(output) == 1:
                    tokens.setdefault(name, output.shape[1])

            return hook

        hooks = {name: note(name) for name, _ in model.module.named_modules() if name}
        with model.passes.uncounted(), watched(model, hooks), _watched(model, pixels) as seen:
            # Different weights, since the gradients of all logits may sum to zero.
            flat = seen.logits.flatten(1)
            slopes = seen.slopes((flat * torch.arange(1, flat.shape[1] + 1, device=flat.device)).sum())
        many = {one.shape[-1] for one in slopes}
        # Where each token lies is plainest before anything was mixed: in the first layer that gives all of them.
        first = next((name for name, count in tokens.items() if {count} == many), None)
        layout = None if first is None else layout_of(model, first, shape)
        if layout is None or layout.axes != (2, 1):
            has = f"attentions over {', '.join(map(str, sorted(many)))} tokens" if many else "no attention"
            raise ModelError(
                f"{model.name} has {has}, where AttentionRollout and AttentionRelevance need that of one set of tokens that lies over the "
                "image; explain it by Gradient or KernelShap"
            )
        read = (slopes[-1] != 0).any(3).any(1)[0].float()
        if not bool(read.any()):
            raise ModelError(f"the logits of {model.name} do not depend on its last attention, so there is nothing to follow")
        known[shape] = _ReadOut(layout, read / read.sum())
    return known[shape]


def _through(reach: Tensor, layer: Tensor) -> Tensor:
    """What tokens (n, T) that are drawn on draw on themselves, by a layer (n, T, T)."""
    return torch.einsum("nt,nts->ns", reach, layer)


_FOUND: WeakKeyDictionary[nn.Module, dict[torch.Size, _ReadOut]] = WeakKeyDictionary()
"""What `_read_out` found, by network and image size."""

"""The viewer of `assay view`: one image at a time, its map, what the model says, and whether the map holds up for this image."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from assay.attack.map_attack import MapAttack
from assay.core.display import needed_library
from assay.core.registry import build, short
from assay.data.base import Batch
from assay.data.files.convert import as_batch
from assay.errors import AssayError
from assay.explain.base import Explainer
from assay.explain.kernels import Gaussian
from assay.explain.smooth import Smoothed
from assay.measure.perturbation import Deletion
from assay.models.classifier import Classifier
from assay.report.figures.colour import robust_limit
from assay.report.figures.picture import overlay, photo
from assay.report.text import number, percent
from assay.study.audit.nulls import elsewhere

__all__ = ["SPECS", "Look", "Viewer", "serve", "viewer_page"]

SPECS = ("Gradient", "GradientXInput", "IntegratedGradients", "SmoothGrad", "Occlusion")
"""Explainers that are offered where no others are asked for."""
_SIDE = 384
_LARGEST = "10mb"
_EPS, _STEPS = 4 / 255, 10
_COPIES = 16


@dataclass(frozen=True)
class Look:
    """What the viewer shows of one image: pictures, and what is said in Markdown."""

    image: Image.Image
    map: Image.Image
    told: str


@dataclass(frozen=True, eq=False)
class Viewer:
    """A model with images to look at.

    Attributes:
        model: The model.
        batch: Images that can be picked.
        specs: Explainers that can be chosen.
    """

    model: Classifier
    batch: Batch
    specs: tuple[str, ...] = SPECS

    @property
    def names(self) -> list[str]:
        """What the images are called, with their places, since names may be the same."""
        return [f"{place}: {name}" for place, name in enumerate(self.batch.names)]

    def chosen(self, name: str | None, dropped: Any = None) -> Tensor:
        """The dropped picture at the images' size, or the one of that name, (1, C, H, W).

        Raises:
            AssayError: There is neither, or it is no picture.
        """
        if dropped is not None:
            picture = as_batch([dropped]).images
            kept = (
                picture
                if picture.shape[1] == self.batch.images.shape[1]
                else picture.mean(1, keepdim=True).expand(-1, self.batch.images.shape[1], -1, -1)
            )
            return F.interpolate(kept, size=self.batch.images.shape[2:], mode="bilinear", antialias=True).clamp(0, 1)
        if name not in self.names:
            raise AssayError("pick an image, or drop one")
        return self.batch.images[self.names.index(name)][None]

    def explainer(self, spec: str, sigma: float) -> Explainer:
        """The explainer of a spec, smoothed where sigma is above 0."""
        one: Explainer = build(spec, Explainer)
        return Smoothed(one, Gaussian(sigma), _COPIES) if sigma > 0 else one

    def look(self, image: Tensor, spec: str, sigma: float, seed: int = 0) -> Look:
        """Explain one image, and hold its map against the same map elsewhere and against another image's.

        Args:
            image: (1, C, H, W).
            spec: The explainer.
            sigma: Width of smoothing, 0 for none.
            seed: Decides all randomness.
        """
        explainer, index = self.explainer(spec, sigma), torch.zeros(1, dtype=torch.long)
        target = self.model.predict(image)
        own = explainer(self.model, image, target, seed=seed)
        other = self.batch.images[(self._place(image) + 1) % len(self.batch)][None]
        foreign = explainer(self.model, other, target, seed=seed)
        nulls = torch.cat([own, elsewhere(own.cpu(), index, seed).to(own.device), foreign.to(own.device)])
        drops = [float(Deletion()(self.model, image, one[None], target)) for one in nulls]
        return Look(self._photo(image), self._map(image, own), self._told(image, target, explainer, drops))

    def attack(self, image: Tensor, spec: str, sigma: float, seed: int = 0) -> Look:
        """Look for a change too small to see that keeps the prediction and bends the map."""
        explainer = self.explainer(spec, sigma)
        hit = MapAttack(eps=_EPS, steps=_STEPS)(self.model, explainer, image, seed=seed)
        told = f"Every pixel was changed by at most {255 * _EPS:.0f}/255. The prediction is {'kept' if bool(hit.kept[0]) else 'lost'}."
        told += f" The maps differ by {number(float(hit.distance[0]), 2)}, where 0 is no difference."
        return Look(self._photo(hit.images), self._map(hit.images, hit.attacked_maps), told)

    def _place(self, image: Tensor) -> int:
        same = [place for place, one in enumerate(self.batch.images) if torch.equal(one, image[0])]
        return same[0] if same else -1

    def _photo(self, image: Tensor) -> Image.Image:
        shown = image[0] if image.shape[1] in (1, 3) else image[0].mean(0, keepdim=True)
        return photo(shown).resize((_SIDE, _SIDE * image.shape[2] // image.shape[3]), Image.Resampling.NEAREST)

    def _map(self, image: Tensor, values: Tensor) -> Image.Image:
        shown = image[0] if image.shape[1] in (1, 3) else image[0].mean(0, keepdim=True)
        return overlay(shown.cpu(), values[0].cpu(), robust_limit(values[0]), side=_SIDE)

    def _told(self, image: Tensor, target: Tensor, explainer: Explainer, drops: Sequence[float]) -> str:
        logits = self.model.logits(image)
        sure = float(self.model.decide(logits, target).probability(target)[0])
        own, moved, foreign = drops
        return "\n".join(
            (
                f"**{self.model.classes[int(target[0])]}**, {percent(sure)}, by `{short(explainer)}`.",
                "",
                "| held against | Deletion (lower is better) | this map is |",
                "|---|---|---|",
                f"| this map | {number(own)} | |",
                f"| itself, put elsewhere | {number(moved)} | {_word(own, moved)} |",
                f"| its map of another image | {number(foreign)} | {_word(own, foreign)} |",
                "",
                "One image shows nothing of whether an explainer can be trusted; `assay audit` does.",
            )
        )


def viewer_page(viewer: Viewer) -> Any:
    """The viewer as a Gradio app, without analytics and without anything loaded from elsewhere.

    Raises:
        AssayError: Gradio is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gradio = _gradio()
    with gradio.Blocks(title="Assay", analytics_enabled=False) as blocks:
        gradio.Markdown(f"# Assay: {viewer.model.name}")
        with gradio.Row():
            with gradio.Column(scale=1):
                pick = gradio.Dropdown(viewer.names, value=viewer.names[0], label="Image")
                drop = gradio.Image(type="pil", label="or drop one", sources=["upload"], height=160)
                spec = gradio.Dropdown(list(viewer.specs), value=viewer.specs[0], label="Explainer", allow_custom_value=True)
                sigma = gradio.Slider(0, 0.5, value=0, step=0.01, label="Smoothing (sigma)")
                explain, attack = gradio.Button("Explain", variant="primary"), gradio.Button("Attack")
                stop = gradio.Button("Stop")
            with gradio.Column(scale=2):
                with gradio.Row():
                    image, shown = gradio.Image(label="Image", interactive=False), gradio.Image(label="Map", interactive=False)
                told = gradio.Markdown()

        def answered(method: str) -> Any:
            def answer(name: str, dropped: Any, spec: str, sigma: float) -> tuple[Any, Any, str]:
                try:
                    found = getattr(viewer, method)(viewer.chosen(name, dropped), spec, sigma)
                except AssayError as error:
                    raise gradio.Error(str(error)) from error
                return found.image, found.map, found.told

            return answer

        inputs, outputs = [pick, drop, spec, sigma], [image, shown, told]
        events = [explain.click(answered("look"), inputs, outputs), attack.click(answered("attack"), inputs, outputs)]
        events.append(sigma.release(answered("look"), inputs, outputs))
        events.append(pick.change(answered("look"), inputs, outputs))
        stop.click(None, cancels=events)
        blocks.load(answered("look"), inputs, outputs)
    return blocks


def serve(viewer: Viewer, port: int | None = None, block: bool = True) -> tuple[Any, str]:
    """Start the viewer on 127.0.0.1 behind a random password.

    Args:
        viewer: What to show.
        port: A free one when None.
        block: Wait until the user ends it.

    Returns:
        The app, and the password of the user "assay".
    """
    gradio, token, blocks = _gradio(), secrets.token_urlsafe(16), viewer_page(viewer)
    theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # Fonts by name are loaded from elsewhere.
    blocks.queue(default_concurrency_limit=1)
    blocks.launch(
        server_name="127.0.0.1",
        server_port=port,
        auth=("assay", token),
        share=False,
        prevent_thread_lock=not block,
        quiet=True,
        max_file_size=_LARGEST,
        theme=theme,
    )
    return blocks, token


def _gradio() -> Any:
    try:
        return needed_library("gradio")
    except AssayError as error:
        raise AssayError(f'assay view needs Gradio: pip install "assay[view]" ({error.__cause__})') from error


def _word(own: float, null: float) -> str:
    return "better" if own < null else "no better"

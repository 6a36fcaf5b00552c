"""The viewer of `assay view`: one image at a time, its map, what the model says, and whether the map holds up for this image."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
from assay.errors import AssayError, ModelError
from assay.explain.base import Explainer
from assay.explain.controls import Edges
from assay.explain.kernels import Gaussian
from assay.explain.smooth import Smoothed
from assay.measure.perturbation import Deletion
from assay.models.classifier import Classifier
from assay.models.randomised import randomised
from assay.report.figures.colour import robust_limit
from assay.report.figures.picture import overlay, photo
from assay.report.text import number, percent
from assay.study.audit.nulls import elsewhere
from assay.tune.explainer import LearnedMask

__all__ = ["SPECS", "Look", "Viewer", "serve", "viewer_page"]

SPECS = ("Gradient", "GradientXInput", "IntegratedGradients", "SmoothGrad", "Occlusion")
"""Explainers that are offered where no others are asked for."""
_SIDE = 384
_LARGEST = "10mb"
_EPS, _STEPS = 4 / 255, 10
_COPIES = 16


@dataclass(frozen=True)
class Look:
    """What the viewer shows of one image so far: pictures, and what is said in Markdown; `done` is the share of the work."""

    image: Image.Image
    map: Image.Image | None
    told: str
    done: float = 1.0


@dataclass(frozen=True, eq=False)
class Viewer:
    """A model with images to look at.

    Attributes:
        model: The model.
        batch: Images that can be picked.
        specs: Explainers that can be chosen.
        masks: Masks (1, H, W) that the model was tuned with, by the images' places.
    """

    model: Classifier
    batch: Batch
    specs: tuple[str, ...] = SPECS
    masks: Mapping[int, Tensor] = field(default_factory=dict)

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

    def look(self, image: Tensor, spec: str, sigma: float, seed: int = 0) -> Iterator[Look]:
        """Explain one image, and hold its map by Deletion against nulls; each step is given as soon as it is there.

        Args:
            image: (1, C, H, W).
            spec: The explainer.
            sigma: Width of smoothing, 0 for none.
            seed: Decides all randomness.
        """
        explainer, index = self.explainer(spec, sigma), torch.zeros(1, dtype=torch.long)
        target, shown = self.model.predict(image), self._photo(image)
        head = self._predicted(image, target, explainer)
        yield Look(shown, None, f"{head} Explaining …", 0.1)
        own = explainer(self.model, image, target, seed=seed)
        drawn = self._map(image, own)
        yield Look(shown, drawn, f"{head} Holding the map against others …", 0.3)
        other = self.batch.images[(self._place(image) + 1) % len(self.batch)][None]
        nulls = {"where": ("itself, put elsewhere", elsewhere(own.cpu(), index, seed))}
        nulls["this image"] = ("its map of another image", explainer(self.model, other, target, seed=seed))
        yield Look(shown, drawn, f"{head} Holding the map against that of random weights …", 0.6)
        try:
            twin = randomised(self.model, "all", seed)
            nulls["this model"] = ("its map of the model with random weights", explainer(twin, image, target, seed=seed))
        except ModelError:
            pass  # A model without weights cannot be asked; the table then has no such line.
        nulls["more than the image"] = ("the image's edges", Edges()(self.model, image, target))
        score = float(Deletion()(self.model, image, own, target))
        drops = {key: (what, float(Deletion()(self.model, image, one.to(own.device), target))) for key, (what, one) in nulls.items()}
        yield Look(shown, drawn, f"{head}\n\n{_answers(score, drops)}")

    def attack(self, image: Tensor, spec: str, sigma: float, seed: int = 0) -> Iterator[Look]:
        """Look for a change too small to see that keeps the prediction and bends the map."""
        explainer, shown = self.explainer(spec, sigma), self._photo(image)
        yield Look(shown, None, f"Attacking the map of `{short(explainer)}` …", 0.1)
        hit = MapAttack(eps=_EPS, steps=_STEPS)(self.model, explainer, image, seed=seed)
        told = f"Attacked: every pixel was changed by at most {255 * _EPS:.0f}/255. "
        told += f"The prediction is {'kept' if bool(hit.kept[0]) else 'lost'}. "
        told += f"The maps differ by {number(float(hit.distance[0]), 2)}, where 0 is no difference."
        yield Look(self._photo(hit.images), self._map(hit.images, hit.attacked_maps), told)

    def mask(self, image: Tensor, spec: str, sigma: float, seed: int = 0) -> Iterator[Look]:
        """DiET's mask of an image: the one that the model was tuned with, or else one learned for this image now.

        Args:
            image: (1, C, H, W).
            spec: Not asked; a mask has no explainer.
            sigma: Not asked either.
            seed: Decides all randomness.
        """
        del spec, sigma
        shown, kept = self._photo(image), self.masks.get(self._place(image))
        if kept is not None:
            told = "DiET's mask, with which this network was tuned: what is dark was taken away while its predictions stayed."
            yield Look(shown, self._masked(image, kept), told)
            return
        yield Look(shown, None, "Learning the smallest mask that keeps the prediction …", 0.1)
        found = LearnedMask(rounds=3)(self.model, image, seed=seed)[0]
        told = (
            "The smallest mask that keeps this prediction, learned for this image now. On a network that DiET has not tuned it says "
            "little: such networks read also what is left when pixels are taken away."
        )
        yield Look(shown, self._masked(image, found.cpu()), told)

    def _place(self, image: Tensor) -> int:
        same = [place for place, one in enumerate(self.batch.images) if torch.equal(one, image[0])]
        return same[0] if same else -1

    def _photo(self, image: Tensor) -> Image.Image:
        shown = image[0] if image.shape[1] in (1, 3) else image[0].mean(0, keepdim=True)
        return photo(shown).resize((_SIDE, _SIDE * image.shape[2] // image.shape[3]), Image.Resampling.NEAREST)

    def _map(self, image: Tensor, values: Tensor) -> Image.Image:
        shown = image[0] if image.shape[1] in (1, 3) else image[0].mean(0, keepdim=True)
        return overlay(shown.cpu(), values[0].cpu(), robust_limit(values[0]), side=_SIDE)

    def _masked(self, image: Tensor, mask: Tensor) -> Image.Image:
        grey = torch.full_like(image.cpu(), 0.5)
        return self._photo(torch.lerp(grey, image.cpu(), mask.clamp(0, 1)[None]))

    def _predicted(self, image: Tensor, target: Tensor, explainer: Explainer) -> str:
        sure = float(self.model.decide(self.model.logits(image), target).probability(target)[0])
        return f"**{self.model.classes[int(target[0])]}**, {percent(sure)}, by `{short(explainer)}`."


def _answers(own: float, drops: Mapping[str, tuple[str, float]]) -> str:
    """The verdict's questions for one image, in a table."""
    head = [
        "| does it say | held against | Deletion, lower is better | this map is |",
        "|---|---|---|---|",
        f"| | this map | {number(own)} | |",
    ]
    lines = [
        f"| {question} | {what} | {number(drop)} | {'better' if own < drop else 'no better'} |" for question, (what, drop) in drops.items()
    ]
    end = "One image shows nothing of whether an explainer can be trusted; `assay audit` does."
    return "\n".join([*head, *lines, "", end])


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
                drop = gradio.Image(type="pil", label="or drop one", sources=["upload"], height=160, buttons=["fullscreen"])
                spec = gradio.Dropdown(list(viewer.specs), value=viewer.specs[0], label="Explainer", allow_custom_value=True)
                sigma = gradio.Slider(0, 0.5, value=0, step=0.01, label="Smoothing (sigma)")
                explain, attack = gradio.Button("Explain", variant="primary"), gradio.Button("Attack")
                mask, stop = gradio.Button("DiET's mask"), gradio.Button("Stop", variant="stop")
            with gradio.Column(scale=2):
                with gradio.Row():
                    # Without the button that sends a picture to a stranger's server.
                    image, shown = (
                        gradio.Image(label=name, interactive=False, buttons=["download", "fullscreen"]) for name in ("Image", "Map")
                    )
                told = gradio.Markdown()

        bar = gradio.Progress()

        def answered(method: str) -> Any:
            def answer(name: str, dropped: Any, spec: str, sigma: float, progress: Any = bar) -> Iterator[tuple[Any, Any, str]]:
                try:
                    # Between two steps the work can be stopped.
                    for found in getattr(viewer, method)(viewer.chosen(name, dropped), spec, sigma):
                        progress(found.done, desc=method)
                        yield found.image, found.map, found.told
                except AssayError as error:
                    raise gradio.Error(str(error)) from error

            return answer

        inputs, outputs = [pick, drop, spec, sigma], [image, shown, told]
        buttons = ((explain.click, "look"), (attack.click, "attack"), (mask.click, "mask"), (sigma.release, "look"), (pick.change, "look"))
        events = [begin(answered(method), inputs, outputs) for begin, method in buttons]
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

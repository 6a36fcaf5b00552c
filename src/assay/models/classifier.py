"""`Classifier`: any network as a function from pixels in [0, 1] to class scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from assay.core.chunk import Chunks, most_useful, out_of_memory
from assay.core.inputs import check_finite, check_images
from assay.core.precision import Precision
from assay.core.registry import nearest
from assay.data.reading import Reading
from assay.errors import ModelError, SpecError
from assay.models.prepare import fold_batch_norm, frozen_copy

__all__ = ["Classifier", "Output", "Passes", "Select", "selected"]

Output = Literal["logit", "probability", "log_probability"]
Select = Callable[[Any], Tensor] | str | int


@dataclass
class Passes:
    """How many images went forward and backward through the network."""

    forward: int = 0
    backward: int = 0

    def __sub__(self, other: Passes) -> Passes:
        return Passes(self.forward - other.forward, self.backward - other.backward)

    def copy(self) -> Passes:
        """The counts as they are now."""
        return Passes(self.forward, self.backward)


class Classifier:
    """A network wrapped so that explainers, measures and attacks live in pixel space.

    It works on a private frozen copy made at construction (eval mode, batch norm folded where that is exact, channels
    last on convolutional networks), so the network given is never changed and later changes to it are not seen.

    Args:
        net: Any module that maps (N, C, H, W) to logits (N, K), or to an object or dict with `logits`.
        mean: Per-channel mean that the network was trained with, in pixel units; None for no shift.
        std: Per-channel standard deviation, likewise.
        precision: "bfloat16" runs weights and activations in 16 bits; gradients at the pixels and all sums stay float32.
        output: What explanations are of: the target class's "logit", "probability" or "log_probability".
        select: Takes the logits out of the network's output: a callable, an attribute or key, or a position.
        classes: Names of the classes.
        device: Where to run; None for the device of the network's parameters.
        chunk: Images per pass; None finds it from measured activation memory.
        memory: Bytes that activations may take; None for a quarter of the free memory.
        compile: Run the network through torch.compile.

    Raises:
        ModelError: `net` is no module, cannot be copied, or `mean`, `std` or `classes` are unusable.
        SpecError: `precision` or `output` is unknown.
    """

    reading: Reading | None = None
    """How pictures are prepared for it, where its source says so (`assay.model`)."""
    notes: tuple[str, ...] = ()
    """What is not known of it, or was left out of its weights file (`assay.model`)."""

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        precision: Precision = "float32",
        output: Output = "logit",
        *,
        select: Select | None = None,
        classes: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        chunk: int | None = None,
        memory: int | None = None,
        compile: bool = False,
    ) -> None:
        if not isinstance(net, nn.Module):
            raise ModelError(f"Classifier wraps a torch.nn.Module, not {type(net).__name__}")
        for name, value, known in (("precision", precision, get_args(Precision)), ("output", output, get_args(Output))):
            if value not in known:
                raise SpecError(f"{name} must be one of {', '.join(known)}, not {value!r}{nearest(value, known)}")
        for name, number in (("chunk", chunk), ("memory", memory)):
            if number is not None and number < 1:
                raise SpecError(f"{name} must be at least 1, not {number}")
        self.name = type(net).__name__
        self.precision: Precision = precision
        self.output: Output = output
        self.passes = Passes()
        self.chunks = Chunks(chunk, memory)
        own = next(net.parameters(), next(net.buffers(), torch.empty(0))).device
        self.device = torch.device(device) if device is not None else own
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.select = select
        self._classes = tuple(classes) if classes is not None else None
        self._width: int | None = len(self._classes) if self._classes is not None else None
        self._bytes: dict[tuple[tuple[int, ...], bool], int] = {}
        self._shift, self._scale = _normalisation(mean, std, self.device)

        prepared = frozen_copy(net)
        self.folded = fold_batch_norm(prepared)
        prepared = prepared.to(self.device, self._dtype)
        self._layout = torch.contiguous_format
        if any(isinstance(module, nn.Conv2d) for module in prepared.modules()):
            self._layout = torch.channels_last
            prepared = prepared.to(memory_format=torch.channels_last)
        self.module = prepared
        self._run: Callable[[Tensor], Any] = torch.compile(prepared, dynamic=True) if compile else prepared

    def __repr__(self) -> str:
        return f"Classifier({self.name}, precision={self.precision!r}, output={self.output!r}, device={str(self.device)!r})"

    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits (n, K) of one chunk; see `forward`."""
        return self.forward(pixels)

    def settings(self) -> dict[str, Any]:
        """Everything that decides what this model computes, as plain values, the weights as a hash."""
        digest = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
        return {
            "network": self.name,
            "parameters": sum(parameter.numel() for parameter in self.module.parameters()),
            "weights": f"sha256 of the prepared weights {digest.hexdigest()}",
            "mean": None if self._scale is None else (-self._shift / self._scale).flatten().tolist(),
            "std": None if self._scale is None else (1 / self._scale).flatten().tolist(),
            "precision": self.precision,
            "output": self.output,
            "folded batch norms": self.folded,
        }

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; their numbers as text when none were given.

        Raises:
            ModelError: No names were given and no image has gone through yet.
        """
        if self._classes is not None:
            return self._classes
        if self._width is None:
            raise ModelError("the number of classes is known after the first pass; give Classifier(classes=[...]) to name them")
        return tuple(map(str, range(self._width)))

    def count_classes(self, shape: Sequence[int]) -> int:
        """Number of classes, found by trying one image of `shape` (C, H, W) where it is not known yet.

        Raises:
            ModelError: The network cannot take such images, or does not give logits.
        """
        self._bytes_per_image(tuple(shape), False)
        return self._width or 0

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K), float32, of images (N, C, H, W) in [0, 1].

        Raises:
            NotFiniteError: A logit is NaN or infinite; the message names the image.
        """
        images = check_images(images)
        return check_finite(self.unchecked_logits(images), "the model's output")

    def unchecked_logits(self, images: Tensor) -> Tensor:
        """`logits` of inputs that need not be images, such as noisy copies; what is not finite stays."""
        rows: list[Tensor] = []

        def step(start: int, stop: int) -> None:
            with torch.no_grad():
                rows.append(self.forward(images[start:stop].to(self.device)))

        self.run(len(images), images.shape[1:], False, step)
        return torch.cat(rows).to(images.device)

    def predict(self, images: Tensor) -> Tensor:
        """Class ids (N,) of the largest logits."""
        return self.logits(images).argmax(1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (n, K) in float32 of one chunk on the model's device; differentiable in `pixels`; counted."""
        self.passes.forward += len(pixels)
        x = pixels if self._scale is None else torch.addcmul(self._shift, pixels, self._scale)
        # A network may work in place on its input, which must not be the caller's pixels.
        out = self._run(x.to(self._dtype, memory_format=self._layout, copy=x is pixels))
        return self._take(out, len(pixels)).float()

    def score(self, logits: Tensor, targets: Tensor, output: Output | None = None) -> Tensor:
        """The target's logit, probability or log probability (n,); what is explained unless `output` says otherwise."""
        output = output or self.output
        if output == "probability":
            logits = logits.softmax(1)
        elif output == "log_probability":
            logits = logits.log_softmax(1)
        return logits.gather(1, targets[:, None])[:, 0]

    def run(self, total: int, shape: Sequence[int], backward: bool, step: Callable[[int, int], None]) -> None:
        """Call `step(start, stop)` over 0..total in chunks that fit (see `Chunks.run`)."""
        most = most_useful(self.device, self._dtype, backward)
        self.chunks.run(total, self._bytes_per_image(tuple(shape), backward), self.device, step, most)

    def chunk_size(self, total: int, shape: Sequence[int], backward: bool) -> int:
        """Images per chunk that `run` would start with."""
        most = most_useful(self.device, self._dtype, backward)
        return self.chunks.size(total, self._bytes_per_image(tuple(shape), backward), self.device, most)

    def _bytes_per_image(self, shape: tuple[int, ...], backward: bool) -> int:
        """Activation memory of one image, measured by one uncounted pass per image size."""
        if self._scale is not None and len(self._scale) not in (1, shape[0]):
            raise ModelError(f"the model's mean and std are for {len(self._scale)} channels, but images have shape {shape}")
        if (shape, backward) not in self._bytes:
            sizes: dict[int, int] = {}
            weights = {p.untyped_storage().data_ptr() for p in self.module.parameters()}

            def keep(tensor: Tensor) -> Tensor:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in weights:
                    sizes[storage.data_ptr()] = storage.nbytes()
                return tensor

            counted = self.passes.copy()
            with torch.inference_mode(False), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                try:
                    self.forward(torch.full((1, *shape), 0.5, device=self.device, requires_grad=True))
                except (RuntimeError, ValueError, TypeError, AssertionError, LookupError, AttributeError) as error:
                    if isinstance(error, ModelError) or out_of_memory(error):
                        raise
                    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                    raise ModelError(f"{self.name} cannot take images of shape {shape}: {reason}") from error
                finally:
                    self.passes.forward = counted.forward
            # Going forward only, a few layers' outputs live at once; going backward, all that was saved and its gradients.
            self._bytes[shape, True] = 2 * sum(sizes.values())
            self._bytes[shape, False] = 4 * max(sizes.values(), default=4)
        return self._bytes[shape, backward]

    def _take(self, out: Any, count: int) -> Tensor:
        logits = selected(out, self.select)
        if not isinstance(logits, Tensor):
            kind = type(logits).__name__
            has = f" with keys {', '.join(map(str, logits))}" if isinstance(logits, Mapping) else ""
            raise ModelError(f"{self.name} returns a {kind}{has}, not logits; say where they are: Classifier(net, select=...)")
        if logits.ndim != 2 or logits.shape[0] != count or logits.shape[1] < 2 or not logits.is_floating_point():
            raise ModelError(
                f"{self.name} returns shape {tuple(logits.shape)} for {count} images where logits ({count}, K), K >= 2, are needed; "
                "take them out with Classifier(net, select=...)"
            )
        if self._classes is not None and logits.shape[1] != len(self._classes):
            raise ModelError(f"{self.name} returns {logits.shape[1]} logits, but {len(self._classes)} classes were named")
        self._width = logits.shape[1]
        return logits


def selected(out: Any, select: Select | None) -> Any:
    """What `select` (see `Classifier`) takes out of a network's output; the output itself where it holds no such thing."""
    if callable(select):
        return select(out)
    if select is None:
        if isinstance(out, Tensor):
            return out
        select = "logits"
    if isinstance(out, Mapping):
        return out.get(select, out)
    if isinstance(select, str):
        return getattr(out, select, out)
    try:
        return out[select]
    except (TypeError, IndexError, KeyError):
        return out


def _normalisation(mean: Any, std: Any, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Shift and scale such that `pixels * scale + shift` is the network's input; no scale when there is nothing to do."""
    if mean is None and std is None:
        return torch.zeros(1), None
    centre = torch.as_tensor(0.0 if mean is None else mean, dtype=torch.float32).reshape(-1, 1, 1)
    spread = torch.as_tensor(1.0 if std is None else std, dtype=torch.float32).reshape(-1, 1, 1)
    if not bool((spread > 0).all()) or not bool(centre.isfinite().all()):
        raise ModelError(f"mean must be finite and std positive, not mean={mean!r}, std={std!r}")
    centre, spread = torch.broadcast_tensors(centre, spread)
    return (-centre / spread).to(device), (1 / spread).to(device)

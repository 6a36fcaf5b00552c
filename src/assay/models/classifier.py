"""`Classifier`: any network as a function from pixels in [0, 1] to class scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from assay.core import noise
from assay.core.chunk import Chunks, most_useful, out_of_memory, saved
from assay.core.inputs import check_finite, check_images, sent
from assay.core.precision import DTYPES, Precision
from assay.core.surroundings import Alone, undisturbed
from assay.data.files.reading import Reading
from assay.errors import AssayError, ModelError, SpecError
from assay.models.black_box import BlackBox, kind_of
from assay.models.heads import HEADS, PROBABILITIES, Head, HeadName, Output, check_choices
from assay.models.outputs import Select, outputs_of, selected
from assay.models.pixels import Copies, Passes, normalisation
from assay.models.preparation.prepare import Foreign, converted, frozen_copy, unwrapped, weights_hash
from assay.models.preparation.proof import LOOKED_AT, NetworkForm, failure, pair_of, prepare, still_equal, understood
from assay.models.targets import Decision, decide, score

__all__ = ["Classifier", "Output", "Passes", "Select", "selected"]


class Classifier:
    """A network wrapped so that explainers, measures and attacks live in pixel space.

    It works on a private frozen copy made at construction, so the network given is never changed and later changes to it are not seen.
    On the first images it is tried whether the network is a function of the image alone, and whether a faster form (batch norm folded,
    channels last) gives the same outputs; where not, the plain form is used (see `settings`, `findings`).

    Args:
        net: Any module that maps (N, C, H, W) to logits (N, K), or to an object or dict with `logits`; or any function from images to
            scores, which is not copied and has no gradients. See `head` for other outputs.
        mean: Per-channel mean that the network was trained with, in pixel units; None for no shift.
        std: Per-channel standard deviation, likewise.
        precision: "bfloat16" runs weights and activations in 16 bits; gradients at the pixels and all sums stay float32.
        output: What explanations are of: the target class's "logit", "probability" or "log_probability".
        head: What the outputs are: "softmax" for K classes that exclude each other, "sigmoid" for K findings that do not, "binary" for
            one logit z, (N,) or (N, 1), which counts as two classes with logits (0, z), "scalar" for values, as of a regression. None
            is "softmax", or "binary" where the network gives one number per image. Outputs may be (N, K, ...), as of a segmentation,
            where targets say what of them is explained.
        select: Takes the logits out of the network's output: a callable, an attribute or key, or a position.
        classes: Names of the classes.
        device: Where to run; None for the device of the network's parameters.
        chunk: Images per pass; None finds it from measured activation memory.
        memory: Bytes that activations may take; None for a quarter of the free memory.
        compile: Run the network through torch.compile.

    Raises:
        ModelError: `net` is neither, cannot be copied, or `mean`, `std` or `classes` are unusable.
        SpecError: `precision`, `output` or `head` is unknown, or values are to be explained as probabilities.
    """

    reading: Reading | None = None
    """How pictures are prepared for it, where its source says so (`assay.model`)."""
    notes: tuple[str, ...] = ()
    """What is not known of it, or was left out of its weights file (`assay.model`)."""
    twice: ClassVar[bool] = False
    """Whether its gradients are differentiated again."""
    copies: Copies | None = None
    """Noisy copies of each image whose mean output stands for the image's own (`assay.SmoothedModel`)."""

    @undisturbed()
    def __init__(
        self,
        net: nn.Module | Callable[[Tensor], Any],
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        precision: Precision = "float32",
        output: Output = "logit",
        *,
        head: HeadName | None = None,
        select: Select | None = None,
        classes: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        chunk: int | None = None,
        memory: int | None = None,
        compile: bool = False,
    ) -> None:
        net = unwrapped(net)
        if isinstance(net, type) or not callable(net):
            raise ModelError(f"Classifier wraps a torch.nn.Module or a function from images to scores, not {kind_of(net)}")
        module = net if isinstance(net, nn.Module) else BlackBox(net)
        check_choices(precision, output, head, chunk, memory)
        if isinstance(module, BlackBox) and (precision != "float32" or compile):
            raise SpecError("precision= and compile= are for a torch.nn.Module; a function runs as it is")
        self.name = module.name if isinstance(module, BlackBox) else getattr(module, "original_name", type(module).__name__)
        self.precision: Precision = precision
        self.output: Output = output
        self.passes, self.chunks = Passes(), Chunks(chunk, memory)
        own = next(module.parameters(), next(module.buffers(), torch.empty(0))).device
        self.device = torch.device(device) if device is not None else own
        self._dtype = DTYPES[precision]
        self.select, self.head_given = select, head
        self._head: Head = HEADS[head or "softmax"]
        self._classes = tuple(classes) if classes is not None else None
        self._width: int | None = len(self._classes) if self._classes is not None else None
        self._bytes: dict[tuple[tuple[int, ...], bool], int] = {}
        self._shift, self._scale = normalisation(mean, std, self.device)

        self.alone = Alone()
        self._foreign, self._form = Foreign(module), NetworkForm()
        self._own: tuple[int, str] | None = None
        self._held = {one.dtype for one in module.parameters() if one.is_floating_point()}
        self.module = module if isinstance(module, BlackBox) else converted(frozen_copy(module), self.device, torch.float32)
        self._run: Callable[[Tensor], Any] = torch.compile(self.module, dynamic=True) if compile else self.module

    def __repr__(self) -> str:
        return f"Classifier({self.name}, precision={self.precision!r}, output={self.output!r}, device={str(self.device)!r})"

    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits (n, K) of one chunk; see `forward`."""
        return self.forward(pixels)

    @undisturbed()
    def identity(self) -> dict[str, Any]:
        """Everything that decides what this model computes, as plain values, the weights as a hash."""
        count, digest = self._weights()
        return {
            "network": self.name,
            "parameters": count,
            "weights": f"sha256 of the weights {digest}",
            "mean": None if self._scale is None else (-self._shift / self._scale).flatten().tolist(),
            "std": None if self._scale is None else (1 / self._scale).flatten().tolist(),
            "precision": self.precision,
            "output": self.output,
            "head": self.head_given
            or ("binary, as the network gives one logit" if self.head == "binary" else "softmax; binary for one logit"),
        } | ({} if self.copies is None else {"smoothed": self.copies.spec})

    def settings(self) -> dict[str, Any]:
        """`identity`, and what the first images showed: the form that the network runs in, and what to know about its outputs."""
        known = {"form": self._form.words, "findings": list(self.findings)} if self._form.tried else {"form": "not tried on an image yet"}
        return self.identity() | known

    @property
    def findings(self) -> tuple[str, ...]:
        """What a reader of results should know about the network, in sentences; complete when all is explained."""
        if isinstance(self.module, BlackBox):
            refused = f"{self.name} is known by its scores alone, so explainers and attacks that need gradients are refused."
            return (refused, *self._form.told)
        return self._form.told

    @property
    def folded(self) -> int:
        """How many batch norms are folded into convolutions; known after the first images."""
        return len(self._form.folds)

    @property
    def differentiable(self) -> bool:
        """Whether the network is known by more than its scores."""
        return not isinstance(self.module, BlackBox)

    def need_gradients(self, who: str) -> None:
        """Refuse the work of `who` where there are no gradients.

        Raises:
            ModelError: The model is a function of which only scores are known.
        """
        if not self.differentiable:
            raise ModelError(
                f"{who} needs gradients or layers, but {self.name} is a function of which only scores are known; give Classifier the "
                "torch.nn.Module itself, or use what needs scores alone, such as KernelShap or Lime"
            )

    def need_layers(self, who: str) -> None:
        """Refuse the work of `who`, which looks at layers, by ModelError where what is explained is more than one pass of them."""
        if self.copies is not None:
            raise ModelError(
                f"{who} hooks into one pass of {self.name}, but what is explained is the mean of {self.copies.count} passes; "
                "smooth its maps instead: Smoothed(explainer, kernel), or use what needs pixels alone, such as Gradient or KernelShap"
            )

    @property
    def head(self) -> HeadName:
        """What the outputs are; where it was left open, known after the first pass."""
        return self._head.name

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

    @undisturbed()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K), float32, of images (N, C, H, W) in [0, 1]; (N, K, ...) of outputs at positions, values of head "scalar".

        Raises:
            NotFiniteError: A logit is NaN or infinite; the message names the image.
        """
        images = check_images(images)
        return check_finite(self.unchecked_logits(images), "the model's output")

    @undisturbed()
    def unchecked_logits(self, images: Tensor) -> Tensor:
        """`logits` of inputs that need not be images, such as noisy copies; what is not finite stays."""
        self.try_on(images)
        rows: list[Tensor] = []

        def step(start: int, stop: int) -> None:
            with torch.no_grad():
                rows.append(self.forward(sent(images[start:stop], self.device)))

        self.run(len(images), images.shape[1:], False, step)
        return torch.cat(rows).to(images.device)

    def predict(self, images: Tensor) -> Tensor:
        """Class ids (N,) of the largest logits; with head "scalar" the values, (N,) or (N, K) of several."""
        logits = self.logits(images)  # After which the head is known.
        return self._head.predict(logits)

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (N, K) of all classes by the head, each by itself with head "sigmoid"; the values with head "scalar"."""
        logits = self.logits(images)
        return self._head.transform(logits, "probability")

    def transform(self, logits: Tensor, output: Output) -> Tensor:
        """Every class's logit, probability or log probability by the head, in the shape of `logits`."""
        return self._head.transform(logits, output)

    def choose(self, logits: Tensor) -> Tensor:
        """Predicted classes (N,), which targets of None stand for.

        Raises:
            ModelError: The outputs have no one class, or several values.
        """
        return self._head.choose(logits)

    def decide(self, logits: Tensor, targets: Tensor) -> Decision:
        """What is decided about images with these logits, as far as it concerns their targets; see `Decision`."""
        return decide(self._head, logits, targets)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (n, K) in float32 of one chunk on the model's device; differentiable in `pixels`; counted."""
        self.try_on(pixels)
        with self.alone, undisturbed():
            if self.copies is None:
                return self._counted(pixels)
            backward = pixels.requires_grad and torch.is_grad_enabled()
            each = self.copies.count
            if not self.twice:
                each = max(1, self._fitting(len(pixels) * each, pixels.shape[1:], backward) // max(1, len(pixels)))
            outputs = self.copies.outputs(pixels, each, self._counted)
            return self._head.average(outputs, self.output)

    def count_backward(self, images: int) -> None:
        """Count a backward pass of `forward` on so many images."""
        self.passes.backward += images * self.each

    def _counted(self, pixels: Tensor) -> Tensor:
        self.passes.forward += len(pixels)
        return self._pass(self._run, pixels, self._form.layout, self._dtype)

    def try_on(self, images: Tensor) -> None:
        """Try the network on its first images, and on the first of every other size, by a few uncounted passes of two images.

        Args:
            images: (N, C, H, W) real images.

        Raises:
            ModelError: The network fails on them, or is no function of the image alone.
        """
        shape = tuple(images.shape[1:])
        if shape in self._form.tried or not len(images):
            return
        with self.alone, undisturbed():
            pair = pair_of(images[:LOOKED_AT].detach().to(self.device, torch.float32))
            self._check_channels(shape)
            if not self._form.tried:
                if self._foreign.theirs:
                    with self._foreign, torch.no_grad():
                        self._plain_pass(pair[:1], torch.contiguous_format)
                    self._foreign.forget()
                found = prepare(self._form, self.module, self._plain_pass, pair, self.name)
                sure, told = understood(found, self._head, self.name)
                self._head, self._form.findings = PROBABILITIES if sure else self._head, (*told, *self._form.findings)
                if self._dtype != torch.float32:
                    self._weights()
                    self._form.convert(self._dtype)
                    converted(self.module, self.device, self._dtype)
                    self._form.apply(self.module)
            else:
                still_equal(self._form, self.module, self._plain_pass, pair, 1e-4 if self._dtype == torch.float32 else 0.05)
            self._form.tried.add(shape)

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Within, the network runs in its plain form, every layer giving what the user's gives; other threads wait."""
        with self.alone:
            self._form.undo(self.module)
            try:
                yield
            finally:
                self._form.apply(self.module)

    def _plain_pass(self, pixels: Tensor, layout: torch.memory_format, exact: nn.Module | None = None) -> Tensor:
        """By a copy in 64 bits, where given."""
        usual = self._dtype if self._form.tried else torch.float32
        return self._pass(exact or self.module, pixels, layout, torch.float64 if exact else usual)

    def _pass(self, run: Callable[[Tensor], Any], pixels: Tensor, layout: torch.memory_format, dtype: torch.dtype) -> Tensor:
        """Logits of pixels; whatever fails within the network is told as such."""
        x = pixels if self._scale is None else torch.addcmul(self._shift, pixels, self._scale)
        try:
            narrow = x.to(dtype)  # Format before layout: both at once take a CPU twice as long. A network may work in place on its copy.
            out = run(narrow.to(memory_format=layout, copy=narrow is pixels))
            return self._take(out, len(pixels)).to(torch.promote_types(dtype, torch.float32))
        except Exception as error:
            if isinstance(error, AssayError) or out_of_memory(error):
                raise
            raise ModelError(failure(self.module, self.name, error, pixels.shape[1:], self._held, dtype)) from error

    def _weights(self) -> tuple[int, str]:
        """Number and hash of the network's own weights, found once, since a network may change what it keeps."""
        if self._own is None:
            with self.plain():
                self._own = sum(parameter.numel() for parameter in self.module.parameters()), weights_hash(self.module)
        return self._own

    def score(self, logits: Tensor, targets: Tensor, output: Output | None = None) -> Tensor:
        """The target's logit, probability or log probability (n,); what is explained unless `output` says otherwise."""
        return score(self._head, logits, targets, self.output, output)

    def run(self, total: int, shape: Sequence[int], backward: bool, step: Callable[[int, int], None]) -> None:
        """Call `step(start, stop)` over 0..total in chunks that fit (see `Chunks.run`)."""
        most = max(1, self.most_useful(shape) // self.each)

        def alone(start: int, stop: int) -> None:
            with self.alone:
                step(start, stop)

        self.chunks.run(total, self.each * self._bytes_per_image(tuple(shape), backward), self.device, alone, most)

    def chunk_size(self, total: int, shape: Sequence[int], backward: bool) -> int:
        """Images per chunk that `run` would start with."""
        return max(1, self._fitting(total * self.each, shape, backward) // self.each)

    def most_useful(self, shape: Sequence[int]) -> int:
        """Passes of images of `shape` (C, H, W) above which a chunk gains nothing."""
        return most_useful(self.device, self._bytes_per_image(tuple(shape), False) if self.differentiable else None)

    @property
    def each(self) -> int:
        """Passes of the network per image."""
        return 1 if self.copies is None else self.copies.count

    def _fitting(self, total: int, shape: Sequence[int], backward: bool) -> int:
        """Of `total` passes of the network, how many go at once."""
        return self.chunks.size(total, self._bytes_per_image(tuple(shape), backward), self.device, self.most_useful(shape))

    def _bytes_per_image(self, shape: tuple[int, ...], backward: bool) -> int:
        """Activation memory of one pass of the network, measured by one uncounted pass per image size."""
        if (shape, backward) not in self._bytes:
            middle = torch.full((1, *shape), 0.5, dtype=torch.float32, device=self.device)
            if shape not in self._form.tried:
                one = torch.zeros(1, dtype=torch.int64, device=self.device)
                self.try_on(noise.uniform(0, "first images", one, one, shape))
            with self.alone, undisturbed(), torch.enable_grad(), saved(self.module.parameters()) as sizes:
                self._pass(self._run, middle.requires_grad_(), self._form.layout, self._dtype)
            # Going forward only, a few layers' outputs live at once; going backward, all that was saved and its gradients.
            self._bytes[shape, True] = 2 * sum(sizes.values())
            self._bytes[shape, False] = 4 * max(sizes.values(), default=4)
        return self._bytes[shape, backward]

    def _check_channels(self, shape: tuple[int, ...]) -> None:
        if self._scale is not None and len(self._scale) not in (1, shape[0]):
            raise ModelError(f"the model's mean and std are for {len(self._scale)} channels, but images have shape {shape}")

    def _take(self, out: Any, count: int) -> Tensor:
        logits = outputs_of(out, self.select, count, self.name)
        if self.head_given is None and logits.shape in ((count,), (count, 1)):
            self._head = HEADS["binary"]
        logits = self._head.take(logits, self.name)
        if self._classes is not None and logits.shape[1] != len(self._classes):
            raise ModelError(f"{self.name} has {logits.shape[1]} classes (head {self._head.name}), but {len(self._classes)} were named")
        self._width = logits.shape[1]
        return logits

"""Networks in ONNX files, run by onnxruntime: scores, and no gradients."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.core.whole_files import expanded
from assay.errors import ModelError, ShapeError, SpecError, WeightsError
from assay.models.black_box import BlackBox

__all__ = ["OnnxNetwork", "is_onnx"]

_TYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def is_onnx(spec: str) -> bool:
    """Whether a spec names an ONNX file, `file.onnx`, or one of its outputs, `file.onnx:output`."""
    return spec.partition(":")[0].endswith(".onnx") or spec.rpartition(":")[0].endswith(".onnx")


class OnnxNetwork(BlackBox):
    """The network of an ONNX file on the CPU, known by its scores alone.

    Images go in as (N, C, H, W), or (N, H, W, C) where the file asks for that; a fixed batch size is kept to.

    Args:
        spec: The file, or `file.onnx:output` for an output of several.

    Raises:
        SpecError: onnxruntime is not installed, or there is no such output, or several and none is called `logits`.
        WeightsError: The file is missing, or none that onnxruntime can run.
        ModelError: It takes something else than one batch of images.
    """

    def __init__(self, spec: str) -> None:
        path, _, wanted = spec.rpartition(":") if not spec.endswith(".onnx") else (spec, "", "")
        file = expanded(path)
        if not file.is_file():
            raise WeightsError(f"there is no ONNX file {path}")
        super().__init__(self._scores)
        self.name = file.name
        self._session = _session(file)
        self._output = self._chosen(wanted, path)
        given = self._session.get_inputs()
        if len(given) != 1 or len(given[0].shape) != 4:
            takes = ", ".join(f"{one.name} {one.shape}" for one in given)
            raise ModelError(
                f"{path} takes {takes}, where one batch of images (N, C, H, W) is needed; wrap it as a function for Classifier"
            )
        if given[0].type not in _TYPES:
            raise ModelError(f"{path} takes {given[0].type}, where images of floats are needed; wrap it as a function for Classifier")
        self._given = given[0]
        # Told by content, so that results are bound to the file.
        digest = np.frombuffer(hashlib.sha256(file.read_bytes()).digest(), np.uint8).copy()
        self.register_buffer("digest", torch.from_numpy(digest))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images, where the file fixes them."""
        sides = self._sides()[1:]
        return (sides[0], sides[1]) if isinstance(sides[0], int) and isinstance(sides[1], int) else None

    def _scores(self, images: Tensor) -> Tensor:
        for have, want, what in zip(images.shape[1:], self._sides(), ("channels", "rows", "columns"), strict=True):
            if isinstance(want, int) and have != want:
                raise ShapeError(
                    f"{self.name} takes images with {want} {what}, not {have}: prepare them so, as by --size, --resize, --crop, --channels"
                )
        values = images.permute(0, 2, 3, 1) if self._last else images
        pixels = np.ascontiguousarray(values.cpu().numpy().astype(_TYPES[self._given.type]))
        fixed = self._given.shape[0]
        step = fixed if isinstance(fixed, int) else len(pixels)
        found = [self._piece(pixels[start : start + step], step) for start in range(0, len(pixels), step)]
        return torch.from_numpy(np.concatenate(found)).float()

    def _piece(self, pixels: Any, size: int) -> Any:
        """Scores of a batch, filled up with copies of its last image where the file wants more."""
        lack = size - len(pixels)
        filled = np.concatenate([pixels, np.repeat(pixels[-1:], lack, 0)]) if lack else pixels
        return np.asarray(self._session.run([self._output], {self._given.name: filled})[0])[: len(pixels)]

    @property
    def _last(self) -> bool:
        """Whether channels stand last."""
        shape = self._given.shape
        return shape[3] in (1, 3) and shape[1] not in (1, 3)

    def _sides(self) -> tuple[Any, ...]:
        """Channels, rows and columns, numbers where they are fixed."""
        shape = self._given.shape
        return (shape[3], shape[1], shape[2]) if self._last else (shape[1], shape[2], shape[3])

    def _chosen(self, wanted: str, path: str) -> str:
        names = [one.name for one in self._session.get_outputs()]
        if wanted and wanted not in names:
            raise SpecError(f"{path} has no output {wanted!r} (its outputs are {', '.join(names)})")
        if not wanted and len(names) > 1 and "logits" not in names:
            raise SpecError(f"{path} has several outputs, {', '.join(names)}; say which are the scores: {path}:{names[0]}")
        return wanted or ("logits" if "logits" in names else str(names[0]))


def _session(file: Path) -> Any:
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise SpecError(f'{file} needs onnxruntime, which is not installed: pip install "assay[onnx]"') from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise WeightsError(f"onnxruntime cannot run {file}: {next(iter(str(error).splitlines()), error)}") from error

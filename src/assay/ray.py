"""An explainer over a Ray Data dataset, for clusters that run Ray; needs the extra `ray`: `pip install "assay[ray]"`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from assay.errors import AssayError, DataError, SpecError
from assay.explain.base import Explainer, check_model
from assay.models.classifier import Classifier
from assay.models.sources.spec import network

if TYPE_CHECKING:
    import ray.data

__all__ = ["explain"]


def explain(
    dataset: ray.data.Dataset,
    model: str | Callable[[], Classifier],
    explainer: Explainer,
    *,
    seed: int = 0,
    batch_size: int = 64,
    actors: int = 1,
    cpus: float = 1,
    gpus: float = 0,
) -> ray.data.Dataset:
    """Maps of all images of a dataset, for the predicted classes; each actor makes the model once.

    Noise depends on the seed and the image's id alone, so the maps are those of a local run with `index=id`, whatever
    the number of actors and the batches.

    Args:
        dataset: Columns `image`, (H, W, C) uint8, or floating with pixels in [0, 1], all of one size; and where known
            `id`, the images' global numbers. Without it an image's id is made from its content.
        model: What `assay.models.sources.spec.network` takes without further options, such as a checkpoint's path that all nodes
            see, or a function that makes the Classifier, importable on all nodes.
        explainer: What explains.
        seed: Decides all randomness.
        batch_size: Images handed to an actor at once.
        actors: How many actors work side by side.
        cpus: Cores of each actor.
        gpus: GPUs of each actor; the model is then put on the first.

    Returns:
        A lazy dataset with columns `id`, `map` (C, H, W) float32, and `predicted`, in Ray's own order of the rows.

    Raises:
        AssayError: Ray is not installed.
        SpecError: `explainer` is no Explainer, or a number is below 1.
        DataError: The dataset has no column `image`.
    """
    try:
        import ray.data
    except ImportError as error:
        raise AssayError('assay.ray needs Ray: pip install "assay[ray]"') from error
    if not isinstance(explainer, Explainer):
        raise SpecError(f"explainer must be an Explainer such as Gradient(), not {type(explainer).__name__}")
    for name, value in (("batch_size", batch_size), ("actors", actors)):
        if value < 1:
            raise SpecError(f"{name} must be at least 1, not {value}")
    columns = dataset.columns() or []
    if "image" not in columns:
        raise DataError(f"the dataset has no column image; its columns are {', '.join(columns)}: rename the one of the images")
    return dataset.map_batches(
        _Actor,
        fn_constructor_args=(model, explainer, seed, "cuda" if gpus else None),
        batch_size=batch_size,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=cpus,
        num_gpus=gpus,
    )


class _Actor:
    """The model and the explainer, in a process of Ray's."""

    def __init__(self, model: str | Callable[[], Classifier], explainer: Explainer, seed: int, device: str | None) -> None:
        self.model = network(model, device=device) if isinstance(model, str) else model()
        check_model(self.model)
        self.explainer = explainer
        self.seed = seed

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        pixels = batch["image"]
        if pixels.dtype == object or pixels.ndim != 4:
            raise DataError("the images must be (H, W, C) arrays of one size; resize them first")
        index = torch.from_numpy(_ids(batch))
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        images = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
        targets = self.model.choose(self.model.logits(images))
        maps = self.explainer(self.model, images, targets, seed=self.seed, index=index)
        return {"id": index.numpy(), "map": maps.cpu().numpy(), "predicted": targets.cpu().numpy()}


def _ids(batch: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """The images' numbers: those given, or the first 63 bits of the SHA-256 of each image's pixels."""
    if "id" not in batch:
        digests = [hashlib.sha256(np.ascontiguousarray(one).tobytes()).digest()[:8] for one in batch["image"]]
        return np.array([int.from_bytes(one, "little") >> 1 for one in digests], np.int64)
    if not np.issubdtype(batch["id"].dtype, np.integer):
        raise DataError(f"the column id must hold whole numbers, the images' global numbers, not {batch['id'].dtype}")
    return batch["id"].astype(np.int64)

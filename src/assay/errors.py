"""Every error that a user can cause, each with one message that names the culprit and what to do."""

from __future__ import annotations

__all__ = [
    "AssayError",
    "AssayWarning",
    "DataError",
    "DerivativeError",
    "EmptyBatchError",
    "ImageTypeError",
    "ModelError",
    "NotFiniteError",
    "PixelRangeError",
    "ShapeError",
    "SpecError",
    "TargetError",
    "WeightsError",
]


class AssayError(Exception):
    """Base of all errors that Assay raises on purpose; the command line prints it in one line and exits with 2."""


class AssayWarning(UserWarning):
    """Something that works but tells less than it seems to; the message says what to change."""


class ShapeError(AssayError, ValueError):
    """A tensor has the wrong rank or size."""


class EmptyBatchError(ShapeError):
    """A batch holds no image."""


class ImageTypeError(AssayError, TypeError):
    """An argument has the wrong type or dtype."""


class PixelRangeError(AssayError, ValueError):
    """A pixel is outside [0, 1]."""


class NotFiniteError(AssayError, ValueError):
    """A value is NaN or infinite."""


class TargetError(AssayError, ValueError):
    """A target is not a class of the model."""


class SpecError(AssayError, ValueError):
    """A spec names something unknown, or a parameter is unknown, of the wrong type or out of range."""


class ModelError(AssayError, ValueError):
    """A network cannot be used: wrong outputs, no logits, no such layer."""


class DerivativeError(ModelError):
    """A network holds an operation without the second derivative that an attack on a gradient needs."""


class WeightsError(ModelError):
    """A weights file is missing, unsafe, or does not fit the network."""


class DataError(AssayError, ValueError):
    """A data set, folder or file is missing or cannot be read."""

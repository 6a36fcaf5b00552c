"""What the settings of all studies share: frozen, checked values that a TOML file can change."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay.errors import SpecError

__all__ = ["Many", "Preset", "Strict", "from_file", "merged"]

Preset = Literal["small", "paper"]
Many = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Frozen settings of known names and exact types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Settings = TypeVar("Settings", bound=Strict)


def from_file(path: Path) -> dict[str, Any]:
    """The settings that a study file holds; it may leave out what its preset says.

    Raises:
        SpecError: The file cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SpecError(f"cannot read the study file {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"the study file {path} is no TOML: {error}") from error


def source_of(file: Path | None) -> dict[str, str]:
    """How a run's settings name the study file that they come from."""
    return {} if file is None else {"study": str(file.resolve())}


def texts(settings: Strict) -> dict[str, str]:
    """The settings as a page shows them."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.model_dump(mode="json").items()}


def merged(preset: Settings, changes: Mapping[str, Any], source: str = "the study file") -> Settings:
    """The preset with some settings in place of its own.

    Args:
        preset: What is changed.
        changes: Settings by name.
        source: Where they come from, for the message.

    Raises:
        SpecError: A setting is unknown or out of range; the message names it.
    """
    try:
        # TOML has lists where settings have tuples, so the check goes by JSON, which has one kind of sequence.
        return type(preset).model_validate_json(json.dumps(preset.model_dump() | dict(changes), default=str))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise SpecError(f"{source} is wrong at {where}: {first['msg'].lower()}") from error

"""A run's settings as TOML, and what is different between two of them."""

from __future__ import annotations

import json
import math
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import tomli_w

from assay.errors import DataError

__all__ = ["command_line", "differences", "plain", "read_settings", "settings_text"]

_LONGEST = 60


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as TOML can hold them: nothing for None, texts for paths, lists for tuples."""
    return {name: _plain(value) for name, value in settings.items() if value is not None}


def settings_text(settings: Mapping[str, Any]) -> str:
    """TOML of plain settings; mappings become tables."""
    return tomli_w.dumps(settings)


def command_line(command: str, options: Mapping[str, Any], processes: int = 1) -> str:
    """The line that gives a command these options; None and False are left out."""
    # Without the dashes torchrun's own parser takes --start for an abbreviation of one of its options.
    words = [f"assay {command}" if processes == 1 else f"torchrun --nproc-per-node={processes} -m -- assay {command}"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            # Specs take either kind of quotes, and double ones stay readable inside the shell's single ones.
            text = repr(value).replace("'", '"') if is_dataclass(value) else str(value)
            words.append(f"{option} {shlex.quote(text)}")
    return " ".join(words)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        DataError: It cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error


def differences(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each setting that is not the same: its name, what was kept, and what is asked, as texts."""
    old, new = dict(_flat(kept)), dict(_flat(asked))
    names = [*old, *(name for name in new if name not in old)]
    return [(name, _told(old.get(name)), _told(new.get(name))) for name in names if not _same(old.get(name), new.get(name))]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _same(one: Any, other: Any) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (one == other and isinstance(one, bool) == isinstance(other, bool))


def _told(value: Any) -> str:
    if value is None:
        return "not set"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."

"""A run's settings as TOML, and what is different between two of them."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import tomli_w

from assay.errors import DataError

__all__ = ["command_line", "differences", "plain", "read_settings", "settings_text"]

_HEAD = "# A run of assay. To go on after an interruption: the same command again, or `assay run resume FOLDER`.\n"
_SEAL = "# SHA-256 of the lines below: "
_SEALED = re.compile(f"^{_SEAL}([0-9a-f]*)\n(.*)", re.MULTILINE | re.DOTALL)
"""A file that was cut off between two lines is TOML still, and would be taken for other settings."""
_LONGEST, _BESIDE = 60, 20
"""Characters of a value that are told, and of those before and after a difference within it."""


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as TOML can hold them: nothing for None, texts for paths, lists for tuples."""
    return {name: _plain(value) for name, value in settings.items() if value is not None}


def settings_text(settings: Mapping[str, Any]) -> str:
    """TOML of plain settings, mappings as tables, below a line with its hash."""
    text = tomli_w.dumps(settings)
    return f"{_HEAD}{_SEAL}{_digest(text)}\n{text}"


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
    """The settings in a TOML file, as they were written where it says their hash.

    Raises:
        DataError: It cannot be read, is no TOML, or is not what was written.
    """
    try:
        text = path.read_text(encoding="utf-8")
        sealed = _SEALED.search(text)
        if sealed is not None and sealed[1] != _digest(sealed[2]):
            raise DataError(f"{path} is damaged: it is not what was written; put the file back as it was, or begin in another folder")
        return tomllib.loads(text)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error


def differences(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each setting that is not the same: its name, what was kept, and what is asked, as texts; of long ones what differs."""
    old, new = dict(_flat(kept)), dict(_flat(asked))
    names = [*old, *(name for name in new if name not in old)]
    return [(name, *_told(old.get(name), new.get(name))) for name in names if not _same(old.get(name), new.get(name))]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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


def _told(old: Any, new: Any) -> tuple[str, str]:
    """Two values that differ, as texts: of long lists what only one of them has, of long texts what lies around the difference."""
    texts = _text(old), _text(new)
    if max(map(len, texts)) <= _LONGEST or not (isinstance(old, list) and isinstance(new, list)):
        return _around(*texts)
    shared = [one for one in old if one in new]
    own = [[one for one in side if one not in shared] for side in (old, new)]
    if not shared or not any(own):
        return _around(*texts)
    first, second = _around(*(", ".join(map(_text, side)) or "nothing" for side in own))
    return f"{first} besides {len(shared)} in both", f"{second} besides {len(shared)} in both"


def _text(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _around(one: str, other: str) -> tuple[str, str]:
    """Two texts, cut where they are long, so that each shows what the other has not."""
    if max(len(one), len(other)) <= _LONGEST:
        return one, other
    start = _alike(one, other)
    end = _alike(one[start:][::-1], other[start:][::-1])
    left, right = max(start - _BESIDE, 0), max(end - _BESIDE, 0)
    return _cut(one, left, right), _cut(other, left, right)


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _cut(text: str, left: int, right: int) -> str:
    kept = text[left : len(text) - right]
    more = right or len(kept) > _LONGEST
    return f"{'... ' * (left > 0)}{kept[:_LONGEST]}{' ...' * (more > 0)}"

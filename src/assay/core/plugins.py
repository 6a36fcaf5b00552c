"""Code of the user's own that registers explainers and measures: a file, a module, or what an installed package announces."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

from assay.core.whole_files import expanded
from assay.errors import AssayWarning, SpecError

__all__ = ["GROUP", "import_code", "import_plugins"]

GROUP = "assay.plugins"
"""Entry points of installed packages that name modules to import."""
_FILES: dict[Path, ModuleType] = {}
"""Files that were imported already."""


def import_code(name: str) -> None:
    """Import a file `path/to/my_explainers.py`, or a module `package.module`, found from the current directory too.

    Raises:
        SpecError: There is no such file or module, or it fails.
    """
    try:
        if name.endswith(".py"):
            _import_file(expanded(name).resolve())
        else:
            _import_module(name)
    except (SpecError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise SpecError(f"cannot import {name}: {type(error).__name__}: {reason}") from error


def import_plugins() -> None:
    """Import what installed packages announce under `assay.plugins`; one that fails is left out with a warning."""
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            of = f" of {point.dist.name}" if point.dist is not None else ""
            warnings.warn(f"the plugin {point.name}{of} is left out: {type(error).__name__}: {error}", AssayWarning, stacklevel=2)


def _import_file(path: Path) -> None:
    if path in _FILES:
        return
    if not path.is_file():
        raise SpecError(f"cannot import {path}: there is no such file")
    # Under its own name where that is free, so that what it defines is told by it.
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_{abs(hash(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # For what stands beside it.
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    _FILES[path] = module


def _import_module(name: str) -> None:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.import_module(name)
    finally:
        sys.path.remove(here)

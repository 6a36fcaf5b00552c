"""Whether the Hugging Face hub answers, asked once: the libraries that load from it try six times, for half a minute."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["hub_answers", "hub_has"]


def hub_answers() -> bool:
    """Whether the hub answers at all, within the time that its library gives a file's headers; no where the user switched it off."""
    library: Any = importlib.import_module("huggingface_hub")
    try:
        library.get_session().head(library.constants.ENDPOINT, timeout=library.constants.HF_HUB_ETAG_TIMEOUT)
    except Exception:  # Of whichever HTTP client the library has.
        return False
    return True


def hub_has(repository: str, *files: str) -> bool:
    """Whether one of these files of a repository is in the library's cache, or else the hub answers when asked for it."""
    library: Any = importlib.import_module("huggingface_hub")
    name, _, revision = repository.partition("@")
    known = (library.try_to_load_from_cache(name, file, revision=revision or None) for file in files)
    return any(isinstance(one, str) for one in known) or hub_answers()

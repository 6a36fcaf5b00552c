"""What a run stood on: machine, packages, code."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import torch

from assay.core.precision import product_settings

__all__ = ["code", "machine", "packages"]


def packages() -> dict[str, str]:
    """Versions of every installed package that has been imported, and of Python."""
    homes = _homes()
    names = {home for module in list(sys.modules) for home in homes.get(module.partition(".")[0], [])}
    found = {name: importlib.metadata.version(name) for name in sorted(names, key=str.lower)}
    return {"python": platform.python_version()} | found


def machine(device: torch.device) -> dict[str, str]:
    """The hardware and system, and the device that the model runs on."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "device": device.type,
        **product_settings(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def code() -> dict[str, str]:
    """Assay's version, and its commit where it runs from a checkout."""
    home = Path(__file__).resolve().parents[3]
    found = {"assay": importlib.metadata.version("assay")}
    if (home / ".git").exists():
        try:
            asked = subprocess.run(
                ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True, check=True
            )
            found["commit"] = asked.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            found["commit"] = "unknown: git does not answer"
    return found


@functools.cache
def _homes() -> Mapping[str, list[str]]:
    """The distributions of each importable name; reading them takes more than a second."""
    return importlib.metadata.packages_distributions()


def _processor() -> str:
    """The processor's name; Linux keeps it where `platform` does not look."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

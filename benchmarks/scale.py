"""Growth with the number of images, and what a second process brings: time, memory and disk of the real commands.

    python benchmarks/scale.py --out benchmarks/scale.json
    python benchmarks/scale.py --sizes 100 1000 --split 1000 --out /tmp/scale.json

Makes tar shards of small PNG images (coloured shapes on noise, the same at every run) in a temporary folder, runs
`assay explain` and `assay audit` on more and more of them in processes of their own, then one and two processes of one
thread each under torchrun on the same images. Writes a JSON file and, beside it, the tables as Markdown.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from assay.core.environment import machine

SIDE = 32
CLASSES = 10
SHARD = 10_000
FEW = 100
"""Images of the run whose time is taken for that of the start."""
COMMANDS = {
    "explain": ("--explainer", "Gradient", "--maps", "zarr", "--no-overlays", "--workers", "0"),
    "audit": ("--explainer", "Gradient", "--measure", "LocalLinearError(samples=4)", "--workers", "0"),
}
"""In one process each, so that memory is that of the work alone."""
AHEAD = "explain, reading ahead"
"""The first command with a process that reads ahead of it, for the two largest numbers of images."""
MODEL = "hard-digits"


def main() -> None:
    """Run everything and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 100_000], help="numbers of images")
    parser.add_argument("--audit-sizes", type=int, nargs="+", help="those of assay audit, where they are others")
    parser.add_argument("--split", type=int, default=10_000, help="images of the comparison of one and two processes")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side of that comparison")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/scale.json"))
    given = parser.parse_args()
    if len(given.sizes) < 2 or given.split <= FEW:
        parser.error(f"give at least two --sizes, and a --split above {FEW}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"explain": given.sizes, "audit": given.audit_sizes or given.sizes}
        growth = [measured(folder, command, size, ()) for command in COMMANDS for size in sorted(sizes[command])]
        ahead = [measured(folder, "explain", size, ("--workers", "1")) for size in sorted(given.sizes)[-2:]]
        growth += [row | {"command": AHEAD} for row in ahead]
        processes = [
            measured(folder, "audit", size, (), ranks) | {"processes": ranks}
            for _ in range(given.repeats)
            for size in (FEW, given.split)
            for ranks in (1, 2)
        ]
    found = {
        "machine": machine(torch.device("cpu")),
        "side": SIDE,
        "model": MODEL,
        "commands": COMMANDS,
        "growth": growth,
        "processes": processes,
    }
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    text = tables(growth, processes, given.split)
    given.out.with_suffix(".md").write_text(text)
    print(text)  # noqa: T201


def shards(folder: Path, count: int) -> Path:
    """A folder of tar shards that hold the first `count` images and their labels."""
    place = folder / f"images-{count}"
    if place.is_dir():
        return place
    place.mkdir()
    for start in range(0, count, SHARD):
        with tarfile.open(place / f"data-{start // SHARD:06d}.tar", "w") as archive:
            for number in range(start, min(start + SHARD, count)):
                for ending, data in (("png", picture(number)), ("cls", str(number % CLASSES).encode())):
                    entry = tarfile.TarInfo(f"{number:09d}.{ending}")
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    return place


def picture(number: int) -> bytes:
    """PNG file of a rectangle whose place and shape follow the class, on noise that follows the number."""
    random = np.random.default_rng(number)
    pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8) // 4
    top, left = random.integers(0, SIDE // 2, 2)
    kind = number % CLASSES
    pixels[top : top + 4 + kind, left : left + 14 - kind] = random.integers(128, 256, 3, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def measured(folder: Path, command: str, size: int, more: tuple[str, ...], ranks: int = 0) -> dict[str, Any]:
    """Time, peak memory and disk of one command on `size` images; under torchrun, one thread each, when `ranks` are given."""
    images, out = shards(folder, size), folder / "out"
    start = [sys.executable, "-m"]
    if ranks:
        start += ["torch.distributed.run", f"--nproc-per-node={ranks}", "--standalone", "-m"]
    call = [*start, "assay", command, "--model", MODEL, "--images", str(images), "--out", str(out), *COMMANDS[command], *more]
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if ranks else {})
    began = time.perf_counter()
    with (folder / "log").open("w") as log, subprocess.Popen(call, env=environment, stdout=log, stderr=log) as process:
        peak = watched(process)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(call)} failed:\n{(folder / 'log').read_text()}")
    files = [one.stat() for one in out.rglob("*") if one.is_file()]
    shutil.rmtree(out)
    return {
        "command": command,
        "images": size,
        "seconds": seconds,
        "memory_mib": peak / 2**20,
        "disk_mib": sum(one.st_size for one in files) / 2**20,
        "files": len(files),
    }


def watched(process: subprocess.Popen[bytes]) -> int:
    """Largest memory, in bytes, of a process and its children until it ends; pages that they share count once."""
    peak = 0
    while process.poll() is None:
        try:
            root = psutil.Process(process.pid)
            peak = max(peak, sum(held(one) for one in (root, *root.children(recursive=True))))
        except psutil.Error:
            pass
        time.sleep(0.2)
    return peak


def held(process: psutil.Process) -> int:
    """A process's proportional share of memory, where the system knows it, and its resident memory otherwise."""
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.Error:
        return 0


def tables(growth: list[dict[str, Any]], processes: list[dict[str, Any]], split: int) -> str:
    """The figures as Markdown."""
    lines = [
        "| command | images | seconds | images/s | peak memory, MiB | disk, MiB | KiB per image | files |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['command']} | {row['images']:,} | {row['seconds']:.1f} | {row['images'] / row['seconds']:.1f} "
        f"| {row['memory_mib']:.0f} | {row['disk_mib']:.1f} | {1024 * row['disk_mib'] / row['images']:.1f} | {row['files']:,} |"
        for row in growth
    ]
    for command in (*COMMANDS, AHEAD):
        first, last = sorted((row for row in growth if row["command"] == command), key=lambda row: row["images"])[-2:]
        power = math.log(last["seconds"] / first["seconds"]) / math.log(last["images"] / first["images"])
        lines += ["", f"`{command}`: from {first['images']:,} to {last['images']:,} images, time grows as their number to the {power:.2f}."]
    lines += ["", "| processes | images | seconds, median | images/s without the start |", "|---|---|---|---|"]
    rates = {}
    for ranks in (1, 2):
        short, long = (median(processes, ranks, size) for size in (FEW, split))
        rates[ranks] = (split - FEW) / (long - short)
        lines.append(f"| {ranks} | {split:,} | {long:.1f} | {rates[ranks]:.1f} |")
    lines += ["", f"Two processes of one thread do {rates[2] / rates[1]:.2f} times the work of one."]
    return "\n".join(lines) + "\n"


def median(processes: list[dict[str, Any]], ranks: int, size: int) -> float:
    """Median time of the runs of so many processes on so many images."""
    return float(np.median([row["seconds"] for row in processes if row["processes"] == ranks and row["images"] == size]))


if __name__ == "__main__":
    main()

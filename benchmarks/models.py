"""Which networks Assay explains rightly: `python benchmarks/models.py` runs every row and writes docs/models.md.

Each network gets random weights, none of them constant, and small images of noise. What Assay says is held against a twin of the network
that it never saw: PyTorch's own gradients, pytorch-grad-cam, and its formula by hand. Rows run one after the other in a process of their
own, so that one that ends Python ends only itself; `benchmarks/models.json` keeps what each came to, and on which code. Started again, it
goes on with the rows that were not yet run on the code as it is. `--only resnet` runs the rows with that in their names again, `--page`
only writes the page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from model_rows import every
from model_trial import Trial, WrongError

import assay

COLUMNS = ("logits", "Gradient", "GradCAM", "batch", "attack", "untouched")
DECISIVE = ("core", "models", "explain", "attack")
"""Folders of the package, and these scripts, on which a row depends."""
RESULTS, PAGE = Path("benchmarks/models.json"), Path("docs/models.md")
GREEN = ("yes", "by hand")
HEAD = """# Networks that were tried

Every network here has random weights and small images of noise, and is held against a twin that Assay never saw. Made by
`python benchmarks/models.py`, with {packages}, on the CPU ({rows}).
Of some families, of which a library has only large networks, a small one is built from its class.

- **logits**: `Classifier(net).logits(images)` are the network's own in eval mode.
- **Gradient**: the map is autograd's, up to 0.2 % of its spread, and what a change of the pixels by a millionth makes of it: kinks of ReLUs
  are passed by rounding.
- **GradCAM**: the map is pytorch-grad-cam's at the layer that `GradCAM()` takes, named in the last column; "by hand" where that library
  cannot explain the network, and the formula was written out for it. No reshape function is needed for any of them.
- **batch**: logits and maps of an image alone are those that it has beside others.
- **attack**: `MapAttack` climbs, and takes more of the map's top pixels than noise of its size.
- **untouched**: weights, modes, hooks, gradients and attributes of the network that was handed in are as they were.

{counts}
"""


def decisive() -> str:
    """A hash of the code that decides what a row comes to."""
    here = Path(__file__).resolve().parent
    home = here.parent / "src" / "assay"
    files = [
        *here.glob("model*.py"),
        here / "strange_networks.py",
        *(path for folder in DECISIVE for path in (home / folder).rglob("*.py")),
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:12]


def run(group: str, name: str) -> dict[str, Any]:
    """All cells of a row."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    row = next(row for row in every() if (row.group, row.name) == (group, name))
    began, cells = time.perf_counter(), {}
    found: dict[str, Any] = {"group": row.group, "name": row.name, "cells": cells, "size": None, "layer": ""}
    try:
        trial = Trial(row)
        found["size"] = list(trial.size)
        checks = (trial.logits, trial.gradient, trial.gradcam, trial.batch, trial.attack, trial.untouched)
        cells |= {column: cell(check) for column, check in zip(COLUMNS, checks, strict=True)}
        found["layer"] = trial.layer
    except Exception as error:
        cells |= dict.fromkeys(COLUMNS, told(error))
    return found | {"seconds": round(time.perf_counter() - began, 1)}


def cell(check: Any) -> str:
    """What a check came to."""
    try:
        return str(check())
    except Exception as error:
        return told(error)


def told(error: Exception) -> str:
    """The reason of a cell that is not green."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, WrongError):
        return f"no: {text}"
    return f"refused: {text}" if isinstance(error, assay.AssayError) else f"fails: {type(error).__name__}: {text}"


def rows_done(names: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """What each row came to, by one process for as many as it outlives."""
    pool: ProcessPoolExecutor | None = None
    for group, name in names:
        pool = pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            yield pool.submit(run, group, name).result()
        except BrokenProcessPool:
            pool = None
            yield {"group": group, "name": name, "cells": dict.fromkeys(COLUMNS, "fails: its process ended"), "size": None, "layer": ""}
    if pool:
        pool.shutdown()


def page(rows: list[dict[str, Any]]) -> str:
    """The page of all rows."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "torchvision", "transformers", "grad-cam"))
    reasons: list[str] = []
    tables: list[str] = []
    groups = list(dict.fromkeys(row["group"] for row in rows))
    counts = []
    for group in groups:
        here = [row for row in rows if row["group"] == group]
        whole = sum(all(text.startswith(GREEN) for text in row["cells"].values()) for row in here)
        counts.append(f"{group}: {whole} of {len(here)} rows are green throughout.")
        tables += [f"\n## {group}\n", f"| network | pixels | {' | '.join(COLUMNS)} | GradCAM's layer |", "|---" * (len(COLUMNS) + 3) + "|"]
        for row in here:
            size = "x".join(map(str, row["size"])) if row["size"] else ""
            # A network that is refused is refused for one reason, whatever numbers stand in it.
            only = row["cells"]["logits"] if row["cells"]["logits"].startswith("refused") else ""
            cells = [row["cells"][column] for column in COLUMNS]
            shown = [_shown(only if only and text.startswith("refused") else text, reasons) for text in cells]
            layer = f"`{row['layer']}`" if row["layer"] else ""
            tables.append(f"| {row['name']} | {size} | {' | '.join(shown)} | {layer} |")
    notes = ["\n## Reasons\n", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))] if reasons else []
    last = sum(row.get("code") == decisive() for row in rows)
    told_rows = "all rows on the code as it is" if last == len(rows) else _states(rows)
    return "\n".join([HEAD.format(packages=packages, rows=told_rows, counts="\n".join(counts)), *tables, *notes]) + "\n"


def _shown(text: str, reasons: list[str]) -> str:
    """A cell: one word, and the number of its reason where it has one."""
    word, _, reason = text.partition(": ")
    if not reason:
        return word
    if text not in reasons:
        reasons.append(text)
    return f"{word} [{reasons.index(text) + 1}]"


def main() -> None:
    """Run the rows that are asked for, and write the page of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="run the rows with this in their names or groups; the others keep what they came to")
    parser.add_argument("--page", action="store_true", help="run nothing")
    args = parser.parse_args()
    names = [(row.group, row.name) for row in every()]
    known = {(row["group"], row["name"]): row for row in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    code = decisive()
    asked = [one for one in names if any(args.only in part for part in one)] if args.only else _due(names, known, code)
    for row in rows_done([] if args.page else asked):
        known[row["group"], row["name"]] = row | {"code": code}
        bad = [f"{column} {text}" for column, text in row["cells"].items() if not text.startswith(GREEN)]
        print(f"{row['name']}, {row.get('seconds')} s: {'; '.join(bad) or 'green'}", flush=True)  # noqa: T201
        RESULTS.write_text(json.dumps([known[one] for one in names if one in known], indent=1) + "\n")
    PAGE.write_text(page([known[one] for one in names if one in known]))


def _states(rows: list[dict[str, Any]]) -> str:
    """On how many states of the code rows were taken, where not all on the same."""
    codes = [row["code"] for row in rows if row.get("code")]
    known = f"{len(codes)} of {len(rows)} rows on {len(set(codes))} known states of the code"
    return known if len(codes) == len(rows) else f"{known}, the others on earlier ones"


def _due(names: list[tuple[str, str]], known: dict[tuple[str, str], dict[str, Any]], code: str) -> list[tuple[str, str]]:
    return [one for one in names if one not in known or known[one].get("code") != code]


if __name__ == "__main__":
    main()

"""Run the code of notebooks from top to bottom: `python notebooks/run.py`, or some by name: `python notebooks/run.py first-audit`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def run(path: Path) -> None:
    """Execute the code cells of one notebook in one namespace."""
    names: dict[str, object] = {"__name__": "notebook"}
    for place, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}, cell {place}", "exec"), names)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.ipynb")):
        start = time.perf_counter()
        run(HERE / f"{name}.ipynb")
        sys.stdout.write(f"{name}: {time.perf_counter() - start:.0f} s\n")

"""Build a wheel, and run the README's example and the command line from it, in a folder that is no checkout.

python benchmarks/wheel.py

The wheel is unpacked before everything else on Python's path, and nothing of the checkout may be imported. Building needs a package index.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Raise where something fails."""
    example = re.search(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert example is not None
    with tempfile.TemporaryDirectory() as home:
        site, work = Path(home, "site"), Path(home, "work")
        work.mkdir()
        subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", home, str(ROOT)], check=True)
        (wheel,) = Path(home).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(site)
        from_wheel = f"import assay\nassert assay.__file__.startswith({str(site)!r}), assay.__file__\n"
        environment = os.environ | {"PYTHONPATH": str(site)}
        subprocess.run([sys.executable, "-c", from_wheel + example.group(1)], check=True, cwd=work, env=environment)
        subprocess.run([sys.executable, "-m", "assay", "list", "explainers"], check=True, cwd=work, env=environment, stdout=subprocess.DEVNULL)
        made = sorted(path.name for path in work.iterdir())
        print(f"{wheel.name}, {wheel.stat().st_size / 2**20:.1f} MiB: the README's example made {', '.join(made)}")  # noqa: T201


if __name__ == "__main__":
    main()

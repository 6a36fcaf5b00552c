"""The documents' pictures of a report, taken in headless Chromium: `python benchmarks/pictures.py audit/` writes docs/images/report*.png.

The audit is a run of `assay audit --model hard-digits --images hard-digits --count 32 --explainer Gradient --explainer "SmoothGrad(samples=8)"
--explainer GradCAM --measure Deletion --measure Insertion --measure MaxSensitivity --measure MaskIoU --out audit/`.
With `--view`, which needs `assay[view]`, the viewer is opened on that run: docs/images/view.png.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from reference.chromium import FOUND, Chromium  # noqa: E402

WIDE, PHONE = (1280, 900), (400, 900)
PICTURES = {
    "report": (*WIDE, False, None),
    "report-dark": (*WIDE, True, None),
    "report-phone": (*PHONE, False, None),
    "report-phone-dark": (*PHONE, True, None),
    "report-evidence": (*WIDE, False, "trade-offs"),
}
"""Width, height, whether dark, and what the window begins with."""
_SETTLED = """(() => {
    let shown = 1;
    for (let at = document.querySelector('.assay-look'); at; at = at.parentElement) shown *= getComputedStyle(at).opacity;
    return shown === 1;
})()"""
"""Whether the viewer's pictures are no longer pale, as they are while it works."""


def report_pictures(browser: Chromium, report: Path, out: Path) -> None:
    """Write the pictures of a report."""
    for name, (width, height, dark, part) in PICTURES.items():
        browser.open(f"file://{report.resolve()}", width, dark, height)
        if part:
            browser.run(f"document.getElementById('{part}').scrollIntoView()")
        browser.picture(out / f"{name}.png", whole=False)


def view_picture(browser: Chromium, folder: Path, out: Path) -> None:
    """Write the picture of the viewer with an explained image."""
    command = [sys.executable, "-m", "assay", "view", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as server:
        assert server.stdout is not None
        try:
            words = next(line for line in server.stdout if line.startswith("open ")).split()
            address, token = words[1], words[words.index("password") + 1].rstrip(";")
            browser.open(address, 1280, height=930)
            browser.run(
                "fetch('login', {method: 'POST', body: new URLSearchParams({username: 'assay', password: '" + token + "'})}).then(r => r.ok)"
            )
            browser.open(address, 1280, height=930)
            browser.wait("document.body.innerText.includes('its map of the model with random weights')")
            browser.wait(_SETTLED)
            browser.picture(out / "view.png", whole=False)
        finally:
            server.terminate()


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audit", type=Path, help="folder of the audit")
    parser.add_argument("--view", action="store_true", help="the viewer's too")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    given = parser.parse_args()
    if FOUND is None:
        sys.exit("needs Chromium")
    browser = Chromium()
    try:
        report_pictures(browser, given.audit / "report.html", given.out)
        if given.view:
            view_picture(browser, given.audit, given.out)
    finally:
        browser.close()


if __name__ == "__main__":
    main()

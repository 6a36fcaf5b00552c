"""Give the readers of strangers' input what nobody would make on purpose, and see that each either works or says in one line why not.

python benchmarks/fuzz.py [INPUTS] [SEED]

Specs, images, tar files, logs, settings and targets, in equal numbers, are made by damaging sound ones or from pieces at random. An input fails
where anything but an AssayError (of an image a CorruptFileError) comes out, where the message has several lines, or where it takes more than
ten seconds. The seed decides the inputs; exit code 1 tells that one failed, and prints it.
"""

from __future__ import annotations

import io
import random
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import assay
from assay.data.files.decode import decode
from assay.data.files.tar_index import index_tars
from assay.errors import AssayError
from assay.run.blocks import ArrayPart
from assay.run.log import read_log
from assay.run.settings_file import read_settings

LONGEST = 10.0
WORDS = (
    "SmoothGrad", "Gradient", "Smoothed", "Sparsified", "Lime", "KernelShap", "Grid", "Gaussian", "MapAttack", "TopK", "captum:Occlusion", "Deletion",
    "sigma", "samples", "explainer", "rows", "columns", "(", ")", "=", ",", "'", '"', "-", "/", "**", "inf", "nan", "None", "True", "1e999", "0", "-1",
    "9" * 25, "0x10", "[", "]", "lambda", "__import__", "\x00", "\u202e", "\n", "\\", "{", "8/255", "1j", ".5", "é", " ",
)  # fmt: skip


def damaged(chance: random.Random, content: bytes) -> bytes:
    """The bytes with some changed, cut out, doubled or cut off."""
    held = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        if not held:
            break
        at = chance.randrange(len(held))
        kind = chance.randrange(5)
        if kind == 0:
            held[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            held[at] = chance.choice((0, 255, 127, 128))
        elif kind == 2:
            del held[at : at + chance.randrange(1, 64)]
        elif kind == 3:
            held[at:at] = held[at : at + chance.randrange(1, 64)]
        else:
            del held[at:]
    return bytes(held)


def sound_images() -> list[bytes]:
    """Small files of every kind that is read."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    found = []
    for kind in ("PNG", "JPEG", "BMP", "WEBP", "TIFF"):
        held = io.BytesIO()
        Image.fromarray(pixels).save(held, kind)
        found.append(held.getvalue())
    held = io.BytesIO()
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(held, "PNG")
    found.append(held.getvalue())
    held = io.BytesIO()
    np.save(held, pixels.astype(np.float32) / 255)
    return [*found, held.getvalue()]


def sound_tar() -> bytes:
    """A small tar file of images and labels."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in (("a/one.png", sound_images()[0]), ("b/two.png", sound_images()[0]), ("b/two.cls", b"3")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


def kinds(home: Path) -> dict[str, Callable[[random.Random], tuple[object, Callable[[], object]]]]:
    """What makes an input of each kind, and what reads it."""
    images, tar = sound_images(), sound_tar()
    specs = [repr(cls()) for cls in assay.registered(assay.Explainer).values() if _plain(cls)]
    line = b'{"block": 0, "rows": 2, "files": {"parts/a.parquet": "00"}, "seconds": 1.0, "at": 2.0, "start": 0, "rank": 0, "passes": 4}\n'
    toml = b'command = "audit"\nassay = "0.1.0"\n[blocks]\nimages = 3\nsize = 1\n[settings]\nseed = 0\nexplainer = ["Gradient()"]\n'
    (home / "log").mkdir()

    def spec(chance: random.Random) -> tuple[object, Callable[[], object]]:
        text = "".join(chance.choices(WORDS, k=chance.randrange(1, 14)))
        if chance.random() < 0.5:
            text = damaged(chance, chance.choice(specs).encode()).decode(errors="replace")
        return text, lambda: assay.build(text)

    def image(chance: random.Random) -> tuple[object, Callable[[], object]]:
        content = damaged(chance, chance.choice(images))
        return content, lambda: decode(content, "x", chance.choice((None, 8)))

    def archive(chance: random.Random) -> tuple[object, Callable[[], object]]:
        content = damaged(chance, tar)
        (home / "x.tar").write_bytes(content)
        return content, lambda: index_tars([home / "x.tar"])

    def log(chance: random.Random) -> tuple[object, Callable[[], object]]:
        content = damaged(chance, line * chance.randrange(1, 4))
        (home / "log" / "rank-0.jsonl").write_bytes(content)
        return content, lambda: list(read_log(home / "log"))

    def settings(chance: random.Random) -> tuple[object, Callable[[], object]]:
        content = damaged(chance, toml)
        (home / "run.toml").write_bytes(content)
        return content, lambda: read_settings(home / "run.toml")

    def part(chance: random.Random) -> tuple[object, Callable[[], object]]:
        text = "".join(chance.choices("0123456789/auto-+ .\x00é", k=chance.randrange(0, 9)))
        return text, lambda: ArrayPart.read(text, {"SLURM_ARRAY_TASK_ID": text, "SLURM_ARRAY_TASK_COUNT": text[::-1]})

    return {"spec": spec, "image": image, "tar": archive, "log": log, "settings": settings, "part": part}


def _plain(cls: type) -> bool:
    try:
        cls()
    except Exception:
        return False
    return True


def main(inputs: int, seed: int) -> int:
    """Read that many inputs; how many failed."""
    chance, failed, refused, began = random.Random(seed), 0, 0, time.monotonic()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as home:
        makers = list(kinds(Path(home)).items())
        for number in range(inputs):
            name, make = makers[number % len(makers)]
            given, read = make(chance)
            start = time.monotonic()
            try:
                read()
            except AssayError as error:
                refused += 1
                wrong = "several lines" if len(str(error).splitlines()) > 1 and name != "spec" else ""
            except (Exception, SystemExit) as error:
                wrong = f"{type(error).__name__}: {error}"
            else:
                wrong = ""
            if time.monotonic() - start > LONGEST:
                wrong = wrong or "it takes too long"
            if wrong:
                failed += 1
                print(f"{name} {given!r:.300}: {wrong:.200}", flush=True)  # noqa: T201
    print(f"{inputs} inputs, {refused} refused in one line, {failed} failed, {time.monotonic() - began:.0f} s")  # noqa: T201
    return failed


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(bool(main(*(numbers + [100_000, 0][len(numbers) :]))))

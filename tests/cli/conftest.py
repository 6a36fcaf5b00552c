import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from assay.cli import main
from reference.nets import plain

FACTORIES = """
import torch
from torch import nn
from reference.nets import plain
import assay

good = plain

def wrong_rank():
    return nn.Conv2d(3, 4, 3)

def one_logit():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 1))

def ready():
    return assay.Classifier(plain(), output="probability")

def failing():
    raise RuntimeError("no luck today\\nreally none")

def nothing():
    return 3

class Blind(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3] * torch.nan

blind = Blind
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current directory with `pictures` (3 of 8 x 8), `classes/<cat|dog>`, and a module `mynets` of factories."""
    noise = np.random.default_rng(0)

    def paint(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (8, 8, 3), np.uint8)).save(path)

    for name in ("a", "b", "c"):
        paint(tmp_path / "pictures" / f"{name}.png")
    for name in ("cat/one", "cat/two", "dog/one"):
        paint(tmp_path / "classes" / f"{name}.png")
    (tmp_path / "mynets.py").write_text(FACTORIES)
    torch.save(plain(seed=1).state_dict(), tmp_path / "weights.pt")
    torch.save(plain(seed=1), tmp_path / "pickle.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mynets", raising=False)
    yield tmp_path
    sys.modules.pop("mynets", None)


@pytest.fixture
def run(monkeypatch, capsys):
    """`run("audit", ...)`: the command line as the shell calls it; gives code, out, err and err's lines."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["assay", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "300")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=told.out, err=told.err, lines=told.err.splitlines())

    return call

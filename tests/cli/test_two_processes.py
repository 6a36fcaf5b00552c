"""Training by two processes under torchrun; one start for all tests, since it takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.models.sources import checkpoint

HERE = Path(__file__).parents[1]
COMMAND = (
    *("--data", "HardDigits(size=32, count=20)", "--epochs", "2", "--device", "cpu"),
    *("--architecture", "SmallResNet(widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)"),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("two") / "net.safetensors"


@pytest.fixture(scope="module")
def printed(out):
    """The lines that the processes print."""
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    script = HERE / "reference" / "two_processes.py"
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(script), *COMMAND, "--out", str(out)], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def found(printed):
    return json.loads(printed[-1])


def test_the_gradient_of_two_processes_is_that_of_one(found):
    assert found["world"] == 2
    assert found["gradient size"] > 1e-2
    assert found["gradient difference"] < 1e-5


def test_two_processes_see_the_same_batches_as_one(found):
    assert found["loss difference"] < 1e-4
    assert found["accuracies"][0] == found["accuracies"][1]


def test_weights_and_running_statistics_stay_the_same_on_both(found):
    assert found["weights apart"] == 0
    assert found["running means apart"] == 0


def test_two_processes_go_on_to_the_same_bits(found):
    assert found["resumed the same"]


def test_the_first_process_alone_writes_and_reports(printed, out):
    assert [line.split(": ")[0] for line in printed[:-1]] == ["test accuracy", "training time", "card", "weights"]
    card = checkpoint.read_checkpoint(out)[1]
    assert card.command.startswith("torchrun --nproc-per-node=2 -m -- assay train --data")
    assert len(card.history) == 2
    assert sorted(path.name for path in out.parent.iterdir()) == ["net.json", "net.safetensors"]

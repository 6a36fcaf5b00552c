"""Tuning by two processes under torchrun; one start for all tests, since it takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found():
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    script = HERE / "reference" / "two_tunings.py"
    done = subprocess.run([*launch, str(script)], capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("way", ["batches", "small batches"])
def test_two_processes_give_the_result_of_one(found, way):
    assert found["world"] == 2
    one = found[way]
    assert one["moved"] > 0.5
    assert one["masks"] < 1e-3
    assert one["weights"] < 1e-4
    assert one["loss"] < 1e-4
    assert one["histories"] < 1e-3


@pytest.mark.parametrize("way", ["batches", "small batches"])
def test_two_processes_go_on_to_the_same_bits(found, way):
    assert found[way]["resumed"] == {"masks": 0, "weights": 0, "loss": 0}


def test_weights_and_statistics_stay_the_same_on_both_in_train_mode(found):
    assert found["train mode"] == 0

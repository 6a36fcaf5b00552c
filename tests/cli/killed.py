"""`python killed.py COUNT [RANK] ARGUMENTS`: the command line, which kills its process at the COUNT-th wait for the disk.

Under torchrun only rank 1 is killed, and only before the first restart.
"""

import os
import signal
import sys

import torch

from assay.cli import main

left = int(sys.argv.pop(1))
mine = os.environ.get("RANK", "1") == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
sync = os.fsync


def fsync(descriptor):
    global left
    left -= 1
    if left == 0 and mine:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)


os.fsync = fsync
torch.set_num_threads(1)
main()

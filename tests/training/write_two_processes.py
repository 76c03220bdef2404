"""Writes fixtures/two-processes: a checkpoint as trainings once kept them, by two processes.

``python3.11 -m torch.distributed.run --standalone --nproc-per-node 2 write_two_processes.py FOLDER``, with a Python
from 3.11.0 to 3.11.3, which writes enumerations as no other does.
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.distributed.checkpoint import FileSystemWriter, state_dict_saver
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor


def main(folder: str) -> None:
    dist.init_process_group("gloo")
    shares = distribute_tensor(torch.arange(35.0).view(7, 5), init_device_mesh("cpu", (2,)), [Shard(0)])
    state_dict_saver.save({"shares": shares, "copies": torch.arange(4)}, storage_writer=FileSystemWriter(folder))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])

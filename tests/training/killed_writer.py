"""Kills a process before everything that it asks of the file system, and looks at what it leaves.

As a script, in a process of its own: ``python killed_writer.py checkpoint FOLDER`` (or ``model``). For every moment, a
copy of the process (``fork``) writes over what is there and dies by ``kill -9`` at that moment. Prints what is found
afterwards, in a list: which steps have a checkpoint, or of which seed the model is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training.toy_run import tiny_model

from minitransformer.models.gpt2 import GPT2LMHeadModel
from minitransformer.training.checkpoints import PART, Checkpoints, load, read_state, save_model

ASKED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
"""What Python's audit events call the things that change a folder."""


def die_before(moment: int) -> None:
    """Kill this process before the file system is asked for the so many-th thing from now on."""
    asked = 0

    def count(event: str, _arguments: Any) -> None:
        nonlocal asked
        if event in ASKED:
            asked += 1
            if asked == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def survives(moment: int, act: Callable[[], Any]) -> bool:
    """Whether a copy of this process that is to die at a moment gets to the end before it comes."""
    child = os.fork()
    if child == 0:
        try:
            die_before(moment)
            act()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def checkpoint(folder: Path, moment: int) -> tuple[bool, list[int]]:
    """Write the checkpoint of step 2, which replaces that of step 1; give the steps that have one afterwards."""

    def tensors(step: int) -> dict[str, torch.Tensor]:
        return {name: torch.full((1000,), float(step)) for name in "abc"}

    kept = Checkpoints(folder)
    kept.save(1, tensors(1), {"step": 1})
    survived = survives(moment, lambda: kept.save(2, tensors(2), {"step": 2}))
    steps = []
    for path in kept.finished():
        steps.append(read_state(path)["step"])
        found = tensors(0)
        load(path, found)
        assert all(bool((tensor == steps[-1]).all()) for tensor in found.values())
    kept.clean()
    assert not list(folder.glob(f"*{PART}")) and len(kept.finished()) == len(steps)
    return survived, steps


def model(folder: Path, moment: int) -> tuple[bool, list[int]]:
    """Write a model over another one; give the seed of that which the folder holds."""
    save_model(tiny_model(seed=1), folder)
    survived = survives(moment, lambda: save_model(tiny_model(seed=2), folder))
    found = GPT2LMHeadModel.from_pretrained(folder).state_dict()
    same = [
        seed
        for seed in (1, 2)
        if all(torch.equal(found[name], tensor) for name, tensor in tiny_model(seed=seed).state_dict().items())
    ]
    return survived, same


def main() -> None:
    torch.set_num_threads(1)
    write = {"checkpoint": checkpoint, "model": model}[sys.argv[1]]
    found: list[list[int]] = []
    survived = False
    while not survived:
        survived, steps = write(Path(sys.argv[2]) / str(len(found)), len(found) + 1)
        found.append(steps)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

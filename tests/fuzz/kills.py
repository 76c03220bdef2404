"""Processes that are killed while they save: each file is the old one or the new one, and the next saving cleans up."""

from __future__ import annotations

import os
import signal
import time
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import torch

from fuzz import Broken, Case
from fuzz.folders import FOLDERS, original
from fuzz.savings import everything, forked, load
from minitransformer import AutoTokenizer


def case(draw: Random, folder: Path) -> Case:
    name = draw.choice(sorted(FOLDERS))
    tokenizer, model = AutoTokenizer.from_pretrained(original(name)), load(name)
    target, after, shard = folder / "target", draw.random() * 0.3, draw.choice((None, 10_000))
    how = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))

    def save(step: int, where: Path) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float(step % 2))
        model.save_pretrained(where, max_shard_size=shard)
        tokenizer.save_pretrained(where)

    def attempt() -> Any:
        known: dict[str, set[bytes]] = {}
        for step in (0, 1):
            save(step, folder / str(step))
            for file, content in everything(folder / str(step)).items():
                known.setdefault(file, set()).add(content)
        save(0, target)
        child = forked(lambda: [save(step, target) for step in count(1)])
        time.sleep(after)
        os.kill(child, how)
        os.waitpid(child, 0)
        for file, content in everything(target).items():
            if not file.endswith(".part") and content not in known.get(file, ()):
                raise Broken("half-written", f"{file} has {len(content or b'')} bytes")
        save(1, target)
        if everything(target) != everything(folder / "1"):
            raise Broken("left over", str(sorted(everything(target).keys() - known.keys())))

    return f"{name}, {how.name} after {after:.3f} s", attempt

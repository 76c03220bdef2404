"""A training that takes a second: GPT-2 with two tiny blocks, and sequences that count in steps of different size.

As a script it trains in a process of its own, as torchrun needs, several times one after another:
``python toy_run.py '[{"folder": "a", "options": {"steps": 12}, "kill_at": 3}]'``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import minitransformer
from minitransformer.models.gpt2 import GPT2Config, GPT2LMHeadModel
from minitransformer.training import Settings, Trainer
from minitransformer.training.distributed import process_group

VOCAB = 23


class NextToken:
    """A causal language model's objective, with the head called apart from the backbone as the real ones do."""

    def __init__(self, *, fail_at: int | None = None, kill_at: int | None = None, noise: float = 0.0) -> None:
        self.fail_at, self.kill_at, self.noise = fail_at, kill_at, noise
        self.step = 0

    def collate(self, examples, generator):
        longest = max(len(example["input_ids"]) for example in examples)
        ids = torch.zeros(len(examples), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, example in enumerate(examples):
            length = len(example["input_ids"])
            ids[i, :length] = torch.tensor(example["input_ids"])
            mask[i, :length] = 1
        changed = torch.rand(ids.shape, generator=generator) < self.noise
        return {"input_ids": torch.where(changed, 1, ids), "attention_mask": mask, "labels": ids}

    def counts(self, batch):
        return {"tokens": int(batch["attention_mask"][:, 1:].sum())}

    def loss(self, model, batch, counts):
        if model.training:
            self.step += 1
            if self.step == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.step == self.fail_at:
                raise InterruptedError("as asked")
        hidden = model.backbone(batch["input_ids"], batch["attention_mask"]).last_hidden_state[:, :-1]
        asked = batch["attention_mask"][:, 1:] == 1
        logits = model.head(hidden[asked][None])[0]
        return F.cross_entropy(logits, batch["labels"][:, 1:][asked], reduction="sum") / counts["tokens"]


def examples(number: int = 120) -> list[dict[str, Any]]:
    """Sequences of 3 to 17 tokens."""
    return [{"input_ids": [(i + j * (1 + i % 4)) % VOCAB for j in range(3 + i * 7 % 15)]} for i in range(number)]


def tiny_model(*, dropout: float = 0.0, seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    rates = {name: dropout for name in ("dropout", "embedding_dropout", "attention_dropout")}
    config = GPT2Config(vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, num_positions=32, **rates)
    return GPT2LMHeadModel.from_config(config)


def toy_trainer(folder, objective=None, *, dropout: float = 0.0, valid: bool = True, **settings: Any) -> Trainer:
    """A trainer of the toy; ``settings`` beside the few that all tests share."""
    common = {"batch_size": 8, "learning_rate": 1e-2, "log_every": 1}
    return Trainer(
        tiny_model(dropout=dropout),
        objective or NextToken(),
        examples(),
        Settings(**{**common, **settings}),
        folder,
        valid_examples=examples()[:11] if valid else None,
        device="cpu",
    )


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters by name."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def start(*command: str, runs: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Run this file with ``command`` before it."""
    return run_python(*command, __file__, json.dumps(runs))


def run_python(*words: str) -> subprocess.CompletedProcess[str]:
    """Python on its own, with the package and the tests where it finds them."""
    paths = [Path(minitransformer.__file__).parents[1], Path(__file__).parents[1]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def main() -> None:
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        for run in json.loads(sys.argv[1]):
            objective = NextToken(kill_at=run.get("kill_at"), fail_at=run.get("fail_at"), noise=0.1)
            try:
                toy_trainer(run["folder"], objective, **run["options"]).train()
            except InterruptedError:
                assert "fail_at" in run


if __name__ == "__main__":
    main()

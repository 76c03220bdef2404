"""The files of a checkpoint: weights in float16, config, and the smallest set of tokenizer files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import minitransformer.models.auto as auto
from minitransformer.errors import TrainingError
from minitransformer.models.common.base import PretrainedModel
from minitransformer.pipelines.tasks import find_class
from minitransformer.tokenization import AutoTokenizer


def write_model(source: Path, task: str, folder: Path) -> PretrainedModel:
    """Write a model in float16, and its tokenizer; returns the model.

    Raises:
        TrainingError: a weight is too large for float16.
    """
    kind = getattr(auto, find_class(task).auto_class)
    model: PretrainedModel = kind.from_pretrained(source, dtype=torch.float16)
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise TrainingError(f"{source}: {name} has weights that float16 cannot hold")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    keep_needed(folder)
    return model


def keep_needed(folder: Path) -> None:
    """Leave out tokenizer files that say what another one says."""
    (folder / "special_tokens_map.json").unlink()  # tokenizer_config.json has them
    path = folder / "tokenizer.json"
    if path.exists():
        for name in ("vocab.txt", "vocab.json", "merges.txt"):
            (folder / name).unlink(missing_ok=True)
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of ``target`` when the block ends well."""
    work = target.parent.with_name(f"{target.parent.name}.part")  # not inside: that is where checkpoints are looked for
    part, old = work / target.name, work / f"{target.name}.old"
    shutil.rmtree(work, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(part, target)
        except OSError:
            os.replace(old, target)
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)

"""Our pipelines and transformers', side by side on the same folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pipelines.checkpoints import CHECKPOINTS, draw
from pipelines.family_folders import write

import minitransformer.pipelines as ours


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a checkpoint, made when first asked for."""
    root, made = tmp_path_factory.mktemp("checkpoints"), {}

    def get(name: str) -> Path:
        if name not in made:
            model, tokenizer = CHECKPOINTS[name]()
            draw(model, seed=sum(name.encode()))
            folder = root / name
            model.double().save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[name] = folder
        return made[name]

    return get


@pytest.fixture(scope="session")
def pair(checkpoint: Callable[[str], Path]) -> Callable[..., tuple[Any, Any]]:
    """Our pipeline and transformers', on the same folder, in float64; made once for the same arguments."""
    made: dict[Any, tuple[Any, Any]] = {}

    def get(task: str, name: str, compat: str | None = None, fresh: bool = False, **options: Any) -> tuple[Any, Any]:
        key = (task, name, compat, repr(sorted(options.items())))
        if fresh or key not in made:
            folder = str(checkpoint(name))
            mine = ours.pipeline(task, folder, dtype=torch.float64, device="cpu", compat=compat, **options)
            theirs = transformers.pipeline(
                task,
                folder,
                dtype=torch.float64,
                device=-1,
                model_kwargs={"attn_implementation": "eager"},
                **options,
            )
            if fresh:
                return mine, theirs
            made[key] = (mine, theirs)
        return made[key]

    return get


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a family's model with a head, made when first asked for."""
    root, made = tmp_path_factory.mktemp("families"), {}

    def get(family: str, head: str, **changes: Any) -> Path:
        key = (family, head, repr(changes))
        if key not in made:
            made[key] = write(root / str(len(made)), family, head, **changes)
        return made[key]

    return get

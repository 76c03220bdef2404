"""The stored answers of transformers 4.57.6, given by whatever versions are installed.

Runs without the reference, so that it can be run where that cannot be installed: ``make test-newest``, ``make
test-oldest``. Loading, tokenizing, every task, saving.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from environment.write_answers import plain, tokenized
from toys import CALLS, FURTHER

import minitransformer.models.auto as auto
from minitransformer import AutoTokenizer, pipeline
from minitransformer.pipelines.tasks import find_class

pytestmark = pytest.mark.environment

HERE = Path(__file__).parent
ANSWERS: dict[str, Any] = json.loads((HERE / "answers.json").read_text(encoding="utf-8"))
PIPELINES = {f"{task} {name}": (task, name, inputs, options) for name, (task, inputs, options) in CALLS.items()}
PIPELINES |= {f"{task} {name}": (task, name, inputs, options) for task, (name, inputs, options) in FURTHER.items()}
NEAR = 1e-9  # of numbers in float64
NEAR_ROUNDED = 1e-6  # of scores that the reference rounds to float32


def near(mine: Any, theirs: Any, tolerance: float = NEAR, where: str = "answer") -> None:
    """Equal, but for rounding."""
    if isinstance(theirs, dict):
        assert list(mine) == list(theirs), where
        for key in theirs:
            near(mine[key], theirs[key], tolerance, f"{where}[{key!r}]")
    elif isinstance(theirs, list):
        assert len(mine) == len(theirs), where
        for i, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            near(one, other, tolerance, f"{where}[{i}]")
    elif isinstance(theirs, float):
        assert abs(mine - theirs) <= tolerance * max(1.0, abs(theirs)), where
    else:
        assert mine == theirs, where


def tolerance_of(task: str) -> float:
    return NEAR_ROUNDED if task in ("sentiment-analysis", "zero-shot-classification") else NEAR


def folder(name: str) -> str:
    return name if "/" in name else str(HERE / "vocabularies" / name)


@pytest.mark.parametrize("name", ANSWERS["tokenizers"])
def test_tokenizers_agree(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder(name))
    near(plain(tokenized(tokenizer, ANSWERS["texts"])), ANSWERS["tokenizers"][name])


@pytest.mark.parametrize("name", ANSWERS["tokenizers"])
def test_tokenizers_agree_when_they_were_saved(name: str, tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(folder(name)).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    near(plain(tokenized(tokenizer, ANSWERS["texts"])), ANSWERS["tokenizers"][name])


@pytest.mark.parametrize("key", PIPELINES)
def test_pipelines_agree(key: str) -> None:
    task, name, inputs, options = PIPELINES[key]
    pipe = pipeline(task, f"minitransformer/{name}", device="cpu", compat="transformers", dtype=torch.float64)
    near(plain(pipe(*inputs, **options)), ANSWERS["pipelines"][key], tolerance_of(task))


@pytest.mark.parametrize("name", CALLS)
def test_models_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    task, inputs, options = CALLS[name]
    model_class = getattr(auto, find_class(task).auto_class)
    model = model_class.from_pretrained(f"minitransformer/{name}", dtype=torch.float64)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(f"minitransformer/{name}").save_pretrained(tmp_path)
    again = model_class.from_pretrained(tmp_path, dtype=torch.float64)
    for name_, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name_], tensor), name_
    pipe = pipeline(task, str(tmp_path), device="cpu", compat="transformers", dtype=torch.float64)
    near(plain(pipe(*inputs, **options)), ANSWERS["pipelines"][f"{task} {name}"], tolerance_of(task))

"""Names that no file can have are named, wherever one is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from minitransformer import AutoConfig, AutoTokenizer, pipeline, study
from minitransformer.data import read_records
from minitransformer.errors import MinitransformerError
from minitransformer.evaluation import evaluate
from minitransformer.files import together, write_whole
from minitransformer.parity.alignment import read_map
from minitransformer.parity.traces import read_trace
from minitransformer.recipes.run import run

MODEL = "minitransformer/bert-sentiment"
NAMES = ["x" * 5000, "x" * 5000 + ".jsonl", "a\0b", "a\0b.jsonl", "x/" * 3000, "/dev/null/x"]
ROWS = [{"text": "a", "label": "POSITIVE"}]


@cache
def pipe() -> Any:
    return pipeline("text-classification", model=MODEL)


CALLS: dict[str, Callable[[str], Any]] = {
    "a model": lambda name: pipeline("text-classification", model=name),
    "a tokenizer": AutoTokenizer.from_pretrained,
    "a tokenizer of a pipeline": lambda name: pipeline("text-classification", model=MODEL, tokenizer=name),
    "a config": AutoConfig.from_pretrained,
    "data": read_records,
    "lines": lambda name: read_records(name, format="lines"),
    "predictions": lambda name: evaluate("text-classification", predictions=name, data=ROWS),
    "an output": lambda name: evaluate("text-classification", predictions=ROWS, data=ROWS, output=name),
    "a recipe": lambda name: run(Path(name), Path(), Path("out")),
    "a trace": read_trace,
    "a map": read_map,
    "a lens": lambda name: study.TunedLens(pipe().model).load(name),
    "a result": study.Result.load,
    "to save a result": lambda name: study.Result(torch.zeros(2), ("a",)).save(name),
    "to save a pipeline": lambda name: pipe().save_pretrained(name),
    "to save a model": lambda name: pipe().model.save_pretrained(name),
    "to save a tokenizer": lambda name: pipe().tokenizer.save_pretrained(name),
    "to write a file": lambda name: write_whole(name + "/x" if name.startswith("x/") else name, ""),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_name_that_no_file_can_have(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in NAMES:
        with pytest.raises(MinitransformerError):
            CALLS[what](name)
    assert list(tmp_path.iterdir()) == []


def test_half_a_character_in_a_name(tmp_path: Path) -> None:
    with pytest.raises(MinitransformerError, match="cannot be written"), together(tmp_path):
        write_whole(tmp_path / "\ud800", "")
    assert list(tmp_path.iterdir()) == []

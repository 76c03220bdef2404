"""The models that stand in when none is named: those of transformers 4.57, from the same cache."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers.pipelines
from hub_server import FakeHub, Repository
from pipelines.checkpoints import same

import minitransformer
import minitransformer.pipelines as ours
from minitransformer.errors import PipelineError
from minitransformer.pipelines.tasks import TASKS, default_model, find_class

ROOT = Path(minitransformer.__file__).parents[1]
TINY = {
    "feature-extraction": "bert",
    "fill-mask": "bert-mlm",
    "question-answering": "bert-qa",
    "summarization": "bart",
    "text-classification": "bert-cls",
    "text-generation": "gpt2",
    "text2text-generation": "bart",
    "token-classification": "bert-ner",
    "translation_en_to_fr": "bart",
    "zero-shot-classification": "bart-nli",
}
"""Task -> a tiny checkpoint that stands for its default."""
CALLS: dict[str, dict[str, Any]] = {
    "question-answering": {"question": "Who is asleep?", "context": "The fox jumped over the lazy dog."},
    "fill-mask": {"inputs": "The [MASK] fox."},
    "zero-shot-classification": {"sequences": "The little brown fox.", "candidate_labels": ["dogs", "sea"]},
    "text-generation": {"text_inputs": "The fox", "do_sample": False, "max_new_tokens": 5},
    **{task: {"inputs": "The fox jumped.", "max_new_tokens": 5} for task in TINY if TINY[task] == "bart"},
}
ASK = """
import importlib, json, sys
library = importlib.import_module(sys.argv[1])
for task, arguments in json.loads(sys.argv[2]).items():
    pipe = library.pipeline(task, device="cpu")
    names = ("inputs", "text_inputs", "sequences", "args")
    texts = [arguments.pop(name) for name in names if name in arguments]
    print("ANSWER", json.dumps(pipe(*texts, **arguments)), flush=True)
"""


def ask(library: str, hub: FakeHub, home: Path, **environment: str) -> list[Any]:
    """What a library answers with its default models, in a process and a cache of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    calls = {task: CALLS.get(task, {"inputs": "The little brown fox jumped."}) for task in TINY}
    command = [sys.executable, "-c", ASK, library, json.dumps(calls)]
    done = subprocess.run(command, cwd=ROOT, env=clean | settings | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("ANSWER ")) for line in done.stdout.splitlines() if line.startswith("ANSWER")]


@pytest.mark.parametrize("task", TINY)
def test_the_default_is_that_of_transformers(task: str) -> None:
    name = "translation" if task.startswith("translation") else task
    defaults = transformers.pipelines.SUPPORTED_TASKS[name]["default"]
    expected = (defaults[("en", "fr")] if name == "translation" else defaults)["model"]["pt"]
    assert default_model(task, find_class(task), None) == expected
    assert default_model(task, find_class(task), "v2") == (expected[0], "v2")


def test_every_task_has_a_default_with_its_revision() -> None:
    for task in TASKS:
        assert find_class(task).default_model.count("/") == 1 and find_class(task).default_revision


def test_a_cache_that_transformers_filled_serves_offline(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    repositories: dict[str, Repository] = {}
    for task, name in TINY.items():
        model, revision = default_model(task, find_class(task), None)
        files = {path.name: path.read_bytes() for path in checkpoint(name).iterdir()}
        repositories[model] = Repository({str(revision): files, "main": {"config.json": b"{}"}})
    with FakeHub(repositories).serve() as hub:
        theirs = ask("transformers", hub, tmp_path)
        hub.down = True
        mine = ask("minitransformer", hub, tmp_path, HF_HUB_OFFLINE="1")
    assert len(mine) == len(theirs) == len(TINY)
    for task, one, other in zip(TINY, mine, theirs, strict=True):
        if task != "feature-extraction":  # in float32, which rounds
            same(_rounded(one), _rounded(other), task)


def _rounded(answer: Any) -> Any:
    """4.57 loads in the type that config.json names, float64 here."""
    if isinstance(answer, dict):
        return {name: _rounded(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [_rounded(value) for value in answer]
    return round(answer, 3) if isinstance(answer, float) else answer


def test_the_message_tells_model_and_revision(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Any] = []

    def refuse(*arguments: Any, **named: Any) -> Any:
        asked.append((arguments, named))
        raise PipelineError("enough")

    monkeypatch.setattr("minitransformer.pipelines.tasks.load_model", refuse)
    for revision in (None, "my-branch"):
        caplog.clear()
        with caplog.at_level(logging.WARNING), pytest.raises(PipelineError, match="enough"):
            ours.pipeline("sentiment-analysis", revision=revision)
        wanted = revision or "714eb0f"
        assert f"distilbert-base-uncased-finetuned-sst-2-english at revision {wanted}" in caplog.text
        assert wanted in repr(asked[-1])

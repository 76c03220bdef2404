"""Answers fit the JSON schemas that @huggingface/tasks has for each task, each part that its clients take of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from serve.conftest import TOYS, Live
from serve.tools import NODE_FOLDER, node_modules


def test_answers_fit_the_schemas(live: Live) -> None:
    root = node_modules() / "@huggingface" / "tasks" / "src" / "tasks"
    if shutil.which("node") is None or not root.is_dir():
        pytest.skip("@huggingface/tasks is not there: make clients")

    def ask(model: str, inputs: Any, **more: Any) -> Any:
        return live.ask(f"/models/{TOYS}{model}", inputs=inputs, **more)

    labels = {"parameters": {"candidate_labels": ["music", "sleeping"]}}
    question = {"question": "Who founded it?", "context": "It was founded by King Henry."}
    writing = {
        "do_sample": False,
        "max_new_tokens": 6,
        "details": True,
        "decoder_input_details": True,
        "top_n_tokens": 2,
    }
    cases: list[list[Any]] = [
        ["fill-mask", ask("bert-books", "She opened the [MASK].")],
        ["text-classification", ask("bert-sentiment", "I love it.")[0]],
        ["token-classification", ask("bert-ner", "Sarah Miller lives in London.")],
        ["token-classification", ask("bert-ner", "Sarah.", parameters={"aggregation_strategy": "none"})],
        ["question-answering", ask("bert-qa", question, parameters={"top_k": 2})],
        ["question-answering", [ask("bert-qa", question)]],
        ["zero-shot-classification", ask("bert-nli", "Two men play guitars.", **labels)],
        ["summarization", ask("bart-tldr", "Neural networks need labels.")[0]],
        ["translation", ask("marian-fr-en", "Elle veut partir demain.")[0]],
        ["feature-extraction", ask("bert-books/pipeline/feature-extraction", "The cat.")[0]],
        [
            "sentence-similarity",
            ask("bert-books/pipeline/sentence-similarity", {"source_sentence": "a cat", "sentences": ["a dog"]}),
        ],
        ["text-generation", ask("gpt2-stories", "It was", parameters=writing)],
        ["text-generation", ask("gpt2-stories", "It was", parameters={"max_new_tokens": 4})[0]],
    ]
    events = live.events(f"/models/{TOYS}gpt2-stories", inputs="It was", stream=True, parameters=writing)
    cases += [["text-generation", event, "stream_output.json"] for event in events]
    done = subprocess.run(
        ["node", str(NODE_FOLDER / "schemas.mjs")],
        input=json.dumps({"cases": cases, "root": str(root)}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []

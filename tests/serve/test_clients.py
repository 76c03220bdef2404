"""The official clients, of today and of before, get from this server what the pipelines say."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from serve.conftest import Live, pipe, same
from serve.hub_client import CALLS, PROMPT
from serve.tools import ROOT, newest_hub, node_modules, run_json

SCRIPT = str(Path(__file__).parent / "hub_client.py")


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What the pipelines say to the same calls."""

    def call(name: str, model: str, task: str = "", **more: Any) -> Any:
        _, _, args, options = CALLS[name]
        generate = options.get("generate_parameters", {})
        options = {name: value for name, value in options.items() if name != "generate_parameters"}
        return pipe(task or name, model)(*args, **{**options, **generate, **more})

    zero = call("zero-shot-classification", "bert-nli")
    vectors = torch.tensor(pipe("feature-extraction", "bert-books")("The cat sleeps."))
    texts = ["The cat sleeps.", "A cat is asleep.", "War and peace."]
    means = [torch.tensor(pipe("feature-extraction", "bert-books")(text)[0]).mean(dim=0) for text in texts]
    text = pipe("text-generation", "gpt2-stories")(PROMPT, do_sample=False, max_new_tokens=12)[0]["generated_text"]
    return {
        "fill-mask": call("fill-mask", "bert-books"),
        "text-classification": call("text-classification", "bert-sentiment", top_k=None),
        "token-classification": call("token-classification", "bert-ner"),
        "question-answering": call("question-answering", "bert-qa"),
        "zero-shot-classification": [
            {"label": label, "score": score} for label, score in zip(zero["labels"], zero["scores"], strict=True)
        ],
        "summarization": call("summarization", "bart-tldr")[0],
        "translation": call("translation", "marian-fr-en")[0],
        "text-generation": text,
        "feature-extraction": torch.nn.functional.normalize(vectors, dim=-1).tolist(),
        "sentence-similarity": [float(torch.cosine_similarity(means[0], mean, dim=0)) for mean in means[1:]],
        "new text": text[len(PROMPT) :],
    }


TASKS = [
    "fill-mask", "text-classification", "token-classification", "question-answering", "zero-shot-classification",
    "summarization", "translation", "text-generation", "feature-extraction", "sentence-similarity",
]  # fmt: skip


def check(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for task in TASKS:
        assert same(found[task], expected[task]), task
    assert "".join(found["stream"]) == expected["new text"]
    assert len(found["stream"]) == 12
    events = found["stream with details"]
    assert "".join(event["token"]["text"] for event in events) == expected["new text"] == events[-1]["generated_text"]
    assert events[-1]["details"]["finish_reason"] == "length"
    assert events[-1]["details"]["generated_tokens"] == 12
    for name in ("error: no mask", "error: unknown model", "error: out of range"):
        assert "raised" in found[name], name
        assert "/work" not in found[name]["text"]
    assert "mask" in found["error: no mask"]["text"].lower() or "400" in found["error: no mask"]["text"]


@pytest.mark.parametrize("which", ["pinned", "newest"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_huggingface_hub(live: Live, expected: dict[str, Any], which: str, mode: str) -> None:
    python = sys.executable if which == "pinned" else newest_hub()
    if which == "pinned" and mode == "async" and importlib.util.find_spec("aiohttp") is None:
        python = _with_aiohttp() or pytest.skip(
            "the asynchronous client of huggingface_hub 0.36 wants aiohttp: make clients"
        )
    found = run_json(python, SCRIPT, live.url, mode)
    assert found["version"] == "0.36.2" if which == "pinned" else found["version"] >= "1.2"
    answers = found["answers"]
    check(answers, expected)
    details = answers["details"]
    assert details["generated_text"] == expected["new text"]
    assert details["details"]["generated_tokens"] == len(details["details"]["tokens"]) == 12
    assert all(len(tops) == 2 for tops in details["details"]["top_tokens"])
    assert details["details"]["tokens"][0]["id"] == details["details"]["top_tokens"][0][0]["id"], "greedy"
    assert [token["text"] for token in details["details"]["prefill"]][:2] == ["The", " old"]
    assert answers["stop"]["details"]["finish_reason"] in ("stop_sequence", "length")
    assert answers["error: watermark"]["raised"] == "ValidationError"
    assert answers["error: out of range"]["raised"] == "ValidationError"
    assert answers["error: too long"]["raised"] == "ValidationError"
    assert answers["health"] is True
    assert answers["info"]["model_id"] == "minitransformer/gpt2-stories"


def _with_aiohttp() -> str | None:
    """Another interpreter that has both huggingface_hub 0.36 and aiohttp."""
    found = os.environ.get("OLD_HUB_PYTHON") or str(ROOT / ".venv-hub-0.36" / "bin" / "python")
    if not Path(found).is_file():
        return None
    asked = subprocess.run([found, "-c", "import aiohttp, huggingface_hub"], capture_output=True)
    return found if asked.returncode == 0 else None


def test_huggingface_js(live: Live, expected: dict[str, Any]) -> None:
    modules = node_modules()
    found = run_json("node", "clients.mjs", live.url, cwd=modules.parent)["answers"]
    wanted = {**expected, "text-generation": {"generated_text": expected["text-generation"]}}
    check(found, wanted)
    assert "no mask token" in found["error: no mask"]["text"]
    assert "Did you mean 'minitransformer/bert-books'?" in found["error: unknown model"]["text"]

"""What a pipeline gives out may be learnt from: its tensors are no prisoners of inference mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from minitransformer import trace

TEXT = "The little [MASK] fox."
TASKS = {
    "feature-extraction": ("bert", {}),
    "fill-mask": ("bert-mlm", {}),
    "text-classification": ("bert-cls", {}),
    "text-generation": ("gpt2", {"max_new_tokens": 3, "do_sample": False}),
    "text2text-generation": ("bart", {"max_new_tokens": 3, "num_beams": 2}),
    "token-classification": ("bert-ner", {}),
    "zero-shot-classification": ("bert-nli", {"candidate_labels": ["a", "b"]}),
}


@pytest.mark.parametrize("task", TASKS)
def test_what_a_trace_records_can_be_learnt_from(pair: Any, task: str) -> None:
    name, options = TASKS[task]
    mine, _ = pair(task, name)
    with trace(mine.model, "**") as t:
        mine(TEXT, **options)
    recorded = [tensor for name in t for tensor in t.calls(name) if tensor.is_floating_point()]
    assert recorded
    for tensor in recorded:
        assert not tensor.is_inference()
        weight = torch.ones(tensor.shape[-1], dtype=tensor.dtype, requires_grad=True)
        (tensor * weight).sum().backward()
        assert weight.grad is not None


def test_a_probe_learns_from_features(pair: Any) -> None:
    mine, _ = pair("feature-extraction", "bert")
    features = mine(TEXT, return_tensors=True)
    probe = torch.nn.Linear(features.shape[-1], 2, dtype=features.dtype)
    probe(features).sum().backward()
    assert probe.weight.grad is not None and not features.requires_grad
    features[:, 0] = 0.0  # and it may be written to


def test_generated_ids_can_be_scored_with_gradients(pair: Any) -> None:
    mine, _ = pair("text-generation", "gpt2")
    answers = mine("The fox", return_tensors=True, max_new_tokens=3, do_sample=False)
    ids = torch.as_tensor(answers[0]["generated_token_ids"])
    with torch.enable_grad():
        loss = mine.model(ids[None], labels=ids[None]).loss
    loss.backward()
    assert all(p.grad is not None for p in mine.model.parameters())
    mine.model.zero_grad()

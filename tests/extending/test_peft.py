"""PEFT works on our models: its injection into them, and its wrappers for tasks, which train, save and load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_folders
import torch

from minitransformer import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from minitransformer.errors import RegistrationError

peft = pytest.importorskip("peft", reason="peft is not installed")

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
TASKS: dict[str, tuple[Any, Any, str, torch.Tensor]] = {
    "SEQ_CLS": (
        tiny_folders.bert,
        AutoModelForSequenceClassification,
        "ForSequenceClassification",
        torch.tensor([0, 1]),
    ),
    "CAUSAL_LM": (tiny_folders.gpt2, AutoModelForCausalLM, "ForCausalLM", IDS),
}


def adapter(**options: Any) -> Any:
    return peft.LoraConfig(r=2, target_modules=["query", "value"], lora_dropout=0.0, **options)


def test_injection_trains_only_what_was_injected(tmp_path):
    model = AutoModel.from_pretrained(tiny_folders.bert(tmp_path / "bert", "Model"))
    before = model(IDS).last_hidden_state
    injected = peft.inject_adapter_in_model(adapter(), model)
    assert injected is model and torch.equal(model(IDS).last_hidden_state, before)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    model(IDS).last_hidden_state.pow(2).sum().backward()
    assert all(model.get_parameter(name).grad is not None for name in trained)
    with pytest.raises(RegistrationError, match="attn.query"):  # which our files could not say
        model.save_pretrained(tmp_path / "saved")


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_trained_saved_loaded_and_merged(task: str, tmp_path: Path) -> None:
    build, auto, head, labels = TASKS[task]
    folder = build(tmp_path / "base", head)
    model = peft.get_peft_model(auto.from_pretrained(folder), adapter(task_type=task))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for _ in range(4):
        losses.append(model(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=labels).loss)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    model.eval()
    wanted = model(input_ids=IDS).logits
    model.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(auto.from_pretrained(folder), tmp_path / "adapter")
    assert torch.equal(again(input_ids=IDS).logits, wanted)
    if task == "CAUSAL_LM":
        ids = model.generate(input_ids=IDS, max_new_tokens=4, do_sample=False)
        assert torch.equal(again.generate(input_ids=IDS, max_new_tokens=4, do_sample=False), ids)
    merged = again.merge_and_unload()
    torch.testing.assert_close(merged(IDS).logits, wanted)
    merged.save_pretrained(tmp_path / "merged")  # a plain model again
    assert torch.equal(auto.from_pretrained(tmp_path / "merged")(IDS).logits, merged(IDS).logits)

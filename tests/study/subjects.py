"""What is studied: small models of all architectures, every parameter drawn anew, in float64."""

from __future__ import annotations

from typing import Any

import torch
from models.twins import TWINS
from models.twins.twin import Twin, inputs_for

from minitransformer.models.auto import ARCHITECTURES, architecture
from minitransformer.testing import redraw

WITH_HEADS = [twin for twin in TWINS if twin.head not in ("", "ForTextEncoding")]
ONE_OF_EACH = [
    next(twin for twin in TWINS if twin.name == name)
    for name in (
        *("BertForMaskedLM", "DistilBertForMaskedLM", "RobertaForMaskedLM", "AlbertForMaskedLM", "ElectraForMaskedLM"),
        *("OpenAIGPTLMHeadModel", "GPT2LMHeadModel", "CTRLLMHeadModel", "TransfoXLLMHeadModel"),
        *("BartForConditionalGeneration", "MBartForConditionalGeneration", "MarianMTModel"),
        *("T5ForConditionalGeneration", "FSMTForConditionalGeneration"),
    )
]


_made: dict[str, Any] = {}


def subject(twin: Twin) -> Any:
    """Ours of a twin, in evaluation mode; made once."""
    if str(twin) not in _made:
        _made[str(twin)] = _make(twin)
    return _made[str(twin)]


def _make(twin: Twin) -> Any:
    kind = next(
        model
        for model_type in ARCHITECTURES
        for model in architecture(model_type).heads.values()
        if model.__name__ == twin.name
    )
    model = kind(kind.CONFIG.from_hf({"model_type": kind.CONFIG.model_type, **twin.config}))
    redraw(model.double(), seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("head.output.bias") and not parameter.requires_grad:  # final_logits_bias
                parameter.normal_(generator=torch.Generator().manual_seed(2))
    return model.eval()


def inputs_of(twin: Twin, lengths: list[int], side: str = "right") -> dict[str, torch.Tensor]:
    """Inputs of these lengths, padded on a side; with a target where there are two stacks."""
    return inputs_for(twin, lengths, side)[0]


def changed(inputs: dict[str, torch.Tensor], seed: int = 7) -> dict[str, torch.Tensor]:
    """The same inputs with other words at the same places."""
    generator = torch.Generator().manual_seed(seed)
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask", torch.ones_like(ids))
    other = torch.randint(4, 59, ids.shape, generator=generator)
    return {**inputs, "input_ids": torch.where(mask.bool(), other, ids)}


def twin_named(name: str) -> Twin:
    return next(twin for twin in TWINS if str(twin) == name)

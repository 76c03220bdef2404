"""What a twin is, and the inputs that twins are compared on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

VOCAB_SIZE = 60
TAGS = {i: label for i, label in enumerate(["O", "B-PER", "I-PER", "B-LOC"])}
RELATIVES = ("Mistral", "Qwen2", "Qwen3", "MT5", "UMT5")
"""Names of families that are Llama or T5 but for a detail, which their language models show."""
LABELS = {"": {"id2label": TAGS}, "regression": {"num_labels": 1}}
"""Variants of a classification head."""


@dataclass(frozen=True)
class Twin:
    """One model class of the reference, and how to make a small one."""

    name: str
    """Its class in transformers."""
    head: str
    """Its auto class here, less "AutoModel": "ForMaskedLM", or "" for the base model."""
    kind: str
    """"encoder", "decoder" (positions follow the mask), "recurrent" (a decoder with ``mems``), or "encoder-decoder"."""
    config: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    token_types: int = 0
    """How many token types there are; 0 if the model takes none."""
    labels: tuple[str, ...] = ()
    """What its loss compares with, where the head does not say: "words", "order" or "next" of texts, "replaced"."""
    target: bool = False
    """Whether the model without a head needs decoder inputs: it makes none from the source."""
    atol: float = 1e-10
    """Looser only where the reference itself computes in float32; say why where it is set."""

    def __str__(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name

    @property
    def auto(self) -> str:
        return f"AutoModel{self.head}"

    @property
    def pad(self) -> int:
        return self.config.get("pad_token_id", 0)

    @property
    def decodes(self) -> bool:
        """Whether it takes a cache."""
        return self.kind in ("decoder", "encoder-decoder") and self.head in ("", "ForCausalLM", "ForSeq2SeqLM")

    @property
    def repeats(self) -> bool:
        """Whether another family's twin of the same head runs the same code."""
        return self.name.startswith(RELATIVES) and self.head not in ("ForCausalLM", "ForSeq2SeqLM")

    @property
    def has_head(self) -> bool:
        return self.head not in ("", "ForTextEncoding")

    @property
    def needs_target(self) -> bool:
        """Whether an encoder-decoder makes no decoder inputs from the source."""
        return self.kind == "encoder-decoder" and (self.head == "ForSeq2SeqLM" or self.target)

    @property
    def num_labels(self) -> int:
        return len(self.config.get("id2label", ())) or self.config.get("num_labels", 2)


def only(applies: Callable[[Twin], bool]) -> pytest.MarkDecorator:
    """For a test of all twins: those that it is about. The others are not collected (conftest.py)."""
    return pytest.mark.twins.with_args(applies)


def twins(
    name: str,
    head: str,
    kind: str,
    config: dict[str, Any],
    variants: dict[str, dict[str, Any]] | None = None,
    **more: Any,
) -> list[Twin]:
    """Twins of one class: one for each variant of the config, by default only the config itself."""
    return [Twin(name, head, kind, {**config, **extra}, v, **more) for v, extra in (variants or {"": {}}).items()]


def random_ids(batch: int, length: int, *, vocab_size: int = VOCAB_SIZE, seed: int = 0, first: int = 4) -> torch.Tensor:
    """Ids that are no special tokens."""
    return torch.randint(first, vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


def padded(lengths: list[int], side: str, pad: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of texts of these lengths, padded on one side, and its attention mask."""
    longest = max(lengths)
    ids = random_ids(len(lengths), longest, seed=seed)
    place = torch.arange(longest)[None]
    counts = torch.tensor(lengths)[:, None]
    mask = place < counts if side == "right" else place >= longest - counts
    return ids.masked_fill(~mask, pad), mask.long()


def inputs_for(twin: Twin, lengths: list[int], side: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Inputs for both models, and the mask of the tokens that are worth comparing."""
    ids, mask = padded(lengths, side, twin.pad)
    if twin.kind == "recurrent":  # the reference knows no mask: what it does with padding is done to all tokens
        return {"input_ids": ids}, torch.ones_like(mask)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if twin.token_types:
        inputs["token_type_ids"] = random_ids(*ids.shape, vocab_size=twin.token_types, seed=1, first=0)
    if twin.kind == "decoder" and side == "left":  # the reference's bare forward counts padding, its generate does not
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if twin.kind == "encoder-decoder":
        if twin.head == "ForSequenceClassification":
            end = (mask.cumsum(-1) == mask.sum(-1, keepdim=True)) & mask.bool()
            inputs["input_ids"] = ids.masked_fill(end, twin.config["eos_token_id"])
            if side == "left":  # from such a source, the reference's mBART makes a target with a wrong beginning
                inputs["decoder_input_ids"] = random_ids(*ids.shape, seed=2)
        elif twin.head == "ForSeq2SeqLM" or twin.target or side == "left":
            inputs["decoder_input_ids"] = random_ids(len(lengths), 5, seed=2)
    return inputs, mask


def labels_for(twin: Twin, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Labels for the twin's task; some of them are -100."""
    batch, length = inputs["input_ids"].shape
    if twin.head == "ForQuestionAnswering":
        return {"start_positions": torch.arange(batch), "end_positions": torch.tensor([2, length + 3, 1])[:batch]}
    if twin.head in ("ForSequenceClassification", "ForNextSentencePrediction"):
        if twin.num_labels == 1:
            return {"labels": torch.randn(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(3))}
        return {"labels": torch.arange(batch) % twin.num_labels}
    if "replaced" in twin.labels:
        return {"labels": random_ids(batch, length, vocab_size=2, seed=4, first=0)}
    labels = random_ids(batch, length, seed=5)
    if twin.head == "ForTokenClassification":
        labels = labels % twin.num_labels
    if twin.kind == "encoder-decoder":  # as a collator pads them
        labels[0, -2:] = -100
    else:
        labels[0, :2] = -100
    if twin.kind == "decoder":  # what is predicted at padding is nobody's business
        labels = labels.masked_fill(inputs["attention_mask"] == 0, -100)
    names = {"order": "sentence_order_label", "next": "next_sentence_label"}
    order = {names[kind]: torch.arange(batch) % 2 for kind in twin.labels if kind in names}
    return {"labels": labels, **order}

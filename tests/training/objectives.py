"""Tiny models and tokenizers for each objective, and batches to compare on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny_folders
import torch

import minitransformer
from minitransformer import AutoConfig, AutoTokenizer
from minitransformer.data import Record, as_records
from minitransformer.training.objectives import OBJECTIVES, Objective

SENTENCES = [sentence.strip() for sentence in tiny_folders.TEXT.replace("\n", " ").replace("?", ".").split(".")]
SENTENCES = [sentence + " ." for sentence in SENTENCES if sentence]
RECORDS = {
    "text": [{"text": " ".join(SENTENCES[i:] + SENTENCES[:i])} for i in range(len(SENTENCES))],
    "pairs": [{"source": a, "target": b} for a, b in zip(SENTENCES, SENTENCES[1:] + SENTENCES[:1], strict=True)],
    "labels": [{"text": text, "label": str(i % 2)} for i, text in enumerate(SENTENCES)],
    "words": [{"words": text.split(), "labels": ["O", "B"] * (len(text.split()) // 2)} for text in SENTENCES],
    "questions": [
        {
            "id": str(i),
            "question": "who sleeps ?",
            "context": " ".join([*SENTENCES[:i], "the cat sleeps", *SENTENCES[i:]]),
            "answers": [{"text": "the cat", "answer_start": len(" ".join(SENTENCES[:i])) + (i > 0)}],
        }
        for i in range(3)
    ],
}
for record in RECORDS["words"]:
    record["words"] = record["words"][: len(record["labels"])]

WIDTHS = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
SIDES = {
    f"{s}_{k}": v for s in ("encoder", "decoder") for k, v in {"layers": 1, "attention_heads": 2, "ffn_dim": 20}.items()
}
IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": WIDTHS,
    "distilbert": {"dim": 12, "n_layers": 2, "n_heads": 2, "hidden_dim": 20},
    "electra": {**WIDTHS, "embedding_size": 8},
    "gpt2": {"n_embd": 12, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0},
    "transfo-xl": {
        "d_model": 12, "d_embed": 12, "d_inner": 20, "n_head": 2, "d_head": 6, "n_layer": 2, "mem_len": 4,
        "same_length": False, "cutoffs": [20, 60], "div_val": 1, "pad_token_id": None, "eos_token_id": 0,
    },
    "bart": {"d_model": 12, **SIDES, **IDS},
    "marian": {"d_model": 12, **SIDES, **IDS, "decoder_start_token_id": 1},
    "mbart": {"d_model": 12, **SIDES, **IDS},
    "t5": {"d_model": 12, "d_kv": 6, "num_heads": 2, "num_layers": 1, "d_ff": 20, **IDS, "decoder_start_token_id": 1},
}  # fmt: skip
WORDPIECE, GPT = ("bert", "distilbert", "electra"), ("gpt2", "transfo-xl")
SENTINELS = [f"<extra_id_{i}>" for i in range(20)]


def make_tokenizer(folder: Path, architecture: str) -> Any:
    """WordPiece, or bytes with the special tokens of GPT-2 or BART; then also with sentinels."""
    kind = "bert" if architecture in WORDPIECE else "gpt2" if architecture in GPT else "bart"
    path = folder / kind
    if not path.exists():
        getattr(tiny_folders, kind)(path)
        if kind == "bart":
            settings = {"tokenizer_class": "BartTokenizer", "additional_special_tokens": SENTINELS}
            (path / "tokenizer_config.json").write_text(json.dumps({**settings, "add_prefix_space": True}))
    return AutoTokenizer.from_pretrained(path)


def make_config(architecture: str, tokenizer: Any, **changes: Any) -> Any:
    """Of a model without dropout."""
    config = AutoConfig.from_dict({"model_type": architecture, "vocab_size": len(tokenizer), **CONFIGS[architecture]})
    fields = {f for f in config.__dataclass_fields__ if "dropout" in f}
    return config.replace(**{f: 0.0 for f in fields}, **changes)


def make_objective(name: str, architecture: str, folder: Path, *, config: Any = None, **options: Any) -> Objective:
    tokenizer = make_tokenizer(folder, architecture)
    config = make_config(architecture, tokenizer, **(config or {}))
    return OBJECTIVES[name](tokenizer, config, **options)


def make_model(objective: Objective, seed: int = 0) -> Any:
    """Random weights everywhere, in float64."""
    torch.manual_seed(seed)
    model = getattr(minitransformer, f"AutoModelFor{objective.HEAD}").from_config(objective.config).double()
    model = objective.build(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise * (0.3 if parameter.dim() > 1 else 0.1))
    return model.train()


def records(kind: str) -> list[Record]:
    return as_records(RECORDS[kind], name="test data")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def near(count: int, total: int, share: float) -> bool:
    """Within four standard deviations of what chance gives."""
    return abs(count / total - share) < 4 * (share * (1 - share) / total) ** 0.5

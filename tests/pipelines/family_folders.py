"""Tiny checkpoints of the families, as transformers writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from models.twins import (
    albert,
    ctrl,
    distilbert,
    electra,
    gpt,
    m2m100,
    marian,
    mbart,
    pegasus,
    roberta,
    t5,
    transformer,
)
from pipelines.checkpoints import draw
from tokenization import vocabularies as make

MORE = {"max_position_embeddings": 64}

Builder = Callable[[Path], Path]
FAMILIES: dict[str, tuple[Builder, str, dict[str, Any]]] = {
    "roberta": (make.roberta, "Roberta", {**roberta.CONFIG, **MORE, "bos_token_id": 0, "eos_token_id": 2}),
    "distilbert": (lambda path: make.wordpiece(path, "distilbert"), "DistilBert", {**distilbert.CONFIG, **MORE}),
    "electra": (lambda path: make.wordpiece(path, "electra"), "Electra", {**electra.CONFIG, **MORE}),
    "albert": (make.albert, "Albert", {**albert.CONFIG, **MORE}),
    "gpt": (make.gpt, "OpenAIGPT", {**gpt.CONFIG, "n_positions": 64}),
    "ctrl": (make.ctrl, "CTRL", {**ctrl.CONFIG, "n_positions": 64}),
    "t5": (make.t5, "T5", t5.CONFIG),
    "marian": (make.marian, "Marian", {**marian.CONFIG, **MORE}),
    "mbart": (make.mbart, "MBart", {**mbart.CONFIG, **MORE, "decoder_start_token_id": 2}),
    "mbart-50": (
        lambda path: make.mbart(path, tokenizer_class="MBart50Tokenizer"),
        "MBart",
        {**mbart.CONFIG, **MORE, "decoder_start_token_id": 2},
    ),
    "m2m100": (make.m2m100, "M2M100", {**m2m100.CONFIG, **MORE}),
    "nllb": (lambda path: make.nllb(path, "bpe"), "M2M100", {**m2m100.CONFIG, **MORE}),
    "pegasus": (make.pegasus, "Pegasus", {**pegasus.CONFIG, **MORE}),
    "fsmt": (make.fsmt, "FSMT", {**transformer.CONFIG, **MORE, "use_cache": True}),
}


def sizes(family: str, folder: Path) -> dict[str, Any]:
    """What the tokenizer says of the model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if family == "fsmt":
        return {"src_vocab_size": tokenizer.src_vocab_size, "tgt_vocab_size": tokenizer.tgt_vocab_size}
    size = {"vocab_size": len(tokenizer)}
    if family == "marian":  # the padding token, which is the last, is never chosen
        pad = tokenizer.pad_token_id
        size |= {"pad_token_id": pad, "decoder_start_token_id": pad, "bad_words_ids": [[pad]]}
    return size


def write(path: Path, family: str, head: str, **changes: Any) -> Path:
    """A family's model with a head, and its tokenizer."""
    build, name, config = FAMILIES[family]
    path = build(path)
    kind = getattr(transformers, f"{name}{head}")
    model = kind(kind.config_class(**{**config, **sizes(family, path), **changes}))
    draw(model, seed=sum(f"{family}{head}".encode()))
    if family == "electra":
        model.tie_weights()
    model.double().save_pretrained(path)
    return path

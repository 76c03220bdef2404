"""Checkpoints with spoilt files: config, weights in every form, tokenizers of every family."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import torch

from fuzz import Broken, Case
from fuzz.folders import FOLDERS, FORMS, TOYS, copy
from fuzz.mutators import mutilate
from minitransformer import AutoConfig, AutoTokenizer, MinitransformerError
from minitransformer.models import auto

TEXTS = ["The little rabbit said: 3,000 times!", "a"]


def case(draw: Random, folder: Path) -> Case:
    name = draw.choice([*FOLDERS, *FOLDERS, *TOYS])
    copy(name, draw.choice((*FORMS, "safetensors")), folder, tokenizer_json=draw.random() < 0.5)
    files = sorted(path for path in folder.iterdir() if path.name not in ("README.md", "evaluation.json"))
    contents = [path.read_bytes() for path in files]
    told = [name]
    for path in draw.sample(files, draw.choice((1, 1, 1, 2))):
        told.append(f"{path.name}: {mutilate(draw, path, contents)}")
    return ", ".join(told), lambda: use(folder)


def use(folder: Path) -> Any:
    """Read all that there is, and answer something; what is refused is told at the end."""
    refused: list[MinitransformerError] = []
    tokenizer = model = None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(TEXTS)["input_ids"]
        tokenizer.decode(ids[0])
        tokenizer.batch_decode(ids, skip_special_tokens=True)
        tokenizer(TEXTS, text_pair=TEXTS, truncation=True, max_length=12)
        repr(tokenizer)
    except MinitransformerError as error:
        refused.append(error)
    try:
        config = AutoConfig.from_pretrained(folder)
        heads = auto.architecture(config.model_type).heads
        wanted = [head for head in heads if any(name.endswith(head) for name in config.architectures)] or ["Model"]
        model = heads[wanted[0]].from_pretrained(folder)
        compute(model)
    except MinitransformerError as error:
        refused.append(error)
    for error in refused:
        if len(str(error)) > 5000:
            raise Broken("endless message", f"{len(str(error))} letters: {str(error)[:200]}")
    if tokenizer is not None and model is not None and hasattr(model, "generate"):
        try:
            model.generate(**tokenizer(TEXTS[:1], return_tensors="pt"), max_new_tokens=3)
        except MinitransformerError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    return model


def compute(model: Any) -> None:
    """A forward pass over the first words of the vocabulary."""
    ids = torch.arange(4)[None] % model.config.vocab_size
    inputs = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    with torch.inference_mode():
        model(**inputs)

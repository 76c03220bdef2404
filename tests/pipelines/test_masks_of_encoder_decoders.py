"""fill-mask with BART and mBART, which were trained to fill masks in, against transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pipelines.checkpoints import TEXTS, same
from tokenization import vocabularies as make

import minitransformer
from minitransformer import pipeline
from minitransformer.testing import reference_twin

MASKED = [text.replace(" is ", " <mask> ").replace(" the ", " <mask> ", 1) for text in TEXTS[:4]]


@pytest.fixture
def bart(checkpoint: Callable[[str], Path]) -> Path:
    return checkpoint("bart")


def both(folder: Path) -> tuple[Any, Any]:
    options: dict[str, Any] = {"dtype": torch.float64}
    mine = pipeline("fill-mask", str(folder), device="cpu", **options)
    return mine, transformers.pipeline("fill-mask", str(folder), device=-1, **options)


def test_bart(bart: Path) -> None:
    mine, theirs = both(bart)
    for text in MASKED:
        same(mine(text), theirs(text))
        same(mine(text, top_k=2, targets=[" the", " dog"]), theirs(text, top_k=2, targets=[" the", " dog"]))
    same(mine(MASKED, batch_size=4), [theirs(text) for text in MASKED])
    same(mine(MASKED), [theirs(text) for text in MASKED])


def test_mbart(tmp_path: Path) -> None:
    pytest.importorskip("google.protobuf", reason="the reference reads SentencePiece files with protobuf")
    make.mbart(tmp_path)
    size = len(minitransformer.AutoTokenizer.from_pretrained(tmp_path))
    sizes = {"encoder_attention_heads": 3, "decoder_attention_heads": 2, "encoder_layers": 2, "decoder_layers": 1}
    sizes |= {"d_model": 24, "encoder_ffn_dim": 40, "decoder_ffn_dim": 30, "max_position_embeddings": 64}
    model = reference_twin("MBartForConditionalGeneration", vocab_size=size, **sizes)
    model.save_pretrained(tmp_path)
    mine, theirs = both(tmp_path)
    for text in make.LINES[:4]:
        masked = text.replace(" ", " <mask> ", 1)
        same(mine(masked), theirs(masked))
        same(mine([masked] * 2, batch_size=2)[1], theirs(masked))


def test_several_masks_together(bart: Path) -> None:
    mine, _ = both(bart)
    found = mine("The <mask> fox <mask> over.", joint=True, top_k=3)
    assert len(found) == 3 and all(len(answer["token"]) == 2 for answer in found)


def test_the_auto_class_loads_them(bart: Path) -> None:
    model = minitransformer.AutoModelForMaskedLM.from_pretrained(bart)
    assert type(model).__name__ == "BartForConditionalGeneration"
    generated = minitransformer.AutoModelForSeq2SeqLM.from_pretrained(bart)
    assert pipeline("fill-mask", generated, minitransformer.AutoTokenizer.from_pretrained(bart))(MASKED[0])

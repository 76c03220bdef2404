"""A model's fast form in place of the model: nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models.twins import bart, bert, gpt2
from optimize.forms import FORMS, needs
from pipelines.checkpoints import TAGS, labels
from tokenization import vocabularies

import minitransformer.models.auto as auto
from minitransformer import AutoConfig, AutoTokenizer
from minitransformer.optimize import optimized
from minitransformer.pipelines import Pipeline, pipeline
from minitransformer.pipelines.tasks import find_class

WIDER = {"hidden_size": 96, "num_attention_heads": 4, "intermediate_size": 160, "max_position_embeddings": 64}
CONFIGS = {
    "bert": {**bert.CONFIG, **WIDER, **labels(*TAGS)},
    "gpt2": {**gpt2.CONFIG, "n_embd": 96, "n_head": 4, "n_positions": 64},
    "bart": {**bart.CONFIG, "d_model": 96, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    | {"max_position_embeddings": 64},
}
MAKE = {
    "bert": vocabularies.wordpiece,
    "gpt2": vocabularies.gpt2,
    "bart": lambda path: vocabularies.roberta(path, "bart"),
}
TEXTS = ["The little rabbit had a garden.", "Alice said: the queen and her key!", "Of the table"]
TASKS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "text-classification": ("bert", TEXTS, {"top_k": None}),
    "token-classification": ("bert", TEXTS, {"ignore_labels": []}),
    "fill-mask": ("bert", [f"{text} [MASK]" for text in TEXTS], {"top_k": 3}),
    "feature-extraction": ("bert", TEXTS, {}),
    "question-answering": ("bert", [{"question": text, "context": TEXTS[0]} for text in TEXTS], {}),
    "zero-shot-classification": ("bert", TEXTS, {"candidate_labels": ["a", "the queen"]}),
    "text-generation": ("gpt2", TEXTS, {"do_sample": False, "max_new_tokens": 6}),
    "summarization": ("bart", TEXTS, {"num_beams": 2, "max_new_tokens": 6}),
}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root, folders = tmp_path_factory.mktemp("optimized"), {}

    def get(task: str, family: str) -> tuple[Any, Any]:
        folder = folders.setdefault(family, None) or MAKE[family](root / family)
        folders[family] = folder
        tokenizer = AutoTokenizer.from_pretrained(folder)
        torch.manual_seed(3)
        config = AutoConfig.from_dict({**CONFIGS[family], "model_type": family, "vocab_size": len(tokenizer)})
        model = getattr(auto, find_class(task).auto_class).from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
        return model.eval(), tokenizer

    return get


def near(mine: Any, other: Any, tolerance: float) -> None:
    """Decisions equal, scores near."""
    if isinstance(mine, dict):
        assert mine.keys() == other.keys()
        for key in mine:
            near(mine[key], other[key], tolerance)
    elif isinstance(mine, list):
        assert len(mine) == len(other)
        for one, another in zip(mine, other, strict=True):
            near(one, another, tolerance)
    elif isinstance(mine, float):
        assert abs(mine - other) <= tolerance * max(1.0, abs(other))
    else:
        assert mine == other


@needs("float32")
@pytest.mark.parametrize("task", TASKS)
def test_float32_form_gives_the_same_answers(task, make):
    family, inputs, options = TASKS[task]
    model, tokenizer = make(task, family)
    fast = pipeline(task, model=optimized(model), tokenizer=tokenizer, device="cpu")
    readable = pipeline(task, model=model, tokenizer=tokenizer)
    assert type(fast) is type(readable) and isinstance(fast, Pipeline) and fast.model is not model
    near(fast(inputs, **options), readable(inputs, **options), 2e-3)
    for item in inputs[:2]:
        near(fast(item, **options), readable(item, **options), 2e-3)


@pytest.mark.parametrize("dtype", FORMS)
def test_every_form_answers(dtype, make):
    model, tokenizer = make("text-classification", "bert")
    expected = pipeline("text-classification", model=model, tokenizer=tokenizer)(TEXTS, top_k=None)
    answers = pipeline("text-classification", model=optimized(model, dtype), tokenizer=tokenizer)(TEXTS, top_k=None)
    for mine, other in zip(answers, expected, strict=True):
        near(*({answer["label"]: answer["score"] for answer in text} for text in (mine, other)), tolerance=0.1)

"""Every newer family in the pipelines: tiny checkpoints, as transformers writes them, read by both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pipelines.checkpoints import TAGS, labels, same

from minitransformer.errors import MinitransformerError
from minitransformer.pipelines import pipeline
from minitransformer.testing import repaired

TEXTS = ["The little rabbit had a garden.", "Alice said: the queen and her key!", "Of the table"]
PAIR = {"question": "Who had a garden?", "context": "The little rabbit had a garden and the queen had a door."}
SHORT = {"max_new_tokens": 8}
WORDS = "ForMaskedLM"
MOODS = labels("bad", "good", "so-so")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.generation flags:UserWarning"),
    pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning"),
]

T5_TASKS = {
    "summarization": {"min_length": 4, "max_length": 12, "num_beams": 2, "prefix": "summarize: "},
    "translation_en_to_fr": {"max_length": 9, "prefix": "translate English to French: "},
}


def both(task: str, path: Path) -> tuple[Any, Any]:
    """Our pipeline and transformers', in float64."""
    mine = pipeline(task, path, dtype=torch.float64, device="cpu")
    eager = {"attn_implementation": "eager"}
    theirs = transformers.pipeline(task, str(path), dtype=torch.float64, device=-1, model_kwargs=eager)
    return mine, theirs


@pytest.mark.parametrize("family", ["roberta", "albert", "distilbert", "electra"])
def test_fill_mask(family: str, folder: Callable[..., Path]) -> None:
    mine, theirs = both("fill-mask", folder(family, WORDS))
    mask = mine.tokenizer.mask_token
    for text in (f"The little {mask} had a garden.", f"{mask} and {mask} said"):
        same(mine(text, top_k=4), theirs(text, top_k=4))
    texts = [f"The {mask}.", f"Alice had a little {mask} in her garden."]
    same(mine(texts, batch_size=2), theirs(texts))


@pytest.mark.parametrize("family", ["roberta", "distilbert", "albert", "electra"])
def test_text_classification(family: str, folder: Callable[..., Path]) -> None:
    mine, theirs = both("text-classification", folder(family, "ForSequenceClassification", **MOODS))
    same(mine(TEXTS, top_k=None, batch_size=3), theirs(TEXTS, top_k=None))
    pair = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    same(mine(pair), theirs(pair))


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra"])
@pytest.mark.parametrize("strategy", ["none", "simple", "first"])
def test_token_classification(family: str, strategy: str, folder: Callable[..., Path]) -> None:
    mine, theirs = both("token-classification", folder(family, "ForTokenClassification", **labels(*TAGS)))
    for pipe in (mine, theirs):
        pipe.tokenizer.model_max_length = 60
    options = {"aggregation_strategy": strategy}
    same(mine(TEXTS, batch_size=2, **options), theirs(TEXTS, **options))


@pytest.mark.parametrize("family", ["roberta", "distilbert", "albert"])
def test_question_answering(family: str, folder: Callable[..., Path]) -> None:
    head = "ForQuestionAnswering"
    mine, theirs = both("question-answering", folder(family, head))
    for options in ({}, {"top_k": 3}, {"max_seq_len": 28, "doc_stride": 4, "handle_impossible_answer": True}):
        same(mine(PAIR, **options), theirs(PAIR, **options))


@pytest.mark.parametrize(("family", "head"), [("gpt", "LMHeadModel"), ("ctrl", "LMHeadModel")])
def test_text_generation(family: str, head: str, folder: Callable[..., Path]) -> None:
    mine, theirs = both("text-generation", folder(family, head))
    for options in ({}, {"num_beams": 3, "return_full_text": False}, {"repetition_penalty": 1.3}):
        options = {"do_sample": False, **SHORT, **options}
        same(mine(TEXTS, **options), theirs(TEXTS, **options))
    mine.tokenizer.pad_token = mine.tokenizer.unk_token
    options = {"do_sample": False, **SHORT}
    same(mine(TEXTS, batch_size=3, **options), theirs(TEXTS, **options))


@pytest.mark.parametrize("family", ["roberta", "albert", "distilbert", "electra", "gpt", "ctrl"])
def test_feature_extraction(family: str, folder: Callable[..., Path]) -> None:
    mine, theirs = both("feature-extraction", folder(family, "Model"))
    same(mine(TEXTS[0]), theirs(TEXTS[0]))


@pytest.mark.parametrize("task", T5_TASKS)
def test_t5_finds_its_prefix(task: str, folder: Callable[..., Path]) -> None:
    path = folder("t5", "ForConditionalGeneration", task_specific_params=T5_TASKS)
    mine, theirs = both(task, path)
    assert mine.prefix == T5_TASKS[task]["prefix"]
    for options in ({}, SHORT, {"num_beams": 1, **SHORT}):
        texts = TEXTS if options else TEXTS[:1]  # the task's own settings ask for 200 tokens
        same(mine(texts, **options), theirs(texts, **options))
    same(mine(TEXTS, batch_size=3, **SHORT), mine(TEXTS, **SHORT))


def test_translation_with_marian(folder: Callable[..., Path]) -> None:
    mine, theirs = both("translation", folder("marian", "MTModel"))
    for options in ({}, {"num_beams": 1}, {"src_lang": "xx", "tgt_lang": "yy"}):
        texts = [*TEXTS, ">>fr<< " + TEXTS[0]]
        same(mine(texts, **SHORT, **options), theirs(texts, **SHORT, **options))
    same(mine(TEXTS, batch_size=3, **SHORT), theirs(TEXTS, **SHORT))


@pytest.mark.parametrize(
    ("family", "languages"),
    [
        ("mbart", ["en_XX", "ro_RO", "fr_XX", "zh_CN"]),
        ("mbart-50", ["en_XX", "ro_RO", "fr_XX", "zh_CN"]),
        ("m2m100", ["en", "ro", "fr", "zh"]),
        ("nllb", ["eng_Latn", "ron_Latn", "fra_Latn", "zho_Hans"]),
    ],
)
def test_translation_between_many_languages(family: str, languages: list[str], folder: Callable[..., Path]) -> None:
    mine, theirs = both("translation", folder(family, "ForConditionalGeneration"))
    results = []
    for source, target in (languages[:2], languages[2:]):
        pair = {"src_lang": source, "tgt_lang": target}
        for options in ({}, {"num_beams": 1, "return_tensors": True}):
            options = {**SHORT, **options, **pair}
            results.append(mine(TEXTS, **options))
            same(results[-1], theirs(TEXTS, **options))
            assert mine.tokenizer.src_lang == pair["src_lang"]
        first = results[-1][0]["translation_token_ids"][1]
        assert int(first) == mine.tokenizer.language_id(target)
    assert results[0] != results[2]
    same(mine(TEXTS, batch_size=3, **options), theirs(TEXTS, **options))


def test_summarization_with_pegasus(folder: Callable[..., Path]) -> None:
    mine, theirs = both("summarization", folder("pegasus", "ForConditionalGeneration"))
    texts = [*TEXTS, "A <mask_1> and a <mask_2>\n of <unk> 日 <unk_7>."]
    for options in ({"num_beams": 3}, {"num_beams": 1}):
        same(mine(texts, **SHORT, **options), theirs(texts, **SHORT, **options))
    same(mine(texts, batch_size=3, **SHORT), theirs(texts, **SHORT))


def test_languages_that_mbart_is_told(folder: Callable[..., Path]) -> None:
    path = folder("mbart", "ForConditionalGeneration")
    mine = pipeline("translation", path, device="cpu", src_lang="de_DE", tgt_lang="ro_RO", **SHORT)
    german = mine(TEXTS[0], return_tensors=True)[0]["translation_token_ids"]
    english = mine(TEXTS[0], return_tensors=True, src_lang="en_XX")[0]["translation_token_ids"]
    code = mine.tokenizer.convert_tokens_to_ids("ro_RO")
    assert german[1] == english[1] == code and mine.tokenizer.src_lang == "en_XX"


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("translation", {}, "src_lang is missing.*Known are ar_AR, cs_CZ"),
        ("translation", {"src_lang": "en_XX"}, "tgt_lang is missing.*zh_CN"),
        ("translation", {"tgt_lang": "en_XX"}, "src_lang is missing"),
        ("translation", {"src_lang": "en_XX", "tgt_lang": "ro"}, "tgt_lang 'ro' is not known. Did you mean 'ro_RO'"),
        ("translation", {"src_lang": "xx", "tgt_lang": "ro_RO"}, r"src_lang 'xx' is not known\. Known are ar_AR"),
        ("translation_en_to_fr", {}, "src_lang 'en' is not known. Did you mean 'en_XX'"),
    ],
)
def test_languages_that_mbart_does_not_know(
    task: str, options: dict[str, str], message: str, folder: Callable[..., Path]
) -> None:
    mine = pipeline(task, folder("mbart", "ForConditionalGeneration"), device="cpu")
    with pytest.raises(MinitransformerError, match=message):
        mine(TEXTS[0], **options)


def test_translation_with_fsmt(folder: Callable[..., Path]) -> None:
    mine, theirs = both("translation_en_to_de", folder("fsmt", "ForConditionalGeneration"))
    repaired(theirs.model)  # its generate puts all new tokens in one place
    for options in ({}, {"num_beams": 1}, {"num_beams": 1, "return_tensors": True}):
        same(mine(TEXTS, **SHORT, **options), theirs(TEXTS, **SHORT, **options))
    same(mine(TEXTS, batch_size=3, **SHORT), mine(TEXTS, **SHORT))

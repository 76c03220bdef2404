"""Results never depend on the batch: every task, in float64, on texts of very unequal lengths."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models.twins import transformer_xl
from pipelines.checkpoints import LONG, TAGS, TEXTS, labels
from tokenization import vocabularies

from minitransformer import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from minitransformer.pipelines import pipeline

pytestmark = pytest.mark.filterwarnings("ignore:.generation flags:UserWarning")

SIZES = (None, 4)  # the default, which is "auto"
UNEQUAL = [
    "a",
    TEXTS[1],
    "the dog",
    TEXTS[0],
    "Paris!",
    " ".join(TEXTS[:2])[:150],
    "a river",
    TEXTS[4],
    "x",
    TEXTS[5],
    "New York",
]
SHORT = {"max_new_tokens": 7, "do_sample": False}
LABELS = ["sports", "b", "the sea shore and the rain"]


def alike(mine: Any, other: Any, where: str = "result") -> None:
    """Strings, numbers and structures exactly equal; scores but for the rounding of sums in another order."""
    assert type(mine) is type(other), where
    if isinstance(mine, dict):
        assert list(mine) == list(other), where
        for key in mine:
            alike(mine[key], other[key], f"{where}[{key!r}]")
    elif isinstance(mine, (list, tuple)):
        assert len(mine) == len(other), f"{where}: {mine} != {other}"
        for i, (one, another) in enumerate(zip(mine, other, strict=True)):
            alike(one, another, f"{where}[{i}]")
    elif isinstance(mine, float):
        assert abs(mine - other) <= 1e-12 * max(1.0, abs(mine)), f"{where}: {mine} != {other}"
    elif isinstance(mine, torch.Tensor):
        assert torch.equal(mine, other), where
    else:
        assert mine == other, f"{where}: {mine!r} != {other!r}"


def check(pipe: Any, inputs: list[Any], **options: Any) -> Any:
    """One by one, and in batches."""
    expected = pipe(inputs, batch_size=1, **options)
    for size in SIZES:
        alike(pipe(inputs, batch_size=size, **options), expected, f"batch_size={size}")
    return expected


def load(task: str, path: Any, **options: Any) -> Any:
    return pipeline(task, path, dtype=torch.float64, device="cpu", **options)


@pytest.mark.parametrize("name", ["bert", "gpt2", "bart-base"])
def test_feature_extraction(checkpoint, name):
    check(load("feature-extraction", checkpoint(name)), UNEQUAL)


@pytest.mark.parametrize("options", [{}, {"joint": True}, {"targets": ["dogs", "fox"], "whole_targets": True}])
def test_fill_mask(checkpoint, options):
    texts = ["[MASK]", *(f"{text[:90]} [MASK] dog" for text in UNEQUAL), "the [MASK] of [MASK] is a [MASK]"]
    check(load("fill-mask", checkpoint("bert-mlm")), texts, **options)


@pytest.mark.parametrize("options", [{}, {"aggregation_strategy": "average", "stride": 3, "ignore_labels": []}])
def test_token_classification(checkpoint, options):
    inputs = [*UNEQUAL, LONG, "a"] if options else UNEQUAL
    check(load("ner", checkpoint("bert-ner")), inputs, **options)


@pytest.mark.parametrize("name", ["bert-qa", "bart-qa"])
def test_question_answering(checkpoint, name):
    contexts = [LONG, *UNEQUAL]
    inputs = [{"question": "What is the capital?", "context": context} for context in contexts]
    check(load("question-answering", checkpoint(name)), inputs, max_seq_len=40, top_k=3, handle_impossible_answer=True)


@pytest.mark.parametrize("name", ["bert-cls", "gpt2-cls", "bart-nli"])
def test_text_classification(checkpoint, name):
    odd = {"gpt2-cls": "the dog<|endoftext|>", "bart-nli": "a </s> b </s>", "bert-cls": "[PAD] dog [PAD][PAD]"}[name]
    pairs = [{"text": "a", "text_pair": TEXTS[2]}, {"text": TEXTS[3][:50], "text_pair": "dog"}]
    check(load("text-classification", checkpoint(name)), [*UNEQUAL, odd, *pairs], top_k=None)


@pytest.mark.parametrize("name", ["bert-nli", "bart-nli", "gpt2-cls"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_zero_shot_classification(checkpoint, name, multi_label):
    pipe = load("zero-shot-classification", checkpoint(name))
    check(pipe, [*UNEQUAL, "ends </s> here"], candidate_labels=LABELS, multi_label=multi_label)


CAUSAL = [
    {},
    {"num_beams": 3, "num_return_sequences": 2},
    {"repetition_penalty": 1.5},
    {"max_length": 52, "max_new_tokens": None},
    {"max_new_tokens": 55, "return_tensors": True},  # more than some prompts leave positions for
    {"eos_token_id": list(range(0, 340, 9)), "return_tensors": True},
    {"num_beams": 2, "eos_token_id": list(range(0, 340, 9)), "min_new_tokens": 2, "length_penalty": -1.0},
    {"forced_bos_token_id": 7},
    {"min_length": 7, "eos_token_id": list(range(0, 340, 2)), "return_tensors": True},  # counts the prompt
    {"bad_words_ids": [[5, 6], [300]], "encoder_repetition_penalty": 1.4, "num_beams": 2},
]


@pytest.mark.filterwarnings("ignore:.*new tokens were asked for:UserWarning")
@pytest.mark.parametrize("options", CAUSAL, ids=lambda options: "-".join(options))
def test_text_generation(checkpoint, options):
    prompts = ["", *(text[:80] for text in UNEQUAL[:7])]
    check(load("text-generation", checkpoint("gpt2")), prompts, **{**SHORT, **options})


def test_texts_that_end_at_a_text(checkpoint):
    pipe = load("text-generation", checkpoint("gpt2"))
    prompts = [text[:50] for text in UNEQUAL]
    options = {"do_sample": False, "max_new_tokens": 12, "return_full_text": False, "skip_special_tokens": False}
    texts = [answers[0]["generated_text"] for answers in pipe(prompts, **options)]
    options["stop_strings"] = [text[3:6] for text in texts[:3]]
    stopped = check(pipe, prompts, **options)
    assert len({len(answers[0]["generated_text"]) for answers in stopped}) > 1


@pytest.mark.parametrize("family", ["gpt", "ctrl"])
def test_text_generation_of_other_families(folder, family):
    check(load("text-generation", folder(family, "LMHeadModel")), [text[:50] for text in UNEQUAL[:6]], **SHORT)


def test_texts_in_segments(tmp_path):
    """Transformer-XL, whose memory takes the place of a cache, and whose tokenizer has no padding."""
    path = vocabularies.transformer_xl(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    raw = {**transformer_xl.CONFIG, "model_type": "transfo-xl", "vocab_size": len(tokenizer)}
    config = AutoConfig.from_dict({**raw, "cutoffs": [10, 20], "pad_token_id": None, "d_embed": 24})
    torch.manual_seed(0)
    texts = ["the garden", "Alice said: the queen and her key , of the table and a door .", "of", "her little key of"]
    for task, auto, options in (
        ("text-generation", AutoModelForCausalLM, {**SHORT, "return_tensors": True}),
        ("text-classification", AutoModelForSequenceClassification, {"top_k": None}),
    ):
        model = auto.from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        check(pipeline(task, model.double(), tokenizer), texts, **options)


@pytest.mark.parametrize(
    ("family", "head", "task"),
    [
        ("t5", "ForConditionalGeneration", "summarization"),
        ("marian", "MTModel", "translation"),
        ("mbart", "ForConditionalGeneration", "translation"),
        ("fsmt", "ForConditionalGeneration", "text2text-generation"),
    ],
)
def test_translation_and_its_kin(folder, family, head, task):
    languages = {"src_lang": "en_XX", "tgt_lang": "ro_RO"} if family == "mbart" else {}
    pipe = load(task, folder(family, head), **languages)
    for options in ({"num_beams": 1}, {"num_beams": 2, "num_return_sequences": 2}, {"encoder_no_repeat_ngram_size": 2}):
        check(pipe, [text[:60] for text in UNEQUAL[:6]], **SHORT, **options)


@pytest.mark.parametrize("options", [{}, {"min_length": 5, "no_repeat_ngram_size": 2}, {"return_token_scores": True}])
def test_summarization(checkpoint, options):
    check(load("summarization", checkpoint("bart")), UNEQUAL, **SHORT, **options)


@pytest.mark.parametrize("family", ["roberta", "albert", "distilbert", "electra"])
def test_other_encoders(folder, family):
    tagged = folder(family, "ForTokenClassification", **labels(*TAGS))
    check(load("ner", tagged), [text[:60] for text in UNEQUAL], ignore_labels=[])


def test_samples_are_those_of_one_by_one(checkpoint):
    pipe = load("text-generation", checkpoint("gpt2"), max_new_tokens=6)
    torch.manual_seed(4)
    alone = [pipe(text) for text in UNEQUAL]
    torch.manual_seed(4)
    assert pipe(UNEQUAL) == alone

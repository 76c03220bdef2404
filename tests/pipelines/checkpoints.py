"""Checkpoints to compare with: tiny random models and tokenizers, built by transformers; and how to compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = """
My name is Sarah Jessica Parker but you can call me Jessica, and I live in New York City.
The little brown fox jumped over the lazy dog; the dog did not mind, because it was asleep.
Hugging Face Inc. is a company based in Manhattan. Its headquarters are near the Brooklyn Bridge!
What is the capital of France? Paris is the capital, and it lies on the river Seine.
She sells sea shells by the sea shore, which is not always easy when it rains.
Politics, sports and economics are what newspapers write about every day of the week.
A transformer reads a whole sentence at once: attention tells each word which other words matter.
""".strip().split("\n")

LONG = " ".join(TEXTS)
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]


def draw(model: torch.nn.Module, seed: int) -> None:
    """Draw every parameter anew, biases and norms too, so that no two of them could be exchanged unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:  # sinusoids
                continue
            scale = 0.6 if parameter.dim() > 1 else 0.15  # so that the input decides, more than the biases
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale
            centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(centre + noise)


def wordpiece() -> Any:
    """Letters, endings and the most frequent words of the texts. (The library's trainer gives other ids each time.)"""
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [word for text in TEXTS for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    letters = sorted({letter for word in words for letter in word})
    endings = Counter(word[-n:] for word in words for n in (2, 3) if len(word) > n)
    ranked = [
        [x for x, _ in sorted(c.items(), key=lambda pair: (-pair[1], pair[0]))] for c in (endings, Counter(words))
    ]
    pieces = [
        *letters,
        *(f"##{letter}" for letter in letters),
        *(f"##{ending}" for ending in ranked[0][:20]),
        *ranked[1],
    ]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*special, *pieces]))}
    vocabulary = {token: i for token, i in vocabulary.items() if i < 160}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix="##"))
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    backend.decoder = decoders.WordPiece(prefix="##")
    return transformers.BertTokenizerFast(tokenizer_object=backend, model_max_length=48)


def byte_level(special: list[str]) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, initial_alphabet=alphabet)
    backend.train_from_iterator(TEXTS, trainer)
    return backend


def gpt2_tokenizer() -> Any:
    end = "<|endoftext|>"
    return transformers.GPT2TokenizerFast(
        tokenizer_object=byte_level([end]), bos_token=end, eos_token=end, unk_token=end, model_max_length=96
    )


def bart_tokenizer() -> Any:
    backend = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return transformers.BartTokenizerFast(tokenizer_object=backend, model_max_length=96)


def bert_config(**changes: Any) -> Any:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    return transformers.BertConfig(vocab_size=160, max_position_embeddings=56, **sizes, **changes)


def gpt2_config(**changes: Any) -> Any:
    sizes = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 96}
    return transformers.GPT2Config(vocab_size=340, bos_token_id=0, eos_token_id=0, **sizes, **changes)


def bart_config(**changes: Any) -> Any:
    sizes = {
        "d_model": 24,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 3,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 40,
    }
    return transformers.BartConfig(vocab_size=340, max_position_embeddings=96, **sizes, **changes)


def labels(*names: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


NLI = labels("contradiction", "neutral", "entailment")
NLI_REVERSED = labels("ENTAILMENT", "NEUTRAL", "CONTRADICTION")
TASK_PARAMS = {
    "summarization": {"min_length": 4, "max_length": 9, "num_beams": 2, "prefix": "summarize: "},
    "translation_en_to_fr": {"max_length": 8, "prefix": "translate English to French: "},
    "text-generation": {"do_sample": True, "max_length": 50},
}

CHECKPOINTS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": lambda: (transformers.BertModel(bert_config()), wordpiece()),
    "bert-mlm": lambda: (transformers.BertForMaskedLM(bert_config()), wordpiece()),
    "bert-ner": lambda: (transformers.BertForTokenClassification(bert_config(**labels(*TAGS))), wordpiece()),
    "bert-qa": lambda: (transformers.BertForQuestionAnswering(bert_config()), wordpiece()),
    "bert-cls": lambda: (
        transformers.BertForSequenceClassification(bert_config(**labels("bad", "good", "so-so"))),
        wordpiece(),
    ),
    "bert-nli": lambda: (transformers.BertForSequenceClassification(bert_config(**NLI)), wordpiece()),
    "gpt2": lambda: (transformers.GPT2LMHeadModel(gpt2_config()), gpt2_tokenizer()),
    "gpt2-params": lambda: (
        transformers.GPT2LMHeadModel(gpt2_config(task_specific_params=TASK_PARAMS)),
        gpt2_tokenizer(),
    ),
    "gpt2-prefix": lambda: (transformers.GPT2LMHeadModel(gpt2_config(prefix="The fox")), gpt2_tokenizer()),
    "gpt2-ner": lambda: (transformers.GPT2ForTokenClassification(gpt2_config(**labels(*TAGS))), gpt2_tokenizer()),
    "gpt2-cls": lambda: (
        transformers.GPT2ForSequenceClassification(gpt2_config(**labels("bad", "good", "so-so"))),
        gpt2_tokenizer(),
    ),
    "bart": lambda: (transformers.BartForConditionalGeneration(bart_config()), bart_tokenizer()),
    "bart-params": lambda: (
        transformers.BartForConditionalGeneration(bart_config(task_specific_params=TASK_PARAMS)),
        bart_tokenizer(),
    ),
    "bart-base": lambda: (transformers.BartModel(bart_config()), bart_tokenizer()),
    "bart-nli": lambda: (transformers.BartForSequenceClassification(bart_config(**NLI_REVERSED)), bart_tokenizer()),
    "bart-qa": lambda: (transformers.BartForQuestionAnswering(bart_config()), bart_tokenizer()),
}


def same(mine: Any, theirs: Any, where: str = "result") -> None:
    """Equal structures, strings and whole numbers; floating-point numbers within 1e-6."""
    if isinstance(theirs, dict):
        assert isinstance(mine, dict) and list(mine) == list(theirs), f"{where}: {mine} != {theirs}"
        for key in theirs:
            same(mine[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert type(mine) is type(theirs) and len(mine) == len(theirs), f"{where}: {mine} != {theirs}"
        for i, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif isinstance(theirs, torch.Tensor):
        assert mine.shape == theirs.shape, where
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-6)
    elif isinstance(theirs, (float, np.floating)):
        assert type(mine) is float, f"{where}: {mine!r}"
        assert mine == float(theirs) or abs(mine - float(theirs)) < 1e-6, f"{where}: {mine} != {theirs}"
    else:
        assert type(mine) is type(theirs) and mine == theirs, f"{where}: {mine!r} != {theirs!r}"

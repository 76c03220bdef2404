"""A tiny pipeline of any family for any task, made in memory: random weights, vocabularies trained here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from models.twins import albert, bart, bert, ctrl, gpt, gpt2, marian, mbart, roberta, t5, transformer, transformer_xl
from tokenization import vocabularies as make

from minitransformer import AutoConfig, AutoTokenizer
from minitransformer.models.auto import architecture
from minitransformer.pipelines import Pipeline, pipeline

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
NLI = ("contradiction", "neutral", "entailment")
LANGUAGES = {"src_lang": "en_XX", "tgt_lang": "ro_RO"}

HEADS = {  # task -> head, labels
    "text-classification": ("ForSequenceClassification", ("bad", "good", "so-so")),
    "zero-shot-classification": ("ForSequenceClassification", NLI),
    "token-classification": ("ForTokenClassification", TAGS),
    "question-answering": ("ForQuestionAnswering", ()),
    "fill-mask": ("ForMaskedLM", ()),
    "feature-extraction": ("Model", ()),
    "text-generation": ("ForCausalLM", ()),
    "text2text-generation": ("ForSeq2SeqLM", ()),
    "summarization": ("ForSeq2SeqLM", ()),
    "translation": ("ForSeq2SeqLM", ()),
}
TOKENIZERS: dict[str, Callable[[Path], Path]] = {
    "bert": make.wordpiece,
    "roberta": make.roberta,
    "albert": make.albert,
    "gpt2": make.gpt2,
    "gpt": make.gpt,
    "ctrl": make.ctrl,
    "transformer-xl": make.transformer_xl,
    "bart": lambda path: make.roberta(path, "bart"),
    "t5": make.t5,
    "mbart": make.mbart,
    "marian": make.marian,
    "fsmt": make.fsmt,
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", bert.CONFIG),
    "roberta": ("roberta", {**roberta.CONFIG, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}),
    "albert": ("albert", albert.CONFIG),
    "gpt2": ("gpt2", gpt2.CONFIG),
    "gpt": ("openai-gpt", gpt.CONFIG),
    "ctrl": ("ctrl", ctrl.CONFIG),
    "transformer-xl": ("transfo-xl", transformer_xl.CONFIG),
    "bart": ("bart", bart.CONFIG),
    "t5": ("t5", t5.CONFIG),
    "mbart": ("mbart", {**mbart.CONFIG, "decoder_start_token_id": 2}),
    "marian": ("marian", marian.CONFIG),
    "fsmt": ("fsmt", transformer.CONFIG),
}
POSITIONS = ("max_position_embeddings", "n_positions")


class Families:
    """Makes pipelines in a folder, each one once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._pipelines: dict[Any, Pipeline] = {}
        self._tokenizers: dict[str, Any] = {}

    def tokenizer(self, family: str) -> Any:
        """The tokenizer of a family, always the same one."""
        if family not in self._tokenizers:
            self._tokenizers[family] = AutoTokenizer.from_pretrained(TOKENIZERS[family](self.root / family))
        return self._tokenizers[family]

    def pipeline(self, task: str, family: str, positions: int = 64, **options: Any) -> Any:
        """The pipeline of a task over a family's model with so many positions."""
        key = (task, family, positions, repr(options))
        if key not in self._pipelines:
            model = self.model(family, *HEADS[task], positions)
            self._pipelines[key] = pipeline(task, model, self.tokenizer(family), device="cpu", **options)
        return self._pipelines[key]

    def model(self, family: str, head: str, labels: tuple[str, ...], positions: int) -> Any:
        """A model with random weights, of the vocabulary's size."""
        model_type, config = CONFIGS[family]
        tokenizer = self.tokenizer(family)
        sizes = {name: positions for name in POSITIONS if name in config}
        if family == "fsmt":
            sizes |= {"src_vocab_size": len(tokenizer), "tgt_vocab_size": tokenizer.target_backend.get_vocab_size()}
        else:
            sizes["vocab_size"] = len(tokenizer)
        if family == "marian":  # the padding token, which begins every text, is never chosen
            sizes |= {"pad_token_id": tokenizer.pad_token_id, "decoder_start_token_id": tokenizer.pad_token_id}
            sizes["bad_words_ids"] = [[tokenizer.pad_token_id]]
        if family == "gpt2":
            sizes |= {"bos_token_id": 0, "eos_token_id": 0}
        if labels:
            sizes["id2label"] = {str(i): label for i, label in enumerate(labels)}
        raw = AutoConfig.from_dict({"model_type": model_type, **config, **sizes})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = architecture(model_type).heads[head].from_config(raw)
        _liven(model)
        return model.eval()


@torch.no_grad()
def _liven(model: torch.nn.Module) -> None:
    """Larger weights, so that answers depend on the text."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1 and parameter.requires_grad:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)

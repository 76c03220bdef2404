"""The tokenizer of BERT, and of DistilBERT and ELECTRA, which share it.

Text is cleaned, lowercased, stripped of accents and split into words; WordPiece then takes the longest known
piece from the left of each word, and marks pieces that continue a word with ``##``. [CLS] A [SEP] B [SEP]
frames a pair, with token types 0 0 0 1 1.

Paper: Devlin et al. 2018, section 3. Reference: ``models/bert/tokenization_bert_fast.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.files import build_or_explain, read_vocabulary_lines, require_tokens


class BertTokenizer(Tokenizer):
    """WordPiece with BERT's frame."""

    class_name = "BertTokenizer"
    vocabulary_files = ("vocab.txt",)
    default_tokens = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    settings = {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None}

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        path = files["vocab.txt"]
        vocabulary = read_vocabulary_lines(path)
        unknown, cls_token, sep = (str(settings[role]) for role in ("unk_token", "cls_token", "sep_token"))
        require_tokens(vocabulary, {"unk_token": unknown, "cls_token": cls_token, "sep_token": sep}, path)
        backend = tokenizers.Tokenizer(build_or_explain(lambda: models.WordPiece(vocabulary, unk_token=unknown), path))
        backend.normalizer = normalizers.BertNormalizer()
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.post_processor = processors.TemplateProcessing(
            single=f"{cls_token}:0 $A:0 {sep}:0",
            pair=f"{cls_token}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[(cls_token, vocabulary[cls_token]), (sep, vocabulary[sep])],
        )
        backend.decoder = decoders.WordPiece(prefix="##")
        settings.setdefault("clean_up_tokenization_spaces", True)  # only where there is no tokenizer.json
        return backend

    def configure(self) -> None:
        """Lowercasing, accents and Chinese characters follow the settings, whatever tokenizer.json says."""
        if self.backend.normalizer is None:
            return
        state = json.loads(self.backend.normalizer.__getstate__())
        if state.pop("type") != "BertNormalizer":
            return
        state["lowercase"] = bool(self.options["do_lower_case"])
        state["strip_accents"] = self.options["strip_accents"]  # None: as lowercase
        state["handle_chinese_chars"] = bool(self.options["tokenize_chinese_chars"])
        self.backend.normalizer = normalizers.BertNormalizer(**state)


class DistilBertTokenizer(BertTokenizer):
    """BERT's, but DistilBERT has no token types."""

    class_name = "DistilBertTokenizer"
    inputs = ("input_ids", "attention_mask")


class ElectraTokenizer(BertTokenizer):
    """BERT's."""

    class_name = "ElectraTokenizer"

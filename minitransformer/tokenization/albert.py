"""The tokenizer of ALBERT: SentencePiece in BERT's frame.

Quotes are made uniform, accents stripped, text lowercased. A piece of a digit and a comma (``9,``) is never
chosen: its score is lowered by 100, so that numbers are split at commas.

Paper: Lan et al. 2019, section 4.1. Reference: ``models/albert/tokenization_albert_fast.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, normalizers, processors

from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.files import require_tokens
from minitransformer.tokenization.sentencepiece import build_unigram, read_model, replace_characters, score_defined


class AlbertTokenizer(Tokenizer):
    """SentencePiece in BERT's frame."""

    class_name = "AlbertTokenizer"
    vocabulary_files = ("spiece.model",)
    default_tokens = {
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "unk_token": "<unk>",
        "sep_token": "[SEP]",
        "pad_token": "<pad>",
        "cls_token": "[CLS]",
        "mask_token": AddedToken("[MASK]", lstrip=True, normalized=False, special=True),
    }
    settings = {"do_lower_case": True, "remove_space": True, "keep_accents": False, "sp_model_kwargs": {}}

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        path = files["spiece.model"]
        model = read_model(path)
        vocabulary = [(p.text, p.score - 100 * ends_number_with_comma(p.text)) for p in model.pieces]
        compat = settings.get("compat")
        backend = build_unigram(model, path, vocabulary, model.unk_id, compat=compat)
        steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        if not settings["keep_accents"]:
            steps += [normalizers.NFKD(), normalizers.StripAccents()]
        if settings["do_lower_case"]:
            steps += [normalizers.Lowercase()]
        kept = () if compat == "transformers" else score_defined(model)
        steps += replace_characters(model, path, kept, [normalizers.Replace(Regex(" {2,}"), " ")])
        backend.normalizer = normalizers.Sequence(steps)
        ids = backend.get_vocab()
        require_tokens(ids, {"cls_token": "[CLS]", "sep_token": "[SEP]"}, path)
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
        )
        return backend


def ends_number_with_comma(piece: str) -> bool:
    """Whether a piece ends with a digit and a comma."""
    return len(piece) >= 2 and piece[-1] == "," and piece[-2].isdigit()

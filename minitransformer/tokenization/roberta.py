"""The tokenizer of RoBERTa, and of BART, which shares it: GPT-2's byte-level BPE in a frame.

<s> A </s> for a text and <s> A </s></s> B </s> for a pair. Unlike GPT-2's, offsets leave out the blank before
a word, and <mask> swallows the blank before it.

Paper: Liu et al. 2019, section 4.4. Reference: ``models/roberta/tokenization_roberta_fast.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.files import require_tokens
from minitransformer.tokenization.gpt2 import build_byte_level
from minitransformer.tokenization.special_tokens import ROLES, wrap_tokens


class RobertaTokenizer(Tokenizer):
    """Byte-level BPE in RoBERTa's frame."""

    class_name = "RobertaTokenizer"
    vocabulary_files = ("vocab.json", "merges.txt")
    inputs = ("input_ids", "attention_mask")
    default_tokens = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "mask_token": AddedToken("<mask>", lstrip=True, normalized=False, special=True),
    }
    settings = {"trim_offsets": True, "errors": "replace"}
    needs_prefix_space_for_words = True

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        wrap_tokens(settings, (role for role in ROLES if role != "mask_token"), normalized=True)
        backend = build_byte_level(files, bool(settings["add_prefix_space"]))
        vocabulary = backend.get_vocab()
        frame = {role: str(settings[role]) for role in ("sep_token", "cls_token")}
        require_tokens(vocabulary, frame, files["vocab.json"])
        sep, cls_token = frame["sep_token"], frame["cls_token"]
        backend.post_processor = processors.RobertaProcessing(  # its second argument has had two names
            (sep, vocabulary[sep]),
            (cls_token, vocabulary[cls_token]),
            add_prefix_space=bool(settings["add_prefix_space"]),
            trim_offsets=True,
        )
        return backend

    def configure(self) -> None:
        """Blanks and offsets follow the settings, whatever tokenizer.json says."""
        if self.backend.post_processor is None:
            return
        state = json.loads(self.backend.post_processor.__getstate__())
        kind = state.pop("type")
        wanted = {name: bool(self.options[name]) for name in ("add_prefix_space", "trim_offsets") if name in state}
        if any(state[name] != value for name, value in wanted.items()):
            frame = [tuple(state.pop(name)) for name in ("sep", "cls") if name in state]
            self.backend.post_processor = getattr(processors, kind)(*frame, **(state | wanted))


class BartTokenizer(RobertaTokenizer):
    """RoBERTa's."""

    class_name = "BartTokenizer"

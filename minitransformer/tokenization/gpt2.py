"""The tokenizer of GPT-2: byte-level BPE.

Text becomes UTF-8 bytes, each written as a printable character (the blank as ``Ġ``), so that nothing is ever
unknown; bytes are then merged pair by pair, in the order in which the merges were learnt. A blank belongs to
the word after it.

Paper: Radford et al. 2019, section 2.2. Reference: ``models/gpt2/tokenization_gpt2_fast.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.files import (
    build_or_explain,
    read_merges,
    read_vocabulary_json,
    require_tokens,
)
from minitransformer.tokenization.special_tokens import wrap_tokens


def build_byte_level(files: Mapping[str, Path], add_prefix_space: bool) -> tokenizers.Tokenizer:
    """Byte-level BPE from vocab.json and merges.txt, without a frame of special tokens."""
    vocabulary = read_vocabulary_json(files["vocab.json"])
    merges = list(dict.fromkeys(read_merges(files["merges.txt"])))

    def bpe() -> models.BPE:
        return models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)

    backend = tokenizers.Tokenizer(build_or_explain(bpe, files["merges.txt"]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    return backend


class GPT2Tokenizer(Tokenizer):
    """Byte-level BPE; text is framed by nothing, and there is no pad token."""

    class_name = "GPT2Tokenizer"
    vocabulary_files = ("vocab.json", "merges.txt")
    inputs = ("input_ids", "attention_mask")
    default_tokens = {role: "<|endoftext|>" for role in ("unk_token", "bos_token", "eos_token")}
    settings = {"add_bos_token": False, "errors": "replace"}
    needs_prefix_space_for_words = True

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        wrap_tokens(settings, ("bos_token", "eos_token", "unk_token", "pad_token"), normalized=True)
        backend = build_byte_level(files, bool(settings["add_prefix_space"]))
        if settings["add_bos_token"]:
            bos = str(settings["bos_token"])
            vocabulary = backend.get_vocab()
            require_tokens(vocabulary, {"bos_token": bos}, files["vocab.json"])
            backend.post_processor = processors.TemplateProcessing(
                single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 $B:1", special_tokens=[(bos, vocabulary[bos])]
            )
        else:
            backend.post_processor = processors.ByteLevel(trim_offsets=False)  # offsets include the blank
        return backend

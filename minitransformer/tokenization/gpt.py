"""The tokenizer of the first GPT: BPE over characters, where ``</w>`` marks the end of a word.

Text is cleaned, lowercased and split at blanks and punctuation, as BERT's; nothing frames it, and the only
special token is <unk>.

Paper: Radford et al. 2018, section 4.1; Sennrich et al. 2016. Reference:
``models/openai/tokenization_openai_fast.py`` (the slow tokenizer with ftfy and spaCy, which the authors used,
splits some texts differently).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.files import build_or_explain, read_merges, read_vocabulary_json


class OpenAIGPTTokenizer(Tokenizer):
    """BPE with an end-of-word mark."""

    class_name = "OpenAIGPTTokenizer"
    vocabulary_files = ("vocab.json", "merges.txt")
    inputs = ("input_ids", "attention_mask")
    default_tokens = {"unk_token": "<unk>"}

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        vocabulary = read_vocabulary_json(files["vocab.json"])
        merges = list(dict.fromkeys(read_merges(files["merges.txt"])))
        unknown = str(settings["unk_token"])

        def bpe() -> models.BPE:
            return models.BPE(vocabulary, merges, unk_token=unknown, end_of_word_suffix="</w>", fuse_unk=False)

        backend = tokenizers.Tokenizer(build_or_explain(bpe, files["merges.txt"]))
        if unknown in vocabulary:
            backend.add_special_tokens([unknown])
        backend.normalizer = normalizers.BertNormalizer(lowercase=True)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.BPEDecoder(suffix="</w>")
        return backend

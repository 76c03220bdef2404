"""The tokenizer of Qwen2 and Qwen3: byte-level BPE that cuts texts otherwise than GPT-2's.

Digits stand alone, line breaks stay together, one mark before a word goes with it; accents are composed first (NFC).

Reference: ``models/qwen2/tokenization_qwen2_fast.py`` and ``Qwen2Converter`` in ``convert_slow_tokenizer.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.files import build_or_explain, read_lines, read_vocabulary_json

CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""What stays together before bytes are merged: endings after an apostrophe, words, digits, marks, breaks, blanks."""


class Qwen2Tokenizer(Tokenizer):
    """Byte-level BPE; text is framed by nothing."""

    class_name = "Qwen2Tokenizer"
    vocabulary_files = ("vocab.json", "merges.txt")
    inputs = ("input_ids", "attention_mask")
    default_tokens = {
        role: AddedToken("<|endoftext|>", normalized=False, special=True)
        for role in ("unk_token", "eos_token", "pad_token")
    }
    settings = {"errors": "replace"}

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        vocabulary, merges = read_vocabulary_json(files["vocab.json"]), read_plain_merges(files["merges.txt"])

        def bpe() -> models.BPE:
            return models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False)

        backend = tokenizers.Tokenizer(build_or_explain(bpe, files["merges.txt"]))
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(CUTS), behavior="isolated", invert=False),
                pre_tokenizers.ByteLevel(add_prefix_space=bool(settings["add_prefix_space"]), use_regex=False),
            ]
        )
        backend.decoder = decoders.ByteLevel()
        backend.post_processor = processors.ByteLevel(trim_offsets=False)
        return backend


def read_plain_merges(path: Path) -> list[tuple[str, str]]:
    """The merges of a file whose first line counts, unless it says which version it is.

    Raises:
        TokenizerError: a line is not two tokens, or there are no merges.
    """
    lines = [line.strip() for line in read_lines(path)]
    merges: dict[tuple[str, str], None] = {}
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version:")):
            continue
        parts = line.split()
        if len(parts) != 2:
            raise TokenizerError(
                f"line {number} of {path} should be two tokens with a blank between, not {line!r:.100}"
            )
        merges[parts[0], parts[1]] = None
    if not merges:
        raise TokenizerError(f"{path} has no merges: is it the file that belongs to the vocabulary?")
    return list(merges)

"""The tokenizer of CTRL: BPE over characters, where ``@@`` marks what a word goes on from.

Words are split at blanks only, and keep the line break behind them. In the merges the last piece of a word
ends with ``</w>``; in the vocabulary all but the last end with ``@@``.

Paper: Keskar et al. 2019, section 3.1; Sennrich et al. 2016. Reference: ``models/ctrl/tokenization_ctrl.py``
(there is no fast tokenizer).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from minitransformer.tokenization.files import read_merges, read_vocabulary_json
from minitransformer.tokenization.pieces import PieceTokenizer, build_lookup, merge_pairs, remember

_WORD = re.compile(r"\S+\n?")


class CTRLTokenizer(PieceTokenizer):
    """BPE with a mark where a word goes on."""

    class_name = "CTRLTokenizer"
    vocabulary_files = ("vocab.json", "merges.txt")
    default_tokens = {"unk_token": "<unk>"}

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        # the published file has merges with no-break spaces, which are in no word; they read as other merges
        merges = read_merges((files or {})["merges.txt"], any_space=True)
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}  # of a pair named twice, the later counts
        self._known: dict[str, list[str]] = {}
        super().__init__(backend, settings, files)

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        path = files["vocab.json"]
        return build_lookup(read_vocabulary_json(path), str(settings["unk_token"]), path)

    def split(self, text: str) -> list[str]:
        """The pieces of each word."""
        return [piece for word in _WORD.findall(text) for piece in self._pieces(word)]

    def _pieces(self, word: str) -> list[str]:
        if (known := self._known.get(word)) is not None:
            return known
        *start, end = merge_pairs([*word[:-1], word[-1] + "</w>"], self.ranks) if len(word) > 1 else [word]
        return remember(self._known, word, [piece + "@@" for piece in start] + [end.removesuffix("</w>")])

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of tokens: a blank after each that does not go on."""
        return " ".join(tokens).replace("@@ ", "").strip()

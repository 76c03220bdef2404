"""The tokenizer of FSMT, fairseq's translation models: Moses words, cut by BPE; a vocabulary for each language.

Punctuation is normalized, the words are split by the Moses rules of the source language, and their pieces, the last
one with ``</w>``, are looked up in vocab-src.json; the merges are those of both languages. A text ends with </s>.
Ids become text by vocab-tgt.json and the rules of the target language. Needs the package sacremoses.

With ``text_target``, a text is cut and looked up as one of the target language, so that it can be a label; the
reference takes the source's vocabulary there too.

Paper: Ng et al. 2019 (WMT'19); Sennrich et al. 2016. Reference: ``models/fsmt/tokenization_fsmt.py`` (there is no
fast tokenizer).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import processors

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.files import read_merges, read_vocabulary_json, require_tokens
from minitransformer.tokenization.pieces import (
    TwoSidedTokenizer,
    build_lookup,
    check_moses_language,
    import_sacremoses,
    lower_case,
    merge_pairs,
    remember,
)

_WIDE = "，、∶：？！；（）《》「」“”’〈〉【】％～━０１２３４５６７８９"
_PLAIN = ',,::?!;()""""""\'<>[]%~-0123456789'
_PUNCTUATION = str.maketrans({**dict(zip(_WIDE, _PLAIN, strict=True)), "…": "..."})
_FULL_STOP = re.compile(r"[。．]\s*")


class FSMTTokenizer(TwoSidedTokenizer):
    """BPE with an end-of-word mark, from one vocabulary into another."""

    class_name = "FSMTTokenizer"
    vocabulary_files = ("vocab-src.json", "vocab-tgt.json", "merges.txt")
    inputs = ("input_ids", "attention_mask")
    default_tokens = {"unk_token": "<unk>", "bos_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    settings = {"langs": None, "do_lower_case": False}

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        known_files = files or {}
        merges = read_merges(known_files["merges.txt"], counts=True)
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}  # of a pair named twice, the later counts
        self._known: dict[str, list[str]] = {}
        super().__init__(backend, settings, files)
        path = known_files["vocab-tgt.json"]
        self.target_backend = build_lookup(read_vocabulary_json(path), str(self.unk_token), path)
        self.target_backend.add_special_tokens(self.all_special_tokens)
        for vocabulary in (self.source_backend, self.target_backend):
            self._frame(vocabulary)
        langs = self.options["langs"]
        if not isinstance(langs, (list, tuple)) or len(langs) != 2 or not all(isinstance(code, str) for code in langs):
            raise TokenizerError(
                f"langs must be two languages, the source's and the target's, not {langs!r}: name them in "
                "tokenizer_config.json, or pass langs=['en', 'de']"
            )
        self.src_lang, self.tgt_lang = map(check_moses_language, langs)
        sacremoses = import_sacremoses("FSMT's")
        self._normalizers = {code: sacremoses.MosesPunctNormalizer(code) for code in langs}
        self._tokenizers = {code: sacremoses.MosesTokenizer(code) for code in langs}
        self._detokenizer = sacremoses.MosesDetokenizer(self.tgt_lang)

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        path = files["vocab-src.json"]
        vocabulary = read_vocabulary_json(path)
        require_tokens(vocabulary, {role: settings[role] for role in ("sep_token", "pad_token")}, path)
        return build_lookup(vocabulary, str(settings["unk_token"]), path)

    def _frame(self, backend: tokenizers.Tokenizer) -> None:
        end = str(self.sep_token)
        backend.post_processor = processors.TemplateProcessing(
            single=["$A", end],
            pair=["$A", end, "$B:1", f"{end}:1"],
            special_tokens=[(end, backend.token_to_id(end))],
        )

    @property
    def current(self) -> str:
        """The language of the side that this thread works for."""
        return self.tgt_lang if self.is_writing else self.src_lang

    def prepare(self, text: str) -> str:
        """Lowercase, if the model does, all but special tokens."""
        return lower_case(text, self.all_special_tokens) if self.options["do_lower_case"] else text

    def split(self, text: str) -> list[str]:
        """The pieces of each word and mark."""
        if self.options["do_lower_case"]:
            text = text.lower()  # the reference does both
        text = self._normalizers[self.current].normalize(_FULL_STOP.sub(". ", text.translate(_PUNCTUATION)))
        text = "".join(letter for letter in text if not unicodedata.category(letter).startswith("C"))
        words = self._tokenizers[self.current].tokenize(text, aggressive_dash_splits=True, escape=True)
        return [piece for word in words for piece in self._pieces(word)]

    def _pieces(self, word: str) -> list[str]:
        if (known := self._known.get(word)) is not None:
            return known
        return remember(self._known, word, merge_pairs([*word[:-1], word[-1] + "</w>"], self.ranks))

    def id_to_token(self, index: int) -> str:
        """What the model writes is in the target vocabulary."""
        if special := self.added_tokens_decoder.get(index):
            return special.content
        token = self.target_backend.id_to_token(index) if index >= 0 else None
        if token is None:
            size = self.target_backend.get_vocab_size()
            raise TokenizerError(
                f"there is no token with id {index} in the target's vocabulary: ids go from 0 to {size - 1}. "
                "Do model and tokenizer belong together?"
            )
        return token

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of target pieces, with punctuation put to its words again."""
        words = "".join(tokens).replace("</w>", " ").split()
        text: str = self._detokenizer.detokenize(words)
        return text

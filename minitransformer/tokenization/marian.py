"""The tokenizer of Marian (the OPUS-MT models): two SentencePiece models over one vocabulary.

source.spm cuts what the model reads, target.spm what it writes (``text_target``); vocab.json gives the pieces
their ids. A multilingual model is told its target language by a prefix in the text, such as ``>>fr<<``, which
is kept whole. A text ends with </s>.

Paper: Junczys-Dowmunt et al. 2018; Tiedemann and Thottingal 2020. Reference:
``models/marian/tokenization_marian.py`` (there is no fast tokenizer).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import processors

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.files import read_vocabulary_json, require_tokens
from minitransformer.tokenization.pieces import TwoSidedTokenizer, build_lookup
from minitransformer.tokenization.sentencepiece import SPACE, PieceModel
from minitransformer.tokenization.strategies import Request


class MarianTokenizer(TwoSidedTokenizer):
    """Two SentencePiece models, </s> at the end."""

    class_name = "MarianTokenizer"
    vocabulary_files = ("source.spm", "target.spm", "vocab.json")
    optional_files = ("target_vocab.json",)
    inputs = ("input_ids", "attention_mask")
    default_tokens = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}
    settings = {
        "source_lang": None,
        "target_lang": None,
        "separate_vocabs": False,
        "sp_model_kwargs": {},
        "model_max_length": 512,
    }

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        self.source, self.target = (
            PieceModel((files or {})["source.spm"]),
            PieceModel((files or {})["target.spm"]),
        )
        super().__init__(backend, settings, files)
        self._frame(backend)
        if self.options["separate_vocabs"]:
            path = (files or {}).get("target_vocab.json")
            if path is None:
                raise TokenizerError("separate_vocabs is set, so a target_vocab.json is needed beside vocab.json")
            self.target_backend = build_lookup(read_vocabulary_json(path), str(self.unk_token), path)
            self.target_backend.add_special_tokens(self.all_special_tokens)
            self._frame(self.target_backend)
            self._known_ids = min(self._known_ids, self.target_backend.get_vocab_size())

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        path = files["vocab.json"]
        vocabulary = read_vocabulary_json(path)
        require_tokens(vocabulary, {role: settings[role] for role in ("eos_token", "pad_token")}, path)
        return build_lookup(vocabulary, str(settings["unk_token"]), path)

    def _frame(self, backend: tokenizers.Tokenizer) -> None:
        end = str(self.eos_token)
        backend.post_processor = processors.TemplateProcessing(
            single=["$A", end], pair=["$A", "$B", end], special_tokens=[(end, backend.token_to_id(end))]
        )

    @property
    def supported_language_codes(self) -> list[str]:
        """The prefixes that the vocabulary has, such as ``>>fr<<``."""
        return [token for token in self.get_vocab() if token.startswith(">>") and token.endswith("<<")]

    @property
    def current(self) -> PieceModel:
        """What cuts the text of the side that this thread works for."""
        return self.target if self.is_writing else self.source

    def split(self, text: str) -> list[str]:
        """A language prefix, if there is one, and the pieces of the rest."""
        code: list[str] = []
        if text.startswith(">>") and (end := text.find("<<")) != -1:
            code, text = [text[: end + 2]], text[end + 2 :]
        return code + self.current.encode(text)

    def _column(self, name: str, encoding: tokenizers.Encoding, request: Request) -> Any:
        """Here special tokens of the text itself count as special too."""
        if name != "special_tokens_mask" or not request.add_special_tokens:
            return super()._column(name, encoding, request)
        special = set(self.all_special_ids) - {self.unk_token_id}
        return [int(i in special or mask) for i, mask in zip(encoding.ids, encoding.special_tokens_mask, strict=True)]

    def _check_ids(self, ids: Any) -> list[int]:
        """What the model writes is in the target vocabulary."""
        with self.writing():
            return super()._check_ids(ids)

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        with self.writing():
            return super()._decode(ids, skip_special_tokens)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of target pieces; special tokens stand apart."""
        special = set(self.all_special_tokens)
        text, run = "", list[str]()
        for token in tokens:
            if token in special:
                text += self.target.decode(run) + token + " "
                run = []
            else:
                run.append(token)
        return (text + self.target.decode(run)).replace(SPACE, " ").strip()
